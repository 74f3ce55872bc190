"""What goes in, checked before any work: rows, labels, and whether they belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import from_dlpack_on_host, is_sparse, on_host
from .errors import InputError, real

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "check_X",
    "check_finite",
    "check_labels",
    "check_lengths",
    "check_problem",
    "check_weights",
    "weigh_classes",
]

_BLOCK = 2**20  # elements that check_finite looks at in one go


def check_problem(
    X: Any, y: Any, classes: Sequence[Any] | NDArray[Any] | None = None, *, both: bool = False
) -> tuple[Any, NDArray[np.int64], NDArray[Any]]:
    """Check rows and labels that belong together: `check_X`, `check_labels`, `check_lengths`.

    Returns X as an array where it lies, targets 0 and 1 on the host, and the pair of labels.
    """
    X, y = check_X(X), _label_array(y)
    check_lengths(X, y)
    return X, *check_labels(y, classes, both=both)


def check_X(X: Any, name: str = "X") -> Any:  # noqa: N802 - a matrix has a capital
    """Return *X*, rows ``(m, n)`` of numbers or ``uint8`` pictures ``(m, h, w[, c])``, as an array.

    An array of any library stays what it is and where it is.  Raises `InputError`, which calls it
    *name*, for another shape or type, for no rows or columns, and for masked arrays.
    """
    X = X.tocsr() if is_sparse(X) else _array(X, name)
    kind = getattr(X.dtype, "kind", "f")  # other libraries' dtypes are only of numbers
    if kind not in "biuf":
        raise InputError(f"{name}: expected numbers; got dtype {X.dtype}; encode or convert them")
    if X.ndim not in (2, 3, 4) or (X.ndim > 2 and not str(X.dtype).endswith("uint8")):
        raise InputError(
            f"{name}: expected rows (m, n), or uint8 pictures (m, h, w) or (m, h, w, c); "
            f"got shape {tuple(X.shape)} of {X.dtype}; reshape(m, -1) makes rows"
        )
    if 0 in X.shape:
        raise InputError(f"{name}: expected at least one number; got empty shape {tuple(X.shape)}")
    return X


def check_lengths(X: Any, y: Any, names: tuple[str, str] = ("X", "y")) -> None:
    """Raise `InputError`, which uses *names*, unless *X* has one row for each label of *y*."""
    m = X.shape[0] if is_sparse(X) else len(X)
    if m != len(y):
        turned = getattr(X, "shape", ())[1:] == (len(y),)
        hint = f"is {names[0]} transposed?" if turned else "give one label for each row"
        raise InputError(
            f"expected {names[0]} and {names[1]} of one length; got {m:,} rows and "
            f"{len(y):,} labels; {hint}"
        )


def check_labels(
    y: ArrayLike, classes: Sequence[Any] | NDArray[Any] | None = None, *, both: bool = True
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Map two labels of any kind to 0 and 1.

    Parameters
    ----------
    y : array-like of numbers, booleans, text or bytes, shape (m,)
    classes : sequence of two labels, optional
        Negative first; by default the labels in sorted order.
    both : bool
        Whether to refuse one class alone even where *classes* are given.

    Returns
    -------
    y01 : ndarray of int64, shape (m,)
    classes : ndarray, shape (2,)
        ``classes[y01]`` equals *y*.

    Raises
    ------
    InputError
        Another shape or type, NaN or infinity, or not exactly the two classes; the message says
        which labels came and how many of each.
    """
    y = _label_array(y)
    found, counts = np.unique(y, return_counts=True)
    came = ", ".join(f"{n:,} × {v!r}" for v, n in zip(found[:5].tolist(), counts, strict=False))
    came += f" and {len(found) - 5:,} more labels" * (len(found) > 5)
    pair = found if classes is None else np.asarray(classes)
    if classes is not None and (pair.shape != (2,) or pair[0] == pair[1]):
        raise InputError(f"classes: expected two different labels; got {classes!r}")
    if len(found) == 1 and (both or classes is None):
        raise InputError(
            f"y: expected two classes; got one class only: {came}; add some of the other"
        )
    positive = y == pair[1]
    if len(pair) > 2 or not np.all(positive | (y == pair[0])):
        known = "two classes" if classes is None else f"only labels of {pair.tolist()}"
        raise InputError(f"y: expected {known}; got {came}; drop or join the others")
    return positive.astype(np.int64), pair


