"""What is looked at after each epoch: early stopping, averages, callbacks, and how a run ends."""

import time

import numpy as np
import pytest

import xpnet.watching
from xpnet import InputError, Network, TrainingDiverged, evaluate, load_model, save_model, train
from xpnet.optimizers import LBFGS, SGD, Adam
from xpnet.training import EarlyStopping


def problem(m=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, 4))
    return X, (X[:, 0] + rng.standard_normal(m) > 0).astype(int)


VALIDATION = problem(40, 1)


def network(backend="numpy", dtype="float64", **kinds):
    return Network([4, 16, 1], "tanh", backend=backend, precision=dtype, random_state=0, **kinds)


def run(net, epochs=60, **kinds):
    """A run that overfits, unless it is stopped."""
    kinds = {"optimizer": Adam(0.05), "batch_size": 15, "validation_data": VALIDATION, **kinds}
    return train(net, *problem(), epochs=epochs, **kinds)


def host(net):
    return net.backend.to_host(net.theta).copy()


# --- early stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [0.0, 0.8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_best_epoch_is_kept(backend, average, dtype):
    net, seen = network(backend, dtype), []
    history = run(
        net, early_stopping=EarlyStopping(patience=7), average=average,
        callback=lambda _: seen.append(host(net)),
    )  # fmt: skip
    best = int(np.argmin(history["val_loss"]))
    assert len(history["loss"]) == best + 1 + 7 < 60
    np.testing.assert_array_equal(host(net), seen[best])
    assert evaluate(net, *VALIDATION)[0] == history["val_loss"][best]
    assert net.training.epoch == len(seen) == len(history["loss"])


def test_or_the_last_one_is():
    net, seen = network(), []
    stopping = EarlyStopping(patience=7, restore_best=False)
    history = run(net, early_stopping=stopping, callback=lambda _: seen.append(host(net)))
    assert evaluate(net, *VALIDATION)[0] == history["val_loss"][-1] > min(history["val_loss"])
    np.testing.assert_array_equal(host(net), seen[-1])


def test_the_best_is_kept_where_patience_never_ends():
    net = network()
    history = run(net, epochs=30, early_stopping=EarlyStopping(patience=1000))
    assert len(history["loss"]) == 30
    assert evaluate(net, *VALIDATION)[0] == min(history["val_loss"])


@pytest.mark.parametrize(
    ("values", "greater", "min_delta", "best"),
    [
        ([3, 2, 1, 4], False, 0.0, 2),
        ([3, 2, 1, 4], True, 0.0, 3),
        ([1, 1, 1], False, 0.0, 0),  # as good is not better
        ([3, 2.6, 2.2, 1.8], False, 0.5, 2),
        ([3, 2.6, 2.5, 2.4], False, 0.7, 0),
        ([0.5, 0.6, 0.7], True, 0.15, 2),
        ([5.0], False, 0.0, 0),
    ],
)
def test_what_is_better(values, greater, min_delta, best):
    assert EarlyStopping(min_delta=min_delta).best(values, greater=greater) == best


def scripted(values, **attributes):
    """A metric that goes through *values*, one an epoch."""
    left = iter(values)

    def script(y, p):
        return next(left)

    vars(script).update(attributes)
    return script


@pytest.mark.parametrize(
    ("values", "stopping", "attributes", "best", "epochs"),
    [
        ([1, 2, 3, 2, 2, 2, 9], {"patience": 3}, {}, 3, 6),
        ([3, 2, 1, 2, 2, 0], {"patience": 2}, {"greater_is_better": False}, 3, 5),
        ([1, 1.05, 1.1, 1.2, 1.2], {"patience": 2, "min_delta": 0.5}, {}, 1, 3),
        ([1, 2, 1, 2.5, 1, 1, 1, 9], {"patience": 3}, {}, 4, 7),
    ],
)
def test_any_metric_can_be_monitored(values, stopping, attributes, best, epochs):
    net, seen = network(), []
    history = run(
        net,
        metrics=[scripted(values, **attributes)],
        early_stopping=EarlyStopping("val_script", **stopping),
        callback=lambda _: seen.append(host(net)),
    )
    assert history["val_script"] == values[:epochs]
    np.testing.assert_array_equal(host(net), seen[best - 1])


