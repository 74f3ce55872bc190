"""BinaryClassifier keeps scikit-learn's contract, and adds no copy and no number to the engine."""

import itertools
import pickle
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import SGD, Adam, BackendUnavailable, BinaryClassifier, InputError, Network, train


def refuses(error, *words):
    """Expect *error* with all *words* in its message."""
    return pytest.raises(error, match="".join(f"(?=.*{word})" for word in words))


def data(m=60, dtype="float32"):
    X, y = make_moons(m, noise=0.1, random_state=0)
    return np.ascontiguousarray(X, dtype), y


PLAIN = {
    "activation": "relu",
    "init": "he",
    "dropout": 0.0,
    "input_scale": False,
    "scaling": None,
    "solver": "adam",
    "tol": None,
    "precision": "float32",
}


def quick(**parameters):
    """A plain classifier that is made, and trained, in a moment."""
    chosen = {"hidden_layer_sizes": (6, 4), "max_iter": 5, "random_state": 0, "backend": "numpy"}
    return BinaryClassifier(**PLAIN | chosen | parameters)


def host(classifier, array):
    return np.array(classifier.network_.backend.to_host(array))


def test_float32_rows_in_another_order_differ_by_rounding_alone():
    X, y = data(300)
    classifier = quick().fit(X, y)
    order, scores = np.random.default_rng(0).permutation(300), classifier.decision_function(X)
    np.testing.assert_allclose(classifier.decision_function(X[order]), scores[order], 1e-5, 1e-6)
    few = np.concatenate([classifier.decision_function(X[i : i + 7]) for i in range(0, 300, 7)])
    np.testing.assert_allclose(few, scores, 1e-5, 1e-6)


# --- parameters -----------------------------------------------------------------------------------


def test_parameters_are_kept_as_given_and_cloned():
    solver, sizes = Adam(0.5), [3]
    classifier = BinaryClassifier(sizes, "tanh", solver=solver, precision="float64", max_iter=7)
    assert classifier.hidden_layer_sizes is sizes
    assert classifier.solver is solver
    assert clone(classifier).get_params() == classifier.get_params()
    assert classifier.get_params()["max_iter"] == 7
    assert classifier.set_params(max_iter=9, backend="numpy") is classifier
    assert (classifier.max_iter, classifier.backend) == (9, "numpy")
    with pytest.raises(ValueError, match="Invalid parameter 'epochs'"):
        classifier.set_params(epochs=3)


def test_a_clone_of_a_fitted_one_is_not_fitted_but_fits_the_same():
    X, y = data()
    classifier = quick().fit(X, y)
    again = clone(classifier)
    assert not hasattr(again, "network_")
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X), classifier.predict_proba(X))


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ((6, 4), (2, 6, 4, 1)),
        ([6, 4], (2, 6, 4, 1)),
        (np.array([6, 4]), (2, 6, 4, 1)),
        ((), (2, 1)),
        ([], (2, 1)),
        (5, (2, 5, 1)),
        (np.int32(5), (2, 5, 1)),
    ],
    ids=str,
)
def test_hidden_sizes_of_any_type(given, sizes):
    classifier = quick(hidden_layer_sizes=given).fit(*data())
    assert classifier.network_.layer_sizes == sizes
    assert classifier.n_layers_ == len(sizes)
    assert [W.shape for W in classifier.coefs_] == list(itertools.pairwise(sizes))
    assert [b.shape for b in classifier.intercepts_] == [(n,) for n in sizes[1:]]


