"""Checkpoints: a run goes on from any batch as if never interrupted, or is refused in words."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import xpnet.numpy_backend
from xpnet import (
    Adam,
    Checkpoint,
    DeviceLost,
    InputError,
    ModelFileError,
    Network,
    OutOfMemory,
    OutputError,
    TrainingDiverged,
    fingerprints,
    interrupts,
    load_model,
    resume,
    save_model,
    train,
)
from xpnet.backend import NumpyBackend
from xpnet.checkpointing import latest
from xpnet.files import lock
from xpnet.inspection import inspect
from xpnet.losses import Loss, focal
from xpnet.run import Run
from xpnet.schedules import Plateau
from xpnet.training import EarlyStopping

ROOT = Path(__file__).parents[1]
EVERY_BATCH = {"every": 1, "seconds": 1e-9, "keep": 10_000}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X, V = rng.standard_normal((50, 4)), rng.standard_normal((20, 4))
    y = X[:, 0] + 0.5 * rng.standard_normal(50) > 0
    return X.astype("f4"), y, V.astype("f4"), V[:, 0] > 0, rng.uniform(0.5, 2.0, 50)


def bits(net, folder):
    """Return the bytes of the model file of *net*: parameters, vectors, history and all."""
    path = Path(folder) / "bits.h5"
    save_model(net, path)
    return path.read_bytes()


def alone(path):
    """Return a new folder with this checkpoint alone."""
    folder = path.parent.parent / f"alone-{path.stem}"
    folder.mkdir()
    shutil.copy(path, folder)
    return folder


def saved(folder):
    return sorted(path.name for path in Path(folder).glob("*.h5"))


# Each: the network's arguments, train's, and whether there are weights and validation data.
RUNS = {
    "all": (
        {"dropout": 0.2},
        {
            "optimizer": "adam",
            "average": 0.9,
            "scaling": "standard",
            "early_stopping": EarlyStopping(patience=2),
        },
        True,
    ),
    "noise": (
        {"normalization": "layer", "input_scale": True},
        {
            "optimizer": Adam(0.01, schedule="one_cycle", clip_norm=0.5, alpha=0.1),
            "input_noise": 0.2,
            "label_smoothing": 0.1,
            "rate_factors": {"b": 0.5},
        },
        False,
    ),
    "float64": (
        {"precision": "float64"},
        {
            "optimizer": "rmsprop",
            "average": 0.5,
            "loss": "focal",
            "metrics": ["roc_auc"],
            "early_stopping": EarlyStopping("val_roc_auc", patience=1, min_delta=0.5),
        },
        True,
    ),
    "plateau": (
        {},
        {"optimizer": Adam(schedule=Plateau(patience=0, min_delta=0.3)), "shuffle": False},
        True,
    ),
    "sgd": ({}, {"optimizer": "sgd", "batch_size": None}, False),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_from_every_batch_to_the_same_bits(name, backend, problem, tmp_path):
    made, called, watched = RUNS[name]
    X, y, V, v, w = problem
    more = {"sample_weight": w, "validation_data": (V, v)} if watched else {}
    called = {"epochs": 4, "batch_size": 12, "seed": 3, **called}

    def run(**options):
        net = Network([4, 6, 5, 1], "tanh", backend=backend, random_state=1, **made)
        train(net, X, y, **called, **more, **options)
        return bits(net, tmp_path)

    unbroken = run()
    folder = tmp_path / "run"
    assert run(checkpoint=Checkpoint(folder, **EVERY_BATCH)) == unbroken
    files = sorted(folder.glob("*.h5"))
    net = load_model(tmp_path / "bits.h5", "numpy")
    batches = 1 if called["batch_size"] is None else 5
    assert len(files) == 1 + batches * net.training.epoch
    for path in files:
        net, history = resume(alone(path), X, y, **more, backend=backend)
        assert bits(net, tmp_path) == unbroken, path.name
        assert history is net.training.history


def test_two_threads_go_on_to_the_same_bits(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(xpnet.numpy_backend, "_SHARE", 1)
    X, y, *_ = problem

    def run(**options):
        net = Network([4, 6, 1], dropout=0.1, backend=NumpyBackend(2), random_state=1)
        train(net, X, y, optimizer="adam", epochs=2, batch_size=20, average=0.9, **options)
        return bits(net, tmp_path)

    unbroken = run()
    assert run(checkpoint=Checkpoint(tmp_path / "run", **EVERY_BATCH)) == unbroken
    files = sorted((tmp_path / "run").glob("*.h5"))
    assert len(files) == 7
    for path in files:
        net, _ = resume(alone(path), X, y)
        assert net.backend.threads == 2
        assert bits(net, tmp_path) == unbroken
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(files[2], other)
    with pytest.warns(RuntimeWarning, match="bits may differ .*: threads was 2 and is 1"):
        net, _ = resume(other, X, y, backend=NumpyBackend(1))
    np.testing.assert_allclose(
        net.theta, load_model(tmp_path / "bits.h5", "numpy").theta, rtol=1e-4, atol=1e-6
    )


@pytest.fixture
def simple(problem, tmp_path):
    """Return functions that begin a run in a folder, and that go on with it."""
    X, y, *_ = problem

    def begin(folder="run", net=None, **options):
        net = net or Network([4, 3, 1], "tanh", backend="numpy", random_state=1)
        plain = {
            "optimizer": "adam",
            "epochs": 3,
            "batch_size": 10,
            "checkpoint": tmp_path / folder,
        }
        train(net, X, y, **(plain | options))
        return net

    def go_on(folder="run", **options):
        return resume(tmp_path / folder, X, y, **options)

    begin.folder = tmp_path / "run"
    return begin, go_on


def test_a_checkpoint_opens_as_a_model_with_the_parameters_training_would_leave(simple, problem):
    begin, _ = simple
    X, _, V, v, _ = problem
    left = {}

    def keep(epoch):
        left[epoch.number] = epoch.net.theta.copy()

    options = {"validation_data": (V, v), "average": 0.9, "callback": keep}
    begin(checkpoint=Checkpoint(begin.folder, keep=9), **options)
    for number, theta in left.items():
        net = load_model(begin.folder / f"checkpoint-{number:06}-000000.h5", "numpy")
        assert net.theta.tolist() == theta.tolist()
        assert net.predict(X).shape == (50,)
    stopping = EarlyStopping("loss", min_delta=9.0)  # the first epoch is the best
    begin("best", checkpoint=begin.folder.parent / "best", early_stopping=stopping, **options)
    net = load_model(begin.folder.parent / "best" / "checkpoint-000003-000000.h5", "numpy")
    assert net.theta.tolist() == left[1].tolist()


def test_the_last_few_are_kept(simple):
    begin, _ = simple
    begin(epochs=5, checkpoint=Checkpoint(begin.folder, keep=2))
    assert saved(begin.folder) == ["checkpoint-000004-000000.h5", "checkpoint-000005-000000.h5"]
    begin(epochs=5, checkpoint=Checkpoint(begin.folder.parent / "two", every=2, keep=9))
    assert [int(name[11:17]) for name in saved(begin.folder.parent / "two")] == [0, 2, 4, 5]


def test_inspect_says_whether_a_run_can_go_on(simple):
    begin, _ = simple
    begin(checkpoint=Checkpoint(begin.folder, **EVERY_BATCH))
    for name, words in [
        ("checkpoint-000001-000002.h5", "2 updates into the epoch · the run can go on"),
        ("checkpoint-000003-000000.h5", "0 updates into the epoch · the run is over"),
    ]:
        facts, good = inspect(begin.folder / name)
        assert good
        assert dict(facts)["checkpoint"] == words


def test_time_alone_may_say_when(simple):
    begin, _ = simple
    begin(checkpoint=Checkpoint(begin.folder, every=None, seconds=3600))
    assert [int(name[11:17]) for name in saved(begin.folder)] == [0, 3]  # its start and its end


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"seconds": 0},
        {"keep": 0},
        {"note": {1j: 1}},
        {"note": {"a": float("nan")}},
        {"note": [1]},
        {"note": None},
    ],
)
def test_wrong_settings_are_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Checkpoint("folder", **options)
    with pytest.raises(InputError, match="checkpoint: expected a path, as text or a Path; got 3"):
        Checkpoint(3)
    with pytest.raises(FrozenInstanceError):  # what was checked stays as it was
        Checkpoint("folder").keep = 0


# --- what is refused ------------------------------------------------------------------------------


def test_other_data_are_refused(problem, tmp_path):
    X, y, V, v, w = problem
    net = Network([4, 3, 1], backend="numpy", random_state=1)
    right = {"sample_weight": w, "validation_data": (V, v, w[:20])}
    train(net, X, y, optimizer="sgd", epochs=1, checkpoint=tmp_path, **right)
    changed = X.copy()
    changed[-1, -1] = np.nextafter(changed[-1, -1], 9)
    flipped = y.copy()
    flipped[0] ^= True
    more = (V, v, w[1:21])
    for rows, labels, others, words in [
        (changed, y, {}, "X has other values"),
        (X.astype("f8"), y, {}, r"X was \(50, 4\) of float32 and is \(50, 4\) of float64"),
        (X[:-1], y[:-1], {"sample_weight": w[:-1]}, r"X was \(50, 4\) .* and is \(49, 4\)"),
        (X, flipped, {}, "y has other values"),
        (X, y, {"sample_weight": w[::-1]}, "sample_weight has other values"),
        (X, y, {"sample_weight": None}, "sample_weight was .* and is not given"),
        (X, y, {"validation_data": (V[::-1], v, w[:20])}, "validation X has other values"),
        (X, y, {"validation_data": more}, "validation sample_weight has other values"),
        (X, y.astype(int) + 3, {}, "only labels of"),
    ]:
        with pytest.raises(InputError, match=words):
            resume(tmp_path, rows, labels, **(right | others))
    resume(tmp_path, np.asfortranarray(X), y.tolist(), **right)


def test_sparse_rows_have_fingerprints_too(problem, tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    X, y, *_ = problem
    rows = sparse.csr_array(np.where(X > 0.5, X, 0.0))
    net = Network([4, 3, 1], backend="numpy", random_state=1)
    train(net, rows, y, optimizer="sgd", epochs=1, checkpoint=tmp_path)
    resume(tmp_path, rows, y)
    rows.data[3] += 1.0
    with pytest.raises(InputError, match=r"X\.data has other values"):
        resume(tmp_path, rows, y)


def test_what_cannot_be_stored_is_given_again(simple, problem):
    begin, go_on = simple
    _, _, V, v, _ = problem
    mine = Loss("mine", focal(1.0).value, focal(1.0).gradient)

    def half(targets, p):
        return float(np.mean(p > 0.5))

    def watch(epoch):
        pass

    own = {"loss": mine, "callback": watch, "metrics": ["f1", half]}
    net = begin(validation_data=(V, v), **own)
    for name, words in [("loss", "'mine'; got None"), ("callback", "watch; got none")]:
        with pytest.raises(InputError, match=f"{name}: expected .*{words}"):
            go_on(validation_data=(V, v), **{**own, name: None})
    with pytest.raises(InputError, match="callback: expected those of the run, watch; got ndarra"):
        go_on(validation_data=(V, v), **{**own, "callback": np.array("adam")})
    with pytest.raises(InputError, match="metrics: expected those of the run, f1, half; got half"):
        go_on(validation_data=(V, v), **{**own, "metrics": [half]})
    with pytest.raises(InputError, match="loss: expected that of the run, 'mine'; got 'focal'"):
        go_on(validation_data=(V, v), **{**own, "loss": focal()})
    again, _ = go_on(validation_data=(V, v), **own)
    assert again.theta.tolist() == net.theta.tolist()


def test_lbfgs_is_refused(simple):
    with pytest.raises(InputError, match="checkpoint: expected none with lbfgs"):
        simple[0](optimizer="lbfgs")


def test_a_folder_of_another_run_is_refused(simple):
    begin, _ = simple
    begin()
    before = saved(begin.folder)
    words = "no checkpoints of another run; got 3, the last after epoch 3; go on with it"
    with pytest.raises(InputError, match=words):
        begin(seed=7)
    assert saved(begin.folder) == before


@pytest.mark.parametrize("last", ["000003-000000", "000002-000001"])
def test_a_warm_start_is_refused_where_another_run_got_further(simple, last):
    begin, _ = simple
    net = begin(epochs=2)
    path = begin.folder / "checkpoint-000002-000000.h5"
    shutil.copy(path, path.with_name(f"checkpoint-{last}.h5"))
    before = saved(begin.folder)
    with pytest.raises(InputError, match=f"another run; got 4, the last after epoch {last[5]}"):
        begin(net=net, warm_start=True)
    assert saved(begin.folder) == before


def test_a_run_can_be_extended_by_a_warm_start(simple, problem):
    begin, go_on = simple
    X, y, *_ = problem
    net = begin(epochs=2)
    options = {"optimizer": "adam", "batch_size": 10, "warm_start": True}
    train(net, X, y, epochs=2, checkpoint=begin.folder, **options)
    again, history = go_on()
    assert len(history["loss"]) == 4
    assert again.theta.tolist() == net.theta.tolist()


def test_two_runs_in_one_folder_are_refused(simple):
    begin, go_on = simple

    def another(_):
        for attempt in (begin, go_on):
            with pytest.raises(InputError, match=f"process {os.getpid()} trains into"):
                attempt()

    begin(callback=another)
    begin("other", checkpoint=begin.folder.parent / "other")
    assert (begin.folder / ".lock").read_text() == str(os.getpid())


def test_an_owner_that_has_not_said_its_number_is_waited_for_a_while(simple):
    begin, _ = simple
    begin.folder.mkdir()
    with (begin.folder / ".lock").open("a+b") as held:
        assert lock(held, wait=False)
        with pytest.raises(InputError, match="process of a number not known trains into"):
            begin()


def test_a_folder_that_is_not_there_has_no_checkpoint(tmp_path):
    with pytest.raises(ModelFileError, match="expected a folder with checkpoints; got none that"):
        latest(tmp_path / "nowhere")


def test_a_killed_owner_leaves_the_folder_free(simple):
    begin, _ = simple
    begin.folder.mkdir()
    code = (
        "import sys, time; from xpnet.checkpointing import Checkpoint, Keeper\n"
        f"with Keeper(Checkpoint({str(begin.folder)!r})): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()
    ) as owner:
        assert owner.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"process {owner.pid} trains into"):
            begin()
        owner.kill()
        owner.wait()
    (begin.folder / ".lock").write_text("12345678901234567890")  # of whatever length
    begin()
    assert (begin.folder / ".lock").read_text() == str(os.getpid())


def test_a_folder_is_made_with_those_above_it(simple, tmp_path):
    begin, _ = simple
    begin(checkpoint=tmp_path / "some" / "where" / "run")
    assert len(saved(tmp_path / "some" / "where" / "run")) == 3  # as many as are kept, unless told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_killed_owners_child_leaves_the_folder_free(simple):
    begin, _ = simple
    begin.folder.mkdir()
    code = (
        "import os, sys, time; from xpnet.checkpointing import Checkpoint, Keeper\n"
        f"with Keeper(Checkpoint({str(begin.folder)!r})):\n"
        "    child = os.fork()\n"
        "    if child: print(child, flush=True)\n"
        "    time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment()
    ) as owner:
        child = int(owner.stdout.readline())
        time.sleep(0.2)  # until the child is there
        try:
            with pytest.raises(InputError, match=f"process {owner.pid} trains into"):
                begin()
            owner.kill()
            owner.wait()
            begin()
        finally:
            os.kill(child, signal.SIGKILL)


def test_what_a_killed_run_left_is_swept_whatever_its_name(simple):
    begin, go_on = simple
    begin()
    names = [".checkpoint-000001-000123.h5.0123456789ab.tmp", ".model.h5.0123456789ab.tmp"]
    for attempt in (go_on, lambda: begin(warm_start=True)):
        for name in names:
            (begin.folder / name).write_bytes(b"half a file")
        with contextlib.suppress(InputError):
            attempt()
        assert [(begin.folder / name).exists() for name in names] == [False, True]


def test_damaged_checkpoints_are_passed_over(simple, tmp_path):
    begin, go_on = simple
    net = begin()
    path = begin.folder / "checkpoint-000003-000000.h5"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="passed over a checkpoint: .*000003-000000.*damaged"):
        again, _ = go_on()
    assert again.theta.tolist() == net.theta.tolist()
    load_model(path)  # written again
    for path in begin.folder.glob("*.h5"):
        save_model(net, path)
    with (
        pytest.warns(RuntimeWarning, match="got a model, of no run to go on with"),
        pytest.raises(ModelFileError, match="expected a folder with checkpoints; got none that"),
    ):
        go_on()
    with pytest.raises(InputError, match="expected a folder with checkpoints; got none there"):
        go_on("nowhere")


def test_a_checkpoint_of_a_newer_xpnet_is_not_passed_over(simple):
    begin, go_on = simple
    begin()
    path = max(begin.folder.glob("*.h5"))
    content = bytearray(path.read_bytes())
    content[8] += 1  # the version of the format
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="of a newer xpnet; upgrade"):
        go_on()
    assert path.read_bytes() == content


def test_another_machine_is_named(simple, monkeypatch):
    begin, go_on = simple
    begin()
    monkeypatch.setattr(fingerprints, "_processor", lambda: "abacus")
    with pytest.warns(RuntimeWarning, match="processor was .* and is .*abacus"):
        go_on()


def test_other_cuda_libraries_are_named(double, problem, tmp_path, monkeypatch):
    X, y, *_ = problem
    net = Network([4, 3, 1], backend=double, random_state=1)
    train(net, X, y, optimizer="adam", epochs=2, checkpoint=tmp_path)
    monkeypatch.setattr(double.xp.cuda.runtime, "runtimeGetVersion", lambda: 13020)
    with pytest.warns(RuntimeWarning, match="CUDA was 13000 and is 13020"):
        resume(tmp_path, X, y, backend=double)


class Watch:
    """A callback without a name of its own."""

    def __call__(self, epoch):
        pass


class Half:
    """A metric without a name of its own."""

    def __call__(self, targets, p):
        return float(np.mean(p > 0.5))


def test_callbacks_and_metrics_are_known_by_their_names_or_their_kinds(simple, problem):
    begin, go_on = simple
    _, _, V, v, _ = problem
    own = {"callback": [Watch(), named("look")], "metrics": [Half()], "validation_data": (V, v)}
    net = begin(**own)
    assert "val_Half" in net.training.history
    with pytest.raises(InputError, match="callback: expected those of the run, Watch, look; got"):
        go_on(**own | {"callback": [named("look"), Watch()]})
    with pytest.raises(InputError, match="metrics: expected those of the run, Half; got Watch"):
        go_on(**own | {"metrics": [Watch()]})
    with pytest.raises(InputError, match="metrics: expected those of the run, Half; got none"):
        go_on(**own | {"metrics": None})
    again, _ = go_on(**own)
    assert again.theta.tolist() == net.theta.tolist()


def test_other_instructions_are_named(simple, monkeypatch):
    begin, go_on = simple
    begin()
    found = {"SIMD Extensions": {"found": ["ABACUS"]}}
    monkeypatch.setattr(np, "show_config", lambda mode: found)
    with pytest.warns(RuntimeWarning, match="instructions was .* and is ABACUS"):
        go_on()


def test_metrics_of_the_house_need_not_be_given_again(simple, problem):
    begin, go_on = simple
    _, _, V, v, _ = problem
    net = begin(metrics=["f1"], validation_data=(V, v))
    _, history = go_on(validation_data=(V, v))
    assert history == net.training.history
    assert "val_f1" in history


# --- what goes wrong while it trains --------------------------------------------------------------


def test_a_folder_that_vanishes_is_warned_of_once(simple):
    begin, _ = simple

    def vanish(epoch):
        if epoch.number == 2:
            shutil.rmtree(begin.folder)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = begin(epochs=6, callback=vanish)
    assert net.training.epoch == 6
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 2
    assert "could not be written" in texts[0]
    assert "checkpoint-000001-000000.h5 stays the last one" in texts[0]
    assert "its end is in no checkpoint" in texts[1]


def test_a_folder_that_another_run_has_made_anew_is_left_alone(simple, problem):
    begin, go_on = simple
    others = []

    def replace(epoch):
        if epoch.number == 2:
            shutil.rmtree(begin.folder)
            others.append(begin(optimizer="sgd"))
            others.append(saved(begin.folder))

    with pytest.warns(RuntimeWarning, match="got another run's, made after this one's was removed"):
        begin(epochs=6, callback=replace)
    other, files = others
    assert saved(begin.folder) == files
    assert go_on()[0].theta.tolist() == other.theta.tolist()


def test_a_folder_that_was_emptied_is_locked_anew(simple):
    begin, go_on = simple

    def empty(epoch):
        if epoch.number == 2:
            for path in begin.folder.iterdir():
                path.unlink()
        if epoch.number == 4:
            with pytest.raises(InputError, match=f"process {os.getpid()} trains into"):
                go_on(callback=empty)

    begin(epochs=6, callback=empty)
    assert saved(begin.folder)[-1] == "checkpoint-000006-000000.h5"


def test_a_folder_that_never_was_writable_is_refused(simple, tmp_path):
    begin, _ = simple
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a folder that can be written"):
        begin(checkpoint=tmp_path / "file")


def test_a_disk_that_was_full_for_a_while_is_warned_of_once(simple, monkeypatch):
    begin, go_on = simple
    write, full = xpnet.checkpoint.write_file, []

    def fill(epoch):
        full[:] = [True] * (epoch.number in (2, 3))

    def failing(path, content):
        if full:
            raise OutputError(f"{path}: no space left on device")
        write(path, content)

    monkeypatch.setattr(xpnet.checkpoint, "write_file", failing)
    with pytest.warns(RuntimeWarning, match="no space left") as caught:
        net = begin(epochs=5, callback=fill)
    assert len(caught) == 1
    assert [int(name[11:17]) for name in saved(begin.folder)] == [1, 4, 5]
    again, _ = go_on(callback=fill)
    assert again.theta.tolist() == net.theta.tolist()


def test_divergence_names_epoch_layer_and_range_and_keeps_the_last_good(problem, tmp_path):
    X, y, *_ = problem
    net = Network([4, 3, 1], "relu", backend="numpy", random_state=1)

    def spoil(epoch):
        if epoch.number == 2:
            net.parameters["W2"][0, 1] = np.nan

    with pytest.raises(TrainingDiverged) as caught:
        train(net, X, y, optimizer="sgd", epochs=9, batch_size=10, callback=spoil,
              checkpoint=Checkpoint(tmp_path, **EVERY_BATCH))  # fmt: skip
    assert str(caught.value).startswith("epoch 3: expected finite loss; got NaN or infinity: W1 ")
    assert "not finite" in str(caught.value)
    assert caught.value.__notes__ == [f"the last checkpoint: {max(tmp_path.glob('*.h5'))}"]
    assert np.isfinite(net.theta).all()
    for path in tmp_path.glob("*.h5"):
        assert np.isfinite(load_model(path, "numpy").theta).all()
    assert max(saved(tmp_path)) == "checkpoint-000001-000004.h5"


def test_damage_of_the_loss_alone_names_the_largest_parameters(problem):
    X, y, *_ = problem
    net = Network([4, 1], backend="numpy", random_state=1)
    net.parameters["W1"][0] = (1e38, 2e38, 3e38, 0.0)
    words = r"epoch 1: .* the largest parameters are those of W1, from .* to 3e\+38; the last"
    with pytest.raises(TrainingDiverged, match=words):
        train(net, np.abs(X), y, optimizer="sgd", epochs=1)


def test_a_run_that_diverges_after_going_on_is_left_with_the_same_parameters(
    problem, tmp_path, monkeypatch
):
    X, y, *_ = problem
    step, left = xpnet.run.Run.step, []

    def spoiling(run, k, rate):
        step(run, k, rate)
        left[:] = [run.net]
        if (run.state.epoch, k) == (3, 1):
            run.net.theta[...] = np.nan

    monkeypatch.setattr(xpnet.run.Run, "step", spoiling)
    net = Network([4, 3, 1], "relu", backend="numpy", random_state=1)
    called = {"optimizer": "adam", "epochs": 9, "batch_size": 10, "average": 0.9}
    with pytest.raises(TrainingDiverged, match="epoch 4"):
        train(net, X, y, checkpoint=Checkpoint(tmp_path / "run", **EVERY_BATCH), **called)
    files = sorted((tmp_path / "run").glob("*.h5"))
    assert [path.name[11:24] for path in files[-2:]] == ["000003-000000", "000003-000001"]
    for path in files:
        with pytest.raises(TrainingDiverged, match="epoch 4"):
            resume(alone(path), X, y)
        assert bits(left[0], tmp_path) == bits(net, tmp_path), path.name


@pytest.mark.parametrize("fails_at", range(20))
def test_too_little_memory_is_explained_and_given_back(fails_at, double, problem, monkeypatch):
    X, y, *_ = problem
    net = Network([4, 300, 1], backend=double, random_state=1)
    calls, freed, made, states, init = [], [], [], [], Run.__init__

    def known(run, net, state, *arguments):
        made.append(weakref.ref(run))
        states.append(weakref.ref(state))
        init(run, net, state, *arguments)

    monkeypatch.setattr(Run, "__init__", known)

    class OutOfMemoryError(MemoryError):
        """As CuPy's."""

    def failing(make):
        def counted(*arguments, **options):
            calls.append(make)
            if len(calls) > fails_at:
                raise OutOfMemoryError("Out of memory allocating 123 bytes")
            return make(*arguments, **options)

        return counted

    pool = double.xp.get_default_memory_pool()
    pool.free_all_blocks = lambda: freed.append(len(calls))
    monkeypatch.setattr(double.xp, "get_default_memory_pool", lambda: pool, raising=False)
    for name in ("copy", "empty", "zeros", "zeros_like"):
        monkeypatch.setattr(double.xp, name, failing(getattr(double.xp, name)), raising=False)
    options = {"optimizer": "adam", "batch_size": 32, "epochs": 3, "average": 0.9}
    before, watched = net.training, {"validation_data": (X, y), "early_stopping": EarlyStopping()}
    with pytest.raises(OutOfMemory) as caught:
        train(net, X, y, **watched, **options)
    text = str(caught.value)
    assert "the activations of a batch" in text
    assert "give batch_size=16" in text
    assert freed
    assert not any(run() for run in made)
    assert all(state() is None or state() is net.training for state in states)
    monkeypatch.undo()
    assert np.isfinite(double.to_host(net.theta)).all()
    assert net.training is before or "average" not in net.training.vectors
    train(net, X, y, **options)