@pytest.mark.parametrize(
    ("monitor", "metrics", "worst"),
    [
        ("val_accuracy", [], min),
        ("val_accuracy", ["accuracy"], min),
        ("val_roc_auc", ["roc_auc"], min),
        ("val_log_loss", ["log_loss", "f1"], max),
    ],
)
def test_what_is_greater_may_be_better(monitor, metrics, worst):
    net, seen = network(), []
    history = run(
        net, epochs=25, metrics=metrics, early_stopping=EarlyStopping(monitor, patience=25),
        callback=lambda _: seen.append(host(net)),
    )  # fmt: skip
    curve = history[monitor]
    best = curve.index(max(curve) if worst is min else min(curve))
    np.testing.assert_array_equal(host(net), seen[best])
    assert worst(curve) != curve[best]


def test_the_training_loss_needs_no_validation():
    net = network()
    stopping = EarlyStopping("loss", patience=2, min_delta=10.0)  # none is better by so much
    history = run(net, validation_data=None, early_stopping=stopping)
    assert len(history["loss"]) == 3


def test_a_warm_start_waits_anew():
    net = network()
    stopping = EarlyStopping(patience=4)
    first = run(net, early_stopping=stopping)
    n, best = len(first["loss"]), evaluate(net, *VALIDATION)[0]
    history = run(net, early_stopping=stopping, warm_start=True)
    assert history["val_loss"][:n] == first["val_loss"]
    later = history["val_loss"][n:]
    assert len(later) == int(np.argmin(later)) + 1 + 4  # its own patience, and its own best
    assert evaluate(net, *VALIDATION)[0] == min(later)
    assert best == min(first["val_loss"])


@pytest.mark.parametrize("patience", [0, 1.5, "many", -1, None])
def test_a_wrong_patience_is_named(patience):
    with pytest.raises(InputError, match="patience: expected an integer above 0; got"):
        EarlyStopping(patience=patience)
    with pytest.raises(InputError, match="min_delta: expected a number of at least 0; got -1"):
        EarlyStopping(min_delta=-1)


@pytest.mark.parametrize("monitor", [3, None, ["val_loss"], np.array([["val_loss"]])])
def test_what_is_no_name_to_watch_is_refused(monitor):
    with pytest.raises(InputError, match="monitor: expected a name of the history; got"):
        EarlyStopping(monitor=monitor)


@pytest.mark.parametrize("answer", [None, 1, "no"])
def test_restore_best_is_true_or_false(answer):
    with pytest.raises(InputError, match="restore_best: expected True or False; got"):
        EarlyStopping(restore_best=answer)
    assert EarlyStopping(restore_best=np.True_).restore_best is True  # which a file can keep


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopping", [None, EarlyStopping(patience=1000)])
def test_time_ends_a_run(stopping):
    net = network()
    history = run(
        net, epochs=10**6, max_seconds=0.2, early_stopping=stopping,
        callback=lambda _: time.sleep(0.05),
    )  # fmt: skip
    assert 3 <= len(history["loss"]) <= 5
    if stopping is not None:
        assert evaluate(net, *VALIDATION)[0] == min(history["val_loss"])


# --- averages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.5, 0.99])
def test_an_average_is_the_average(backend, beta):
    """Of the parameters after every step, that a run without it shows."""
    X, y = problem(30)
    kinds = {"optimizer": Adam(0.05), "seed": 3}
    plain, net, thetas = network(backend), network(backend), []
    average = host(plain)
    # batches of all rows, so that an epoch is a step
    train(plain, X, y, epochs=12, **kinds, callback=lambda _: thetas.append(host(plain)))
    for t, theta in enumerate(thetas, start=1):
        now = min(beta, t / (t + 9))
        average = now * average + (1 - now) * theta
    train(net, X, y, epochs=12, average=beta, **kinds)
    np.testing.assert_allclose(host(net), average, rtol=1e-9, atol=1e-12)
    raw = backend.to_host(net.training.vectors["raw"])
    np.testing.assert_array_equal(raw, thetas[-1])
    assert set(net.training.vectors) == {"m", "v", "raw"}


def test_callbacks_see_what_would_be_left(backend, tmp_path):
    """And a model that one saves goes on as if never saved."""
    net, path, seen = network(backend), tmp_path / "model.h5", []

    def callback(epoch):
        seen.append(evaluate(net, *VALIDATION))
        if epoch.number == 4:
            save_model(net, path)

    kinds = {"average": 0.9}
    history = run(net, epochs=9, callback=callback, **kinds)
    assert seen == list(zip(history["val_loss"], history["val_accuracy"], strict=True))
    other = load_model(path, backend)
    run(other, epochs=5, warm_start=True, **kinds)
    np.testing.assert_array_equal(host(other), host(net))
    assert other.training.history == history


