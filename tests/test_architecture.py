"""The house: imports go one way, pure files stay pure, files stay small."""

import ast
from pathlib import Path

import pytest

import xpnet

PACKAGE = Path(xpnet.__file__).parent
FLOORS = [  # each imports only from those above it
    "errors",
    "interrupts",
    "files",
    "formulas",
    "activations",
    "losses",
    "normalization",
    "dropout",
    "layout",
    "compiler",
    "loops",
    "jit",
    "arrays",
    "team",
    "device",
    "numpy_backend",
    "cupy_backend",
    "backend",
    "checks",
    "preprocessing",
    "metrics",
    "decisions",
    "initializers",
    "textbook",
    "settings",
    "schedules",
    "rules",
    "optimizers",
    "state",
    "passes",
    "network",
    "rows",
    "divergence",
    "run",
    "watching",
    "lbfgs",
    "hdf5_rules",
    "hdf5",
    "data",
    "seal",
    "checkpoint",
    "fingerprints",
    "checkpointing",
    "loop",
    "training",
    "resuming",
    "data_init",
    "recipe",
    "callbacks",
    "examples",
    "fitting",
    "tuning",
    "classifier",
    "gradcheck",
    "compare",
    "drawing",
    "plots",
    "pictures",
    "console",
    "inspection",
    "inputs",
    "untrusted",
    "jobs",
    "options",
    "cli",
    "__main__",
]
PURE = {
    "formulas", "activations", "losses", "normalization", "layout", "textbook", "settings",
    "rules", "schedules", "optimizers", "state", "passes", "network",
}  # fmt: skip
FILES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports(source: str) -> list[tuple[str, bool]]:
    """Every module that *source* imports, and whether from inside the package."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name.partition(".")[0], False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.module.partition(".")[0], node.module.startswith("xpnet")))
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(name, True) for name in names]
    return found


def wrong_imports(name: str, source: str) -> list[str]:
    """What *source*, the text of file *name*, must not import."""
    above = FLOORS[: FLOORS.index(name)]
    wrong = []
    for module, inside in imports(source):
        if inside and module not in above and module != "__version__":
            wrong.append(f"{name} imports {module}, which is not above it")
        if module == "cupy" and name != "cupy_backend":
            wrong.append(f"{name} imports cupy; only cupy_backend may")
        if module == "numpy" and name in PURE:
            wrong.append(f"{name} is pure but imports numpy")
    return wrong


def test_every_file_has_its_floor():
    assert set(FILES) == set(FLOORS)


@pytest.mark.parametrize("name", FILES)
def test_imports_go_one_way(name):
    assert wrong_imports(name, (PACKAGE / f"{name}.py").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("network", "import numpy as np"),
        ("network", "def f():\n    from numpy import exp"),
        ("training", "import cupy.cuda"),
        ("formulas", "from .network import Network"),
        ("layout", "from . import data"),
        ("layout", "from xpnet.data import circles"),
    ],
)
def test_a_wrong_import_is_found(name, source):
    assert wrong_imports(name, source)


@pytest.mark.parametrize("name", FILES)
def test_files_stay_small(name):
    lines = (PACKAGE / f"{name}.py").read_text(encoding="utf-8").count("\n")
    assert lines <= 420, f"{name}.py has {lines} lines: does it hold one kind of knowledge?"


def test_all_names_are_there_and_sorted_into_one_list():
    assert sorted(xpnet.__all__) == sorted({*xpnet._HOME_OF, *xpnet._MODULES})
    for name in xpnet.__all__:
        assert getattr(xpnet, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = xpnet.nonsense
