"""The command: its jobs, each option, each bad input, on a terminal and off."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics

from xpnet import cli, console, data, inspection, jobs
from xpnet.activations import ACTIVATIONS
from xpnet.backend import NumpyBackend
from xpnet.checkpoint import load_model, save_model
from xpnet.decisions import best_threshold
from xpnet.initializers import INITIALIZERS
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import SCHEDULES
from xpnet.training import evaluate, train

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-W", "error", "-m", "xpnet"]
PICTURES = ROOT / ".." / "shared" / "data" / "pictures"
SHORT = ("--epochs", "2", "--no-plot")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPNET_BACKEND", "numpy")


def xpnet(*words, code=0):
    """Run the command in this process; assert its exit code; return all that it printed."""
    result = CliRunner().invoke(cli.main, list(map(str, words)), prog_name="xpnet")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def environment(**more):
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**plain, "PYTHONPATH": paths, "PYTHONUTF8": "1", **more}


def shell(*words, stdout=subprocess.PIPE, **environ):
    """Run the command in a process of its own, its streams apart."""
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(**environ),
        timeout=60,
        check=False,
    )


@pytest.fixture
def write(tmp_path):
    """Return a function that writes arrays to an HDF5 file and returns its name."""

    def write(name="rows.h5", **arrays):
        with h5py.File(tmp_path / name, "w") as file:
            for key, array in arrays.items():
                file[key] = np.asarray(array)
        return name

    return write


@pytest.fixture
def rows(write, rng):
    """A file of 60 rows of three features, labelled 3 and 7."""
    X = rng.standard_normal((60, 3))
    return write(X=X, y=np.where(X[:, 0] > 0, 7, 3))


@pytest.fixture
def shades(write, rng):
    """A file of 40 dark and bright pictures, and its test set of 20."""
    y = np.arange(60) % 2
    X = (rng.integers(0, 90, (60, 4, 5, 3)) + 160 * y[:, None, None, None]).astype("uint8")
    sets = {"train_set_x": X[:40], "train_set_y": y[:40]}
    sets |= {"test_set_x": X[40:], "test_set_y": y[40:], "list_classes": [b"dark", b"bright"]}
    return write("shades.h5", **sets)


def fact(output, name):
    """Return what *output* says about *name*."""
    found = re.search(rf"^{name}  +(.*)$", output, re.M)
    assert found, output
    return found[1]


# --- the main job ---------------------------------------------------------------------------------


def test_help_is_quick_and_loads_nothing_heavy():
    heavy = ("cupy", "sklearn", "matplotlib", "h5py", "PIL", "scipy")
    code = "import sys\nfrom xpnet.cli import main\nmain(['--help'], standalone_mode=False)\n"
    code += f"print([name for name in {heavy} if name in sys.modules])"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in ("train", "evaluate", "predict", "compare", "info"))


def test_train_alone_does_the_main_job(monkeypatch, tmp_path):
    monkeypatch.delenv("XPNET_BACKEND")
    start = time.perf_counter()
    output = xpnet("train")
    assert time.perf_counter() - start < 30
    reached = fact(output, "reached")
    assert float(re.search(r"test accuracy ([\d.]+) %", reached)[1]) >= 98.0
    net, test = load_model("model.h5"), data.load(None, "test")
    assert np.mean(net.predict(test.X) == test.y) >= 0.98
    assert net.backend.name in fact(output, "backend")
    wrote = fact(output, "wrote").split(", ")
    assert wrote[0] == "model.h5"
    assert {path.name for path in tmp_path.iterdir()} == set(wrote)
    steps = re.findall(r"xpnet (\w+)( [\w.]+)?$", output, re.M)
    assert [step for step, _ in steps] == ["evaluate", "predict", "compare"]
    for step, argument in steps:
        assert xpnet(step, *argument.split())


@pytest.mark.parametrize("seed", range(5))
def test_the_defaults_need_no_lucky_seed(seed):
    reached = fact(xpnet("train", "--seed", seed, "--no-plot"), "reached")
    assert float(re.search(r"test accuracy ([\d.]+) %", reached)[1]) >= 98.0


@pytest.mark.skipif(not PICTURES.is_dir(), reason="the cat pictures are absent (shared/data)")
def test_the_defaults_learn_cats():
    train, test = PICTURES / "train_catvnoncat.h5", PICTURES / "test_catvnoncat.h5"
    reached = fact(xpnet("train", train, "--test", test, "--no-plot"), "reached")
    tested, trained = map(float, re.findall(r"([\d.]+) %", reached))
    assert tested >= 60.0
    assert trained >= 90.0


def test_the_plan_says_what_will_be_done(shades):
    output = xpnet("train", shades, "--test", shades, "--seed", 5, *SHORT)
    assert fact(output, "data") == "shades · 40 pictures 4×5×3 · dark: 20, bright: 20"
    assert fact(output, "test") == "shades · 20 pictures 4×5×3 · dark: 10, bright: 10"
    parameters = 60 * 20 + 20 + 20 * 7 + 7 + 7 * 5 + 5 + 5 + 1
    words = f"60-20-7-5-1 · leaky_relu · float32 · {parameters:,} parameters · xavier"
    assert fact(output, "network") == words
    assert fact(output, "backend").startswith("numpy · NumPy ")
    words = "adam · cosine rate 0.001 · batches of 32 · 2 epochs · seed 5"
    assert fact(output, "optimizer") == words
    assert f"xpnet evaluate model.h5 {shades}\n" in output
    assert "xpnet predict model.h5 PICTURE.png\n" in output
    assert f"xpnet compare {shades}\n" in output


def test_rows_far_from_unit_size_get_a_hint(write):
    X = np.array([[0.0, 5000.0], [1.0, 1.0]] * 5)
    assert "unit size" in xpnet("train", write(X=X, y=[0, 1] * 5), *SHORT)
    assert "unit size" in xpnet("train", write(X=-X, y=[0, 1] * 5), *SHORT)
    words = ("--scaling", "standard")
    assert "unit size" not in xpnet("train", write(X=X, y=[0, 1] * 5), *SHORT, *words)
    assert "unit size" not in xpnet("train", write(X=X / 5000, y=[0, 1] * 5), *SHORT)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected", "found"),
    [
        (["--hidden", "3, 2"], (2, 3, 2, 1), lambda net: net.layer_sizes),
        (["--hidden", "none"], (2, 1), lambda net: net.layer_sizes),
        (["--activation", "tanh"], ("tanh",) * 3, lambda net: net.activations),
        (
            ["--activation", "relu, tanh,relu"],
            ("relu", "tanh", "relu"),
            lambda net: net.activations,
        ),
        (["--optimizer", "sgd"], ("sgd", 0.01), lambda net: of_optimizer(net)),
        (["--learning-rate", "0.5"], ("adam", 0.5), lambda net: of_optimizer(net)),
        (["--schedule", "linear"], "linear", lambda net: net.training.optimizer.schedule.name),
        (["--batch-size", "50"], 50, lambda net: net.training.batch_size),
        (["--batch-size", "full"], None, lambda net: net.training.batch_size),
        (["--epochs", "3"], 3, lambda net: len(net.training.history["loss"])),
        (["--precision", "float64"], "float64", lambda net: net.dtype),
        (["--seed", "9"], 9, lambda net: net.training.seed),
        (["--alpha", "0.1"], 0.1, lambda net: net.training.optimizer.alpha),
        (["--weight-decay", "0.1"], 0.1, lambda net: net.training.optimizer.weight_decay),
        (["--optimizer", "adamw"], 0.01, lambda net: net.training.optimizer.weight_decay),
        (
            ["--optimizer", "sgd", "--momentum", "0.9"],
            0.9,
            lambda net: net.training.optimizer.momentum,
        ),
        (["--dropout", "0.2"], (0.2,) * 3, lambda net: net.dropout),
        (["--normalization", "layer"], True, lambda net: "gamma1" in net.parameters),
        (["--input-scale"], True, lambda net: "scale" in net.parameters),
        (["--scaling", "robust"], "robust", lambda net: net.scaling.name),
        (["--loss", "focal"], "focal", lambda net: net.training.loss),
        (["--average", "0.9"], True, lambda net: "raw" in net.training.vectors),
        (["--threshold", "0.3"], 0.3, lambda net: net.threshold),
        (["--backend", "numpy"], "numpy", lambda net: net.backend.name),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_reach_the_model(words, expected, found):
    xpnet("train", *SHORT, *words)
    assert found(load_model("model.h5")) == expected


@pytest.mark.parametrize("words", ["--label-smoothing 0.2", "--input-noise 0.2", "--alpha 1"])
def test_what_no_model_tells_changes_it(words):
    xpnet("train", *SHORT)
    plain = load_model("model.h5").theta
    output = xpnet("train", *SHORT, *words.split())
    assert not np.allclose(load_model("model.h5").theta, plain)
    assert fact(output, "besides") == f"{words[2:].replace('-', ' ').replace(' 1', ' 1.0')}"


def test_balanced_classes_weigh_the_same(write, rng, monkeypatch):
    seen = {}

    def spy(*arguments, **options):
        seen.update(options, y=arguments[2])
        return train(*arguments, **options)

    monkeypatch.setattr(cli, "train", spy)
    path = write(X=rng.standard_normal((50, 2)), y=np.arange(50) % 5 == 0)
    assert fact(xpnet("train", path, *SHORT, "--class-weight", "balanced"), "besides")
    sums = [seen["sample_weight"][seen["y"] == label].sum() for label in (0, 1)]
    np.testing.assert_allclose(sums, [25, 25])
    xpnet("train", path, *SHORT)
    assert seen["sample_weight"] is None


def test_time_ends_training():
    done = fact(xpnet("train", "--no-plot", "--max-minutes", "1e-6"), "trained")
    assert done.startswith("1 epoch in ")
    assert len(load_model("model.h5").training.history["loss"]) == 1


def of_optimizer(net):
    return net.training.optimizer.name, net.training.optimizer.learning_rate


def test_init_and_seed_give_the_first_weights():
    def weights(*words):
        xpnet("train", *SHORT, "--learning-rate", "1e-30", *words)
        return load_model("model.h5").parameters["W1"]

    small, large = weights("--init", "random"), weights("--init", "he")
    np.testing.assert_allclose(small * 100, large, rtol=1e-5)  # he: √(2/2) = 1, random: 0.01
    assert not np.allclose(large, weights("--init", "he", "--seed", "2"))


def test_the_same_seed_gives_the_same_model():
    for name in ("a.h5", "b.h5"):
        xpnet("train", *SHORT, "-o", name)
    a, b = (load_model(name).theta for name in ("a.h5", "b.h5"))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("table", [INITIALIZERS, OPTIMIZERS, SCHEDULES])
def test_choices_are_the_rows_of_the_tables(table):
    assert f"[{'|'.join(table)}]" in re.sub(r"\s+", "", xpnet("train", "--help"))


def test_activations_are_the_rows_of_the_table():
    said = re.sub(r"\s+", " ", xpnet("train", "--help"))
    assert f"or one for each: {', '.join(ACTIVATIONS)}." in said


def test_help_lists_every_option_under_a_heading():
    said = xpnet("train", "--help").partition("\nData:\n")[2]
    heads = re.findall(r"^(\w.*):$", said, re.M)
    assert heads[-1] == "Help"
    assert len(heads) == 7
    listed = re.findall(r"^  (?:-\w, )?(--[\w-]+)", said, re.M)
    names = [option.opts[-1] for option in cli.main.commands["train"].params[1:]]
    assert sorted(listed) == sorted([*names, "--help"])


def test_the_plan_of_lbfgs_names_no_rate_and_no_batches():
    output = xpnet("train", *SHORT, "--optimizer", "lbfgs")
    assert fact(output, "optimizer") == "lbfgs · full batch · 2 epochs · seed 1"
    assert fact(output, "reached")


def test_the_plan_tells_every_layers_activation():
    network = fact(xpnet("train", *SHORT, "--activation", "relu,tanh,relu"), "network")
    assert network.startswith("2-20-7-5-1 · relu/tanh/relu · ")


@pytest.mark.parametrize("command", ["train", "compare"])
def test_threads_reach_numpy(command, monkeypatch):
    seen, name = [], {"train": "train", "compare": "compare_backends"}[command]
    done = getattr(cli, name)

    def spy(net, *arguments, **options):
        seen.extend((net.backend.threads, NumpyBackend().threads))
        return done(net, *arguments, **options)

    monkeypatch.setattr(cli, name, spy)
    blas = NumpyBackend().threads
    xpnet(command, "--epochs", "1", "--threads", "3", *["--no-plot"] * (command == "train"))
    assert seen == [3, 3 if command == "compare" else blas]  # there, every backend's and textbook's
    assert NumpyBackend().threads == blas


def test_output_names_the_model(tmp_path):
    (tmp_path / "sub").mkdir()
    assert fact(xpnet("train", *SHORT, "-o", "sub/some.h5"), "wrote") == "sub/some.h5"
    assert load_model("sub/some.h5").classes_.tolist() == ["outer", "inner"]
    assert not Path("model.h5").exists()


@pytest.mark.parametrize("kind", ["circles", "rows", "pictures"])
def test_plot_names_the_picture(kind, request):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    source = {"circles": [], "rows": ["rows"], "pictures": ["shades"]}[kind]
    source = [request.getfixturevalue(name) for name in source]
    xpnet("train", *source, "--epochs", "2", "--plot", "some.png")
    with image.open("some.png") as picture:
        width, height = picture.size
    assert (width > 1.5 * height) == (kind != "rows")  # with or without a second panel


def test_no_plot_writes_no_picture():
    assert fact(xpnet("train", *SHORT), "wrote") == "model.h5"
    assert [path.name for path in Path().iterdir()] == ["model.h5"]


def test_without_matplotlib_only_what_was_asked_for_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    output = xpnet("train", "--epochs", "2")
    assert "pip install 'xpnet[plot]'" in fact(output, "note")
    assert fact(output, "wrote") == "model.h5"
    Path("model.h5").unlink()
    output = xpnet("train", "--epochs", "2", "--plot", "some.png", code=1)
    assert "xpnet: error: some.png: drawing it needs matplotlib" in output
    assert list(Path().iterdir()) == []


def test_quiet_prints_errors_only():
    assert xpnet("train", *SHORT, "--quiet") == ""
    assert Path("model.h5").exists()
    assert "nowhere.h5" in xpnet("train", "nowhere.h5", "--quiet", code=1)


def test_version():
    assert re.fullmatch(r"xpnet \d+\.\d+\.\d+\n", xpnet("--version"))


# --- validation -----------------------------------------------------------------------------------


def test_validation_rows_are_set_aside_and_looked_at(rows, write, rng):
    X = rng.standard_normal((20, 3))
    other = write("other.h5", X=X, y=np.where(X[:, 0] > 0, 3, 7))  # labelled the other way round
    words = ("--test", other, "--validation", "0.25", "--epochs", "30", "--no-plot")
    output = xpnet("train", rows, *words)
    every = np.unique(data.load(rows).y, return_counts=True)[1]
    for name, share in (("data", 0.75), ("validation", 0.25)):
        counts = [int(n) for n in re.findall(r"[37]: (\d+)", fact(output, name))]
        np.testing.assert_allclose(counts, share * every, atol=1)
    assert "20 rows" in fact(output, "test")
    lasts = re.search(r"^epoch 30/30 .*  validation accuracy ([\d.]+) %", output, re.M)
    reached = fact(output, "reached")
    names = re.findall(r"(\w+) accuracy ([\d.]+) %", reached)
    assert [name for name, _ in names] == ["test", "validation", "training"]
    assert float(names[0][1]) < 50 < float(names[1][1])
    assert names[1][1] == lasts[1]
    history = load_model("model.h5").training.history
    assert history["val_accuracy"][-1] > 0.5  # that of the validation rows, not of the test's


def noise(rng, write, m=80):
    """A file of rows that say nothing of their labels, so that validation gets worse."""
    return write("noise.h5", X=rng.standard_normal((m, 5)), y=rng.integers(0, 2, m))


@pytest.mark.parametrize(
    ("monitor", "name", "sign"),
    [(None, "val_loss", -1), ("roc_auc", "val_roc_auc", 1), ("accuracy", "val_accuracy", 1)],
)
def test_early_stopping_keeps_the_best_epoch(rng, write, monitor, name, sign):
    path, words = noise(rng, write), ("--validation", "0.4", "--early-stopping", "7", "--no-plot")
    words += () if monitor is None else ("--monitor", monitor)
    output = xpnet("train", path, *words, "--learning-rate", "0.01", "--history", "run.csv")
    net = load_model("model.h5")
    watched = sign * np.array(net.training.history[name])
    best = int(np.argmax(watched))
    assert len(watched) == best + 8 < 200
    assert fact(output, "trained").startswith(f"{len(watched)} epochs ")
    validation = data.split(data.load(path), 0.4, 1)[1]
    loss, accuracy = evaluate(net, validation.X, validation.y)
    assert loss == pytest.approx(net.training.history["val_loss"][best], rel=1e-5)
    assert f"validation accuracy {console.percent(accuracy)} " in fact(output, "reached")


def test_early_stopping_has_a_patience_of_its_own(rng, write):
    words = ("--validation", "0.4", "--learning-rate", "0.01", "--no-plot", "--early-stopping")
    xpnet("train", noise(rng, write), *words)
    losses = load_model("model.h5").training.history["val_loss"]
    assert len(losses) == np.argmin(losses) + 11


@pytest.mark.parametrize("metric", ["f1", "balanced_accuracy"])
def test_the_threshold_is_tuned_on_validation_rows_and_saved(write, rng, metric):
    X = rng.standard_normal((300, 2))
    path = write(X=X, y=X[:, 0] + rng.standard_normal(300) > 1.2)
    output = xpnet("train", path, *SHORT, "--validation", "0.4", "--threshold", metric)
    net, validation = load_model("model.h5"), data.split(data.load(path), 0.4, 1)[1]
    p = net.predict_proba(validation.X)[:, 1]
    assert net.threshold == best_threshold(validation.y, p, metric) != 0.5
    assert fact(output, "threshold") == f"{net.threshold:g}"
    assert fact(xpnet("evaluate", "model.h5", path), "threshold") == f"{net.threshold:g}"


def test_the_history_is_written_a_line_an_epoch():
    for name in ("run.csv", "run.jsonl"):
        output = xpnet("train", *SHORT, "--history", name)
        assert fact(output, "wrote") == f"model.h5, {name}"
        with Path(name).open(encoding="utf-8") as file:
            lines = [*(csv.DictReader(file) if name == "run.csv" else map(json.loads, file))]
        assert [float(line["epoch"]) for line in lines] == [1, 2]
        for key, values in load_model("model.h5").training.history.items():
            assert [float(line[key]) for line in lines] == values


# --- progress -------------------------------------------------------------------------------------


def test_off_a_terminal_progress_is_ten_plain_lines_on_stderr():
    done = shell("train", "--epochs", "40", "--no-plot")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert [int(line.split("/")[0].removeprefix("epoch")) for line in lines] == [*range(4, 41, 4)]
    pattern = (
        r"epoch [ \d]\d/40  loss \d\.\d{4}  test accuracy [\d.]+ %  [\d,.]+ epochs/s  0:0\d left"
    )
    assert all(re.fullmatch(pattern, line) for line in lines), lines
    assert "\x1b" not in done.stdout + done.stderr
    assert "epoch " not in done.stdout
    names = [line.split()[0] for line in done.stdout.splitlines()[:7]]
    assert names == ["data", "test", "network", "backend", "optimizer", "trained", "reached"]


def test_without_test_data_the_accuracy_is_that_of_training(rows):
    output = xpnet("train", rows, *SHORT)
    last = re.findall(r"^epoch 2/2 .*  accuracy ([\d.]+ %)", output, re.M)
    assert [f"training accuracy {accuracy}" for accuracy in last] == [
        fact(output, "reached").split(" · ")[0]
    ]
    assert "test accuracy" not in output


def terminal(*words, stop_at=None, **environ):
    """Run the command on a terminal of 120 columns, with Ctrl-C when *stop_at* appears."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    ours, theirs = pty.openpty()
    more = environment(TERM="xterm-256color", COLUMNS="120", **environ)
    process = subprocess.Popen(
        [*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=more
    )
    os.close(theirs)
    text, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other side has closed it
            break
        text += chunk
        if stop_at is not None and stop_at in text:
            process.send_signal(signal.SIGINT)
            stop_at = None
        if not chunk:
            break
    os.close(ours)
    return process.wait(timeout=10), text.decode()


@pytest.mark.parametrize("no_color", [False, True])
def test_on_a_terminal_progress_is_a_bar(no_color):
    code, text = terminal(
        "train", "--epochs", "300", "--no-plot", **({"NO_COLOR": "1"} if no_color else {})
    )
    assert code == 0
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
    assert re.search(r"epoch 300/300 ━{24} loss \d\.\d{4}  test accuracy [\d.]+ %  ", plain)
    assert re.search(r"epochs/s  0:00 left", plain)
    assert bool(re.search(r"\x1b\[[\d;]*3[0-7]m", text)) is not no_color


def test_ctrl_c_saves_what_was_trained():
    words = ("train", "--epochs", "1000000", "--no-plot")
    code, text = terminal(*words, stop_at=b"epochs/s")
    assert code == 130, text
    assert "Traceback" not in text
    assert "SIGINT: stopping after this batch" in text
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text).replace("\r", "")
    net = load_model("model.h5")
    epochs = len(net.training.history["loss"])
    assert 0 < epochs < 1_000_000
    assert fact(plain, "stopped").startswith(f"{epochs:,} epoch")
    assert fact(plain, "wrote") == "model.h5"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "xpnet: error: interrupted"),
        (MemoryError("Unable to allocate 9 TiB"), 1, "xpnet: error: Unable to allocate 9 TiB"),
    ],
)
def test_what_goes_wrong_before_training_is_one_line(monkeypatch, error, code, words):
    def load(*_):
        raise error

    monkeypatch.setattr(jobs, "load_rows", load)
    assert xpnet("train", *SHORT, code=code).strip() == words
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["make_context", "invoke"])
def test_ctrl_c_exits_with_130_whatever_click_does(monkeypatch, name):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.main, name, interrupt)
    assert xpnet("train", *SHORT, code=130).strip() == "xpnet: error: interrupted"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0:00"), (61, "1:01"), (3600 + 62, "1:01:02")]
)
def test_durations(seconds, words):
    assert console._duration(seconds) == words


