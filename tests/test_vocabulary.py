"""Every name and keyword that the package asks of ``xp`` is one that CuPy has.

The list comes from a real CuPy wheel: ``ci/vocabulary`` writes it, without a GPU.
"""

import ast
import inspect
import json
from pathlib import Path

import pytest

from tests.counting_double import CountingDouble

HERE = Path(__file__).parent
NAMES = json.loads((HERE / "cupy_vocabulary.json").read_text(encoding="utf-8"))["names"]
SOURCES = sorted((HERE.parent / "xpnet").glob("*.py"))
ROOTS = {"xp", "_xp", "cupy"}


def dotted(node):
    """The name after ``xp.``, ``cupy.``, ``self.xp.``, ...: ``"cuda.Device"``; None for others."""
    parts = []
    while isinstance(node, ast.Attribute) and node.attr not in ROOTS:
        parts.append(node.attr)
        node = node.value
    root = getattr(node, "id", getattr(node, "attr", None))
    return ".".join(reversed(parts)) if parts and root in ROOTS else None


def accepts(name, keyword):
    known = (NAMES[name] or "").split()
    return keyword in known or "**" in known


def faults(source):
    """What *source* asks of CuPy that CuPy does not have, a sentence each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = dotted(node)
        if name is not None and name not in NAMES:
            found.append(f"line {node.lineno}: CuPy has no {name}")
        if isinstance(node, ast.Call) and (name := dotted(node.func)) in NAMES:
            found += [
                f"line {node.lineno}: CuPy's {name} takes no {keyword.arg}"
                for keyword in node.keywords
                if keyword.arg is not None and not accepts(name, keyword.arg)
            ]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_package_speaks_cupys_vocabulary(path):
    assert faults(path.read_text(encoding="utf-8")) == []


def test_package_is_found_and_asks_something():
    used = {dotted(n) for p in SOURCES for n in ast.walk(ast.parse(p.read_text(encoding="utf-8")))}
    assert {"matmul", "exp", "cuda.runtime.getDeviceCount"} <= used


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("xp.unstack(x)", "CuPy has no unstack"),
        ("self.xp.vecdot(x, y)", "CuPy has no vecdot"),
        ("self._xp.vecdot(x, y)", "CuPy has no vecdot"),
        ("self._xp.matmul(x, y, where=mask)", "CuPy's matmul takes no where"),
        ("net.backend.xp.block", "CuPy has no block"),
        ("cupy.cuda.runtime.getDevices()", "CuPy has no cuda.runtime.getDevices"),
        ("self.cupy.cuda.devices", "CuPy has no cuda.devices"),
        ("xp.exp(x, where=mask)", "CuPy's exp takes no where"),
        ("self.xp.sum(x, axis=1, initial=0.0)", "CuPy's sum takes no initial"),
        ("cupy.take(x, i, mode='clip')", "CuPy's take takes no mode"),
    ],
)
def test_scanner_catches_a_planted_fault(source, fault):
    assert faults(f"import cupy\n{source}\n") == [f"line 2: {fault}"]


@pytest.mark.parametrize(
    "source",
    [
        "xp.exp(x, out=y, dtype=xp.float32)",
        "xp.matmul(a, b, out=c)",
        "self.xp.sum(x, axis=1, keepdims=True, out=o)",
        "self.cupy.cuda.Device(0).use()",
        "np.unstack(x); array.xpose.where(where=1)",
    ],
)
def test_scanner_passes_what_cupy_has(source):
    assert faults(source) == []


def offered(owner, prefix=""):
    """Everything callable that a part of the double offers, by CuPy's name."""
    for name in dir(owner):
        value = getattr(owner, name)
        if name.startswith("_") or prefix + name == "counts":
            continue
        yield prefix + name, value
        if not callable(value) and hasattr(value, "__dict__") and prefix in ("", "cuda."):
            yield from offered(value, f"{prefix}{name}.")


DOUBLE = dict(offered(CountingDouble())) | dict(offered(CountingDouble.ndarray, "ndarray."))
DOUBLE |= dict(offered(CountingDouble().cuda.Device(0), "cuda.Device."))
_LINALG = CountingDouble()._core._routines_linalg
DOUBLE |= {"_core": None, "_core._routines_linalg": None}
DOUBLE |= dict(offered(_LINALG, "_core._routines_linalg."))


@pytest.mark.parametrize("name", DOUBLE)
def test_double_offers_only_what_cupy_has(name):
    assert name in NAMES
    if not callable(DOUBLE[name]) or NAMES[name] is None or isinstance(DOUBLE[name], type):
        return
    parameters = inspect.signature(DOUBLE[name]).parameters.values()
    by_keyword = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for keyword in by_keyword:
        assert keyword.startswith("_") or keyword == "self" or accepts(name, keyword)


def test_double_offers_what_the_package_uses():
    used = {dotted(n) for p in SOURCES for n in ast.walk(ast.parse(p.read_text(encoding="utf-8")))}
    assert used - {None} <= DOUBLE.keys() | {"__version__"}
