"""The exceptions of xpnet: each message says what was expected, what came and what to do.

::

    XpnetError
    ├── InputError          (ValueError)       an argument or array that cannot be used
    │   └── DataError                          a data file or picture that cannot be used
    ├── ModelFileError      (ValueError)       not a model file, or a damaged one
    ├── OutputError         (OSError)          a path that cannot be written
    ├── BackendUnavailable  (ImportError)      CuPy, its driver or its device is missing
    ├── OutOfMemory         (MemoryError)      training takes more memory than there is
    ├── DeviceLost          (RuntimeError)     a GPU that worked does not answer any more
    ├── TrainingDiverged    (ArithmeticError)  the loss or the parameters became non-finite
    └── GradientMismatch    (AssertionError)   an analytic gradient failed its check
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

__all__ = [
    "BackendUnavailable",
    "DataError",
    "DeviceLost",
    "GradientMismatch",
    "InputError",
    "ModelFileError",
    "OutOfMemory",
    "OutputError",
    "TrainingDiverged",
    "XpnetError",
]


class XpnetError(Exception):
    """Every error that xpnet raises on purpose."""


class InputError(XpnetError, ValueError):
    """An argument or an array cannot be used."""


class DataError(InputError):
    """A data file or a picture cannot be read as what it should be."""


class ModelFileError(XpnetError, ValueError):
    """A file is not an xpnet model, or is damaged."""


class OutputError(XpnetError, OSError):
    """A path cannot be written."""


class BackendUnavailable(XpnetError, ImportError):  # noqa: N818 - the name says a state, not a fault
    """The asked-for backend cannot be used on this machine."""


class OutOfMemory(XpnetError, MemoryError):  # noqa: N818 - the name says a state, as Python's
    """Training takes more memory than the device has; what it took is free again."""


class DeviceLost(XpnetError, RuntimeError):  # noqa: N818 - the name says a state, not a fault
    """A device that worked does not answer any more, in this process at least."""


class TrainingDiverged(XpnetError, ArithmeticError):  # noqa: N818
    """The loss or the parameters became non-finite; the last good parameters were kept."""


class GradientMismatch(XpnetError, AssertionError):  # noqa: N818
    """An analytic gradient differs from its finite difference."""


def positive(name: str, value: Any) -> int:
    """Return *value* if it is an integer above 0, else raise the error for the argument *name*."""
    try:
        if operator.index(value) > 0 and not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise InputError(f"{name}: expected an integer above 0; got {value!r}")


def finite(value: Any) -> bool:
    """Tell whether *value* is a real number, no boolean, that a finite float can hold."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def real(
    name: str,
    value: Any,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> float:
    """Return *value* if it is a finite number in these bounds, else raise the error for *name*."""
    if finite(value) and least <= value <= most and above < value < below:
        return float(value)
    bounds = [(least, "at least"), (above, "above"), (below, "below"), (most, "at most")]
    words = " and ".join(f"{word} {bound:g}" for bound, word in bounds if math.isfinite(bound))
    raise InputError(f"{name}: expected a number {words}".rstrip() + f"; got {value!r}")


def flag(name: str, value: Any) -> bool:
    """Return *value* if it is True or False, NumPy's too, else raise the error for *name*."""
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise InputError(f"{name}: expected True or False; got {value!r}")


def path_text(path: Any, name: str = "path") -> str:
    """Return *path* as text if a file can be called so, else raise the error for *name*."""
    try:
        text = os.fspath(path)
        if isinstance(text, str) and b"\0" not in os.fsencode(text):
            return str(text)
    except (TypeError, ValueError):
        pass
    raise InputError(f"{name}: expected a path, as text or a Path; got {path!r}")


def several(value: Any) -> bool:
    """Tell whether *value* holds several things: text does not, nor does an array of no axis."""
    iterable = isinstance(value, Iterable) and not isinstance(value, str)
    return iterable and bool(getattr(value, "ndim", 1))


def unknown(what: str, name: object, known: Iterable[str]) -> InputError:
    """Return the error for a *name* that is not among the *known* ones."""
    return InputError(f"{what}: expected one of {', '.join(sorted(known))}; got {name!r}")


def known(what: str, name: Any, table: Mapping[str, T]) -> T:
    """Return the row of *table* that has this *name*, else raise the error for *what* it names."""
    if not isinstance(name, str) or name not in table:
        raise unknown(what, name, table)
    return table[name]
