"""Ten million rows searched for real, exactly, and the paper's 40 million from there.

    python benchmarks/bench_scale.py [--rows 10000000] [--queries 100] [--folder build/scale]

needs real data in the folder that MINISBERT_DATA names, 2 GB of free disk for each million rows
and 0.4 GB of memory. First the real sentences as they are (real_rows.py), then as many rows as are
asked for, each a sentence with a small perturbation: their index is built block by block, the rows
stay on the disk, the codes are read into memory. A folder that has the index already is used again.

Queries are asked one at a time, first with no row in the system's cache, so that the candidates'
rows come from the disk, then again; then 32 together. The first answers are held to a canonical
scan of all rows, to the last bit.

The time of 40 million is a straight line through the times of an eighth, a quarter, a half and all
of the rows; as a range, the line is raised and lowered by its largest distance to a time.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from minisbert import FlatIndex
from minisbert.costs.machine import describe_machine
from minisbert.search.int8_filter import block_dtype, topk_int8
from minisbert.search.scan import topk
from real_rows import PERTURBATION, load_embeddings, make_blocks, make_queries

PAPER = 40_000_000  # questions of Quora
CHECKED = 3  # queries that are held to a scan of all rows
TOGETHER = 32


def measure(call: Callable, *arguments: object) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call(*arguments)
    return (time.perf_counter() - start) * 1000


def report(index: FlatIndex, queries: np.ndarray, k: int, passes: tuple[str, ...]) -> None:
    """Search, one query at a time and many together, and print what it took."""
    for name in passes:
        times = [measure(index.search, query, k) for query in queries]
        low, middle, high = np.percentile(times, (5, 50, 95))
        print(f"  {name:14} {middle:.1f} ms, 5 % to 95 % {low:.1f} to {high:.1f}")
    together = [measure(index.search, queries[:TOGETHER], k) for _ in range(5)]
    print(f"  {TOGETHER} together    {np.median(together):.0f} ms")
    scores, ids, how = index.search(queries, k, report=True)
    assert set(how.path) == {"int8"}
    print(
        f"  candidates     {how.candidates.mean():.1f} on average, {how.candidates.max()} at most, "
        f"of {len(queries)} queries"
    )
    spent = measure(check, index, queries[:CHECKED], (scores, ids), k)
    print(f"  the same bits as a scan of all rows, {CHECKED} queries in {spent / 1000:.1f} s")


def check(index: FlatIndex, queries: np.ndarray, found: tuple, k: int) -> None:
    expected = topk(queries, index.rows, k)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one[: len(queries)], other)


def forget(path: Path) -> None:
    """Take a file out of the system's cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def build(path: Path, embeddings: np.ndarray, M: int) -> None:
    blocks = make_blocks(embeddings, M)
    D = embeddings.shape[1]
    start = time.perf_counter()
    FlatIndex.build(path, blocks, D, "dot", codes="int8")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-9
    print(
        f"  built          {seconds:.0f} s, perturbations and all; "
        f"at most {peak:.2f} GB of memory, with the codes of the index that comes out"
    )


def extrapolate(index: FlatIndex, queries: np.ndarray, k: int) -> None:
    """Print what the paper's number of rows would take."""
    M, D = index.rows.shape
    state = index._state
    sizes = [M // part // 16 * 16 for part in (8, 4, 2, 1)]
    times = []
    for size in sizes:
        part = partial(topk_int8, k=k, fetch=state.file.fetch)
        rows, blocks = state.rows[:size], state.blocks[: size // 16]
        times.append(np.median([measure(part, query[None], rows, blocks) for query in queries]))
        print(f"  {size:9} rows {times[-1]:7.1f} ms")
    slope, start = np.polyfit(sizes, times, 1)
    distance = np.abs(np.polyval((slope, start), sizes) - times).max()
    expected = start + slope * PAPER
    print(
        f"  {PAPER} rows  {expected:.0f} ms by a straight line, "
        f"{expected - distance * PAPER / M:.0f} to "
        f"{expected + distance * PAPER / M:.0f}; "
        f"{PAPER // 16 * block_dtype(D).itemsize * 1e-9:.1f} GB of codes in memory, "
        f"{PAPER * D * 4e-9:.1f} GB of rows on the disk"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("build/scale"))
    arguments = parser.parse_args()
    M, k = arguments.rows, arguments.k
    for name, fact in describe_machine().items():
        print(f"{name:16} {fact}")

    embeddings = load_embeddings()
    n, D = embeddings.shape
    queries = make_queries(embeddings, arguments.queries)
    print(f"\n{n} real sentences x {D}, k = {k}")
    report(FlatIndex.from_embeddings(embeddings, "dot", codes="int8"), queries, k, ("one query",))

    print(f"\n{M} rows x {D}: these, and perturbations of length {PERTURBATION}, k = {k}")
    path = arguments.folder / f"{M}.index"
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        build(path, embeddings, M)
    start = time.perf_counter()
    index = FlatIndex.load(path)
    print(
        f"  opened         {time.perf_counter() - start:.1f} s; "
        f"{index._state.blocks.nbytes * 1e-9:.2f} GB of codes in memory, "
        f"{index.rows.nbytes * 1e-9:.2f} GB of rows on the disk"
    )
    forget(path)
    report(index, queries, k, ("rows not read", "rows read once"))

    print(f"\nThe paper's {PAPER} questions, on paper: one query of parts of these rows")
    extrapolate(index, queries, k)


if __name__ == "__main__":
    main()
