"""Time exact search beside FAISS, usearch, torch, NumPy and the mere reading of memory.

    python benchmarks/compare_search.py [--rows 1000000] [--k 10] [--rounds 15]
        [--queries 1 32 256] [--codes int8|none]

needs the peers (`make bench-peers`) and MINISBERT_DATA; rows are real embeddings and perturbations
of them (corpora.py). `--codes none` compares the scan of float32 rows. minisbert must give the bits
of the canonical scan, one query after another; a rival's scores must be the same, rank by rank, to
1e-5. A rival that takes ten times minisbert's time at its best takes no part in the rounds. Reading
alone is the quicker of two reductions by NumPy of as many bytes as the codes (or the rows) have.
The memory is that of loading an index and answering all queries, one by one, beyond the import.

Not measured: building, cold files, more than two threads.
"""

import itertools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from corpora import load_embeddings, make_blocks, make_queries
from harness import Entry, Side, Worker, Workload, check, compare, parse_options, print_machine, say

WARMING = 32  # queries of a search that does not count
FAR = 10  # times minisbert's time: too slow to be worth measuring closer
CANONICAL = "the canonical scan"
Found = tuple[np.ndarray, np.ndarray]  # scores, row numbers


class Search(Side):
    """A search of the rows in a folder for the queries in it."""

    settings = ({"threads": 0}, {"threads": 1}, {"threads": 2})

    def __init__(self, folder: str, k: int, counts: list[int], *arguments) -> None:
        self.folder, self.k = Path(folder), k
        self.rows = np.load(self.folder / "rows.npy", mmap_mode="r")
        self.queries = np.load(self.folder / "queries.npy")
        parts = {f"queries: {count}": self.queries[:count] for count in counts}
        self.workloads = {name: Workload(part, part[:WARMING]) for name, part in parts.items()}
        self.open(*arguments)

    def open(self) -> None:
        """Make an index of the rows, where the library has one."""

    def get_answer(self) -> np.ndarray:
        """Return the scores: equal ones may have other rows."""
        return self.answer[0]


class Minisbert(Search):
    """minisbert with codes, without, or by a scan of its own for each query."""

    settings = ({},)

    def open(self, name: str) -> None:
        import minisbert

        self.name, self.index, self.topk = name, None, minisbert.topk
        if name != CANONICAL:
            before = self.read_memory("RssAnon", "RssFile")
            self.index = minisbert.FlatIndex.load(self.folder / name)
            for query in self.queries:
                self.index.search(query, self.k)
            self.memory = self.read_memory("RssAnon", "RssFile") - before
        if name == "minisbert without codes":  # timed with its rows in memory, not mapped
            self.index = minisbert.FlatIndex.from_embeddings(self.rows, "dot", codes=None)

    def run(self, queries: np.ndarray) -> Found:
        if self.index:
            return self.index.search(queries, self.k)
        found = [self.topk(query[None], self.rows, self.k) for query in queries]
        return tuple(map(np.concatenate, zip(*found, strict=True)))

    def describe(self) -> tuple[int, float]:
        """Return the bytes of the codes, and candidates a query on average."""
        _, _, report = self.index.search(self.queries, self.k, report=True)
        assert set(report.path) == {"int8"}
        return self.index._state.blocks.nbytes, float(report.candidates.mean())


class Numpy(Search):
    """A product of matrices and argpartition."""

    name = "NumPy"

    def prepare(self, threads: int) -> None:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads or os.cpu_count(), "blas")

    def run(self, queries: np.ndarray, threads: int) -> Found:
        scores = queries @ self.rows.T
        best = np.argpartition(scores, -self.k, axis=1)[:, -self.k :]
        return sort_found(np.take_along_axis(scores, best, 1), best, self.k)


class Torch(Search):
    """A product of matrices and topk."""

    name = "torch"

    def open(self) -> None:
        import torch

        self.torch, self.tensor = torch, torch.from_numpy(np.array(self.rows))

    def prepare(self, threads: int) -> None:
        self.torch.set_num_threads(threads or os.cpu_count())

    def run(self, queries: np.ndarray, threads: int) -> Found:
        scores, ids = (self.torch.from_numpy(queries) @ self.tensor.T).topk(self.k)
        return scores.numpy(), ids.numpy()


class Usearch(Search):
    """Its exact search."""

    name = "usearch"

    def open(self) -> None:
        self.rows = np.array(self.rows)

    def run(self, queries: np.ndarray, threads: int) -> Found:
        from usearch.index import MetricKind, search

        found = search(self.rows, queries, self.k, MetricKind.IP, exact=True, threads=threads)
        shape = len(queries), self.k
        return 1 - found.distances.reshape(shape), found.keys.reshape(shape).astype(int)


