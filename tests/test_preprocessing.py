"""Scalings: fitted as scikit-learn does, finite for every feature, the same on every device."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import MaxAbsScaler, RobustScaler, StandardScaler

import xpnet.preprocessing
from xpnet import InputError
from xpnet.preprocessing import SCALERS, fit_scaling


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Let a few hundred numbers take several chunks."""
    monkeypatch.setattr(xpnet.preprocessing, "_CHUNK", 1000)


def scaled(scaling, X, dtype=float):
    """Rows *X* scaled as the network would, in *dtype*."""
    center, scale = scaling.center[None].astype(dtype), scaling.scale[None].astype(dtype)
    return scaling.apply(np, np.asarray(X, dtype), center, scale)


def clipped(X):
    return X / np.sqrt(1 + (X / 3) ** 2)


@pytest.fixture(name="X")
def rows(rng):
    return rng.normal(5, [1e-3, 1, 1e4], (401, 3))


# --- against scikit-learn -------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standard_is_scikit_learns(X, rng, dtype, weighted, order):
    X = np.asarray(X, dtype, order)
    weights = rng.uniform(0, 2, 401) if weighted else None
    expected = StandardScaler().fit(X.astype(float), sample_weight=weights)
    scaling = fit_scaling("standard", X, weights)
    np.testing.assert_allclose(scaling.center, expected.mean_, rtol=1e-13)
    np.testing.assert_allclose(scaling.scale, 1 / expected.scale_, rtol=1e-11)
    there = expected.transform(X.astype(float))
    np.testing.assert_allclose(scaled(scaling, X), there, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_robust_is_scikit_learns_clipped(X, dtype, order):
    X = np.asarray(X, dtype, order)  # of 4k + 1 rows: all definitions of a quartile agree
    expected = RobustScaler().fit(X.astype(float))
    scaling = fit_scaling("robust", X)
    np.testing.assert_array_equal(scaling.center, expected.center_)
    np.testing.assert_allclose(scaling.scale, 1 / expected.scale_, rtol=1e-13)
    there = clipped(expected.transform(X.astype(float)))
    np.testing.assert_allclose(scaled(scaling, X), there, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6, 7, 8, 100])
def test_quartiles_are_numpys(rng, m):
    X = rng.normal(0, 1, (m, 3)).round(1)
    quartiles = np.quantile(X, [0.25, 0.5, 0.75], axis=0, method="averaged_inverted_cdf")
    for weights in (None, np.full(m, 0.5)):
        scaling = fit_scaling("robust", X, weights)
        np.testing.assert_allclose(scaling.center, quartiles[1], rtol=1e-14, atol=1e-15)
        distance = quartiles[2] - quartiles[0]
        apart = distance > 1e-9
        np.testing.assert_allclose(scaling.scale[apart], 1 / distance[apart], rtol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "csr_array", "csr_matrix", "csc_array"])
def test_max_abs_is_scikit_learns(X, rng, kind):
    sparse = pytest.importorskip("scipy.sparse")
    X = np.column_stack([X * (rng.uniform(size=X.shape) < 0.3) - X.mean() / 2, np.zeros(401)])
    given = X if kind == "dense" else getattr(sparse, kind)(X)
    expected = MaxAbsScaler().fit(X)
    scaling = fit_scaling("max_abs", given)
    np.testing.assert_array_equal(scaling.center, 0)
    np.testing.assert_allclose(scaling.scale, 1 / expected.scale_, rtol=1e-15)
    np.testing.assert_allclose(scaled(scaling, X), expected.transform(X), rtol=1e-14)


def test_sparse_rows_of_weight_zero_are_absent():
    sparse = pytest.importorskip("scipy.sparse")
    X = sparse.csr_array([[-4.0, 0.0], [1.0, 2.0], [100.0, 100.0]])
    np.testing.assert_array_equal(fit_scaling("max_abs", X, [1, 1, 0]).scale, [1 / 4, 1 / 2])


# --- weights --------------------------------------------------------------------------------------

quarters = st.integers(-40, 40).map(lambda k: k / 4)


