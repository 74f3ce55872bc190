"""The pictures through their public doors: what is drawn, what is refused, what is left alone."""

import sys

import numpy as np
import pytest

from tests.counting_double import CountingDouble
from xpnet import InputError, Network, plots, train
from xpnet.backend import CupyBackend

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib, of the extra plot, is missing")


@pytest.fixture(autouse=True)
def plt():
    """Pyplot on a backend without windows, and every figure closed at the end."""
    from matplotlib import pyplot as plt

    matplotlib.use("Agg")
    yield plt
    plt.close("all")


class Model:
    """A model whose second class is as probable as *probability* says of the rows."""

    def __init__(self, probability, classes=("inner", "outer")):
        self.probability, self.classes_ = probability, np.array(classes)

    def predict_proba(self, X):
        self.X = X
        p = self.probability(X)
        return np.column_stack([1 - p, p])


def right_half(X):
    """A boundary at x = 0."""
    return 1 / (1 + np.exp(-5 * X[:, 0]))


@pytest.fixture
def points(rng):
    X = rng.uniform(-1, 1, (40, 2))
    return X, np.where(X[:, 0] > 0, "outer", "inner")


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


# --- learning curve -------------------------------------------------------------------------------

FULL = {"loss": [0.7, 0.5, 0.4], "val_loss": [0.8, 0.6, 0.55], "val_accuracy": [0.5, 0.75, 0.9]}


def test_curve_draws_each_series_over_epochs_from_one():
    ax = plots.learning_curve(FULL)
    right = ax.get_figure().axes[1]
    assert [line.get_label() for line in ax.get_lines()] == ["training loss", "validation loss"]
    for line, key in zip(ax.get_lines(), ("loss", "val_loss"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), FULL[key])
    (accuracy,) = right.get_lines()
    np.testing.assert_allclose(accuracy.get_ydata(), [50, 75, 90])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert right.get_ylabel() == "accuracy (%)"
    assert ax.get_title(loc="left") == "Learning curve"
    assert texts(ax.get_legend()) == ["training loss", "validation loss", "validation accuracy"]
    assert len({line.get_color() for line in (*ax.get_lines(), accuracy)}) == 3
    assert len({line.get_linestyle() for line in (*ax.get_lines(), accuracy)}) == 3


def test_curve_says_what_was_watched():
    ax = plots.learning_curve(FULL, watched="test")
    assert texts(ax.get_legend()) == ["training loss", "test loss", "test accuracy"]


def test_curve_of_a_loss_alone_needs_no_legend():
    ax = plots.learning_curve({"loss": [0.7, 0.5]})
    assert ax.get_legend() is None
    assert ax.get_figure().axes == [ax]


@pytest.mark.parametrize(
    ("loss", "scale", "label"),
    [
        ([1.0, 0.1, 0.01], "log", "loss (log scale)"),
        ([1.0, 1e-3, 1e-9], "log", "loss (log scale)"),
        ([1.0, 0.5, 0.3], "linear", "loss"),
        ([1.0, 0.1, 0.0], "linear", "loss"),
        ([0.5], "linear", "loss"),
        ([np.nan, np.inf], "linear", "loss"),
        ([1.0, 0.01, np.inf], "log", "loss (log scale)"),
        ([1.0, 0.9, np.inf], "linear", "loss"),
    ],
)
def test_curve_takes_a_log_axis_where_it_helps(loss, scale, label):
    ax = plots.learning_curve({"loss": loss})
    assert (ax.get_yscale(), ax.get_ylabel()) == (scale, label)
    ax.get_figure().canvas.draw()
    low, high = sorted(ax.get_ylim())
    assert sum(low <= tick <= high for tick in ax.get_yticks()) >= 2


def test_curve_of_one_epoch_is_seen():
    (line,) = plots.learning_curve({"loss": [0.7]}).get_lines()
    assert line.get_marker() == "o"


