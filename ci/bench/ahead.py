"""Whether xpnet's default is ahead, and of whom: as tables, in words, and as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RIVALS = ("MLP", "MLP, early stopping")  # xpnet must be ahead of both
MLPS = (*RIVALS, *(f"scaled {name}" for name in RIVALS))
QUIET = 0.5  # the load before the first fit, in cores
LARGE = 10_000  # training rows, from which on it must also be as fast
PUBLISHED = {
    "bank": {"accuracy": (("a published MLP", 0.9052), ("the best published", 0.9095))},
    "adult": {
        "auc": (("published MLP ensembles", 0.9236), ("published LightGBM", 0.9276)),
        "log_loss": (("published MLP ensembles", 0.284), ("published LightGBM", 0.276)),
    },
}
_HEADS = {"auc": "ROC-AUC", "log_loss": "log-loss", "accuracy": "accuracy", "seconds": "fit, s"}
_MARKS = {  # in order; colours of Okabe & Ito 2008: told apart by nearly everyone
    "xpnet": ("black", "D"),
    **dict(zip(MLPS, [("#E69F00", m) for m in "os"] + [("#D55E00", m) for m in "os"], strict=True)),
    "logistic regression": ("#999999", "o"),
    "HistGradientBoosting": ("#56B4E9", "o"),
    "LightGBM": ("#0072B2", "o"),
}

Seen = dict[str, Any]  #: what `tables.quality` returned


def text(result: dict[str, Any]) -> str:
    """Return a report in Markdown."""
    return "\n".join(_lines(result))


def _lines(result: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    threads = f"{result['threads']} threads"
    yield " · ".join((result["date"][:10], result["processor"], threads, versions))
    if (result["load"] or 0.0) > QUIET:
        yield f"\nThe machine was busy, load {result['load']:.1f}: do not trust the times."
    yield f"\nMeans and standard deviations over {result['seeds']} seeds."
    for seen in result["sets"]:
        m, n = seen["shape"]
        yield f"\n## {seen['set']}: {m:,} rows of {n:,} features to train on\n"
        yield from table(seen)
    yield "\n## Is xpnet's default ahead?\n"
    yield from (f"- {name}: no figures, its file is absent" for name in result["absent"])
    missing = {name for seen in result["sets"] for name in _MARKS if name not in seen["fits"]}
    yield from (f"- {name}: no figures, it is not installed" for name in sorted(missing))
    for seen in result["sets"]:
        yield from (f"- {seen['set']}: {_against(seen, rival)}" for rival in MLPS)
        yield from (f"- {seen['set']}: {words}" for words in _distances(seen))
    yield f"\nIn all: {'ahead' if is_ahead(result) else 'NOT ahead'}."


def table(seen: Seen) -> Iterator[str]:
    """Return a table in Markdown, with a line for each competitor."""
    yield f"| {'':27} | " + " | ".join(f"{head:>15}" for head in _HEADS.values()) + " |"
    yield f"|{'-' * 29}|" + f"{'-' * 16}:|" * len(_HEADS)
    for name in _MARKS:
        figures = ["–" for _ in _HEADS]
        if name in seen["fits"]:
            columns = {what: [fit[what] for fit in seen["fits"][name]] for what in _HEADS}
            pairs = [(statistics.mean(c), statistics.stdev(c)) for c in columns.values()]
            figures = [f"{mean:.4f} ± {spread:.4f}" for mean, spread in pairs[:-1]]
            figures.append("{:.2f} ± {:.2f}".format(*pairs[-1]))
        yield f"| {name:27} | " + " | ".join(f"{figure:>15}" for figure in figures) + " |"


def lead(seen: Seen, rival: str) -> tuple[float, float, float]:
    """Return by how much xpnet's mean AUC, log-loss and seconds are above the *rival*'s."""
    auc, loss, seconds = (
        _mean(seen, "xpnet", what) - _mean(seen, rival, what)
        for what in ("auc", "log_loss", "seconds")
    )
    return auc, loss, seconds


def is_ahead(result: dict[str, Any]) -> bool:
    """Tell whether xpnet beats its rivals on every set, and on the large ones is in time, too."""
    leads = [(lead(seen, name), seen["shape"][0]) for seen in result["sets"] for name in RIVALS]
    return bool(leads) and all(
        auc > 0 > loss and (rows < LARGE or seconds <= 0) for (auc, loss, seconds), rows in leads
    )


def _against(seen: Seen, rival: str) -> str:
    auc, loss, seconds = lead(seen, rival)
    return (
        f"{'ahead' if auc > 0 > loss else 'NOT ahead'} of {rival}: AUC {auc:+.4f}, log-loss "
        f"{loss:+.4f}; {'OVER' if seconds > 0 else 'within'} its time by {abs(seconds):.2f} s"
    )


def _distances(seen: Seen) -> Iterator[str]:
    for what, points in PUBLISHED.get(seen["set"], {}).items():
        ours = _mean(seen, "xpnet", what)
        for of, there in points:
            yield f"{_HEADS[what]} {ours:.4f}, {ours - there:+.4f} from {of}, {there:g}"


def _mean(seen: Seen, name: str, what: str) -> float:
    return statistics.mean(fit[what] for fit in seen["fits"][name])


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw how far each is from the best of scikit-learn's MLPs, in AUC and in log-loss."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    sets = result["sets"]
    figure, axes = plt.subplots(
        1, 2, figsize=(13, 2 + 1.1 * len(sets)), sharey=True, layout="constrained"
    )
    for panel, what, better in zip(axes, ("auc", "log_loss"), (max, min), strict=True):
        for y, seen in enumerate(sets):
            best = better(MLPS, key=lambda name: _mean(seen, name, what))
            for k, name in enumerate(name for name in _MARKS if name in seen["fits"]):
                pairs = zip(seen["fits"][name], seen["fits"][best], strict=True)
                further = [fit[what] - its[what] for fit, its in pairs]
                mean, spread = statistics.mean(further), statistics.stdev(further)
                (colour, mark), at = _MARKS[name], y - 0.35 + 0.1 * k
                panel.errorbar(mean, at, xerr=spread, fmt=mark, color=colour, label=name)
        side = "right" if better is max else "left"
        panel.set_title(f"{_HEADS[what]}, less the best scikit-learn MLP's: better to the {side}")
        panel.set_xscale("symlog", linthresh=0.01)
        panel.axvline(0, color="black", linewidth=1)
        panel.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_yticks(range(len(sets)), [seen["set"] for seen in sets])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    drawn = dict(zip(labels, handles, strict=True))
    figure.legend(drawn.values(), drawn, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
