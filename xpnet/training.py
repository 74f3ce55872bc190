"""The only loop: epochs of batches, the history they leave, and what is watched on the way."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .arrays import is_on_host, is_sparse
from .checks import check_problem, check_weights
from .errors import InputError, positive, real, unknown
from .formulas import Array
from .lbfgs import check_steady, minimize
from .losses import LOSSES, Loss, get_loss
from .network import Network, is_uint8
from .optimizers import LBFGS, Optimizer, get_optimizer
from .preprocessing import SCALERS, fit_scaling
from .run import Plan, Rows, Run
from .state import History, TrainingState
from .watching import EarlyStopping, Watch, check_monitor, loss_and_accuracy

__all__ = ["EarlyStopping", "Epoch", "History", "evaluate", "train"]


@dataclass(frozen=True)
class Epoch:
    """What a callback is told after an epoch: its number from 1, of how many, and the history."""

    number: int
    epochs: int
    history: History


Callback = Callable[[Epoch], object]


def train(
    net: Network,
    X: Any,
    y: Any,
    *,
    optimizer: str | Optimizer,
    epochs: int,
    batch_size: int | None = None,
    sample_weight: Any = None,
    validation_data: tuple[Any, ...] | None = None,
    metrics: Sequence[str | Callable[..., Any]] = (),
    early_stopping: EarlyStopping | None = None,
    loss: str | Loss = "logistic",
    label_smoothing: float = 0.0,
    input_noise: float = 0.0,
    average: float = 0.0,
    scaling: str | None = None,
    rate_factors: Mapping[str, float] | None = None,
    classes: Sequence[Any] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    warm_start: bool = False,
    max_seconds: float | None = None,
    callback: Callback | Iterable[Callback] | None = None,
) -> History:
    """Train *net* in place on rows *X* and labels *y*.

    Parameters
    ----------
    net : Network
    X : array of shape (m, n_0)
        Rows, dense or SciPy's or CuPy's sparse, or ``uint8`` pictures ``(m, h, w[, c])``; on the
        host or on the network's device.
    y : array of shape (m,)
        Any two labels.
    optimizer : Optimizer or str
        An instance, or one of `optimizers.OPTIMIZERS` with its defaults.
    epochs : int
        How many passes over the data, at most.
    batch_size : int, optional
        Rows an update; None takes all of them. The last batch of an epoch may be shorter.
    sample_weight : array of shape (m,), optional
        Numbers of at least 0. Costs are weighted means; rows of weight 0 are left out.
    validation_data : (X, y) or (X, y, sample_weight), optional
        Looked at after every epoch.
    metrics : sequence of str or callable
        What is measured on them beside loss and accuracy: see `metrics.get_metric`.
    early_stopping : EarlyStopping, optional
    loss : Loss or {"logistic", "focal", "squared_hinge"}
    label_smoothing : float
        ε in [0, 1): training's targets are ``y (1 - ε) + ε/2`` (Szegedy et al. 2016).
    input_noise : float
        The standard deviation of the noise on the rows of every step.
    average : float
        β in [0, 1): the network ends with, and is validated with, the parameters' exponential
        moving average ``θ̄ := β θ̄ + (1-β) θ`` over the steps; 0 takes none.
    scaling : {None, "standard", "robust", "max_abs"}
        Fitted to the rows, and kept by the network: see `preprocessing.fit_scaling`.
    rate_factors : mapping, optional
        Factors on the learning rate, by the parameters' names (``"W1"``) or kinds (``"W"``,
        ``"b"``, ``"gamma"``, ``"scale"``); 1 for what is not named.
    classes : pair of labels, optional
        The negative one first; by default the labels in sorted order.
    shuffle : bool
        Whether batches are drawn in a new order every epoch, given by (*seed*, epoch).
    seed : int
        Gives the order of the rows, dropout and noise.
    warm_start : bool
        Go on where the network's last run stopped: optimizer state, epoch count and history.
    max_seconds : float, optional
        No epoch begins after so much time.
    callback : callable or several, optional
        Called with an `Epoch` after each; training ends when one returns True.

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
    epochs, loss = positive("epochs", epochs), get_loss(loss)
    average = real("average", average, least=0.0, below=1.0)
    smoothing = real("label_smoothing", label_smoothing, least=0.0, below=1.0)
    noise = real("input_noise", input_noise, least=0.0)
    limit = None if max_seconds is None else real("max_seconds", max_seconds, above=0.0)
    X, targets, pair = check_problem(X, y, classes, both=True)
    X, targets, weights = _present(X, targets, sample_weight)
    if batch_size is not None:
        batch_size = min(positive("batch_size", batch_size), len(targets))
    rule = get_optimizer(optimizer)
    if isinstance(rule, LBFGS):
        check_steady(net, rule, {"input_noise": noise, "average": average})
        batch_size = None
    wanted = TrainingState(rule, _seed(seed), batch_size, {}, loss=loss.name)
    calls, factors = _callbacks(callback), _rate_factors(net, rate_factors or {})
    quiet = np.errstate(over="ignore", invalid="ignore")  # divergence is found by the loop
    with net.backend.products(net.precision), quiet, _Settings(net, X, scaling, warm_start) as ok:
        ok.scale(weights)
        check_memory(net, X, batch_size)
        rows = _place(net, X, targets * (1.0 - smoothing) + smoothing / 2.0, weights)
        watch = _place_validation(net, validation_data, pair, loss, metrics)
        if early_stopping is not None:
            check_monitor(early_stopping.monitor, watch)
        state = _state(net, wanted, warm_start=warm_start, watch=watch)
        ok.keep()
        net.training, net.classes_, net.temperature = state, pair, 1.0
        run = Run(net, state, rows, Plan(loss, shuffle, noise, average, factors))
        with net.backend.splitting(len(run.workers)):
            _Loop(run, state.epoch + epochs, watch, early_stopping, limit, calls).go()
    return state.history


