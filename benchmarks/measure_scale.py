"""Search ten million rows exactly, and extrapolate to the paper's 40 million.

    python benchmarks/measure_scale.py [--rows 10000000] [--queries 100] [--folder build/scale]

needs MINISBERT_DATA, and for each million rows 2 GB of free disk and 0.4 GB of memory. First the
real sentences are searched (corpora.py), then the rows, whose index is built block by block or is
in the folder already. Queries are asked one at a time, first with no row in the system's cache,
then again; then 32 together. The first answers must have the bits of a scan of all rows. The time
of 40 million is on a straight line through those of an eighth, a quarter, a half and all rows.
"""

import os
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from corpora import load_embeddings, make_blocks, make_queries
from harness import Side, parse_options, print_machine, say
from minisbert import FlatIndex, topk
from minisbert.search.int8_filter import topk_int8

PAPER = 40_000_000  # questions of Quora
CHECKED = 3  # queries that are compared with a scan of all rows
TOGETHER = 32


def measure(call: Callable, *arguments: object) -> float:  # milliseconds
    return 1000 * timeit.timeit(lambda: call(*arguments), number=1)


def report(index: FlatIndex, queries: np.ndarray, k: int, passes: tuple[str, ...]) -> None:
    """Search, one query at a time and many together, and print the times."""
    for name in passes:
        times = [measure(index.search, query, k) for query in queries]
        low, middle, high = np.percentile(times, (5, 50, 95))
        say(name, f"{middle:.1f} ms, 5 % to 95 % {low:.1f} to {high:.1f}")
    together = [measure(index.search, queries[:TOGETHER], k) for _ in range(5)]
    say(f"{TOGETHER} together", f"{np.median(together):.0f} ms")
    *found, how = index.search(queries, k, report=True)
    assert set(how.path) == {"int8"}
    say("candidates", f"{how.candidates.mean():.1f} on average, {how.candidates.max()} at most")
    expected = topk(queries[:CHECKED], index.rows, k)
    assert all(np.array_equal(a[:CHECKED], b) for a, b in zip(found, expected, strict=True))
    say("checked", f"{CHECKED} queries have the bits of a scan of all rows")


def open_index(path: Path, embeddings: np.ndarray, M: int) -> FlatIndex:
    """Return the index of M rows, built if it is not there, with no row in the system's cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        make = partial(FlatIndex.build, path, metric="dot", codes="int8")
        spent = measure(make, make_blocks(embeddings, M), embeddings.shape[1]) / 1000
        peak = Side.read_memory("VmHWM")[0] / 1000
        say("built", f"{spent:.0f} s, perturbations included; at most {peak:.2f} GB of memory")
    say("opened", f"{measure(FlatIndex.load, path) / 1000:.1f} s")
    index = FlatIndex.load(path)
    codes, rows = index._state.blocks.nbytes * 1e-9, index.rows.nbytes * 1e-9
    say("", f"{codes:.2f} GB of codes in memory, {rows:.2f} GB of rows on the disk")
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return index


def extrapolate(index: FlatIndex, queries: np.ndarray, k: int) -> None:
    """Print the time of one query of parts of the rows, and of the paper's number of rows."""
    M, D = index.rows.shape
    state = index._state
    sizes = [M // part // 16 * 16 for part in (8, 4, 2, 1)]
    scan = partial(topk_int8, k=k, fetch=state.file.fetch)
    times = []
    for size in sizes:
        part = state.rows[:size], state.blocks[: size // 16]
        times.append(np.median([measure(scan, query[None], *part) for query in queries]))
        say(f"{size} rows", f"{times[-1]:.1f} ms")
    line = np.polyfit(sizes, times, 1)
    middle = np.polyval(line, PAPER)
    spread = np.abs(np.polyval(line, sizes) - times).max() * PAPER / M
    codes, rows = state.blocks.itemsize * PAPER // 16 * 1e-9, PAPER * D * 4e-9
    low, high = middle - spread, middle + spread
    say(f"{PAPER} rows", f"{middle:.0f} ms by a straight line, {low:.0f} to {high:.0f}")
    say("", f"{codes:.1f} GB of codes in memory, {rows:.1f} GB of rows on the disk")


def main() -> None:
    sizes = {"rows": 10_000_000, "queries": 100, "k": 10}
    options = parse_options(__doc__, **sizes, folder=Path("build/scale"))
    M, k = options.rows, options.k
    print_machine()
    embeddings = load_embeddings()
    queries = make_queries(embeddings, options.queries)
    print(f"\n{len(embeddings)} real sentences x {embeddings.shape[1]}, k = {k}")
    report(FlatIndex.from_embeddings(embeddings, "dot", codes="int8"), queries, k, ("one query",))
    print(f"\n{M} x {embeddings.shape[1]} rows: these and perturbations of them, k = {k}")
    index = open_index(options.folder / f"{M}.index", embeddings, M)
    report(index, queries, k, ("rows not read", "rows read once"))
    print(f"\nThe paper's {PAPER} questions, extrapolated")
    extrapolate(index, queries, k)


if __name__ == "__main__":
    main()
