"""Arrays of any library: whose they are, where they lie, and how they are read on the host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import InputError
from .formulas import Array, Xp

__all__ = [
    "CUDA",
    "array_namespace",
    "as_kind_of",
    "as_numpy",
    "dlpack_device",
    "from_dlpack_on_host",
    "in_words",
    "is_on_host",
    "is_sparse",
    "numbers",
    "on_host",
]

HOST, CUDA = 1, 2  #: DLPack's device types


def array_namespace(*arrays: Array) -> Xp:
    """Return the module that the class of *arrays* belongs to; nothing is imported.

    Raises
    ------
    InputError
        If the arrays come from different libraries, or are no arrays.
    """
    roots = {type(array).__module__.partition(".")[0] for array in arrays}
    if len(roots) != 1 or not all(hasattr(array, "shape") for array in arrays):
        kinds = ", ".join(sorted({type(array).__name__ for array in arrays}))
        raise InputError(f"arrays of one library expected; got {kinds} of {sorted(roots)}")
    return sys.modules[roots.pop()]


def dlpack_device(array: object) -> tuple[int, int] | None:
    """The (type, index) of the device of a foreign array that speaks DLPack; None for others."""
    if isinstance(array, np.ndarray) or not hasattr(array, "__dlpack_device__"):
        return None
    kind, index = array.__dlpack_device__()
    return int(kind), int(index)


def is_sparse(array: object) -> bool:
    """Tell whether *array* is a sparse matrix or array, SciPy's or CuPy's."""
    return hasattr(array, "tocsr")


def is_on_host(array: object) -> bool:
    """Tell whether *array*, if it is one at all, lies where NumPy can read it."""
    if is_sparse(array):
        return not type(array).__module__.startswith("cupyx")
    device = dlpack_device(array)
    return device is None or device[0] == HOST


def from_dlpack_on_host(array: Any, name: str = "array") -> Any:
    """Foreign arrays as NumPy arrays, moved to the host where they are not; the rest unchanged."""
    device = dlpack_device(array)
    if device is None:
        return array
    try:
        return np.from_dlpack(array) if device[0] == HOST else np.from_dlpack(array, device="cpu")
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        kind = f"{type(array).__module__}.{type(array).__name__}"
        raise InputError(
            f"{name}: expected an array for the host; got a {kind} on DLPack device {device} that "
            f"could not be read on the host ({error}); convert it, move it to the CPU first, or "
            "use the backend of its device"
        ) from error


def as_numpy(array: Any, name: str = "array") -> np.ndarray:
    """*array*, of any library or none, as a NumPy array of whatever type it is."""
    array = from_dlpack_on_host(array, name)
    try:
        return np.asarray(array)
    except MemoryError:
        raise
    except Exception as error:  # lists of unequal lengths; an __array__ of others raises anything
        raise InputError(
            f"{name}: expected an array, or rows of one length; got a {type(array).__name__} "
            f"({error}); make it an array first"
        ) from error


def as_kind_of(like: Any, array: Any) -> Any:
    """*array*, NumPy's or of the library of *like*, as that library's; not copied if it lies there.

    What is no array of a library that speaks DLPack, such as a list, is no kind: *array* stays.
    """
    if dlpack_device(like) is None or type(like) is type(array):
        return array
    named = getattr(like, "__array_namespace__", None)
    made = (array_namespace(like) if named is None else named()).from_dlpack(array)
    device = getattr(like, "device", None)
    # A library may have several devices on the host, as array-api-strict has.
    return made if device is None or made.device == device else made.to_device(device)


def on_host(array: Any, name: str = "array") -> np.ndarray:
    """*array*, of any library or none, as a NumPy array of numbers; copied only if it must be."""
    host = as_numpy(array, name)
    if np.ma.isMaskedArray(array):
        raise InputError(f"{name}: expected a plain array; got a masked one; drop or fill it")
    numbers(host, name)
    return host


def numbers(array: Array, name: str = "array") -> Array:
    """Return *array* if it holds booleans, integers or real floats."""
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{name}: expected numbers; got dtype {array.dtype}; encode or convert them"
        )
    return array


@contextmanager
def in_words(names: str) -> Iterator[None]:
    """What an array of one's own raises where it is read is no error of scikit-learn's checks."""
    try:
        yield
    except (ValueError, TypeError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{names}: expected what NumPy can read; got what raised {type(error).__name__}: "
            f"{error}; make it an array first"
        ) from error