def test_curve_of_a_real_history(rng):
    X, y = rng.standard_normal((20, 2)), rng.integers(0, 2, 20)
    net = Network([2, 1], backend="numpy", random_state=0)
    history = train(net, X, y, optimizer="sgd", epochs=4, validation_data=(X, y))
    ax = plots.learning_curve(history)
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), history["loss"])
    assert len(ax.get_legend().get_texts()) == 3


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({}, r"expected 'loss' with at least one number.*got keys \[\]"),
        ({"loss": []}, "train for an epoch first"),
        ({"val_loss": [1.0]}, r"got keys \['val_loss'\]"),
        ({"loss": [1.0, 0.5], "val_loss": [1.0]}, "lists of one length"),
    ],
)
def test_curve_refuses_a_history_without_a_curve(history, message):
    with pytest.raises(InputError, match=message):
        plots.learning_curve(history)


# --- decision boundary ----------------------------------------------------------------------------


def boundary_line(ax):
    """The vertices of the line between the classes; empty without one."""
    lines = [c for c in ax.collections if len(getattr(c, "levels", [])) == 1]
    return np.concatenate([path.vertices for line in lines for path in line.get_paths()] or [[]])


def test_boundary_lies_where_the_probability_is_one_half(points):
    ax = plots.decision_boundary(Model(right_half), *points, resolution=50)
    vertices = boundary_line(ax)
    np.testing.assert_allclose(vertices[:, 0], 0, atol=1e-3)
    assert np.ptp(vertices[:, 1]) > 1.9  # from the bottom to the top


def test_boundary_follows_the_models_threshold(points):
    model = Model(right_half)
    model.threshold = 0.9
    vertices = boundary_line(plots.decision_boundary(model, *points, resolution=50))
    np.testing.assert_allclose(vertices[:, 0], np.log(9) / 5, atol=1e-2)
    model.threshold = 1.0
    assert not boundary_line(plots.decision_boundary(model, *points, resolution=50)).size


def test_boundary_shows_every_point_by_its_class(points):
    X, y = points
    ax = plots.decision_boundary(Model(right_half), X, y, resolution=20)
    inner, outer = (c for c in ax.collections if c.get_label() in ("inner", "outer"))
    np.testing.assert_allclose(inner.get_offsets(), X[y == "inner"])
    np.testing.assert_allclose(outer.get_offsets(), X[y == "outer"])
    assert tuple(inner.get_facecolor()[0]) != tuple(outer.get_facecolor()[0])
    assert inner.get_paths()[0].vertices.shape != outer.get_paths()[0].vertices.shape
    assert texts(ax.get_legend()) == ["inner", "outer"]
    assert ax.get_title(loc="left") == "Decision boundary"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 1", "feature 2")
    assert ax.get_figure().axes[1].get_ylabel() == "probability of outer"


def test_boundary_asks_the_model_about_the_whole_plane(points):
    X, y = points
    model = Model(right_half)
    plots.decision_boundary(model, X, y, resolution=30)
    assert model.X.shape == (900, 2)
    assert (model.X.min(axis=0) < X.min(axis=0)).all()
    assert (model.X.max(axis=0) > X.max(axis=0)).all()


@pytest.mark.parametrize("name", [r"$\nosuch$", "$1", "_hidden", b"\xff", "\ud800"])
def test_names_of_classes_are_drawn_as_they_are(name, points):
    """A dollar is no mathematics, and what is no Unicode has a sign that stands for it."""
    X, _ = points
    model = Model(right_half, classes=(name, type(name)()))
    ax = plots.decision_boundary(model, X, model.classes_[[0, 1] * 20], resolution=9)
    ax.get_figure().canvas.draw()
    if isinstance(name, str):
        drawn = texts(ax.get_legend())[0].replace(r"\$", "$")
        assert drawn == name.replace("\ud800", "?")


@pytest.mark.parametrize("certain", [0.0, 0.2, 1.0])
def test_boundary_of_a_model_with_one_answer_has_no_line(certain, points):
    ax = plots.decision_boundary(Model(lambda X: np.full(len(X), certain)), *points, resolution=9)
    assert not boundary_line(ax).size


