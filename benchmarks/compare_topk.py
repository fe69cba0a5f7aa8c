"""How fast one query is searched for, beside reading alone, NumPy and FAISS.

    python benchmarks/compare_topk.py [--rows 1000000] [--dimension 384] [--k 10] [--rounds 15]

needs an environment with the peers (`make bench-peers`); without faiss-cpu that rival is left out,
and said to be. Rows are random unit vectors in float32, threads at most two.

First every side and setting must find the rows that minisbert finds, for several queries. Then each
setting of a rival is timed, and the quickest goes on beside its default. Then the sides take turns,
A B C D A B C D, and a ratio is the median over rounds of two times from the same round. Before each
turn comes a pause, in which the threads of OpenMP and OpenBLAS stop spinning for more work, and one
call that does not count. Reading is the quickest of NumPy's reductions and, where there is a C
compiler, a loop that does nothing else: what the memory gives to two threads.

Not measured: several queries at once, rows mapped from a file, building an index, more threads.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from minisbert.search.kernel import kernel_name
from minisbert.search.scan import topk

try:
    import faiss
except ImportError:
    faiss = None

THREADS = 2
PAUSE = 0.1  # seconds; idle OpenMP and OpenBLAS threads spin for some tens of milliseconds
SWEEP_ROUNDS = 5

READER = """
#include <stddef.h>
#include <stdint.h>
uint64_t read_words(const uint64_t *words, size_t count)
{
    uint64_t mixed = 0;
    for (size_t i = 0; i < count; i++)
        mixed ^= words[i];
    return mixed;
}
"""


@dataclass(frozen=True)
class Side:
    """One contestant under one setting."""

    name: str
    setting: str
    prepare: Callable[[], None]  # sets the switches that are global to the process; not timed
    search: Callable[[np.ndarray], np.ndarray | None]  # a query (1, D) -> row numbers (k,), if any


def do_nothing() -> None:
    pass


def make_rows(rng: np.random.Generator, M: int, D: int) -> np.ndarray:
    """Random unit vectors.  -> (M, D) float32"""
    rows = rng.standard_normal((M, D), dtype=np.float32)
    for start in range(0, M, 4096):
        block = rows[start : start + 4096]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return rows


# The sides


def make_readers(rows: np.ndarray, pool: ThreadPoolExecutor, folder: str) -> list[Side]:
    """Ways to read every byte of the rows once, on two threads."""
    words = rows.reshape(-1)[: rows.size // 2 * 2].view(np.uint64)
    shares = np.array_split(words, THREADS)

    def make_reader(setting: str, read: Callable[[np.ndarray], object]) -> Side:
        def search(query: np.ndarray) -> None:
            list(pool.map(read, shares))

        return Side("reading alone", setting, do_nothing, search)

    readers = [make_reader("NumPy max", np.max), make_reader("NumPy xor", np.bitwise_xor.reduce)]
    compiler = shutil.which("cc")
    if compiler:
        from cffi import FFI

        source, library = Path(folder, "reader.c"), Path(folder, "reader.so")
        source.write_text(READER, "utf-8")
        subprocess.run(
            [compiler, "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library],
            check=True,
        )
        ffi = FFI()
        ffi.cdef("uint64_t read_words(const uint64_t *words, size_t count);")
        reader = ffi.dlopen(str(library))
        readers.append(
            make_reader(
                "C loop",
                lambda share: reader.read_words(
                    ffi.cast("uint64_t *", share.ctypes.data), share.size
                ),
            )
        )
    return readers


def limit_blas(threads: int) -> None:
    """Set the threads of every BLAS in the process, FAISS's own too."""
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        library.set_num_threads(threads)


def make_numpy(rows: np.ndarray, k: int) -> list[Side]:
    """`rows @ query` and argpartition; the first is as it comes."""

    def search(query: np.ndarray) -> np.ndarray:
        scores = rows @ query[0]
        best = np.argpartition(scores, -k)[-k:]
        return best[np.argsort(-scores[best])]

    return [
        Side(
            "NumPy", f"{threads} BLAS threads", lambda threads=threads: limit_blas(threads), search
        )
        for threads in (THREADS, 1)
    ]


