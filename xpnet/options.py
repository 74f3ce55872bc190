"""The options and arguments that the commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from .activations import ACTIVATIONS
from .hdf5 import MAX_BYTES
from .optimizers import OPTIMIZERS

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def sizes(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """Read ``"20,7,5"``, or ``"none"``."""
    words = [] if value == "none" else value.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise click.BadParameter(f"expected numbers above 0 like 20,7,5, or none; got {value!r}")
    return tuple(map(int, words))


def batch_size(_: click.Context, __: click.Parameter, value: str) -> int | None:
    """Read a number of rows, or ``"full"``."""
    if value != "full" and not (value.isdecimal() and int(value) > 0):
        raise click.BadParameter(f"expected a number of rows above 0, or full; got {value!r}")
    return None if value == "full" else int(value)


def every(_: click.Context, __: click.Parameter, value: str) -> dict[str, Any]:
    """Read how often to write a checkpoint, ``"10"`` epochs or ``"30s"``, for `Checkpoint`."""
    number, unit = (value[:-1], value[-1]) if value[-1:] in _SECONDS else (value, "")
    if not (number.isdecimal() and int(number) > 0):
        known = "a number of epochs above 0, or a time like 30s, 5m or 2h"
        raise click.BadParameter(f"expected {known}; got {value!r}")
    if unit:
        return {"every": None, "seconds": float(int(number) * _SECONDS[unit])}
    return {"every": int(number), "seconds": None}


def activation(_: click.Context, __: click.Parameter, value: str) -> str | tuple[str, ...]:
    """Read one name, or ``"relu,tanh"``: one for each hidden layer."""
    names = tuple(name.strip() for name in value.split(","))
    if not all(name in ACTIVATIONS for name in names):
        known = f"one of {', '.join(ACTIVATIONS)}, or a list like relu,tanh"
        raise click.BadParameter(f"expected {known}; got {value!r}")
    return names[0] if len(names) == 1 else names


def choice(name: str, table: Iterable[str], default: str, what: str) -> Callable[..., Any]:
    """Return an option whose values are the names in *table*."""
    return click.option(name, type=click.Choice(list(table)), default=default, help=what)


rates = ", ".join(f"{name} {kind.learning_rate:g}" for name, kind in OPTIMIZERS.items())
data = click.argument("data", required=False)
hidden = click.option(
    "--hidden",
    metavar="N,N,...",
    default="20,7,5",
    callback=sizes,
    help="Units of each hidden layer; none makes it logistic regression.",
)
backend = click.option(
    "--backend",
    metavar="NAME",
    default="auto",
    help="numpy, cupy, cupy:N, or auto: CuPy where a CUDA device answers.",
)
_count = "Of NumPy; by default as many as its BLAS takes."
threads = click.option("--threads", metavar="N", type=click.IntRange(min=1), help=_count)
_most = "That one array may take in memory."
max_bytes = click.option(
    "--max-bytes", metavar="N", type=click.IntRange(min=1), default=MAX_BYTES, help=_most
)
untrusted = click.option(
    "--untrusted", "apart", is_flag=True, help="Read files in a child process, under limits."
)
x = click.option("--x", metavar="NAME", help="The array of rows, where it has another name.")
y = click.option("--y", metavar="NAME", help="The array of labels; --x and --y go together.")
often = click.option(
    "--every",
    metavar="N|Ns|Nm|Nh",
    default="1",
    callback=every,
    help="Epochs, seconds, minutes or hours from one checkpoint to the next.",
)
