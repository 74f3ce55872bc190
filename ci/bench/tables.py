"""The data sets of `quality`, and the classifiers that are fitted to them, in turn."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_info

from xpnet import BinaryClassifier

_PAUSE = 0.12  # seconds, in which thread pools that wait by spinning let go
_WARM_UP = 200  # rows of a first fit that does not count


def load(path: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return rows, labels, and which rows to test on; without a path breast cancer, without those.

    A file is ``.csv.gz``, with columns target (0 or 1) and split (train or test) beside numbers and
    text; or ``.npz``, with X, y and split (0 or 1).
    """
    if path is None:
        X, y = load_breast_cancer(return_X_y=True)
        return X.astype("float32"), y, None
    if path.suffix == ".npz":
        with np.load(path) as file:
            return file["X"].astype("float32"), file["y"].astype(int), file["split"] == 1
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        heads, *lines = csv.reader(file)
    columns = dict(zip(heads, map(np.array, zip(*lines, strict=True)), strict=True))
    y, test = columns.pop("target").astype(int), columns.pop("split") == "test"
    return encoded(list(columns.values()), ~test), y, test


def encoded(columns: list[np.ndarray], train: np.ndarray) -> np.ndarray:
    """Return columns of text as rows: the numbers as they are, then categories one-hot.

    A category that is in none of the *train* rows, a mask, is all zeros.
    """
    numbers, texts = [], []
    for column in columns:
        try:
            numbers.append(column.astype("float32"))
        except ValueError:
            texts.append(column)
    if not texts:
        return np.column_stack(numbers)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype="float32")
    categories = np.column_stack(texts)
    return np.column_stack([*numbers, one_hot.fit(categories[train]).transform(categories)])


def classifiers(seed: int) -> dict[str, Any]:
    """Return the competitors that are there, with their own defaults."""
    mlps = {
        "MLP": MLPClassifier(random_state=seed),
        "MLP, early stopping": MLPClassifier(random_state=seed, early_stopping=True),
    }
    made = {"xpnet": BinaryClassifier(random_state=seed), **mlps}
    made |= {f"scaled {name}": make_pipeline(StandardScaler(), mlp) for name, mlp in mlps.items()}
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    made["logistic regression"] = logistic
    made["HistGradientBoosting"] = HistGradientBoostingClassifier(random_state=seed)
    if importlib.util.find_spec("lightgbm") is not None:
        from lightgbm import LGBMClassifier

        made["LightGBM"] = LGBMClassifier(random_state=seed, verbose=-1)
    return made


def quality(task: dict[str, Any]) -> dict[str, Any]:
    """Fit every competitor to one set, once for each seed; return what the fits took and gave."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # 200 epochs are scikit-learn's default
    warnings.filterwarnings("ignore", "X does not have valid feature names")  # LightGBM's own
    X, y, test = load(task["path"] and Path(task["path"]))
    few = slice(None, None, max(1, len(y) // _WARM_UP))
    names = list(classifiers(0))
    for model in classifiers(0).values():
        model.fit(X[few], y[few])
    fits: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in range(task["seeds"]):
        print(f"{task['set']}, seed {seed}", file=sys.stderr, flush=True)
        if test is None:
            parts = train_test_split(X, y, test_size=0.2, stratify=y, random_state=seed)
        else:
            parts = X[~test], X[test], y[~test], y[test]
        first, models = seed % len(names), classifiers(seed)
        for name in names[first:] + names[:first]:  # each round begins with another
            fits[name].append(fitted(models[name], *parts))
    libraries = [{k: v for k, v in p.items() if k != "filepath"} for p in threadpool_info()]
    return {"set": task["set"], "shape": parts[0].shape, "fits": fits, "libraries": libraries}


def fitted(
    model: Any, X: np.ndarray, X_test: np.ndarray, y: np.ndarray, y_test: np.ndarray
) -> dict[str, float]:
    """Fit *model*; return the seconds that took, and how good it is on the test rows."""
    time.sleep(_PAUSE)
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    p = model.predict_proba(X_test)[:, 1].astype(float)
    auc, loss = roc_auc_score(y_test, p), log_loss(y_test, p)
    accuracy = accuracy_score(y_test, model.predict(X_test))
    return {"auc": auc, "log_loss": loss, "accuracy": accuracy, "seconds": seconds}
