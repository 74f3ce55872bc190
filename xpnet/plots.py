"""Pictures of a training run: the learning curve, the decision boundary, the misses.

Needs matplotlib (``pip install 'xpnet[plot]'``), imported only when a picture is drawn.  Nothing
here shows a window, chooses a matplotlib backend or changes ``rcParams``: each function draws on
the axes it is given, or on new ones, and returns them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .arrays import is_on_host
from .backend import NumpyBackend
from .checks import check_finite
from .drawing import (
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    PAD,
    TITLE,
    VERMILION,
    new_figure,
    own_axes,
    style,
)
from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

__all__ = ["decision_boundary", "learning_curve", "misclassified"]

CLASS_COLORS = (BLUE, VERMILION)
CLASS_MARKERS = ("o", "D")  # shapes too, for a print without colours
PALE_COLORS = ("#9CC8E2", "#FFFFFF", "#F2C39C")  # the first class, one half, the second

LOG_RANGE = 20.0  # a loss that falls by more than this factor reads better on a log axis


class Classifier(Protocol):
    """What a model must offer to be drawn: two classes and their probabilities.

    Above its ``threshold``, or one half where it has none, a probability means the second class.
    """

    classes_: Any

    def predict_proba(self, X: Any, /) -> Any:
        """Return the classes' probabilities, ``(m, 2)``, for the rows ``X``, ``(m, n)``."""


def learning_curve(
    history: Mapping[str, Sequence[float]], ax: Axes | None = None, *, watched: str = "validation"
) -> Axes:
    """Draw the loss of each epoch, and what validation said if there was one.

    Parameters
    ----------
    history : mapping of str to sequence of float
        ``"loss"``, one number an epoch; ``"val_loss"`` and ``"val_accuracy"`` where validation
        data was given.
    ax : matplotlib Axes, optional
        Where to draw; new axes by default.
    watched : str
        What the rows of ``"val_loss"`` are called.

    Returns
    -------
    matplotlib Axes
        The axes of the losses, logarithmic where a positive loss falls far.  The accuracy, in
        percent, has axes of its own on the right.

    Raises
    ------
    InputError
        ``history`` has no loss or lists of different lengths, or matplotlib is missing.
    """
    series = _check_history(history)
    ax = own_axes(ax, (6.4, 4.0))
    lines = [_plot_epochs(ax, series["loss"], "training loss", BLUE, "-")]
    if "val_loss" in series:
        lines += [_plot_epochs(ax, series["val_loss"], f"{watched} loss", VERMILION, "--")]
    ax.set(xlabel="epoch", ylabel="loss")
    ax.grid(color=GRID, linewidth=0.8)
    _scale_axes(ax, np.concatenate([line.get_ydata() for line in lines]))
    if "val_accuracy" in series:
        lines += [_plot_accuracy(ax, series["val_accuracy"], f"{watched} accuracy")]
    style(ax, "Learning curve", lines)
    return ax


def decision_boundary(
    model: Classifier, X: Any, y: Any, ax: Axes | None = None, resolution: int = 300
) -> Axes:
    """Draw the probability over the plane, the line between the classes, and the examples.

    Parameters
    ----------
    model : classifier
        A fitted model with ``predict_proba`` and ``classes_``.
    X : array_like of shape (m, 2)
        Examples of two features, as rows.
    y : array_like of shape (m,)
        Their classes, each one of ``model.classes_``.
    ax : matplotlib Axes, optional
        Where to draw; new axes by default.
    resolution : int
        Grid points along each side of the plane.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InputError
        ``X`` has other than two features or is not finite, ``y`` does not fit it or names an
        unknown class, ``resolution`` is below 2, or matplotlib is missing.
    """
    X = _host(X)
    if X.ndim != 2 or X.shape[1] != 2 or not len(X):
        raise InputError(
            f"X: expected at least one row of two features, shape (m, 2); got shape {X.shape}; "
            "choose two columns, or fit on two features"
        )
    check_finite(X)
    if resolution < 2:
        raise InputError(f"resolution: expected 2 or more grid points a side; got {resolution}")
    truth = _class_indices(y, model.classes_, len(X))
    names = _names(model.classes_)
    ax = own_axes(ax, (6.2, 5.2))
    surface = _probability_surface(ax, model, X, resolution)
    points = [_scatter_class(ax, X[truth == k], k, names[k]) for k in (0, 1)]
    ax.set(xlabel="feature 1", ylabel="feature 2")
    _probability_bar(surface, ax, f"probability of {names[1]}")
    style(ax, "Decision boundary", points)
    return ax


