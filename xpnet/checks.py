"""What goes in, checked before any work: rows, labels, and whether they belong together."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import as_numpy, is_sparse, on_host
from .errors import InputError, real

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "check_X",
    "check_features",
    "check_finite",
    "check_labels",
    "check_lengths",
    "check_logits",
    "check_problem",
    "check_unchanged",
    "check_weights",
    "quiet",
    "same_classes",
    "sorted_labels",
    "weigh_classes",
]

_BLOCK = 2**20  # elements that check_finite looks at in one go


def check_problem(
    X: Any, y: Any, classes: Sequence[Any] | NDArray[Any] | None = None, *, both: bool = False
) -> tuple[Any, NDArray[np.int64], NDArray[Any]]:
    """Check rows and labels that belong together: `check_X`, `check_labels`, `check_lengths`.

    Returns X as an array where it lies, targets 0 and 1 on the host, and the pair of labels.
    """
    if getattr(X, "ndim", 2) == 1 and getattr(y, "ndim", 1) == 2:
        shapes = f"X of shape {tuple(X.shape)} and y of shape {tuple(y.shape)}"
        raise InputError(f"X: expected rows (m, n), and y (m,); got {shapes}; are they swapped?")
    X, y = check_X(X), _label_array(y)
    check_lengths(X, y)
    return X, *check_labels(y, classes, both=both)


def check_X(X: Any, name: str = "X") -> Any:  # noqa: N802 - a matrix has a capital
    """Return *X*, rows ``(m, n)`` of numbers or ``uint8`` pictures ``(m, h, w[, c])``, as an array.

    An array of any library stays what it is and where it is.  Raises `InputError`, which calls it
    *name*, for another shape or type, for no rows or columns, and for masked arrays.
    """
    sparse = is_sparse(X)
    X = X if sparse else _array(X, name)
    kind = getattr(X.dtype, "kind", "f")  # other libraries' dtypes are only of numbers
    shape = tuple(X.shape)
    if kind not in "biuf":
        raise InputError(
            f"{name}: expected numbers; got dtype {X.dtype} of shape {shape}; encode or convert "
            "them"
        )
    pictures = len(shape) in (3, 4) and not sparse and str(X.dtype).endswith("uint8")
    if len(shape) != 2 and not pictures:
        raise InputError(
            f"{name}: expected rows (m, n), or uint8 pictures (m, h, w) or (m, h, w, c); "
            f"got shape {shape} of {X.dtype}; reshape(m, -1) makes rows"
        )
    if 0 in shape:
        raise InputError(
            f"{name}: expected at least one row and column; got empty shape {shape}; give some"
        )
    return X.tocsr() if sparse else X


def check_features(
    X: Any, n_0: int, picture_shape: tuple[int, ...] | None = None, name: str = "X"
) -> None:
    """Raise `InputError` unless what `check_X` returned has *n_0* numbers in each row.

    Pictures must be of the *picture_shape* of training, where there is one.
    """
    shape = tuple(X.shape)
    if math.prod(shape[1:]) != n_0:
        hint = "is it transposed?" if shape[0] == n_0 else "give the features of training"
        raise InputError(
            f"{name}: expected rows of {n_0} features, shape (n_samples, {n_0}); "
            f"got shape {shape}; {hint}"
        )
    if len(shape) > 2 and picture_shape not in (None, shape[1:]):
        raise InputError(
            f"{name}: expected pictures of shape {picture_shape}, as in training; got shape "
            f"{shape}; resize them"
        )


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
        raise InputError(
            f"classes: expected two different labels; got {classes!r}; name each class once"
        )
    if len(found) == 1 and (both or classes is None):
        raise InputError(
            f"y: expected two classes; got one class only: {came}; add some of the other"
        )
    positive = y == pair[1]
    if len(pair) > 2 or not np.all(positive | (y == pair[0])):
        known = "two classes" if classes is None else f"only labels of {pair.tolist()}"
        raise InputError(f"y: expected {known}; got {came}; drop or join the others")
    return positive.astype(np.int64), pair


def same_classes(classes: Sequence[Any] | NDArray[Any] | None, known: NDArray[Any]) -> NDArray[Any]:
    """Return the two labels *known* to a network.

    Raises `InputError` where *classes*, if they are given, are others or in another order.
    """
    given = known.tolist() if classes is None else np.asarray(classes).tolist()
    if given != known.tolist():
        raise InputError(
            f"classes: expected those of the network, in its order, {known.tolist()}; got {given}; "
            "name them so, and number the labels by it"
        )
    return known


def check_logits(Z: NDArray[Any]) -> None:
    """Raise `InputError` where logits of finite rows are not finite."""
    bad = Z.size - np.count_nonzero(np.isfinite(Z))
    if bad:
        raise InputError(
            f"X: expected rows of which the network's sums are finite in {Z.dtype}; got {bad:,} of "
            "which they are not; bring the features to unit size, or train anew if the network's "
            "parameters are as large"
        )


def quiet() -> np.errstate:
    """Return a context in which NumPy does not warn of what overflows: its result is looked at."""
    return np.errstate(over="ignore", invalid="ignore")


def sorted_labels(classes: Any) -> NDArray[Any]:
    """Return the labels that *classes* names, each once."""
    check_unchanged(classes, "classes")
    labels = as_numpy(classes, "classes")
    try:
        return np.unique(labels)
    except TypeError as error:
        raise InputError(
            f"classes: expected two labels of one type; got {classes!r}; name each class once"
        ) from error


def check_unchanged(values: Any, name: str) -> None:
    """Raise `InputError` for what becomes something else when it is made a plain array.

    Those are masked arrays, whose mask is lost, and lists of text beside something else, which
    becomes text too.
    """
    if np.ma.isMaskedArray(values):
        raise InputError(
            f"{name}: expected a plain array, shape {np.shape(values)}; got a masked one; drop or "
            "fill it"
        )
    if isinstance(values, (list, tuple)) and any(isinstance(v, (str, bytes)) for v in values):
        _check_one_type(values, name)


def check_weights(sample_weight: Any, m: int) -> NDArray[np.float64]:
    """Return the weights of *m* examples on the host, in float64.

    Raises `InputError` unless they are m finite numbers of at least 0, not all of them 0.
    """
    weights = on_host(sample_weight, "sample_weight").astype(float)
    if weights.shape != (m,):
        raise InputError(
            f"sample_weight: expected shape ({m},), one weight an example; got {weights.shape}; "
            "reshape or complete it"
        )
    check_finite(weights, "sample_weight")
    if weights.min() < 0 or weights.max() == 0:
        came = f"{weights.min():g} to {weights.max():g}" if weights.any() else "all zero"
        raise InputError(
            "sample_weight: expected numbers of at least 0, some of them above; got "
            f"{came}; weigh by 0 what shall not count"
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
            factors[known.index(label)] = real(f"class_weight[{label!r}]", value, above=0.0)
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
            f"({X[place]}) at {words}, counting from 0; drop or fill them{_range(X[place])}"
        )


def _range(value: Any) -> str:
    """Say how far the type of *value* goes, if it may be too narrow for what was given."""
    if not np.isinf(value) or value.dtype.itemsize >= 8:
        return ""
    return f", or scale them: {value.dtype} goes up to {np.finfo(value.dtype).max:.1e}"


def _array(values: Any, name: str) -> Any:
    """Return an array of whatever library as it is, anything else as a NumPy array."""
    check_unchanged(values, name)
    if all(hasattr(values, word) for word in ("dtype", "shape", "ndim", "__len__")):
        return values
    array = as_numpy(values, name)
    if array.ndim == 0 and array.dtype.kind in "OSU":
        path = isinstance(values, (str, bytes, os.PathLike))
        came = repr(str(values))[:60] if path else f"a {type(values).__name__}"
        remedy = "load a file with xpnet.data.load" if path else "make it an array first"
        raise InputError(f"{name}: expected an array; got {came}; {remedy}")
    return array


def _label_array(y: ArrayLike) -> NDArray[Any]:
    """Return labels as a plain one-dimensional array of one type, none of them missing."""
    if is_sparse(y):
        raise InputError(
            f"y: expected labels of shape (m,); got a sparse array of shape {np.shape(y)}; "
            "y.toarray().ravel() makes it flat"
        )
    array = as_numpy(_array(y, "y"), "y")
    if array.ndim != 1 or not array.size:
        flat = max(array.shape, default=0) == array.size > 0
        hint = "y.ravel() makes it flat" if flat else "give one label for each row"
        raise InputError(f"y: expected labels of shape (m,); got {array.shape}; {hint}")
    if array.dtype.kind == "O":
        _check_one_type(array, "y")
        array = np.array(array.tolist())
    if array.dtype.kind not in "biufSUT":
        raise InputError(
            f"y: expected numbers, booleans, text or bytes; got {array.dtype} of shape "
            f"{array.shape}; name the two classes by one of those"
        )
    check_finite(array, "y")
    return array


def _check_one_type(labels: Any, name: str) -> None:
    kinds = Counter(type(label).__name__ for label in labels)
    if len(kinds) > 1:
        came = ", ".join(f"{n:,} × {kind}" for kind, n in kinds.items())
        raise InputError(f"{name}: expected labels of one type; got {came}; are some missing?")
