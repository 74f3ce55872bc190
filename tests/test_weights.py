"""Weights of examples: integers are repetitions, ones are none, zero is absence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet.numpy_backend
from xpnet import InputError, Network, evaluate, get_backend, train
from xpnet.optimizers import LBFGS, SGD, Adam


def problem(m=30, n=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, n))
    return X, (X[:, 0] + 0.5 * rng.standard_normal(m) > 0).astype(int)


def network(backend="numpy", dtype="float64", **kinds):
    return Network([4, 6, 1], "tanh", backend=backend, precision=dtype, random_state=0, **kinds)


def run(X, y, weights=None, backend="numpy", optimizer="adam", epochs=6, net=None, **kinds):
    """The network and its history after a run."""
    net = network(backend) if net is None else net
    history = train(
        net, X, y, optimizer=optimizer, epochs=epochs, sample_weight=weights, seed=1, **kinds
    )
    return net, history


OPTIMIZERS = {
    "sgd": SGD(0.3),
    "alpha": SGD(0.3, alpha=0.5),
    "l1": Adam(0.01, l1=0.5),
    "clipped": SGD(0.3, clip_norm=0.05),
    "lbfgs": LBFGS(alpha=0.5),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@given(repeats=st.lists(st.integers(0, 4), min_size=20, max_size=20), twice=st.booleans())
@settings(max_examples=25)
def test_integers_are_repeated_rows(optimizer, repeats, twice):
    X, y = problem(20)
    repeats = np.full(20, 2) if twice else np.array(repeats)
    repeats[[y.argmin(), y.argmax()]] = 1 + twice  # some of both classes
    kinds = {"optimizer": optimizer, "batch_size": None, "scaling": "standard"}
    weighted, history = run(X, y, repeats, validation_data=(X, y, repeats), **kinds)
    X, y = X.repeat(repeats, axis=0), y.repeat(repeats)
    repeated, expected = run(X, y, validation_data=(X, y), **kinds)
    assert len(history["loss"]) == len(expected["loss"])
    for name, curve in expected.items():
        np.testing.assert_allclose(history[name], curve, rtol=1e-6 if name == "lbfgs" else 1e-7)
    np.testing.assert_allclose(weighted.theta, repeated.theta, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ones_are_none(backend, batch_size, dtype):
    X, y = problem()
    kinds = {"batch_size": batch_size, "optimizer": Adam(alpha=0.1), "scaling": "robust"}
    (one, _), (none, _) = (
        run(X, y, weights, net=network(backend, dtype), **kinds) for weights in (np.ones(30), None)
    )
    assert one.training.history == none.training.history
    np.testing.assert_array_equal(backend.to_host(one.theta), backend.to_host(none.theta))


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_zero_is_absence(backend, batch_size, where):
    X, y = problem()
    weights = np.random.default_rng(1).integers(0, 3, 30).astype(float)
    there = weights > 0
    kinds = {"batch_size": batch_size, "optimizer": Adam(alpha=0.1), "scaling": "standard"}
    kinds |= {"average": 0.5}
    rows = backend.asarray(X) if where == "device" else X
    zero, history = run(rows, y, weights, backend, validation_data=(rows, y, weights), **kinds)
    X, y, weights = X[there], y[there], weights[there]
    absent, expected = run(X, y, weights, backend, validation_data=(X, y, weights), **kinds)
    assert history == expected
    np.testing.assert_array_equal(backend.to_host(zero.theta), backend.to_host(absent.theta))


@pytest.mark.parametrize("kind", ["csr", "coo", "csc"])
def test_sparse_rows_may_be_absent(kind):
    sparse = pytest.importorskip("scipy.sparse")
    X, y = problem()
    weights = np.arange(30) % 3.0
    there = weights > 0
    rows = getattr(sparse, f"{kind}_array")(np.where(X > 0.5, X, 0.0))
    zero, history = run(rows, y, weights, batch_size=7)
    absent, expected = run(rows.tocsr()[there], y[there], weights[there], batch_size=7)
    assert history == expected
    np.testing.assert_array_equal(zero.theta, absent.theta)


def test_pictures_may_be_absent(backend):
    rng = np.random.default_rng(0)
    pictures, y = rng.integers(0, 256, (10, 2, 2), dtype=np.uint8), np.arange(10) % 2
    net, _ = run(pictures, y, [0, 0] + [1] * 8, backend)
    other, _ = run(pictures[2:], y[2:], None, backend)
    np.testing.assert_array_equal(backend.to_host(net.theta), backend.to_host(other.theta))
    assert net.picture_shape == (2, 2)


def test_their_scale_does_not_matter():
    X, y = problem()
    weights = np.random.default_rng(1).random(30) + 0.1
    curves = [run(X, y, scale * weights)[1]["loss"] for scale in (1.0, 1e-6, 1e6)]
    np.testing.assert_allclose(curves[1:], [curves[0]] * 2, rtol=1e-10)


def bce(torch, net, X, y, w):
    """PyTorch's mean loss of weights *w*, and its gradients."""
    leaves = {
        k: torch.tensor(net.backend.to_host(v).copy(), requires_grad=True)
        for k, v in net.parameters.items()
    }
    A = torch.tanh(leaves["W1"] @ torch.tensor(X.T) + leaves["b1"])
    Z = (leaves["W2"] @ A + leaves["b2"])[0]
    judge = (
        torch.nn.functional.binary_cross_entropy_with_logits(
            Z, torch.tensor(y).double(), torch.tensor(w), reduction="sum"
        )
        / torch.tensor(w).sum()
    )
    judge.backward()
    return judge.item(), leaves


