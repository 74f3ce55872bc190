"""Instants at which a command gets signals: a line of Python in a call of one of its phases."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runs

from xpnet import checkpoint, cli, jobs, loop, run

#: What is called in each phase: a step, the losses after an epoch, a file to write, the picture.
PHASES: dict[str, tuple[Any, str]] = {
    "a batch": (run.Run, "step"),
    "evaluation": (loop.Loop, "_look"),
    "saving": (checkpoint, "write_file"),
    "plotting": (jobs, "draw_run"),
}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def command(words: list[str], prepare: Callable[[], object] = lambda: None) -> int:
    """Start `xpnet` in a process that heeds signals, after *prepare*; return its number."""

    def work() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has had ignored
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        prepare()
        cli.main(words, prog_name="xpnet")

    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the process is itself
    try:
        return runs.fork(work)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def lines_of_calls(words: list[str]) -> dict[str, list[int]]:
    """Return how many lines of Python a command runs in each call of each phase."""
    lines: dict[str, list[int]] = {phase: [] for phase in PHASES}

    def count_calls() -> None:
        for phase in PHASES:
            count(phase)

    def count(phase: str) -> None:
        owner, name = PHASES[phase]
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            lines[phase].append(0)
            sys.settrace(trace)
            try:
                return original(*args, **options)
            finally:
                sys.settrace(None)
                Path("lines.json").write_text(json.dumps(lines), encoding="utf-8")

        def trace(_: object, event: str, __: object) -> Any:
            lines[phase][-1] += event == "line"
            return trace

        setattr(owner, name, counted)

    runs.exit_code(command(words, count_calls))
    found: dict[str, list[int]] = json.loads(Path("lines.json").read_text(encoding="utf-8"))
    Path("lines.json").unlink()
    return found


class Instant:
    """Where in a phase a process sends itself a signal, and after how many lines once more.

    Parameters
    ----------
    phase : str
    number : int
        The signal.
    calls : list of int
        How many lines each call of the phase has; one is chosen by *chance*.
    twice : bool
    chance : random.Random
    """

    def __init__(
        self, phase: str, number: int, calls: list[int], twice: bool, chance: random.Random
    ) -> None:
        self.phase, self.number = phase, number
        self.call = chance.randrange(len(calls))
        line = chance.randint(1, calls[self.call])
        self.due = [line, line + int(10 ** chance.uniform(0, 4))][: 1 + twice]
        self.lines = 0
        self.told, self._tell = os.pipe()

    def await_it(self) -> None:
        """Send the signals when it is time; this is called in the process that is to get them."""
        owner, name = PHASES[self.phase]
        original = getattr(owner, name)

        def waiting(*args: Any, **options: Any) -> Any:
            self.call -= 1
            if self.call != -1:
                return original(*args, **options)
            due = len(self.due)
            sys.settrace(self._trace)
            try:
                return original(*args, **options)
            finally:
                if len(self.due) == due:  # this time it has fewer lines
                    self._send()

        setattr(owner, name, waiting)

    def _trace(self, _: object, event: str, __: object) -> Any:
        self.lines += event == "line"
        if self.due and self.lines >= self.due[0]:
            self._send()
        return self._trace

    def _send(self) -> None:
        os.write(self._tell, b"!")
        del self.due[0]
        if not self.due:
            sys.settrace(None)
        signal.raise_signal(self.number)

    def sent(self) -> int:
        """Return how many signals were sent, once the process has ended."""
        os.close(self._tell)
        with os.fdopen(self.told, "rb") as told:
            return len(told.read())
