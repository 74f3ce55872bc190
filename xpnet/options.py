"""The options and arguments that the commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from .activations import ACTIVATIONS
from .hdf5 import MAX_BYTES
from .optimizers import OPTIMIZERS


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
