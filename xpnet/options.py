"""The options and arguments of the commands, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import click

from .activations import ACTIVATIONS
from .backend import PRECISIONS
from .errors import InputError, real
from .hdf5 import MAX_BYTES
from .initializers import INITIALIZERS
from .losses import LOSSES
from .metrics import METRICS
from .optimizers import OPTIMIZERS
from .preprocessing import SCALERS
from .schedules import SCHEDULES

CURVE = "curve.png"  # drawn where no other name is given
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


def number(**bounds: float) -> dict[str, Any]:
    """Return the settings of an option whose value is a finite number in these bounds of `real`."""

    def read(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
        try:
            return None if value is None else real("", value, **bounds)
        except InputError as error:
            raise click.BadParameter(str(error).removeprefix(": ")) from error

    return {"type": float, "metavar": "NUMBER", "callback": read}


def threshold(_: click.Context, __: click.Parameter, value: str | None) -> float | str | None:
    """Read a probability, or the name of a metric of decisions."""
    if value is None or value in _OF_DECISIONS:
        return value
    try:
        return real("", float(value), least=0.0, most=1.0)
    except ValueError as error:
        known = f"a number from 0 to 1, or one of {', '.join(_OF_DECISIONS)}"
        raise click.BadParameter(f"expected {known}; got {value!r}") from error


def table(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Read the name of a file of CSV or JSON lines."""
    if value is not None and not value.endswith((".csv", ".jsonl")):
        raise click.BadParameter(f"expected a name ending in .csv or .jsonl; got {value!r}")
    return value