def test_going_on_without_the_average_starts_from_it():
    net = network()
    run(net, epochs=5, average=0.9)
    averaged = host(net)
    other = network()
    other.theta[...] = averaged
    run(net, epochs=1, optimizer=Adam(1e-12), warm_start=True)
    np.testing.assert_allclose(host(net), averaged, atol=1e-9)
    assert set(net.training.vectors) == {"m", "v"}
    run(net, epochs=1, optimizer=Adam(1e-12), average=0.9, warm_start=True)
    np.testing.assert_allclose(host(net), averaged, atol=1e-9)  # not from what was raw long ago


# --- how a run may end ----------------------------------------------------------------------------


class UnpluggedError(Exception):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, UnpluggedError])
@pytest.mark.parametrize("kinds", [{}, {"average": 0.8}], ids=["plain", "averaged"])
@pytest.mark.parametrize("optimizer", [Adam(0.05), LBFGS()], ids=["adam", "lbfgs"])
def test_a_network_outlives_what_a_callback_raises(backend, error, kinds, optimizer):
    if isinstance(optimizer, LBFGS) and kinds:
        pytest.skip("L-BFGS takes no averages")
    net, seen = network(backend), []

    def callback(epoch):
        seen.append(host(net))
        if epoch.number == 4:
            raise error

    with pytest.raises(error):
        run(net, optimizer=optimizer, callback=callback, **kinds)
    np.testing.assert_array_equal(host(net), seen[-1])
    assert net.training.epoch == len(net.training.history["val_loss"]) == 4
    assert evaluate(net, *VALIDATION)[0] == net.training.history["val_loss"][-1]
    history = run(net, epochs=2, optimizer=optimizer, warm_start=True, **kinds)
    assert len(history["loss"]) == 6
    if not isinstance(optimizer, LBFGS):  # as if nothing had been
        whole = network(backend)
        assert run(whole, epochs=6, optimizer=optimizer, **kinds) == history
        np.testing.assert_array_equal(host(net), host(whole))


def test_the_best_is_kept_at_ctrl_c():
    net = network()

    def callback(epoch):
        if epoch.number == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(net, early_stopping=EarlyStopping(patience=1000), callback=callback)
    assert evaluate(net, *VALIDATION)[0] == min(net.training.history["val_loss"])


@pytest.mark.parametrize("average", [0.0, 0.8])
def test_ctrl_c_within_an_epoch(monkeypatch, average):
    net, calls = network(), []
    right = xpnet.run.Run.step

    def step(self, k, rate):
        calls.append(k)
        if len(calls) == 11:
            raise KeyboardInterrupt
        right(self, k, rate)

    monkeypatch.setattr(xpnet.run.Run, "step", step)
    with pytest.raises(KeyboardInterrupt):
        run(net, average=average)
    assert net.training.epoch == len(net.training.history["loss"]) == 2
    assert np.isfinite(evaluate(net, *VALIDATION)[0])
    assert ("raw" in net.training.vectors) is bool(average)
    assert "average" not in net.training.vectors
    assert len(run(net, epochs=1, average=average, warm_start=True)["loss"]) == 3


@pytest.mark.parametrize("answer", [True, np.True_])
def test_a_callback_ends_training(answer):
    net = network()
    history = run(net, callback=[lambda _: 1, lambda epoch: answer if epoch.number == 3 else None])
    assert len(history["loss"]) == net.training.epoch == 3


def test_callbacks_know_where_they_are():
    seen = []
    net = network()
    run(net, epochs=2, callback=lambda e: seen.append((e.number, e.epochs, len(e.history["loss"]))))
    run(net, epochs=1, warm_start=True, callback=(seen.append,))
    assert seen[:2] == [(1, 2, 1), (2, 2, 2)]
    assert (seen[2].number, seen[2].epochs) == (3, 3)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), "much", None])
def test_a_metric_that_is_no_number_is_named(backend, bad):
    """At its epoch; the network has learnt what came before, and can go on."""
    net, kinds = network(backend), {"average": 0.8}
    with pytest.raises(InputError, match=f"script: expected a finite number; got {bad!r}"):
        run(net, metrics=[scripted([1.0, 2.0, bad])], **kinds)
    assert net.training.epoch == 2
    assert {len(curve) for curve in net.training.history.values()} == {2}
    assert np.isfinite(evaluate(net, *VALIDATION)[0])
    run(net, epochs=1, metrics=[scripted([3.0])], warm_start=True, **kinds)
    assert net.training.history["val_script"] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kinds", [{}, {"average": 0.5}, {"early_stopping": EarlyStopping()}])
