"""What is called after each epoch: scikit-learn's callbacks, where it has them, and the printer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .training import Epoch

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return *method* as it is."""
        return method


__all__ = ["CallbackSupportMixin", "Tasks", "print_epoch", "with_callbacks"]


class Tasks:
    """A fit as scikit-learn's callbacks see it: one task, and in it one for each epoch.

    Parameters
    ----------
    estimator : estimator
    epochs : int
        How many there will be, at most.
    X, y, sample_weight
        What is trained on, as the callbacks get it.
    """

    def __init__(self, estimator: Any, epochs: int, X: Any, y: Any, sample_weight: Any) -> None:
        self.estimator, self.context = estimator, None
        weights = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data = {"X": X, "y": y, "metadata": weights}
        if hasattr(estimator, "_init_callback_context"):
            self.context = estimator._init_callback_context(max_subtasks=epochs)
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def after_epoch(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """Tell the callbacks that an epoch ended; return whether one wants training to end.

        *fitted* makes the attributes that the estimator would have if this was the end.
        """
        if self.context is None:
            return False
        epoch = self.context.subcontext(task_name="epoch")
        epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return bool(
            epoch.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=fitted, **self.data
            )
        )

    def end(self, fitted: Callable[[], dict[str, Any]]) -> None:
        """Tell the callbacks that the fit ended."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=fitted, **self.data
            )


def print_epoch(epoch: Epoch) -> None:
    """Print the last losses, in scikit-learn's words."""
    history = epoch.history
    names = [name for name in ("loss", "val_loss") if name in history]
    losses = ", ".join(f"{name} = {history[name][-1]:.8f}" for name in names)
    print(f"Iteration {epoch.number}, {losses}")
