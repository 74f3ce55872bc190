"""Dropout and noise: the same bits everywhere, the right share of them, no pattern in them."""

import itertools

import numpy as np
import pytest

import xpnet.numpy_backend
from xpnet import SGD, InputError, Network, get_backend, train
from xpnet.dropout import Dropout, Noise, Places, draw_keys


def mask(backend, seed=0, step=0, stream=1, rate=0.5, shape=(40, 50), start=0, epoch=0, value=1.0):
    """A layer of that *value* after dropout, divided by what kept units grow by."""
    keys = draw_keys(seed, epoch, step + 1, 4)[step].reshape(4, 1, 1)
    with backend:
        A = backend.asarray(np.full(shape, value))
        places = Places(backend.xp, backend.compiler(), backend.asarray(keys), start, shape[1])
        Dropout(places, stream, rate, A, backend.xp.zeros_like(A)).forward()
        return backend.to_host(A) * (1.0 - rate)


NUMPY = get_backend("numpy")


# --- the mask -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_every_backend_drops_the_same(backend, rate):
    found, expected = (mask(where, rate=rate) for where in (backend, NUMPY))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(np.unique(found), [0.0, 1.0], rtol=1e-15)


def test_the_bits_stay_as_they_are():
    """Models that were trained halfway go on with them."""
    kept = mask(NUMPY, seed=7, shape=(4, 16)) > 0.5
    assert np.packbits(kept, axis=1).tolist() == [[26, 161], [143, 77], [122, 207], [25, 75]]


def test_a_part_of_a_batch_draws_its_part():
    whole = mask(NUMPY, shape=(30, 100))
    cuts = list(itertools.pairwise([0, 1, 33, 34, 80, 100]))
    parts = [mask(NUMPY, shape=(30, b - a), start=a) for a, b in cuts]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("seed", range(4))
def test_the_share_is_the_rate(rate, seed):
    kept = mask(NUMPY, seed=seed, rate=rate, shape=(400, 500)) > 0.5
    n = kept.size
    assert abs(kept.sum() - n * (1 - rate)) < 4.5 * np.sqrt(n * rate * (1 - rate))
    for axis in (0, 1):  # no unit, and no example, is favoured
        m, p = kept.shape[axis], 1 - rate
        z = (kept.sum(axis) - m * p) / np.sqrt(m * p * rate)
        assert abs(z).max() < 5.5 + 1 / np.sqrt(m * p * rate)
        assert 0.8 < np.mean(z**2) < 1.25  # they scatter as independent ones do


def test_masks_have_nothing_to_do_with_each_other():
    """Of steps, epochs, seeds and layers; of neighbouring units and columns."""
    kinds = {"shape": (200, 300)}
    others = [
        mask(NUMPY, **kinds, **change)
        for change in ({"step": 1}, {"epoch": 1}, {"seed": 1}, {"stream": 2}, {"stream": 3})
    ]
    own = mask(NUMPY, **kinds)
    pairs = [(own, other) for other in others]
    pairs += [(own[:-d], own[d:]) for d in (1, 2, 3, 64)]
    pairs += [(own[:, :-d], own[:, d:]) for d in (1, 2, 3, 64)]
    pairs += [(own[:-1, :-1], own[1:, 1:]), (own[1:, :-1], own[:-1, 1:])]
    for a, b in pairs:
        counts = np.array([[np.sum((a == i) & (b == j)) for j in (0, 1)] for i in (0, 1)])
        expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
        assert np.sum((counts - expected) ** 2 / expected) < 15.1  # χ² with one degree, p = 1e-4


def test_the_mean_of_activations_stays():
    total = sum(mask(NUMPY, seed=seed, rate=0.3, value=2.0) for seed in range(200)) / 0.7 / 200
    assert np.mean(total) == pytest.approx(2.0, abs=5 * 2.0 * np.sqrt(0.3 / 0.7 / 200 / total.size))
    assert abs(total - 2.0).max() < 6 * 2.0 * np.sqrt(0.3 / 0.7 / 200)


