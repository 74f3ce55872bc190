"""Model files: one sealed HDF5 file, written atomically, checked before it is parsed.

::

    bytes 0-511     the seal, in HDF5's user block: b"XPNETMDL", format version (u32), zero (u32),
                    length of the body (u64), SHA-256 of the body (32 bytes); all little-endian
    bytes 512-      the body, an HDF5 file:
        /meta           JSON in UTF-8: layer sizes, activations, classes, training run, ...
        /parameters/W1  and b1, ..., WL, bL: float32 or float64, shapes (n_l, n_{l-1}), (n_l, 1)
        /optimizer/m/W1 and so on: the optimizer's vectors, shaped like the parameters

Nothing in it is executable, and plain h5py opens it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import operator
import os
import shutil
import struct
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .backend import PRECISIONS, Backend, dtype_of, get_backend
from .errors import DataError, ModelFileError, OutputError, unknown
from .hdf5 import open_file, read_dataset
from .layout import Layout
from .network import Network, named
from .optimizers import get_optimizer
from .state import History, TrainingState

__all__ = ["FORMAT", "check_writable", "load_model", "save_model", "write_file"]

FORMAT = 1
_MAGIC = b"XPNETMDL"
_SEAL = struct.Struct("<8sIIQ32s")
_BLOCK = 512  # the smallest user block of HDF5


# --- writing --------------------------------------------------------------------------------------


def save_model(net: Network, path: str | os.PathLike[str]) -> None:
    """Save *net*, with its classes and the state of its training run, as a sealed HDF5 file.

    The file appears whole or not at all: an older one of that name stays until the new one has been
    written beside it, synced and read back.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    body = _body(net)
    write_file(path, _seal(body) + body)


def _seal(body: bytes, version: int = FORMAT) -> bytes:
    digest = hashlib.sha256(body).digest()
    return _SEAL.pack(_MAGIC, version, 0, len(body), digest).ljust(_BLOCK, b"\0")


def _body(net: Network) -> bytes:
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=_BLOCK) as file:
        meta = json.dumps(_meta(net), allow_nan=False, ensure_ascii=False)
        file["meta"] = np.bytes_(meta.encode())
        _write_vector(net, file.create_group("parameters"), net.theta)
        for name, vector in (net.training.vectors if net.training else {}).items():
            _write_vector(net, file.create_group(f"optimizer/{name}"), vector)
    return image.getvalue()[_BLOCK:]


def _write_vector(net: Network, group: Any, vector: Any) -> None:
    views = named(net.layout.parameters(net.backend.to_host(vector)))
    for name, view in views.items():
        group.create_dataset(name, data=view, dtype=np.dtype(net.dtype).newbyteorder("<"))


def _meta(net: Network) -> dict[str, Any]:
    state, classes, training = net.training, None, None
    if net.classes_ is not None:
        values = [v.decode("latin-1") if isinstance(v, bytes) else v for v in net.classes_.tolist()]
        classes = {"kind": net.classes_.dtype.kind, "values": values}
    if state is not None:
        training = {
            "optimizer": {"name": state.optimizer.name, **asdict(state.optimizer)},
            "seed": operator.index(state.seed),
            "batch_size": state.batch_size,
            "epoch": state.epoch,
            "batch": 0,  # of the epoch to come
            "step": state.step,
            "history": state.history,
        }
    return {
        "layer_sizes": net.layer_sizes,
        "activations": net.activations,
        "precision": net.precision,
        "classes": classes,
        "threshold": float(net.threshold),
        "picture_shape": net.picture_shape,  # such pictures are flattened and divided by 255
        "training": training,
    }


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write *content* to *path* atomically: written beside it, synced, read back, renamed.

    Raises
    ------
    OutputError
        If that fails; a file that was there is untouched, and nothing is left behind.
    """
    path = Path(os.path.realpath(path))
    with _fresh_file(path) as fresh:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if fresh.read_bytes() != content:
            raise OutputError(f"{path}: what was written did not read back; nothing was replaced")
        if path.exists():
            shutil.copymode(path, fresh)
        fresh.replace(path)
        with contextlib.suppress(OSError):  # not every system can; the file itself is whole
            _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out, before any work, whether `write_file` can write to *path*.

    Raises
    ------
    OutputError
        If the path is a folder, or its folder is missing or may not be written to.
    """
    with _fresh_file(Path(os.path.realpath(path))):
        pass


@contextlib.contextmanager
def _fresh_file(path: Path) -> Iterator[Path]:
    """Create an empty file of a new name beside *path*, and remove it unless it was renamed."""
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        if path.is_dir():
            raise OutputError(f"{path}: expected a file to write; got a folder; add a file name")
        if path.exists() and not path.is_file():  # renaming would replace /dev/null
            raise OutputError(f"{path}: expected a file to write; got a device or pipe")
        with fresh.open("xb"):
            pass
        yield fresh
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: expected a place that can be written; got: {reason}; choose another path"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


# --- reading --------------------------------------------------------------------------------------

#: What may go wrong in building a network from values of wrong types and sizes.
_FAULTS = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


def load_model(path: str | os.PathLike[str], backend: str | Backend = "auto") -> Network:
    """Load a network, saved on whatever backend, onto *backend*.

    Raises
    ------
    ModelFileError
        If the file is missing, is something else, is damaged, or is newer than this xpnet.
    BackendUnavailable
        If the backend is not to be had here.
    """
    target = get_backend(backend)
    content = _unsealed(Path(path))
    try:
        with open_file(io.BytesIO(content)) as file:
            return _network(file, _read_meta(file), target)
    except _FAULTS as error:
        raise ModelFileError(
            f"{path}: expected an xpnet model of format {FORMAT}; the seal holds, but not what is "
            f"inside ({type(error).__name__}: {error}); save the model anew"
        ) from error