class Faiss(Search):
    """IndexFlatIP, whole or as two shards, each searched by a thread of Python.

    From `blas_from` queries on it multiplies matrices, `block` rows at a time; 0 is FAISS's choice.
    """

    name = "FAISS"
    settings = tuple(
        {"kind": kind, "threads": threads, "blas_from": blas_from, "block": block}
        for (kind, threads), (blas_from, block) in itertools.product(
            (("whole", 2), ("whole", 1), ("shards", 1)),
            ((0, 0), (1, 1024), (1, 16384), (10**9, 1024)),
        )
    )

    def open(self) -> None:
        import faiss

        self.faiss, cvar = faiss, faiss.cvar
        self.usual = cvar.distance_compute_blas_threshold, cvar.distance_compute_blas_database_bs
        self.half, self.indexes = len(self.rows) // 2, []
        for part in (self.rows, self.rows[: self.half], self.rows[self.half :]):
            self.indexes.append(faiss.IndexFlatIP(part.shape[1]))
            self.indexes[-1].add(np.array(part))
        self.pool = ThreadPoolExecutor(2)

    def prepare(self, kind: str, threads: int, blas_from: int, block: int) -> None:
        from threadpoolctl import ThreadpoolController

        self.faiss.omp_set_num_threads(threads)
        for library in ThreadpoolController().select(user_api="blas").lib_controllers:
            library.set_num_threads(threads)
        self.faiss.cvar.distance_compute_blas_threshold = blas_from or self.usual[0]
        self.faiss.cvar.distance_compute_blas_database_bs = block or self.usual[1]

    def run(self, queries: np.ndarray, kind: str, **_) -> Found:
        if kind == "whole":
            return self.indexes[0].search(queries, self.k)

        def search(shard) -> Found:
            self.faiss.omp_set_num_threads(1)  # it holds for the thread that calls it
            return shard.search(queries, self.k)

        (scores, ids), (more, others) = self.pool.map(search, self.indexes[1:])
        return sort_found(np.hstack([scores, more]), np.hstack([ids, others + self.half]), self.k)


def sort_found(scores: np.ndarray, ids: np.ndarray, k: int) -> Found:
    """Return the k best of some candidates, best first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


class Reading(Side):
    """The time to read `size` bytes once, by two threads."""

    name = "reading as many bytes"

    def __init__(self, size: int) -> None:
        halves = np.array_split(np.arange(size // 8, dtype=np.uint64), 2)
        self.workloads = {"queries: 1": Workload(halves, halves)}
        self.pool = ThreadPoolExecutor(2)

    def time(self, workload: str, setting: dict) -> float:
        loops, time = (np.max, np.bitwise_xor.reduce), super().time
        return min(time(workload, {"loop": loop}) for loop in loops)

    def run(self, halves: list[np.ndarray], loop) -> None:
        list(self.pool.map(loop, halves))


def write_files(folder: Path, options) -> int:
    """Write rows, queries, and an index with codes and without; return the bytes of the rows."""
    from minisbert import FlatIndex

    embeddings, M = load_embeddings(), options.rows
    shape, start = (M, embeddings.shape[1]), 0
    say("rows", f"{M} x {shape[1]}, {min(M, len(embeddings))} real, the rest perturbed")
    np.save(folder / "queries.npy", make_queries(embeddings, max(options.queries)))
    rows = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, shape)
    for block in make_blocks(embeddings, M):
        rows[start : start + len(block)] = block
        start += len(block)
    for name, codes in {"minisbert": "int8", "minisbert without codes": None}.items():
        FlatIndex.build(folder / name, [rows], shape[1], "dot", codes=codes)
    return rows.nbytes


def main() -> None:
    sizes = {"rows": 1_000_000, "k": 10, "rounds": 15, "queries": [1, 32, 256]}
    options = parse_options(__doc__, **sizes, codes="int8")
    print_machine("faiss-cpu", "usearch", "torch")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        size, arguments = write_files(Path(folder), options), (folder, options.k, options.queries)
        names = ["minisbert"] if options.codes == "int8" else []
        names.append("minisbert without codes")
        canonical, *ours = (Worker(Minisbert, *arguments, name) for name in (CANONICAL, *names))
        for worker in ours:
            own, mapped = worker.ask("get", "memory")
            say("memory", f"{own:.1f} MB, and {mapped:.1f} MB of mapped files, {worker.name}")
        if options.codes == "int8":
            size, candidates = ours[0].ask("describe")
            say("codes", f"{size / 1e9:.2f} GB; {candidates:.1f} candidates a query on average")
        entries = [Entry(worker.name, worker, {}) for worker in ours]
        reading = Worker(Reading, size)
        rivals = [Worker(side, *arguments) for side in (Faiss, Usearch, Torch, Numpy)]
        for count in options.queries:
            name = f"queries: {count}"
            scores, found = canonical.solve(name), canonical.ask("get", "answer")
            for worker in reversed(ours):
                limit = FAR * worker.time(name, {})
                check(worker.name, worker.ask("get", "answer"), found, tolerance=0)
            alone = [Entry(reading.name, reading, {})] if count == 1 else []
            settings = {"expected": scores, "rounds": options.rounds, "limit": limit}
            _, times = compare(name, entries + alone, rivals, **settings)
            if alone:
                share = np.median(times[:, len(ours)] / times[:, 0])
                rate = size / np.median(times[:, 0]) / 1e9
                print(f"  {ours[0].name} reads {rate:.1f} GB/s, {share:.0%} of reading alone")


if __name__ == "__main__":
    main()
