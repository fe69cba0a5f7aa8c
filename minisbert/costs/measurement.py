"""Measure what comparing n sentences with each other costs, in three ways, on this machine.

1. *naive*    a cross-encoder, run once for every pair, one pair at a time
2. *batched*  the same cross-encoder at its best: pairs sorted by length, batched, on all cores
3. *bi*       a bi-encoder, run once for every sentence, then all pairs by the C scan

All three use the same sentences, the same code and a network of the same size, so that they differ
only in the way of comparing. The cross-encoder has the bi-encoder's weights and a fresh head: the
time of a matrix product does not depend on its numbers. Tokenising is part of every way.

Each way is measured at growing sizes while its share of the time lasts; what would take longer is
extrapolated (see `cost_model`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minisbert.arrays import Array
from minisbert.costs.cost_model import Measurement, count_work, fit_measurements
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.mining.nearest import find_nearest
from minisbert.search.scan import topk

# Numbers of sentences to measure: 10, 15, 20, ..., 70, 100, 150, ..., 7000, 10000.
SIZES = (
    *(int(first * power) for power in (10, 100, 1000) for first in (1, 1.5, 2, 3, 4, 5, 7)),
    10_000,
)
# The share of the time for each way. The rest is for `measure_rates` and `measure_rerank`.
_TIME_SHARES = {"naive": 0.35, "batched": 0.35, "bi": 0.12}

QUIET: dict[str, Any] = {"on_truncate": "ignore", "show_progress_bar": False}


@dataclass
class Costs:
    """All measurements of one run.

    lengths       (n,)  tokens of each sentence
    measurements        of all ways, smaller sizes first
    rates               kind of work -> how much was done in a second, for each repeat
    rerank              number of candidates -> seconds of each query
    complete            whether the run was not interrupted
    """

    lengths: Array
    measurements: list[Measurement] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    rerank: dict[int, list[float]] = field(default_factory=dict)
    complete: bool = False

    def get_measurements(self, way: str) -> list[Measurement]:
        return [measurement for measurement in self.measurements if measurement.way == way]


def make_cross_encoder(model: SentenceTransformer) -> CrossEncoder:
    """Make a cross-encoder of the bi-encoder's weights and a fresh head."""
    directory = model.model_directory / model.config.transformer_path
    return CrossEncoder(directory, fresh_head=0, threads=model.threads)


# The three ways. Each returns its result, so that no part of the work can be left out.


def compare_naively(cross: CrossEncoder, texts: Sequence[str]) -> Array:
    """Run one forward pass for every pair.  -> (pairs,) scores"""
    return np.array([cross.predict(pair, **QUIET) for pair in itertools.combinations(texts, 2)])


def compare_batched(cross: CrossEncoder, texts: Sequence[str]) -> Array:
    """Score all pairs in batches.  -> (pairs,) scores"""
    pairs = list(itertools.combinations(texts, 2))
    return cross.predict(pairs, **QUIET)


def compare_embedded(model: SentenceTransformer, texts: Sequence[str]) -> Array:
    """Encode every sentence once, then find the most similar other one.  -> (n,) row numbers"""
    embeddings = model.encode(texts, **QUIET)
    _, rows = find_nearest(
        embeddings, embeddings, 2, similarity=model.similarity_fn_name, threads=model.threads
    )
    itself = rows[:, 0] == np.arange(len(texts))
    return np.where(itself, rows[:, -1], rows[:, 0])


# Measuring


