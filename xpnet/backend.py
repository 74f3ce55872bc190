"""The array libraries: the only file that imports CuPy.

A `Backend` binds the namespace ``xp`` and a device, compiles formulas, and owns the two doors
through which data moves between host and device.  Nothing else in the package asks where it runs.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import numpy as np
import threadpoolctl

from .arrays import CUDA, dlpack_device, numbers, on_host
from .compiler import Compiler
from .errors import BackendUnavailable, InputError, unknown
from .formulas import Array, Formula, Xp
from .team import Team

__all__ = [
    "PLAIN",
    "PRECISIONS",
    "Backend",
    "CupyBackend",
    "NumpyBackend",
    "available_backends",
    "dtype_of",
    "get_backend",
]

_log = logging.getLogger("xpnet")

PLAIN = ("float32", "float64")  #: the precisions that every backend has
#: Those of CUDA devices' tensor cores: the compute capability that each needs, and CuPy's name.
_TENSOR_CORES = {"tf32": (80, "TF32"), "bfloat16": (80, "BF16"), "float16": (70, "FP16")}
PRECISIONS = (*PLAIN, *_TENSOR_CORES)



def dtype_of(precision: str) -> str:
    """Return what parameters and rows are made of, in this *precision*."""
    return "float64" if precision == "float64" else "float32"


_SHARE = 15_000_000  # flops of a step that are worth a thread of their own


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
    chunk = 2**24  #: how many elements of a layer a prediction best computes at a time

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

    def has_precision(self, precision: str) -> bool:
        """Tell whether products can be computed in this one of `PRECISIONS`."""
        return precision in PLAIN

    def check_precision(self, precision: Any) -> str:
        """Return *precision* if this device has it, else raise `InputError`."""
        if not isinstance(precision, str) or precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        if not self.has_precision(precision):
            needed = _TENSOR_CORES[precision][0] / 10
            raise InputError(
                f"precision: expected one that {self.name} has, {' or '.join(PLAIN)}; got "
                f"{precision!r}, which needs a CUDA device of compute capability {needed:.1f}"
            )
        return precision

    def products(self, precision: str) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return the context in which matrix products are computed in *precision*, here."""
        return self

    def is_native(self, array: object) -> bool:
        """Tell whether *array* is one of this backend's own device arrays."""
        raise NotImplementedError

    def asarray(self, array: Any, dtype: str | None = None, name: str = "array") -> Array:
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

    def seems_finite(self, array: Array) -> bool:
        """Tell whether the sum of *array* is finite: then all of it is; else look closely.

        It makes no mask the size of the data, but the sum of finite numbers may overflow.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return math.isfinite(float(self.xp.sum(array)))

    def compiler(self) -> Callable[..., Callable[..., None]]:
        """Return ``compile(formula, *arrays) -> routine(*scalars)``.

        A routine writes the formula's new values into the arrays that it names.  Those of one
        compiler may share scratch: only one of them may run at a time.
        """
        raise NotImplementedError

    def memory(self) -> int | None:
        """Return how many bytes of memory are there to be taken, if that is known."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until the device has done all that it was told."""
        raise NotImplementedError

    def workers(self, flops: int) -> int:  # noqa: ARG002 - of this and the next, NumPy's differ
        """Return into how many shares of columns a step of so many *flops* is best split."""
        return 1

    def splitting(self, workers: int) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return the context in which so many *workers* share the processor, one thread each."""
        return nullcontext()

    def run(self, tasks: Sequence[Callable[[], object]]) -> None:
        """Run one task for each worker, side by side."""
        for task in tasks:
            task()


class NumpyBackend(Backend):
    """NumPy on the host, on at most so many *threads*; by default as many as BLAS would take."""

    name = "numpy"
    xp = np
    chunk = 2**16  # what fits the L2 cache

    def __init__(self, threads: int | None = None) -> None:
        self._threads = None if threads is None else _thread_count(threads)
        self._team = Team()

    def __reduce__(self) -> tuple[Callable[..., Backend], tuple[Any, ...]]:
        return NumpyBackend, (self._threads,)

    @property
    def threads(self) -> int:
        """The number of threads."""
        return self._threads or _blas_threads()

    @property
    def device_name(self) -> str:
        return f"NumPy {np.__version__} on the CPU"

    def is_native(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, array: Any, dtype: str | None = None, name: str = "array") -> np.ndarray:
        with np.errstate(over="ignore"):  # what becomes infinite is found by who looks for it
            return np.asarray(on_host(array, name), dtype, order="C")

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def send(self, host: np.ndarray, out: np.ndarray) -> None:
        out[...] = host

    def gather(self, rows: np.ndarray, indices: np.ndarray, out: np.ndarray) -> None:
        rows.take(indices, axis=0, out=out, mode="clip")  # the default mode buffers out

    def compiler(self) -> Callable[..., Callable[..., None]]:
        return Compiler()

    def memory(self) -> int | None:
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):  # not every system tells
            return None

    def synchronize(self) -> None:
        pass

    def workers(self, flops: int) -> int:
        return max(1, min(self.threads, flops // _SHARE)) if flops >= 2 * _SHARE else 1

    def splitting(self, workers: int) -> AbstractContextManager[object]:
        if workers == 1:
            return nullcontext()
        self._team.spread(workers)
        one_each: AbstractContextManager[object] = threadpoolctl.threadpool_limits(1, "blas")
        return one_each

    def run(self, tasks: Sequence[Callable[[], object]]) -> None:
        self._team.run(tasks)


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

    def has_precision(self, precision: str) -> bool:
        needed, _ = _TENSOR_CORES.get(precision, (0, ""))
        return int(self._device.compute_capability) >= needed

    @contextmanager
    def products(self, precision: str) -> Iterator[None]:
        with self:
            if precision in PLAIN:
                yield
                return
            linalg = self.xp._core._routines_linalg  # what the variable CUPY_TF32 sets at start
            before = linalg.get_compute_type("float32")
            kind = getattr(linalg, f"COMPUTE_TYPE_{_TENSOR_CORES[precision][1]}")
            linalg.set_compute_type("float32", kind)
            try:
                yield
            finally:
                linalg.set_compute_type("float32", before)

    @property
    def device_name(self) -> str:
        properties = self.xp.cuda.runtime.getDeviceProperties(self.index)
        return f"CuPy {self.xp.__version__} on {properties['name'].decode()}"

    def is_native(self, array: object) -> bool:
        return isinstance(array, self.xp.ndarray)

    def asarray(self, array: Any, dtype: str | None = None, name: str = "array") -> Array:
        with self:
            if not self.is_native(array):
                if dlpack_device(array) == (CUDA, self.index):
                    array = self.xp.from_dlpack(array)  # no trip through the host
                else:
                    with np.errstate(over="ignore"):
                        array = np.asarray(on_host(array, name), dtype, order="C")
            array = self.xp.asarray(numbers(array, name))  # on this device
            return self.xp.ascontiguousarray(array, dtype=dtype)

    def to_host(self, array: Array) -> np.ndarray:
        with self:
            host: np.ndarray = self.xp.asnumpy(array)
            return host

    def send(self, host: np.ndarray, out: Array) -> None:
        out.set(host)

    def gather(self, rows: Array, indices: Array, out: Array) -> None:
        self.xp.take(rows, indices, axis=0, out=out)

    def compiler(self) -> Callable[..., Callable[..., None]]:
        return lambda formula, *arrays: functools.partial(_fused(self.xp, formula), *arrays)

    def memory(self) -> int | None:
        with self:
            free, _ = self.xp.cuda.runtime.memGetInfo()
            return int(free) + int(self.xp.get_default_memory_pool().free_bytes())

    def synchronize(self) -> None:
        with self:
            self.xp.cuda.get_current_stream().synchronize()


@functools.lru_cache(maxsize=256)
def _fused(cupy: Any, formula: Formula) -> Callable[..., None]:
    """Return *formula* as one CUDA kernel that writes its results into its arguments."""
    names = list(inspect.signature(formula.function).parameters)[1:]
    places = [names.index(name) for name in formula.writes]

    def fused(*arguments: Any) -> None:
        results = formula(cupy, *arguments)
        results = results if isinstance(results, tuple) else (results,)
        for place, result in zip(places, results, strict=True):
            arguments[place][...] = result

    kernel: Callable[..., None] = cupy.fuse(fused)
    return kernel


def _blas_threads() -> int:
    pools = [p["num_threads"] for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
    return max(pools, default=1)


def _thread_count(threads: Any) -> int:
    most = 4 * (os.cpu_count() or 1)
    if not isinstance(threads, int) or not 0 < threads <= most:
        raise InputError(f"threads: expected an integer from 1 to {most}; got {threads!r}")
    return threads


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


def get_backend(name: str | Backend = "auto", *, threads: int | None = None) -> Backend:
    """Return the backend of that *name*.

    Parameters
    ----------
    name : {"auto", "numpy", "cupy", "cupy:N"} or Backend
        ``"cupy:N"`` is CUDA device N, ``"cupy"`` the first.  ``"auto"`` is what the environment
        variable ``XPNET_BACKEND`` says, else CuPy where a CUDA device answers, else NumPy; the
        choice is logged to the logger ``xpnet``.
    threads : int, optional
        How many threads NumPy may use in training; by default as many as BLAS would.  A run repeats
        to the bit with equal threads.

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
        return _choose(threads)
    if name == "numpy":
        return NumpyBackend(threads)
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


def _choose(threads: int | None) -> Backend:
    try:
        backend: Backend = CupyBackend(_load_cupy())
    except BackendUnavailable as error:
        backend = NumpyBackend(threads)
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
