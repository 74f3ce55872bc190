"""Model files: one sealed HDF5 file, written atomically, checked before it is parsed.

::

    bytes 0-511     the seal: see `xpnet.seal`
    bytes 512-      the body, an HDF5 file:
        /meta           JSON in UTF-8: layer sizes, activations, classes, training run, ...
        /parameters/W1  and b1, ..., WL, bL: float32 or float64, shapes (n_l, n_{l-1}), (n_l, 1);
                        gamma1, ... and scale, where the network has them
        /vectors/m/W1   and so on: the vectors of the training run, shaped like the parameters
        /scaling/center and scale: float64, shape (n_0,), where rows are scaled
        /pause/good/W1  and so on: in a checkpoint, what a run needs to go on (see `state.Pause`);
        /pause/sums     in the middle of an epoch, shape (batch, workers, 2)

Nothing in it is executable, and plain h5py opens it.
"""

from __future__ import annotations

import io
import json
import math
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .backend import PRECISIONS, Backend, dtype_of, get_backend
from .errors import DataError, ModelFileError, known, path_text, positive, real, unknown
from .files import write_file
from .hdf5 import open_file, read_all
from .layout import Layout
from .network import Network
from .optimizers import get_optimizer
from .preprocessing import SCALERS, Scaling
from .rows import check_network
from .seal import BLOCK, FORMAT, seal, unseal
from .state import History, Pause, TrainingState

__all__ = [
    "build_network",
    "load_model",
    "read_model",
    "save_model",
]

# --- writing --------------------------------------------------------------------------------------


def save_model(net: Network, path: str | os.PathLike[str]) -> None:
    """Save *net*, with its classes and the state of its training run, as a sealed HDF5 file.

    The file appears whole or not at all: an older one of that name stays until the new one has been
    written beside it, synced and read back.

    Raises
    ------
    OutputError
        If the file cannot be written.
    InputError
        If *net* is no network, its threshold or temperature is none that `load_model` takes, or
        *path* is no path.
    """
    check_network(net)
    body = _body(net)
    write_file(path, seal(body) + body)


def _body(net: Network) -> bytes:
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=BLOCK) as file:
        meta = json.dumps(_meta(net), allow_nan=False)  # in ASCII: a path may be no UTF-8
        file["meta"] = np.bytes_(meta.encode())
        _write_vector(net, file.create_group("parameters"), net.theta)
        for name, vector in (net.training.vectors if net.training else {}).items():
            _write_vector(net, file.create_group(f"vectors/{name}"), vector)
        pause = net.training and net.training.pause
        for name, vector in (pause.vectors if pause else {}).items():
            _write_vector(net, file.create_group(f"pause/{name}"), vector)
        if pause and pause.sums is not None:
            kind = np.dtype(net.dtype).newbyteorder("<")
            file.create_dataset("pause/sums", data=pause.sums, dtype=kind)
        if net.scaling is not None:
            for name in ("center", "scale"):
                values = getattr(net.scaling, name)
                file.create_dataset(f"scaling/{name}", data=values, dtype="<f8")
    return image.getvalue()[BLOCK:]


def _write_vector(net: Network, group: Any, vector: Any) -> None:
    views = net.layout.named(net.backend.to_host(vector))
    for name, view in views.items():
        group.create_dataset(name, data=view, dtype=np.dtype(net.dtype).newbyteorder("<"))


def _meta(net: Network) -> dict[str, Any]:
    state, classes, training = net.training, None, None
    if net.classes_ is not None:
        values = [v.decode("latin-1") if isinstance(v, bytes) else v for v in net.classes_.tolist()]
        classes = {"kind": net.classes_.dtype.kind, "values": values}
    if state is not None:
        training = {
            "optimizer": state.optimizer.as_dict(),
            "seed": operator.index(state.seed),
            "batch_size": state.batch_size,
            "epoch": state.epoch,
            "batch": state.pause.batch if state.pause else 0,  # of the epoch to come
            "step": state.step,
            "loss": state.loss,
            "vectors": list(state.vectors),
            "history": state.history,
            "pause": state.pause and _pause_meta(state.pause),
        }
    return {
        "layer_sizes": net.layer_sizes,
        "activations": net.activations,
        "dropout": net.dropout,
        "normalization": "layer" if net.layout.normalized else None,
        "input_scale": net.layout.scaled,
        "scaling": None if net.scaling is None else [net.scaling.name, net.scaling.clip],
        "precision": net.precision,
        "classes": classes,
        "threshold": _threshold(net.threshold),
        "temperature": _temperature(net.temperature),
        "picture_shape": net.picture_shape,  # such pictures are flattened and divided by 255
        "training": training,
    }


