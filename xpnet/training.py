"""Training and evaluation: everything checked, placed on the device, and given to the loop."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import is_on_host, is_uint8
from .checkpointing import Checkpoint, Keeper, get_keeper
from .checks import check_problem, check_X, quiet, same_classes
from .decisions import move_threshold
from .errors import InputError, flag, known, positive, real, several, unknown
from .fingerprints import of_data
from .interrupts import Noted, noting, noting_now
from .lbfgs import check_steady
from .loop import Callback, Epoch, Loop
from .losses import LOSSES, Loss, get_loss
from .network import Network
from .optimizers import LBFGS, Optimizer, get_optimizer
from .preprocessing import SCALERS, Scaling, fit_scaling
from .rows import check_memory, check_network, place, present, too_large
from .run import Plan, Run
from .state import History, TrainingState
from .watching import EarlyStopping, Watch, check_stopping, loss_and_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Checkpoint", "EarlyStopping", "Epoch", "History", "evaluate", "history_of", "train"]


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
    checkpoint: str | os.PathLike[str] | Checkpoint | Keeper | None = None,
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
        labels are those of that run, and rows of one class will do.  A copy has no such state: it
        starts with the labels and the scaling alone.
    max_seconds : float, optional
        No epoch begins after so much time.
    callback : callable or several, optional
        Called with an `Epoch` after each, while the network is as it would be left then (with the
        averaged parameters, if there are); training ends when one returns True. If one raises, or
        at Ctrl-C, the network is left as at the end of training.
    checkpoint : path or Checkpoint, optional
        A folder where the run is written down, so that `resume` goes on with it.  At SIGINT,
        SIGTERM or SIGHUP the batch is finished and written, and the signal then takes its course;
        a second one stops at once.  A file that cannot be written is warned of, once.

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
    OutOfMemory
        If the device has too little memory; what was taken is free again.
    DeviceLost
        If the device does not answer any more.
    OutputError
        If the first checkpoint cannot be written.
    """
    check_network(net)
    flag("shuffle", shuffle)
    keeper = None if checkpoint is None else get_keeper(checkpoint)
    epochs, loss, rule = positive("epochs", epochs), get_loss(loss), get_optimizer(optimizer)
    average = real("average", average, least=0.0, below=1.0)
    smoothing = real("label_smoothing", label_smoothing, least=0.0, below=1.0)
    noise = real("input_noise", input_noise, least=0.0)
    limit = None if max_seconds is None else real("max_seconds", max_seconds, above=0.0)
    calls, seed, factors = _callbacks(callback), _seed(seed), _rate_factors(net, rate_factors)
    if batch_size is not None:
        batch_size = positive("batch_size", batch_size)
    if isinstance(rule, LBFGS):
        check_steady(
            net, rule, {"input_noise": noise, "average": average, "rate_factors": len(factors)}
        )
        batch_size = None
        if keeper is not None:
            raise InputError(
                "checkpoint: expected none with lbfgs, whose memory of the steps is SciPy's alone; "
                "got one; take another optimizer, or save the model after training"
            )
    warm = flag("warm_start", warm_start)
    going_on = warm and net.training is not None
    learnt = warm and net.classes_ is not None  # by a copy too, which has no state to go on with
    if learnt:
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
    rows = watch = run = wanted = state = None
    # What overflows is divergence, which the loop finds.
    with quiet(), _watched(keeper) as noted, net.backend.products(net.precision):
        try:
            with _taken_back(net):
                _learn_scaling(net, X, weights, scaling, learnt=learnt)
                check_memory(net, X, batch_size)
                rows = place(net, X, targets * (1.0 - smoothing) + smoothing / 2.0, weights)
                watch = _place_validation(net, validation_data, pair, loss, metrics)
                check_stopping(early_stopping, watch)
                wanted = TrainingState(rule, seed, batch_size, {}, loss=loss.name)
                state = _state(net, wanted, going_on=going_on, watch=watch)
                plan = Plan(loss, bool(shuffle), noise, average, factors)
                if keeper is not None:
                    keeper.describe(
                        net,
                        plan,
                        _fingerprint(net, X, targets, weights, validation_data, watch),
                        metrics,
                        calls,
                        epochs=epochs,
                        label_smoothing=smoothing,
                        max_seconds=limit,
                        early_stopping=early_stopping and early_stopping.as_dict(),
                    )
                run = Run(net, state, rows, plan)
            net.threshold = move_threshold(net.threshold, net.temperature, 1.0)
            net.training, net.classes_, net.temperature = state, pair, 1.0
            with net.backend.splitting(len(run.workers)):
                Loop(run, epochs, watch, early_stopping, limit, calls, noted, keeper).go()
        except Exception as error:
            if not net.backend.lacks_memory(error):
                raise
            rows = watch = run = wanted = state = None  # this frame lives as long as the error
            raise too_large(net, X, batch_size) from error.with_traceback(None)
    return state.history


