"""How a fit goes on and how it ends: validation, weights, partial_fit, warm start, Ctrl-C."""

import csv
import json
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification, make_moons
from sklearn.metrics import log_loss, roc_auc_score

from xpnet import BinaryClassifier, InputError, TrainingDiverged
from xpnet.metrics import METRICS


@pytest.fixture(scope="module")
def moons():
    return make_moons(200, noise=0.2, random_state=0)


@pytest.fixture(scope="module")
def noisy():
    return make_classification(1200, flip_y=0.2, random_state=0)


def quick(**parameters):
    chosen = {"hidden_layer_sizes": (8,), "max_iter": 10, "random_state": 0, "backend": "numpy"}
    return BinaryClassifier(**chosen | parameters)


def steady(**parameters):
    """Full batches, so that nothing depends on the order of rows."""
    return quick(**{"batch_size": None, "dropout": 0.0, "learning_rate": "constant"} | parameters)


def same(first, second, X, rtol=0.0):
    np.testing.assert_allclose(
        first.decision_function(X), second.decision_function(X), rtol=rtol, atol=rtol
    )


# --- weights --------------------------------------------------------------------------------------


OPTIONS = [
    {},
    {"learning_rate": "auto"},
    {"class_weight": "balanced"},
    {"pos_weight": 3.0},
    {"loss": "focal", "label_smoothing": 0.1, "alpha": 1.0},
    {"normalization": "layer", "scaling": "standard"},
    {"solver": "lbfgs", "average": 0.0},
    {"solver": "sgd", "learning_rate_init": 0.1, "scaling": "robust", "init": "he"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_whole_weights_are_repeated_rows(moons, options):
    X, y = moons
    weights = np.random.default_rng(0).integers(0, 4, 200)
    weighted = steady(**options).fit(X, y, weights)
    repeated = steady(**options).fit(X.repeat(weights, axis=0), y.repeat(weights))
    same(weighted, repeated, X, 1e-5)
    assert np.ptp(weighted.decision_function(X)) > 0.1  # there is something to compare


def test_weights_of_one_are_none_and_of_zero_absence(moons):
    X, y = moons
    same(quick().fit(X, y), quick().fit(X, y, np.ones(200)), X)
    half = np.arange(200) % 2
    same(quick().fit(X, y, half), quick().fit(X[half == 1], y[half == 1]), X)


def test_zero_is_absence_when_rows_are_held_out_too(noisy):
    X, y = noisy
    there = np.arange(1200) % 10 != 0
    same(quick(max_iter=3).fit(X, y, there), quick(max_iter=3).fit(X[there], y[there]), X)


def test_class_weights_are_weights(moons):
    X, y = moons
    decay = {"weight_decay": 0.5}  # which else would go by the number of rows
    expected = steady(**decay).fit(X, y, np.where(y == 1, 3.0, 1.0))
    same(steady(pos_weight=3.0, **decay).fit(X, y), expected, X, 1e-9)
    same(steady(class_weight={1: 3.0}, **decay).fit(X, y), expected, X, 1e-9)
    rare = (y == 0) | (np.arange(200) % 4 == 0)
    balanced = steady(class_weight="balanced", **decay).fit(X[rare], y[rare])
    n = np.bincount(y[rare])
    by_hand = steady(**decay).fit(X[rare], y[rare], (n.sum() / (2 * n))[y[rare]])
    same(balanced, by_hand, X, 1e-9)


def test_class_weights_have_the_labels_names(moons):
    X, y = moons
    labels = np.array(["no", "yes"])[y]
    expected = steady(pos_weight=3.0).fit(X, y)
    same(steady(class_weight={"yes": 3.0, "no": 1.0}).fit(X, labels), expected, X, 1e-9)


def test_weights_that_leave_one_class_are_refused(moons):
    X, y = moons
    with pytest.raises(InputError, match="sample_weight: expected weights above 0 in both classes"):
        quick().fit(X, y, y)


# --- validation -----------------------------------------------------------------------------------


def test_the_best_epoch_is_kept(noisy):
    X, y = noisy
    X_val, y_val = make_classification(400, flip_y=0.2, random_state=0)
    classifier = quick(max_iter=30, solver="adam", learning_rate_init=0.05, early_stopping=True)
    classifier.set_params(hidden_layer_sizes=(64,), precision="float64", n_iter_no_change=5)
    classifier.set_params(tol=0.0).fit(X, y, X_val=X_val, y_val=y_val)
    losses = classifier.history_["val_loss"]
    assert classifier.n_iter_ == len(losses) == np.argmin(losses) + 6 < 30
    loss = log_loss(y_val, classifier.predict_proba(X_val)[:, 1])
    assert loss == pytest.approx(min(losses), rel=1e-9)


@pytest.mark.parametrize("greater", [True, False])
def test_any_metric_is_watched(noisy, greater):
    X, y = noisy

    def mine(y_true, p):
        return roc_auc_score(y_true, p) * (1 if greater else -1)

    mine.greater_is_better = greater
    by_name = quick(monitor="roc_auc", n_iter_no_change=2).fit(X, y)
    by_call = quick(monitor=mine, n_iter_no_change=2).fit(X, y)
    same(by_name, by_call, X)
    scores = by_name.validation_scores_
    assert scores == by_name.history_["val_roc_auc"]
    assert by_name.best_validation_score_ == max(scores)
    assert np.abs(by_call.best_validation_score_) == max(scores)


def test_a_tenth_of_each_class_is_held_out():
    X, y = make_classification(1000, weights=[0.9], flip_y=0, random_state=0)
    seen = []

    def share(y_true, p):
        seen.append((len(y_true), y_true.sum()))
        return 0.5

    quick(monitor=share, max_iter=1, early_stopping=True).fit(X, y)
    assert seen == [(100, round(y.sum() / 10))]
    quick(monitor=share, max_iter=1, early_stopping=True, validation_fraction=0.3).fit(X, y)
    assert seen[1] == (300, round(y.sum() * 0.3))


def test_small_data_are_not_held_out(moons):
    classifier = quick().fit(*moons)
    assert "val_loss" not in classifier.history_
    assert classifier.validation_scores_ is None is classifier.best_validation_score_
    assert "val_loss" in quick(early_stopping=True).fit(*moons).history_


def test_the_users_own_validation_rows(moons):
    X, y = moons
    weights = np.arange(50.0)
    given = {"X_val": X[:50], "y_val": y[:50], "sample_weight_val": weights}
    classifier = quick(early_stopping=False).fit(X[50:], y[50:], **given)
    p = classifier.predict_proba(X[:50])[:, 1]
    expected = log_loss(y[:50], p, sample_weight=weights)
    assert classifier.history_["val_loss"][-1] == pytest.approx(expected, rel=1e-9)
    assert classifier.n_iter_ == 10


def test_validation_rows_weigh_what_their_classes_do(moons):
    X, y = moons
    classifier = quick(pos_weight=5.0).fit(X, y, X_val=X, y_val=y)
    p = classifier.predict_proba(X)[:, 1]
    expected = log_loss(y, p, sample_weight=np.where(y == 1, 5.0, 1.0))
    assert min(classifier.history_["val_loss"]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"X_val": np.zeros((3, 2))}, "y_val: expected X_val and y_val, or neither"),
        ({"y_val": [0, 1]}, "X_val: expected X_val and y_val, or neither"),
        ({"sample_weight_val": [1, 1]}, "X_val: expected it beside sample_weight_val"),
        ({"X_val": np.zeros((3, 2)), "y_val": [1, 1, 1]}, "y_val: expected both classes"),
        ({"X_val": np.zeros((3, 3)), "y_val": [1, 1, 0]}, "X has 3 features"),
        ({"X_val": np.zeros((3, 2)), "y_val": [2, 1, 0]}, "Only binary classification"),
        ({"X_val": np.zeros((2, 2)), "y_val": [1, 7]}, r"y: expected only labels of \[0, 1\]"),
    ],
    ids=str,
)
def test_wrong_validation_rows_are_named(moons, given, words):
    with pytest.raises(ValueError, match=words):
        quick().fit(*moons, **given)


