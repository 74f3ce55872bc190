"""The clock: competitors in turn, round after round, and what the rounds say."""

from __future__ import annotations

import gc
import importlib
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from peers import MissingPeerError, Parameters, Peer
from threadpoolctl import threadpool_info
from workloads import WORKLOADS, Workload

PEERS = {  # where each lives: a process imports those that it runs, and no other
    "xpnet": "peers.Xpnet",
    "xpnet fast": "peers.XpnetFast",
    "scikit-learn": "peers.ScikitLearn",
    "PyTorch": "peers_torch.Torch",
    "PyTorch compiled": "peers_torch.TorchCompiled",
    "PyTorch graph": "peers_torch.TorchGraph",
    "JAX step": "peers_jax.JaxStep",
    "JAX loop": "peers_jax.JaxLoop",
    "textbook": "peers.Textbook",
    "bare products": "peers.BareProducts",
    "best products": "peers.BestProducts",
}
_ONLY_ON = {"xpnet fast": "numpy", "PyTorch graph": "cupy", "best products": "numpy"}

_PAUSE = 0.12  # seconds, in which thread pools that wait by spinning (OpenBLAS: 0.1 s) let go
Clock = Callable[[int], float]  #: the seconds that so many repetitions take


def steps(task: dict[str, Any]) -> dict[str, Any]:
    """Time a step of every competitor, in every cell ``(workload, dtype)`` of the task."""
    from xpnet import BackendUnavailable, get_backend

    try:
        device = get_backend(task["backend"]).device_name
    except BackendUnavailable as error:
        sys.exit(str(error))
    cells = [cell(WORKLOADS[name], dtype, task) for name, dtype in task["cells"]]
    libraries = [{k: v for k, v in pool.items() if k != "filepath"} for pool in threadpool_info()]
    return {"cells": cells, "libraries": libraries, "device": device}


def cell(workload: Workload, dtype: str, task: dict[str, Any]) -> dict[str, Any]:
    """Time a step of every competitor on one workload in one dtype."""
    threads = task["threads"]
    print(f"threads {threads}, {dtype}: {workload.name}", file=sys.stderr, flush=True)
    peers, missing = prepared(workload, dtype, task)
    before, learnt = loss(workload, workload.parameters("float64")), {}
    for name, peer in peers.items():
        peer.epochs(1)
        if (parameters := peer.parameters()) is not None:
            learnt[name] = before - loss(workload, parameters)
    rounds = interleaved({name: peer.seconds for name, peer in peers.items()}, task)
    per_step = {name: [s / workload.batches for s in seconds] for name, seconds in rounds.items()}
    return {
        "workload": workload.name,
        "backend": task["backend"],
        "dtype": dtype,
        "threads": threads,
        "gflop": workload.flops / 1e9,
        "peers": summary(per_step),
        "missing": missing,
        "loss_decrease_of_first_epoch": learnt,
    }


def prepared(
    workload: Workload, dtype: str, task: dict[str, Any], names: Iterable[str] = PEERS
) -> tuple[dict[str, Peer], dict[str, str]]:
    """Return those competitors of *names* that are there, and why the others are not."""
    peers: dict[str, Peer] = {}
    missing: dict[str, str] = {}
    for name in names:
        if _ONLY_ON.get(name, task["backend"]) != task["backend"]:
            continue
        if name in task["left_out"]:
            missing[name] = task["left_out"][name]
            continue
        try:
            peers[name] = load(name)(workload, dtype, task["backend"], task["threads"])
        except (MissingPeerError, ImportError) as error:  # its column stays empty, and says why
            missing[name] = str(error)
    return peers, missing


def load(name: str) -> type[Peer]:
    """Return the class of the competitor of that name."""
    module, _, kind = PEERS[name].partition(".")
    return getattr(importlib.import_module(module), kind)


def loss(workload: Workload, parameters: Parameters) -> float:
    """Return the mean loss of the network of these *parameters*, in float64 by NumPy."""
    X, y = workload.data("float64")
    A = X.T
    for W, b in parameters[:-1]:
        A = np.maximum(W.astype(float) @ A + b, 0.0)
    W, b = parameters[-1]
    Z = (W.astype(float) @ A + b)[0]
    return float(np.mean(np.logaddexp(0.0, Z) - y * Z))


def interleaved(clocks: dict[str, Clock], task: dict[str, Any]) -> dict[str, list[float]]:
    """Read all *clocks* in turn, round after round, as long as the *task* says.

    Each reading lasts about ``sample`` seconds and gives the seconds of one repetition.  Every
    round starts with another clock, so that none always runs after the same neighbour.
    """
    repeats = {name: enough(clock, task["sample"]) for name, clock in clocks.items()}
    readings: dict[str, list[float]] = {name: [] for name in clocks}
    names, end, rounds = list(clocks), time.perf_counter() + task["budget"], 0
    gc.collect()
    gc.disable()
    while rounds < task["least"] or time.perf_counter() < end:
        first = rounds % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(_PAUSE)
            clocks[name](repeats[name])  # threads that slept find cores of their own
            readings[name].append(clocks[name](repeats[name]) / repeats[name])
        rounds += 1
    gc.enable()
    return readings


def enough(clock: Clock, sample: float) -> int:
    """Return how many repetitions take about *sample* seconds."""
    n = 1
    while (seconds := clock(n)) < sample / 4:
        n *= 4
    return max(1, round(n * sample / seconds))


def summary(readings: dict[str, list[float]]) -> dict[str, Any]:
    """Return median and quartiles of each: seconds, and the ratio to xpnet's of the same round."""
    ours = np.array(readings["xpnet"])
    return {
        name: {
            "rounds": len(values),
            "seconds": quartiles(np.array(values)),
            "ratio": quartiles(np.array(values) / ours),
        }
        for name, values in readings.items()
    }


def quartiles(values: np.ndarray) -> dict[str, float]:
    """Return the median and the quartiles about it."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "q1": float(low), "q3": float(high)}
