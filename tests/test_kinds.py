"""Whatever kind of array comes in, that kind comes out, from where it lies."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import sklearn
from sklearn.datasets import make_moons

from tests.test_sparse import DoubleRows
from xpnet import BinaryClassifier, InputError
from xpnet.backend import CupyBackend

METHODS = ("decision_function", "predict_proba", "predict_log_proba", "predict")


@pytest.fixture(scope="module")
def moons():
    return make_moons(100, noise=0.2, random_state=0)


@pytest.fixture(scope="module")
def strict():
    return pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")


def quick(**parameters):
    chosen = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "backend": "numpy"}
    return BinaryClassifier(**chosen | parameters)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dispatch", [False, True])
def test_arrays_of_other_libraries(moons, strict, method, dispatch):
    X, y = moons
    expected = getattr(quick().fit(X, y), method)(X)
    array = strict.asarray
    with sklearn.config_context(array_api_dispatch=dispatch):
        classifier = quick().fit(array(X), array(y), array(np.ones(100)))
        found = getattr(classifier, method)(array(X))
        assert classifier.score(array(X), array(y)) == classifier.score(X, y)
    assert type(found) is type(array(X))
    np.testing.assert_array_equal(np.from_dlpack(found), expected)


@pytest.mark.parametrize("method", METHODS)
def test_they_lie_on_their_own_device(moons, strict, method):
    X, y = moons
    device = strict.Device("device1")
    on_device = strict.asarray(X, device=device)
    found = getattr(quick().fit(on_device, strict.asarray(y, device=device)), method)(on_device)
    assert found.device == device


@pytest.mark.parametrize("dispatch", [False, True])
def test_what_numpy_makes_an_array_of_will_do(moons, dispatch):
    class Converts:
        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.values, dtype)

    X, y = moons
    expected = quick().fit(X, y)
    with sklearn.config_context(array_api_dispatch=dispatch):
        classifier = quick().fit(Converts(X), Converts(y))
        np.testing.assert_array_equal(classifier.predict(Converts(X)), expected.predict(X))
        assert classifier.score(Converts(X), Converts(y)) == expected.score(X, y)


def test_what_it_raises_is_said(moons):
    class Breaks:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("the data are gone")

    X, y = moons
    with pytest.raises(InputError, match=r"y: expected what NumPy .*the data are gone"):
        quick().fit(X, y).score(X, Breaks())


@pytest.mark.parametrize("method", METHODS)
def test_tensors(moons, method):
    torch = pytest.importorskip("torch")
    X, y = moons
    classifier = quick().fit(torch.tensor(X), torch.tensor(y))
    found = getattr(classifier, method)(torch.tensor(X))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), getattr(quick().fit(X, y), method)(X))
    assert isinstance(getattr(classifier, method)(X), np.ndarray)
    assert classifier.score(torch.tensor(X), torch.tensor(y)) == classifier.score(X, y)


def test_text_labels_are_numpys_always(moons, strict):
    X, y = moons
    labels = np.array(["no", "yes"])[y]
    classifier = quick().fit(strict.asarray(X), labels)
    assert isinstance(classifier.predict(strict.asarray(X)), np.ndarray)


def test_lists_give_numpy_arrays(moons):
    X, y = moons
    assert isinstance(quick().fit(X.tolist(), y.tolist()).predict_proba(X.tolist()), np.ndarray)


# --- on a device ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_device_rows_give_device_arrays(double, moons, method):
    X, y = moons
    on_device = double.asarray(X)
    classifier = quick(backend=double).fit(on_device, double.asarray(y))
    found = getattr(classifier, method)(on_device)
    assert double.is_native(found)
    expected = getattr(quick().fit(X, y), method)(X)
    np.testing.assert_allclose(double.to_host(found), expected, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS[:3])
def test_device_rows_stay_there(double, moons, method):
    X, y = moons
    on_device = double.asarray(X)
    classifier = quick(backend=double, scaling=None).fit(on_device, y)
    before = double.xp.counts.snapshot()
    getattr(classifier, method)(on_device)
    spent = double.xp.counts - before
    assert (spent.transfers, spent.syncs) == (0, 0)


def test_an_epoch_fetches_its_loss_and_no_rows(double, moons):
    X, y = moons
    on_device = double.asarray(X)

    def transfers(epochs):
        before = double.xp.counts.snapshot()
        quick(backend=double, max_iter=epochs, shuffle=False, dropout=0.0).fit(on_device, y)
        return (double.xp.counts - before).transfers

    assert transfers(6) - transfers(5) == 1


def test_rows_of_a_device_are_no_rows_for_numpy(double, moons):
    X, y = moons
    with pytest.raises(InputError, match="X: expected rows on the host, or on the device of backe"):
        quick().fit(double.asarray(X), y)


def test_device_rows_are_held_out_there(double):
    X, y = make_moons(1000, noise=0.2, random_state=0)
    on_device = quick(backend=double, max_iter=2).fit(double.asarray(X), y)
    host = quick(max_iter=2).fit(X, y)
    np.testing.assert_allclose(on_device.history_["val_loss"], host.history_["val_loss"], rtol=1e-4)


# --- sparse ---------------------------------------------------------------------------------------


def sparse(m=300, n=20):
    X = scipy.sparse.random_array((m, n), density=0.2, rng=np.random.default_rng(0), format="csr")
    return X, (np.asarray(X.sum(axis=1)).ravel() > 1.9).astype(int)


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix", "csc_array", "coo_array"])
def test_sparse_rows_are_as_dense_ones(kind):
    X, y = sparse()
    dense = quick(scaling="max_abs").fit(X.toarray(), y)
    rows = getattr(scipy.sparse, kind)(X)
    classifier = quick().fit(rows, y)
    assert classifier.recipe_["scaling"] == "max_abs"
    for method in METHODS:
        found, expected = getattr(classifier, method)(rows), getattr(dense, method)(X.toarray())
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_sparse_rows_are_held_out():
    X, y = sparse(1500)
    dense = quick(scaling="max_abs", max_iter=2).fit(X.toarray(), y)
    classifier = quick(max_iter=2).fit(X, y)
    np.testing.assert_allclose(
        classifier.history_["val_loss"], dense.history_["val_loss"], rtol=1e-4
    )


def test_sparse_rows_are_not_centred():
    X, y = sparse()
    with pytest.raises(InputError, match=r'X: expected dense rows for the scaling "standard"'):
        quick(scaling="standard").fit(X, y)


def test_sparse_device_rows(double, monkeypatch):
    fake = SimpleNamespace(csr_matrix=lambda rows: DoubleRows(double.xp, rows))
    for name in ("cupyx", "cupyx.scipy"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupyx.scipy.sparse", fake)
    X, y = sparse()
    on_device = quick(backend=CupyBackend(double.xp), dropout=0.0).fit(X, y)
    host = quick(dropout=0.0).fit(X, y)
    np.testing.assert_allclose(on_device.predict_proba(X), host.predict_proba(X), rtol=1e-6)
