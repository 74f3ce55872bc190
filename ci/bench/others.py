"""What else is measured: a whole fit, predictions, and the memory that training takes."""

from __future__ import annotations

import dataclasses
import functools
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Clock, interleaved, load, prepared, summary
from peers import Predictor
from workloads import WORKLOADS, Workload

_EPOCHS = 10


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Time a whole fit: splitting, shuffling every epoch, and validation after it."""
    print(f"threads {task['threads']}: a whole fit", file=sys.stderr, flush=True)
    seen: dict[str, Any] = {"threads": task["threads"]}
    for name in ("small table", "table"):
        seen[name] = summary(interleaved(_fits(WORKLOADS[name], task["backend"]), task))
    return seen


def _fits(workload: Workload, backend: str) -> dict[str, Clock]:
    X, y = workload.data("float32")
    hidden, rows = workload.layers[1:-1], workload.rows

    def ours() -> None:
        from xpnet import Adam, Network, train

        order, cut = np.random.default_rng(0).permutation(len(X)), len(X) // 10
        some, most = order[:cut], order[cut:]
        net = Network(workload.layers, backend=backend, random_state=0)
        train(
            net,
            X[most],
            y[most],
            optimizer=Adam(workload.rate),
            epochs=_EPOCHS,
            batch_size=rows,
            validation_data=(X[some], y[some]),
        )

    def sklearns() -> None:
        from sklearn.neural_network import MLPClassifier

        MLPClassifier(
            hidden,
            alpha=0.0,
            batch_size=rows,
            learning_rate_init=workload.rate,
            max_iter=_EPOCHS,
            early_stopping=True,  # this is how it validates ...
            n_iter_no_change=_EPOCHS,  # ... and so it never stops
            random_state=0,
        ).fit(X, y)

    warnings.simplefilter("ignore")  # "not converged": the epochs are given
    return {"xpnet": repeated(ours), "scikit-learn": repeated(sklearns)}


def predict(task: dict[str, Any]) -> dict[str, Any]:
    """Time `predict_proba` of one row and of a million, from host arrays to host arrays."""
    print(f"threads {task['threads']}: predictions", file=sys.stderr, flush=True)
    workload = WORKLOADS["small table"]
    predictors, missing = _predictors(workload, task)
    X = np.random.default_rng(0).standard_normal((10**6, workload.layers[0]), dtype="float32")
    seen: dict[str, Any] = {"threads": task["threads"], "missing": missing}
    for rows in (1, len(X)):
        part = X[:rows]
        clocks = {n: repeated(functools.partial(f, part)) for n, f in predictors.items()}
        seen["1 row" if rows == 1 else f"{rows:,} rows"] = summary(interleaved(clocks, task))
    return seen


def _predictors(
    workload: Workload, task: dict[str, Any]
) -> tuple[dict[str, Predictor], dict[str, str]]:
    from xpnet import BinaryClassifier

    names = ("xpnet", "scikit-learn", "PyTorch", "JAX step")
    peers, missing = prepared(workload, "float32", task, names)
    predictors = {name: peer.predictor() for name, peer in peers.items()}
    X, y = workload.data("float32")
    fitted = BinaryClassifier(workload.layers[1:-1], max_iter=1, backend=task["backend"]).fit(X, y)
    return predictors | {"xpnet's BinaryClassifier": fitted.predict_proba}, missing


def memory(task: dict[str, Any]) -> dict[str, float]:
    """Return one competitor's peak memory in MB: all of it, and what `physics` added.

    A small training comes first, so that libraries and their pools are there already.
    """
    physics = WORKLOADS["physics"]
    kind, rest = load(task["peer"]), ("float32", task["backend"], task["threads"])
    kind(dataclasses.replace(physics, rows=32, batches=1), *rest).epochs(1)
    before = peak()
    kind(dataclasses.replace(physics, batches=20), *rest).epochs(1)
    return {"peak": peak(), "added": peak() - before}


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent had when it started this process
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def repeated(function: Callable[[], Any]) -> Clock:
    """Return the clock that calls *function* as often as it is told."""

    def clock(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            function()
        return time.perf_counter() - start

    return clock
