"""The cost lab: what comparing n sentences with each other costs, in three ways, measured here.

1. *naive*    a cross-encoder run once for every pair, one at a time, as the argument is told
2. *batched*  the same cross-encoder at its best: pairs sorted by length, batched, on all cores
3. *bi*       the bi-encoder: every sentence once, then all pairs by the C scan

All three use the same kernels, the same sentences and a network of the same size, so methods are
compared and nothing else. The cross-encoder has the bi-encoder's weights and a fresh head: what a
product costs does not depend on its numbers. Tokenising is part of every way.

Each way climbs a ladder of sizes as far as its share of the time allows. A cost model, a sum of
non-negative rates times counts, is fitted to what was measured, and tested: fitted without the two
largest sizes it has to predict them, and its errors are printed. What is too long to be run is
extrapolated by the model fitted on all.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minisbert.arrays import Array
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.search.scan import topk

STEPS = (1, 1.5, 2, 3, 4, 5, 7)
LADDER = (*(int(step * power) for power in (10, 100, 1000) for step in STEPS), 10_000)
WAYS = ("naive", "batched", "bi")
# Of the time, for each way; what is left is for the rates and for reranking.
SHARES = {"naive": 0.35, "batched": 0.35, "bi": 0.12}

# The paper's tasks (Reimers & Gurevych 2019, introduction), in seconds on a V100.
PAPER_SENTENCES = 10_000
PAPER_ALL_PAIRS = {"cross": 65 * 3600.0, "bi": 5.0}
PAPER_QUESTIONS = 40_000_000
PAPER_ONE_QUERY = {"cross": 50 * 3600.0}

QUIET: dict[str, Any] = {"on_truncate": "ignore", "show_progress_bar": False}


@dataclass(frozen=True)
class Rung:
    """One size of the ladder: n sentences compared with each other in one way."""

    way: str
    n: int
    counts: tuple[float, ...]  # what the cost model multiplies
    seconds: tuple[float, ...]  # each run

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))


@dataclass
class Costs:
    """All that was measured."""

    lengths: Array  # (n,) tokens of each sentence
    rungs: list[Rung] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)  # what a second does, each repeat
    rerank: dict[int, list[float]] = field(default_factory=dict)  # candidates -> seconds
    complete: bool = False

    def get_rungs(self, way: str) -> list[Rung]:
        return [rung for rung in self.rungs if rung.way == way]


def make_cross_encoder(model: SentenceTransformer) -> CrossEncoder:
    """A cross-encoder of the bi-encoder's weights and a fresh head."""
    directory = model.model_directory / model.config.transformer_path
    return CrossEncoder(directory, fresh_head=0, threads=model.threads)


# The three ways. Each gives back something of the answer, so that nothing can be left out.


def compare_naively(cross: CrossEncoder, texts: Sequence[str]) -> Array:
    """One forward pass for every pair.  -> (P,) scores"""
    return np.array([cross.predict(pair, **QUIET) for pair in itertools.combinations(texts, 2)])


def compare_batched(cross: CrossEncoder, texts: Sequence[str]) -> Array:
    """All pairs at once, batched by tokens.  -> (P,) scores"""
    pairs = list(itertools.combinations(texts, 2))
    return cross.predict(pairs, **QUIET)


def compare_embedded(model: SentenceTransformer, texts: Sequence[str]) -> Array:
    """Every sentence once, then for each the most similar other one.  -> (n,) row numbers"""
    embeddings = model.encode(texts, **QUIET)
    _, rows = topk(embeddings, embeddings, 2, threads=model.threads)
    itself = rows[:, 0] == np.arange(len(texts))
    return np.where(itself, rows[:, -1], rows[:, 0])


# The cost model


def count_work(way: str, lengths: Array) -> tuple[float, ...]:
    """What the cost of comparing sentences of these token counts depends on.

    naive, batched  (pairs, tokens of all pairs)   a pair shares one [CLS]
    bi              (sentences, their tokens, rows scanned)
    """
    n, tokens = len(lengths), float(lengths.sum())
    pairs = n * (n - 1) / 2
    if way == "bi":
        return (float(n), tokens, float(n) * n)
    return (pairs, (n - 1) * tokens - pairs)


def fit_costs(counts: Array, seconds: Array) -> Array:
    """Non-negative seconds per count, with the least sum of squared *relative* errors.

    counts   (R, C)
    seconds  (R,)
    out      (C,)

    The best of the least-squares solutions on every subset of the columns that has no negative
    rate: the solution of the bounded problem is one of them.
    """
    R, C = counts.shape
    relative = counts / seconds[:, None]
    best, least = np.zeros(C), np.inf
    for size in range(1, C + 1):
        for columns in map(list, itertools.combinations(range(C), size)):
            solution = np.linalg.lstsq(relative[:, columns], np.ones(R), rcond=None)[0]
            error = float(((relative[:, columns] @ solution - 1) ** 2).sum())
            if (solution >= 0).all() and error < least:
                least, best = error, np.zeros(C)
                best[columns] = solution
    return best


def fit_rungs(rungs: Sequence[Rung]) -> Array:
    """The cost model of some rungs.  -> (C,)"""
    return fit_costs(
        np.array([rung.counts for rung in rungs]), np.array([rung.median for rung in rungs])
    )