class _Loop:
    """Epochs until the *last*, or until there is reason to stop earlier."""

    def __init__(
        self,
        run: Run,
        last: int,
        watch: Watch | None,
        stopping: EarlyStopping | None,
        max_seconds: float | None,
        callbacks: list[Callback],
    ) -> None:
        self.run, self.state, self.net, self.last = run, run.state, run.net, last
        self.watch, self.stopping, self.callbacks = watch, stopping, callbacks
        self.first = run.state.epoch
        self.best: Array | None = None
        self.end = None if max_seconds is None else time.monotonic() + max_seconds

    def go(self) -> None:
        """Run the epochs; whatever ends them, the network is left with usable parameters."""
        optimizer = self.state.optimizer
        try:
            if isinstance(optimizer, LBFGS):
                minimize(self.run, optimizer, self.last - self.first, self.end_epoch)
            else:
                while self.state.epoch < self.last:
                    self.run.epoch(self.last)
                    if self.end_epoch():
                        break
        finally:
            self.run.finish(self.best)

    def end_epoch(self) -> bool:
        """Write down what the epoch gave; tell whether training is to end."""
        run, state, history = self.run, self.state, self.state.history
        with run.averaged():
            seen = self._look()
            run.require_finite(seen["loss"], "loss")
            run.require_finite(seen.get("val_loss", 0.0), "validation loss")
            if state.epoch + 1 == self.last:
                run.require_finite(self.net.backend.to_host(self.net.theta), "parameters")
            if self.watch is not None:
                seen |= self.watch.measure()
            run.good, run.start = run.start, run.good
            state.epoch += 1
            for name, value in seen.items():
                history.setdefault(name, []).append(value)
            stop = self._is_time()
        epoch = Epoch(state.epoch, self.last, history)
        answers = [call(epoch) for call in self.callbacks]
        return stop or True in answers

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
        if self.stopping is None:
            return self.end is not None and time.monotonic() >= self.end
        values = self.state.history[self.stopping.monitor][self.first :]
        greater = self.watch is not None and self.watch.greater_is_better(self.stopping.monitor)
        best = self.stopping.best(values, greater=greater)
        if self.stopping.restore_best and best == len(values) - 1:
            self.best = self.net.backend.xp.copy(self.net.theta)
        if self.end is not None and time.monotonic() >= self.end:
            return True
        return len(values) - 1 - best >= self.stopping.patience


def evaluate(net: Network, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, float]:
    """Return the mean logistic loss and the accuracy of *net* on rows *X* with labels *y*.

    Raises
    ------
    InputError
        If X or y does not fit the network, or y holds a label that it was not trained on.
    """
    X, targets, _ = check_problem(X, y, (0, 1) if net.classes_ is None else net.classes_)
    X, targets, weights = _present(X, targets, sample_weight)
    with net.backend.products(net.precision):
        rows = _place(net, X, targets, weights)
        found = loss_and_accuracy(net, net.scores(rows.X), rows, LOSSES["logistic"])
        loss, accuracy = net.backend.to_host(found).tolist()
        return loss, accuracy


class _Settings:
    """What a network learns about its rows before training; taken back if that does not begin."""

    def __init__(self, net: Network, X: Any, scaling: str | None, warm_start: bool) -> None:
        if scaling is not None and scaling not in SCALERS:
            raise InputError(
                f"scaling: expected None or one of {', '.join(SCALERS)}; got {scaling!r}"
            )
        self.net, self.X, self.scaling, self.warm_start = net, X, scaling, warm_start
        self.before, self.kept = (net.scaling, net.picture_shape), False

    def __enter__(self) -> Self:
        return self

    def scale(self, weights: np.ndarray | None) -> None:
        """Fit the scaling, unless the network goes on with its own or the rows are pictures."""
        net, X = self.net, self.X
        if X.ndim > 2:
            net.picture_shape = tuple(X.shape[1:])
        elif not is_uint8(X):
            net.picture_shape = None
        if self.warm_start and net.training is not None:
            return
        net.scaling = None
        if self.scaling is not None and net.picture_shape is None:
            host = X if is_on_host(X) else net.backend.to_host(net.backend.asarray(X))
            net.scaling = fit_scaling(self.scaling, host, weights)

    def keep(self) -> None:
        """Training begins."""
        self.kept = True

    def __exit__(self, *_: object) -> None:
        if not self.kept:
            self.net.scaling, self.net.picture_shape = self.before