POSITIVE = "expected an integer above 0; got"
BAD = [
    ("hidden_layer_sizes", (0,), "hidden_layer_sizes: expected positive integers; got"),
    ("hidden_layer_sizes", (4, -1), "hidden_layer_sizes: expected positive integers; got"),
    ("hidden_layer_sizes", 2.5, "hidden_layer_sizes: expected positive integers; got 2.5"),
    ("hidden_layer_sizes", "20", "hidden_layer_sizes: expected positive integers; got '20'"),
    ("hidden_layer_sizes", True, "hidden_layer_sizes: expected positive integers; got True"),
    ("hidden_layer_sizes", None, "hidden_layer_sizes: expected positive integers; got None"),
    ("activation", "rleu", "activation: expected one of elu, .* tanh; got 'rleu'"),
    ("activation", ["relu"], "activation: .* one for each of the 2 hidden layers; got 1"),
    ("activation", ["relu", "rleu"], "activation: expected one of .*; got 'rleu'"),
    ("init", "glorot", "init: expected one of glorot_normal, .* xavier; got 'glorot'"),
    ("solver", "newton", "solver: expected one of adagrad, .* sgd; got 'newton'"),
    ("solver", SGD, "solver: expected one of adagrad, .* sgd; got <class"),
    ("learning_rate_init", 0, "learning_rate_init: expected a number above 0; got 0"),
    ("learning_rate_init", float("nan"), "learning_rate_init: expected a number above 0; got nan"),
    ("learning_rate_init", "0.1", "learning_rate_init: expected a number above 0; got '0.1'"),
    ("learning_rate", "adaptive", "learning_rate: expected one of constant, .* warmup; got"),
    ("learning_rate", 0.1, "learning_rate: expected one of constant, .* warmup; got 0.1"),
    ("batch_size", True, f"batch_size: {POSITIVE} True"),
    ("batch_size", 0, f"batch_size: {POSITIVE} 0"),
    ("batch_size", 2.5, f"batch_size: {POSITIVE} 2.5"),
    ("batch_size", "all", f"batch_size: {POSITIVE} 'all'"),
    ("max_iter", 0, f"max_iter: {POSITIVE} 0"),
    ("max_iter", 2.5, f"max_iter: {POSITIVE} 2.5"),
    ("max_iter", None, f"max_iter: {POSITIVE} None"),
    ("random_state", -1, "random_state: expected an int from 0 to .*; got -1"),
    ("random_state", "seed", "random_state: expected an int from 0 to .*; got 'seed'"),
    ("precision", "half", "precision: expected one of bfloat16, float16, .*; got 'half'"),
    ("precision", None, "precision: expected one of bfloat16, .*; got None"),
    ("backend", "torch", "backend: expected one of auto, cupy, cupy:N, numpy; got 'torch'"),
]


@pytest.mark.parametrize(("name", "value", "words"), BAD, ids=[f"{n}={v}" for n, v, _ in BAD])
def test_bad_parameters_are_refused_by_their_names_before_any_training(name, value, words, capsys):
    classifier = quick(verbose=True, **{name: value})
    with refuses(InputError, f"^{words}"):
        classifier.fit(*data())
    assert capsys.readouterr().out == ""  # no epoch was run
    assert not hasattr(classifier, "network_")


def test_a_missing_backend_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with refuses(BackendUnavailable, "needs CuPy, which is not installed"):
        quick(backend="cupy").fit(*data())


def test_a_fit_that_is_refused_leaves_the_fitted_network():
    X, y = data()
    classifier = quick().fit(X, y)
    before = classifier.predict_proba(X)
    with refuses(InputError, "max_iter"):
        classifier.set_params(max_iter=0).fit(X, y)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)


# --- bad data -------------------------------------------------------------------------------------


def test_bad_data_is_refused():
    X, y = data()
    cases = {
        "inconsistent numbers of samples": (X, y[:-1]),
        "one class only: 60 × 1": (X, np.ones_like(y)),
        "Only binary classification is supported. The type of the target is multiclass": (
            X,
            np.arange(60) % 3,
        ),
        "Unknown label type": (X, X[:, 0]),
        "contains NaN": (np.where(X[7] == X, np.nan, X), y),
        "contains infinity": (np.where(X[7] == X, np.inf, X), y),
        "Convert your data to numeric values": (np.full(X.shape, "a"), y),
        "Complex data not supported": (X.astype(complex), y),
        "0 sample": (X[:0], y[:0]),
        "0 feature": (X[:, :0], y),
        "Expected 2D array, got 1D": (X[:, 0], y),
        "None": (X, None),
    }
    for words, (rows, labels) in cases.items():
        with refuses(ValueError, words):
            quick().fit(rows, labels)


