"""xpnet: an L-layer binary classifier whose math is written once and trains on NumPy or CuPy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {  # where each public name lives; a module is imported when its name is first used
    "backend": ("available_backends", "get_backend"),
    "checkpoint": ("load_model", "save_model"),
    "classifier": ("BinaryClassifier",),
    "compare": ("compare_backends",),
    "errors": (
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
    ),
    "gradcheck": ("check_gradients",),
    "network": ("Network",),
    "optimizers": ("SGD", "AdaGrad", "Adam", "AdamW", "NAdam", "RMSProp"),
    "resuming": ("resume",),
    "training": ("Checkpoint", "History", "evaluate", "train"),
}
_MODULES = ("data", "plots", "schedules", "textbook")
_HOME_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "BackendUnavailable",
    "BinaryClassifier",
    "Checkpoint",
    "DataError",
    "DeviceLost",
    "GradientMismatch",
    "History",
    "InputError",
    "ModelFileError",
    "NAdam",
    "Network",
    "OutOfMemory",
    "OutputError",
    "RMSProp",
    "TrainingDiverged",
    "XpnetError",
    "available_backends",
    "check_gradients",
    "compare_backends",
    "data",
    "evaluate",
    "get_backend",
    "load_model",
    "plots",
    "resume",
    "save_model",
    "schedules",
    "textbook",
    "train",
]

if TYPE_CHECKING:
    from . import data, plots, schedules, textbook
    from .backend import available_backends, get_backend
    from .checkpoint import load_model, save_model
    from .classifier import BinaryClassifier
    from .compare import compare_backends
    from .errors import (
        BackendUnavailable,
        DataError,
        DeviceLost,
        GradientMismatch,
        InputError,
        ModelFileError,
        OutOfMemory,
        OutputError,
        TrainingDiverged,
        XpnetError,
    )
    from .gradcheck import check_gradients
    from .network import Network
    from .optimizers import SGD, AdaGrad, Adam, AdamW, NAdam, RMSProp
    from .resuming import resume
    from .training import Checkpoint, History, evaluate, train


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
