"""What is looked at after each epoch, and when that is reason to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .errors import InputError, flag, several
from .formulas import Array, sigmoid
from .losses import Loss
from .metrics import Metric, get_metric
from .network import Network
from .rows import Rows
from .settings import AT_LEAST_0, Range, Settings

__all__ = ["EarlyStopping", "Watch", "check_stopping", "loss_and_accuracy"]


@dataclass(frozen=True)
class EarlyStopping(Settings):
    """End training when what is watched gets no better.

    Parameters
    ----------
    monitor : str
        A name of the history: ``"val_loss"``, ``"val_accuracy"``, ``"val_"`` and the name of a
        metric that is measured, or ``"loss"``, the training loss.
    patience : int
        Training ends after so many epochs in a row that are no better than the best.
    min_delta : float
        By how much an epoch must beat the best to be better.
    restore_best : bool
        Whether the network is left with the parameters of its best epoch, not of its last.

    Raises
    ------
    InputError
        If an argument is none of those.
    """

    name: ClassVar = "early_stopping"
    ranges: ClassVar = {
        "patience": Range("an integer above 0", lambda n: n > 0, int),
        "min_delta": AT_LEAST_0,
    }

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.monitor, str):
            raise InputError(f"monitor: expected a name of the history; got {self.monitor!r}")
        object.__setattr__(self, "restore_best", flag("restore_best", self.restore_best))

    def best(self, values: Sequence[float], *, greater: bool) -> int:
        """Return which of *values*, one an epoch, is the best; *greater* ones are, or smaller."""
        best = 0
        for i, value in enumerate(values):
            gain = value - values[best] if greater else values[best] - value
            if gain > self.min_delta:
                best = i
        return best


class Watch:
    """The validation rows, and what is measured on them.

    Parameters
    ----------
    net : Network
    rows : Rows
    targets : ndarray of shape (m,)
        0 and 1, on the host.
    loss : Loss
    metrics : sequence of str or callable
        See `metrics.get_metric`.

    Raises
    ------
    InputError
        If there is no such metric, two have one name, or one needs a class that *targets* do not
        have.
    """

    def __init__(
        self,
        net: Network,
        rows: Rows,
        targets: np.ndarray,
        loss: Loss,
        metrics: Sequence[str | Callable[..., Any]],
    ) -> None:
        self.net, self.rows, self.targets, self.loss = net, rows, targets, loss
        if not several(metrics):
            raise InputError(f"metrics: expected names or callables in a list; got {metrics!r}")
        self.metrics: dict[str, Metric] = {}
        for metric in map(get_metric, metrics):
            name = f"val_{metric.name}"
            if name in ("val_loss", *self.metrics):
                raise InputError(f"metrics: expected one name each; got {metric.name!r} twice")
            self.metrics[name] = metric
            if not metric.is_defined(targets):
                metric(targets, np.full(targets.shape, 0.5))  # says which class is missing
        self.Z: Array = None

    @property
    def names(self) -> list[str]:
        """What is measured, by its names in the history."""
        return list(dict.fromkeys(["val_loss", "val_accuracy", *self.metrics]))

    def look(self) -> Array:
        """Return, on the device, the validation loss and accuracy; keep the logits there."""
        self.Z = self.net.scores(self.rows.X)
        return loss_and_accuracy(self.net, self.Z, self.rows, self.loss)

    def measure(self) -> dict[str, float]:
        """Return the metrics of the logits last computed."""
        if not self.metrics:
            return {}
        p = sigmoid(np, self.net.backend.to_host(self.Z[0]))
        threshold, weights = self.net.threshold, self.rows.weights
        return {
            name: metric(self.targets, p, threshold=threshold, sample_weight=weights)
            for name, metric in self.metrics.items()
            if name != "val_accuracy"  # it comes with the loss
        }

    def greater_is_better(self, monitor: str) -> bool:
        """Tell whether more of *monitor*, a name of the history, is better."""
        if monitor == "val_accuracy":
            return True
        return monitor in self.metrics and self.metrics[monitor].greater_is_better


def check_stopping(stopping: EarlyStopping | None, watch: Watch | None) -> None:
    """Raise `InputError` unless what *stopping* asks for will be in the history."""
    if stopping is None:
        return
    if not isinstance(stopping, EarlyStopping):
        raise InputError(f"early_stopping: expected an EarlyStopping or None; got {stopping!r}")
    measured = ["loss", *([] if watch is None else watch.names)]
    if stopping.monitor not in measured:
        hint = "give validation_data" if watch is None else "name it in metrics"
        raise InputError(
            f"monitor: expected one of {', '.join(measured)}; got {stopping.monitor!r}; {hint}"
        )


def loss_and_accuracy(net: Network, Z: Array, rows: Rows, loss: Loss) -> Array:
    """Return the mean loss of logits *Z* and their accuracy, ``(2,)`` on the device."""
    xp, Y = net.backend.xp, rows.Y.T
    right = (sigmoid(xp, Z) > net.threshold) == (Y > 0.5)
    found = xp.empty((2, Z.shape[1]), dtype="float64")
    found[0] = loss.value(xp, Z, Y)[0]
    found[1] = right[0]
    if rows.w is None:
        return xp.mean(found, axis=1)
    return xp.sum(found * rows.w.T, axis=1) / xp.sum(rows.w)
