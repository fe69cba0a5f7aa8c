"""How fast a scan of codes searches, one query or many, beside FAISS, usearch, torch and NumPy.

    python benchmarks/compare_codes.py [--rows 1000000] [--k 10] [--rounds 15] [--queries 1 32 256]

needs an environment with the peers (`make bench-peers`) and real data in the folder that
MINISBERT_DATA names; rows are real embeddings and small perturbations of them (real_rows.py).

How it measures is told in turns.py. A rival's scores must be minisbert's, rank by rank, to 1e-5;
minisbert's own, with codes and without, must be the canonical scan's to the last bit. A rival that
is more than ten times slower while the settings are swept rests in the rounds. Before each
timing comes a pause, in which the threads of whoever worked before stop spinning for more, and one
search that does not count. Reading alone is a loop in C over as many bytes as the codes have, on
two threads.

Not measured: building, cold files, more threads, data that a filter does not thin out.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np

from compare_topk import make_readers
from real_rows import PERTURBATION, load_embeddings, make_blocks, make_queries
from turns import Worker, describe_machine, print_ratios, take_turns, write_setting

THREADS = (1, 2)
PAUSE = 0.3  # seconds; idle OpenMP threads spin for up to 0.2
WARMING = 32  # queries of a search that does not count
NEAR = 1.3  # times the quickest setting's time
FAR = 10  # times minisbert's time: too slow to be worth measuring closer


class Codes:
    """minisbert with codes, from a file, as it comes."""

    name = "minisbert"
    settings = ({},)
    default: ClassVar = {}

    def __init__(self, folder: str, k: int) -> None:
        from minisbert import FlatIndex

        self.k = k
        self.index = FlatIndex.load(Path(folder) / "index")
        self.open(folder)

    def open(self, folder: str) -> None:
        self.rows = np.load(Path(folder) / "rows.npy", mmap_mode="r")
        self.queries = np.load(Path(folder) / "queries.npy")

    def search(self, queries: np.ndarray, **setting) -> tuple[np.ndarray, np.ndarray]:
        return self.index.search(queries, self.k)

    def time_search(self, setting: dict) -> float:
        """Seconds of one search of `count` queries."""
        setting = dict(setting)
        queries = self.queries[: setting.pop("count")]
        self.prepare(**setting)
        time.sleep(PAUSE)
        self.search(queries[:WARMING], **setting)
        start = time.perf_counter()
        self.found = self.search(queries, **setting)
        return time.perf_counter() - start

    def prepare(self, **setting) -> None:
        """Set the switches that are global to the process."""

    def get_found(self) -> tuple[np.ndarray, np.ndarray]:
        return self.found

    def describe(self) -> tuple[int, float]:
        """The codes' bytes, and candidates a query on average."""
        _, _, report = self.index.search(self.queries, self.k, report=True)
        assert set(report.path) == {"int8"}
        return self.index._state.blocks.nbytes, float(report.candidates.mean())


class Rows(Codes):
    """minisbert without codes."""

    name = "minisbert without codes"

    def __init__(self, folder: str, k: int) -> None:
        from minisbert import FlatIndex

        self.k = k
        self.open(folder)
        self.index = FlatIndex.from_embeddings(self.rows, "dot", codes=None)


class Canonical(Codes):
    """Every query by a scan of its own."""

    name = "the canonical scan"

    def __init__(self, folder: str, k: int) -> None:
        self.k = k
        self.open(folder)

    def search(self, queries: np.ndarray, **setting) -> tuple[np.ndarray, np.ndarray]:
        from minisbert.search.scan import topk

        return topk(queries, self.rows, self.k)


