"""Odd inputs to `xpnet.train`, `Network.predict_proba` and `BinaryClassifier`.

`INPUTS` makes each by the name that it has in the table of docs/inputs.md, which says what becomes
of it; `tests/test_inputs_table.py` holds the table and what happens together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

M, N = 12, 4
ROWS = np.random.default_rng(0).standard_normal((M, N)).round(2)
LABELS = np.arange(M) % 2
NAMES = np.array(["no", "yes"])[LABELS]
PICTURES = np.arange(M * 6, dtype="uint8").reshape(M, 2, 3)


@dataclass(frozen=True)
class Odd:
    """One odd input.

    *like* is the plain ``(X, y)`` that it means, where it is accepted; *classes* are the labels
    that are learnt then.  *options* go to `train`, and *before* is what was trained on first.
    """

    X: Any = field(default_factory=ROWS.copy)
    y: Any = field(default_factory=LABELS.copy)
    like: tuple[Any, Any] = (ROWS, LABELS)
    classes: tuple[Any, Any] = (0, 1)
    options: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Any, Any] | None = None


class Converts:
    """An object that NumPy can make an array of, as it can of a DataFrame."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.values, dtype)


class Frame:
    """An object that offers the data frame exchange protocol, and nothing for NumPy."""

    def __dataframe__(self, **_: Any) -> Any:
        return self


class Breaks:
    """An object that promises an array and has none."""

    dtype, shape, ndim = np.dtype(float), (M, N), 2

    def __len__(self) -> int:
        return M

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise RuntimeError("the data are gone")


def _with(value: Any) -> Any:
    """X with *value* in row 3, column 2."""
    changed = ROWS.copy()
    changed[3, 2] = value
    return changed


def _sparse(values: Any, kind: str = "csr") -> Any:
    return getattr(scipy.sparse, f"{kind}_array")(values)


def _sparse_damaged() -> Any:
    """X with an index that leads out of it."""
    rows = _sparse(ROWS)
    rows.indices[5] = 99
    return rows


def _twice_stored() -> Any:
    """X where each number is stored as two halves, which add up."""
    rows, columns = np.indices(ROWS.shape).reshape(2, -1)
    places = (np.tile(rows, 2), np.tile(columns, 2))
    return scipy.sparse.coo_array((np.tile(ROWS.ravel() / 2, 2), places), ROWS.shape)


def _read_only() -> Any:
    rows = ROWS.copy()
    rows.flags.writeable = False
    return rows


def _map(folder: Path) -> Any:
    np.save(folder / "rows.npy", ROWS)
    return np.load(folder / "rows.npy", mmap_mode="r")


def _tensor(values: Any, **options: Any) -> Any:
    import torch

    return torch.tensor(values, **options)


def _bfloat16() -> Any:
    import torch

    return torch.tensor(ROWS).to(torch.bfloat16)


def _dated(unit: str) -> Any:
    return LABELS.astype(unit)


def _y(y: Any, classes: tuple[Any, Any] = (0, 1)) -> Callable[[Path], Odd]:
    """Plain rows with these labels."""
    return lambda _: Odd(y=y, classes=classes)


def _x(rows: Callable[[], Any], like: Any = ROWS) -> Callable[[Path], Odd]:
    """These rows, which mean those that they are *like*, with plain labels."""
    return lambda _: Odd(rows(), like=(like, LABELS))


def _options(**options: Any) -> Callable[[Path], Odd]:
    return lambda _: Odd(options=options)


def _weights(weights: Any) -> Callable[[Path], Odd]:
    return _options(sample_weight=weights)


_flat = PICTURES.reshape(M, -1)
_scaled = _flat.astype("float32") / np.float32(255)
_records = np.zeros(M, [("a", float), ("b", float)])

