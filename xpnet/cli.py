"""The command ``xpnet``: train, resume, evaluate, predict, compare, inspect, info.

Results go to stdout, progress and errors to stderr.  It exits with 0 when all went well, 1 when
something failed, 2 when it was called wrongly, and 130, 143 or 129 after SIGINT (Ctrl-C), SIGTERM
or SIGHUP.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from . import __version__, console, options, untrusted
from .backend import PLAIN, get_backend
from .checkpoint import load_model
from .checks import check_labels, same_classes
from .compare import compare_backends
from .data import Dataset
from .errors import InputError, XpnetError
from .inputs import (
    about,
    check_outputs,
    classes_of,
    is_data,
    load_rows,
    read_input,
    width,
)
from .inspection import inspect, machine
from .jobs import Job, carry_out, go_on
from .lbfgs import check_steady
from .metrics import report
from .network import Network
from .optimizers import LBFGS, Optimizer, get_optimizer
from .pictures import check_picture, draw_comparison
from .training import Checkpoint, EarlyStopping, train

__all__ = ["main"]


class _Commands(click.Group):
    """Turns what went wrong into one message and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        plain = {**options, "standalone_mode": False}
        if not options.get("standalone_mode", True):
            return super().main(*args, **plain)
        try:
            sys.exit(super().main(*args, **plain))
        except click.Abort:  # by Ctrl-C, for which click itself would exit with 1
            console.fail("interrupted")
            sys.exit(130)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (OSError, UnicodeEncodeError) as error:  # click has ended quietly for a closed pipe
            console.fail_to_print(error)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (XpnetError, MemoryError) as error:
            console.fail(error)
            raise click.exceptions.Exit(1) from error


_settings = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


@click.group(cls=_Commands, context_settings=_settings)
@click.version_option(__version__, prog_name="xpnet", message="%(prog)s %(version)s")
def main() -> None:
    """Train L-layer binary classifiers, on NumPy or on a GPU with CuPy.

    DATA is an HDF5 file that holds train_set_x and train_set_y, test_set_x and test_set_y, or X
    and y, or what --x and --y name.  Where no file is named, two generated circles stand in: try
    `xpnet train`.
    """


@contextmanager
def _usage() -> Iterator[None]:
    """What the engine refuses in here is an option, so it is wrong usage."""
    try:
        yield
    except InputError as error:
        raise _wrong(str(error)) from error


def _wrong(message: str) -> click.UsageError:
    return click.UsageError(message, click.get_current_context())


def _named(x: str | None, y: str | None, data: str | None) -> tuple[str, str] | None:
    """Return the names that ``--x`` and ``--y`` give to the arrays of *data*, if they do."""
    if x is None and y is None:
        return None
    if x is None or y is None or data is None:
        came = ", ".join(
            f"--{name} {value}" for name, value in (("x", x), ("y", y)) if value is not None
        )
        without = "" if data else " without DATA"
        raise _wrong(f"expected --x and --y together, for a file DATA; got {came}{without}")
    return x, y


# --- train ----------------------------------------------------------------------------------------


@main.command(name="train", cls=options.Grouped)
@options.data
@options.of_training
def _train(
    data: str | None,
    test: str | None,
    x: str | None,
    y: str | None,
    output: str,
    history: str | None,
    plot: str | None,
    no_plot: bool,
    folder: str | None,
    every: dict[str, Any],
    quiet: bool,
    max_bytes: int,
    **chosen: Any,
) -> None:
    """Train a network on DATA, save it, and draw how that went."""
    out, names = console.stdout(quiet=quiet), _named(x, y, data)
    if no_plot and plot is not None:
        raise _wrong(f"expected --plot or --no-plot; got both, with {plot}; leave one of them out")
    _check_validation(chosen)
    picture = None if no_plot else check_picture(plot, options.CURVE)
    kept = {name: chosen[name] for name in ("validation", "seed", "class_weight", "threshold")}
    job = Job(data, test, names, max_bytes, output, history, picture, **kept)
    parts = job.load(folder)
    net, optimizer = _from_options(parts["training"], chosen)
    console.show_facts(out, console.describe_plan(net, optimizer, parts, chosen))
    if not no_plot and picture is None:
        console.show_facts(out, [("note", "no picture: for one, pip install 'xpnet[plot]'")])
    keeping = None if folder is None else Checkpoint(folder, **every, note=job.as_note())

    def fit(callback: Any) -> Network:
        _fit(net, optimizer, job, parts, chosen, callback, keeping)
        return net

    _exit(carry_out(job, parts, chosen["epochs"], fit, folder, quiet=quiet))


