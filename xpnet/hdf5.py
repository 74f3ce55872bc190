"""A reader of HDF5 files that refuses whatever is not on its list, before it reads a number.

HDF5 can do far more than hold arrays: point into other files, run filter plug-ins, promise
gigabytes that a kilobyte of file stands for.  None of that is needed for data or models, so a
name is walked one component at a time and each rule below is checked before the first read:

==============  ================================================================================
what            accepted
==============  ================================================================================
names           parts of 1 to 255 bytes between slashes; no ``.``, ``..`` or NUL
links           hard links
types           integers, floats up to 8 bytes, h5py's booleans, fixed-length strings
storage         in the file itself, every part of it written
filters         gzip, shuffle, fletcher32, lzf
size            at most ``max_bytes``, and no more than the stored bytes can hold
==============  ================================================================================

Attributes are never read.  h5py is imported by the functions, not with this module.
"""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .errors import DataError, XpnetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import h5py
    from numpy.typing import NDArray

__all__ = [
    "MAX_BYTES",
    "contents",
    "find_dataset",
    "holds",
    "open_file",
    "read_dataset",
    "read_text",
]

MAX_BYTES = 32 * 2**30  # one array; more than this is asked for by name, with max_bytes=

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # HDF5's registered numbers
_COMPRESSION = {1, 32000}
_BEST_RATIO = 1100  # deflate cannot reach more than 1032 : 1
_TYPES = (  # in the order of HDF5's H5T_class_t
    *("integer", "float", "time", "string", "bitfield", "opaque"),
    *("compound", "reference", "enum", "variable-length", "array", "complex"),
)


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
    DataError
        The path is missing, a folder or unreadable, or what it holds is no HDF5 file, or is
        truncated or damaged.
    """
    import h5py

    if isinstance(source, (str, os.PathLike)):
        _check_path(Path(source))
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
    dataset = find_dataset(file, name, shape=shape, max_bytes=max_bytes)
    with _reading(_place(file, name)):
        array = np.asarray(dataset[()])
    return array.astype(array.dtype.newbyteorder("="), copy=False)


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
    import h5py

    place = _place(file, name)
    with _reading(place):
        item: Any = file
        for part in _parts(name, place):
            item = _step(file, item, part, place)
        if not isinstance(item, h5py.Dataset):
            raise DataError(f"{place} is no array; the file holds {contents(file)}")
        _check_type(item, place)
        _check_storage(item, place)
        _check_size(item, place, max_bytes)
        if shape is not None and item.shape != shape:
            raise DataError(f"{place}: expected shape {shape}; got {item.shape}")
    return item


def holds(file: h5py.File, name: str) -> bool:
    """Return whether *file* has a link *name* at its top, without following it."""
    return bool(_link(file, name))


def contents(file: h5py.File, limit: int = 20) -> str:
    """Return names, shapes and dtypes of the arrays in *file*, at most *limit*, in one line.

    Raises `DataError` where the file is damaged.
    """
    with _reading(_place(file, "/")):
        found = list(islice(_walk(file), limit + 1))
    if not found:
        return "no arrays"
    return ", ".join(found[:limit]) + (", …" if len(found) > limit else "")


def _walk(file: h5py.File) -> Iterator[str]:
    """Yield a few words on everything in *file* that hard links lead to."""
    import h5py

    seen = set()  # hard links can form a cycle
    waiting: list[tuple[str, Any]] = [("", file)]
    while waiting:
        prefix, group = waiting.pop()
        for name in group:
            path, link = prefix + name, _link(group, name)
            item = group[name] if link == "hard" else None
            if isinstance(item, h5py.Group):
                if item not in seen:
                    seen.add(item)
                    waiting.append((path + "/", item))
            elif isinstance(item, h5py.Dataset):
                yield f"{path!r} {item.shape} {_type_name(item)}"
            else:
                yield f"{path!r} ({f'a link, {link}' if item is None else 'a named type'})"


def _check_path(path: Path) -> None:
    """Refuse what is no HDF5 file, in the words of the reason."""
    import h5py

    if path.is_dir():
        raise DataError(f"{path}: expected an HDF5 file; got a folder")
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    if not path.is_file():  # opening a pipe would wait for ever
        raise DataError(f"{path}: expected an HDF5 file; got a pipe or device")
    try:
        path.open("rb").close()
    except OSError as problem:
        raise DataError(f"{path}: cannot be opened: {problem.strerror}") from problem
    if not h5py.is_hdf5(path):
        raise DataError(f"{path}: not an HDF5 file; expected one, as h5py writes it")


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Turn whatever the HDF5 library raises on a bad file into one `DataError`."""
    try:
        yield
    except XpnetError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as problem:
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


