"""The common look of all pictures: colours, a title, thin spines, room around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "GRID",
    "INK",
    "PAD",
    "TITLE",
    "VERMILION",
    "new_figure",
    "own_axes",
    "style",
]

# Okabe and Ito's colours, told apart by colour-blind readers: jfly.uni-koeln.de/color
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, GREY, GRID = "#222222", "#666666", "#E4E4E4"

TITLE: dict[str, Any] = {"color": INK, "fontsize": 12, "fontweight": "bold"}

PAD = 0.12  # inches around what is drawn


def new_figure(width: float, height: float) -> Figure:
    """Return a new figure of that size in inches, or say how to get matplotlib."""
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise InputError(
            "plots: expected matplotlib to draw with; it is not installed; "
            "run: pip install 'xpnet[plot]'"
        ) from error
    fig = plt.figure(figsize=(width, height), layout="constrained")
    fig.get_layout_engine().set(w_pad=PAD, h_pad=PAD)  # type: ignore[call-arg, union-attr]
    return fig


def own_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return *ax*, or the axes of a new figure of *size* inches."""
    return new_figure(*size).subplots() if ax is None else ax


def style(ax: Axes, title: str, handles: Sequence[Artist] = ()) -> None:
    """Give *ax* the common look: a title, *handles* named in a row below it, two thin spines."""
    pad = 10.0
    if len(handles) > 1:
        pad = 26.0
        ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=len(handles),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
            borderpad=0.0,
            columnspacing=1.6,
            handletextpad=0.5,
        )
    ax.set_title(title, loc="left", pad=pad, **TITLE)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["bottom", "left"]].set_color(GREY)
    ax.tick_params(which="both", colors=GREY, length=3)
    ax.xaxis.label.set_color(GREY)
    ax.yaxis.label.set_color(GREY)
    ax.set_axisbelow(True)
