"""The optimizers: each a name, its numbers, its state and one formula over flat vectors."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .errors import InputError, known, unknown
from .formulas import Formula, adam, sgd
from .schedules import SCHEDULES

__all__ = ["OPTIMIZERS", "SGD", "Adam", "Optimizer", "get_optimizer"]


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers share.

    Parameters
    ----------
    learning_rate : float
        The rate α that the schedule starts from; above 0.
    schedule : {"constant", "linear", "cosine"}
        How the rate moves from the first step of a run to its last.

    Raises
    ------
    InputError
        If a hyper-parameter is out of its range.
    """

    name: ClassVar[str]
    formula: ClassVar[Formula]
    state: ClassVar[tuple[str, ...]] = ()  #: the formula's vectors of its own, by name

    learning_rate: float = 0.01
    schedule: str = "constant"

    def __post_init__(self) -> None:
        known("schedule", self.schedule, SCHEDULES)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "schedule":
                continue
            beta = field.name.startswith("beta")
            good = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not (good and math.isfinite(value) and (0 <= value < 1 if beta else value > 0)):
                expected = "0 ≤ value < 1" if beta else "a number above 0"
                raise InputError(f"{field.name}: expected {expected}; got {value!r}")
            # A NumPy scalar would widen float32 updates to float64.
            object.__setattr__(self, field.name, float(value))

    def rate(self, done: float) -> float:
        """Return the learning rate when the fraction *done* of all steps is done."""
        return self.learning_rate * SCHEDULES[self.schedule](done)

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return the formula's scalars at *step*, counted from 1, as Python floats."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, stochastic where batches are: ``θ := θ - α g``."""

    name = "sgd"
    formula = sgd

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:  # noqa: ARG002
        """Return ``(α,)``."""
        return (rate,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with PyTorch's defaults.

    Parameters
    ----------
    beta_1, beta_2 : float
        The decay of the first and second moment, in [0, 1).
    epsilon : float
        Added to ``√v̂``.
    """

    name = "adam"
    formula = adam
    state = ("m", "v")

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return ``(α/(1-β₁ᵗ), 1-β₁, 1-β₂, 1/√(1-β₂ᵗ), ε)``."""
        gains = 1.0 - self.beta_1, 1.0 - self.beta_2
        first, second = 1.0 - self.beta_1**step, 1.0 - self.beta_2**step
        return rate / first, *gains, 1.0 / math.sqrt(second), self.epsilon


OPTIMIZERS: dict[str, type[Optimizer]] = {optimizer.name: optimizer for optimizer in (SGD, Adam)}


def get_optimizer(optimizer: str | Optimizer, **hyper_parameters: Any) -> Optimizer:
    """Return *optimizer*, or a new one of that name with these *hyper_parameters*.

    Raises
    ------
    InputError
        If there is none of that name, or a hyper-parameter is not its or out of range.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    kind = known("optimizer", optimizer, OPTIMIZERS)
    names = [field.name for field in fields(kind)]
    for name in hyper_parameters:
        if name not in names:
            raise unknown(f"hyper-parameter of {optimizer}", name, names)
    return kind(**hyper_parameters)