def test_a_metric_that_is_no_number_ends_training_with_the_epochs_before(noisy):
    X, y = noisy
    calls = []

    def odd(y_true, p):
        calls.append(p)
        return np.nan if len(calls) == 3 else len(calls)

    classifier = quick(monitor=odd)
    with pytest.raises(InputError, match="odd: expected a finite number; got nan"):
        classifier.fit(X, y)
    assert classifier.n_iter_ == 2
    assert classifier.predict(X).shape == (1200,)


def test_without_validation_it_ends_when_the_loss_does_not_fall(moons):
    plain = {"solver": "adam", "max_iter": 500, "learning_rate_init": 0.05}
    classifier = quick(**plain).fit(*moons)
    assert classifier.n_iter_ < 500
    last = classifier.loss_curve_[-11:]
    assert min(last[1:]) > last[0] - 1e-4
    assert quick(**plain, tol=None).fit(*moons).n_iter_ == 500


def test_time_is_up(moons):
    assert (
        quick(max_iter=10**6, solver="adam", tol=None, max_seconds=0.05).fit(*moons).n_iter_ < 10**5
    )


# --- going on -------------------------------------------------------------------------------------

ALONG = [
    {},
    {"solver": "sgd", "learning_rate_init": 0.05},
    {"solver": "nadam", "average": 0.9, "dropout": 0.2, "input_noise": 0.1, "tol": None},
    {"learning_rate": "exponential", "normalization": "layer"},
]


