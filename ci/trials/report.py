"""What every trial shares: its options, its figure, and how it is written down."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "ci" / "results"

Result = dict[str, Any]


def run(
    name: str,
    trial: Callable[[int], Result],
    *,
    description: str | None,
    count: int = 0,
) -> None:
    """Run a *trial*, print its figure and its result, and exit with 1 unless it is as it should.

    *trial* gets the value of ``--count``, *count* by default, where the trial has a count, and
    returns its numbers with ``"figure"``, a sentence, and ``"good"``, whether that is as it should.
    """
    parser = argparse.ArgumentParser(description=description)
    if count:
        parser.add_argument("--count", type=int, default=count, help="default: %(default)s")
    parser.add_argument("--record", action="store_true", help="write the result to ci/results/")
    options = parser.parse_args()
    start = time.perf_counter()
    result = trial(options.count if count else 0)
    result |= {"seconds": round(time.perf_counter() - start, 1), "trial": name, **_where()}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    print(text)
    if options.record:
        (RESULTS / f"trial-{name}.json").write_text(text + "\n", encoding="utf-8")
        (RESULTS / "trials.md").write_text(table(), encoding="utf-8")
    print(result["figure"], file=sys.stderr)
    sys.exit(not result["good"])


def environment() -> dict[str, str]:
    """Return the environment of a child: this checkout first, one thread."""
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)}


def table() -> str:
    """Return the figures of all results in a table, in Markdown."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("trial-*.json"))]
    rows = [
        f"| `{r['trial']}` | {r['figure']} | {r['seconds']:,.0f} s, {r['date']}, `{r['commit']}` |"
        for r in results
    ]
    return "\n".join(["| trial | figure | took, when, commit |", "|---|---|---|", *rows, ""])


def _where() -> Result:
    """Return where and on what the trial ran."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False)
    packages = {name: metadata.version(name) for name in ("numpy", "h5py")}
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip() or None,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **packages,
        "hdf5": __import__("h5py").version.hdf5_version,
    }