def test_other_rows_than_those_fitted_are_refused():
    X, y = data()
    classifier = quick().fit(X, y)
    for method in (classifier.predict, classifier.predict_proba, classifier.decision_function):
        with refuses(ValueError, "X has 3 features, but BinaryClassifier is expecting 2"):
            method(np.zeros((5, 3)))


def test_nothing_is_there_before_fit():
    classifier = quick()
    for method in (classifier.predict, classifier.predict_proba, classifier.decision_function):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            method(np.zeros((5, 2)))
    for name in ("coefs_", "intercepts_", "classes_", "loss_curve_", "n_features_in_"):
        assert not hasattr(classifier, name)


# --- what is learnt -------------------------------------------------------------------------------


def test_it_learns():
    X, y = data(200)
    classifier = quick(hidden_layer_sizes=(20,), max_iter=300, learning_rate_init=0.01).fit(X, y)
    assert classifier.score(X, y) > 0.97
    assert classifier.loss_curve_[-1] < 0.1 < classifier.loss_curve_[0]


@pytest.mark.parametrize("batch_size", [None, 16, "auto", 1000])
def test_it_is_train_in_other_words(backend, batch_size):
    X, y = data(250)
    classifier = quick(backend=backend, batch_size=batch_size, solver="sgd", learning_rate="linear")
    classifier.set_params(learning_rate_init=0.1, momentum=0).fit(X, y)
    rng = np.random.RandomState(0)
    net = Network([2, 6, 4, 1], backend=backend, random_state=rng)
    history = train(
        net,
        X,
        y,
        optimizer=SGD(0.1, "linear"),
        epochs=5,
        batch_size=200 if batch_size == "auto" else batch_size,
        seed=int(rng.randint(2**31)),
    )
    assert classifier.loss_curve_ == history["loss"]
    assert classifier.loss_ == history["loss"][-1]
    assert (classifier.n_iter_, classifier.n_outputs_) == (5, 1)
    assert classifier.out_activation_ == "logistic"
    np.testing.assert_array_equal(classifier.predict_proba(X), net.predict_proba(X))


def test_a_solver_brings_its_own_rate():
    X, y = data()
    named = quick(solver="adam", learning_rate_init=0.02, learning_rate="cosine").fit(X, y)
    given = quick(solver=Adam(0.02, "cosine")).fit(X, y)
    assert given.loss_curve_ == named.loss_curve_


