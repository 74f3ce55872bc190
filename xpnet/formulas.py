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
    "adam",
    "logistic",
    "sgd",
    "sigmoid",
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


# --- the loss: logistic, from logits --------------------------------------------------------------


def _logistic(
    xp: Xp, Z: Array, losses: Array, b: Array, Y: Array, scale: float
) -> tuple[Array, Array]:
    # -Y log σ(z) - (1-Y) log(1-σ(z)) = max(z, 0) - zY + log(1 + e^-|z|), finite for every finite z;
    # its derivative is σ(z) - Y, because the sigmoid's and the logarithm's derivatives cancel.
    z = Z + b
    loss = xp.maximum(z, 0.0) - z * Y + xp.log1p(xp.exp(-xp.abs(z)))
    return (sigmoid(xp, z) - Y) * scale, loss


#: ``dZ_L = (σ(Z_L + b_L) - Y) · scale`` in the place of Z_L, and each example's loss.
logistic = Formula(_logistic, ("Z", "losses"))


def _accumulate(xp: Xp, total: Array, part: Array) -> Array:
    return total + part


#: ``total := total + part``
accumulate = Formula(_accumulate, ("total",))


# --- optimizer rules over the flat parameters θ and their gradient --------------------------------


def _sgd(xp: Xp, theta: Array, grad: Array, rate: float) -> Array:
    return theta - rate * grad


#: ``θ := θ - α g``
sgd = Formula(_sgd, ("theta",))


def _adam(
    xp: Xp,
    theta: Array,
    grad: Array,
    m: Array,
    v: Array,
    rate: float,
    gain_1: float,
    gain_2: float,
    root_correction: float,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    m = m + gain_1 * (grad - m)  # β₁ m + (1-β₁) g
    v = v + gain_2 * (grad * grad - v)  # β₂ v + (1-β₂) g²
    return theta - rate * m / (xp.sqrt(v) * root_correction + epsilon), m, v


#: Kingma & Ba 2015, algorithm 1: ``m̂ = m/(1-β₁ᵗ)`` is in *rate* = α/(1-β₁ᵗ), ``√v̂ = √v/√(1-β₂ᵗ)``
#: in *root_correction*; the gains are 1-β₁ and 1-β₂.
adam = Formula(_adam, ("theta", "m", "v"))
