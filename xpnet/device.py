"""What a backend is: an array namespace ``xp`` on one device, and how work is put on it.

A `Backend` binds the namespace and the device, compiles formulas, and owns the two doors through
which data moves between host and device.  Nothing else in the package asks where it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np

from .errors import InputError, unknown
from .formulas import Array, Xp

__all__ = ["PLAIN", "PRECISIONS", "TENSOR_CORES", "Backend", "dtype_of"]

PLAIN = ("float32", "float64")  #: the precisions that every backend has
#: Those of CUDA devices' tensor cores: the compute capability that each needs, and CuPy's name.
TENSOR_CORES = {"tf32": (80, "TF32"), "bfloat16": (80, "BF16"), "float16": (70, "FP16")}
PRECISIONS = (*PLAIN, *TENSOR_CORES)


def dtype_of(precision: str) -> str:
    """Return what parameters and rows are made of, in this *precision*."""
    return "float64" if precision == "float64" else "float32"


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

    @property
    def device_name(self) -> str:
        """The device in words."""
        raise NotImplementedError

    def libraries(self) -> dict[str, Any]:
        """Return what of its libraries the bits of a result may depend on, as plain data."""
        raise NotImplementedError

    def has_precision(self, precision: str) -> bool:
        """Tell whether products can be computed in this one of `PRECISIONS`."""
        return precision in PLAIN

    def check_precision(self, precision: Any) -> str:
        """Return *precision* if this device has it, else raise `InputError`."""
        if not isinstance(precision, str) or precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        if not self.has_precision(precision):
            needed = TENSOR_CORES[precision][0] / 10
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

    def sparse(self, X: Any, dtype: str) -> Any:
        """The door in for sparse rows: CSR on this device in *dtype*, which `gather` knows."""
        raise NotImplementedError

    def to_host(self, array: Array) -> np.ndarray:
        """The door out: *array* as a NumPy array, after all work on it is done."""
        raise NotImplementedError

    def send(self, host: np.ndarray, out: Array) -> None:
        """Copy a *host* array into the device array *out* of the same shape and dtype."""
        raise NotImplementedError

    def gather(self, rows: Array, indices: Array, out: Array) -> None:
        """Write ``rows[indices]`` into *out*, dense; every index is in range."""
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

    def spent(self, seconds: float) -> bool:  # noqa: ARG002 - NumPy's differs
        """Count *seconds* of training; tell whether routines bound anew would be faster by now."""
        return False

    def memory(self) -> int | None:
        """Return how many bytes of memory are there to be taken, if that is known."""
        raise NotImplementedError

    def lacks_memory(self, error: Exception) -> bool:
        """Tell whether *error* says that there is too little memory."""
        return isinstance(error, MemoryError)

    def free(self) -> None:
        """Give back the memory that is kept for later though no array is in it."""

    def synchronize(self) -> None:
        """Wait until the device has done all that it was told."""
        raise NotImplementedError

    def workers(self, flops: int) -> int:  # noqa: ARG002 - of this and the next, NumPy's differ
        """Return into how many shares of columns a step of so many *flops* is best split."""
        return 1

    def splitting(self, workers: int) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return the context in which so many *workers* share the processor, one thread each."""
        return nullcontext()

    def run(self, tasks: Sequence[Callable[..., object]], *arguments: object) -> None:
        """Call one task for each worker with the *arguments*, side by side."""
        for task in tasks:
            task(*arguments)
