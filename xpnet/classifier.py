"""scikit-learn's contract: rows in, a transposed view inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from .arrays import as_kind_of, from_dlpack_on_host, in_words, on_host
from .backend import Backend
from .callbacks import CallbackSupportMixin, with_callbacks
from .fitting import fit, read_rows
from .formulas import softplus
from .initializers import RandomSource
from .losses import Loss
from .network import Network
from .optimizers import Optimizer
from .schedules import Schedule
from .training import Epoch
from .tuning import TuningMixin

__all__ = ["BinaryClassifier"]


class BinaryClassifier(CallbackSupportMixin, TuningMixin, ClassifierMixin, BaseEstimator):
    """A multi-layer perceptron for two classes, for scikit-learn, on NumPy or CuPy.

    Where a parameter is "auto", the `recipe` decides by the number of rows; ``recipe_`` tells what.
    It is a recipe for the solver "auto".  A solver that is named is used as scikit-learn uses it:
    at a constant rate of 0.001, in batches of 200 rows, for 200 epochs, or until the loss falls by
    less than 0.0001 for 10 epochs.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default "auto"
        Units of each hidden layer; ``()`` is logistic regression.
    activation : str or sequence of str, default "auto"
        One of `activations.ACTIVATIONS` for every hidden layer, or one for each.
    init : str, default "auto"
        One of `initializers.INITIALIZERS`, biases starting at zero; or "data", which draws
        "lecun_normal" weights and sets the biases by the rows: see `data_init`.
    dropout : float or sequence of float, default "auto"
        The share of each hidden layer's units that is dropped in a step.
    normalization : {None, "layer"}
    input_scale : bool, default "auto"
        Whether each feature has a learnt factor.
    scaling : {None, "standard", "robust", "robust_std", "max_abs"}, default "auto"
        Fitted to the training rows, and kept: see `preprocessing.fit_scaling`.
    loss : {"logistic", "focal", "squared_hinge"} or Loss
    label_smoothing : float
        ε in [0, 1).
    input_noise : float
        The standard deviation of what is added to scaled rows in every step.
    class_weight : {None, "balanced"} or dict
        Factors on the weights of the classes, by label.
    pos_weight : float, optional
        Instead of those, the factor of the second class.
    solver : str or Optimizer, default "auto"
        One of `optimizers.OPTIMIZERS`; or an `Optimizer`, which brings all its settings.
    learning_rate_init : float, default "auto"
    learning_rate : str, mapping or Schedule, default "auto"
        How the rate moves: one of `schedules.SCHEDULES`.
    rate_factors : None or mapping, default "auto"
        Factors on the rate for parts of the network: see `train`.
    alpha : float
        The L2 penalty, as scikit-learn has it.
    weight_decay : float, default "auto"
        Decoupled: weights fall by rate times this.
    clip_norm : float, optional
        The gradient's largest Euclidean norm.
    momentum, nesterovs_momentum, beta_1, beta_2, epsilon
        For the solvers that have them.
    average : float, default "auto"
        β of the moving average of all parameters that is predicted with; 0 takes none.
    batch_size : int or None, default "auto"
        Rows an update; None is all of them.
    max_iter : int, default "auto"
        Epochs, at most.
    shuffle : bool
        Whether batches are drawn in a new order every epoch.
    tol : float or None, default "auto"
        What counts as better, in early stopping; without it, training ends when the training loss
        gets no better, unless this is None or 0.
    n_iter_no_change : int, default "auto"
        How many epochs that are no better end it.
    early_stopping : bool, default "auto"
        Whether rows are held out, unless they are given, to find the epoch that is kept.
    validation_fraction : float
        The share of them, of each class.
    monitor : str or callable
        What is looked at: "loss", or a metric: see `metrics.get_metric`.
    max_seconds : float, optional
        No epoch begins after so much time.
    warm_start : bool
        Whether `fit` goes on where it stopped, for `max_iter` more epochs.
    random_state : int, Generator, RandomState or None
        Where the weights, the order of the rows and the held-out rows come from.
    precision : {"float32", "float64", "tf32", "bfloat16", "float16"}, default "auto"
        The last three are for CUDA devices: see `Network`.
    backend : str or Backend
        ``"numpy"``, ``"cupy"``, ``"cupy:1"``, or ``"auto"``: CuPy where a CUDA device answers.
    verbose : bool
        Whether to print the losses after each epoch.
    callbacks : callable or several, optional
        Called with an `Epoch` after each; training ends when one returns True.  scikit-learn's own
        callbacks are given to ``set_callbacks``.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels, sorted; ``classes_[1]`` is the positive one.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        If X had string column names.
    network_ : Network
    recipe_ : dict
        All parameters, with what "auto" became.
    history_ : History
        By epoch: ``"loss"``; with validation ``"val_loss"``, ``"val_accuracy"`` and the monitor.
    loss_curve_ : list of float
    loss_, best_loss_ : float
        The last and the least of them.
    validation_scores_ : list of float or None
        The monitor after each epoch; accuracy where that is the loss.
    best_validation_score_ : float or None
    n_iter_, t_ : int
        Epochs done, and rows seen in them.
    n_layers_, n_outputs_ : int
    out_activation_ : str
        ``"logistic"``.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from xpnet import BinaryClassifier
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> BinaryClassifier(random_state=0, backend="numpy").fit(X, y).score(X, y) > 0.95
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = "auto",
        activation: Any = "auto",
        *,
        init: str = "auto",
        dropout: Any = "auto",
        normalization: str | None = None,
        input_scale: bool | str = "auto",
        scaling: str | None = "auto",
        loss: str | Loss = "logistic",
        label_smoothing: float = 0.0,
        input_noise: float = 0.0,
        class_weight: str | Mapping[Any, float] | None = None,
        pos_weight: float | None = None,
        solver: str | Optimizer = "auto",
        learning_rate_init: float | str = "auto",
        learning_rate: str | Mapping[str, Any] | Schedule = "auto",
        rate_factors: str | Mapping[str, float] | None = "auto",
        alpha: float = 0.0,
        weight_decay: float | str = "auto",
        clip_norm: float | None = None,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float | str = "auto",
        epsilon: float = 1e-8,
        average: float | str = "auto",
        batch_size: int | str | None = "auto",
        max_iter: int | str = "auto",
        shuffle: bool = True,
        tol: float | str | None = "auto",
        n_iter_no_change: int | str = "auto",
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        monitor: str | Callable[..., Any] = "loss",
        max_seconds: float | None = None,
        warm_start: bool = False,
        random_state: RandomSource = None,
        precision: str = "auto",
        backend: str | Backend = "auto",
        verbose: bool = False,
        callbacks: Callable[[Epoch], object] | Iterable[Callable[[Epoch], object]] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.init = init
        self.dropout = dropout
        self.normalization = normalization
        self.input_scale = input_scale
        self.scaling = scaling
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.input_noise = input_noise
        self.class_weight = class_weight
        self.pos_weight = pos_weight
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.rate_factors = rate_factors
        self.alpha = alpha
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.average = average
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.monitor = monitor
        self.max_seconds = max_seconds
        self.warm_start = warm_start
        self.random_state = random_state
        self.precision = precision
        self.backend = backend
        self.verbose = verbose
        self.callbacks = callbacks

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        scaling = self.scaling  # sparse rows cannot be centred
        tags.input_tags.sparse = scaling is None or str(scaling) in ("auto", "max_abs")
        # tags.array_api_support stays False: scikit-learn has it promise that `predict` refuses
        # arrays of another library than `fit` had, and here any will do.  All else that it checks
        # of such arrays, ci/trials/estimator_checks checks too.
        return tags

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> BinaryClassifier:
        """Train on rows *X* and labels *y*.

        Ctrl-C ends training with a warning, and the classifier is fitted as far as it came.  If
        anything else does, such as a callback that raises, it is so too, with the epochs before.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            On the host, or on the device of the backend; C-ordered float rows of the network's
            dtype are not copied, unless they are scaled.
        y : array-like of shape (n_samples,)
            Two labels: booleans, whole numbers or text; scikit-learn refuses bytes and fractions.
        sample_weight : array-like of shape (n_samples,), optional
            Numbers of at least 0; rows of weight 0 are left out.
        X_val, y_val, sample_weight_val : array-like, optional
            What is looked at after every epoch, instead of rows that are held out.

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
        fit(self, X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return self

    @with_callbacks
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> BinaryClassifier:
        """Train for one more epoch, on these rows, which may be a part of all.

        So many calls with all rows equal ``fit`` with that ``max_iter``, a constant rate, and
        without early stopping.  The first call's rows decide on scaling and what else they do.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            See `fit`; validation rows are looked at in every call, or in none.
        classes : array-like of shape (2,), optional
            Both labels, if the first call does not have both.

        Returns
        -------
        self
        """
        validation = X_val, y_val, sample_weight_val
        fit(self, X, y, sample_weight, validation, partial=True, classes=classes)
        return self

    # --- predictions: of the kind of X, and where it lies -----------------------------------------

    def decision_function(self, X: Any) -> Any:
        """Return the logits of rows *X*, shape ``(n_samples,)``.

        Above zero means ``classes_[1]``, unless the threshold was tuned.  Host rows give a NumPy
        array; arrays of another library, on the host or on the backend's device, one of theirs.
        """
        net = self._fitted_network()
        return as_kind_of(X, net.decision_function(self._rows(X)))

    def predict_proba(self, X: Any) -> Any:
        """Return P(class) for rows *X*, shape ``(n_samples, 2)``, in the order of ``classes_``."""
        return as_kind_of(X, self._fitted_network().predict_proba(self._rows(X)))

    def predict_log_proba(self, X: Any) -> Any:
        """Return log P(class), finite wherever logits are, as `predict_proba` does."""
        net = self._fitted_network()
        z = net.decision_function(self._rows(X))
        with net.backend as backend:
            xp = np if isinstance(z, np.ndarray) else backend.xp
            log_p = xp.empty((z.shape[0], 2), dtype=z.dtype)
            log_p[:, 0], log_p[:, 1] = -softplus(xp, z), -softplus(xp, -z)
        return as_kind_of(X, log_p)

    def predict(self, X: Any) -> Any:
        """Return the label of each of the rows *X*, shape ``(n_samples,)``.

        ``classes_[1]`` where its probability is above the threshold.  Labels that are text are in a
        NumPy array always.
        """
        net = self._fitted_network()
        labels = net.predict(self._rows(X))
        if labels.dtype.kind not in "biuf" or isinstance(X, np.ndarray):
            return labels
        return as_kind_of(X, net.backend.asarray(labels) if net.backend.is_native(X) else labels)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy on rows *X* with labels *y*."""
        labels = self._fitted_network().predict(self._rows(X))
        weights = None if sample_weight is None else on_host(sample_weight, "sample_weight")
        with in_words("y"), config_context(array_api_dispatch=False):
            return float(accuracy_score(from_dlpack_on_host(y), labels, sample_weight=weights))

    # --- what is inside ---------------------------------------------------------------------------

    @property
    def coefs_(self) -> list[Any]:
        """Weights as scikit-learn shapes them, ``(n_in, n_out)``: transposed live views.

        They are of scaled features, where there is a scaling or ``network_.parameters["scale"]``.
        """
        return [W.T for W, _ in self._fitted_network().layers]

    @property
    def intercepts_(self) -> list[Any]:
        """Biases, shape ``(n_out,)`` each: live views."""
        return [b[:, 0] for _, b in self._fitted_network().layers]

    def _fitted_network(self) -> Network:
        check_is_fitted(self, "network_")
        net: Network = self.network_
        return net

    def _rows(self, X: Any) -> Any:
        return read_rows(self, X, self._fitted_network().backend)
