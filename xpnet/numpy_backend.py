"""NumPy on the host, with threads that share a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import numpy as np
import threadpoolctl

from . import jit
from .arrays import is_on_host, is_sparse, on_host
from .device import Backend
from .errors import InputError
from .team import Team

__all__ = ["NumpyBackend"]

_SHARE = 15_000_000  # flops of a step that are worth a thread of their own


class NumpyBackend(Backend):
    """NumPy on the host, on at most so many *threads*; by default as many as BLAS would take."""

    name = "numpy"
    xp = np
    chunk = 2**16  # what fits the L2 cache

    def __init__(self, threads: int | None = None) -> None:
        self._threads = None if threads is None else _thread_count(threads)
        self._team, self._fast = Team(), jit.wanted()

    def __reduce__(self) -> tuple[Callable[..., Backend], tuple[Any, ...]]:
        return NumpyBackend, (self._threads,)

    @property
    def threads(self) -> int:
        """The number of threads."""
        return self._threads or _BLAS.threads

    @property
    def device_name(self) -> str:
        return f"NumPy {np.__version__} on the CPU"

    def libraries(self) -> dict[str, Any]:
        pools = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
        # SciPy may have brought a BLAS of its own.
        ours = next((p for p in pools if "numpy" in p["filepath"]), pools[0] if pools else {})
        words = [ours.get(word) for word in ("internal_api", "version", "architecture")]
        return {
            "instructions": _instructions(),
            "BLAS": " ".join(map(str, filter(None, words))),
            "BLAS threads": ours.get("num_threads"),
            "threads": self.threads,
        }

    def is_native(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, array: Any, dtype: str | None = None, name: str = "array") -> np.ndarray:
        with np.errstate(over="ignore"):  # what becomes infinite is found by who looks for it
            return np.asarray(on_host(array, name), dtype, order="C")

    def sparse(self, X: Any, dtype: str) -> Any:
        if not is_on_host(X):
            X = X.get()
        rows = X.tocsr().astype(dtype)
        rows.sum_duplicates()
        return rows

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def send(self, host: np.ndarray, out: np.ndarray) -> None:
        out[...] = host

    def gather(self, rows: np.ndarray, indices: np.ndarray, out: np.ndarray) -> None:
        if is_sparse(rows):
            rows[indices].toarray(out=out)
            return
        rows.take(indices, axis=0, out=out, mode="clip")  # the default mode buffers out

    def compiler(self) -> Callable[..., Callable[..., None]]:
        return jit.get_compiler(self._fast)

    def spent(self, seconds: float) -> bool:
        return self._fast is None and jit.spent(seconds)

    def memory(self) -> int | None:
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):  # not every system tells
            return None

    def synchronize(self) -> None:
        pass

    def workers(self, flops: int) -> int:
        return max(1, min(self.threads, flops // _SHARE)) if flops >= 2 * _SHARE else 1

    def splitting(self, workers: int) -> AbstractContextManager[object]:
        if workers == 1:
            return nullcontext()
        self._team.spread(workers)
        return _BLAS

    def run(self, tasks: Sequence[Callable[..., object]], *arguments: object) -> None:
        self._team.run(tasks, *arguments)


class _Blas:
    """The threads of NumPy's BLAS; in its context there is one.

    That holds for the whole process, so those inside are counted, and the last one out restores it.
    """

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._limits: Any = None
        self._threads = 1

    @property
    def threads(self) -> int:
        """How many there are when nobody is inside."""
        with self._lock:
            return self._threads if self._inside else self._count()

    @staticmethod
    def _count() -> int:
        pools = threadpoolctl.threadpool_info()
        return max((p["num_threads"] for p in pools if p["user_api"] == "blas"), default=1)

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._threads = self._count()
                self._limits = threadpoolctl.threadpool_limits(1, "blas")
            self._inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limits.restore_original_limits()


_BLAS = _Blas()


def _instructions() -> str:
    """Return the processor's extensions that NumPy uses: its functions round by them."""
    config: Any = np.show_config(mode="dicts")
    found: dict[str, list[str]] = config.get("SIMD Extensions", {})
    return " ".join([*found.get("baseline", []), *found.get("found", [])])


def _thread_count(threads: Any) -> int:
    most = 4 * (os.cpu_count() or 1)
    if not isinstance(threads, int) or not 0 < threads <= most:
        raise InputError(f"threads: expected an integer from 1 to {most}; got {threads!r}")
    return threads
