"""What the command shows: facts, tables, errors, and the progress of training."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from rich import progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .checks import check_labels
from .compare import Comparison
from .data import Dataset
from .network import Network
from .optimizers import LBFGS, Optimizer
from .training import Epoch, evaluate, history_of

_INTERVAL = 0.1  # seconds from one refresh of the bar to the next
_SHARE = 20  # looking at the accuracy may take a 20th of the time
_BESIDES = (  # options told in the plan where they are given
    *("loss", "momentum", "alpha", "weight_decay", "dropout", "label_smoothing", "input_noise"),
    *("average", "normalization", "input_scale", "scaling", "class_weight", "early_stopping"),
    *("monitor", "threshold", "max_minutes"),
)
_LINES = 10  # plain lines in a run, where there is no terminal


def stdout(*, quiet: bool = False) -> Console:
    """Return the console for results."""
    return _console(stderr=False, quiet=quiet)


def stderr(*, quiet: bool = False) -> Console:
    """Return the console for progress and errors."""
    return _console(stderr=True, quiet=quiet)


def _console(*, stderr: bool, quiet: bool) -> Console:
    """Return a console that takes text as it is; off a terminal it cuts nothing at its edge."""
    console = Console(stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False)
    if not console.file.isatty():
        console.width = 1000
    return console


#: What could move a terminal's cursor or change its colours, and what is no Unicode.
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain(text: str) -> str:
    """Return *text* with Python's escapes for what a terminal must not be given."""
    return _ODD.sub(lambda found: ascii(found[0])[1:-1], text)


