"""What xpnet.data accepts, and the words in which it refuses the rest."""

import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnet import checks, data
from xpnet.errors import DataError, InputError
from xpnet.hdf5 import open_file, read_dataset

PICTURES = Path(__file__).parents[1] / ".." / "shared" / "data" / "pictures"
ROWS = np.arange(12.0).reshape(4, 3)
LABELS = np.array([0, 1, 1, 0])


@pytest.fixture
def write(tmp_path):
    """Return a function that writes arrays to an HDF5 file and returns its path."""

    def write(**arrays):
        path = tmp_path / "some.h5"
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
        return path

    return write


def refuses(action, *words, error=DataError):
    """Assert that *action* raises exactly *error* with all *words* in its message."""
    with pytest.raises(error) as caught:
        action()
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


# --- HDF5: accepted -------------------------------------------------------------------------------


@pytest.mark.skipif(not PICTURES.is_dir(), reason="the cat pictures are absent (shared/data)")
@pytest.mark.parametrize(("part", "m", "cats"), [("train", 209, 72), ("test", 50, 33)])
def test_course_files(part, m, cats):
    for which in (None, part):
        cat = data.load(PICTURES / f"{part}_catvnoncat.h5", which)
        assert (len(cat), cat.picture_shape, cat.X.dtype) == (m, (64, 64, 3), np.uint8)
        assert cat.classes == ("non-cat", "cat")
        assert cat.name == f"{part}_catvnoncat"
        y01, classes = checks.check_labels(cat.y, cat.classes)
        assert (y01.sum(), tuple(classes)) == (cats, cat.classes)


def test_order_of_list_classes_is_kept(write):
    path = write(X=ROWS, y=LABELS, list_classes=np.array(["zo\xeb".encode(), b"ann"]))
    loaded = data.load_hdf5(path)
    assert loaded.classes == ("zoë", "ann")
    assert loaded.y.tolist() == ["zoë", "ann", "ann", "zoë"]
    assert checks.check_labels(loaded.y, loaded.classes)[0].tolist() == LABELS.tolist()


def test_split_chooses_the_set(write):
    path = write(
        train_set_x=ROWS, train_set_y=LABELS, test_set_x=ROWS[:2], test_set_y=LABELS[:2],
        X=ROWS[:3], y=LABELS[:3],
    )  # fmt: skip
    sizes = {part: len(data.load_hdf5(path, part)) for part in (None, "train", "test")}
    assert sizes == {None: 4, "train": 4, "test": 2}


def test_names_may_be_given_and_lie_in_groups(write):
    path = write(**{"a/b": ROWS, "a/c": np.array([b"no", b"yes", b"yes", b"no"])})
    loaded = data.load_hdf5(path, X="a/b", y="/a/c")
    assert loaded.X.tolist() == ROWS.tolist()
    assert loaded.y.tolist() == ["no", "yes", "yes", "no"]
    assert (loaded.classes, loaded.picture_shape) == (None, None)


@given(
    m=st.integers(1, 6),
    dtype=st.sampled_from(["u1", "<i4", ">i8", "<f2", ">f4", "f8", "?", "S3"]),
    turn=st.sampled_from([lambda y: y, lambda y: y[:, None], lambda y: y[None, :]]),
    how=st.sampled_from([{}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"},
                         {"fletcher32": True}, {"chunks": True}]),
)  # fmt: skip
def test_labels_of_any_shape_type_and_storage(tmp_path_factory, m, dtype, turn, how):
    y = (np.arange(m) % 2).astype(dtype)
    path = tmp_path_factory.mktemp("labels") / "y.h5"
    with h5py.File(path, "w") as file:
        file["X"] = np.ones((m, 2))
        file.create_dataset("y", data=turn(y), **how)
    loaded = data.load_hdf5(path).y
    assert loaded.dtype.isnative
    assert loaded.tolist() == [v.decode() if dtype == "S3" else v for v in y.tolist()]


# --- HDF5: refused --------------------------------------------------------------------------------


