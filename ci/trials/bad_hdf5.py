"""Makes one bad HDF5 file for each rule by which xpnet refuses one.

`BAD` says how each is made, which arrays to ask for, and which words must be in the refusal: the
path inside the file, and the rule.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xpnet.hdf5_rules import MAX_OBJECTS

ROWS = np.arange(12.0).reshape(4, 3)
LABELS = np.array([0, 1, 1, 0])


@dataclass(frozen=True)
class Bad:
    """One bad file: what spoils a good one, and how it is refused."""

    rule: str
    spoil: Callable[[Path], object]
    words: tuple[str, ...]
    ask: dict[str, Any] = field(default_factory=dict)  # the options of load_hdf5
    whole: bool = True  # whether a look at the whole file finds it too


def nothing(_: Path) -> None:
    """Spoil nothing: what is asked for is bad."""


def good_file(path: Path) -> None:
    """Write a file that is accepted."""
    with h5py.File(path, "w") as file:
        file["X"], file["y"] = ROWS, LABELS
        file["list_classes"] = np.array([b"no", b"yes"])
        file["group/X"] = ROWS


def make(bad: Bad, folder: Path) -> Path:
    """Write the bad file into *folder*, and what it points to beside it; return its path."""
    path = folder / "bad.h5"
    good_file(path)
    bad.spoil(path)
    return path


def bait(path: Path, name: str = "X") -> Path:
    """Write a file beside *path* that a bad file may point to and nobody may open."""
    other = path.with_name("bait.h5")
    with h5py.File(other, "w") as file:
        file.create_dataset(name, data=ROWS, maxshape=(None, 3), chunks=(1, 3))
    os.utime(other, (0, other.stat().st_mtime))  # so that the next read shows
    return other


# --- what spoils a file ---------------------------------------------------------------------------

Spoil = Callable[[Path], None]


def put(name: str, value: Any) -> Spoil:
    """Put *value*, an array or a link, in the place of *name*."""

    def spoil(path: Path) -> None:
        with h5py.File(path, "a") as file:
            if name in file:
                del file[name]
            file[name] = value

    return spoil


def create(name: str, shape: tuple[int, ...], dtype: Any, **options: Any) -> Spoil:
    """Create a data set that nothing is written to in the place of *name*."""

    def spoil(path: Path) -> None:
        with h5py.File(path, "a") as file:
            if name in file:
                del file[name]
            file.create_dataset(name, shape, dtype, **options)

    return spoil


def replace_bytes(old: bytes, new: bytes) -> Spoil:
    """Replace bytes that occur once."""

    def spoil(path: Path) -> None:
        content = path.read_bytes()
        assert content.count(old) == 1, content.count(old)
        path.write_bytes(content.replace(old, new))

    return spoil


def both(*spoils: Spoil) -> Spoil:
    """Do one after the other."""

    def spoil(path: Path) -> None:
        for each in spoils:
            each(path)

    return spoil


def external_link(name: str) -> Spoil:
    """A link to an array of another file."""
    return lambda path: put(name, h5py.ExternalLink(bait(path).name, "/X"))(path)


def external_group(path: Path) -> None:
    """A link to a group of another file."""
    put("way", h5py.ExternalLink(bait(path, "in/X").name, "/in"))(path)


def external_storage(path: Path) -> None:
    """An array whose numbers are those of another file."""
    other = bait(path)
    create("X", (4, 3), "f8", external=[(str(other), 0, 96)])(path)


def virtual(path: Path) -> None:
    """A virtual data set whose shape follows from another file's."""
    bait(path)
    layout = h5py.VirtualLayout((4, 3), "f8", maxshape=(None, 3))
    source = h5py.VirtualSource("bait.h5", "X", (4, 3), "f8", maxshape=(None, 3))
    layout[: h5py.h5s.UNLIMITED, :] = source[: h5py.h5s.UNLIMITED, :]
    with h5py.File(path, "a") as file:
        del file["X"]
        file.create_virtual_dataset("X", layout)


def cycle(path: Path) -> None:
    """A group that holds itself."""
    with h5py.File(path, "a") as file:
        file["group/again"] = file["group"]


def cycle_to_the_top(path: Path) -> None:
    """A group that holds the top of the file."""
    with h5py.File(path, "a") as file:
        file["group/top"] = file["/"]


def filtered(code: int, values: tuple[int, ...] = ()) -> Spoil:
    """A chunk stored with the filter *code*, whether or not the library has it."""

    def spoil(path: Path) -> None:
        with h5py.File(path, "a") as file:
            del file["X"]
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_chunk((4, 3))
            plan.set_filter(code, h5py.h5z.FLAG_OPTIONAL, values)
            space, kind = h5py.h5s.create_simple((4, 3)), h5py.h5t.IEEE_F64LE
            dataset = h5py.h5d.create(file.id, b"X", kind, space, plan)
            dataset.write_direct_chunk((0, 0), ROWS.tobytes())

    return spoil


