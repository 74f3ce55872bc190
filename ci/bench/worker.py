"""One task in one process: what `environment.confined` starts, and what it answers.

The task is JSON in the first argument, the answer JSON on the last line of the output.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

_HOME = {
    "steps": "measure",
    "fit": "others",
    "predict": "others",
    "memory": "others",
    "growth": "growth",
    "quality": "tables",
}


def main(task: dict[str, Any]) -> Any:
    """Confine this process to the task's cores, then do it."""
    if hasattr(os, "sched_setaffinity") and task["cores"]:
        os.sched_setaffinity(0, task["cores"])
    kind = task["kind"]
    return getattr(importlib.import_module(_HOME[kind]), kind)(task)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
