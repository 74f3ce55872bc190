"""The activations of hidden layers: g(Z), and beside it what gives dZ = dA ∘ g'(Z).

Where the slope g'(Z) follows from A = g(Z), the forward pass keeps A alone.  Where it does not, one
formula writes both A and the slope D, which share most of their work, and the layer has a second
buffer.  All are finite for every finite Z.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from .formulas import Array, Formula, Xp, sigmoid, softplus

__all__ = ["ACTIVATIONS", "Activation"]


def _times_slope(xp: Xp, dA: Array, D: Array) -> Array:
    return dA * D


@dataclass(frozen=True)
class Activation:
    """One activation: ``value(xp, Z) -> A`` and ``gradient(xp, dA, kept) -> dZ``.

    What the forward pass keeps for the gradient is A; or, where there is a
    ``value_and_slope(xp, Z) -> (A, D)``, the slope ``D = g'(Z)``.
    """

    name: str
    value: Callable[[Xp, Array], Array]
    gradient: Callable[[Xp, Array, Array], Array] = _times_slope
    value_and_slope: Callable[[Xp, Array], tuple[Array, Array]] | None = None

    @property
    def keeps_slope(self) -> bool:
        """Whether the forward formula writes D beside A."""
        return self.value_and_slope is not None

    @functools.cached_property
    def forward(self) -> Formula:
        """``A = g(Z + b)``, in the place of Z; and ``D = g'(Z + b)``, if it is kept."""
        value_and_slope = self.value_and_slope

        def forward(xp: Xp, Z: Array, b: Array) -> Array:
            return self.value(xp, Z + b)

        if value_and_slope is None:
            return Formula(forward, ("Z",))

        def forward_with_slope(xp: Xp, Z: Array, D: Array, b: Array) -> tuple[Array, Array]:
            return value_and_slope(xp, Z + b)

        return Formula(forward_with_slope, ("Z", "D"))

    @functools.cached_property
    def backward(self) -> Formula:
        """``dZ = dA ∘ g'(Z)``, in the place of dA."""

        def backward(xp: Xp, dA: Array, kept: Array) -> Array:
            return self.gradient(xp, dA, kept)

        return Formula(backward, ("dA",))

    @functools.cached_property
    def backward_from_one(self) -> Formula:
        """``dZ = (w dZ_above) ∘ g'(Z)`` below a layer of one unit: dA is an outer product.

        *w* is ``(n, 1)``, *dZ_above* ``(1, m)``.
        """

        def backward(xp: Xp, dZ: Array, kept: Array, w: Array, dZ_above: Array) -> Array:
            return self.gradient(xp, w * dZ_above, kept)

        return Formula(backward, ("dZ",))


# --- the slope follows from A ---------------------------------------------------------------------

SLOPE = 0.01  #: leaky ReLU's slope below zero
LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772  # SELU's, to which mean 0, variance 1 return
_FLOOR = LAMBDA * ALPHA


def _selu(xp: Xp, Z: Array) -> Array:
    return LAMBDA * xp.maximum(Z, 0.0) + _FLOOR * xp.expm1(xp.minimum(Z, 0.0))


def _selu_gradient(xp: Xp, dA: Array, A: Array) -> Array:
    return xp.where(A > 0.0, LAMBDA * dA, (xp.minimum(A, 0.0) + _FLOOR) * dA)


# --- the slope is kept: A is not monotonic in Z ---------------------------------------------------

_FACTOR, _CUBE = math.sqrt(8.0 / math.pi), 0.044715


def _normal(xp: Xp, Z: Array) -> tuple[Array, Array, Array]:
    """Return Z as far as it matters, its square, and GELU's Φ(Z) = (1 + tanh u)/2 = σ(2u)."""
    z = xp.minimum(xp.maximum(Z, -30.0), 30.0)  # beyond, Φ is 0 or 1, and no cube overflows
    square = z * z
    return z, square, sigmoid(xp, z * (_FACTOR + (_FACTOR * _CUBE) * square))


def _gelu(xp: Xp, Z: Array) -> Array:
    return Z * _normal(xp, Z)[2]


def _gelu_and_slope(xp: Xp, Z: Array) -> tuple[Array, Array]:
    z, square, phi = _normal(xp, Z)
    inner = _FACTOR + (3.0 * _FACTOR * _CUBE) * square
    return Z * phi, phi + z * inner * (phi * (1.0 - phi))


def _silu(xp: Xp, Z: Array) -> Array:
    return Z * sigmoid(xp, Z)


def _silu_and_slope(xp: Xp, Z: Array) -> tuple[Array, Array]:
    S = sigmoid(xp, Z)
    A = Z * S
    return A, S + A * (1.0 - S)


def _mish(xp: Xp, Z: Array) -> Array:
    e = xp.exp(xp.minimum(Z, 20.0))  # from there on, the hyperbolic tangent is 1
    n = e * (e + 2.0)
    return Z * (n / (n + 2.0))  # tanh(log(1 + e)) = n/(n + 2)


def _mish_and_slope(xp: Xp, Z: Array) -> tuple[Array, Array]:
    z = xp.minimum(Z, 20.0)
    e = xp.exp(z)
    n = e * (e + 2.0)
    d = n + 2.0
    T = n / d
    return Z * T, T + z * (4.0 * e * (e + 1.0) / (d * d))


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation(
            "relu",
            lambda xp, Z: xp.maximum(Z, 0.0),
            lambda xp, dA, A: xp.where(A > 0.0, dA, 0.0),
        ),
        Activation(  # Maas et al. 2013
            "leaky_relu",
            lambda xp, Z: xp.maximum(Z, SLOPE * Z),
            lambda xp, dA, A: xp.where(A > 0.0, dA, SLOPE * dA),
        ),
        Activation(  # Clevert et al. 2016, α = 1
            "elu",
            lambda xp, Z: xp.maximum(Z, 0.0) + xp.expm1(xp.minimum(Z, 0.0)),
            lambda xp, dA, A: dA * (xp.minimum(A, 0.0) + 1.0),
        ),
        Activation("selu", _selu, _selu_gradient),  # Klambauer et al. 2017
        Activation(  # Dugas et al. 2001; its slope is σ(Z) = 1 - e^-A
            "softplus",
            softplus,
            lambda xp, dA, A: -dA * xp.expm1(-A),
        ),
        # Hendrycks & Gimpel 2016, by tanh: Z (1 + tanh u)/2 with u = √(2/π) (Z + 0.044715 Z³)
        Activation("gelu", _gelu, value_and_slope=_gelu_and_slope),
        # Elfwing et al. 2018, Ramachandran et al. 2017 (Swish): Z σ(Z)
        Activation("silu", _silu, value_and_slope=_silu_and_slope),
        # Misra 2019: Z tanh(log(1 + e^Z))
        Activation("mish", _mish, value_and_slope=_mish_and_slope),
        Activation(
            "tanh",
            lambda xp, Z: xp.tanh(Z),
            lambda xp, dA, A: dA * (1.0 - A * A),
        ),
        Activation(
            "sigmoid",
            sigmoid,
            lambda xp, dA, A: dA * (A * (1.0 - A)),
        ),
        Activation(
            "linear",
            lambda xp, Z: Z,
            lambda xp, dA, A: dA * 1.0,
        ),
    )
}