def typed(kind: Any) -> Spoil:
    """A data set of a type that only the library's own words make."""

    def spoil(path: Path) -> None:
        with h5py.File(path, "a") as file:
            del file["y"]
            h5py.h5d.create(file.id, b"y", kind, h5py.h5s.create_simple((4,)))

    return spoil


def bomb(path: Path) -> None:
    """A chunk that unpacks to a thousand times what the data set declares."""
    import zlib

    with h5py.File(path, "a") as file:
        del file["X"]
        X = file.create_dataset("X", (4, 3), "f8", chunks=(4, 3), compression="gzip")
        X.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**22), 9))


def more_than_the_file(path: Path) -> None:
    """A chunk that is said to be larger than the file."""
    with h5py.File(path, "a") as file:
        del file["X"]
        X = file.create_dataset("X", data=ROWS, chunks=(4, 3), compression="gzip")
        stored = X.id.get_storage_size()
    key = "<IIQQQ"  # size, filter mask and offsets of a chunk
    old, new = (struct.pack(key, size, 0, 0, 0, 0) for size in (stored, 2**30))
    replace_bytes(old, new)(path)


def many_objects(path: Path) -> None:
    """More links than are looked at."""
    with h5py.File(path, "a") as file:
        group, target = file.create_group("many"), file["y"].id
        for k in range(MAX_OBJECTS):
            h5py.h5o.link(target, group.id, b"%d" % k)


def named(name: bytes) -> Spoil:
    """One more link to an array, with a name that h5py itself would not write."""

    def spoil(path: Path) -> None:
        with h5py.File(path, "a") as file:
            h5py.h5o.link(file["X"].id, file.id, name)

    return spoil


def named_type(path: Path) -> None:
    """A type of its own, in the place of an array."""
    put("X", np.dtype("f8"))(path)


def damaged(path: Path) -> None:
    """An array whose header has a version that there is not."""
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file["y"].id).addr
    content = bytearray(path.read_bytes())
    content[address] = 77  # the version of an object header
    path.write_bytes(content)


def pipe(path: Path) -> None:
    """A pipe, which would make a reader wait."""
    path.unlink()
    os.mkfifo(path)


def complex_type() -> Any:
    """Return the library's type of complex numbers."""
    if hasattr(h5py.h5t, "COMPLEX_IEEE_F32LE"):  # HDF5 2.0; before, h5py wrote a compound
        return h5py.h5t.COMPLEX_IEEE_F32LE
    return h5py.h5t.py_create(np.dtype("c8"))


LINK, FILTER = "expected a hard link; got", "expected filters of gzip, shuffle, fletcher32, lzf"
TYPE, NAME = "expected integers, floats of at most 8 bytes, booleans or", "expected names of 1 to"
ASK_WAY = {"X": "way/X", "y": "y"}
TWO_NAMES = "expected two names in fixed-length bytes"

