"""The gradient check: analytic gradients against central differences along random directions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .checks import check_problem, quiet
from .errors import GradientMismatch, positive
from .losses import Loss
from .network import Network

__all__ = ["check_gradients"]

_STEP = 1e-5  # ε, in float64: truncation O(ε²) and rounding O(2⁻⁵²/ε) are both near 1e-10
_NUDGE = 1e-3  # away from zero biases and inputs, where ReLU has no derivative


@quiet()  # what overflows is a mismatch, and said to be one
def check_gradients(
    net: Network,
    X: Any,
    y: Any,
    *,
    loss: str | Loss = "logistic",
    directions: int = 10,
    tolerance: float = 1e-6,
    random_state: int = 0,
) -> float:
    """Compare the gradient of the mean loss, along random directions, with central differences.

    ``(J(θ + εd) - J(θ - εd)) / 2ε`` must equal ``∇J · d``: two evaluations a direction, whatever
    the network's size.  It is done in float64 on a copy, at parameters nudged a little, because
    zeros sit on ReLU's kink.

    Parameters
    ----------
    net : Network
        It is not changed.
    X : array of shape (m, n_0)
    y : array of shape (m,)
        Two labels, or 0 and 1.
    loss : Loss or str
        One of `losses.LOSSES`, or one of your own.
    directions : int
    tolerance : float
        The largest relative difference that passes.

    Returns
    -------
    float
        The largest relative difference found.

    Raises
    ------
    GradientMismatch
        If a difference is above the tolerance, or is no number.
    InputError
        If X or y cannot be used.
    """
    directions = positive("directions", directions)
    X, targets, _ = check_problem(X, y, (0, 1) if net.classes_ is None else net.classes_)
    copy = net.to(net.backend, "float64")
    copy.columns(X, finite=True)
    rng = np.random.default_rng(random_state)
    theta = copy.backend.to_host(copy.theta).copy()
    used = _used(copy)
    theta += _NUDGE * rng.standard_normal(theta.size) * used

    def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        copy.backend.send(theta, copy.theta)
        mean, _ = copy.loss_and_gradients(X, targets, loss)
        return mean, copy.backend.to_host(copy.gradient).copy()

    _, gradient = loss_and_gradient(theta)
    least, worst = max(_size(gradient, used.sum()), 1e-8), 0.0
    for _ in range(directions):
        d = rng.standard_normal(theta.size) * used
        d /= np.linalg.norm(d)
        numeric = (
            loss_and_gradient(theta + _STEP * d)[0] - loss_and_gradient(theta - _STEP * d)[0]
        ) / (2 * _STEP)
        difference = abs(float(gradient @ d) - numeric) / max(abs(numeric), least)
        worst = max(worst, difference)
        if not difference <= tolerance:
            raise GradientMismatch(
                f"gradient: expected {numeric:.9g} along a random direction, by central "
                f"differences; got {float(gradient @ d):.9g}, relative difference {difference:.3g} "
                f"above {tolerance:g}; the backward formulas do not fit the forward ones"
            )
    return float(worst)


def _size(gradient: np.ndarray, n: float) -> float:
    """Return the root of the mean square of *n* numbers, which no square of one overflows."""
    top = float(np.abs(gradient).max())
    return top * float(np.linalg.norm(gradient / top)) / math.sqrt(n) if top else 0.0


def _used(net: Network) -> np.ndarray:
    """Ones where ``theta`` holds parameters, zeros in the alignment's gaps."""
    used = np.zeros(net.layout.n_flat)
    for view in net.layout.named(used).values():
        view[...] = 1.0
    return used