def test_a_checkpoint_of_a_lost_device_opens_on_the_cpu(double, problem, tmp_path, monkeypatch):
    X, y, *_ = problem
    net = Network([4, 3, 1], backend=double, random_state=1)

    def lose(epoch):
        if epoch.number == 2:
            stream = SimpleNamespace(synchronize=lose_again)
            monkeypatch.setattr(double.xp.cuda, "get_current_stream", lambda: stream)
            lose_again()

    def lose_again():
        raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access")

    with pytest.raises(
        DeviceLost, match="cupy:0: expected a device that answers; got: cudaErrorIllegalAddr"
    ) as caught:
        train(net, X, y, optimizer="adam", epochs=3, callback=lose, checkpoint=tmp_path)
    assert caught.value.__notes__ == [f"the last checkpoint: {max(tmp_path.glob('*.h5'))}"]
    with pytest.warns(RuntimeWarning, match="backend was cupy:0 and is numpy"):
        _, history = resume(tmp_path, X, y, callback=named("lose"), backend="numpy")
    assert len(history["loss"]) == 3


def named(name):
    def call(epoch):
        pass

    call.__name__ = name
    return call


# --- signals --------------------------------------------------------------------------------------

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX's signals")


@pytest.fixture
def _handlers():
    before = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
def test_ctrl_c_finishes_the_batch_writes_it_and_takes_its_course(simple, tmp_path):
    begin, go_on = simple
    reference = begin("whole", checkpoint=tmp_path / "whole", callback=named("press"))
    before = signal.getsignal(signal.SIGINT)
    timer = []

    def press(epoch):
        if epoch.number == 2 and not timer:
            timer.append(1)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        begin(callback=press)
    assert signal.getsignal(signal.SIGINT) is before
    assert max(saved(begin.folder)) == "checkpoint-000002-000000.h5"
    net, _ = go_on(callback=press)
    assert bits(net, tmp_path) == bits(reference, tmp_path)


