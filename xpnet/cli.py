"""The command ``xpnet``: train, evaluate, predict, compare, info.

Results go to stdout, progress and errors to stderr.  It exits with 0 when all went well, 1 when
something failed, 2 when it was called wrongly, and 130 after Ctrl-C.
"""

from __future__ import annotations

import csv
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from . import __version__, console
from .backend import Backend, available_backends, get_backend
from .checkpoint import check_writable, load_model, save_model
from .compare import compare_backends
from .console import count
from .data import Dataset, check_finite, check_labels, check_X, load, load_picture
from .errors import DataError, InputError, OutputError, TrainingDiverged, XpnetError
from .formulas import ACTIVATIONS
from .hdf5 import contents, holds, open_file, read_dataset
from .initializers import INITIALIZERS
from .network import DTYPES, Network
from .optimizers import OPTIMIZERS, Optimizer, get_optimizer
from .schedules import SCHEDULES
from .training import evaluate, train

__all__ = ["main"]

_CURVE = "curve.png"
_DATA_ENDINGS = (".h5", ".hdf5")


class _Commands(click.Group):
    """Turns what went wrong into one message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (XpnetError, MemoryError) as error:
            console.fail(error)
            raise click.exceptions.Exit(1) from error
        except KeyboardInterrupt:
            console.fail("interrupted")
            raise click.exceptions.Exit(130) from None


_settings = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


@click.group(cls=_Commands, context_settings=_settings)
@click.version_option(__version__, prog_name="xpnet", message="%(prog)s %(version)s")
def main() -> None:
    """Train L-layer binary classifiers, on NumPy or on a GPU with CuPy.

    DATA is an HDF5 file that holds train_set_x and train_set_y, test_set_x and test_set_y, or X
    and y.  Where none is named, two generated circles stand in: try `xpnet train`.
    """


# --- options --------------------------------------------------------------------------------------


def _sizes(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    """Read ``"20,7,5"``, or ``"none"``."""
    sizes = [] if value == "none" else value.split(",")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise click.BadParameter(f"expected numbers above 0 like 20,7,5, or none; got {value!r}")
    return tuple(map(int, sizes))


def _batch_size(_: click.Context, __: click.Parameter, value: str) -> int | None:
    """Read a number of rows, or ``"full"``."""
    if value != "full" and not (value.isdecimal() and int(value) > 0):
        raise click.BadParameter(f"expected a number of rows above 0, or full; got {value!r}")
    return None if value == "full" else int(value)


def _choice(name: str, table: Iterable[str], default: str, what: str) -> Callable[..., Any]:
    return click.option(name, type=click.Choice(list(table)), default=default, help=what)


_rates = ", ".join(f"{name} {kind.learning_rate:g}" for name, kind in OPTIMIZERS.items())
_data = click.argument("data", required=False)
_hidden = click.option(
    "--hidden",
    metavar="N,N,...",
    default="20,7,5",
    callback=_sizes,
    help="Units of each hidden layer; none makes it logistic regression.",
)
_backend = click.option(
    "--backend",
    metavar="NAME",
    default="auto",
    help="numpy, cupy, cupy:N, or auto: CuPy where a CUDA device answers.",
)


@contextmanager
def _usage() -> Iterator[None]:
    """What the engine refuses in here is an option, so it is wrong usage."""
    try:
        yield
    except InputError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error


# --- train ----------------------------------------------------------------------------------------


@main.command(name="train")
@_data
@click.option("--test", metavar="FILE", help="Data to test on after every epoch.")
@_hidden
@_choice("--activation", ACTIVATIONS, "leaky_relu", "Of the hidden layers.")
@_choice("--init", INITIALIZERS, "xavier", "How the first weights are drawn.")
@_choice("--optimizer", OPTIMIZERS, "adam", "The rule of an update.")
@_choice("--schedule", SCHEDULES, "cosine", "How the learning rate moves.")
@click.option("--learning-rate", type=float, show_default=_rates, help="Of the first update.")
@click.option(
    "--batch-size",
    metavar="N|full",
    default="32",
    callback=_batch_size,
    help="Rows in an update.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=200, help="Passes over the data.")
@_choice("--dtype", DTYPES, "float32", "Of parameters and rows.")
@_backend
@click.option("--seed", type=int, default=1, help="Gives the first weights and the batches.")
@click.option("-o", "--output", metavar="FILE", default="model.h5", help="The model to write.")
@click.option("--plot", metavar="FILE", show_default=_CURVE, help="The picture to write.")
@click.option("--no-plot", is_flag=True, help="Write no picture.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def _train(
    data: str | None,
    test: str | None,
    output: str,
    plot: str | None,
    no_plot: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a network on DATA, save it, and draw how that went."""
    out = console.stdout(quiet=quiet)
    picture = None if no_plot else console.check_picture(plot, _CURVE)
    _check_outputs([output, picture], [data, test])
    rows = _load(data, "train")
    tests = _load(test, "test") if test is not None or data is None else None
    net, optimizer = _from_options(rows, options)
    console.show_facts(out, console.describe_plan(net, optimizer, rows, tests, options))
    if not no_plot and picture is None:
        console.show_facts(out, [("note", "no picture: for one, pip install 'xpnet[plot]'")])
    start = time.perf_counter()
    try:
        stopped = _fit(net, optimizer, rows, tests, options, quiet)
    except TrainingDiverged:
        if console.history_of(net).get("loss"):
            save_model(net, output)
            console.show_facts(out, [("wrote", f"{output}, the last good parameters")])
        raise
    seconds = time.perf_counter() - start
    save_model(net, output)
    if picture is not None:
        console.draw_run(net, tests or rows, picture)
    console.show_result(out, net, rows, seconds, stopped)
    console.show_facts(out, [("wrote", ", ".join(filter(None, [output, picture])))])
    console.show_next_steps(out, net, output, data, test)
    if stopped:
        raise click.exceptions.Exit(130)