def misclassified(
    model: Classifier,
    X: Any,
    y: Any,
    *,
    classes: Sequence[object] | None = None,
    columns: int = 5,
    limit: int = 20,
    fig: Figure | SubFigure | None = None,
) -> np.ndarray:
    """Show the pictures that the model takes for the wrong class, its surest errors first.

    Parameters
    ----------
    model : classifier
        A fitted model with ``predict_proba`` and ``classes_``.  It is given ``uint8`` pictures as
        they are, since a `Network` scales those itself, and floats as rows ``(m, h * w * c)``.
    X : array_like of shape (m, h, w) or (m, h, w, c)
        Pictures, ``uint8`` or floats from 0 to 1, with 1, 3 or 4 channels.
    y : array_like of shape (m,)
        Their classes, each one of ``model.classes_``.
    classes : sequence of two names, optional
        What to call the classes, in the order of ``model.classes_`` (which is the default).
    columns, limit : int
        Pictures in a row, and in all.
    fig : matplotlib Figure or SubFigure, optional
        Where to draw; a new figure by default.

    Returns
    -------
    numpy.ndarray of matplotlib Axes, shape (k,)
        One for each picture shown.  With nothing to show, a single one that says so.

    Raises
    ------
    InputError
        ``X`` holds no pictures, ``y`` does not fit it or names an unknown class, ``classes`` are
        not two names, ``columns`` or ``limit`` is below 1, or matplotlib is missing.
    """
    pictures = _check_pictures(_host(X))
    if columns < 1 or limit < 1:
        raise InputError(f"columns, limit: expected 1 or more of each; got {columns}, {limit}")
    truth = _class_indices(y, model.classes_, len(pictures))
    names = _names(model.classes_ if classes is None else classes)
    rows = pictures if pictures.dtype == np.uint8 else pictures.reshape(len(pictures), -1)
    proba = _host(model.predict_proba(rows))
    guess = np.where(proba[:, 1] > _threshold(model), 1, 0)
    missed = np.flatnonzero(guess != truth)
    height, width = pictures.shape[1:3]
    if not missed.size:
        _, axes = _gallery(fig, 1, 1, 0.3)
        axes[0].set_axis_off()
        text = f"None of the {len(pictures)} pictures is misclassified."
        axes[0].text(0.5, 0.5, text, ha="center", va="center", **TITLE)
        return axes

    surest = missed[np.argsort(-proba[missed, guess[missed]], kind="stable")][:limit]
    fig, axes = _gallery(fig, len(surest), columns, height / width)
    for ax, i in zip(axes, surest, strict=True):
        taken = f"taken for {names[guess[i]]}, {proba[i, guess[i]]:.0%}"
        _draw_picture(ax, pictures[i], f"{names[truth[i]]} (no. {i})", taken)
    shown = "" if len(surest) == len(missed) else f" · the {len(surest)} surest errors"
    title = f"{len(missed)} of {len(pictures)} pictures misclassified{shown}"
    fig.suptitle(title, x=PAD * fig.dpi / fig.bbox.width, ha="left", **TITLE)
    return axes


# --- checks ---------------------------------------------------------------------------------------


def _host(array: Any) -> np.ndarray:
    """Return *array*, a list or an array of any library and device, as a NumPy array."""
    return np.asarray(array) if is_on_host(array) else NumpyBackend().asarray(array)


def _threshold(model: Classifier) -> float:
    """Return the probability above which *model* says the second class."""
    return float(getattr(model, "threshold_", getattr(model, "threshold", 0.5)))


