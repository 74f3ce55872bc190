"""What to say when training has become non-finite: which parameters, and how large the others."""

from __future__ import annotations

import numpy as np

from .errors import TrainingDiverged
from .network import Network

__all__ = ["diverged", "is_finite"]


def is_finite(net: Network) -> bool:
    """Tell whether all parameters are; it waits for the device."""
    return bool(np.isfinite(net.backend.to_host(net.theta)).all())


def diverged(net: Network, epoch: int, what: str) -> TrainingDiverged:
    """Return the error for *what* became non-finite in that *epoch*, with the parameters of then.

    It names the first of them that are not finite, or else the largest, and their range.
    """
    rate = "" if net.training is None else f"{net.training.optimizer.learning_rate:g}"
    return TrainingDiverged(
        f"epoch {epoch}: expected finite {what}; got NaN or infinity: {_damage(net)}; the last "
        f"good parameters were kept; try a learning rate below {rate}, or features scaled to about "
        "unit size"
    )


def _damage(net: Network) -> str:
    parameters = net.layout.named(net.backend.to_host(net.theta))
    for name, values in parameters.items():
        there = values[np.isfinite(values)]
        if there.size < values.size:
            others = f"the others {_range(there)}" if there.size else "all of them"
            return (
                f"{name} has {values.size - there.size:,} of {values.size:,} not finite, {others}"
            )
    name = max(parameters, key=lambda name: float(np.abs(parameters[name]).max()))
    return f"the largest parameters are those of {name}, {_range(parameters[name])}"


def _range(values: np.ndarray) -> str:
    return f"from {values.min():.3g} to {values.max():.3g}"
