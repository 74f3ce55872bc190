"""The trials of ci/trials, in short."""

import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from xpnet import BinaryClassifier
from xpnet.activations import ACTIVATIONS, Activation

TRIALS = Path(__file__).parents[1] / "ci" / "trials"
RESULTS = TRIALS.parent / "results"
sys.path.append(str(TRIALS))
SHORT = {
    # the trial, its arguments, and the figure that it must show
    "bad_files": ([], "54 of 54 bad files refused, path and rule named"),
    "estimator_checks": (["--count", "1"], "0 failed, 0 excused,"),
    "every_batch": (["--count", "10"], "10 of 10 runs killed after a batch and resumed were equal"),
    "faults": ([], " faults left the old model or the new one"),
    "fuzz": (
        ["--count", "5"],
        "odd calls at 21 doors: 0 doors gave anything but a result or an err",
    ),
    "full_disk": (["--count", "16"], "16 of 16 runs that could not write ended right"),
    "gradients": (["--count", "1"], "33 gradients of 11 activations and 3 losses are those of"),
    "kill_training": (["--count", "20"], "ended with the bits of a run that was never killed"),
    "kills": (["--count", "20"], "20 of 20 kills while saving left a whole model"),
    "soak": (["--count", "8"], "8,000 steps in 8 parts came to the bits of a run that never stop"),
    "stops": (["--count", "5"], "5 of 5 commands that a signal stopped could be resumed"),
    "writers": (["--count", "6"], "6 of 6 pairs of runs on one folder: one trained, one was refus"),
    "mutations": (
        ["--count", "600"],
        "600 mutated model files: 0 crashes, 0 hangs, 0 silent differences",
    ),
    "odd_inputs": ([], "BinaryClassifier 0"),
}


def test_every_trial_is_run_here():
    commands = {path.name for path in TRIALS.iterdir() if path.is_file() and not path.suffix}
    assert commands == set(SHORT)


@pytest.mark.skipif(os.name != "posix", reason="the trials need POSIX's signals and limits")
@pytest.mark.parametrize("name", SHORT)
def test_trial(name):
    if name == "soak" and not sys.platform.startswith("linux"):
        pytest.skip("what a process holds is counted in /proc, which is Linux's")
    arguments, figure = SHORT[name]
    command = [sys.executable, str(TRIALS / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads(done.stdout)
    assert result["good"] is True
    assert figure in result["figure"]


# --- they can fail --------------------------------------------------------------------------------


def load(name):
    """The trial of that name as a module."""
    loader = SourceFileLoader(f"trial_{name}", str(TRIALS / name))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def test_a_check_that_fails_is_counted(monkeypatch):
    trial = load("estimator_checks")
    monkeypatch.setattr(BinaryClassifier, "score", lambda self, X, y: "high")
    result = trial.trial(1)
    assert not result["good"]
    assert any("check_array_api_input" in name for name in result["not passed"])


def test_no_checks_are_no_proof(monkeypatch):
    trial = load("estimator_checks")
    monkeypatch.setattr(trial, "estimator_checks_generator", lambda estimator: iter(()))
    monkeypatch.setattr(trial, "check_estimator", lambda estimator, **_: [])
    assert not trial.trial(1)["good"]


@pytest.mark.parametrize(
    ("factor", "judges"),
    [(1.001, ["finite differences", "complex step"]), (1 + 1e-10, ["complex step"])],
)
def test_a_wrong_derivative_is_found(factor, judges, monkeypatch):
    right = ACTIVATIONS["tanh"]
    wrong = Activation("tanh", right.value, lambda xp, dA, A: right.gradient(xp, dA, A) * factor)
    monkeypatch.setitem(ACTIVATIONS, "tanh", wrong)
    result = load("gradients").trial(1)
    assert not result["good"]
    off = result["largest relative difference"]
    for name in judges:
        difference, words = off[name]
        assert difference > result["limits"][name]
        assert words.startswith("tanh ")


def test_every_result_is_good_and_in_the_table():
    results = {path.name: json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")}
    trials = {r["trial"]: r for name, r in results.items() if name.startswith("trial-")}
    assert trials.keys() == SHORT.keys()
    assert all(result["good"] for result in trials.values())
    assert (RESULTS / "trials.md").read_text("utf-8") == load("report.py").table()