INPUTS: dict[str, Callable[[Path], Odd]] = {
    # the shape of X
    "X-transposed": _x(lambda: ROWS.T),
    "X-1d": _x(lambda: ROWS[:, 0]),
    "X-scalar": _x(lambda: 1.0),
    "X-0-rows": lambda _: Odd(ROWS[:0], LABELS[:0]),
    "X-1-row": lambda _: Odd(ROWS[:1], LABELS[:1], like=(ROWS[:1], LABELS[:1])),
    "X-0-columns": _x(lambda: ROWS[:, :0]),
    "X-3-features": _x(lambda: ROWS[:, :3]),
    "X-3d-float": _x(lambda: ROWS.reshape(M, 2, 2)),
    "X-5d-uint8": _x(lambda: np.zeros((M, 1, 2, 2, 1), "uint8")),
    "X-pictures": _x(lambda: PICTURES, _scaled),
    "X-uint8-rows": _x(lambda: _flat, _flat.astype(float)),
    "X-pictures-of-another-size": lambda _: Odd(
        PICTURES.reshape(M, 3, 2), before=(PICTURES, LABELS), options={"warm_start": True}
    ),
    "X-duplicated-columns": _x(lambda: ROWS[:, [0, 0, 1, 1]], ROWS[:, [0, 0, 1, 1]].copy()),
    "X-constant-columns": _x(lambda: np.ones_like(ROWS), np.ones((M, N))),
    "X-y-swapped": lambda _: Odd(LABELS, ROWS),
    # the type of X
    "X-float16": _x(lambda: ROWS.astype("float16"), ROWS.astype("float16").astype(float)),
    "X-longdouble": _x(lambda: ROWS.astype(np.longdouble)),
    "X-big-endian": _x(lambda: ROWS.astype(">f8")),
    "X-boolean": _x(lambda: ROWS > 0, (ROWS > 0).astype(float)),
    "X-complex": _x(lambda: ROWS + 0j),
    "X-text": _x(lambda: np.full((M, N), "a")),
    "X-numeric-text": _x(lambda: ROWS.astype(str)),
    "X-objects": _x(lambda: ROWS.astype(object)),
    "X-dates": _x(lambda: np.zeros((M, N), "datetime64[s]")),
    "X-durations": _x(lambda: np.zeros((M, N), "timedelta64[s]")),
    "X-structured": _x(lambda: _records),
    # the numbers in X
    "X-nan": _x(lambda: _with(np.nan)),
    "X-infinite": _x(lambda: _with(-np.inf)),
    "X-1e300": _x(lambda: _with(1e300)),
    "X-masked": _x(lambda: np.ma.array(ROWS, mask=ROWS > 1.0)),
    "X-masked-nowhere": _x(lambda: np.ma.array(ROWS)),
    "X-masked-in-a-list": _x(lambda: list(np.ma.array(ROWS, mask=ROWS > 1.0))),
    # the memory of X
    "X-read-only": _x(_read_only),
    "X-fortran": _x(lambda: np.asfortranarray(ROWS)),
    "X-negative-strides": _x(lambda: ROWS[::-1, ::-1].copy()[::-1, ::-1]),
    "X-memory-map": lambda folder: Odd(_map(folder)),
    # what X is
    "X-lists": lambda _: Odd(ROWS.tolist(), LABELS.tolist()),
    "X-ragged": _x(lambda: [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0]] * 6),
    "X-csr": _x(lambda: _sparse(ROWS)),
    "X-coo-duplicates": _x(_twice_stored, _sparse(ROWS)),
    "X-sparse-nan": _x(lambda: _sparse(_with(np.nan))),
    "X-sparse-damaged": _x(_sparse_damaged),
    "X-sparse-complex": _x(lambda: _sparse(ROWS + 0j)),
    "X-sparse-3d": _x(lambda: _sparse(ROWS.reshape(M, 2, 2), "coo")),
    "X-converts": lambda _: Odd(Converts(ROWS), Converts(LABELS)),
    "X-data-frame": _x(Frame),
    "X-breaks": _x(Breaks),
    "X-torch": lambda _: Odd(_tensor(ROWS), _tensor(LABELS)),
    "X-torch-gradient": _x(lambda: _tensor(ROWS, requires_grad=True)),
    "X-torch-bfloat16": _x(_bfloat16),
    "X-generator": _x(lambda: (row for row in ROWS)),
    "X-path": _x(lambda: "train.h5"),
    "X-none": _x(lambda: None),
    # the shape of y
    "y-column": _y(LABELS[:, None]),
    "y-row": _y(LABELS[None, :]),
    "y-one-hot": _y(np.eye(2)[LABELS]),
    "y-scalar": _y(1),
    "y-of-one": _y(LABELS[:1]),
    "y-short": _y(LABELS[:-1]),
    "y-sparse": _y(_sparse(LABELS[:, None])),
    "y-none": _y(None),
    "y-breaks": _y(Breaks()),
    # the labels in y
    "y-one-class": _y(np.zeros(M, int)),
    "y-three-classes": _y(np.arange(M) % 3),
    "y-probabilities": _y(np.linspace(0.0, 1.0, M)),
    "y-nan": _y(np.where(LABELS, 1.0, np.nan)),
    "y-infinite": _y(np.where(LABELS, 1.0, np.inf)),
    "y-with-none": _y([0, None] * 6),
    "y-mixed-list": _y([0, "1"] * 6),
    "y-mixed-objects": _y(np.array([0, "1"] * 6, object)),
    "y-text-and-nan": _y(["no", float("nan")] * 6),
    "y-masked": _y(np.ma.array(LABELS, mask=ROWS[:, 0] > 1.0)),
    "y-complex": _y(LABELS + 0j),
    "y-dates": _y(_dated("datetime64[D]")),
    "y-durations": _y(_dated("timedelta64[D]")),
    "y-structured": _y(_records),
    "y-text": _y(NAMES, ("no", "yes")),
    "y-numeric-text": _y(LABELS.astype(str), ("0", "1")),
    "y-objects": _y(NAMES.astype(object), ("no", "yes")),
    "y-bytes": _y(NAMES.astype("S"), (b"no", b"yes")),
    "y-boolean": _y(LABELS == 1, (False, True)),
    "y-signs": _y(2 * LABELS - 1, (-1, 1)),
    "y-float": _y(LABELS.astype(float), (0.0, 1.0)),
    "y-halves": _y(LABELS / 2, (0.0, 0.5)),
    "y-big-endian": _y(LABELS.astype(">i8")),
    # the other arguments of train
    "weights-ones": _weights(np.ones(M)),
    "weights-negative": _weights(np.linspace(-1.0, 1.0, M)),
    "weights-short": _weights(np.ones(M - 1)),
    "weights-column": _weights(np.ones((M, 1))),
    "weights-zero": _weights(np.zeros(M)),
    "weights-nan": _weights(np.full(M, np.nan)),
    "weights-1e300": _weights(np.full(M, 1e300)),
    "weights-of-one-class": _weights(LABELS),
    "validation-unknown-class": _options(validation_data=(ROWS, LABELS + 1)),
    "validation-3-features": _options(validation_data=(ROWS[:, :3], LABELS)),
    "validation-no-pair": _options(validation_data=ROWS),
    "classes-in-another-order": lambda _: Odd(
        before=(ROWS, LABELS), options={"warm_start": True, "classes": (1, 0)}
    ),
    "classes-of-another-type": _options(classes=("0", "1")),
    "classes-complex": _options(classes=(0j, 1j)),
    "classes-equal": _options(classes=(1, 1)),
}