def _exit(code: int) -> None:
    if code:
        raise click.exceptions.Exit(code)


@main.command(name="resume", cls=options.Grouped)
@click.argument("folder", metavar="DIR")
@options.often
@options.quiet
def _resume(folder: str, every: dict[str, Any], quiet: bool) -> None:
    """Go on with the run that wrote checkpoints to DIR, as if it had never been interrupted.

    Its data must be where they were, and unchanged.
    """
    _exit(go_on(folder, every, quiet=quiet))


def _check_validation(chosen: dict[str, Any]) -> None:
    """What is chosen by looking at rows needs some that are neither trained on nor tested on."""
    if chosen["monitor"] is not None and chosen["early_stopping"] is None:
        raise _wrong("expected --early-stopping with --monitor; got none; give both")
    tuned = isinstance(chosen["threshold"], str)
    for name, asked in (("early-stopping", chosen["early_stopping"]), ("threshold", tuned)):
        if asked and chosen["validation"] is None:
            raise _wrong(f"expected --validation with --{name}; got none; give --validation 0.1")


def _from_options(rows: Dataset, chosen: dict[str, Any]) -> tuple[Network, Optimizer]:
    names = ("learning_rate", "momentum", "alpha", "weight_decay")
    with _usage():
        optimizer = get_optimizer(
            chosen["optimizer"],
            schedule=chosen["schedule"],
            **{name: chosen[name] for name in names if chosen[name] is not None},
        )
        net = Network(
            (width(rows), *chosen["hidden"], 1),
            chosen["activation"],
            init=chosen["init"],
            dropout=chosen["dropout"] or 0.0,
            normalization=chosen["normalization"],
            input_scale=chosen["input_scale"],
            precision=chosen["precision"],
            backend=get_backend(chosen["backend"], threads=chosen["threads"]),
            random_state=chosen["seed"],
        )
        if isinstance(optimizer, LBFGS):
            check_steady(net, optimizer, {k: chosen[k] or 0.0 for k in ("input_noise", "average")})
    if isinstance(chosen["threshold"], float):
        net.threshold = chosen["threshold"]
    return net, optimizer


def _fit(
    net: Network,
    optimizer: Optimizer,
    job: Job,
    parts: dict[str, Any],
    chosen: dict[str, Any],
    callback: Any,
    checkpoint: Checkpoint | None,
) -> None:
    """Train *net* on the *parts* of the data as *chosen*."""
    monitor, patience = chosen["monitor"] or "loss", chosen["early_stopping"]
    minutes, rows = chosen["max_minutes"], parts["training"]
    train(
        net,
        rows.X,
        rows.y,
        optimizer=optimizer,
        epochs=chosen["epochs"],
        batch_size=chosen["batch_size"],
        **job.weights_and_validation(parts),
        metrics=() if monitor == "loss" else (monitor,),
        early_stopping=patience and EarlyStopping(f"val_{monitor}", patience),
        loss=chosen["loss"],
        label_smoothing=chosen["label_smoothing"] or 0.0,
        input_noise=chosen["input_noise"] or 0.0,
        average=chosen["average"] or 0.0,
        scaling=chosen["scaling"],
        classes=rows.classes,
        seed=chosen["seed"],
        max_seconds=minutes and 60.0 * minutes,
        callback=callback,
        checkpoint=checkpoint,
    )


# --- evaluate and predict -------------------------------------------------------------------------


@main.command(name="evaluate")
@click.argument("model")
@options.data
@options.x
@options.y
@options.backend
@options.max_bytes
@options.untrusted
def _evaluate(
    model: str,
    data: str | None,
    x: str | None,
    y: str | None,
    backend: str,
    max_bytes: int,
    apart: bool,
) -> None:
    """Say how well MODEL does on DATA, on its test set if it has one."""
    names, out = _named(x, y, data), console.stdout()
    read = untrusted.load_rows if apart else load_rows
    net, rows = _open(model, backend, apart), read(data, "test", names, max_bytes)
    with about(data):
        same_classes(rows.classes, net.classes_)
        truth, pair = check_labels(rows.y, net.classes_, both=False)
        p = net.predict_proba(rows.X)[:, 1]
    taken = (p > net.threshold).astype(int)
    right = np.count_nonzero(truth == taken)
    facts = [
        ("model", f"{model} · {console.describe_network(net)}"),
        ("backend", f"{net.backend.name} · {net.backend.device_name}"),
        ("data", console.describe_data(rows, pair)),
        ("threshold", f"{net.threshold:g}"),
        ("accuracy", f"{console.percent(right / len(rows))} · {right:,} of {len(rows):,}"),
    ]
    console.show_facts(out, facts)
    console.show_report(out, report(truth, p, net.threshold))
    console.show_confusion(out, pair, truth, taken)