@given(st.data())
def test_integer_weights_are_repetition(data):
    m, n = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    X = data.draw(
        arrays(data.draw(st.sampled_from([np.float32, float])), (m, n), elements=quarters)
    )
    weights = np.array(data.draw(st.lists(st.integers(0, 5), min_size=m, max_size=m)))
    if not weights.any():
        weights[0] = 1
    name = data.draw(st.sampled_from(sorted(SCALERS)))
    found, expected = fit_scaling(name, X, weights), fit_scaling(name, np.repeat(X, weights, 0))
    if name in ("standard", "robust_std"):  # sums in another order
        np.testing.assert_allclose(found.center, expected.center, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-12)
    else:
        np.testing.assert_array_equal(found.center, expected.center)
        np.testing.assert_array_equal(found.scale, expected.scale)


@pytest.mark.parametrize("name", SCALERS)
def test_rows_of_weight_zero_are_absent(X, rng, name):
    weights = rng.uniform(0, 2, 401) * (rng.uniform(size=401) < 0.7)
    there = weights > 0
    found, expected = fit_scaling(name, X, weights), fit_scaling(name, X[there], weights[there])
    np.testing.assert_array_equal(found.center, expected.center)
    np.testing.assert_array_equal(found.scale, expected.scale)


# --- features of every kind -----------------------------------------------------------------------


def test_constant_features_become_zero():
    X = np.column_stack([np.full(7, 0.1), np.zeros(7), np.full(7, -1e30), np.full(7, 1 / 3)])
    for name in ("standard", "robust"):
        for dtype in (np.float32, float):
            np.testing.assert_array_equal(scaled(fit_scaling(name, X), X, dtype), 0)
    np.testing.assert_array_equal(fit_scaling("standard", X).scale, 1)
    np.testing.assert_array_equal(fit_scaling("robust", X).scale, 0)


def test_columns_of_a_one_hot_encoding_keep_their_two_values_apart():
    X = np.zeros((100, 3), bool)
    X[:10, 0] = X[:60, 1] = X[:95, 2] = True
    scaling = fit_scaling("robust", X)
    np.testing.assert_array_equal(scaling.center, [0, 1, 1])
    np.testing.assert_array_equal(scaling.scale, [2, 1, 2])
    np.testing.assert_allclose(scaled(scaling, [[1, 0, 0]])[0], clipped(np.array([2, -1, -2])))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint64", "float16"])
def test_other_dtypes_are_fitted_as_their_numbers(rng, dtype):
    X = rng.integers(0, 120, (50, 2)).astype(dtype)
    for name in SCALERS:
        found, expected = fit_scaling(name, X), fit_scaling(name, X.astype(float))
        np.testing.assert_array_equal(found.center, expected.center)
        np.testing.assert_array_equal(found.scale, expected.scale)


def test_a_rare_value_is_seen_among_many_rows(rng):
    X = np.zeros((250_001, 2), np.float32)
    X[:, 0], X[1, 1] = rng.normal(3, 2, 250_001), 1
    scaling = fit_scaling("robust", X)
    assert scaling.scale[1] == 2
    quartiles = np.quantile(X[:, 0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(scaling.center[0], quartiles[1], atol=0.03)
    np.testing.assert_allclose(1 / scaling.scale[0], quartiles[2] - quartiles[0], rtol=0.02)
    thinned = fit_scaling("robust", X[::3], np.ones(len(X[::3])))
    assert scaling.scale[0] == thinned.scale[0]
    assert scaling.center[0] == thinned.center[0]


def extremes(dtype, largest):
    usual = st.floats(-largest, largest, width=np.dtype(dtype).itemsize * 8)
    special = st.sampled_from([0.0, 1.0, float(np.finfo(dtype).smallest_subnormal), largest, 1e-30])
    return arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 3)), elements=special | usual)


