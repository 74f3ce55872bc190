"""The only loop: epochs of batches, the history they leave, and what is watched on the way."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .data import check_finite, check_labels, check_lengths, check_X
from .errors import InputError, TrainingDiverged, positive
from .formulas import Array, accumulate, logistic, sigmoid
from .layout import ALIGNMENT
from .network import Network, is_uint8
from .optimizers import Optimizer, get_optimizer
from .passes import Pass
from .state import History, TrainingState

__all__ = ["Epoch", "History", "evaluate", "train"]


@dataclass(frozen=True)
class Epoch:
    """What a callback is told after an epoch: its number from 1, of how many, and the history."""

    number: int
    epochs: int
    history: History


def train(
    net: Network,
    X: Any,
    y: Any,
    *,
    optimizer: str | Optimizer,
    epochs: int,
    batch_size: int | None = None,
    validation_data: tuple[Any, Any] | None = None,
    classes: Sequence[Any] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    warm_start: bool = False,
    callback: Callable[[Epoch], object] | None = None,
) -> History:
    """Train *net* in place on rows *X* and labels *y*.

    Parameters
    ----------
    net : Network
    X : array of shape (m, n_0)
        Rows, or ``uint8`` pictures ``(m, h, w[, c])``; on the host or on the network's device.
    y : array of shape (m,)
        Any two labels.
    optimizer : Optimizer or {"sgd", "adam"}
    epochs : int
        How many passes over the data.
    batch_size : int, optional
        Rows an update; None takes all of them. The last batch of an epoch may be shorter.
    validation_data : (X, y), optional
        Looked at after every epoch.
    classes : pair of labels, optional
        The negative one first; by default the labels in sorted order.
    shuffle : bool
        Whether batches are drawn in a new order every epoch, given by (*seed*, epoch).
    warm_start : bool
        Go on where the network's last run stopped: optimizer state, epoch count and history.
    callback : callable, optional
        Called with an `Epoch` after each.

    Returns
    -------
    History
        The whole history of the network's run; also at ``net.training.history``.

    Raises
    ------
    InputError
        If an argument cannot be used; nothing has been trained then.
    TrainingDiverged
        At the end of the epoch in which the loss or the parameters became non-finite; *net* keeps
        the last parameters whose loss was finite.
    """
    epochs = positive("epochs", epochs)
    targets, pair = _checked(net, X, y, classes, both=True)
    if batch_size is not None:
        batch_size = min(positive("batch_size", batch_size), len(targets))
    with net.backend, np.errstate(over="ignore", invalid="ignore"):  # divergence is found below
        A, Y = _place(net, X, targets)
        watched = None
        if validation_data is not None:
            X_val, y_val = validation_data
            watched = _place(net, X_val, _checked(net, X_val, y_val, pair)[0], "validation X")
        state = _state(net, get_optimizer(optimizer), batch_size, seed, warm_start)
        net.training, net.classes_ = state, pair
        if getattr(X, "ndim", 2) > 2:
            net.picture_shape = tuple(X.shape[1:])
        elif not is_uint8(X):
            net.picture_shape = None
        run = _Run(net, state, (A, Y), shuffle)
        with net.backend.splitting(len(run.workers)):
            _loop(run, state.epoch + epochs, watched, callback)
    return state.history


def _loop(
    run: _Run,
    last: int,
    watched: tuple[Array, Array] | None,
    callback: Callable[[Epoch], object] | None,
) -> None:
    net, state = run.net, run.state
    while state.epoch < last:
        run.epoch(last)
        if watched is not None:
            loss, accuracy = _measure(net, *watched)
            run.require_finite(loss)
            state.history.setdefault("val_loss", []).append(loss)
            state.history.setdefault("val_accuracy", []).append(accuracy)
        if state.epoch == last:
            run.require_finite(net.backend.to_host(net.theta))
        if callback is not None:
            callback(Epoch(state.epoch, last, state.history))


def evaluate(net: Network, X: Any, y: Any) -> tuple[float, float]:
    """Return the mean logistic loss and the accuracy of *net* on rows *X* with labels *y*.

    Raises
    ------
    InputError
        If X or y does not fit the network, or y holds a label that it was not trained on.
    """
    pair = (0, 1) if net.classes_ is None else net.classes_
    targets, _ = _checked(net, X, y, pair)
    with net.backend:
        return _measure(net, *_place(net, X, targets))


class _Worker:
    """One thread's share of every batch: its columns, the passes over them, and their gradient.

    Columns are views of the data; shuffled ones are gathered into a buffer, by the indices in
    *order*.
    """

    def __init__(
        self,
        net: Network,
        data: tuple[Array, Array],
        slices: list[slice],
        order: Array | None,
        gradient: Array,
    ) -> None:
        xp, self.backend, (columns, Y) = net.backend.xp, net.backend, data
        widths = [part.stop - part.start for part in slices]
        widest = Pass(net, max(widths), gradient=gradient)
        passes = {
            width: Pass(net, width, workspace=widest.workspace, gradient=gradient)
            for width in set(widths) - {max(widths)}
        }
        self.passes = [passes.get(width, widest) for width in widths]
        self.gradient, self.shuffled = gradient, order is not None
        if order is None:
            self.columns = [columns[:, part] for part in slices]
            self.targets = [Y[:, part] for part in slices]
            self.load(0)
            return
        buffer = xp.empty((max(widths), columns.shape[0]), dtype=net.dtype)
        self.rows, self.rows_Y = columns.T, Y.T
        self.indices = [order[part] for part in slices]
        self.buffers = [buffer[:width] for width in widths]
        self.columns = [rows.T for rows in self.buffers]
        self.targets = [step.Y.reshape(-1, 1) for step in self.passes]

    def load(self, k: int) -> None:
        """Bring the columns and the targets of batch *k* to where its pass wants them."""
        if self.shuffled:
            self.backend.gather(self.rows, self.indices[k], self.buffers[k])
            self.backend.gather(self.rows_Y, self.indices[k], self.targets[k])
        else:
            self.passes[k].Y[...] = self.targets[k]

    def step(self, k: int, scale: float, sums: Array) -> None:
        """Compute the gradient of this share of batch *k*."""
        if len(self.passes) > 1:
            self.load(k)
        self.passes[k].loss_and_gradients(self.columns[k], scale, sums)


class _Run:
    """The buffers and routines of one call of `train`: everything that a step uses is made here."""

    def __init__(
        self, net: Network, state: TrainingState, data: tuple[Array, Array], shuffle: bool
    ) -> None:
        xp, self.net, self.state = net.backend.xp, net, state
        m = data[0].shape[1]
        width = state.batch_size or m
        starts = range(0, m, width)
        self.widths = [min(width, m - start) for start in starts]
        self.order = xp.empty(m, dtype="int64") if shuffle and len(starts) > 1 else None
        n = net.backend.workers(net.layout.flops(width))
        gradients = [net.gradient, *(xp.zeros_like(net.gradient) for _ in range(n - 1))]
        self.workers = []
        for t, gradient in enumerate(gradients):
            cuts = [
                slice(start + w * t // n, start + w * (t + 1) // n)
                for start, w in zip(starts, self.widths, strict=True)
            ]
            self.workers.append(_Worker(net, data, cuts, self.order, gradient))
        self.sums = xp.empty((len(starts), n, 2, 1), dtype=net.dtype)
        self.sums_of = [[self.sums[k, t] for t in range(n)] for k in range(len(starts))]
        self.updates = [self._bind_update(part, gradients) for part in _parts(net.n_flat, n)]
        self.start, self.good = xp.copy(net.theta), xp.copy(net.theta)

    def _bind_update(self, part: slice, gradients: list[Array]) -> Callable[..., None]:
        """The optimizer's formula over *part* of the flat vectors, once gradients are summed."""
        net, compiler = self.net, self.net.backend.compiler()
        first, *others = [gradient[part] for gradient in gradients]
        vectors = [vector[part] for vector in self.state.vectors.values()]
        update = compiler(self.state.optimizer.formula, net.theta[part], first, *vectors)
        if not others:
            return update
        sums = [compiler(accumulate, first, other) for other in others]

        def sum_and_update(*scalars: float) -> None:
            for add in sums:
                add()
            update(*scalars)

        return sum_and_update

    def step(self, k: int, rate: float) -> None:
        """One update from batch *k*."""
        state, run = self.state, self.net.backend.run
        scale = 1.0 / self.widths[k]
        shares = zip(self.workers, self.sums_of[k], strict=True)
        run([partial(worker.step, k, scale, sums) for worker, sums in shares])
        state.step += 1
        scalars = state.optimizer.scalars(rate, state.step)
        run([partial(update, *scalars) for update in self.updates])

    def epoch(self, last: int) -> None:
        """Run one epoch, of the *last* that there will be; its loss goes to the history."""
        state, n, backend = self.state, len(self.widths), self.net.backend
        self.start[...] = self.net.theta
        if self.order is not None:
            order = np.random.default_rng([state.seed, state.epoch]).permutation(sum(self.widths))
            backend.send(order, self.order)
        for k in range(n):
            self.step(k, state.optimizer.rate((state.epoch + k / n) / last))
        losses = backend.to_host(self.sums)[:, :, 1]
        loss = float(np.sum(losses, dtype=float)) / sum(self.widths)
        state.epoch += 1
        self.require_finite(loss)
        self.good, self.start = self.start, self.good
        state.history["loss"].append(loss)

    def require_finite(self, values: float | np.ndarray) -> None:
        """Unless *values* are finite, take back the last good parameters and say so."""
        if np.isfinite(values).all():
            return
        self.net.theta[...] = self.good
        rate = self.state.optimizer.learning_rate
        what = "loss" if np.ndim(values) == 0 else "parameters"
        raise TrainingDiverged(
            f"epoch {self.state.epoch}: expected finite {what}; got NaN or infinity; the last good "
            f"parameters were kept; try a learning rate below {rate:g}, or features scaled to "
            "about unit size"
        )


