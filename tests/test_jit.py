"""Loops: that they change no number, and when they are compiled.

Where Numba is missing, the loops' text is run by Python itself: the numbers are the same.
"""

import inspect
import logging
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpnet import (
    InputError,
    Network,
    TrainingDiverged,
    data,
    get_backend,
    jit,
    normalization,
    passes,
    run,
    train,
)
from xpnet.activations import ACTIVATIONS
from xpnet.compiler import Compiler
from xpnet.dropout import Dropout, Noise, Places, draw_keys
from xpnet.formulas import Formula
from xpnet.jit import LoopCompiler
from xpnet.loops import plan
from xpnet.losses import LOSSES, focal
from xpnet.optimizers import OPTIMIZERS, SGD, Adam

NO_NUMBA = "Numba is not installed: pip install 'xpnet[fast]'"

FORMULAS = {
    **{f"{n}.{w}": getattr(a, w) for n, a in ACTIVATIONS.items() for w in ("forward", "backward")},
    **{f"{name}.from_one": a.backward_from_one for name, a in ACTIVATIONS.items()},
    **{f"{name}.both": loss.both for name, loss in LOSSES.items()},
    **{f"{name}.weighted": loss.weighted for name, loss in LOSSES.items()},
    **{name: make().formula for name, make in OPTIMIZERS.items()},
    **{f"{name}, factors": make().rule.formula_with_factors for name, make in OPTIMIZERS.items()},
    **{
        name: formula
        for module in (normalization, passes, run)
        for name, formula in vars(module).items()
        if isinstance(formula, Formula)
    },
}
LOOPED = [name for name, formula in FORMULAS.items() if plan(formula) is not None]


def interpreted(source, dtype, arrays, scalars):
    """The loop as Python runs it, in the place of `jit._compile`."""
    scope = {"T": dtype.type, "sqrt": np.sqrt, "sign": np.sign, "inf": math.inf}
    exec(source, scope)

    def loop(*arguments):
        with np.errstate(over="ignore"):  # integers wrap around
            scope["loop"](*arguments)

    return loop


@pytest.fixture(autouse=True)
def _no_wish(monkeypatch):
    monkeypatch.delenv("XPNET_FAST", raising=False)


@pytest.fixture
def process(monkeypatch):
    """A process that has compiled nothing yet."""
    monkeypatch.setattr(jit, "_process", jit._Process())
    return jit._process


@pytest.fixture
def by_python(monkeypatch, process):
    monkeypatch.setattr(jit, "_installed", lambda: True)
    monkeypatch.setattr(jit, "_compile", interpreted)
    return process


@pytest.fixture(params=["python", "numba"])
def either(request, monkeypatch, process):
    """The loops run by Python, and compiled by Numba."""
    if request.param == "numba":
        pytest.importorskip("numba", reason=NO_NUMBA)
        return process
    return request.getfixturevalue("by_python")


def operands(formula, shape, dtype, seed=0, broadcast=()):
    """Arrays and scalars for *formula*; those that it only reads have the *broadcast* shapes."""
    rng, arrays, scalars, shapes = np.random.default_rng(seed), [], [], list(broadcast)
    for name, parameter in list(inspect.signature(formula.function).parameters.items())[1:]:
        if parameter.annotation in (float, "float"):
            scalars.append(float(rng.uniform(0.1, 0.9)))
            continue
        full = name in formula.writes or not shapes
        values = 3.0 * rng.standard_normal(shape if full else shapes.pop(0))
        values[rng.random(values.shape) < 0.1] = 0.0
        arrays.append(np.abs(values).astype(dtype) if name in ("v", "squares") else values)
    return [a.astype(dtype) for a in arrays], scalars


def check(formula, arrays, scalars, **options):
    """Both compilers write the same numbers into all *arrays*."""
    ours, theirs = [a.copy() for a in arrays], [a.copy() for a in arrays]
    LoopCompiler(**options, compiles=True)(formula, *ours)(*scalars)
    Compiler()(formula, *theirs)(*scalars)
    for got, expected in zip(ours, theirs, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(draw=st.data())
def test_loops_write_the_numbers_of_the_expression(by_python, draw):
    formula = FORMULAS[draw.draw(st.sampled_from(LOOPED))]
    shape = draw.draw(st.tuples(*[st.integers(1, 6)] * draw.draw(st.integers(1, 2))))
    kinds = [shape, (1,)] if len(shape) == 1 else [shape, (shape[0], 1), (1, shape[1]), (1, 1)]
    broadcast = draw.draw(st.lists(st.sampled_from(kinds), max_size=3))
    dtype, seed = draw.draw(st.sampled_from(["float32", "float64"])), draw.draw(st.integers(0, 99))
    check(
        formula,
        *operands(formula, shape, dtype, seed, broadcast),
        tile=draw.draw(st.integers(1, 40)),
    )
    assert not by_python.broken


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["relu.forward", "selu.backward", "mish.forward", "logistic.both", "adam", "nadam"]
)
def test_numba_compiles_them_to_the_same_numbers(process, name, dtype):
    pytest.importorskip("numba", reason=NO_NUMBA)
    formula = FORMULAS[name]
    for shape, broadcast in ((100_001,), ()), ((7, 13), [(7, 1)] * 3), ((300, 129), [(1, 129)] * 3):
        check(formula, *operands(formula, shape, dtype, 0, broadcast))
    assert process.loops
    assert not process.broken


