"""The engine against the textbook, finite differences and PyTorch; its views; its doors."""

import contextlib
import copy
import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import xpnet.numpy_backend
import xpnet.passes
from xpnet import (
    BinaryClassifier,
    GradientMismatch,
    InputError,
    Network,
    check_gradients,
    evaluate,
    get_backend,
    save_model,
    textbook,
    train,
)
from xpnet.activations import ACTIVATIONS, Activation
from xpnet.backend import NumpyBackend

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


def problem(rng, n_0, m):
    return rng.standard_normal((m, n_0)), rng.integers(0, 2, m)


def textbook_gradients(net, X, y):
    parameters = {name: np.array(value) for name, value in net.parameters.items()}
    Y = y.reshape(1, -1).astype(float)
    AL, caches = textbook.L_model_forward(X.T, parameters, activation=net.activations)
    return AL, textbook.L_model_backward(AL, Y, caches, activation=net.activations), Y


@given(
    hidden=st.lists(st.integers(1, 9), max_size=5),
    data=st.data(),
    n_0=st.integers(1, 7),
    m=st.integers(1, 40),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150)
def test_gradients_are_the_textbooks(hidden, data, n_0, m, seed):
    known = st.sampled_from(sorted(textbook._ACTIVATIONS))
    names = data.draw(st.lists(known, min_size=len(hidden), max_size=len(hidden)))
    rng = np.random.default_rng(seed)
    X, y = problem(rng, n_0, m)
    net = Network([n_0, *hidden, 1], names, precision="float64", backend="numpy", random_state=rng)
    net.theta += 0.1 * rng.standard_normal(net.theta.shape)  # biases that are not zero
    loss, gradients = net.loss_and_gradients(X, y)
    AL, expected, Y = textbook_gradients(net, X, y)
    farthest = np.abs(net.decision_function(X)).max()
    assume(farthest < 30)
    rounded = 2.0**-52 * np.exp(farthest)  # the textbook's 1 - AL, of 1 beside e^-z
    cost = float(textbook.compute_cost(AL, Y))
    assert abs(loss - cost) <= 1e-10 * cost + rounded
    np.testing.assert_allclose(net.forward(X), AL.T, rtol=1e-10, atol=1e-14)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_on_every_backend(backend, dtype, rng):
    X, y = problem(rng, 6, 33)
    net = Network([6, 5, 4, 1], ["relu", "tanh"], precision=dtype, backend=backend, random_state=1)
    loss, gradients = net.loss_and_gradients(X, y)
    judge = net.to("numpy", "float64")
    AL, expected, Y = textbook_gradients(judge, X, y)
    tolerance = 100 * EPS[dtype]
    assert loss == pytest.approx(float(textbook.compute_cost(AL, Y)), rel=tolerance)
    for name, gradient in gradients.items():
        assert str(gradient.dtype) == dtype
        host = backend.to_host(gradient)
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(host, expected[name], rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gradients_pass_the_check(backend, activation, depth, rng):
    X, y = problem(rng, 3, 20)
    net = Network([3, *[4] * (depth - 1), 1], activation, backend=backend, random_state=0)
    before = backend.to_host(net.theta).copy()
    assert check_gradients(net, X, y) < 1e-6
    np.testing.assert_array_equal(backend.to_host(net.theta), before)


def test_zeros_on_the_kink_of_relu_pass_the_check():
    X, y = np.zeros((4, 3)), np.array([0, 1, 1, 0])
    assert check_gradients(Network([3, 4, 1], backend="numpy", random_state=0), X, y) < 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        lambda xp, dA, A: dA * 1.001,
        lambda xp, dA, A: dA * 1.0,
        lambda xp, dA, A: dA * (1.0 - A),
        lambda xp, dA, A: dA * (A * float("nan")),
    ],
)
def test_a_wrong_gradient_fails_the_check(wrong, monkeypatch, rng):
    X, y = problem(rng, 3, 20)
    tanh = ACTIVATIONS["tanh"]
    monkeypatch.setitem(ACTIVATIONS, "tanh", Activation("tanh", tanh.value, wrong))
    with pytest.raises(GradientMismatch, match="relative difference"):
        check_gradients(Network([3, 4, 1], "tanh", backend="numpy", random_state=0), X, y)


