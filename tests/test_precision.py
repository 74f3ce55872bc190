"""Precision: what goes into products is rounded where a device does that fast, nothing else."""

import numpy as np
import pytest

from tests.counting_double import CountingDouble
from xpnet import InputError, Network, load_model, save_model, train
from xpnet.backend import CupyBackend

TENSOR_CORES = {"tf32": 2e-3, "bfloat16": 2e-2, "float16": 2e-3}


def wide_net(backend, precision):
    return Network([40, 30, 1], precision=precision, backend=backend, random_state=0)


@pytest.mark.parametrize("precision", TENSOR_CORES)
def test_tensor_cores_round_products_and_nothing_else(precision, rng):
    backend = CupyBackend(CountingDouble())
    X = rng.standard_normal((50, 40)).astype("float32")
    plain, net = wide_net(backend, "float32"), wide_net(backend, precision)
    expected, found = plain.decision_function(X), net.decision_function(X)
    difference = np.max(np.abs(found - expected)) / np.max(np.abs(expected))
    assert TENSOR_CORES[precision] / 100 < difference < 5 * TENSOR_CORES[precision]
    assert {str(array.dtype) for array in (net.theta, net.gradient)} == {"float32"}
    np.testing.assert_array_equal(plain.decision_function(X), expected)  # the mode was taken back


@pytest.mark.parametrize("precision", TENSOR_CORES)
def test_a_run_in_tensor_core_precision_learns(precision, rng):
    X = rng.standard_normal((200, 40))
    y = X[:, 0] > 0
    net = wide_net(CupyBackend(CountingDouble()), precision)
    history = train(net, X, y, optimizer="adam", epochs=60, batch_size=50)
    assert history["loss"][-1] < history["loss"][0] / 2


@pytest.mark.parametrize(("precision", "capability"), [("tf32", "75"), ("float16", "61")])
def test_a_precision_that_the_device_lacks_is_refused(precision, capability):
    backend = CupyBackend(CountingDouble(capability=capability))
    with pytest.raises(InputError, match=f"precision: expected one that cupy:0 has.*{precision}"):
        wide_net(backend, precision)
    with pytest.raises(InputError, match="precision: expected one that numpy has"):
        wide_net("numpy", precision)


def test_a_network_keeps_what_precision_it_can(tmp_path):
    net = wide_net(CupyBackend(CountingDouble()), "tf32")
    assert net.to(CupyBackend(CountingDouble())).precision == "tf32"
    assert net.to("numpy").precision == "float32"
    save_model(net, tmp_path / "net.h5")
    assert load_model(tmp_path / "net.h5", "numpy").precision == "float32"
