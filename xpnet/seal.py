"""The seal in the first block of a model file: what follows is believed only if it holds.

512 bytes, HDF5's user block: b"XPNETMDL", format version (u32), zero (u32), length of the body
(u64), SHA-256 of the body (32 bytes); all little-endian, then zeros.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from .errors import ModelFileError

__all__ = ["BLOCK", "FORMAT", "NewerFormatError", "Seal", "read_seal", "seal", "unseal"]

FORMAT = 1
BLOCK = 512  # the smallest user block of HDF5
_MAGIC = b"XPNETMDL"
_SEAL = struct.Struct("<8sIIQ32s")


class NewerFormatError(ModelFileError):
    """A model file is not damaged, but of a newer xpnet."""


class Seal(NamedTuple):
    """What the first bytes of a model file say of the rest."""

    magic: bytes
    version: int
    zero: int
    length: int
    digest: bytes


def seal(body: bytes | memoryview, version: int = FORMAT) -> bytes:
    """Return the block that seals *body*."""
    digest = hashlib.sha256(body).digest()
    return _SEAL.pack(_MAGIC, version, 0, len(body), digest).ljust(BLOCK, b"\0")


def unseal(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a model file if its seal holds; nothing is parsed before.

    Raises `ModelFileError` where it does not, and reads no more than its first block where they
    show that this is no model file of a known format.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode  # once: the file may be removed meanwhile
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe has no end
            raise ModelFileError(f"{path}: expected a model file; got a pipe or device")
        with path.open("rb") as file:
            head, size = file.read(BLOCK), os.fstat(file.fileno()).st_size
            found = _check_head(path, head, size)
            content = head + file.read(found.length + 1)
    except OSError as error:
        raise ModelFileError(
            f"{path}: expected a model file; got: {error.strerror}; is the path right?"
        ) from error
    if head != seal(memoryview(content)[BLOCK:], found.version):
        raise _damaged(path, found, size)
    return content


def read_seal(content: bytes) -> Seal:
    """Return what the seal at the start of *content* says, whether it holds or not."""
    return Seal(*_SEAL.unpack_from(content))


def _check_head(path: Path, head: bytes, size: int) -> Seal:
    """Return the seal of a file of *size* bytes that begins with *head*."""
    if not head.startswith(_MAGIC) or len(head) < BLOCK:
        kind = "an HDF5 file without xpnet's seal" if head[:4] == b"\x89HDF" else "another file"
        raise ModelFileError(
            f"{path}: expected a model that xpnet saved; got {kind} of {size:,} bytes"
        )
    found = read_seal(head)
    if found.version > FORMAT:
        raise NewerFormatError(
            f"{path}: expected format {FORMAT} or older; got format {found.version}, of a newer "
            "xpnet; upgrade xpnet to open it"
        )
    if found.version < 1 or found.length != size - BLOCK:
        raise _damaged(path, found, size)
    return found


def _damaged(path: Path, found: Seal, size: int) -> ModelFileError:
    return ModelFileError(
        f"{path}: expected {found.length:,} bytes with the sealed checksum; got {size - BLOCK:,} "
        "bytes that are damaged; use a copy or train anew"
    )
