"""scikit-learn's contract: rows in, a transposed view inside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from .arrays import from_dlpack_on_host, is_on_host
from .backend import Backend
from .checks import check_unchanged, check_X
from .errors import InputError
from .initializers import RandomSource, check_random_state, draw_seed
from .network import Network
from .optimizers import Optimizer, get_optimizer
from .training import Epoch, train

__all__ = ["BinaryClassifier"]

_OWN_NAMES = {
    "optimizer": "solver",
    "epochs": "max_iter",
    "learning_rate": "learning_rate_init",
    "schedule": "learning_rate",
}


class BinaryClassifier(ClassifierMixin, BaseEstimator):
    """A multi-layer perceptron for two classes, for scikit-learn, on NumPy or CuPy.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default (100,)
        Units of each hidden layer; ``()`` is logistic regression.
    activation : str or sequence of str, default "relu"
        ``"relu"``, ``"leaky_relu"``, ``"tanh"``, ``"sigmoid"`` or ``"linear"``; one for every
        hidden layer, or one for each.
    init : {"he", "xavier", "random"}, default "he"
        See `Network`.
    solver : {"adam", "sgd"} or Optimizer, default "adam"
        An `Optimizer` brings its own rate and schedule.
    learning_rate_init : float, default 0.001
    learning_rate : {"constant", "linear", "cosine"}, default "constant"
        The schedule.
    batch_size : int, "auto" or None, default "auto"
        Rows an update; "auto" is ``min(200, n_samples)``, None is all of them.
    max_iter : int, default 200
        Epochs.
    shuffle : bool, default True
        Whether batches are drawn in a new order every epoch.
    random_state : int, Generator, RandomState or None, default None
        Where the weights and the order of the rows come from.
    precision : {"float32", "float64", "tf32", "bfloat16", "float16"}, default "float32"
        The last three are for CUDA devices: see `Network`.
    backend : str or Backend, default "auto"
        ``"numpy"``, ``"cupy"``, ``"cupy:1"``, or ``"auto"``: CuPy where a CUDA device answers.
    verbose : bool, default False
        Whether to print the loss after each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels, sorted; ``classes_[1]`` is the positive one.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        If X had string column names.
    network_ : Network
    loss_curve_ : list of float
        The mean loss of each epoch.
    loss_ : float
        The last of them.
    n_iter_, n_layers_, n_outputs_ : int
    out_activation_ : str
        ``"logistic"``.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from xpnet import BinaryClassifier
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> classifier = BinaryClassifier((20,), max_iter=300, random_state=0, backend="numpy")
    >>> classifier.fit(X, y).score(X, y) > 0.95
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        init: str = "he",
        solver: str | Optimizer = "adam",
        learning_rate_init: float = 0.001,
        learning_rate: str = "constant",
        batch_size: int | str | None = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: RandomSource = None,
        precision: str = "float32",
        backend: str | Backend = "auto",
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.init = init
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.precision = precision
        self.backend = backend
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: Any) -> BinaryClassifier:
        """Train on rows *X* and labels *y*.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            On the host, or on the device of the backend; C-ordered float rows of ``dtype`` are
            not copied.
        y : array-like of shape (n_samples,)
            Two labels: booleans, whole numbers or text; scikit-learn refuses bytes and fractions.

        Returns
        -------
        self

        Raises
        ------
        InputError
            A ``ValueError``: an argument cannot be used; nothing has been trained.
        TrainingDiverged
            If the loss became non-finite.
        """
        X, y = self._validated(X, y)
        with _own_names():
            return self._fit(X, y)

    def _fit(self, X: Any, y: Any) -> BinaryClassifier:
        rng = check_random_state(self.random_state)
        net = Network(
            (X.shape[1], *self._hidden_sizes(), 1),
            self.activation,
            init=self.init,
            precision=self.precision,
            backend=self.backend,
            random_state=rng,
        )
        history = train(
            net,
            X,
            y,
            optimizer=self._optimizer(),
            epochs=self.max_iter,
            batch_size=self._batch_size(X.shape[0]),
            shuffle=self.shuffle,
            seed=draw_seed(rng),
            callback=_print_loss if self.verbose else None,
        )
        self.network_, self.classes_ = net, net.classes_
        self.loss_curve_, self.loss_ = history["loss"], history["loss"][-1]
        self.n_iter_, self.n_layers_ = len(self.loss_curve_), net.depth + 1
        self.n_outputs_, self.out_activation_ = 1, "logistic"
        return self

    def decision_function(self, X: Any) -> Any:
        """Return the logits of rows *X*, shape ``(n_samples,)``; positive means ``classes_[1]``.

        Host rows give a NumPy array, device rows a device array.
        """
        return self._fitted_network().decision_function(self._rows(X))

    def predict_proba(self, X: Any) -> Any:
        """Return P(class) for rows *X*, shape ``(n_samples, 2)``, in the order of ``classes_``."""
        return self._fitted_network().predict_proba(self._rows(X))

    def predict(self, X: Any) -> Any:
        """Return the more probable label of each of the rows *X*, shape ``(n_samples,)``."""
        return self._fitted_network().predict(self._rows(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on rows *X* with labels *y*."""
        return float(super().score(X, from_dlpack_on_host(y), sample_weight))

    @property
    def coefs_(self) -> list[Any]:
        """Weights as scikit-learn shapes them, ``(n_in, n_out)``: transposed live views."""
        return [W.T for W, _ in self._fitted_network().layers]

    @property
    def intercepts_(self) -> list[Any]:
        """Biases, shape ``(n_out,)`` each: live views."""
        return [b[:, 0] for _, b in self._fitted_network().layers]

    def _fitted_network(self) -> Network:
        check_is_fitted(self, "network_")
        return self.network_

    def _hidden_sizes(self) -> tuple[Any, ...]:
        sizes = self.hidden_layer_sizes
        hidden = tuple(sizes) if np.iterable(sizes) else (sizes,)
        if not all(isinstance(n, (int, np.integer)) and n > 0 for n in hidden):
            raise InputError(f"hidden_layer_sizes: expected positive integers; got {sizes!r}")
        return hidden

    def _batch_size(self, n_samples: int) -> Any:
        return min(200, n_samples) if self.batch_size == "auto" else self.batch_size

    def _optimizer(self) -> Optimizer:
        if isinstance(self.solver, Optimizer):
            return self.solver
        return get_optimizer(
            self.solver, learning_rate=self.learning_rate_init, schedule=self.learning_rate
        )

    def _validated(self, X: Any, y: Any) -> tuple[Any, Any]:
        if not is_on_host(X):
            self.n_features_in_ = check_X(X).shape[1]
            return X, y
        check_unchanged(X, "X")
        check_unchanged(y, "y")
        X, y = validate_data(self, from_dlpack_on_host(X, "X"), from_dlpack_on_host(y, "y"))
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind != "binary":
            raise InputError(
                f"Only binary classification is supported. The type of the target is {kind}."
            )
        return X, y

    def _rows(self, X: Any) -> Any:
        check_unchanged(X, "X")
        if not is_on_host(X):
            return X
        return validate_data(self, from_dlpack_on_host(X, "X"), reset=False)


@contextlib.contextmanager
def _own_names() -> Iterator[None]:
    """Let errors call the parameters what scikit-learn does, and not what `Network` does."""
    try:
        yield
    except InputError as error:
        name, colon, rest = str(error).partition(":")
        if name not in _OWN_NAMES:
            raise
        raise InputError(f"{_OWN_NAMES[name]}{colon}{rest}") from error


def _print_loss(epoch: Epoch) -> None:
    print(f"Iteration {epoch.number}, loss = {epoch.history['loss'][-1]:.8f}")
