"""The only loop: epochs of batches, the history they leave, and what is watched on the way."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import is_on_host
from .checks import check_problem, same_classes
from .errors import InputError, known, positive, real, unknown
from .formulas import Array
from .lbfgs import check_steady, minimize
from .losses import LOSSES, Loss, get_loss
from .network import Network, is_uint8
from .optimizers import LBFGS, Optimizer, get_optimizer
from .preprocessing import SCALERS, Scaling, fit_scaling
from .rows import check_memory, place, present
from .run import Plan, Run
from .state import History, TrainingState
from .watching import EarlyStopping, Watch, check_stopping, loss_and_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    scaling: str | Scaling | None = None,
    rate_factors: Mapping[str, float] | None = None,
    classes: Sequence[Any] | NDArray[Any] | None = None,
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
        Rows an update; None takes all of them, and so does L-BFGS always. The last batch of an
        epoch may be shorter.
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
        moving average ``θ̄ := β_t θ̄ + (1-β_t) θ`` over the steps t, with ``β_t = min(β, t/(t+9))``
        so that the start is soon forgotten; 0 takes none.
    scaling : {None, "standard", "robust", "robust_std", "max_abs"} or Scaling
        Fitted to the rows, or already, and kept by the network: see `preprocessing.fit_scaling`.
        Pictures are not scaled; a run that goes on keeps the scaling that there is.
    rate_factors : mapping, optional
        Factors on the learning rate, by the parameters' names (``"W1"``) or kinds (``"W"``,
        ``"b"``, ``"gamma"``, ``"scale"``); 1 for what is not named.
    classes : pair of labels, optional
        The negative one first, and *y* may hold one alone; by default the labels in sorted order.
    shuffle : bool
        Whether batches are drawn in a new order every epoch, given by (*seed*, epoch).
    seed : int
        Gives the order of the rows, dropout and noise.
    warm_start : bool
        Go on where the network's last run stopped: optimizer state, epoch count and history. The
        labels are those of that run, and rows of one class will do.
    max_seconds : float, optional
        No epoch begins after so much time.
    callback : callable or several, optional
        Called with an `Epoch` after each, while the network is as it would be left then (with the
        averaged parameters, if there are); training ends when one returns True. If one raises, or
        at Ctrl-C, the network is left as at the end of training.

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
    epochs, loss, rule = positive("epochs", epochs), get_loss(loss), get_optimizer(optimizer)
    average = real("average", average, least=0.0, below=1.0)
    smoothing = real("label_smoothing", label_smoothing, least=0.0, below=1.0)
    noise = real("input_noise", input_noise, least=0.0)
    limit = None if max_seconds is None else real("max_seconds", max_seconds, above=0.0)
    calls, seed, factors = _callbacks(callback), _seed(seed), _rate_factors(net, rate_factors or {})
    if batch_size is not None:
        batch_size = positive("batch_size", batch_size)
    if isinstance(rule, LBFGS):
        check_steady(
            net, rule, {"input_noise": noise, "average": average, "rate_factors": len(factors)}
        )
        batch_size = None
    going_on = warm_start and net.training is not None
    if going_on:
        classes = same_classes(classes, net.classes_)
    X, targets, pair = check_problem(X, y, classes)
    X, targets, weights = present(net, X, targets, sample_weight)
    if classes is None and targets.min() == targets.max():
        raise InputError(
            "sample_weight: expected some above 0 in both classes; got them in one class only; "
            "weigh some of the other"
        )
    if batch_size is not None:
        batch_size = min(batch_size, len(targets))
    quiet = np.errstate(over="ignore", invalid="ignore")  # divergence is found by the loop
    with net.backend.products(net.precision), quiet:
        with _taken_back(net):
            _learn_scaling(net, X, weights, scaling, going_on=going_on)
            check_memory(net, X, batch_size)
            rows = place(net, X, targets * (1.0 - smoothing) + smoothing / 2.0, weights)
            watch = _place_validation(net, validation_data, pair, loss, metrics)
            check_stopping(early_stopping, watch)
            wanted = TrainingState(rule, seed, batch_size, {}, loss=loss.name)
            state = _state(net, wanted, going_on=going_on, watch=watch)
            run = Run(net, state, rows, Plan(loss, shuffle, noise, average, factors))
        net.training, net.classes_, net.temperature = state, pair, 1.0
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
        try:
            self._run_epochs()
        finally:
            finite = self.run.finish(self.best)
        if not finite:
            raise self.run.diverged(self.state.epoch, "parameters")

    def _run_epochs(self) -> None:
        optimizer = self.state.optimizer
        if isinstance(optimizer, LBFGS):
            minimize(self.run, optimizer, self.last - self.first, self.end_epoch)
            return
        while self.state.epoch < self.last:
            self.run.epoch(self.last)
            if self.end_epoch():
                break

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
            epoch = Epoch(state.epoch, self.last, history)
            answers = [call(epoch) for call in self.callbacks]
        return stop or any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)

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
        late = self.end is not None and time.monotonic() >= self.end
        if self.stopping is None:
            return late
        values = self.state.history[self.stopping.monitor][self.first :]
        greater = self.watch is not None and self.watch.greater_is_better(self.stopping.monitor)
        best = self.stopping.best(values, greater=greater)
        if self.stopping.restore_best and best == len(values) - 1:
            self.best = self.net.backend.xp.copy(self.net.theta)
        return late or len(values) - 1 - best >= self.stopping.patience


def evaluate(net: Network, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, float]:
    """Return the mean logistic loss and the accuracy of *net* on rows *X* with labels *y*.

    Both are means weighted by *sample_weight*, of shape (m,), where that is given.

    Raises
    ------
    InputError
        If X or y does not fit the network, or y holds a label that it was not trained on.
    """
    X, targets, _ = check_problem(X, y, (0, 1) if net.classes_ is None else net.classes_)
    X, targets, weights = present(net, X, targets, sample_weight)
    with net.backend.products(net.precision):
        rows = place(net, X, targets, weights)
        found = loss_and_accuracy(net, net.scores(rows.X), rows, LOSSES["logistic"])
        loss, accuracy = net.backend.to_host(found).tolist()
        return loss, accuracy


@contextmanager
def _taken_back(net: Network) -> Iterator[None]:
    """Where what is done in here fails, *net* keeps the scaling and the picture shape it had."""
    before = net.scaling, net.picture_shape
    try:
        yield
    except BaseException:
        net.scaling, net.picture_shape = before
        raise


def _learn_scaling(
    net: Network,
    X: Any,
    weights: np.ndarray | None,
    scaling: str | Scaling | None,
    *,
    going_on: bool,
) -> None:
    """Learn whether rows *X* are pictures, and how they are scaled, if the net does not know it."""
    if not (scaling is None or isinstance(scaling, Scaling)):
        known("scaling", scaling, SCALERS)
    if going_on:
        return
    if X.ndim > 2:
        net.picture_shape = tuple(X.shape[1:])
    elif not is_uint8(X):
        net.picture_shape = None
    net.scaling = scaling if isinstance(scaling, Scaling) else None
    if isinstance(scaling, str) and net.picture_shape is None:
        host = X if is_on_host(X) else net.backend.to_host(net.backend.asarray(X))
        net.scaling = fit_scaling(scaling, host, weights)


def _callbacks(callback: Callback | Iterable[Callback] | None) -> list[Callback]:
    calls = list(callback) if isinstance(callback, Iterable) else [callback]
    for call in calls:
        if call is not None and not callable(call):
            raise InputError(f"callback: expected a callable or several; got {call!r}")
    return [call for call in calls if call is not None]


def _rate_factors(net: Network, factors: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(factors, Mapping):
        raise InputError(f"rate_factors: expected a mapping of names to numbers; got {factors!r}")
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
        raise InputError(
            f"validation_data: expected (X, y) or (X, y, sample_weight); got {kind}; give a tuple"
        )
    X, y, *weights = validation_data
    with _of_validation():
        X, targets, _ = check_problem(X, y, pair)
        X, targets, w = present(net, X, targets, *(weights or [None]))
        rows = place(net, X, targets, w)
    return Watch(net, rows, targets, loss, metrics)


@contextmanager
def _of_validation() -> Iterator[None]:
    """Let errors say that they are about the validation data."""
    try:
        yield
    except InputError as error:
        raise InputError(f"validation {error}") from error


def _state(
    net: Network, wanted: TrainingState, *, going_on: bool, watch: Watch | None
) -> TrainingState:
    """Return the state to start from: as *wanted*, or going on from the network's last run."""
    old, optimizer = net.training, wanted.optimizer
    if not going_on or old is None:
        wanted.vectors = {name: net.backend.xp.zeros_like(net.theta) for name in optimizer.state}
        return wanted
    if (old.optimizer.name, old.optimizer.state) != (optimizer.name, optimizer.state):
        raise InputError(
            f"warm_start: expected the optimizer of the last run, {old.optimizer.name} with state "
            f"{old.optimizer.state}; got {optimizer.name} with {optimizer.state}"
        )
    measured = ["loss", *([] if watch is None else watch.names)]
    if old.epoch and set(old.history) != set(measured):
        raise InputError(
            "warm_start: expected validation data and metrics as in the last run, so that the "
            f"history stays whole: {', '.join(old.history)}; got {', '.join(measured)}"
        )
    wanted.history = History({name: list(values) for name, values in old.history.items()})
    wanted.vectors, wanted.step, wanted.epoch = dict(old.vectors), old.step, old.epoch
    return wanted
