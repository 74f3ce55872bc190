"""L-BFGS: how far it gets, against Adam and scikit-learn; what it refuses; how it ends."""

import warnings

import numpy as np
import pytest

from xpnet import InputError, Network, evaluate, train
from xpnet.optimizers import LBFGS, Adam
from xpnet.training import EarlyStopping


def problem(m=80, n=5, noise=1.0):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((m, n))
    return X, (X[:, 0] + noise * rng.standard_normal(m) > 0).astype(int)


def network(backend="numpy", sizes=(5, 8, 1), dtype="float64", **kinds):
    return Network(sizes, "tanh", backend=backend, precision=dtype, random_state=0, **kinds)


def host(net):
    return net.backend.to_host(net.theta).copy()


@pytest.mark.parametrize("kinds", [{}, {"normalization": "layer", "input_scale": True}])
def test_it_gets_much_further_than_adam(backend, kinds):
    X, y = problem(noise=0.1)
    last = {}
    for optimizer in (LBFGS(), Adam(0.01)):
        net = network(backend, **kinds)
        train(net, X, y, optimizer=optimizer, epochs=60)
        last[optimizer.name] = evaluate(net, X, y)[0]
    assert last["lbfgs"] < 0.2 * last["adam"]


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_without_hidden_layers_it_is_scikit_learns(backend, alpha, weighted):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = problem()
    w = np.random.default_rng(1).random(80) + 0.5 if weighted else None
    net = network(backend, (5, 1))
    train(net, X, y, optimizer=LBFGS(alpha=alpha, tolerance=1e-9), epochs=500, sample_weight=w)
    judge = linear_model.LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=1000)
    judge.fit(X, y, sample_weight=w)
    W, b = (backend.to_host(net.parameters[name]) for name in ("W1", "b1"))
    np.testing.assert_allclose(W, judge.coef_, atol=1e-6)
    np.testing.assert_allclose(b[0], judge.intercept_, atol=1e-6)


