"""Places that can be written no longer, and then again: what happens to disks and folders."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import sys
from pathlib import Path
from typing import Protocol

import runs

NOBODY, PAGE = 65534, 4096
_UNSHARE_MOUNTS, _PRIVATE = 0x20000, 0x44000  # CLONE_NEWNS; MS_REC | MS_PRIVATE


class Trouble(Protocol):
    """What may befall a folder, so that no more than *room* bytes can be written into it.

    Whoever tries is told of the error *code*.
    """

    code: int

    def __init__(self, folder: Path, room: int) -> None: ...

    def begin(self) -> None:
        """From now on nothing can be written."""

    def end(self) -> None:
        """It can again."""


def why_no_mount(folder: Path) -> str | None:
    """Say why no file system can be mounted on *folder*, or None if one can be."""
    if not sys.platform.startswith("linux"):
        return "this is not Linux"
    if os.geteuid():
        return "only root may mount a small disk"

    def attempt() -> None:
        try:
            mount(folder, 16)
        except OSError as error:
            sys.exit(error.errno)

    code = runs.exit_code(runs.fork(attempt))
    return f"root may not mount a small disk here: {os.strerror(code)}" if code else None


def mount(folder: Path, pages: int) -> None:
    """Mount a file system of so many pages that this process alone sees, and that ends with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = f"size={pages * PAGE},mode=777".encode()
    calls = [
        lambda: libc.unshare(_UNSHARE_MOUNTS),
        lambda: libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE), None),
        lambda: libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), size),
    ]
    for call in calls:
        if call():
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def drop_root() -> None:
    """Let this process be no one's, if it is root's, whom no missing permission stops."""
    if not os.geteuid():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


class FullDisk:
    """The file system of the folder has no more room."""

    code = errno.ENOSPC

    def __init__(self, folder: Path, room: int) -> None:
        self.ballast, self.room = folder / "ballast", room

    def begin(self) -> None:
        """Fill it."""
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            file.truncate(max(0, file.tell() - self.room))

    def end(self) -> None:
        """Make room."""
        self.ballast.unlink()


class SizeLimit:
    """No file of this process may be larger."""

    code = errno.EFBIG

    def __init__(self, _: Path, room: int) -> None:
        self.room = room

    def begin(self) -> None:
        """Set the limit."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, resource.RLIM_INFINITY))

    def end(self) -> None:
        """Take it back."""
        unlimited = resource.RLIM_INFINITY, resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


class ReadOnly:
    """There is no permission to make a file in the folder."""

    code = errno.EACCES

    def __init__(self, folder: Path, _: int) -> None:
        self.folder = folder

    def begin(self) -> None:
        """Take the permission."""
        self.folder.chmod(0o500)

    def end(self) -> None:
        """Give it back."""
        self.folder.chmod(0o700)


class Vanished:
    """There is no such folder, as where a disk was taken out."""

    code = errno.ENOENT

    def __init__(self, folder: Path, _: int) -> None:
        self.folder, self.away = folder, folder.with_name("away")

    def begin(self) -> None:
        """Take it away."""
        self.folder.rename(self.away)

    def end(self) -> None:
        """Bring it back."""
        self.away.rename(self.folder)


TROUBLES: dict[str, type[Trouble]] = {
    "full disk": FullDisk,
    "limit on the size of files": SizeLimit,
    "read-only folder": ReadOnly,
    "vanished folder": Vanished,
}
