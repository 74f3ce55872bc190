"""The workloads: six networks, the rows of a step, and data to train them on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Workload:
    """A network, its update, and ``batches`` batches of ``rows`` rows that make an epoch."""

    name: str
    layers: tuple[int, ...]
    rows: int
    batches: int
    solver: str
    rate: float
    dtypes: tuple[str, ...] = ("float32",)

    @property
    def products(self) -> list[tuple[int, int, int]]:
        """``(n, k, m)`` of each product of a step, an (n, k) by a (k, m) matrix."""
        pairs, m = list(itertools.pairwise(self.layers)), self.rows
        forward = [(n_out, n_in, m) for n_in, n_out in pairs]
        weights = [(n_out, m, n_in) for n_in, n_out in pairs]
        return [*forward, *weights, *((n_in, n_out, m) for n_in, n_out in pairs[1:])]

    @property
    def flops(self) -> int:
        """Multiplications and additions in the products of a step."""
        return sum(2 * n * k * m for n, k, m in self.products)

    def data(self, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and 0/1 labels of an epoch: a ball in a shell, every tenth label wrong."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.rows * self.batches, self.layers[0]), dtype="float32")
        radius = np.linalg.norm(X, axis=1)
        y = (radius > np.median(radius)) ^ (rng.random(len(X)) < 0.1)
        return X.astype(dtype), y.astype(int)

    def parameters(self, dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the ``(W_l, b_l)`` that every competitor starts from, ``(n_l, n_{l-1})`` each."""
        rng = np.random.default_rng(1)
        return [
            (
                (rng.standard_normal((n_out, n_in)) * np.sqrt(2 / n_in)).astype(dtype),
                np.zeros((n_out, 1), dtype),
            )
            for n_in, n_out in itertools.pairwise(self.layers)
        ]


_NETS = (
    Workload("circles", (2, 10, 5, 1), 1000, 1, "sgd", 1e-2, ("float32", "float64")),
    Workload("cats", (12288, 20, 7, 5, 1), 209, 1, "sgd", 1e-4, ("float32", "float64")),
    Workload("small table", (30, 32, 16, 1), 32, 64, "adam", 1e-4),
    Workload("table", (100, 256, 256, 1), 256, 16, "adam", 1e-4),
    Workload("physics", (28, 300, 300, 300, 300, 1), 1000, 4, "adam", 1e-4),
    Workload("wide", (784, 1024, 1024, 1), 1024, 2, "adam", 1e-5),
)
WORKLOADS = {workload.name: workload for workload in _NETS}

# In float32: a peer's time / ours, at least; and our time / that of the bare products, at most.
_COLUMNS = ("scikit-learn", "PyTorch", "JAX step", "JAX loop", "bare products")
_TARGETS = {
    "xpnet": {
        "circles": (25, 5, 2, 1.3, None),
        "small table": (30, 6, 1.5, 0.33, None),
        "cats": (1.3, 1.4, 2, 2, 1.2),
        "table": (3, 1.5, 0.85, 0.85, 1.25),
        "physics": (1.7, 1.5, 0.9, 0.9, 1.2),
        "wide": (1.25, 1.5, 0.9, 0.9, 1.1),
    },
    "xpnet fast": {
        "circles": (40, 8, 3, 2.2, None),
        "small table": (55, 10, 2.5, 0.6, None),
        "cats": (1.3, 1.4, 2, 2, 1.2),
        "table": (3.5, 1.8, 1.0, 1.0, 1.1),
        "physics": (1.8, 1.8, 1.0, 1.0, 1.1),
        "wide": (1.3, 1.8, 0.95, 0.95, 1.05),
    },
}
TARGETS = {
    ours: {name: dict(zip(_COLUMNS, row, strict=True)) for name, row in rows.items()}
    for ours, rows in _TARGETS.items()
}
