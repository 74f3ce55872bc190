"""BinaryClassifier in scikit-learn's company: its checks, its searches, its callbacks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_moons
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.counting_double import CountingDouble
from xpnet import BinaryClassifier

sys.path.append(str(Path(__file__).parents[1] / "ci" / "trials"))

from estimators import CONFIGURATIONS

NUMPY = {"backend": "numpy"}


# Each in full, the default first; ci/trials/estimator_checks makes them with dispatch, too.
@parametrize_with_checks(list(CONFIGURATIONS.values()))
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@parametrize_with_checks([BinaryClassifier(backend="cupy", max_iter=10, batch_size=None)])
def test_scikit_learns_checks_on_the_double(estimator, check, monkeypatch):
    if "sparse" in str(check):
        pytest.skip("the counting double has no sparse matrices: see test_sparse.py")
    monkeypatch.setitem(sys.modules, "cupy", CountingDouble())
    check(estimator)


@pytest.fixture(scope="module")
def moons():
    return make_moons(150, noise=0.15, random_state=0)


def quick(**parameters):
    return BinaryClassifier(**{"random_state": 0, "max_iter": 10, **NUMPY} | parameters)


def test_a_search_in_processes_finds_what_one_in_this_process_finds(moons):
    X, y = moons
    grid = {"binaryclassifier__learning_rate_init": [1e-6, 0.04]}
    searches = [
        GridSearchCV(
            make_pipeline(StandardScaler(), quick()), grid, cv=3, n_jobs=n, error_score="raise"
        ).fit(X, y)
        for n in (1, 2)
    ]
    assert searches[1].best_params_ == {"binaryclassifier__learning_rate_init": 0.04}
    one, two = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_allclose(one, two)


def test_predictions_out_of_fold(moons):
    X, y = moons
    P = cross_val_predict(quick(), X, y, cv=3, method="predict_proba")
    assert ((P[:, 1] > 0.5) == y).mean() > 0.85


def test_calibrated(moons):
    X, y = moons
    classifier = CalibratedClassifierCV(quick(), cv=3).fit(X, y, sample_weight=np.ones(150))
    assert classifier.score(X, y) > 0.9


def test_its_threshold_is_tuned(moons):
    X, y = moons
    tuned = TunedThresholdClassifierCV(quick(), scoring="recall", cv=3).fit(X, y)
    assert tuned.predict(X)[y == 1].all()


def test_permuted_noise_is_unimportant(moons):
    X, y = moons
    X = np.column_stack([X, np.random.default_rng(0).standard_normal(150)])
    found = permutation_importance(quick().fit(X, y), X, y, n_repeats=3, random_state=0)
    assert found.importances_mean[2] < found.importances_mean[:2].min()


def test_weights_are_routed(moons):
    X, y = moons
    weights = np.where(y == 1, 1.0, 0.0)
    weights[y == 0] = 1e-9  # as good as absent
    with sklearn.config_context(enable_metadata_routing=True):
        asks = quick().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scores = cross_validate(asks, X, y, params={"sample_weight": weights}, cv=3)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(scaler, asks).fit(X, y, sample_weight=weights)
    assert scores["test_score"].min() > 0.999
    assert (pipeline.predict(X) == 1).mean() > 0.95


# --- callbacks of scikit-learn 1.9 ----------------------------------------------------------------

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")


class Recorder:
    """What happened, in order; it may ask for the end."""

    def __init__(self, stop_after=None):
        self.events, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.events.append(f"end {context.task_name}")
        self.fitted, self.data = fitted_estimator, (X, y)
        return self.events.count("end epoch") == self.stop_after


def test_callbacks_hear_of_every_epoch(moons):
    recorder = Recorder()
    classifier = quick(max_iter=2).set_callbacks(recorder).fit(*moons)
    epoch = ["begin epoch", "end epoch"]
    assert recorder.events == ["setup", "begin fit", *epoch, *epoch, "end fit", "teardown"]
    np.testing.assert_array_equal(recorder.data[0], moons[0])
    expected = classifier.predict_proba(moons[0])
    np.testing.assert_array_equal(recorder.fitted.predict_proba(moons[0]), expected)


def test_a_callback_can_end_training(moons):
    assert quick().set_callbacks(Recorder(stop_after=3)).fit(*moons).n_iter_ == 3


def test_scores_are_monitored(moons):
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    classifier = quick(max_iter=4, average=0.9).set_callbacks(monitor).fit(*moons)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 4
    P = classifier.predict_proba(moons[0])[np.arange(150), moons[1]]
    assert rows[-1]["neg_log_loss"] == pytest.approx(np.log(P).mean())


def test_without_scikit_learns_callbacks_all_else_is_there():
    program = """
import sys
import sklearn.metrics, sklearn.pipeline  # they need it themselves
sys.modules["sklearn.callback"] = None
from xpnet import BinaryClassifier
classifier = BinaryClassifier(backend="numpy", max_iter=2).fit([[0.0], [1.0], [2.0]], [0, 1, 1])
assert classifier.n_iter_ == 2 and not hasattr(classifier, "_init_callback_context")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
