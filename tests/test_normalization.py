"""Layer normalisation and learnt input scales: against PyTorch and finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet.normalization
from xpnet import GradientMismatch, InputError, Network, check_gradients, train
from xpnet.activations import ACTIVATIONS
from xpnet.normalization import LayerNorm, normalize

KINDS = {
    "normalised": {"normalization": "layer"},
    "scaled": {"input_scale": True},
    "both": {"normalization": "layer", "input_scale": True},
}
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


def problem(rng, n_0=5, m=21):
    X = rng.standard_normal((m, n_0))
    return X, (X[:, 0] > 0).astype(int)


def network(backend, sizes=(5, 6, 4, 1), activation="tanh", dtype="float64", **kinds):
    """A network whose gains and scales are not all 1."""
    net = Network(sizes, activation, backend=backend, precision=dtype, random_state=0, **kinds)
    rng = np.random.default_rng(2)
    for view in net.parameters.values():
        view += backend_array(net, 0.1 * rng.standard_normal(view.shape))
    return net


def backend_array(net, host):
    return net.backend.asarray(host, net.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "m"), [(7, 12), (1, 5), (64, 1), (300, 40)])
def test_both_directions_are_pytorchs(backend, n, m, dtype, rng):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    Z, dY = 3.0 + 2.0 * rng.standard_normal((2, n, m))
    gamma = 1.0 + 0.2 * rng.standard_normal((n, 1))
    leaves = [torch.tensor(a, requires_grad=True) for a in (Z.T.copy(), gamma[:, 0].copy())]
    judge = torch.nn.functional.layer_norm(leaves[0], (n,), leaves[1])
    judge.backward(torch.tensor(dY.T.copy()))
    with backend:
        arrays = [backend.asarray(a.astype(dtype)) for a in (Z, dY, gamma)]
        there, dZ, gains = arrays
        ones, dgamma = backend.xp.ones((m, 1), dtype=dtype), backend.xp.zeros_like(gains)
        norm = LayerNorm(backend.xp, backend.compiler(), there, dZ, gains, dgamma, ones)
        plain = backend.to_host(normalize(backend.xp, backend.asarray(Z.astype(dtype)), gains))
        norm.forward()
        found = backend.to_host(there).copy()
        dZ[...] = backend.asarray(dY.astype(dtype))
        norm.backward()
    tolerance = {"rtol": 200 * EPS[dtype], "atol": 200 * EPS[dtype]}
    np.testing.assert_allclose(found, judge.detach().numpy().T, **tolerance)
    np.testing.assert_allclose(plain, judge.detach().numpy().T, **tolerance)
    if n == 1:  # nothing is left of one unit, and PyTorch multiplies its rounding by 1/√ε
        tolerance["atol"] *= 300
    np.testing.assert_allclose(backend.to_host(dZ), leaves[0].grad.numpy().T, **tolerance)
    expected = leaves[1].grad.numpy()[:, None]
    np.testing.assert_allclose(
        backend.to_host(dgamma), expected, rtol=tolerance["rtol"], atol=tolerance["atol"] * m
    )


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gradients_pass_the_check(backend, kinds, activation, depth, rng):
    net = network(backend, (5, *[6] * (depth - 1), 1), activation, **kinds)
    before = backend.to_host(net.theta).copy()
    assert check_gradients(net, *problem(rng)) < 1e-6
    np.testing.assert_array_equal(backend.to_host(net.theta), before)


@given(
    hidden=st.lists(st.integers(3, 9), min_size=1, max_size=4),
    m=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    kinds=st.sampled_from(list(KINDS.values())),
)
@settings(max_examples=60)
def test_gradients_of_any_shape_pass_the_check(hidden, m, seed, kinds):
    rng = np.random.default_rng(seed)
    net = network("numpy", (3, *hidden, 1), "gelu", **kinds)
    X, y = rng.standard_normal((m, 3)), rng.integers(0, 2, m)
    check_gradients(net, X, y, tolerance=1e-4)  # of few units that are nearly equal it is steep


def test_a_wrong_gradient_fails_the_check(monkeypatch, rng):
    monkeypatch.setattr(xpnet.normalization.LayerNorm, "backward", lambda self: None)
    with pytest.raises(GradientMismatch):
        check_gradients(network("numpy", normalization="layer"), *problem(rng))


def test_the_whole_network_is_pytorchs(backend, rng):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    X, y = problem(rng)
    net = network(backend, **KINDS["both"])
    host = backend.to_host
    leaf = {k: torch.tensor(host(v).copy(), requires_grad=True) for k, v in net.parameters.items()}
    A = torch.tensor(X) * leaf["scale"]
    for l, n in ((1, 6), (2, 4)):
        gain = leaf[f"gamma{l}"][:, 0]
        Z = torch.nn.functional.layer_norm(A @ leaf[f"W{l}"].T, (n,), gain)
        A = torch.tanh(Z + leaf[f"b{l}"][:, 0])
    Z = (A @ leaf["W3"].T + leaf["b3"])[:, 0]
    judge = torch.nn.functional.binary_cross_entropy_with_logits(Z, torch.tensor(y).double())
    judge.backward()
    loss, gradients = net.loss_and_gradients(X, y)
    assert loss == pytest.approx(judge.item(), rel=1e-12)
    np.testing.assert_allclose(net.decision_function(X), Z.detach().numpy(), rtol=1e-10)
    assert set(gradients) == {f"d{name}" for name in leaf}
    for name, value in leaf.items():
        got = host(gradients[f"d{name}"])
        np.testing.assert_allclose(got, value.grad.numpy(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_training_sees_what_predictions_see(backend, kinds, rng):
    X, y = problem(rng)
    net = network(backend, **kinds)
    P = np.log(net.predict_proba(X)[np.arange(len(y)), y])
    history = train(net, X, y, optimizer="sgd", epochs=1)
    assert history["loss"][0] == pytest.approx(-P.mean(), rel=1e-12)


def test_gains_and_scales_start_at_1_and_are_learnt(backend, rng):
    X, y = problem(rng)
    net = Network([5, 6, 4, 1], backend=backend, random_state=0, **KINDS["both"])
    names = ["W1", "b1", "gamma1", "W2", "b2", "gamma2", "W3", "b3", "scale"]
    assert list(net.parameters) == names
    learnt = {k: v for k, v in net.parameters.items() if k == "scale" or k.startswith("gamma")}
    shapes = {"gamma1": (6, 1), "gamma2": (4, 1), "scale": (1, 5)}
    assert {name: view.shape for name, view in learnt.items()} == shapes
    assert all((backend.to_host(view) == 1.0).all() for view in learnt.values())
    train(net, X, y, optimizer="adam", epochs=3)
    assert all((backend.to_host(view) != 1.0).all() for view in learnt.values())
    given = Network(
        [5, 2, 1], init={"scale": np.full((1, 5), 3.0)}, backend=backend, **KINDS["both"]
    )
    assert (backend.to_host(given.parameters["scale"]) == 3.0).all()
    assert (backend.to_host(given.parameters["gamma1"]) == 1.0).all()


def test_a_batch_does_not_change_what_an_example_gives(backend, rng):
    X, _ = problem(rng)
    net = network(backend, **KINDS["both"])
    alone = np.concatenate([net.decision_function(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(net.decision_function(X), alone, rtol=1e-12)


@pytest.mark.parametrize("wrong", ["batch", True, 1])
def test_another_normalisation_is_refused(wrong):
    with pytest.raises(InputError, match="normalization: expected one of None, layer; got"):
        Network([3, 4, 1], normalization=wrong, backend="numpy")
