"""Paths at every door: what is none is refused in words, and so is one that is too long."""

import re

import pytest

from xpnet import (
    Checkpoint,
    History,
    InputError,
    Network,
    XpnetError,
    data,
    load_model,
    resume,
    save_model,
    untrusted,
)
from xpnet.inspection import inspect

DOORS = {
    "save_model": lambda path: save_model(Network([1, 1], backend="numpy"), path),
    "load_model": lambda path: load_model(path, "numpy"),
    "load": lambda path: data.load(path),
    "load_hdf5": lambda path: data.load_hdf5(path),
    "load_picture": lambda path: data.load_picture(path, (2, 2)),
    "Checkpoint": Checkpoint,
    "resume": lambda path: resume(path, [[1.0]], [1]),
    "inspect": inspect,
    "inspect apart": untrusted.inspect,
    "to_csv": lambda path: History(loss=[1.0]).to_csv(path),
}


@pytest.mark.parametrize("path", [b"model.h5", 3, True, ["model.h5"], "a\0b.h5", "\ud800.h5"])
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_path_is_refused(door, path):
    words = re.escape(f"expected a path, as text or a Path; got {path!r}")
    with pytest.raises(InputError, match=f"(path|checkpoint): {words}"):
        DOORS[door](path)


@pytest.mark.parametrize("door", sorted(set(DOORS) - {"Checkpoint", "inspect", "inspect apart"}))
def test_a_name_that_is_too_long_is_refused(door, tmp_path):
    with pytest.raises(XpnetError):
        DOORS[door](tmp_path / ("x" * 300 + ".h5"))
