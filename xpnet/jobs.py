"""What the commands ``train`` and ``resume`` share: a run from its data to its files."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import console
from .checkpoint import save_model
from .checkpointing import latest
from .checks import check_labels, weigh_classes
from .data import split
from .decisions import best_threshold
from .errors import InputError, TrainingDiverged
from .inputs import about, check_outputs, check_tests, classes_of, load_rows
from .interrupts import noting
from .network import Network
from .pictures import draw_run
from .resuming import resume
from .training import Checkpoint, evaluate, history_of

Parts = dict[str, Any]  #: data sets, or None, by "test", "validation" and "training"

__all__ = ["Job", "carry_out", "go_on"]


@dataclass(frozen=True)
class Job:
    """Where a run's data are and what it writes; its checkpoints keep it as their note.

    Attributes
    ----------
    data, test : str or None
        Files; for None the circles stand in.
    names : pair of str or None
        The names of their arrays, where they are others.
    max_bytes : int
    output, history, picture : str
        The model to write, and the table and the picture, if any.
    validation : float or None
        The fraction of the rows to set aside.
    seed : int
        Gives which.
    class_weight : str or None
    threshold : float, str or None
        The metric of decisions to make best of, by its name.
    """

    data: str | None
    test: str | None
    names: tuple[str, str] | None
    max_bytes: int
    output: str
    history: str | None
    picture: str | None
    validation: float | None
    seed: int
    class_weight: str | None
    threshold: float | str | None

    def load(self, folder: str | None) -> Parts:
        """Return the rows to test, to validate and to train on, once all can be written.

        *folder* is that of the checkpoints, if any.
        """
        check_outputs([self.output, self.history, self.picture], [self.data, self.test, folder])
        rows, validation = load_rows(self.data, "train", self.names, self.max_bytes), None
        pair, tests = classes_of(rows, self.data), None
        if self.test is not None or self.data is None:
            tests = load_rows(self.test, "test", self.names, self.max_bytes)
            check_tests(tests, self.test, rows, pair)
        if self.validation is not None:
            name = rows.name
            with about(self.data):
                rows, validation = split(rows, self.validation, self.seed)
            rows, validation = replace(rows, name=name), replace(validation, name=name)
        return {"test": tests, "validation": validation, "training": rows}

    def weights_and_validation(self, parts: Parts) -> dict[str, Any]:
        """Return what `train` and `resume` take beside the rows to train on."""
        rows, name = parts["training"], watched(parts)
        targets, pair = check_labels(rows.y, rows.classes)
        return {
            "sample_weight": weigh_classes(targets, pair, self.class_weight),
            "validation_data": None if name is None else (parts[name].X, parts[name].y),
        }

    def set_threshold(self, net: Network, parts: Parts) -> None:
        """Let *net* decide by the threshold that is best on the validation data, if asked for."""
        rows = parts["validation"]
        if isinstance(self.threshold, str):
            truth, _ = check_labels(rows.y, net.classes_, both=False)
            p = net.predict_proba(rows.X)[:, 1]
            net.threshold = best_threshold(truth, p, self.threshold)

    def as_note(self) -> dict[str, Any]:
        """Return it as plain data, with paths that hold in every folder."""
        note = asdict(self)
        for name in ("data", "test", "output", "history", "picture"):
            if note[name] is not None:
                note[name] = str(Path(note[name]).resolve())
        return note


def _job_of(folder: str) -> tuple[Job, int]:
    """Return the job of the run whose checkpoints are in *folder*, and how many epochs it has.

    Raises `InputError` for a run that the command did not start.
    """
    path, _, pause = latest(folder, "numpy")
    note = pause.call.get("note")
    if not isinstance(note, dict) or set(note) != set(Job.__dataclass_fields__):
        raise InputError(
            f"{path}: expected a checkpoint of `xpnet train`; got one of another program; go on "
            "with it by xpnet.resume, which is given the data"
        )
    names = note.pop("names")
    return Job(**note, names=names and tuple(names)), pause.first + int(pause.call["epochs"])


def watched(parts: Parts) -> str | None:
    """Return which of the *parts* is looked at after every epoch, if one is."""
    return next((name for name in ("validation", "test") if parts[name] is not None), None)


def carry_out(
    job: Job,
    parts: Parts,
    epochs: int,
    fit: Callable[[Any], Network],
    folder: str | None,
    *,
    quiet: bool,
) -> int:
    """Run *fit*, which takes a callback, show how it goes, and write what it gives.

    Returns the exit code: 128 and the number of the signal that came, or 0.  A first signal ends
    training after its batch, and then all but the model is left out; a second one ends it at once.
    """
    out, rows = console.stdout(quiet=quiet), parts["training"]
    wrote, start = [job.output], time.perf_counter()
    with _warnings_shown(), noting(_say, keep=True) as noted:
        accuracy = lambda net: evaluate(net, rows.X, rows.y)[1]  # noqa: E731 - it has one use
        to = console.stderr(quiet=quiet)
        progress = console.Progress(to, epochs, accuracy, watched(parts))
        try:
            with progress:
                net = fit(progress)
        except TrainingDiverged:
            if progress.net is not None:
                save_model(progress.net, job.output)
                console.show_facts(out, [("wrote", f"{job.output}, the last good parameters")])
            raise
        seconds, stopped = time.perf_counter() - start, noted.signal is not None
        job.set_threshold(net, parts)
        save_model(net, job.output)
        if job.history is not None:
            of_run = history_of(net)
            (of_run.to_csv if job.history.endswith(".csv") else of_run.to_jsonl)(job.history)
            wrote.append(job.history)
        if job.picture is not None and not stopped:
            draw_run(net, parts["test"] or rows, job.picture, watched(parts))
            wrote.append(job.picture)
        console.show_time(out, net, seconds, stopped)
        if noted.signal is None:
            console.show_result(out, net, parts)
    console.show_facts(out, [("wrote", ", ".join(wrote))])
    if noted.signal is None:
        console.show_next_steps(out, net, job.output, job.data, job.test, job.names)
        return 0
    if folder is not None:
        console.show_facts(out, [("go on", f"xpnet resume {folder}")])
    return 128 + noted.signal


def go_on(folder: str, every: dict[str, Any], *, quiet: bool) -> int:
    """Go on with the run in *folder*; return the exit code."""
    with _warnings_shown():
        job, epochs = _job_of(folder)
    parts = job.load(folder)
    rows, more = parts["training"], job.weights_and_validation(parts)
    checkpoint = Checkpoint(folder, **every, note=job.as_note())

    def fit(callback: Any) -> Network:
        return resume(checkpoint, rows.X, rows.y, **more, callback=callback)[0]

    return carry_out(job, parts, epochs, fit, folder, quiet=quiet)


def _say(number: int) -> None:
    # Not by print: the signal may have come in the middle of one.
    name = signal.Signals(number).name
    os.write(2, f"\n{name}: stopping after this batch; once more stops at once\n".encode())


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Print warnings in here as the command prints."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: console.warn(message)
        yield