@pytest.mark.parametrize("size", [1e150, 1e300])
def test_numbers_that_overflow_pass_no_check_for_being_large(size, monkeypatch):
    """And no warning of NumPy comes out."""
    X, y = np.full((4, 3), size) * [[1], [-1], [1], [-1]], np.array([0, 1, 0, 1])
    net = Network([3, 4, 1], backend="numpy", random_state=0)
    with contextlib.suppress(GradientMismatch):
        assert check_gradients(net, X, y) < 1e-6
    relu = ACTIVATIONS["relu"]
    wrong = Activation("relu", relu.value, lambda xp, dA, A: relu.gradient(xp, dA, A) * 2.0)
    monkeypatch.setitem(ACTIVATIONS, "relu", wrong)
    with pytest.raises(GradientMismatch):
        check_gradients(net, X, y)


def test_a_missing_bias_gradient_fails_the_check(monkeypatch, rng):
    X, y = problem(rng, 3, 20)
    right = xpnet.passes._Hidden.backward

    def wrong(self):
        right(self)
        self.db[...] = 0.0

    monkeypatch.setattr(xpnet.passes._Hidden, "backward", wrong)
    with pytest.raises(GradientMismatch):
        check_gradients(Network([3, 4, 1], backend="numpy", random_state=0), X, y)


