"""From a formula's text to a NumPy routine: traced once, free of temporaries, run over tiles.

The formula is called once with symbols instead of arrays, which record its operations.  Out of the
record comes the source of a straight-line function of ufunc calls, each writing into a scratch
buffer that is reused as soon as its value is dead, or straight into the result's place.  Run over
tiles that fit the cache, this is the plain expression's arithmetic, number for number, at a
fraction of its memory traffic.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .formulas import Formula

__all__ = [
    "TILE",
    "Compiler",
    "Symbol",
    "Trace",
    "generate",
    "piece",
    "run_all",
    "text_of",
    "tiles",
    "trace_of",
]

TILE = 32_768  #: elements a tile; a formula's operands and scratch together then fit the L2 cache

_WANT_FULL = {"maximum", "minimum"}  # NumPy's loops of these are slow against a single number
_MASKS = {"greater", "greater_equal", "less", "less_equal", "logical_not"}


class Symbol:
    """What a formula computes with while it is traced: an argument or an operation's result."""

    def __init__(self, trace: Trace, text: str, *, scalar: bool = False) -> None:
        self.trace, self.text, self.scalar = trace, text, scalar

    def __bool__(self) -> bool:
        raise TypeError("a formula must not branch on a value: write xp.where")


def _operator(name: str, *, reflected: bool = False) -> Callable[..., Symbol]:
    def operate(self: Symbol, *others: Any) -> Symbol:
        operands = (*others, self) if reflected else (self, *others)
        return self.trace.record(name, *operands)

    return operate


for _name, _method in (
    ("add", "add"), ("subtract", "sub"), ("multiply", "mul"), ("divide", "truediv"),
):  # fmt: skip
    setattr(Symbol, f"__{_method}__", _operator(_name))
    setattr(Symbol, f"__r{_method}__", _operator(_name, reflected=True))
for _name, _method in (
    ("negative", "neg"), ("greater", "gt"), ("greater_equal", "ge"), ("less", "lt"),
    ("less_equal", "le"), ("bitwise_xor", "xor"), ("bitwise_and", "and"),
    ("right_shift", "rshift"),
):  # fmt: skip
    setattr(Symbol, f"__{_method}__", _operator(_name))


class Trace:
    """The operations of one formula, in order; stands in for ``xp`` while they are recorded."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, tuple[Any, ...], Symbol]] = []
        self._known: dict[tuple[str, ...], Symbol] = {}

    def record(self, name: str, *operands: Any) -> Symbol:
        """Write down an operation; return its result, the known one if it was there before."""
        if all(not isinstance(o, Symbol) or o.scalar for o in operands):
            raise TypeError(f"{name} of scalars alone: compute it before the formula is called")
        key = (name, *map(text_of, operands))
        if key not in self._known:  # a common subexpression is computed once
            self._known[key] = Symbol(self, f"r{len(self.operations)}")
            self.operations.append((name, operands, self._known[key]))
        return self._known[key]

    def where(self, condition: Symbol, a: Any, b: Any) -> Symbol:
        """Return *a* where the condition holds and *b* elsewhere."""
        # A masked copy costs NumPy a mispredicted branch an element; a product does not.
        chosen = self.record("multiply", a, condition)
        if isinstance(b, float) and b == 0.0:
            return chosen
        other = self.record("multiply", b, self.record("logical_not", condition))
        return self.record("add", chosen, other)

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        return lambda *operands: self.record(name, *operands)


def text_of(operand: Any) -> str:
    """Return what stands for *operand* in the code."""
    return operand.text if isinstance(operand, Symbol) else repr(operand)


def trace_of(
    formula: Formula, kind: type[Trace] = Trace
) -> tuple[list[str], list[str], Trace, tuple[Symbol, ...]]:
    """Return the names of the formula's arrays and scalars, its trace and its results."""
    trace = kind()
    parameters = list(inspect.signature(formula.function).parameters.values())[1:]
    scalars = [p.name for p in parameters if p.annotation in (float, "float")]
    arrays = [p.name for p in parameters if p.name not in scalars]
    symbols = [Symbol(trace, p.name, scalar=p.name in scalars) for p in parameters]
    results = formula(trace, *symbols)
    results = results if isinstance(results, tuple) else (results,)
    computed = {symbol.text for _, _, symbol in trace.operations}
    if len({r.text for r in results} & computed) < len(results):
        raise TypeError("a formula must compute each result by itself: write x * 1.0 for an old x")
    return arrays, scalars, trace, results