@settings(max_examples=300)
@given(extremes("float32", float(np.float32(1e38))) | extremes("float64", 8e307), st.data())
def test_no_feature_makes_anything_infinite(X, data):
    name = data.draw(st.sampled_from(sorted(SCALERS)))
    weights = data.draw(st.none() | arrays(float, len(X), elements=st.floats(1, 1e6)))
    if weights is not None:
        weights *= data.draw(st.sampled_from([1e-300, 1.0, 1e300]))
    scaling = fit_scaling(name, X, weights)
    with np.errstate(over="ignore", under="ignore"):
        rows = scaled(scaling, X, X.dtype)
    for values in (scaling.center, scaling.scale, rows):
        assert np.isfinite(values).all()
    assert np.isfinite(scaling.scale.astype(np.float32)).all()
    if name == "max_abs":
        assert np.abs(rows).max() <= 1 + 1e-6
    if name == "robust":
        assert np.abs(rows).max() <= 3 + 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outliers_end_at_the_bound_and_order_stays(dtype):
    scaling = fit_scaling("robust", np.arange(-4.0, 5.0)[:, None])  # quartiles -2 and 2
    values = np.array([0, 1, 8, 1e3, 1e6, 1e12, 1e25, 3e38], dtype)
    with np.errstate(over="ignore"):
        upper, lower = (scaled(scaling, sign * values[:, None], dtype)[:, 0] for sign in (1, -1))
    np.testing.assert_allclose(upper[:3], clipped(values[:3] / 4), rtol=1e-6)
    assert (np.diff(upper) >= 0).all()
    np.testing.assert_array_equal(upper[-3:], 3)
    np.testing.assert_array_equal(lower, -upper)


# --- where the network's data lie -----------------------------------------------------------------


@pytest.mark.parametrize("as_columns", [False, True])
@pytest.mark.parametrize("name", SCALERS)
def test_every_backend_scales_in_place(backend, X, name, as_columns):
    scaling = fit_scaling(name, X)
    expected = scaled(scaling, X)
    with backend:
        A, center, scale = (
            backend.asarray(np.ascontiguousarray(array, "float32"), "float32", "array")
            for array in (X.copy(), scaling.center[None], scaling.scale[None])
        )
        if as_columns:
            A, center, scale = A.T, center.T, scale.T
        plain = backend.to_host(scaling.apply(backend.xp, A, center, scale))
        backend.compiler()(scaling.formula, A, center, scale)()
        written = backend.to_host(A)
    for result in (plain, written):
        result = result.T if as_columns else result
        np.testing.assert_allclose(result, expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(written, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SCALERS)
def test_the_formula_is_of_the_array_standard(X, name):
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    scaling = fit_scaling(name, X)
    found = scaling.apply(strict, *map(strict.asarray, (X, scaling.center, scaling.scale)))
    np.testing.assert_array_equal(np.asarray(found), scaled(scaling, X))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rubbish", [[1.0]]), "scaling: expected one of max_abs, robust, .*; got 'rubbish'"),
        (("robust", [1.0, 2.0]), r"X: expected rows, shape \(m, n\); got shape \(2,\)"),
        (("robust", np.empty((0, 2))), r"X: expected rows.*got shape \(0, 2\)"),
        (("robust", [["a"]]), "X: expected numbers"),
        (("standard", [[1.0, 2.0], [3.0, np.nan]]), "1 NaN or infinite.*row 1, column 1"),
        (("robust", [[1.0], [np.inf]]), "1 NaN or infinite.*row 1, column 0"),
        (("max_abs", [[1.0], [-np.inf]]), "1 NaN or infinite"),
        (("robust", [[1.0], [2.0]], [1.0]), r"sample_weight: expected shape \(2,\).*got \(1,\)"),
        (("robust", [[1.0], [2.0]], [1, -1]), "sample_weight: expected numbers of at least 0"),
        (("robust", [[1.0], [2.0]], [0, 0]), "sample_weight: expected numbers of at least 0"),
        (("robust", [[1.0], [2.0]], [1, np.nan]), "sample_weight: expected finite numbers"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        fit_scaling(*arguments)


def test_sparse_rows_are_not_centred():
    sparse = pytest.importorskip("scipy.sparse")
    for name in ("standard", "robust"):
        with pytest.raises(
            InputError, match=r'centring would fill a sparse matrix.*take "max_abs"'
        ):
            fit_scaling(name, sparse.csr_array([[0.0, 1.0]]))
    with pytest.raises(InputError, match="1 NaN or infinite"):
        fit_scaling("max_abs", sparse.csr_array([[0.0, np.nan], [1.0, 2.0]]))