def test_what_is_no_hdf5_file(tmp_path, write):
    whole = write(X=np.ones((500, 3)), y=np.ones(500)).read_bytes()
    for name, content in {
        "text.h5": b"a,b\n1,2\n",
        "empty.h5": b"",
        "cut.h5": whole[:-500],
    }.items():
        (tmp_path / name).write_bytes(content)
    refuses(lambda: data.load_hdf5(tmp_path), "expected an HDF5 file; got a folder")
    refuses(lambda: data.load_hdf5(tmp_path / "none.h5"), "none.h5: no such file")
    refuses(lambda: data.load_hdf5(tmp_path / "text.h5"), "text.h5: not an HDF5 file")
    refuses(lambda: data.load_hdf5(tmp_path / "empty.h5"), "not an HDF5 file")
    refuses(lambda: data.load_hdf5(tmp_path / "cut.h5"), "the file is truncated", "download it")
    refuses(lambda: data.load(tmp_path / "some.csv"), "ending in .h5 or .hdf5")


def test_a_damaged_file_is_refused_in_words(write):
    path = write(X=ROWS, y=LABELS)
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file["y"].id).addr
    content = bytearray(path.read_bytes())
    content[address] = 77  # the version of an object header
    path.write_bytes(content)
    refuses(lambda: data.load_hdf5(path), "damaged", "expected a whole HDF5 file")


@pytest.mark.parametrize("died", [False, True])
def test_a_file_that_is_being_written_is_refused_in_words(write, died):
    path = write(X=ROWS, y=[0, 1, 1, 0])
    code = (
        "import sys, h5py, os\n"
        "file = h5py.File(sys.argv[1], 'w', libver='latest')\n"
        "file.flush()\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        if died:
            writer.kill()
            writer.wait()
        refuses(lambda: data.load_hdf5(path), "expected a file that nobody writes to", "h5clear")


def test_missing_names_list_what_is_there(write):
    path = write(images=ROWS, **{"g/labels": LABELS})
    with h5py.File(path, "a") as file:
        file["g/again"] = file["g"]  # a cycle
    has = ("'images' (4, 3) float64", "'g/labels' (4,) int64")
    refuses(lambda: data.load_hdf5(path), "train_set_x and train_set_y", "or X and y", *has, "X=")
    refuses(lambda: data.load_hdf5(path, "test"), "expected test_set_x and test_set_y; got", *has)
    refuses(lambda: data.load_hdf5(path, X="Y", y="g/labels"), "'Y' is not in the file", *has)
    refuses(lambda: data.load_hdf5(path, X="images/a", y="g/labels"), "'images/a' is not in", *has)
    refuses(lambda: data.load_hdf5(path, X="g", y="g/labels"), "'g' is no array", *has)
    refuses(
        lambda: data.load_hdf5(path, X="g/../images", y="y"),
        "without '.', '..' or NUL; got",
        "'..'",
    )
    refuses(lambda: data.load_hdf5(path, X="a" * 256, y="y"), "names of 1 to 255 bytes")
    refuses(lambda: data.load_hdf5(path, X="a\0b", y="y"), "names of 1 to 255 bytes")
    refuses(lambda: data.load_hdf5(path), "'g/labels' (4,) int64; name the arrays")  # and no more


def test_long_listings_end(write):
    path = write(**{f"a{i:03}": LABELS for i in range(100)})
    refuses(lambda: data.load_hdf5(path), "'a019'", ", …")


def test_contradicting_arguments(write):
    path = write(X=ROWS, y=LABELS)
    refuses(lambda: data.load_hdf5(path, X="X"), "both X= and y=", error=InputError)
    refuses(lambda: data.load_hdf5(path, "train", X="X", y="y"), "without split", error=InputError)
    refuses(lambda: data.load_hdf5(path, "dev"), "train", "got 'dev'", error=InputError)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": ROWS[:0], "y": LABELS[:0]}, ["'X'", "empty shape (0, 3)"]),
        ({"X": ROWS, "y": LABELS[:3]}, ["'X' and 'y' of one length", "4 rows and 3 labels"]),
        ({"X": ROWS.T, "y": LABELS}, ["3 rows and 4 labels", "is 'X' transposed?"]),
        ({"X": ROWS, "y": np.zeros((2, 2))}, ["'y'", "(m,), (m, 1) or (1, m); got (2, 2)"]),
        ({"X": ROWS, "y": 1.0}, ["'y'", "got ()"]),
        ({"X": LABELS, "y": LABELS}, ["'X': expected rows (m, n)", "got shape (4,)"]),
        ({"X": ROWS.astype("S"), "y": LABELS}, ["'X': expected numbers; got dtype |S"]),
        ({"X": np.ones((4, 2, 2)), "y": LABELS}, ["uint8 pictures", "(4, 2, 2) of float64"]),
        ({"X": ROWS, "y": np.array([b"\xff"] * 4)}, ["'y': expected text in UTF-8"]),
        ({"X": ROWS, "y": ["a"] * 4}, ["got type variable-length string (object)", "np.char.enc"]),
        ({"X": ROWS + 1j, "y": LABELS}, ["'X': expected integers", "complex128"]),
        ({"X": np.zeros(4, "i4,f4"), "y": LABELS}, ["type compound"]),
        ({"X": np.zeros((4, 1), "V3"), "y": LABELS}, ["type opaque"]),
        ({"X": h5py.Empty("f4"), "y": LABELS}, ["'X': expected an array; got an empty (null)"]),
        (
            {"list_classes": np.array([b"a", b"b", b"c"])},
            ["'list_classes'", "two names", "shape (3,)"],
        ),
        ({"list_classes": np.array([b"a", b"a"])}, ["two different names; got 'a' twice"]),
        ({"list_classes": np.array([1, 2])}, ["names in fixed-length bytes; got int64 of"]),
        ({"list_classes": ["a", "b"]}, ["'list_classes'", "variable-length string"]),
        ({"list_classes": np.array([b"a", b"\xff"])}, ["'list_classes'", "text in UTF-8"]),
        ({"list_classes": np.array([b"a", b"b"]), "y": LABELS * 2}, ["0 and 1", "2 others, such"]),
        ({"list_classes": np.array([b"a", b"b"]), "y": np.array([b"a"] * 4)}, ["such as 'a'"]),
    ],
)
def test_arrays_of_the_wrong_kind(write, arrays, words):
    path = write(**({"X": ROWS, "y": LABELS} | arrays))
    refuses(lambda: data.load_hdf5(path), str(path), *words)


