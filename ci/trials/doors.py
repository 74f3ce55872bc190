"""The doors that the trial `fuzz` tries: what is offered at each, and what is done with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import click
import offers
from attempts import Leak, Progress, network, trained
from click.testing import CliRunner
from hypothesis import strategies as st
from offers import arguments, labels, paths, rows, values

from xpnet import (
    BinaryClassifier,
    Checkpoint,
    Network,
    check_gradients,
    cli,
    compare_backends,
    data,
    evaluate,
    load_model,
    resume,
    save_model,
    train,
)
from xpnet.losses import focal
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import SCHEDULES
from xpnet.training import EarlyStopping

Door = tuple[Any, Callable[[Any], None]]  #: a strategy, and what is done with its values

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def _names(function: Any, *without: str) -> list[str]:
    """The arguments of *function*, but for these and the backend, which could be a GPU."""
    parameters = inspect.signature(function).parameters
    return [name for name in parameters if name not in ("backend", *without)]


# --- networks, classifiers and their data ---------------------------------------------------------


def _network(given: dict[str, Any]) -> None:
    Network(**{"layer_sizes": [3, 2, 1], "backend": "numpy", "random_state": 0} | given)


def _train(given: dict[str, Any]) -> None:
    small = {"net": network(), **offers.good(), "optimizer": "adam", "epochs": 2}
    train(**small | given)


def _classifier(**given: Any) -> BinaryClassifier:
    small = {"max_iter": 2, "hidden_layer_sizes": (3,), "backend": "numpy", "random_state": 0}
    return BinaryClassifier(**small | given)


def _fit(given: dict[str, Any]) -> None:
    problem = offers.good()
    _classifier(**given).fit(problem["X"], problem["y"])


def _fit_data(given: dict[str, Any]) -> None:
    _classifier().fit(**offers.good() | given)


def _partial_fit(calls: list[dict[str, Any]]) -> None:
    classifier = _classifier()
    for given in calls:
        classifier.partial_fit(**offers.good() | given)


def _predict(offered: tuple[str, dict[str, Any]]) -> None:
    method, given = offered
    problem = offers.good()
    classifier = _classifier().fit(problem["X"], problem["y"])
    given = {"X": problem["X"]} | given
    if method in METHODS:
        getattr(classifier, method)(given["X"])
    elif method in ("calibrate", "tune_threshold", "report", "score"):
        getattr(classifier, method)(**problem | given)
    else:
        getattr(classifier.network_, method.removeprefix("network."))(given["X"])


def _evaluate(offered: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    function, given = offered
    function(trained(), **offers.good() | given)


_fitting = {"X": rows, "y": labels, "sample_weight": labels, "X_val": rows, "y_val": labels,
            "sample_weight_val": labels, "classes": st.one_of(labels, values)}  # fmt: skip
_pair = st.one_of(values, st.tuples(rows, labels), st.tuples(rows, labels, labels))
_training = {"X": rows, "y": labels, "sample_weight": labels, "validation_data": _pair}
_asking = ("predict", *METHODS, "calibrate", "tune_threshold", "report", "score",
           "network.predict_proba", "network.decision_function", "network.forward")  # fmt: skip


# --- settings -------------------------------------------------------------------------------------


def _make(offered: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    made, given = offered
    thing = made(**given)
    if isinstance(thing, EarlyStopping):
        _train({"early_stopping": thing})
    elif made in OPTIMIZERS.values():
        _train({"optimizer": thing})


_MADE = [*OPTIMIZERS.values(), *SCHEDULES.values(), EarlyStopping, focal, data.circles]
_settings = st.sampled_from(_MADE).flatmap(
    lambda made: st.tuples(st.just(made), arguments(_names(made)))
)


# --- files ----------------------------------------------------------------------------------------


def _save(offered: tuple[Any, Any]) -> None:
    save_model(*offered)


def _load(given: dict[str, Any]) -> None:
    load_model(**{"path": "model.h5", "backend": "numpy"} | given)


def _load_data(offered: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    function, given = offered
    function(**{"path": "data.h5"} | given)


def _checkpoint(given: dict[str, Any]) -> None:
    folder = given.pop("as it is", None)
    _train({"checkpoint": Checkpoint(**{"folder": "new"} | given) if given else folder})


def _resume(given: dict[str, Any]) -> None:
    problem = offers.good() | {"folder": "run", "backend": "numpy", "callback": Progress()}
    resume(**problem | given)


_saving = st.tuples(st.one_of(st.builds(trained), st.builds(network), values), paths)
_loading = st.sampled_from([data.load, data.load_hdf5]).flatmap(
    lambda load: st.tuples(
        st.just(load),
        arguments(_names(load), path=paths, X=st.sampled_from(offers.WORDS)),
    )
)


# --- the command ----------------------------------------------------------------------------------

COMMANDS = cli.main.commands
_SHORT = {"train": ["--epochs", "1"], "compare": ["--epochs", "1"]}
_EXITS = {0, 1, 2}


#: What may well be right for an option or an argument, by its name; for others, by its type.
_DATA = ["data.h5", "table.h5", "pictures.h5"]
_RIGHT = {
    "data": _DATA, "test": _DATA, "model": ["model.h5", "of_pictures.h5"], "folder": ["run"],
    "inputs": [*_DATA, "picture.png"], "file": ["model.h5", *_DATA], "x": ["X", "train_set_x"],
    "y": ["y", "train_set_y"], "hidden": ["3", "2,2", "none"], "activation": ["relu,tanh", "elu"],
    "batch_size": ["8", "full"], "every": ["2", "1s"], "threshold": ["f1", "0.5"],
    "history": ["run.csv", "run.jsonl"], "output": ["new.h5"], "backend": ["numpy", "auto"],
    "max_bytes": ["100000"],
}  # fmt: skip


def _value(param: click.Parameter) -> Any:
    """A word for an option or an argument: mostly one that may well be right."""
    if isinstance(param.type, click.Choice):
        right = list(param.type.choices)
    else:
        right = _RIGHT.get(str(param.name), ["1", "2"] if "int" in param.type.name else ["0.1"])
    odd = st.one_of(offers.words, st.sampled_from(offers.FILES))
    return st.integers(0, 5).flatmap(lambda n: odd if n == 5 else st.sampled_from(right))


def _words(option: click.Parameter) -> Any:
    """The words that give an *option*."""
    value, names = _value(option), st.sampled_from(option.opts)
    if getattr(option, "is_flag", False):
        return names.map(lambda name: [name])
    return st.tuples(names, value).map(list)


@st.composite
def command(draw: Any, name: str) -> list[str]:
    """A call of the command *name*: its arguments, mostly, and some options."""
    params = [p for p in COMMANDS[name].params if p.name not in ("apart", "plot", "no_plot")]
    files = [draw(_value(p)) for p in params if isinstance(p, click.Argument)]
    files = draw(st.sampled_from([files, files, files, files[:1], [*files, "data.h5"]]))
    options = [p for p in params if isinstance(p, click.Option)]
    some = st.lists(st.sampled_from(options).flatmap(_words), max_size=4)
    chosen = draw(some) if options else draw(st.lists(st.lists(offers.words), max_size=1))
    slow = draw(_slow(name)) if draw(st.integers(0, 49)) == 17 else []  # the ends come often
    quick = ["--no-plot"] if name == "train" and not slow else []
    return [name, *_SHORT.get(name, []), *quick, *files, *chain(*chosen), *slow]


def _slow(name: str) -> Any:
    """Options that draw a picture, or start a process: rarely given, for the time they take."""
    known = {word for param in COMMANDS[name].params for word in param.opts}
    offered = [["--untrusted"], ["--plot", "x.svg"], ["--plot", "run"], ["--plot", "folder/x.png"]]
    return st.sampled_from([words for words in offered if words[0] in known] or [[]])


def _call(words: Sequence[str]) -> None:
    result = CliRunner().invoke(cli.main, list(words), prog_name="xpnet")
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        raise error
    if result.exit_code not in _EXITS or "Traceback" in result.output:
        raise Leak(f"exit {result.exit_code}: {result.output[-500:]}")
    if result.exit_code and not result.output.strip():
        raise Leak(f"exit {result.exit_code} without a word")


def _doors() -> Iterator[tuple[str, Door]]:
    yield "Network", (arguments(_names(Network)), _network)
    yield "train", (arguments(_names(train, "checkpoint", *_training)), _train)
    yield "train, data", (arguments(list(_training), **_training), _train)
    yield "BinaryClassifier", (arguments(_names(BinaryClassifier)), _fit)
    fitting = arguments(_names(BinaryClassifier.fit, "self"), 3, **_fitting)
    yield "fit", (fitting, _fit_data)
    partial = arguments(_names(BinaryClassifier.partial_fit, "self"), 2, **_fitting)
    yield "partial_fit", (st.lists(partial, min_size=1, max_size=2), _partial_fit)
    asked = arguments(["X", "y", "sample_weight"], **_fitting)
    yield "predict", (st.tuples(st.sampled_from(_asking), asked), _predict)
    judged = st.sampled_from([evaluate, check_gradients, compare_backends])
    yield "evaluate", (st.tuples(judged, arguments(["X", "y"], **_fitting)), _evaluate)
    yield "settings", (_settings, _make)
    yield "save_model", (_saving, _save)
    yield "load_model", (arguments(["path"], path=paths), _load)
    yield "load data", (_loading, _load_data)
    of_folder = arguments([*_names(Checkpoint), "as it is"], folder=paths, **{"as it is": paths})
    yield "Checkpoint", (of_folder, _checkpoint)
    going_on = arguments(_names(resume), folder=paths, **_training)
    yield "resume", (going_on, _resume)
    for name in COMMANDS:
        yield f"xpnet {name}", (command(name), _call)


DOORS: dict[str, Door] = dict(_doors())
