"""The first weights: how widely they spread, and that they come from the same numbers as ever."""

import numpy as np
import pytest

from xpnet.initializers import INITIALIZERS, initialize

WIDE, NARROW = 400, 250
VARIANCE = {  # of a layer with n_in inputs and n_out units
    "random": lambda n_in, n_out: 1e-4,
    "uniform": lambda n_in, n_out: 1e-4 / 12,
    "xavier": lambda n_in, n_out: 1 / n_in,
    "lecun_normal": lambda n_in, n_out: 1 / n_in,
    "lecun_uniform": lambda n_in, n_out: 1 / n_in,
    "glorot_normal": lambda n_in, n_out: 2 / (n_in + n_out),
    "glorot_uniform": lambda n_in, n_out: 2 / (n_in + n_out),
    "he": lambda n_in, n_out: 2 / n_in,
    "he_normal": lambda n_in, n_out: 2 / n_in,
    "he_uniform": lambda n_in, n_out: 2 / n_in,
    "orthogonal": lambda n_in, n_out: 1 / max(n_in, n_out),
}
UNIFORM = {name for name in INITIALIZERS if name.endswith("uniform")}
SOURCES = [np.random.default_rng, np.random.RandomState]


def test_every_initializer_is_judged_here():
    assert set(VARIANCE) == set(INITIALIZERS)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("sizes", [(WIDE, NARROW), (NARROW, WIDE), (300, 300)])
@pytest.mark.parametrize("name", INITIALIZERS)
def test_variance_and_range(name, sizes, source):
    (W,) = initialize(sizes, name, source(3))
    n_in, n_out = sizes
    assert W.shape == (n_out, n_in)
    assert W.dtype == np.float64
    assert W.flags.c_contiguous
    variance = VARIANCE[name](n_in, n_out)
    assert W.var() == pytest.approx(variance, rel=0.03)
    deviation = np.sqrt(variance)
    mean = 0.005 if name == "uniform" else 0.0
    assert W.mean() == pytest.approx(mean, abs=5 * deviation / np.sqrt(W.size))
    largest = np.abs(W - mean).max() / deviation
    if name in UNIFORM:  # all of [-a, a], and nothing beyond: a = √3 σ
        assert 0.999 * np.sqrt(3) < largest <= np.sqrt(3)
    else:
        assert largest > 3.5


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("sizes", [(30, 30), (30, 12), (12, 30), (5, 1), (1, 5), (1, 1)])
def test_orthogonal_rows_or_columns(sizes, source):
    (W,) = initialize(sizes, "orthogonal", source(0))
    few = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    np.testing.assert_allclose(few, np.eye(min(sizes)), atol=1e-14)


def test_orthogonal_matrices_are_drawn_evenly():
    """Without the correction of signs, LAPACK's Q would have a negative first entry always."""
    rng = np.random.default_rng(0)
    drawn = np.array([initialize((3, 3), "orthogonal", rng)[0] for _ in range(2000)])
    np.testing.assert_allclose(drawn.mean(axis=0), 0.0, atol=5 / np.sqrt(3 * 2000))
    assert np.mean(np.linalg.det(drawn) > 0) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("random", lambda n: 0.01),
        ("xavier", lambda n: 1 / n**0.5),
        ("he", lambda n: (2 / n) ** 0.5),
    ],
)
def test_the_courses_words_draw_the_courses_numbers(name, scale):
    """One ``standard_normal`` call a layer, in order, by the legacy generator."""
    state = np.random.RandomState(1)
    for W in initialize((5, 4, 3, 1), name, 1):
        np.testing.assert_allclose(
            W, state.standard_normal(W.shape) * scale(W.shape[1]), rtol=1e-15
        )
    (W,) = initialize((2, 1), name, 1)
    numbers = [1.6243453636632417, -0.6117564136500754]  # of seed 1, as in the course's notebooks
    np.testing.assert_allclose(W, [[numbers[0] * scale(2), numbers[1] * scale(2)]], rtol=1e-15)


@pytest.mark.parametrize(("name", "other"), [("he", "he_normal"), ("xavier", "lecun_normal")])
def test_two_words_for_one_thing(name, other):
    np.testing.assert_array_equal(initialize((4, 3), name, 0), initialize((4, 3), other, 0))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_same_seed_draws_the_same(name):
    for one, other in zip(*(initialize((4, 3, 1), name, 7) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(initialize((4, 3), name, 7), initialize((4, 3), name, 8))


@pytest.mark.parametrize(
    "name", [n for n in INITIALIZERS if n.startswith(("he_", "glorot", "lecun", "orth"))]
)
def test_variances_are_pytorchs(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = {
        "he_normal": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "he_uniform": lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu"),
        "lecun_normal": lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="linear"),
        "lecun_uniform": lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="linear"),
        "glorot_normal": torch.nn.init.xavier_normal_,
        "glorot_uniform": torch.nn.init.xavier_uniform_,
        "orthogonal": torch.nn.init.orthogonal_,
    }[name]
    torch.manual_seed(0)
    judge = theirs(torch.empty(NARROW, WIDE, dtype=torch.float64)).numpy()
    (W,) = initialize((WIDE, NARROW), name, 0)
    assert W.std() == pytest.approx(judge.std(), rel=0.02)
    if name in UNIFORM:
        assert np.abs(W).max() == pytest.approx(np.abs(judge).max(), rel=1e-3)
