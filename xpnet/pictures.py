"""The pictures that the command writes to files."""

from __future__ import annotations

import io
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING

from .compare import Comparison
from .data import Dataset
from .errors import InputError
from .files import write_file
from .network import Network
from .plots import decision_boundary, learning_curve, misclassified
from .training import history_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_picture", "draw_comparison", "draw_run"]


def check_picture(path: str | None, default: str) -> str | None:
    """Return where to draw: *path*, or the *default*, or None if matplotlib is then missing.

    Raises
    ------
    InputError
        If *path* was asked for without matplotlib, or matplotlib does not know its ending.
    """
    if util.find_spec("matplotlib") is None:
        if path is None:
            return None
        raise InputError(f"{path}: drawing it needs matplotlib; run: pip install 'xpnet[plot]'")
    from matplotlib.backend_bases import FigureCanvasBase

    path = default if path is None else path
    known = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix[1:].lower() not in known:
        raise InputError(f"{path}: expected a picture's ending, one of {', '.join(sorted(known))}")
    return path


def draw_run(net: Network, rows: Dataset, path: str, watched: str | None) -> None:
    """Draw the learning curve, and beside it the boundary on 2-D *rows* or the missed pictures."""
    from matplotlib.figure import Figure

    pictures = rows.picture_shape is not None
    beside = pictures or rows.X.shape[1] == 2
    fig = Figure(figsize=(13.0 if beside else 6.5, 5.0), layout="constrained")
    left, *right = fig.subfigures(1, 1 + beside, squeeze=False)[0]
    learning_curve(history_of(net), left.subplots(), watched=watched or "validation")
    if pictures:
        misclassified(net, rows.X, rows.y, columns=3, limit=6, fig=right[0])
    elif beside:
        decision_boundary(net, rows.X, rows.y, right[0].subplots())
    _write(fig, path)


def draw_comparison(comparison: Comparison, path: str) -> None:
    """Draw the losses of all runs."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(6.5, 5.0), layout="constrained")
    ax, runs = fig.subplots(), comparison.runs
    for k, run in enumerate(runs):  # thin over thick, so that equal curves all show
        epochs = range(1, len(run.losses) + 1)
        ax.plot(epochs, run.losses, label=run.name, linewidth=2.5 * (len(runs) - k))
    ax.set(xlabel="epoch", ylabel="loss")
    ax.locator_params(axis="x", integer=True)
    ax.legend(frameon=False)
    _write(fig, path)


def _write(fig: Figure, path: str) -> None:
    image = io.BytesIO()
    fig.savefig(image, format=Path(path).suffix[1:].lower(), dpi=120)
    write_file(path, image.getvalue())
