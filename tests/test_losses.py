"""The losses: values and derivatives, against plain formulas, PyTorch and finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import GradientMismatch, InputError, Network, check_gradients, train
from xpnet.compiler import Compiler
from xpnet.formulas import softplus
from xpnet.losses import LOSSES, Loss, focal, get_loss

DTYPES = ("float32", "float64")
ALL = {**LOSSES, "focal of 0": focal(0.0), "focal of 0.5": focal(0.5), "focal of 5": focal(5.0)}
ENDS = {"squared_hinge": 1e18}  # a square of more is infinite in float32


def plain(name, z, y):
    """The loss as textbooks write it."""
    p = 1.0 / (1.0 + np.exp(-z))
    if name == "logistic":
        return -y * np.log(p) - (1 - y) * np.log(1 - p)
    if name == "squared_hinge":
        return np.maximum(0.0, 1.0 - (2 * y - 1) * z) ** 2
    gamma = {"focal": 2.0}.get(name) if name == "focal" else float(name.split()[-1])
    return -y * (1 - p) ** gamma * np.log(p) - (1 - y) * p**gamma * np.log(1 - p)


@pytest.mark.parametrize("name", ALL)
@given(z=st.floats(-15, 15), y=st.floats(0, 1))
@settings(max_examples=200)
def test_values_are_the_textbooks(name, z, y):
    got = ALL[name].value(np, np.array([z]), np.array([y]))[0]
    assert got == pytest.approx(plain(name, z, y), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("name", ALL)
@given(z=st.floats(-30, 30), y=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)))
@settings(max_examples=300)
def test_gradients_are_finite_differences(name, z, y):
    loss, h = ALL[name], 1e-5
    below, here, above = loss.value(np, np.array([z - h, z, z + h]), np.full(3, y))
    got = loss.gradient(np, np.array([z]), np.array([y]))[0]
    # The slope of the squared hinge bends at a margin of 1: there alone the difference is off by h.
    bends = name == "squared_hinge" and abs(z * (2 * y - 1) - 1) <= h
    absolute = 1e-9 * (1 + here) + 4 * h * bends
    assert got == pytest.approx((above - below) / (2 * h), rel=2e-5, abs=absolute)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_logistic_loss_is_pytorchs(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    z, y = np.linspace(-40, 40, 161).astype(dtype), (np.arange(161) % 3 / 2).astype(dtype)
    Z = torch.tensor(z.astype("float64"), requires_grad=True)
    judge = torch.nn.functional.binary_cross_entropy_with_logits(
        Z, torch.tensor(y.astype("float64")), reduction="none"
    )
    judge.sum().backward()
    loss, eps = LOSSES["logistic"], np.finfo(dtype).eps
    value, gradient = loss.value(np, z, y), loss.gradient(np, z, y)
    assert value.dtype == gradient.dtype == dtype
    # z - zy cancels where y is near 1
    np.testing.assert_allclose(value, judge.detach().numpy(), rtol=8 * eps, atol=40 * eps)
    np.testing.assert_allclose(gradient, Z.grad.numpy(), rtol=8 * eps, atol=2 * eps)


def test_focal_of_0_is_the_logistic_loss():
    z, y = np.linspace(-50, 50, 401), np.arange(401) % 2 * 1.0
    for what in ("value", "gradient"):
        zero, logistic = (getattr(loss, what)(np, z, y) for loss in (focal(0), LOSSES["logistic"]))
        np.testing.assert_allclose(zero, logistic, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_compiled_routines_are_the_formulas(backend, name, dtype, weighted):
    """And they are finite for every finite logit, silently."""
    loss, end = ALL[name], ENDS.get(name, 1e30)
    z = np.array([s * x for s in (1, -1) for x in (0, 1e-30, 1e-8, 0.5, 1, 19, 41, 104, 1e4, end)])
    z = np.concatenate([z, z]).astype(dtype).reshape(1, -1)
    y = np.repeat([0.0, 1.0], z.size // 2).astype(dtype).reshape(1, -1)
    w = np.linspace(0.5, 3, z.size).astype(dtype).reshape(1, -1)
    send, host = backend.asarray, backend.to_host
    with np.errstate(over="raise", divide="raise", invalid="raise"), backend:
        Z, Y, b = send(z.copy()), send(y), send(np.full((1, 1), 0.5, dtype))
        losses = backend.xp.empty_like(Z)
        formula, more = (loss.weighted, [send(w)]) if weighted else (loss.both, [])
        backend.compiler()(formula, Z, losses, b, Y, *more)(0.25)
        z += z.dtype.type(0.5)
        value, gradient = loss.value(np, z, y), loss.gradient(np, z, y)
    assert np.isfinite(host(Z)).all()
    assert np.isfinite(host(losses)).all()
    eps, factor = np.finfo(dtype).eps, w if weighted else 1.0
    for mine, expected in ((losses, value * factor), (Z, gradient * factor / 4)):
        np.testing.assert_allclose(host(mine), expected, rtol=8 * eps, atol=eps)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", DTYPES)
def test_array_api_strict_computes_them(name, dtype):
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    z, y = np.linspace(-9, 9, 40).astype(dtype), (np.arange(40) % 2).astype(dtype)
    device = strict.Device("device1")
    Z, Y = (strict.asarray(a, device=device) for a in (z, y))
    eps = np.finfo(dtype).eps
    for formula in (ALL[name].value, ALL[name].gradient):
        got = formula(strict, Z, Y)
        assert got.device == device
        back = np.asarray(got.to_device(strict.Device("CPU_DEVICE")))
        assert back.dtype == dtype
        np.testing.assert_allclose(back, formula(np, z, y), rtol=8 * eps, atol=eps)


def problem(rng, m=40):
    X = rng.standard_normal((m, 3))
    return X, (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize("name", ALL)
def test_networks_learn_by_them(backend, name, rng):
    X, y = problem(rng)
    net = Network([3, 6, 1], "tanh", backend=backend, precision="float64", random_state=0)
    assert check_gradients(net, X, y, loss=ALL[name]) < 1e-6
    history = train(net, X, y, optimizer="adam", epochs=30, loss=ALL[name], validation_data=(X, y))
    assert history["loss"][-1] < 0.95 * history["loss"][0]
    assert net.training.loss == ALL[name].name
    values = ALL[name].value(np, net.decision_function(X), y)
    assert history["val_loss"][-1] == pytest.approx(np.mean(values), rel=1e-9)


def test_a_loss_of_ones_own(backend, rng):
    X, y = problem(rng)
    kinds = {"optimizer": "adam", "epochs": 20, "batch_size": 16}
    again = Loss(
        "again",
        lambda xp, z, y: softplus(xp, z) - z * y,
        lambda xp, z, y: 1.0 / (1.0 + xp.exp(-xp.maximum(z, -80.0))) - y,
    )
    mine, theirs = (Network([3, 5, 1], backend=backend, random_state=0) for _ in range(2))
    found = train(mine, X, y, loss=again, **kinds)["loss"]
    np.testing.assert_allclose(found, train(theirs, X, y, **kinds)["loss"], rtol=1e-4)
    assert mine.training.loss == "again"
    assert check_gradients(mine, X, y, loss=again) < 1e-6
    wrong = Loss("wrong", again.value, lambda xp, z, y: z - y)
    with pytest.raises(GradientMismatch, match="do not fit the forward ones"):
        check_gradients(mine, X, y, loss=wrong)


def test_a_loss_is_compiled_once():
    loss = focal(1.5)
    assert loss.both is loss.both
    assert loss.name == "focal(1.5)"
    assert focal().name == "focal"
    assert Compiler()(loss.both, *np.ones((3, 1, 4)), np.ones((1, 4))) is not None


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("hinge", "loss: expected one of focal, logistic, squared_hinge; got 'hinge'"),
        (None, "loss: expected one of .*; got None"),
        (lambda z, y: z, r"loss: expected a name or Loss\(name, value, gradient\), so that its"),
    ],
)
def test_what_is_no_loss_is_refused(loss, words, rng):
    with pytest.raises(InputError, match=words):
        get_loss(loss)
    net = Network([3, 1], backend="numpy")
    with pytest.raises(InputError, match=words):
        train(net, *problem(rng), optimizer="sgd", epochs=1, loss=loss)
    assert net.training is None


@pytest.mark.parametrize("gamma", [-0.1, np.nan, np.inf, "2", True])
def test_a_wrong_gamma_is_refused(gamma):
    with pytest.raises(InputError, match="gamma: expected a number at least 0; got"):
        focal(gamma)
