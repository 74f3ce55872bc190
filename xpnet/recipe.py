"""What `BinaryClassifier` does where it is not told: every "auto" is decided here.

Three sizes of problem are told apart by n, the number of rows (see `count_rows`): up to 32 all rows
are one batch; below 1000 all rows are trained on, for a fixed number of steps; from there on a
tenth is held out to find the best epoch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from .checkpointing import name_of
from .errors import InputError, flag, known, positive, real, several
from .optimizers import LBFGS, OPTIMIZERS, Adam, Optimizer
from .schedules import SCHEDULES, get_schedule
from .settings import Settings

__all__ = ["Choices", "choose", "count_rows", "describe", "renamed"]

ONE_BATCH = 32  #: up to so many rows are one batch
HELD_OUT = 1000  #: from so many rows on, some are held out
LARGE = 10_000  #: from so many rows on, networks are smaller, for the time that they take

Choices = dict[str, Any]


@contextlib.contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors call parameters what the classifier does, and not what its parts do."""
    try:
        yield
    except InputError as error:
        name, colon, rest = str(error).partition(":")
        if name not in names:
            raise
        raise InputError(f"{names[name]}{colon}{rest}") from error


def count_rows(weights: np.ndarray | None, m: int) -> int:
    """Return the number of rows that *m* rows of positive *weights* stand for.

    Whole numbers are repetitions; of other weights every row counts once.
    """
    if weights is None or np.any(weights != np.floor(weights)):
        return m
    return int(max(m, min(np.sum(weights), 2.0**53)))


def _architecture(n: int, sparse: bool) -> Choices:
    return {
        "hidden_layer_sizes": (128, 128) if n < LARGE else (64, 64),
        "activation": "gelu",
        "init": "data",  # weights of variance 1/n_in, biases within the data, log-odds at the end
        "dropout": 0.0 if n <= ONE_BATCH or n >= LARGE else 0.1,
        "input_scale": True,
        "scaling": "max_abs" if sparse else "robust_std",
        # In float64 rounding depends too little on the order of rows to be seen.
        "precision": "float64" if n < HELD_OUT else "float32",
        "early_stopping": n >= HELD_OUT,
    }


def _recipe(n: int) -> Choices:
    """How to train with the recipe's own Adam."""
    if n <= ONE_BATCH:
        size, epochs, decay = n, 20, min(2.0, 100.0 / n)
    elif n < HELD_OUT:
        size, decay = 16, min(2.0, 100.0 / n)
        epochs = min(math.ceil(200 / round(n / size)), 20)
    else:
        size, epochs, decay = min(256, 2 ** round(math.log2(n / 64))), 20, 0.1
    return {
        "learning_rate_init": 0.04,
        "learning_rate": "linear" if n < HELD_OUT else "flat_cosine",
        "beta_2": 0.99,
        "weight_decay": decay,
        "average": 0.99,
        "batch_size": size,
        "max_iter": epochs,
        "n_iter_no_change": 4,
        "tol": 0.0,
    }


def _as_named(solver: str | Optimizer, n: int) -> Choices:
    """How to train with a solver that was asked for: as scikit-learn does."""
    kind = type(solver) if isinstance(solver, Optimizer) else known("solver", solver, OPTIMIZERS)
    defaults = {field.name: field.default for field in fields(kind)}
    steady = issubclass(kind, LBFGS)
    return {
        "dropout": 0.0,
        "learning_rate_init": 0.001,
        "learning_rate": "constant",
        "beta_2": 0.999,
        "weight_decay": defaults["weight_decay"],
        "average": 0.0,
        "rate_factors": None,
        "batch_size": None if steady else min(200, n),
        "max_iter": 200,
        "n_iter_no_change": 10,
        "tol": 1e-4,
        **({"early_stopping": False} if steady else {}),
    }


def choose(
    given: Mapping[str, Any],
    n: int,
    n_features: int,
    *,
    sparse: bool = False,
    partial: bool = False,
) -> Choices:
    """Return the parameters *given* to the classifier, checked, with a value for every "auto".

    ``"optimizer"`` is there too, the `Optimizer` that they describe.

    Parameters
    ----------
    given : mapping
        All parameters of `BinaryClassifier` by name.
    n : int
        Rows, from `count_rows`.
    n_features : int
    sparse : bool
        Whether the rows are sparse, so that nothing is to be centred.
    partial : bool
        Whether it is for ``partial_fit``, where no end is known: the rate stays, nothing is held
        out, and every call is one epoch.

    Raises
    ------
    InputError
        If one cannot be used, or two contradict each other.
    """
    solver = given["solver"]
    named = not (isinstance(solver, str) and solver == "auto")
    automatic = _architecture(n, sparse) | (_as_named(solver, n) if named else _recipe(n))
    chosen = {name: automatic.get(name, value) if _is_auto(value) else value
              for name, value in given.items()}  # fmt: skip
    _check(chosen)
    chosen["hidden_layer_sizes"] = _hidden_sizes(chosen["hidden_layer_sizes"])
    if _is_auto(chosen["rate_factors"]):
        sizes = (n_features, *chosen["hidden_layer_sizes"])
        chosen["rate_factors"] = _rate_factors(sizes, bool(chosen["input_scale"]))
    if not chosen["hidden_layer_sizes"]:
        chosen["dropout"] = 0.0 if _is_auto(given["dropout"]) else chosen["dropout"]
    if partial:
        _check_partial(chosen, given)
    chosen["optimizer"] = _optimizer(chosen, given, named)
    return chosen


