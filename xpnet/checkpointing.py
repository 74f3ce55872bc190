"""A folder of checkpoints: written while a run goes on, by one run at a time, the last few kept.

A checkpoint is a model file with a `Pause` in it, ``checkpoint-EPOCH-BATCH.h5``.  Which one is the
latest is written nowhere: it is the last by its name of those whose seal holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self
from weakref import WeakSet

from .backend import Backend, get_backend
from .checkpoint import load_model, save_model
from .errors import InputError, ModelFileError, OutputError, path_text, positive, real
from .files import lock, sweep
from .fingerprints import differences, of_machine, other_data
from .losses import LOSSES
from .network import Network
from .run import Plan
from .seal import NewerFormatError
from .state import Pause

__all__ = ["Checkpoint", "Keeper", "get_keeper", "latest"]

_NAME = re.compile(r"checkpoint-(\d{6,})-(\d{6,})\.h5")
_LOCK = ".lock"


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often `train` writes down all that it takes to go on.

    Parameters
    ----------
    folder : path
        Made if it is missing.
    every : int or None
        After so many epochs, and at the start and the end of the run.
    seconds : float or None
        After so many seconds as well, in the middle of an epoch too.
    keep : int
        How many files to keep.
    note : mapping
        Plain data of one's own, which the files keep; a run that goes on keeps what it has unless
        another is given.

    Raises
    ------
    InputError
        If an argument is none of those.
    """

    folder: str | os.PathLike[str]
    every: int | None = 1
    seconds: float | None = None
    keep: int = 3
    note: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path_text(self.folder, "checkpoint")
        if self.every is not None:
            object.__setattr__(self, "every", positive("every", self.every))
        if self.seconds is not None:
            real("seconds", self.seconds, above=0.0)
        positive("keep", self.keep)
        if not isinstance(self.note, Mapping):
            raise InputError(f"note: expected a mapping of names to plain data; got {self.note!r}")
        try:
            json.dumps(self.note, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"note: expected plain data that JSON has; got: {error}") from error


