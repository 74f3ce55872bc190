"""The code blocks of README and docs and the examples run, and say what they should."""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import missing
from xpnet.activations import ACTIVATIONS
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS
from xpnet.preprocessing import SCALERS
from xpnet.schedules import SCHEDULES

ROOT = Path(__file__).parent.parent
PICTURES = ROOT.parent / "shared" / "data" / "pictures"
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks_of(path):
    return re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL)


BLOCKS = blocks_of(ROOT / "README.md")
PROGRAMS = {path.name: "\n".join(blocks_of(path)) for path in PAGES if blocks_of(path)}


def test_the_readme_has_its_blocks():
    assert len(BLOCKS) >= 5
    assert BLOCKS[1] == BLOCKS[0].replace('"numpy"', '"cupy"')
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 8


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_readmes_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if '"cupy"' in block and (reason := missing("cupy")):
        pytest.skip(f"backend cupy: {reason}")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(block, "README.md", "exec"), {})
    numbers = [float(n) for n in re.findall(r"\d+\.\d+(?:e-?\d+)?", said.getvalue())]
    assert numbers
    if "test accuracy" in block:
        assert numbers[0] >= 0.98
    if "largest relative difference" in block:
        assert numbers[0] < 1e-6
    if "cross_val_score" in block:
        assert numbers[0] > 0.93
    if "compute_cost" in block:
        assert numbers[0] < 0.69  # that of one half for every row is log 2 = 0.693


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_blocks_of_a_page_run_one_after_the_other(name, tmp_path):
    assert "assert " in PROGRAMS[name]
    run([sys.executable, "-W", "error", "-c", PROGRAMS[name]], tmp_path)


@pytest.mark.parametrize(
    "table", [ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES], ids=lambda t: next(iter(t))
)
def test_the_readme_names_every_row_of_the_tables(table):
    assert missing_names(table, ROOT / "README.md") == []


@pytest.mark.parametrize("table", [LOSSES, SCHEDULES, SCALERS], ids=lambda t: next(iter(t)))
def test_the_page_on_training_names_every_row_of_the_tables(table):
    assert missing_names(table, ROOT / "docs" / "training.md") == []


def missing_names(table, page):
    words = set(re.findall(r"\w+", page.read_text("utf-8")))
    return [name for name in table if name not in words]


@pytest.mark.parametrize("path", [ROOT / "SECURITY.md", *PAGES], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
        assert (path.parent / link).exists(), link


def run_example(name, folder, *arguments):
    return run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name), *map(str, arguments)], folder
    )


def run(command, folder):
    done = start(command, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(command, folder):
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths, "MPLBACKEND": "Agg"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_every_example_is_tested_here():
    tested = Path(__file__).read_text("utf-8")
    for path in (ROOT / "examples").glob("*.py"):
        assert f'"{path.name}"' in tested
        assert len(path.read_text("utf-8").splitlines()) <= 50, "an example fits one screen"


def test_circles(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib, for the picture, is not installed")
    said = run_example("circles.py", tmp_path)
    assert float(re.search(r"test accuracy (\d\.\d+)", said)[1]) >= 0.98
    assert (tmp_path / "circles.png").read_bytes().startswith(b"\x89PNG")


def test_two_backends(tmp_path):
    said = run_example("two_backends.py", tmp_path)
    assert "numpy and numpy: loss curves differ by at most 0.0e+00" in said


def test_textbook_and_engine(tmp_path):
    said = run_example("textbook_and_engine.py", tmp_path)
    assert float(re.search(r"finite differences agree to (\S+)", said)[1]) < 1e-6
    assert float(re.search(r"the two runs differ by at most (\S+)", said)[1]) < 1e-9


def test_cats_without_files_says_how_to_call_it(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib, for the picture, is not installed")
    done = start([sys.executable, str(ROOT / "examples" / "cats.py")], tmp_path)
    assert done.returncode == 1
    assert "python examples/cats.py train_catvnoncat.h5" in done.stderr
    assert "Traceback" not in done.stderr


def test_cats(tmp_path):
    files = [PICTURES / "train_catvnoncat.h5", PICTURES / "test_catvnoncat.h5"]
    if not all(path.exists() for path in files):
        pytest.skip("the cat / non-cat files are not beside the checkout")
    pytest.importorskip("matplotlib", reason="matplotlib, for the picture, is not installed")
    said = run_example("cats.py", tmp_path, *files)
    accuracies = [float(a) for a in re.findall(r"accuracy (\d\.\d+)", said)]
    assert accuracies[0] > 0.95  # logistic regression learns the training pictures by heart
    assert accuracies[2] >= 0.98
    assert accuracies[3] >= 0.78
    assert (tmp_path / "misses.png").exists()


# --- ci/gpu, as far as it can be tried without a GPU ----------------------------------------------


@pytest.fixture
def gpu_script(monkeypatch):
    """The script ci/gpu as a module."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    loader = importlib.machinery.SourceFileLoader("gpu_script", str(ROOT / "ci" / "gpu"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_script", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("there", ["somewhere", ""])
def test_gpu_script_keeps_the_python_path(gpu_script, monkeypatch, there):
    monkeypatch.setenv("PYTHONPATH", there)
    found = gpu_script.environment()["PYTHONPATH"].split(os.pathsep)
    assert found == [str(ROOT), *filter(None, [there])]


def test_gpu_script_tells_the_commit(gpu_script, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_script, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert gpu_script.git_state() == {"commit": None, "dirty": None}
    answers = {"rev-parse": "abc", "status": ""}
    monkeypatch.setattr(gpu_script, "_git", lambda word, *_: answers[word])
    assert gpu_script.git_state() == {"commit": "abc", "dirty": False}
    answers["status"] = " M xpnet/cli.py"
    assert gpu_script.git_state()["dirty"] is True


def test_gpu_script_runs_the_command(gpu_script, monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    assert gpu_script.run_command("--version")["printed"][0].startswith("xpnet ")
    assert gpu_script.run_command("fly")["exit_code"] == 2


@pytest.mark.parametrize("where", ["exit_code", "xpnet compare", "bench_exit_code", "compare"])
def test_gpu_script_fails_where_a_part_does(gpu_script, where):
    run = {"name": "cupy:0 float32", "gradient_difference": 1e-6}
    result = {"exit_code": 0, "xpnet compare": {"exit_code": 0}, "bench_exit_code": None}
    result["compare"] = [run]
    assert gpu_script.faults(result) == []
    bad = {"xpnet compare": {"exit_code": 1}, "compare": [run | {"gradient_difference": 0.1}]}
    assert len(gpu_script.faults(result | {where: bad.get(where, 1)})) == 1
