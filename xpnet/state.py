"""What a run of training leaves behind: its history, and all that is needed to go on."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass, field
from typing import Any

from .files import write_file
from .formulas import Array
from .optimizers import Optimizer

__all__ = ["History", "Pause", "TrainingState"]


class History(dict[str, list[float]]):
    """One number an epoch: ``"loss"``; with validation data ``"val_loss"`` and ``"val_accuracy"``.

    ``loss`` is the mean of the costs of the epoch's batches, weighted by their rows, each taken
    before its update.
    """

    def rows(self) -> list[dict[str, Any]]:
        """Return what was measured epoch by epoch, each with its number from 1."""
        epochs = range(len(self["loss"]))
        return [
            {"epoch": i + 1} | {name: values[i] for name, values in self.items()} for i in epochs
        ]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table with a line for each epoch under a line of names; whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, ["epoch", *self], lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows())
        write_file(path, text.getvalue().encode())

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON object on a line for each epoch; whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        lines = [json.dumps(row) + "\n" for row in self.rows()]
        write_file(path, "".join(lines).encode())


@dataclass
class Pause:
    """Where in its run a checkpoint was written: what `resume` needs beside the state.

    Attributes
    ----------
    batch : int
        Batches done of the epoch to come.
    first : int
        The epoch that the run began with.
    seconds : float
        How long it has gone on.
    ended : bool
        Whether it was over.
    call : dict
        Plain data: how `train` was called, on what data, on which machine.
    vectors : dict of arrays
        Laid out like ``theta``: ``"good"``, the last parameters known to be good; in the middle of
        an epoch ``"start"``, those that it began with; and where ``theta`` is that of the best
        epoch, ``"current"``.
    sums : array or None
        The losses of those batches, by worker: ``(batch, workers, 2)`` on the host.
    """

    batch: int
    first: int
    seconds: float
    ended: bool
    call: dict[str, Any]
    vectors: dict[str, Array]
    sums: Array | None = None


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
    pause : Pause or None
        Of a network that comes from a checkpoint.
    """

    optimizer: Optimizer
    seed: int
    batch_size: int | None
    vectors: dict[str, Array]
    step: int = 0
    epoch: int = 0
    history: History = field(default_factory=lambda: History(loss=[]))
    loss: str = "logistic"
    pause: Pause | None = None