@pytest.mark.parametrize("labels", [("no", "yes"), (False, True), (-1, 1), (2.0, 7.0)], ids=str)
def test_labels_of_any_kind(labels):
    X, y = data()
    numbers, labels = quick().fit(X, y), np.array(labels)
    classifier = quick().fit(X, labels[y])
    assert classifier.classes_.tolist() == labels.tolist()
    assert classifier.classes_.dtype == labels.dtype
    predicted = classifier.predict(X)
    assert predicted.dtype == labels.dtype
    np.testing.assert_array_equal(predicted, labels[numbers.predict(X)])
    np.testing.assert_array_equal(classifier.predict_proba(X), numbers.predict_proba(X))
    assert classifier.score(X, labels[y]) == numbers.score(X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_agree_with_one_another(dtype):
    X, y = data()
    classifier = quick(precision=dtype, max_iter=40).fit(X, y)
    logits, P = classifier.decision_function(X), classifier.predict_proba(X)
    assert (logits.shape, P.shape, classifier.predict(X).shape) == ((60,), (60, 2), (60,))
    assert logits.dtype == P.dtype == dtype
    np.testing.assert_allclose(P.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(P[:, 1], 1.0 / (1.0 + np.exp(-logits.astype(float))), rtol=1e-5)
    np.testing.assert_array_equal(
        classifier.predict(X), classifier.classes_[(logits > 0).astype(int)]
    )
    assert set(classifier.predict(X)) == {0, 1}
    assert classifier.predict(X[:1]).shape == (1,)
    assert classifier.n_features_in_ == 2


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_coefficients_reproduce_the_predictions(backend, activation):
    X, y = data()
    classifier = quick(backend=backend, activation=activation, precision="float64").fit(X, y)
    A = X.astype("float64")
    *hidden, (W, b) = zip(classifier.coefs_, classifier.intercepts_, strict=True)
    for weights, bias in hidden:
        Z = A @ host(classifier, weights) + host(classifier, bias)
        A = np.maximum(Z, 0.0) if activation == "relu" else np.tanh(Z)
    logits = (A @ host(classifier, W) + host(classifier, b))[:, 0]
    np.testing.assert_allclose(classifier.decision_function(X), logits, rtol=1e-9, atol=1e-12)


def test_coefficients_are_live_views():
    X, y = data()
    classifier = quick().fit(X, y)
    for array in (*classifier.coefs_, *classifier.intercepts_):
        assert np.shares_memory(array, classifier.network_.theta)
    classifier.coefs_[-1][...] = 0.0
    classifier.intercepts_[-1][...] = 3.0
    np.testing.assert_array_equal(classifier.decision_function(X), np.full(60, 3.0))


# --- no copy, no surprise -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_the_dtype_are_not_copied(dtype):
    X = np.random.default_rng(0).standard_normal((10_000, 100)).astype(dtype)
    y = (X[:, 0] > 0).astype("int8")
    classifier = quick(hidden_layer_sizes=(), precision=dtype, batch_size=None, max_iter=2)
    classifier.set_params(early_stopping=False)
    classifier.fit(X[:100], y[:100])  # what is loaded lazily is loaded now
    tracemalloc.start()
    classifier.fit(X, y)
    _, fitting = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    classifier.decision_function(X)
    _, predicting = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert max(fitting, predicting) < X.nbytes / 4
    assert np.shares_memory(classifier.network_.columns(X), X)


def test_neither_data_nor_numpys_random_numbers_are_touched():
    X, y = data()
    before = X.copy(), y.copy(), np.random.get_state()[1].copy()  # noqa: NPY002 - the legacy one
    X.flags.writeable = y.flags.writeable = False
    quick(random_state=None).fit(X, y).predict(X)
    for kept, now in zip(before, (X, y, np.random.get_state()[1]), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(kept, now)


def test_the_same_seed_gives_the_same_result():
    X, y = data(100)
    first, *others = (
        quick(batch_size=16, random_state=state()).fit(X, y)
        for state in (lambda: 7, lambda: 7, lambda: np.random.RandomState(7), lambda: np.int64(7))
    )
    for other in others:
        assert other.loss_curve_ == first.loss_curve_
        np.testing.assert_array_equal(other.network_.theta, first.network_.theta)
    assert quick(batch_size=16, random_state=8).fit(X, y).loss_curve_ != first.loss_curve_


def test_batches_are_shuffled_unless_told_otherwise():
    X, y = data(100)
    in_order, again, shuffled = (
        quick(batch_size=16, shuffle=shuffle).fit(X, y).loss_curve_
        for shuffle in (False, False, True)
    )
    assert in_order == again != shuffled


def test_a_generator_goes_on_where_it_was():
    X, y = data()
    curves = []
    for _ in range(2):
        generator = np.random.default_rng(7)
        curves.append([quick(random_state=generator).fit(X, y).loss_curve_ for _ in range(2)])
    assert curves[0] == curves[1]
    assert curves[0][0] != curves[0][1]


def test_fitting_again_starts_anew():
    X, y = data()
    classifier = quick().fit(X, y)
    curve = classifier.loss_curve_
    assert classifier.fit(X, y).loss_curve_ == curve


def test_verbose_prints_a_line_an_epoch(capsys):
    classifier = quick(verbose=True, max_iter=2).fit(*data())
    lines = [
        f"Iteration {i}, loss = {loss:.8f}" for i, loss in enumerate(classifier.loss_curve_, 1)
    ]
    assert capsys.readouterr().out.splitlines() == lines
    quick().fit(*data())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("labels", [(0, 1), ("no", "yes")], ids=str)
def test_it_pickles(labels):
    X, y = data()
    classifier = quick().fit(X, np.array(labels)[y])
    copied = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(copied.predict_proba(X), classifier.predict_proba(X))
    np.testing.assert_array_equal(copied.predict(X), classifier.predict(X))
    assert copied.loss_curve_ == classifier.loss_curve_
    for array in (*copied.coefs_, *copied.intercepts_):
        assert np.shares_memory(array, copied.network_.theta)
        assert not np.shares_memory(array, classifier.network_.theta)


# --- in company -----------------------------------------------------------------------------------


def test_in_a_pipeline_with_cross_validation():
    X, y = data(120)
    classifier = quick(hidden_layer_sizes=(16,), max_iter=150, learning_rate_init=0.02)
    scores = cross_val_score(make_pipeline(StandardScaler(), classifier), X * 100, y, cv=3)
    assert scores.min() > 0.85


def test_in_a_grid_search():
    X, y = data(120)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), quick(max_iter=60)),
        {
            "binaryclassifier__learning_rate_init": [1e-6, 0.05],
            "binaryclassifier__hidden_layer_sizes": [(), (16,)],
        },
        scoring="roc_auc",
        cv=3,
        error_score="raise",
    ).fit(X, np.array(["a", "b"])[y])
    assert search.best_params_["binaryclassifier__learning_rate_init"] == 0.05
    assert search.best_params_["binaryclassifier__hidden_layer_sizes"] == (16,)
    assert search.best_score_ > 0.9
    assert set(search.predict(X)) == {"a", "b"}


