"""The optimizers: each a name, its numbers, its state and one formula over flat vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .formulas import Formula, adam, sgd
from .schedules import Schedule, get_schedule
from .settings import BELOW_1, POSITIVE, Settings, make

__all__ = ["OPTIMIZERS", "SGD", "Adam", "Optimizer", "get_optimizer"]


@dataclass(frozen=True)
class Optimizer(Settings):
    """What all optimizers share.

    Parameters
    ----------
    learning_rate : float
        The rate α that the schedule starts from; above 0.
    schedule : str, mapping or Schedule
        How the rate moves from the first step of a run to its last: one of `schedules.SCHEDULES`,
        by name with its defaults, or with settings of its own.

    Raises
    ------
    InputError
        If a hyper-parameter is out of its range.
    """

    ranges: ClassVar = {
        "learning_rate": POSITIVE,
        "beta_1": BELOW_1,
        "beta_2": BELOW_1,
        "epsilon": POSITIVE,
    }
    formula: ClassVar[Formula]
    state: ClassVar[tuple[str, ...]] = ()  #: the formula's vectors of its own, by name

    learning_rate: float = 0.01
    schedule: str | Mapping[str, Any] | Schedule = "constant"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", get_schedule(self.schedule))

    def rates(self, epoch: int, losses: Sequence[float]) -> Callable[[float], float]:
        """Return the learning rate in the epoch to come: see `Schedule.epoch`."""
        factor = get_schedule(self.schedule).epoch(epoch, losses)
        return lambda done: self.learning_rate * factor(done)

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
        """Return the formula's scalars at *step*, counted from 1, as Python floats."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent, stochastic where batches are: ``θ := θ - α g``."""

    name = "sgd"
    formula = sgd

    def scalars(self, rate: float, step: int) -> tuple[float, ...]:
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
    return make("optimizer", OPTIMIZERS, optimizer, hyper_parameters)
