"""The optimizers' rules against their papers' and PyTorch's; what may be given; what runs add."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpnet import SGD, AdaGrad, Adam, AdamW, InputError, NAdam, RMSProp, get_backend, schedules
from xpnet.optimizers import OPTIMIZERS, get_optimizer
from xpnet.rules import clip_value, decay, penalise, scale_by

FIRST_ORDER = sorted(set(OPTIMIZERS) - {"lbfgs"})  # L-BFGS is SciPy's
N = 20
CASES = [
    SGD(0.1),
    SGD(0.1, momentum=0.9),
    SGD(0.1, momentum=0.6, nesterov=True),
    SGD(0.1, momentum=0.9, weight_decay=0.0, alpha=0.3),
    RMSProp(0.03),
    RMSProp(0.03, rho=0.0, epsilon=1e-3),
    RMSProp(0.03, rho=0.5, alpha=0.1),
    AdaGrad(0.2),
    AdaGrad(0.2, epsilon=0.1, alpha=0.1),
    Adam(0.01),
    Adam(0.01, beta_1=0.0, beta_2=0.0),
    Adam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-2),
    Adam(0.01, alpha=0.2),
    AdamW(0.01),
    AdamW(0.01, weight_decay=0.5, beta_1=0.5),
    NAdam(0.01),
    NAdam(0.01, beta_1=0.0, beta_2=0.0),
    NAdam(0.01, beta_1=0.5, momentum_decay=0.7),
    NAdam(0.01, beta_1=0.95, momentum_decay=0.0, alpha=0.2),
]


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch", reason="PyTorch, the judge, is not installed")
    torch.set_default_dtype(torch.float64)  # its NAdam keeps the product of the μ's in that
    yield torch
    torch.set_default_dtype(torch.float32)


def torchs(torch, optimizer, parameters):
    """The same optimizer of PyTorch."""
    o = optimizer
    kinds = {
        SGD: lambda **k: torch.optim.SGD(parameters, momentum=o.momentum, nesterov=o.nesterov, **k),
        RMSProp: lambda **k: torch.optim.RMSprop(parameters, alpha=o.rho, eps=o.epsilon, **k),
        AdaGrad: lambda **k: torch.optim.Adagrad(parameters, eps=o.epsilon, **k),
        Adam: lambda **k: torch.optim.Adam(
            parameters, betas=(o.beta_1, o.beta_2), eps=o.epsilon, **k
        ),
        AdamW: lambda **k: torch.optim.AdamW(
            parameters, betas=(o.beta_1, o.beta_2), eps=o.epsilon, **k
        ),
        NAdam: lambda **k: torch.optim.NAdam(
            parameters,
            betas=(o.beta_1, o.beta_2),
            eps=o.epsilon,
            momentum_decay=o.momentum_decay,
            **k,
        ),
    }
    return kinds[type(o)](lr=o.learning_rate, weight_decay=o.alpha or o.weight_decay)


def steps(backend, optimizer, start, gradients, first=1, state=None, factors=None):
    """Yield the parameters after each step, as a run does one; *state* is changed in place."""
    theta, grad = backend.asarray(start.copy()), backend.asarray(np.zeros_like(start))
    if state is None:
        state = [backend.asarray(np.zeros_like(start)) for _ in optimizer.state]
    compiler, rate = backend.compiler(), optimizer.learning_rate
    formula, arrays = optimizer.formula, [theta, grad]
    if factors is not None:
        formula, arrays = optimizer.rule.formula_with_factors, [*arrays, backend.asarray(factors)]
    update = compiler(formula, *arrays, *state)
    shrink, pull = compiler(decay, theta), compiler(penalise, grad, theta)
    for step, gradient in enumerate(gradients, start=first):
        with backend:
            grad[...] = backend.asarray(gradient)
            if optimizer.alpha:
                pull(optimizer.alpha, optimizer.l1)
            if optimizer.weight_decay:
                shrink(1.0 - rate * optimizer.weight_decay)
            scalars = optimizer.scalars(rate, step)
            assert all(type(s) is float for s in scalars)
            update(*scalars)
        yield backend.to_host(theta).copy()


def as_written(o, theta, gradients):
    """Yield the parameters after each step, as the papers write them, of optimizer *o*."""
    m, v, mus = np.zeros_like(theta), np.zeros_like(theta), [1.0]

    def mu(t):
        return o.beta_1 * (1 - 0.96 ** (t * o.momentum_decay) / 2)

    for t, g in enumerate(gradients, start=1):
        theta = theta - o.learning_rate * o.weight_decay * theta
        g = g + o.alpha * theta  # none of the cases has both
        if isinstance(o, SGD):
            m = o.momentum * m + g
            step = g + o.momentum * m if o.nesterov else m
        elif isinstance(o, AdaGrad):
            v = v + g**2
            step = g / (np.sqrt(v) + o.epsilon)
        elif isinstance(o, RMSProp):
            v = o.rho * v + (1 - o.rho) * g**2
            step = g / (np.sqrt(v) + o.epsilon)
        else:
            m = o.beta_1 * m + (1 - o.beta_1) * g
            v = o.beta_2 * v + (1 - o.beta_2) * g**2
            mean = m / (1 - o.beta_1**t)
            if isinstance(o, NAdam):
                mus.append(mu(t))
                now, coming = math.prod(mus), math.prod(mus) * mu(t + 1)
                mean = mu(t + 1) * m / (1 - coming) + (1 - mu(t)) * g / (1 - now)
            step = mean / (np.sqrt(v / (1 - o.beta_2**t)) + o.epsilon)
        theta = theta - o.learning_rate * step
        yield theta


@pytest.mark.parametrize("optimizer", CASES, ids=repr)
def test_steps_are_the_papers(backend, optimizer):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(N), rng.standard_normal((12, N))
    gradients[3, :5] = 0.0
    gradients[:, 7] = 0.0
    theirs = as_written(optimizer, start, gradients)
    mine = steps(backend, optimizer, start, gradients)
    for expected, got in zip(theirs, mine, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("optimizer", CASES, ids=repr)
def test_steps_are_pytorchs(backend, torch, optimizer):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(N), rng.standard_normal((12, N))
    gradients[3, :5] = 0.0
    gradients[:, 7] = 0.0
    theirs = torch.tensor(start, requires_grad=True)
    judge = torchs(torch, optimizer, [theirs])
    for gradient, mine in zip(gradients, steps(backend, optimizer, start, gradients), strict=True):
        theirs.grad = torch.tensor(gradient)
        judge.step()
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)


@given(data=st.data())
@settings(max_examples=60)
def test_any_hyper_parameters_are_pytorchs(torch, data):
    fraction = st.floats(0.0, 0.999)
    kind = data.draw(st.sampled_from([SGD, RMSProp, Adam, NAdam]))
    given_ = {
        SGD: {"momentum": st.floats(0.01, 0.999), "nesterov": st.booleans()},
        RMSProp: {"rho": fraction},
        Adam: {"beta_1": fraction, "beta_2": fraction},
        NAdam: {"beta_1": fraction, "beta_2": fraction, "momentum_decay": st.floats(0.0, 3.0)},
    }[kind]
    optimizer = kind(
        data.draw(st.floats(1e-4, 1.0)), **{k: data.draw(v) for k, v in given_.items()}
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    start, gradients = rng.standard_normal(5), rng.standard_normal((5, 5))
    theirs = torch.tensor(start, requires_grad=True)
    judge = torchs(torch, optimizer, [theirs])
    for gradient, mine in zip(
        gradients, steps(get_backend("numpy"), optimizer, start, gradients), strict=True
    ):
        theirs.grad = torch.tensor(gradient)
        judge.step()
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-9, atol=1e-11)


#: As PyTorch's documentation has them, but for SGD's rate; L-BFGS as SciPy's, and no rate is asked.
DEFAULTS = {
    "sgd": {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False},
    "rmsprop": {"learning_rate": 0.01, "rho": 0.99, "epsilon": 1e-8},
    "adagrad": {"learning_rate": 0.01, "epsilon": 1e-10},
    "adam": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    "adamw": {
        "learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8,
        "weight_decay": 0.01,
    },
    "nadam": {
        "learning_rate": 0.002, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8,
        "momentum_decay": 0.004,
    },
    "lbfgs": {"learning_rate": 0.01, "memory": 10, "tolerance": 1e-5},
}  # fmt: skip
NONE = {"alpha": 0.0, "l1": 0.0, "weight_decay": 0.0, "clip_norm": None, "clip_value": None}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_are_as_documented(name):
    found = get_optimizer(name).as_dict()
    assert (found.pop("name"), found.pop("schedule")["name"]) == (name, "constant")
    assert found == NONE | DEFAULTS[name]


@pytest.mark.parametrize("kind", [Adam, AdamW, NAdam])
def test_adams_numbers_may_be_given_in_order(kind):
    named = kind(learning_rate=0.1, schedule="cosine", beta_1=0.8, beta_2=0.7, epsilon=1e-3)
    assert kind(0.1, "cosine", 0.8, 0.7, 1e-3) == named


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_defaults_are_pytorchs(torch, name):
    kinds = {kind.__name__.lower(): kind for kind in vars(torch.optim).values() if callable(kind)}
    given = {"lr": 0.01} if name == "sgd" else {}  # its default has changed over the years
    theirs = kinds[name]([torch.zeros(1)], **given).defaults
    words = {"learning_rate": "lr", "epsilon": "eps", "rho": "alpha"}
    theirs |= dict(zip(("beta_1", "beta_2"), theirs.get("betas", ()), strict=False))
    mine = get_optimizer(name).as_dict()
    del mine["alpha"]  # their RMSProp calls ρ so
    shared = {k: v for k, v in mine.items() if words.get(k, k) in theirs}
    assert {"learning_rate", "weight_decay"} <= set(shared)
    assert shared == {k: theirs[words.get(k, k)] for k in shared}


@pytest.mark.parametrize("optimizer", CASES, ids=repr)
def test_a_run_goes_on_from_its_state_and_step(backend, optimizer):
    rng = np.random.default_rng(1)
    start, gradients = rng.standard_normal(N), rng.standard_normal((10, N))
    whole = list(steps(backend, optimizer, start, gradients))
    state = [backend.asarray(np.zeros(N)) for _ in optimizer.state]
    half = list(steps(backend, optimizer, start, gradients[:6], state=state))[-1]
    again = get_optimizer(**{"optimizer": (plain := optimizer.as_dict()).pop("name"), **plain})
    rest = steps(backend, again, half, gradients[6:], first=7, state=state)
    np.testing.assert_array_equal(list(rest)[-1], whole[-1])


@pytest.mark.parametrize("step", [1, 2, 37, 394, 400, 10_000])
@pytest.mark.parametrize("beta_1", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("momentum_decay", [0.0, 0.004, 1.0, 1e3])
def test_nadams_product_in_closed_form_is_the_product(step, beta_1, momentum_decay):
    optimizer = NAdam(beta_1=beta_1, momentum_decay=momentum_decay)
    i = np.arange(1, step + 1)
    product = math.prod(beta_1 * (1.0 - 0.5 * 0.96 ** (i * momentum_decay)))
    assert optimizer._product(step) == pytest.approx(product, rel=1e-11, abs=2.0**-60)


@pytest.mark.parametrize(  # the others pull at the parameters too
    "optimizer", [o for o in CASES if not (o.alpha or o.weight_decay)], ids=repr
)
def test_factors_scale_the_step_and_nothing_else(backend, optimizer):
    rng = np.random.default_rng(2)
    start, gradients = rng.standard_normal(N), rng.standard_normal((4, N))
    factors = np.repeat([0.0, 0.5, 1.0, 3.0], N // 4)
    plain = list(steps(backend, optimizer, start, gradients))[-1]
    scaled = list(steps(backend, optimizer, start, gradients, factors=factors))[-1]
    np.testing.assert_allclose(scaled - start, factors * (plain - start), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FIRST_ORDER)
def test_tiny_and_large_gradients_stay_finite(backend, name, dtype):
    optimizer = get_optimizer(name, learning_rate=1e-3)
    gradients = np.array([[0.0, 1e-30, 1e-12, 1.0, 1e12, -1e12]] * 2000, dtype)
    *_, last = steps(backend, optimizer, np.zeros(6, dtype), gradients)
    assert last.dtype == dtype
    assert np.isfinite(last).all()
    assert last[0] == 0.0
    if name.startswith(("adam", "nadam", "rmsprop")):  # a step is about the rate
        np.testing.assert_allclose(np.abs(last[3:]), 2.0, rtol=0.1)


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_only_sgd_keeps_nothing(name):
    state = OPTIMIZERS[name]().state
    assert state == {"sgd": (), "rmsprop": ("v",), "adagrad": ("v",)}.get(name, ("m", "v"))
    assert SGD(momentum=0.5).state == SGD(momentum=0.5, nesterov=True).state == ("velocity",)


# --- what runs add --------------------------------------------------------------------------------


def compiled(backend, formula, *arguments):
    arrays = [backend.asarray(np.array(a)) for a in arguments if not isinstance(a, float)]
    with backend:
        backend.compiler()(formula, *arrays)(*[a for a in arguments if isinstance(a, float)])
    return backend.to_host(arrays[0])


def test_penalties_are_gradients_of_norms(backend):
    theta, grad = np.array([-2.0, -1e-9, 0.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])
    got = compiled(backend, penalise, grad, theta, 0.5, 0.25)
    np.testing.assert_allclose(got, [-0.25, 1.75 - 5e-10, 3.0, 5.75], rtol=1e-15)


def test_decay_clip_and_scale(backend):
    x = np.array([-3.0, -0.5, 0.0, 0.5, 3.0])
    np.testing.assert_array_equal(compiled(backend, decay, x, 0.75), 0.75 * x)
    np.testing.assert_array_equal(
        compiled(backend, clip_value, x, -0.5, 0.5), np.clip(x, -0.5, 0.5)
    )
    np.testing.assert_array_equal(compiled(backend, scale_by, x, np.array([0.25])), 0.25 * x)
    assert np.isnan(compiled(backend, clip_value, np.array([np.nan]), -0.5, 0.5)).all()


# --- what may be given ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer", [*CASES, Adam(schedule=schedules.WarmUp(0.3)), SGD(clip_norm=1)]
)
def test_plain_data_and_back(optimizer):
    plain = json.loads(json.dumps(optimizer.as_dict()))
    assert get_optimizer(plain.pop("name"), **plain) == optimizer


def test_schedules_by_name_by_data_or_made():
    made = Adam(0.01, schedules.Cosine(0.5))
    assert made == Adam(0.01, {"name": "cosine", "end": 0.5}) != Adam(0.01, "cosine")
    rate = made.rates(0, [])
    assert (rate(0.0), rate(0.5)) == (0.01, pytest.approx(0.0075))


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (SGD, {"learning_rate": 0}, "learning_rate: expected a number above 0; got 0"),
        (SGD, {"learning_rate": math.inf}, "learning_rate: expected a number above 0; got inf"),
        (SGD, {"learning_rate": 10**400}, "learning_rate: expected a number above 0; got 1000"),
        (SGD, {"learning_rate": None}, "learning_rate: expected a number above 0; got None"),
        (SGD, {"alpha": -1e-4}, "alpha: expected a number of at least 0; got -0.0001"),
        (SGD, {"l1": math.nan}, "l1: expected a number of at least 0; got nan"),
        (SGD, {"weight_decay": "0.1"}, "weight_decay: expected a number of at least 0; got '0.1'"),
        (SGD, {"clip_norm": 0.0}, "clip_norm: expected a number above 0 or None; got 0.0"),
        (SGD, {"clip_value": -1.0}, "clip_value: expected a number above 0 or None; got -1.0"),
        (SGD, {"momentum": 1.0}, "momentum: expected 0 ≤ value < 1; got 1.0"),
        (SGD, {"nesterov": True}, "nesterov: expected False without momentum; got True; give mom"),
        (SGD, {"momentum": 0.9, "nesterov": 1}, "nesterov: expected True or False; got 1"),
        (RMSProp, {"rho": -0.1}, "rho: expected 0 ≤ value < 1; got -0.1"),
        (AdaGrad, {"epsilon": 0.0}, "epsilon: expected a number above 0; got 0.0"),
        (Adam, {"beta_1": 1.0}, "beta_1: expected 0 ≤ value < 1; got 1.0"),
        (AdamW, {"beta_2": True}, "beta_2: expected 0 ≤ value < 1; got True"),
        (NAdam, {"momentum_decay": -1}, "momentum_decay: expected a number of at least 0; got -1"),
        (Adam, {"schedule": "cosin"}, "schedule: expected one of .*; got 'cosin'"),
        (Adam, {"schedule": None}, "schedule: expected one of .*; got None"),
    ],
)
def test_wrong_hyper_parameters_are_named(kind, settings, words):
    with pytest.raises(InputError, match=words):
        kind(**settings)
    with pytest.raises(InputError, match=words):
        get_optimizer(kind.name, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sgd", {"alpha": 0, "l1": 0, "weight_decay": 0, "momentum": 0}),
        ("nadam", {"beta_1": 0, "beta_2": 0, "momentum_decay": 0, "epsilon": 1e-300}),
        ("lbfgs", {"memory": 1, "tolerance": 1e-300}),
    ],
)
def test_the_least_that_may_be_given_is_taken(name, settings):
    assert settings.items() <= get_optimizer(name, **settings).as_dict().items()


def test_unknown_names_are_named():
    with pytest.raises(
        InputError, match=r"optimizer: expected one of adagrad, .* sgd; got 'newton'"
    ):
        get_optimizer("newton")
    with pytest.raises(
        InputError, match=r"hyper-parameter of sgd: expected one of .*; got 'beta_1'"
    ):
        get_optimizer("sgd", beta_1=0.5)
