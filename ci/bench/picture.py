"""What was measured, as a picture: ratios on the left, what the arithmetic reaches on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from report import FLOORS, columns, machine, met, plural

_COLOURS = {  # Okabe & Ito 2008: told apart by nearly everyone
    "xpnet": "black",
    "xpnet fast": "#009E73",
    "scikit-learn": "#E69F00",
    "PyTorch": "#D55E00",
    "PyTorch compiled": "#CC79A7",
    "PyTorch graph": "#CC79A7",
    "JAX step": "#56B4E9",
    "JAX loop": "#0072B2",
    "textbook": "#999999",
}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the float32 cells, a row of panels for each number of threads."""
    counts = sorted({cell["threads"] for cell in result["steps"]})
    names = [name for name in columns(result) if name not in FLOORS]
    if any("xpnet fast" in cell["peers"] for cell in result["steps"]):
        names.insert(0, "xpnet fast")
    figure, axes = plt.subplots(
        len(counts),
        2,
        figsize=(13, 1.8 + 4.2 * len(counts)),
        squeeze=False,
        width_ratios=(3, 2),
        sharex="col",
        layout="constrained",
    )
    for (left, right), threads in zip(axes, counts, strict=True):
        cells = [c for c in result["steps"] if (c["threads"], c["dtype"]) == (threads, "float32")]
        _ratios(left, cells, names)
        _rates(right, cells)
        left.set_title(f"{plural(threads, 'thread')}: a peer's time / xpnet's", loc="left")
        right.set_title("GFLOP/s in the matrix products", loc="left")
    _scale(axes[:, 0], [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200])
    _scale(axes[:, 1], [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4])
    axes[-1, 0].set_xlabel("←  faster than xpnet        slower than xpnet  →")
    legends = [panel.get_legend_handles_labels() for panel in axes[0]]
    drawn = {
        text: mark for marks, texts in legends for mark, text in zip(marks, texts, strict=True)
    }
    figure.legend(drawn.values(), drawn, loc="outside lower center", ncols=5, frameon=False)
    title = f"Time of a training step, float32 · {machine(result)} · {result['date'][:10]}"
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _ratios(axes: Any, cells: list[dict[str, Any]], names: list[str]) -> None:
    for i, name in enumerate(names):
        colour, offset = _COLOURS[name], (i - (len(names) - 1) / 2) * 0.8 / len(names)
        there = [(y + offset, cell) for y, cell in enumerate(cells) if name in cell["peers"]]
        label = name if there else f"{name}: no figures"
        medians = [cell["peers"][name]["ratio"]["median"] for _, cell in there]
        axes.plot(medians, [y for y, _ in there], "o", color=colour, markersize=6, label=label)
        for y, cell in there:
            ratio, (_, target, _) = cell["peers"][name]["ratio"], met(cell, name)
            axes.plot([ratio["q1"], ratio["q3"]], [y, y], color=colour, linewidth=1.5)
            if target is not None:
                axes.plot(target, y, "|", color=colour, markersize=10, markeredgewidth=2)
    if any(met(cell, name)[1] for name in names for cell in cells if name in cell["peers"]):
        axes.plot([], [], "|", color="0.4", markersize=10, markeredgewidth=2, label="its target")
    axes.plot([], [], "-", color="0.4", linewidth=1.5, label="half of the rounds")
    axes.axvline(1, color="black", linewidth=1)
    _rows(axes, cells)


def _rates(axes: Any, cells: list[dict[str, Any]]) -> None:
    def rate(cell: dict[str, Any], name: str) -> float:
        return cell["gflop"] / cell["peers"][name]["seconds"]["median"]

    marks = {
        "bare products": "|",
        "best products": "D",
        "PyTorch": "o",
        "JAX loop": "o",
        "xpnet": "o",
    }
    for y, cell in enumerate(cells):
        ends = [rate(cell, name) for name in ("xpnet", "bare products")]
        axes.plot(ends, [y, y], color="0.7", linewidth=5, solid_capstyle="butt")
    for name, mark in marks.items():
        there = [y for y, cell in enumerate(cells) if name in cell["peers"]]
        size = {"|": 22, "D": 5, "o": 8 if name == "xpnet" else 6}[mark]
        axes.plot(
            [rate(cells[y], name) for y in there],
            there,
            mark,
            color=_COLOURS.get(name, "0.3"),
            markersize=size,
            markeredgewidth=3 if mark == "|" else 1,
            label=name,
        )
    _rows(axes, cells)


def _rows(axes: Any, cells: list[dict[str, Any]]) -> None:
    axes.set_yticks(range(len(cells)), [cell["workload"] for cell in cells])
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.grid(axis="x", color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    for y in range(1, len(cells)):
        axes.axhline(y - 0.5, color="0.85", linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _scale(panels: Any, ticks: list[float]) -> None:
    """Give *panels*, which share their axis, a logarithmic one with those of *ticks* that fit."""
    for panel in panels:
        panel.set_xscale("log")
    low, high = panels[0].get_xlim()
    shown = [tick for tick in ticks if low < tick < high]
    shown = shown[:: 1 + len(shown) // 12]
    panels[0].set_xticks(shown, [f"{tick:g}" for tick in shown])
    panels[0].minorticks_off()
    for panel in panels:
        panel.minorticks_off()
