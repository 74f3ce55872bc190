"""What is accepted of an HDF5 file, rule by rule; `xpnet.hdf5` applies them before it reads.

==============  ================================================================================
what            accepted
==============  ================================================================================
names           parts of 1 to 255 bytes of UTF-8 between slashes; no ``.``, ``..`` or NUL
links           hard links, and only one to a group
objects         groups and arrays, at most `MAX_OBJECTS`
types           NumPy's integers, floats up to 8 bytes, booleans, fixed-length strings
storage         in the file itself, every part of it written
filters         gzip, shuffle, fletcher32, lzf
size            at most ``max_bytes``, no more than the stored bytes can hold, and no less
==============  ================================================================================

A refusal names the file, the path inside it and the rule.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .errors import DataError

if TYPE_CHECKING:
    import h5py

__all__ = ["MAX_OBJECTS", "check_array", "check_kind", "filters", "is_name", "type_name"]

MAX_OBJECTS = 100_000  #: groups and arrays that are looked at in one file

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}  # HDF5's registered numbers
_COMPRESSION = {1, 32000}
_BEST_RATIO = 1100  # deflate cannot reach more than 1032 : 1
_CHUNK_OVERHEAD = 64  # bytes that a filter may add to a chunk, beside a hundredth of it
_TYPES = (  # in the order of HDF5's H5T_class_t
    *("integer", "float", "time", "string", "bitfield", "opaque"),
    *("compound", "reference", "enum", "variable-length", "array", "complex"),
)
_KINDS = {  # what a link may lead to, beside an array or a group: the rule, and the remedy
    "strange name": (
        "names of 1 to 255 bytes of UTF-8 between single slashes, without '.', '..' or NUL",
        "rename it",
    ),
    "soft link": ("a hard link", "copy the array itself into the file"),
    "external link": ("a hard link", "copy the array itself into the file"),
    "user-defined link": ("a hard link", "copy the array itself into the file"),
    "cycle": ("one hard link to a group", "remove the link that leads back"),
    "named type": ("groups and arrays", "remove the type"),
}


def is_name(part: str | bytes) -> bool:
    """Tell whether *part*, as h5py gives it, may be one component of a path."""
    if not isinstance(part, str) or part in ("", ".", "..") or "\0" in part:
        return False
    try:
        return len(part.encode()) <= 255
    except UnicodeEncodeError:
        return False


def check_kind(kind: str, part: str, place: str) -> None:
    """Refuse what a link called *part* is, or leads to, unless it is an array or a group."""
    if kind in _KINDS:
        expected, remedy = _KINDS[kind]
        raise DataError(f"{place}: expected {expected}; got {kind} {part[:40]!r}; {remedy}")


def check_array(
    dataset: h5py.Dataset,
    place: str,
    *,
    max_bytes: int,
    plain: bool = False,
    shape: tuple[int, ...] | None = None,
) -> None:
    """Refuse an array that breaks a rule; *plain* ones have neither chunks nor filters."""
    plan = dataset.id.get_create_plist()
    _check_layout(plan, place, plain)  # first: a virtual data set asks other files for its shape
    _check_filters(plan, place)
    _check_type(dataset, place)
    _check_size(dataset, place, max_bytes)
    if shape is not None and dataset.shape != shape:
        raise DataError(f"{place}: expected shape {shape}; got {dataset.shape}")


def filters(plan: Any) -> list[tuple[int, str]]:
    """Return the number and the name of each filter of a creation property list."""
    found = [plan.get_filter(index) for index in range(plan.get_nfilters())]
    return [
        (code, _FILTERS.get(code) or title.decode(errors="replace")) for code, _, _, title in found
    ]


def type_name(dataset: h5py.Dataset) -> str:
    """Return the type in NumPy's words where it has some, else in HDF5's."""
    import h5py

    if dataset.id.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return "empty"
    try:
        return str(dataset.dtype)
    except (TypeError, ValueError, RuntimeError):
        return _TYPES[dataset.id.get_type().get_class()]


def _check_layout(plan: Any, place: str, plain: bool) -> None:
    """Refuse numbers that lie outside the file."""
    import h5py

    layout = plan.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise DataError(f"{place} is a virtual data set; expected numbers stored in this file")
    if plan.get_external_count():
        raise DataError(f"{place} has external storage; expected numbers stored in this file")
    if plain and layout == h5py.h5d.CHUNKED:
        raise DataError(f"{place} is stored in chunks; expected contiguous numbers")


def _check_filters(plan: Any, place: str) -> None:
    """Refuse filters that may be plug-ins."""
    for code, title in filters(plan):
        if code not in _FILTERS:
            raise DataError(
                f"{place}: expected filters of {', '.join(_FILTERS.values())}; got number {code} "
                f"({title!r}); write it again with compression='gzip'"
            )


def _check_type(dataset: h5py.Dataset, place: str) -> None:
    kind = dataset.id.get_type()
    name = _TYPES[kind.get_class()]
    if name == "string":
        name = "variable-length string" if kind.is_variable_str() else name
        accepted = name == "string"
    elif name in ("integer", "float", "enum"):  # h5py stores booleans as an enum
        accepted = _is_numpys(dataset, kind.get_size())
    else:
        accepted = False
    if not accepted:
        raise DataError(
            f"{place}: expected integers, floats of at most 8 bytes, booleans or fixed-length "
            f"strings; got type {name} ({type_name(dataset)}); convert it first, strings with "
            "np.char.encode(names, 'utf-8')"
        )
    if dataset.shape is None:
        raise DataError(f"{place}: expected an array; got an empty (null) dataspace")


def _is_numpys(dataset: h5py.Dataset, size: int) -> bool:
    """Tell whether numbers of so many bytes are a type of NumPy's, of at most 8 bytes."""
    import h5py

    try:
        dtype = dataset.dtype
    except (TypeError, ValueError, RuntimeError):  # of 3 bytes, say
        return False
    return dtype.itemsize == size <= 8 and not h5py.check_enum_dtype(dtype)


def _check_size(dataset: h5py.Dataset, place: str, max_bytes: int) -> None:
    """Refuse more bytes than are wanted or than the file can hold, and less than are stored."""
    declared, chunks = dataset.nbytes, 0
    if dataset.chunks:
        # Edge chunks are stored, and read, in full.
        grid = zip(dataset.shape, dataset.chunks, strict=True)
        chunks = math.prod(-(-length // chunk) for length, chunk in grid)
        declared = chunks * math.prod(dataset.chunks) * dataset.dtype.itemsize
    if declared > max_bytes:
        raise DataError(
            f"{place} declares {declared:,} bytes; expected max_bytes={max_bytes:,}"
            " or less; raise that limit if the size is right"
        )
    codes = {code for code, _ in filters(dataset.id.get_create_plist())}
    ratio = _BEST_RATIO if codes & _COMPRESSION else 1
    stored, size = dataset.id.get_storage_size(), dataset.file.id.get_filesize()
    whole = not chunks or dataset.id.get_num_chunks() >= chunks
    if not whole or declared > ratio * stored or stored > size:
        raise DataError(
            f"{place} declares {declared:,} bytes of {dataset.shape} {dataset.dtype}, but stores "
            f"{stored:,} of a file of {size:,}; expected all of them; was it written to the end?"
        )
    if chunks and stored > 1.01 * declared + _CHUNK_OVERHEAD * chunks:  # unpacked, it has no end
        raise DataError(
            f"{place} declares {declared:,} bytes of {dataset.shape} {dataset.dtype}, but stores "
            f"{stored:,}; expected no more than declared; write it again"
        )
