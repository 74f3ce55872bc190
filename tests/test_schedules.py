"""Schedules: against PyTorch's, or against their formulas written out; ranges; plain data."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet import InputError, schedules
from xpnet.schedules import SCHEDULES, Schedule, get_schedule

ANY = [
    *(kind() for kind in SCHEDULES.values()),
    schedules.Step(3, 0.5),
    schedules.Exponential(0.9),
    schedules.InverseScaling(1.0),
    schedules.Linear(0.1),
    schedules.Cosine(0.01),
    schedules.WarmUp(0.2, "linear"),
    schedules.WarmUp(0.2, schedules.Plateau(0.5, 2)),
    schedules.OneCycle(0.4, 10.0, 100.0),
    schedules.CosLog(2),
    schedules.Plateau(0.5, 1, 0.0, 0.1),
]
FRACTIONS = st.floats(0, 1, exclude_max=True)
LOSSES = st.lists(st.floats(0, 10), max_size=60)


def factor(schedule, done=0.0, epoch=0, losses=()):
    return schedule.epoch(epoch, losses)(done)


def torch_rates(make, n, metrics=None):
    """The rates, from 1, before each of *n* steps of a scheduler of PyTorch."""
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = make(torch.optim.lr_scheduler)(optimizer), []
    for step in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < n - 1:
            scheduler.step(*([] if metrics is None else [metrics[step]]))
    return rates


# --- by epochs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "judge"),
    [
        (schedules.Constant(), lambda s: lambda o: s.ConstantLR(o, factor=1.0)),
        (schedules.Step(7, 0.3), lambda s: lambda o: s.StepLR(o, step_size=7, gamma=0.3)),
        (schedules.Exponential(0.8), lambda s: lambda o: s.ExponentialLR(o, gamma=0.8)),
        (
            schedules.InverseScaling(0.7),
            lambda s: lambda o: s.LambdaLR(o, lambda t: 1 / (1 + t) ** 0.7),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, schedules.Schedule) else None,
)
def test_epochs_are_pytorchs(schedule, judge):
    got = [factor(schedule, 0.37, epoch) for epoch in range(40)]
    np.testing.assert_allclose(got, torch_rates(judge, 40), rtol=1e-12)


@given(
    losses=st.lists(st.floats(0, 2) | st.just(1.0), min_size=1, max_size=80),
    gamma=st.sampled_from([0.1, 0.5]),
    patience=st.integers(0, 5),
    min_delta=st.sampled_from([0.0, 1e-4, 0.3]),
    minimum=st.sampled_from([0.0, 0.2]),
)
def test_a_plateau_is_pytorchs(losses, gamma, patience, min_delta, minimum):
    schedule = schedules.Plateau(gamma, patience, min_delta, minimum)

    def judge(torchs):
        return lambda optimizer: torchs.ReduceLROnPlateau(
            optimizer, factor=gamma, patience=patience, threshold=min_delta,
            threshold_mode="abs", min_lr=minimum, eps=0.0,
        )  # fmt: skip

    expected = torch_rates(judge, len(losses) + 1, [*losses, 0.0])
    got = [factor(schedule, 0.5, n, losses[:n]) for n in range(len(losses) + 1)]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


# --- by the fraction that is done -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "judge"),
    [
        (schedules.Cosine(), lambda s: lambda o: s.CosineAnnealingLR(o, T_max=50)),
        (schedules.Cosine(0.1), lambda s: lambda o: s.CosineAnnealingLR(o, 50, eta_min=0.1)),
        (
            schedules.Linear(),
            lambda s: lambda o: s.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=50),
        ),
        (
            schedules.Linear(0.25),
            lambda s: lambda o: s.LinearLR(o, start_factor=1.0, end_factor=0.25, total_iters=50),
        ),
    ],
)
def test_ways_down_are_pytorchs(schedule, judge):
    got = [factor(schedule, step / 50) for step in range(50)]
    np.testing.assert_allclose(got, torch_rates(judge, 50), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("peak", "div", "final"), [(0.3, 25.0, 1e4), (0.25, 10.0, 10.0), (0.5, 1.0, 1.0)]
)
def test_one_cycle_is_pytorchs(peak, div, final):
    n = 100

    def judge(torchs):
        return lambda optimizer: torchs.OneCycleLR(
            optimizer, max_lr=1.0, total_steps=n, pct_start=peak, div_factor=div,
            final_div_factor=final, cycle_momentum=False,
        )  # fmt: skip

    schedule = schedules.OneCycle(peak, div, final)
    turn, end = peak * n - 1, n - 1  # PyTorch counts its steps from a peak and an end on a step
    for step, expected in enumerate(torch_rates(judge, n)):
        way = (
            step / turn * peak if step <= turn else peak + (step - turn) / (end - turn) * (1 - peak)
        )
        assert factor(schedule, way) == pytest.approx(expected, rel=1e-9)


def test_a_warm_up_then_another():
    schedule = schedules.WarmUp(0.2, schedules.Linear(0.5))
    got = [factor(schedule, done) for done in (0.0, 0.05, 0.1, 0.2, 0.6, 1.0)]
    np.testing.assert_allclose(got, [0.0, 0.25, 0.5, 1.0, 0.75, 0.5])
    by_epoch = schedules.WarmUp(0.2, schedules.Exponential(0.5))
    assert factor(by_epoch, 0.1, 3) == 0.5
    assert factor(by_epoch, 0.3, 3) == 0.125


def test_coslog_has_waves_that_double():
    schedule = schedules.CosLog(4)
    for k in range(4):  # the k-th begins at (2^k - 1)/15 of the run
        start, end = (2**k - 1) / 15, (2 ** (k + 1) - 1) / 15
        assert factor(schedule, start) == pytest.approx(0.0, abs=1e-12)
        middle = (2 ** (k + 0.5) - 1) / 15
        assert start < middle < end
        assert factor(schedule, middle) == pytest.approx(1.0)
    done = np.linspace(0, 1, 101)
    expected = 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * done)))
    np.testing.assert_allclose([factor(schedule, d) for d in done], expected, atol=1e-12)


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ANY, ids=repr)
@given(done=FRACTIONS, losses=LOSSES)
def test_factors_are_pure_and_between_0_and_1(schedule, done, losses):
    before = list(losses)
    one = factor(schedule, done, len(losses), losses)
    again = schedule.epoch(len(losses), losses)
    again(0.9)
    assert type(one) is float
    assert -1e-12 <= one <= 1 + 1e-12
    assert math.isfinite(one)
    assert again(done) == one
    assert losses == before


@pytest.mark.parametrize("schedule", ANY, ids=repr)
def test_plain_data_and_back(schedule):
    plain = json.loads(json.dumps(schedule.as_dict()))
    assert plain["name"] == schedule.name == str(schedule)
    assert get_schedule(plain) == schedule


def test_names_and_instances():
    for name, kind in SCHEDULES.items():
        assert get_schedule(name) == kind()
        assert kind.name == name
    one = schedules.Cosine(0.1)
    assert get_schedule(one) is one
    nested = {"name": "warmup", "fraction": 0.2, "then": {"name": "cosine", "end": 0.5}}
    assert get_schedule(nested) == schedules.WarmUp(0.2, schedules.Cosine(0.5))
    assert issubclass(schedules.Plateau, Schedule)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("cosin", {}, "schedule: expected one of constant, cosine, coslog, .* warmup; got 'cosin'"),
        (None, {}, "schedule: expected one of .*; got None"),
        (["cosine"], {}, r"schedule: expected one of .*; got \['cosine'\]"),
        ("cosine", {"stop": 0.1}, "hyper-parameter of cosine: expected one of end; got 'stop'"),
        ("constant", {"end": 0.1}, "hyper-parameter of constant: expected one of none; got 'end'"),
        ("cosine", {"end": -0.1}, "end: expected 0 ≤ value ≤ 1; got -0.1"),
        ("linear", {"end": math.nan}, "end: expected 0 ≤ value ≤ 1; got nan"),
        ("step", {"every": 0}, "every: expected an integer above 0; got 0"),
        ("step", {"every": 2.5}, "every: expected an integer above 0; got 2.5"),
        ("step", {"every": True}, "every: expected an integer above 0; got True"),
        ("step", {"gamma": 0.0}, "gamma: expected 0 < value ≤ 1; got 0.0"),
        ("exponential", {"gamma": "0.5"}, "gamma: expected 0 < value ≤ 1; got '0.5'"),
        ("invscaling", {"power": -1}, "power: expected a number of at least 0; got -1"),
        ("warmup", {"fraction": 0.0}, "fraction: expected 0 < value < 1; got 0.0"),
        ("warmup", {"then": "cold"}, "schedule: expected one of .*; got 'cold'"),
        ("one_cycle", {"pct_start": 1.0}, "pct_start: expected 0 < value < 1; got 1.0"),
        ("one_cycle", {"div_factor": 0.5}, "div_factor: expected a number of at least 1; got 0.5"),
        ("one_cycle", {"final_div_factor": math.inf}, "final_div_factor: expected .*; got inf"),
        ("coslog", {"cycles": 65}, "cycles: expected an integer from 1 to 64; got 65"),
        ("plateau", {"factor": 1.0}, "factor: expected 0 < value < 1; got 1.0"),
        ("plateau", {"patience": -1}, "patience: expected an integer of at least 0; got -1"),
        ("plateau", {"min_delta": -1e-9}, "min_delta: expected a number of at least 0; got -1e-09"),
        ("plateau", {"minimum": 1.0}, "minimum: expected 0 ≤ value < 1; got 1.0"),
        ("plateau", {"patience": None}, "patience: expected an integer of at least 0; got None"),
    ],
)
def test_wrong_settings_are_named(name, settings, words):
    with pytest.raises(InputError, match=words):
        get_schedule({"name": name, **settings})


def test_numpys_numbers_become_pythons():
    schedule = schedules.Plateau(np.float32(0.5), np.int64(3))
    assert [type(v) for v in (schedule.factor, schedule.patience)] == [float, int]
    json.dumps(schedule.as_dict())