@pytest.mark.parametrize(
    ("speed", "words"), [(1234.5, "1,234 epochs/s"), (2.5, "2.5 epochs/s"), (0.25, "4.0 s/epoch")]
)
def test_rates(speed, words):
    assert console._rate(speed) == words


def test_only_a_perfect_score_is_a_hundred_percent():
    assert console.percent(0.99999) == "99.9 %"
    assert console.percent(1.0) == "100.0 %"
    assert console.percent(0.29) == "29.0 %"


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--hidden 20,x", "expected numbers above 0 like 20,7,5, or none; got '20,x'"),
        ("--hidden 20,0", "got '20,0'"),
        ("--hidden -3", "got '-3'"),
        ("--hidden 20,,5", "got '20,,5'"),
        ("--batch-size 0", "expected a number of rows above 0, or full; got '0'"),
        ("--batch-size some", "got 'some'"),
        ("--batch-size -5", "got '-5'"),
        ("--epochs 0", "'--epochs': 0 is not in the range"),
        ("--epochs many", "'many' is not a valid integer"),
        ("--learning-rate -1", "learning_rate: expected a number above 0; got -1.0"),
        ("--learning-rate nan", "learning_rate: expected a number above 0; got nan"),
        ("--learning-rate fast", "'fast' is not a valid float"),
        ("--activation swish", f"expected one of {', '.join(ACTIVATIONS)}, or a list like"),
        ("--activation relu,swish,relu", "or a list like relu,tanh; got 'relu,swish,relu'"),
        ("--activation relu,", "or a list like relu,tanh; got 'relu,'"),
        ("--activation relu,tanh", "one for each of the 3 hidden layers; got 2"),
        ("--threads 0", "'--threads': 0 is not in the range"),
        ("--threads 123456", "threads: expected an integer from 1 to"),
        ("--plot a.png --no-plot", "expected --plot or --no-plot; got both, with a.png"),
        ("some.h5 --x a", "expected --x and --y together, for a file DATA; got --x a"),
        ("some.h5 --y b", "expected --x and --y together, for a file DATA; got --y b"),
        ("--x a --y b", "for a file DATA; got --x a, --y b without DATA"),
        ("--optimizer newton", "'newton' is not one of 'sgd', 'rmsprop'"),
        ("--init ones", "'ones' is not one of"),
        ("--schedule wild", "'wild' is not one of"),
        ("--precision half", "'half' is not one of 'float32', 'float64', 'tf32'"),
        ("--precision tf32", "expected one that numpy has, float32 or float64; got 'tf32'"),
        ("--backend gpu", "expected one of auto, cupy, cupy:N, numpy; got 'gpu'"),
        ("--seed -1", "random_state: expected an int from 0"),
        ("--momentum 0.9", "hyper-parameter of adam: expected one of"),
        ("--optimizer sgd --momentum 1", "momentum: expected 0 ≤ value < 1; got 1.0"),
        ("--alpha -1", "alpha: expected a number of at least 0; got -1.0"),
        ("--dropout 1", "'--dropout': expected a number at least 0 and below 1; got 1.0"),
        ("--average nan", "'--average': expected a number at least 0 and below 1; got nan"),
        ("--label-smoothing 2", "'--label-smoothing': expected a number at least 0 and below 1"),
        ("--input-noise -1", "'--input-noise': expected a number at least 0; got -1.0"),
        ("--max-minutes 0", "'--max-minutes': expected a number above 0; got 0.0"),
        ("--optimizer lbfgs --dropout 0.5", "dropout: expected none with lbfgs"),
        ("--optimizer lbfgs --average 0.5", "average: expected none with lbfgs"),
        ("--scaling log", "'log' is not one of 'standard'"),
        ("--validation 1", "'--validation': expected a number above 0 and below 1; got 1.0"),
        ("--early-stopping", "expected --validation with --early-stopping; got none"),
        ("--early-stopping 0 --validation 0.1", "'--early-stopping': 0 is not in the range"),
        ("--threshold f1", "expected --validation with --threshold; got none"),
        ("--threshold 1.5", "'--threshold': expected a number from 0 to 1, or one of accuracy"),
        (
            "--threshold roc_auc",
            "or one of accuracy, balanced_accuracy, precision, recall, f1; got",
        ),
        ("--monitor f1 --validation 0.1", "expected --early-stopping with --monitor; got none"),
        ("--history run.txt", "expected a name ending in .csv or .jsonl; got 'run.txt'"),
        ("one.h5 two.h5", "unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_with_2(words, expected):
    first, *_ = words.split()
    source = [] if first.startswith("--") else words.split()
    output = xpnet("train", *(source or words.split()), code=2)
    assert "Usage: xpnet train" in output
    assert expected in re.sub(r"\s+", " ", output)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fly"], "No such command 'fly'"),
        (["evaluate"], "Missing argument 'MODEL'"),
        (["predict", "model.h5", "--backend", "gpu"], "got 'gpu'"),
        (["compare", "--epochs", "0"], "0 is not in the range"),
        (["compare", "--threads", "123456"], "threads: expected an integer from 1 to"),
        (["compare", "some.h5", "--x", "a"], "expected --x and --y together"),
        (["evaluate", "model.h5", "some.h5", "--y", "b"], "expected --x and --y together"),
        (["predict", "model.h5", "--x", "a"], "expected a data file whose rows are called a"),
    ],
)
def test_wrong_usage_of_the_others_exits_with_2(words, expected):
    assert expected in xpnet(*words, code=2)


