"""Rows on their way to the device: those that count, whether they fit, and where they lie then."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import is_sparse
from .checks import check_weights
from .errors import InputError, OutOfMemory
from .formulas import Array
from .network import Network

__all__ = ["Rows", "check_memory", "check_network", "place", "present", "too_large"]


@dataclass(frozen=True)
class Rows:
    """Rows on the device: ``(m, n_0)``, dense or CSR; targets ``(m, 1)``; weights on both sides."""

    X: Array
    Y: Array
    w: Array | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def sparse(self) -> bool:
        """Whether X is sparse, so that batches are made dense one by one."""
        return is_sparse(self.X)


def check_network(net: Any) -> None:
    """Raise `InputError` unless *net* is a `Network`."""
    if not isinstance(net, Network):
        hint = "; give its network_" if hasattr(net, "network_") else ""
        raise InputError(f"net: expected a Network; got {type(net).__name__}{hint}")


def present(
    net: Network, X: Any, targets: np.ndarray, sample_weight: Any
) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Leave out the rows of weight 0: to be absent is just that; weights of 1 are none.

    A weight is 0 if it is too small for the network's dtype.  Raises `InputError` unless there is
    one weight a row, of at least 0, some of them above, and their sum is not too large for it.
    """
    if sample_weight is None:
        return X, targets, None
    weights = check_weights(sample_weight, len(targets))
    there = np.flatnonzero(_check_range(weights, net.dtype))
    if len(there) < len(weights):
        with net.backend as backend:
            X = X.tocsr() if is_sparse(X) else X
            X = X[backend.asarray(there) if backend.is_native(X) else there]
        targets, weights = targets[there], weights[there]
    return X, targets, None if np.all(weights == 1.0) else weights


def _check_range(weights: np.ndarray, dtype: str) -> np.ndarray:
    """Tell which *weights* are above 0 in *dtype*; raise `InputError` where it cannot hold them."""
    least, most = float(np.finfo(dtype).tiny), 1e-6 * float(np.finfo(dtype).max)
    if weights.max() < least or weights.max() > most / len(weights):  # a loss is below 10^6
        raise InputError(
            f"sample_weight: expected a largest one from {least:.1e}, and a sum up to {most:.1e}, "
            f"for a network of {dtype}; got a largest one of {weights.max():.1e}; multiply all of "
            "them by one factor"
        )
    return weights >= least


def check_memory(net: Network, X: Any, batch_size: int | None) -> None:
    """Raise `InputError` unless rows *X* and what training them takes fit the device's memory."""
    needed, there = sum(_needs(net, X, batch_size).values()), net.backend.memory()
    if there is not None and needed > there:
        raise InputError(
            f"X: expected rows that fit {net.backend.name}'s memory; training on them takes about "
            f"{_gigabytes(needed)}, and {_gigabytes(there)} are there; give fewer rows, a smaller "
            "batch_size, or precision='float32'"
        )


def _needs(net: Network, X: Any, batch_size: int | None) -> dict[str, int]:
    """Return about how many bytes training on rows *X* takes on the device, and what for."""
    m, itemsize = X.shape[0], np.dtype(net.dtype).itemsize
    moves = not net.backend.is_native(X) or str(X.dtype) != net.dtype or net.scaling is not None
    rows = 0 if is_sparse(X) or not moves else m * net.layer_sizes[0]
    return {
        "the rows": itemsize * rows,
        "the activations of a batch": itemsize * _widest(net) * min(batch_size or m, m),
        "parameters, gradients and the optimizer's vectors": itemsize * 6 * net.layout.n_flat,
    }


def _widest(net: Network) -> int:
    return 3 * sum(net.layer_sizes)


def too_large(net: Network, X: Any, batch_size: int | None) -> OutOfMemory:
    """Free what the device keeps for later; return the error for too little memory.

    No one may refer to the buffers of the run any more.  It names the largest of what training
    takes, and a batch size that would fit.
    """
    gc.collect()
    net.backend.free()
    needs, there = _needs(net, X, batch_size), net.backend.memory()
    largest = sorted(needs.items(), key=lambda need: -need[1])
    words = ", ".join(f"{name} {_gigabytes(size)}" for name, size in largest)
    batch = "activations"
    fixed = sum(size for name, size in needs.items() if batch not in name)
    row = _widest(net) * np.dtype(net.dtype).itemsize
    fits = 0 if there is None else int(0.8 * there - fixed) // row
    fits = min(fits, (batch_size or X.shape[0]) // 2)
    remedy = f"give batch_size={2 ** (fits.bit_length() - 1):,}" if fits > 0 else "give fewer rows"
    free = "" if there is None else f"; {_gigabytes(there)} are free again"
    return OutOfMemory(
        f"X: expected what fits {net.backend.name}'s memory; got too much: {words}{free}; {remedy}"
    )


def _gigabytes(n: float) -> str:
    return f"{n / 2**30:,.1f} GiB" if n >= 2**29 else f"{n / 2**20:,.1f} MiB"


def place(net: Network, X: Any, targets: np.ndarray, weights: np.ndarray | None) -> Rows:
    """Move checked data to the device once."""
    rows = net.rows(X, finite=True)
    Y = net.targets(targets, rows.shape[0]).T
    w = None if weights is None else net.backend.asarray(weights, net.dtype).reshape(-1, 1)
    return Rows(rows, Y, w, weights)
