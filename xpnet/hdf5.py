"""A reader of HDF5 files that refuses whatever is not on its list, before it reads a number.

HDF5 can do far more than hold arrays: point into other files, run filter plug-ins, promise
gigabytes that a kilobyte of file stands for.  None of that is needed for data or models, so a
name is walked one component at a time, and every rule of `xpnet.hdf5_rules` is checked before the
first read.  Attributes are never read, and no plug-in is loaded while a file is open.

h5py is imported by the functions, not with this module.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .errors import DataError, XpnetError, path_text
from .hdf5_rules import MAX_OBJECTS, check_array, check_kind, filters, is_name, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from numpy.typing import NDArray

__all__ = [
    "MAX_BYTES",
    "check_dataset",
    "contents",
    "describe",
    "find_dataset",
    "holds",
    "open_file",
    "read_all",
    "read_dataset",
    "read_text",
    "verify",
    "walk",
]

MAX_BYTES = 32 * 2**30  # one array; more than this is asked for by name, with max_bytes=


@contextmanager
def open_file(source: str | os.PathLike[str] | BinaryIO) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Parameters
    ----------
    source : path, or a binary file object such as ``io.BytesIO``
        What to read from.  It is never written to.

    Yields
    ------
    h5py.File

    Raises
    ------
    InputError
        It is neither of these.
    DataError
        The path is missing, a folder or unreadable, or what it holds is no HDF5 file, or is
        truncated or damaged.
    """
    import h5py

    if not hasattr(source, "read"):
        source = path_text(source)
        _check_path(Path(source))
    with _no_plugins():
        with _reading(_label(source)):
            file = h5py.File(source, "r")
        with file:
            yield file


def read_dataset(
    file: h5py.File,
    name: str,
    *,
    shape: tuple[int, ...] | None = None,
    max_bytes: int = MAX_BYTES,
) -> NDArray[Any]:
    """Read one array, in the machine's byte order, after every rule of this module holds.

    Parameters
    ----------
    file : h5py.File
        A file opened by `open_file`.
    name : str
        The path inside the file, such as ``"X"`` or ``"group/X"``.
    shape : tuple of int, optional
        The shape that it must have.
    max_bytes : int
        The most bytes that the array may take in memory.

    Returns
    -------
    ndarray
        Numbers, booleans, or fixed-length byte strings (dtype ``S``).

    Raises
    ------
    DataError
        The name is missing (the message lists what the file holds), breaks a rule, has another
        shape, or cannot be read.
    """
    return _read(find_dataset(file, name, shape=shape, max_bytes=max_bytes), _place(file, name))


def read_all(file: h5py.File) -> dict[str, NDArray[Any]]:
    """Read every array of a file that holds nothing else: plain ones, without chunks or filters.

    Returns them by path, as they lie there, in their own byte order.  Raises `DataError` for
    whatever breaks a rule, anywhere in the file.
    """
    arrays = {}
    for path, kind, item in walk(file):
        place = _place(file, path)
        check_kind(kind, path.rpartition("/")[2], place)
        if kind == "array":
            with _reading(place):
                check_array(item, place, max_bytes=MAX_BYTES, plain=True)
                arrays[path] = np.asarray(item[()])
    return arrays