def show_facts(to: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Print one line a fact: what it is about, and what there is to say."""
    for name, text in facts:
        to.print(Text.assemble((f"{name:<13}", "cyan"), plain(text)), soft_wrap=True)


def show_table(to: Console, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table after an empty line: its first column to the left, the others to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="cyan")
    for k, header in enumerate(headers):
        table.add_column(header, justify="right" if k else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    to.print()
    to.print(table)


def fail(message: object) -> None:
    """Print an error to stderr, with the notes on it."""
    notes = getattr(message, "__notes__", [])
    words = plain("; ".join([str(message), *notes]))
    text = Text.assemble(("xpnet: error: ", "bold red"), words)
    stderr().print(text, soft_wrap=True)


def warn(message: object) -> None:
    """Print a warning to stderr."""
    text = Text.assemble(("xpnet: warning: ", "bold yellow"), plain(str(message)))
    stderr().print(text, soft_wrap=True)


def fail_to_print(error: OSError | UnicodeEncodeError) -> None:
    """Print to stderr why stdout takes no more, and let nothing more come of what it holds."""
    if isinstance(error, UnicodeEncodeError):
        letters = error.object[error.start : error.end]
        came, remedy = f"{error.encoding}, without {letters!a}", "set PYTHONIOENCODING=utf-8"
        fail(f"stdout: expected an encoding that has what is printed; got {came}; {remedy}")
        return
    place, reason = error.filename or "stdout", error.strerror or error
    fail(f"{place}: expected a place that can be written; got: {reason}; choose another")
    with contextlib.suppress(OSError, ValueError):  # without this, the flush at exit fails again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# --- while it trains ------------------------------------------------------------------------------


class Progress:
    """How training goes: a bar on a terminal, some ten plain lines elsewhere.

    It is a context, and a callback of `train` in it.  `net` is the network of the last epoch.

    Parameters
    ----------
    to : Console
    epochs : int
    accuracy : callable
        Returns a network's training accuracy; called when that is to be shown for want of other
        data.
    watched : str, optional
        What the history's validation data are: "validation" or "test".
    """

    def __init__(
        self,
        to: Console,
        epochs: int,
        accuracy: Callable[[Network], float],
        watched: str | None = None,
    ) -> None:
        self.to, self.epochs, self.accuracy, self.watched = to, epochs, accuracy, watched
        self.net: Network | None = None
        self.first = 0  # epochs that were done before
        self.live = to.file.isatty() and not to.is_dumb_terminal
        self.bar = progress.Progress(
            progress.TextColumn("epoch {task.completed:,.0f}/{task.total:,.0f}"),
            progress.BarColumn(24),
            progress.TextColumn("{task.fields[numbers]}"),
            console=to,
            refresh_per_second=1 / _INTERVAL,
            disable=to.quiet or not self.live,
        )

    def __enter__(self) -> Self:
        self.task = self.bar.add_task("", total=self.epochs, numbers="")
        self.start = self.next = time.perf_counter()
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, epoch: Epoch) -> None:
        """Show *epoch* if it is time."""
        if self.net is None:
            self.net, self.first = epoch.net, epoch.number - 1
        if not self.to.quiet and self._due(epoch.number):
            self._show(epoch)

    def _due(self, number: int) -> bool:
        if number == self.epochs or self.live:
            return number == self.epochs or time.perf_counter() >= self.next
        return number % math.ceil(self.epochs / _LINES) == 0

    def _show(self, epoch: Epoch) -> None:
        number, history, now = epoch.number, epoch.history, time.perf_counter()
        speed = (number - self.first) / max(now - self.start, 1e-9)
        if "val_accuracy" in history:
            accuracy = f"{self.watched} accuracy {percent(history['val_accuracy'][-1])}"
        else:
            accuracy = f"accuracy {percent(self.accuracy(epoch.net))}"
        left = _duration((self.epochs - number) / speed)
        numbers = f"loss {history['loss'][-1]:.4f}  {accuracy}  {_rate(speed)}  {left} left"
        if self.live:
            self.bar.update(self.task, completed=number, numbers=numbers)
        else:
            place = f"epoch {number:>{len(str(self.epochs))}}/{self.epochs}"
            self.to.print(f"{place}  {numbers}")
        end = time.perf_counter()
        self.next = end + max(_INTERVAL, _SHARE * (end - now))


def _rate(speed: float) -> str:
    """Return *speed*, in epochs a second, in words."""
    if speed >= 10:
        return f"{speed:,.0f} epochs/s"
    return f"{speed:.1f} epochs/s" if speed >= 1 else f"{1 / speed:.1f} s/epoch"


def _duration(seconds: float) -> str:
    """Return *seconds* as on a clock."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


# --- in words -------------------------------------------------------------------------------------


def percent(fraction: float) -> str:
    """Return *fraction* in percent, rounded down: 100.0 % only where nothing is missing."""
    return f"{math.floor(1000 * fraction + 1e-9) / 10:.1f} %"


def count(n: int, what: str) -> str:
    """Return *n* and its noun *what*, in the plural unless there is one."""
    return f"{n:,} {what}" + "s" * (n != 1)


def label_text(label: Any) -> str:
    """Return a label as text that a terminal may be given: it may be of a file's author."""
    return plain(label.decode(errors="replace") if isinstance(label, bytes) else str(label))


def describe_data(rows: Dataset, pair: Any) -> str:
    """Say what *rows* are and how many there are of each class."""
    m, shape = len(rows), rows.picture_shape
    if shape is None:
        kind = f"{count(m, 'row')} of {count(rows.X.shape[1], 'feature')}"
    else:
        kind = f"{count(m, 'picture')} {'×'.join(map(str, shape))}"
    targets, _ = check_labels(rows.y, pair, both=False)
    counts = zip(np.bincount(targets, minlength=2), pair, strict=True)
    classes = ", ".join(f"{label_text(label)}: {n:,}" for n, label in counts)
    return f"{rows.name} · {kind} · {classes}"


def describe_network(net: Network) -> str:
    """Say how *net* is built."""
    sizes = "-".join(map(str, net.layer_sizes))
    kinds = net.activations if len(set(net.activations)) > 1 else net.activations[:1]
    kind = "/".join(kinds) or "logistic regression"
    parameters = sum(int(array.size) for array in net.parameters.values())
    return f"{sizes} · {kind} · {net.precision} · {count(parameters, 'parameter')}"


def describe_plan(
    net: Network, optimizer: Optimizer, parts: Mapping[str, Dataset | None], chosen: dict[str, Any]
) -> list[tuple[str, str]]:
    """Say what is about to be done with the *parts* of the data, and the options *chosen*."""
    rows = parts["training"]
    assert rows is not None
    _, pair = check_labels(rows.y, rows.classes)
    shown = (("data", rows), ("validation", parts["validation"]), ("test", parts["test"]))
    facts = [(name, describe_data(part, pair)) for name, part in shown if part is not None]
    far = max(float(rows.X.max()), -float(rows.X.min())) > 100
    if far and rows.picture_shape is None and chosen["scaling"] is None:
        facts.append(("note", "features beyond ±100 train better at unit size: see --scaling"))
    size = chosen["batch_size"]
    full = size is None or size >= len(rows) or isinstance(optimizer, LBFGS)
    rate = f"{optimizer.schedule} rate {optimizer.learning_rate:g}"
    plan = [
        optimizer.name if isinstance(optimizer, LBFGS) else f"{optimizer.name} · {rate}",
        "full batch" if full else f"batches of {size:,}",
        count(chosen["epochs"], "epoch"),
        f"seed {chosen['seed']}",
    ]
    given = {
        name: chosen[name] for name in _BESIDES if chosen[name] not in (None, False, "logistic")
    }
    if rows.picture_shape is not None:  # pictures are divided by 255, and that is all
        given.pop("scaling", None)
    besides = [
        f"{name.replace('_', ' ')} {value}".removesuffix(" True") for name, value in given.items()
    ]
    return [
        *facts,
        ("network", f"{describe_network(net)} · {chosen['init']}"),
        ("backend", f"{net.backend.name} · {net.backend.device_name}"),
        ("optimizer", " · ".join(plan)),
        *([("besides", " · ".join(besides))] if besides else []),
    ]


def show_time(to: Console, net: Network, seconds: float, stopped: bool) -> None:
    """Print how long training went on."""
    took = f"{count(len(history_of(net)['loss']), 'epoch')} in {seconds:.2f} s"
    show_facts(to, [("stopped" if stopped else "trained", took)])


def show_result(to: Console, net: Network, parts: Mapping[str, Dataset | None]) -> None:
    """Print what training reached on each of the *parts*."""
    reached = []
    for name, part in parts.items():
        if part is not None:
            loss, accuracy = evaluate(net, part.X, part.y)
            reached.append(f"{name} accuracy {percent(accuracy)}")
    trained = "" if net.training is None else net.training.loss
    kind = "loss" if trained == "logistic" else "log-loss"
    facts = [("reached", " · ".join([*reached, f"{kind} {loss:.4f}"]))]
    if net.threshold != 0.5:
        facts.append(("threshold", f"{net.threshold:g}"))
    show_facts(to, facts)


def show_next_steps(
    to: Console,
    net: Network,
    model: str,
    data: str | None,
    test: str | None,
    names: tuple[str, str] | None,
) -> None:
    """Print what to type now that *model* is written; *names* are those of the arrays, if given."""
    source = [path for path in (test or data,) if path is not None]
    x, y = ([], []) if names is None else (["--x", names[0]], ["--y", names[1]])
    commands = [
        ["evaluate", model, *source, *x, *y],
        ["predict", model, *([*source, *x] if net.picture_shape is None else ["PICTURE.png"])],
        ["compare", *([] if data is None else [data]), *x, *y],
    ]
    lines = [shlex.join(["xpnet", *words]) for words in commands]
    show_facts(to, [("" if k else "next", line) for k, line in enumerate(lines)])


def show_confusion(to: Console, pair: Any, truth: np.ndarray, taken: np.ndarray) -> None:
    """Print how many of each class were taken for which, both given as 0 and 1."""
    names = [label_text(label) for label in pair]
    cells = np.bincount(2 * truth + taken, minlength=4).reshape(2, 2).tolist()
    rows = [[name, *map(str, row)] for name, row in zip(names, cells, strict=True)]
    show_table(to, ["", *(f"taken for {name}" for name in names)], rows)


def show_report(to: Console, report: Mapping[str, float]) -> None:
    """Print what each metric says; none of what it cannot say, for want of a class."""
    rows = [[name, "–" if math.isnan(value) else f"{value:.4f}"] for name, value in report.items()]
    show_table(to, ["metric", "value"], rows)


def show_comparison(to: Console, comparison: Comparison) -> None:
    """Print what `compare_backends` found."""
    runs, first = comparison.runs, comparison.runs[0].seconds_per_epoch
    rows = [
        [
            run.name,
            f"{run.gradient_difference:.1e}" if k else "reference",
            f"{1e3 * run.seconds_per_epoch:.3f}",
            f"{first / run.seconds_per_epoch:.1f}×",
        ]
        for k, run in enumerate(runs)
    ]
    show_table(to, ["", "gradient difference", "ms/epoch", "speed"], rows)
    epochs = len(runs[0].losses)
    marks = sorted({round(1 + k * (epochs - 1) / 5) for k in range(6)})
    rows = [[f"{mark:,}", *(f"{run.losses[mark - 1]:.8f}" for run in runs)] for mark in marks]
    show_table(to, ["loss at epoch", *(run.name for run in runs)], rows)
    if comparison.unavailable:
        to.print()
        show_facts(to, [(f"no {name}", why) for name, why in comparison.unavailable.items()])