ROWS = np.arange(12.0).reshape(6, 2)
HALVES = [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": ROWS, "y": HALVES}, ["train_set_x", "or X and y", "'x'", "with --x"]),
        ({"X": ROWS, "Y": HALVES}, ["'y'", "'Y'"]),
        ({"X": ROWS, "y": [0, 0, 0, 1, 1, np.nan]}, ["1 NaN"]),
        ({"X": ROWS, "y": HALVES[:5]}, ["6 rows", "5 labels"]),
        ({"X": ROWS[:0], "y": HALVES[:0]}, ["empty"]),
        ({"X": ROWS, "y": [1] * 6}, ["one class only", "6 × 1"]),
        ({"X": ROWS, "y": [0, 1, 2, 0, 1, 2]}, ["expected two classes", "2 × 2"]),
        ({"X": np.where(ROWS == 7, np.nan, ROWS), "y": HALVES}, ["1 NaN", "row 3, column 1"]),
        ({"X": np.where(ROWS > 9, np.inf, ROWS), "y": HALVES}, ["2 NaN or inf", "row 5"]),
    ],
    ids=[
        *("names", "label name", "NaN label", "lengths", "empty", "one class", "three classes"),
        *("NaN", "infinity"),
    ],
)
def test_bad_data_is_refused_before_training(write, arrays, words):
    path = write(**arrays)
    for command in (["train", path, "--no-plot"], ["compare", path]):
        message = xpnet(*command, code=1)
        assert message.startswith(f"xpnet: error: {path}: ")
        assert len(message.splitlines()) == 1  # not even a plan
        assert all(word in message for word in words), message
    assert not Path("model.h5").exists()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": ROWS, "y": HALVES[:5]}, "5 labels"),
        ({"X": ROWS, "y": [3, 7, 8, 3, 7, 8]}, "only labels of [3, 7]"),
        ({"X": ROWS, "y": [3, 3, 3, 7, 7, np.nan]}, "1 NaN"),
        ({"X": np.full((2, 2), np.inf), "y": [3, 7]}, "4 NaN or infinite"),
        ({"X": np.zeros((2, 3)), "y": [3, 7]}, "expected rows of 2 features, as for training"),
    ],
)
def test_bad_test_data_are_refused_before_training(write, arrays, words):
    good = write("good.h5", X=ROWS, y=[3, 7] * 3)
    bad = write("bad.h5", **arrays)
    message = xpnet("train", good, "--test", bad, *SHORT, code=1)
    assert message.startswith("xpnet: error: bad.h5: ")
    assert len(message.splitlines()) == 1
    assert words in message


