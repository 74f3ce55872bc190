"""What the trial `fuzz` offers: values and words of every kind, paths, rows and labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import odd
import scipy.sparse
from hypothesis import strategies as st

M, N = odd.M, odd.N  #: rows and features of the data that fit

VALUES = [
    None, True, False, "", "auto", "adam", "relu", "cosine", "lbfgs", "balanced", "loss", "robust",
    -1, 0, 1, 2, 7, -0.5, 0.0, 0.3, 1.0, 2.5, 1e300, 1e-320, float("nan"), float("inf"),
    [], [3], (2, 2), ["relu"], [0.1, None], {}, {"W": 1.0}, {"name": "step"}, {0: 2, 1: 1e300},
    b"x", 1j, object(), "\udcff", np.float64(0.1), np.float32("nan"), np.int64(3),
    np.array([1, 2]), np.array("adam"), np.array(0.5), np.datetime64("NaT", "D"),
    np.array([[0.1], [2]]),
]  # fmt: skip

WORDS = [
    "", "none", "-1", "0", "1", "2", "0.5", "1e999", "1e300", "nan", "inf", "x", "2,2", "2,,2",
    "²", "relu", "relu,tanh", "adam", "lbfgs", "cosine", "robust", "focal", "layer", "f1", "auc",
    "full", "numpy", "float64", "bfloat16", "1s", "0m", "é", "\udcff", "--", "-q", "X", "y", "X/",
    "train_set_x", "train_set_y", "list_classes", "parameters/W1", "..", "curve.png", "curve.svg",
    "run.csv", "run.jsonl", "run.", "500", "99999999999999999999",
]  # fmt: skip

#: Names in the folder of an attempt, whose own folder is temporary too: see `doors.furnish`.
FILES = [
    "data.h5", "table.h5", "pictures.h5", "model.h5", "of_pictures.h5", "run", "garbage.h5",
    "empty.h5", "cut.h5", "half.h5", "no_hdf5.txt", "picture.png", "bad.png",
    "folder", "folder.h5", "folder/x.h5", "missing.h5", "missing/x.h5", "data.h5/x.h5", "new.h5",
    "../above.h5", "link.h5", "lost.h5", ".", "", "é.h5", "\udcff.h5", "x" * 300 + ".h5",
]  # fmt: skip

PATHS: list[Any] = [
    *FILES, *map(Path, FILES), b"data.h5", "a\0b", Path("a\0b"), None, 0.5, True, [], object(),
    np.str_("new.h5"), ("model.h5",),
]  # fmt: skip

_DTYPES = [
    "f8", "f4", "f2", ">f8", "i8", "i1", "u1", "u8", "?", "U3", "S3", "O", "c16", "M8[s]", "m8[s]",
    np.longdouble, [("a", "f8")],
]  # fmt: skip
_NUMBERS = [0.0, 1.0, -1.0, 2.0, 0.5, 1e-320, 3e38, 1e300, float("nan"), float("inf"), -0.0]
_ROWS = [
    (M, N), (M, N), (M, N), (M, N), (M,), (N, M), (M, 1), (1, N), (2, N), (0, N), (M, 0), (M, N, 1),
    (M, 1, 3), (M, 1, 1, 3), (1, 1, 1, 1, 1), (), (M - 1, N), (M, N + 1),
]  # fmt: skip
_LABELS = [
    (M,), (M,), (M,), (M,), (M, 1), (1, M), (), (0,), (1,), (M - 1,), (M, 2), (2,),
]  # fmt: skip


def _kinds() -> dict[str, Any]:
    """What an array can be turned into, by name."""
    kinds: dict[str, Any] = {
        "plain": lambda a: a,
        "list": lambda a: a.tolist(),
        "tuple": lambda a: tuple(a.tolist()),
        "fortran": np.asfortranarray,
        "backwards": lambda a: a[::-1],
        "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
        "masked": lambda a: np.ma.array(a, mask=a == a.ravel()[0]),
        "matrix": np.asmatrix,
        "objects": lambda a: a.astype(object),
        "csr": scipy.sparse.csr_array,
        "coo": scipy.sparse.coo_matrix,
        "converts": odd.Converts,
        "iterator": lambda a: iter(a.tolist()),
        "strict": None,
    }
    try:
        import array_api_strict

        kinds["strict"] = array_api_strict.asarray
    except ImportError:
        del kinds["strict"]
    return kinds


_KINDS = _kinds()


@st.composite
def arrays(draw: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    """An array of one of these *shapes*, of whatever type and kind, of few different numbers."""
    shape, dtype = draw(st.sampled_from(shapes)), draw(st.sampled_from(_DTYPES))
    numbers = draw(st.lists(st.sampled_from(_NUMBERS), min_size=1, max_size=4))
    kind = draw(st.sampled_from(["plain", "plain", *_KINDS]))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        array = np.resize(numbers, shape)
        try:
            array = array.astype(dtype)
            return _KINDS[kind](array)
        except Exception:  # no such array
            return array


_GOOD_X = np.random.default_rng(0).standard_normal((M, N)).round(2)
_GOOD_Y = (_GOOD_X[:, 0] > 0).astype(int)
_of_the_table = st.sampled_from(
    [name for name in odd.INPUTS if "torch" not in name and name != "X-memory-map"]  # a file
)


def _odd(name: str, part: str) -> Any:
    return getattr(odd.INPUTS[name](Path()), part)


def good() -> dict[str, Any]:
    """Rows and labels that fit."""
    return {"X": _GOOD_X.copy(), "y": _GOOD_Y.copy()}


values = st.sampled_from(VALUES)
words = st.sampled_from(WORDS)
paths = st.sampled_from(PATHS)
rows = st.one_of(arrays(_ROWS), _of_the_table.map(lambda name: _odd(name, "X")), values)
labels = st.one_of(arrays(_LABELS), _of_the_table.map(lambda name: _odd(name, "y")), values)


def arguments(names: Sequence[str], most: int = 2, **special: Any) -> Any:
    """Some of these arguments by name, of the *special* strategy for each, or any value."""
    if not names:
        return st.just({})
    one = st.sampled_from(names).flatmap(
        lambda name: st.tuples(st.just(name), special.get(name, values))
    )
    return st.lists(one, min_size=1, max_size=most).map(dict)