@pytest.mark.parametrize(
    ("dtype", "word"),
    [
        (h5py.ref_dtype, "type reference"),
        (h5py.vlen_dtype("i4"), "type variable-length"),
        (h5py.enum_dtype({"no": 0, "yes": 1}), "type enum"),
        (np.dtype(np.longdouble), "floats of at most 8 bytes"),
    ],
)
def test_types_off_the_list(write, dtype, word):
    if dtype.itemsize == 8 and dtype.kind == "f":
        pytest.skip("long double is double on this machine")
    path = write(X=ROWS)
    with h5py.File(path, "a") as file:
        file.create_dataset("y", (4,), dtype)
    refuses(lambda: data.load_hdf5(path), "'y'", word)


@pytest.mark.parametrize("bits", [24, 128])
def test_numbers_that_numpy_has_not_are_refused_by_their_type(write, bits):
    path = write(X=ROWS)
    kind = h5py.h5t.STD_I64LE.copy()
    kind.set_size(bits // 8)
    with h5py.File(path, "a") as file:
        h5py.h5d.create(file.id, b"y", kind, h5py.h5s.create_simple((4,)))
    refuses(lambda: data.load_hdf5(path), "'y': expected integers", "type integer")


def test_floats_of_another_format_are_refused_by_their_type(write):
    path = write(X=ROWS)
    kind = h5py.h5t.IEEE_F32LE.copy()  # bfloat16, which h5py reads as float32
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    with h5py.File(path, "a") as file:
        array = h5py.h5d.create(file.id, b"y", kind, h5py.h5s.create_simple((4,)))
        array.write(h5py.h5s.ALL, h5py.h5s.ALL, np.zeros(4, "f4"))
    refuses(lambda: data.load_hdf5(path), "'y': expected integers", "type float")


def _linked(path, name, link):
    with h5py.File(path, "a") as file:
        file[name] = link


def test_links_other_than_hard_ones(write, tmp_path):
    path = write(**{"real/X": ROWS, "y": LABELS})
    _linked(path, "X", h5py.SoftLink("/real/X"))
    refuses(lambda: data.load_hdf5(path), "'X': expected a hard link", "soft link 'X'")
    _linked(path, "way", h5py.SoftLink("/real"))
    refuses(lambda: data.load_hdf5(path, X="way/X", y="y"), "'way/X'", "soft link 'way'")
    _linked(path, "out", h5py.ExternalLink(str(tmp_path / "absent.h5"), "/X"))
    refuses(lambda: data.load_hdf5(path, X="out", y="y"), "external link 'out'")
    refuses(lambda: data.load_hdf5(path, X="no", y="y"), "'out' (external link)")
    content = path.read_bytes()
    at = content.index(b"\x40\x03out")  # link type 64 (external), length, name
    path.write_bytes(content[:at] + b"\x41" + content[at + 1 :])
    refuses(lambda: data.load_hdf5(path, X="out", y="y"), "user-defined link")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"data": np.arange(4), "scaleoffset": True, "chunks": (4,)}, "got number 6 ('scaleoffset"),
        ({"external": [("raw.bin", 0, 32)]}, "has external storage"),
        ({}, "declares 32 bytes of (4,) int64, but stores 0"),
        ({"shape": (2**29,), "compression": "gzip", "chunks": (2**20,)}, "stores 0 of a file of"),
        ({"shape": (2**29,), "chunks": (2**20,)}, "declares 4,294,967,296 bytes"),
    ],
)
def test_storage_off_the_list(write, monkeypatch, tmp_path, options, word):
    monkeypatch.chdir(tmp_path)
    path = write(X=ROWS)
    with h5py.File(path, "a") as file:
        file.create_dataset("y", **({"shape": (4,), "dtype": "i8"} | options))
    refuses(lambda: data.load_hdf5(path), "'y'", word)


