"""Whatever is offered at any door, a failure is one of xpnet's own errors, and no traceback."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from xpnet import BinaryClassifier, InputError, cli

sys.path.append(str(Path(__file__).parents[1] / "ci" / "trials"))

from attempts import Leak, attempt, tries
from doors import COMMANDS, DOORS


@pytest.fixture(autouse=True)
def _on_numpy(monkeypatch):
    monkeypatch.setenv("XPNET_BACKEND", "numpy")


@pytest.mark.parametrize("door", DOORS)
def test_a_door(door):
    tries(*DOORS[door], 25)


def test_every_command_has_its_door():
    assert {f"xpnet {name}" for name in cli.main.commands} <= set(DOORS)
    assert len(COMMANDS) == 7


# --- it can fail ----------------------------------------------------------------------------------


def give(error):
    raise error


@pytest.mark.parametrize(
    "call",
    [
        lambda _: {}["x"],
        lambda _: give(ValueError("no word of whose")),
        lambda _: give(SystemExit(0)),
        lambda _: np.float64(1e308) * np.float64(10),
        lambda _: np.arange(3.0) / 0.0,
        lambda _: np.array([1j]).astype(float),
        lambda _: warnings.warn("old", DeprecationWarning, stacklevel=1),
        lambda _: BinaryClassifier(hidden_layer_sizes=(1,)).get_params()["x"],
    ],
)
def test_what_is_no_error_of_xpnets_is_a_leak(call):
    with pytest.raises(Leak, match="offered 3"):
        attempt(call, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda _: give(InputError("X: expected")),
        lambda _: BinaryClassifier(backend="numpy").fit([[np.nan]], [0]),
        lambda _: warnings.warn("ours", UserWarning, stacklevel=1),
    ],
)
def test_errors_of_xpnet_and_of_scikit_learns_checks_are_none(call):
    attempt(call, 3)


def test_scikit_learns_errors_elsewhere_are_leaks():
    from sklearn.datasets import make_circles

    with pytest.raises(Leak, match="make_circles"):
        attempt(lambda n: make_circles(n), -1)


@pytest.mark.parametrize("code", [3, -11])
def test_exit_codes_of_no_meaning_are_leaks(code, monkeypatch):
    monkeypatch.setattr(cli, "machine", lambda: sys.exit(code))
    with pytest.raises(Leak, match=f"exit {code}"):
        tries(*DOORS["xpnet info"], 20)


def test_a_traceback_of_a_command_is_a_leak(monkeypatch):
    monkeypatch.setattr(cli, "machine", lambda: {}["x"])
    with pytest.raises(Leak, match="KeyError"):
        tries(*DOORS["xpnet info"], 20)


def test_what_fails_is_made_small():
    def call(numbers):
        assert sum(numbers) < 10

    with pytest.raises(Leak, match=r"offered \[10\]"):
        tries(st.lists(st.integers(0, 20)), call, 200)


def test_an_attempt_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def call(_):
        seen.append(Path.cwd())
        Path("new.h5").write_text("x")
        Path("../above.h5").write_text("x")
        print("a word")

    attempt(call, 3)
    assert Path.cwd() == tmp_path
    assert not list(tmp_path.iterdir())
    assert not seen[0].parent.exists()
