"""The mathematics of single numbers: every formula that is applied element by element.

A formula is a pure expression of arrays and Python floats, ``f(xp, ...)``: no ``out=``, nothing in
place, no branch on a value.  A `Formula` names the arguments whose new values it returns; a backend
*compiles* it into a routine that writes them there (tiles on NumPy, one fused kernel on CuPy).
Arguments annotated ``float`` are scalars, and come last.  Both branches of a ``where`` must be
finite: it may be computed as ``a·c + b·¬c``.  A float meets float arrays only: in a fused kernel
CuPy computes two scalars, or a scalar and a mask, in half precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Array",
    "Formula",
    "Xp",
    "accumulate",
    "sigmoid",
    "softplus",
]

Array = Any  #: an array of the namespace in use
Xp = Any  #: the array namespace: ``numpy``, ``cupy`` or another that follows the standard


@dataclass(frozen=True)
class Formula:
    """An elementwise *function* and the names of the arguments whose new values it returns."""

    function: Callable[..., Any]
    writes: tuple[str, ...]

    def __call__(self, xp: Xp, *operands: Any) -> Any:
        """Return the new values as a tuple in the order of `writes`, or alone if there is one."""
        return self.function(xp, *operands)


def sigmoid(xp: Xp, Z: Array) -> Array:
    """Return ``σ(Z) = 1/(1 + e^-Z)``, to full relative precision for every finite Z."""
    e = xp.exp(xp.minimum(Z, 40.0))  # e^z/(1+e^z) is 1 from there on, and never overflows
    return e / (1.0 + e)


def softplus(xp: Xp, Z: Array) -> Array:
    """Return ``log(1 + e^Z)``, finite for every finite Z."""
    return xp.maximum(Z, 0.0) + xp.log1p(xp.exp(-xp.abs(Z)))


def _accumulate(xp: Xp, total: Array, part: Array) -> Array:
    return total + part


#: ``total := total + part``
accumulate = Formula(_accumulate, ("total",))