def make_faiss(rows: np.ndarray, k: int, pool: ThreadPoolExecutor) -> list[Side]:
    """IndexFlatIP under its switches; the first is as it comes.

    Two shards are two indexes, searched by two Python threads of one OMP thread each: in FAISS's
    own IndexShards every worker would start as many OMP threads as there are cores.
    """
    whole = faiss.IndexFlatIP(rows.shape[1])
    whole.add(rows)
    shards, edges = [], []
    for part in np.array_split(np.arange(len(rows)), THREADS):
        shards.append(faiss.IndexFlatIP(rows.shape[1]))
        shards[-1].add(rows[part[0] : part[-1] + 1])
        edges.append(part[0])
    switches = faiss.cvar
    usual = switches.distance_compute_blas_threshold, switches.distance_compute_blas_database_bs

    def search_whole(query: np.ndarray) -> np.ndarray:
        return whole.search(query, k)[1][0]

    def search_shards(query: np.ndarray) -> np.ndarray:
        def search(shard):
            faiss.omp_set_num_threads(1)  # it holds for the thread that calls it
            return shard.search(query, k)

        found = list(pool.map(search, shards))
        scores = np.concatenate([part[0] for part, _ in found])
        ids = np.concatenate([part[0] + edge for (_, part), edge in zip(found, edges, strict=True)])
        return ids[np.argsort(-scores, kind="stable")[:k]]

    def make_side(kind: str, search, threads: int, threshold: int, block: int) -> Side:
        def prepare() -> None:
            faiss.omp_set_num_threads(threads)
            limit_blas(threads)
            switches.distance_compute_blas_threshold = threshold
            switches.distance_compute_blas_database_bs = block

        setting = f"{kind}, {threads} OMP, BLAS from {threshold} queries, blocks of {block}"
        return Side("FAISS", setting, prepare, search)

    # With a threshold of 1 a single query goes through BLAS, block by block.
    kinds = [
        ("one index", search_whole, THREADS),
        ("one index", search_whole, 1),
        ("two shards", search_shards, 1),
    ]
    blas = [usual, (1, usual[1]), (1, 16 * usual[1])]
    return [make_side(*kind, *setting) for kind in kinds for setting in blas]


# Measuring and telling


def describe_machine() -> str:
    """Machine, processor, cores, versions, kernel and command, a line each."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        processor = found[1] if found else processor
    packages = []
    for package in ("minisbert", "numpy", "faiss-cpu"):
        try:
            packages.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            packages.append(f"{package} not installed")
    return (
        f"machine   {platform.system()} {platform.machine()}, {processor}, {os.cpu_count()} cores\n"
        f"versions  Python {platform.python_version()}, {', '.join(packages)}\n"
        f"kernel    {kernel_name()}, {THREADS} threads\n"
        f"command   python {' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}"
    )


def verify(sides: list[Side], ours: Side, queries: np.ndarray) -> None:
    """Every side must find the same rows in the same order, for every query."""
    for query in queries:
        expected = ours.search(query[None])
        for side in sides:
            side.prepare()
            found = side.search(query[None])
            if not np.array_equal(found, expected):
                raise SystemExit(f"{side.name} ({side.setting}) finds {found}, not {expected}")


def time_search(side: Side, query: np.ndarray) -> float:
    """Seconds of one search, after a pause and a search that does not count."""
    side.prepare()
    time.sleep(PAUSE)
    side.search(query)
    start = time.perf_counter()
    side.search(query)
    return time.perf_counter() - start


def take_turns(sides: list[Side], query: np.ndarray, rounds: int) -> np.ndarray:
    """Time the sides one after another, round after round.  -> (rounds, sides) seconds"""
    return np.array([[time_search(side, query) for side in sides] for _ in range(rounds)])


def sweep(sides: list[Side], query: np.ndarray) -> Side:
    """The quickest of a rival's settings; all are printed."""
    medians = np.median(take_turns(sides, query, SWEEP_ROUNDS), axis=0)
    for side, seconds in zip(sides, medians, strict=True):
        print(f"  {side.name:14} {1e3 * seconds:7.1f} ms  {side.setting}", flush=True)
    return sides[int(np.argmin(medians))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    k = arguments.k
    rng = np.random.default_rng(0)
    rows = make_rows(rng, arguments.rows, arguments.dimension)
    queries = make_rows(rng, 5, arguments.dimension)
    query = queries[:1]
    print(describe_machine())
    print(f"rows      {len(rows)} x {rows.shape[1]} float32, {rows.nbytes / 1e9:.2f} GB, k = {k}")

    ours = Side("minisbert", "as it comes", do_nothing, lambda q: topk(q, rows, k, THREADS)[1][0])
    with ThreadPoolExecutor(THREADS) as pool, tempfile.TemporaryDirectory() as folder:
        rivals = [make_numpy(rows, k)]
        if faiss:
            rivals.append(make_faiss(rows, k, pool))
        else:
            print("FAISS     not installed: not compared")
        verify(list(itertools.chain(*rivals)), ours, queries)
        print(f"answers   equal in every setting, {len(queries)} queries")

        print(f"\nThe settings, {SWEEP_ROUNDS} rounds: median time")
        sides = [ours, sweep(make_readers(rows, pool, folder), query)]
        for settings in rivals:
            best = sweep(settings, query)
            sides += [best] if best is settings[0] else [best, settings[0]]

        print(f"\nOne query, {arguments.rounds} rounds: median, times minisbert's (range)")
        times = take_turns(sides, query, arguments.rounds)
    for side, column in zip(sides, times.T, strict=True):
        seconds, ratios = np.median(column), column / times[:, 0]
        print(
            f"  {side.name:14} {1e3 * seconds:7.1f} ms {rows.nbytes / seconds / 1e9:6.1f} GB/s  "
            f"x {np.median(ratios):5.2f} ({ratios.min():.2f} to {ratios.max():.2f})  {side.setting}"
        )
    shares = times[:, 1] / times[:, 0]
    print(
        f"  minisbert runs at {np.median(shares):.0%} of the rate of reading alone "
        f"({shares.min():.0%} to {shares.max():.0%})"
    )


if __name__ == "__main__":
    main()