def test_a_rate_next_to_1_drops_all_but_a_few():
    assert mask(NUMPY, rate=1 - 1e-12).sum() == 0.0


# --- in a run -------------------------------------------------------------------------------------


def problem(m=90):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((m, 6))
    return X, (X[:, 0] > 0).astype(int)


def run(backend="numpy", epochs=(6,), dropout=(0.3, 0.5), **kinds):
    """The history and θ after as many runs, each of so many *epochs*."""
    X, y = problem()
    net = Network(
        [6, 12, 8, 1], "tanh", dropout=dropout, backend=backend, precision="float64", random_state=0
    )
    kinds = {"optimizer": "adam", "batch_size": 16, "seed": 3, **kinds}
    for n in epochs:
        history = train(net, X, y, epochs=n, warm_start=True, **kinds)
    return history["loss"], net.backend.to_host(net.theta)


RANDOM = {"dropout": {}, "noise": {"dropout": 0.0, "input_noise": 0.3}, "both": {"input_noise": 2}}


@pytest.mark.parametrize("kinds", RANDOM.values(), ids=RANDOM)
def test_runs_on_every_backend_are_alike(backend, kinds):
    (found, _), (expected, _) = run(backend, **kinds), run(**kinds)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("kinds", RANDOM.values(), ids=RANDOM)
@pytest.mark.parametrize("batch_size", [None, 16])
def test_threads_draw_what_one_draws(kinds, batch_size, monkeypatch):
    one, _ = run(batch_size=batch_size, **kinds)
    monkeypatch.setattr(xpnet.numpy_backend, "_SHARE", 1)
    three, _ = run(get_backend("numpy", threads=3), batch_size=batch_size, **kinds)
    np.testing.assert_allclose(three, one, rtol=1e-11)


@pytest.mark.parametrize("kinds", RANDOM.values(), ids=RANDOM)
def test_a_run_in_two_parts_is_one(backend, kinds):
    (whole, theta), (parts, same) = (run(backend, epochs, **kinds) for epochs in ((6,), (2, 4)))
    assert parts == whole
    np.testing.assert_array_equal(same, theta)