class Keeper:
    """The one run that writes to a checkpoint's folder; it is a context that locks the folder.

    Parameters
    ----------
    checkpoint : Checkpoint
    pause : Pause, optional
        Where the run goes on.
    """

    def __init__(self, checkpoint: Checkpoint, pause: Pause | None = None) -> None:
        self.checkpoint, self.pause = checkpoint, pause
        self.folder = Path(os.path.abspath(checkpoint.folder))  # noqa: PTH100 - keeps links
        self.saved: Path | None = None  #: the last file written
        self.failure: OutputError | None = None  #: why the last one was not
        self.call: dict[str, Any] = {}  #: see `describe`
        self._warned = False
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        if self._lock is None:
            self._take_folder()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()  # and so unlocks it
            self._lock = None

    def _take_folder(self, *, make: bool = True) -> None:
        try:
            if make:
                self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / _LOCK).open("a+b")
        except OSError as error:
            raise OutputError(
                f"{self.folder}: expected a folder that can be written; got: {error.strerror}; "
                "choose another path"
            ) from error
        held = lock(self._lock, wait=False)
        if held is False:
            owner = _owner(self._lock)
            self._lock.close()
            self._lock = None
            raise InputError(
                f"{self.folder}: expected a checkpoint folder that no other run writes to; got one "
                f"that process {owner} trains into; wait for it, or choose another folder"
            )
        _at_work.add(self)
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()).encode())
        self._lock.flush()

    def _keep_folder(self) -> None:
        """Raise `OutputError` unless the folder is still this run's: it may have been removed."""
        held, path = self._lock, self.folder / _LOCK
        if held is not None and path.exists():
            if os.path.samestat(path.stat(), os.fstat(held.fileno())):
                return
            raise OutputError(
                f"{self.folder}: expected the folder that this run has locked; got another run's, "
                "made after this one's was removed"
            )
        self._lock = None
        try:
            self._take_folder(make=False)
        except (InputError, OSError) as error:
            self._lock = held
            raise OutputError(str(error)) from error
        if held is not None:
            held.close()

    def describe(
        self,
        net: Network,
        plan: Plan,
        data: dict[str, Any],
        metrics: Sequence[Any],
        callbacks: Sequence[Any],
        **settings: Any,
    ) -> None:
        """Take down how `train` was called, on what data and which machine.

        Raises `InputError` where the run goes on and these are not its data; warns where the
        machine is another.
        """
        before = {} if self.pause is None else self.pause.call
        self.call = {
            **settings,
            **{key: value for key, value in vars(plan).items() if key != "loss"},
            "metrics": list(map(name_of, metrics)),
            "own_metrics": [name_of(metric) for metric in metrics if not isinstance(metric, str)],
            "own_loss": None if LOSSES.get(plan.loss.name) is plan.loss else plan.loss.name,
            "callbacks": list(map(name_of, callbacks)),
            "data": data,
            "machine": of_machine(net.backend, net.precision),
            "note": dict(self.checkpoint.note) or before.get("note", {}),
        }
        if before:
            self._compare(before)

    def _compare(self, before: Mapping[str, Any]) -> None:
        """Hold the data and the machine of the run *before* against those of now."""
        others = other_data(before["data"], self.call["data"])
        if others:
            raise InputError(
                f"{self.folder}: expected the data of the run; got others: {'; '.join(others)}; "
                "give the same rows, labels, weights and validation data, in the same order"
            )
        others = differences(before["machine"], self.call["machine"])
        if others:
            warnings.warn(
                "the run goes on, but its bits may differ from those of a run that was never "
                f"interrupted: {'; '.join(others)}",
                RuntimeWarning,
                stacklevel=6,  # who called `resume`
            )

    def begin(self, epoch: int) -> None:
        """Prepare for a run that begins after so many epochs.

        Raises `InputError` where the folder has checkpoints of a run that got further.
        """
        self._mark(epoch)
        sweep(self.folder, _NAME.fullmatch)  # of names that may never be written again
        found = files(self.folder)
        if self.pause is None and found and _place(found[-1]) > (epoch, 0):
            raise InputError(
                f"{self.folder}: expected no checkpoints of another run; got {len(found)}, the "
                f"last after epoch {_place(found[-1])[0]}; go on with it by resume, remove them, "
                "or choose another folder"
            )

    def _mark(self, epoch: int) -> None:
        self._epoch, self._time = epoch, time.monotonic()

    def is_late(self) -> bool:
        """Tell whether so many seconds have passed since the last file."""
        seconds = self.checkpoint.seconds
        return seconds is not None and time.monotonic() - self._time >= seconds

    def is_due(self, epoch: int) -> bool:
        """Tell whether to write a file after this *epoch*."""
        every = self.checkpoint.every
        return self.is_late() or (every is not None and epoch - self._epoch >= every)

    def save(self, net: Network, epoch: int, batch: int) -> None:
        """Write *net*, which has its `Pause`; where that fails, warn once, and go on."""
        path = self.folder / f"checkpoint-{epoch:06}-{batch:06}.h5"
        self._mark(epoch)
        try:
            self._keep_folder()
            save_model(net, path)
        except OutputError as error:
            self.failure = error
            self._warn()
            return
        self.saved, self.failure = path, None
        older = [other for other in files(self.folder) if _place(other) < (epoch, batch)]
        for other in older[: max(0, len(older) - self.checkpoint.keep + 1)]:
            with contextlib.suppress(OSError):
                other.unlink()

    def _warn(self) -> None:
        if self._warned or self.saved is None:  # without a first one there is no run
            return
        self._warned = True
        warnings.warn(
            f"a checkpoint could not be written: {self.failure}; {self.saved} stays the last one; "
            "training goes on, and tries again at every checkpoint to come",
            RuntimeWarning,
            stacklevel=2,
        )

    def end(self) -> None:
        """Warn if the end of the run is in no file."""
        if self.failure is not None:
            warnings.warn(
                f"training is over, but its end is in no checkpoint: {self.failure}; the last one "
                f"is {self.saved}; save the model elsewhere",
                RuntimeWarning,
                stacklevel=2,
            )


_at_work: WeakSet[Keeper] = WeakSet()


