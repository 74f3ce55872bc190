"""Layer normalisation (Ba, Kiros & Hinton 2016), its two directions side by side.

Every example is normalised by itself, over the units of a layer, so that neither the batch nor the
threads that share it change the result:
``Ẑ = (Z - μ)/√(σ² + ε)``, then ``γ Ẑ``; the layer's own bias is added after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .formulas import Array, Formula, Xp

__all__ = ["LayerNorm", "normalize"]

EPSILON = 1e-5


def _center(xp: Xp, Z: Array, square: Array, sums: Array, inverse_n: float) -> tuple[Array, Array]:
    centered = Z - sums * inverse_n
    return centered, centered * centered


def _scale(
    xp: Xp, Z: Array, normal: Array, squares: Array, gamma: Array, inverse_n: float
) -> tuple[Array, Array]:
    normalized = Z / xp.sqrt(squares * inverse_n + EPSILON)
    return gamma * normalized, normalized * 1.0


def _product(xp: Xp, product: Array, dY: Array, normal: Array) -> Array:
    return dY * normal


# With dẐ = γ dY: dZ = (dẐ - mean(dẐ) - Ẑ mean(dẐ ∘ Ẑ))/√(σ² + ε), means over the units.
def _gradient(
    xp: Xp,
    dY: Array,
    normal: Array,
    squares: Array,
    gamma: Array,
    sums: Array,
    products: Array,
    inverse_n: float,
) -> Array:
    spread = xp.sqrt(squares * inverse_n + EPSILON)
    return (gamma * dY - sums * inverse_n - normal * (products * inverse_n)) / spread


_center_formula = Formula(_center, ("Z", "square"))
_scale_formula = Formula(_scale, ("Z", "normal"))
_product_formula = Formula(_product, ("product",))
_gradient_formula = Formula(_gradient, ("dY",))


class LayerNorm:
    """The normalisation of one layer's Z, shape ``(n, m)``, in its place.

    *dZ* comes in as the gradient of what it gave and goes out as that of Z.
    """

    def __init__(
        self,
        xp: Xp,
        compiler: Callable[..., Any],
        Z: Array,
        dZ: Array,
        gamma: Array,
        dgamma: Array,
        ones: Array,
    ) -> None:
        n, m = Z.shape
        self.Z, self.dZ, self.dgamma = Z, dZ, dgamma
        self.inverse_n = 1.0 / n
        self.ones_m, self.ones_n = ones, xp.ones((1, n), dtype=Z.dtype)
        self.gammaT = gamma.T
        normal = xp.empty((n, m), dtype=Z.dtype)
        self.squares, self.sums, self.products = xp.empty((3, 1, m), dtype=Z.dtype)
        # Before the backward pass dZ is free, and within it Z.
        self.center = compiler(_center_formula, Z, dZ, self.sums)
        self.scale = compiler(_scale_formula, Z, normal, self.squares, gamma)
        self.product = compiler(_product_formula, Z, dZ, normal)
        self.gradient = compiler(
            _gradient_formula, dZ, normal, self.squares, gamma, self.sums, self.products
        )

    def forward(self) -> None:
        """``Z := γ (Z - μ)/√(σ² + ε)``."""
        self.ones_n.dot(self.Z, out=self.sums)
        self.center(self.inverse_n)
        self.ones_n.dot(self.dZ, out=self.squares)
        self.scale(self.inverse_n)

    def backward(self) -> None:
        """``dγ = Σ_m dZ ∘ Ẑ``, and dZ through the normalisation."""
        self.product()
        self.Z.dot(self.ones_m, out=self.dgamma)
        self.gammaT.dot(self.Z, out=self.products)
        self.gammaT.dot(self.dZ, out=self.sums)
        self.gradient(self.inverse_n)


def normalize(xp: Xp, Z: Array, gamma: Array) -> Array:
    """Return ``γ (Z - μ)/√(σ² + ε)`` as one expression, for predictions."""
    centered = Z - xp.mean(Z, axis=0, keepdims=True)
    return gamma * (
        centered / xp.sqrt(xp.mean(centered * centered, axis=0, keepdims=True) + EPSILON)
    )
