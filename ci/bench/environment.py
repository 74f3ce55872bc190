"""Where the benchmarks run: their virtual environment, and the cores a run may use.

The standard library only, for what stands here runs before anything is installed.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent

NEEDED = ("--editable", str(ROOT), "matplotlib>=3.8")
PEERS = {  # each is installed on its own: one that cannot be had leaves its column empty
    "speed": (
        "torch==2.13.0",  # pinned so that a CPU build can be pointed to; see README.md
        "jax",
        "numba>=0.60",
    ),
    "quality": ("lightgbm",),
    "gradients": ("jax",),  # this and the next for the trials of these names
    "estimator_checks": ("array-api-strict", "pandas"),
}
IMPORTS = {
    "": "pass",
    "numpy": "import numpy",
    "xpnet": "import xpnet",
    "xpnet, ready to train": "from xpnet import Adam, Network, train",
    "scikit-learn's classifier": "from sklearn.neural_network import MLPClassifier",
    "torch": "import torch",
    "jax": "import jax.numpy",
}
# These are told, where they are set.
SETTINGS = ("OPENBLAS_CORETYPE", "CUPY_TF32", "XPNET_BACKEND", "XPNET_FAST")
PACKAGES = (
    *("xpnet", "numpy", "scikit-learn", "lightgbm", "torch", "jax", "jaxlib", "cupy", "numba"),
    "numexpr",
)


def enter(benchmark: str) -> None:
    """Go on in the benchmarks' own virtual environment, with the *benchmark*'s peers.

    The first run makes it.
    """
    venv = Path(os.environ.get("XPNET_BENCH_VENV", ROOT / ".venv-bench")).resolve()
    if Path(sys.prefix).resolve() == venv:
        return
    python, stamp = venv / "bin" / "python", venv / f".installed-{benchmark}"
    peers = PEERS[benchmark]
    wanted = "\n".join((*NEEDED, *peers, (ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"making {venv}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        (venv / ".gitignore").write_text("*\n", encoding="utf-8")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *NEEDED], check=True)
        for peer in peers:
            if subprocess.run([*pip, peer], check=False).returncode:
                print(f"{peer} cannot be installed here; its column stays empty", file=sys.stderr)
        stamp.write_text(wanted, encoding="utf-8")
    os.execv(python, [str(python), *sys.argv])


def cores() -> list[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def confined(task: dict[str, Any], threads: int) -> Any:
    """Return what `worker.py` says to *task*, in a fresh process of so many threads and cores."""
    flags = os.environ.get("XLA_FLAGS", "")
    if threads == 1:
        flags += " --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    settings = {name: str(threads) for name in names} | {"XLA_FLAGS": flags}
    settings["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # leave some of a GPU to the others
    task = task | {"threads": threads, "cores": cores()[:threads]}
    command = [sys.executable, str(FOLDER / "worker.py"), json.dumps(task)]
    done = subprocess.run(
        command, env=_here() | settings, stdout=subprocess.PIPE, check=False, text=True
    )
    if done.returncode:
        sys.exit(f"the {task['kind']} task failed; its own words stand above")
    return json.loads(done.stdout.splitlines()[-1])


def _here() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def import_times(rounds: int) -> dict[str, float]:
    """Return the seconds that each import adds to a bare start of Python, medians of *rounds*."""
    seconds: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds + 1):  # the first round fills the disk's cache
        for name, statement in IMPORTS.items():
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", statement],
                env=_here(),
                check=False,
                stderr=subprocess.DEVNULL,
            )
            seconds[name].append(time.perf_counter() - start if not done.returncode else math.nan)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    bare = medians.pop("")
    return {name: median - bare for name, median in medians.items() if median == median}


def machine() -> dict[str, Any]:
    """Return the machine and the versions, in words."""
    return {
        "processor": _processor(),
        "cores": len(cores()),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(package: str) -> str | None:
    candidates = [package]
    if package == "cupy":
        candidates += ["cupy-cuda12x", "cupy-cuda13x"]
    for name in candidates:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