def test_one_class_is_enough_to_test_on(write):
    good = write("good.h5", X=ROWS, y=[3, 7] * 3)
    xpnet("train", good, "--test", write("one.h5", X=ROWS, y=[7] * 6), *SHORT)


@pytest.mark.parametrize("content", [b"x,y\n1,2\n", b"", b"\x89HDF\r\n\x1a\n", None])
def test_what_is_no_data_file_is_refused(content):
    if content is not None:
        Path("some.h5").write_bytes(content)
    output = xpnet("train", "some.h5", "--no-plot", code=1)
    assert re.fullmatch(r"xpnet: error: some\.h5: .+\n", output)


def test_test_data_must_fit_the_training_data(rows, write):
    narrow = write("narrow.h5", X=np.zeros((2, 2)), y=[3, 7])
    assert "expected rows of 3 features" in xpnet("train", rows, "--test", narrow, *SHORT, code=1)
    other = write("other.h5", X=np.zeros((2, 3)), y=[3, 4])
    assert "only labels of [3, 7]" in xpnet("train", rows, "--test", other, *SHORT, code=1)
    assert not Path("model.h5").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-o", "missing/model.h5"], "missing/model.h5: expected a place that can be written"),
        (["-o", "."], "got a folder"),
        (["-o", ""], "got a folder"),
        (["-o", "rows.h5"], "rows.h5: expected a name of its own"),
        (["--test", "rows.h5", "-o", "./rows.h5"], "rows.h5: expected a name of its own"),
        (["--plot", "missing/curve.png"], "expected a place that can be written"),
        (["--plot", "curve.xyz"], "curve.xyz: expected a picture's ending, one of"),
        (["--plot", "curve"], "curve: expected a picture's ending"),
        (["-o", "same.png", "--plot", "same.png"], "same.png: expected a name of its own"),
        (["--history", "missing/a.csv"], "missing/a.csv: expected a place that can be written"),
        (["-o", "a.csv", "--history", "a.csv"], "a.csv: expected a name of its own"),
        (["--checkpoint", "a", "-o", "./a"], "a: expected a name of its own"),
    ],
)
def test_an_output_that_cannot_be_written_is_found_before_training(rows, words, expected):
    if "--plot" in words:
        pytest.importorskip("matplotlib")
    before = Path(rows).read_bytes()
    output = xpnet("train", rows, *words, code=1)
    assert expected in output.replace(str(Path().absolute()) + os.sep, "")
    assert len(output.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == [rows]
    assert Path(rows).read_bytes() == before


def test_a_missing_backend_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    output = xpnet("train", *SHORT, "--backend", "cupy", code=1)
    assert output.startswith("xpnet: error: backend 'cupy'")
    assert "use backend='numpy'" in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("content", [b"not a model", None, "data"])
def test_models_of_something_else_are_refused(rows, content):
    model = rows if content == "data" else "some.h5"
    if isinstance(content, bytes):
        Path(model).write_bytes(content)
    for command in ("evaluate", "predict"):
        output = xpnet(command, model, rows, code=1)
        assert re.fullmatch(rf"xpnet: error: {model}: expected a model.+\n", output)


def test_a_run_that_diverges_keeps_the_last_good_parameters(rows):
    words = ["--optimizer", "sgd", "--learning-rate", "1e12", "--batch-size", "full"]
    output = xpnet("train", rows, "--no-plot", "--activation", "linear", *words, code=1)
    assert re.search(r"^xpnet: error: epoch \d+: expected finite", output, re.M)
    assert fact(output, "wrote") == "model.h5, the last good parameters"
    net = load_model("model.h5")
    assert np.isfinite(net.theta).all()
    assert 0 < len(net.training.history["loss"]) < 200


def test_a_run_that_diverges_at_once_writes_nothing(rows):
    words = ["--optimizer", "sgd", "--learning-rate", "1e30", "--batch-size", "2"]
    output = xpnet("train", rows, "--no-plot", "--activation", "linear", *words, code=1)
    assert "xpnet: error: epoch 1: expected finite" in output
    assert "wrote" not in output
    assert not Path("model.h5").exists()


# --- evaluate -------------------------------------------------------------------------------------


def test_evaluate_counts_right_and_wrong(rows):
    xpnet("train", rows, "--epochs", "5", "--no-plot")
    output = xpnet("evaluate", "model.h5", rows)
    net, truth = load_model("model.h5"), data.load(rows)
    taken = net.predict(truth.X)
    right = int(np.sum(taken == truth.y))
    assert fact(output, "accuracy") == f"{console.percent(right / 60)} · {right} of 60"
    cells = [[np.sum((truth.y == t) & (taken == p)) for p in (3, 7)] for t in (3, 7)]
    table = [line.split() for line in output.splitlines()[-3:]]
    assert table[0] == ["taken", "for", "3", "taken", "for", "7"]
    assert table[1:] == [["3", *map(str, cells[0])], ["7", *map(str, cells[1])]]
    assert 0 < right < 60  # else the table shows little


def test_evaluate_reports_every_metric(rows):
    xpnet("train", rows, "--epochs", "5", "--no-plot", "--threshold", "0.45")
    said = dict(
        re.findall(r"^(\w+) +(0\.\d{4}|1\.0000)$", xpnet("evaluate", "model.h5", rows), re.M)
    )
    net, all_rows = load_model("model.h5"), data.load(rows)
    truth, p = all_rows.y == 7, net.predict_proba(all_rows.X)[:, 1].astype(float)
    judges = {
        "accuracy": metrics.accuracy_score(truth, p > 0.45),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, p > 0.45),
        "precision": metrics.precision_score(truth, p > 0.45),
        "recall": metrics.recall_score(truth, p > 0.45),
        "f1": metrics.f1_score(truth, p > 0.45),
        "roc_auc": metrics.roc_auc_score(truth, p),
        "average_precision": metrics.average_precision_score(truth, p),
        "log_loss": metrics.log_loss(truth, p),
        "brier": metrics.brier_score_loss(truth, p),
    }
    assert said == {name: f"{value:.4f}" for name, value in judges.items()}


