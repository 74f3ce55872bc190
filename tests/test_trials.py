"""The trials of ci/trials, in short."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRIALS = Path(__file__).parents[1] / "ci" / "trials"
SHORT = {
    # the trial, its arguments, and the figure that it must show
    "bad_files": ([], "54 of 54 bad files refused, path and rule named"),
    "every_batch": (["--count", "10"], "10 of 10 runs killed after a batch and resumed were equal"),
    "faults": ([], " faults left the old model or the new one"),
    "full_disk": (["--count", "16"], "16 of 16 runs that could not write ended right"),
    "kill_training": (["--count", "20"], "ended with the bits of a run that was never killed"),
    "kills": (["--count", "20"], "20 of 20 kills while saving left a whole model"),
    "soak": (["--count", "8"], "8,000 steps in 8 parts came to the bits of a run that never stop"),
    "stops": (["--count", "5"], "5 of 5 commands that a signal stopped could be resumed"),
    "writers": (["--count", "6"], "6 of 6 pairs of runs on one folder: one trained, one was refus"),
    "mutations": (
        ["--count", "600"],
        "600 mutated model files: 0 crashes, 0 hangs, 0 silent differences",
    ),
    "odd_inputs": ([], "without a word, BinaryClassifier 0"),
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads(done.stdout)
    assert result["good"] is True
    assert figure in result["figure"]
