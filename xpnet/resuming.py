"""Going on with a run from its checkpoints, as if nothing had happened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .backend import Backend
from .checkpointing import Checkpoint, Keeper, latest, name_of
from .errors import InputError, several
from .loop import Callback
from .losses import Loss
from .network import Network
from .state import History, Pause
from .training import train
from .watching import EarlyStopping

__all__ = ["go_on", "opened", "resume"]


def resume(
    folder: str | os.PathLike[str] | Checkpoint,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    validation_data: tuple[Any, ...] | None = None,
    loss: Loss | None = None,
    metrics: Sequence[Any] | None = None,
    callback: Callback | Iterable[Callback] | None = None,
    backend: str | Backend | None = None,
) -> tuple[Network, History]:
    """Go on with the run of `train` that wrote checkpoints to *folder*, from the latest.

    The result is equal to the bit to that of a run that was never interrupted, on the same machine,
    with the same BLAS and as many threads, or on the same model of GPU; after a batch in the middle
    of an epoch too.  Where one of these differs, a warning names it.  Settings, seed and random
    numbers are those of the run; only time, of `max_seconds`, is never equal to the bit.

    Parameters
    ----------
    folder : path or Checkpoint
        The latter says how often to write from now on; the former means after every epoch.
    X, y, sample_weight, validation_data
        Those of the run: their fingerprints are in the checkpoint.
    loss : Loss, optional
        Of a run with a loss of one's own, that one again.
    metrics : sequence, optional
        Of a run with metrics of one's own, all its metrics again.
    callback : callable or several, optional
        The callbacks of the run again; they are known by their names.
    backend : str or Backend, optional
        By default that of the run, with as many threads.

    Returns
    -------
    net : Network
    history : History
        From the start of the run; of a run that was over, all is as it was.

    Raises
    ------
    InputError
        If the data are not those of the run, something of one's own is missing or has another name,
        or another run writes to the folder.
    ModelFileError
        If no checkpoint in the folder is whole.
    BackendUnavailable
        If the run's backend is not to be had here.
    TrainingDiverged, OutputError
        As `train` does.
    """
    with opened(folder, backend) as (keeper, net):
        history = go_on(
            keeper,
            net,
            X,
            y,
            sample_weight=sample_weight,
            validation_data=validation_data,
            loss=loss,
            metrics=metrics,
            callback=callback,
        )
    return net, history


@contextmanager
def opened(
    folder: str | os.PathLike[str] | Checkpoint, backend: str | Backend | None = None
) -> Iterator[tuple[Keeper, Network]]:
    """Hold a folder of checkpoints, and give its keeper and the network of the latest one.

    The keeper's ``pause`` says where the run goes on.
    """
    checkpoint = folder if isinstance(folder, Checkpoint) else Checkpoint(folder)
    if not os.path.isdir(checkpoint.folder):  # noqa: PTH112 - a path of whatever kind
        raise InputError(f"{checkpoint.folder}: expected a folder with checkpoints; got none there")
    with Keeper(checkpoint) as keeper:
        keeper.saved, net, keeper.pause = latest(checkpoint.folder, backend)
        yield keeper, net


def go_on(
    keeper: Keeper,
    net: Network,
    X: Any,
    y: Any,
    *,
    sample_weight: Any,
    validation_data: tuple[Any, ...] | None,
    loss: Loss | None,
    metrics: Sequence[Any] | None,
    callback: Callback | Iterable[Callback] | None,
) -> History:
    """Go on with what is `opened`, as `resume` does."""
    pause, state = keeper.pause, net.training
    assert pause is not None
    assert state is not None
    return train(
        net,
        X,
        y,
        optimizer=state.optimizer,
        batch_size=state.batch_size,
        seed=state.seed,
        sample_weight=sample_weight,
        validation_data=validation_data,
        loss=_loss(loss, state.loss, pause),
        metrics=_metrics(metrics, pause),
        callback=_given_again("callback", callback, pause.call["callbacks"]),
        early_stopping=_early_stopping(pause),
        warm_start=True,
        checkpoint=keeper,
        **{name: pause.call[name] for name in _PLAIN},
    )


#: the arguments of `train` that are stored as they are
_PLAIN = (
    "average",
    "epochs",
    "input_noise",
    "label_smoothing",
    "max_seconds",
    "rate_factors",
    "shuffle",
)


def _early_stopping(pause: Pause) -> EarlyStopping | None:
    stored = pause.call["early_stopping"]
    if stored is None:
        return None
    return EarlyStopping(**{name: value for name, value in stored.items() if name != "name"})


def _loss(loss: Loss | None, name: str, pause: Pause) -> str | Loss:
    own = pause.call["own_loss"]
    given = None if loss is None else name_of(loss)
    if given not in (None, name) or (own is not None and not isinstance(loss, Loss)):
        raise InputError(f"loss: expected that of the run, {name!r}; got {given!r}; give it again")
    return name if loss is None else loss


def _metrics(metrics: Sequence[Any] | None, pause: Pause) -> Sequence[Any]:
    names, own = pause.call["metrics"], pause.call["own_metrics"]
    if metrics is None and not own:
        return list(names)
    return _given_again("metrics", metrics, names)


def _given_again(what: str, parts: Any, names: list[str]) -> list[Any]:
    """Return *parts* as a list, if they have these *names*."""
    given = [] if parts is None else list(parts) if several(parts) else [parts]
    if list(map(name_of, given)) != names:
        raise InputError(
            f"{what}: expected those of the run, {', '.join(names) or 'none'}; got "
            f"{', '.join(map(name_of, given)) or 'none'}; give them again"
        )
    return given