def test_no_plugin_can_be_found_while_a_file_is_open(write):
    path, h5pl = write(X=ROWS), h5py.h5pl
    h5pl.append(b"/where/a/plugin/is")
    try:
        before = [h5pl.get(k) for k in range(h5pl.size())]
        with open_file(path):
            assert h5pl.size() == 0
            with pytest.raises(RuntimeError), open_file(path):
                raise RuntimeError
            assert h5pl.size() == 0  # the outer one is still open
        assert [h5pl.get(k) for k in range(h5pl.size())] == before
    finally:
        h5pl.remove(h5pl.size() - 1)


def test_virtual_data_sets(write):
    path = write(y=LABELS, there=ROWS)
    layout = h5py.VirtualLayout((4, 3), float)
    layout[:] = h5py.VirtualSource(".", "there", (4, 3))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("X", layout)
    refuses(lambda: data.load_hdf5(path), "'X' is a virtual data set")


def test_sizes(write):
    path = write(y=LABELS)
    with h5py.File(path, "a") as file:
        file.create_dataset("X", (4, 3), "f8", chunks=(1, 3), compression="gzip")
        file["X"][:3] = 1  # the last row was never written
    refuses(lambda: data.load_hdf5(path), "declares 96 bytes of (4, 3)", "was it written to the")
    path = write(X=ROWS, y=LABELS)
    refuses(lambda: data.load_hdf5(path, max_bytes=95), "'X' declares 96 bytes; expected max_bytes")
    assert len(data.load_hdf5(path, max_bytes=96)) == 4
    with open_file(path) as file:
        refuses(lambda: read_dataset(file, "X", shape=(4, 2)), "expected shape (4, 2); got (4, 3)")
        assert read_dataset(file, "X", shape=(4, 3)).tolist() == ROWS.tolist()
        assert file.mode == "r"


def test_more_bytes_than_the_whole_file(write):
    path = write(y=LABELS)
    with h5py.File(path, "a") as file:
        X = file.create_dataset("X", data=ROWS, compression="gzip", chunks=(4, 3))
        stored = X.id.get_storage_size()
    key = struct.pack("<IIQQQ", stored, 0, 0, 0, 0)  # size, filter mask and offsets of a chunk
    content = path.read_bytes()
    assert content.count(key) == 1
    path.write_bytes(content.replace(key, struct.pack("<IIQQQ", 2**30, 0, 0, 0, 0)))
    refuses(lambda: data.load_hdf5(path), "'X' declares 96 bytes", "stores 1,073,741,824 of a file")


def test_well_compressed_data_are_read(write):
    path = write(y=np.zeros(2000))
    with h5py.File(path, "a") as file:
        file.create_dataset("X", data=np.zeros((2000, 500)), compression="gzip", compression_opts=9)
    assert not data.load_hdf5(path).X.any()


# --- labels ---------------------------------------------------------------------------------------

PAIRS = [(0, 1), (-1.0, 1.0), (False, True), ("cat", "dog"), (b"a", b"b"), (3, 7)]