@main.command(name="predict")
@click.argument("model")
@click.argument("inputs", metavar="[PICTURE_OR_DATA]...", nargs=-1)
@options.x
@options.backend
@options.max_bytes
@options.untrusted
def _predict(
    model: str,
    inputs: tuple[str, ...],
    x: str | None,
    backend: str,
    max_bytes: int,
    apart: bool,
) -> None:
    """Name the class of PNG or JPEG pictures, or of the rows of a data file.

    A picture gives one line, a data file lines of CSV, with the probability of the class named.
    """
    if x is not None and not inputs:
        raise _wrong(f"expected a data file whose rows are called {x}; got none; name one")
    net = _open(model, backend, apart)
    read = untrusted.read_input if apart else read_input
    expected = net.layer_sizes[0], net.picture_shape, max_bytes
    for name, X in [(name, read(name, x, *expected)) for name in inputs or [None]]:
        with about(name):
            labels = net.predict(X)
        second = (labels == net.classes_[1]).astype(int)
        probabilities = net.predict_proba(X)[np.arange(len(labels)), second]
        if name is not None and not is_data(name):
            named = console.label_text(labels[0])
            click.echo(f"{console.plain(name)}: {named}, probability {probabilities[0]:.4f}")
            continue
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(["row", "class", "probability"])
        for k, (label, probability) in enumerate(zip(labels, probabilities, strict=True)):
            lines.writerow([k, console.label_text(label), f"{probability:.6f}"])


def _open(model: str, backend: str, apart: bool) -> Network:
    with _usage():
        target = get_backend(backend)
    net = (untrusted.load_model if apart else load_model)(model, target)
    if net.classes_ is None:
        raise InputError(f"{model}: expected a trained model; got one without classes; train it")
    return net


# --- compare, inspect and info --------------------------------------------------------------------


@main.command(name="compare")
@options.data
@options.x
@options.y
@options.hidden
@options.threads
@options.max_bytes
@click.option("--epochs", type=click.IntRange(min=1), default=50, help="Updates of the full batch.")
@click.option("--plot", metavar="FILE", help="A picture of the losses to write.")
def _compare(
    data: str | None,
    x: str | None,
    y: str | None,
    hidden: tuple[int, ...],
    threads: int | None,
    max_bytes: int,
    epochs: int,
    plot: str | None,
) -> None:
    """Train one net on every backend, and by the textbook functions, side by side."""
    out, names = console.stdout(), _named(x, y, data)
    picture = None if plot is None else check_picture(plot, plot)
    check_outputs([picture], [data])
    rows = load_rows(data, "train", names, max_bytes)
    pair = classes_of(rows, data)
    sizes = (width(rows), *hidden, 1)
    with _usage():
        numpy = get_backend("numpy", threads=threads)
        net = Network(sizes, init="xavier", precision="float64", backend=numpy, random_state=1)
    net.classes_ = pair
    network = console.describe_network(net).replace("float64", "/".join(PLAIN))
    console.show_facts(out, [("data", console.describe_data(rows, pair)), ("network", network)])
    with console.stderr().status("comparing"), threadpool_limits(threads, "blas"):
        comparison = compare_backends(net, rows.X, rows.y, epochs=epochs)
    console.show_comparison(out, comparison)
    if picture is not None:
        draw_comparison(comparison, picture)
        console.show_facts(out, [("wrote", picture)])


@main.command(name="inspect")
@click.argument("file")
@options.max_bytes
@options.untrusted
def _inspect(file: str, max_bytes: int, apart: bool) -> None:
    """Say what FILE holds, a model or data, and whether all of it is accepted."""
    facts, good = (untrusted.inspect if apart else inspect)(file, max_bytes=max_bytes)
    console.show_facts(console.stdout(), facts)
    if not good:
        raise click.exceptions.Exit(1)


@main.command(name="info")
def _info() -> None:
    """Show versions, backends and devices."""
    console.show_facts(console.stdout(), machine())
