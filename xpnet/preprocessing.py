"""Features brought to about unit size: fitted on the host to the training rows, and to them alone.

The statistics are saved with the model; `Scaling.apply` is one elementwise expression, computed
where the network's data lie.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import on_host
from .checks import check_finite, check_weights
from .errors import InputError, known
from .formulas import Array, Formula, Xp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["SCALERS", "Scaling", "fit_scaling"]

_CHUNK = 2**20  # bytes that are looked at in one go
_ROWS_FOR_QUANTILES = 100_000
_LARGEST_FACTOR = float(np.finfo(np.float32).max)
_NORMAL_QUARTILES = 1.3489795003921634  # how far those of a normal distribution are apart
_FAR = 1e9  # from here on the clipped value is the bound; its square is finite in float32 too


@dataclass(frozen=True, eq=False)
class Scaling:
    """What brings each feature to about unit size: ``(x - center) · scale``, then clipped or not.

    Attributes
    ----------
    name : str
        The row of `SCALERS` that it was fitted by.
    center, scale : ndarray of float64, shape (n,)
        *scale* is a factor; 0 makes a feature 0.
    clip : float or None
        The bound c of the smooth clipping ``x/√(1 + (x/c)²)``, which leaves small x as they are.
    """

    name: str
    center: Floats
    scale: Floats
    clip: float | None

    def apply(self, xp: Xp, X: Array, center: Array, scale: Array) -> Array:
        """Return *X* scaled, a pure expression.

        *center* and *scale* are the attributes in the dtype and on the device of X: of shape
        ``(1, n)`` for rows ``(m, n)``, of shape ``(n, 1)`` for columns ``(n, m)``.  What was finite
        in training stays finite, up to half of the largest number of the dtype.
        """
        scaled = (X - center) * scale
        if self.clip is None:
            return scaled
        near = xp.maximum(xp.minimum(scaled, _FAR), -_FAR)
        part = near / self.clip
        return near / xp.sqrt(1.0 + part * part)

    @functools.cached_property
    def formula(self) -> Formula:
        """`apply`, in the place of X: compiled, it takes no memory of the size of X."""
        return Formula(self.apply, ("X",))


def fit_scaling(name: str, X: Any, sample_weight: Any = None) -> Scaling:
    """Fit a scaling to training rows.

    ``"standard"``
        The mean becomes 0, the standard deviation (of the population) 1.  A constant feature
        becomes 0, and keeps its unit, as in scikit-learn.
    ``"robust"``
        The median becomes 0, the distance of the quartiles 1; where they coincide, as in most
        columns of a one-hot encoding, half the distance of the extremes.  A constant feature
        becomes 0 whatever comes later.  Then smooth clipping at ±3.  Quartiles are those of the
        averaged inverted distribution function, of at most 100,000 evenly spaced rows.
        From RealMLP (Holzmüller, Grinsztajn & Steinwart, NeurIPS 2024, on preprocessing).
    ``"robust_std"``
        The same in units of the standard deviation: the median becomes 0, the distance of the
        quartiles 1.349, which is a normal distribution's; where they coincide, the mean becomes 0
        and the standard deviation 1.
    ``"max_abs"``
        The largest absolute value becomes 1; zeros stay zeros.

    Integer weights give what repeated rows give (the quantiles to the last bit, while all rows are
    looked at), and weight 0 gives what absence gives.

    Parameters
    ----------
    name : {"standard", "robust", "robust_std", "max_abs"}
    X : array of shape (m, n), or SciPy sparse for ``"max_abs"``
        Training rows in any memory order; dense ones are copied only to leave out weight 0.
    sample_weight : array of shape (m,), optional
        Numbers of at least 0.

    Raises
    ------
    InputError
        If there is no such scaling, X is not rows of finite numbers, the weights do not fit, or X
        is sparse and would have to be centred.
    """
    fit, clip = known("scaling", name, SCALERS)
    X = _sparse_rows(name, X) if hasattr(X, "tocsr") else on_host(X, "X")
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"X: expected rows, shape (m, n); got shape {X.shape}")
    weights = None if sample_weight is None else check_weights(sample_weight, X.shape[0])
    if weights is not None and not weights.all():
        X, weights = X[weights > 0], weights[weights > 0]
    low, high = _extremes(X)
    with np.errstate(over="ignore", under="ignore"):  # factors are held below infinity
        center, scale = fit(X, weights, low, high)
        return Scaling(name, center, np.minimum(scale, _LARGEST_FACTOR), clip)


def _standard(X: Array, weights: Floats | None, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    unit = _unit(low, high)
    mean = _mean(X, weights, lambda x: x * unit) / unit
    mean = np.clip(mean, low, high)  # a constant's mean is the constant, in spite of rounding
    variance = _mean(X, weights, lambda x: (x * unit - mean * unit) ** 2)
    constant = variance == 0.0
    return mean, np.where(constant, 1.0, unit / np.sqrt(np.where(constant, 1.0, variance)))


def _robust(X: Array, weights: Floats | None, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    unit = _unit(low, high)
    first, median, third = _quartiles(X, weights, unit)
    distance, half_range = third - first, (high * unit - low * unit) / 2.0
    spread = np.where(distance > 0.0, distance, half_range)
    constant = spread == 0.0
    return median / unit, np.where(constant, 0.0, unit / np.where(constant, 1.0, spread))


def _max_abs(X: Array, weights: Floats | None, low: Floats, high: Floats) -> tuple[Floats, Floats]:  # noqa: ARG001
    largest = np.maximum(np.abs(low), np.abs(high))
    empty = largest == 0.0
    return np.zeros_like(low), np.where(empty, 1.0, 1.0 / np.where(empty, 1.0, largest))


def _robust_std(
    X: Array, weights: Floats | None, low: Floats, high: Floats
) -> tuple[Floats, Floats]:
    unit = _unit(low, high)
    first, median, third = _quartiles(X, weights, unit)
    deviation = (third - first) / _NORMAL_QUARTILES
    flat = deviation == 0.0
    mean, factor = _standard(X, weights, low, high)
    factor = np.where(low == high, 0.0, factor)
    center = np.where(flat, mean, median / unit)
    return center, np.where(flat, factor, unit / np.where(flat, 1.0, deviation))


#: How a scaling is fitted, ``(X, weights, min, max) -> (center, scale)``, and where it is clipped.
SCALERS: dict[str, tuple[Callable[..., tuple[Floats, Floats]], float | None]] = {
    "standard": (_standard, None),
    "robust": (_robust, 3.0),
    "robust_std": (_robust_std, 3.0),
    "max_abs": (_max_abs, None),
}


def _sparse_rows(name: str, X: Any) -> Any:
    if name != "max_abs":
        raise InputError(
            f'X: expected dense rows for the scaling "{name}", because centring would fill a '
            'sparse matrix; got a sparse one; take "max_abs", or X.toarray()'
        )
    return X.tocsr()


def _extremes(X: Array) -> tuple[Floats, Floats]:
    """The least and the greatest value of each column, once all are known to be finite."""
    sparse = hasattr(X, "tocsr")
    found = (X.min(axis=0), X.max(axis=0))
    low, high = (np.asarray(a.toarray().ravel() if sparse else a, dtype=float) for a in found)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        check_finite(X.data, "X.data") if sparse else check_finite(X)
    return low, high


def _unit(low: Floats, high: Floats) -> Floats:
    """The power of two that brings a column near 1, so that no sum or square leaves float64."""
    _, exponent = np.frexp(np.maximum(np.abs(low), np.abs(high)))
    return np.asarray(np.ldexp(1.0, -np.clip(exponent, -1000, 1000)))


def _mean(X: Array, weights: Floats | None, of: Callable[[Array], Floats]) -> Floats:
    """The weighted mean over the rows of what *of* makes of them, in float64."""
    m, n = X.shape
    total, step = np.zeros(n), max(1, _CHUNK // (8 * n))
    w = np.ones(m) if weights is None else weights
    for start in range(0, m, step):
        part = slice(start, start + step)
        values = of(X[part])
        total += np.sum(values if weights is None else w[part, None] * values, axis=0)
    return total / np.sum(w)


def _quartiles(X: Array, weights: Floats | None, unit: Floats) -> Floats:
    """The three quartiles of each column times its *unit*, shape (3, n).

    Where the distribution function is q between two values, the quantile is halfway between them;
    elsewhere the least value at which it is above q.
    """
    every = -(-X.shape[0] // _ROWS_FOR_QUANTILES)
    X, weights = X[::every], None if weights is None else weights[::every]
    (m, n), at = X.shape, np.array([0.25, 0.5, 0.75])
    reached, quartiles = np.arange(1.0, m + 1.0), np.empty((3, n))
    width = max(1, _CHUNK // (m * X.dtype.itemsize))
    for start in range(0, n, width):
        columns = np.array(X[:, start : start + width].T, order="C")
        if weights is None:
            columns.sort(axis=1)
        for j, column in enumerate(columns, start):
            if weights is not None:
                order = np.argsort(column)
                column, reached = column[order], np.cumsum(weights[order])
            low, high = (
                column[np.searchsorted(reached, at * reached[-1], side)] * unit[j]
                for side in ("left", "right")
            )
            quartiles[:, j] = (low + high) / 2.0
    return quartiles