@pytest.mark.parametrize("end", ["last", "callback", "raise"])
def test_parameters_that_are_not_finite_are_taken_back(backend, kinds, end):
    """Even of the last step, whose loss nobody has seen, however the run ends."""
    net = network(backend)

    def callback(epoch):
        if epoch.number == 2:
            net.theta[...] = float("nan")
            if end == "raise":
                raise UnpluggedError
        return epoch.number == 2 and end == "callback"

    error = UnpluggedError if end == "raise" else TrainingDiverged
    words = None if end == "raise" else "epoch 2: expected finite parameters"
    with pytest.raises(error, match=words):
        run(net, epochs=2 if end == "last" else 9, callback=callback, **kinds)
    assert np.isfinite(evaluate(net, *VALIDATION)[0])
    history = run(net, epochs=2, warm_start=True, **kinds)
    assert len(history["loss"]) == net.training.epoch == 4


def test_divergence_gives_back_the_best_one():
    net = network()
    with pytest.raises(TrainingDiverged):
        run(net, optimizer=SGD(0.1), early_stopping=EarlyStopping(), callback=spoil(net, 3))
    assert evaluate(net, *VALIDATION)[0] == min(net.training.history["val_loss"])


def spoil(net, number):
    """A callback that breaks the network after that epoch."""

    def callback(epoch):
        if epoch.number == number:
            net.theta[...] = np.inf

    return callback


# --- what is refused before any work --------------------------------------------------------------

X, Y = VALIDATION


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"early_stopping": True}, "early_stopping: expected an EarlyStopping or None; got True"),
        (
            {"early_stopping": EarlyStopping("val_auc")},
            "monitor: expected one of loss, val_loss, val_accuracy; got 'val_auc'; name it in",
        ),
        (
            {"early_stopping": EarlyStopping("val_roc_auc"), "metrics": ["f1"]},
            "monitor: expected one of loss, val_loss, val_accuracy, val_f1; got 'val_roc_auc'",
        ),
        (
            {"early_stopping": EarlyStopping(), "validation_data": None},
            "monitor: expected one of loss; got 'val_loss'; give validation_data",
        ),
        ({"metrics": ["auc"]}, "metric: expected one of .*; got 'auc'"),
        ({"metrics": "roc_auc"}, "metrics: expected names or callables in a list; got 'roc_auc'"),
        ({"metrics": 3}, "metrics: expected names or callables in a list; got 3"),
        ({"metrics": ["f1", "f1"]}, "metrics: expected one name each; got 'f1' twice"),
        (
            {"metrics": [type("loss", (), {"__call__": None})()]},
            "metrics: expected one name each; got 'loss' twice",
        ),
        ({"metrics": ["f1"], "validation_data": None}, "metrics: expected validation_data to"),
        (
            {"metrics": ["roc_auc"], "validation_data": (X[Y == 1], Y[Y == 1])},
            "roc_auc: expected examples of both classes; got class 1 only; give a validation set",
        ),
        (
            {"metrics": ["roc_auc"], "validation_data": (X, Y, Y)},
            "roc_auc: expected examples of both classes",
        ),
        ({"validation_data": X}, r"validation_data: expected \(X, y\) or \(X, y, sample_weight\)"),
        ({"validation_data": (X,)}, "validation_data: expected .*; got tuple"),
        ({"validation_data": (X[:, :3], Y)}, "validation X: expected rows of 4 features"),
        ({"validation_data": (X[1:], Y)}, "validation expected X and y of one length"),
        ({"validation_data": (X, Y + 1)}, r"validation y: expected only labels of \[0, 1\]"),
        ({"validation_data": (X * np.nan, Y)}, "validation X: expected finite numbers"),
        ({"max_seconds": 0}, "max_seconds: expected a number above 0; got 0"),
        ({"max_seconds": "1"}, "max_seconds: .* got '1'"),
        ({"average": 1.0}, "average: expected a number at least 0 and below 1; got 1.0"),
        ({"average": -0.1}, "average: .* got -0.1"),
        ({"label_smoothing": 1.0}, "label_smoothing: expected a number .*below 1; got 1.0"),
        ({"input_noise": -1}, "input_noise: expected a number at least 0; got -1"),
        ({"rate_factors": {"W9": 1}}, "rate_factors: expected one of W, W1, .*; got 'W9'"),
        ({"label_smoothing": 10**400}, "label_smoothing: expected a number .*; got 1000"),
        ({"rate_factors": {"W": -1}}, r"rate_factors\['W'\]: expected a number at least 0; got -1"),
        ({"rate_factors": 2.0}, "rate_factors: expected a mapping of names to numbers; got 2.0"),
        ({"input_noise": np.inf}, "input_noise: .* got inf"),
        ({"callback": 3}, "callback: expected a callable or several; got 3"),
        ({"callback": [print, "x"]}, "callback: expected a callable or several; got 'x'"),
        ({"scaling": "minmax"}, "scaling: expected one of max_abs, .* standard; got 'minmax'"),
        ({"scaling": ["robust"]}, "scaling: expected one of"),
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["new", "trained"])
def test_wrong_arguments_are_named_before_any_work(kinds, words, known):
    net = network()
    if known:
        run(net, epochs=1, scaling="robust")
    before = dict(vars(net)), host(net), net.training and dict(vars(net.training))
    with pytest.raises(InputError, match=words):
        run(net, **({"scaling": "standard"} | kinds))
    after = dict(vars(net)), host(net), net.training and dict(vars(net.training))
    assert after[0] == before[0]
    assert after[2] == before[2]
    np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"metrics": ["f1"]}, "history stays whole: loss, val_loss, val_accuracy; got loss, .*f1"),
        ({"validation_data": None}, "warm_start: expected validation data and metrics as in the"),
        (
            {"optimizer": SGD()},
            "warm_start: expected the optimizer of the last run, adam.*; got sgd",
        ),
    ],
)
def test_what_does_not_go_on_is_named(kinds, words):
    net = network()
    run(net, epochs=2)
    theta, training = host(net), dict(vars(net.training))
    with pytest.raises(InputError, match=words):
        run(net, warm_start=True, **kinds)
    np.testing.assert_array_equal(host(net), theta)
    assert vars(net.training) == training