@contextmanager
def _watched(keeper: Keeper | None) -> Iterator[Noted | None]:
    """Note signals, and hold the folder of checkpoints, where there is one or a caller notes."""
    if keeper is None and not noting_now():
        yield None
        return
    with noting() as noted, keeper or nullcontext():
        try:
            yield noted
        except Exception as error:
            if keeper is not None and keeper.saved is not None:
                error.add_note(f"the last checkpoint: {keeper.saved}")
            raise
        if keeper is not None:
            keeper.end()


def _fingerprint(
    net: Network,
    X: Any,
    targets: np.ndarray,
    weights: np.ndarray | None,
    validation_data: tuple[Any, ...] | None,
    watch: Watch | None,
) -> dict[str, Any]:
    """Return the fingerprints of the data, and of those for validation, by name."""
    data = of_data(net.backend, X, targets, weights)
    if watch is None or validation_data is None:
        return data
    rows = check_X(validation_data[0])
    seen = of_data(net.backend, rows, watch.targets, watch.rows.weights)
    return data | {f"validation {name}": facts for name, facts in seen.items()}


def evaluate(net: Network, X: Any, y: Any, sample_weight: Any = None) -> tuple[float, float]:
    """Return the mean logistic loss and the accuracy of *net* on rows *X* with labels *y*.

    Both are means weighted by *sample_weight*, of shape (m,), where that is given.

    Raises
    ------
    InputError
        If X or y does not fit the network, its logits overflow, or y holds a label that it was not
        trained on.
    """
    check_network(net)
    X, targets, _ = check_problem(X, y, (0, 1) if net.classes_ is None else net.classes_)
    X, targets, weights = present(net, X, targets, sample_weight)
    with net.backend.products(net.precision):
        rows = place(net, X, targets, weights)
        found = loss_and_accuracy(net, net.finite_scores(rows.X), rows, LOSSES["logistic"])
        loss, accuracy = net.backend.to_host(found).tolist()
        return loss, accuracy


def history_of(net: Network) -> History:
    """Return the history of a network that has been trained."""
    assert net.training is not None
    return net.training.history


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
    learnt: bool,
) -> None:
    """Learn whether rows *X* are pictures, and how they are scaled, if the net does not know it."""
    if not (scaling is None or isinstance(scaling, Scaling)):
        known("scaling", scaling, SCALERS)
    if learnt:
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
    calls: list[Any] = list(callback) if several(callback) else [callback]  # type: ignore[arg-type]
    for call in calls:
        if call is not None and not callable(call):
            raise InputError(f"callback: expected a callable or several; got {call!r}")
    return [call for call in calls if call is not None]


def _rate_factors(net: Network, factors: Mapping[str, float] | None) -> dict[str, float]:
    if factors is None:
        return {}
    if not isinstance(factors, Mapping):
        raise InputError(f"rate_factors: expected a mapping of names to numbers; got {factors!r}")
    kinds = dict.fromkeys(name.rstrip("0123456789") for name in net.parameters)
    for name in factors:
        if name not in net.parameters and name not in kinds:
            raise unknown("rate_factors", name, {*kinds, *net.parameters})
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
        if not several(metrics) or len(metrics):
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