def predict_largest(rungs: Sequence[Rung], held_out: int = 2) -> list[tuple[int, float, float]]:
    """Predict the largest sizes from the others.  -> (n, seconds measured, seconds predicted)"""
    if len(rungs) < held_out + 2:
        return []
    rates = fit_rungs(rungs[:-held_out])
    return [(rung.n, rung.median, float(np.dot(rung.counts, rates))) for rung in rungs[-held_out:]]


def extrapolate(
    rungs: Sequence[Rung], counts: Sequence[float], samples: int = 200
) -> tuple[float, float, float]:
    """Seconds for other counts, with the range of 90 of 100 fits to rungs drawn with repetition."""
    rng = np.random.default_rng(0)
    middle = float(np.dot(counts, fit_rungs(rungs)))
    drawn = [
        float(
            np.dot(counts, fit_rungs([rungs[i] for i in rng.integers(0, len(rungs), len(rungs))]))
        )
        for _ in range(samples)
    ]
    low, high = np.percentile(drawn, [5, 95])
    return middle, min(middle, float(low)), max(middle, float(high))


def find_crossover(costs: Costs, way: str, most: int = 1000) -> int | None:
    """The least n from which on the bi-encoder takes less time than a way, by the cost models."""
    mean = costs.lengths.mean()
    bi, other = fit_rungs(costs.get_rungs("bi")), fit_rungs(costs.get_rungs(way))
    wins = [
        np.dot(count_work("bi", np.full(n, mean)), bi)
        < np.dot(count_work(way, np.full(n, mean)), other)
        for n in range(2, most)
    ]
    losses = [n for n, win in enumerate(wins, 2) if not win]
    last = losses[-1] if losses else 1
    return last + 1 if last + 1 < most else None


# Measuring


def measure_costs(
    model: SentenceTransformer,
    cross: CrossEncoder,
    texts: Sequence[str],
    seconds: float,
    report: Callable[[str], object],
) -> Costs:
    """Measure everything within about so many seconds; Ctrl-C keeps what was measured.

    `report` is told what is being done, before each step.
    """
    lengths = np.minimum(model.token_lengths(texts), model.max_seq_length)
    costs = Costs(lengths)
    runs: dict[str, Callable[[Sequence[str]], object]] = {
        "naive": lambda some: compare_naively(cross, some),
        "batched": lambda some: compare_batched(cross, some),
        "bi": lambda some: compare_embedded(model, some),
    }
    try:
        for run in runs.values():  # the first call builds tables and wakes threads
            run(texts[:5])
        for way, run in runs.items():
            for rung in climb(way, run, texts, lengths, SHARES[way] * seconds, report):
                costs.rungs.append(rung)
        report("rates")
        costs.rates = measure_rates(model, cross, texts)
        report("retrieve and rerank")
        costs.rerank = measure_rerank(model, cross, texts)
        costs.complete = True
    except KeyboardInterrupt:
        report("stopped")
    return costs


def climb(
    way: str,
    run: Callable[[Sequence[str]], object],
    texts: Sequence[str],
    lengths: Array,
    budget: float,
    report: Callable[[str], object],
) -> Iterator[Rung]:
    """Run one way at growing sizes while the next one fits into the budget."""
    spent = 0.0
    rungs: list[Rung] = []
    for n in LADDER:
        if n > len(texts):
            break
        counts = count_work(way, lengths[:n])
        if len(rungs) > 1 and spent + np.dot(counts, fit_rungs(rungs)) > budget:
            break
        report(f"{way}, {n} sentences")
        times: list[float] = []
        # Short runs are repeated: a thread that wakes late would be half of them.
        while not times or (len(times) < 3 and sum(times) < min(3.0, budget / 10)):
            start = time.perf_counter()
            run(texts[:n])
            times.append(time.perf_counter() - start)
        spent += sum(times)
        rungs.append(Rung(way, n, counts, tuple(times)))
        yield rungs[-1]


def measure_rates(
    model: SentenceTransformer, cross: CrossEncoder, texts: Sequence[str], repeats: int = 5
) -> dict[str, list[float]]:
    """What one second does, several times over."""
    some = list(texts[:200])
    pairs = list(itertools.islice(itertools.combinations(some, 2), 200))
    embeddings = model.encode(some, **QUIET)
    rows = np.tile(embeddings, (max(1, 50_000 // len(some)), 1))

    def time_it(work: int, function: Callable[[], object]) -> list[float]:
        rates = []
        for _ in range(repeats):
            start = time.perf_counter()
            function()
            rates.append(work / (time.perf_counter() - start))
        return rates

    return {
        "sentences": time_it(len(some), lambda: model.encode(some, **QUIET)),
        "pairs, naive": time_it(50, lambda: [cross.predict(pair, **QUIET) for pair in pairs[:50]]),
        "pairs, batched": time_it(len(pairs), lambda: cross.predict(pairs, **QUIET)),
        "dot products": time_it(len(rows), lambda: topk(embeddings[:1], rows, 10)),
    }


def measure_rerank(
    model: SentenceTransformer, cross: CrossEncoder, texts: Sequence[str], queries: int = 5
) -> dict[int, list[float]]:
    """The third way: retrieve the best by scan, then score those pairs.  -> seconds a query"""
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
