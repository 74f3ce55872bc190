"""Whatever is given as an argument, a failure is one of xpnet's own errors, and no traceback."""

import contextlib
import inspect

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpnet import BinaryClassifier, Network, XpnetError, cli, train

VALUES = [
    None, True, False, "", "auto", "adam", "relu", "cosine", "lbfgs", "balanced", "loss", "robust",
    -1, 0, 1, 2, 7, -0.5, 0.0, 0.3, 1.0, 2.5, 1e300, float("nan"), float("inf"),
    [], [3], (2, 2), ["relu"], [0.1, None], {}, {"W": 1.0}, {"name": "step"}, b"x", 1j, object(),
    np.float64(0.1), np.int64(3), np.array([1, 2]), np.array("adam"),
]  # fmt: skip
WORDS = [
    "", "none", "-1", "0", "1", "2", "0.5", "1e999", "nan", "inf", "x", "2,2", "2,,2", "relu",
    "adam", "lbfgs", "cosine", "robust", "focal", "layer", "f1", "full", "numpy", "cupy:9",
    "missing.h5", "é", "--", "-q",
]  # fmt: skip
CLASSIFIER = [name for name in inspect.signature(BinaryClassifier).parameters if name != "backend"]
NETWORK = [name for name in inspect.signature(Network).parameters if name != "backend"]
TRAIN = [name for name in inspect.signature(train).parameters if name not in ("net", "checkpoint")]
OPTIONS = [option for p in cli.main.commands["train"].params for option in p.opts if "-" in option]
_often = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def problem():
    X = np.random.default_rng(0).standard_normal((40, 3))
    return X, (X[:, 0] > 0).astype(int)


def only_typed_errors(call):
    with np.errstate(all="ignore"), contextlib.suppress(XpnetError):
        call()


@pytest.mark.filterwarnings("ignore")
@_often
@given(st.dictionaries(st.sampled_from(CLASSIFIER), st.sampled_from(VALUES), max_size=2))
def test_arguments_of_the_classifier(arguments):
    small = {"max_iter": 2, "hidden_layer_sizes": (3,), "backend": "numpy"} | arguments
    only_typed_errors(lambda: BinaryClassifier(**small).fit(*problem()))


@pytest.mark.filterwarnings("ignore")
@_often
@given(st.dictionaries(st.sampled_from(NETWORK), st.sampled_from(VALUES), min_size=1, max_size=2))
def test_arguments_of_the_network(arguments):
    small = {"layer_sizes": [3, 2, 1], "backend": "numpy", "random_state": 0} | arguments
    only_typed_errors(lambda: Network(**small))


@pytest.mark.filterwarnings("ignore")
@_often
@given(st.dictionaries(st.sampled_from(TRAIN), st.sampled_from(VALUES), min_size=1, max_size=2))
def test_arguments_of_train(arguments):
    X, y = problem()
    small = {"X": X, "y": y, "optimizer": "adam", "epochs": 2} | arguments
    net = Network([3, 2, 1], backend="numpy", random_state=0)
    only_typed_errors(lambda: train(net, **small))


@settings(_often, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(OPTIONS), st.sampled_from(WORDS)), min_size=1, max_size=3)
)
def test_arguments_of_the_command(tmp_path, monkeypatch, pairs):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--epochs", "1", "--no-plot", *(word for pair in pairs for word in pair)]
    result = CliRunner().invoke(cli.main, words, prog_name="xpnet")
    assert result.exception is None or isinstance(result.exception, SystemExit), pairs
    assert result.exit_code in (0, 1, 2)