def test_boundary_keeps_shapes_only_on_one_scale(points):
    X, y = points
    model = Model(right_half)
    assert plots.decision_boundary(model, X, y, resolution=9).get_aspect() == 1.0
    assert plots.decision_boundary(model, X * [1, 50], y, resolution=9).get_aspect() == "auto"
    assert plots.decision_boundary(model, X[:1], y[:1], resolution=9).get_aspect() == "auto"


def test_boundary_of_a_single_point_has_a_plane_around_it(points):
    X, y = points
    model = Model(right_half)
    plots.decision_boundary(model, X[:1], y[:1], resolution=9)
    assert (np.ptp(model.X, axis=0) > 0.1).all()


def test_boundary_takes_lists_and_numbered_classes():
    ax = plots.decision_boundary(Model(right_half, (0, 1)), [[-1, 0], [1, 1]], [0, 1])
    assert texts(ax.get_legend()) == ["0", "1"]


def test_boundary_of_a_network_on_every_backend(backend, rng):
    X = rng.uniform(-1, 1, (40, 2))
    net = Network([2, 1], backend=backend, precision="float64", random_state=0)
    train(net, X, X[:, 0] > 0, optimizer="adam", epochs=3)
    net.set_parameters({"W1": np.array([[5.0, 0.0]]), "b1": np.zeros((1, 1))})
    vertices = boundary_line(plots.decision_boundary(net, X, X[:, 0] > 0, resolution=40))
    np.testing.assert_allclose(vertices[:, 0], 0, atol=1e-3)


def test_boundary_takes_arrays_from_a_device(points):
    X, y = points
    double = CupyBackend(CountingDouble())
    ax = plots.decision_boundary(Model(right_half), double.asarray(X), y, resolution=9)
    assert sum(len(c.get_offsets()) for c in ax.collections if c.get_label() == "inner") > 0


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((4, 3)), [0, 1, 0, 1], r"two features, shape \(m, 2\); got shape \(4, 3\)"),
        (np.zeros(2), [0], r"got shape \(2,\)"),
        (np.zeros((0, 2)), [], r"at least one row.*got shape \(0, 2\)"),
        (np.array([[0.0, np.nan]]), [0], "finite"),
        (np.zeros((4, 2)), [0, 1], r"y: expected one class for each row of X, shape \(4,\)"),
        (np.zeros((2, 2)), [0, 7], r"only the model's classes \[0, 1\]; got .*7"),
    ],
)
def test_boundary_refuses_what_it_cannot_draw(X, y, message):
    with pytest.raises(InputError, match=message):
        plots.decision_boundary(Model(right_half, (0, 1)), X, y)


def test_boundary_refuses_other_models_and_grids(points):
    with pytest.raises(InputError, match="resolution: expected 2 or more"):
        plots.decision_boundary(Model(right_half), *points, resolution=1)
    with pytest.raises(
        InputError, match=r"expected two classes in classes_; got \['a', 'b', 'c'\]"
    ):
        plots.decision_boundary(Model(right_half, ("a", "b", "c")), *points)
    with pytest.raises(InputError, match="train it first"):
        plots.decision_boundary(Network([2, 1], backend="numpy"), *points)


# --- misclassified pictures -----------------------------------------------------------------------

CATS = ("non-cat", "cat")


@pytest.fixture
def pictures(rng):
    """Six pictures, of which a model that answers 0.9, 0.6, 0.2, 0.7, 0.4, 0.1 misses 0, 2, 3."""
    answers = np.array([0.9, 0.6, 0.2, 0.7, 0.4, 0.1])
    X = rng.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
    return Model(lambda _: answers, CATS), X, np.array(CATS)[[0, 1, 1, 0, 0, 0]]


def shown(ax):
    """The picture on *ax* and the words above and below it."""
    (image,) = ax.get_images()
    return np.asarray(image.get_array()), ax.get_title(loc="left"), ax.get_xlabel()


