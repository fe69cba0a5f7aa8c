"""Report the measurements of the cost lab: the table, results.json and the picture.

Only the picture needs matplotlib (`pip install minisbert[plots]`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minisbert.costs.cost_model import (
    WAYS,
    count_work,
    extrapolate,
    find_crossover,
    fit_measurements,
    predict_largest,
)
from minisbert.costs.measurement import Costs
from minisbert.costs.quality import Quality
from minisbert.system.disk import write_file

# The paper's tasks (Reimers & Gurevych 2019, introduction), in seconds on a V100.
_PAPER_SENTENCES = 10_000
_PAPER_ALL_PAIRS = {"cross": 65 * 3600.0, "bi": 5.0}
_PAPER_QUESTIONS = 40_000_000
_PAPER_ONE_QUERY = {"cross": 50 * 3600.0}

_WAY_NAMES = {
    "naive": "cross-encoder, pair by pair",
    "batched": "cross-encoder, batched",
    "bi": "bi-encoder and scan",
}

# The report warns of a larger relative prediction error than this.
_LARGE_ERROR = 0.15


def show_duration(seconds: float) -> str:
    """Format a duration in a readable unit."""
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
    """Yield the lines of the report."""
    mean = float(costs.lengths.mean())
    ways = [way for way in WAYS if len(costs.get_measurements(way)) > 1]
    yield f"{len(costs.lengths)} sentences, {mean:.1f} tokens each on average"
    yield ""
    yield "All pairs of n sentences, really run (median seconds)"
    yield "       n" + "".join(f"  {_WAY_NAMES[way]:>27}" for way in ways)
    medians = {
        way: {measured.n: measured.median for measured in costs.get_measurements(way)}
        for way in ways
    }
    for n in sorted({measured.n for measured in costs.measurements}):
        cells = (f"{medians[way][n]:.3f}" if n in medians[way] else "" for way in ways)
        yield f"{n:8}" + "".join(f"  {cell:>27}" for cell in cells)
    yield ""
    yield "The cost model, fitted without the two largest sizes, predicts them"
    worst = 0.0
    for way in ways:
        for n, seconds, predicted in predict_largest(costs.get_measurements(way)):
            error = predicted / seconds - 1
            worst = max(worst, abs(error))
            yield (
                f"  {_WAY_NAMES[way]:28} n = {n:6}  measured {show_duration(seconds):>8}  "
                f"predicted {show_duration(predicted):>8}  error {error:+.0%}"
            )
    if worst > _LARGE_ERROR:
        yield (
            f"  An error is larger than {_LARGE_ERROR:.0%}: other programs disturbed the "
            "measurements, or the model is wrong."
        )
    if costs.rates:
        yield ""
        yield "In one second (median, lowest to highest of the repeats)"
        for name, rates in costs.rates.items():
            yield f"  {name:28} {np.median(rates):12,.0f}  ({min(rates):,.0f} to {max(rates):,.0f})"
    if costs.rerank:
        yield ""
        yield "The third way: retrieve by scan, rerank by cross-encoder, one query"
        for candidates, times in costs.rerank.items():
            yield f"  the best {candidates:4}   {show_duration(float(np.median(times)))}"
    yield ""
    yield f"All pairs of {_PAPER_SENTENCES:,}: {_PAPER_SENTENCES * (_PAPER_SENTENCES - 1) // 2:,}"
    for way in ways:
        yield "  " + _show_extrapolation(costs, way, np.full(_PAPER_SENTENCES, mean))
    yield (
        f"  the paper, on a V100         {show_duration(_PAPER_ALL_PAIRS['cross'])} by a "
        f"cross-encoder, {show_duration(_PAPER_ALL_PAIRS['bi'])} by SBERT"
    )
    yield ""
    yield f"One question against {_PAPER_QUESTIONS:,}"
    for name, low, middle, high in _extrapolate_one_query(costs):
        yield (
            f"  {name:28} {show_duration(middle):>9}  "
            f"({show_duration(low)} to {show_duration(high)})"
        )
    paper = show_duration(_PAPER_ONE_QUERY["cross"])
    yield f"  the paper, on a V100         {paper} by a cross-encoder"
    if "bi" in ways:
        yield ""
        for way in (way for way in ways if way != "bi"):
            least = find_crossover(costs.get_measurements("bi"), costs.get_measurements(way), mean)
            found = f"from n = {least} on" if least else "at no size that was looked at"
            yield f"The bi-encoder is quicker than the {_WAY_NAMES[way]} {found}."


def _show_extrapolation(costs: Costs, way: str, lengths: Any) -> str:
    middle, low, high = extrapolate(costs.get_measurements(way), count_work(way, lengths))
    return (
        f"{_WAY_NAMES[way]:28} {show_duration(middle):>9}  "
        f"({show_duration(low)} to {show_duration(high)})"
    )


def _extrapolate_one_query(costs: Costs) -> Iterator[tuple[str, float, float, float]]:
    """Yield the seconds of one question against the paper's 40 million: (name, low, middle, high).

    The time grows with the number of questions, so it is their number divided by a rate.
    """
    rates = costs.rates
    for way in ("naive", "batched"):
        if f"pairs, {way}" in rates:
            seconds = [_PAPER_QUESTIONS / rate for rate in rates[f"pairs, {way}"]]
            yield _WAY_NAMES[way], min(seconds), float(np.median(seconds)), max(seconds)
    if "dot products" in rates:
        one = 1 / float(np.median(rates["sentences"]))  # the question itself is encoded, too
        seconds = [one + _PAPER_QUESTIONS / rate for rate in rates["dot products"]]
        name = f"{_WAY_NAMES['bi']}, rows in memory"
        yield name, min(seconds), float(np.median(seconds)), max(seconds)


def write_results(
    costs: Costs, path: Path, machine: Mapping[str, Any], *, quality: Sequence[Quality] = ()
) -> None:
    """Write all raw figures as JSON."""
    content = {
        "machine": dict(machine),
        "complete": costs.complete,
        "tokens_mean": float(costs.lengths.mean()),
        "rungs": [  # the key that published results have
            {"way": one.way, "n": one.n, "counts": one.counts, "seconds": one.seconds}
            for one in costs.measurements
        ],
        "rates_per_second": costs.rates,
        "rerank_seconds": {str(count): times for count, times in costs.rerank.items()},
        "rates_fitted": {
            way: fit_measurements(costs.get_measurements(way)).tolist()
            for way in WAYS
            if len(costs.get_measurements(way)) > 1
        },
        "quality": [way._asdict() for way in quality],
    }
    with write_file(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")


def draw_costs(costs: Costs, paths: list[Path], caption: str) -> None:
    """Draw total time against n: measurements solid, extrapolation dashed, the paper's as crosses.

    Raises ModuleNotFoundError if matplotlib is not installed.
    """
    # Not pyplot, whose backend and figures belong to the whole process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    mean = float(costs.lengths.mean())
    # Greys and markers that can be told apart in print.
    styles = {"naive": ("black", "o"), "batched": ("#555555", "s"), "bi": ("#0060a0", "D")}
    for way, (color, mark) in styles.items():
        measured = costs.get_measurements(way)
        if len(measured) < 2:
            continue
        rates = fit_measurements(measured)
        sizes = np.geomspace(measured[-1].n, _PAPER_SENTENCES, 40).astype(int)
        line = [float(np.dot(count_work(way, np.full(n, mean)), rates)) for n in sizes]
        axes.plot(sizes, line, color=color, linestyle=(0, (4, 3)), linewidth=1)
        axes.plot(
            [one.n for one in measured],
            [one.median for one in measured],
            color=color,
            marker=mark,
            markersize=5,
            linewidth=1.8,
        )
        place = {"naive": "bottom", "batched": "top", "bi": "bottom"}[way]
        end = float(np.dot(count_work(way, np.full(_PAPER_SENTENCES, mean)), rates))
        axes.annotate(
            f"{_WAY_NAMES[way]}\n{show_duration(end)}",
            (_PAPER_SENTENCES, end),
            xytext=(8, 4 if place == "bottom" else -4),
            textcoords="offset points",
            color=color,
            va=place,
            fontsize=10,
        )
    for seconds, name, side in (
        (_PAPER_ALL_PAIRS["cross"], "paper, V100: 65 h", "bottom"),
        (_PAPER_ALL_PAIRS["bi"], "paper, V100: 5 s", "top"),
    ):
        axes.plot(
            [_PAPER_SENTENCES], [seconds], "x", color="black", markersize=9, markeredgewidth=2
        )
        axes.annotate(
            name,
            (_PAPER_SENTENCES, seconds),
            xytext=(-8, 5 if side == "bottom" else -5),
            textcoords="offset points",
            ha="right",
            va=side,
            fontsize=9,
            bbox={"color": "white", "pad": 1},  # over the lines that it crosses
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(8, 10 * _PAPER_SENTENCES)
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
