"""Where permissions can be missing: root is dropped, whom none stops."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Yield a folder of one's own; in here the process has the rights of an ordinary user."""
    if os.name != "posix":
        pytest.skip("permissions are POSIX's")
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid():
            yield Path(name)
            return
        os.chown(name, NOBODY, NOBODY)
        try:
            os.seteuid(NOBODY)
        except OSError as error:
            pytest.skip(f"root cannot be dropped here: {error}")
        try:
            yield Path(name)
        finally:
            os.seteuid(0)
