"""Reading a file that may have been made to do harm: in a child process, under limits.

Damaged or crafted HDF5 can make the library loop, crash or take all memory.  So a child process of
its own reads the file and sends back plain values: a line of JSON, then the bytes of arrays.  The
child is as little to be trusted as the file that it has read, so what it sends is checked as well.
Where the child crashes or meets a limit, that is one error here, and nothing else is lost.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from . import errors, inputs
from .backend import Backend, get_backend
from .checkpoint import build_network, read_model
from .data import Dataset
from .errors import DataError, InputError, ModelFileError, XpnetError, path_text
from .hdf5 import MAX_BYTES
from .inspection import Facts
from .inspection import inspect as inspect_here
from .network import Network

__all__ = [
    "JOBS",
    "Limits",
    "apply_limits",
    "ask",
    "inspect",
    "load_model",
    "load_rows",
    "read_input",
]

Answer = tuple[Any, dict[str, np.ndarray]]  #: values that JSON has, and arrays by name

_HEAD = struct.Struct("<8sQ")  # the magic number, and the length of the JSON
_MAGIC = b"XPNETANS"
_MAX_HEADER = 2**26
_MAX_DIMENSIONS = 32  # of HDF5
_DTYPE = re.compile(r"[<>|]([biuf][1248]|S[1-9]\d{0,8})")


@dataclass(frozen=True)
class Limits:
    """What the child may take: *memory* in bytes beside its libraries, *cpu* and *wall* seconds."""

    memory: int = 4 * 2**30
    cpu: int = 60
    wall: float = 120.0


def load_model(
    path: str | os.PathLike[str],
    backend: str | Backend = "auto",
    limits: Limits | None = None,
) -> Network:
    """Load a network as `checkpoint.load_model` does, but let a child read the file.

    Raises what that raises; a `ModelFileError` also where the child failed.
    """
    target = get_backend(backend)
    _, arrays = ask("model", path, limits)
    return build_network(path, arrays, target)


def load_rows(
    path: str | None,
    part: Literal["train", "test"],
    names: tuple[str, str] | None = None,
    max_bytes: int = MAX_BYTES,
    limits: Limits | None = None,
) -> Dataset:
    """Load rows and labels as `inputs.load_rows` does, but let a child read the file.

    Raises what that raises; a `DataError` also where the child failed.
    """
    if path is None:
        return inputs.load_rows(None, part)
    classes, arrays = ask("rows", path, limits, part=part, names=names, max_bytes=max_bytes)
    with _proper(path):
        pair = None if classes is None else (str(classes[0]), str(classes[1]))
        y = arrays["y"]
        y = np.char.decode(y, "utf-8") if y.dtype.kind == "S" else y
        return Dataset(arrays["X"], y, pair, Path(path).stem)


def read_input(
    path: str | None,
    x: str | None,
    features: int,
    picture_shape: tuple[int, ...] | None,
    max_bytes: int = MAX_BYTES,
    limits: Limits | None = None,
) -> np.ndarray:
    """Read rows or a picture as `inputs.read_input` does, but let a child read the file.

    Raises what that raises; a `DataError` also where the child failed.
    """
    if path is None:
        return inputs.load_rows(None, "test").X
    options = {"x": x, "features": features, "picture_shape": picture_shape}
    _, arrays = ask("input", path, limits, max_bytes=max_bytes, **options)
    with _proper(path):
        return arrays["X"]


def inspect(
    path: str | os.PathLike[str], limits: Limits | None = None, **options: Any
) -> tuple[Facts, bool]:
    """Tell what a file holds as `inspection.inspect` does, but let a child read the file.

    Raises a `DataError` where the child failed.
    """
    answer, _ = ask("inspect", path, limits, **options)
    with _proper(path):
        facts, good = answer
        pairs = [(_printable(str(name)), _printable(str(text))) for name, text in facts]
        return pairs, good is True


def ask(
    job: str, path: str | os.PathLike[str], limits: Limits | None = None, **options: Any
) -> Answer:
    """Let a child do a job on the file at *path*, and return what it says.

    Parameters
    ----------
    job : {"input", "inspect", "model", "rows"}
        A name in `JOBS`.
    path : path
    limits : Limits, optional
    **options : what JSON can hold
        The job's own.

    Returns
    -------
    answer, arrays
        Plain values, and arrays by name; which ones, the job says.

    Raises
    ------
    DataError, ModelFileError
        As the job raises them; also where the child crashed, met a limit or sent no proper answer.
    InputError
        If *path* is no path, or where this system has no limits for a process.
    """
    limits, path = limits or Limits(), path_text(path)
    if importlib.util.find_spec("resource") is None:
        raise InputError(f"{path}: limits for a process are POSIX's; read it on such a system")
    order = json.dumps([job, path, asdict(limits), options])
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, order],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        late = threading.Event()
        timer = threading.Timer(limits.wall, _stop, [child, late])
        timer.start()
        try:
            with child:
                assert child.stdout is not None
                return receive(child.stdout, limits.memory)
        except Broken as broken:
            came = _ending(child.returncode, late.is_set(), limits) or str(broken)
            complaints.seek(0)
            last = complaints.read(2**16).decode(errors="replace").strip().rpartition("\n")[2]
            kind = ModelFileError if job == "model" else DataError
            raise kind(_blame(path, came, last)) from broken
        finally:
            timer.cancel()
            child.kill()


def _stop(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    child.kill()


def _blame(path: str, came: str, last: str) -> str:
    """Return the message on a child that *came* to an end, and the *last* line it printed."""
    said = f": {_printable(last)}" if last else ""
    return (
        f"{path}: the process that read it {came}{said}; the file is damaged or means harm, or "
        "needs more than these limits"
    )


@contextmanager
def _proper(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what an answer of the wrong form leads to into one error."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as problem:
        raise DataError(_blame(os.fspath(path), "sent no proper answer", "")) from problem


class Broken(Exception):  # noqa: N818 - it never leaves this file
    """What the child sent is not an answer."""


def _environment() -> dict[str, str]:
    """Return the child's environment: the same packages, one thread, no plug-ins of HDF5."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = [str(Path(__file__).resolve().parents[1]), *filter(None, sys.path)]
    return {
        **os.environ,
        **threads,
        "PYTHONPATH": os.pathsep.join(paths),
        "HDF5_PLUGIN_PRELOAD": "::",
    }


