"""What `BinaryClassifier` does between its rows and labels and `train`."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import validate_data

from .arrays import (
    CUDA,
    dlpack_device,
    from_dlpack_on_host,
    in_words,
    is_on_host,
    is_sparse,
)
from .backend import Backend, get_backend
from .callbacks import Tasks, print_epoch
from .checks import (
    check_labels,
    check_lengths,
    check_unchanged,
    check_weights,
    check_X,
    sorted_labels,
    weigh_classes,
)
from .data_init import initialize_from_rows
from .errors import InputError, several
from .initializers import check_random_state, draw_seed
from .metrics import get_metric
from .network import Network
from .preprocessing import fit_scaling
from .recipe import choose, count_rows, renamed
from .training import EarlyStopping, train

__all__ = ["Examples", "fit", "read", "read_rows"]

#: What parts of the package call parameters of the classifier.
_NAMES = {"epochs": "max_iter", "callback": "callbacks", "patience": "n_iter_no_change",
          "metric": "monitor", "min_delta": "tol"}  # fmt: skip


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
    pair = None if classes is None else sorted_labels(classes)
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


def fit(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    validation: tuple[Any, Any, Any] = (None, None, None),
    *,
    partial: bool = False,
    classes: Any = None,
) -> None:
    """Train *estimator* on these examples, and give it its fitted attributes."""
    with renamed(_NAMES):
        job = _Job(estimator, partial)
        job.prepare(X, y, sample_weight, validation, classes)
        job.go()


class _Job:
    """One call of ``fit`` or ``partial_fit``."""

    def __init__(self, estimator: Any, partial: bool) -> None:
        self.estimator, self.partial = estimator, partial
        self.backend = get_backend(estimator.backend)
        fitted = hasattr(estimator, "network_")
        self.old: Network | None = None
        if fitted and (partial or estimator.warm_start):
            self.old = estimator.network_
            self.backend = self.old.backend
        self.seen = getattr(estimator, "t_", 0) if self.old is not None else 0

    def prepare(self, X: Any, y: Any, sample_weight: Any, validation: Any, classes: Any) -> None:
        """Check all that is given, choose what is not, and make the network."""
        estimator, backend, old = self.estimator, self.backend, self.old
        if self.partial and old is not None:
            classes = self._classes_as_before(classes)
        examples, pair = read(
            estimator, X, y, sample_weight, backend, classes=classes, reset=old is None
        )
        if old is not None and not np.array_equal(pair, old.classes_):
            raise InputError(
                "warm_start can only be used where `self.classes_` is the same as in the previous "
                f"call to fit. Previously got {old.classes_}, `y` has {pair}"
            )
        n = count_rows(examples.weights, len(examples.y01))
        given = estimator.get_params(deep=False)
        self.pair = pair
        self.chosen = chosen = choose(
            given, n, examples.X.shape[1], sparse=is_sparse(examples.X), partial=self.partial
        )
        self.metrics, monitor, self.score = _watched(chosen["monitor"])
        examples = self._weighed(examples)
        rng = check_random_state(estimator.random_state)
        self.net = self._network(examples.X.shape[1], rng) if old is None else self._same_network()
        last = None if old is None else old.training
        self.seed, self.first = (draw_seed(rng), 0) if last is None else (last.seed, last.epoch)
        self.validation, self.examples = self._validation(validation, examples)
        self.stopping = self._stopping(monitor)
        if old is None:
            self._start_from_data(rng)

    def _classes_as_before(self, classes: Any) -> np.ndarray:
        before: np.ndarray = self.estimator.classes_
        if classes is not None and not np.array_equal(sorted_labels(classes), before):
            raise InputError(
                f"classes: `classes={classes!r}` is not the same as on last call to partial_fit, "
                f"was: {before}"
            )
        return before

    def _weighed(self, examples: Examples) -> Examples:
        weights = weigh_classes(
            examples.y01,
            self.pair,
            self.chosen["class_weight"],
            self.chosen["pos_weight"],
            examples.weights,
        )
        return examples._replace(weights=weights)

    def _sizes(self, n_features: int) -> tuple[int, ...]:
        return n_features, *self.chosen["hidden_layer_sizes"], 1

    def _network(self, n_features: int, rng: Any) -> Network:
        chosen = self.chosen
        init = chosen["init"]
        return Network(
            self._sizes(n_features),
            chosen["activation"],
            init="lecun_normal" if isinstance(init, str) and init == "data" else init,
            dropout=chosen["dropout"],
            normalization=chosen["normalization"],
            input_scale=chosen["input_scale"],
            precision=chosen["precision"],
            backend=self.backend,
            random_state=rng,
        )

    def _same_network(self) -> Network:
        net = self.old
        assert net is not None
        sizes = self._sizes(net.layer_sizes[0])
        if net.layer_sizes != sizes:
            raise InputError(
                "hidden_layer_sizes: expected those of the fitted network to go on with, "
                f"{net.layer_sizes[1:-1]}; got {sizes[1:-1]}; set warm_start=False to begin anew"
            )
        return net

    def _validation(self, given: tuple[Any, Any, Any], examples: Examples) -> tuple[Any, Examples]:
        """Return what is validated on, and what is trained on."""
        chosen = self.chosen
        if (given[0] is None) != (given[1] is None):
            missing = "X_val" if given[0] is None else "y_val"
            raise InputError(f"{missing}: expected X_val and y_val, or neither; got None")
        if given[0] is not None:
            held, _ = read(self.estimator, *given, self.backend, classes=self.pair)
            if held.y01.min() == held.y01.max() and self._by_validation(True):
                raise InputError(
                    "y_val: expected both classes, to stop early by them; got one class only: "
                    f"{held.y[0]!r}; add some of the other"
                )
            held = self._weighed(held)
        elif chosen["early_stopping"]:
            train_, held_ = self._split(examples.y01)
            held = examples.take(held_, self.backend)
            examples = examples.take(train_, self.backend)
        else:
            return None, examples
        return (held.X, held.y, held.weights), examples

    def _split(self, y01: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices that are trained on, and those of each class that are held out."""
        fraction, rng = self.chosen["validation_fraction"], np.random.default_rng([self.seed, 2])
        held = np.zeros(len(y01), dtype=bool)
        for label in (0, 1):
            rows = rng.permutation(np.flatnonzero(y01 == label))
            n = max(1, round(fraction * len(rows)))
            if n >= len(rows):
                raise InputError(
                    f"validation_fraction: expected one that leaves rows of class "
                    f"{self.pair[label]!r} to train on; got {fraction:g} of {len(rows)}; set "
                    "early_stopping=False, or give X_val and y_val"
                )
            held[rows[:n]] = True
        return np.flatnonzero(~held), np.flatnonzero(held)

    def _stopping(self, monitor: str) -> EarlyStopping | None:
        chosen = self.chosen
        patience, tol = chosen["n_iter_no_change"], chosen["tol"]
        if self._by_validation(self.validation is not None):
            return EarlyStopping(monitor, patience, tol or 0.0)
        if self.validation is None and self.metrics:
            raise InputError(
                f"monitor: expected 'loss' without validation data; got {chosen['monitor']!r}; set "
                "early_stopping=True, or give X_val and y_val"
            )
        if self.partial or not tol:
            return None
        return EarlyStopping("loss", patience, tol, restore_best=False)

    def _by_validation(self, there: bool) -> bool:
        """Tell whether training ends by validation: if asked for, or where the rows are *there*."""
        asked = self.estimator.early_stopping
        automatic = isinstance(asked, str) and asked == "auto" and not self.partial
        return bool(self.chosen["early_stopping"]) or (there and automatic)

    def _start_from_data(self, rng: Any) -> None:
        net, examples, name = self.net, self.examples, self.chosen["scaling"]
        if name is not None:
            host = examples.X if is_on_host(examples.X) else self.backend.to_host(examples.X)
            net.scaling = fit_scaling(name, host, examples.weights)
        if isinstance(self.chosen["init"], str) and self.chosen["init"] == "data":
            initialize_from_rows(net, examples.X, examples.y01, examples.weights, rng)

    def go(self) -> None:
        """Train; whatever ends it, what whole epochs have learnt is kept."""
        estimator, net, examples, chosen = self.estimator, self.net, self.examples, self.chosen
        before = net.training
        tasks = Tasks(estimator, chosen["max_iter"], examples.X, examples.y, examples.weights)
        own = estimator.callbacks
        calls: list[Any] = [print_epoch] if estimator.verbose else []
        calls += list(own) if several(own) else [] if own is None else [own]
        calls.append(lambda _: tasks.after_epoch(self._as_fitted))
        try:
            train(
                net,
                examples.X,
                examples.y,
                optimizer=chosen["optimizer"],
                epochs=1 if self.partial else chosen["max_iter"],
                batch_size=chosen["batch_size"],
                sample_weight=examples.weights,
                validation_data=self.validation,
                metrics=self.metrics,
                early_stopping=self.stopping,
                loss=chosen["loss"],
                label_smoothing=chosen["label_smoothing"],
                input_noise=chosen["input_noise"],
                average=chosen["average"],
                rate_factors=chosen["rate_factors"],
                scaling=net.scaling,
                classes=self.pair,
                shuffle=chosen["shuffle"],
                seed=self.seed,
                warm_start=self.old is not None,
                max_seconds=chosen["max_seconds"],
                callback=calls,
            )
        except KeyboardInterrupt:
            if net.training is before:
                raise
            warnings.warn(
                "training was interrupted; the classifier is fitted as far as it came",
                UserWarning,
                stacklevel=4,
            )
        except BaseException:
            if net.training is not before and net.training is not None and net.training.epoch:
                self._keep()
            raise
        self._keep()
        tasks.end(self._as_fitted)

    def _keep(self) -> None:
        """Give the estimator its fitted attributes."""
        for name, value in self._attributes(self.net).items():
            setattr(self.estimator, name, value)

    def _as_fitted(self) -> dict[str, Any]:
        return self._attributes(self.net) | {"network_": copy.deepcopy(self.net)}

    def _attributes(self, net: Network) -> dict[str, Any]:
        assert net.training is not None
        history = net.training.history
        losses, epochs = list(history["loss"]), net.training.epoch
        score, best = self.score
        scores = history.get(score)
        return {
            "network_": net,
            "classes_": net.classes_,
            "history_": history,
            "loss_curve_": losses,
            "loss_": losses[-1] if losses else math.nan,
            "best_loss_": min(losses, default=math.nan),
            "validation_scores_": None if scores is None else list(scores),
            "best_validation_score_": best(scores) if scores else None,
            "n_iter_": epochs,
            "t_": self.seen + (epochs - self.first) * len(self.examples.y01),
            "n_layers_": net.depth + 1,
            "n_outputs_": 1,
            "out_activation_": "logistic",
            "recipe_": self.chosen,
        }


def _watched(monitor: Any) -> tuple[list[Any], str, tuple[str, Any]]:
    """Return the metrics to measure, the name to stop by, and the score to report with its best."""
    if isinstance(monitor, str) and monitor == "loss":
        return [], "val_loss", ("val_accuracy", max)
    metric = get_metric(monitor)
    name = f"val_{metric.name}"
    return [metric], name, (name, max if metric.greater_is_better else min)