class Grouped(click.Command):
    """A command whose help lists its options under the headings that they were made with."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each heading, in the order of the options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "heading", "Help"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class _Option(click.Option):
    """An option that knows its heading."""

    def __init__(self, *names: Any, heading: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.heading = heading


def _under(heading: str) -> Callable[..., Callable[..., Any]]:
    return partial(click.option, cls=_Option, heading=heading)


def _choice(table: Iterable[str], default: str | None = None) -> dict[str, Any]:
    return {"type": click.Choice(list(table)), "default": default}


def _defaults(name: str) -> str:
    """Say what the optimizers have for the setting of that *name*, unless 0."""
    values = {key: getattr(kind, name) for key, kind in OPTIMIZERS.items()}
    return ", ".join(f"{key} {value:g}" for key, value in values.items() if value)


_OF_DECISIONS = [name for name, metric in METRICS.items() if metric.of_counts is not None]
_data, _network, _update = _under("Data"), _under("Network"), _under("Updates")
_restraint, _validation = _under("Against overfitting"), _under("Validation")
_machine, _output = _under("Machine"), _under("Output")

# --- of several commands --------------------------------------------------------------------------

data = click.argument("data", required=False)
x = _data("--x", metavar="NAME", help="The array of rows, where it has another name.")
y = _data("--y", metavar="NAME", help="The array of labels; --x and --y go together.")
hidden = _network(
    "--hidden",
    metavar="N,N,...",
    default="20,7,5",
    callback=sizes,
    help="Units of each hidden layer; none makes it logistic regression.",
)
backend = _machine(
    "--backend",
    metavar="NAME",
    default="auto",
    help="numpy, cupy, cupy:N, or auto: CuPy where a CUDA device answers.",
)
_count = "Of NumPy; by default as many as its BLAS takes."
threads = _machine("--threads", metavar="N", type=click.IntRange(min=1), help=_count)
_most = "That one array may take in memory."
max_bytes = _machine(
    "--max-bytes", metavar="N", type=click.IntRange(min=1), default=MAX_BYTES, help=_most
)
untrusted = click.option(
    "--untrusted", "apart", is_flag=True, help="Read files in a child process, under limits."
)

often = _output(
    "--every",
    metavar="N|Ns|Nm|Nh",
    default="1",
    callback=every,
    help="Epochs, seconds, minutes or hours from one checkpoint to the next.",
)
quiet = _output("-q", "--quiet", is_flag=True, help="Print nothing but errors.")

# --- of train alone -------------------------------------------------------------------------------

_TRAINING = [
    _data("--test", metavar="FILE", help="Data to test on."),
    x,
    y,
    _data("--scaling", **_choice(SCALERS), help="Of the features, saved with the model."),
    _data("--class-weight", **_choice(["balanced"]), help="Both classes count the same."),
    hidden,
    _network(
        "--activation",
        metavar="NAME[,NAME...]",
        default="leaky_relu",
        callback=activation,
        help=f"Of all hidden layers, or one for each: {', '.join(ACTIVATIONS)}.",
    ),
    _network("--init", **_choice(INITIALIZERS, "xavier"), help="How the first weights are drawn."),
    _network("--normalization", **_choice(["layer"]), help="Of the hidden layers."),
    _network("--input-scale", is_flag=True, help="Learn a factor for every feature."),
    _update("--loss", **_choice(LOSSES, "logistic"), help="What is made small."),
    _update("--optimizer", **_choice(OPTIMIZERS, "adam"), help="The rule of an update."),
    _update(
        "--learning-rate",
        type=float,
        show_default=_defaults("learning_rate"),
        help="That the schedule starts from.",
    ),
    _update("--schedule", **_choice(SCHEDULES, "cosine"), help="How the learning rate moves."),
    _update("--momentum", type=float, help="Of sgd."),
    _update(
        "--batch-size",
        metavar="N|full",
        default="32",
        callback=batch_size,
        help="Rows in an update.",
    ),
    _update("--epochs", type=click.IntRange(min=1), default=200, help="Passes over the data."),
    _update("--max-minutes", **number(above=0.0), help="No epoch begins after them."),
    _update("--seed", type=int, default=1, help="Gives all that is drawn at random."),
    _restraint("--alpha", type=float, help="L2 penalty on the weights, as in scikit-learn."),
    _restraint(
        "--weight-decay",
        type=float,
        show_default=_defaults("weight_decay"),
        help="Share of the weights, times the learning rate, that each update takes away.",
    ),
    _restraint("--dropout", **number(least=0.0, below=1.0), help="Share of hidden units dropped."),
    _restraint("--label-smoothing", **number(least=0.0, below=1.0), help="Share of a wrong label."),
    _restraint("--input-noise", **number(least=0.0), help="Its standard deviation."),
    _restraint("--average", **number(least=0.0, below=1.0), help="Decay of the weights' average."),
    _validation(
        "--validation",
        **number(above=0.0, below=1.0),
        help="Fraction of each class to set aside and look at after every epoch, before the test.",
    ),
    _validation(
        "--early-stopping",
        metavar="[EPOCHS]",
        type=click.IntRange(min=1),
        is_flag=False,
        flag_value=10,
        help="Stop after so many epochs that were no better, 10 if not said; keep the best.",
    ),
    _validation(
        "--monitor", **_choice(["loss", *METRICS]), help="What is better; by default loss."
    ),
    _validation(
        "--threshold",
        metavar="NUMBER|METRIC",
        callback=threshold,
        help="The probability to decide by, or what to make best of "
        f"{', '.join(_OF_DECISIONS)}; saved with the model.",
    ),
    _machine(
        "--precision",
        **_choice(PRECISIONS, "float32"),
        help="Of the arithmetic; the last three need a GPU.",
    ),
    backend,
    threads,
    max_bytes,
    _output("-o", "--output", metavar="FILE", default="model.h5", help="The model to write."),
    _output(
        "--history",
        metavar="FILE",
        callback=table,
        help="A line for each epoch to write, as .csv or .jsonl.",
    ),
    _output("--plot", metavar="FILE", show_default=CURVE, help="The picture to write."),
    _output("--no-plot", is_flag=True, help="Write no picture."),
    _output("--checkpoint", "folder", metavar="DIR", help="Where to write down the run."),
    often,
    quiet,
]


def of_training(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* all the options of training."""
    for option in reversed(_TRAINING):
        command = option(command)
    return command