class Numpy(Codes):
    """A product of matrices and argpartition."""

    name = "NumPy"
    settings = tuple({"threads": threads} for threads in THREADS)
    default: ClassVar = {"threads": 2}

    def __init__(self, folder: str, k: int) -> None:
        self.k = k
        self.open(folder)

    def prepare(self, threads: int) -> None:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads, "blas")

    def search(self, queries: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
        scores = queries @ self.rows.T
        best = np.argpartition(scores, -self.k, axis=1)[:, -self.k :]
        found = np.take_along_axis(scores, best, 1)
        order = np.argsort(-found, axis=1, kind="stable")
        return np.take_along_axis(found, order, 1), np.take_along_axis(best, order, 1)


class Torch(Numpy):
    """A product of matrices and topk."""

    name = "torch"

    def __init__(self, folder: str, k: int) -> None:
        import torch

        self.torch, self.k = torch, k
        self.open(folder)
        self.tensor = torch.from_numpy(np.array(self.rows))

    def prepare(self, threads: int) -> None:
        self.torch.set_num_threads(threads)

    def search(self, queries: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
        scores = self.torch.from_numpy(queries) @ self.tensor.T
        found, ids = scores.topk(self.k)
        return found.numpy(), ids.numpy()


class Usearch(Numpy):
    """Its exact search."""

    name = "usearch"
    default: ClassVar = {"threads": 0}

    def __init__(self, folder: str, k: int) -> None:
        super().__init__(folder, k)
        self.rows = np.array(self.rows)

    def prepare(self, threads: int) -> None:
        pass

    def search(self, queries: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
        from usearch.index import MetricKind, search

        found = search(self.rows, queries, self.k, MetricKind.IP, exact=True, threads=threads)
        shape = (len(queries), self.k)
        scores, ids = 1 - found.distances.reshape(shape), found.keys.reshape(shape).astype(int)
        return scores, ids


class Faiss(Numpy):
    """IndexFlatIP, whole or as two indexes for two Python threads; products in blocks or not."""

    name = "FAISS"
    default: ClassVar = {"kind": "whole", "threads": 2, "blas_from": 20, "block": 1024}
    settings = tuple(
        {"kind": kind, "threads": threads, "blas_from": blas_from, "block": block}
        for (kind, threads), (blas_from, block) in itertools.product(
            (("whole", 2), ("whole", 1), ("shards", 1)),
            ((20, 1024), (20, 16384), (1, 1024), (10**9, 1024)),
        )
    )

    def __init__(self, folder: str, k: int) -> None:
        import faiss

        self.faiss, self.k = faiss, k
        self.open(folder)
        half = len(self.rows) // 2
        self.indexes = {"whole": faiss.IndexFlatIP(self.rows.shape[1])}
        self.indexes["whole"].add(np.array(self.rows))
        self.shards = []
        for part in (self.rows[:half], self.rows[half:]):
            self.shards.append(faiss.IndexFlatIP(self.rows.shape[1]))
            self.shards[-1].add(np.array(part))
        self.edges = (0, half)
        self.pool = ThreadPoolExecutor(2)

    def prepare(self, kind: str, threads: int, blas_from: int, block: int) -> None:
        from threadpoolctl import ThreadpoolController

        self.faiss.omp_set_num_threads(threads)
        for library in ThreadpoolController().select(user_api="blas").lib_controllers:
            library.set_num_threads(threads)
        self.faiss.cvar.distance_compute_blas_threshold = blas_from
        self.faiss.cvar.distance_compute_blas_database_bs = block

    def search(self, queries: np.ndarray, kind: str, **_) -> tuple[np.ndarray, np.ndarray]:
        if kind == "whole":
            return self.indexes["whole"].search(queries, self.k)

        def search(shard):
            self.faiss.omp_set_num_threads(1)  # it holds for the thread that calls it
            return shard.search(queries, self.k)

        found = list(self.pool.map(search, self.shards))
        scores = np.concatenate([part for part, _ in found], axis=1)
        ids = np.concatenate(
            [part + edge for (_, part), edge in zip(found, self.edges, strict=True)], axis=1
        )
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


class Reading(Codes):
    """As many bytes as the codes have, read once on two threads."""

    name = "reading as many bytes"

    def __init__(self, folder: str, count: int) -> None:
        self.queries = np.zeros((1, 1))
        words = np.arange(count // 8, dtype=np.uint64)
        self.pool = ThreadPoolExecutor(2)
        readers = make_readers(words.view(np.float32), self.pool, folder)
        self.read = readers[-1].search

    def search(self, queries: np.ndarray, **setting) -> tuple:
        self.read(queries)
        return ()


def write_files(folder: Path, M: int, most: int) -> None:
    """Rows, queries, and an index of the rows."""
    from minisbert import FlatIndex

    embeddings = load_embeddings()
    n, D = embeddings.shape
    print(
        f"rows      {M} x {D} float32, {4e-9 * M * D:.2f} GB: {min(n, M)} real sentences, the rest "
        f"by perturbations of length {PERTURBATION}"
    )
    np.save(folder / "queries.npy", make_queries(embeddings, most))
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (M, D))
    start = 0
    for block in make_blocks(embeddings, M):
        rows[start : start + len(block)] = block
        start += len(block)
    FlatIndex.build(folder / "index", [rows], D, "dot", codes="int8")


def check_found(worker: Worker, expected: tuple, exactly: bool) -> None:
    scores, ids = worker.ask("get_found")
    if exactly:
        good = np.array_equal(scores, expected[0]) and np.array_equal(ids, expected[1])
    else:
        good = np.abs(scores - expected[0]).max() <= 1e-5
    if not good:
        raise SystemExit(f"{worker.side.name} finds other rows")


def sweep(worker: Worker, count: int, expected: tuple, most: float) -> dict | None:
    """The quickest setting of a rival for so many queries, all answers verified.

    None if it takes longer than `most` seconds.
    """
    times = []
    for setting in worker.side.settings:
        seconds = worker.ask("time_search", {"count": count, **setting})
        check_found(worker, expected, exactly=False)
        times.append(seconds)
        print(
            f"  {worker.side.name:24} {1e3 * seconds:8.1f} ms  {write_setting(setting)}", flush=True
        )
    if min(times) > most:
        return None
    near = [i for i, seconds in enumerate(times) if seconds < NEAR * min(times)]
    # One timing is too noisy to tell settings apart that are near each other.
    again = [
        np.median(
            [
                worker.ask("time_search", {"count": count, **worker.side.settings[i]})
                for _ in range(5)
            ]
        )
        for i in near
    ]
    return worker.side.settings[near[int(np.argmin(again))]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 32, 256])
    arguments = parser.parse_args()
    k = arguments.k
    print(describe_machine())
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        write_files(folder, arguments.rows, max(arguments.queries))
        ours, rows, canonical = (Worker(side, name, k) for side in (Codes, Rows, Canonical))
        rivals = [Worker(side, name, k) for side in (Faiss, Usearch, Torch, Numpy)]
        size, candidates = ours.ask("describe")
        reading = Worker(Reading, name, size)
        print(f"codes     {size / 1e9:.2f} GB; {candidates:.1f} candidates a query on average")
        for count in arguments.queries:
            print(f"\n{count} queries: the rivals' settings, once each")
            canonical.ask("time_search", {"count": count})
            expected = canonical.ask("get_found")
            sides = [("minisbert", ours, {"count": count})]
            for worker in (rows, ours):
                seconds = worker.ask("time_search", {"count": count})
                check_found(worker, expected, exactly=True)
            for rival in rivals:
                best = sweep(rival, count, expected, FAR * seconds)
                if best is None:
                    continue
                sides.append((f"{rival.side.name} at its best", rival, {"count": count, **best}))
                if best != rival.side.default:
                    default = {"count": count, **rival.side.default}
                    sides.append((f"{rival.side.name} as it comes", rival, default))
            sides.append(("minisbert without codes", rows, {"count": count}))
            if count == 1:
                sides.append(("reading as many bytes", reading, {"count": 1}))
            print(
                f"\n{count} queries, {arguments.rounds} rounds: median, times minisbert's (range)"
            )
            times = take_turns(arguments.rounds, sides, "time_search")
            print_ratios(sides, times, 1000, "ms")
            if count == 1:
                shares = times[:, -1] / times[:, 0]
                print(
                    f"  minisbert reads its codes at {np.median(shares):.0%} of the rate of "
                    f"reading alone ({shares.min():.0%} to {shares.max():.0%})"
                )
        for worker in (ours, rows, canonical, reading, *rivals):
            worker.close()


if __name__ == "__main__":
    main()