def _threshold(value: Any) -> float:
    return real("threshold", value, least=0.0, most=1.0)


def _temperature(value: Any) -> float:
    return real("temperature", value, above=0.0)


def _pause_meta(pause: Pause) -> dict[str, Any]:
    return {
        "first": pause.first,
        "seconds": pause.seconds,
        "ended": pause.ended,
        "call": pause.call,
        "vectors": list(pause.vectors),
        "workers": 0 if pause.sums is None else pause.sums.shape[1],
    }


# --- reading --------------------------------------------------------------------------------------

#: What may go wrong in building a network from values of wrong types and sizes.
_FAULTS = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


def load_model(path: str | os.PathLike[str], backend: str | Backend = "auto") -> Network:
    """Load a network, saved on whatever backend, onto *backend*.

    Raises
    ------
    ModelFileError
        If the file is missing, is something else, is damaged, or is newer than this xpnet.
    InputError
        If *path* is no path.
    BackendUnavailable
        If the backend is not to be had here.
    """
    target, path = get_backend(backend), path_text(path)
    return build_network(path, read_model(path), target)


def read_model(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return every array of a model file by its path in there, once its seal holds.

    Raises
    ------
    ModelFileError
        As `load_model`; also where anything in the file breaks a rule of `xpnet.hdf5_rules`.
    """
    content = unseal(path)
    with _sealed(path), open_file(io.BytesIO(content)) as file:
        return read_all(file)


def build_network(
    path: str | os.PathLike[str], arrays: dict[str, np.ndarray], backend: Backend
) -> Network:
    """Build the network of the *arrays* that `read_model` found at *path*.

    Raises `ModelFileError` unless they are just those of a model, each of its shape and type.
    """
    with _sealed(path):
        left = dict(arrays)
        net = _network(left, _take_meta(left), backend)
        if left:
            raise DataError(f"expected no more arrays; got {sorted(left)}")
        return net


@contextmanager
def _sealed(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong behind a seal that holds into a `ModelFileError`."""
    try:
        yield
    except _FAULTS as error:
        raise ModelFileError(
            f"{path}: expected an xpnet model of format {FORMAT}; the seal holds, but not what is "
            f"inside ({type(error).__name__}: {error}); save the model anew"
        ) from error


def _take_meta(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    text = _take(arrays, "meta", ())
    if text.dtype.kind != "S":
        raise DataError(f"meta: expected JSON; got {text.dtype}")
    meta: dict[str, Any] = json.loads(text.item(), parse_constant=_no_constant)
    return meta


def _no_constant(name: str) -> float:
    raise DataError(f"meta: expected finite numbers; got {name}")


def _take(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Take the array *name* of this *shape* out of *arrays*."""
    if name not in arrays:
        raise DataError(f"{name!r} is not in the file")
    array = arrays.pop(name)
    if array.shape != shape:
        raise DataError(f"{name!r}: expected shape {shape}; got {array.shape}")
    return array


def _network(arrays: dict[str, np.ndarray], meta: dict[str, Any], backend: Backend) -> Network:
    """Build the network of a file whose seal holds; every value is checked by what takes it."""
    normalized, scaled = meta["normalization"] == "layer", bool(meta["input_scale"])
    layout, run = Layout(tuple(meta["layer_sizes"]), normalized, scaled), meta["training"]
    precision = meta["precision"]
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    dtype = dtype_of(precision)
    if not backend.has_precision(precision):
        precision = dtype
    parameters = _take_vector(arrays, "parameters", layout, dtype)
    net = Network(
        layout.layer_sizes,
        meta["activations"],
        init=parameters,
        dropout=meta["dropout"],
        normalization=meta["normalization"],
        input_scale=scaled,
        precision=precision,
        backend=backend,
    )
    net.threshold = _threshold(meta["threshold"])
    net.temperature = _temperature(meta["temperature"])
    if meta["scaling"] is not None:
        net.scaling = _take_scaling(arrays, meta["scaling"], layout.layer_sizes[0])
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
        names = set(run["vectors"])
        if not set(optimizer.state) <= names <= {*optimizer.state, "raw"}:
            raise DataError(f"vectors: expected those of {optimizer.name}; got {sorted(names)}")
        for name in run["vectors"]:
            vectors[name] = _flat(net, _take_vector(arrays, f"vectors/{name}", layout, dtype))
        history = History(
            {name: [float(x) for x in run["history"][name]] for name in run["history"]}
        )
        numbers = {name: _count(run, name) for name in ("seed", "step", "epoch")}
        batch_size = run["batch_size"]
        if batch_size is not None:
            batch_size = positive("batch_size", batch_size)
        if any(len(curve) != numbers["epoch"] for curve in history.values()):
            raise DataError(f"history: expected {numbers['epoch']} numbers in each; got {history}")
        if not isinstance(run["loss"], str):
            raise DataError(f"loss: expected text; got {run['loss']!r}")
        net.training = TrainingState(
            optimizer,
            batch_size=batch_size,
            vectors=vectors,
            history=history,
            loss=run["loss"],
            pause=_take_pause(arrays, net, run["batch"], **run["pause"])
            if run.get("pause")
            else None,
            **numbers,
        )
    return net


def _take_pause(
    arrays: dict[str, np.ndarray],
    net: Network,
    batch: Any,
    *,
    first: Any,
    seconds: Any,
    ended: Any,
    call: Any,
    vectors: Any,
    workers: Any,
) -> Pause:
    """Take what a checkpoint has beside a model; `resume` checks the *call*."""
    batch, seconds = operator.index(batch), real("seconds", seconds, least=0.0)
    if not isinstance(call, dict) or not set(vectors) <= {"good", "start", "current"}:
        raise DataError(f"pause: expected a call and its vectors; got {vectors!r}")
    taken = {}
    for name in vectors:
        taken[name] = _flat(net, _take_vector(arrays, f"pause/{name}", net.layout, net.dtype))
    sums, shape = None, (batch, operator.index(workers), 2)
    if batch:
        sums = _take_floats(arrays, "pause/sums", shape, net.dtype)
    return Pause(batch, operator.index(first), seconds, bool(ended), call, taken, sums)


def _count(run: dict[str, Any], name: str) -> int:
    number = operator.index(run[name])
    if number < 0:
        raise DataError(f"{name}: expected an integer of at least 0; got {number}")
    return number


def _take_vector(
    arrays: dict[str, np.ndarray], group: str, layout: Layout, dtype: str
) -> dict[str, np.ndarray]:
    """Take the arrays of one flat vector, each of the shape that the layer sizes give."""
    return {
        name: _take_floats(arrays, f"{group}/{name}", shape, dtype)
        for name, shape in layout.shapes.items()
    }


def _take_scaling(arrays: dict[str, np.ndarray], settings: list[Any], n_features: int) -> Scaling:
    name, clip = settings
    center, scale = (
        _take_floats(arrays, f"scaling/{part}", (n_features,), "float64")
        for part in ("center", "scale")
    )
    known("scaling", name, SCALERS)
    clip = None if clip is None else real("clip", clip, above=0.0)
    return Scaling(name, center, scale, clip)


def _take_floats(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: str
) -> np.ndarray:
    array = _take(arrays, name, shape)
    if array.dtype != np.dtype(dtype).newbyteorder("<"):
        raise DataError(f"{name}: expected {dtype}; got {array.dtype}")
    return array


def _flat(net: Network, arrays: dict[str, np.ndarray]) -> Any:
    """Lay *arrays* out like ``theta``, on the network's device."""
    with net.backend as backend:
        vector = backend.xp.zeros_like(net.theta)
        for name, view in net.layout.named(vector).items():
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