def check_weights(sample_weight: Any, m: int) -> NDArray[np.float64]:
    """Return the weights of *m* examples on the host, in float64.

    Raises `InputError` unless they are m finite numbers of at least 0, not all of them 0.
    """
    weights = on_host(sample_weight, "sample_weight").astype(float)
    if weights.shape != (m,):
        raise InputError(
            f"sample_weight: expected shape ({m},), one weight an example; got {weights.shape}"
        )
    check_finite(weights, "sample_weight")
    if weights.min() < 0 or weights.max() == 0:
        came = f"{weights.min():g} to {weights.max():g}" if weights.any() else "all zero"
        raise InputError(
            f"sample_weight: expected numbers of at least 0, some of them above; got {came}"
        )
    return weights


def weigh_classes(
    y01: NDArray[np.int64],
    classes: NDArray[Any],
    class_weight: Any,
    pos_weight: float | None = None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64] | None:
    """Return the *weights* of examples, None for ones, times those of their classes.

    Parameters
    ----------
    y01 : ndarray of shape (m,)
        0 and 1.
    classes : ndarray of shape (2,)
        The labels.
    class_weight : {None, "balanced"} or mapping
        By label, 1 for one that is not there; "balanced" gives both classes half of the whole.
    pos_weight : float, optional
        That of the second class.
    weights : ndarray of shape (m,), optional

    Raises
    ------
    InputError
        If *class_weight* is none of those, or not of these classes.
    """
    if class_weight is None and pos_weight is None:
        return weights
    factors = np.array([1.0, 1.0 if pos_weight is None else pos_weight])
    if isinstance(class_weight, Mapping):
        known = classes.tolist()
        for label, value in class_weight.items():
            if label not in known:
                raise InputError(f"class_weight: expected labels of {known}; got {label!r}")
            factors[known.index(label)] = real(f"class_weight[{label!r}]", value, least=0.0)
    elif isinstance(class_weight, str) and class_weight == "balanced":
        sums = np.bincount(y01, weights, minlength=2)
        factors = np.divide(np.sum(sums), 2.0 * sums, out=np.ones(2), where=sums > 0)
    elif class_weight is not None:
        raise InputError(f"class_weight: expected None, 'balanced' or a dict; got {class_weight!r}")
    return factors[y01] if weights is None else factors[y01] * weights


def check_finite(X: NDArray[Any], name: str = "X") -> None:
    """Raise `InputError` where a host array holds NaN or infinity: how many, and where first.

    It looks at a few megabytes at a time, in row order.
    """
    if X.dtype.kind != "f":
        return
    flags: Any = ["buffered", "external_loop", "zerosize_ok"]
    bad, first, offset = 0, -1, 0
    for block in np.nditer(X, flags=flags, order="C", buffersize=_BLOCK):
        finite = np.isfinite(block)
        missing = finite.size - np.count_nonzero(finite)
        if missing and first < 0:
            first = offset + int(finite.argmin())
        bad, offset = bad + int(missing), offset + finite.size
    if bad:
        place = tuple(map(int, np.unravel_index(first, X.shape)))
        words = f"row {place[0]}, column {place[1]}" if X.ndim == 2 else f"index {place}"
        raise InputError(
            f"{name}: expected finite numbers; got {bad:,} NaN or infinite, the first "
            f"({X[place]}) at {words}, counting from 0; drop or fill them"
        )


def _array(values: Any, name: str) -> Any:
    """Return an array of whatever library as it is, anything else as a NumPy array."""
    if np.ma.isMaskedArray(values):
        raise InputError(f"{name}: expected a plain array; got a masked one; drop or fill it")
    is_array = hasattr(values, "__array__") or hasattr(values, "__dlpack__")
    if is_array and hasattr(values, "dtype"):
        return values
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as problem:  # lists of unequal lengths
        raise InputError(f"{name}: expected an array; got {problem}") from problem


def _label_array(y: ArrayLike) -> NDArray[Any]:
    """Return labels as a plain one-dimensional array of one type, none of them missing."""
    array = np.asarray(from_dlpack_on_host(_array(y, "y")))
    if isinstance(y, (list, tuple)) and array.dtype.kind in "US":
        array = np.array(y, object)  # NumPy would make text of whatever is beside text
    if array.ndim != 1 or not array.size:
        hint = "y.ravel() makes it flat" if array.size else "it is empty"
        raise InputError(f"y: expected labels of shape (m,); got {array.shape}; {hint}")
    if array.dtype.kind == "O":
        kinds = Counter(type(label).__name__ for label in array)
        if len(kinds) > 1:
            came = ", ".join(f"{n:,} × {kind}" for kind, n in kinds.items())
            raise InputError(f"y: expected labels of one type; got {came}; are some missing?")
        array = np.array(array.tolist())
    if array.dtype.kind not in "biufSUT":
        raise InputError(f"y: expected numbers, booleans, text or bytes; got {array.dtype}")
    check_finite(array, "y")
    return array