@pytest.mark.parametrize("batch_size", [None, 7])
def test_a_step_is_pytorchs_of_the_weighted_mean(backend, batch_size):
    """Of each batch, by the weight of that batch; and the epoch's loss is that of all rows."""
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    X, y = problem()
    w = np.random.default_rng(2).random(30) * 3 + 0.01
    net, judge = network(backend), network(backend)
    history = train(
        net, X, y, optimizer=SGD(0.5), epochs=2, batch_size=batch_size, seed=8, sample_weight=w
    )
    for epoch in range(2):
        order = np.arange(30)
        if batch_size:
            order = np.random.default_rng([8, epoch]).permutation(30)
        total = 0.0
        for start in range(0, 30, batch_size or 30):
            rows = order[start : start + (batch_size or 30)]
            loss, leaves = bce(torch, judge, X[rows], y[rows], w[rows])
            total += loss * w[rows].sum()
            for name, leaf in leaves.items():
                view = judge.parameters[name]
                view -= backend.asarray(0.5 * leaf.grad.numpy())
        assert history["loss"][epoch] == pytest.approx(total / w.sum(), rel=1e-11)
    for name, mine in net.parameters.items():
        expected = backend.to_host(judge.parameters[name])
        np.testing.assert_allclose(backend.to_host(mine), expected, rtol=1e-9, atol=1e-13)


def test_weights_of_classes_are_of_their_rows(backend):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    X, y = problem()
    net, judge = network(backend), network(backend)
    _, history = run(X, y, np.where(y == 1, 5.0, 1.0), net=net, optimizer=SGD(0.5), epochs=1)
    loss, leaves = bce(torch, judge, X, y, np.array([1.0, 5.0])[y])
    assert history["loss"][0] == pytest.approx(loss, rel=1e-12)
    for name, leaf in leaves.items():
        expected = backend.to_host(judge.parameters[name]) - 0.5 * leaf.grad.numpy()
        np.testing.assert_allclose(backend.to_host(net.parameters[name]), expected, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_threads_agree(batch_size, monkeypatch):
    X, y = problem(33)
    w = np.random.default_rng(1).random(33) + 0.1
    kinds = {"batch_size": batch_size, "optimizer": Adam(alpha=0.1, clip_norm=0.1), "average": 0.5}
    one, expected = run(X, y, w, get_backend("numpy", threads=1), **kinds)
    monkeypatch.setattr(xpnet.numpy_backend, "_SHARE", 1)
    three, found = run(X, y, w, get_backend("numpy", threads=3), **kinds)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-11)
    np.testing.assert_allclose(three.theta, one.theta, rtol=1e-9, atol=1e-12)


