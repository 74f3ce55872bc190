"""First parameters that know the data: biases within the clouds of rows, and the log-odds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .arrays import is_sparse
from .initializers import RandomSource, check_random_state
from .network import Network
from .normalization import normalize

__all__ = ["initialize_from_rows"]

_ROWS = 1024  # that are looked at


def initialize_from_rows(
    net: Network,
    X: Any,
    y01: np.ndarray,
    weights: np.ndarray | None = None,
    random_state: RandomSource = None,
) -> None:
    """Set the biases of *net* from rows *X*, and its last weights to zero; other weights stay.

    Layer after layer, ``b_l := -Q(Z_l, u)`` with Q the quantiles of each unit's pre-activations
    over at most 1,024 evenly spaced rows and u drawn from U[0, 1) for each unit, so that every unit
    has its bend where rows are (the idea of "he+5" by Steinwart 2019).  At the end ``W_L := 0`` and
    ``b_L := log(p/(1-p))`` with p the share of the second class: training begins at the best
    constant prediction.

    It is computed on the host.  In float64 the order of the rows does not matter, nor whether a row
    is repeated or has a whole-number weight, up to rounding and while all rows are looked at.

    Parameters
    ----------
    net : Network
        With its scaling, if it is to have one.
    X : array of shape (m, n_0)
        Rows on the host or on the network's device.
    y01 : ndarray of shape (m,)
        0 and 1.
    weights : ndarray of shape (m,), optional
    random_state : int, Generator, RandomState or None
    """
    rng, every = check_random_state(random_state), -(-len(y01) // _ROWS)
    w = np.ones(len(y01)) if weights is None else weights
    with net.backend as backend:
        rows = net.rows(X[::every], finite=True)
        A = backend.to_host(rows.toarray() if is_sparse(rows) else rows).astype(float).T
        host = {name: backend.to_host(view) for name, view in net.parameters.items()}
    found: dict[str, Any] = {}
    if net.layout.scaled:
        A = A * host["scale"].T
    for l, name in enumerate(net.activations, start=1):
        Z = host[f"W{l}"].astype(float) @ A
        if net.layout.normalized:
            Z = normalize(np, Z, host[f"gamma{l}"])
        found[f"b{l}"] = b = -_quantiles(Z, w[::every], rng.uniform(size=len(Z)))
        A = ACTIVATIONS[name].value(np, Z + b)
    p = float(np.sum(w * y01) / np.sum(w))
    last = len(net.activations) + 1
    found[f"W{last}"] = np.zeros_like(host[f"W{last}"])
    found[f"b{last}"] = np.full((1, 1), math.log(p / (1.0 - p)) if 0.0 < p < 1.0 else 0.0)
    net.set_parameters(found)


def _quantiles(Z: np.ndarray, weights: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The quantile *u* of each row of *Z* whose columns have *weights*, shape ``(n, 1)``."""
    order = np.argsort(Z, axis=1)
    reached = np.cumsum(weights[order], axis=1)
    at = np.argmax(reached >= u[:, None] * reached[:, -1:], axis=1)
    rows = np.arange(len(Z))
    found: np.ndarray = Z[rows, order[rows, at]][:, None]
    return found
