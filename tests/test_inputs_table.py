"""The table of docs/inputs.md: each odd input is accepted as it says, or refused in its words."""

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from xpnet import BinaryClassifier, InputError, Network, train

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "ci" / "trials"))

import odd  # noqa: E402

DOORS = ("train", "predict_proba", "fit", "predict")
ANSWERS = {"accepts", "warns", "refuses", "–"}


def read_table():
    """The rows of the table by name: the answer of each door, and the last column."""
    rows = {}
    for line in (ROOT / "docs" / "inputs.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 7:
            name, _, *answers, words = cells
            assert name.strip("`") not in rows, f"{name} is there twice"
            rows[name.strip("`")] = (dict(zip(DOORS, answers, strict=True)), words)
    return rows


TABLE = read_table()
CASES = [(name, door) for name in TABLE for door in DOORS if TABLE[name][0][door] != "–"]


def make(name, folder):
    try:
        return odd.INPUTS[name](folder)
    except ImportError as missing:
        pytest.skip(f"{missing.name} is not installed")


def network(rows):
    n = int(np.prod(rows.shape[1:]))
    return Network([n, 3, 1], "tanh", backend="numpy", random_state=1)


def classifier():
    plain = {"scaling": None, "precision": "float32"}  # as the network is
    return BinaryClassifier((3,), max_iter=2, random_state=0, backend="numpy", **plain)


def answer(door, given, X, y):
    """What a door makes of X and y: numbers, and the classes that were learnt."""
    if door in ("fit", "predict"):
        known = given.like if given.like[0].shape[0] == odd.M else (odd.ROWS, odd.LABELS)
        model = classifier().fit(*(known if door == "predict" else (X, y)))
        if door == "predict":
            return model.predict(X), None
        return np.concatenate([W.ravel() for W in model.coefs_]), model.classes_
    net = network(given.like[0] if given.before is None else given.before[0])
    if given.before is not None:
        train(net, *given.before, optimizer="adam", epochs=1)
    if door == "predict_proba":
        return net.predict_proba(X), None
    train(net, X, y, optimizer="adam", epochs=2, batch_size=5, **given.options)
    return net.theta, net.classes_


def refusal(door, given):
    """What is said where a door refuses."""
    with pytest.raises((ValueError, TypeError)) as found:
        answer(door, given, given.X, given.y)
    return found.value


def test_the_table_has_every_input_and_says_something_of_each():
    assert set(TABLE) == set(odd.INPUTS)
    assert len(TABLE) >= 45
    for answers, words in TABLE.values():
        assert set(answers.values()) <= ANSWERS
        assert set(answers.values()) != {"–"}
        assert words


@pytest.mark.parametrize(("name", "door"), CASES)
def test_what_becomes_of_it(name, door, tmp_path):
    given, expected = make(name, tmp_path), TABLE[name][0][door]
    if expected == "refuses":
        problem = refusal(door, given)
        if door in ("train", "predict_proba"):
            assert type(problem) is InputError
            assert re.search(r"\b(X|y|sample_weight|validation_data|classes)\b", str(problem))
            assert re.search(r"(?s)expected .+; got .+; .+", str(problem))
            assert any(match(quoted, problem) for quoted in quotes(name)), str(problem)
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found, classes = answer(door, given, given.X, given.y)
    assert [str(warning.message) for warning in said] == [] or expected == "warns"
    assert bool(said) == (expected == "warns")
    wanted, _ = answer(door, odd.Odd(like=given.like), *given.like)
    if door == "predict":
        assert np.asarray(found).dtype.kind == "i"
    np.testing.assert_array_equal(found, wanted)
    if classes is not None:
        assert classes.tolist() == list(given.classes)


def quotes(name):
    return [words for words in re.findall(r"`([^`]+)`", TABLE[name][1]) if "expected" in words]


def match(quoted, problem):
    """Whether the message is the quoted one, in which … stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, quoted.split("…"))), str(problem), re.DOTALL)


REFUSED = [name for name, (answers, _) in TABLE.items() if "refuses" in list(answers.values())[:2]]


@pytest.mark.parametrize("name", REFUSED)
def test_every_quoted_message_is_said(name, tmp_path):
    doors = [door for door in DOORS[:2] if TABLE[name][0][door] == "refuses"]
    said = [refusal(door, make(name, tmp_path)) for door in doors]
    for quoted in quotes(name):
        assert any(match(quoted, problem) for problem in said), [quoted, *map(str, said)]


def test_nothing_that_is_given_is_changed(tmp_path):
    for name in ("X-read-only", "X-fortran", "X-negative-strides", "X-big-endian"):
        given = make(name, tmp_path)
        train(network(odd.ROWS), given.X, given.y, optimizer="sgd", epochs=2, batch_size=5)
        np.testing.assert_array_equal(given.X, odd.ROWS)
