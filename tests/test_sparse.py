"""Sparse rows: made dense batch by batch, where the network's data lie."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

from tests.counting_double import CountingDouble
from xpnet import BinaryClassifier, InputError, Network, evaluate, train
from xpnet.backend import CupyBackend


class DoubleRows:
    """As much of ``cupyx.scipy.sparse.csr_matrix`` as is asked for, over the counting double."""

    def __init__(self, double, rows):
        self.double, self.rows = double, rows
        self.shape, self.ndim = rows.shape, 2
        self.data, self.indices = double.asarray(rows.data), double.asarray(rows.indices)

    def sum_duplicates(self):
        self.rows.sum_duplicates()
        self.data, self.indices = map(self.double.asarray, (self.rows.data, self.rows.indices))

    def tocsr(self):
        return self

    def __getitem__(self, index):
        host = index if isinstance(index, slice) else index.get()
        rows = self.rows.copy()
        rows.data = self.data.get()
        return DoubleRows(self.double, rows[host])

    def toarray(self):
        rows = self.rows.copy()
        rows.data = self.data.get()
        return self.double.asarray(rows.toarray())


@pytest.fixture(params=["numpy", "double"])
def where(request, monkeypatch):
    if request.param == "numpy":
        return "numpy"
    double = CountingDouble()
    fake = SimpleNamespace(csr_matrix=lambda rows: DoubleRows(double, rows))
    for name in ("cupyx", "cupyx.scipy"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupyx.scipy.sparse", fake)
    return CupyBackend(double)


def problem(m=300, n=20):
    X = scipy.sparse.random_array((m, n), density=0.2, rng=np.random.default_rng(0), format="csr")
    return X, np.asarray(X.sum(axis=1)).ravel() > 1.9


def trained(where, X, y, **options):
    net = Network([X.shape[1], 8, 1], "tanh", precision="float64", backend=where, random_state=1)
    settings = {"optimizer": "adam", "epochs": 5, "batch_size": 64} | options
    return net, train(net, X, y, **settings)


@pytest.mark.parametrize("kind", ["csr_array", "csc_array", "coo_array", "csr_matrix"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": None},
        {"shuffle": False},
        {"scaling": "max_abs"},
        {"sample_weight": np.arange(300) % 3},
    ],
    ids=str,
)
def test_sparse_rows_train_and_predict_as_dense_ones(where, kind, options):
    X, y = problem()
    rows = getattr(scipy.sparse, kind)(X)
    dense, expected = trained("numpy", X.toarray(), y, validation_data=(X.toarray(), y), **options)
    net, history = trained(where, rows, y, validation_data=(rows, y), **options)
    for name in expected:
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-10)
    np.testing.assert_allclose(net.predict_proba(rows), dense.predict_proba(X.toarray()), rtol=1e-9)
    np.testing.assert_allclose(evaluate(net, rows, y), evaluate(dense, X.toarray(), y), rtol=1e-9)
    assert isinstance(net.predict_proba(rows), np.ndarray)


def test_repeated_entries_add_up():
    X, y = problem()
    X = X.tocoo()
    halves = scipy.sparse.coo_array(
        (np.tile(X.data / 2, 2), (np.tile(X.coords[0], 2), np.tile(X.coords[1], 2))), X.shape
    )
    _, expected = trained("numpy", X, y)
    _, history = trained("numpy", halves, y)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-10)


@pytest.mark.parametrize("chunk", [100, 1])
def test_a_prediction_in_chunks_is_one_prediction(where, monkeypatch, chunk):
    X, y = problem()
    net, _ = trained(where, X, y)
    whole = net.predict_proba(X)
    monkeypatch.setattr(net.backend, "chunk", chunk)
    np.testing.assert_allclose(net.predict_proba(X), whole, rtol=1e-12)


def test_users_rows_are_left_as_they_are(where):
    X, y = problem()
    before = X.copy()
    trained(where, X, y, scaling="max_abs")
    assert not (X - before).nnz


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X: X[:, :5], "X: expected rows of 20 features.*got shape"),
        (lambda X: X * np.nan, r"X.data: expected finite numbers; got \d[\d,]* NaN"),
        (lambda X: X.astype(complex), "X: expected numbers; got dtype complex128"),
        (lambda X: X[:9], "got 9 rows and 300 labels"),
    ],
)
def test_wrong_sparse_rows_are_refused(change, words):
    X, y = problem()
    net = Network([20, 1], backend="numpy", random_state=0)
    with pytest.raises(InputError, match=words):
        train(net, change(X), y, optimizer="adam", epochs=1)


@pytest.mark.parametrize("kind", ["csr", "csc", "bsr"])
@pytest.mark.parametrize("part", ["indices", "indptr"])
@pytest.mark.parametrize("value", [-1, 10**6])
def test_indices_out_of_the_array_are_refused(kind, part, value):
    """SciPy follows them, and writes where other memory is."""
    y, X = np.arange(8) % 2, scipy.sparse.random_array((8, 4), density=0.5, format=kind, rng=0)
    getattr(X, part)[1] = value
    net, model = Network([4, 1], backend="numpy"), BinaryClassifier(max_iter=1, backend="numpy")
    for door in (lambda: train(net, X, y, optimizer="sgd", epochs=1), lambda: model.fit(X, y)):
        with pytest.raises(InputError, match=f"X: expected a sparse array whose .* got {kind}"):
            door()
    with pytest.raises(InputError, match="whose indices lie in it"):
        net.predict_proba(X)


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_centring_would_fill_them(scaling):
    X, y = problem()
    with pytest.raises(InputError, match=r'take "max_abs", or X\.toarray'):
        trained("numpy", X, y, scaling=scaling)
