"""What an update does to the flat vectors: an optimizer's rule, and what runs add beside it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .formulas import Array, Formula, Xp

__all__ = ["Rule", "clip_value", "decay", "penalise", "scale_by"]


@dataclass(frozen=True)
class Rule:
    """``function(xp, grad, *state, *scalars) -> (step, *state)``, and its state by name."""

    function: Callable[..., tuple[Array, ...]]
    state: tuple[str, ...] = ()

    @functools.cached_property
    def formula(self) -> Formula:
        """``θ := θ - step`` of theta, grad, the state and the scalars; the state becomes new."""

        def update(xp: Xp, theta: Array, grad: Array, *rest: Any) -> tuple[Array, ...]:
            step, *state = self.function(xp, grad, *rest)
            return theta - step, *state

        return self._named(update, "theta", "grad")

    @functools.cached_property
    def formula_with_factors(self) -> Formula:
        """``θ := θ - factors ∘ step`` of theta, grad, factors, the state and the scalars."""

        def update(
            xp: Xp, theta: Array, grad: Array, factors: Array, *rest: Any
        ) -> tuple[Array, ...]:
            step, *state = self.function(xp, grad, *rest)
            return theta - factors * step, *state

        return self._named(update, "theta", "grad", "factors")

    def _named(self, update: Callable[..., Any], *arrays: str) -> Formula:
        """Return *update* as a formula whose last arguments are named as the function's are."""
        xp, grad, *rest = inspect.signature(self.function).parameters.values()
        named = [grad.replace(name=name) for name in arrays]
        update.__signature__ = inspect.Signature([xp, *named, *rest])  # type: ignore[attr-defined]
        return Formula(update, ("theta", *self.state))


# --- beside the rule ------------------------------------------------------------------------------


def _penalise(xp: Xp, grad: Array, theta: Array, l2: float, l1: float) -> Array:
    return grad + l2 * theta + l1 * xp.sign(theta)


#: ``g := g + l2 θ + l1 sign θ``: the gradient of ``l2 ‖θ‖²/2 + l1 ‖θ‖₁``.
penalise = Formula(_penalise, ("grad",))


def _decay(xp: Xp, theta: Array, keep: float) -> Array:
    return theta * keep


#: ``θ := keep θ``, with ``keep = 1 - α weight_decay`` (Loshchilov & Hutter 2019).
decay = Formula(_decay, ("theta",))


def _clip_value(xp: Xp, grad: Array, low: float, high: float) -> Array:
    return xp.minimum(xp.maximum(grad, low), high)


#: ``g := min(max(g, low), high)``
clip_value = Formula(_clip_value, ("grad",))


def _scale_by(xp: Xp, grad: Array, factor: Array) -> Array:
    return grad * factor


#: ``g := factor g``, with *factor* of shape (1,), on the device.
scale_by = Formula(_scale_by, ("grad",))
