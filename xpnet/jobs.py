"""What the commands ``train`` and ``resume`` share: a run from its data to its files."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import console
from .checkpoint import save_model
from .checkpointing import latest
from .data import Dataset
from .errors import InputError, TrainingDiverged
from .inputs import check_outputs, check_tests, classes_of, load_rows
from .interrupts import noting
from .network import Network
from .resuming import resume
from .training import Checkpoint, evaluate

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
    output : str
        The model to write.
    picture : str or None
    """

    data: str | None
    test: str | None
    names: tuple[str, str] | None
    max_bytes: int
    output: str
    picture: str | None

    def load(self) -> tuple[Dataset, Dataset | None]:
        """Return the rows to train on, and those to test on, once all can be written."""
        check_outputs([self.output, self.picture], [self.data, self.test])
        rows = load_rows(self.data, "train", self.names, self.max_bytes)
        pair = classes_of(rows, self.data)
        if self.test is None and self.data is not None:
            return rows, None
        tests = load_rows(self.test, "test", self.names, self.max_bytes)
        check_tests(tests, self.test, rows, pair)
        return rows, tests

    def as_note(self) -> dict[str, Any]:
        """Return it as plain data, with paths that hold in every folder."""
        note = asdict(self)
        for name in ("data", "test", "output", "picture"):
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


def carry_out(
    job: Job,
    folder: str | None,
    rows: Dataset,
    tests: Dataset | None,
    epochs: int,
    fit: Callable[[Any], Network],
    *,
    quiet: bool,
) -> int:
    """Run *fit*, which takes a callback, show how it goes, and write what it gives.

    Returns the exit code: that of the signal which ended it, or 0.  A first signal ends training
    after its batch, and then all but the model is left out; a second one ends it at once.
    """
    out, to = console.stdout(quiet=quiet), console.stderr(quiet=quiet)
    accuracy = lambda net: evaluate(net, rows.X, rows.y)[1]  # noqa: E731 - it has one use
    wrote, start = [job.output], time.perf_counter()
    with _warnings_shown(), noting(_say, keep=True) as noted:
        progress = console.Progress(to, epochs, accuracy)
        try:
            with progress:
                net = fit(progress)
        except TrainingDiverged:
            if progress.net is not None:
                save_model(progress.net, job.output)
                console.show_facts(out, [("wrote", f"{job.output}, the last good parameters")])
            raise
        seconds = time.perf_counter() - start
        save_model(net, job.output)
        stopped = noted.signal is not None
        if job.picture is not None and not stopped:
            console.draw_run(net, tests or rows, job.picture)
            wrote.append(job.picture)
        console.show_time(out, net, seconds, stopped)
        if noted.signal is None:
            console.show_result(out, net, rows)
    console.show_facts(out, [("wrote", ", ".join(wrote))])
    if noted.signal is None:
        console.show_next_steps(out, net, job.output, job.data, job.test, job.names)
        return 0
    if folder is not None:
        console.show_facts(out, [("go on", f"xpnet resume {folder}")])
    return 128 + noted.signal


def go_on(folder: str, every: dict[str, Any], *, quiet: bool) -> int:
    """Go on with the run in *folder*; return the exit code."""
    job, epochs = _job_of(folder)
    rows, tests = job.load()
    checkpoint = Checkpoint(folder, **every, note=job.as_note())
    validation = None if tests is None else (tests.X, tests.y)

    def fit(callback: Any) -> Network:
        return resume(checkpoint, rows.X, rows.y, validation_data=validation, callback=callback)[0]

    return carry_out(job, folder, rows, tests, epochs, fit, quiet=quiet)


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