# --- device rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["host", "device"])
def test_device_rows_stay_on_the_device(backend, labels):
    X, y = data()
    on_device = backend.asarray(X)
    expected = quick(backend=backend).fit(X, y)
    classifier = quick(backend=backend).fit(
        on_device, backend.asarray(y) if labels == "device" else y
    )
    assert classifier.loss_curve_ == expected.loss_curve_
    assert classifier.n_features_in_ == 2
    for name in ("decision_function", "predict_proba"):
        result = getattr(classifier, name)(on_device)
        assert backend.is_native(result)
        np.testing.assert_array_equal(host(classifier, result), getattr(expected, name)(X))
        assert isinstance(getattr(classifier, name)(X), np.ndarray)  # as it came
    labels = classifier.predict(on_device)
    assert backend.is_native(labels)
    np.testing.assert_array_equal(host(classifier, labels), expected.predict(X))
    for array in (*classifier.coefs_, *classifier.intercepts_):
        assert backend.is_native(array)


def test_device_rows_are_never_brought_to_the_host(double):
    X, y = data()
    on_device = double.asarray(X)
    classifier = quick(backend=double, batch_size=None).fit(on_device, y)
    before = double.xp.counts.snapshot()
    classifier.predict_proba(on_device)
    spent = double.xp.counts - before
    assert (spent.transfers, spent.syncs, spent.copies) == (0, 0, 0)


def test_bad_device_rows_are_refused(double):
    X, y = data()
    for rows, labels, words in (
        (X, y[:-1], "expected X and y of one length"),
        (X[:, 0], y, r"X: expected rows \(m, n\)"),
        (X, np.ones_like(y), "one class only"),
        (
            X,
            np.arange(60) % 3,
            "Only binary classification is supported. The type of the target is multiclass",
        ),
        (
            np.where(X[7] == X, np.nan, X),
            y,
            "X: expected finite numbers; got 2 NaN .* row 7, column 0",
        ),
    ):
        with refuses(InputError, words):
            quick(backend=double).fit(double.asarray(rows), labels)
    classifier = quick(backend=double).fit(double.asarray(X), y)
    with refuses(InputError, r"X: expected rows of 2 features, .*; got shape \(5, 3\)"):
        classifier.predict(double.asarray(np.zeros((5, 3), "float32")))
