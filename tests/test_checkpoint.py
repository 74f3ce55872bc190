"""Model files: what comes back, what is refused, and that a failed write changes nothing."""

import hashlib
import io
import json
import os
import shutil
import struct
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.counting_double import CountingDouble
from tests.unprivileged import unprivileged
from xpnet import (
    Adam,
    Checkpoint,
    InputError,
    ModelFileError,
    Network,
    load_model,
    resume,
    save_model,
    schedules,
    train,
)
from xpnet.backend import CupyBackend
from xpnet.optimizers import OPTIMIZERS
from xpnet.seal import FORMAT
from xpnet.training import EarlyStopping

BLOCK = 512
SEAL = struct.Struct("<8sIIQ32s")  # magic, version, zero, length of the body, SHA-256 of the body

LABELS = {
    "booleans": np.array([False, True]),
    "int64": np.array([-1, 2**60 + 1]),
    "int8": np.array([3, 5], "int8"),
    "uint64": np.array([0, 2**64 - 1], "uint64"),
    "floats": np.array([0.1, 1e300]),
    "float32": np.array([0.1, 2.5], "float32"),
    "text": np.array(["cat", "non-cat: é 猫"]),
    "text that is no Unicode": np.array(["b", "\ud800"]),
    "bytes": np.array([b"cat", b"\xff\x00x"]),
    "objects": np.array(["a", "b"], dtype=object),
    "StringDType": np.array(["a", "b"], dtype=np.dtypes.StringDType()),
}


def refuses(error, *words):
    """Expect *error* with all *words* in its message."""
    return pytest.raises(error, match="".join(f"(?=.*{word})" for word in words))


