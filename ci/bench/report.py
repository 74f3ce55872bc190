"""What was measured, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from measure import PEERS
from workloads import TARGETS

FLOORS = ("bare products", "best products")  # shown as our time / theirs
_HEADS = {"bare products": "ours/bare", "best products": "ours/best"}
_AGREE = 0.02  # how far the first epoch's decrease of the loss may differ from ours
_QUIET = 0.5  # the load before the first run, in cores


def text(result: dict[str, Any]) -> str:
    """Return the tables."""
    return "\n".join(_lines(result))


def met(cell: dict[str, Any], peer: str, ours: str = "xpnet") -> tuple[float, float | None, bool]:
    """Return the ratio that the table shows, its target, and whether it is met or there is none."""
    ratio = cell["peers"][peer]["ratio"]["median"] / cell["peers"][ours]["ratio"]["median"]
    aimed = cell["dtype"] == "float32" and cell.get("backend", "numpy") == "numpy"
    target = TARGETS[ours][cell["workload"]].get(peer) if aimed else None
    if peer in FLOORS:
        return 1 / ratio, target, target is None or 1 / ratio <= target
    return ratio, target, target is None or ratio >= target


def columns(result: dict[str, Any]) -> list[str]:
    """Return the competitors that this run knows, there or missing, in order."""
    known = {name for cell in result["steps"] for name in (*cell["peers"], *cell["missing"])}
    return [name for name in PEERS if name in known and name not in TARGETS]


def plural(n: int, noun: str) -> str:
    """Return "1 thread", "2 threads"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def machine(result: dict[str, Any]) -> str:
    """Return what computed: the processor, or the device beside it."""
    on_gpu = result["backend"] == "cupy"
    return f"{result['device']}, {result['processor']}" if on_gpu else str(result["processor"])


def _lines(result: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield f"{machine(result)}, {plural(result['cores'], 'core')}; {versions}"
    yield from sorted({_library(library) for library in result["libraries"]})
    if (result["load"] or 0.0) > _QUIET:
        yield f"The machine was busy, load {result['load']:.1f}: do not trust these figures."
    names = columns(result)
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for cell in result["steps"]:
        groups.setdefault((cell["threads"], cell["dtype"]), []).append(cell)
    for (threads, dtype), cells in groups.items():
        yield f"\nA step, {plural(threads, 'thread')}, {dtype}: peer's time / ours"
        yield from _grid(
            [["", "ours", *(_HEADS.get(n, n) for n in names)]]
            + [_row(c, names, ours) for c in cells for ours in TARGETS if ours in c["peers"]]
        )
    yield from sorted(
        {f"{n}: no figures, {why}" for c in result["steps"] for n, why in c["missing"].items()}
    )
    yield from _disagreements(result)
    yield from _others(result)


def _library(library: dict[str, Any]) -> str:
    words = (library["internal_api"], library["version"], library.get("architecture"))
    return " ".join(str(word) for word in words if word)


def _row(cell: dict[str, Any], names: list[str], ours: str) -> list[str]:
    title = cell["workload"] + ours.removeprefix("xpnet")
    row = [title, duration(cell["peers"][ours]["seconds"]["median"])]
    for name in names:
        if name not in cell["peers"]:
            row.append("–")
            continue
        ratio, target, good = met(cell, name, ours)
        row.append(f"{ratio:.3g}" + (f"/{target:g}" if target else "") + ("" if good else " ✗"))
    return row


def _disagreements(result: dict[str, Any]) -> Iterator[str]:
    for cell in result["steps"]:
        learnt = cell["loss_decrease_of_first_epoch"]
        far = [n for n, d in learnt.items() if abs(d / learnt["xpnet"] - 1) > _AGREE]
        if far:
            yield f"NOT THE SAME MATHEMATICS in {cell['workload']}, {cell['dtype']}: {far}"


def _others(result: dict[str, Any]) -> Iterator[str]:
    for title, kind in (("A whole fit", "fit"), ("predict_proba", "predict")):
        for seen in result[kind]:
            cases = {k: peers for k, peers in seen.items() if k not in ("threads", "missing")}
            names = list(next(iter(cases.values())))
            yield f"\n{title}, {plural(seen['threads'], 'thread')}: ours, and peer's time / ours"
            yield from _grid(
                [["", "ours", *names[1:]]]
                + [
                    [case, duration(peers["xpnet"]["seconds"]["median"])]
                    + [f"{peers[name]['ratio']['median']:.3g}" for name in names[1:]]
                    for case, peers in cases.items()
                ]
            )
            yield from (
                f"{name}: no figures, {why}" for name, why in seen.get("missing", {}).items()
            )
    if result["memory"]:
        yield "\nPeak memory while training physics, MB: in all, and what the training added"
        memory = result["memory"].items()
        yield from _grid([[name, f"{v['peak']:.0f}", f"{v['added']:.1f}"] for name, v in memory])
    if result["import"]:
        yield "\nImport, beyond a bare start of Python"
        yield from _grid([[name, duration(s)] for name, s in result["import"].items()])


def duration(seconds: float) -> str:
    """Return *seconds* in a unit that suits."""
    unit, factor = ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1)
    return f"{seconds * factor:.3g} {unit}"


def _grid(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])