def test_gradients_are_pytorchs(rng):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    X, y = problem(rng, 5, 17)
    net = Network([5, 6, 3, 1], ["leaky_relu", "sigmoid"], precision="float64", backend="numpy")
    leaves = {k: torch.tensor(v, requires_grad=True) for k, v in net.parameters.items()}
    A = torch.tensor(X.T)
    A = torch.nn.functional.leaky_relu(leaves["W1"] @ A + leaves["b1"], 0.01)
    A = torch.sigmoid(leaves["W2"] @ A + leaves["b2"])
    Z = leaves["W3"] @ A + leaves["b3"]
    judge = torch.nn.functional.binary_cross_entropy_with_logits(Z[0], torch.tensor(y).double())
    judge.backward()
    loss, gradients = net.loss_and_gradients(X, y)
    assert loss == pytest.approx(judge.item(), rel=1e-12)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(gradients[f"d{name}"], leaf.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_stay_finite(backend, dtype):
    X, y = np.array([[1e4], [-1e4], [1e4], [-1e4]]), np.array([1, 0, 0, 1])
    parameters = {"W1": [[1.0]], "b1": [[0.0]]}
    net = Network([1, 1], init=parameters, precision=dtype, backend=backend)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, gradients = net.loss_and_gradients(X, y)
        P = net.predict_proba(X)
    assert loss == pytest.approx(5000.0)
    assert backend.to_host(gradients["dW1"]) == pytest.approx(5000.0)
    np.testing.assert_array_equal(P, [[0, 1], [1, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_overflow_are_refused(backend, dtype):
    net = Network([2, 3, 1], precision=dtype, backend=backend, random_state=0)
    X = np.full((4, 2), {"float32": 3e38, "float64": 1e308}[dtype])
    for method in (net.forward, net.predict_proba, net.decision_function, net.predict):
        with pytest.raises(InputError, match="X: expected rows of which the network's sums are"):
            method(X)
    with pytest.raises(InputError, match="X: expected rows of which the network's sums are finite"):
        evaluate(net, X, [0, 1, 0, 1])


def test_logits_whose_sum_overflows_are_finite_all_the_same(backend):
    net = Network([1, 1], init={"W1": [[1.0]], "b1": [[0.0]]}, backend=backend)
    np.testing.assert_array_equal(net.predict_proba(np.full((4, 1), 3e38))[:, 1], 1.0)


# --- weights, views, copies -----------------------------------------------------------------------


def test_weights_are_drawn_layer_by_layer():
    state = np.random.RandomState(1)
    W1 = state.standard_normal((4, 3)) / np.sqrt(3)
    W2 = state.standard_normal((1, 4)) / np.sqrt(4)
    for random_state in (1, np.random.RandomState(1)):
        net = Network(
            [3, 4, 1],
            init="xavier",
            precision="float64",
            backend="numpy",
            random_state=random_state,
        )
        np.testing.assert_allclose(net.parameters["W1"], W1, rtol=1e-15)
        np.testing.assert_allclose(net.parameters["W2"], W2, rtol=1e-15)
        assert not net.parameters["b1"].any()
    rng = np.random.default_rng(5)
    net = Network(
        [3, 4, 1],
        init="random",
        precision="float64",
        backend="numpy",
        random_state=np.random.default_rng(5),
    )
    np.testing.assert_array_equal(net.parameters["W1"], 0.01 * rng.standard_normal((4, 3)))


def test_parameters_are_live_views(backend):
    net = Network([3, 4, 2, 1], backend=backend, random_state=0)
    assert list(net.parameters) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert [v.shape for v in net.parameters.values()] == [
        (4, 3), (4, 1), (2, 4), (2, 1), (1, 2), (1, 1),
    ]  # fmt: skip
    net.theta[...] = 7.0
    assert all((backend.to_host(v) == 7.0).all() for v in net.parameters.values())
    net.parameters["b2"][...] = -1.0
    assert (backend.to_host(net.theta) == -1.0).sum() == 2
    with pytest.raises(TypeError):
        net.parameters["W1"] = None


@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),
        lambda net: net.to("numpy"),
    ],
)
def test_copies_have_views_of_their_own(copied, rng):
    net = Network([3, 4, 1], backend="numpy", random_state=0)
    other = copied(net)
    np.testing.assert_array_equal(other.theta, net.theta)
    other.theta[...] = 3.0
    assert all((v == 3.0).all() for v in other.parameters.values())
    assert not (net.theta == 3.0).any()
    X, y = problem(rng, 3, 5)
    before = net.gradient.copy()
    other.loss_and_gradients(X, y)
    np.testing.assert_array_equal(net.gradient, before)
    assert all(np.shares_memory(W, other.theta) for W, _ in other.layers)


def test_a_network_moves_between_backends(backend, rng):
    X, _ = problem(rng, 3, 5)
    net = Network([3, 4, 1], backend="numpy", random_state=0)
    there = net.to(backend)
    assert there.backend is backend
    np.testing.assert_array_equal(there.to("numpy").theta, net.theta)
    np.testing.assert_allclose(there.predict_proba(X), net.predict_proba(X), rtol=1e-6)
    assert there.to(backend, "float64").theta.dtype == np.dtype("float64")


def test_set_parameters_checks_before_it_writes(backend):
    net = Network([3, 4, 1], backend=backend, random_state=0)
    before = backend.to_host(net.theta).copy()
    with pytest.raises(InputError, match=r"W2: expected shape \(1, 4\); got \(4, 1\)"):
        net.set_parameters({"W1": np.ones((4, 3)), "W2": np.ones((4, 1))})
    with pytest.raises(InputError, match="parameter: expected one of W1, W2, b1, b2; got 'W3'"):
        net.set_parameters({"W1": np.ones((4, 3)), "W3": np.ones((4, 1))})
    np.testing.assert_array_equal(backend.to_host(net.theta), before)
    net.set_parameters({"W1": backend.asarray(np.full((4, 3), 2.0)), "b2": [[5.0]]})
    assert (backend.to_host(net.parameters["W1"]) == 2.0).all()
    assert backend.to_host(net.parameters["b2"]) == 5.0


# --- the doors ------------------------------------------------------------------------------------


def test_rows_go_in_without_a_copy():
    net32 = Network([3, 1], backend="numpy")
    net64 = Network([3, 1], backend="numpy", precision="float64")
    for net in (net32, net64):
        X = np.ones((5, 3), net.dtype)
        A = net.columns(X)
        assert A.shape == (3, 5)
        assert np.shares_memory(A, X)
    assert not np.shares_memory(net32.columns(X), X)


def test_rows_are_looked_at_only_where_that_is_asked_for(backend):
    net, X = Network([3, 1], backend=backend), np.array([[1.0, np.nan, 2.0]])
    sparse = scipy.sparse.csr_array(X)
    for door, rows in [(net.columns, X), (net.rows, X), (net.rows, sparse)]:
        if rows is sparse and backend.name != "numpy":
            continue  # test_sparse.py has the double's
        door(rows)
        with pytest.raises(InputError, match=r"mine.*: expected finite numbers; got 1 NaN"):
            door(rows, "mine", finite=True)


def test_device_rows_give_device_arrays(backend, rng):
    X, _ = problem(rng, 3, 5)
    net = Network([3, 4, 1], backend=backend, random_state=0)
    there = backend.asarray(X, "float32")
    for method in (net.forward, net.predict_proba, net.decision_function):
        assert isinstance(method(X), np.ndarray)
        assert backend.is_native(method(there))
        np.testing.assert_array_equal(backend.to_host(method(there)), method(X))
    assert net.forward(X).shape == (5, 1)
    assert net.predict_proba(X).shape == (5, 2)
    assert net.decision_function(X).shape == (5,)
    assert isinstance(net.predict(there), np.ndarray)


@pytest.mark.parametrize("shape", [(4, 5, 3), (12, 5)])
def test_pictures_are_flattened_and_divided_by_255(backend, rng, shape):
    pictures = rng.integers(0, 256, (6, *shape), dtype=np.uint8)
    net = Network([60, 3, 1], backend=backend, precision="float64", random_state=0)
    np.testing.assert_array_equal(
        net.predict_proba(pictures), net.predict_proba(pictures.reshape(6, -1) / 255)
    )
    rows = pictures.reshape(6, -1)
    assert not np.array_equal(net.predict_proba(rows), net.predict_proba(pictures))  # numbers
    net.picture_shape = shape
    np.testing.assert_array_equal(net.predict_proba(rows), net.predict_proba(pictures))


@pytest.mark.parametrize("chunk", [4 * 7, 1])
@pytest.mark.parametrize("scaling", [None, "standard"])
def test_a_prediction_in_chunks_is_one_prediction(backend, monkeypatch, rng, chunk, scaling):
    X, y = problem(rng, 3, 50)
    net = Network([3, 4, 1], backend=backend, precision="float64", random_state=0)
    train(net, X, y, optimizer="sgd", epochs=1, scaling=scaling)
    whole = net.decision_function(X)
    monkeypatch.setattr(backend, "chunk", chunk)
    np.testing.assert_allclose(net.decision_function(X), whole, rtol=1e-13)


@pytest.mark.parametrize("m", [1, 2, 3, 50])
def test_threads_share_the_rows_of_a_prediction(monkeypatch, rng, m):
    X, widths, tanh = rng.standard_normal((m, 3)), [], ACTIVATIONS["tanh"]
    net = Network([3, 4, 1], "tanh", precision="float64", backend=NumpyBackend(3), random_state=0)
    expected = net.decision_function(X)

    def counted(xp, Z):
        widths.append(Z.shape[1])
        return tanh.value(xp, Z)

    monkeypatch.setattr(xpnet.numpy_backend, "_SHARE", 1)
    monkeypatch.setitem(ACTIVATIONS, "tanh", Activation("tanh", counted, tanh.gradient))
    np.testing.assert_allclose(net.decision_function(X), expected, rtol=1e-13)
    assert sum(widths) == m, "each row is computed once"
    assert len(widths) == min(m, 3)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_prediction_takes_the_room_of_a_chunk(monkeypatch, kind):
    m, n = 20_000, 100
    backend, X = get_backend("numpy"), scipy.sparse.eye_array(m, n, format="csr")
    rows = X if kind == "sparse" else X.toarray()
    net = Network([n, 50, 1], backend=backend, precision="float64", random_state=0)
    monkeypatch.setattr(backend, "chunk", 10_000)
    tracemalloc.start()
    net.decision_function(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < m * 50 * 8 / 4, "a quarter of what the hidden layer would take"


@pytest.mark.parametrize(("m", "n"), [(20_000, 100), (200, 10_000)])
def test_scaling_takes_the_room_of_a_chunk(monkeypatch, m, n):
    """And of the scaled rows themselves, in the network's dtype."""
    backend, X = get_backend("numpy"), np.random.default_rng(0).standard_normal((m, n))
    net = Network([n, 1], backend=backend, precision="float32", random_state=0)
    train(net, X[:100], X[:100, 0] > 0, optimizer="sgd", epochs=1, scaling="standard")
    monkeypatch.setattr(backend, "chunk", 10_000)
    tracemalloc.start()
    net.decision_function(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.25 * m * n * 4


def test_a_temperature_divides_logits(backend, rng):
    X, _ = problem(rng, 3, 5)
    net = Network([3, 4, 1], backend=backend, random_state=0)
    logits = net.decision_function(X)
    for temperature in (2.0, 0.5, 1.0):
        net.temperature = temperature
        np.testing.assert_array_equal(net.decision_function(X), logits / np.float32(temperature))


def test_a_probability_at_the_threshold_is_not_above_it(backend):
    net = Network([3, 1], init={"W1": np.zeros((1, 3))}, backend=backend)
    X = np.ones((2, 3))
    assert net.predict_proba(X).tolist() == [[0.5, 0.5]] * 2
    assert net.predict(X).tolist() == [0, 0]
    net.threshold = 0.49
    assert net.predict(X).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"layer_sizes": [3]}, "layer_sizes: expected positive integers"),
        ({"layer_sizes": [3, 0, 1]}, r"layer_sizes: .* got \[3, 0, 1\]"),
        ({"layer_sizes": [3, 4, 2]}, "the last one 1 because the classifier is binary"),
        ({"layer_sizes": [3, 2.5, 1]}, "layer_sizes: expected integers"),
        ({"layer_sizes": 3}, "layer_sizes: expected integers"),
        ({"layer_sizes": [3, 10**20, 1]}, r"layer_sizes: expected at most 3e\+14 parameters; got"),
        ({"layer_sizes": [3, 10**400, 1]}, "layer_sizes: .*give smaller layers"),
        ({"activation": "rleu"}, "activation: expected one of elu, gelu, .* tanh; got 'rleu'"),
        ({"activation": ["relu", "tanh"]}, "one for each of the 1 hidden layers; got 2"),
        ({"activation": None}, "activation: expected one of .* got None"),
        ({"activation": [["relu"]]}, r"activation: expected one of .* got \['relu'\]"),
        ({"init": 3}, "init: expected one of glorot_normal, .* xavier; got 3"),
        ({"init": "hee"}, "init: expected one of glorot_normal, .* xavier; got 'hee'"),
        ({"precision": "half"}, "precision: expected one of bfloat16, float16, .*; got 'half'"),
        ({"backend": "cuda"}, "backend: expected one of auto, cupy, cupy:N, numpy; got 'cuda'"),
        ({"random_state": "seed"}, "random_state: expected an int"),
        ({"random_state": -1}, "random_state: expected an int"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(InputError, match=words):
        Network(**{"layer_sizes": [3, 4, 1], "backend": "numpy", **arguments})


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.ones((5, 4)), r"X: expected rows of 3 features.*got shape \(5, 4\)"),
        (np.ones(3), r"got shape \(3,\)"),
        (np.ones((0, 3)), r"got empty shape \(0, 3\)"),
        (np.ones((5, 3), complex), "expected numbers; got dtype complex128"),
        (np.array([["a", "b", "c"]]), "expected numbers; got dtype <U1"),
        (np.ma.masked_array(np.ones((5, 3)), mask=False), "got a masked one; drop or fill it"),
        (np.array([[1, None, 2]]), "expected numbers; got dtype object"),
    ],
)
def test_wrong_rows_are_named(X, words):
    with pytest.raises(InputError, match=words):
        Network([3, 4, 1], backend="numpy").predict_proba(X)


def test_float32_stays_float32(backend, rng):
    X, y = problem(rng, 3, 5)
    net = Network([3, 4, 1], "sigmoid", backend=backend, random_state=0)
    _, gradients = net.loss_and_gradients(X, y)
    arrays = [net.theta, net.predict_proba(X), net.forward(X), *gradients.values()]
    assert {str(array.dtype) for array in arrays} == {"float32"}


@pytest.mark.parametrize("door", [train, evaluate, save_model])
def test_a_classifier_is_no_network_but_has_one(door, tmp_path):
    X, y = np.eye(4), np.arange(4) % 2
    fitted = BinaryClassifier(random_state=0, backend="numpy").fit(X, y)
    arguments = {train: (X, y), evaluate: (X, y), save_model: (tmp_path / "model.h5",)}
    options = {"optimizer": "adam", "epochs": 1} if door is train else {}
    with pytest.raises(InputError, match="net: expected a Network; got BinaryClassifier; give its"):
        door(fitted, *arguments[door], **options)