@given(
    pair=st.sampled_from(PAIRS) | st.lists(st.text("abcé", max_size=3), min_size=2, max_size=2,
                                           unique=True) | st.lists(st.integers(-9, 9), min_size=2,
                                                                   max_size=2, unique=True),
    bits=st.lists(st.integers(0, 1), min_size=2).filter(lambda bits: len(set(bits)) == 2),
    flip=st.booleans(),
    as_object=st.booleans(),
)  # fmt: skip
def test_any_two_labels_make_the_round_trip(pair, bits, flip, as_object):
    pair = sorted(pair, reverse=flip)
    y = [pair[bit] for bit in bits]
    given_y = np.array(y, object) if as_object else y
    y01, classes = checks.check_labels(given_y, pair if flip else None)
    assert y01.tolist() == bits
    assert y01.dtype == np.int64
    assert classes.tolist() == pair
    assert classes[y01].tolist() == y


MAYBE_TEXT = np.dtypes.StringDType(na_object=None)


@pytest.mark.parametrize(
    ("y", "classes", "words"),
    [
        ([1, 1], None, ["two classes; got one class only: 2 × 1"]),
        (["cat"], ("non-cat", "cat"), ["two classes; got one class only: 1 × 'cat'"]),
        ([0, 1, 2, 2], None, ["two classes; got 1 × 0, 1 × 1, 2 × 2"]),
        (np.arange(50.5), None, ["1 × 4.0 and 46 more labels"]),
        (["a", "b", "x"], ("a", "b"), ["only labels of ['a', 'b']; got", "1 × 'x'"]),
        (["0", "1"], (0, 1), ["only labels of [0, 1]; got 1 × '0', 1 × '1'"]),
        ([0, 1], (1, 1), ["classes: expected two different labels"]),
        ([0, 1], (0, 1, 2), ["classes: expected two different labels"]),
        ([0, 1, np.nan, np.nan], None, ["got 2 NaN or infinite", "index (2,)"]),
        ([0, np.inf], None, ["1 NaN or infinite"]),
        (np.array(["a", None, "b"], object), None, ["one type; got 2 × str, 1 × NoneType"]),
        (np.array([None, None]), None, ["text or bytes; got object"]),
        ([[0], [1]], None, ["expected labels of shape (m,); got (2, 1); y.ravel()"]),
        (1, None, ["got ()"]),
        ([], None, ["got (0,); give one label for each row"]),
        ([[0, 1], [1]], None, ["expected an array"]),
        ([1j, 2], None, ["got complex128"]),
        ([0, 1], [0j, 1], ["classes: expected numbers", "got complex128"]),
        ([0, 1], np.ma.array([0, 1], mask=[0, 1]), ["classes: expected a plain array"]),
        ([0, 1], {0, 1}, ["classes: expected an array; got a set"]),
        (np.array(["a", None, "b"], MAYBE_TEXT), None, ["one type; got 2 × str, 1 × NoneType"]),
        (np.ma.array([0, 1], mask=[0, 1]), None, ["masked"]),
        ([0, 1, np.ma.masked], None, ["got masked ones"]),
    ],
)
def test_labels_that_are_not_of_two_classes(y, classes, words):
    refuses(lambda: checks.check_labels(y, classes), *words, error=InputError)


@pytest.mark.skipif(np.dtype("longdouble").itemsize == 8, reason="this system has no long double")
def test_labels_that_no_file_could_keep():
    y = np.array([0.0, 1.0], "longdouble")
    for labels, classes in [(y, None), ([0, 1], y)]:
        refuses(lambda: checks.check_labels(labels, classes), "got float", error=InputError)  # noqa: B023


def test_one_class_may_be_evaluated_where_both_are_known():
    assert checks.check_labels(["b", "b"], ("a", "b"), both=False)[0].tolist() == [1, 1]
    refuses(lambda: checks.check_labels(["b"], both=False), "got one class only", error=InputError)


# --- rows -----------------------------------------------------------------------------------------


