"""What a run of training leaves behind: its history, and all that is needed to go on."""

from __future__ import annotations

from dataclasses import dataclass, field

from .formulas import Array
from .optimizers import Optimizer

__all__ = ["History", "TrainingState"]


class History(dict[str, list[float]]):
    """One number an epoch: ``"loss"``; with validation data ``"val_loss"`` and ``"val_accuracy"``.

    ``loss`` is the mean of the costs of the epoch's batches, weighted by their rows, each taken
    before its update.
    """


@dataclass
class TrainingState:
    """Where a run of `train` stands; ``net.training`` keeps it, a model file saves it.

    Attributes
    ----------
    optimizer : Optimizer
    seed : int
        With the epoch's number it gives the epoch's order of rows.
    batch_size : int or None
    vectors : dict of arrays
        The optimizer's own, by the names in ``optimizer.state``, each laid out like ``theta``; and
        where ``theta`` is an average, ``"raw"``: the parameters that training goes on with.
    step, epoch : int
        Updates and whole epochs done.
    history : History
    loss : str
        The name of the loss.
    """

    optimizer: Optimizer
    seed: int
    batch_size: int | None
    vectors: dict[str, Array]
    step: int = 0
    epoch: int = 0
    history: History = field(default_factory=lambda: History(loss=[]))
    loss: str = "logistic"