def measure_costs(
    model: SentenceTransformer,
    cross: CrossEncoder,
    texts: Sequence[str],
    *,
    seconds: float,
    report: Callable[[str], object],
) -> Costs:
    """Measure everything within about `seconds`; Ctrl-C keeps what was measured so far.

    `report` is called with the name of each step before it begins.
    """
    lengths = np.minimum(model.token_lengths(texts), model.max_seq_length)
    costs = Costs(lengths)
    runs: dict[str, Callable[[Sequence[str]], object]] = {
        "naive": lambda some: compare_naively(cross, some),
        "batched": lambda some: compare_batched(cross, some),
        "bi": lambda some: compare_embedded(model, some),
    }
    try:
        for run in runs.values():  # the first call builds tables and starts threads
            run(texts[:5])
        for way, run in runs.items():
            budget = _TIME_SHARES[way] * seconds
            for measurement in measure_way(
                way, run, texts, lengths=lengths, budget=budget, report=report
            ):
                costs.measurements.append(measurement)
        report("rates")
        costs.rates = measure_rates(model, cross, texts)
        report("retrieve and rerank")
        costs.rerank = measure_rerank(model, cross, texts)
        costs.complete = True
    except KeyboardInterrupt:
        report("stopped")
    return costs


def measure_way(
    way: str,
    run: Callable[[Sequence[str]], object],
    texts: Sequence[str],
    *,
    lengths: Array,
    budget: float,
    report: Callable[[str], object],
) -> Iterator[Measurement]:
    """Measure one way at growing sizes, while the model predicts that the next fits the budget.

    run      compares a list of texts in this way
    lengths  (n,)     tokens of each text
    budget   seconds  for all sizes together
    """
    spent = 0.0
    measured: list[Measurement] = []
    for n in SIZES:
        if n > len(texts):
            break
        counts = count_work(way, lengths[:n])
        if len(measured) > 1 and spent + np.dot(counts, fit_measurements(measured)) > budget:
            break
        report(f"{way}, {n} sentences")
        times: list[float] = []
        # Short runs are repeated, since a thread that starts late can double their time.
        while not times or (len(times) < 3 and sum(times) < min(3.0, budget / 10)):
            start = time.perf_counter()
            run(texts[:n])
            times.append(time.perf_counter() - start)
        spent += sum(times)
        measured.append(Measurement(way, n, counts, tuple(times)))
        yield measured[-1]


def measure_rates(
    model: SentenceTransformer, cross: CrossEncoder, texts: Sequence[str], *, repeats: int = 5
) -> dict[str, list[float]]:
    """Measure, several times, how much of each kind of work is done in a second."""
    some = list(texts[:200])
    pairs = list(itertools.islice(itertools.combinations(some, 2), 200))
    embeddings = model.encode(some, **QUIET)
    rows = np.tile(embeddings, (max(1, 50_000 // len(some)), 1))

    def time_work(work: int, function: Callable[[], object]) -> list[float]:
        rates = []
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            rates.append(work / (time.perf_counter() - start))
        return rates

    return {
        "sentences": time_work(len(some), lambda: model.encode(some, **QUIET)),
        "pairs, naive": time_work(
            50, lambda: [cross.predict(pair, **QUIET) for pair in pairs[:50]]
        ),
        "pairs, batched": time_work(len(pairs), lambda: cross.predict(pairs, **QUIET)),
        "dot products": time_work(len(rows), lambda: topk(embeddings[:1], rows, 10)),
    }


def measure_rerank(
    model: SentenceTransformer, cross: CrossEncoder, texts: Sequence[str], *, queries: int = 5
) -> dict[int, list[float]]:
    """Measure retrieving candidates by scan, then re-ranking these by the cross-encoder.

    out  number of candidates -> seconds of each query
    """
    texts = list(texts[:2000])
    embeddings = model.encode(texts, **QUIET)
    seconds: dict[int, list[float]] = {}
    for candidates in (10, 20, 50, 100):
        if candidates > len(texts):
            break
        for query in texts[:queries]:
            start = time.perf_counter()
            _, rows = topk(model.encode([query], **QUIET), embeddings, candidates)
            cross.rank(query, [texts[row] for row in rows[0]], **QUIET)
            seconds.setdefault(candidates, []).append(time.perf_counter() - start)
    return seconds
