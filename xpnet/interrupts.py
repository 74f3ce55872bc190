"""Signals that ask a run to stop: noted at once, acted on where nothing is lost by it.

The first SIGINT (Ctrl-C), SIGTERM or SIGHUP is only noted, and the handlers from before are put
back, so that a second one stops at once.  Python runs handlers in the main thread alone, so only
there is anything noted; and a signal that is ignored, as under ``nohup``, stays ignored.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Noted", "noting", "noting_now"]

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Noted:
    """What was noted: `signal` is the number of the signal that came, or None."""

    def __init__(self, say: Callable[[int], object] | None = None) -> None:
        self.signal: int | None = None
        self._say = say
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Note signals from now on."""
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):
                self._before[number] = handler
                signal.signal(number, self._note)

    def restore(self) -> None:
        """Put back the handlers from before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, _: object) -> None:
        self.restore()
        self.signal = number
        if self._say is not None:
            self._say(number)


_now: list[Noted] = []  # the one that is installed


@contextmanager
def noting(say: Callable[[int], object] | None = None, *, keep: bool = False) -> Iterator[Noted]:
    """Note signals in here; inside another such context, they are that one's.

    Parameters
    ----------
    say : callable, optional
        Called with the signal's number by its handler, so it must not print through a stream.
    keep : bool
        Whether the caller acts on the signal itself.  Otherwise it is passed on at the end to the
        handler from before, which by default ends the process or raises `KeyboardInterrupt`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Noted()
        return
    if _now:
        yield _now[0]
        return
    noted = Noted(say)
    _now.append(noted)
    try:
        noted.install()
        yield noted
    finally:
        _now.clear()
        noted.restore()
        if noted.signal is not None and not keep:
            signal.raise_signal(noted.signal)


def noting_now() -> bool:
    """Tell whether a caller of this thread notes signals."""
    return bool(_now) and threading.current_thread() is threading.main_thread()
