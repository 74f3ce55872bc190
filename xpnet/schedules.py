"""How the learning rate moves while training goes on: factors on the rate that one starts from.

A schedule is a pure function of the run's course, so that a run goes on as if never stopped.  Some
follow `done`, the fraction of all steps of the run that are done; some the number of whole epochs;
one the losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .settings import AT_LEAST_0, BELOW_1, Range, Settings, make

__all__ = [
    "SCHEDULES",
    "Constant",
    "CosLog",
    "Cosine",
    "Exponential",
    "FlatCosine",
    "InverseScaling",
    "Linear",
    "OneCycle",
    "Plateau",
    "Schedule",
    "Step",
    "WarmUp",
    "get_schedule",
]

Factor = Callable[[float], float]

_DECAY = Range("0 < value ≤ 1", lambda x: 0 < x <= 1)
_UNIT = Range("0 ≤ value ≤ 1", lambda x: 0 <= x <= 1)
_INSIDE = Range("0 < value < 1", lambda x: 0 < x < 1)
_AT_LEAST_1 = Range("a number of at least 1", lambda x: x >= 1)
_COUNT = Range("an integer above 0", lambda n: n > 0, int)
_COUNT_OR_0 = Range("an integer of at least 0", lambda n: n >= 0, int)


@dataclass(frozen=True)
class Schedule(Settings):
    """What all schedules share; `SCHEDULES` has them by name, and a name alone means its defaults.

    Raises
    ------
    InputError
        If a setting is out of its range.
    """

    needs_end: ClassVar[bool] = False  #: whether it follows `done`, so that the end must be known
    ranges: ClassVar = {
        "every": _COUNT,
        "gamma": _DECAY,
        "power": AT_LEAST_0,
        "end": _UNIT,
        "fraction": _INSIDE,
        "pct_start": _INSIDE,
        "div_factor": _AT_LEAST_1,
        "final_div_factor": _AT_LEAST_1,
        "cycles": Range("an integer from 1 to 64", lambda n: 1 <= n <= 64, int),
        "factor": _INSIDE,
        "patience": _COUNT_OR_0,
        "min_delta": AT_LEAST_0,
        "minimum": BELOW_1,
    }

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return, for the epoch to come, the factor on the rate as a function of `done` in [0, 1).

        Parameters
        ----------
        epoch : int
            Whole epochs done.
        losses : sequence of float
            What was watched after each: the validation loss, or without one the training loss.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        return self.name


def _steady(factor: float) -> Factor:
    return lambda done: factor


def _anneal(start: float, end: float, done: float) -> float:
    """Half a cosine's way from *start* to *end*."""
    return end + (start - end) * (1.0 + math.cos(math.pi * done)) / 2.0