def _unsealed(path: Path) -> bytes:
    """Return the file's bytes if its seal holds; nothing is parsed before."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{path}: expected a model file; got: {error.strerror}; is the path right?"
        ) from error
    if not content.startswith(_MAGIC) or len(content) < _BLOCK:
        kind = "an HDF5 file without xpnet's seal" if content[:4] == b"\x89HDF" else "another file"
        raise ModelFileError(
            f"{path}: expected a model that xpnet saved; got {kind} of {len(content):,} bytes"
        )
    _, version, _, length, _ = _SEAL.unpack_from(content)
    body = content[_BLOCK:]
    if version > FORMAT:
        raise ModelFileError(
            f"{path}: expected format {FORMAT} or older; got format {version}; update xpnet"
        )
    if version < 1 or content[:_BLOCK] != _seal(body, version):
        raise ModelFileError(
            f"{path}: expected {length:,} bytes with the sealed checksum; got {len(body):,} bytes "
            "that are damaged; use a copy or train anew"
        )
    return content


def _read_meta(file: Any) -> dict[str, Any]:
    text = read_dataset(file, "meta", shape=())
    if text.dtype.kind != "S":
        raise DataError(f"meta: expected JSON; got {text.dtype}")
    meta: dict[str, Any] = json.loads(text.item())
    return meta


def _network(file: Any, meta: dict[str, Any], backend: Backend) -> Network:
    """Build the network of a file whose seal holds; every value is checked by what takes it."""
    layout, run = Layout(tuple(meta["layer_sizes"])), meta["training"]
    precision = meta["precision"]
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    dtype = dtype_of(precision)
    if not backend.has_precision(precision):
        precision = dtype
    parameters = _read_vector(file, "parameters", layout, dtype)
    net = Network(
        layout.layer_sizes, meta["activations"], init=parameters, precision=precision, backend=backend
    )
    net.threshold = float(meta["threshold"])
    if meta["classes"] is not None:
        net.classes_ = _classes(**meta["classes"])
    if meta["picture_shape"] is not None:
        net.picture_shape = shape = tuple(operator.index(n) for n in meta["picture_shape"])
        if min(shape) < 1 or math.prod(shape) != layout.layer_sizes[0]:
            raise DataError(f"picture_shape: expected {layout.layer_sizes[0]} numbers; got {shape}")
    vectors = {}
    if run is not None:
        name, hyper_parameters = run["optimizer"].pop("name"), run["optimizer"]
        optimizer = get_optimizer(name, **hyper_parameters)
        for name in optimizer.state:
            arrays = _read_vector(file, f"optimizer/{name}", layout, dtype)
            vectors[name] = _flat(net, arrays)
        history = History(
            {name: [float(x) for x in run["history"][name]] for name in run["history"]}
        )
        numbers = {name: operator.index(run[name]) for name in ("seed", "step", "epoch")}
        batch_size = run["batch_size"] and operator.index(run["batch_size"])
        net.training = TrainingState(
            optimizer, batch_size=batch_size, vectors=vectors, history=history, **numbers
        )
    _require_names(file, {"meta", "parameters"} | ({"optimizer"} if vectors else set()))
    if vectors:
        _require_names(file["optimizer"], set(vectors))
    return net


def _require_names(group: Any, expected: set[str]) -> None:
    if set(group) != expected:
        raise DataError(f"{group.name}: expected {sorted(expected)}; got {sorted(group)}")


def _read_vector(file: Any, group: str, layout: Layout, dtype: str) -> dict[str, np.ndarray]:
    """Read the arrays of one flat vector, each of the shape that the layer sizes give."""
    n, arrays = layout.layer_sizes, {}
    for l in range(1, len(n)):
        shapes = {f"W{l}": (n[l], n[l - 1]), f"b{l}": (n[l], 1)}
        for name, shape in shapes.items():
            arrays[name] = read_dataset(file, f"{group}/{name}", shape=shape)
            if arrays[name].dtype != dtype:
                raise DataError(f"{group}/{name}: expected {dtype}; got {arrays[name].dtype}")
    _require_names(file[group], set(arrays))
    return arrays


def _flat(net: Network, arrays: dict[str, np.ndarray]) -> Any:
    """Lay *arrays* out like ``theta``, on the network's device."""
    with net.backend as backend:
        vector = backend.xp.zeros_like(net.theta)
        for name, view in named(net.layout.parameters(vector)).items():
            view[...] = backend.asarray(arrays[name])
    return vector


def _classes(kind: str, values: list[Any]) -> np.ndarray:
    """Return the two labels as they were; text came as text, bytes as Latin-1."""
    types: dict[str, tuple[type, str]] = {  # of the value in JSON, and of the array
        "b": (bool, "?"),
        "i": (int, "i8"),
        "u": (int, "u8"),
        "f": (float, "f8"),
        "U": (str, "U"),
        "S": (str, "S"),
        "T": (str, "U"),
    }
    came, dtype = types[kind]
    if len(values) != 2 or not all(isinstance(value, came) for value in values):
        raise DataError(f"classes: expected two of kind {kind!r}; got {values!r}")
    return np.array([v.encode("latin-1") if kind == "S" else v for v in values], dtype)
