"""What is drawn anew in every step, on the device: dropout's masks and the noise on inputs.

No generator runs there.  Each number is a hash of where it stands, (unit, column), and of a key
that the host draws for (seed, epoch, step, layer): the same bits on every backend, with any number
of threads, and after a resume.  The hash is C. Wellons' ``lowbias32``, an integer mixer of two
multiplications, in 32-bit arithmetic that wraps around.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .formulas import Array, Formula, Xp

__all__ = ["Dropout", "Noise", "Places", "draw_keys"]


def draw_keys(seed: int, epoch: int, steps: int, streams: int) -> np.ndarray:
    """Draw the keys of an epoch on the host, ``uint32`` of shape ``(steps, streams)``."""
    rng = np.random.default_rng([seed, epoch, 1])  # [seed, epoch] draws the order of the rows
    return rng.integers(2**32, size=(steps, streams), dtype=np.uint32)


def _mix(x: Array) -> Array:
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


def _bits(unit: Array, column: Array, key: Array) -> Array:
    """Return 32 random bits for each pair of a unit and a column, numbered as `Places` does."""
    return _mix((column ^ key) + unit)


def _keep(xp: Xp, unit: Array, column: Array, key: Array, limit: Array, kept: Array) -> Array:
    return _bits(unit, column, key) >= limit


def _drop(xp: Xp, A: Array, kept: Array, gain: float) -> Array:
    return xp.where(kept, A, 0.0) * gain


def _drop_gradient(
    xp: Xp, dA: Array, A: Array, kept: Array, gain: float, share: float
) -> tuple[Array, Array]:
    return xp.where(kept, dA, 0.0) * gain, A * share


# Four halves of 16 bits, added: whole numbers, so that all devices agree to the bit.
def _sum_of_four(xp: Xp, unit: Array, column: Array, key: Array, total: Array) -> Array:
    first = _bits(unit, column, key)
    second = _mix(first ^ 0x85EBCA77)
    return (first >> 16) + (first & 0xFFFF) + (second >> 16) + (second & 0xFFFF)


_MEAN, _DEVIATION = 2.0 * 65535.0, ((65536.0**2 - 1.0) / 3.0) ** 0.5


def _add_noise(xp: Xp, X: Array, total: Array, factor: float) -> Array:
    return X + (total - _MEAN) * factor


_keep_formula = Formula(_keep, ("kept",))
_drop_formula = Formula(_drop, ("A",))
_drop_gradient_formula = Formula(_drop_gradient, ("dA", "A"))
_sum_of_four_formula = Formula(_sum_of_four, ("total",))
_add_noise_formula = Formula(_add_noise, ("X",))


class Places:
    """Where a pass draws from: its columns, the first of them column *start* of the batch.

    *keys* is the step's, ``(streams, 1, 1)``: the caller fills it before each.
    """

    def __init__(self, xp: Xp, compiler: Callable[..., Any], keys: Array, start: int, m: int):
        self.xp, self.compiler, self.keys = xp, compiler, keys
        self.columns = _mix(xp.arange(start, start + m, dtype="uint32")).reshape(1, m)

    def units(self, n: int) -> Array:
        """The numbers of n units, ``(n, 1)``."""
        return (self.xp.arange(n, dtype="uint32") * 0x9E3779B1).reshape(n, 1)


class Dropout:
    """Dropout (Srivastava et al. 2014) of a layer's A, both directions in place.

    A unit is kept where its 32 bits are at least ``rate · 2³²``; kept ones grow by ``1/(1-rate)``.
    """

    def __init__(self, places: Places, stream: int, rate: float, A: Array, dA: Array) -> None:
        xp, n = places.xp, A.shape[0]
        kept = xp.empty(A.shape, dtype="bool")
        limit = xp.full((1, 1), min(round(rate * 2**32), 2**32 - 1), dtype="uint32")
        self.share, self.gain = 1.0 - rate, 1.0 / (1.0 - rate)
        self.keep = places.compiler(
            _keep_formula, places.units(n), places.columns, places.keys[stream], limit, kept
        )
        self.drop = places.compiler(_drop_formula, A, kept)
        self.drop_gradient = places.compiler(_drop_gradient_formula, dA, A, kept)

    def forward(self) -> None:
        """Draw the mask and drop."""
        self.keep()
        self.drop(self.gain)

    def backward(self) -> None:
        """Pass dA on, and give back A as it was, but for zeros where dA is zero now."""
        self.drop_gradient(self.gain, self.share)


class Noise:
    """Noise of standard deviation *deviation* on rows ``(m, n)``: sums of four uniform numbers."""

    def __init__(self, places: Places, stream: int, deviation: float, rows: Array) -> None:
        m, n = rows.shape
        total = places.xp.empty((m, n), dtype=rows.dtype)
        unit, column = places.units(n).T, places.columns.T
        self.draw = places.compiler(_sum_of_four_formula, unit, column, places.keys[stream], total)
        self.add = places.compiler(_add_noise_formula, rows, total)
        self.factor = deviation / _DEVIATION

    def apply(self) -> None:
        """Add it, in place."""
        self.draw()
        self.add(self.factor)
