"""The only loop: epochs of batches, the history they leave, and what is watched on the way."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .checks import check_problem
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
    X, targets, pair = check_problem(X, y, classes, both=True)
    if batch_size is not None:
        batch_size = min(positive("batch_size", batch_size), len(targets))
    plan = TrainingState(get_optimizer(optimizer), _seed(seed), batch_size, {})
    quiet = np.errstate(over="ignore", invalid="ignore")  # divergence is found below
    with net.backend.products(net.precision), quiet:
        data = _place(net, X, targets)
        shape = _picture_shape(net, X)
        watched = _place_validation(net, validation_data, pair, shape)
        state = _state(net, plan, warm_start=warm_start, watched=watched is not None)
        net.training, net.classes_, net.picture_shape = state, pair, shape
        run = _Run(net, state, data, shuffle)
        with net.backend.splitting(len(run.workers)):
            _loop(run, state.epoch + epochs, watched, callback)
    return state.history


def _loop(
    run: _Run,
    last: int,
    watched: tuple[Array, Array] | None,
    callback: Callable[[Epoch], object] | None,
) -> None:
    net, state, history = run.net, run.state, run.state.history
    while state.epoch < last:
        seen = {"loss": run.epoch(last)}
        if watched is not None:
            seen["val_loss"], seen["val_accuracy"] = _measure(net, *watched)
        run.require_finite(seen["loss"], "loss")
        run.require_finite(seen.get("val_loss", 0.0), "validation loss")
        if state.epoch + 1 == last:
            run.require_finite(net.backend.to_host(net.theta), "parameters")
        run.good, run.start = run.start, run.good
        state.epoch += 1
        for name, value in seen.items():
            history.setdefault(name, []).append(value)
        if callback is not None:
            callback(Epoch(state.epoch, last, history))


def evaluate(net: Network, X: Any, y: Any) -> tuple[float, float]:
    """Return the mean logistic loss and the accuracy of *net* on rows *X* with labels *y*.

    Raises
    ------
    InputError
        If X or y does not fit the network, or y holds a label that it was not trained on.
    """
    X, targets, _ = check_problem(X, y, (0, 1) if net.classes_ is None else net.classes_)
    with net.backend.products(net.precision):
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
        self.shuffled = order is not None
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

    def epoch(self, last: int) -> float:
        """Run one epoch, of the *last* that there will be; return its loss."""
        state, n, backend = self.state, len(self.widths), self.net.backend
        self.start[...] = self.net.theta
        if self.order is not None:
            order = np.random.default_rng([state.seed, state.epoch]).permutation(sum(self.widths))
            backend.send(order, self.order)
        history = state.history
        rate = state.optimizer.rates(state.epoch, history.get("val_loss", history["loss"]))
        for k in range(n):
            self.step(k, rate((state.epoch + k / n) / last))
        losses = backend.to_host(self.sums)[:, :, 1]
        return float(np.sum(losses, dtype=float) / sum(self.widths))

    def require_finite(self, values: float | np.ndarray, what: str) -> None:
        """Unless *values* are finite, take back the last good parameters and say so.

        The optimizer starts anew from there: its vectors are no longer to be trusted.
        """
        if np.isfinite(values).all():
            return
        self.net.theta[...] = self.good
        for vector in self.state.vectors.values():
            vector[...] = 0.0
        self.state.step = 0
        rate = self.state.optimizer.learning_rate
        raise TrainingDiverged(
            f"epoch {self.state.epoch + 1}: expected finite {what}; got NaN or infinity; the last "
            f"good parameters were kept; try a learning rate below {rate:g}, or features scaled to "
            "about unit size"
        )


def _parts(length: int, n: int) -> list[slice]:
    """Cut *length* into *n* slices, aligned as the layout is."""
    cuts = [length * t // n // ALIGNMENT * ALIGNMENT for t in range(n)]
    return [slice(a, b) for a, b in itertools.pairwise([*cuts, length])]


def _seed(seed: Any) -> int:
    try:
        if operator.index(seed) >= 0:
            return operator.index(seed)
    except TypeError:
        pass
    raise InputError(f"seed: expected an integer of at least 0; got {seed!r}")


def _picture_shape(net: Network, X: Any) -> tuple[int, ...] | None:
    """The shape of the pictures *X*; flat ``uint8`` rows are pictures where they were before."""
    if X.ndim > 2:
        return tuple(X.shape[1:])
    return net.picture_shape if is_uint8(X) else None


def _place(net: Network, X: Any, targets: np.ndarray, name: str = "X") -> tuple[Array, Array]:
    """Move checked data to the device once: ``A_0`` and ``Y``."""
    A = net.finite_columns(X, name)
    return A, net.targets(targets, A.shape[1])


def _place_validation(
    net: Network,
    validation_data: tuple[Any, Any] | None,
    pair: np.ndarray,
    picture_shape: tuple[int, ...] | None,
) -> tuple[Array, Array] | None:
    """Place the validation data as the network will see them once it has that *picture_shape*."""
    if validation_data is None:
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        kind = type(validation_data).__name__
        raise InputError(f"validation_data: expected a pair (X, y); got {kind}")
    X, targets, _ = check_problem(*validation_data, pair)
    before, net.picture_shape = net.picture_shape, picture_shape
    try:
        return _place(net, X, targets, "validation X")
    finally:
        net.picture_shape = before


def _state(net: Network, plan: TrainingState, *, warm_start: bool, watched: bool) -> TrainingState:
    """Return the state to start from: as *plan* says, or going on from the network's last run."""
    old, optimizer = net.training, plan.optimizer
    if not warm_start or old is None:
        plan.vectors = {name: net.backend.xp.zeros_like(net.theta) for name in optimizer.state}
        return plan
    if (old.optimizer.name, old.optimizer.state) != (optimizer.name, optimizer.state):
        raise InputError(
            f"warm_start: expected the optimizer of the last run, {old.optimizer.name} with state "
            f"{old.optimizer.state}; got {optimizer.name} with {optimizer.state}"
        )
    if old.epoch and ("val_loss" in old.history) is not watched:
        raise InputError(
            "warm_start: expected validation data as in the last run, so that the history stays "
            f"whole; got {'some' if watched else 'none'}; give {'none' if watched else 'some'}"
        )
    plan.history = History({name: list(values) for name, values in old.history.items()})
    plan.vectors, plan.step, plan.epoch = old.vectors, old.step, old.epoch
    return plan


def _measure(net: Network, A: Array, Y: Array) -> tuple[float, float]:
    """Mean loss and accuracy, computed on the host from the logits."""
    z, y = net.backend.to_host(net.logits(A)), net.backend.to_host(Y)
    _, losses = logistic(np, z, None, 0.0, y, 1.0)
    taken = sigmoid(np, z) > net.threshold
    return float(losses.mean(dtype=float)), float(np.mean(taken == (y > 0.5)))