def _parts(name: str, place: str) -> list[str]:
    parts = name.removeprefix("/").split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part or len(part.encode(errors="replace")) > 255:
            raise DataError(
                f"{place}: expected names of 1 to 255 bytes between single slashes, without "
                f"'.', '..' or NUL; got {part[:40]!r}"
            )
    return parts


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


def _step(file: h5py.File, group: Any, part: str, place: str) -> Any:
    """Follow one component of a path, by a hard link only."""
    import h5py

    link = _link(group, part) if isinstance(group, h5py.Group) else ""
    if not link:
        raise DataError(f"{place} is not in the file, which holds {contents(file)}")
    if link != "hard":
        raise DataError(
            f"{place}: expected a hard link; got a link of the {link} kind at {part!r}; "
            "copy the array itself into the file"
        )
    return group[part]


def _type_name(dataset: h5py.Dataset) -> str:
    try:
        return "empty" if dataset.shape is None else str(dataset.dtype)
    except (TypeError, ValueError, RuntimeError):  # a type that NumPy has no word for
        return _TYPES[dataset.id.get_type().get_class()]


def _check_type(dataset: h5py.Dataset, place: str) -> None:
    import h5py

    kind = dataset.id.get_type()
    name = _TYPES[kind.get_class()]
    if name == "string":
        name = "variable-length string" if kind.is_variable_str() else name
        accepted = name == "string"
    elif name in ("integer", "float", "enum"):  # h5py stores booleans as an enum
        accepted = dataset.dtype.itemsize <= 8 and not h5py.check_enum_dtype(dataset.dtype)
    else:
        accepted = False
    if not accepted:
        raise DataError(
            f"{place}: expected integers, floats of at most 8 bytes, booleans or fixed-length "
            f"strings; got type {name} ({_type_name(dataset)}); convert it first, strings with "
            "np.char.encode(names, 'utf-8')"
        )
    if dataset.shape is None:
        raise DataError(f"{place}: expected an array; got an empty (null) dataspace")


def _check_storage(dataset: h5py.Dataset, place: str) -> None:
    """Refuse numbers that lie outside the file, and filters that may be plug-ins."""
    import h5py

    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        raise DataError(f"{place} is a virtual data set; expected numbers stored in this file")
    if plan.get_external_count():
        raise DataError(f"{place} has external storage; expected numbers stored in this file")
    for index in range(plan.get_nfilters()):
        code, _, _, title = plan.get_filter(index)
        if code not in _FILTERS:
            raise DataError(
                f"{place}: expected filters of {', '.join(_FILTERS.values())}; got number {code} "
                f"({title.decode(errors='replace')!r}); write it again with compression='gzip'"
            )


def _check_size(dataset: h5py.Dataset, place: str, max_bytes: int) -> None:
    """Refuse more bytes than are wanted, or than the file can hold."""
    plan, declared, whole = dataset.id.get_create_plist(), dataset.nbytes, True
    if dataset.chunks:
        # Edge chunks are stored, and read, in full.
        grid = zip(dataset.shape, dataset.chunks, strict=True)
        count = math.prod(-(-length // chunk) for length, chunk in grid)
        declared = count * math.prod(dataset.chunks) * dataset.dtype.itemsize
        whole = dataset.id.get_num_chunks() >= count
    if declared > max_bytes:
        raise DataError(
            f"{place} declares {declared:,} bytes; expected max_bytes={max_bytes:,}"
            " or less; raise that limit if the size is right"
        )
    codes = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    stored, size = dataset.id.get_storage_size(), dataset.file.id.get_filesize()
    ratio = _BEST_RATIO if codes & _COMPRESSION else 1
    if not whole or declared > ratio * stored or stored > size:
        raise DataError(
            f"{place} declares {declared:,} bytes of {dataset.shape} {dataset.dtype}, but stores "
            f"{stored:,} of a file of {size:,}; expected all of them; was it written to the end?"
        )