def test_validation_and_evaluation_are_weighted(backend):
    X, y = problem()
    w = np.random.default_rng(3).integers(0, 5, 30).astype(float)
    seen = []

    def mine(y_true, p, sample_weight):
        seen.append(sample_weight)
        return np.average((p > 0.5) == y_true, weights=sample_weight)

    net, history = run(
        X, y, None, backend, validation_data=(X, y, w), metrics=["brier", "accuracy", mine]
    )
    Z = net.decision_function(X)
    loss = np.average(np.logaddexp(0, Z) - Z * y, weights=w)
    accuracy = np.average((Z > 0) == y, weights=w)
    assert history["val_loss"][-1] == pytest.approx(loss, rel=1e-10)
    assert history["val_accuracy"][-1] == history["val_mine"][-1] == pytest.approx(accuracy)
    brier = np.average((1 / (1 + np.exp(-Z)) - y) ** 2, weights=w)
    assert history["val_brier"][-1] == pytest.approx(brier, rel=1e-10)
    np.testing.assert_array_equal(seen[0], w[w > 0])
    assert evaluate(net, X, y, w) == (history["val_loss"][-1], history["val_accuracy"][-1])
    assert evaluate(net, X, y, np.ones(30)) == evaluate(net, X, y) != evaluate(net, X, y, w)


def test_what_is_evaluated_may_be_of_one_class():
    X, y = problem()
    net, _ = run(X, y)
    only = (y == 1).astype(float)
    assert evaluate(net, X, y, only) == evaluate(net, X[y == 1], y[y == 1])
    history = run(X, y, validation_data=(X, y, only))[1]
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0] * 29 + [-1e-9], "expected numbers of at least 0, some of them above; got -1e-09 to"),
        ([0.0] * 30, "some of them above; got all zero"),
        ([1.0] * 29 + [np.nan], "sample_weight: expected finite numbers; got 1 NaN or infinite"),
        ([1.0] * 29 + [np.inf], "sample_weight: expected finite numbers; got 1 NaN or infinite"),
        ([1.0] * 29, r"sample_weight: expected shape \(30,\), one weight an example; got \(29,\)"),
        (np.ones((30, 1)), r"sample_weight: expected shape \(30,\).*; got \(30, 1\)"),
        ([1e-310] * 30, "sample_weight: expected a largest one from 2.2e-308, .*; got .* 1.0e-310"),
        ([1e301] * 30, "sample_weight: expected .* a sum up to 1.8e.302, .*; multiply all of them"),
        (["1"] * 30, "sample_weight: expected numbers; got dtype <U1"),
        (2.0, r"sample_weight: expected shape \(30,\)"),
    ],
)
def test_wrong_weights_are_named(weights, words):
    X, y = problem()
    net = network()
    theta = net.theta.copy()
    with pytest.raises(InputError, match=words):
        run(X, y, weights, net=net)
    with pytest.raises(InputError, match=f"validation .*{words}"):
        run(X, y, net=net, validation_data=(X, y, weights))
    with pytest.raises(InputError, match=words):
        evaluate(net, X, y, weights)
    assert net.training is None
    np.testing.assert_array_equal(net.theta, theta)


def test_weights_too_small_for_the_network_are_absence():
    X, y = problem()
    some = np.arange(30) < 20
    nets = [network(dtype="float32") for _ in range(2)]
    few, history = run(X, y, some.astype(float), net=nets[0], batch_size=5)
    tiny, again = run(X, y, np.where(some, 1.0, 1e-45), net=nets[1], batch_size=5)
    assert tiny.theta.tolist() == few.theta.tolist()
    assert again == history


def test_weights_in_one_class_only_are_refused():
    X, y = problem()
    with pytest.raises(InputError, match="sample_weight: expected some above 0 in both classes"):
        run(X, y, (y == 1).astype(float))