def _check_history(history: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    """Return the known series of *history* as arrays of one length, at least ``loss``."""
    known = ("loss", "val_loss", "val_accuracy")
    series = {k: np.asarray(history[k], dtype=float) for k in known if k in history}
    series = {k: values for k, values in series.items() if values.size or k == "loss"}
    if "loss" not in series or not series["loss"].size:
        raise InputError(
            "history: expected 'loss' with at least one number, one an epoch; "
            f"got keys {sorted(history)}; train for an epoch first"
        )
    lengths = {k: values.shape for k, values in series.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"history: expected lists of one length, one number an epoch; got {lengths}"
        )
    return series


def _check_pictures(X: np.ndarray) -> np.ndarray:
    """Return *X* if it holds pictures that matplotlib can show."""
    if not X.size or not (X.ndim == 3 or (X.ndim == 4 and X.shape[3] in (1, 3, 4))):
        raise InputError(
            "X: expected pictures of shape (m, h, w) or (m, h, w, c) with c one of 1, 3, 4; got "
            f"shape {X.shape}; reshape rows back to their height, width and channels"
        )
    if X.dtype != np.uint8 and not (X.dtype.kind == "f" and X.min() >= 0 and X.max() <= 1):
        raise InputError(
            f"X: expected pictures of uint8, or of floats from 0 to 1; got {X.dtype} from "
            f"{X.min()} to {X.max()}; pass what the model was fitted on, as pictures"
        )
    return X


def _class_indices(y: Any, classes: Any, m: int) -> np.ndarray:
    """Return 0 or 1, the place in *classes*, for each of the *m* labels *y*."""
    y, classes = _host(y), np.asarray(classes)
    if classes.shape != (2,):
        got = classes.tolist()
        raise InputError(f"model: expected two classes in classes_; got {got}; train it first")
    if y.shape != (m,):
        raise InputError(f"y: expected one class for each row of X, shape ({m},); got {y.shape}")
    strangers = y[(y != classes[0]) & (y != classes[1])]
    if strangers.size:
        raise InputError(
            f"y: expected only the model's classes {classes.tolist()}; got {strangers[0]!r} too; "
            "use the labels that the model was fitted on"
        )
    return np.where(y == classes[1], 1, 0)


def _names(classes: Any) -> tuple[str, str]:
    """Return the two class names as text that matplotlib takes; HDF5 stores them as bytes."""
    texts = (c if isinstance(c, bytes) else str(c).encode(errors="replace") for c in classes)
    names = tuple(text.decode(errors="replace").replace("$", r"\$") for text in texts)
    if len(names) != 2:
        raise InputError(f"classes: expected two names, in the order of classes_; got {names}")
    return names


# --- drawing --------------------------------------------------------------------------------------


def _plot_epochs(ax: Axes, values: np.ndarray, label: str, color: str, dash: str) -> Line2D:
    """Draw one number an epoch, counted from 1; a single epoch as a point."""
    marker = "o" if len(values) == 1 else ""
    epochs = np.arange(1, len(values) + 1)
    (line,) = ax.plot(epochs, values, dash, color=color, label=label, lw=1.8, marker=marker)
    return line


def _plot_accuracy(ax: Axes, accuracy: np.ndarray, label: str) -> Line2D:
    """Draw *accuracy* in percent against an axis of its own, at the right of *ax*."""
    right = ax.twinx()
    line = _plot_epochs(right, 100 * accuracy, label, GREEN, ":")
    right.set_ylabel("accuracy (%)", color=GREEN)
    right.tick_params(colors=GREEN, length=3)
    right.spines[:].set_visible(False)
    return line


def _scale_axes(ax: Axes, losses: np.ndarray) -> None:
    """Count epochs in whole numbers, and take a log axis for losses that fall far."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    losses = losses[np.isfinite(losses)]
    if not losses.size or not 0 < losses.min() * LOG_RANGE < losses.max():
        return
    ax.set_yscale("log")
    ax.set_ylabel("loss (log scale)")
    few_decades = losses.max() < 1000 * losses.min()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few_decades else (1,)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()


def _probability_surface(
    ax: Axes, model: Classifier, X: np.ndarray, resolution: int
) -> QuadContourSet:
    """Fill *ax* with the probability of the second class and the line at its threshold."""
    from matplotlib.colors import LinearSegmentedColormap

    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.08 * np.where(high > low, high - low, 1.0)
    sides = np.linspace(low - margin, high + margin, resolution)
    u, v = np.meshgrid(sides[:, 0], sides[:, 1])
    grid = np.column_stack([u.ravel(), v.ravel()])
    p = _host(model.predict_proba(grid))[:, 1].reshape(u.shape)
    colors = LinearSegmentedColormap.from_list("xpnet", PALE_COLORS)
    surface = ax.contourf(u, v, p, levels=np.linspace(0, 1, 21), cmap=colors)
    threshold = _threshold(model)
    if p.min() < threshold < p.max():
        ax.contour(u, v, p, levels=[threshold], colors=INK, linewidths=1.4)
    if max(high - low) < 2 * min(high - low):
        ax.set_aspect("equal")  # features on one scale keep their shapes: a circle is round
    return surface


def _probability_bar(surface: QuadContourSet, ax: Axes, label: str) -> None:
    """Add the key to the colours of *surface*."""
    bar = ax.figure.colorbar(surface, ax=ax, ticks=[0, 0.25, 0.5, 0.75, 1], aspect=30, pad=0.03)
    bar.set_label(label, color=GREY)
    bar.ax.tick_params(colors=GREY, length=0)
    bar.outline.set_visible(False)


def _scatter_class(ax: Axes, X: np.ndarray, k: int, name: str) -> PathCollection:
    """Draw the examples *X* of class *k*."""
    color, marker = CLASS_COLORS[k], CLASS_MARKERS[k]
    return ax.scatter(
        X[:, 0], X[:, 1], 24, color, marker=marker, ec="white", lw=0.6, label=name, zorder=3
    )


def _gallery(
    fig: Figure | SubFigure | None, count: int, columns: int, aspect: float
) -> tuple[Figure | SubFigure, np.ndarray]:
    """Return a figure and *count* axes on it, row by row, for pictures of height/width *aspect*."""
    columns = min(columns, count)
    rows = -(-count // columns)
    if fig is None:
        fig = new_figure(max(1.9 * columns, 4.5), (1.75 * aspect + 0.6) * rows + 0.4)
    grid = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in grid[count:]:
        ax.set_axis_off()
    return fig, grid[:count]


def _draw_picture(ax: Axes, picture: np.ndarray, above: str, below: str) -> None:
    """Show one picture without ticks or frame, between two lines of text."""
    picture = picture[..., 0] if picture.shape[2:] == (1,) else picture
    ax.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
    ax.set_title(above, loc="left", fontsize=9, color=INK, pad=4)
    ax.set_xlabel(below, loc="left", fontsize=9, color=VERMILION, labelpad=4)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
