"""The loop: what it computes, what it refuses, what it costs."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet.passes
from xpnet import (
    SGD,
    Adam,
    InputError,
    Network,
    TrainingDiverged,
    check_gradients,
    compare_backends,
    data,
    evaluate,
    schedules,
    textbook,
    train,
)
from xpnet.optimizers import OPTIMIZERS, get_optimizer
from xpnet.schedules import SCHEDULES, get_schedule


def problem(rng, n_0=4, m=30):
    X = rng.standard_normal((m, n_0))
    return X, (X[:, 0] + 0.3 * rng.standard_normal(m) > 0).astype(int)


def network(backend, layer_sizes=(4, 5, 3, 1), dtype="float64", activation="tanh"):
    return Network(layer_sizes, activation, precision=dtype, backend=backend, random_state=1)


# --- what it computes -----------------------------------------------------------------------------


def test_full_batch_descent_is_the_textbooks(backend, rng):
    X, y = problem(rng)
    net = network(backend)
    parameters = {k: backend.to_host(v).copy() for k, v in net.parameters.items()}
    history = train(net, X, y, optimizer=SGD(0.3), epochs=40)
    costs, Y = [], y.reshape(1, -1).astype(float)
    for _ in range(40):
        AL, caches = textbook.L_model_forward(X.T, parameters, activation="tanh")
        costs.append(float(textbook.compute_cost(AL, Y)))
        grads = textbook.L_model_backward(AL, Y, caches, activation="tanh")
        parameters = textbook.update_parameters(parameters, grads, 0.3)
    np.testing.assert_allclose(history["loss"], costs, rtol=1e-9)  # each before its update
    for name, value in parameters.items():
        np.testing.assert_allclose(backend.to_host(net.parameters[name]), value, rtol=1e-8)


@given(m=st.integers(2, 25), batch_size=st.integers(1, 30), shuffle=st.booleans())
@settings(max_examples=40)
def test_batches_of_any_size_are_the_textbooks(m, batch_size, shuffle):
    rng = np.random.default_rng(m)
    X = rng.standard_normal((m, 3))
    y = np.arange(m) % 2
    net = network("numpy", (3, 4, 1))
    parameters = {k: v.copy() for k, v in net.parameters.items()}
    history = train(
        net, X, y, optimizer=SGD(0.5), epochs=3, batch_size=batch_size, shuffle=shuffle, seed=9
    )
    for epoch in range(3):
        cost, seen = 0.0, 0
        order = np.arange(m)
        if shuffle and batch_size < m:
            order = np.random.default_rng([9, epoch]).permutation(m)
        for start in range(0, m, batch_size):
            rows = order[start : start + batch_size]
            Y = y[rows].reshape(1, -1).astype(float)
            AL, caches = textbook.L_model_forward(X[rows].T, parameters, activation="tanh")
            cost += float(textbook.compute_cost(AL, Y)) * len(rows)
            seen += len(rows)
            grads = textbook.L_model_backward(AL, Y, caches, activation="tanh")
            parameters = textbook.update_parameters(parameters, grads, 0.5)
        assert history["loss"][epoch] == pytest.approx(cost / seen, rel=1e-9)
    for name, value in parameters.items():
        np.testing.assert_allclose(net.parameters[name], value, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"lbfgs"}))
def test_optimizers_are_pytorchs(backend, name, rng):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    X, y = problem(rng)
    net = network(backend, (4, 1))
    W, b = (
        torch.tensor(backend.to_host(net.parameters[k]), requires_grad=True) for k in ("W1", "b1")
    )
    kinds = {kind.__name__.lower(): kind for kind in vars(torch.optim).values() if callable(kind)}
    groups = [{"params": [W]}, {"params": [b], "weight_decay": 0.0}]  # biases do not decay
    judge = kinds[name](groups, lr=0.05)
    optimizer = get_optimizer(name, learning_rate=0.05)
    train(net, X, y, optimizer=optimizer, epochs=7)
    for _ in range(7):
        judge.zero_grad()
        Z = W @ torch.tensor(X.T) + b
        torch.nn.functional.binary_cross_entropy_with_logits(
            Z[0], torch.tensor(y).double()
        ).backward()
        judge.step()
    rtol = 1e-6 if name == "nadam" else 1e-9  # theirs keeps a product in float32
    for mine, leaf in ((net.parameters["W1"], W), (net.parameters["b1"], b)):
        np.testing.assert_allclose(backend.to_host(mine), leaf.detach().numpy(), rtol=rtol)


@pytest.mark.parametrize("optimizer", [SGD(0.2), Adam(0.01)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_train_alike(backend, optimizer, dtype, rng):
    X, y = problem(rng)
    curves = []
    for where in ("numpy", backend):
        net = network(where, dtype=dtype)
        curves.append(
            train(net, X, y, optimizer=optimizer, epochs=10, batch_size=8, validation_data=(X, y))
        )
    for name in ("loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(
            curves[1][name], curves[0][name], rtol=1e-4 if dtype == "float32" else 1e-11
        )


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_schedules_scale_the_rate(schedule, rng):
    X, y = problem(rng)
    judge, losses, rates, factors = get_schedule(schedule), [], [], []
    net = network("numpy", (4, 1))
    theta = net.theta.copy()

    def watch(epoch):  # a step is rate · gradient
        rates.append(np.abs(net.theta - theta).max() / np.abs(net.gradient).max())
        theta[:] = net.theta
        factors.append(judge.epoch(len(losses), losses)(len(losses) / 4))
        losses.append(epoch.history["loss"][-1])

    train(net, X, y, optimizer=SGD(0.1, schedule), epochs=4, callback=watch)
    np.testing.assert_allclose(rates, 0.1 * np.array(factors), rtol=1e-9, atol=1e-12)


def test_within_an_epoch_the_rate_moves_with_the_batches(rng):
    X, y = problem(rng)
    seen = []

    class Spy(SGD):
        def scalars(self, rate, step):
            seen.append(rate)
            return super().scalars(rate, step)

    train(network("numpy"), X, y, optimizer=Spy(0.1, "linear"), epochs=2, batch_size=10)
    np.testing.assert_allclose(seen, 0.1 * (1 - np.arange(6) / 6))


@pytest.mark.parametrize("validated", [True, False])
def test_a_plateau_is_of_the_validation_loss_where_there_is_one(validated, rng):
    """And it is found again by a run that goes on."""
    X, y = problem(rng)
    schedule = schedules.Plateau(0.5, patience=1, min_delta=0.0)
    wrong = {"validation_data": (X, 1 - y)} if validated else {}  # its loss only rises
    kinds = {"optimizer": SGD(0.1, schedule), **wrong}
    whole, halves = network("numpy"), network("numpy")
    history = train(whole, X, y, epochs=9, **kinds)
    watched = history["val_loss" if validated else "loss"]
    fell = schedule.epoch(9, watched)(0.0)
    assert fell == (0.5**4 if validated else 1.0)
    train(halves, X, y, epochs=4, **kinds)
    assert train(halves, X, y, epochs=5, warm_start=True, **kinds) == history


def test_ten_epochs_and_ten_are_twenty(backend, rng):
    X, y = problem(rng)
    kinds = {"optimizer": "adam", "batch_size": 7, "validation_data": (X, y)}
    whole, halves = network(backend), network(backend)
    train(whole, X, y, epochs=20, **kinds)
    train(halves, X, y, epochs=10, **kinds)
    history = train(halves, X, y, epochs=10, warm_start=True, **kinds)
    assert history == whole.training.history
    np.testing.assert_array_equal(backend.to_host(halves.theta), backend.to_host(whole.theta))
    train(halves, X, y, epochs=1, **kinds)  # a cold start begins a new history
    assert len(halves.training.history["loss"]) == 1


def test_labels_of_any_kind(rng):
    X, y = problem(rng)
    losses = []
    for pair in ([0, 1], [-1, 1], [False, True], ["no", "yes"], [b"a", b"b"], [1.5, 2.5]):
        net, labels = network("numpy"), np.array(pair)[y]
        losses.append(train(net, X, labels, optimizer="sgd", epochs=3)["loss"])
        assert net.classes_.tolist() == pair
        assert set(net.predict(X).tolist()) <= set(pair)
        assert evaluate(net, X, labels)[1] == np.mean(net.predict(X) == labels)
    assert all(curve == losses[0] for curve in losses)
    net = network("numpy")
    train(net, X, np.array(["yes", "no"])[y], optimizer="sgd", epochs=3, classes=["yes", "no"])
    assert net.classes_.tolist() == ["yes", "no"]
    assert net.training.history["loss"] == losses[0]


def test_validation_is_the_loss_after_the_epoch(backend, rng):
    X, y = problem(rng)
    net = network(backend)
    seen = []
    history = train(
        net, X, y, optimizer="sgd", epochs=3, validation_data=(X[:7], y[:7]),
        callback=lambda _: seen.append(evaluate(net, X[:7], y[:7])),
    )  # fmt: skip
    assert seen == list(zip(history["val_loss"], history["val_accuracy"], strict=True))


def test_accuracy_follows_the_threshold(rng):
    X, y = problem(rng)
    net = network("numpy")
    train(net, X, y, optimizer="sgd", epochs=3)
    for net.threshold in (0.2, 0.5, 0.8):
        assert evaluate(net, X, y)[1] == np.mean(net.predict(X) == y)


def test_circles_are_learnt(backend):
    training, test = data.split(data.circles(600))
    net = Network([2, 10, 5, 1], backend=backend, random_state=0)
    optimizer = Adam(0.01)
    train(net, training.X, training.y, optimizer=optimizer, epochs=60, batch_size=32)
    assert evaluate(net, test.X, test.y)[1] >= 0.97


def test_same_seed_same_bits(backend, rng):
    X, y = problem(rng)
    runs = []
    for seed in (3, 3, 4):
        net = network(backend, dtype="float32")
        train(net, X, y, optimizer="adam", epochs=3, batch_size=8, seed=seed)
        runs.append(backend.to_host(net.theta))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


# --- what a step costs ----------------------------------------------------------------------------


def epoch_counts(double, depth, batches, batch_size, optimizer, shuffle=True):
    """What the double counts over one epoch, between two callbacks."""
    rng = np.random.default_rng(0)
    X, y = problem(rng, 4, batches * batch_size)
    net = Network([4, *[6] * (depth - 1), 1], backend=double, random_state=0)
    counts = []
    train(
        net, X, y, optimizer=optimizer, epochs=4, batch_size=batch_size, shuffle=shuffle,
        callback=lambda _: counts.append(double.xp.counts.snapshot()),
    )  # fmt: skip
    first, second, _ = (b - a for a, b in itertools.pairwise(counts))  # the last looks at theta
    assert first == second
    return first


def launches(depth, shuffle=True):
    """Six a layer; but one for the output's dA, a part of the kernel below it; and the batch.

    A shuffled batch is gathered, rows and targets; of one in order only the targets are copied.
    """
    return 6 * depth - (depth > 1) + (2 if shuffle else 1)


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam()])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_step_is_six_launches_a_layer_and_nothing_else(double, depth, optimizer, shuffle):
    few, many = (epoch_counts(double, depth, batches, 5, optimizer, shuffle) for batches in (3, 8))
    steps = many - few  # of five steps: what an epoch costs once is gone
    assert steps.launches == 5 * launches(depth, shuffle)
    assert steps.allocations == 0
    assert steps.copies == 0
    assert steps.syncs == 0
    assert steps.transfers == 0


@pytest.mark.parametrize("depth", [1, 3])
def test_an_epoch_reads_once_and_sends_once(double, depth):
    counts = epoch_counts(double, depth, 3, 5, SGD(0.1))
    assert counts.launches == 3 * launches(depth) + 1  # and a copy of the last good parameters
    assert counts.transfers == 2  # the order of rows in, the losses out
    assert counts.syncs == 1
    assert counts.allocations == 0
    assert counts.copies == 0


def test_the_budget_can_be_broken(double, monkeypatch):
    right = xpnet.passes._Layer.gradients

    def wasteful(self):
        float(self.dZ.sum())
        right(self)

    monkeypatch.setattr(xpnet.passes._Layer, "gradients", wasteful)
    few, many = (epoch_counts(double, 2, batches, 5, SGD(0.1)) for batches in (3, 8))
    steps = many - few
    assert steps.launches > 5 * launches(2)
    assert steps.allocations > 0
    assert steps.syncs > 0


def test_a_step_on_numpy_allocates_nothing(rng):
    import tracemalloc

    X, y = problem(rng, 64, 4096)
    net = Network([64, 64, 1], backend="numpy", random_state=0)
    peaks = []

    def watch(_):
        peaks.append(tracemalloc.get_traced_memory()[1] - tracemalloc.get_traced_memory()[0])
        tracemalloc.reset_peak()

    tracemalloc.start()
    try:
        train(
            net, X.astype("float32"), y, optimizer="adam", epochs=4, batch_size=512, callback=watch
        )
    finally:
        tracemalloc.stop()
    order = 2 * 8 * 4096  # the epoch's permutation, drawn on the host
    buffer = 8192 * 4  # NumPy's own, where it multiplies by a mask
    assert max(peaks[1:]) < order + buffer + 8192 < 64 * 512 * 4, "the size of one temporary"


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs: expected an integer above 0; got 0"),
        ({"epochs": 1.5}, "epochs: expected an integer above 0; got 1.5"),
        ({"batch_size": 0}, "batch_size: expected an integer above 0; got 0"),
        ({"batch_size": "full"}, "batch_size: expected an integer above 0; got 'full'"),
        ({"optimizer": ["adam"]}, r"optimizer: expected one of adagrad, .* sgd; got \['adam'\]"),
        ({"optimizer": "adm"}, "optimizer: expected one of adagrad, .* sgd; got 'adm'"),
        ({"X": np.ones((30, 3))}, r"X: expected rows of 4 features.*got shape \(30, 3\)"),
        ({"X": np.ones((29, 4))}, "got 29 rows and 30 labels"),
        ({"X": np.ones((30, 4), complex)}, "X: expected numbers; got dtype complex128"),
        ({"y": np.ones(30)}, "y: expected two classes; got one class only: 30 × 1.0"),
        ({"y": np.arange(30) % 3}, "y: expected two classes; got 10 × 0, 10 × 1, 10 × 2"),
        ({"y": np.ones((30, 1))}, r"y: expected labels of shape \(m,\); got \(30, 1\)"),
        ({"validation_data": (np.ones((2, 3)), [0, 1])}, "validation X: expected rows of 4"),
        ({"validation_data": (np.ones((2, 4)), [0, 2])}, r"y: expected only labels of \[0, 1\]"),
    ],
)
def test_wrong_arguments_are_named_before_any_work(backend, change, words, rng):
    X, y = problem(rng)
    net = network(backend)
    before = backend.to_host(net.theta).copy()
    with pytest.raises(InputError, match=words):
        train(net, **{"X": X, "y": y, "optimizer": "sgd", "epochs": 1, **change})
    np.testing.assert_array_equal(backend.to_host(net.theta), before)
    assert net.training is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_rows_are_counted_and_found(backend, bad, rng):
    X, y = problem(rng)
    X[[7, 9], [2, 1]] = bad
    words = r"X: expected finite numbers; got 2 NaN or infinite, .* at row 7, column 2"
    with pytest.raises(InputError, match=words):
        train(network(backend), X, y, optimizer="sgd", epochs=1)
    with pytest.raises(InputError, match=words):
        train(network(backend), backend.asarray(X), y, optimizer="sgd", epochs=1)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (SGD, {"learning_rate": 0.0}, "learning_rate: expected a number above 0; got 0.0"),
        (SGD, {"learning_rate": float("nan")}, "learning_rate: .* got nan"),
        (SGD, {"learning_rate": "fast"}, "learning_rate: .* got 'fast'"),
        (SGD, {"schedule": "cos"}, "schedule: expected one of constant, .* warmup; got 'cos'"),
        (Adam, {"beta_1": 1.0}, "beta_1: expected 0 ≤ value < 1; got 1.0"),
        (Adam, {"epsilon": -1e-8}, "epsilon: expected a number above 0"),
    ],
)
def test_wrong_hyper_parameters_are_named(kind, change, words):
    with pytest.raises(InputError, match=words):
        kind(**change)


def test_an_optimizer_of_another_kind_cannot_go_on(rng):
    X, y = problem(rng)
    net = network("numpy")
    train(net, X, y, optimizer="sgd", epochs=1)
    with pytest.raises(InputError, match="warm_start: expected the optimizer of the last run, sgd"):
        train(net, X, y, optimizer="adam", epochs=1, warm_start=True)
    with pytest.raises(InputError, match=r"with state \(\); got sgd with \('velocity',\)"):
        train(net, X, y, optimizer=SGD(momentum=0.9), epochs=1, warm_start=True)
    with pytest.raises(InputError, match="hyper-parameter of sgd: expected one of alpha, "):
        get_optimizer("sgd", beta_1=0.9)


@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_keeps_the_last_good_parameters(backend, batch_size, dtype, rng):
    X, y = problem(rng)
    net = network(backend, dtype=dtype, activation="linear")
    seen = []
    with pytest.raises(
        TrainingDiverged, match=r"epoch \d+: expected finite .* learning rate below"
    ):
        train(
            net, 1e6 * X, y, optimizer=SGD(1e20), epochs=60, batch_size=batch_size,
            callback=lambda _: seen.append(backend.to_host(net.theta).copy()),
        )  # fmt: skip
    assert np.isfinite(backend.to_host(net.theta)).all()
    assert np.isfinite(evaluate(net, 1e6 * X, y)[0])
    assert len(net.training.history["loss"]) == len(seen)


# --- the course's own run -------------------------------------------------------------------------


def test_the_cats_are_the_courses():
    folder = Path(__file__).parents[2] / "shared" / "data" / "pictures"
    files = [folder / f"{part}_catvnoncat.h5" for part in ("train", "test")]
    if not all(path.exists() for path in files):
        pytest.skip("the cat / non-cat files are not beside the checkout")
    training, test = map(data.load_hdf5, files)
    net = Network(
        [12288, 20, 7, 5, 1],
        init="xavier",
        precision="float64",
        backend="numpy",
        random_state=np.random.RandomState(1),
    )
    optimizer, classes = SGD(0.0075), training.classes
    history = train(net, training.X, training.y, optimizer=optimizer, epochs=2500, classes=classes)
    assert history["loss"][0] == pytest.approx(0.771749, abs=1e-6)
    assert history["loss"][2400] == pytest.approx(0.092878, abs=1e-4)
    assert evaluate(net, training.X, training.y)[1] >= 0.98
    assert evaluate(net, test.X, test.y)[1] == pytest.approx(0.80)


# --- what a review found --------------------------------------------------------------------------


def test_labels_may_lie_on_the_device(backend, rng):
    X, y = problem(rng)
    net, there = network(backend), backend.asarray(y)
    train(net, X, there, optimizer="sgd", epochs=2, validation_data=(X, there))
    assert evaluate(net, X, there) == evaluate(net, X, y)
    assert check_gradients(net, backend.asarray(X), there) < 1e-6
    assert compare_backends(net, backend.asarray(X), there, epochs=1).runs


def test_one_can_go_on_after_divergence(backend, rng):
    X, y = problem(rng)
    net = network(backend, activation="linear")
    with pytest.raises(TrainingDiverged, match="epoch"):
        train(net, 1e6 * X, y, optimizer=Adam(1e200), epochs=60, validation_data=(X, y))
    lengths = {len(curve) for curve in net.training.history.values()}
    assert lengths <= {net.training.epoch, 0}
    history = train(
        net, X, y, optimizer=Adam(0.001), epochs=3, validation_data=(X, y), warm_start=True
    )
    assert np.isfinite(history["loss"]).all()
    assert {len(curve) for curve in history.values()} == {net.training.epoch}


def test_a_warm_start_keeps_the_history_whole(rng):
    X, y = problem(rng)
    net = network("numpy")
    train(net, X, y, optimizer="sgd", epochs=2)
    with pytest.raises(InputError, match="warm_start: expected validation data and metrics as in"):
        train(net, X, y, optimizer="sgd", epochs=2, warm_start=True, validation_data=(X, y))


def test_flat_uint8_validation_rows_of_pictures_are_scaled(rng):
    pictures, y = rng.integers(0, 256, (8, 2, 2), dtype=np.uint8), np.arange(8) % 2
    net = network("numpy", (4, 3, 1))
    flat = pictures.reshape(8, -1)
    history = train(net, pictures, y, optimizer="sgd", epochs=1, validation_data=(flat, y))
    assert history["val_loss"][-1] == evaluate(net, pictures, y)[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": "a"}, "seed: expected an integer of at least 0; got 'a'"),
        ({"seed": -1}, "seed: expected an integer of at least 0; got -1"),
        ({"y": None}, "y: expected"),
        ({"y": 3}, "y: expected labels of shape"),
        ({"y": [1, "a"] * 15}, "y: expected labels of one type"),
        (
            {"validation_data": np.ones((2, 4))},
            r"validation_data: expected \(X, y\) or \(X, y, samp",
        ),
    ],
)
def test_more_wrong_arguments_are_named(change, words, rng):
    X, y = problem(rng)
    with pytest.raises(InputError, match=words):
        train(network("numpy"), **{"X": X, "y": y, "optimizer": "sgd", "epochs": 1, **change})


def test_hyper_parameters_become_python_floats():
    optimizer = Adam(np.float32(0.5), beta_1=np.float64(0.5), epsilon=1)
    kinds = {type(getattr(optimizer, name)) for name in ("learning_rate", "beta_1", "epsilon")}
    assert kinds == {float}
    with pytest.raises(InputError, match="learning_rate: expected a number above 0; got True"):
        SGD(True)
    with pytest.raises(InputError, match="directions: expected an integer above 0; got 0"):
        check_gradients(network("numpy"), np.ones((2, 4)), [0, 1], directions=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_predictions_of_what_is_not_finite_are_refused(backend, bad):
    net = network(backend, dtype="float32")
    X = np.ones((5, 4))
    X[3, 1] = bad
    for method in (net.predict, net.predict_proba, net.decision_function, net.forward):
        with pytest.raises(
            InputError, match=r"X: .*1 NaN or infinite, the first .* row 3, column 1"
        ):
            method(X)