def test_gallery_shows_the_surest_errors_first(pictures):
    model, X, y = pictures
    axes = plots.misclassified(model, X, y)
    assert [shown(ax)[1:] for ax in axes] == [
        ("non-cat (no. 0)", "taken for cat, 90%"),
        ("cat (no. 2)", "taken for non-cat, 80%"),
        ("non-cat (no. 3)", "taken for cat, 70%"),
    ]
    for ax, i in zip(axes, (0, 2, 3), strict=True):
        np.testing.assert_array_equal(shown(ax)[0], X[i])
    assert axes[0].get_figure().get_suptitle() == "3 of 6 pictures misclassified"


def test_gallery_follows_the_models_threshold(pictures):
    model, X, y = pictures
    model.threshold = 0.8
    assert [shown(ax)[1:] for ax in plots.misclassified(model, X, y)] == [
        ("non-cat (no. 0)", "taken for cat, 90%"),
        ("cat (no. 2)", "taken for non-cat, 80%"),
        ("cat (no. 1)", "taken for non-cat, 40%"),
    ]


def test_the_threshold_of_a_classifier_counts_as_well(points):
    """A network calls it ``threshold``, scikit-learn's classifiers ``threshold_``."""
    model = Model(right_half)
    model.threshold_ = 0.9
    vertices = boundary_line(plots.decision_boundary(model, *points, resolution=50))
    np.testing.assert_allclose(vertices[:, 0], np.log(9) / 5, atol=1e-2)


def test_gallery_takes_names_for_the_classes(pictures):
    model, X, y = pictures
    axes = plots.misclassified(model, X, y, classes=[b"dog", "kitten"])
    assert shown(axes[1])[1:] == ("kitten (no. 2)", "taken for dog, 80%")


def test_gallery_keeps_to_its_limit_and_columns(pictures):
    model, X, y = pictures
    axes = plots.misclassified(model, X, y, limit=2, columns=1)
    assert axes.shape == (2,)
    assert [ax.get_subplotspec().rowspan.start for ax in axes] == [0, 1]
    title = axes[0].get_figure().get_suptitle()
    assert title == "3 of 6 pictures misclassified · the 2 surest errors"
    axes = plots.misclassified(model, X, y, columns=2)
    assert len(axes) == 3
    assert [ax.axison for ax in axes[0].get_figure().axes] == [True, True, True, False]


def test_gallery_says_when_nothing_is_missed(pictures):
    model, X, _ = pictures
    y = np.array(CATS)[[1, 1, 0, 1, 0, 0]]
    axes = plots.misclassified(model, X, y)
    assert axes.shape == (1,)
    assert [t.get_text() for t in axes[0].texts] == ["None of the 6 pictures is misclassified."]
    assert not axes[0].axison


@pytest.mark.parametrize("shape", [(6, 8, 10), (6, 8, 10, 1), (6, 8, 10, 3), (6, 8, 10, 4)])
def test_gallery_shows_grey_and_coloured_pictures(shape, pictures, rng):
    model, _, y = pictures
    X = rng.integers(0, 256, shape, dtype=np.uint8)
    axes = plots.misclassified(model, X, y)
    np.testing.assert_array_equal(shown(axes[0])[0], X[0].squeeze())
    assert axes[0].get_images()[0].get_clim() == (0, 255)
    axes[0].get_figure().canvas.draw()


def test_model_is_given_what_it_can_take(pictures):
    model, X, y = pictures
    plots.misclassified(model, X, y)
    assert model.X.shape == X.shape  # a Network scales uint8 pictures itself
    axes = plots.misclassified(model, X / 255, y)
    assert model.X.shape == (6, 240)
    assert axes[0].get_images()[0].get_clim() == (0, 1)


