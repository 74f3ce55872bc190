"""The classifiers that scikit-learn's checks are made on, by what is special about each."""

from __future__ import annotations

from xpnet import BinaryClassifier

# Whole-number weights are repeated rows in full batches alone.
_SMALL = {"hidden_layer_sizes": (16,), "batch_size": None, "max_iter": 60}


def _classifier(**parameters: object) -> BinaryClassifier:
    return BinaryClassifier(**parameters, backend="numpy")


CONFIGURATIONS = {
    "default": _classifier(),
    "lbfgs": _classifier(solver="lbfgs", alpha=0.01, **_SMALL),
    "sgd": _classifier(solver="sgd", learning_rate_init=0.1, **_SMALL),
    "nadam, normalised": _classifier(
        solver="nadam", learning_rate_init=0.02, normalization="layer", **_SMALL
    ),
    "rmsprop, scaled": _classifier(
        solver="rmsprop", learning_rate_init=0.02, scaling="standard", **_SMALL
    ),
    "adagrad, he": _classifier(solver="adagrad", learning_rate_init=0.2, init="he", **_SMALL),
    "adamw, silu": _classifier(
        solver="adamw", learning_rate_init=0.02, activation="silu", **_SMALL
    ),
}
