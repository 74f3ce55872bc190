"""The comparison of backends: right where they agree, and able to say that they do not."""

import numpy as np
import pytest
import scipy.sparse

import xpnet.compare
from tests.counting_double import CountingDouble
from xpnet import InputError, Network, XpnetError, compare_backends, data, train
from xpnet.activations import ACTIVATIONS, Activation
from xpnet.backend import CupyBackend, NumpyBackend
from xpnet.errors import BackendUnavailable


@pytest.fixture
def backends(monkeypatch):
    found = {
        "numpy": NumpyBackend(),
        "cupy:0": CupyBackend(CountingDouble()),
        "other": BackendUnavailable("backend 'other' is only for this test"),
    }
    monkeypatch.setattr(xpnet.compare, "available_backends", lambda: found)


@pytest.mark.usefixtures("backends")
def test_all_backends_run_and_agree():
    circles = data.circles(100)
    net = Network([2, 6, 1], "tanh", backend="numpy", random_state=1)
    before = net.theta.copy()
    comparison = compare_backends(net, circles.X, circles.y, epochs=8, learning_rate=0.3)
    assert [run.name for run in comparison.runs] == [
        "textbook float64", "numpy float32", "numpy float64", "cupy:0 float32", "cupy:0 float64",
    ]  # fmt: skip
    assert comparison.unavailable == {"other": "backend 'other' is only for this test"}
    textbook = comparison.runs[0]
    assert textbook.losses[-1] < textbook.losses[0]
    for run in comparison.runs:
        tolerance = 1e-5 if run.dtype == "float32" else 1e-13
        assert run.gradient_difference <= tolerance
        np.testing.assert_allclose(run.losses, textbook.losses, rtol=tolerance)
        assert run.seconds_per_epoch > 0
    np.testing.assert_array_equal(net.theta, before)


@pytest.mark.usefixtures("backends")
def test_a_wrong_gradient_shows(monkeypatch):
    tanh = ACTIVATIONS["tanh"]
    wrong = Activation("tanh", tanh.value, lambda xp, dA, A: dA * (1.0 - A))
    monkeypatch.setitem(ACTIVATIONS, "tanh", wrong)
    circles = data.circles(100)
    net = Network([2, 6, 1], "tanh", backend="numpy", random_state=1)
    runs = compare_backends(net, circles.X, circles.y, epochs=1).runs
    assert all(run.gradient_difference > 1e-3 for run in runs[1:])


def test_wrong_input_is_named():
    net = Network([2, 6, 1], backend="numpy", random_state=1)
    with pytest.raises(InputError, match="y: expected two classes; got one class only"):
        compare_backends(net, np.ones((4, 2)), np.ones(4))
    with pytest.raises(InputError, match="epochs: expected an integer above 0; got 0"):
        compare_backends(net, np.ones((4, 2)), [0, 1, 0, 1], epochs=0)


@pytest.mark.usefixtures("backends")
def test_all_train_on_the_rows_as_the_network_scales_them():
    circles = data.circles(100)
    net = Network([2, 6, 1], "tanh", backend="numpy", random_state=1)
    train(net, circles.X * 100.0, circles.y, optimizer="sgd", epochs=2, scaling="robust")
    textbook, *runs = compare_backends(net, circles.X * 100.0, circles.y, epochs=8).runs
    for run in runs:
        np.testing.assert_allclose(run.losses, textbook.losses, rtol=1e-5)


@pytest.mark.parametrize(
    "option", [{"dropout": 0.5}, {"normalization": "layer"}, {"input_scale": True}]
)
def test_what_the_textbook_has_not_is_not_compared(option):
    circles, (name,) = data.circles(100), option
    net = Network([2, 6, 1], backend="numpy", random_state=1, **option)
    with pytest.raises(InputError, match=f"net: expected a network .*; got one with {name}; make"):
        compare_backends(net, circles.X, circles.y)


class Breaks:
    """What promises an array, and has none."""

    dtype, shape, ndim = np.dtype(float), (4, 2), 2

    def __len__(self):
        return 4

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("the data are gone")


@pytest.mark.parametrize("X", [Breaks(), scipy.sparse.csr_array(np.eye(4, 2))], ids=["own", "csr"])
def test_what_the_textbook_cannot_read_is_refused(X):
    with pytest.raises(InputError, match="X: expected"):
        compare_backends(Network([2, 1], backend="numpy"), X, [0, 1, 0, 1])


def test_what_diverges_is_said_once():
    X = np.array([[1e30], [-1e30], [2e30], [-2e30]])
    with pytest.raises(XpnetError):
        compare_backends(Network([1, 3, 1], backend="numpy", random_state=0), X, [0, 1, 0, 1])
