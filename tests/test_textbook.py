"""The course's functions against the course's arithmetic, finite differences and PyTorch."""

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.counting_double import CountingDouble
from xpnet import InputError, textbook
from xpnet.textbook import (
    L_model_backward,
    L_model_forward,
    compute_cost,
    initialize_parameters,
    initialize_parameters_deep,
    linear_activation_backward,
    linear_activation_forward,
    linear_backward,
    linear_forward,
    predict,
    update_parameters,
)

ACTIVATIONS = ["leaky_relu", "linear", "relu", "sigmoid", "tanh"]
KINKED = {"relu", "leaky_relu"}


def problem(rng, n_0, m):
    """Columns of random examples with random labels."""
    return rng.standard_normal((n_0, m)), rng.integers(0, 2, (1, m)).astype(float)


def random_parameters(rng, sizes):
    """Parameters whose biases are not zero and whose weights are not small."""
    parameters = initialize_parameters_deep(sizes, random_state=rng)
    return {k: v + 0.1 * rng.standard_normal(v.shape) for k, v in parameters.items()}


def forward_with_margin(rng, sizes, m, names):
    """A problem no Z of which lies at a kink, where a difference quotient would straddle it."""
    while True:
        X, Y = problem(rng, sizes[0], m)
        parameters = random_parameters(rng, sizes)
        AL, caches = L_model_forward(X, parameters, activation=names)
        kinked = [Z for (_, Z), name in zip(caches, names, strict=False) if name in KINKED]
        if all(np.abs(Z).min() > 1e-4 for Z in kinked):
            return X, Y, parameters, AL, caches


def differences(function, value, step=1e-6):
    """Central differences of *function* by each entry of *value*, changed in place and restored."""
    slopes = np.empty_like(value)
    for place in np.ndindex(value.shape):
        old = value[place]
        value[place] = old + step
        above = function()
        value[place] = old - step
        slopes[place] = (above - function()) / (2 * step)
        value[place] = old
    return slopes


def assert_close(actual, expected, tolerance=1e-7):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


# --- activations ----------------------------------------------------------------------------------

Z = np.array([[-2.0, -0.5, 0.0], [0.5, 1.0, 3.0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", 1 / (1 + np.exp(-Z))),
        ("relu", [[0, 0, 0], [0.5, 1, 3]]),
        ("leaky_relu", [[-0.02, -0.005, 0], [0.5, 1, 3]]),
        ("tanh", [[math.tanh(z) for z in row] for row in Z]),
        ("linear", Z),
    ],
)
def test_activation_and_its_cache(name, expected):
    A, cache = getattr(textbook, name)(Z)
    np.testing.assert_allclose(A, expected, rtol=1e-15)
    assert cache is Z


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [[0, 0, 0], [4, 5, 6]]),
        ("leaky_relu", [[0.01, 0.02, 0.03], [4, 5, 6]]),
        ("sigmoid", np.arange(1, 7).reshape(2, 3) * np.exp(-Z) / (1 + np.exp(-Z)) ** 2),
        ("tanh", np.arange(1, 7).reshape(2, 3) / np.cosh(Z) ** 2),
    ],
)
def test_activation_backward(name, expected):
    dA = np.arange(1.0, 7.0).reshape(2, 3)
    np.testing.assert_allclose(
        getattr(textbook, f"{name}_backward")(dA, Z), expected, rtol=1e-14, atol=0
    )
    np.testing.assert_array_equal(dA, np.arange(1.0, 7.0).reshape(2, 3))


@given(st.floats(-700, 700))
def test_sigmoid_is_exact_where_floats_can_tell(z):
    A, _ = textbook.sigmoid(np.array([[z]]))
    exact = 1 / (1 + math.exp(-z))
    assert A[0, 0] == pytest.approx(exact, rel=1e-15)
    assert 0 < A[0, 0] < 1


