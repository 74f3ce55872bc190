"""What a fitted classifier decides by: its threshold, its temperature, and how good that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from .arrays import from_dlpack_on_host
from .checks import check_labels
from .decisions import best_threshold, fit_temperature, least_temperature, move_threshold
from .metrics import report
from .network import Network

__all__ = ["TuningMixin"]


class TuningMixin:
    """Of `BinaryClassifier`: what is tuned on rows that were not trained on."""

    classes_: np.ndarray
    _fitted_network: Callable[[], Network]
    _rows: Callable[[Any], Any]

    @property
    def threshold_(self) -> float:
        """The probability above which `predict` says ``classes_[1]``."""
        return self._fitted_network().threshold

    def tune_threshold(
        self,
        X: Any,
        y: Any,
        metric: str | Callable[..., Any] = "f1",
        *,
        costs: tuple[float, float] | None = None,
        sample_weight: Any = None,
    ) -> Self:
        """Set the threshold by what is best on rows *X*, which were not trained on.

        *metric* and *costs*, of a false positive and a false negative, are those of
        `decisions.best_threshold`.
        """
        y01, p = self._judged(X, y)
        self._fitted_network().threshold = best_threshold(y01, p, metric, costs, sample_weight)
        return self

    def calibrate(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Scale the logits so that probabilities fit rows *X*, which were not trained on.

        See `decisions.fit_temperature`.  The threshold moves along, so that labels stay, and the
        temperature falls no lower than `decisions.least_temperature` allows for that.
        """
        net = self._fitted_network()
        y01 = self._targets(y)
        z = net.backend.to_host(net.decision_function(self._rows(X))) * net.temperature
        least = least_temperature(net.threshold, net.temperature)
        temperature = max(fit_temperature(z, y01, sample_weight), least)
        net.threshold = move_threshold(net.threshold, net.temperature, temperature)
        net.temperature = temperature
        return self

    def report(self, X: Any, y: Any, sample_weight: Any = None) -> dict[str, float]:
        """Return all of `metrics.METRICS`, by name, on rows *X* with labels *y*."""
        y01, p = self._judged(X, y)
        return report(y01, p, self.threshold_, sample_weight)

    def _targets(self, y: Any) -> np.ndarray:
        return check_labels(from_dlpack_on_host(y), self.classes_, both=False)[0]

    def _judged(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Targets 0 and 1, and P(second class), on the host."""
        net = self._fitted_network()
        return self._targets(y), net.backend.to_host(net.predict_proba(self._rows(X)))[:, 1]
