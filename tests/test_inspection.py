"""What `xpnet inspect` says of a file, here and from a child under limits that is not believed."""

import io
import json
import os
import struct

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from xpnet import Network, cli, data, hdf5, save_model, train, untrusted
from xpnet.errors import DataError, InputError, ModelFileError
from xpnet.inspection import inspect
from xpnet.untrusted import Limits

posix = pytest.mark.skipif(os.name != "posix", reason="limits for a process are POSIX's")
DOORS = [inspect, pytest.param(untrusted.inspect, marks=posix)]
X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])


@pytest.fixture
def model(tmp_path):
    net = Network([3, 4, 1], "tanh", backend="numpy", random_state=0)
    train(net, X, np.array(["cat", "hündin"])[Y], optimizer="adam", epochs=2, batch_size=2, seed=5)
    save_model(net, tmp_path / "model.h5")
    return tmp_path / "model.h5"


@pytest.fixture
def rows(tmp_path):
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file.create_dataset("X", data=X, compression="gzip", shuffle=True)
        file["y"], file["list_classes"] = Y, np.array([b"cat", "hündin".encode()])
    return tmp_path / "rows.h5"


def texts(facts, name):
    return [text for fact, text in facts if fact == name]


# --- what it says ---------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
def test_a_model(door, model):
    facts, good = door(model)
    assert good
    said = dict(facts)
    assert said["network"].startswith("3-4-1 · tanh · float32 · 21 parameter")
    assert said["classes"] == "['cat', 'hündin']"
    assert said["training"] == "epoch 2 · step 4 · batches of 2 · seed 5"
    assert said["loss"].endswith("in 2 epochs")
    assert said["format"] == "1"
    assert "SHA-256" in said["seal"]


@pytest.mark.parametrize("door", DOORS)
def test_a_damaged_model(door, model):
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    facts, good = door(model)
    assert not good
    assert "sealed checksum" in texts(facts, "refused")[0]
    assert "network" not in dict(facts)


def test_a_model_that_was_cut_in_its_seal(model):
    model.write_bytes(model.read_bytes()[:20])
    facts, good = inspect(model)
    assert not good
    assert "expected a model that xpnet saved" in texts(facts, "refused")[0]


@pytest.mark.parametrize("door", DOORS)
def test_data(door, rows):
    facts, good = door(rows)
    assert good
    assert "'X' (4, 3) float64 · in chunks of (4, 3) · shuffle · gzip" in texts(facts, "array")
    assert texts(facts, "rows") == ["'X' with labels 'y'"]
    assert texts(facts, "classes") == ["['cat', 'hündin']"]


@pytest.mark.parametrize("door", DOORS)
def test_all_that_is_refused_is_named(door, rows):
    with h5py.File(rows, "a") as file:
        file["soft"], file["words"] = h5py.SoftLink("/X"), ["a", "b"]
    facts, good = door(rows)
    assert not good
    first, second = texts(facts, "refused")
    assert "'soft': expected a hard link" in first
    assert "'words': expected integers" in second
    assert len(texts(facts, "array")) == 3


