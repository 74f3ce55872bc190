"""An independent mean loss of an L-layer network, for the judges of the trial `gradients`.

It is written from the published formulas, not from xpnet's, on ``(m, n)`` rows, and for an ``xp``
that is NumPy or `jax.numpy`, real or complex: every piece of it is analytic, and where there are
pieces, the real part chooses among them.  Nothing is stable against overflow: numbers are moderate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
EPSILON = 1e-5  # of layer normalisation, as in PyTorch


def _sigmoid(xp: Any, z: Any) -> Any:
    return 1.0 / (1.0 + xp.exp(-z))


def _softplus(xp: Any, z: Any) -> Any:
    return xp.log(1.0 + xp.exp(z))


def _elu(xp: Any, z: Any) -> Any:
    return xp.where(xp.real(z) > 0.0, z, xp.exp(z) - 1.0)


def _selu(xp: Any, z: Any) -> Any:
    return SELU_SCALE * xp.where(xp.real(z) > 0.0, z, SELU_ALPHA * (xp.exp(z) - 1.0))


def _gelu(xp: Any, z: Any) -> Any:
    return 0.5 * z * (1.0 + xp.tanh(math.sqrt(2.0 / math.pi) * (z + 0.044715 * z**3)))


ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "relu": lambda xp, z: xp.where(xp.real(z) > 0.0, z, 0.0 * z),
    "leaky_relu": lambda xp, z: xp.where(xp.real(z) > 0.0, z, 0.01 * z),
    "elu": _elu,
    "selu": _selu,
    "softplus": _softplus,
    "gelu": _gelu,
    "silu": lambda xp, z: z * _sigmoid(xp, z),
    "mish": lambda xp, z: z * xp.tanh(_softplus(xp, z)),
    "tanh": lambda xp, z: xp.tanh(z),
    "sigmoid": _sigmoid,
    "linear": lambda _, z: z,
}


def _focal(xp: Any, z: Any, t: Any) -> Any:
    p, q = _sigmoid(xp, z), _sigmoid(xp, -z)  # q is 1 - p, with all its digits
    return -t * q**2 * xp.log(p) - (1.0 - t) * p**2 * xp.log(q)


def _logistic(xp: Any, z: Any, t: Any) -> Any:
    return -t * xp.log(_sigmoid(xp, z)) - (1.0 - t) * xp.log(_sigmoid(xp, -z))


def _squared_hinge(xp: Any, z: Any, t: Any) -> Any:
    margin = 1.0 - (2.0 * t - 1.0) * z
    return xp.where(xp.real(margin) > 0.0, margin**2, 0.0 * margin)


LOSSES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "logistic": _logistic,
    "focal": _focal,
    "squared_hinge": _squared_hinge,
}


@dataclass(frozen=True)
class Problem:
    """Rows ``(m, n_0)``, targets and weights ``(m,)``, and by layer the factors of dropout."""

    activation: str
    loss: str
    X: np.ndarray
    t: np.ndarray
    w: np.ndarray
    masks: tuple[np.ndarray, ...]

    def mean_loss(self, xp: Any, theta: Mapping[str, Any]) -> Any:
        """Return ``Σ w l / Σ w`` at the parameters *theta*, which are named as xpnet names them."""
        return self._mean_loss(xp, theta, [])

    def clearance(self, theta: Mapping[str, Any]) -> float:
        """Return how near the rows come to where no judge could be exact.

        That is a bend of the activation or the loss; or units that are nearly equal, of which
        layer normalisation is steep: their standard deviation counts, divided by 100.
        """
        bends: list[Any] = []
        self._mean_loss(np, theta, bends)
        return min(float(np.abs(bend).min()) for bend in bends)

    def _mean_loss(self, xp: Any, theta: Mapping[str, Any], bends: list[Any]) -> Any:
        A = self.X * theta["scale"] if "scale" in theta else self.X
        for l, mask in enumerate(self.masks, start=1):
            Z = A @ theta[f"W{l}"].T
            if f"gamma{l}" in theta:
                centered = Z - Z.mean(axis=1, keepdims=True)
                variance = (centered**2).mean(axis=1, keepdims=True)
                spread = xp.sqrt(variance + EPSILON)
                bends.append(spread / 100.0)
                Z = theta[f"gamma{l}"].T * centered / spread
            Z = Z + theta[f"b{l}"].T
            bends.append(Z)
            A = ACTIVATIONS[self.activation](xp, Z) * mask
        last = len(self.masks) + 1
        z = (A @ theta[f"W{last}"].T + theta[f"b{last}"].T)[:, 0]
        bends.append(1.0 - (2.0 * self.t - 1.0) * z)
        return (self.w * LOSSES[self.loss](xp, z, self.t)).sum() / self.w.sum()


# --- the judges: each returns the gradient, by the parameters' names ------------------------------

_COMPLEX_STEP = 1e-30  # its square is nothing beside 1: there is no truncation, and no difference
_STEP = 1e-5

Gradient = dict[str, np.ndarray]


def complex_step(problem: Problem, theta: Mapping[str, np.ndarray]) -> Gradient:
    """``Im J(θ + ih) / h``, entry by entry (Squire & Trapp 1998)."""
    point = {name: value.astype(complex) for name, value in theta.items()}

    def slope(entry: Any) -> float:
        entry += 1j * _COMPLEX_STEP
        loss = problem.mean_loss(np, point)
        entry.imag = 0.0
        return float(loss.imag) / _COMPLEX_STEP

    return _entry_by_entry(point, slope)


def central_differences(
    loss_at: Callable[[Mapping[str, np.ndarray]], float], theta: Mapping[str, np.ndarray]
) -> Gradient:
    """``(J(θ + h) - J(θ - h)) / 2h``, entry by entry, of the loss *loss_at* θ."""
    point = {name: value.copy() for name, value in theta.items()}

    def slope(entry: Any) -> float:
        middle = entry.copy()
        entry[...] = middle + _STEP
        above = loss_at(point)
        entry[...] = middle - _STEP
        below = loss_at(point)
        entry[...] = middle
        return (above - below) / (2.0 * _STEP)

    return _entry_by_entry(point, slope)


def _entry_by_entry(
    point: Mapping[str, np.ndarray], slope: Callable[[np.ndarray], float]
) -> Gradient:
    """Let *slope* move one entry of *point* after the other, which it gets as an array of one."""
    gradient = {}
    for name, value in point.items():
        entries = value.reshape(-1)
        slopes = [slope(entries[k : k + 1]) for k in range(value.size)]
        gradient[name] = np.reshape(slopes, value.shape)
    return gradient


def jax_gradient(problem: Problem, theta: Mapping[str, np.ndarray]) -> Gradient:
    """JAX's own, in float64."""
    import jax

    point = {name: jax.numpy.asarray(value) for name, value in theta.items()}
    assert all(value.dtype == "float64" for value in point.values())
    gradient = jax.grad(lambda theta: problem.mean_loss(jax.numpy, theta))(point)
    return {name: np.asarray(value) for name, value in gradient.items()}


def jax_version() -> str | None:
    """Return the version of JAX, made ready for float64, or None where it is not installed."""
    try:
        import jax
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    return str(jax.__version__)


def difference(found: Mapping[str, np.ndarray], judge: Gradient) -> float:
    """Return the largest difference of two gradients, relative to the largest entry of the array.

    NaN where there is one, so that it passes no limit.
    """
    if set(found) != set(judge):
        return math.nan
    worst = [
        float(np.abs(found[name] - judge[name]).max() / np.abs(judge[name]).max()) for name in judge
    ]
    return max(worst) if not any(map(math.isnan, worst)) else math.nan
