"""The backends that tests run on, and the account that every run gives of them.

``backend`` is a fixture with a value for each rung that can train: NumPy, the counting double, and
CuPy where a CUDA device answers.  ``XPNET_TEST_BACKENDS=numpy,cupy`` chooses among them; one that
was asked for by name and ran no test fails the run.
"""

from __future__ import annotations

import os
import re
from collections import Counter

import hypothesis
import numpy as np
import pytest

# scikit-learn dispatches to other libraries' arrays only if SciPy was told so when it was imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from tests.counting_double import CountingDouble
from xpnet.backend import CupyBackend, available_backends, get_backend

# A busy machine is no fault; what hangs meets pytest's time limit.
hypothesis.settings.register_profile("xpnet", deadline=None)
hypothesis.settings.load_profile("xpnet")

RUNGS = ("numpy", "double", "cupy")
ASKED = tuple(filter(None, os.environ.get("XPNET_TEST_BACKENDS", "").split(",")))
CHOSEN = ASKED or RUNGS
if unknown := set(CHOSEN) - set(RUNGS):
    raise pytest.UsageError(f"XPNET_TEST_BACKENDS: expected some of {RUNGS}; got {sorted(unknown)}")


def missing(rung: str) -> str | None:
    """Say why the backend of *rung* cannot run, or None."""
    if rung != "cupy":
        return None
    found = available_backends()
    return str(found["cupy"]) if "cupy" in found else None


def make(rung: str):
    """Return the backend of *rung*."""
    return CupyBackend(CountingDouble()) if rung == "double" else get_backend(rung)


@pytest.fixture(params=RUNGS)
def backend(request):
    """A backend to train on."""
    rung = request.param
    if rung not in CHOSEN:
        pytest.skip(f"backend {rung}: not among XPNET_TEST_BACKENDS={','.join(ASKED)}")
    if reason := missing(rung):
        pytest.skip(f"backend {rung}: {reason}")
    backend = make(rung)
    yield backend
    backend.synchronize()  # errors of a device come late; they belong to this test


@pytest.fixture
def double():
    """The counting double as a backend, and its counts at ``double.xp.counts``."""
    return CupyBackend(CountingDouble())


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("XPNET_BACKEND", raising=False)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- the account: how many tests each backend ran, and why others did not -------------------------

_ran: Counter[str] = Counter()


def pytest_runtest_logreport(report):
    if report.when == "call" and report.outcome != "skipped":
        _ran.update(set(RUNGS) & set(re.split(r"[\[\]-]", report.nodeid)))


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("backends")
    for rung in RUNGS:
        why = missing(rung) if rung in CHOSEN else "not asked for"
        note = f" ({why})" if why else ""
        label = "the counting double of CuPy, which is no GPU" if rung == "double" else rung
        terminalreporter.line(f"{label}: {_ran[rung]} tests ran{note}")


def pytest_sessionfinish(session):
    if any(not _ran[rung] for rung in ASKED) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