def test_check_x_leaves_arrays_alone():
    for X in (ROWS, ROWS.T, ROWS > 3, np.zeros((2, 5, 5), "u1"), np.zeros((2, 5, 5, 3), "u1")):
        assert checks.check_X(X) is X
    assert checks.check_X([[1, 2]]).shape == (1, 2)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros(3), ["rows: expected rows (m, n)", "got shape (3,) of float64"]),
        (np.zeros((1, 2, 2)), ["uint8 pictures", "of float64", "reshape(m, -1)"]),
        (np.zeros((1, 1, 1, 1, 1), "u1"), ["got shape (1, 1, 1, 1, 1)"]),
        (np.zeros((0, 3)), ["empty shape (0, 3)"]),
        (np.zeros((3, 0)), ["empty shape (3, 0)"]),
        (ROWS + 1j, ["numbers; got dtype complex128"]),
        ([["a"]], ["numbers; got dtype <U1"]),
        (ROWS.astype(object), ["numbers; got dtype object of shape (4, 3); encode"]),
        ([[1, 2], [3]], ["rows: expected an array"]),
        (np.ma.array(ROWS), ["got a masked one"]),
        (list(np.ma.array(ROWS)), ["got masked ones"]),
    ],
)
def test_check_x_refuses(X, words):
    refuses(lambda: checks.check_X(X, "rows"), *words, error=InputError)


def test_lengths_differ():
    checks.check_lengths(ROWS, LABELS)
    words = "X and y of one length; got 4 rows and 3 labels; is X transposed?"
    refuses(lambda: checks.check_lengths(ROWS, [0, 1, 1]), words, error=InputError)
    refuses(lambda: data.Dataset(ROWS, LABELS[:2]), "one label for each row", error=InputError)


@given(
    shape=hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
    order=st.sampled_from("CF"),
    block=st.sampled_from([1, 7, 2**20]),
    draw=st.data(),
)
def test_check_finite_finds_the_first(shape, order, block, draw):
    spots = draw.draw(st.sets(st.integers(0, shape[0] * shape[1] - 1), max_size=5))
    X = np.zeros(shape, "f4", order=order)
    for spot in spots:
        X[np.unravel_index(spot, shape)] = draw.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_BLOCK", block)
        if not spots:
            return checks.check_finite(X)
        row, column = divmod(min(spots), shape[1])
        words = f"Z: expected finite numbers; got {len(spots)} NaN", f"row {row}, column {column},"
        return refuses(lambda: checks.check_finite(X, "Z"), *words, error=InputError)


# --- circles and splits ---------------------------------------------------------------------------


def test_circles():
    drawn = data.circles(500, noise=0, factor=0.25)
    radius = np.hypot(*drawn.X.T)
    assert np.allclose(radius, np.where(drawn.y == "inner", 0.25, 1))
    assert (len(drawn), drawn.classes, drawn.X.dtype) == (500, ("outer", "inner"), np.float64)
    assert np.array_equal(data.circles().X, data.circles().X)
    assert not np.array_equal(data.circles().X, data.circles(random_state=1).X)


def test_load_without_a_path_splits_the_circles():
    train, test = data.load(), data.load(split="test")
    assert (len(train), len(test)) == (800, 200)
    both = np.concatenate([train.X, test.X])
    assert np.array_equal(np.unique(both, axis=0), np.unique(data.circles().X, axis=0))
    assert np.array_equal(data.load(split="train").X, train.X)
    for wrong in ("dev", ["train"], "None", 0):
        refuses(lambda: data.load(split=wrong), f"got {wrong!r}", error=InputError)  # noqa: B023


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"n_samples": 0}, "n_samples: expected an integer above 0; got 0"),
        ({"noise": -0.1}, "noise: expected a number at least 0; got -0.1"),
        ({"noise": None}, "noise: expected a number at least 0; got None"),
        ({"factor": 1.0}, "factor: expected a number at least 0 and below 1; got 1.0"),
    ],
)
def test_circles_refuse(argument, words):
    refuses(lambda: data.circles(**argument), words, error=InputError)


@given(m=st.integers(10, 60), positives=st.integers(5, 9), seed=st.integers(0, 99))
def test_split_keeps_rows_labels_and_shares(m, positives, seed):
    y = np.where(np.arange(m + positives) < positives, "yes", "no")
    whole = data.Dataset(np.arange(len(y))[:, None], y, ("no", "yes"), "n")
    parts = data.split(whole, 0.4, seed)
    assert sorted(np.concatenate([p.X.ravel() for p in parts])) == list(range(len(y)))
    for part, name, share in zip(parts, ("n (train)", "n (test)"), (0.6, 0.4), strict=True):
        assert (part.name, part.classes) == (name, whole.classes)
        assert part.y.tolist() == y[part.X.ravel()].tolist()
        assert abs((part.y == "yes").sum() - share * positives) <= 1


