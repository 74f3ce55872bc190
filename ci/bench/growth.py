"""One point of `scaling`: a training of some size, in a process of its own."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from others import peak

from xpnet import Adam, Network, train


def growth(task: dict[str, Any]) -> dict[str, float]:
    """Return what an epoch, a step and all took, in seconds, and the memory it added, in MB."""
    run(
        task | {"layers": [8, 8, 1], "rows": 64, "batch": 32}
    )  # so that the libraries are there already
    before = peak()
    seconds = run(task)
    steps = -(-task["rows"] // task["batch"])
    epoch = float(np.median(np.diff(seconds)))
    return {
        "epoch": epoch,
        "step": epoch / steps,
        "all": float(seconds[-1] - seconds[0]),
        "added": peak() - before,
    }


def run(task: dict[str, Any]) -> np.ndarray:
    """Train as *task* says; return when each epoch ended, the first one not counted."""
    rng, layers = np.random.default_rng(0), task["layers"]
    X = np.empty((task["rows"], layers[0]), "float32")
    rng.standard_normal(out=X, dtype="float32")
    y = X[:, 0] > 0.0
    net = Network(layers, backend="numpy", random_state=0)
    ends: list[float] = []
    train(
        net,
        X,
        y,
        optimizer=Adam(1e-4),
        epochs=task["epochs"] + 1,
        batch_size=task["batch"],
        callback=lambda _: ends.append(time.perf_counter()),
    )
    return np.array(ends)