def _ending(code: int, late: bool, limits: Limits) -> str:
    """Return how the child ended, or nothing where it ended well."""
    if late:
        return f"was stopped after {limits.wall:g} seconds"
    if code == -signal.SIGXCPU:
        return f"used more than {limits.cpu} seconds of processor time"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"failed with exit code {code}" if code else ""


# --- the answer, as the parent takes it -----------------------------------------------------------


def receive(pipe: IO[bytes], max_bytes: int) -> Answer:
    """Read one answer and nothing more; raise the error that it names, if it does."""
    magic, length = _HEAD.unpack(_exactly(pipe, _HEAD.size))
    if magic != _MAGIC or length > _MAX_HEADER:
        raise Broken("sent no proper answer")
    try:
        header = json.loads(_exactly(pipe, length))
        kinds = [(str(name), _dtype(kind), _shape(sizes)) for name, kind, sizes in header["arrays"]]
        answer, error = header["answer"], header["error"]
    except (KeyError, RecursionError, TypeError, ValueError) as problem:
        raise Broken("sent no proper answer") from problem
    if error is not None:
        raise _error(error)
    if sum(math.prod(shape) * dtype.itemsize for _, dtype, shape in kinds) > max_bytes:
        raise Broken(f"sent more than {max_bytes:,} bytes")
    arrays = {name: _array(pipe, dtype, shape) for name, dtype, shape in kinds}
    if pipe.read(1):
        raise Broken("sent more than it announced")
    return answer, arrays


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) != length:
        raise Broken("sent half an answer")
    return content


