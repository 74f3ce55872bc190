"""ci/bench/quality: what it reads, how it encodes and judges; not how good anything is."""

import gzip
import importlib.machinery
import importlib.util
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCH = Path(__file__).parent.parent / "ci" / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Its modules, and the script itself."""
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("quality_script", str(BENCH / "quality"))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(script)
    import ahead
    import tables

    yield SimpleNamespace(ahead=ahead, tables=tables, script=script)
    for name in ("ahead", "tables", "environment"):
        sys.modules.pop(name, None)


TABLE = """age,colour,target,split
20,red,0,train
30.5,blue,1,train
-1,green,1,test
40,red,0,test
"""


def test_a_table_is_encoded_by_its_training_rows(bench, tmp_path):
    with gzip.open(tmp_path / "some.csv.gz", "wt") as file:
        file.write(TABLE)
    X, y, test = bench.tables.load(tmp_path / "some.csv.gz")
    assert X.dtype == "float32"
    # age, blue, red; green is not among the training rows
    assert X.tolist() == [[20, 0, 1], [30.5, 1, 0], [-1, 0, 0], [40, 0, 1]]
    assert (y.tolist(), test.tolist()) == ([0, 1, 1, 0], [False, False, True, True])


def test_numbers_alone_stay_as_they_are(bench):
    columns = [np.array(["1", "2"]), np.array(["1e3", "-4"])]
    X = bench.tables.encoded(columns, np.array([True, False]))
    assert X.tolist() == [[1, 1000], [2, -4]]


def test_arrays_come_with_their_split(bench, tmp_path):
    X = np.arange(6, dtype="uint8").reshape(3, 2)
    np.savez(tmp_path / "some.npz", X=X, y=np.uint8([0, 1, 1]), split=np.uint8([0, 0, 1]))
    rows, y, test = bench.tables.load(tmp_path / "some.npz")
    assert rows.tolist() == X.tolist()
    assert (y.tolist(), test.tolist()) == ([0, 1, 1], [False, False, True])


def test_breast_cancer_is_split_anew_for_every_seed(bench):
    X, y, test = bench.tables.load(None)
    assert (X.shape, y.shape, test) == ((569, 30), (569,), None)


def test_every_competitor_is_fitted_once_a_seed(bench, tmp_path, monkeypatch, rng):
    monkeypatch.setattr(bench.tables, "_PAUSE", 0.0)
    X = rng.standard_normal((60, 2)).astype("float32")
    np.savez(tmp_path / "some.npz", X=X, y=X[:, 0] > 0, split=np.arange(60) % 3 == 0)
    task = {"set": "some", "path": str(tmp_path / "some.npz"), "seeds": 2}
    few = {k: v for k, v in bench.tables.classifiers(0).items() if "logistic" in k or k == "MLP"}
    monkeypatch.setattr(bench.tables, "classifiers", lambda seed: dict(few))
    seen = bench.tables.quality(task)
    assert (seen["set"], seen["shape"], set(seen["fits"])) == ("some", (40, 2), set(few))
    for fits in seen["fits"].values():
        assert len(fits) == 2
        assert all(fit["auc"] > 0.8 and fit["log_loss"] > 0 < fit["seconds"] for fit in fits)


def result(bench, rows=100, **of_xpnet):
    """A run of one set in which xpnet is a little better than all, or as *of_xpnet* says."""
    fits = {name: [fit(), fit(auc=0.82)] for name in bench.ahead.MLPS}
    ours = {"auc": 0.9, "log_loss": 0.3, "seconds": 1.0} | of_xpnet
    fits |= {"xpnet": [fit(**ours), fit(**ours)]}
    seen = {"set": "bank", "shape": (rows, 3), "fits": fits}
    run = {"date": "2026-01-02T03", "processor": "some", "threads": 2, "seeds": 2, "load": 0.9}
    return run | {"versions": {"numpy": "2"}, "sets": [seen], "absent": ["adult"]}


def fit(auc=0.8, log_loss=0.4, accuracy=0.9, seconds=2.0):
    return {"auc": auc, "log_loss": log_loss, "accuracy": accuracy, "seconds": seconds}


@pytest.mark.parametrize(
    ("rows", "of_xpnet", "ahead"),
    [
        (100, {}, True),
        (100, {"auc": 0.81}, False),  # as good is not ahead
        (100, {"log_loss": 0.5}, False),
        (100, {"seconds": 3.0}, True),
        (10_000, {"seconds": 3.0}, False),
        (10_000, {"seconds": 2.0}, True),
    ],
)
def test_who_is_ahead(bench, rows, of_xpnet, ahead):
    assert bench.ahead.is_ahead(result(bench, rows, **of_xpnet)) is ahead


def test_one_rival_is_enough_to_be_behind(bench):
    run = result(bench)
    assert bench.ahead.is_ahead(run)
    run["sets"][0]["fits"]["MLP, early stopping"] = [fit(auc=0.99), fit(auc=0.99)]
    assert not bench.ahead.is_ahead(run)
    assert not bench.ahead.is_ahead(run | {"sets": []})  # nothing seen, nothing shown


def test_the_report_says_it_all(bench):
    said = bench.ahead.text(result(bench, 10_000, seconds=3.0))
    deviation = statistics.stdev([0.8, 0.82])
    assert f"| 0.8100 ± {deviation:.4f} | 0.4000 ± 0.0000 | 0.9000 ± 0.0000 |" in said
    assert "The machine was busy, load 0.9" in said
    assert "- adult: no figures, its file is absent" in said
    assert "- LightGBM: no figures, it is not installed" in said
    assert "| LightGBM                    |               – |" in said
    assert "- bank: ahead of MLP: AUC +0.0900, log-loss -0.1000; OVER its time by 1.00 s\n" in said
    assert "- bank: accuracy 0.9000, -0.0095 from the best published, 0.9095\n" in said
    assert said.endswith("In all: NOT ahead.")


@pytest.mark.parametrize("sets", [0, 1])
def test_the_picture_is_drawn(bench, tmp_path, sets):
    pytest.importorskip("matplotlib")
    run = result(bench)
    bench.ahead.draw(run | {"sets": run["sets"][:sets]}, tmp_path / "some.png")
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")


def test_an_absent_set_is_named_and_left_out(bench, tmp_path, monkeypatch, capsys):
    options = SimpleNamespace(only="adult,breast_cancer", quick=False, seeds=2, threads=1)
    options.data = tmp_path
    monkeypatch.setattr(bench.script.environment, "confined", lambda task, _: task)
    seen = bench.script.measured(options)
    assert (seen["absent"], [task["set"] for task in seen["sets"]]) == (
        ["adult"],
        ["breast_cancer"],
    )
    assert f"adult: absent, there is no {tmp_path / 'adult.csv.gz'}" in capsys.readouterr().err
    options.only = "adlut"
    with pytest.raises(SystemExit, match="expected some of adult"):
        bench.script.measured(options)
