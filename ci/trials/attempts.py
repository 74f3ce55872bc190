"""One attempt of the trial `fuzz`: in a folder of its own, and what may come of it."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import offers
from hypothesis import HealthCheck, given, settings
from offers import M, N

from xpnet import Checkpoint, Network, XpnetError, save_model, train
from xpnet.hdf5 import MAX_BYTES
from xpnet.jobs import Job


class Leak(AssertionError):  # noqa: N818 - it says what happened
    """Something other than a result or an error of xpnet's own came out of a door."""


_LONGEST = 120  #: seconds for one attempt; then the process ends with all stacks
_OWN_WARNINGS = ("the run goes on", "a checkpoint could", "training is over", "passed over a check")


def attempt(call: Callable[[Any], None], offered: Any) -> None:
    """Do *call* with what is *offered*, in a furnished folder of its own."""
    try:
        with _only_own_warnings(), _furnished(), contextlib.redirect_stdout(io.StringIO()):
            call(offered)
    except XpnetError:
        pass
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        if not _is_of_its_checks(error):
            words = "".join(traceback.format_exception(error)[-6:])
            raise Leak(f"offered {offered!r}: {words}") from None


_CHECKS = {
    "validate_data",
    "check_classification_targets",
    "type_of_target",
    "validate_parameter_constraints",  # of the score
    "_check_targets",
}


def tries(strategy: Any, call: Callable[[Any], None], count: int) -> int:
    """Make *count* attempts, with what Hypothesis draws; return how many there were.

    There are fewer where the *strategy* has no more to offer.  Raises the smallest `Leak` it finds.
    """
    made = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(strategy)
    def one(offered: Any) -> None:
        nonlocal made
        made += 1
        faulthandler.dump_traceback_later(_LONGEST, exit=True)
        attempt(call, offered)
        faulthandler.cancel_dump_traceback_later()

    one()
    return made


def _is_of_its_checks(error: BaseException) -> bool:
    """Tell whether scikit-learn's checks of rows and labels raised *error*, in `BinaryClassifier`.

    Its users expect those, just as they are.
    """
    if not isinstance(error, (ValueError, TypeError)):
        return False
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    checked = any(code.co_name in _CHECKS and "sklearn" in code.co_filename for code in codes)
    return checked and any(Path(code.co_filename).name == "classifier.py" for code in codes)


@contextlib.contextmanager
def _only_own_warnings() -> Iterator[None]:
    """Make an error of every warning that neither xpnet nor scikit-learn gives on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", np.exceptions.VisibleDeprecationWarning)
        for words in _OWN_WARNINGS:
            warnings.filterwarnings("ignore", words, RuntimeWarning)
        yield


@contextlib.contextmanager
def _furnished() -> Iterator[None]:
    """Go to a copy of the folder that `furnish` made, two levels deep, and remove it after."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "inside")
        shutil.copytree(_furniture(), inside, symlinks=True)
        os.chdir(inside)
        try:
            yield
        finally:
            os.chdir(before)


_made: list[tempfile.TemporaryDirectory[str]] = []


def _furniture() -> str:
    if not _made:
        _made.append(tempfile.TemporaryDirectory())
        furnish(Path(_made[0].name))
    return _made[0].name


def network(**options: Any) -> Network:
    """Return a small network."""
    return Network([N, 2, 1], backend="numpy", random_state=0, **options)


def trained() -> Network:
    """Return one that has learnt a little."""
    net, problem = network(), offers.good()
    train(net, problem["X"], problem["y"], optimizer="adam", epochs=1)
    return net


def furnish(folder: Path) -> None:
    """Put what `offers.FILES` names into *folder*: good and bad files of every kind."""
    problem, rng = offers.good(), np.random.default_rng(0)
    pictures = rng.integers(0, 256, (M, 2, 2, 3), dtype="uint8")
    for name, x, y, rows in (
        ("data", "train_set_x", "train_set_y", problem["X"]),
        ("table", "X", "y", problem["X"]),
        ("pictures", "train_set_x", "train_set_y", pictures),
    ):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file[x], file[y] = rows, problem["y"]
    save_model(trained(), folder / "model.h5")
    net = Network([12, 2, 1], backend="numpy", random_state=0)
    train(net, pictures, problem["y"], optimizer="sgd", epochs=1)
    save_model(net, folder / "of_pictures.h5")
    content = (folder / "model.h5").read_bytes()
    (folder / "cut.h5").write_bytes(content[:-100])
    (folder / "garbage.h5").write_bytes(rng.bytes(2000))
    (folder / "half.h5").write_bytes((folder / "data.h5").read_bytes()[:1000])
    (folder / "empty.h5").touch()
    (folder / "no_hdf5.txt").write_text("x,y\n1,2\n")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + rng.bytes(50))
    _picture(folder / "picture.png", pictures[0])
    (folder / "folder").mkdir()
    (folder / "folder.h5").mkdir()
    (folder / "link.h5").symlink_to("data.h5")
    (folder / "lost.h5").symlink_to("nowhere.h5")
    _run(folder, problem)


class Progress:
    """A callback that does nothing, by the name of the command's own."""

    def __call__(self, epoch: Any) -> None:
        """Do nothing."""


def _run(folder: Path, problem: dict[str, Any]) -> None:
    """Leave the checkpoints of `xpnet train data.h5 -o new.h5`, with relative paths."""
    none = dict.fromkeys(Job.__dataclass_fields__)
    job = Job(**none | {"data": "data.h5", "max_bytes": MAX_BYTES, "output": "new.h5", "seed": 1})
    checkpoint = Checkpoint(folder / "run", keep=2, note=asdict(job))
    options = {"epochs": 2, "batch_size": 8, "callback": Progress(), "checkpoint": checkpoint}
    train(network(), **problem, optimizer="adam", **options)


def _picture(path: Path, pixels: np.ndarray) -> None:
    with contextlib.suppress(ImportError):  # without Pillow, no picture is read
        from PIL import Image

        Image.fromarray(pixels).save(path)