def test_sigmoid_of_zero_is_one_half():
    for dtype in ("float32", "float64"):
        assert textbook.sigmoid(np.zeros((1, 1), dtype))[0] == 0.5


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_values_are_finite_and_keep_their_dtype(name, dtype):
    far = np.array([[-1e4, -100, -1e-40, 0, 1e-40, 100, 1e4]], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        A, cache = getattr(textbook, name)(far)
        _, layer = linear_activation_forward(far, np.ones((1, 1), dtype), 0 * far[:, :1], name)
        gradients = linear_activation_backward(np.ones_like(far), layer, name)
    for array in (A, cache, *gradients):
        assert array.dtype == dtype
        assert np.isfinite(array).all()


def test_unknown_activation_names_the_known():
    known = r"expected one of leaky_relu, linear, relu, sigmoid, tanh; got 'swish'"
    A, W, b = np.ones((2, 3)), np.ones((1, 2)), np.ones((1, 1))
    with pytest.raises(InputError, match=known):
        linear_activation_forward(A, W, b, "swish")
    with pytest.raises(InputError, match=known):
        linear_activation_backward(np.ones((1, 3)), ((A, W, b), np.ones((1, 3))), "swish")


# --- parameters -----------------------------------------------------------------------------------


def test_initialize_parameters_are_the_courses():
    parameters = initialize_parameters(3, 2, 1)
    random = np.random.RandomState(1)
    np.testing.assert_array_equal(parameters["W1"], random.randn(2, 3) * 0.01)
    np.testing.assert_array_equal(parameters["W2"], random.randn(1, 2) * 0.01)
    assert parameters["W1"][0, 0] == pytest.approx(0.01624345)  # printed in the notes
    assert list(parameters) == ["W1", "b1", "W2", "b2"]


@pytest.mark.parametrize(
    ("init", "scale"),
    [
        ("random", lambda _: 0.01),
        ("xavier", lambda n: 1 / np.sqrt(n)),
        ("he", lambda n: np.sqrt(2 / n)),
    ],
)
def test_initialize_parameters_deep_draws_layer_by_layer(init, scale):
    sizes = (5, 4, 3, 1)
    parameters = initialize_parameters_deep(sizes, init=init, random_state=3)
    random = np.random.RandomState(3)
    assert list(parameters) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1):
        W, b = parameters[f"W{layer}"], parameters[f"b{layer}"]
        np.testing.assert_allclose(W, random.randn(n_out, n_in) * scale(n_in), rtol=1e-15)
        np.testing.assert_array_equal(b, np.zeros((n_out, 1)))
        assert not np.signbit(b).any()


def test_initialize_goes_on_with_a_generator():
    rng = np.random.default_rng(0)
    first, second = (initialize_parameters(2, 2, 1, random_state=rng) for _ in range(2))
    assert (first["W1"] != second["W1"]).all()


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0, 1), (-1, 1), "34", [3, 1.5], None, 3])
def test_layer_dims_must_be_sizes(sizes):
    with pytest.raises(InputError, match="layer_dims: expected two or more sizes"):
        initialize_parameters_deep(sizes)


def test_unknown_init_names_the_known():
    with pytest.raises(
        InputError, match=r"init: expected one of glorot_normal, .* xavier; got 'glorot'"
    ):
        initialize_parameters_deep((2, 1), init="glorot")


def test_update_parameters_returns_new_ones_and_changes_none(rng):
    parameters = random_parameters(rng, (3, 2, 1))
    grads = {f"d{k}": rng.standard_normal(v.shape) for k, v in parameters.items()}
    grads["dA0"] = np.ones((3, 5))
    before = {k: v.copy() for k, v in (parameters | grads).items()}
    updated = update_parameters(parameters, grads, 0.5)
    assert list(updated) == list(parameters)
    for name, value in parameters.items():
        np.testing.assert_array_equal(updated[name], value - 0.5 * grads[f"d{name}"])
        assert not np.shares_memory(updated[name], value)
    for name, value in (parameters | grads).items():
        np.testing.assert_array_equal(value, before[name])


def test_update_parameters_keeps_float32():
    parameters = {"W1": np.ones((1, 1), "float32"), "b1": np.ones((1, 1), "float32")}
    updated = update_parameters(
        parameters, {"dW1": parameters["W1"], "db1": parameters["b1"]}, np.float64(0.1)
    )
    assert {value.dtype.name for value in updated.values()} == {"float32"}


def test_update_parameters_wants_each_gradient_in_its_shape():
    parameters = {"W1": np.ones((1, 2)), "b1": np.ones((1, 1))}
    with pytest.raises(InputError, match=r"grads: expected db1 for parameter b1; got \['dW1'\]"):
        update_parameters(parameters, {"dW1": np.ones((1, 2))}, 0.1)
    with pytest.raises(InputError, match=r"dW1: expected shape \(1, 2\).*got \(2, 1\)"):
        update_parameters(parameters, {"dW1": np.ones((2, 1)), "db1": np.ones((1, 1))}, 0.1)


