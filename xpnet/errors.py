"""The exceptions of xpnet: each message says what was expected, what came and what to do.

::

    XpnetError
    ├── InputError          (ValueError)       an argument or array that cannot be used
    │   └── DataError                          a data file or picture that cannot be used
    ├── ModelFileError      (ValueError)       not a model file, or a damaged one
    ├── OutputError         (OSError)          a path that cannot be written
    ├── BackendUnavailable  (ImportError)      CuPy, its driver or its device is missing
    ├── TrainingDiverged    (ArithmeticError)  the loss or the parameters became non-finite
    └── GradientMismatch    (AssertionError)   an analytic gradient failed its check
"""

from __future__ import annotations

__all__ = [
    "BackendUnavailable",
    "DataError",
    "GradientMismatch",
    "InputError",
    "ModelFileError",
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


class TrainingDiverged(XpnetError, ArithmeticError):  # noqa: N818
    """The loss or the parameters became non-finite; the last good parameters were kept."""


class GradientMismatch(XpnetError, AssertionError):  # noqa: N818
    """An analytic gradient differs from its finite difference."""


def unknown(what: str, name: object, known: object) -> InputError:
    """Return the error for a *name* that no table of *known* names holds."""
    names = ", ".join(sorted(map(str, known)))  # type: ignore[call-overload]
    return InputError(f"{what}: expected one of {names}; got {name!r}")