def test_every_seed_draws_its_own():
    losses = [run(seed=seed, shuffle=False)[0] for seed in (1, 1, 2)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_outside_of_training_gradients_drop_nothing(backend):
    X, y = problem()
    nets = [
        Network([6, 12, 8, 1], dropout=rate, backend=backend, random_state=0) for rate in (0.0, 0.5)
    ]
    (loss, plain), (same, dropped) = (net.loss_and_gradients(X, y) for net in nets)
    assert loss == same
    for name in plain:
        np.testing.assert_array_equal(*map(backend.to_host, (plain[name], dropped[name])))


@pytest.mark.parametrize("layer", [0, 1])
def test_it_is_dropped_where_it_was_asked_for(layer):
    """One layer alone, as a product with the mask that the docstring says; and so its gradients."""
    X, y = problem()
    rates = [0.0, 0.0]
    rates[layer] = 0.4
    net = Network(
        [6, 12, 8, 1], "tanh", dropout=rates, backend="numpy", precision="float64", random_state=0
    )
    (W1, b1), (W2, b2), (W3, b3) = ((W.copy(), b.copy()) for W, b in net.layers)
    history = train(net, X, y, optimizer=SGD(1.0), batch_size=None, epochs=1, seed=5, shuffle=False)
    keys = draw_keys(5, 0, 1, 3).reshape(3, 1, 1)
    factors = [1.0, 1.0]
    A = np.ones(((12, 8)[layer], 90))
    places = Places(np, NUMPY.compiler(), keys, 0, 90)
    Dropout(places, layer + 1, 0.4, A, np.zeros_like(A)).forward()
    factors[layer] = A
    T1 = np.tanh(W1 @ X.T + b1)
    T2 = np.tanh(W2 @ (factors[0] * T1) + b2)
    Z = W3 @ (factors[1] * T2) + b3
    expected = np.mean(np.logaddexp(0, Z) - Z * y)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-12)
    dZ3 = (1 / (1 + np.exp(-Z)) - y) / len(y)
    dZ2 = factors[1] * (W3.T @ dZ3) * (1 - T2**2)
    dZ1 = factors[0] * (W2.T @ dZ2) * (1 - T1**2)
    inputs, slopes = (X.T, factors[0] * T1, factors[1] * T2), (dZ1, dZ2, dZ3)
    before = ((W1, b1), (W2, b2), (W3, b3))
    for (W, b), (V, c), A, dZ in zip(before, net.layers, inputs, slopes, strict=True):
        np.testing.assert_allclose(W - V, dZ @ A.T, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(b - c, dZ.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-13)


def test_predictions_drop_nothing(backend):
    X, y = problem()
    nets = [
        Network([6, 12, 1], dropout=rate, backend=backend, random_state=0) for rate in (0.0, 0.8)
    ]
    np.testing.assert_array_equal(nets[0].predict_proba(X), nets[1].predict_proba(X))
    net = nets[1]
    seen = train(net, X, y, optimizer="adam", epochs=3, validation_data=(X, y))["val_loss"][-1]
    Z = net.decision_function(X).astype(float)
    assert seen == pytest.approx(np.mean(np.logaddexp(0, Z) - Z * y), rel=1e-5)


@pytest.mark.parametrize(
    ("dropout", "words"),
    [
        (1.0, "dropout: expected a number at least 0 and below 1; got 1.0"),
        (-0.1, "dropout: .* got -0.1"),
        ([0.1, "half"], "dropout: .* got 'half'"),
        (float("nan"), "dropout: .* got nan"),
        (
            [0.1],
            r"dropout: expected one rate, or one for each of the 2 hidden layers; got 1: \[0.1",
        ),
    ],
)
def test_wrong_rates_are_named(dropout, words):
    with pytest.raises(InputError, match=words):
        Network([3, 4, 2, 1], dropout=dropout, backend="numpy")


# --- noise ----------------------------------------------------------------------------------------


def noise(backend, m=400, n=300, start=0, dtype="float64", deviation=0.5):
    """Noise on zeros."""
    keys = draw_keys(0, 0, 1, 2).reshape(2, 1, 1)
    with backend:
        rows = backend.asarray(np.zeros((m, n), dtype))
        places = Places(backend.xp, backend.compiler(), backend.asarray(keys), start, m)
        Noise(places, 0, deviation, rows).apply()
        return backend.to_host(rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_backend_adds_the_same_noise(backend, dtype):
    found = noise(backend, dtype=dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, noise(NUMPY, dtype=dtype))


def test_noise_is_of_its_deviation_and_shape():
    x = noise(NUMPY)
    n = x.size
    assert abs(x.mean()) < 5 * 0.5 / np.sqrt(n)
    assert x.std() == pytest.approx(0.5, rel=5 / np.sqrt(2 * n))
    assert abs(np.mean(x**3)) < 5 * 0.5**3 * np.sqrt(15 / n)
    assert np.mean(x**4) / 0.5**4 == pytest.approx(2.7, abs=0.05)  # of four uniform numbers
    assert abs(np.corrcoef(x)[np.triu_indices(len(x), 1)]).max() < 6 / np.sqrt(x.shape[1])
    np.testing.assert_array_equal(noise(NUMPY, m=100, start=300), x[300:])


def test_noise_on_inputs_leaves_the_rows_alone(backend):
    X, y = problem()
    there, before = backend.asarray(X), X.copy()
    net = Network([6, 1], backend=backend, precision="float64", random_state=0)
    losses = train(net, there, y, optimizer="sgd", epochs=2, input_noise=1.0, batch_size=30)["loss"]
    np.testing.assert_array_equal(backend.to_host(there), before)
    quiet = Network([6, 1], backend=backend, precision="float64", random_state=0)
    assert losses != train(quiet, there, y, optimizer="sgd", epochs=2, batch_size=30)["loss"]