# --- forward --------------------------------------------------------------------------------------


def test_linear_forward_by_hand():
    A, W, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[10.0, 1.0]]), np.array([[0.5]])
    Z, cache = linear_forward(A, W, b)
    np.testing.assert_array_equal(Z, [[13.5, 24.5]])
    assert all(kept is given for kept, given in zip(cache, (A, W, b), strict=True))


def test_linear_activation_forward_keeps_both_caches(rng):
    A_prev, W, b = rng.standard_normal((2, 5)), rng.standard_normal((3, 2)), np.ones((3, 1))
    A, (linear_cache, kept) = linear_activation_forward(A_prev, W, b, "relu")
    Z, _ = linear_forward(A_prev, W, b)
    np.testing.assert_array_equal(kept, Z)
    np.testing.assert_array_equal(A, np.maximum(0, Z))
    assert linear_cache[0] is A_prev
    assert linear_cache[1] is W
    assert linear_cache[2] is b


def test_model_forward_chains_its_layers(rng):
    X, _ = problem(rng, 4, 6)
    parameters = random_parameters(rng, (4, 3, 2, 1))
    AL, caches = L_model_forward(X, parameters, activation=["tanh", "leaky_relu"])
    A1 = np.tanh(parameters["W1"] @ X + parameters["b1"])
    Z2 = parameters["W2"] @ A1 + parameters["b2"]
    A2 = np.where(Z2 > 0, Z2, 0.01 * Z2)
    Z3 = parameters["W3"] @ A2 + parameters["b3"]
    assert_close(AL, 1 / (1 + np.exp(-Z3)), 1e-14)
    assert len(caches) == 3
    for layer, (A_prev, Z) in enumerate([(X, None), (A1, Z2), (A2, Z3)], start=1):
        (cached_A, cached_W, cached_b), cached_Z = caches[layer - 1]
        assert_close(cached_A, A_prev, 1e-14)
        assert cached_W is parameters[f"W{layer}"]
        assert cached_b is parameters[f"b{layer}"]
        if Z is not None:
            assert_close(cached_Z, Z, 1e-14)


def test_one_name_is_that_of_every_hidden_layer(rng):
    X, _ = problem(rng, 2, 3)
    parameters = random_parameters(rng, (2, 3, 3, 1))
    one, _ = L_model_forward(X, parameters, activation="tanh")
    each, _ = L_model_forward(X, parameters, activation=("tanh", "tanh"))
    np.testing.assert_array_equal(one, each)
    with pytest.raises(InputError, match=r"expected one name, or 2 for the hidden layers of 3"):
        L_model_forward(X, parameters, activation=["tanh"])


def test_predict_takes_more_than_one_half_for_one():
    parameters = {"W1": np.array([[1.0]]), "b1": np.array([[0.0]])}
    labels = predict(np.array([[-3.0, 0.0, 1e-9, 5.0]]), parameters)
    np.testing.assert_array_equal(labels, [[0, 0, 1, 1]])
    assert labels.dtype.kind == "i"


def test_rows_instead_of_columns_say_so(rng):
    X, parameters = rng.standard_normal((10, 3)), random_parameters(rng, (3, 2, 1))
    message = r"A: expected shape \(n_prev, m\) .*\(2, 3\).*; got \(10, 3\); pass X.T"
    for function in (L_model_forward, predict):
        with pytest.raises(InputError, match=message):
            function(X, parameters)


def test_shapes_are_checked_before_they_broadcast(rng):
    A, W = rng.standard_normal((2, 3)), rng.standard_normal((4, 2))
    with pytest.raises(InputError, match=r"b: expected shape \(4, 1\).*got \(4,\)"):
        linear_forward(A, W, np.ones(4))
    _, cache = linear_forward(A, W, np.ones((4, 1)))
    with pytest.raises(InputError, match=r"dZ: expected shape \(4, 3\).*got \(1, 3\)"):
        linear_backward(np.ones((1, 3)), cache)
    with pytest.raises(InputError, match=r"dA: expected shape \(4, 3\).*got \(1, 3\)"):
        linear_activation_backward(np.ones((1, 3)), (cache, np.ones((4, 3))), "relu")
    with pytest.raises(InputError, match=r"Y: expected shape \(1, 3\).*got \(3,\)"):
        compute_cost(np.full((1, 3), 0.5), np.ones(3))
    with pytest.raises(InputError, match=r"Y: expected shape \(1, 3\).*got \(3, 1\)"):
        L_model_backward(np.full((1, 3), 0.5), np.ones((3, 1)), [])