def test_with_hidden_layers_it_is_scikit_learns():
    """From the same start both find the same minimum, if the penalty leaves but one nearby."""
    neural_network = pytest.importorskip("sklearn.neural_network")
    X, y = problem()
    judge = neural_network.MLPClassifier(
        (8,), activation="tanh", solver="lbfgs", alpha=2.0, tol=1e-8, max_iter=1, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge.fit(X, y)
        start = {
            **{f"W{l}": W.T for l, W in enumerate(judge.coefs_, start=1)},
            **{f"b{l}": b[:, None] for l, b in enumerate(judge.intercepts_, start=1)},
        }
        judge.set_params(warm_start=True, max_iter=2000).fit(X, y)
    net = network(init=start)
    history = train(net, X, y, optimizer=LBFGS(alpha=2.0, tolerance=1e-8), epochs=2000)
    assert len(history["loss"]) < 2000
    np.testing.assert_allclose(net.predict_proba(X), judge.predict_proba(X), atol=5e-4)


def test_it_stops_where_it_has_arrived(backend):
    X, y = problem()
    net = network(backend, (5, 1))
    history = train(net, X, y, optimizer=LBFGS(alpha=1.0), epochs=500, validation_data=(X, y))
    n = len(history["loss"])
    assert 2 < n < 50
    assert n == len(history["val_loss"]) == net.training.epoch == net.training.step
    assert history["val_loss"][-1] == pytest.approx(history["loss"][-1], rel=1e-12)  # after each
    W = backend.to_host(net.parameters["W1"])
    _, gradients = net.loss_and_gradients(X, y)
    dW = backend.to_host(gradients["dW1"]) + 1.0 / 80 * W
    assert abs(dW).max() < 1e-5
    # and going on from there is an epoch that moves nothing to speak of
    before = host(net)
    history = train(net, X, y, optimizer=LBFGS(alpha=1.0), epochs=500, warm_start=True,
                    validation_data=(X, y))  # fmt: skip
    assert n < len(history["loss"]) <= n + 3
    np.testing.assert_allclose(host(net), before, atol=1e-4)


def test_a_start_that_is_a_minimum_is_an_epoch():
    X, y = np.zeros((4, 5)), [0, 1, 0, 1]
    net = network(sizes=(5, 1))
    before = host(net)
    history = train(net, X, y, optimizer="lbfgs", epochs=9)
    assert history["loss"] == [pytest.approx(np.log(2))]
    np.testing.assert_array_equal(host(net), before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("epochs", [1, 2, 7, 300])
def test_the_network_is_left_where_the_last_iteration_ended(backend, dtype, epochs):
    """And not where the line search looked last."""
    X, y = problem()
    net, seen = network(backend, dtype=dtype), []
    history = train(
        net, X, y, optimizer="lbfgs", epochs=epochs, callback=lambda _: seen.append(host(net))
    )
    np.testing.assert_array_equal(host(net), seen[-1])
    assert len(history["loss"]) == len(seen) <= epochs
    assert evaluate(net, X, y)[0] == pytest.approx(history["loss"][-1], rel=1e-5)
    assert (np.diff(history["loss"]) <= 1e-6).all()


def test_callbacks_and_early_stopping_end_it(backend):
    X, y = problem()
    other = problem(60)[0] + 0.5, problem(60)[1]
    net = network(backend)
    history = train(
        net, X, y, optimizer="lbfgs", epochs=200, validation_data=other,
        early_stopping=EarlyStopping(patience=5), metrics=["roc_auc"],
    )  # fmt: skip
    best = int(np.argmin(history["val_loss"]))
    assert len(history["loss"]) == len(history["val_roc_auc"]) == best + 6
    assert evaluate(net, *other)[0] == history["val_loss"][best]
    history = train(net, X, y, optimizer="lbfgs", epochs=200, callback=lambda e: e.number == 4)
    assert len(history["loss"]) == 4
    history = train(net, X, y, optimizer="lbfgs", epochs=10**6, max_seconds=1e-9)
    assert len(history["loss"]) == 1


def test_it_learns_by_batches_of_all_rows():
    X, y = problem()
    curves = [
        train(network(), X, y, optimizer="lbfgs", epochs=5, batch_size=batch_size)["loss"]
        for batch_size in (None, 8)
    ]
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    ("optimizer", "net", "kinds", "word"),
    [
        (LBFGS(), {"dropout": 0.5}, {}, "dropout: expected none with lbfgs, .*; got 0.5"),
        (LBFGS(), {}, {"input_noise": 0.1}, "input_noise: expected none with lbfgs"),
        (LBFGS(), {}, {"average": 0.9}, "average: expected none with lbfgs"),
        (LBFGS(), {}, {"rate_factors": {"b": 0.5}}, "rate_factors: expected none with lbfgs"),
        (LBFGS(l1=0.1), {}, {}, "l1: expected none .* or alpha to regularise"),
        (LBFGS(weight_decay=0.1), {}, {}, "weight_decay: expected none"),
        (LBFGS(clip_norm=1.0), {}, {}, "clip_norm: expected none"),
        (LBFGS(clip_value=1.0), {}, {}, "clip_value: expected none"),
    ],
)
def test_what_contradicts_it_is_refused(optimizer, net, kinds, word):
    net = network(**net)
    with pytest.raises(InputError, match=word):
        train(net, *problem(), optimizer=optimizer, epochs=3, **kinds)
    assert net.training is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"memory": 0}, "memory: expected an integer above 0; got 0"),
        ({"memory": 2.5}, "memory: expected an integer above 0; got 2.5"),
        ({"tolerance": 0}, "tolerance: expected a number above 0; got 0"),
    ],
)
def test_wrong_numbers_are_named(change, words):
    with pytest.raises(InputError, match=words):
        LBFGS(**change)
