"""The array libraries: the only file that imports CuPy.

A `Backend` binds the namespace ``xp`` and a device, compiles formulas, and owns the two doors
through which data moves between host and device.  Nothing else in the package asks where it runs.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from .compiler import Routine
from .errors import BackendUnavailable, InputError, unknown
from .formulas import Array, Formula, Xp

__all__ = [
    "Backend",
    "CupyBackend",
    "NumpyBackend",
    "array_namespace",
    "available_backends",
    "get_backend",
    "is_on_host",
]

_log = logging.getLogger("xpnet")

_HOST, _CUDA = 1, 2  # DLPack's device types


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


class Backend:
    """An array namespace on one device.  Used as a context, it makes its device the current one.

    Attributes
    ----------
    name : str
        What `get_backend` would take to make it again: ``"numpy"``, ``"cupy:0"``, ...
    xp : module
        The array namespace.
    """

    name: str
    xp: Xp

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __repr__(self) -> str:
        return f"<backend {self.name}: {self.device_name}>"

    def __reduce__(self) -> tuple[Callable[[str], Backend], tuple[str]]:
        return get_backend, (self.name,)  # a module does not pickle; its name does

    @property
    def device_name(self) -> str:
        """The device in words."""
        raise NotImplementedError

    def is_native(self, array: object) -> bool:
        """Tell whether *array* is one of this backend's own device arrays."""
        raise NotImplementedError

    def asarray(self, array: Any, dtype: str | None = None) -> Array:
        """The door in: *array* on this device, C-ordered, in *dtype* or its own.

        Nothing is copied that is so already.  Raises `InputError` for what holds no real numbers.
        """
        raise NotImplementedError

    def to_host(self, array: Array) -> np.ndarray:
        """The door out: *array* as a NumPy array, after all work on it is done."""
        raise NotImplementedError

    def send(self, host: np.ndarray, out: Array) -> None:
        """Copy a *host* array into the device array *out* of the same shape and dtype."""
        raise NotImplementedError

    def gather(self, rows: Array, indices: Array, out: Array) -> None:
        """Write ``rows[indices]`` into *out*; every index is in range."""
        raise NotImplementedError

    def compile(self, formula: Formula) -> Callable[..., None]:
        """Return the routine that writes *formula*'s new values into its arguments."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until the device has done all that it was told."""
        raise NotImplementedError


class NumpyBackend(Backend):
    """NumPy on the host."""

    name = "numpy"
    xp = np

    @property
    def device_name(self) -> str:
        return f"NumPy {np.__version__} on the CPU"

    def is_native(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, array: Any, dtype: str | None = None) -> np.ndarray:
        return np.asarray(_on_host(array), dtype, order="C")

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def send(self, host: np.ndarray, out: np.ndarray) -> None:
        out[...] = host

    def gather(self, rows: np.ndarray, indices: np.ndarray, out: np.ndarray) -> None:
        rows.take(indices, axis=0, out=out, mode="clip")  # the default mode buffers out

    def compile(self, formula: Formula) -> Callable[..., None]:
        return Routine(formula)

    def synchronize(self) -> None:
        pass


class CupyBackend(Backend):
    """CuPy on CUDA device *index*; *cupy* is the module."""

    def __init__(self, cupy: Any, index: int = 0) -> None:
        self.xp, self.index = cupy, index
        self.name = f"cupy:{index}"
        self._device = cupy.cuda.Device(index)

    def __enter__(self) -> Self:
        self._device.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._device.__exit__(*exc)

    @property
    def device_name(self) -> str:
        properties = self.xp.cuda.runtime.getDeviceProperties(self.index)
        return f"CuPy {self.xp.__version__} on {properties['name'].decode()}"

    def is_native(self, array: object) -> bool:
        return isinstance(array, self.xp.ndarray)

    def asarray(self, array: Any, dtype: str | None = None) -> Array:
        with self:
            if not self.is_native(array):
                if _dlpack_device(array) == (_CUDA, self.index):
                    array = self.xp.from_dlpack(array)  # no trip through the host
                else:
                    array = np.asarray(_on_host(array), dtype, order="C")
            array = self.xp.asarray(_numbers(array))  # on this device
            return self.xp.ascontiguousarray(array, dtype=dtype)

    def to_host(self, array: Array) -> np.ndarray:
        with self:
            host: np.ndarray = self.xp.asnumpy(array)
            return host

    def send(self, host: np.ndarray, out: Array) -> None:
        out.set(host)

    def gather(self, rows: Array, indices: Array, out: Array) -> None:
        self.xp.take(rows, indices, axis=0, out=out)

    def compile(self, formula: Formula) -> Callable[..., None]:
        names = formula.function.__code__.co_varnames[1 : formula.function.__code__.co_argcount]
        places = [names.index(name) for name in formula.writes]

        def fused(*arguments: Any) -> None:
            results = formula(self.xp, *arguments)
            results = results if isinstance(results, tuple) else (results,)
            for place, result in zip(places, results, strict=True):
                arguments[place][...] = result

        kernel: Callable[..., None] = self.xp.fuse(fused)
        return kernel

    def synchronize(self) -> None:
        with self:
            self.xp.cuda.get_current_stream().synchronize()


def _dlpack_device(array: object) -> tuple[int, int] | None:
    """The (type, index) of the device of a foreign array that speaks DLPack; None for others."""
    if isinstance(array, np.ndarray) or not hasattr(array, "__dlpack_device__"):
        return None
    kind, index = array.__dlpack_device__()
    return int(kind), int(index)


def is_on_host(array: object) -> bool:
    """Tell whether *array*, if it is one at all, lies where NumPy can read it."""
    device = _dlpack_device(array)
    return device is None or device[0] == _HOST