def read_text(file: h5py.File, name: str, *, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Read fixed-length byte strings as text, strictly in UTF-8, and numbers as they are.

    Parameters and errors are those of `read_dataset`.
    """
    values = read_dataset(file, name, max_bytes=max_bytes)
    if values.dtype.kind != "S":
        return values
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as problem:
        place = _place(file, name)
        raise DataError(
            f"{place}: expected text in UTF-8; got {problem}; encode it so"
        ) from problem


def find_dataset(
    file: h5py.File,
    name: str,
    *,
    shape: tuple[int, ...] | None = None,
    max_bytes: int = MAX_BYTES,
) -> h5py.Dataset:
    """Return the handle of an array that `read_dataset` would accept, without reading it.

    Parameters and errors are those of `read_dataset`.
    """
    place = _place(file, name)
    with _reading(place):
        item, seen = file["/"], set()
        for part in name.removeprefix("/").split("/"):
            seen.add(item)
            kind, item = _look(item, part, seen)
            check_kind(kind, part, place)
            if kind == "nothing":
                raise DataError(f"{place} is not in the file, which holds {contents(file)}")
        if kind != "array":
            raise DataError(f"{place} is no array; the file holds {contents(file)}")
        check_array(item, place, max_bytes=max_bytes, shape=shape)
    return item


def holds(file: h5py.File, name: str) -> bool:
    """Return whether *file* has a link *name* at its top, without following it."""
    return bool(_link(file, name))


def contents(file: h5py.File, limit: int = 20) -> str:
    """Return names, shapes and dtypes of the arrays in *file*, at most *limit*, in one line.

    Raises `DataError` where the file is damaged or holds too many objects.
    """
    found = (f"{path!r} {_words(kind, item)}" for path, kind, item in walk(file) if kind != "group")
    first = list(islice(found, limit + 1))
    if not first:
        return "no arrays"
    return ", ".join(first[:limit]) + (", …" if len(first) > limit else "")


def walk(file: h5py.File) -> Iterator[tuple[str, str, Any]]:
    """Yield the path, the kind and the object of everything that hard links lead to.

    A kind is ``"array"``, ``"group"``, or one that `hdf5_rules.check_kind` refuses; what is refused
    is not opened, and its object is None.  Raises `DataError` where the file is damaged or holds
    more than `MAX_OBJECTS`.
    """
    place, total = _place(file, "/"), 0
    with _reading(place):
        seen, waiting = set(), [("", file["/"])]
        while waiting:
            prefix, group = waiting.pop()
            seen.add(group)
            total += len(group)  # before their names are listed
            if total > MAX_OBJECTS:
                raise DataError(
                    f"{place}: expected at most {MAX_OBJECTS:,} objects; got {total:,} at "
                    f"{'/' + prefix!r}; keep the arrays in a file of their own"
                )
            for name in group:
                kind, item = _look(group, name, seen)
                path = f"{prefix}{name if isinstance(name, str) else ascii(name)}"
                if kind == "group":
                    seen.add(item)
                    waiting.append((f"{path}/", item))
                yield path, kind, item


def check_dataset(dataset: h5py.Dataset, place: str, max_bytes: int = MAX_BYTES) -> None:
    """Raise `DataError` for an array from `walk`, called *place*, that `read_dataset` refuses."""
    with _reading(place):
        check_array(dataset, place, max_bytes=max_bytes)


def verify(dataset: h5py.Dataset) -> None:
    """Read an array once, a part at a time, where it carries checksums or is compressed.

    Raises `DataError` where one does not fit.
    """
    if dataset.chunks and dataset.size:
        with _reading(_place(dataset.file, dataset.name)):
            for part in dataset.iter_chunks():
                _ = dataset[part]


def describe(dataset: h5py.Dataset) -> str:
    """Return the shape, the type and the storage of an array that keeps the rules, in words."""
    storage = f"in chunks of {dataset.chunks}" if dataset.chunks else "contiguous"
    names = [name for _, name in filters(dataset.id.get_create_plist())]
    return " · ".join([f"{dataset.shape} {dataset.dtype}", storage, *names])


def _check_path(path: Path) -> None:
    """Refuse what is no HDF5 file, in the words of the reason."""
    import h5py

    if os.path.isdir(path):  # noqa: PTH112 - a Path's own raises an error for too long a name
        raise DataError(f"{path}: expected an HDF5 file; got a folder")
    if not os.path.exists(path):  # noqa: PTH110
        raise DataError(f"{path}: no such file; check the path")
    if not path.is_file():  # opening a pipe would wait for ever
        raise DataError(f"{path}: expected an HDF5 file; got a pipe or device")
    try:
        path.open("rb").close()
    except OSError as problem:
        raise DataError(f"{path}: cannot be opened: {problem.strerror}") from problem
    if not h5py.is_hdf5(path):
        raise DataError(f"{path}: not an HDF5 file; expected one, as h5py writes it")


#: What h5py raises on bad files.
_FAULTS = (ArithmeticError, LookupError, OSError, RuntimeError, SystemError, TypeError, ValueError)


#: What HDF5 says of a file that another process has open, or had when it died.
_BEING_WRITTEN = ("unable to lock file", "already open for")


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Turn whatever the HDF5 library raises on a bad file into one `DataError`."""
    try:
        yield
    except XpnetError:
        raise
    except _FAULTS as problem:
        if any(words in str(problem) for words in _BEING_WRITTEN):
            raise DataError(
                f"{place}: expected a file that nobody writes to; got one that is open for "
                f"writing; wait until it is closed, or run h5clear if its writer died ({problem})"
            ) from problem
        fault = "truncated" if "truncated" in str(problem) else "damaged or not readable"
        raise DataError(
            f"{place}: the file is {fault}; expected a whole HDF5 file, so copy or download it "
            f"again ({problem})"
        ) from problem


def _label(source: object) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else "HDF5 data"


def _place(file: h5py.File, name: str) -> str:
    """Return the words that every message about *name* begins with."""
    label = "HDF5 data" if file.driver == "fileobj" else file.filename
    return f"{label}: {name!r}"


def _link(group: h5py.Group, name: str) -> str:
    """Return ``hard``, ``soft``, ``external``, ``user-defined``, or ``""`` where none is."""
    import h5py

    links, key = group.id.links, name.encode(errors="surrogateescape")
    if not links.exists(key):
        return ""
    kinds = {
        h5py.h5l.TYPE_HARD: "hard",
        h5py.h5l.TYPE_SOFT: "soft",
        h5py.h5l.TYPE_EXTERNAL: "external",
    }
    return kinds.get(links.get_info(key).type, "user-defined")


def _look(group: Any, name: str | bytes, seen: set[Any]) -> tuple[str, Any]:
    """Return what the link *name* is or leads to, and the object if that is to be opened.

    Of a group that was *seen* before, on the way or elsewhere, it says that this is a cycle.
    """
    import h5py

    if not is_name(name):
        return "strange name", None
    link = _link(group, str(name)) if isinstance(group, h5py.Group) else ""
    if link != "hard":
        return f"{link} link" if link else "nothing", None
    item = group[name]
    if isinstance(item, h5py.Group):
        return ("cycle", None) if item in seen else ("group", item)
    return ("array", item) if isinstance(item, h5py.Dataset) else ("named type", None)


def _words(kind: str, item: Any) -> str:
    """Return a few words on an object, which may break any rule."""
    import h5py

    if kind != "array":
        return f"({kind})"
    if item.id.get_create_plist().get_layout() == h5py.h5d.VIRTUAL:
        return "(virtual)"  # to ask for its shape opens other files
    return f"{item.shape} {type_name(item)}"


def _read(dataset: h5py.Dataset, place: str) -> NDArray[Any]:
    """Read an array in the machine's byte order."""
    with _reading(place):
        array = np.asarray(dataset[()])
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# --- plug-ins -------------------------------------------------------------------------------------

_lock = threading.Lock()
_readers = 0
_search_paths: list[bytes] = []


@contextmanager
def _no_plugins() -> Iterator[None]:
    """Empty the library's list of places to load filters from, while any file is open here.

    `hdf5_rules` refuses unknown filters of arrays; this holds for the filters of groups as well,
    which the library runs before anything can be asked.
    """
    from h5py import h5pl

    global _readers
    with _lock:
        _readers += 1
        if _readers == 1:
            _search_paths[:] = [h5pl.get(k) for k in range(h5pl.size())]
            for _ in _search_paths:
                h5pl.remove(0)
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                for path in _search_paths:
                    h5pl.append(path)
