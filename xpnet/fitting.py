"""What `BinaryClassifier` does between its rows and labels and `train`."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from .arrays import is_on_host, is_sparse
from .backend import get_backend
from .callbacks import Tasks, print_epoch
from .checkpointing import Checkpoint, Keeper
from .checks import weigh_classes
from .data_init import initialize_from_rows
from .errors import InputError, several
from .examples import Examples, pair_of, read
from .fingerprints import differences
from .initializers import check_random_state, draw_seed
from .losses import Loss
from .metrics import get_metric
from .network import Network
from .preprocessing import fit_scaling
from .recipe import choose, count_rows, describe, renamed
from .resuming import go_on, opened
from .training import EarlyStopping, train

__all__ = ["fit", "resume"]

#: What parts of the package call parameters of the classifier.
_NAMES = {"epochs": "max_iter", "callback": "callbacks", "patience": "n_iter_no_change",
          "metric": "monitor", "min_delta": "tol"}  # fmt: skip


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


def resume(
    estimator: Any, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any, Any]
) -> None:
    """Go on with the fit whose checkpoints are in the folder of *estimator*, on its examples."""
    checkpoint = _checkpoint_of(estimator)
    if checkpoint is None:
        raise InputError(
            "checkpoint: expected the folder of the fit to go on with; got None; give it by "
            "set_params(checkpoint=...)"
        )
    name = estimator.backend
    backend = None if isinstance(name, str) and name == "auto" else name
    with renamed(_NAMES), opened(replace(checkpoint, note={}), backend) as kept:
        job = _Job(estimator, kept=kept)
        job.prepare(X, y, sample_weight, validation)
        job.go()


def _checkpoint_of(estimator: Any) -> Checkpoint | None:
    given = estimator.checkpoint
    return given if given is None or isinstance(given, Checkpoint) else Checkpoint(given)


class _Job:
    """One call of ``fit`` or ``partial_fit``; or of ``resume``, which has *kept* keeper and net."""

    def __init__(
        self,
        estimator: Any,
        partial: bool = False,
        kept: tuple[Keeper, Network] | None = None,
    ) -> None:
        self.estimator, self.partial = estimator, partial
        self.backend = get_backend(estimator.backend)
        self.keeper: Keeper | None = None
        self.old: Network | None = None
        self.seen = 0
        if kept is not None:
            self.keeper, self.old = kept
        elif hasattr(estimator, "network_") and (partial or estimator.warm_start):
            self.old, self.seen = estimator.network_, estimator.t_
        if self.old is not None:
            self.backend = self.old.backend

    def prepare(
        self, X: Any, y: Any, sample_weight: Any, validation: Any, classes: Any = None
    ) -> None:
        """Check all that is given, choose what is not, and make the network."""
        estimator, backend, old = self.estimator, self.backend, self.old
        if self.partial and old is not None:
            classes = self._classes_as_before(classes)
        anew = old is None or self.keeper is not None
        examples, pair = read(estimator, X, y, sample_weight, backend, classes=classes, reset=anew)
        self._check_pair(pair)
        n = count_rows(examples.weights, len(examples.y01))
        given = estimator.get_params(deep=False)
        self.pair = pair
        self.chosen = chosen = choose(
            given, n, examples.X.shape[1], sparse=is_sparse(examples.X), partial=self.partial
        )
        if self.keeper is not None:
            self._check_recipe(self.keeper)
        self.metrics, monitor, self.score = _watched(chosen["monitor"])
        examples = self._weighed(examples)
        rng = check_random_state(estimator.random_state)
        self.net = self._network(examples.X.shape[1], rng) if old is None else self._same_network()
        last = None if old is None else old.training
        self.seed = draw_seed(rng) if last is None else last.seed
        self.first = 0 if last is None or anew else last.epoch
        self.validation, self.examples = self._validation(validation, examples)
        self.stopping = self._stopping(monitor)
        if old is None:
            self._start_from_data(rng)

    def _classes_as_before(self, classes: Any) -> np.ndarray:
        before: np.ndarray = self.estimator.classes_
        if classes is not None and not np.array_equal(pair_of(classes), before):
            raise InputError(
                f"classes: `classes={classes!r}` is not the same as on last call to partial_fit, "
                f"was: {before}"
            )
        return before

    def _check_pair(self, pair: np.ndarray) -> None:
        old = self.old
        if old is None or np.array_equal(pair, old.classes_):
            return
        if self.keeper is not None:
            raise InputError(f"y: expected the classes of the run, {old.classes_}; got {pair}")
        raise InputError(
            "warm_start can only be used where `self.classes_` is the same as in the previous "
            f"call to fit. Previously got {old.classes_}, `y` has {pair}"
        )

    def _check_recipe(self, keeper: Keeper) -> None:
        """Refuse parameters that are not those of the run; by "auto", other data are others too."""
        assert keeper.pause is not None
        before = keeper.pause.call["note"].get("recipe")
        if not isinstance(before, dict):
            raise InputError(
                f"{keeper.saved}: expected a checkpoint of a classifier; got one of another "
                "program; go on with it by xpnet.resume or `xpnet resume`"
            )
        others = differences(before, describe(self.chosen))
        if others:
            raise InputError(
                f"{keeper.folder}: expected the parameters of the run, and its rows, by which "
                f"'auto' is decided; got others: {'; '.join(others)}; give the same again"
            )

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
        if given[0] is None and given[2] is not None:
            raise InputError("X_val: expected it beside sample_weight_val; got None; give both")
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
        estimator, net, examples = self.estimator, self.net, self.examples
        before = net.training
        epochs, own = self.chosen["max_iter"], estimator.callbacks
        tasks = Tasks(estimator, epochs, examples.X, examples.y, examples.weights)

        def after_epoch(epoch: Any) -> bool:
            if estimator.verbose:
                print_epoch(epoch)
            return tasks.after_epoch(self._as_fitted)

        calls: list[Any] = list(own) if several(own) else [] if own is None else [own]
        try:
            self._train([*calls, after_epoch])
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

    def _train(self, calls: list[Any]) -> None:
        """Begin a run, or go on with the one that is kept."""
        net, chosen, (X, y, _, weights) = self.net, self.chosen, self.examples
        data = {"sample_weight": weights, "validation_data": self.validation}
        loss = chosen["loss"]
        if self.keeper is not None:
            own = loss if isinstance(loss, Loss) else None
            more = {**data, "loss": own, "metrics": self.metrics, "callback": calls}
            go_on(self.keeper, net, X, y, **more)
            return
        checkpoint = _checkpoint_of(self.estimator)
        if checkpoint is not None:
            note = {"recipe": describe(chosen), "note": dict(checkpoint.note)}
            checkpoint = replace(checkpoint, note=note)
        train(
            net,
            X,
            y,
            **data,
            optimizer=chosen["optimizer"],
            epochs=1 if self.partial else chosen["max_iter"],
            batch_size=chosen["batch_size"],
            metrics=self.metrics,
            early_stopping=self.stopping,
            loss=loss,
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
            checkpoint=checkpoint,
        )

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