BAD = [
    # links
    Bad("soft link", put("X", h5py.SoftLink("/group/X")), ("'X'", f"{LINK} soft link")),
    Bad(
        "soft link in the middle of a path",
        put("way", h5py.SoftLink("/group")),
        ("'way", f"{LINK} soft link 'way'"),
        ASK_WAY,
    ),
    Bad("external link", external_link("X"), ("'X'", f"{LINK} external link")),
    Bad(
        "external link in the middle of a path",
        external_group,
        ("'way", f"{LINK} external link 'way'"),
        ASK_WAY,
    ),
    Bad(
        "user-defined link",
        both(external_link("out"), replace_bytes(b"\x40\x03out", b"\x41\x03out")),
        ("'out'", f"{LINK} user-defined link"),
        {"X": "out", "y": "y"},
    ),
    Bad(
        "hard-link cycle",
        cycle,
        ("'group/again", "expected one hard link to a group; got cycle 'again'"),
        {"X": "group/again/X", "y": "y"},
    ),
    Bad(
        "hard-link cycle to the top",
        cycle_to_the_top,
        ("'group/top", "expected one hard link to a group; got cycle 'top'"),
        {"X": "group/top/X", "y": "y"},
    ),
    # storage
    Bad("external raw storage", external_storage, ("'X'", "external storage; expected numbers")),
    Bad("virtual data set", virtual, ("'X'", "a virtual data set; expected numbers stored in")),
    Bad(
        "virtual data set, listed beside an absent name",
        virtual,
        ("'absent' is not in the file", "'X' (virtual)"),
        {"X": "absent", "y": "y"},
        whole=False,
    ),
    Bad(
        "filter scale-offset",
        create("X", (4, 3), "i4", chunks=(4, 3), scaleoffset=3),
        ("'X'", FILTER, "got number 6"),
    ),
    Bad("filter n-bit", filtered(5), ("'X'", FILTER, "got number 5")),
    Bad("filter szip", filtered(4, (4, 8)), ("'X'", FILTER, "got number 4")),
    Bad("filter of a plug-in", filtered(32_769), ("'X'", FILTER, "got number 32769")),
    # types
    Bad("objects", put("y", ["a", "b", "b", "a"]), ("'y'", TYPE, "variable-length string")),
    Bad("variable length", create("y", (4,), h5py.vlen_dtype("i4")), ("'y'", TYPE, "-length")),
    Bad("reference", create("y", (4,), h5py.ref_dtype), ("'y'", TYPE, "type reference")),
    Bad("region reference", create("y", (4,), h5py.regionref_dtype), ("'y'", TYPE, "reference")),
    Bad("compound", create("y", (4,), "i4,f4"), ("'y'", TYPE, "type compound")),
    Bad("complex", typed(complex_type()), ("'y'", TYPE, "comp")),
    Bad("enumeration", create("y", (4,), h5py.enum_dtype({"a": 0})), ("'y'", TYPE, "type enum")),
    Bad("opaque", create("y", (4,), "V3"), ("'y'", TYPE, "type opaque")),
    Bad("bit field", typed(h5py.h5t.STD_B8LE), ("'y'", TYPE, "type bitfield")),
    Bad("time", typed(h5py.h5t.UNIX_D32LE), ("'y'", TYPE, "type time")),
    Bad(
        "array type",
        typed(h5py.h5t.array_create(h5py.h5t.IEEE_F32LE, (2,))),
        ("'y'", TYPE, "type array"),
    ),
    Bad("long double", create("y", (4,), np.longdouble), ("'y'", "floats of at most 8 bytes")),
    Bad("null dataspace", put("X", h5py.Empty("f8")), ("'X'", "got an empty (null) dataspace")),
    Bad("named type", named_type, ("'X'", "expected groups and arrays; got named type")),
    # shapes
    Bad("rank too low", put("X", np.ones(4)), ("'X'", "expected rows (m, n)", "got shape (4,)")),
    Bad("rank too high", put("X", np.ones((4, 1, 1, 1, 1), "u1")), ("'X'", "expected rows (m, n)")),
    Bad("rank of labels", put("y", np.ones((2, 2))), ("'y'", "expected labels of shape (m,)")),
    Bad("lengths that differ", put("y", LABELS[:3]), ("'X' and 'y'", "of one length")),
    Bad("no rows", both(put("X", ROWS[:0]), put("y", LABELS[:0])), ("'X'", "got empty shape")),
    # sizes
    Bad(
        "over --max-bytes",
        nothing,
        ("'X' declares 96 bytes", "expected max_bytes=95"),
        {"max_bytes": 95},
    ),
    Bad(
        "four gigabytes in a small file",
        create("X", (2**29, 1), "f8", chunks=(2**20, 1), compression="gzip"),
        ("'X' declares 4,294,967,296 bytes", "but stores 0", "expected all of them"),
    ),
    Bad("never written", create("X", (4, 3), "f8"), ("'X' declares 96", "but stores 0 of a file")),
    Bad("more than the file", more_than_the_file, ("'X'", "stores 1,073,741,824 of a file of")),
    Bad("a bomb", bomb, ("'X' declares 96 bytes", "expected no more than declared")),
    Bad(
        "too many objects",
        many_objects,
        ("'/'", f"expected at most {MAX_OBJECTS:,} objects"),
        {"X": "absent", "y": "y"},
    ),
    # names
    Bad("name ..", named(b".."), ("'..'", NAME), {"X": "..", "y": "y"}),
    Bad(
        "name .. asked for",
        nothing,
        ("'group/../X'", NAME),
        {"X": "group/../X", "y": "y"},
        False,
    ),
    Bad("name with NUL", nothing, (r"'X\x00'", NAME), {"X": "X\0", "y": "y"}, False),
    Bad("name of 300 bytes", named(b"n" * 300), ("'nnn", NAME), {"X": "n" * 300, "y": "y"}),
    Bad("name not in UTF-8", named(b"\xff"), ("ff", NAME), {"X": "\udcff", "y": "y"}),
    # classes
    Bad("classes of variable length", put("list_classes", ["a", "b"]), ("'list_classes'", TYPE)),
    Bad(
        "three classes", put("list_classes", np.array([b"a", b"b", b"c"])), ("'list_cl", TWO_NAMES)
    ),
    Bad("classes in numbers", put("list_classes", np.array([0, 1])), ("'list_classes'", TWO_NAMES)),
    Bad(
        "classes not in UTF-8",
        put("list_classes", np.array([b"a", b"\xff"])),
        ("'list_classes'", "expected text in UTF-8"),
    ),
    Bad(
        "one class twice",
        put("list_classes", np.array([b"a", b"a"])),
        ("'list_classes'", "expected two different names"),
    ),
    # files
    Bad("damaged", damaged, ("bad.h5", "expected a whole HDF5 file")),
    Bad("truncated", lambda path: os.truncate(path, path.stat().st_size - 100), ("truncated",)),
    Bad(
        "not HDF5", lambda path: path.write_bytes(b"a,b\n1,2\n"), ("expected one, as h5py writes",)
    ),
    Bad("a folder", both(Path.unlink, Path.mkdir), ("bad.h5: expected", "got a folder")),
    Bad("a pipe", pipe, ("bad.h5: expected", "pipe or device")),
]