def _callbacks(callback: Callback | Iterable[Callback] | None) -> list[Callback]:
    calls = [callback] if callable(callback) else list(callback or [])
    for call in calls:
        if not callable(call):
            raise InputError(f"callback: expected a callable or several; got {call!r}")
    return calls


def _rate_factors(net: Network, factors: Mapping[str, float]) -> dict[str, float]:
    kinds = dict.fromkeys(name.rstrip("0123456789") for name in net.parameters)
    for name in factors:
        if name not in net.parameters and name not in kinds:
            raise unknown("rate_factors", name, [*kinds, *net.parameters])
    return {name: real(f"rate_factors[{name!r}]", f, least=0.0) for name, f in factors.items()}


def _seed(seed: Any) -> int:
    try:
        if operator.index(seed) >= 0:
            return operator.index(seed)
    except TypeError:
        pass
    raise InputError(f"seed: expected an integer of at least 0; got {seed!r}")


def _present(
    X: Any, targets: np.ndarray, sample_weight: Any
) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Leave out the rows of weight 0: to be absent is just that."""
    if sample_weight is None:
        return X, targets, None
    weights = check_weights(sample_weight, len(targets))
    present = weights > 0.0
    if not present.all():
        X, targets, weights = X[np.flatnonzero(present)], targets[present], weights[present]
        if len(np.unique(targets)) < 2:
            raise InputError(
                "sample_weight: expected weights above 0 in both classes; got them in one only"
            )
    return X, targets, None if np.all(weights == weights[0]) else weights


def check_memory(net: Network, X: Any, batch_size: int | None) -> None:
    """Raise `InputError` unless rows *X* and what training them takes fit the device's memory."""
    m, itemsize = X.shape[0], np.dtype(net.dtype).itemsize
    moves = not net.backend.is_native(X) or str(X.dtype) != net.dtype or net.scaling is not None
    rows = 0 if is_sparse(X) or not moves else m * net.layer_sizes[0]
    widest = 3 * sum(net.layer_sizes) * min(batch_size or m, m)
    needed, there = itemsize * (rows + widest + 6 * net.layout.n_flat), net.backend.memory()
    if there is not None and needed > there:
        raise InputError(
            f"X: expected rows that fit {net.backend.name}'s memory; training on them takes about "
            f"{_gigabytes(needed)}, and {_gigabytes(there)} are there; give fewer rows, a smaller "
            "batch_size, or precision='float32'"
        )


def _gigabytes(n: float) -> str:
    return f"{n / 2**30:,.1f} GiB"


def _place(net: Network, X: Any, targets: np.ndarray, weights: np.ndarray | None) -> Rows:
    """Move checked data to the device once."""
    rows = net.rows(X, finite=True)
    Y = net.targets(targets, rows.shape[0]).T
    w = None if weights is None else net.backend.asarray(weights, net.dtype).reshape(-1, 1)
    return Rows(rows, Y, w, weights)


def _place_validation(
    net: Network,
    validation_data: tuple[Any, ...] | None,
    pair: np.ndarray,
    loss: Loss,
    metrics: Sequence[str | Callable[..., Any]],
) -> Watch | None:
    """Place the validation data as the network sees them."""
    if validation_data is None:
        if metrics:
            raise InputError("metrics: expected validation_data to measure them on; got none")
        return None
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        kind = type(validation_data).__name__
        raise InputError(f"validation_data: expected (X, y) or (X, y, sample_weight); got {kind}")
    X, y, *weights = validation_data
    X, targets, _ = check_problem(X, y, pair)
    X, targets, w = _present(X, targets, *(weights or [None]))
    try:
        return Watch(net, _place(net, X, targets, w), targets, loss, metrics)
    except InputError as error:
        raise InputError(f"validation {error}") from error


def _state(
    net: Network, wanted: TrainingState, *, warm_start: bool, watch: Watch | None
) -> TrainingState:
    """Return the state to start from: as *wanted*, or going on from the network's last run."""
    old, optimizer = net.training, wanted.optimizer
    if not warm_start or old is None:
        wanted.vectors = {name: net.backend.xp.zeros_like(net.theta) for name in optimizer.state}
        return wanted
    if (old.optimizer.name, old.optimizer.state) != (optimizer.name, optimizer.state):
        raise InputError(
            f"warm_start: expected the optimizer of the last run, {old.optimizer.name} with state "
            f"{old.optimizer.state}; got {optimizer.name} with {optimizer.state}"
        )
    watched = watch is not None
    if old.epoch and ("val_loss" in old.history) is not watched:
        raise InputError(
            "warm_start: expected validation data as in the last run, so that the history stays "
            f"whole; got {'some' if watched else 'none'}; give {'none' if watched else 'some'}"
        )
    wanted.history = History({name: list(values) for name, values in old.history.items()})
    wanted.vectors, wanted.step, wanted.epoch = old.vectors, old.step, old.epoch
    return wanted
