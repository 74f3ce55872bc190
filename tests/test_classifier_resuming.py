"""A classifier's fit goes on from its checkpoints as if never interrupted, or is refused."""

import shutil
import signal
import sys

import numpy as np
import pytest
from sklearn.base import clone

from tests.counting_double import CountingDouble
from xpnet import (
    Adam,
    BinaryClassifier,
    Checkpoint,
    InputError,
    ModelFileError,
    Network,
    resume,
    train,
)
from xpnet.checkpointing import latest

EVERY_BATCH = {"every": 1, "seconds": 1e-9, "keep": 10_000}
FITTED = ("n_iter_", "t_", "loss_curve_", "validation_scores_", "n_features_in_", "best_loss_")

# Each: parameters, and whether there are weights and validation rows.
KINDS = {
    "recipe": ({"max_iter": 2}, False),
    "held out": ({"early_stopping": True, "max_iter": 3, "n_iter_no_change": 1}, False),
    "given": (
        {"loss": "focal", "monitor": "roc_auc", "class_weight": {0: 2.0, 1: 1.0}, "max_iter": 2},
        True,
    ),
    "sgd": (
        {"solver": "sgd", "hidden_layer_sizes": (4,), "max_iter": 3, "batch_size": 16},
        False,
    ),
    "optimizer": (
        {
            "solver": Adam(0.01, schedule="cosine"),
            "dropout": 0.2,
            "max_iter": 2,
            "batch_size": 16,
        },
        False,
    ),
}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((70, 3))
    return X, (X[:, 0] + 0.5 * rng.standard_normal(70) > 0).astype(int)


def quick(**parameters):
    made = {"hidden_layer_sizes": (5,), "random_state": 0, "backend": "numpy"}
    return BinaryClassifier(**made | parameters)


def attributes(classifier):
    values = {name: getattr(classifier, name) for name in FITTED}
    net = classifier.network_
    return values | {"theta": net.backend.to_host(net.theta).tobytes()}


@pytest.mark.parametrize("name", KINDS)
def test_a_fit_goes_on_from_every_batch_to_the_same_bits(name, problem, tmp_path, backend):
    (X, y), (parameters, given) = problem, KINDS[name]
    data = {"sample_weight": np.linspace(0.5, 2.0, 50), "X_val": X[50:], "y_val": y[50:]}
    data = data if given else {}
    X, y = X[:50], y[:50]

    def made(**more):
        return quick(**parameters | {"backend": backend} | more)

    whole, checkpoint = made().fit(X, y, **data), Checkpoint(tmp_path / "run", **EVERY_BATCH)
    assert attributes(made(checkpoint=checkpoint).fit(X, y, **data)) == attributes(whole)
    files = sorted((tmp_path / "run").glob("*.h5"))
    assert len(files) > whole.n_iter_ + 1
    for file in files:
        folder = tmp_path / file.stem
        folder.mkdir()
        shutil.copy(file, folder)
        again = made(checkpoint=folder, random_state=None).resume(X, y, **data)
        assert attributes(again) == attributes(whole), file.name
        assert again.recipe_["max_iter"] == whole.recipe_["max_iter"]
        np.testing.assert_array_equal(again.predict(X), whole.predict(X))


class StoppedError(Exception):
    """What a callback raises."""


def stop_at(*epochs):
    def stop(epoch):
        if epoch.number in epochs:
            raise StoppedError

    return stop


def test_a_fit_may_be_interrupted_again_and_again(problem, tmp_path):
    whole = quick(max_iter=6).fit(*problem)
    with pytest.raises(StoppedError):
        quick(max_iter=6, callbacks=stop_at(2), checkpoint=tmp_path).fit(*problem)
    with pytest.raises(StoppedError):
        quick(max_iter=6, callbacks=stop_at(4), checkpoint=tmp_path).resume(*problem)
    last = quick(max_iter=6, callbacks=stop_at(), checkpoint=tmp_path)
    assert attributes(last.resume(*problem)) == attributes(whole)
    assert attributes(last.resume(*problem)) == attributes(whole)  # of a run that is over


def test_without_a_seed_the_runs_own_goes_on(problem, tmp_path):
    made = quick(early_stopping=True, random_state=None, max_iter=3, checkpoint=tmp_path)
    first = clone(made).fit(*problem)
    assert attributes(made.resume(*problem)) == attributes(first)


def test_ctrl_c_leaves_a_fitted_classifier_that_goes_on(problem, tmp_path):
    whole = quick(max_iter=4).fit(*problem)
    made = quick(max_iter=4, checkpoint=tmp_path)

    def interrupt(epoch):
        if epoch.number == 2:
            signal.raise_signal(signal.SIGINT)

    made.set_params(callbacks=[interrupt])
    with pytest.warns(UserWarning, match="fitted as far as it came"):
        made.fit(*problem)
    assert made.n_iter_ == 2
    assert made.predict(problem[0]).shape == (70,)
    assert attributes(made.set_params(callbacks=[named_interrupt]).resume(*problem)) == (
        attributes(whole)
    )


def named_interrupt(_):
    """Stand in for the callback above: callbacks are known by their names."""


named_interrupt.__name__ = "interrupt"