def test_parameters_must_be_whole(rng):
    X, parameters = rng.standard_normal((3, 4)), random_parameters(rng, (3, 2, 1))
    del parameters["b1"]
    with pytest.raises(InputError, match=r"expected W1, b1, ..., WL, bL; got \['W1', 'W2', 'b2'\]"):
        L_model_forward(X, parameters)
    with pytest.raises(InputError, match=r"got \[\]"):
        L_model_forward(X, {})


# --- cost -----------------------------------------------------------------------------------------


def test_cost_by_hand():
    AL, Y = np.array([[0.8, 0.9, 0.4]]), np.array([[1, 1, 0]])
    by_hand = -(math.log(0.8) + math.log(0.9) + math.log(0.6)) / 3
    assert compute_cost(AL, Y) == pytest.approx(by_hand, rel=1e-15)
    assert compute_cost(AL, Y) == pytest.approx(0.2797765635793423)  # the notes print 0.27977656


@pytest.mark.parametrize("kind", [int, bool, "float32", "float64"])
def test_labels_of_any_kind_of_number(kind):
    AL = np.array([[0.25, 0.5, 0.75]], "float32")
    Y = np.array([[0, 1, 1]]).astype(kind)
    expected = -(math.log(0.75) + math.log(0.5) + math.log(0.75)) / 3
    assert compute_cost(AL, Y) == pytest.approx(expected, rel=1e-6)
    _, caches = L_model_forward(AL, {"W1": np.ones((1, 1), "f4"), "b1": np.ones((1, 1), "f4")})
    grads = L_model_backward(AL, Y, caches)
    assert {gradient.dtype.name for gradient in grads.values()} == {"float32"}


# --- backward -------------------------------------------------------------------------------------


def test_linear_backward_by_hand():
    A_prev, W = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[10.0, 20.0]])
    dA_prev, dW, db = linear_backward(np.array([[1.0, -3.0]]), (A_prev, W, np.ones((1, 1))))
    np.testing.assert_array_equal(dA_prev, [[10, -30], [20, -60]])
    np.testing.assert_array_equal(dW, [[-2.5, -4.5]])
    np.testing.assert_array_equal(db, [[-1]])


def test_gradients_are_those_of_each_layers_own(rng):
    sizes, m = (4, 3, 2, 1), 5
    X, Y = problem(rng, 4, m)
    AL, caches = L_model_forward(X, random_parameters(rng, sizes))
    grads = L_model_backward(AL, Y, caches)
    expected = {f"dA{layer}": (n, m) for layer, n in enumerate(sizes)}
    for layer in (1, 2, 3):
        expected[f"dW{layer}"] = (sizes[layer], sizes[layer - 1])
        expected[f"db{layer}"] = (sizes[layer], 1)
    assert {name: gradient.shape for name, gradient in grads.items()} == expected
    assert_close(grads["dA3"], -(Y / AL - (1 - Y) / (1 - AL)), 1e-14)


@pytest.mark.parametrize("m", [1, 7])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_the_slopes_of_the_cost(activation, depth, m, rng):
    sizes = (*(3, 4, 2, 3)[:depth], 1)
    names = [activation] * (depth - 1)
    X, Y, parameters, AL, caches = forward_with_margin(rng, sizes, m, names)
    grads = L_model_backward(AL, Y, caches, activation=names)

    def cost():
        return compute_cost(L_model_forward(X, parameters, activation=names)[0], Y)

    for name, value in parameters.items():
        assert_close(grads[f"d{name}"], differences(cost, value), 1e-7)
    # dA is of each example's own loss, m times its share in the mean.
    assert_close(grads["dA0"] / m, differences(cost, X), 1e-7)


