"""Penalties, decay and clipping in whole runs, against PyTorch's optimizers on the same network."""

import numpy as np
import pytest

import xpnet.numpy_backend
from xpnet import Network, get_backend, train
from xpnet.optimizers import SGD, Adam, AdamW, NAdam, RMSProp

M, BATCH = 30, 12  # three steps an epoch, the last of them of 6 rows

RUNS = {  # the optimizer; the judge's name and numbers; and what is done to gradients there
    "alpha": (SGD(0.3, alpha=2.0), "SGD", {"lr": 0.3}, {"alpha": 2.0}),
    "alpha and momentum": (
        SGD(0.1, alpha=2.0, momentum=0.9, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"alpha": 2.0},
    ),
    "alpha in adam": (Adam(0.05, alpha=2.0), "Adam", {"lr": 0.05}, {"alpha": 2.0}),
    "l1": (SGD(0.3, l1=0.5), "SGD", {"lr": 0.3}, {"l1": 0.5}),
    "l1 in rmsprop": (RMSProp(0.01, l1=0.5), "RMSprop", {"lr": 0.01}, {"l1": 0.5}),
    "both": (SGD(0.3, alpha=1.0, l1=0.5), "SGD", {"lr": 0.3}, {"alpha": 1.0, "l1": 0.5}),
    "decay": (AdamW(0.05, weight_decay=0.5), "AdamW", {"lr": 0.05}, {"decay": 0.5}),
    "decay in nadam": (
        NAdam(0.05, weight_decay=0.5),
        "NAdam",
        {"lr": 0.05, "decoupled_weight_decay": True},
        {"decay": 0.5},
    ),
    "clipped norm": (SGD(0.3, clip_norm=0.1), "SGD", {"lr": 0.3}, {"norm": 0.1}),
    "a norm that is not reached": (SGD(0.3, clip_norm=1e3), "SGD", {"lr": 0.3}, {"norm": 1e3}),
    "clipped norm in adam": (Adam(0.05, clip_norm=0.1), "Adam", {"lr": 0.05}, {"norm": 0.1}),
    "clipped values": (SGD(0.3, clip_value=0.01), "SGD", {"lr": 0.3}, {"value": 0.01}),
    "all": (
        AdamW(0.05, weight_decay=0.1, alpha=1.0, l1=0.5, clip_norm=0.2, clip_value=0.05),
        "AdamW",
        {"lr": 0.05},
        {"decay": 0.1, "alpha": 1.0, "l1": 0.5, "norm": 0.2, "value": 0.05},
    ),
}


def problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((M, 5))
    return X, (X[:, 0] > 0).astype(int)


def network(backend):
    net = Network(
        [5, 6, 4, 1], "tanh", normalization="layer", input_scale=True, backend=backend,
        precision="float64", random_state=0,
    )  # fmt: skip
    net.parameters["b1"][...] = 0.3  # what decays would be seen to
    return net


def forward(torch, leaf, X):
    A = torch.tensor(X) * leaf["scale"]
    for l, n in ((1, 6), (2, 4)):
        Z = torch.nn.functional.layer_norm(A @ leaf[f"W{l}"].T, (n,), leaf[f"gamma{l}"][:, 0])
        A = torch.tanh(Z + leaf[f"b{l}"][:, 0])
    return (A @ leaf["W3"].T + leaf["b3"])[:, 0]