def test_evaluate_says_nothing_of_what_one_class_cannot_tell(rows, write):
    xpnet("train", rows, *SHORT)
    output = xpnet("evaluate", "model.h5", write("one.h5", X=np.ones((4, 3)), y=[3] * 4))
    assert fact(output, "roc_auc") == "–"
    assert re.fullmatch(r"\d\.\d{4}", fact(output, "log_loss"))


def test_evaluate_takes_the_test_set(shades):
    xpnet("train", shades, *SHORT)
    assert "20 pictures" in fact(xpnet("evaluate", "model.h5", shades), "data")
    assert "40 pictures" in fact(xpnet("evaluate", "model.h5", train_part(shades)), "data")


def train_part(path):
    with h5py.File(path) as file, h5py.File("part.h5", "w") as part:
        for name in ("train_set_x", "train_set_y", "list_classes"):
            part[name] = file[name][()]
    return "part.h5"


def test_evaluate_refuses_other_data(rows, write):
    xpnet("train", *SHORT)
    output = xpnet("evaluate", "model.h5", rows, code=1)
    assert output.startswith("xpnet: error: rows.h5: y: expected only labels of ['outer', 'inner']")
    other = write("other.h5", X=np.zeros((2, 3)), y=[b"outer", b"inner"])
    output = xpnet("evaluate", "model.h5", other, code=1)
    assert output.startswith("xpnet: error: other.h5: X: expected rows of 2 features")