@given(data=st.data(), depth=st.integers(1, 5), m=st.integers(1, 20), seed=st.integers(0, 2**31))
@settings(max_examples=60)
def test_gradients_are_pytorchs(data, depth, m, seed):
    torch = pytest.importorskip("torch", reason="PyTorch, an independent judge, is not installed")
    functions = {
        "leaky_relu": lambda Z: torch.nn.functional.leaky_relu(Z, 0.01),
        "linear": lambda Z: Z,
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }
    names = data.draw(
        st.lists(st.sampled_from(ACTIVATIONS), min_size=depth - 1, max_size=depth - 1)
    )
    sizes = [*data.draw(st.lists(st.integers(1, 6), min_size=depth, max_size=depth)), 1]
    rng = np.random.default_rng(seed)
    X, Y = problem(rng, sizes[0], m)
    parameters = random_parameters(rng, sizes)
    AL, caches = L_model_forward(X, parameters, activation=names)
    grads = L_model_backward(AL, Y, caches, activation=names)

    leaves = {k: torch.tensor(v, requires_grad=True) for k, v in parameters.items()}
    A = torch.tensor(X)
    for layer, name in enumerate(names, start=1):
        A = functions[name](leaves[f"W{layer}"] @ A + leaves[f"b{layer}"])
    logits = leaves[f"W{depth}"] @ A + leaves[f"b{depth}"]
    torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(Y)).backward()
    for name, leaf in leaves.items():
        assert_close(grads[f"d{name}"], leaf.grad.numpy(), 1e-10)


def test_a_hidden_layers_gradient_flows_from_the_layer_above(rng):
    X, Y = problem(rng, 3, 4)
    parameters = random_parameters(rng, (3, 3, 3, 1))
    AL, caches = L_model_forward(X, parameters)
    grads = L_model_backward(AL, Y, caches)
    for layer in (3, 2, 1):
        name = "sigmoid" if layer == 3 else "relu"
        below = linear_activation_backward(grads[f"dA{layer}"], caches[layer - 1], name)
        for gradient, key in zip(
            below, (f"dA{layer - 1}", f"dW{layer}", f"db{layer}"), strict=True
        ):
            np.testing.assert_array_equal(grads[key], gradient)