def judged(torch, net, kind, numbers, alpha=0.0, l1=0.0, decay=0.0, norm=None, value=None):
    """PyTorch's parameters and losses after the same steps; only weights are penalised."""
    X, y = problem()
    leaf = {
        k: torch.tensor(net.backend.to_host(v).copy(), requires_grad=True)
        for k, v in net.parameters.items()
    }
    weights = [leaf[name] for name in leaf if name.startswith("W")]
    others = [leaf[name] for name in leaf if not name.startswith("W")]
    if kind.endswith("AdamW") or decay:
        groups = [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0}]
    else:
        groups = [{"params": weights}, {"params": others}]
    judge, losses = getattr(torch.optim, kind)(groups, **numbers), []
    for epoch in range(2):
        order = np.random.default_rng([4, epoch]).permutation(M)
        for start in range(0, M, BATCH):
            rows = order[start : start + BATCH]
            judge.zero_grad()
            Z = forward(torch, leaf, X[rows])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                Z, torch.tensor(y[rows]).double()
            )
            loss.backward()
            losses.append(loss.item() * len(rows))
            if norm is not None:
                torch.nn.utils.clip_grad_norm_(leaf.values(), norm)
            if value is not None:
                torch.nn.utils.clip_grad_value_(leaf.values(), value)
            for W in weights:
                W.grad += (alpha * W.detach() + l1 * torch.sign(W.detach())) / len(rows)
            judge.step()
    return leaf, np.sum(np.reshape(losses, (2, -1)), axis=1) / M


@pytest.mark.parametrize(("optimizer", "kind", "numbers", "changes"), RUNS.values(), ids=RUNS)
def test_runs_are_pytorchs(backend, optimizer, kind, numbers, changes):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    net = network(backend)
    leaf, losses = judged(torch, net, kind, numbers, **changes)
    history = train(net, *problem(), optimizer=optimizer, epochs=2, batch_size=BATCH, seed=4)
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-7)
    for name, mine in net.parameters.items():
        expected = leaf[name].detach().numpy()
        np.testing.assert_allclose(backend.to_host(mine), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("change", [{"alpha": 9.0}, {"l1": 9.0}, {"weight_decay": 0.9}])
def test_only_weights_are_penalised(backend, change):
    """In one step from one start, all else goes where it went without the penalty."""
    nets = [network(backend) for _ in range(2)]
    for net, kinds in zip(nets, ({}, change), strict=True):
        train(net, *problem(), optimizer=SGD(0.1, **kinds), epochs=1)
    for name in nets[0].parameters:
        plain, penalised = (backend.to_host(net.parameters[name]) for net in nets)
        assert np.array_equal(plain, penalised) is not name.startswith("W"), name


def test_rate_factors_are_rates_of_parameter_groups(backend):
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    net, (X, y) = network(backend), problem()
    rates = {"W": 1.0, "W1": 0.3, "b": 0.0, "b3": 2.0, "gamma": 0.5, "scale": 6.0}
    leaf = {
        k: torch.tensor(backend.to_host(v).copy(), requires_grad=True)
        for k, v in net.parameters.items()
    }
    groups = [
        {"params": [value], "lr": 0.02 * rates.get(name, rates[name.rstrip("123")])}
        for name, value in leaf.items()
    ]
    judge = torch.optim.Adam(groups)
    for _ in range(5):
        judge.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(
            forward(torch, leaf, X), torch.tensor(y).double()
        ).backward()
        judge.step()
    train(net, X, y, optimizer=Adam(0.02), epochs=5, rate_factors=rates)
    for name, mine in net.parameters.items():
        expected = leaf[name].detach().numpy()
        np.testing.assert_allclose(backend.to_host(mine), expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("optimizer", [run[0] for run in RUNS.values()], ids=RUNS)
def test_threads_agree(optimizer, monkeypatch):
    one, three = network(get_backend("numpy", threads=1)), network(get_backend("numpy", threads=3))
    kinds = {"optimizer": optimizer, "epochs": 3, "batch_size": 29}  # the last batch is of one row
    expected = train(one, *problem(), **kinds)["loss"]
    monkeypatch.setattr(xpnet.numpy_backend, "_SHARE", 1)
    np.testing.assert_allclose(train(three, *problem(), **kinds)["loss"], expected, rtol=1e-9)
    np.testing.assert_allclose(three.theta, one.theta, rtol=1e-7, atol=1e-10)