def _let_go() -> None:
    """In a forked child: hold no folder of its parent's, whom it may outlive."""
    for keeper in list(_at_work):
        keeper.__exit__()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def name_of(part: Any) -> str:
    """Return by what name a metric or a callback is known when it is given again."""
    if isinstance(part, str):
        return part
    name = getattr(part, "name", None) or getattr(part, "__name__", None)
    return str(name or type(part).__name__)


def _owner(file: IO[bytes]) -> str:
    """Return which process holds the lock; it writes that right after taking it."""
    for _ in range(100):
        file.seek(0)
        if number := file.read(20).decode(errors="replace").strip():
            return number
        time.sleep(0.01)
    return "of a number not known"


def get_keeper(checkpoint: Any) -> Keeper:
    """Return the keeper of a folder's path, of a `Checkpoint`, or the one that is given."""
    if isinstance(checkpoint, Keeper):
        return checkpoint
    return Keeper(checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint))


def files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the checkpoints in *folder*, whole or not, in the order of the run."""
    try:
        return sorted(filter(_is_named, Path(folder).iterdir()), key=_place)
    except OSError:
        return []


def _is_named(path: Path) -> bool:
    return _NAME.fullmatch(path.name) is not None


def _place(path: Path) -> tuple[int, int]:
    """Return the epochs and batches done, by the file's name."""
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2])


def latest(
    folder: str | os.PathLike[str], backend: str | Backend | None = None
) -> tuple[Path, Network, Pause]:
    """Return the last checkpoint in *folder* that is whole: its path, its network and its pause.

    It is loaded onto *backend*, by default that of the run.  A damaged file is passed over, with a
    warning.

    Raises
    ------
    ModelFileError
        If there is none, or the last one is of a newer xpnet.
    BackendUnavailable
        If the backend is not to be had here.
    """
    for path in reversed(files(folder)):
        try:
            pause = _pause_of(path, load_model(path, "numpy"))
            target = _backend_of(pause) if backend is None else get_backend(backend)
            net = load_model(path, target)
            return path, net, _pause_of(path, net)
        except NewerFormatError:  # to pass over it would be to write over it
            raise
        except ModelFileError as error:
            warnings.warn(f"passed over a checkpoint: {error}", RuntimeWarning, stacklevel=2)
    raise ModelFileError(
        f"{folder}: expected a folder with checkpoints; got none that is whole; is the path right?"
    )


_KINDS: dict[str, tuple[type, ...]] = {  # of what `Keeper.describe` takes down
    "average": (float,),
    "callbacks": (list,),
    "data": (dict,),
    "early_stopping": (dict, type(None)),
    "epochs": (int,),
    "input_noise": (float,),
    "label_smoothing": (float,),
    "machine": (dict,),
    "max_seconds": (float, type(None)),
    "metrics": (list,),
    "note": (dict,),
    "own_loss": (str, type(None)),
    "own_metrics": (list,),
    "rate_factors": (dict,),
    "shuffle": (bool,),
}


def _pause_of(path: Path, net: Network) -> Pause:
    pause = None if net.training is None else net.training.pause
    if pause is None:
        raise ModelFileError(f"{path}: expected a checkpoint; got a model, of no run to go on with")
    call, facts = pause.call, pause.call.get("data")
    good = set(call) == set(_KINDS) and all(isinstance(call[n], k) for n, k in _KINDS.items())
    good = good and isinstance(facts, dict)
    for fact in facts.values() if good and isinstance(facts, dict) else []:
        good = good and isinstance(fact, dict) and set(fact) == {"shape", "dtype", "sha256"}
    needed = {"good", "start"} if pause.batch else {"good"}
    if not good or not needed <= set(pause.vectors):
        raise ModelFileError(f"{path}: expected a checkpoint of this format; got another's")
    return pause


def _backend_of(pause: Pause) -> Backend:
    """Return the backend that the run was on, with as many threads."""
    machine = pause.call.get("machine", {})
    name, threads = machine.get("backend", "auto"), machine.get("threads")
    return get_backend(name, threads=threads if name == "numpy" else None)
