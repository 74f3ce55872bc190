"""Formulas compiled by Numba, where it is installed: the same numbers in fewer, longer calls.

Compiling takes about a second for a network.  A process begins it when it has trained for so long
that this is a small part, and goes on as that part allows.  As loops change no number, a run can
change over to them between two epochs.  The environment variable ``XPNET_FAST`` overrules this: 1
compiles at once, 0 never.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
import os
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from .compiler import TILE, Compiler, piece, run_all, tiles
from .errors import unknown
from .formulas import Formula
from .loops import Plan, plan

__all__ = ["LoopCompiler", "get_compiler", "spent", "state", "wanted"]

_log = logging.getLogger("xpnet")


class LoopCompiler(Compiler):
    """A `Compiler` whose routines are loops, where that saves calls.

    With *compiles* it makes those that it needs; else it takes those that the process has.
    """

    def __init__(self, tile: int = TILE, *, compiles: bool) -> None:
        super().__init__(tile)
        self._compiles = compiles

    def __call__(self, formula: Formula, *arrays: np.ndarray) -> Callable[..., None]:
        """See `Compiler`."""
        found = plan(formula)
        routine = None if found is None else self._routine(found, arrays)
        return super().__call__(formula, *arrays) if routine is None else routine

    def _routine(self, plan: Plan, arrays: tuple[np.ndarray, ...]) -> Callable[..., None] | None:
        dtype, written = arrays[0].dtype, arrays[plan.written]
        parts = []
        for tile in tiles(written.shape, self._tile if plan.buffers else written.size):
            pieces = [piece(array, tile) for array in arrays]
            shape = pieces[plan.written].shape
            pieces += self._scratch(dtype, len(plan.buffers), shape)
            part = self._part(plan, dtype, shape, pieces)
            if part is None:
                return None
            parts.append(part)
        return parts[0] if len(parts) == 1 else functools.partial(run_all, parts)

    def _part(
        self, plan: Plan, dtype: np.dtype[Any], shape: tuple[int, ...], pieces: list[np.ndarray]
    ) -> Callable[..., None] | None:
        if all(a.size == 1 or (a.shape == shape and a.flags.c_contiguous) for a in pieces):
            pieces, shape = [a.reshape(-1) for a in pieces], (math.prod(shape),)
        given = dict(zip([*plan.arrays, *plan.buffers], pieces, strict=True))
        index = {name: _index(array.shape, shape) for name, array in given.items()}
        loops = []
        for loop in plan.loops:
            operands = [given[name] for name in loop.arrays]
            compiled = _process.loop(
                loop.source(index), dtype, operands, len(loop.scalars), compiles=self._compiles
            )
            if compiled is None:
                return None
            if len(plan.calls) == 1:
                return functools.partial(compiled, *operands)
            loops.append(compiled)
        return functools.partial(plan.run, *loops, *pieces)


def _index(shape: tuple[int, ...], full: tuple[int, ...]) -> str:
    """Return how an element of an array of that *shape* is named in a loop over the *full* one."""
    if shape == full:
        return f"[{', '.join('ij'[: len(full)])}]"
    places = ("0" if n == 1 else name for n, name in zip(shape, "ij", strict=False))
    return f"[{', '.join(places)}]"


# --- what this process has compiled, and whether it may go on ------------------------------------

_SHARE = 0.05  # of the time spent in training, what compiling may add
_ONCE = 1.0  # seconds that a network's loops take to compile, with the import of Numba


class _Process:
    """The loops of this process, and the seconds that it has spent on them and in training."""

    def __init__(self) -> None:
        self.loops: dict[Any, Callable[..., None]] = {}
        self.compiling = self.training = 0.0
        self.may_compile = self.broken = False

    def loop(
        self,
        source: str,
        dtype: np.dtype[Any],
        arrays: list[np.ndarray],
        scalars: int,
        *,
        compiles: bool,
    ) -> Callable[..., None] | None:
        """Return the loop of that *source* for such *arrays*, if there is one or it may be made."""
        kinds = ((a.dtype.str, a.flags.c_contiguous, a.flags.writeable) for a in arrays)
        key = (source, dtype.str, *kinds)
        if key not in self.loops and compiles and not self.broken:
            start = time.perf_counter()
            try:
                self.loops[key] = _compile(source, dtype, arrays, scalars)
            except Exception as error:  # of what Numba raises, nothing is worth a failed training
                self.broken = True
                _log.warning("Numba is installed but does not work, NumPy goes on alone: %r", error)
            self.compiling += time.perf_counter() - start
        return self.loops.get(key)

    def spent(self, seconds: float) -> bool:
        """Count *seconds* of training; tell whether they have just made compiling affordable."""
        self.training += seconds
        before = self.may_compile
        self.may_compile = self.compiling + _ONCE <= _SHARE * self.training
        return self.may_compile and not before and _installed()


_process = _Process()


def spent(seconds: float) -> bool:
    """Count *seconds* of training; tell whether routines bound anew would now be faster."""
    return _process.spent(seconds)


def _compile(
    source: str, dtype: np.dtype[Any], arrays: list[np.ndarray], scalars: int
) -> Callable[..., None]:
    import numba

    names = {"T": dtype.type, "sqrt": np.sqrt, "sign": np.sign, "inf": math.inf, "nan": math.nan}
    scope: dict[str, Any] = {}
    exec(source, names, scope)
    loop = numba.njit(nogil=True, error_model="numpy")(scope["loop"])
    loop.compile((*map(numba.typeof, arrays), *[numba.float64] * scalars))
    loop.disable_compile()
    compiled: Callable[..., None] = loop
    return compiled


def wanted() -> bool | None:
    """Return whether the environment asks for loops at once or for none; None if it is silent.

    Raises
    ------
    InputError
        If ``XPNET_FAST`` is neither 0 nor 1.
    """
    value = os.environ.get("XPNET_FAST", "").strip()
    if value not in ("", "0", "1"):
        raise unknown("XPNET_FAST", value, ["0", "1"])
    return bool(int(value)) if value else None


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def get_compiler(wanted: bool | None) -> Compiler:
    """Return the compiler that is *wanted*, or that this process can afford by now."""
    if wanted is False or not _installed():
        return Compiler()
    return LoopCompiler(compiles=wanted or _process.may_compile)


def state() -> str:
    """Say whether formulas become loops here."""
    if not _installed():
        return "not installed: pip install 'xpnet[fast]' makes long trainings of small nets faster"
    words = {
        None: f"compiles formulas after {_ONCE / _SHARE:.0f} s of training",
        True: "compiles formulas at once: XPNET_FAST is 1",
        False: "not used: XPNET_FAST is 0",
    }
    return f"{metadata.version('numba')} · {words[wanted()]}"