@dataclass(frozen=True)
class Constant(Schedule):
    """The rate stays."""

    name = "constant"

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return 1."""
        return _steady(1.0)


@dataclass(frozen=True)
class Step(Schedule):
    """*gamma* times the rate after *every* so many epochs: ``γ^⌊epoch/every⌋``."""

    name = "step"

    every: int = 30
    gamma: float = 0.1

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return ``γ^⌊epoch/every⌋``."""
        return _steady(self.gamma ** (epoch // self.every))


@dataclass(frozen=True)
class Exponential(Schedule):
    """*gamma* times the rate after every epoch: ``γ^epoch``."""

    name = "exponential"

    gamma: float = 0.95

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return ``γ^epoch``."""
        return _steady(self.gamma**epoch)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """``1/(1 + epoch)^power``; scikit-learn's "invscaling", which counts rows, not epochs."""

    name = "invscaling"

    power: float = 0.5

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return ``(1 + epoch)^-power``."""
        return _steady((1.0 + epoch) ** -self.power)


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line from 1 to *end*."""

    name = "linear"
    needs_end = True

    end: float = 0.0

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return ``done -> 1 - (1 - end) done``."""
        return lambda done: 1.0 - (1.0 - self.end) * done


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from 1 to *end* (Loshchilov & Hutter 2017, without restarts)."""

    name = "cosine"
    needs_end = True

    end: float = 0.0

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return ``done -> end + (1 - end)(1 + cos π done)/2``."""
        return lambda done: _anneal(1.0, self.end, done)


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """1 until *fraction* of the steps are done, then half a cosine to 0 (fastai's fit_flat_cos)."""

    name = "flat_cosine"
    needs_end = True

    fraction: float = 0.5

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return ``done -> 1``, and from *fraction* on the cosine."""
        start = self.fraction
        return lambda done: _anneal(1.0, 0.0, max(0.0, done - start) / (1.0 - start))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A straight line from 0 to 1 over the first *fraction* of the steps, *then* another schedule.

    That one sees what remains as the whole run, if it follows `done`.
    """

    name = "warmup"
    needs_end = True

    fraction: float = 0.1
    then: str | Schedule = field(default_factory=Cosine)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "then", get_schedule(self.then))

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return ``done -> done/fraction``, and what `then` says from there on."""
        factor, start = get_schedule(self.then).epoch(epoch, losses), self.fraction
        return lambda done: done / start if done < start else factor((done - start) / (1.0 - start))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up from ``1/div_factor`` to 1, then down to that over *final_div_factor*, by half cosines.

    Smith & Topin 2018, with PyTorch's names and defaults; `pct_start` is the fraction of the steps
    on the way up.
    """

    name = "one_cycle"
    needs_end = True

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return the way up, then the way down."""
        peak, low = self.pct_start, 1.0 / self.div_factor
        end = low / self.final_div_factor

        def factor(done: float) -> float:
            if done < peak:
                return _anneal(low, 1.0, done / peak)
            return _anneal(1.0, end, (done - peak) / (1.0 - peak))

        return factor


@dataclass(frozen=True)
class CosLog(Schedule):
    """Cosine waves that grow longer: so many *cycles* from 0 to 1 and back (RealMLP's coslog).

    Holzmüller et al. 2024: ``(1 - cos(2π log₂(1 + (2^cycles - 1) done)))/2``.
    """

    name = "coslog"
    needs_end = True

    cycles: int = 4

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return ``done -> (1 - cos(2π log₂(1 + (2^cycles - 1) done)))/2``."""
        scale = 2.0**self.cycles - 1.0
        return lambda done: _anneal(0.0, 1.0, 2.0 * math.log2(1.0 + scale * done))


@dataclass(frozen=True)
class Plateau(Schedule):
    """*factor* times the rate, not below *minimum*, when the watched loss no longer falls.

    That is when it was not *min_delta* below its best in more than *patience* epochs in a row; as
    PyTorch's ReduceLROnPlateau with an absolute threshold.
    """

    name = "plateau"

    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    minimum: float = 0.0

    def epoch(self, epoch: int, losses: Sequence[float]) -> Factor:
        """Return what the *losses*, one after the other, have made of 1."""
        value, best, waited = 1.0, math.inf, 0
        for loss in losses:
            waited += 1
            if loss < best - self.min_delta:
                best, waited = loss, 0
            elif waited > self.patience:
                value, waited = max(self.factor * value, self.minimum), 0
        return _steady(value)


SCHEDULES: dict[str, type[Schedule]] = {
    kind.name: kind
    for kind in (
        Constant,
        Step,
        Exponential,
        InverseScaling,
        Linear,
        Cosine,
        FlatCosine,
        WarmUp,
        OneCycle,
        CosLog,
        Plateau,
    )
}


def get_schedule(schedule: str | Mapping[str, Any] | Schedule) -> Schedule:
    """Return *schedule*, or a new one of that name, or from its form as plain data.

    Raises
    ------
    InputError
        If there is none of that name, or a setting is not its or out of range.
    """
    if isinstance(schedule, Schedule):
        return schedule
    settings = dict(schedule) if isinstance(schedule, Mapping) else {"name": schedule}
    return make("schedule", SCHEDULES, settings.pop("name", None), settings)
