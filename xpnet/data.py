"""Data sets: rows or pictures with two kinds of label, from HDF5 files, generated, or in memory.

Everything lies on the host and is checked before any work.  Pictures stay ``uint8``: the engine
scales them on the device.  h5py, scikit-learn and Pillow are imported only where they are used.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .checks import check_labels, check_lengths, check_X
from .errors import DataError, InputError, path_text, positive, real, unknown
from .hdf5 import MAX_BYTES, contents, find_dataset, holds, open_file, read_dataset, read_text
from .initializers import RandomSource, draw_seed

if TYPE_CHECKING:
    import os

    import h5py
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["Dataset", "circles", "load", "load_hdf5", "load_picture", "split"]

Split = Literal["train", "test"]

LAYOUTS: dict[
    str | None, tuple[str, str]
] = {  # the names that load_hdf5 knows, in the order in which it looks for them
    "train": ("train_set_x", "train_set_y"),
    "test": ("test_set_x", "test_set_y"),
    None: ("X", "y"),
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples ``X`` and their labels ``y``.

    ``X`` holds rows ``(m, n)``, or ``uint8`` pictures ``(m, h, w)`` or ``(m, h, w, c)``; ``y`` is
    ``(m,)``; ``classes`` are its two labels, negative first, or None where the source does not
    state them; ``name`` says where all came from.  Raises `InputError` where the lengths differ.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    classes: tuple[Any, Any] | None = None
    name: str = "data"

    def __post_init__(self) -> None:
        check_lengths(self.X, self.y)

    def __len__(self) -> int:
        return len(self.X)

    @property
    def picture_shape(self) -> tuple[int, ...] | None:
        """The shape ``(h, w)`` or ``(h, w, c)`` of one picture; None for rows."""
        return self.X.shape[1:] if self.X.ndim > 2 else None


# --- from files -----------------------------------------------------------------------------------


def load(path: str | os.PathLike[str] | None = None, split: Split | None = None) -> Dataset:
    """Load what a user named: an HDF5 file by `load_hdf5`, or the two circles for None.

    The circles are split by `split`, and a *split* of None takes their training part.  Raises
    `DataError` where the path does not end in ``.h5`` or ``.hdf5``, or the file cannot be used.
    """
    if path is None:
        return _circles_part(split)
    if Path(path_text(path)).suffix.lower() not in (".h5", ".hdf5"):
        raise DataError(f"{path}: expected a data file ending in .h5 or .hdf5")
    return load_hdf5(path, split)


def load_hdf5(
    path: str | os.PathLike[str],
    split: Split | None = None,
    *,
    X: str | None = None,
    y: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Dataset:
    """Load a data set from an HDF5 file.

    Parameters
    ----------
    path : path
        A file of ``train_set_x`` and ``train_set_y``, ``test_set_x`` and ``test_set_y``, or ``X``
        and ``y``; labels of shape ``(m,)``, ``(m, 1)`` or ``(1, m)``; byte strings are UTF-8.
        Where it has ``list_classes``, two names, labels 0 and 1 become these, in this order.
    split : {"train", "test"}, optional
        The set to take; None takes the first of those above that is there.
    X, y : str, optional
        The names of the two arrays, where they are others.
    max_bytes : int
        The most bytes that one array may take in memory.

    Raises
    ------
    InputError
        The arguments contradict one another.
    DataError
        A missing, damaged or other file; missing names (it lists what is there); an array that
        breaks a rule of `xpnet.hdf5`, is empty or of wrong shape or type; lengths that differ.
    """
    with open_file(path) as file:
        x_name, y_name = _names(file, split, X, y)
        check_declared(file, x_name, y_name, max_bytes)
        labels = read_text(file, y_name, max_bytes=max_bytes).ravel()
        classes = class_names(file) if holds(file, "list_classes") else None
        labels = _named(labels, classes, f"{path}: {y_name!r}") if classes else labels
        rows = read_dataset(file, x_name, max_bytes=max_bytes)
    return Dataset(rows, labels, classes, Path(path).stem)


def _names(file: h5py.File, split: Split | None, X: str | None, y: str | None) -> tuple[str, str]:
    """Return the names of the two arrays to read."""
    if X is not None or y is not None:
        if X is not None and y is not None and split is None:
            return X, y
        raise InputError("expected both X= and y= as names, without split, or neither of them")
    layouts = list(LAYOUTS.values()) if split is None else [LAYOUTS[_part(split)]]
    for names in layouts:
        if all(holds(file, name) for name in names):
            return names
    expected = ", or ".join(" and ".join(names) for names in layouts)
    remedy = "name the arrays with X= and y=" + " and no split" * (split is not None)
    raise DataError(f"{file.filename}: expected {expected}; got {contents(file)}; {remedy}")


def check_declared(file: h5py.File, x_name: str, y_name: str, max_bytes: int) -> None:
    """Check what a file declares of rows and labels, so that nothing large is read in vain.

    Raises `DataError` as `load_hdf5` does.
    """
    X = find_dataset(file, x_name, max_bytes=max_bytes)
    y = find_dataset(file, y_name, max_bytes=max_bytes)
    try:
        if y.ndim != 1 and not (y.ndim == 2 and 1 in y.shape):
            expected = "labels of shape (m,), (m, 1) or (1, m)"
            raise InputError(f"{y_name!r}: expected {expected}; got {y.shape}")
        check_X(X, repr(x_name))
        check_lengths(X, range(y.size), (repr(x_name), repr(y_name)))
    except InputError as problem:
        raise DataError(f"{file.filename}: {problem}") from problem


def class_names(file: h5py.File) -> tuple[str, str]:
    """Return the two names in ``list_classes``; raise `DataError` if it holds something else."""
    stored, place = find_dataset(file, "list_classes"), f"{file.filename}: 'list_classes'"
    if stored.shape != (2,) or stored.dtype.kind != "S":
        came = f"{stored.dtype} of shape {stored.shape}"
        raise DataError(f"{place}: expected two names in fixed-length bytes; got {came}")
    first, second = read_text(file, "list_classes").tolist()
    if first == second:
        raise DataError(f"{place}: expected two different names; got {first!r:.80} twice")
    return first, second


def _named(y: NDArray[Any], classes: tuple[str, str], place: str) -> NDArray[Any]:
    """Replace labels 0 and 1 by their names."""
    odd = y[(y != 0) & (y != 1)]
    if odd.size:
        expected = "labels 0 and 1, which list_classes names"
        came = f"{odd.size:,} others, such as {odd[0].item()!r}"
        raise DataError(f"{place}: expected {expected}; got {came}")
    return np.array(classes)[y.astype(np.intp)]


def load_picture(path: str | os.PathLike[str], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Load a PNG or JPEG of any size and mode as ``uint8`` of shape ``(1, *shape)``.

    *shape* is the model's `Dataset.picture_shape`: ``(h, w)`` or ``(h, w, 1)`` for grey,
    ``(h, w, 3)`` for RGB.  The picture is turned upright (EXIF), laid on white where it is
    transparent, and stretched to the new size (Lanczos).

    Raises
    ------
    InputError
        Pillow is not installed, or *shape* is none of the above.
    DataError
        The path is missing, a folder, no such picture, damaged, or huge when unpacked.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as problem:
        raise InputError("pictures need Pillow: pip install 'xpnet[plot]'") from problem
    _check_picture_shape(shape)
    path = path_text(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                picture = _upright(image, "RGB" if shape[2:] == (3,) else "L")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise DataError(f"{path}: too many pixels; make it smaller: {problem}") from problem
    except UnidentifiedImageError as problem:
        raise DataError(
            f"{path}: expected a PNG or JPEG picture; got a file of another kind; convert it"
        ) from problem
    except Exception as problem:  # a decoder of damaged bytes may raise anything
        missing = getattr(problem, "strerror", None)
        came = f"{missing}; check the path" if missing else f"{problem}; save it anew"
        raise DataError(f"{path}: expected a PNG or JPEG picture; got: {came}") from problem
    resized = picture.resize((shape[1], shape[0]), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8).reshape(1, *shape)


def _check_picture_shape(shape: Any) -> None:
    good = isinstance(shape, tuple) and shape[2:] in ((), (1,), (3,)) and len(shape) > 1
    if not good or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise InputError(
            "shape: expected (h, w), (h, w, 1) or (h, w, 3), a tuple of integers above 0; "
            f"got {shape!r}"
        )


def _upright(image: Image, mode: str) -> Image:
    """Return a copy of *image* the right way up, opaque, in *mode*."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip and not scale
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        opaque = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return upright.convert(mode)


