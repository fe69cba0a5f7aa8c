"""What a filter leaves of the rows, and the last word of the canonical score.

A filter knows of every row a lower and an upper bound of its score for a query. It keeps the k best
lower bounds, and as candidates the rows whose upper bound is not below the least of them: no other
row can be among the k best, whatever the true scores are. `topk_int8` and `topk_blas` are filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.search.scan import topk
from minisbert.system.threads import run_parts

TOO_MANY = -1


class ScanReport(NamedTuple):
    """How each of Q queries was answered."""

    candidates: Array  # (Q,) rows scored canonically
    path: tuple[str, ...]  # the filter's name, or "float32" where all rows were scored
    bytes_read: int  # of codes and of rows, for all of them


class Findings(NamedTuple):
    """What a filter has found in some parts of the rows, as the C functions write it."""

    lowers: Array  # (Q, k) float64, the best lower bounds, in no order
    ids: Array  # (Q, capacity) int64, the candidates in order
    uppers: Array  # (Q, capacity) float64, their upper bounds
    counts: Array  # (Q,) int64, how many they are, or TOO_MANY


def make_findings(Q: int, k: int) -> Findings:
    """Nothing found so far."""
    # Room for what passes before the threshold has settled, twice over.
    capacity = 4 * k + 1024
    return Findings(
        np.full((Q, k), -np.inf),
        np.empty((Q, capacity), np.int64),
        np.empty((Q, capacity)),
        np.zeros(Q, np.int64),
    )


def filter_parts(
    scan: Callable[[slice, Findings], None],
    parts: list[slice],
    threads: int | None,
    Q: int,
    k: int,
) -> list[Array | None]:
    """The candidates of each query in all parts, in order; None where they are too many.

    `scan` adds what it finds in a part to what was found in parts before it, so that a threshold
    found once holds from there on. There are as many findings as parts are scanned at a time.
    """
    resting: list[Findings] = []

    def run(part: slice) -> None:
        try:
            found = resting.pop()
        except IndexError:
            found = make_findings(Q, k)
        scan(part, found)
        resting.append(found)

    run_parts(run, parts, threads)
    return [merge_findings(resting, query) for query in range(Q)]


def merge_findings(parts: Sequence[Findings], query: int) -> Array | None:
    """The candidates of one query in all parts, in order; None if they are too many.  -> (n,)"""
    counts = [found.counts[query] for found in parts]
    if TOO_MANY in counts:
        return None
    k = parts[0].lowers.shape[1]
    lowers = np.concatenate([found.lowers[query] for found in parts])
    threshold = np.partition(lowers, -k)[-k]
    pairs = list(zip(parts, counts, strict=True))
    ids = np.concatenate([found.ids[query, :count] for found, count in pairs])
    uppers = np.concatenate([found.uppers[query, :count] for found, count in pairs])
    return np.sort(ids[~(uppers < threshold)])  # what is not a number stays


def score_candidates(
    queries: Array,
    rows: Array,
    k: int,
    threads: int | None,
    candidates: Sequence[Array | None],
    filtered: tuple[str, int],
    fetch: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array, ScanReport]:
    """What `topk` returns, bit for bit, from the candidates of each query; all rows without them.

    queries   (Q, D)      float32
    rows      (M, D)      float32
    filtered              the filter's name, and the bytes that it read
    fetch     (n,) -> (n, D)  reads rows by their numbers from elsewhere than `rows`
    """
    Q, D = queries.shape
    M = len(rows)
    fetch = fetch or rows.__getitem__
    scores = np.empty((Q, min(k, M)), np.float32)
    ids = np.empty((Q, min(k, M)), np.int64)
    counts = np.full(Q, M)
    for query, numbers in enumerate(candidates):
        if numbers is not None:
            # They stand in the order of the rows, so that equal scores do too.
            one = queries[query : query + 1]
            scores[query], places = topk(one, fetch(numbers), k, threads=1)
            ids[query] = numbers[places]
            counts[query] = len(numbers)
    rest = np.array([numbers is None for numbers in candidates], bool)
    name, bytes_read = filtered
    bytes_read += rows.itemsize * D * int(counts[~rest].sum())
    if rest.any():
        scores[rest], ids[rest] = topk(queries[rest], rows, k, threads)
        bytes_read += rows.nbytes
    path = tuple("float32" if one else name for one in rest)
    return scores, ids, ScanReport(counts, path, bytes_read)
