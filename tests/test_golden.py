"""Model files of every release open, with equal numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from xpnet import __version__, load_model

FOLDER = Path(__file__).parent / "golden"
RELEASES = sorted(path.stem for path in FOLDER.glob("*.h5"))


def test_this_release_has_one():
    assert __version__ in RELEASES, "run ci/golden"


@pytest.mark.parametrize("release", RELEASES)
def test_a_model_of_every_release_opens_with_equal_numbers(release, backend):
    net = load_model(FOLDER / f"{release}.h5", backend)
    facts = json.loads((FOLDER / f"{release}.json").read_text("utf-8"))
    run, host = net.training, backend.to_host
    assert list(net.layer_sizes) == facts["layer_sizes"]
    assert list(net.activations) == facts["activations"]
    assert (net.dtype, net.threshold) == (facts["dtype"], facts["threshold"])
    assert net.classes_.tolist() == facts["classes"]
    parameters = {name: host(array).tolist() for name, array in net.parameters.items()}
    assert parameters == facts["parameters"]
    assert {name: host(vector).tolist() for name, vector in run.vectors.items()} == facts["vectors"]
    assert (run.optimizer.name, run.optimizer.learning_rate) == (
        facts["optimizer"],
        facts["learning_rate"],
    )
    numbers = {name: facts[name] for name in ("seed", "batch_size", "epoch", "step")}
    assert {name: getattr(run, name) for name in numbers} == numbers
    assert run.history == facts["history"]
    X = np.array(facts["X"], facts["dtype"])
    np.testing.assert_allclose(net.decision_function(X), facts["logits"], rtol=1e-5, atol=1e-6)
    assert net.predict(X).tolist() == facts["labels"]