# --- names of arrays ------------------------------------------------------------------------------


@pytest.fixture
def strange(rows, write):
    """The file of rows, under the names a and g/b."""
    same = data.load(rows)
    return write("names.h5", **{"a": same.X, "g/b": same.y})


def test_arrays_may_be_named(rows, strange):
    names = ("--x", "a", "--y", "g/b")
    output = xpnet("train", strange, "--test", strange, *names, *SHORT)
    xpnet("train", rows, "--test", rows, *SHORT, "-o", "same.h5")
    np.testing.assert_array_equal(load_model("model.h5").theta, load_model("same.h5").theta)
    steps = re.findall(r"xpnet (\w+ .*)$", output, re.M)
    assert [step.split()[0] for step in steps] == ["evaluate", "predict", "compare"]
    for step in steps:
        assert "names.h5 --x a" in step
        assert xpnet(*step.split())


def test_named_arrays_that_are_not_there_are_told(strange):
    names = ("--x", "c", "--y", "g/b")
    for words in (["train", strange, *SHORT], ["compare", strange]):
        output = xpnet(*words, *names, code=1)
        assert output.startswith("xpnet: error: names.h5: 'c'")


@pytest.mark.parametrize(
    ("there", "taken"),
    [("test train X", "test"), ("train X", "train"), ("X", "X"), ("test X", "test")],
)
def test_predict_and_evaluate_read_the_same_rows(rows, write, rng, there, taken):
    xpnet("train", rows, *SHORT)
    sizes, arrays = {"test": 3, "train": 5, "X": 7}, {}
    for name in there.split():
        x, y = ("X", "y") if name == "X" else (f"{name}_set_x", f"{name}_set_y")
        arrays |= {
            x: rng.standard_normal((sizes[name], 3)),
            y: [3, 7, 3, 7, 3, 7, 3][: sizes[name]],
        }
    path = write("some.h5", **arrays)
    assert f" {sizes[taken]} rows " in fact(xpnet("evaluate", "model.h5", path), "data")
    assert len(xpnet("predict", "model.h5", path).splitlines()) == 1 + sizes[taken]