def test_backward_changes_nothing_it_was_given(rng):
    X, Y = problem(rng, 3, 4)
    parameters = random_parameters(rng, (3, 2, 1))
    AL, caches = L_model_forward(X, parameters, activation="linear")
    kept = [X, Y, AL, *parameters.values(), *(Z for _, Z in caches)]
    before = [array.copy() for array in kept]
    L_model_backward(AL, Y, caches, activation="linear")
    for array, copy in zip(kept, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("slip", ["no mask", "gradient from the top"])
def test_a_known_slip_would_be_found(slip, monkeypatch, rng):
    if slip == "no mask":
        unmasked = (textbook.relu, lambda dA, _: dA)
        monkeypatch.setitem(textbook._ACTIVATIONS, "relu", unmasked)
    else:
        right, top = textbook.linear_activation_backward, []

        def from_the_top(dA, cache, name):
            top.append(dA if not top else right(top[0], top_cache, "sigmoid")[0])
            return right(top[-1], cache, name)

        monkeypatch.setattr(textbook, "linear_activation_backward", from_the_top)
    sizes, names = (3, 3, 3, 3, 1), ["relu"] * 3
    X, Y, parameters, AL, caches = forward_with_margin(rng, sizes, 7, names)
    top_cache = caches[-1]
    grads = L_model_backward(AL, Y, caches)

    def cost():
        return compute_cost(L_model_forward(X, parameters)[0], Y)

    with pytest.raises(AssertionError):
        assert_close(grads["dW1"], differences(cost, parameters["W1"]))


# --- saturation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saturated_output_still_learns(dtype):
    X = np.array([[1e4, 1e4, -1e4, -1e4, 40.0, -40.0]], dtype)
    Y = np.array([[1, 0, 1, 0, 0, 1]], dtype)
    parameters = {"W1": np.ones((1, 1), dtype), "b1": np.zeros((1, 1), dtype)}
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        AL, caches = L_model_forward(X, parameters)
        cost = compute_cost(AL, Y)
        grads = L_model_backward(AL, Y, caches)
    assert math.isfinite(cost)
    assert {g.dtype.name for g in grads.values()} == {dtype}
    # W is 1, so dA0 is dZ, which is AL - Y: one where the answer is surely wrong, not zero.
    np.testing.assert_allclose(grads["dA0"], [[0, 1, -1, 0, 1, -1]], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_zeros_and_ones_cost_nothing_where_they_are_right(dtype):
    AL = np.array([[0.0, 1.0]], dtype)
    with np.errstate(all="raise"):
        assert compute_cost(AL, np.array([[0, 1]])) == 0.0
        assert 30 < compute_cost(AL, np.array([[1, 0]])) < math.inf
    zero = np.zeros((1, 2), dtype)
    caches = [((zero, zero[:, :1], zero[:, :1]), zero)]
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        for labels in ([[0, 1]], [[1, 0]]):
            grads = L_model_backward(AL, np.array(labels), caches)
            assert all(np.isfinite(gradient).all() for gradient in grads.values())


# --- other libraries ------------------------------------------------------------------------------


def run(parameters, X, Y, names):
    """Every function once: the updated parameters, the gradients, the predictions, the cost."""
    AL, caches = L_model_forward(X, parameters, activation=names)
    grads = L_model_backward(AL, Y, caches, activation=names)
    updated = update_parameters(parameters, grads, 0.1)
    arrays = grads | updated | {"predictions": predict(X, parameters, activation=names)}
    return arrays, compute_cost(AL, Y)


@pytest.fixture(params=["double", "strict", "cupy"])
def library(request, monkeypatch):
    """A namespace other than NumPy's, and its door out."""
    if request.param == "double":
        double = CountingDouble()
        monkeypatch.setitem(sys.modules, "cupy", double)
        return double, double.asnumpy
    if request.param == "strict":
        reason = "array-api-strict is not installed"
        return pytest.importorskip("array_api_strict", reason=reason), np.asarray
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("CuPy finds no CUDA device")
    return cupy, cupy.asnumpy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_libraries_give_numpys_numbers(library, dtype, rng):
    xp, to_host = library
    names = ["relu", "leaky_relu", "tanh", "sigmoid", "linear"]
    X, Y = (array.astype(dtype) for array in problem(rng, 3, 5))
    parameters = random_parameters(rng, (3, 4, 4, 4, 4, 4, 1))
    parameters = {name: value.astype(dtype) for name, value in parameters.items()}
    expected, cost = run(parameters, X, Y, names)

    theirs = {name: xp.asarray(value) for name, value in parameters.items()}
    found, their_cost = run(theirs, xp.asarray(X), xp.asarray(Y), names)
    tolerance = 100 * float(np.finfo(dtype).eps)
    assert isinstance(their_cost, float)
    assert their_cost == pytest.approx(cost, rel=tolerance)
    for name, value in expected.items():
        assert type(found[name]) is type(theirs["W1"])
        host = to_host(found[name])
        assert host.dtype == value.dtype
        np.testing.assert_allclose(host, value, rtol=tolerance, atol=tolerance)


def test_libraries_are_not_mixed(monkeypatch, rng):
    double = CountingDouble()
    monkeypatch.setitem(sys.modules, "cupy", double)
    X, _ = problem(rng, 3, 5)
    with pytest.raises(InputError, match="one library"):
        L_model_forward(double.asarray(X), random_parameters(rng, (3, 1)))


# --- all of it ------------------------------------------------------------------------------------


def test_gradient_descent_learns_xor_of_signs(rng):
    X = rng.uniform(-1, 1, (2, 200))
    Y = (X[:1] * X[1:] > 0).astype(float)
    parameters = initialize_parameters_deep((2, 16, 1), init="he")
    for _ in range(1500):
        AL, caches = L_model_forward(X, parameters, activation="tanh")
        grads = L_model_backward(AL, Y, caches, activation="tanh")
        parameters = update_parameters(parameters, grads, 0.5)
    assert (predict(X, parameters, activation="tanh") == Y).mean() > 0.95


def test_all_names_the_public_functions():
    public = {
        name
        for name, value in vars(textbook).items()
        if callable(value) and getattr(value, "__module__", "") == "xpnet.textbook"
    }
    assert sorted(textbook.__all__) == sorted(name for name in public if not name.startswith("_"))


@pytest.mark.parametrize("rate", ["fast", None, float("nan"), True])
def test_learning_rate_must_be_a_number(rate):
    parameters = initialize_parameters_deep((2, 1))
    grads = {f"d{name}": value for name, value in parameters.items()}
    with pytest.raises(InputError, match="learning_rate: expected a number; got"):
        update_parameters(parameters, grads, rate)


@pytest.mark.parametrize("activation", [None, 3, [None]])
def test_an_activation_that_is_no_name_is_refused(activation):
    parameters = initialize_parameters_deep((2, 3, 1))
    with pytest.raises(InputError, match="activation: expected one of"):
        L_model_forward(np.ones((2, 5)), parameters, activation=activation)
