"""Activations: values and slopes, as published, as PyTorch's, by differences, at the extremes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import Network, get_backend
from xpnet.activations import ACTIVATIONS
from xpnet.layout import Layout

DTYPES = ("float32", "float64")
POINTS = np.concatenate([np.linspace(-9, -0.01, 90), np.linspace(0.01, 9, 90)])  # no kink within h
EXTREMES = np.array(
    [s * z for s in (1, -1) for z in (0, 1e-30, 1e-8, 0.5, 19, 21, 39, 41, 89, 104, 710, 1e4, 1e30)]
)
KINKED = {"relu", "leaky_relu", "selu"}  # they have two slopes at zero


def slope(activation, xp, Z):
    """``g'(Z)``, by the gradient of dA = 1, as the two passes would find it."""
    if activation.keeps_slope:
        A, kept = activation.value_and_slope(xp, Z)
    else:
        A = kept = activation.value(xp, Z)
    return activation.gradient(xp, xp.ones_like(A), kept)


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(z=st.floats(-30, 30), dA=st.floats(-3, 3))
@settings(max_examples=300)
def test_gradients_are_finite_differences(name, z, dA):
    activation, h = ACTIVATIONS[name], 1e-5
    if abs(z) <= h and name in KINKED | {"elu"}:  # ELU's second derivative jumps there
        z = 1.0
    around = activation.value(np, np.array([z - h, z, z + h]))
    expected = dA * (around[2] - around[0]) / (2 * h)
    got = dA * slope(activation, np, np.array([z]))[0]
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-9 * (1 + abs(around[1])))


def _published(z):
    """Each activation as its paper, or PyTorch's documentation, writes it."""
    sigmoid = 1 / (1 + np.exp(-z))
    below = np.exp(np.minimum(z, 0)) - 1
    return {
        "relu": np.where(z > 0, z, 0),
        "leaky_relu": np.where(z > 0, z, 0.01 * z),
        "elu": np.where(z > 0, z, below),
        "selu": 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * below),
        "softplus": np.log(1 + np.exp(z)),
        "gelu": z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
        "silu": z * sigmoid,
        "mish": z * np.tanh(np.log(1 + np.exp(z))),
        "tanh": (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
        "sigmoid": sigmoid,
        "linear": z,
    }


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_they_are_as_published(name):
    expected = _published(POINTS)[name]
    np.testing.assert_allclose(
        ACTIVATIONS[name].value(np, POINTS), expected, rtol=1e-12, atol=1e-15
    )


def test_selu_keeps_mean_0_and_variance_1():
    """What its two constants are for (Klambauer et al. 2017), by the trapezoidal rule."""
    z = np.linspace(-12, 12, 20_001)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    A = ACTIVATIONS["selu"].value(np, z)
    assert np.trapezoid(A * density, z) == pytest.approx(0.0, abs=1e-6)
    assert np.trapezoid(A * A * density, z) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", sorted(KINKED))
def test_at_a_kink_the_slope_is_that_below(name):
    at, below = slope(ACTIVATIONS[name], np, np.array([0.0, -1e-12]))
    assert at == pytest.approx(below, rel=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_they_are_pytorchs(name, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    functional = torch.nn.functional
    theirs = {
        "relu": torch.relu,
        "leaky_relu": lambda z: functional.leaky_relu(z, 0.01),
        "elu": functional.elu,
        "selu": functional.selu,
        "softplus": lambda z: functional.softplus(z, threshold=80),
        "gelu": lambda z: functional.gelu(z, approximate="tanh"),
        "silu": functional.silu,
        "mish": functional.mish,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "linear": lambda z: z * 1.0,
    }[name]
    mine = np.append(POINTS, 0.0).astype(dtype)
    Z = torch.tensor(mine.astype("float64"), requires_grad=True)  # their float32 rounds more
    A = theirs(Z)
    A.sum().backward()
    activation, eps = ACTIVATIONS[name], np.finfo(dtype).eps
    got = activation.value(np, mine)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, A.detach().numpy(), rtol=8 * eps, atol=8 * eps)
    gradient = slope(activation, np, mine)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, Z.grad.numpy(), rtol=32 * eps, atol=32 * eps)