def test_penalty_and_clipping_are_loops_too(either):
    rng = np.random.default_rng(0)
    theta, grad = rng.standard_normal((2, 50)).astype("float32")
    theta[::5] = 0.0
    check(run.penalise, [grad, theta], [0.25, 0.5])
    check(run.clip_value, [grad], [-0.3, 0.3])
    assert len(either.loops) == 2


def test_views_with_gaps_are_looped_over(either):
    arrays, scalars = operands(FORMULAS["relu.forward"], (6, 8), "float32", 0, [(6, 1)])
    ours, theirs = [np.repeat(np.repeat(a, 2, 0), 2, 1) for a in arrays], [a.copy() for a in arrays]
    views = [a[::2, ::-2] for a in ours]
    expected = [a[:, ::-1] for a in theirs]
    LoopCompiler(compiles=True)(FORMULAS["relu.forward"], *views)(*scalars)
    Compiler()(FORMULAS["relu.forward"], *expected)(*scalars)
    for got, right in zip(views, expected, strict=True):
        np.testing.assert_array_equal(got, right)
    assert either.loops


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masks_and_noise_are_the_same_bits(either, dtype):
    keys = draw_keys(1, 2, 1, 3).reshape(3, 1, 1)
    found = []
    for compiler in (Compiler(), LoopCompiler(compiles=True)):
        places = Places(np, compiler, keys, 5, 40)
        A, dA = np.random.default_rng(1).standard_normal((2, 9, 40)).astype(dtype)
        rows = np.zeros((40, 9), dtype)
        dropout = Dropout(places, 1, 0.4, A, dA)
        dropout.forward()
        kept = A.copy()
        dropout.backward()
        Noise(places, 0, 0.3, rows).apply()
        found.append((kept, A, dA, rows))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert 0.2 < np.mean(found[1][0] == 0.0) < 0.6
    assert len(either.loops) >= 4


def test_what_saves_no_call_stays_with_numpy():
    assert plan(FORMULAS["tanh.forward"]) is None  # NumPy: add, tanh
    calls = plan(FORMULAS["sigmoid.forward"]).calls  # NumPy: add, minimum, exp, add, divide
    assert [call if isinstance(call, tuple) else "loop" for call in calls] == [
        "loop",
        ("exp", "t0", "t0"),
        "loop",
    ]
    assert len(plan(FORMULAS["adam"]).calls) == 1


def test_functions_of_two_arrays_stay_with_numpy(by_python):
    formula = Formula(lambda xp, a, b: xp.hypot(a + b, a - b) * b, ("a",))
    check(formula, [np.arange(3.0), np.ones(3)], [])
    assert by_python.loops == {}


def test_scalars_that_nothing_reads_may_be_given(by_python):
    def function(xp, a, unread: float, rate: float):
        return a * rate + a

    check(Formula(function, ("a",)), [np.arange(3.0)], [0.5, 0.25])
    assert by_python.loops


def test_constants_may_be_numpys(by_python):
    check(Formula(lambda xp, a: (a + np.float64(0.1)) * np.float32(3.0), ("a",)), [np.ones(3)], [])
    assert by_python.loops


# --- in training ----------------------------------------------------------------------------------


def trained(epochs=6, threads=1, loss="logistic", **options):
    circles = data.circles(60)
    backend = get_backend("numpy", threads=threads)
    options = {"activation": ["relu", "gelu"], "random_state": 1, "backend": backend} | options
    net = Network([2, 6, 4, 1], **options)
    history = train(
        net,
        circles.X,
        circles.y,
        optimizer=Adam(0.01, alpha=0.1, clip_value=0.5),
        epochs=epochs,
        batch_size=25,
        loss=loss,
    )
    return history["loss"], net.theta


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_training_comes_to_the_same_bits(either, monkeypatch, threads, precision):
    monkeypatch.setattr("xpnet.numpy_backend._SHARE", 1)
    options = {"threads": threads, "precision": precision}
    options |= {"normalization": "layer", "dropout": 0.2, "input_scale": True}
    found = []
    for fast in "01":
        monkeypatch.setenv("XPNET_FAST", fast)
        found.append(trained(**options))
        assert bool(either.loops) == (fast == "1")
    assert found[0][0] == found[1][0]
    assert found[0][1].tobytes() == found[1][1].tobytes()
    assert not either.broken