def _from_dlpack_on_host(array: Any) -> Any:
    """Foreign arrays as NumPy arrays, moved to the host where they are not; the rest unchanged."""
    device = _dlpack_device(array)
    if device is None:
        return array
    try:
        return np.from_dlpack(array) if device[0] == _HOST else np.from_dlpack(array, device="cpu")
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        name = f"{type(array).__module__}.{type(array).__name__}"
        raise InputError(
            f"array: a {name} on DLPack device {device} could not be read on the host ({error}); "
            "move it to the CPU first, or use the backend of its device"
        ) from error


def _on_host(array: Any) -> np.ndarray:
    """*array*, of any library or none, as a NumPy array of numbers; copied only if it must be."""
    array = _from_dlpack_on_host(array)
    try:
        host = np.asarray(array)
    except (TypeError, ValueError) as error:  # lists of unequal lengths
        raise InputError(f"array: expected numbers in rows of one length; got {error}") from error
    if np.ma.isMaskedArray(array):
        raise InputError("array: expected a plain array; got a masked one; drop or fill it")
    _numbers(host)
    return host


def _numbers(array: Array) -> Array:
    """Return *array* if it holds booleans, integers or real floats."""
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"array: expected numbers; got dtype {array.dtype}; encode or convert them"
        )
    return array


# --- choosing one ---------------------------------------------------------------------------------

_INSTALL = "pip install 'xpnet[cuda13x]' (CUDA 13 driver) or 'xpnet[cuda12x]' (CUDA 12 driver)"
_FALLBACK = "or use backend='numpy'"


def _load_cupy() -> Any:
    """Import CuPy and find a device, or say which of the three is missing: CuPy, driver, device."""
    try:
        import cupy
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            raise BackendUnavailable(
                f"backend 'cupy' needs CuPy, which is not installed: {_INSTALL}, {_FALLBACK}"
            ) from None
        raise BackendUnavailable(
            f"backend 'cupy': CuPy is installed but does not import ({error}); reinstall it: "
            f"{_INSTALL}, {_FALLBACK}"
        ) from error
    return check_device(cupy)


def check_device(cupy: Any) -> Any:
    """Return the module *cupy* if a CUDA device answers it.

    Raises
    ------
    BackendUnavailable
        Without a driver, without a device, or without the CUDA libraries.
    """
    found = f"backend 'cupy' found CuPy {cupy.__version__}"
    no_device = BackendUnavailable(
        f"{found} and a driver, but no CUDA device; look at `nvidia-smi` and at the environment "
        f"variable CUDA_VISIBLE_DEVICES (now {os.environ.get('CUDA_VISIBLE_DEVICES')!r}), "
        f"{_FALLBACK}"
    )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:  # CUDARuntimeError is one
        if "NoDevice" in str(error):
            raise no_device from error
        raise BackendUnavailable(
            f"{found}, but no NVIDIA driver that it can use ({error}); install or update the "
            f"driver, {_FALLBACK}"
        ) from error
    if count == 0:
        raise no_device
    try:
        cupy.cuda.device.get_cublas_handle()
    except ImportError as error:
        raise BackendUnavailable(
            f"{found} and a device, but not NVIDIA's libraries ({error}): {_INSTALL}, {_FALLBACK}"
        ) from error
    return cupy


def get_backend(name: str | Backend = "auto") -> Backend:
    """Return the backend of that *name*.

    Parameters
    ----------
    name : {"auto", "numpy", "cupy", "cupy:N"} or Backend
        ``"cupy:N"`` is CUDA device N, ``"cupy"`` the first.  ``"auto"`` is what the environment
        variable ``XPNET_BACKEND`` says, else CuPy where a CUDA device answers, else NumPy; the
        choice is logged to the logger ``xpnet``.

    Raises
    ------
    InputError
        For a name that is none of these.
    BackendUnavailable
        If CuPy, its driver or the device is missing: the message says which.
    """
    if isinstance(name, Backend):
        return name
    source = "backend"
    if name == "auto":
        name, source = os.environ.get("XPNET_BACKEND", "").strip() or "auto", "XPNET_BACKEND"
    if name == "auto":
        return _choose()
    if name == "numpy":
        return NumpyBackend()
    match = re.fullmatch(r"cupy(?::(\d+))?", name) if isinstance(name, str) else None
    if match is None:
        raise unknown(source, name, ["auto", "numpy", "cupy", "cupy:N"])
    cupy, index = _load_cupy(), int(match[1] or 0)
    count = cupy.cuda.runtime.getDeviceCount()
    if index >= count:
        raise BackendUnavailable(
            f"backend {name!r}: this machine has {count} CUDA device(s), numbered from 0; "
            f"use backend='cupy:0', {_FALLBACK}"
        )
    return CupyBackend(cupy, index)


def _choose() -> Backend:
    try:
        backend: Backend = CupyBackend(_load_cupy())
    except BackendUnavailable as error:
        backend = NumpyBackend()
        _log.info("backend 'auto' chose numpy: %s", error)
    else:
        _log.info("backend 'auto' chose %s: %s", backend.name, backend.device_name)
    return backend


def available_backends() -> dict[str, Backend | BackendUnavailable]:
    """Return every backend of this machine by name; one that is missing maps to its error."""
    found: dict[str, Backend | BackendUnavailable] = {"numpy": NumpyBackend()}
    try:
        cupy = _load_cupy()
    except BackendUnavailable as error:
        found["cupy"] = error
        return found
    for index in range(cupy.cuda.runtime.getDeviceCount()):
        found[f"cupy:{index}"] = CupyBackend(cupy, index)
    return found