def trained(
    backend="numpy", dtype="float32", optimizer="adam", labels=(0, 1), of_net=None, **kwargs
):
    """A small net in the middle of its training, and its data."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((20, 3)).astype(dtype)
    y = np.asarray(labels)[(X[:, 0] > 0).astype(int)]
    net = Network(
        [3, 4, 2, 1],
        ["tanh", "relu"],
        precision=dtype,
        backend=backend,
        random_state=0,
        **(of_net or {}),
    )
    train(net, X, y, optimizer=optimizer, epochs=3, batch_size=8, seed=5, **kwargs)
    return net, X, y


def host(net, array):
    return np.array(net.backend.to_host(array))


def assert_same(net, other):
    assert net.layer_sizes == other.layer_sizes
    assert net.activations == other.activations
    assert net.dtype == other.dtype
    for name in ("threshold", "temperature", "picture_shape", "dropout", "layout"):
        assert getattr(net, name) == getattr(other, name), name
    assert (net.scaling is None) is (other.scaling is None)
    if net.scaling is not None:
        assert (net.scaling.name, net.scaling.clip) == (other.scaling.name, other.scaling.clip)
        for name in ("center", "scale"):
            np.testing.assert_array_equal(
                getattr(net.scaling, name), getattr(other.scaling, name), strict=True
            )
    for name in net.parameters:
        np.testing.assert_array_equal(
            host(net, net.parameters[name]), host(other, other.parameters[name])
        )
    if net.classes_ is None:
        assert other.classes_ is None
    else:
        np.testing.assert_array_equal(net.classes_, other.classes_)
    if net.training is None:
        assert other.training is None
        return
    mine, theirs = net.training, other.training
    for name in ("optimizer", "seed", "batch_size", "step", "epoch", "history", "loss"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert list(mine.vectors) == list(theirs.vectors)
    for name in mine.vectors:
        np.testing.assert_array_equal(
            host(net, mine.vectors[name]), host(other, theirs.vectors[name])
        )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


@pytest.fixture
def saved(path):
    """A whole model file."""
    save_model(trained()[0], path)
    return path


def only(path):
    """Nothing lies in the folder of *path* but that file."""
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


# --- what comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_all_comes_back(backend, path, optimizer, dtype):
    net, X, _ = trained(backend, dtype, optimizer)
    net.threshold = 0.25
    save_model(net, path)
    other = load_model(path, backend)
    assert other.backend is backend
    assert_same(net, other)
    np.testing.assert_array_equal(net.predict(X), other.predict(X))
    np.testing.assert_array_equal(
        host(net, net.predict_proba(X)), host(other, other.predict_proba(X))
    )
    assert only(path)


#: Options of the network, and of `train`, that leave something in the file.
OPTIONS = {
    "dropout": ({"dropout": [0.25, 0.0]}, {}),
    "normalisation": ({"normalization": "layer"}, {}),
    "input scale": ({"input_scale": True}, {}),
    "average": ({}, {"average": 0.9}),
    "loss": ({}, {"loss": "focal"}),
    "standard": ({}, {"scaling": "standard"}),
    "robust": ({}, {"scaling": "robust"}),
    "max_abs": ({}, {"scaling": "max_abs"}),
    "all": (
        {"dropout": 0.1, "normalization": "layer", "input_scale": True},
        {
            "average": 0.9, "loss": "focal", "scaling": "robust", "label_smoothing": 0.1,
            "input_noise": 0.1, "sample_weight": np.arange(20) % 3 + 0.5,
            "optimizer": Adam(0.01, alpha=0.1, l1=0.2, weight_decay=0.3, clip_norm=1.0),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("of_net", "of_run"), OPTIONS.values(), ids=OPTIONS)
def test_all_options_come_back_and_go_on(backend, path, of_net, of_run, dtype):
    """Bit for bit: gains, scales, scaling, the average and what was averaged."""
    net, X, y = trained(backend, dtype, of_net=of_net, **of_run)
    net.temperature = 0.1 + 0.2
    save_model(net, path)
    other = load_model(path, backend)
    assert_same(net, other)
    np.testing.assert_array_equal(net.predict_proba(X), other.predict_proba(X))
    of_run = {"optimizer": "adam", **of_run}
    for each in (net, other):
        train(each, X, y, epochs=3, batch_size=8, seed=5, warm_start=True, **of_run)
    assert_same(net, other)
    assert (net.temperature, net.training.epoch) == (1.0, 6)  # logits are new; so is their scale


def test_an_untrained_network_comes_back(backend, path):
    net = Network([5, 1], backend=backend, random_state=0)
    save_model(net, path)
    assert_same(net, load_model(path, backend))


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_of_every_kind_come_back(path, labels):
    net, X, _ = trained(labels=labels)
    save_model(net, path)
    other = load_model(path, "numpy")
    assert other.classes_.tolist() == labels.tolist() == net.classes_.tolist()
    assert other.classes_.dtype.kind == {"T": "U"}.get(
        net.classes_.dtype.kind, net.classes_.dtype.kind
    )
    assert other.predict(X).tolist() == net.predict(X).tolist()


def test_classes_of_any_kind_come_back(path):
    classes = np.array(["b", "a"], dtype=object)  # as of a column of a DataFrame
    net, *_ = trained(labels=["a", "b"], classes=classes)
    save_model(net, path)
    assert load_model(path, "numpy").classes_.tolist() == ["b", "a"]
    net, *_ = trained(labels=["a", "b"], classes=["b", np.str_("a")])
    assert net.classes_.tolist() == ["b", "a"]


def test_validation_history_and_hyper_parameters_come_back(path):
    _, X, y = trained()
    optimizer = Adam(0.01, "cosine", beta_1=0.5, epsilon=1e-4)
    net, *_ = trained(optimizer=optimizer, validation_data=(X, y))
    save_model(net, path)
    other = load_model(path, "numpy")
    assert set(other.training.history) == {"loss", "val_loss", "val_accuracy"}
    assert other.training.optimizer == optimizer
    assert_same(net, other)


@pytest.mark.parametrize("shape", [(4, 3, 3), (12, 3), (1, 36), (6, 6, 1)])
def test_picture_shape_comes_back(path, shape):
    pictures = np.random.default_rng(0).integers(0, 256, (6, *shape), "uint8")
    net = Network([36, 1], backend="numpy")
    train(net, pictures, [0, 1] * 3, optimizer="sgd", epochs=1)
    save_model(net, path)
    other = load_model(path, "numpy")
    assert other.picture_shape == shape
    np.testing.assert_array_equal(net.predict_proba(pictures), other.predict_proba(pictures))


def test_numpys_own_numbers_are_saved(path):
    net = Network([2, 1], backend="numpy", random_state=0)
    X = np.array([[0.0, 1.0], [1.0, 0.0]])
    train(
        net,
        X,
        [0, 1],
        optimizer="sgd",
        epochs=np.int64(1),
        batch_size=np.int32(1),
        seed=np.int64(7),
    )
    net.threshold = np.float32(0.25)
    save_model(net, path)
    assert_same(net, load_model(path, "numpy"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("threshold", v) for v in (-0.1, 1.1, float("nan"), "0.5")]
    + [("temperature", v) for v in (0.0, -1.0, float("inf"), None)],
)
def test_what_could_not_be_loaded_is_not_saved(saved, name, value):
    before, (net, *_) = saved.read_bytes(), trained()
    setattr(net, name, value)
    with refuses(InputError, f"{name}: expected a number .*; got {value!r}"):
        save_model(net, saved)
    assert saved.read_bytes() == before
    assert only(saved)


@pytest.mark.parametrize("threshold", [0, 1])
def test_the_ends_of_a_threshold_come_back(path, threshold):
    net, *_ = trained()
    net.threshold = threshold
    save_model(net, path)
    assert load_model(path, "numpy").threshold == threshold


def test_a_model_opens_on_another_backend(path):
    device, *_ = trained(CupyBackend(CountingDouble()))
    save_model(device, path)
    on_numpy = load_model(path, "numpy")
    assert on_numpy.backend.name == "numpy"
    assert_same(device, on_numpy)
    save_model(on_numpy, path)
    assert_same(device, load_model(path, CupyBackend(CountingDouble())))


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_going_on_after_loading_is_as_if_never_saved(backend, path, optimizer):
    net, X, y = trained(backend, optimizer=optimizer)
    save_model(net, path)
    other = load_model(path, backend)
    for each in (net, other):
        train(each, X, y, optimizer=optimizer, epochs=4, batch_size=8, seed=5, warm_start=True)
    assert_same(net, other)  # bit for bit
    assert len(other.training.history["loss"]) == other.training.epoch == 7
    assert other.training.step == (7 if optimizer == "lbfgs" else 7 * 3)


def test_plain_h5py_opens_it(saved):
    net, *_ = trained()
    with h5py.File(saved, "r") as file:
        assert set(file) == {"meta", "parameters", "vectors"}
        assert file.userblock_size == BLOCK
        meta = json.loads(file["meta"][()].decode("utf-8"))
        assert meta["layer_sizes"] == [3, 4, 2, 1]
        assert meta["training"]["optimizer"]["name"] == "adam"
        assert meta["training"]["batch"] == 0  # only a checkpoint stands within an epoch
        for name, value in net.parameters.items():
            stored = file["parameters"][name]
            assert stored.dtype == "<f4"
            np.testing.assert_array_equal(stored[()], value)
        assert set(file["vectors"]) == {"m", "v"}
        assert file["vectors/m/W1"].shape == (4, 3)


def test_the_seal_is_as_documented(saved):
    content = saved.read_bytes()
    magic, version, zero, length, digest = SEAL.unpack_from(content)
    assert (magic, version, zero) == (b"XPNETMDL", FORMAT, 0)
    assert length == len(content) - BLOCK
    assert digest == hashlib.sha256(content[BLOCK:]).digest()
    assert not any(content[SEAL.size : BLOCK])


# --- the seal -------------------------------------------------------------------------------------


def contents(net):
    """The bytes of *net*'s model file."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(net, Path(folder, "model.h5"))
        return Path(folder, "model.h5").read_bytes()


