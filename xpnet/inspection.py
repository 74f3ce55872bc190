"""The facts that ``xpnet inspect`` and ``xpnet info`` show: of a file, and of this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_info

from . import __version__, jit
from .backend import Backend, available_backends, get_backend
from .checkpoint import build_network, read_model
from .console import count, describe_network
from .data import LAYOUTS, check_declared, class_names
from .errors import DataError, XpnetError, path_text
from .hdf5 import MAX_BYTES, check_dataset, describe, holds, open_file, verify, walk
from .hdf5_rules import check_kind
from .network import Network
from .seal import read_seal

if TYPE_CHECKING:
    import h5py

__all__ = ["inspect", "machine"]

Facts = list[tuple[str, str]]

_MOST = 200  # objects that are listed one by one
_MODEL = b"XPNETMDL"
_KINDS = {  # how files of other kinds begin
    b"\x89PNG\r\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a zip archive, such as .npz, .keras or .pt",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x02": "a Python pickle, which can run code",
    b"\x80\x03": "a Python pickle, which can run code",
    b"\x80\x04": "a Python pickle, which can run code",
    b"\x80\x05": "a Python pickle, which can run code",
    b"\x1f\x8b": "gzip-compressed data",
    b"GGUF": "a GGUF model",
}


def inspect(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> tuple[Facts, bool]:
    """Tell what the file at *path* holds, and whether xpnet accepts it.

    Parameters
    ----------
    path : path
        A model, HDF5 data, or anything else.
    max_bytes : int
        The most bytes that one array may take in memory.

    Returns
    -------
    facts : list of (name, text)
        Each ``("refused", …)`` among them says what is refused and by which rule.
    good : bool
        Whether nothing is.

    Raises
    ------
    InputError
        If *path* is no path.
    """
    path = Path(path_text(path))
    facts: Facts = []
    try:
        facts += _facts(path, max_bytes)
    except XpnetError as error:
        facts.append(("refused", str(error)))
    return facts, "refused" not in dict(facts)


def _facts(path: Path, max_bytes: int) -> Iterator[tuple[str, str]]:
    """Yield the facts one by one, so that those before an error are known."""
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: expected a file; got a folder, pipe or device")
        with path.open("rb") as file:
            head, size = file.read(64), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror}; check the path") from error
    yield "file", f"{path} · {count(size, 'byte')}"
    if head.startswith(_MODEL):
        yield from _model_facts(path, head)
        return
    for start, kind in _KINDS.items():
        if head.startswith(start):
            raise DataError(f"{path}: expected a model or HDF5 data; got {kind}")
    yield from _data_facts(path, max_bytes)


# --- models ---------------------------------------------------------------------------------------


def _model_facts(path: Path, head: bytes) -> Iterator[tuple[str, str]]:
    yield "kind", "an xpnet model"
    if len(head) == 64:
        seal = read_seal(head)
        yield "format", str(seal.version)
        yield "seal", f"{count(seal.length, 'byte')}, SHA-256 {seal.digest.hex()}"
    arrays = read_model(path)
    yield "verified", "the seal holds, and every rule for what is inside"
    net = build_network(path, arrays, get_backend("numpy"))
    yield "network", describe_network(net)
    yield "arrays", count(len(arrays), "array")
    classes = "none: it was not trained" if net.classes_ is None else net.classes_.tolist()
    yield "classes", str(classes)
    yield "threshold", f"{net.threshold:g}"
    if net.picture_shape is not None:
        yield "pictures", "×".join(map(str, net.picture_shape))
    yield from _training_facts(net)


def _training_facts(net: Network) -> Iterator[tuple[str, str]]:
    state = net.training
    if state is None:
        return
    size = "full batch" if state.batch_size is None else f"batches of {state.batch_size:,}"
    yield "optimizer", str(state.optimizer)
    yield "training", f"epoch {state.epoch:,} · step {state.step:,} · {size} · seed {state.seed}"
    if state.pause is not None:
        over = "the run is over" if state.pause.ended else "the run can go on"
        yield "checkpoint", f"{count(state.pause.batch, 'update')} into the epoch · {over}"
    for name, values in state.history.items():
        if values:
            yield name, f"{values[0]:.6g} … {values[-1]:.6g} in {count(len(values), 'epoch')}"


# --- data -----------------------------------------------------------------------------------------


def _data_facts(path: Path, max_bytes: int) -> Iterator[tuple[str, str]]:
    with open_file(path) as file:
        yield "kind", "HDF5 data"
        objects = _objects(file, max_bytes)
        yield from islice(objects, _MOST)
        rest = [fact for fact in objects if fact[0] == "refused"]
        yield from rest[:_MOST]
        if len(rest) > _MOST:
            yield "refused", f"{len(rest) - _MOST:,} more"
        yield from _sets(file, max_bytes)


def _objects(file: h5py.File, max_bytes: int) -> Iterator[tuple[str, str]]:
    """Yield a fact on each array in *file*, and on each object that is refused."""
    for path, kind, item in walk(file):
        place = f"{file.filename}: {path!r}"
        try:
            check_kind(kind, path.rpartition("/")[2], place)
            if kind == "array":
                check_dataset(item, place, max_bytes)
                verify(item)
                yield "array", f"{path!r} {describe(item)}"
        except DataError as error:
            yield "refused", str(error)


def _sets(file: h5py.File, max_bytes: int) -> Iterator[tuple[str, str]]:
    """Yield what would be taken as rows, labels and the names of classes."""
    found = False
    for x, y in LAYOUTS.values():
        if holds(file, x) and holds(file, y):
            found = True
            try:
                check_declared(file, x, y, max_bytes)
                yield "rows", f"{x!r} with labels {y!r}"
            except DataError as error:
                yield "refused", str(error)
    if not found:
        yield "rows", "none of the usual names; name rows with --x and labels with --y"
    if holds(file, "list_classes"):
        try:
            yield "classes", str(list(class_names(file)))
        except DataError as error:
            yield "refused", str(error)


# --- this machine ---------------------------------------------------------------------------------


def machine() -> Facts:
    """Return versions, backends and devices."""
    cupy = metadata.packages_distributions().get("cupy", ["cupy"])[0]
    facts = [("python", platform.python_version()), ("xpnet", __version__)]
    for name in ("numpy", "h5py", "scikit-learn", "matplotlib", cupy):
        try:
            facts.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            facts.append((name, "not installed"))
    facts.append(("numba", jit.state()))
    for name, backend in available_backends().items():
        state = backend.device_name if isinstance(backend, Backend) else f"not usable: {backend}"
        facts.append(("backend", f"{name} · {state}"))
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            words = [pool["internal_api"], pool["version"], pool.get("architecture")]
            words = [*filter(None, words), count(pool["num_threads"], "thread")]
            facts.append(("BLAS", " · ".join(words)))
    return facts