def test_text_labels_and_names_of_features_come_back(problem, tmp_path):
    frames = pytest.importorskip("pandas", reason="pandas is not installed")
    X, y = (
        frames.DataFrame(problem[0], columns=["a", "b", "c"]),
        np.array(["no", "yes"])[problem[1]],
    )
    made = quick(max_iter=2, checkpoint=tmp_path)
    first = clone(made).fit(X, y)
    again = made.resume(X, y)
    assert again.feature_names_in_.tolist() == ["a", "b", "c"]
    assert (again.predict(X) == first.predict(X)).all()


def test_a_note_of_ones_own_is_kept(problem, tmp_path):
    checkpoint = Checkpoint(tmp_path, note={"who": "me"})
    made = quick(max_iter=3, checkpoint=checkpoint, callbacks=stop_at(2))
    with pytest.raises(StoppedError):
        made.fit(*problem)
    made.set_params(checkpoint=tmp_path, callbacks=stop_at()).resume(*problem)
    assert latest(tmp_path)[2].call["note"]["note"] == {"who": "me"}


# --- what is refused ------------------------------------------------------------------------------


@pytest.fixture
def run(problem, tmp_path):
    """A classifier whose fit of three epochs was interrupted after the second."""
    made = quick(max_iter=3, checkpoint=tmp_path / "run", callbacks=stop_at(2))
    with pytest.raises(StoppedError):
        made.fit(*problem)
    return made.set_params(callbacks=stop_at())


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("batch_size", 7, "batch_size was 16 and is 7"),
        ("max_iter", 9, "max_iter was 3 and is 9"),
        ("alpha", 0.5, "alpha was 0.0 and is 0.5"),
        ("hidden_layer_sizes", (6,), "hidden_layer_sizes was [5] and is [6]"),
        ("loss", "focal", "loss was logistic and is focal"),
    ],
)
def test_other_parameters_are_named(run, problem, parameter, value, words):
    with pytest.raises(InputError) as error:
        run.set_params(**{parameter: value}).resume(*problem)
    assert f"got others: {words}; " in str(error.value)
    assert "expected the parameters of the run" in str(error.value)


def test_other_data_are_refused(run, problem):
    X, y = problem
    with pytest.raises(InputError, match="expected the data of the run; got others: X has other"):
        run.resume(X + 1.0, y)
    with pytest.raises(InputError, match=r"y: expected the classes of the run, \[0 1\]; got"):
        run.resume(X, y + 5)
    with pytest.raises(InputError, match="callbacks: expected those of the run, stop, after_epoch"):
        run.set_params(callbacks=None).resume(X, y)


def test_a_fit_does_not_write_over_another_run(run, problem):
    with pytest.raises(InputError, match="go on with it by resume"):
        run.fit(*problem)


def test_where_there_is_nothing_to_go_on_with(problem, tmp_path):
    with pytest.raises(
        InputError, match="checkpoint: expected the folder of the fit to go on with"
    ):
        quick().resume(*problem)
    with pytest.raises(InputError, match="expected a folder with checkpoints; got none there"):
        quick(checkpoint=tmp_path / "none").resume(*problem)
    with pytest.raises(ModelFileError, match="got none that is whole"):
        quick(checkpoint=tmp_path).resume(*problem)
    with pytest.raises(InputError, match="checkpoint: expected a path, as text or a Path; got 5"):
        quick(checkpoint=5).fit(*problem)


def test_runs_of_another_kind_are_told_apart(run, problem, tmp_path):
    X, y = problem
    net = Network([3, 5, 1], backend="numpy", random_state=0)
    train(net, X, y, optimizer="adam", epochs=2, checkpoint=tmp_path / "engine")
    with pytest.raises(InputError, match=r"of a classifier; got one of another.*xpnet\.resume"):
        run.set_params(checkpoint=tmp_path / "engine").resume(X, y)


def test_what_cannot_be_resumed_is_refused(problem, tmp_path):
    with pytest.raises(InputError, match="checkpoint: expected None for partial_fit"):
        quick(checkpoint=tmp_path).partial_fit(*problem)
    with pytest.raises(InputError, match="checkpoint: expected none with lbfgs"):
        quick(checkpoint=tmp_path, solver="lbfgs").fit(*problem)
    assert not list(tmp_path.glob("*.h5"))


def test_the_backend_is_that_of_the_run_unless_another_is_named(problem, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", CountingDouble())
    made = quick(max_iter=3, backend="cupy", checkpoint=tmp_path, callbacks=stop_at(2))
    with pytest.raises(StoppedError):
        made.fit(*problem)
    made.set_params(callbacks=stop_at(3), backend="auto")
    with pytest.raises(StoppedError):  # and no warning
        made.resume(*problem)
    assert made.network_.backend.name == "cupy:0"
    with pytest.warns(RuntimeWarning, match="backend was cupy:0 and is numpy"):
        made.set_params(callbacks=stop_at(), backend="numpy").resume(*problem)
    assert made.network_.backend.name == "numpy"


def test_plain_resume_takes_the_rows_that_were_trained_on(problem, tmp_path):
    def nothing(_):
        pass

    nothing.__name__ = "after_epoch"
    X, y = problem
    whole = quick(max_iter=3, checkpoint=tmp_path).fit(X, y)
    net, _ = resume(tmp_path, X, y, callback=nothing)
    assert net.theta.tobytes() == whole.network_.theta.tobytes()