def test_compressed_numbers_are_verified(rows):
    with h5py.File(rows) as file:
        info = file["X"].id.get_chunk_info(0)
    content = bytearray(rows.read_bytes())
    content[info.byte_offset + info.size // 2] ^= 255
    rows.write_bytes(content)
    facts, good = inspect(rows)
    assert not good
    assert "'/X': the file is damaged" in texts(facts, "refused")[0]


def test_an_array_without_rows_is_no_damage(rows):
    with h5py.File(rows, "a") as file:
        file.create_dataset("none", (0, 3), "f4", maxshape=(None, 3))
    facts, good = inspect(rows)
    assert good, facts


def test_deep_groups_are_walked_once(tmp_path, monkeypatch):
    """A small file of groups within groups took hours where each array was looked up anew."""
    links = []
    look = hdf5._look
    monkeypatch.setattr(hdf5, "_look", lambda *given: links.append(given[1]) or look(*given))
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        for depth in range(20):
            file["a/" * depth + "x"] = [1.0]
    facts, good = inspect(tmp_path / "deep.h5")
    assert good
    assert len(texts(facts, "array")) == 20
    assert sorted(links) == ["a"] * 19 + ["x"] * 20


def test_long_lists_end(tmp_path):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for k in range(500):
            file[f"l{k:03}"] = h5py.SoftLink("/nowhere")
    facts, good = inspect(tmp_path / "many.h5")
    assert not good
    assert len(facts) < 450
    assert "100 more" in texts(facts, "refused")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "got a PNG picture"),
        (b"PK\x03\x04" + bytes(99), "got a zip archive"),
        (b"\x80\x04\x95" + bytes(99), "got a Python pickle, which can run code"),
        (b"a,b\n1,2\n", "not an HDF5 file"),
        (b"", "not an HDF5 file"),
    ],
)
def test_other_files(tmp_path, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    facts, good = inspect(path)
    assert not good
    assert words in texts(facts, "refused")[0]


@pytest.mark.parametrize("apart", [[], pytest.param(["--untrusted"], marks=posix)])
def test_the_command(rows, model, apart):
    def command(*words):
        return CliRunner().invoke(cli.main, ["inspect", *apart, *map(str, words)])

    assert command(rows).exit_code == command(model).exit_code == 0
    assert "'list_classes' (2,)" in command(rows).output
    small = command(rows, "--max-bytes", 50)
    assert small.exit_code == 1
    assert "'X' declares 96 bytes; expected max_bytes=50" in small.output
    absent = command(rows.with_name("absent"))
    assert absent.exit_code == 1
    assert "No such file" in absent.output
    assert command(rows, "--max-bytes", "none").exit_code == 2


@posix
def test_results_are_the_same_from_a_child(rows, model):
    def command(*words):
        result = CliRunner().invoke(cli.main, list(map(str, words)))
        assert result.exit_code == 0, result.output
        return result.output

    for words in (["predict", model, rows], ["evaluate", model, rows]):
        assert command(*words) == command(*words, "--untrusted")


@pytest.mark.parametrize(
    "words", [["train"], ["compare"], ["evaluate", "model.h5"], ["predict", "model.h5"]]
)
def test_every_command_that_reads_data_keeps_the_limit(rows, model, words, monkeypatch):
    monkeypatch.chdir(rows.parent)
    result = CliRunner().invoke(cli.main, [*words, "rows.h5", "--max-bytes", "50"])
    assert result.exit_code == 1
    assert "'X' declares 96 bytes; expected max_bytes=50" in result.output


# --- in a child -----------------------------------------------------------------------------------


@posix
def test_a_child_gives_the_same_model(model):
    from xpnet import load_model

    ours, theirs = load_model(model, "numpy"), untrusted.load_model(model, "numpy")
    np.testing.assert_array_equal(ours.theta, theirs.theta)
    np.testing.assert_array_equal(ours.training.vectors["m"], theirs.training.vectors["m"])
    assert ours.training.history == theirs.training.history


@posix
@pytest.mark.parametrize("dtype", ["u1", "<f2", ">f4", "f8", "?", "i8"])
def test_a_child_gives_the_same_data(tmp_path, dtype):
    path = tmp_path / "rows.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = X.astype(dtype), np.array([b"no", "jä".encode()])[Y]
    ours = data.load_hdf5(path, X="a", y="b")
    theirs = untrusted.load_rows(path, "train", ("a", "b"))
    assert (ours.classes, ours.name) == (theirs.classes, theirs.name)
    assert ours.X.dtype == theirs.X.dtype
    np.testing.assert_array_equal(ours.X, theirs.X)
    assert ours.y.tolist() == theirs.y.tolist()


@posix
def test_a_childs_classes_and_refusals_arrive(rows, model):
    assert untrusted.load_rows(rows, "test").classes == ("cat", "hündin")
    with pytest.raises(DataError, match="'Z' is not in the file"):
        untrusted.load_rows(rows, "train", ("Z", "y"))
    with pytest.raises(InputError, match="this model takes rows of 3 features"):
        untrusted.read_input("picture.png", None, 3, None)
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="sealed checksum"):
        untrusted.load_model(model)