@pytest.mark.usefixtures("_handlers")
def test_a_handler_from_before_gets_the_signal_after_all_is_written(simple, monkeypatch):
    begin, _ = simple
    got, step = [], xpnet.run.Run.step
    signal.signal(signal.SIGTERM, lambda number, _: got.append((number, saved(begin.folder))))

    def raising(run, k, rate):
        step(run, k, rate)
        if (run.state.epoch, k) == (1, 2):
            signal.raise_signal(signal.SIGTERM)
            assert not got

    monkeypatch.setattr(xpnet.run.Run, "step", raising)
    net = begin()
    assert len(got) == 1
    assert got[0][0] == signal.SIGTERM
    assert got[0][1][-1] == "checkpoint-000001-000003.h5"
    assert net.training.epoch == 1
    assert np.isfinite(net.theta).all()


@pytest.mark.usefixtures("_handlers")
def test_a_second_signal_stops_at_once(simple):
    begin, _ = simple
    before, seen = signal.getsignal(signal.SIGINT), []

    def twice(_):
        signal.raise_signal(signal.SIGINT)
        seen.append(signal.getsignal(signal.SIGINT) is before)
        signal.raise_signal(signal.SIGINT)
        seen.append("it went on")

    with pytest.raises(KeyboardInterrupt):
        begin(callback=twice)
    assert seen == [True]
    assert saved(begin.folder) == ["checkpoint-000000-000000.h5"]