def _from_options(rows: Dataset, options: dict[str, Any]) -> tuple[Network, Optimizer]:
    rate = options["learning_rate"]
    hyper_parameters = {} if rate is None else {"learning_rate": rate}
    with _usage():
        optimizer = get_optimizer(
            options["optimizer"], schedule=options["schedule"], **hyper_parameters
        )
        net = Network(
            (_width(rows), *options["hidden"], 1),
            options["activation"],
            init=options["init"],
            dtype=options["dtype"],
            backend=options["backend"],
            random_state=options["seed"],
        )
    return net, optimizer


def _fit(
    net: Network,
    optimizer: Optimizer,
    rows: Dataset,
    tests: Dataset | None,
    options: dict[str, Any],
    quiet: bool,
) -> bool:
    """Train *net* and show how it goes; tell whether Ctrl-C ended it early."""
    to = console.stderr(quiet=quiet)
    accuracy = lambda: evaluate(net, rows.X, rows.y)[1]  # noqa: E731 - it has one use
    with console.Progress(to, options["epochs"], accuracy) as progress:
        train(
            net,
            rows.X,
            rows.y,
            optimizer=optimizer,
            epochs=options["epochs"],
            batch_size=options["batch_size"],
            validation_data=None if tests is None else (tests.X, tests.y),
            classes=rows.classes,
            seed=options["seed"],
            callback=progress,
        )
    return progress.stopped


# --- evaluate and predict -------------------------------------------------------------------------


@main.command(name="evaluate")
@click.argument("model")
@_data
@_backend
def _evaluate(model: str, data: str | None, backend: str) -> None:
    """Say how well MODEL does on DATA, on its test set if it has one."""
    net, rows, out = _open(model, backend), _load(data, "test"), console.stdout()
    loss, accuracy = evaluate(net, rows.X, rows.y)
    truth, pair = check_labels(rows.y, net.classes_, both=False)
    taken, _ = check_labels(net.predict(rows.X), pair, both=False)
    right = f"{np.count_nonzero(truth == taken):,} of {len(rows):,}"
    facts = [
        ("model", f"{model} · {console.describe_network(net)}"),
        ("backend", f"{net.backend.name} · {net.backend.device_name}"),
        ("data", console.describe_data(rows, pair)),
        ("loss", f"{loss:.4f}"),
        ("accuracy", f"{console.percent(accuracy)} · {right}"),
    ]
    console.show_facts(out, facts)
    console.show_confusion(out, pair, truth, taken)


@main.command(name="predict")
@click.argument("model")
@click.argument("inputs", metavar="[PICTURE_OR_DATA]...", nargs=-1)
@_backend
def _predict(model: str, inputs: tuple[str, ...], backend: str) -> None:
    """Name the class of PNG or JPEG pictures, or of the rows of a data file.

    A picture gives one line, a data file lines of CSV, with the probability of the class named.
    """
    net = _open(model, backend)
    for name, X in [(name, _read_input(net, name)) for name in inputs or [None]]:
        labels = net.predict(X)
        second = (labels == net.classes_[1]).astype(int)
        probabilities = net.predict_proba(X)[np.arange(len(labels)), second]
        if name is not None and not _is_data(name):
            named = console.label_text(labels[0])
            click.echo(f"{name}: {named}, probability {probabilities[0]:.4f}")
            continue
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(["row", "class", "probability"])
        for k, (label, probability) in enumerate(zip(labels, probabilities, strict=True)):
            lines.writerow([k, console.label_text(label), f"{probability:.6f}"])


