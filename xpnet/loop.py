"""The only loop: epochs of batches, what is written down after each, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .checkpointing import Keeper
from .formulas import Array
from .interrupts import Noted
from .lbfgs import minimize
from .network import Network
from .optimizers import LBFGS
from .run import Run
from .state import History, Pause
from .watching import EarlyStopping, Watch

__all__ = ["Callback", "Epoch", "Loop"]


@dataclass(frozen=True)
class Epoch:
    """What a callback is told after an epoch: its number from 1, of how many, history, network."""

    number: int
    epochs: int
    history: History
    net: Network


Callback = Callable[[Epoch], object]


class Loop:
    """So many *epochs*, unless there is reason to stop earlier.

    Parameters
    ----------
    run : Run
    epochs : int
    watch : Watch, optional
    stopping : EarlyStopping, optional
    max_seconds : float, optional
    callbacks : list of callable
    noted : Noted, optional
        A signal noted here ends the loop after the batch.
    keeper : Keeper, optional
        Writes checkpoints; where it has a pause, the loop goes on from there.
    """

    def __init__(
        self,
        run: Run,
        epochs: int,
        watch: Watch | None,
        stopping: EarlyStopping | None,
        max_seconds: float | None,
        callbacks: list[Callback],
        noted: Noted | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.run, self.state, self.net = run, run.state, run.net
        self.watch, self.stopping, self.callbacks = watch, stopping, callbacks
        self.max_seconds, self.noted, self.keeper = max_seconds, noted, keeper
        pause = None if keeper is None else keeper.pause
        self.first = run.state.epoch if pause is None else pause.first
        self.last = self.first + epochs
        self.ended = pause is not None and pause.ended
        self.begun = time.monotonic() - (0.0 if pause is None else pause.seconds)
        self.best: Array | None = None

    def go(self) -> None:
        """Run the epochs; whatever ends them, the network is left with usable parameters."""
        keeper = self.keeper
        if keeper is not None:
            self._begin(keeper)
        try:
            self._run_epochs()
        finally:
            error = self.run.finish(self.best)
        if error is not None:
            raise error

    def _begin(self, keeper: Keeper) -> None:
        """Go on from the keeper's pause; or write the first checkpoint, which has to succeed."""
        keeper.begin(self.state.epoch)
        if keeper.pause is not None:
            self.best = self.run.resume(keeper.pause)
            return
        self._save(keeper)
        if keeper.failure is not None:
            raise keeper.failure

    def _run_epochs(self) -> None:
        optimizer, watched = self.state.optimizer, self.keeper is not None or self.noted is not None
        if isinstance(optimizer, LBFGS):
            minimize(self.run, optimizer, self.last - self.first, self.end_epoch)
            return
        while not self.ended and self.state.epoch < self.last:
            whole = self.run.epoch(self.last, self._after_batch if watched else None)
            self.ended = whole and self.end_epoch()
            if self.keeper is not None:
                over = self.ended or self._is_stopped() or self.state.epoch == self.last
                if over or self.keeper.is_due(self.state.epoch):
                    self._save(self.keeper)
            if self._is_stopped():
                break

    def _after_batch(self) -> bool:
        """Tell whether to stop in the middle of the epoch; write a checkpoint if it is time."""
        if self._is_stopped():
            return True
        if self.keeper is not None and self.keeper.is_late():
            self._save(self.keeper)
        return False

    def _is_stopped(self) -> bool:
        return self.noted is not None and self.noted.signal is not None

    def _save(self, keeper: Keeper) -> None:
        """Write the network as it would be left if training ended here, and how to go on.

        What is not finite is not written: the last good checkpoint stays the last.
        """
        run, state, theta = self.run, self.state, self.net.theta
        copy, to_host = self.net.backend.xp.copy, self.net.backend.to_host
        vectors, sums = run.pause()
        numbers = [to_host(theta), *([] if sums is None else [sums])]
        if not all(np.isfinite(part).all() for part in numbers):
            return
        with run.averaged():
            if self.best is not None:
                vectors["current"] = current = copy(theta)
                theta[...] = self.best
            seconds, over = time.monotonic() - self.begun, self.ended or state.epoch == self.last
            place = run.batch, self.first, seconds, over
            state.pause = Pause(*place, keeper.call, vectors, sums)
            try:
                keeper.save(self.net, state.epoch, run.batch)
            finally:
                state.pause = None
                if self.best is not None:
                    theta[...] = current

    def end_epoch(self) -> bool:
        """Write down what the epoch gave; tell whether training is to end."""
        run, state, history = self.run, self.state, self.state.history
        with run.averaged():
            seen = self._look()
            run.require_finite(seen["loss"], "loss")
            run.require_finite(seen.get("val_loss", 0.0), "validation loss")
            if self.watch is not None:
                seen |= self.watch.measure()
            run.good, run.start = run.start, run.good
            state.epoch += 1
            for name, value in seen.items():
                history.setdefault(name, []).append(value)
            stop = self._is_time()
            epoch = Epoch(state.epoch, self.last, history, self.net)
            answers = [call(epoch) for call in self.callbacks]
        asked = any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)
        if isinstance(state.optimizer, LBFGS):  # it has no batches at which to look
            asked |= self._is_stopped()
        return stop or asked

    def _look(self) -> dict[str, float]:
        """Read the epoch's losses from the device, with the validation's, at one go."""
        sums, backend = self.run.sums, self.net.backend
        if self.watch is None:
            return {"loss": self.run.mean_loss(backend.to_host(sums))}
        parts = [sums.reshape(-1).astype("float64"), self.watch.look()]
        *sums, loss, accuracy = backend.to_host(backend.xp.concatenate(parts))
        seen = {"loss": self.run.mean_loss(np.array(sums))}
        return seen | {"val_loss": float(loss), "val_accuracy": float(accuracy)}

    def _is_time(self) -> bool:
        """Keep the parameters if they are the best so far; tell whether patience or time is up."""
        late = self.max_seconds is not None and time.monotonic() - self.begun >= self.max_seconds
        if self.stopping is None:
            return late
        values = self.state.history[self.stopping.monitor][self.first :]
        greater = self.watch is not None and self.watch.greater_is_better(self.stopping.monitor)
        best = self.stopping.best(values, greater=greater)
        if self.stopping.restore_best and best == len(values) - 1:
            self.best = self.net.backend.xp.copy(self.net.theta)
        return late or len(values) - 1 - best >= self.stopping.patience
