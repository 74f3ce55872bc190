"""One table of every option of training: each is the same run on every backend, and counted."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from xpnet import Network, train
from xpnet.losses import LOSSES, Loss, focal, softplus
from xpnet.optimizers import OPTIMIZERS, SGD, Adam, AdamW, RMSProp
from xpnet.preprocessing import SCALERS
from xpnet.schedules import SCHEDULES

OWN = Loss(
    "own",
    lambda xp, z, y: softplus(xp, z) - z * y + 0.01 * z * z,
    lambda xp, z, y: 1.0 / (1.0 + xp.exp(-xp.maximum(z, -80.0))) - y + 0.02 * z,
)


class Option(NamedTuple):
    """What an option gives to the network and to `train`, and its launches a step.

    Those are beside what `launches` says of a plain run: so many once, and in each hidden layer.
    """

    net: dict
    train: dict
    once: int = 0
    each: int = 0


def weights(m):
    return np.random.default_rng(4).integers(0, 4, m) + 0.5


OPTIONS = {
    **{name: Option({}, {"optimizer": name}, once=name == "adamw") for name in OPTIMIZERS},
    "momentum": Option({}, {"optimizer": SGD(0.1, momentum=0.9)}),
    "nesterov": Option({}, {"optimizer": SGD(0.1, momentum=0.9, nesterov=True)}),
    **{f"schedule {name}": Option({}, {"optimizer": SGD(0.1, name)}) for name in SCHEDULES},
    **{f"loss {name}": Option({}, {"loss": name}) for name in LOSSES},
    "loss focal of 1": Option({}, {"loss": focal(1.0)}),
    "loss of one's own": Option({}, {"loss": OWN}),
    "label smoothing": Option({}, {"label_smoothing": 0.2}),
    # the step's key, and the noise: drawn and added
    "input noise": Option({}, {"input_noise": 0.3}, once=3),
    # the key, and dA of the last hidden layer; of each the mask, and both directions
    "dropout": Option({"dropout": 0.3}, {}, once=2, each=3),
    # forward: two sums, centred, scaled; backward: dγ, two sums, and two formulas
    "normalisation": Option({"normalization": "layer"}, {}, each=9),
    "input scale": Option({"input_scale": True}, {}, once=3),
    "rate factors": Option({}, {"rate_factors": {"W": 2.0, "W1": 0.5, "b": 0.1}}),
    "average": Option({}, {"average": 0.9}, once=1),
    "weights": Option({}, {"sample_weight": weights}, once=1),
    "alpha": Option({}, {"optimizer": Adam(alpha=0.1)}, once=1),
    "l1": Option({}, {"optimizer": Adam(l1=0.1)}, once=1),
    "weight decay": Option({}, {"optimizer": AdamW(weight_decay=0.1)}, once=1),
    # the norm by a dot product, which is three kernels; its factor; and the gradient times that
    "clipped norm": Option({}, {"optimizer": Adam(clip_norm=0.1)}, once=5),
    "clipped values": Option({}, {"optimizer": Adam(clip_value=0.01)}, once=1),
    **{f"scaling {name}": Option({}, {"scaling": name}) for name in SCALERS},
    "lbfgs with alpha": Option({}, {"optimizer": OPTIMIZERS["lbfgs"](alpha=0.1)}),
    "all of it": Option(
        {"dropout": 0.2, "normalization": "layer", "input_scale": True},
        {
            "optimizer": RMSProp(0.01, "coslog", alpha=0.1, l1=0.1, clip_norm=1.0, clip_value=0.1),
            "loss": "focal", "label_smoothing": 0.1, "input_noise": 0.1, "average": 0.95,
            "sample_weight": weights, "scaling": "robust",
        },
        once=16, each=12,
    ),
}  # fmt: skip
#: The steps whose gradient is of the loss alone, so that it is that of the loss reported.
PLAIN = [name for name, option in OPTIONS.items() if "optimizer" not in option.train]
STEPS = [name for name in OPTIONS if "lbfgs" not in name]


def problem(m=40, n=5):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((m, n))
    return X, (X[:, 0] + 0.5 * rng.standard_normal(m) > 0).astype(int)


def settle(option, m):
    """The arguments of `train` that *option* gives, for m rows."""
    kinds = {"optimizer": "adam", **option.train}
    return {k: v(m) if k == "sample_weight" else v for k, v in kinds.items()}


def network(option, backend, dtype="float64", sizes=(5, 8, 6, 1)):
    return Network(
        sizes, ["mish", "tanh"][: len(sizes) - 2], backend=backend, precision=dtype,
        random_state=0, **option.net,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIONS)
def test_same_seed_same_run(backend, name, dtype):
    """To 1e-3 in float32, to 1e-9 in float64, over 8 epochs of 3 steps, the last shorter."""
    X, y = problem()
    curves, option = [], OPTIONS[name]
    for where in (backend, "numpy"):
        net = network(option, where, dtype)
        curves.append(
            train(
                net, X, y, epochs=8, batch_size=15, seed=2,
                validation_data=(X[:9], y[:9]), **settle(option, 40),
            )
        )  # fmt: skip
    found, expected = curves
    assert list(found) == list(expected)
    for curve in ("loss", "val_loss"):
        assert len(found[curve]) == len(expected[curve])
        np.testing.assert_allclose(
            found[curve], expected[curve], rtol=1e-3 if dtype == "float32" else 1e-9
        )


@pytest.mark.parametrize("name", STEPS)
def test_two_runs_are_one(backend, name):
    """10 + 10 epochs equal 20 to the bit, unless the schedule is of the whole run."""
    X, y = problem()
    option = OPTIONS[name]
    kinds = {"batch_size": 15, "seed": 2, **settle(option, 40)}
    schedule = SCHEDULES.get(name.removeprefix("schedule "))
    if schedule is not None and schedule.needs_end:
        pytest.skip("this schedule follows the share of all epochs")
    if name == "all of it":
        kinds["optimizer"] = RMSProp(0.01, alpha=0.1, l1=0.1, clip_norm=1.0, clip_value=0.1)
    whole, halves = (network(option, backend) for _ in range(2))
    train(whole, X, y, epochs=20, **kinds)
    train(halves, X, y, epochs=10, **kinds)
    train(halves, X, y, epochs=10, warm_start=True, **kinds)
    assert halves.training.history == whole.training.history
    for mine, theirs in ((halves.theta, whole.theta), *vectors(halves, whole)):
        np.testing.assert_array_equal(backend.to_host(mine), backend.to_host(theirs))


def vectors(*nets):
    (mine, theirs) = (net.training.vectors for net in nets)
    assert set(mine) == set(theirs)
    return [(mine[name], theirs[name]) for name in mine]


@pytest.mark.parametrize("name", PLAIN)
def test_the_gradient_of_a_step_is_that_of_its_loss(backend, name):
    """By central differences along random directions; masks and noise are held by the seed."""
    X, y = problem(12)
    option, rng = OPTIONS[name], np.random.default_rng(3)
    kinds = {**settle(option, 12), "optimizer": SGD(1e-9), "epochs": 1, "seed": 6}
    kinds.pop("average", None)  # it changes places with θ by way of the gradient
    net = network(option, "numpy")
    start, used = net.theta, np.zeros(net.theta.shape)
    for view in net.layout.named(used).values():
        view[...] = 1.0

    def step(theta):
        net = network(option, backend)
        backend.send(theta, net.theta)
        loss = train(net, X, y, **kinds)["loss"][0]
        return loss, backend.to_host(net.gradient).copy()

    theta = start + 0.05 * rng.standard_normal(start.size) * used
    _, gradient = step(theta)
    for _ in range(5):
        d = rng.standard_normal(theta.size) * used
        d /= np.linalg.norm(d)
        numeric = (step(theta + 1e-5 * d)[0] - step(theta - 1e-5 * d)[0]) / 2e-5
        scale = max(abs(numeric), np.linalg.norm(gradient) / np.sqrt(used.sum()))
        assert gradient @ d == pytest.approx(numeric, abs=1e-6 * scale)


# --- what each costs ------------------------------------------------------------------------------


def launches(depth, option):
    """Those of a plain shuffled step, and what the option adds once and in each hidden layer."""
    return 6 * depth - 1 + 2 + option.once + option.each * (depth - 1)


def counts_of_an_epoch(double, depth, batches, option):
    X, y = problem(5 * batches)
    sizes = (5, *[6] * (depth - 1), 1)
    net = Network(sizes, "tanh", backend=double, random_state=0, **option.net)
    counts = []
    train(
        net, X, y, epochs=3, batch_size=5, **settle(option, 5 * batches),
        callback=lambda _: counts.append(double.xp.counts.snapshot()),
    )  # fmt: skip
    first, second = (b - a for a, b in itertools.pairwise(counts))
    assert first == second
    return first


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("depth", [2, 4])
def test_a_step_costs_what_the_table_says(double, depth, name):
    option = OPTIONS[name]
    few, many = (counts_of_an_epoch(double, depth, batches, option) for batches in (3, 8))
    steps = many - few  # of five steps: what an epoch costs once is gone
    assert steps.launches == 5 * launches(depth, option)
    assert (steps.allocations, steps.copies, steps.syncs, steps.transfers) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "name", ["adam", "dropout", "input noise", "average", "weights", "all of it"]
)
def test_an_epoch_costs_little_more(double, name):
    """The order of rows and the keys go in, the losses come out; an average changes places."""
    option = OPTIONS[name]
    few, many = (counts_of_an_epoch(double, 3, batches, option) for batches in (3, 8))
    once = few.launches - 3 * (many - few).launches // 5
    averaged, random = "average" in option.train, name in ("dropout", "input noise", "all of it")
    assert once == 1 + 6 * averaged  # θ is kept; thrice copied each way
    assert few.transfers == 2 + random
    assert few.syncs == 1
    assert few.allocations == 0