def test_gallery_of_a_network(backend, rng):
    X = rng.integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    y = np.where(rng.integers(0, 2, 10), "cat", "dog")
    net = Network([48, 1], backend=backend, random_state=0)
    train(net, X, y, optimizer="sgd", epochs=1)
    missed = np.flatnonzero(net.predict(X) != y)
    axes = plots.misclassified(net, X, np.where(y == "cat", "dog", "cat"), limit=100)
    assert len(axes) == 10 - len(missed)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((6, 192), "uint8"), r"expected pictures of shape .*got shape \(6, 192\)"),
        (np.zeros((6, 8, 8, 2), "uint8"), r"c one of 1, 3, 4; got shape \(6, 8, 8, 2\)"),
        (np.zeros((0, 8, 8), "uint8"), r"got shape \(0, 8, 8\)"),
        (
            np.full((6, 8, 8), 300),
            "expected pictures of uint8, or of floats from 0 to 1; got int64",
        ),
        (np.full((6, 8, 8), 2.0), "got float64 from 2.0 to 2.0"),
        (np.full((6, 8, 8), np.nan), "got float64 from nan to nan"),
        (np.zeros((5, 8, 8), "uint8"), r"y: expected one class for each row of X, shape \(5,\)"),
    ],
)
def test_gallery_refuses_what_is_no_picture(X, message, pictures):
    model, _, y = pictures
    with pytest.raises(InputError, match=message):
        plots.misclassified(model, X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": 0}, "columns, limit: expected 1 or more"),
        ({"limit": 0}, "columns, limit: expected 1 or more"),
        ({"classes": ["cat"]}, r"classes: expected two names.*\('cat',\)"),
    ],
)
def test_gallery_refuses_odd_options(options, message, pictures):
    with pytest.raises(InputError, match=message):
        plots.misclassified(*pictures, **options)


# --- what is left alone ---------------------------------------------------------------------------


def test_given_axes_are_drawn_on_and_no_figure_is_made(plt, points, pictures):
    fig, (left, right) = plt.subplots(1, 2)
    gallery = plt.figure()
    before = plt.get_fignums()
    assert plots.learning_curve(FULL, left) is left
    assert plots.decision_boundary(Model(right_half), *points, ax=right, resolution=9) is right
    axes = plots.misclassified(*pictures, fig=gallery)
    assert all(ax.get_figure() is gallery for ax in axes)
    part = plt.figure().subfigures(1, 2)[1]
    assert all(ax.figure is part for ax in plots.misclassified(*pictures, fig=part))
    assert plt.get_fignums() == [*before, before[-1] + 1]
    for figure in (fig, gallery, part.figure):
        figure.canvas.draw()


def test_nothing_global_is_changed_and_nothing_is_shown(plt, monkeypatch, points, pictures):
    def fail(*_args, **_options):
        pytest.fail("a window or a backend was asked for")

    monkeypatch.setattr(plt, "show", fail)
    monkeypatch.setattr(matplotlib, "use", fail)
    monkeypatch.setattr(plt, "switch_backend", fail)
    before = dict(matplotlib.rcParams)
    plots.learning_curve(FULL)
    plots.decision_boundary(Model(right_half), *points, resolution=9)
    plots.misclassified(*pictures)
    assert dict(matplotlib.rcParams) == before
    assert len(plt.get_fignums()) == 3


def test_pictures_are_drawn_within_their_figures(points, pictures):
    boundary = plots.decision_boundary(Model(right_half), *points, resolution=9)
    for ax in (plots.learning_curve(FULL), boundary, *plots.misclassified(*pictures)):
        figure = ax.get_figure()
        figure.canvas.draw()
        box, frame = figure.get_tightbbox(), figure.bbox_inches
        assert box.x0 >= frame.x0
        assert box.y0 >= frame.y0
        assert box.x1 <= frame.x1
        assert box.y1 <= frame.y1


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, points, pictures):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (
        lambda: plots.learning_curve(FULL),
        lambda: plots.decision_boundary(Model(right_half), *points),
        lambda: plots.misclassified(*pictures),
    ):
        with pytest.raises(InputError, match=r"run: pip install 'xpnet\[plot\]'"):
            draw()
