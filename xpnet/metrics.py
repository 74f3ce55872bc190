"""What is watched and reported: how good probabilities are, and the decisions made from them.

Decisions are judged by formulas of the four counts of the confusion matrix, rankings by
scikit-learn's functions; all on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import on_host
from .checks import check_finite, check_lengths, check_weights
from .errors import InputError, known

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = NDArray[np.float64] | None

__all__ = [
    "METRICS",
    "Counts",
    "Metric",
    "check_probabilities",
    "check_scores",
    "get_metric",
    "report",
]


class Counts(NamedTuple):
    """The confusion matrix: how many examples, or what weight of them, fell where.

    Each a number, or an array of one for each of several thresholds.
    """

    tp: Any  #: of the second class, and taken for it
    fp: Any  #: of the first class, but taken for the second
    fn: Any  #: of the second class, but taken for the first
    tn: Any  #: of the first class, and taken for it


@dataclass(frozen=True)
class Metric:
    """A number that says how good P(second class) is; call it with targets and probabilities.

    Attributes
    ----------
    name : str
    of_counts : callable or None
        ``Counts -> value``, elementwise, of a metric that judges decisions.
    of_probabilities : callable or None
        ``(y, p, weights) -> value``, of a metric that judges the probabilities themselves.
    greater_is_better : bool
    needs : tuple of int
        The classes, 0 and 1, without which it is undefined.
    """

    name: str
    of_counts: Callable[[Counts], Any] | None = None
    of_probabilities: Callable[[Any, Any, Any], Any] | None = None
    greater_is_better: bool = True
    needs: tuple[int, ...] = ()

    def __call__(
        self, y01: Any, p: Any, *, threshold: float = 0.5, sample_weight: Any = None
    ) -> float:
        """Return the metric of probabilities *p*.

        Parameters
        ----------
        y01 : array of shape (m,)
            Targets 0 and 1.
        p : array of shape (m,)
            P(second class).
        threshold : float
            Decisions are ``p > threshold``.
        sample_weight : array of shape (m,), optional
            Numbers of at least 0; 0 is absence.

        Raises
        ------
        InputError
            If those do not fit, if a class is missing that the metric needs, or if it is not a
            finite number.
        """
        y, p, weights = check_probabilities(y01, p, sample_weight)
        if not self.is_defined(y):
            raise InputError(
                f"{self.name}: expected examples of both classes; got class {y[0]} only; give a "
                "validation set with some of the other, or watch log_loss"
            )
        found = self.value(y, p, threshold, weights)
        try:
            value = float(found)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):  # no file could keep it
            raise InputError(f"{self.name}: expected a finite number; got {found!r}")
        return value

    def is_defined(self, y: NDArray[np.int64]) -> bool:
        """Tell whether *y* holds the classes that the metric needs."""
        return all(label in y for label in self.needs)

    def value(
        self, y: NDArray[np.int64], p: NDArray[Any], threshold: float, weights: Weights
    ) -> Any:
        """Return the metric of what `check_probabilities` returned, unchecked."""
        if self.of_counts is None:
            assert self.of_probabilities is not None
            return self.of_probabilities(y, p, weights)
        tn, fn, fp, tp = np.bincount(2 * (p > threshold) + y, weights, minlength=4)
        return self.of_counts(Counts(tp, fp, fn, tn))


def _ratio(part: Any, whole: Any) -> Any:
    """``part / whole``, and 0 where there is nothing."""
    return part / np.where(whole > 0, whole, 1)


def _sklearn(name: str, **keywords: Any) -> Callable[[Any, Any, Any], Any]:
    """The function of `sklearn.metrics` of that *name*, imported when it is first called."""

    def of_probabilities(y: Any, p: Any, weights: Any) -> Any:
        from sklearn import metrics

        return getattr(metrics, name)(y, p.astype(float), sample_weight=weights, **keywords)

    return of_probabilities


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            lambda n: _ratio(n.tp + n.tn, n.tp + n.fp + n.fn + n.tn),
        ),
        Metric(
            "balanced_accuracy",  # the mean of both classes' recalls
            lambda n: (_ratio(n.tp, n.tp + n.fn) + _ratio(n.tn, n.tn + n.fp)) / 2.0,
            needs=(0, 1),
        ),
        Metric(
            "precision",  # 0 where no example is taken for the second class
            lambda n: _ratio(n.tp, n.tp + n.fp),
            needs=(1,),
        ),
        Metric(
            "recall",
            lambda n: _ratio(n.tp, n.tp + n.fn),
            needs=(1,),
        ),
        Metric(
            "f1",  # the harmonic mean of precision and recall
            lambda n: _ratio(2.0 * n.tp, 2.0 * n.tp + n.fp + n.fn),
            needs=(1,),
        ),
        Metric(
            "roc_auc",
            of_probabilities=_sklearn("roc_auc_score"),
            needs=(0, 1),
        ),
        Metric(
            "average_precision",  # the area under precision over recall, as a sum of steps
            of_probabilities=_sklearn("average_precision_score"),
            needs=(1,),
        ),
        Metric(
            "log_loss",  # of p held 2.2e-16 away from 0 and 1; training's own is of logits
            of_probabilities=_sklearn("log_loss", labels=[0, 1]),
            greater_is_better=False,
        ),
        Metric(
            "brier",
            of_probabilities=lambda y, p, weights: np.average((p - y) ** 2, weights=weights),
            greater_is_better=False,
        ),
    )
}


def get_metric(metric: str | Metric | Callable[..., Any]) -> Metric:
    """Return the metric of that name, or one made of a callable.

    Parameters
    ----------
    metric : str, Metric or callable
        One of `METRICS`; or ``f(y_true, p) -> float``, given targets 0 and 1 and P(second class),
        and ``sample_weight=`` too where there are weights.  Greater is taken for better, unless the
        callable has an attribute ``greater_is_better`` that is False.

    Raises
    ------
    InputError
        If it is none of those.
    """
    if isinstance(metric, Metric) or not callable(metric):
        return metric if isinstance(metric, Metric) else known("metric", metric, METRICS)

    def of_probabilities(y: Any, p: Any, weights: Weights) -> Any:
        return metric(y, p) if weights is None else metric(y, p, sample_weight=weights)

    return Metric(
        getattr(metric, "__name__", type(metric).__name__),
        of_probabilities=of_probabilities,
        greater_is_better=bool(getattr(metric, "greater_is_better", True)),
    )


def report(y01: Any, p: Any, threshold: float = 0.5, sample_weight: Any = None) -> dict[str, float]:
    """Return all of `METRICS`, by name, of probabilities *p* and decisions ``p > threshold``.

    Parameters are those of `Metric`.  A metric that is undefined because a class is missing is NaN.

    Raises
    ------
    InputError
        If the arguments do not fit each other.
    """
    y, p, weights = check_probabilities(y01, p, sample_weight)
    return {
        name: float(metric.value(y, p, threshold, weights)) if metric.is_defined(y) else math.nan
        for name, metric in METRICS.items()
    }


def check_scores(
    y01: Any, scores: Any, sample_weight: Any = None, name: str = "scores"
) -> tuple[NDArray[np.int64], NDArray[Any], Weights]:
    """Return targets, scores in their own float dtype, and weights or None, without weight 0.

    Raises `InputError`, which calls the scores *name*, unless the targets are 0 and 1, the scores
    finite numbers, and all have one shape ``(m,)``.
    """
    y = on_host(y01, "y")
    scores = on_host(scores, name)
    for array, what in ((y, "y"), (scores, name)):
        if array.ndim != 1 or not array.size:
            raise InputError(
                f"{what}: expected shape (m,), one value an example; got {array.shape}"
            )
        check_finite(array, what)
    check_lengths(scores, y, (name, "y"))
    if not np.isin(y, (0, 1)).all():
        raise InputError(f"y: expected targets 0 and 1; got {np.unique(y)[:5].tolist()}")
    y, scores = y.astype(np.int64), scores if scores.dtype.kind == "f" else scores.astype(float)
    if sample_weight is None:
        return y, scores, None
    weights = check_weights(sample_weight, len(y))
    there = weights > 0
    return y[there], scores[there], weights[there]


def check_probabilities(
    y01: Any, p: Any, sample_weight: Any = None
) -> tuple[NDArray[np.int64], NDArray[Any], Weights]:
    """Return what `check_scores` does, once *p* is known to hold probabilities."""
    y, p, weights = check_scores(y01, p, sample_weight, "p")
    if p.min() < 0 or p.max() > 1:
        raise InputError(f"p: expected probabilities from 0 to 1; got {p.min():g} to {p.max():g}")
    return y, p, weights