def test_a_run_changes_over_when_it_has_lasted(by_python, monkeypatch):
    expected = trained()
    assert by_python.loops == {}  # so short a run compiles nothing
    assert by_python.training > 0.0
    monkeypatch.setattr(jit, "_ONCE", 1e-9 + jit._SHARE * by_python.training)
    compiled_at = []
    right = run.Run.epoch

    def epoch(self, *arguments):
        done = right(self, *arguments)
        compiled_at.append(len(by_python.loops))
        return done

    monkeypatch.setattr(run.Run, "epoch", epoch)
    losses, theta = trained()
    assert compiled_at[0] > 0
    assert set(compiled_at) == {compiled_at[0]}
    assert losses == expected[0]
    assert theta.tobytes() == expected[1].tobytes()


def test_compiling_stays_a_small_part_of_training(process, monkeypatch):
    monkeypatch.setattr(jit, "_installed", lambda: True)
    enough = jit._ONCE / jit._SHARE
    assert not process.spent(0.9 * enough)
    assert process.spent(0.2 * enough)
    assert not process.spent(0.1 * enough)  # it has been said
    process.compiling = 5.0
    assert not process.spent(0.1)
    assert not process.may_compile
    assert process.spent(5.0 / jit._SHARE)


def test_loops_that_are_there_are_taken_and_no_new_ones_made(by_python):
    arrays, _ = operands(FORMULAS["relu.forward"], (4, 5), "float32", 0, [(4, 1)])
    LoopCompiler(compiles=True)(FORMULAS["relu.forward"], *arrays)
    (loop,) = by_python.loops.values()
    routine = LoopCompiler(compiles=False)(FORMULAS["relu.forward"], *arrays)
    assert routine.func is loop
    arrays, scalars = operands(FORMULAS["adam"], (4,), "float32")
    LoopCompiler(compiles=False)(FORMULAS["adam"], *arrays)(*scalars)
    assert len(by_python.loops) == 1


def test_equal_texts_are_compiled_once(by_python, monkeypatch):
    monkeypatch.setenv("XPNET_FAST", "1")
    trained(loss=focal(1.5))
    before = len(by_python.loops)
    assert by_python.compiling > 0.0
    trained(loss=focal(1.5))  # another formula, which says the same
    assert len(by_python.loops) == before
    trained(loss=focal(1.75))
    assert len(by_python.loops) > before


def test_divergence_is_found_in_loops(either, monkeypatch):
    monkeypatch.setenv("XPNET_FAST", "1")
    circles = data.circles(50)
    net = Network([2, 8, 1], "relu", backend="numpy", random_state=1)
    with pytest.raises(TrainingDiverged):
        train(net, 1e6 * circles.X, circles.y, optimizer=SGD(1e30), epochs=60)
    assert np.isfinite(net.theta).all()
    assert either.loops


@pytest.mark.parametrize("fault", [ImportError("needs NumPy 2.0 or less"), RuntimeError("LLVM")])
def test_a_numba_that_does_not_work_is_reported_once(by_python, monkeypatch, caplog, fault):
    def fail(*arguments):
        raise fault

    monkeypatch.setattr(jit, "_compile", fail)
    expected = trained()
    monkeypatch.setenv("XPNET_FAST", "1")
    with caplog.at_level(logging.WARNING, "xpnet"):
        losses, theta = trained()
        trained()
    (message,) = caplog.messages
    assert message == f"Numba is installed but does not work, NumPy goes on alone: {fault!r}"
    assert losses == expected[0]
    assert theta.tobytes() == expected[1].tobytes()


def test_the_environment_decides(by_python, monkeypatch):
    for value, kind in (("0", Compiler), ("1", LoopCompiler), ("", LoopCompiler)):
        monkeypatch.setenv("XPNET_FAST", value)
        assert type(get_backend("numpy").compiler()) is kind
    monkeypatch.setenv("XPNET_FAST", "yes")
    with pytest.raises(InputError, match="XPNET_FAST: expected one of 0, 1; got 'yes'"):
        get_backend("numpy")
    monkeypatch.setenv("XPNET_FAST", "1")
    monkeypatch.setattr(jit, "_installed", lambda: False)
    assert type(get_backend("numpy").compiler()) is Compiler


def test_its_state_in_words(monkeypatch):
    monkeypatch.setattr(jit, "_installed", lambda: False)
    assert jit.state().startswith("not installed: pip install 'xpnet[fast]'")
    monkeypatch.setattr(jit, "_installed", lambda: True)
    monkeypatch.setattr(jit.metadata, "version", lambda name: f"{name} 9")
    for value, words in (("", "after 20 s of training"), ("0", "not used"), ("1", "at once")):
        monkeypatch.setenv("XPNET_FAST", value)
        assert jit.state().startswith("numba 9 · ")
        assert words in jit.state()


def test_a_short_training_does_not_import_numba():
    script = (
        "import sys\n"
        "from xpnet import Network, data, train\n"
        "circles = data.circles(50)\n"
        "net = Network([2, 4, 1], backend='numpy')\n"
        "train(net, circles.X, circles.y, optimizer='adam', epochs=3)\n"
        "print('numba' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == [b"False"]
