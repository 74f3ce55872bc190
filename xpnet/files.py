"""Files that appear whole or not at all: written beside their place, synced, read back, renamed.

A temporary file is called ``.NAME.<12 hexadecimal digits>.tmp`` and is locked while its writer
lives.  What a killed writer left behind is therefore known by its lock, which died with it, and the
next write of that name sweeps it away; the next run in a folder of checkpoints sweeps all of them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

from .errors import OutputError, path_text

try:
    import fcntl
except ImportError:  # Windows; nothing is swept there, and its open files cannot be renamed
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_writable", "lock", "sweep", "write_file"]

_BLOCK = 2**20  # bytes that are read back at a time
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp", re.DOTALL)


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write *content* to *path* atomically: written beside it, synced, read back, renamed.

    Raises
    ------
    OutputError
        If that fails; a file that was there is untouched, and nothing is left behind.
    InputError
        If *path* is no path.
    """
    path = Path(os.path.realpath(path_text(path)))
    sweep(path.parent, lambda name: name == path.name)  # first, for the room that it makes
    with _fresh_file(path) as (fresh, file):
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if not _reads_back(fresh, content):
            raise OutputError(f"{path}: what was written did not read back; nothing was replaced")
        if path.exists():
            shutil.copymode(path, fresh)
        if fcntl is None:
            file.close()
        fresh.replace(path)
        with contextlib.suppress(OSError):  # not every system can; the file itself is whole
            _sync_folder(path.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out, before any work, whether `write_file` can write to *path*.

    Raises
    ------
    OutputError
        If the path is a folder, or its folder is missing or may not be written to.
    InputError
        If *path* is no path.
    """
    with _fresh_file(Path(os.path.realpath(path_text(path)))):
        pass


@contextlib.contextmanager
def _fresh_file(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Create an empty file of a new name beside *path*, and remove it unless it was renamed."""
    fresh = None
    try:
        if path.is_dir():
            raise OutputError(f"{path}: expected a file to write; got a folder; add a file name")
        if path.exists() and not path.is_file():  # renaming would replace /dev/null
            raise OutputError(f"{path}: expected a file to write; got a device or pipe")
        fresh, file = _create(path)
        with file:
            yield fresh, file
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{path}: expected a place that can be written; got: {reason}; choose another path"
        ) from error
    finally:
        if fresh is not None:
            with contextlib.suppress(OSError):
                fresh.unlink()


def _create(path: Path) -> tuple[Path, BinaryIO]:
    while True:
        fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(fresh.open("xb"))
            lock(file, wait=True)
            if fresh.exists():  # and was not swept away before it was locked
                stack.pop_all()
                return fresh, file


def _reads_back(path: Path, content: bytes) -> bool:
    with path.open("rb") as file, memoryview(content) as view:
        starts = range(0, len(content), _BLOCK)
        same = all(file.read(_BLOCK) == view[start : start + _BLOCK] for start in starts)
        return same and not file.read(1)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def lock(file: IO[bytes], *, wait: bool) -> bool | None:
    """Lock *file* until it is closed or its process dies.

    Tell whether that could be done: False where another holds it, None where there are no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # of a file system without locks
        return None
    return True


def sweep(folder: Path, ours: Callable[[str], object]) -> None:
    """Remove what killed writers left in *folder* of those files whose names are *ours*."""
    with contextlib.suppress(OSError):
        for entry in list(folder.iterdir()):
            found = _TEMPORARY.fullmatch(entry.name)
            if found is None or not ours(found[1]):
                continue
            with contextlib.suppress(OSError), entry.open("r+b") as file:
                if lock(file, wait=False):
                    entry.unlink()
