"""Thresholds and temperatures: no other is better, by brute force and on a fine grid."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.test_metrics import JUDGES
from xpnet import InputError
from xpnet.decisions import best_threshold, fit_temperature, least_temperature, move_threshold
from xpnet.formulas import sigmoid
from xpnet.metrics import METRICS

DECISIONS = [name for name, metric in METRICS.items() if metric.of_counts is not None]


@st.composite
def problems(draw, most=12):
    """Targets with both classes, probabilities with ties, 0 and 1, and weights or None."""
    m = draw(st.integers(2, most))
    y = np.array(draw(st.lists(st.integers(0, 1), min_size=m, max_size=m)))
    y[:2] = 0, 1
    dtype = draw(st.sampled_from(["float32", "float64"]))
    tied, any_p = st.integers(0, 10).map(lambda k: k / 10), st.floats(0, 1, width=32)
    p = np.array(draw(st.lists(tied | any_p, min_size=m, max_size=m)), dtype)
    weights = draw(st.none() | st.lists(st.integers(1, 5), min_size=m, max_size=m))
    return y, p, None if weights is None else np.array(weights, float)


def every_threshold(p):
    """One threshold for every way to part *p*: each of its values, and 0."""
    return np.unique([0.0, *p.astype(float)])


@pytest.mark.parametrize("name", DECISIONS)
@given(problem=problems())
def test_no_threshold_is_better(name, problem):
    y, p, w = problem
    t = best_threshold(y, p, name, sample_weight=w)
    values = [JUDGES[name](y, p, p > other, w) for other in every_threshold(p)]
    assert JUDGES[name](y, p, p > t, w) == pytest.approx(max(values), abs=1e-12)


@given(
    problem=problems(),
    costs=st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(any),
)
def test_no_threshold_is_cheaper(problem, costs):
    y, p, w = problem

    def cost(t):
        decided, weights = p > t, np.ones(len(y)) if w is None else w
        return costs[0] * weights[decided & (y == 0)].sum() + (
            costs[1] * weights[~decided & (y == 1)].sum()
        )

    t = best_threshold(y, p, costs=costs, sample_weight=w)
    assert cost(t) == pytest.approx(min(map(cost, every_threshold(p))))


@given(problem=problems())
def test_thresholds_lie_halfway_and_near_one_half(problem):
    y, p, w = problem
    t = best_threshold(y, p, sample_weight=w)
    ends = np.unique(np.concatenate([[0, 1], p.astype(float)]))
    halfway = (ends[1:] + ends[:-1]) / 2
    parts = [tuple(p > other) for other in halfway]
    assume(tuple(p > t) in parts)  # neighbouring floats have nothing between them
    if p.max() < 1:  # 1 itself parts as well as what is halfway to it
        assert np.abs(halfway - t).min() < 1e-7
    values = np.array([JUDGES["f1"](y, p, p > other, w) for other in halfway])
    equal = halfway[values >= values.max() - 1e-12]
    assert abs(t - 0.5) <= np.abs(equal - 0.5).min() + 1e-7


@given(problem=problems())
def test_a_callable_finds_what_the_name_does(problem):
    y, p, w = problem
    assert best_threshold(y, p, sk.f1_score, sample_weight=w) == pytest.approx(
        best_threshold(y, p, "f1", sample_weight=w)
    )


def test_a_callable_is_minimised_if_it_says_so_and_called_two_hundred_times_at_most(rng):
    calls = []

    def false_alarms(y_true, y_pred):
        calls.append(y_pred)
        return abs(int(y_pred.sum()) - 500)

    false_alarms.greater_is_better = False
    p = rng.uniform(size=1000)
    y = (rng.uniform(size=1000) < p).astype(int)
    t = best_threshold(y, p, false_alarms)
    assert abs((p > t).sum() - 500) <= 5
    assert len(calls) == 200
    assert set(calls[7]) == {0, 1}


def test_apart_classes_are_parted_in_the_middle():
    assert best_threshold([0, 0, 1, 1], [0.125, 0.25, 0.5, 0.75]) == 0.375
    assert best_threshold([1, 0], [0.25, 0.75], "accuracy") in (0.125, 0.875)
    assert best_threshold([0, 1, 1], [0.0, 0.25, 1.0]) == 0.125
    assert best_threshold([0, 1], [0.5, 0.25], costs=(1, 0)) == 0.75
    assert best_threshold([0, 1], [0.5, 0.25], costs=(0, 1)) == 0.125


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neighbouring_floats_are_parted_in_their_own_dtype(dtype):
    for low in (0.3, 0.7, 1e-30, 0.9999):
        below = np.array(low, dtype)
        for _ in range(3):
            above = np.nextafter(below, np.array(1, dtype))
            p = np.array([below, above])
            t = best_threshold([0, 1], p)
            np.testing.assert_array_equal(p > t, [False, True])
            below = above


def test_weight_zero_is_absence(rng):
    p, y = rng.uniform(size=200), rng.integers(0, 2, 200)
    weights = rng.integers(0, 3, 200)
    there = weights > 0
    assert best_threshold(y, p, sample_weight=weights) == best_threshold(
        y[there], p[there], sample_weight=weights[there]
    )
    assert best_threshold(y, p, sample_weight=weights) == best_threshold(
        np.repeat(y, weights), np.repeat(p, weights)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 1], [0.1, 0.9]), "y: expected two classes; got one class only: 2 × 1"),
        (([0, 1], [0.1]), "p and y of one length"),
        (([0, 1], [0.1, np.inf]), "p: expected finite numbers"),
        (([0, 1], [-1.0, 2.0]), "p: expected probabilities from 0 to 1"),
        (([0, 1], [0.1, 0.9], "roc_auc"), "metric of decisions: expected one of accuracy, bal"),
        (([0, 1], [0.1, 0.9], None), "metric of decisions: expected one of accuracy, bal"),
        (([0, 1], [0.1, 0.9], "f1", (1, 10**400)), "costs: expected .* got"),
        (([0, 1], [0.1, 0.9], "f1", (0, 0)), r"costs: expected .*not both 0; got \(0, 0\)"),
        (([0, 1], [0.1, 0.9], "f1", (1, -1)), "costs: expected"),
        (([0, 1], [0.1, 0.9], "f1", (1, np.nan)), "costs: expected"),
        (([0, 1], [0.1, 0.9], "f1", (1, 2, 3)), "costs: expected"),
        (([0, 1], [0.1, 0.9], "f1", 3), "costs: expected"),
        (([0, 1], [0.1, 0.9], "f1", ("a", 1)), "costs: expected"),
        (([0, 1], [0.1, 0.9], lambda y, d: np.nan), "metric <lambda>: expected a number"),
    ],
)
def test_wrong_input_of_a_threshold_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        best_threshold(*arguments)


# --- temperature ----------------------------------------------------------------------------------


def loss(z, y, T, w=None):
    return np.average(np.logaddexp(0, np.where(y == 1, -z, z) / T), weights=w)


@given(
    st.lists(
        st.tuples(st.integers(-64, 64), st.integers(0, 1), st.integers(1, 4)),
        min_size=2,
        max_size=20,
    ),
    st.sampled_from([0.01, 1.0, 30.0]),
)
def test_no_temperature_is_better(examples, unit):
    z, y, w = (np.array(column, float) for column in zip(*examples, strict=True))
    y[:2], z = (0, 1), z * unit
    T = fit_temperature(z, y, w)
    assert 0.01 * (1 - 1e-9) <= T <= 100 * (1 + 1e-9)
    grid = np.geomspace(0.01, 100, 401)
    assert loss(z, y, T, w) <= min(loss(z, y, other, w) for other in [1.0, *grid]) + 1e-12


@pytest.mark.parametrize("T", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_known_temperature_is_recovered(rng, T, dtype):
    true = rng.normal(0.3, 2, 50_000)
    y = rng.uniform(size=len(true)) < 1 / (1 + np.exp(-true))
    z = (true * T).astype(dtype)
    assert fit_temperature(z, y) == pytest.approx(T, rel=0.03)


def test_it_is_where_the_slope_vanishes(rng):
    z, y = rng.normal(0, 5, 500), rng.integers(0, 2, 500)
    z += 2 * y
    T = fit_temperature(z, y)
    slope = np.mean((1 / (1 + np.exp(-z / T)) - y) * z)
    assert slope == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(
    ("z", "T"),
    [
        ([-1.0, 1.0], 0.01),  # apart: the surer, the better
        ([1.0, -1.0], 100.0),  # the wrong way round
        ([0.0, 0.0], 1.0),  # whatever T is
        ([-1e6, 1e6], 1.0),  # without any loss already
        ([1e300, -1e300], 100.0),
    ],
)
def test_logits_of_every_kind_have_a_temperature(z, T):
    assert fit_temperature(z, [0, 1]) == pytest.approx(T, rel=1e-6)


def test_weights_are_repetition(rng):
    z, y, w = rng.normal(0, 3, 60), rng.integers(0, 2, 60), rng.integers(0, 4, 60)
    there = np.repeat(np.arange(60), w)
    assert fit_temperature(z, y, w) == pytest.approx(fit_temperature(z[there], y[there]), rel=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [0, 0]), "y: expected two classes; got one class only: 2 × 0"),
        (([1.0, 2.0], [0, 1], [0, 1]), "y: expected two classes; got one class only: 1 × 1"),
        (([1.0], [0, 1]), "z and y of one length"),
        (([1.0, np.nan], [0, 1]), "z: expected finite numbers"),
        (([[1.0, 2.0]], [0, 1]), r"z: expected shape \(m,\)"),
        (([1.0, 2.0], ["a", "b"]), "y: expected numbers"),
    ],
)
def test_wrong_input_of_a_temperature_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        fit_temperature(*arguments)


@given(threshold=st.floats(0.001, 0.999), before=st.floats(0.2, 5.0), after=st.floats(0.2, 5.0))
def test_a_moved_threshold_decides_alike(threshold, before, after):
    z = np.linspace(-20, 20, 999)
    after = max(after, least_temperature(threshold, before))
    moved = move_threshold(threshold, before, after)
    assert 0.0 < moved < 1.0
    near = np.abs(sigmoid(np, z / before) - threshold) < 1e-9
    decided = sigmoid(np, z / after) > moved
    np.testing.assert_array_equal(decided[~near], (sigmoid(np, z / before) > threshold)[~near])


def test_thresholds_that_nothing_moves():
    assert move_threshold(0.3, 0.7, 0.7) == 0.3
    assert [move_threshold(t, 1.0, 0.1) for t in (0.0, 0.5, 1.0)] == [0.0, 0.5, 1.0]
    assert [least_temperature(t, 1.0) for t in (0.0, 0.5, 1.0)] == [0.0, 0.0, 0.0]
    assert least_temperature(1 - 1e-9, 2.0) == 2.0  # too coarse already: it falls no further