def _parts(length: int, n: int) -> list[slice]:
    """Cut *length* into *n* slices, aligned as the layout is."""
    cuts = [length * t // n // ALIGNMENT * ALIGNMENT for t in range(n)]
    return [slice(a, b) for a, b in itertools.pairwise([*cuts, length])]


def _checked(
    net: Network, X: Any, y: Any, classes: Any, *, both: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Check what can be checked before X moves; return 0/1 targets and the pair of labels."""
    X = check_X(X)
    y = net.backend.to_host(y) if net.backend.is_native(y) else y
    check_lengths(X, y)
    return check_labels(y, classes, both=both)


def _place(net: Network, X: Any, targets: np.ndarray, name: str = "X") -> tuple[Array, Array]:
    """Move checked data to the device once: ``A_0`` and ``Y``."""
    A = net.columns(X, name)
    # A finite sum needs finite terms, and no mask the size of the data; it may overflow, so look.
    if not math.isfinite(float(net.backend.xp.sum(A))):
        check_finite(net.backend.to_host(A.T), name)
    return A, net.targets(targets, A.shape[1])


def _state(
    net: Network, optimizer: Optimizer, batch_size: int | None, seed: int, warm_start: bool
) -> TrainingState:
    old = net.training
    if warm_start and old is not None:
        if type(old.optimizer) is not type(optimizer):
            raise InputError(
                f"warm_start: expected the optimizer of the last run, {old.optimizer.name}; "
                f"got {optimizer.name}; its state does not fit"
            )
        history = History({name: list(values) for name, values in old.history.items()})
        return dataclasses.replace(
            old, optimizer=optimizer, batch_size=batch_size, seed=seed, history=history
        )
    vectors = {name: net.backend.xp.zeros_like(net.theta) for name in optimizer.state}
    return TrainingState(optimizer, seed, batch_size, vectors, history=History(loss=[]))


def _measure(net: Network, A: Array, Y: Array) -> tuple[float, float]:
    """Mean loss and accuracy, computed on the host from the logits."""
    z, y = net.backend.to_host(net.logits(A)), net.backend.to_host(Y)
    _, losses = logistic(np, z, None, 0.0, y, 1.0)
    taken = sigmoid(np, z) > net.threshold
    return float(losses.mean(dtype=float)), float(np.mean(taken == (y > 0.5)))
