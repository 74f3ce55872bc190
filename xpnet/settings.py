"""Optimizers and schedules as settings: a name, numbers within ranges, and a form of plain data."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, TypeVar

from .errors import InputError, finite, known, unknown

__all__ = ["AT_LEAST_0", "BELOW_1", "POSITIVE", "Range", "Settings", "make"]


class Range(NamedTuple):
    """The numbers that a setting may be: in *words*, and as a test."""

    words: str
    holds: Callable[[float], bool]
    kind: type[int | float] = float


POSITIVE = Range("a number above 0", lambda x: x > 0)
AT_LEAST_0 = Range("a number of at least 0", lambda x: x >= 0)
BELOW_1 = Range("0 ≤ value < 1", lambda x: 0 <= x < 1)


@dataclass(frozen=True)
class Settings:
    """What optimizers and schedules share.

    Raises
    ------
    InputError
        If a number is not of its range.
    """

    name: ClassVar[str]
    ranges: ClassVar[Mapping[str, Range]]  #: by the names of fields, of all classes of a family
    optional: ClassVar[frozenset[str]] = frozenset()  #: the fields that may be None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in self.ranges and not (value is None and field.name in self.optional):
                # A NumPy scalar would widen float32 updates to float64.
                object.__setattr__(self, field.name, self._number(field.name, value))

    def _number(self, name: str, value: Any) -> float:
        words, holds, kind = self.ranges[name]
        asked = numbers.Integral if kind is int else numbers.Real
        good = isinstance(value, asked) and finite(value)
        if not (good and holds(value)):
            words += " or None" * (name in self.optional)
            raise InputError(f"{name}: expected {words}; got {value!r}")
        return kind(value)

    def as_dict(self) -> dict[str, Any]:
        """Return the name and all settings as plain data, from which `make` makes it again."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {k: v.as_dict() if isinstance(v, Settings) else v for k, v in values.items()}
        return {"name": self.name, **plain}


S = TypeVar("S", bound=Settings)


def make(what: str, table: Mapping[str, type[S]], name: Any, settings: Mapping[str, Any]) -> S:
    """Return a new *what* of that *name* in the *table*, with these *settings*.

    Raises
    ------
    InputError
        If there is none of that name, or a setting is not its or out of range.
    """
    kind = known(what, name, table)
    names = [field.name for field in fields(kind)]
    for setting in settings:
        if setting not in names:
            raise unknown(f"hyper-parameter of {name}", setting, names or ["none"])
    return kind(**settings)