def _dtype(text: str) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(text):
        raise ValueError(text)
    return np.dtype(text)


def _shape(sizes: list[int]) -> tuple[int, ...]:
    if len(sizes) > _MAX_DIMENSIONS or not all(type(n) is int and 0 <= n < 2**63 for n in sizes):
        raise ValueError(sizes)
    return tuple(sizes)


def _array(pipe: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    content = bytearray(math.prod(shape) * dtype.itemsize)
    if pipe.readinto(content) != len(content):  # type: ignore[attr-defined]
        raise Broken("sent half an answer")
    raw = np.frombuffer(content, np.uint8 if dtype.kind == "b" else dtype).reshape(shape)
    return np.not_equal(raw, 0) if dtype.kind == "b" else raw  # any byte may have come


def _error(error: Any) -> XpnetError:
    """Return the error of the kind and with the message that the child sent."""
    if not (isinstance(error, list) and len(error) == 2 and all(type(e) is str for e in error)):
        raise Broken("sent no proper answer")
    name, message = map(_printable, error)
    if name not in ("DataError", "InputError", "ModelFileError"):
        out_of_memory = name == "MemoryError"
        raise Broken("ran out of memory" if out_of_memory else f"failed ({name}: {message})")
    kind: type[XpnetError] = getattr(errors, name)
    return kind(message)


def _printable(text: str) -> str:
    """Return *text* without what could move the cursor of a terminal, and not too much of it."""
    return "".join(c if c.isprintable() else "?" for c in text[:4000])


# --- the child ------------------------------------------------------------------------------------


def _inspect(path: str, **options: Any) -> Answer:
    return inspect_here(path, **options), {}


def _model(path: str) -> Answer:
    return None, read_model(path)


def _rows(path: str, **options: Any) -> Answer:
    found = inputs.load_rows(path, **options)
    y = np.char.encode(found.y, "utf-8") if found.y.dtype.kind == "U" else found.y
    return found.classes, {"X": found.X, "y": y}


def _input(path: str, **options: Any) -> Answer:
    return None, {"X": inputs.read_input(path, **options)}


#: What a child can do: each takes a path and options, and returns values that JSON has, and arrays.
JOBS: dict[str, Callable[..., Answer]] = {
    "input": _input,
    "inspect": _inspect,
    "model": _model,
    "rows": _rows,
}


def apply_limits(limits: Limits) -> None:
    """Take these *limits* on, for the rest of this process; from now on it can write no file."""
    import resource

    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[0]) if statm.exists() else 0
    used = pages * resource.getpagesize() or 2**33
    for what, soft, hard in [
        (resource.RLIMIT_AS, used + limits.memory, used + limits.memory),
        (resource.RLIMIT_CPU, limits.cpu, limits.cpu + 1),  # SIGXCPU first, then SIGKILL
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
    ]:
        _, most = resource.getrlimit(what)
        hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(what, (min(soft, hard), hard))


def _serve(order: str) -> None:
    """Do what the *order* says and write the answer to the pipe that was stdout."""
    import h5py

    job, path, limits, options = json.loads(order)
    h5py.is_hdf5(path)  # the library sets itself up before memory becomes short
    with os.fdopen(os.dup(1), "wb") as pipe:
        os.dup2(2, 1)
        apply_limits(Limits(**limits))
        error = None
        try:
            answer, found = JOBS[job](path, **options)
        except Exception as problem:  # MemoryError above all
            answer, found, error = None, {}, [type(problem).__name__, str(problem)]
        kinds = [(name, array.dtype.str, array.shape) for name, array in found.items()]
        header = json.dumps({"answer": answer, "arrays": kinds, "error": error}).encode()
        pipe.write(_HEAD.pack(_MAGIC, len(header)) + header)
        for array in found.values():
            pipe.write(array.reshape(-1).view(np.uint8).data)


if __name__ == "__main__":
    _serve(sys.argv[1])
