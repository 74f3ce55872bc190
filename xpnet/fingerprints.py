"""What a run depends on beside its settings: the data, and the machine that computes with them."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .arrays import is_on_host, is_sparse
from .backend import Backend

__all__ = ["differences", "of_data", "of_machine", "other_data"]

_BLOCK = 2**22  # bytes that are hashed at a time

Facts = dict[str, Any]


def of_data(backend: Backend, X: Any, targets: Any, weights: Any) -> Facts:
    """Return shape, dtype and SHA-256 of the bytes of rows, targets and weights, as plain data.

    Bytes are taken in C order, some at a time.  Sparse rows give those of their three arrays.
    """
    if is_sparse(X):
        parts = {f"X.{name}": getattr(X, name) for name in ("data", "indices", "indptr")}
    else:
        parts = {"X": X}
    parts |= {"y": targets} if weights is None else {"y": targets, "sample_weight": weights}
    return {name: _of_array(backend, array) for name, array in parts.items()}


def _of_array(backend: Backend, array: Any) -> Facts:
    digest = hashlib.sha256()
    for part in _parts(array):
        host = part if is_on_host(part) else backend.to_host(backend.asarray(part))
        digest.update(np.ascontiguousarray(host).data)
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest.hexdigest()}


def _parts(array: Any) -> Iterator[Any]:
    width = int(np.prod(array.shape[1:])) * 8  # bytes of a row, at most
    step = max(1, _BLOCK // max(width, 1))
    for start in range(0, array.shape[0], step):
        yield array[start : start + step]


def of_machine(backend: Backend, precision: str) -> Facts:
    """Return what the bits of a result may depend on, as plain data."""
    return {
        "xpnet": __version__,
        "numpy": np.__version__,
        "processor": f"{platform.machine()} {_processor()}".strip(),
        "backend": backend.name,
        "device": backend.device_name,
        "precision": precision,
        **backend.libraries(),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def other_data(before: Mapping[str, Facts], now: Mapping[str, Facts]) -> list[str]:
    """Say of every array whose fingerprint is not as it was how it differs."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if _words(old) != _words(new):
            found.append(f"{name} was {_words(old)} and is {_words(new)}")
        elif old != new:
            found.append(f"{name} has other values")
    return found


def _words(facts: Facts | None) -> str:
    return "not given" if facts is None else f"{tuple(facts['shape'])} of {facts['dtype']}"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say of every fact that is not as it was what it was, and what it is."""
    names = dict.fromkeys([*before, *now])
    return [
        f"{name} was {before.get(name)} and is {now.get(name)}"
        for name in names
        if before.get(name) != now.get(name)
    ]
