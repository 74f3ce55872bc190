"""The losses: each a function of the logit z and the target y in [0, 1], its derivative beside it.

A loss is written for one example.  What training does with it, biases, weights and the mean, is the
same for all: ``dZ_L = l'(Z_L, Y) ∘ w / Σw``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import InputError, known, real
from .formulas import Array, Formula, Xp, sigmoid, softplus

__all__ = ["LOSSES", "Loss", "focal", "get_loss"]


@dataclass(frozen=True)
class Loss:
    """One loss: ``value(xp, z, y) -> l`` and ``gradient(xp, z, y) -> ∂l/∂z``.

    Both are formulas: elementwise expressions in `xp` that neither branch on a value nor write in
    place, and are finite for every finite z (see `formulas`).  A loss of one's own is given as
    ``loss=Loss("mine", value, gradient)``; `xpnet.check_gradients` finds out whether they agree.
    """

    name: str
    value: Callable[[Xp, Array, Array], Array]
    gradient: Callable[[Xp, Array, Array], Array]

    @functools.cached_property
    def both(self) -> Formula:
        """``dZ_L = l'(Z_L + b_L, Y) · scale`` in the place of Z_L, and each example's loss."""

        def both(
            xp: Xp, Z: Array, losses: Array, b: Array, Y: Array, scale: float
        ) -> tuple[Array, Array]:
            z = Z + b
            return self.gradient(xp, z, Y) * scale, self.value(xp, z, Y)

        return Formula(both, ("Z", "losses"))

    @functools.cached_property
    def weighted(self) -> Formula:
        """The same with the weights *w* of the examples on both."""

        def weighted(
            xp: Xp, Z: Array, losses: Array, b: Array, Y: Array, w: Array, scale: float
        ) -> tuple[Array, Array]:
            z = Z + b
            return self.gradient(xp, z, Y) * w * scale, self.value(xp, z, Y) * w

        return Formula(weighted, ("Z", "losses"))


# -y log σ(z) - (1-y) log(1-σ(z)) = max(z, 0) - zy + log(1 + e^-|z|); the derivatives of sigmoid and
# logarithm cancel.
_logistic = Loss(
    "logistic",
    lambda xp, z, y: xp.maximum(z, 0.0) - z * y + xp.log1p(xp.exp(-xp.abs(z))),
    lambda xp, z, y: sigmoid(xp, z) - y,
)


def focal(gamma: float = 2.0) -> Loss:
    """Return the focal loss ``-(1-p_t)^γ log p_t`` (Lin et al. 2017); γ = 0 is the logistic loss.

    Raises
    ------
    InputError
        If *gamma* is not a finite number of at least 0.
    """
    gamma = real("gamma", gamma, least=0.0)

    # With p = σ(z): -log p = softplus(-z), -log(1-p) = softplus(z), (1-p)^γ = e^(-γ softplus(z)).
    def value(xp: Xp, z: Array, y: Array) -> Array:
        s, t = softplus(xp, z), softplus(xp, -z)
        return y * (xp.exp(-gamma * s) * t) + (1.0 - y) * (xp.exp(-gamma * t) * s)

    def gradient(xp: Xp, z: Array, y: Array) -> Array:
        s, t, p, q = softplus(xp, z), softplus(xp, -z), sigmoid(xp, z), sigmoid(xp, -z)
        rising = xp.exp(-gamma * t) * (gamma * (q * s) + p)
        falling = xp.exp(-gamma * s) * (gamma * (p * t) + q)
        return (1.0 - y) * rising - y * falling

    return Loss("focal" if gamma == 2.0 else f"focal({gamma:g})", value, gradient)


def _margin(xp: Xp, z: Array, y: Array) -> Array:
    return xp.maximum(1.0 - z * (2.0 * y - 1.0), 0.0)


# max(0, 1 - (2y-1) z)²: the squared hinge of support vector machines; its σ(z) is no probability.
# From |z| near 1e19 on it overflows float32, which is divergence, and reported as such.
_squared_hinge = Loss(
    "squared_hinge",
    lambda xp, z, y: _margin(xp, z, y) * _margin(xp, z, y),
    lambda xp, z, y: (2.0 - 4.0 * y) * _margin(xp, z, y),
)

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (_logistic, focal(), _squared_hinge)}


def get_loss(loss: Any) -> Loss:
    """Return *loss*, or that of this name.

    Raises
    ------
    InputError
        If it is neither a `Loss` nor the name of one.
    """
    if isinstance(loss, Loss):
        return loss
    if callable(loss):
        raise InputError(
            "loss: expected a name or Loss(name, value, gradient), so that its derivative is known;"
            f" got {loss!r}"
        )
    return known("loss", loss, LOSSES)