def _open(model: str, backend: str) -> Network:
    with _usage():
        target = get_backend(backend)
    net = load_model(model, target)
    if net.classes_ is None:
        raise InputError(f"{model}: expected a trained model; got one without classes; train it")
    return net


def _is_data(path: str) -> bool:
    return Path(path).suffix.lower() in _DATA_ENDINGS


def _read_input(net: Network, path: str | None) -> Any:
    """Read a picture, or the rows of a data file, which needs no labels."""
    if path is None:
        return load(None, "test").X
    if not _is_data(path):
        if net.picture_shape is None:
            features = count(net.layer_sizes[0], "feature")
            raise InputError(
                f"{path}: expected a data file, {' or '.join(_DATA_ENDINGS)}: this model takes "
                f"rows of {features}, no pictures"
            )
        return load_picture(path, net.picture_shape)
    names = ("test_set_x", "X", "train_set_x")
    with open_file(path) as file:
        name = next((name for name in names if holds(file, name)), None)
        if name is None:
            raise DataError(f"{path}: expected {' or '.join(names)}; got {contents(file)}")
        X = check_X(read_dataset(file, name), f"{path}: {name}")
    check_finite(X, f"{path}: {name}")
    return X


# --- compare and info -----------------------------------------------------------------------------


@main.command(name="compare")
@_data
@_hidden
@click.option("--epochs", type=click.IntRange(min=1), default=20, help="Updates of the full batch.")
@click.option("--plot", metavar="FILE", help="A picture of the losses to write.")
def _compare(data: str | None, hidden: tuple[int, ...], epochs: int, plot: str | None) -> None:
    """Train one net on every backend, and by the textbook functions, side by side."""
    out = console.stdout()
    picture = None if plot is None else console.check_picture(plot, plot)
    _check_outputs([picture], [data])
    rows = _load(data, "train")
    _, pair = check_labels(rows.y, rows.classes)
    sizes = (_width(rows), *hidden, 1)
    with _usage():
        net = Network(sizes, init="xavier", dtype="float64", backend="numpy", random_state=1)
    net.classes_ = pair
    network = console.describe_network(net).replace("float64", "/".join(DTYPES))
    console.show_facts(out, [("data", console.describe_data(rows, pair)), ("network", network)])
    with console.stderr().status("comparing"):
        comparison = compare_backends(net, rows.X, rows.y, epochs=epochs)
    console.show_comparison(out, comparison)
    if picture is not None:
        console.draw_comparison(comparison, picture)
        console.show_facts(out, [("wrote", picture)])


@main.command(name="info")
def _info() -> None:
    """Show versions, backends and devices."""
    from threadpoolctl import threadpool_info

    cupy = metadata.packages_distributions().get("cupy", ["cupy"])[0]
    facts = [("python", platform.python_version()), ("xpnet", __version__)]
    for name in ("numpy", "h5py", "scikit-learn", "matplotlib", cupy):
        try:
            facts.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            facts.append((name, "not installed"))
    for name, backend in available_backends().items():
        state = backend.device_name if isinstance(backend, Backend) else f"not usable: {backend}"
        facts.append(("backend", f"{name} · {state}"))
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            words = [pool["internal_api"], pool["version"], count(pool["num_threads"], "thread")]
            facts.append(("BLAS", " · ".join(map(str, words))))
    console.show_facts(console.stdout(), facts)


# --- what they share ------------------------------------------------------------------------------


def _load(path: str | None, part: Literal["train", "test"]) -> Dataset:
    """Load *part* of a data file, or all there is if it has none; the circles' without a path."""
    if path is None:
        return load(None, part)
    with open_file(path) as file:
        has_part = holds(file, f"{part}_set_x")
    rows = load(path, part if has_part else None)
    check_finite(rows.X, f"{path}: X")
    return rows


def _width(rows: Dataset) -> int:
    return int(np.prod(rows.X.shape[1:]))


def _check_outputs(outputs: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Find out now whether every file can be written, none of them over another."""
    taken = {Path(path).resolve() for path in inputs if path is not None}
    for output in filter(None, outputs):
        path = Path(output).resolve()
        if path in taken:
            raise OutputError(
                f"{output}: expected a name of its own for what is written; got a file that this "
                "command reads or writes as well; choose another"
            )
        taken.add(path)
        check_writable(output)
