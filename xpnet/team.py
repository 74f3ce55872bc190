"""Threads that work side by side on one step.

BLAS and elementwise loops let go of Python's lock, so threads that each have columns of their own
scale products and elementwise work alike; what they find is added up in a fixed order, so no bit
depends on which is done first.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

__all__ = ["Team"]

Task = Callable[..., object]


class Team:
    """A few idle threads beside the caller's, which does the first of the tasks itself.

    Queues between two threads cost a step about a tenth of what a pool of futures does.
    """

    def __init__(self) -> None:
        self._queues: list[SimpleQueue[Any]] = []
        self._growing = Lock()
        self._process = os.getpid()

    def run(self, tasks: Sequence[Task], *arguments: object) -> None:
        """Call all *tasks* at once; return when the last is done, or raise what one raised."""
        if len(tasks) == 1:
            tasks[0](*arguments)
            return
        if self._process != os.getpid():  # threads do not survive a fork
            self.__init__()  # type: ignore[misc]
        self._grow(len(tasks) - 1)
        done: SimpleQueue[BaseException | None] = SimpleQueue()
        for queue, task in zip(self._queues, tasks[1:], strict=False):
            queue.put((task, arguments, done))
        try:
            tasks[0](*arguments)
        finally:
            errors = [done.get() for _ in tasks[1:]]
        for error in errors:
            if error is not None:
                raise error

    def _grow(self, n: int) -> None:
        with self._growing:  # several threads may share a backend
            while len(self._queues) < n:
                queue: SimpleQueue[Any] = SimpleQueue()
                Thread(target=_work, args=(queue,), daemon=True).start()
                self._queues.append(queue)

    def spread(self, n: int) -> None:
        """Send *n* workers to cores of their own; Linux would let them crowd for 50 ms first."""
        self.run([partial(_move, place) for place in range(n)])

    def __del__(self) -> None:
        for queue in self._queues:
            queue.put(None)


def _move(place: int) -> None:
    """Go to another core than workers of other places, and be free again."""
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)  # this thread's
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {sorted(cores)[place % len(cores)]})
            os.sched_setaffinity(0, cores)


def _work(queue: SimpleQueue[Any]) -> None:
    np.seterr(over="ignore", invalid="ignore")  # a thread's own setting; training looks for both
    while (job := queue.get()) is not None:
        task, arguments, done = job
        try:
            task(*arguments)
        except BaseException as error:
            done.put(error)
        else:
            done.put(None)
