"""Metrics: scikit-learn's numbers, from one door, and an error where there is no number."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from xpnet import InputError
from xpnet.metrics import METRICS, get_metric, report

#: Each metric by scikit-learn, of targets, probabilities, decisions and weights.
JUDGES = {
    "accuracy": lambda y, p, d, w: sk.accuracy_score(y, d, sample_weight=w),
    "balanced_accuracy": lambda y, p, d, w: sk.balanced_accuracy_score(y, d, sample_weight=w),
    "precision": lambda y, p, d, w: sk.precision_score(y, d, sample_weight=w, zero_division=0),
    "recall": lambda y, p, d, w: sk.recall_score(y, d, sample_weight=w),
    "f1": lambda y, p, d, w: sk.f1_score(y, d, sample_weight=w),
    "roc_auc": lambda y, p, d, w: sk.roc_auc_score(y, p, sample_weight=w),
    "average_precision": lambda y, p, d, w: sk.average_precision_score(y, p, sample_weight=w),
    "log_loss": lambda y, p, d, w: sk.log_loss(y, p, sample_weight=w),
    "brier": lambda y, p, d, w: sk.brier_score_loss(y, p, sample_weight=w),
}


@st.composite
def problems(draw):
    """Targets with both classes, probabilities with ties, and weights or None."""
    m = draw(st.integers(2, 20))
    y = np.array(draw(st.lists(st.integers(0, 1), min_size=m, max_size=m)))
    y[:2] = 0, 1
    p = np.array(draw(st.lists(st.integers(0, 16), min_size=m, max_size=m))) / 16
    weights = draw(st.none() | st.lists(st.floats(0.1, 4), min_size=m, max_size=m))
    return y, p, None if weights is None else np.array(weights)


@pytest.mark.parametrize("name", METRICS)
@given(problem=problems(), threshold=st.integers(0, 16).map(lambda k: k / 16))
def test_every_metric_is_scikit_learns(name, problem, threshold):
    y, p, w = problem
    expected = JUDGES[name](y, p, p > threshold, w)
    found = get_metric(name)(y, p, threshold=threshold, sample_weight=w)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert report(y, p, threshold, w)[name] == found


def test_the_report_has_every_metric_as_a_float():
    found = report([0, 1, 1, 0], [0.2, 0.9, 0.4, 0.1])
    assert list(found) == list(METRICS) == list(JUDGES)
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize("name", METRICS)
def test_weight_zero_is_absence(name):
    y, p, w = np.array([0, 1, 1, 0, 1]), np.array([0.2, 0.9, 0.4, 0.6, 0.3]), [1, 2, 1, 3, 0]
    metric = METRICS[name]
    assert metric(y, p, sample_weight=w) == metric(y[:4], p[:4], sample_weight=w[:4])
    assert metric(y, p, sample_weight=w) != metric(y, p)


def test_the_better_model_is_better_by_every_metric():
    y = np.array([0, 0, 1, 1])
    good, bad = np.array([0.1, 0.2, 0.7, 0.9]), np.array([0.8, 0.9, 0.1, 0.6])
    for metric in METRICS.values():
        assert (metric(y, good) > metric(y, bad)) is metric.greater_is_better


def test_decisions_follow_the_threshold_and_the_dtype():
    y, p = [0, 1, 1], np.array([0.1, 0.1, 0.9], "float32")
    assert METRICS["recall"](y, p, threshold=0.1) == 0.5  # 0.1 is not above itself, in float32
    assert METRICS["recall"](y, p, threshold=0.05) == 1.0
    assert report(y, p, threshold=0.95)["recall"] == 0.0


# --- one class, and no number ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "defined"),
    [
        (0, {"accuracy", "log_loss", "brier"}),
        (1, set(METRICS) - {"roc_auc", "balanced_accuracy"}),
    ],
)
def test_one_class_has_no_metric_that_needs_the_other(label, defined):
    y, p = np.full(4, label), np.array([0.1, 0.2, 0.6, 0.9])
    found = report(y, p)
    assert {name for name, value in found.items() if not np.isnan(value)} == defined
    for name, metric in METRICS.items():
        if name in defined:
            assert metric(y, p) == found[name]
            continue
        with pytest.raises(InputError, match=f"{name}: .*both classes; got class {label} only"):
            metric(y, p)
    with pytest.raises(InputError, match="roc_auc: expected examples of both classes"):
        METRICS["roc_auc"]([*y, 1 - label], [*p, 0.5], sample_weight=[1, 1, 1, 1, 0])


def test_nobody_taken_for_the_second_class_is_a_precision_of_zero():
    found = report([0, 1], [0.1, 0.2])
    assert (found["precision"], found["recall"], found["f1"]) == (0, 0, 0)


def test_certain_mistakes_have_a_finite_loss():
    assert 30 < METRICS["log_loss"](np.array([0, 1]), np.array([1, 0], "float32")) < 40


@pytest.mark.parametrize("value", [np.nan, np.inf, "high", None, [1.0, 2.0]])
def test_a_metric_that_is_no_number_is_named(value):
    def profit(y, p):
        return value

    with pytest.raises(InputError, match="profit: expected a finite number; got"):
        get_metric(profit)([0, 1], [0.2, 0.8])


# --- callables ------------------------------------------------------------------------------------


def test_a_callable_is_a_metric():
    def top(y_true, p, sample_weight=None):
        assert set(y_true) == {0, 1}
        return p.max() if sample_weight is None else sample_weight.max()

    metric = get_metric(top)
    assert (metric.name, metric.greater_is_better) == ("top", True)
    assert metric([0, 1], [0.2, 0.8]) == 0.8
    assert metric([0, 1], [0.2, 0.8], sample_weight=[3, 4]) == 4
    top.greater_is_better = False
    assert get_metric(top).greater_is_better is False
    assert get_metric(metric) is metric


def test_scikit_learns_functions_are_metrics():
    metric = get_metric(sk.roc_auc_score)
    y, p, w = [0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9], [1, 2, 3, 4]
    assert metric(y, p, sample_weight=w) == METRICS["roc_auc"](y, p, sample_weight=w)


@pytest.mark.parametrize("metric", ["auc", None, 3])
def test_an_unknown_metric_is_named(metric):
    with pytest.raises(InputError, match=r"metric: expected one of accuracy, .*roc_auc; got"):
        get_metric(metric)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0.5]), "p and y of one length; got 1 rows and 2 labels"),
        (([0, 1], [[0.5], [0.5]]), r"p: expected shape \(m,\), one value an example; got \(2, 1\)"),
        (([[0, 1]], [0.5]), r"y: expected shape \(m,\), one value an example; got \(1, 2\)"),
        (([], []), r"y: expected shape \(m,\), one value an example; got \(0,\)"),
        (([0, 2], [0.1, 0.5]), r"y: expected targets 0 and 1; got \[0, 2\]"),
        ((["a", "b"], [0.1, 0.5]), "y: expected numbers"),
        (([0, 1], [0.1, np.nan]), r"p: expected finite numbers.*\(1,\)"),
        (([0, np.nan], [0.1, 0.2]), "y: expected finite numbers"),
        (([0, 1], [-0.5, 0.5]), "p: expected probabilities from 0 to 1; got -0.5 to 0.5"),
        (([0, 1], [0.5, 3]), "p: expected probabilities from 0 to 1; got 0.5 to 3"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    for ask in (report, METRICS["accuracy"]):
        with pytest.raises(InputError, match=message):
            ask(*arguments)


def test_wrong_weights_are_named():
    with pytest.raises(InputError, match=r"sample_weight: expected shape \(2,\)"):
        report([0, 1], [0.1, 0.9], sample_weight=[1])


def test_scikit_learn_waits_until_it_is_asked():
    code = "import sys, xpnet.metrics, xpnet.decisions; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