@posix
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(memory=2**22), "ran out of memory"),
        (Limits(cpu=0), "used more than 0 seconds of processor time"),
        (Limits(wall=0.02), "was stopped after 0.02 seconds"),
    ],
)
def test_every_limit_is_one_clear_error(tmp_path, limits, words):
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("X", data=np.zeros((2000, 3000)), compression="gzip")
        file["y"] = np.arange(2000) % 2
    with pytest.raises(DataError, match=f"large.h5: the process that read it {words}"):
        untrusted.load_rows(path, "train", limits=limits)


HEAD = struct.Struct("<8sQ")


def answer(header, body=b"", magic=b"XPNETANS", length=None):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return HEAD.pack(magic, len(content) if length is None else length) + content + body


def told(arrays=(), body=b"", **more):
    return answer({"answer": None, "error": None, "arrays": arrays} | more, body)


GOOD = told([["X", "<f4", [1]]], bytes(4))
LIES = {
    "nothing": b"",
    "half a head": GOOD[:10],
    "half a header": GOOD[:30],
    "half an array": GOOD[:-1],
    "more than announced": GOOD + b"!",
    "another magic": answer({}, magic=b"XPNETXXX"),
    "a huge header": answer({}, length=2**40),
    "no JSON": answer(b"{"),
    "deep JSON": answer(b"[" * 100_000),
    "a list": answer([]),
    "no arrays": answer({"answer": 1, "error": None}),
    "objects": told([["X", "|O8", [1]]], bytes(8)),
    "records": told([["X", [["a", "<f4"]], [1]]], bytes(4)),
    "a shape in words": told([["X", "<f4", "1"]], bytes(4)),
    "a negative shape": told([["X", "<f4", [-1]]], bytes(4)),
    "a shape of truth": told([["X", "<f4", [True]]], bytes(4)),
    "a huge array": told([["X", "<f4", [2**40]]], bytes(4)),
    "many huge arrays": told([["X", "<f4", [2**18]]] * 3, bytes(3 * 2**20)),
    "many dimensions": told([["X", "<f4", [1] * 100]], bytes(4)),
    "an error of another kind": told(error=["SystemExit", "0"]),
    "an error in words": told(error="DataError"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lying_child_is_not_believed(lie):
    with pytest.raises(untrusted.Broken):
        untrusted.receive(io.BytesIO(lie), 2**21)


@pytest.mark.parametrize(
    ("answer", "arrays"),
    [
        (None, {}),
        (None, {"X": X}),
        (7, {"X": X, "y": Y}),
        (["one"], {"X": X, "y": Y}),
        (None, {"X": X, "y": Y[:3]}),
        (None, {"X": np.array(1.0), "y": Y}),
        (None, {"X": X, "y": np.array([b"\xff"] * 4)}),
    ],
)
def test_answers_of_the_wrong_form_are_one_error(monkeypatch, answer, arrays):
    monkeypatch.setattr(untrusted, "ask", lambda *_, **__: (answer, arrays))
    with pytest.raises(DataError, match="the process that read it sent no proper answer"):
        untrusted.load_rows("rows.h5", "train")


@pytest.mark.parametrize("answer", [None, 7, [], [[["one"]], True], [[7], True]])
def test_facts_of_the_wrong_form_are_one_error(monkeypatch, answer):
    monkeypatch.setattr(untrusted, "ask", lambda *_, **__: (answer, {}))
    with pytest.raises(DataError, match="the process that read it sent no proper answer"):
        untrusted.inspect("rows.h5")


def test_a_childs_answer_is_taken_by_its_bytes():
    _, arrays = untrusted.receive(io.BytesIO(GOOD), 2**21)
    assert arrays["X"].tolist() == [0.0]
    flags = told([["b", "|b1", [3]]], b"\x00\x02\x01")
    assert untrusted.receive(io.BytesIO(flags), 99)[1]["b"].tolist() == [False, True, True]


def test_a_childs_words_cannot_move_the_cursor():
    with pytest.raises(DataError, match=r"^\?\[2Jgone$"):
        untrusted.receive(io.BytesIO(told(error=["DataError", "\x1b[2Jgone"])), 99)