@pytest.mark.parametrize("name", ["silu", "mish", "softplus", "elu", "selu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_small_values_keep_their_digits(name, dtype):
    """Far below zero, and near it, they are right to relative precision, not only to absolute."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    Z = np.concatenate([np.linspace(-80, -5, 200), np.linspace(-1e-6, 1e-6, 51)]).astype(dtype)
    judge = {
        "silu": lambda z: z * torch.sigmoid(z),
        "mish": lambda z: z * torch.tanh(torch.log1p(torch.exp(z))),
        "softplus": lambda z: torch.log1p(torch.exp(z)),
        "elu": torch.nn.functional.elu,
        "selu": torch.nn.functional.selu,
    }[name](torch.tensor(Z, dtype=torch.float64))
    got = ACTIVATIONS[name].value(np, Z)
    np.testing.assert_allclose(got, judge.numpy(), rtol=16 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_finite_number_is_finite_and_silent(backend, name, dtype):
    activation = ACTIVATIONS[name]
    Z = EXTREMES.astype(dtype).reshape(2, -1)
    with np.errstate(over="raise", divide="raise", invalid="raise"), backend:
        there = backend.asarray(Z.copy())
        A = backend.to_host(activation.value(backend.xp, there)).ravel()
        zeros = [backend.asarray(np.zeros_like(Z)) for _ in range(3)]
        written = [there, zeros[0]] if activation.keeps_slope else [there]
        dZ, b = zeros[1] + 1.0, zeros[2][:, :1]
        backend.compiler()(activation.forward, *written, b)()
        backend.compiler()(activation.backward, dZ, written[-1])()
    D = backend.to_host(dZ).ravel()
    assert np.isfinite(A).all()
    assert np.isfinite(D).all()
    eps, below = np.finfo(dtype).eps, Z.ravel() < -50
    scale = {"selu": 1.0507009873554805}.get(name, 1.0)
    line, flat = scale * np.maximum(Z.ravel(), 0.0), np.zeros(Z.size)
    at_ends = {  # value and slope far above, value and slope far below
        "leaky_relu": (line, 1.0, 0.01 * Z.ravel(), 0.01),
        "elu": (line, 1.0, flat - 1.0, 0.0),
        "selu": (line, scale, flat - scale * 1.6732632423543772, 0.0),
        "tanh": (flat + 1.0, 0.0, flat - 1.0, 0.0),
        "sigmoid": (flat + 1.0, 0.0, flat, 0.0),
        "linear": (Z.ravel(), 1.0, Z.ravel(), 1.0),
    }.get(name, (line, 1.0, flat, 0.0))
    above = Z.ravel() > 50
    for where, value, end in ((above, *at_ends[:2]), (below, *at_ends[2:])):
        np.testing.assert_allclose(A[where], value[where], rtol=4 * eps, atol=eps)
        np.testing.assert_allclose(D[where], end, rtol=4 * eps, atol=4 * eps)


@pytest.mark.parametrize("name", [n for n, a in ACTIVATIONS.items() if a.keeps_slope])
def test_value_alone_is_the_value_beside_the_slope(name):
    A, _ = ACTIVATIONS[name].value_and_slope(np, POINTS)
    np.testing.assert_array_equal(ACTIVATIONS[name].value(np, POINTS), A)


@pytest.mark.parametrize("name", [n for n, a in ACTIVATIONS.items() if not a.keeps_slope])
def test_what_keeps_a_alone_is_monotonic(name):
    """So that A determines the slope."""
    A = ACTIVATIONS[name].value(np, np.sort(POINTS))
    assert (np.diff(A) >= 0).all()


# --- in a network ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_networks_gradients_are_pytorchs(backend, name, rng):
    """With both kinds of layer side by side, and one below a layer of one unit."""
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    X, y = rng.standard_normal((23, 5)), rng.integers(0, 2, 23)
    names = [name, "tanh", "gelu", name]
    net = Network([5, 4, 6, 3, 2, 1], names, backend=backend, random_state=0).to(backend, "float64")
    net.theta += 0.1
    leaves = {
        k: torch.tensor(backend.to_host(v), requires_grad=True) for k, v in net.parameters.items()
    }
    theirs = {
        "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.01),
        "gelu": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
        "linear": lambda z: z,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
    }
    A = torch.tensor(X.T)
    for l, g in enumerate(names, start=1):
        Z = leaves[f"W{l}"] @ A + leaves[f"b{l}"]
        A = theirs[g](Z) if g in theirs else getattr(torch.nn.functional, g)(Z)
    Z = leaves["W5"] @ A + leaves["b5"]
    judge = torch.nn.functional.binary_cross_entropy_with_logits(Z[0], torch.tensor(y).double())
    judge.backward()
    loss, gradients = net.loss_and_gradients(X, y)
    assert loss == pytest.approx(judge.item(), rel=1e-12)
    np.testing.assert_allclose(net.decision_function(X), Z[0].detach().numpy(), rtol=1e-10)
    for k, leaf in leaves.items():
        got = backend.to_host(gradients[f"d{k}"])
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=1e-9, atol=1e-13)


def test_only_layers_that_keep_slopes_have_room_for_them():
    layout, m = Layout((7, 32, 64, 16, 1)), 48
    plain = layout.workspace_size(m, [False] * 3)
    assert layout.workspace_size(m, [False, True, False]) == plain + 64 * m
    flat = np.zeros(layout.workspace_size(m, [True, False, True]))
    views = layout.workspace(flat, m, [True, False, True])
    assert [None if D is None else D.shape for D in views.D] == [(32, m), None, (16, m)]
    apart = [*views.A, views.D[0], views.D[2], views.Y, views.last, *views.dZ[:2]]
    for view in apart:
        assert np.shares_memory(view, flat)
        view += 1.0
    assert flat.max() == 1.0, "two views share memory"


def test_predictions_compute_no_slopes(monkeypatch):
    net = Network([2, 3, 1], "gelu", backend=get_backend("numpy"), random_state=0)
    gelu = ACTIVATIONS["gelu"]
    monkeypatch.setitem(vars(gelu), "value_and_slope", None)
    assert np.isfinite(net.decision_function(np.ones((4, 2)))).all()


def test_a_slope_costs_no_launch(double, rng):
    X, y = double.asarray(rng.standard_normal((9, 3))), double.asarray(rng.integers(0, 2, 9))
    spent = {}
    for name in ACTIVATIONS:
        net = Network([3, 4, 5, 1], name, backend=double, random_state=0)
        before = double.xp.counts.snapshot()
        net.loss_and_gradients(X, y)
        spent[name] = (double.xp.counts - before).launches
    assert len(set(spent.values())) == 1, spent