# --- predict --------------------------------------------------------------------------------------


def test_predict_writes_a_csv_line_a_row(rows):
    xpnet("train", rows, *SHORT)
    lines = list(csv.DictReader(io.StringIO(xpnet("predict", "model.h5", rows))))
    net, X = load_model("model.h5"), data.load(rows).X
    assert [int(line["row"]) for line in lines] == [*range(60)]
    assert [line["class"] for line in lines] == [str(label) for label in net.predict(X)]
    probabilities = [float(line["probability"]) for line in lines]
    np.testing.assert_allclose(probabilities, net.predict_proba(X).max(axis=1), atol=1e-6)
    assert min(probabilities) >= 0.5


def test_predict_gives_the_probability_of_the_class_it_names(rows):
    xpnet("train", rows, *SHORT)
    net = load_model("model.h5")
    net.threshold = 0.999
    save_model(net, "model.h5")
    lines = list(csv.DictReader(io.StringIO(xpnet("predict", "model.h5", rows))))
    assert {line["class"] for line in lines} == {"3"}
    probabilities = [float(line["probability"]) for line in lines]
    np.testing.assert_allclose(probabilities, net.predict_proba(data.load(rows).X)[:, 0], atol=1e-6)
    assert min(probabilities) < 0.5


def test_predict_needs_no_labels(rows, write):
    xpnet("train", rows, *SHORT)
    alone = write("alone.h5", X=data.load(rows).X)
    assert xpnet("predict", "model.h5", alone) == xpnet("predict", "model.h5", rows)


def test_predict_quotes_what_csv_must_quote(write, rng):
    names = [b"a, [red]b[/]", b":cat:"]
    X, y = rng.standard_normal((40, 2)), np.arange(40) % 2
    path = write(train_set_x=X, train_set_y=y, list_classes=names)
    output = xpnet("train", path, *SHORT)
    assert "a, [red]b[/]: 20, :cat:: 20" in output
    lines = list(csv.DictReader(io.StringIO(xpnet("predict", "model.h5", path))))
    assert {line["class"] for line in lines} <= {name.decode() for name in names}
    assert "taken for a, [red]b[/]   taken for :cat:" in xpnet("evaluate", "model.h5", path)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_predict_names_pictures(shades, mode, ending):
    image = pytest.importorskip("PIL.Image")
    if (mode, ending) == ("RGBA", "jpg"):
        pytest.skip("JPEG knows no transparency")
    xpnet("train", shades, "--no-plot")
    for name, shade in (("day", 220), ("night", 20)):
        levels = 255 if mode == "RGBA" else shade
        color = {"L": shade, "RGB": (shade,) * 3, "RGBA": (shade, shade, shade, levels)}[mode]
        image.new(mode, (97, 31), color).save(f"{name}.{ending}")
    output = xpnet("predict", "model.h5", f"day.{ending}", f"night.{ending}")
    found = re.findall(rf"^(\w+)\.{ending}: (\w+), probability ([\d.]+)$", output, re.M)
    assert [words[:2] for words in found] == [("day", "bright"), ("night", "dark")]
    assert min(float(probability) for *_, probability in found) > 0.7


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no picture", "expected a PNG or JPEG picture"), (None, "nowhere.png: expected a PNG")],
)
def test_a_picture_that_cannot_be_read_is_refused_before_any_output(shades, content, words):
    image = pytest.importorskip("PIL.Image")
    xpnet("train", shades, *SHORT)
    image.new("L", (8, 8)).save("good.png")
    path = Path("nowhere.png" if content is None else "bad.png")
    if content is not None:
        path.write_bytes(content)
    output = xpnet("predict", "model.h5", "good.png", path, code=1)
    assert output.startswith("xpnet: error: ")
    assert words in output


