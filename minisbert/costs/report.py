"""What the cost lab tells: the table, results.json and the picture.

The picture needs matplotlib (`pip install minisbert[plots]`); everything else does without.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minisbert.costs.measurement import (
    PAPER_ALL_PAIRS,
    PAPER_ONE_QUERY,
    PAPER_QUESTIONS,
    PAPER_SENTENCES,
    WAYS,
    Costs,
    count_work,
    extrapolate,
    find_crossover,
    fit_rungs,
    predict_largest,
)
from minisbert.system.disk import write_file

NAMES = {
    "naive": "cross-encoder, pair by pair",
    "batched": "cross-encoder, batched",
    "bi": "bi-encoder and scan",
}

# A prediction further off than this is called out.
CLOSE = 0.15


def show_duration(seconds: float) -> str:
    """A duration in the unit that a reader thinks in."""
    for unit, length, least in (
        ("days", 86_400, 240 * 3_600),
        ("h", 3_600, 3_600),
        ("min", 60, 120),
        ("s", 1, 1),
    ):
        if seconds >= least:
            return f"{seconds / length:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms"


def write_table(costs: Costs) -> Iterator[str]:
    """The report, line by line."""
    mean = float(costs.lengths.mean())
    ways = [way for way in WAYS if len(costs.get_rungs(way)) > 1]
    yield f"{len(costs.lengths)} sentences, {mean:.1f} tokens each on average"
    yield ""
    yield "All pairs of n sentences, really run (median seconds)"
    yield "       n" + "".join(f"  {NAMES[way]:>27}" for way in ways)
    measured = {way: {rung.n: rung for rung in costs.get_rungs(way)} for way in ways}
    for n in sorted({rung.n for rung in costs.rungs}):
        cells = (f"{measured[way][n].median:.3f}" if n in measured[way] else "" for way in ways)
        yield f"{n:8}" + "".join(f"  {cell:>27}" for cell in cells)
    yield ""
    yield "The cost model, fitted without the two largest sizes, predicts them"
    worst = 0.0
    for way in ways:
        for n, seconds, predicted in predict_largest(costs.get_rungs(way)):
            error = predicted / seconds - 1
            worst = max(worst, abs(error))
            yield (
                f"  {NAMES[way]:28} n = {n:6}  measured {show_duration(seconds):>8}  "
                f"predicted {show_duration(predicted):>8}  error {error:+.0%}"
            )
    if worst > CLOSE:
        yield f"  The machine was not quiet, or the model is wrong: an error is beyond {CLOSE:.0%}."
    if costs.rates:
        yield ""
        yield "In one second (median, lowest to highest of the repeats)"
        for what, rates in costs.rates.items():
            yield f"  {what:28} {np.median(rates):12,.0f}  ({min(rates):,.0f} to {max(rates):,.0f})"
    if costs.rerank:
        yield ""
        yield "The third way: retrieve by scan, rerank by cross-encoder, one query"
        for candidates, times in costs.rerank.items():
            yield f"  the best {candidates:4}   {show_duration(float(np.median(times)))}"
    yield ""
    yield f"All pairs of {PAPER_SENTENCES:,}: {PAPER_SENTENCES * (PAPER_SENTENCES - 1) // 2:,}"
    for way in ways:
        yield "  " + show_extrapolation(costs, way, np.full(PAPER_SENTENCES, mean))
    yield (
        f"  the paper, on a V100         {show_duration(PAPER_ALL_PAIRS['cross'])} by a "
        f"cross-encoder, {show_duration(PAPER_ALL_PAIRS['bi'])} by SBERT"
    )
    yield ""
    yield f"One question against {PAPER_QUESTIONS:,}"
    for name, low, middle, high in answer_one_query(costs):
        yield (
            f"  {name:28} {show_duration(middle):>9}  "
            f"({show_duration(low)} to {show_duration(high)})"
        )
    paper = show_duration(PAPER_ONE_QUERY["cross"])
    yield f"  the paper, on a V100         {paper} by a cross-encoder"
    if "bi" in ways:
        yield ""
        for way in (way for way in ways if way != "bi"):
            least = find_crossover(costs, way)
            found = f"from n = {least} on" if least else "at no size that was looked at"
            yield f"The bi-encoder is quicker than the {NAMES[way]} {found}."


def show_extrapolation(costs: Costs, way: str, lengths: Any) -> str:
    middle, low, high = extrapolate(costs.get_rungs(way), count_work(way, lengths))
    return (
        f"{NAMES[way]:28} {show_duration(middle):>9}  "
        f"({show_duration(low)} to {show_duration(high)})"
    )


def answer_one_query(costs: Costs) -> Iterator[tuple[str, float, float, float]]:
    """Seconds of one question against the paper's 40 million: (name, low, middle, high)."""
    rates = costs.rates
    for way, what in (("naive", "pairs, naive"), ("batched", "pairs, batched")):
        if what in rates:
            ordered = [PAPER_QUESTIONS / rate for rate in (max(rates[what]), min(rates[what]))]
            yield (
                NAMES[way],
                ordered[0],
                PAPER_QUESTIONS / float(np.median(rates[what])),
                ordered[1],
            )
    if "dot products" in rates:
        one = 1 / float(np.median(rates["sentences"]))
        scans = [PAPER_QUESTIONS / rate for rate in rates["dot products"]]
        low, middle, high = min(scans), float(np.median(scans)), max(scans)
        yield NAMES["bi"] + ", rows in memory", one + low, one + middle, one + high