@pytest.mark.parametrize("options", ALONG, ids=str)
def test_ten_and_ten_epochs_are_twenty(moons, options):
    X, y = moons
    options = {"learning_rate": "constant"} | options
    whole = quick(**options, max_iter=20).fit(X, y)
    halves = quick(**options, warm_start=True).fit(X, y).fit(X, y)
    parts = quick(**options)
    for _ in range(20):
        parts.partial_fit(X, y)
    for other in (halves, parts):
        same(whole, other, X)
        assert other.loss_curve_ == whole.loss_curve_
        assert (other.n_iter_, other.t_) == (whole.n_iter_, whole.t_) == (20, 4000)


class Breaks:
    """What promises an array, and has none."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("the data are gone")


def test_partial_fit_takes_rows_as_they_come(moons):
    X, y = moons
    order = np.argsort(y, kind="stable")  # all of one class first
    classifier = quick()
    for _ in range(10):
        for part in np.array_split(order, 4):
            classifier.partial_fit(X[part], y[part], classes=[0, 1])
    assert classifier.t_ == 2000
    assert classifier.score(X, y) > 0.8
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        classifier.partial_fit(X, y, classes=[0, 2])
    for fitted in (classifier, clone(classifier)):
        for wrong in ([0, None], np.array([0, "1"], object), Breaks(), [[0, 1], [2]]):
            with pytest.raises(InputError, match="classes: expected"):
                fitted.partial_fit(X, y, classes=wrong)
    with pytest.raises(ValueError, match="X has 1 features, but BinaryClassifier is expecting 2"):
        classifier.partial_fit(X[:, :1], y)


def test_other_labels_or_layers_are_no_warm_start(moons):
    X, y = moons
    classifier = quick(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"warm_start can only .* `self\.classes_` is the same"):
        classifier.fit(X, y + 1)
    with pytest.raises(InputError, match=r"hidden_layer_sizes: expected those .* \(8,\); got \(9,"):
        classifier.set_params(hidden_layer_sizes=(9,)).fit(X, y)


def test_a_pickle_goes_on_with_its_parameters(moons):
    X, y = moons
    classifier = pickle.loads(pickle.dumps(quick(warm_start=True).fit(X, y)))
    before = classifier.loss_
    assert classifier.fit(X, y).loss_curve_[0] < before * 1.5  # and not what it began with, 0.69


# --- how it ends ----------------------------------------------------------------------------------


def interrupt(epoch):
    if epoch.number == 3:
        raise KeyboardInterrupt


def test_ctrl_c_leaves_a_fitted_classifier(moons):
    X, y = moons
    with pytest.warns(UserWarning, match="interrupted; the classifier is fitted as far as it came"):
        classifier = quick(callbacks=interrupt).fit(X, y)
    assert classifier.n_iter_ == len(classifier.loss_curve_) == 3
    three = quick(callbacks=lambda epoch: epoch.number == 3).fit(X, y)
    same(classifier, three, X)


def test_ctrl_c_before_training_is_not_held_back(moons, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet.training.Run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick().fit(*moons)


def test_a_callback_that_raises_leaves_a_usable_classifier(moons):
    X, y = moons

    def fail(epoch):
        if epoch.number == 3:
            raise RuntimeError("the disk is full")

    classifier = quick(callbacks=[lambda _: None, fail])
    with pytest.raises(RuntimeError, match="the disk is full"):
        classifier.fit(X, y)
    assert classifier.n_iter_ == 3
    assert classifier.score(X, y) > 0.5


def test_divergence_is_told(moons):
    wild = {"solver": "sgd", "learning_rate_init": 1e30, "scaling": None, "activation": "relu"}
    with pytest.raises(TrainingDiverged, match=r"epoch \d+: expected finite"):
        quick(**wild, loss="squared_hinge").fit(*moons)


def test_histories_are_written(moons, tmp_path):
    history = quick(early_stopping=True, max_iter=3).fit(*moons).history_
    history.to_csv(tmp_path / "history.csv")
    history.to_jsonl(tmp_path / "history.jsonl")
    with (tmp_path / "history.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history.rows()
    assert [{k: float(v) for k, v in row.items()} for row in table] == history.rows()
    assert [row["epoch"] for row in history.rows()] == [1, 2, 3]
    assert [row["val_loss"] for row in history.rows()] == history["val_loss"]


# --- decisions ------------------------------------------------------------------------------------


def test_the_threshold_is_tuned(moons):
    X, y = moons
    classifier = quick(max_iter=2).fit(X, y)
    assert classifier.threshold_ == 0.5
    assert classifier.tune_threshold(X, y, costs=(0.0, 1.0)) is classifier
    assert classifier.predict(X)[y == 1].all()
    p = classifier.predict_proba(X)[:, 1]
    np.testing.assert_array_equal(classifier.predict(X), (p > classifier.threshold_).astype(int))
    balanced = classifier.tune_threshold(X, y, "balanced_accuracy").report(X, y)
    assert balanced["balanced_accuracy"] >= quick(max_iter=2).fit(X, y).score(X, y)


def test_calibration_fits_probabilities_and_keeps_labels(moons):
    X, y = moons
    classifier = quick(max_iter=2).fit(X[:100], y[:100]).tune_threshold(X[:100], y[:100])
    labels, before = classifier.predict(X), classifier.report(X[100:], y[100:])["log_loss"]
    after = classifier.calibrate(X[100:], y[100:]).report(X[100:], y[100:])["log_loss"]
    assert after < before
    np.testing.assert_array_equal(classifier.predict(X), labels)
    temperature = classifier.network_.temperature
    assert classifier.calibrate(X[100:], y[100:]).network_.temperature == pytest.approx(temperature)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("threshold", [0.1, 0.9])
def test_calibration_on_rows_without_a_fault_keeps_labels(threshold, precision):
    """The best temperature is near 0 there, and a threshold moved along would be 0 or 1."""
    X = np.linspace(-1, 1, 300)[:, None]
    y = (X[:, 0] > 0).astype(int)
    classifier = quick(precision=precision).fit(X, y)
    classifier.network_.threshold = threshold
    labels = classifier.predict(X)
    assert 0 < (labels != y).sum() < 100
    clear = np.abs(X[:, 0]) > 0.1
    assert classifier.calibrate(X[clear], y[clear]).network_.temperature < 0.5
    np.testing.assert_array_equal(classifier.predict(X), labels)


@pytest.mark.parametrize("go_on", ["fit", "partial_fit"])
def test_a_threshold_outlives_the_temperature_it_was_moved_by(moons, go_on):
    """Training begins with a temperature of 1 again, and the threshold is what it was at 1."""
    X, y = moons
    classifier = quick(max_iter=2, warm_start=True).fit(X, y).tune_threshold(X, y, costs=(1, 9))
    tuned = classifier.threshold_
    assert classifier.calibrate(X, y).threshold_ != pytest.approx(tuned, rel=1e-3)
    getattr(classifier, go_on)(X, y)
    assert classifier.network_.temperature == 1.0
    assert classifier.threshold_ == pytest.approx(tuned, rel=1e-12)


def test_a_grid_of_numpy_booleans_is_one_of_booleans(moons):
    for nesterov in np.array([True, False]):
        classifier = quick(max_iter=2, solver="sgd", nesterovs_momentum=nesterov).fit(*moons)
        assert classifier.recipe_["optimizer"].nesterov == nesterov


def test_a_report_names_every_metric(moons):
    X, y = moons
    labels = np.array(["no", "yes"])[y]
    classifier = quick().fit(X, labels)
    report = classifier.report(X, labels)
    assert set(report) == set(METRICS)
    assert report["accuracy"] == pytest.approx(classifier.score(X, labels))
    assert report["roc_auc"] == roc_auc_score(y, classifier.predict_proba(X)[:, 1])


def test_log_probabilities_where_probabilities_are_rounded_away(moons):
    X, y = moons
    classifier = quick().fit(X, y)
    far = classifier.predict_log_proba(X)
    np.testing.assert_allclose(far, np.log(classifier.predict_proba(X)), rtol=1e-9)
    classifier.network_.temperature = 1e-4
    assert np.isfinite(classifier.predict_log_proba(X)).all()


def test_partial_fits_look_at_validation_rows_in_every_call():
    X, y = make_moons(600, noise=0.2, random_state=0)
    classifier = BinaryClassifier(random_state=0, backend="numpy", monitor="roc_auc")
    rows = {"X_val": X[400:], "y_val": y[400:]}
    for _ in range(4):
        classifier.partial_fit(X[:400], y[:400], **rows)
    scores = classifier.history_["val_roc_auc"]
    assert len(scores) == 4
    assert scores[-1] == roc_auc_score(y[400:], classifier.predict_proba(X[400:])[:, 1])
    with pytest.raises(InputError, match="monitor: expected 'loss' without validation data"):
        classifier.partial_fit(X[:400], y[:400])
