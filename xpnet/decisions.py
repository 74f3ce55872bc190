"""From scores to decisions: the threshold on a probability, and the temperature of logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError, finite, known
from .formulas import sigmoid
from .metrics import METRICS, Counts, check_probabilities, check_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = NDArray[np.float64] | None

__all__ = ["best_threshold", "fit_temperature", "least_temperature", "move_threshold"]

_OF_COUNTS = {name: row.of_counts for name, row in METRICS.items() if row.of_counts is not None}
_MOST_CALLS = 200
_ROUNDING = 1e-12  # values that differ by less, relative to the best, are equally good
_COLDEST, _HOTTEST, _HALVINGS = 1e-2, 1e2, 50
_FARTHEST = 8.0  # up to here a logit comes back from its float32 probability to three digits


def best_threshold(
    y01: Any,
    p: Any,
    metric: str | Callable[..., Any] = "f1",
    costs: tuple[float, float] | None = None,
    sample_weight: Any = None,
) -> float:
    """Return the threshold t in [0, 1] whose decisions ``p > t`` are best.

    Every way in which a threshold can part the examples is looked at, in O(m log m).  It lies
    halfway between neighbouring probabilities, or the outermost one and 0 or 1, in the dtype of
    *p*; of equally good ones it is the nearest to one half.

    Parameters
    ----------
    y01 : array of shape (m,)
        Targets 0 and 1, of examples that were not trained on.
    p : array of shape (m,)
        P(second class).
    metric : str or callable
        What to maximise: ``"accuracy"``, ``"balanced_accuracy"``, ``"precision"``, ``"recall"`` or
        ``"f1"``; or ``f(y_true, y_pred) -> float`` of arrays of 0 and 1, given ``sample_weight=``
        too where there are weights, minimised if its attribute ``greater_is_better`` is False, and
        tried at 200 thresholds at most, evenly spaced among all.
    costs : (float, float), optional
        What a false positive and a false negative cost; their sum is minimised instead.
    sample_weight : array of shape (m,), optional
        Numbers of at least 0; 0 is absence.

    Raises
    ------
    InputError
        If the arguments do not fit, or only one class is there.
    """
    y, p, weights = check_probabilities(y01, p, sample_weight)
    _require_both_classes(y)
    order = np.argsort(p)
    y, p, weights = y[order], p[order], None if weights is None else weights[order]
    starts, thresholds = _cuts(p)
    if costs is None and callable(metric):
        few = np.linspace(0, len(starts) - 1, min(len(starts), _MOST_CALLS)).astype(int)
        starts, thresholds = starts[few], thresholds[few]
        values = _called(metric, y, starts, weights)
    else:
        values = _criterion(metric, costs)(_counts(y, starts, weights))
    equal = thresholds[values >= values.max() - _ROUNDING * abs(values.max())]
    return float(equal[np.argmin(np.abs(equal - 0.5))])


def _cuts(p: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """For every way to part sorted *p*: the index of the first above, and a threshold before it."""
    starts = np.flatnonzero(np.diff(p, prepend=-1.0, append=2.0))
    if p[0] == 0.0:  # no threshold in [0, 1] is below
        starts = starts[1:]
    below, above = np.pad(p, (1, 0))[starts], np.pad(p, (0, 1), constant_values=1)[starts]
    middle = (below + above) / 2
    return starts, np.where(middle < above, middle, below)  # neighbours have none between them


def _counts(y: NDArray[np.int64], starts: NDArray[np.intp], weights: Weights) -> Counts:
    """The counts where the examples from each of *starts* on are taken for the second class."""
    w = np.ones(len(y)) if weights is None else weights
    positives, negatives = np.cumsum(w * y), np.cumsum(w * (1 - y))
    missed, rejected = np.pad(positives, (1, 0))[starts], np.pad(negatives, (1, 0))[starts]
    return Counts(positives[-1] - missed, negatives[-1] - rejected, missed, rejected)


def _criterion(metric: Any, costs: Any) -> Callable[[Counts], Any]:
    """The function of the counts that is to be maximised."""
    if costs is None:
        return known("metric of decisions", metric, _OF_COUNTS)
    pair: tuple[Any, ...] = tuple(costs) if np.iterable(costs) else ()
    good = [finite(c) and c >= 0 for c in pair]
    if good != [True, True] or not any(pair):
        raise InputError(
            "costs: expected those of a false positive and a false negative, at least 0 and not "
            f"both 0; got {costs!r}"
        )
    return lambda n: -(pair[0] * n.fp + pair[1] * n.fn)


def _called(
    metric: Callable[..., Any], y: NDArray[np.int64], starts: NDArray[np.intp], weights: Weights
) -> NDArray[np.float64]:
    """What the callable makes of the decisions from each of *starts* on, greater being better."""
    keywords = {} if weights is None else {"sample_weight": weights}
    ranks, sign = np.arange(len(y)), 1.0 if getattr(metric, "greater_is_better", True) else -1.0
    values = [sign * float(metric(y, (ranks >= start).astype(int), **keywords)) for start in starts]
    if np.isnan(values).any():
        name = getattr(metric, "__name__", type(metric).__name__)
        raise InputError(f"metric {name}: expected a number at every threshold; got NaN")
    return np.array(values)


def fit_temperature(z: Any, y01: Any, sample_weight: Any = None) -> float:
    """Return the temperature T that calibrates logits: ``σ(z/T)`` has the least mean log-loss.

    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017.  Labels
    are unchanged by it.  T is looked for from 0.01 to 100, and lies at an end where the logits part
    the classes without a fault, or point the wrong way.

    Parameters
    ----------
    z : array of shape (m,)
        Logits of examples that were not trained on.
    y01 : array of shape (m,)
        Targets 0 and 1.
    sample_weight : array of shape (m,), optional
        Numbers of at least 0; 0 is absence.

    Raises
    ------
    InputError
        If the arguments do not fit, or only one class is there.
    """
    y, z, weights = check_scores(y01, z, sample_weight, "z")
    _require_both_classes(y)
    margins = np.where(y == 1, z, -z).astype(float)
    # The loss, the mean of log(1 + e^(-margin/T)), is convex in 1/T; where it grows, T is too low.
    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        wrong = sigmoid(np, -margins / math.exp(middle))
        growth = np.average(-margins * wrong, weights=weights)
        # Where it is flat, because losses are below all numbers, the best T is the nearest to 1.
        if growth > 0.0 or (growth == 0.0 and middle < 0.0):
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2.0)


def move_threshold(threshold: float, before: float, after: float) -> float:
    """Return what on ``σ(z/after)`` decides as *threshold* does on ``σ(z/before)``.

    Both are temperatures of the same logits z.
    """
    if before == after or not 0.0 < threshold < 1.0:
        return threshold
    return float(sigmoid(np, _logit(threshold) * before / after))


def least_temperature(threshold: float, temperature: float) -> float:
    """Return how far *temperature* may fall before *threshold*, moved along, is rounded away.

    Probabilities near 0 and 1 are too coarse to part the logits there, and beyond them there are
    none: a threshold of 0.9 would be 1 at a temperature of 0.01, and no example above it.
    """
    if not 0.0 < threshold < 1.0:
        return 0.0
    return temperature * min(1.0, abs(_logit(threshold)) / _FARTHEST)


def _logit(p: float) -> float:
    return math.log(p) - math.log1p(-p)


def _require_both_classes(y: NDArray[np.int64]) -> None:
    if y.min() == y.max():
        raise InputError(
            f"y: expected two classes; got one class only: {len(y):,} × {y[0]}; add some of the "
            "other"
        )
