"""The rows, labels and weights that `BinaryClassifier` is given, as scikit-learn checks them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import validate_data

from .arrays import CUDA, as_numpy, dlpack_device, from_dlpack_on_host, is_on_host, is_sparse
from .backend import Backend
from .checks import check_labels, check_lengths, check_unchanged, check_weights, check_X
from .errors import InputError

__all__ = ["Examples", "in_words", "pair_of", "read", "read_rows"]


class Examples(NamedTuple):
    """Rows where they lie, labels and weights on the host."""

    X: Any
    y: np.ndarray
    y01: np.ndarray
    weights: np.ndarray | None

    def take(self, indices: np.ndarray, backend: Backend) -> Examples:
        """Return those of these *indices*."""
        X = self.X
        with backend:
            X = X[indices if is_on_host(X) else backend.asarray(indices)]
        weights = None if self.weights is None else self.weights[indices]
        return Examples(X, self.y[indices], self.y01[indices], weights)


#: scikit-learn gets NumPy's arrays alone, and what it makes them of itself.
_plainly = config_context(array_api_dispatch=False)


@contextmanager
def in_words(names: str) -> Iterator[None]:
    """What an array of one's own raises where it is read is no error of scikit-learn's checks."""
    try:
        yield
    except (ValueError, TypeError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{names}: expected what NumPy can read; got what raised {type(error).__name__}: "
            f"{error}; make it an array first"
        ) from error


@_plainly
def read_rows(estimator: Any, X: Any, backend: Backend, *, reset: bool = False) -> Any:
    """Return rows *X* as scikit-learn checks them, or as the backend's own array of its device.

    Raises
    ------
    InputError
        A ``ValueError``, as those that scikit-learn raises: X cannot be used, or lies on a device
        that is not the backend's.
    """
    check_unchanged(X, "X")
    if is_on_host(X):
        X = from_dlpack_on_host(X, "X")
        with in_words("X"):
            return validate_data(estimator, X, accept_sparse="csr", reset=reset)
    X = check_X(X)
    if not backend.is_native(X) and not is_sparse(X):
        device = dlpack_device(X)
        if not backend.name.startswith("cupy") or device is None or device[0] != CUDA:
            raise InputError(
                f"X: expected rows on the host, or on the device of backend {backend.name}; got a "
                f"{type(X).__name__} on DLPack device {device}; move it, or choose its backend"
            )
        X = backend.asarray(X)
    if X.ndim != 2:
        raise InputError(f"X: expected rows (m, n); got shape {tuple(X.shape)}")
    if reset:
        estimator.n_features_in_ = X.shape[1]
    return X


@_plainly
def read(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    backend: Backend,
    *,
    classes: Any = None,
    reset: bool = False,
) -> tuple[Examples, np.ndarray]:
    """Return the examples, without those of weight 0, and the pair of labels.

    With *classes* one of them may be missing.
    """
    check_unchanged(X, "X")
    check_unchanged(y, "y")
    y = from_dlpack_on_host(y, "y")
    if is_on_host(X):
        X = from_dlpack_on_host(X, "X")
        with in_words("X and y"):
            X, y = validate_data(estimator, X, y, accept_sparse="csr", reset=reset)
    else:
        X = read_rows(estimator, X, backend, reset=reset)
    with in_words("y"):
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
    if kind != "binary":
        raise InputError(
            f"Only binary classification is supported. The type of the target is {kind}."
        )
    check_lengths(X, y)
    pair = None if classes is None else pair_of(classes)
    y01, pair = check_labels(y, pair, both=pair is None)
    weights = None if sample_weight is None else check_weights(sample_weight, len(y01))
    examples = Examples(X, np.asarray(y), y01, weights)
    if weights is not None and not weights.all():
        examples = examples.take(np.flatnonzero(weights), backend)
        if classes is None and examples.y01.min() == examples.y01.max():
            raise InputError(
                "sample_weight: expected weights above 0 in both classes; got them in one only"
            )
    return examples, pair


def pair_of(classes: Any) -> np.ndarray:
    """Return the labels that *classes* names, each once, sorted."""
    check_unchanged(classes, "classes")
    labels = as_numpy(classes, "classes")
    try:
        return np.unique(labels)
    except TypeError as error:
        raise InputError(
            f"classes: expected two labels of one type; got {classes!r}; name each class once"
        ) from error