class _Registers:
    """Scratch buffers by name, handed out and taken back while code is generated."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.count, self.free = prefix, 0, list[str]()

    @property
    def names(self) -> list[str]:
        return [f"{self.prefix}{i}" for i in range(self.count)]

    def take(self) -> str:
        if self.free:
            return self.free.pop()
        self.count += 1
        return self.names[-1]


@dataclass(frozen=True)
class Code:
    """A formula as NumPy: ``run(*arrays, *scratch, *masks, *constants, *cells, *scalars)``.

    `source` is its text; `written` is the place among the arrays of one that is written to;
    `constants` are values, each with whether it wants an array of the full shape; `cells` hold the
    scalars, each in an array of no dimension.
    """

    source: str
    run: Callable[..., None]
    written: int
    scratch: int
    masks: int
    constants: tuple[tuple[float, bool], ...]
    cells: int


@functools.lru_cache(maxsize=256)
def generate(formula: Formula) -> Code:
    """Trace *formula* and return its code.

    A result goes straight to its place if nothing reads the place's old value later.
    """
    arrays, scalars, trace, results = trace_of(formula)
    last_read = {
        text_of(operand): step
        for step, (_, operands, _) in enumerate(trace.operations)
        for operand in operands
    }
    target = {result.text: name for result, name in zip(results, formula.writes, strict=True)}
    scratch, masks = _Registers("t"), _Registers("mask")
    constants: dict[tuple[float, bool], str] = {}
    place: dict[str, str] = {}  # where each operation's result lies
    lines, late = [], []
    for step, (name, operands, result) in enumerate(trace.operations):
        sources = []
        for operand in operands:
            if not isinstance(operand, Symbol):
                key = operand, name in _WANT_FULL
                sources.append(constants.setdefault(key, f"c{len(constants)}"))
            else:
                text = f"{operand.text}_cell" if operand.scalar else operand.text
                sources.append(place.get(text, text))
        for operand in sorted({o.text for o in operands if isinstance(o, Symbol)} & place.keys()):
            if last_read[operand] == step and operand not in target:
                (masks if place[operand].startswith("mask") else scratch).free.append(
                    place[operand]
                )
        goal = target.get(result.text)
        if goal is not None and last_read.get(goal, -1) <= step:
            place[result.text] = goal
        else:
            place[result.text] = (masks if name in _MASKS else scratch).take()
            if goal is not None:
                late.append(f"    copyto({goal}, {place[result.text]})")
        out = "out=" if name in _WANT_FULL else ""  # by place is faster; NumPy forbids it for these
        lines.append(f"    {name}({', '.join(sources)}, {out}{place[result.text]})")
    # A ufunc reads an array of no dimension in half the time that it takes to convert a float.
    cells = [f"{name}_cell" for name in scalars]
    filled = [f"    {cell}[()] = {name}" for cell, name in zip(cells, scalars, strict=True)]
    parameters = [
        *arrays, *scratch.names, *masks.names, *constants.values(), *cells, *scalars,
    ]  # fmt: skip
    source = "\n".join([f"def run({', '.join(parameters)}):", *filled, *lines, *late])
    scope: dict[str, Any] = {}
    exec(source, vars(np) | {"abs": np.abs}, scope)
    written = arrays.index(formula.writes[0])
    return Code(
        source, scope["run"], written, scratch.count, masks.count, tuple(constants), len(cells)
    )


class Compiler:
    """Binds formulas to arrays: ``compiler(formula, *arrays)`` returns ``routine(*scalars)``.

    All that a call needs is made when it is bound: tiles as views, constants in the arrays' dtype,
    scratch.  The routines of one compiler share scratch, so that it stays in the cache; two of them
    must not run at the same time.

    Arrays are 1-D of one length, or 2-D of shape ``(n, m)``, ``(n, 1)``, ``(1, m)`` or ``(1, 1)``;
    those written to have the full shape.  What is between is computed in the first one's dtype.
    """

    def __init__(self, tile: int = TILE) -> None:
        self._tile = tile
        self._shared: dict[np.dtype[Any], list[np.ndarray]] = {}
        self._constants: dict[tuple[np.dtype[Any], float], np.ndarray] = {}

    def __call__(self, formula: Formula, *arrays: np.ndarray) -> Callable[..., None]:
        """Return the routine that writes the formula's new values into the *arrays* it names."""
        code = generate(formula)
        dtype, written = arrays[0].dtype, arrays[code.written]
        cells = [np.empty((), dtype) for _ in range(code.cells)]
        parts = []
        for tile in tiles(written.shape, self._tile):
            pieces = [piece(array, tile) for array in arrays]
            shape = pieces[code.written].shape
            scratch = self._scratch(dtype, code.scratch, shape)
            masks = self._scratch(np.dtype(bool), code.masks, shape)
            constants = [self._constant(dtype, shape, *c) for c in code.constants]
            parts.append(functools.partial(code.run, *pieces, *scratch, *masks, *constants, *cells))
        return parts[0] if len(parts) == 1 else functools.partial(run_all, parts)

    def _scratch(
        self, dtype: np.dtype[Any], count: int, shape: tuple[int, ...]
    ) -> list[np.ndarray]:
        size, shared = math.prod(shape), self._shared.setdefault(dtype, [])
        for k in range(count):
            if k == len(shared) or shared[k].size < size:
                shared[k : k + 1] = [np.empty(size, dtype)]
        return [flat[:size].reshape(shape) for flat in shared[:count]]

    def _constant(
        self, dtype: np.dtype[Any], shape: tuple[int, ...], value: float, full: bool
    ) -> np.ndarray:
        if not full:
            return np.array(value, dtype)
        size = math.prod(shape)
        known = self._constants.get((dtype, value))
        if known is None or known.size < size:
            known = self._constants[dtype, value] = np.full(size, value, dtype)
        return known[:size].reshape(shape)


def run_all(parts: Sequence[Callable[..., None]], *scalars: float) -> None:
    """Call all *parts* in turn."""
    for part in parts:
        part(*scalars)


def tiles(shape: tuple[int, ...], tile: int) -> Iterator[tuple[slice, ...]]:
    """Cut *shape* into blocks of whole rows of at most *tile* elements, or into parts of rows."""
    if math.prod(shape) <= tile:
        yield (slice(None),) * len(shape)
        return
    width = shape[-1]
    columns = range(0, width, min(width, tile))
    if len(shape) == 1:
        yield from ((slice(c, c + tile),) for c in columns)
        return
    rows = max(1, tile // width)
    for r in range(0, shape[0], rows):
        for c in columns:
            yield slice(r, r + rows), slice(c, c + tile)


def piece(array: np.ndarray, tile: tuple[slice, ...]) -> np.ndarray:
    """Return the part of *array* that *tile* covers; an axis of length one is broadcast."""
    full = slice(None)
    return array[tuple(full if n == 1 else s for n, s in zip(array.shape, tile, strict=True))]