def test_going_on_keeps_the_labels(backend):
    net, (X, y) = network(backend), problem()
    labels = np.array(["no", "yes"])
    train(net, X, labels[y], optimizer="sgd", epochs=1)
    with pytest.raises(InputError, match=r"y: expected only labels of \['no', 'yes'\]"):
        train(net, X, y, optimizer="sgd", epochs=1, warm_start=True)
    only = y == 1
    train(net, X[only], labels[y[only]], optimizer="sgd", epochs=1, warm_start=True)
    assert net.classes_.tolist() == ["no", "yes"]
    with pytest.raises(InputError, match="y: expected two classes; got one class only"):
        train(net, X[only], labels[y[only]], optimizer="sgd", epochs=1)


def test_rows_that_do_not_fit_the_device_are_refused(double):
    X, y = problem()
    double.xp._memory = 10_000
    net = Network([4, 16, 1], backend=double, random_state=0)
    before = double.xp.counts.snapshot()
    words = (
        r"X: expected rows that fit cupy:0's memory; training on them takes about .*iB, and .*"
        r"iB are there; give fewer rows, a smaller batch_size, or precision='float32'"
    )
    with pytest.raises(InputError, match=words):
        train(net, np.tile(X, (100, 1)), np.tile(y, 100), optimizer="sgd", epochs=1, batch_size=8)
    assert (double.xp.counts - before).launches == 0
    assert net.training is None
    with pytest.raises(InputError, match="smaller batch_size"):
        train(net, X, y, optimizer="sgd", epochs=1)
    assert train(net, X, y, optimizer="sgd", epochs=1, batch_size=8)["loss"]


def test_a_copy_that_goes_on_keeps_labels_and_scaling(backend):
    """It has no state of a run, but parameters that were learnt on scaled rows, one class first."""
    rng = np.random.default_rng(0)
    X = 1e3 + rng.standard_normal((40, 3))
    y = np.where(X[:, 0] > 1e3, "cat", "dog")
    net = Network([3, 1], backend=backend, random_state=0)
    kinds = {"optimizer": Adam(0.1), "warm_start": True}
    train(net, X, y, epochs=50, scaling="standard", classes=["dog", "cat"], **kinds)
    accuracy = evaluate(net, X, y)[1]
    assert accuracy > 0.9
    other = net.to(backend)
    train(other, X, y, epochs=1, **kinds)
    assert other.classes_.tolist() == ["dog", "cat"]
    assert other.scaling is net.scaling
    assert evaluate(other, X, y)[1] > 0.9
    with pytest.raises(InputError, match="classes: expected those of the network"):
        train(net.to(backend), X, y, epochs=1, classes=["cat", "dog"], **kinds)