@pytest.fixture(scope="module")
def whole():
    return contents(Network([2, 1], backend="numpy", random_state=0))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "model.h5"


def refuse_bytes(path, content, *words):
    path.write_bytes(content)
    with refuses(ModelFileError, path.name, *words):
        load_model(path, "numpy")


def test_every_changed_byte_of_the_seal_is_refused(whole, scratch):
    for offset in range(BLOCK):
        for flip in (0x01, 0x80):
            damaged = bytearray(whole)
            damaged[offset] ^= flip
            refuse_bytes(scratch, damaged)


@settings(max_examples=300, derandomize=True, database=None)
@given(data=st.data())
def test_a_changed_byte_anywhere_is_refused(whole, scratch, data):
    offset, flip = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    damaged = bytearray(whole)
    damaged[offset] ^= flip
    refuse_bytes(scratch, damaged)


def test_truncated_and_lengthened_files_are_refused(whole, scratch):
    for length in (0, 4, 8, 55, 56, 511):
        refuse_bytes(
            scratch, whole[:length], "expected a model that xpnet saved", f"{length} bytes"
        )
    for length in (512, 513, len(whole) // 2, len(whole) - 1):
        refuse_bytes(
            scratch, whole[:length], "sealed checksum", f"got {length - BLOCK:,} bytes", "damaged"
        )
    for more in (b"\0", b"x" * 1000):
        refuse_bytes(scratch, whole + more, "sealed checksum", "damaged; use a copy or train anew")


def test_other_files_are_refused(whole, scratch):
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file["X"], file["y"] = np.zeros((3, 2)), np.zeros(3)
    words = "expected a model that xpnet saved; got an HDF5 file without xpnet's seal"
    refuse_bytes(scratch, image.getvalue(), words)
    refuse_bytes(scratch, whole[BLOCK:], words)
    for other in (
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(600),
        b"PK\x03\x04" + bytes(600),
        b"text\n" * 200,
    ):
        refuse_bytes(scratch, other, "expected a model that xpnet saved; got another file")


def test_newer_formats_are_refused(whole, scratch):
    newer = SEAL.pack(b"XPNETMDL", FORMAT + 1, 0, 0, bytes(32)) + whole[SEAL.size :]
    refuse_bytes(
        scratch,
        newer,
        f"expected format {FORMAT} or older; got format {FORMAT + 1}, of a newer .*; upgrade",
    )


def test_missing_files_and_folders_are_refused(tmp_path):
    with refuses(
        ModelFileError, "no.h5", "expected a model file", "No such file", "is the path right"
    ):
        load_model(tmp_path / "no.h5")
    with refuses(ModelFileError, "expected a model file; got: Is a directory"):
        load_model(tmp_path)


def test_a_file_that_is_removed_while_it_is_opened_is_said_to_be_missing(path, monkeypatch):
    path.write_bytes(b"a checkpoint that another process prunes")
    look = Path.stat

    def look_and_remove(self, **options):
        seen = look(self, **options)
        if self == path and os.path.lexists(path):  # this file, and no other
            os.unlink(path)  # noqa: PTH108 - nothing of Path's own looks again
        return seen

    monkeypatch.setattr(Path, "stat", look_and_remove)
    with refuses(ModelFileError, "No such file"):
        load_model(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused(path):
    os.mkfifo(path)
    with refuses(ModelFileError, "expected a model file; got a pipe or device"):
        load_model(path)


# --- a seal that holds, over contents that are wrong ----------------------------------------------


def resealed(path, change):
    """Change the body of the model at *path* by ``change(file, meta)`` and seal it again."""
    image = io.BytesIO(path.read_bytes())
    with h5py.File(image, "r+") as file:
        meta = json.loads(file["meta"][()])
        meta = change(file, meta) or meta
        if "meta" in file and not isinstance(meta, Untouched):
            del file["meta"]
            file["meta"] = np.bytes_(meta if isinstance(meta, bytes) else json.dumps(meta).encode())
    body = image.getvalue()[BLOCK:]
    digest = hashlib.sha256(body).digest()
    seal = SEAL.pack(b"XPNETMDL", FORMAT, 0, len(body), digest)
    path.write_bytes(seal.ljust(BLOCK, b"\0") + body)


class Untouched:
    """Say that the change has written ``/meta`` itself."""


def replace(name, value):
    def change(file, _):
        del file[name]
        if value is not None:
            file[name] = value
        return Untouched() if name == "meta" else None

    return change


def put(*keys, value):
    """Set one value in the JSON."""

    def change(_, meta):
        place = meta
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def drop(*keys):
    def change(_, meta):
        place = meta
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


def whole_meta(content):
    return lambda _file, _meta: content


def extra(name):
    def change(file, _):
        file[name] = np.zeros(3)

    return change


def virtual(file, _):
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (4, 3))
    del file["parameters/W1"]
    file["parameters"].create_virtual_dataset("W1", layout)


def external(file, _):
    del file["parameters/W1"]
    file["parameters"].create_dataset("W1", (4, 3), "f4", external=[("secret", 0, 48)])


def chunked(file, _):
    del file["parameters/W1"]
    file["parameters"].create_dataset("W1", (4, 3), "f4", compression="gzip")


def second_link(file, _):
    del file["vectors/v"]
    file["vectors/v"] = file["parameters"]


@pytest.mark.parametrize("schedule", ["cosine", schedules.WarmUp(0.3, schedules.Plateau(0.5))])
def test_schedules_come_back(path, schedule):
    net, *_ = trained(optimizer=Adam(0.01, schedule))
    save_model(net, path)
    assert load_model(path, "numpy").training.optimizer == net.training.optimizer


def test_a_schedule_may_be_stored_by_its_name(saved):
    resealed(saved, put("training", "optimizer", "schedule", value="cosine"))
    assert load_model(saved, "numpy").training.optimizer == Adam(schedule="cosine")


W1 = np.zeros((4, 3), "f4")
WRONG = {
    # what is changed, and the words that say so
    "wrong dropout": (put("dropout", value=[0.5, 1.0]), ["dropout: .* below 1; got 1.0"]),
    "few rates": (put("dropout", value=[0.5]), ["dropout: expected one rate, or one for each"]),
    "no dropout": (drop("dropout"), ["KeyError", "dropout"]),
    "unknown normalisation": (
        put("normalization", value="batch"),
        ["normalization: expected one of None, layer; got 'batch'"],
    ),
    "gains that are missing": (
        put("normalization", value="layer"),
        ["parameters/gamma1", "not in the file"],
    ),
    "scales that are missing": (put("input_scale", value=True), ["parameters/scale", "not in"]),
    "gains that nobody has": (extra("parameters/gamma1"), ["no more arrays; got .*gamma1"]),
    "zero temperature": (put("temperature", value=0.0), ["temperature: expected a number above 0"]),
    "temperature in words": (put("temperature", value="hot"), ["temperature: .* got 'hot'"]),
    "no temperature": (drop("temperature"), ["KeyError", "temperature"]),
    "scaling without its arrays": (
        put("scaling", value=["robust", 3.0]),
        ["scaling/center", "not in the file"],
    ),
    "scaling arrays without a name": (extra("scaling/center"), ["no more arrays; got .*center"]),
    "strange scaling": (put("scaling", value="robust"), ["ValueError"]),
    "unknown vector": (
        put("training", "vectors", value=["m", "v", "average"]),
        ["vectors: expected those of adam; got .*'average', 'm', 'v'"],
    ),
    "a raw vector that is missing": (
        put("training", "vectors", value=["m", "v", "raw"]),
        ["vectors/raw/W1", "not in the file"],
    ),
    "no loss": (drop("training", "loss"), ["KeyError", "loss"]),
    "a loss of numbers": (put("training", "loss", value=3), ["loss: expected text; got 3"]),
    "a wrong alpha": (put("training", "optimizer", "alpha", value=-1), ["alpha: .* got -1"]),
    "a negative seed": (put("training", "seed", value=-1), ["seed: .* got -1"]),
    "a negative epoch": (put("training", "epoch", value=-1), ["epoch: .* got -1"]),
    "an empty batch": (put("training", "batch_size", value=0), ["batch_size: .* got 0"]),
    "a history of other length": (put("training", "epoch", value=9), ["history: expected 9 .*"]),
    "wrong shape": (replace("parameters/W1", W1.T), ["parameters/W1", r"expected shape \(4, 3\)"]),
    "flat": (
        replace("parameters/b1", np.zeros(4, "f4")),
        ["parameters/b1", r"expected shape \(4, 1\)"],
    ),
    "wrong dtype": (replace("parameters/W1", W1.astype("f8")), ["expected float32; got float64"]),
    "text": (replace("parameters/W1", W1.astype("S3")), ["expected float32; got .S3"]),
    "objects": (
        replace("parameters/W1", np.full((4, 3), "x", object)),
        ["parameters/W1", "variable-length string"],
    ),
    "compound": (replace("parameters/W1", np.zeros((4, 3), [("a", "f4")])), ["got type compound"]),
    "missing array": (replace("parameters/W3", None), ["parameters/W3", "not in the file"]),
    "missing group": (replace("parameters", None), ["parameters/W1", "not in the file"]),
    "missing state": (replace("vectors/v/b2", None), ["vectors/v/b2", "not in the file"]),
    "missing vector": (replace("vectors/m", None), ["vectors/m/W1", "not in the file"]),
    "missing optimizer": (replace("vectors", None), ["vectors/m/W1", "not in the file"]),
    "missing meta": (replace("meta", None), ["'meta'", "not in the file"]),
    "meta is numbers": (replace("meta", np.int64(2**40)), ["meta: expected JSON; got int64"]),
    "meta is many": (replace("meta", np.array([b"{}", b"{}"])), ["'meta'", r"expected shape \(\)"]),
    "meta is a group": (
        replace("meta", h5py.SoftLink("/parameters")),
        ["meta", "hard link", "soft"],
    ),
    "no JSON": (whole_meta(b"{"), ["JSONDecodeError"]),
    "no UTF-8": (whole_meta(b"\xff\xfe\xff"), ["Decode"]),
    "deep JSON": (whole_meta(b"[" * 200_000), ["RecursionError"]),
    "a list": (whole_meta(b"[1]"), ["TypeError"]),
    "a number": (whole_meta(b"1"), ["TypeError"]),
    "no sizes": (drop("layer_sizes"), ["KeyError", "layer_sizes"]),
    "other sizes": (put("layer_sizes", value=[3, 5, 2, 1]), ["W1", r"expected shape \(5, 3\)"]),
    "more layers": (put("layer_sizes", value=[3, 4, 2, 1, 1]), ["W4"]),
    "fewer layers": (put("layer_sizes", value=[3, 4, 1]), ["W2", r"expected shape \(1, 4\)"]),
    "large sizes": (put("layer_sizes", value=[10**6, 10**6, 1]), ["W1", "expected shape"]),
    "huge sizes": (
        put("layer_sizes", value=[10**12, 10**12, 1]),
        ["layer_sizes: expected at most"],
    ),
    "sizes in words": (
        put("layer_sizes", value="341"),
        ["layer_sizes: expected positive integers"],
    ),
    "negative sizes": (put("layer_sizes", value=[3, -4, 2, 1]), ["layer_sizes: expected positive"]),
    "unknown activation": (
        put("activations", value=["tanh", "eval"]),
        ["activation: expected one of", "got 'eval'"],
    ),
    "few activations": (
        put("activations", value=["tanh"]),
        ["one for each of the 2 hidden layers"],
    ),
    "unknown precision": (put("precision", value="object"), ["expected one of bfloat16"]),
    "threshold": (put("threshold", value=[1]), ["threshold: expected a number .*; got .1.\\)"]),
    "a threshold below 0": (
        put("threshold", value=-0.01),
        ["threshold: expected a number at least 0 and at most 1; got -0.01"],
    ),
    "a threshold above 1": (put("threshold", value=1.01), ["threshold: .* got 1.01"]),
    "huge threshold": (put("threshold", value=10**400), ["threshold: expected a number"]),
    "one class": (
        put("classes", value={"kind": "i", "values": [0]}),
        ["classes: expected two of kind"],
    ),
    "huge class": (put("classes", "values", value=[0, 2**63]), ["OverflowError"]),
    "mixed classes": (
        put("classes", "values", value=[0, "1"]),
        ["classes: expected two of kind 'i'"],
    ),
    "unknown kind": (put("classes", "kind", value="O"), ["KeyError"]),
    "classes that call": (put("classes", "type", value="eval"), ["TypeError"]),
    "picture of other size": (
        put("picture_shape", value=[2, 2]),
        ["picture_shape: expected 3 numbers", r"got \(2, 2\)"],
    ),
    "negative picture": (
        put("picture_shape", value=[-3, -1]),
        ["picture_shape: expected 3 numbers"],
    ),
    "unknown optimizer": (
        put("training", "optimizer", "name", value="newton"),
        ["optimizer: expected one of adagrad, .*; got 'newton'"],
    ),
    "another optimizer": (
        put("training", "optimizer", value={"name": "sgd", "learning_rate": 0.1}),
        ["vectors: expected those of sgd; got .*'m', 'v'"],
    ),
    "no optimizer": (drop("training", "optimizer"), ["KeyError", "optimizer"]),
    "optimizer in words": (put("training", "optimizer", value="adam"), ["AttributeError"]),
    "strange hyper-parameter": (
        put("training", "optimizer", "momentum", value=0.9),
        ["hyper-parameter of adam: expected one of", "got 'momentum'"],
    ),
    "wrong hyper-parameter": (
        put("training", "optimizer", "beta_1", value=1.5),
        ["beta_1: expected 0 ≤ value < 1; got 1.5"],
    ),
    "schedule of numbers": (
        put("training", "optimizer", "schedule", value=[1]),
        [r"schedule: expected one of .*; got \[1\]"],
    ),
    "wrong schedule": (
        put("training", "optimizer", "schedule", value={"name": "step", "every": -1}),
        ["every: expected an integer above 0; got -1"],
    ),
    "step in words": (put("training", "step", value="9"), ["TypeError"]),
    "history in words": (put("training", "history", "loss", value=["low"]), ["ValueError"]),
    "no training": (
        put("training", value=None),
        ["expected no more arrays; got .*'vectors/m/W1'"],
    ),
    "extra array": (extra("more"), ["got .*'more'"]),
    "extra group": (extra("code/more"), ["no more arrays; got .*'code/more'"]),
    "extra parameter": (extra("parameters/W4"), ["no more arrays; got .*'parameters/W4'"]),
    "extra state": (extra("vectors/m/W4"), ["no more arrays; got .*'vectors/m/W4'"]),
    "extra vector": (extra("vectors/n/W1"), ["no more arrays; got .*'vectors/n/W1'"]),
    "extra soft link": (replace("parameters/b3", h5py.SoftLink("/parameters/b2")), ["b3", "soft"]),
    "soft link": (replace("parameters/W1", h5py.SoftLink("/vectors/m/W1")), ["W1", "soft"]),
    "external link": (
        replace("parameters/W1", h5py.ExternalLink("o.h5", "/x")),
        ["W1", "external"],
    ),
    "linked group": (
        replace("vectors/m", h5py.SoftLink("/vectors/v")),
        ["vectors/m", "soft"],
    ),
    "in chunks": (chunked, ["parameters/W1", "in chunks; expected contiguous"]),
    "of the other byte order": (
        replace("parameters/W1", W1.astype(">f4")),
        ["parameters/W1: expected float32; got >f4"],
    ),
    "a second link to a group": (second_link, ["vectors/v", "one hard link to a group"]),
    "not a number": (put("threshold", value=float("nan")), ["finite numbers; got NaN"]),
    "virtual": (virtual, ["parameters/W1", "virtual data set"]),
    "external storage": (external, ["parameters/W1", "external storage"]),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_wrong_contents_under_a_good_seal_are_refused(saved, change, words):
    resealed(saved, change)
    with refuses(ModelFileError, saved.name, "the seal holds, but not what is inside", *words):
        load_model(saved, "numpy")


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_a_model_of_tensor_cores_opens_where_there_are_none(saved, precision):
    resealed(saved, put("precision", value=precision))
    assert load_model(saved, "numpy").precision == "float32"
    assert load_model(saved, CupyBackend(CountingDouble())).precision == precision
    assert_same(trained()[0], load_model(saved, "numpy"))


@pytest.mark.parametrize("clip", [0.0, -1.0, "3"])
def test_a_wrong_clip_of_scaled_rows_is_refused(path, clip):
    save_model(trained(scaling="robust")[0], path)
    resealed(path, put("scaling", value=["robust", clip]))
    with refuses(ModelFileError, f"clip: expected a number above 0; got {clip!r}"):
        load_model(path, "numpy")


def test_an_unknown_scaling_is_refused(path):
    save_model(trained(scaling="robust")[0], path)
    resealed(path, put("scaling", value=["rubost", 3.0]))
    with refuses(ModelFileError, "scaling: expected one of .*; got 'rubost'"):
        load_model(path, "numpy")


@pytest.mark.parametrize("name", ["center", "scale"])
def test_scaling_is_float64_whatever_the_network_is(path, name):
    save_model(trained(scaling="robust")[0], path)
    resealed(path, replace(f"scaling/{name}", np.ones(3, "f4")))
    with refuses(ModelFileError, f"scaling/{name}: expected float64; got float32"):
        load_model(path, "numpy")


#: What is changed in a checkpoint of the middle of an epoch, and the words that say so.
WRONG_PAUSES = {
    "negative seconds": (put("training", "pause", "seconds", value=-0.5), ["seconds: .* -0.5"]),
    "a call in words": (
        put("training", "pause", "call", value="train"),
        ["pause: expected a call and its vectors"],
    ),
    "an unknown vector": (
        put("training", "pause", "vectors", value=["good", "bad"]),
        ["pause: expected a call and its vectors; got .*'bad'"],
    ),
    "a vector too few": (
        put("training", "pause", "vectors", value=["good"]),
        ["no more arrays; got .*'pause/start/W1'"],
    ),
    "other batches": (
        put("training", "batch", value=2),
        ["pause/sums", r"expected shape \(2, 1, 2\); got \(1, 1, 2\)"],
    ),
    "other workers": (
        put("training", "pause", "workers", value=3),
        ["pause/sums", r"expected shape \(1, 3, 2\)"],
    ),
    "sums of another type": (
        replace("pause/sums", np.zeros((1, 1, 2))),
        ["pause/sums: expected float32; got float64"],
    ),
    "a batch in words": (put("training", "batch", value="1"), ["TypeError"]),
    "no end": (drop("training", "pause", "ended"), ["TypeError", "ended"]),
    "more than there is": (put("training", "pause", "more", value=1), ["TypeError", "more"]),
}


@pytest.mark.parametrize(("change", "words"), WRONG_PAUSES.values(), ids=WRONG_PAUSES)
def test_wrong_pauses_are_refused(tmp_path, change, words):
    trained(checkpoint=Checkpoint(tmp_path, seconds=1e-9, keep=99))
    path = tmp_path / "checkpoint-000001-000001.h5"
    pause = load_model(path, "numpy").training.pause
    assert (pause.batch, sorted(pause.vectors), pause.ended) == (1, ["good", "start"], False)
    resealed(path, change)
    with refuses(ModelFileError, path.name, *words):
        load_model(path, "numpy")


def test_a_pause_of_every_vector_opens(tmp_path):
    stopping = EarlyStopping("loss", patience=9, min_delta=9.0)  # the first epoch is the best
    trained(checkpoint=Checkpoint(tmp_path, seconds=1e-9, keep=99), early_stopping=stopping)
    pause = load_model(tmp_path / "checkpoint-000002-000001.h5", "numpy").training.pause
    assert sorted(pause.vectors) == ["current", "good", "start"]


def without_vector(name):
    """Take a vector out of a checkpoint, and out of its list."""

    def change(file, meta):
        del file[f"pause/{name}"]
        meta["training"]["pause"]["vectors"].remove(name)

    return change


FACT = {"shape": [20, 3], "dtype": "float32", "sha256": "0" * 64}
#: What is changed in a checkpoint that opens as a model, but that no run of this format wrote.
STRANGE_PAUSES = {
    "a setting less": drop("training", "pause", "call", "shuffle"),
    "a setting more": put("training", "pause", "call", "hurry", value=True),
    "a setting of another kind": put("training", "pause", "call", "epochs", value="3"),
    "no data": put("training", "pause", "call", "data", value=None),
    "data in words": put("training", "pause", "call", "data", "X", value="rows"),
    "data of more": put("training", "pause", "call", "data", "X", value=FACT | {"file": "X"}),
    "data of less": drop("training", "pause", "call", "data", "y", "sha256"),
    "no good parameters": without_vector("good"),
    "no start of the epoch": without_vector("start"),
}


@pytest.mark.parametrize("change", STRANGE_PAUSES.values(), ids=STRANGE_PAUSES)
def test_checkpoints_of_strange_runs_are_passed_over(tmp_path, change):
    net, X, y = trained(checkpoint=Checkpoint(tmp_path, seconds=1e-9, keep=99))
    path = tmp_path / "checkpoint-000001-000001.h5"
    for other in tmp_path.glob("*.h5"):
        if other != path:
            other.unlink()
    shutil.copy(path, tmp_path / "checkpoint-000001-000002.h5")
    resealed(tmp_path / "checkpoint-000001-000002.h5", change)
    words = r"passed over a checkpoint: .*-000002\.h5: expected a checkpoint of this format"
    with pytest.warns(RuntimeWarning, match=words):
        again, _ = resume(tmp_path, X, y)
    assert_same(net, again)


def test_resealing_alone_is_no_fault(saved):
    resealed(saved, lambda *_: None)
    assert_same(trained()[0], load_model(saved, "numpy"))


def test_unknown_attributes_are_not_read(saved):
    def change(file, _):
        file["parameters"].attrs["note"] = "kept by another program"

    resealed(saved, change)
    assert_same(trained()[0], load_model(saved, "numpy"))


# --- saved over others ----------------------------------------------------------------------------


def test_a_newer_file_replaces_an_older(saved):
    old = saved.read_bytes()
    net, *_ = trained(dtype="float64")
    save_model(net, saved)
    assert saved.read_bytes() != old
    assert_same(net, load_model(saved, "numpy"))
    assert only(saved)


def test_a_symlink_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    link, target = tmp_path / "link.h5", tmp_path / "real" / "model.h5"
    for older in (False, True):  # to a file that is to be, then to one that is there
        if not older:
            link.symlink_to(target)
        save_model(trained()[0], link)
        assert link.is_symlink()
        assert not target.is_symlink()
        assert_same(trained()[0], load_model(target, "numpy"))
        assert only(target)
    assert_same(trained()[0], load_model(link, "numpy"))


def test_loading_writes_nothing_and_needs_no_permission_to():
    with unprivileged() as folder:
        path = folder / "model.h5"
        save_model(trained()[0], path)
        before = path.read_bytes()
        path.chmod(0o400)
        folder.chmod(0o500)
        load_model(path, "numpy")
        assert path.read_bytes() == before
        assert only(path)


def test_what_may_not_be_read_is_refused():
    with unprivileged() as folder:
        path = folder / "model.h5"
        save_model(trained()[0], path)
        path.chmod(0)
        with refuses(ModelFileError, "model.h5", "expected a model file", "Permission denied"):
            load_model(path, "numpy")


def test_a_moved_file_is_the_same_model(saved, tmp_path):
    other = tmp_path / "elsewhere" / "renamed.model"
    other.parent.mkdir()
    shutil.copy(saved, other)
    assert_same(load_model(saved, "numpy"), load_model(str(other), "numpy"))
