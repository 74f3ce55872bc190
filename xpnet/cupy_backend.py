"""CuPy on CUDA: the only file that imports it."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np

from .arrays import CUDA, dlpack_device, is_sparse, numbers, on_host
from .device import PLAIN, TENSOR_CORES, Backend
from .errors import BackendUnavailable, DeviceLost
from .formulas import Array, Formula

__all__ = ["FALLBACK", "CupyBackend", "check_device", "load_cupy"]


class CupyBackend(Backend):
    """CuPy on CUDA device *index*; *cupy* is the module."""

    def __init__(self, cupy: Any, index: int = 0) -> None:
        self.xp, self.index = cupy, index
        self.name = f"cupy:{index}"
        self._device = cupy.cuda.Device(index)

    def __reduce__(self) -> tuple[Callable[[int], CupyBackend], tuple[int]]:
        return _open, (self.index,)  # a module does not pickle

    def __enter__(self) -> Self:
        self._device.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._device.__exit__(*exc)

    def has_precision(self, precision: str) -> bool:
        needed, _ = TENSOR_CORES.get(precision, (0, ""))
        return int(self._device.compute_capability) >= needed

    @contextmanager
    def products(self, precision: str) -> Iterator[None]:
        with self._answering(), self:
            if precision in PLAIN:
                yield
                return
            linalg = self.xp._core._routines_linalg  # what the variable CUPY_TF32 sets at start
            before = linalg.get_compute_type("float32")
            kind = getattr(linalg, f"COMPUTE_TYPE_{TENSOR_CORES[precision][1]}")
            linalg.set_compute_type("float32", kind)
            try:
                yield
            finally:
                linalg.set_compute_type("float32", before)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say so where the device is lost: an error of CUDA's that every later call repeats."""
        try:
            yield
        except RuntimeError as error:
            try:
                self.synchronize()
            except RuntimeError:
                raise DeviceLost(
                    f"{self.name}: expected a device that answers; got: {error}; this process "
                    "cannot use it any more: begin another, and look at `nvidia-smi`; model files "
                    f"and checkpoints open on every backend, {FALLBACK}"
                ) from error
            raise

    def lacks_memory(self, error: Exception) -> bool:
        words = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "STATUS_ALLOC_FAILED")
        return super().lacks_memory(error) or any(word in str(error) for word in words)

    @property
    def device_name(self) -> str:
        properties = self.xp.cuda.runtime.getDeviceProperties(self.index)
        return f"CuPy {self.xp.__version__} on {properties['name'].decode()}"

    def libraries(self) -> dict[str, Any]:
        runtime = self.xp.cuda.runtime
        return {
            "CUDA": int(runtime.runtimeGetVersion()),
            "CUDA of the driver": int(runtime.driverGetVersion()),
        }

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

    def sparse(self, X: Any, dtype: str) -> Any:
        from cupyx.scipy.sparse import csr_matrix

        with self:
            rows = csr_matrix(X.tocsr().astype(dtype))
            rows.sum_duplicates()
            return rows

    def to_host(self, array: Array) -> np.ndarray:
        with self:
            host: np.ndarray = self.xp.asnumpy(array)
            return host

    def send(self, host: np.ndarray, out: Array) -> None:
        out.set(host)

    def gather(self, rows: Array, indices: Array, out: Array) -> None:
        if is_sparse(rows):
            out[...] = rows[indices].toarray()
            return
        self.xp.take(rows, indices, axis=0, out=out)

    def compiler(self) -> Callable[..., Callable[..., None]]:
        return lambda formula, *arrays: functools.partial(_fused(self.xp, formula), *arrays)

    def memory(self) -> int | None:
        with self:
            free, _ = self.xp.cuda.runtime.memGetInfo()
            pool = self.xp.get_default_memory_pool()
            there, limit = int(free) + int(pool.free_bytes()), int(pool.get_limit())
            return min(there, limit - int(pool.used_bytes())) if limit else there

    def free(self) -> None:
        with self:
            self.xp.get_default_memory_pool().free_all_blocks()

    def synchronize(self) -> None:
        with self:
            self.xp.cuda.get_current_stream().synchronize()


def _open(index: int) -> CupyBackend:
    return CupyBackend(load_cupy(), index)


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


# --- finding it --------------------------------------------------------------------------------

_INSTALL = "pip install 'xpnet[cuda13x]' (CUDA 13 driver) or 'xpnet[cuda12x]' (CUDA 12 driver)"
FALLBACK = "or use backend='numpy'"


def load_cupy() -> Any:
    """Import CuPy and find a device, or say which of the three is missing: CuPy, driver, device."""
    try:
        import cupy
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            raise BackendUnavailable(
                f"backend 'cupy' needs CuPy, which is not installed: {_INSTALL}, {FALLBACK}"
            ) from None
        raise BackendUnavailable(
            f"backend 'cupy': CuPy is installed but does not import ({error}); reinstall it: "
            f"{_INSTALL}, {FALLBACK}"
        ) from error
    return check_device(cupy)


def check_device(cupy: Any) -> Any:
    """Return the module *cupy* if a CUDA device answers it.

    Raises
    ------
    BackendUnavailable
        Without a driver, without a device that answers, or without the CUDA libraries.
    """
    found = f"backend 'cupy' found CuPy {cupy.__version__}"
    no_device = BackendUnavailable(
        f"{found} and a driver, but no CUDA device; look at `nvidia-smi` and at the environment "
        f"variable CUDA_VISIBLE_DEVICES (now {os.environ.get('CUDA_VISIBLE_DEVICES')!r}), "
        f"{FALLBACK}"
    )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:  # CUDARuntimeError is one
        if "NoDevice" in str(error):
            raise no_device from error
        raise BackendUnavailable(
            f"{found}, but no NVIDIA driver that it can use ({error}); install or update the "
            f"driver, {FALLBACK}"
        ) from error
    if count == 0:
        raise no_device
    try:
        cupy.cuda.device.get_cublas_handle()
    except ImportError as error:
        raise BackendUnavailable(
            f"{found} and a device, but not NVIDIA's libraries ({error}): {_INSTALL}, {FALLBACK}"
        ) from error
    except RuntimeError as error:
        raise BackendUnavailable(
            f"{found} and a device, which does not answer ({error}); a process that was forked "
            "after CUDA had begun cannot use it, so start that one by 'spawn', see `nvidia-smi`, "
            f"{FALLBACK}"
        ) from error
    return cupy