# --- generated, and split -------------------------------------------------------------------------


def circles(
    n_samples: int = 1000,
    *,
    noise: float = 0.1,
    factor: float = 0.5,
    random_state: RandomSource = 0,
) -> Dataset:
    """Draw an outer circle of radius 1 and an inner one: `sklearn.datasets.make_circles`.

    *noise* is the standard deviation of each coordinate and *factor* the inner radius.  ``X`` is
    ``(n_samples, 2)`` float64, ``y`` says ``"outer"`` or ``"inner"`` (positive).  Raises
    `InputError` for an argument out of range.
    """
    from sklearn.datasets import make_circles

    seed = draw_seed(random_state)
    n_samples = positive("n_samples", n_samples)
    noise, factor = real("noise", noise, least=0.0), real("factor", factor, least=0.0, below=1.0)
    X, y = make_circles(n_samples, noise=noise, factor=factor, random_state=seed)
    classes = ("outer", "inner")
    return Dataset(X, np.array(classes)[y], classes, "circles")


def split(
    dataset: Dataset, test_fraction: float = 0.2, random_state: RandomSource = 0
) -> tuple[Dataset, Dataset]:
    """Split a data set at random, each class in the same proportion, into ``(train, test)``.

    *test_fraction* lies between 0 and 1.  Raises `InputError` where it does not, where the labels
    are not of two classes, or where one has too few for both parts.
    """
    from sklearn.model_selection import train_test_split

    labels, _ = check_labels(dataset.y, dataset.classes)
    test_fraction = real("test_fraction", test_fraction, above=0.0, below=1.0)
    seed = draw_seed(random_state)
    rows, options = np.arange(len(dataset)), {"random_state": seed, "stratify": labels}
    try:
        parts = train_test_split(rows, test_size=test_fraction, **options)
    except ValueError as problem:
        raise InputError(f"expected enough of each class to split; got: {problem}") from problem
    train, test = (
        Dataset(dataset.X[part], dataset.y[part], dataset.classes, f"{dataset.name} ({name})")
        for part, name in zip(parts, ("train", "test"), strict=True)
    )
    return train, test


def _circles_part(part: Split | None) -> Dataset:
    return split(circles())[_part(part) == "test"]


def _part(name: Any) -> str | None:
    """Return the *name* of a part of the data, or None, if it is either."""
    if name is None or (isinstance(name, str) and name in LAYOUTS):
        return name
    raise unknown("split", name, map(str, LAYOUTS))