def test_split_refuses():
    few = data.Dataset(ROWS, np.array([0, 0, 0, 1]))
    refuses(lambda: data.split(few), "enough of each class", error=InputError)
    refuses(lambda: data.split(data.circles(), 1), "above 0 and below 1; got 1", error=InputError)
    refuses(lambda: data.split(data.Dataset(ROWS, LABELS * 0)), "one class only", error=InputError)


# --- pictures -------------------------------------------------------------------------------------

QUARTERS = np.zeros((2, 2, 3), np.uint8)
QUARTERS[0, 0] = 255, 0, 0  # red at the top left, on black


@pytest.fixture
def Image():  # noqa: N802 - Pillow's own name
    return pytest.importorskip("PIL.Image", reason="Pillow, of the extra plot, is not installed")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
def test_pictures_of_every_mode(Image, tmp_path, mode, shape):
    grey = np.full((30, 20), 200, np.uint8)
    path = tmp_path / ("p.jpg" if mode == "CMYK" else "p.png")
    picture = Image.fromarray(grey)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        picture = picture.convert("RGB").convert(mode) if mode != "LA" else picture.convert(mode)
    picture.save(path)
    loaded = data.load_picture(path, shape)
    assert (loaded.shape, loaded.dtype) == ((1, *shape), np.uint8)
    assert abs(loaded.mean() - 200) < (60 if mode == "1" else 4)


def test_pictures_keep_their_sides_and_colours(Image, tmp_path):
    Image.fromarray(QUARTERS.repeat(50, 0).repeat(80, 1)).save(tmp_path / "p.png")
    loaded = data.load_picture(tmp_path / "p.png", (2, 4, 3))[0].astype(int)
    assert np.abs(loaded - QUARTERS.repeat(2, 1)).max() < 60  # the filter reaches over the edge


def test_pictures_are_turned_upright(Image, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned right by 90 degrees
    Image.fromarray(QUARTERS).save(tmp_path / "p.png", exif=exif)
    loaded = data.load_picture(tmp_path / "p.png", (2, 2, 3))[0]
    assert loaded[0, 1].tolist() == [255, 0, 0]
    assert loaded.sum() == 255


def test_transparent_is_white(Image, tmp_path):
    Image.new("RGBA", (3, 3), (0, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("P", (3, 3), 0).save(tmp_path / "b.png", transparency=0)
    for name in ("a.png", "b.png"):
        assert (data.load_picture(tmp_path / name, (3, 3)) == 255).all()


def _huge(side):
    """Return a PNG of a few bytes that claims to be *side* pixels wide and high."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_pictures_that_cannot_be_read(Image, tmp_path):
    Image.fromarray(np.zeros((90, 90), np.uint8)).save(tmp_path / "whole.jpg")
    Image.fromarray(np.zeros((90, 90), np.uint8)).save(tmp_path / "other.gif")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-200])
    (tmp_path / "text.png").write_text("no picture")
    for name, words in {
        "none.png": "got: No such file or directory; check the path",
        ".": "got: Is a directory; check the path",
        "cut.jpg": "save it anew",
        "text.png": "got a file of another kind; convert it",
        "other.gif": "got a file of another kind; convert it",
    }.items():
        path, expected = tmp_path / name, "expected a PNG or JPEG"
        refuses(lambda p=path: data.load_picture(p, (2, 2)), str(path), expected, words)
    for side in (10_000, 30_000):  # Pillow warns of the first, refuses the second
        (tmp_path / "huge.png").write_bytes(_huge(side))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refuses(lambda: data.load_picture(tmp_path / "huge.png", (2, 2)), "too many pixels")
    for shape in [(2, 2, 4), (0, 3, 3), (2, -1), (2.0, 2), (True,), "ab", 3, None]:
        words = ["shape: expected (h, w)", f"got {shape!r}"]
        refuses(lambda s=shape: data.load_picture(tmp_path / "whole.jpg", s), *words,
                error=InputError)  # fmt: skip


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    words = "pip install 'xpnet[plot]'"
    refuses(lambda: data.load_picture("p.png", (2, 2)), words, error=InputError)


def test_import_stays_light():
    code = (
        "import sys, xpnet.data; print([m for m in ('h5py','sklearn','PIL') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