def test_predict_refuses_what_the_model_does_not_take(shades, write):
    xpnet("train", *SHORT)
    assert "takes rows of 2 features, no pictures" in xpnet("predict", "model.h5", "x.png", code=1)
    output = xpnet("predict", "model.h5", shades, code=1)
    assert output.startswith("xpnet: error: shades.h5: X: expected rows of 2 features")
    bad = write("bad.h5", X=[[0.0, np.nan]])
    assert "1 NaN" in xpnet("predict", "model.h5", bad, code=1)
    bad = write("bad.h5", y=[0, 1])
    output = xpnet("predict", "model.h5", bad, code=1)
    assert "bad.h5: expected test_set_x and test_set_y, or train_set_x and" in output
    assert "name the rows with --x" in output


def test_predict_ends_quietly_when_its_reader_does(write):
    xpnet("train", *SHORT)
    many = write("many.h5", X=np.zeros((50_000, 2)))
    process = subprocess.Popen(
        [*COMMAND, "predict", "model.h5", many],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout.readline() == b"row,class,probability\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(timeout=30)


@pytest.mark.parametrize("words", [["info"], ["--help"], ["train", *SHORT], ["predict"]])
def test_a_full_disk_under_stdout_is_one_clear_line(words):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    if words == ["predict"]:
        xpnet("train", *SHORT)
        words = ["predict", "model.h5"]
    with full.open("w") as stdout:
        done = shell(*words, stdout=stdout)
    assert done.returncode == 1
    assert done.stderr.startswith("xpnet: error: stdout: expected a place that can be written; got")
    assert len(done.stderr.splitlines()) == 1


def test_an_encoding_without_a_letter_is_one_clear_line():
    done = shell("info", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.count("backend")) == (1, 0)
    assert "got ascii, without '\\xb7'; set PYTHONIOENCODING=utf-8" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_names_in_a_file_cannot_move_the_cursor(write, rng):
    X, y = rng.standard_normal((40, 2)), np.arange(40) % 2
    path = write(X=X, y=y, list_classes=[b"\x1b[2Jred", b"\x9d\rb".decode("latin-1").encode()])
    said = [xpnet(*words) for words in (
        ["train", path, *SHORT], ["evaluate", "model.h5", path], ["predict", "model.h5", path],
        ["inspect", path], ["inspect", "model.h5"],
    )]  # fmt: skip
    for output in said:
        assert not set(output) & {"\x1b", "\r", "\x9d"}
    assert r"\x1b[2Jred" in said[1]


def test_file_names_that_are_no_unicode_are_read_and_written(rows):
    strange = "n\udcff.h5"  # the byte 0xFF, as Python names it
    try:
        Path(rows).rename(strange)
    except OSError:
        pytest.skip("this file system has names of Unicode alone")
    done = shell("train", strange, *SHORT, "-o", "m\udcff.h5", "--checkpoint", "run")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert fact(done.stdout, "wrote") == r"m\udcff.h5"
    assert shell("resume", "run", "-q").returncode == 0


# --- compare and info -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["circles", "pictures"])
def test_compare_shows_every_run_side_by_side(kind, shades):
    output = xpnet("compare", *([shades] if kind == "pictures" else []), "--epochs", "6")
    rows = re.findall(r"^(numpy float\d\d) +(\S+) +([\d.]+) +([\d.]+)×$", output, re.M)
    assert [row[0] for row in rows] == ["numpy float32", "numpy float64"]
    assert 1e-10 < float(rows[0][1]) < 1e-3
    assert float(rows[1][1]) < 1e-10
    assert re.search(r"^textbook float64 +reference +[\d.]+ +1\.0×$", output, re.M)
    heads = "loss at epoch   textbook float64   numpy float32   numpy float64"
    losses = output.partition(heads)[2].splitlines()[1:7]
    table = np.array([line.split()[:4] for line in losses], dtype=float)
    assert table[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(table[:, 1:], table[:, [1]] * np.ones(3), atol=1e-5)
    assert (np.diff(table[:, 1]) < 0).all()


def test_compare_says_which_backend_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "backend 'cupy'" in fact(xpnet("compare", "--epochs", "1"), "no cupy")


def test_compare_takes_sizes_and_draws():
    pytest.importorskip("matplotlib")
    output = xpnet("compare", "--epochs", "2", "--hidden", "4,3", "--plot", "some.png")
    assert fact(output, "network").startswith("2-4-3-1 · relu · float32/float64 · ")
    assert fact(output, "wrote") == "some.png"
    assert Path("some.png").read_bytes().startswith(b"\x89PNG")
    assert "missing" in xpnet("compare", "--plot", "missing/some.png", code=1)


def test_info_tells_versions_backends_and_blas(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    output = xpnet("info")
    assert fact(output, "numpy") == np.__version__
    assert fact(output, "h5py") == h5py.__version__
    assert fact(output, "python") == ".".join(map(str, sys.version_info[:3]))
    backends = re.findall(r"^backend +(\w+) · (.*)$", output, re.M)
    assert [name for name, _ in backends] == ["numpy", "cupy"]
    assert backends[1][1].startswith("not usable: backend 'cupy'")
    assert re.search(r"^BLAS +\S+ · \S+( · \S+)? · \d+ threads?$", output, re.M)


def test_info_tells_which_architecture_blas_chose(monkeypatch):
    pool = {"user_api": "blas", "internal_api": "openblas", "version": "0.3", "num_threads": 1}
    found = [pool | {"architecture": "Haswell"}, pool]
    monkeypatch.setattr(inspection, "threadpool_info", lambda: found)
    assert re.findall(r"^BLAS +(.*)$", xpnet("info"), re.M) == [
        "openblas · 0.3 · Haswell · 1 thread",
        "openblas · 0.3 · 1 thread",
    ]


def test_classes_in_another_order_are_refused(shades, write, rng):
    xpnet("train", shades, "--epochs", "2", "--no-plot", "-q")
    with h5py.File(shades) as file:
        X, y = file["test_set_x"][()], file["test_set_y"][()]
    other = write("other.h5", test_set_x=X, test_set_y=1 - y, list_classes=[b"bright", b"dark"])
    for words in (["evaluate", "model.h5", other], ["train", shades, "--test", other, *SHORT]):
        error = xpnet(*words, code=1)
        assert "other.h5: classes: expected those of the network, in its order" in error
