"""Which backend: the one that is named, or the best that is there."""

from __future__ import annotations

import logging
import os
import re

from .cupy_backend import FALLBACK, CupyBackend, check_device, load_cupy
from .device import PLAIN, PRECISIONS, Backend, dtype_of
from .errors import BackendUnavailable, unknown
from .numpy_backend import NumpyBackend

__all__ = [
    "PLAIN",
    "PRECISIONS",
    "Backend",
    "CupyBackend",
    "NumpyBackend",
    "available_backends",
    "check_device",
    "dtype_of",
    "get_backend",
]

_log = logging.getLogger("xpnet")


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
    cupy, index = load_cupy(), int(match[1] or 0)
    count = cupy.cuda.runtime.getDeviceCount()
    if index >= count:
        raise BackendUnavailable(
            f"backend {name!r}: this machine has {count} CUDA device(s), numbered from 0; "
            f"use backend='cupy:0', {FALLBACK}"
        )
    return CupyBackend(cupy, index)


def _choose(threads: int | None) -> Backend:
    try:
        backend: Backend = CupyBackend(load_cupy())
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
        cupy = load_cupy()
    except BackendUnavailable as error:
        found["cupy"] = error
        return found
    for index in range(cupy.cuda.runtime.getDeviceCount()):
        found[f"cupy:{index}"] = CupyBackend(cupy, index)
    return found