@POSIX
@pytest.mark.usefixtures("_handlers")
def test_an_ignored_signal_stays_ignored(simple):
    begin, _ = simple
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    net = begin(callback=lambda _: signal.raise_signal(signal.SIGHUP))
    assert net.training.epoch == 3


def test_other_threads_and_runs_without_checkpoints_leave_handlers_alone(simple):
    begin, _ = simple
    before, seen = signal.getsignal(signal.SIGINT), []
    look = lambda _: seen.append(signal.getsignal(signal.SIGINT) is before)  # noqa: E731
    thread = threading.Thread(target=begin, kwargs={"callback": look})
    thread.start()
    thread.join()
    begin(callback=look, checkpoint=None)
    assert seen == [True] * 6
    begin("third", checkpoint=begin.folder.parent / "third", callback=look)
    assert seen[6:] == [False] * 3


# --- the command ----------------------------------------------------------------------------------


def environment():
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": paths, "XPNET_BACKEND": "numpy", "OMP_NUM_THREADS": "1"}


def _heed_all():
    """Heed what the tests were perhaps told to ignore, as by nohup."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def command(folder, *words, send=None, code=0):
    """Run the command; where it says that epochs go by, *send* it signals; return what it said."""
    arguments = [sys.executable, "-W", "error", "-m", "xpnet", *map(str, words)]
    with subprocess.Popen(
        arguments, cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_heed_all,
    ) as process:  # fmt: skip
        for number in send or ():
            while "epoch " not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(number)
            time.sleep(0.01)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == code, said + errors
    return said + errors


@POSIX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_command_stops_and_goes_on_to_the_same_model(name, tmp_path):
    number = getattr(signal, name)
    train = ("train", "--epochs", 60, "--no-plot", "--batch-size", 4)
    command(tmp_path, *train, "-o", "whole.h5", "-q")
    said = command(
        tmp_path, *train, "--checkpoint", "run", "--every", "1h", send=[number], code=128 + number
    )
    assert f"{name}: stopping after this batch; once more stops at once" in said
    assert "stopped" in said
    assert "go on        xpnet resume run" in said
    assert 0 < load_model(tmp_path / "model.h5").training.epoch < 60
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    command(moved, "resume", "../run", "-q")
    assert (tmp_path / "model.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert list(moved.iterdir()) == []


@POSIX
def test_a_second_signal_stops_the_command_at_once(tmp_path):
    train = ("train", "--epochs", 100_000, "--no-plot")
    said = command(tmp_path, *train, send=[signal.SIGINT], code=130)
    assert "model.h5" in said
    assert "xpnet resume" not in said


def test_the_command_writes_as_often_as_told(tmp_path):
    command(tmp_path, "train", "--epochs", 7, "--no-plot", "--checkpoint", "a", "--every", 3)
    assert [int(name[11:17]) for name in saved(tmp_path / "a")] == [3, 6, 7]
    said = command(tmp_path, "resume", "a", "--every", "2m")
    assert "7 epochs" in said
    said = command(tmp_path, "train", "--checkpoint", "b", "--every", "2x", code=2)
    assert "a number of epochs above 0, or a time like 30s, 5m or 2h" in said
    said = command(tmp_path, "train", "--epochs", 1, "--checkpoint", "a", code=1)
    assert "xpnet: error: " in said
    assert "no checkpoints of another run" in said
    assert "Traceback" not in said
    said = command(tmp_path, "resume", "nowhere", code=1)
    assert "expected a folder with checkpoints" in said


def test_the_command_says_what_it_passes_over(tmp_path):
    command(tmp_path, "train", "--epochs", 2, "--no-plot", "--checkpoint", "run")
    (tmp_path / "run" / "checkpoint-000009-000000.h5").write_bytes(b"damaged")
    arguments = [sys.executable, "-m", "xpnet", "resume", "run", "-q"]
    done = subprocess.run(
        arguments, cwd=tmp_path, env=environment(), text=True, capture_output=True, timeout=60
    )
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.startswith("xpnet: warning: passed over a checkpoint") for line in lines)


def test_the_command_goes_on_with_its_own_runs_alone(simple, tmp_path):
    simple[0]()
    said = command(tmp_path, "resume", "run", code=1)
    assert "go on with it by xpnet.resume" in said


@POSIX
def test_paths_that_are_no_unicode_are_kept(simple, tmp_path):
    begin, _ = simple
    strange = "n\udcff"  # the byte 0xFF, as Python names it
    begin(checkpoint=Checkpoint(tmp_path / strange, note={"path": strange}))
    _, _, pause = latest(tmp_path / strange)
    assert pause.call["note"] == {"path": strange}