def write_results(
    costs: Costs, path: Path, machine: Mapping[str, Any], worth: Sequence[Any] = ()
) -> None:
    """All raw figures as JSON; `worth` are those of `minisbert.costs.quality`."""
    content = {
        "machine": dict(machine),
        "complete": costs.complete,
        "tokens_mean": float(costs.lengths.mean()),
        "rungs": [
            {"way": rung.way, "n": rung.n, "counts": rung.counts, "seconds": rung.seconds}
            for rung in costs.rungs
        ],
        "rates_per_second": costs.rates,
        "rerank_seconds": {str(count): times for count, times in costs.rerank.items()},
        "rates_fitted": {
            way: fit_rungs(costs.get_rungs(way)).tolist()
            for way in WAYS
            if len(costs.get_rungs(way)) > 1
        },
        "quality": [way._asdict() for way in worth],
    }
    with write_file(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")


def draw_costs(costs: Costs, paths: list[Path], caption: str) -> None:
    """Draw total time against n: measured points solid, extrapolation dashed, the paper's marked.

    Raises ModuleNotFoundError where matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.2), constrained_layout=True)
    mean = float(costs.lengths.mean())
    # Greys and marks that differ in print as well.
    styles = {"naive": ("black", "o"), "batched": ("#555555", "s"), "bi": ("#0060a0", "D")}
    for way, (color, mark) in styles.items():
        rungs = costs.get_rungs(way)
        if len(rungs) < 2:
            continue
        rates = fit_rungs(rungs)
        sizes = np.geomspace(rungs[-1].n, PAPER_SENTENCES, 40).astype(int)
        line = [float(np.dot(count_work(way, np.full(n, mean)), rates)) for n in sizes]
        axes.plot(sizes, line, color=color, linestyle=(0, (4, 3)), linewidth=1)
        axes.plot(
            [rung.n for rung in rungs],
            [rung.median for rung in rungs],
            color=color,
            marker=mark,
            markersize=5,
            linewidth=1.8,
        )
        place = {"naive": "bottom", "batched": "top", "bi": "bottom"}[way]
        end = float(np.dot(count_work(way, np.full(PAPER_SENTENCES, mean)), rates))
        axes.annotate(
            f"{NAMES[way]}\n{show_duration(end)}",
            (PAPER_SENTENCES, end),
            xytext=(8, 4 if place == "bottom" else -4),
            textcoords="offset points",
            color=color,
            va=place,
            fontsize=10,
        )
    for seconds, name, side in (
        (PAPER_ALL_PAIRS["cross"], "paper, V100: 65 h", "bottom"),
        (PAPER_ALL_PAIRS["bi"], "paper, V100: 5 s", "top"),
    ):
        axes.plot([PAPER_SENTENCES], [seconds], "x", color="black", markersize=9, markeredgewidth=2)
        axes.annotate(
            name,
            (PAPER_SENTENCES, seconds),
            xytext=(-8, 5 if side == "bottom" else -5),
            textcoords="offset points",
            ha="right",
            va=side,
            fontsize=9,
            bbox={"color": "white", "pad": 1},  # over the lines that it crosses
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(8, 10 * PAPER_SENTENCES)
    axes.set_xticks([10, 100, 1000, 10_000], ["10", "100", "1,000", "10,000"])
    ticks = {0.01: "10 ms", 1: "1 s", 60: "1 min", 3600: "1 h", 86_400: "1 day"}
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.minorticks_off()
    axes.grid(True, color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("sentences, all compared with each other")
    axes.set_ylabel("total time")
    axes.set_title("What it costs to compare n sentences", loc="left", fontsize=12)
    figure.text(0.01, -0.02, caption, fontsize=7, color="#555555", va="top")
    for path in paths:
        with write_file(path) as file:
            figure.savefig(file, format=path.suffix[1:], dpi=150, bbox_inches="tight")
    pyplot.close(figure)
