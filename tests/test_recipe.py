"""What "auto" becomes, what it is worth, and what is refused before any work."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, make_classification, make_moons
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from xpnet import SGD, BinaryClassifier, InputError, train
from xpnet.data_init import initialize_from_rows
from xpnet.network import Network
from xpnet.preprocessing import fit_scaling
from xpnet.recipe import choose, count_rows
from xpnet.schedules import SCHEDULES, FlatCosine, get_schedule

GIVEN = BinaryClassifier().get_params()


def chosen(n, **parameters):
    return choose(GIVEN | parameters, n, 20)


@pytest.mark.parametrize("n", [2, 10, 32, 33, 500, 999, 1000, 9_999, 10_000, 10**7])
def test_every_auto_becomes_something(n):
    settings = chosen(n)
    assert "auto" not in [value for name, value in settings.items() if name != "backend"
                          and name != "solver" and isinstance(value, str)]  # fmt: skip
    assert 1 <= settings["batch_size"] <= max(16, n)
    assert settings["early_stopping"] is (n >= 1000)
    assert settings["precision"] == ("float64" if n < 1000 else "float32")
    assert settings["optimizer"].name == "adam"


@pytest.mark.parametrize("solver", ["sgd", "rmsprop", "adagrad", "adam", "adamw", "nadam", "lbfgs"])
def test_a_named_solver_is_used_as_scikit_learn_does(solver):
    settings = chosen(500, solver=solver)
    optimizer = settings["optimizer"]
    assert (optimizer.name, optimizer.learning_rate) == (solver, 0.001)
    assert settings["max_iter"] == 200
    assert settings["batch_size"] == (None if solver == "lbfgs" else 200)
    assert settings["rate_factors"] is None
    assert getattr(optimizer, "beta_2", 0.999) == 0.999


def test_parameters_reach_the_solvers_that_have_them():
    assert chosen(9, solver="sgd", momentum=0.5)["optimizer"].nesterov
    assert not chosen(9, solver="sgd", momentum=0)["optimizer"].nesterov
    adam = chosen(9, solver="adam", beta_1=0.5, epsilon=0.1, alpha=0.2, clip_norm=3)["optimizer"]
    assert (adam.beta_1, adam.epsilon, adam.alpha, adam.clip_norm) == (0.5, 0.1, 0.2, 3.0)


@pytest.mark.parametrize(
    ("weights", "n"),
    [
        (None, 5),
        (np.ones(5), 5),
        (np.arange(1, 6), 15),
        (np.full(5, 0.5), 5),
        (np.arange(5) + 0.5, 5),
    ],
)
def test_whole_numbers_count_as_repetitions(weights, n):
    assert count_rows(weights, 5) == n


CONTRADICTIONS = [
    ({"class_weight": "balanced", "pos_weight": 2.0}, "pos_weight: expected None beside class_w"),
    ({"solver": SGD(0.1), "learning_rate_init": 0.5}, "learning_rate_init: expected 'auto' beside"),
    ({"solver": SGD(0.1), "alpha": 0.5}, "alpha: expected 0.0 beside"),
    ({"solver": "lbfgs", "dropout": 0.5}, "dropout: expected none with lbfgs"),
    ({"solver": "lbfgs", "average": 0.5}, "average: expected none with lbfgs"),
    ({"monitor": "roc_auc", "early_stopping": False}, "monitor: expected 'loss' without validat"),
    ({"early_stopping": "yes"}, "early_stopping: expected True or False; got 'yes'"),
    ({"validation_fraction": 1.0}, "validation_fraction: expected a number .*; got 1.0"),
    ({"validation_fraction": 0.99, "early_stopping": True}, "validation_fraction: .* leaves rows"),
    ({"n_iter_no_change": 0}, "n_iter_no_change: expected an integer above 0; got 0"),
    ({"tol": -1.0}, "tol: expected a number at least 0; got -1.0"),
    ({"beta_1": 1.0}, "beta_1: expected 0 ≤ value < 1; got 1.0"),
    ({"momentum": 1.0, "solver": "sgd"}, "momentum: expected 0 ≤ value < 1; got 1.0"),
    ({"nesterovs_momentum": 1}, "nesterovs_momentum: expected True or False; got 1"),
    ({"alpha": -1}, "alpha: expected a number of at least 0; got -1"),
    ({"weight_decay": -1}, "weight_decay: expected a number of at least 0; got -1"),
    ({"rate_factors": {"V": 1.0}}, "rate_factors: expected one of .*; got 'V'"),
    ({"dropout": 1.0}, "dropout: expected a number .*; got 1.0"),
    ({"scaling": "minmax"}, "scaling: expected one of .*; got 'minmax'"),
    ({"loss": "hinge"}, "loss: expected one of .*; got 'hinge'"),
    ({"label_smoothing": 1.0}, "label_smoothing: expected .*; got 1.0"),
    ({"max_seconds": 0}, "max_seconds: expected .*; got 0"),
    ({"callbacks": 3}, "callbacks: expected a callable or several; got 3"),
    ({"class_weight": {0: -1.0}}, r"class_weight\[0\]: expected .*; got -1.0"),
    ({"class_weight": {7: 1.0}}, r"class_weight: expected labels of \[0, 1\]; got 7"),
    ({"class_weight": 3}, "class_weight: expected None, 'balanced' or a dict; got 3"),
    ({"pos_weight": 0}, "pos_weight: expected a number above 0; got 0"),
    ({"monitor": "gini", "early_stopping": True}, "monitor: expected one of .*; got 'gini'"),
]


@pytest.mark.parametrize(("wrong", "words"), CONTRADICTIONS, ids=lambda x: str(x)[:50])
def test_what_cannot_be_is_refused_before_training(wrong, words):
    X, y = make_moons(60, random_state=0)
    epochs = []
    classifier = BinaryClassifier(**{"backend": "numpy", "callbacks": epochs.append} | wrong)
    with pytest.raises(InputError, match=f"^{words}"):
        classifier.fit(X, y)
    assert not epochs
    assert not hasattr(classifier, "network_")


@pytest.mark.parametrize(
    "wrong",
    [
        {"early_stopping": True},
        {"class_weight": "balanced"},
        {"learning_rate": "cosine"},
        {"solver": SGD(0.1, "linear")},
    ],
    ids=str,
)
def test_what_needs_the_whole_is_refused_by_partial_fit(wrong):
    X, y = make_moons(60, random_state=0)
    with pytest.raises(InputError, match="partial_fit"):
        BinaryClassifier(backend="numpy", **wrong).partial_fit(X, y)


def test_schedules_say_whether_they_need_the_end():
    for name, kind in SCHEDULES.items():
        factor = get_schedule(name).epoch(0, [])
        moves = len({factor(done) for done in np.linspace(0.0, 0.99, 30)}) > 1
        assert kind.needs_end is moves


# --- the default is good --------------------------------------------------------------------------


def judged(classifier, X, y):
    scores = []
    for seed in range(3):
        train_X, test_X, train_y, test_y = train_test_split(X, y, stratify=y, random_state=seed)
        classifier.set_params(random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            p = classifier.fit(train_X, train_y).predict_proba(test_X)[:, 1]
        scores.append((roc_auc_score(test_y, p), -log_loss(test_y, p)))
    return np.mean(scores, axis=0)


@pytest.mark.parametrize(
    "problem",
    [
        load_breast_cancer(return_X_y=True),
        make_classification(600, flip_y=0.1, class_sep=0.7, random_state=1),
    ],
    ids=["cancer", "made up"],
)
def test_the_default_is_ahead_of_scikit_learns(problem):
    ours = judged(BinaryClassifier(backend="numpy"), *problem)
    assert (ours > judged(MLPClassifier(), *problem)).all()


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[0.0], [1.0]], [0, 1]),
        ([[3.0], [3.0], [3.0]], [0, 1, 1]),
        ([[1e9, 7.0], [-1e9, 7.0], [0.0, 7.0]], [0, 1, 1]),
        (np.eye(40), np.arange(40) % 2),
    ],
    ids=["two rows", "a constant", "far apart", "indicators"],
)
def test_the_least_of_data(X, y):
    P = BinaryClassifier(backend="numpy", random_state=0).fit(X, y).predict_proba(X)
    assert np.isfinite(P).all()


def test_a_constant_says_how_many_there_are_of_each():
    P = BinaryClassifier(backend="numpy").fit([[3.0]] * 8, [0, 1, 1, 1] * 2).predict_proba([[3.0]])
    np.testing.assert_allclose(P, [[0.25, 0.75]], atol=0.02)


# --- its pieces -----------------------------------------------------------------------------------


def test_flat_then_cosine():
    factor = FlatCosine().epoch(0, [])
    done = np.linspace(0.0, 1.0, 101)
    expected = np.where(done < 0.5, 1.0, (1.0 + np.cos(np.pi * (2.0 * done - 1.0))) / 2.0)
    np.testing.assert_allclose([factor(d) for d in done], expected, atol=1e-12)


def test_robust_in_units_of_the_standard_deviation():
    normal = np.random.default_rng(0).standard_normal(20_000) * 5 + 3
    rare, constant = np.arange(20_000) % 10 == 0, np.full(20_000, 7.0)
    scaling = fit_scaling("robust_std", np.column_stack([normal, rare, constant]))
    np.testing.assert_allclose(scaling.center, [np.median(normal), 0.1, 7.0], rtol=1e-9)
    np.testing.assert_allclose(scaling.scale, [0.2, 1.0 / 0.3, 0.0], rtol=0.02)
    np.testing.assert_allclose(scaling.scale[1], 1.0 / 0.3, rtol=1e-9)
    assert scaling.clip == 3.0


def test_the_average_soon_forgets_the_start(backend):
    X, y = make_moons(50, random_state=0)
    paths = {}
    for average in (0.0, 0.6):
        net = Network([2, 4, 1], backend=backend, precision="float64", random_state=0)
        path = paths[average] = [backend.to_host(net.theta).copy()]

        def note(_, net=net, path=path):
            path.append(backend.to_host(net.theta).copy())

        train(net, X, y, optimizer=SGD(0.5), epochs=20, average=average, callback=note)
    mean = paths[0.0][0]
    for t, theta in enumerate(paths[0.0][1:], start=1):
        beta = min(0.6, t / (t + 9))
        mean = beta * mean + (1 - beta) * theta
        np.testing.assert_allclose(paths[0.6][t], mean, rtol=1e-9, atol=1e-12)


# --- the first parameters -------------------------------------------------------------------------


def test_units_bend_where_rows_are():
    X = np.random.default_rng(0).standard_normal((300, 5)) * 3 + 10
    y = (X[:, 0] > 10).astype(int)
    net = Network([5, 64, 64, 1], "relu", random_state=0, backend="numpy", precision="float64")
    initialize_from_rows(net, X, y, random_state=0)
    Z = net.parameters["W1"] @ X.T + net.parameters["b1"]
    shares = np.sort((Z > 0).mean(axis=1))
    np.testing.assert_allclose(shares, np.linspace(0, 1, 64), atol=0.2)
    assert ((Z == 0).sum(axis=1) == 1).all()  # each through a row
    np.testing.assert_allclose(net.predict_proba(X)[:, 1], y.mean())


def test_repeated_rows_and_weights_begin_alike():
    rng = np.random.default_rng(0)
    X, y, w = rng.standard_normal((40, 3)), np.arange(40) % 2, rng.integers(0, 4, 40)
    made = {"random_state": 0, "precision": "float64", "backend": "numpy"}
    nets = [Network([3, 8, 8, 1], **made) for _ in range(2)]
    order = rng.permutation(40)
    initialize_from_rows(nets[0], X.repeat(w, axis=0), y.repeat(w), random_state=1)
    initialize_from_rows(nets[1], X[order], y[order], w[order].astype(float), random_state=1)
    np.testing.assert_allclose(nets[0].theta, nets[1].theta, rtol=1e-12)
