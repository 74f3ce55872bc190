"""What the command reads: rows and labels from data files, pictures, and where it may write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .checks import check_finite, check_labels, check_X, same_classes
from .console import count
from .data import Dataset, load, load_hdf5, load_picture
from .errors import DataError, InputError, OutputError
from .files import check_writable
from .hdf5 import MAX_BYTES, contents, holds, open_file, read_dataset

if TYPE_CHECKING:
    import h5py

_DATA_ENDINGS = (".h5", ".hdf5")


def load_rows(
    path: str | None,
    part: Literal["train", "test"],
    names: tuple[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Dataset:
    """Load the arrays of these *names* from a data file, or what `_find` finds; else circles."""
    if path is None:
        return load(None, part)
    with open_file(path) as file:
        x, y = names or _find(file, part)
    if not is_data(path):
        raise DataError(f"{path}: expected a data file ending in {' or '.join(_DATA_ENDINGS)}")
    rows = load_hdf5(path, X=x, y=y, max_bytes=max_bytes)
    check_finite(rows.X, f"{path}: {x}")
    return rows


def _find(file: h5py.File, part: Literal["train", "test"]) -> tuple[str, str]:
    """Return the names of rows and labels: of *part* if it is there, else of all there is."""
    sets = (part, "test" if part == "train" else "train")
    layouts = [*((f"{name}_set_x", f"{name}_set_y") for name in sets), ("X", "y")]
    for names in layouts:
        if holds(file, names[0]):
            return names
    expected = ", or ".join(" and ".join(names) for names in layouts)
    raise DataError(
        f"{file.filename}: expected {expected}; got {contents(file)}; name the rows with --x, and "
        "labels, where they are needed, with --y"
    )


@contextmanager
def about(path: str | None) -> Iterator[None]:
    """What is refused in here came from *path*, and the message says so."""
    try:
        yield
    except InputError as error:
        raise DataError(f"{path or 'circles, as no DATA is named'}: {error}") from error


def classes_of(rows: Dataset, path: str | None) -> Any:
    """Return the two classes of *rows*, which came from *path*."""
    with about(path):
        return check_labels(rows.y, rows.classes)[1]


def width(rows: Dataset) -> int:
    """Return the number of features of *rows*."""
    return int(np.prod(rows.X.shape[1:]))


def check_outputs(outputs: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Find out now whether every file can be written, none of them over another."""
    taken = {Path(path).resolve() for path in inputs if path is not None}
    for output in (output for output in outputs if output is not None):
        path = Path(output).resolve()
        if path in taken:
            raise OutputError(
                f"{output}: expected a name of its own for what is written; got a file that this "
                "command reads or writes as well; choose another"
            )
        taken.add(path)
        check_writable(output)


def read_input(
    path: str | None,
    x: str | None,
    features: int,
    picture_shape: tuple[int, ...] | None,
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Read rows for a model of *features*, maybe of pictures of that shape.

    They come from a picture, or from a data file, where they are called *x* and need no labels.
    """
    if path is None:
        return load(None, "test").X
    if not is_data(path):
        if picture_shape is None:
            raise InputError(
                f"{path}: expected a data file, {' or '.join(_DATA_ENDINGS)}: this model takes "
                f"rows of {count(features, 'feature')}, no pictures"
            )
        return load_picture(path, picture_shape)
    with open_file(path) as file:
        name = _find(file, "test")[0] if x is None else x
        X = check_X(read_dataset(file, name, max_bytes=max_bytes), f"{path}: {name}")
    check_finite(X, f"{path}: {name}")
    return X


def check_tests(tests: Dataset, path: str | None, rows: Dataset, pair: Any) -> None:
    """Check that the *tests* of *path* are like the *rows* of two classes to train on."""
    with about(path):
        same_classes(tests.classes, pair)
        check_labels(tests.y, pair, both=False)
        if width(tests) != width(rows):
            expected = f"rows of {count(width(rows), 'feature')}, as for training"
            raise InputError(f"X: expected {expected}; got {width(tests):,}")


def is_data(path: str) -> bool:
    """Tell whether *path* is named like a data file."""
    return Path(path).suffix.lower() in _DATA_ENDINGS
