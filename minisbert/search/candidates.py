"""Candidates: the rows that a filter can't rule out, and their canonical scores.

A filter computes a lower and an upper bound of every row's score, and keeps the k best lower
bounds. The least of them is its threshold: k rows reach it. A row whose upper bound is below the
threshold therefore can't be among the k best, whatever the true scores are; the others are
candidates, and only they are scored from their float32 numbers. `blas_filter` and `int8_filter` are
two such filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.search.kernel import TOO_MANY, Findings
from minisbert.search.scan import topk
from minisbert.system.threads import run_parts


class ScanReport(NamedTuple):
    """The work that was done to answer each of Q queries."""

    candidates: Array  # (Q,) rows scored canonically
    path: tuple[str, ...]  # the filter's name, or "float32" where all rows were scored
    bytes_read: int  # of codes and of rows, for all queries together


def find_candidates(
    scan: Callable[[slice, Findings], None],
    M: int,
    *,
    Q: int,
    k: int,
    work: int,
    threads: int | None,
    multiple: int = 1,
) -> list[Array | None]:
    """Return the candidates of each query, in the order of the rows; None if there are too many.

    scan                     updates the findings with a part of the rows
    M                        rows
    work, threads, multiple  as `run_parts` takes them
    """
    # A threshold that is found early rules out more rows, so findings are passed on from part to
    # part. There are as many findings as parts that are scanned at the same time.
    idle: list[Findings] = []

    def run(part: slice) -> None:
        try:
            found = idle.pop()
        except IndexError:
            found = _start_findings(Q, k, M)
        scan(part, found)
        idle.append(found)

    run_parts(run, M, work=work, threads=threads, multiple=multiple)
    return [_merge_findings(idle, query) for query in range(Q)]


def count_findings_bytes(k: int, M: int) -> int:
    """Return the memory that a filter of M rows keeps for a query in each thread."""
    return 8 * k + 16 * _count_room(k, M)


def _count_room(k: int, M: int) -> int:
    """Return the room for candidates of a query; if it is full, half of it must be ruled out."""
    # Twice the room for the rows that pass before the threshold has settled.
    return min(4 * k + 1024, 2 * M)


def _start_findings(Q: int, k: int, M: int) -> Findings:
    """Return findings without candidates."""
    capacity = _count_room(k, M)
    return Findings(
        np.full((Q, k), -np.inf),
        np.empty((Q, capacity), np.int64),
        np.empty((Q, capacity)),
        np.zeros(Q, np.int64),
    )


def _merge_findings(findings: Sequence[Findings], query: int) -> Array | None:
    """Return the candidates of one query that no threshold rules out, in the order of the rows."""
    counts = [found.counts[query] for found in findings]
    if TOO_MANY in counts:
        return None
    k = findings[0].lowers.shape[1]
    lowers = np.concatenate([found.lowers[query] for found in findings])
    threshold = np.partition(lowers, -k)[-k]
    pairs = list(zip(findings, counts, strict=True))
    ids = np.concatenate([found.ids[query, :count] for found, count in pairs])
    uppers = np.concatenate([found.uppers[query, :count] for found, count in pairs])
    return np.sort(ids[~(uppers < threshold)])  # an upper bound that is NaN rules nothing out


def score_candidates(
    queries: Array,
    rows: Array,
    candidates: Sequence[Array | None],
    *,
    k: int,
    threads: int | None,
    path: str,
    bytes_read: int = 0,
    fetch: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array, ScanReport]:
    """Return the k best candidates of each query in the order of `topk`, and a report.

    queries     (Q, D)          float32
    rows        (M, D)
    candidates  Q of (n,)       row numbers in order, at least min(k, M); None for all rows
    path                        the name of the filter
    bytes_read                  bytes that the filter has read
    fetch       (n,) -> (n, D)  reads rows by their numbers from elsewhere than `rows`
    out         (Q, min(k, M))  twice: scores and row numbers; and a report
    """
    Q, D = queries.shape
    M = len(rows)
    fetch = fetch or rows.__getitem__
    scores = np.empty((Q, min(k, M)), np.float32)
    ids = np.empty((Q, min(k, M)), np.int64)
    counts = np.full(Q, M)
    for query, numbers in enumerate(candidates):
        if numbers is not None:
            if len(numbers) < min(k, M):
                raise ValueError(
                    f"codes must leave {min(k, M)} candidates for query {query}, got "
                    f"{len(numbers)}; they are damaged, build the index again"
                )
            # In the order of the rows, so that ties come out in this order too.
            one = queries[query : query + 1]
            scores[query], places = topk(one, fetch(numbers), k, threads=1)
            ids[query] = numbers[places]
            counts[query] = len(numbers)
    rest = np.array([numbers is None for numbers in candidates], bool)
    bytes_read += rows.itemsize * D * int(counts[~rest].sum())
    if rest.any():
        scores[rest], ids[rest] = topk(queries[rest], rows, k, threads)
        bytes_read += rows.nbytes
    paths = tuple("float32" if scanned else path for scanned in rest)
    return scores, ids, ScanReport(counts, paths, bytes_read)
