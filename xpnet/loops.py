"""From a formula's trace to the text of loops, for a compiler of loops.

The trace is cut at the functions that NumPy computes with vector instructions and such a compiler
without: exp, tanh and their kind.  What lies between becomes one loop over the elements; the
functions are called as ever, between the loops.  So the numbers are those of the plain expression,
bit by bit, but for the signs of zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .compiler import Symbol, Trace, text_of, trace_of
from .formulas import Formula

__all__ = ["Loop", "Plan", "plan"]

_ARITHMETIC = {
    "add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "divide": "{} / {}",
    "negative": "-{}", "abs": "abs({})", "sqrt": "sqrt({})", "sign": "sign({})",
    "bitwise_xor": "{} ^ {}", "bitwise_and": "{} & {}", "right_shift": "{} >> {}",
}  # fmt: skip
_TEXT = {name: f"T({text})" for name, text in _ARITHMETIC.items()} | {
    "greater": "{} > {}", "greater_equal": "{} >= {}", "less": "{} < {}", "less_equal": "{} <= {}",
    "logical_not": "not {}", "where": "{1} if {0} else {2}",
    "maximum": "{0} if {0} > {1} or {0} != {0} else {1}",  # NaN wins, as in NumPy
    "minimum": "{0} if {0} < {1} or {0} != {0} else {1}",
}  # fmt: skip


class _Trace(Trace):
    """A trace in which a choice stays one."""

    def where(self, condition: Symbol, a: Any, b: Any) -> Symbol:
        """See `Trace`."""
        return self.record("where", condition, a, b)


@dataclass(frozen=True)
class Loop:
    """One loop: the arrays that it reads, its *lines* for one element, and what goes where.

    The element of an array ``X`` is called ``X_`` in the lines.
    """

    reads: list[str]
    lines: list[str]
    writes: list[tuple[str, str]]
    scalars: list[str]

    @property
    def arrays(self) -> list[str]:
        """All arrays, in the order in which they are given."""
        return [*dict.fromkeys([*(name for name, _ in self.writes), *self.reads])]

    def source(self, index: dict[str, str]) -> str:
        """Return its text, where *index* says how each array is indexed: ``[i, j]``, ``[i, 0]``."""
        first = self.arrays[0]
        loads = [(f"{name}_ = {name}{index[name]}", index[name]) for name in self.reads]
        body = [load for load, at in loads if at in ("[i]", "[i, j]", "[0, j]")]
        body += [*self.lines, *(f"{name}{index[name]} = {value}" for name, value in self.writes)]
        fixed = [load for load, at in loads if load not in body]
        lines = [f"def loop({', '.join([*self.arrays, *self.scalars])}):"]
        lines += [f"    {name} = T({name})" for name in self.scalars]
        if index[first] == "[i]":
            lines += [f"    {load}" for load in fixed]
            lines += [f"    for i in range({first}.shape[0]):", *(f"        {b}" for b in body)]
        else:
            lines += [f"    for i in range({first}.shape[0]):", *(f"        {f}" for f in fixed)]
            lines += [f"        for j in range({first}.shape[1]):"]
            lines += [f"            {b}" for b in body]
        return "\n".join(lines)


Call = Loop | tuple[str, str, str]


@dataclass(frozen=True)
class Plan:
    """A formula as *calls* in order, each a loop or ``(ufunc, operand, output)``.

    *buffers* are the ufuncs' outputs; a loop may write their operands there before.
    """

    arrays: list[str]
    buffers: list[str]
    scalars: list[str]
    calls: list[Call]
    written: int  #: the place among the arrays of one that is written to

    @property
    def loops(self) -> list[Loop]:
        """The loops among the calls."""
        return [call for call in self.calls if isinstance(call, Loop)]

    @functools.cached_property
    def run(self) -> Callable[..., None]:
        """The calls as a function of the compiled loops, the arrays, the buffers, the scalars."""
        lines, names, scope = [], list[str](), dict[str, Any]()
        for call in self.calls:
            if isinstance(call, Loop):
                names.append(f"loop{len(names)}")
                lines.append(f"    {names[-1]}({', '.join([*call.arrays, *call.scalars])})")
            else:
                scope[call[0]] = getattr(np, call[0])
                lines.append(f"    {call[0]}({call[1]}, {call[2]})")
        parameters = [*names, *self.arrays, *self.buffers, *self.scalars]
        exec("\n".join([f"def run({', '.join(parameters)}):", *lines]), scope)
        run: Callable[..., None] = scope["run"]
        return run


class _Planner:
    """What is known of a formula while it is cut."""

    def __init__(self, formula: Formula) -> None:
        self.arrays, self.scalars, trace, results = trace_of(formula, _Trace)
        self.made = {symbol.text: (name, args) for name, args, symbol in trace.operations}
        self.writes = list(zip(formula.writes, results, strict=True))
        ufuncs = [text for text, (name, _) in self.made.items() if name not in _TEXT]
        self.buffers = {text: f"t{i}" for i, text in enumerate(ufuncs)}  # where ufuncs write

    def calls(self) -> list[Call]:
        """Return loops and ufuncs in turn: a ufunc as soon as its operand can be computed."""
        rounds: dict[str, int] = {}  # of ufuncs that a value has to wait for
        for text, (_, args) in self.made.items():
            rounds[text] = max(rounds.get(text_of(a), 0) for a in args) + (text in self.buffers)
        calls: list[Call] = []
        for k in range(1, 1 + max(rounds.values())):
            operands = {text: self.made[text][1][0] for text in self.buffers if rounds[text] == k}
            fresh = [
                (self.buffers[text], operand)
                for text, operand in operands.items()
                if operand.text not in self.buffers
            ]
            if fresh:
                calls.append(self.loop(fresh))
            for text, operand in operands.items():
                out = self.buffers[text]
                calls.append((self.made[text][0], self.buffers.get(operand.text, out), out))
        return [*calls, self.loop(self.writes)]

    def loop(self, writes: list[tuple[str, Symbol]]) -> Loop:
        """Return what computes these values and writes each to its array.

        Between loops only what ufuncs read and write is kept; the rest is computed anew.
        """
        needed: set[str] = set()
        waiting: list[Any] = [value for _, value in writes]
        while waiting:
            text = text_of(waiting.pop())
            if text not in needed:
                needed.add(text)
                waiting += self.made[text][1] if text in self.made.keys() - self.buffers else ()
        reads = [a for a in self.arrays if a in needed]
        reads += [buffer for text, buffer in self.buffers.items() if text in needed]
        lines = [
            f"{text} = {_TEXT[name].format(*map(self.element, args))}"
            for text, (name, args) in self.made.items()
            if text in needed and text not in self.buffers
        ]
        scalars = [s for s in self.scalars if s in needed]
        return Loop(reads, lines, [(name, self.element(v)) for name, v in writes], scalars)

    def element(self, operand: Any) -> str:
        """Return what stands for *operand* in the lines of a loop."""
        if not isinstance(operand, Symbol):
            return f"T({np.asarray(operand).item()!r})"
        if operand.text in self.buffers:
            return f"{self.buffers[operand.text]}_"
        return f"{operand.text}_" if operand.text in self.arrays else operand.text


@functools.lru_cache(maxsize=256)
def plan(formula: Formula) -> Plan | None:
    """Return *formula* as loops and ufuncs, or None if ufuncs alone are no more calls."""
    cut = _Planner(formula)
    if any(len(cut.made[text][1]) != 1 for text in cut.buffers):
        return None
    calls = cut.calls()
    if len(calls) >= len(cut.made):
        return None
    if len(calls) == 1:
        calls = [replace(cut.loop(cut.writes), scalars=cut.scalars)]  # it is called as it is
    written = cut.arrays.index(formula.writes[0])
    return Plan(cut.arrays, list(cut.buffers.values()), cut.scalars, calls, written)