#: What does not decide what is learnt, is not in a file, as the seed, or follows from the rest.
_NOT_DESCRIBED = {
    *("backend", "callbacks", "checkpoint", "optimizer", "random_state", "verbose", "warm_start"),
}


def describe(chosen: Choices) -> Choices:
    """Return what was chosen as plain data; two of equal descriptions train alike."""
    return {name: _plain(v) for name, v in chosen.items() if name not in _NOT_DESCRIBED}


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if several(value):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, (int, float)) else name_of(value)


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _rate_factors(sizes: tuple[int, ...], input_scale: bool) -> dict[str, float]:
    """Weights at ``1/√n_in`` of the rate (NTK parametrisation), biases at 0.1, input scales at 6.

    The last two from RealMLP (Holzmüller et al., NeurIPS 2024).
    """
    weights = {f"W{l}": n_in**-0.5 for l, n_in in enumerate(sizes, start=1)}
    return {**weights, "b": 0.1, **({"scale": 6.0} if input_scale else {})}


def _hidden_sizes(sizes: Any) -> tuple[int, ...]:
    hidden = tuple(sizes) if np.iterable(sizes) else (sizes,)
    good = [isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n > 0 for n in hidden]
    if not all(good):
        raise InputError(f"hidden_layer_sizes: expected positive integers; got {sizes!r}")
    return tuple(int(n) for n in hidden)


_FLAGS = (
    "shuffle",
    "warm_start",
    "early_stopping",
    "input_scale",
    "nesterovs_momentum",
    "verbose",
)


def _check(chosen: Choices) -> None:
    """Check what neither the network nor its training will."""
    for name in _FLAGS:
        flag(name, chosen[name])
    real("validation_fraction", chosen["validation_fraction"], above=0.0, below=1.0)
    positive("n_iter_no_change", chosen["n_iter_no_change"])
    positive("max_iter", chosen["max_iter"])
    if chosen["tol"] is not None:
        real("tol", chosen["tol"], least=0.0)
    if chosen["pos_weight"] is not None:
        real("pos_weight", chosen["pos_weight"], above=0.0)
        if chosen["class_weight"] is not None:
            raise InputError(
                "pos_weight: expected None beside class_weight, which says the weight of the "
                f"second class as well; got {chosen['pos_weight']!r}"
            )


def _check_partial(chosen: Choices, given: Mapping[str, Any]) -> None:
    if _is_auto(given["early_stopping"]):
        chosen["early_stopping"] = False
    if chosen["early_stopping"]:
        raise InputError("early_stopping: partial_fit does not support early_stopping=True")
    if isinstance(chosen["class_weight"], str):
        raise InputError(
            f"class_weight: {chosen['class_weight']!r} is not supported for partial_fit, which "
            "does not see all labels; give a dict, or sample_weight"
        )
    if chosen["checkpoint"] is not None:
        raise InputError(
            "checkpoint: expected None for partial_fit, every call of which is a run of its own; "
            f"got {chosen['checkpoint']!r}; save network_ by save_model after a call"
        )
    if isinstance(given["solver"], Optimizer):
        schedule = given["solver"].schedule
    else:
        if _is_auto(given["learning_rate"]):
            chosen["learning_rate"] = "constant"
        schedule = chosen["learning_rate"]
    with renamed({"schedule": "learning_rate"}):
        schedule = get_schedule(schedule)
    if schedule.needs_end:
        fit = ", ".join(name for name, kind in SCHEDULES.items() if not kind.needs_end)
        raise InputError(
            f"learning_rate: expected one of {fit} for partial_fit, where the end of training is "
            f"not known; got {schedule}"
        )


#: The parameters that a solver may have: their names there, and their defaults.
_OF_SOLVERS = {
    "learning_rate_init": ("learning_rate", "auto"),
    "learning_rate": ("schedule", "auto"),
    "alpha": ("alpha", 0.0),
    "weight_decay": ("weight_decay", "auto"),
    "clip_norm": ("clip_norm", None),
    "momentum": ("momentum", 0.9),
    "nesterovs_momentum": ("nesterov", True),
    "beta_1": ("beta_1", 0.9),
    "beta_2": ("beta_2", "auto"),
    "epsilon": ("epsilon", 1e-8),
}


def _optimizer(chosen: Choices, given: Mapping[str, Any], named: bool) -> Optimizer:
    solver = given["solver"]
    if isinstance(solver, Optimizer):
        for name, (_, default) in _OF_SOLVERS.items():
            if given[name] != default:
                raise InputError(
                    f"{name}: expected {default!r} beside a solver that is an Optimizer and brings "
                    f"its own; got {given[name]!r}; set it there"
                )
        return solver
    kind = OPTIMIZERS[solver] if named else Adam
    has = {field.name for field in fields(kind)}
    handed = {own: chosen[name] for name, (own, _) in _OF_SOLVERS.items() if own in has}
    if "nesterov" in handed:  # a grid of NumPy booleans is one of booleans
        handed["nesterov"] = bool(handed["nesterov"]) and handed["momentum"] != 0
    with renamed({own: name for name, (own, _) in _OF_SOLVERS.items()}):
        return kind(**handed)
