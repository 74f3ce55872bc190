"""Makes mutated model files: the k-th is the same for the same seed."""

from __future__ import annotations

import hashlib
import random
import struct

from xpnet.seal import FORMAT

BLOCK = 512
SEAL = struct.Struct("<8sIIQ32s")


def mutate(whole: bytes, other: bytes, chance: random.Random, *, again: bool) -> tuple[str, bytes]:
    """Return what was done to the *whole* model file, with parts of an *other*, and the outcome.

    *again* says whether to change only what is behind the seal, and to seal that anew.
    """
    name = chance.choice([name for name in KINDS if not (again and name in _OF_THE_SEAL)])
    start = BLOCK if again else 0
    damaged = bytearray(whole[start:])
    KINDS[name](damaged, other[start:], chance)
    return name, _seal_again(bytes(damaged)) if again else bytes(damaged)


def _seal_again(body: bytes) -> bytes:
    """Return *body* behind a seal that holds."""
    digest = hashlib.sha256(body).digest()
    return SEAL.pack(b"XPNETMDL", FORMAT, 0, len(body), digest).ljust(BLOCK, b"\0") + body


def _bits(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 1, 2, 8, 64])):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)


def _bytes(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 4, 16])):
        damaged[chance.randrange(len(damaged))] = chance.choice([0, 1, 127, 128, 254, 255])


def _integers(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    """Put a large or small number where HDF5 may keep a length, a count or an address."""
    width = chance.choice([2, 4, 8])
    start = chance.randrange(len(damaged) - width)
    value = chance.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1, len(damaged), start])
    damaged[start : start + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")


def _seal(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    start = chance.randrange(SEAL.size)
    damaged[start : start + 4] = chance.randbytes(min(4, SEAL.size - start))


def _length(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    value = chance.choice([0, 1, len(damaged), 2**31, 2**63, 2**64 - 1, chance.getrandbits(64)])
    damaged[16:24] = value.to_bytes(8, "little")


def _version(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    damaged[8:12] = chance.randbytes(4)


def _truncate(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    del damaged[chance.randrange(len(damaged)) :]


def _lengthen(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    damaged += chance.randbytes(chance.choice([1, 8, 512, 5000]))


def _zeros(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    start, length = chance.randrange(len(damaged)), chance.choice([1, 8, 64, 512])
    damaged[start : start + length] = bytes(len(damaged[start : start + length]))


def _copy(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    """Put a part of the file over another part of it."""
    length = chance.choice([8, 24, 40, 100, 600])
    start, end = (chance.randrange(len(damaged) - length) for _ in range(2))
    damaged[end : end + length] = damaged[start : start + length]


def _splice(damaged: bytearray, other: bytes, chance: random.Random) -> None:
    """Go on with another model from somewhere on."""
    start = chance.randrange(len(damaged))
    damaged[start:] = other[start:]


def _remove(damaged: bytearray, _: bytes, chance: random.Random) -> None:
    start, length = chance.randrange(len(damaged)), chance.choice([1, 8, 512])
    del damaged[start : start + length]


_OF_THE_SEAL = ("seal", "length", "version")
KINDS = {
    "bits": _bits,
    "bytes": _bytes,
    "integers": _integers,
    "seal": _seal,
    "length": _length,
    "version": _version,
    "truncated": _truncate,
    "lengthened": _lengthen,
    "zeros": _zeros,
    "copies": _copy,
    "splices": _splice,
    "removed": _remove,
}
