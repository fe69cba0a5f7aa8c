"""What memory a search of a saved index takes: with codes, and without.

    python benchmarks/compare_memory.py [--rows 1000000] [--queries 100] [--k 10]

needs real data in the folder that MINISBERT_DATA names; rows are real embeddings and small
perturbations of them (real_rows.py). Linux only: the system tells what is resident.

Each figure is of a fresh process that loads the index, answers the queries one at a time, and then
reads what it holds itself (anonymous) and what it has mapped of files, less what a process holds
that has only imported minisbert. The answers must be the same to the last bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import tempfile
from pathlib import Path

import numpy as np

from real_rows import PERTURBATION, load_embeddings, make_blocks, make_queries


def read_resident() -> np.ndarray:
    """Anonymous memory and that of files, in megabytes.  -> (2,)"""
    status = Path("/proc/self/status").read_text("utf-8")
    found = [re.search(rf"{name}:\s*(\d+) kB", status) for name in ("RssAnon", "RssFile")]
    return np.array([float(match[1]) * 1024e-6 if match else np.nan for match in found])


def search(path: Path, queries: np.ndarray, k: int) -> tuple:
    """The answers of a saved index, and the memory that they took beyond the import."""
    from minisbert import FlatIndex

    before = read_resident()
    index = FlatIndex.load(path)
    answers = [index.search(query, k) for query in queries]
    return answers, read_resident() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--k", type=int, default=10)
    arguments = parser.parse_args()
    # Imported late: what it holds would not be counted in a process that forks.
    from minisbert import FlatIndex
    from minisbert.costs.machine import describe_machine

    for name, fact in describe_machine().items():
        print(f"{name:14} {fact}")
    embeddings = load_embeddings()
    M, (n, D) = arguments.rows, embeddings.shape
    print(
        f"rows           {M} x {D}: {min(n, M)} real sentences, the rest by perturbations of "
        f"length {PERTURBATION}"
    )
    queries = make_queries(embeddings, arguments.queries)
    found, totals = [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for codes in (None, "int8"):
            path = Path(folder) / "index"
            FlatIndex.build(path, make_blocks(embeddings, M), D, "dot", codes=codes)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                answers, memory = pool.apply(search, (path, queries, arguments.k))
            found.append(answers)
            totals.append(memory.sum())
            print(
                f"{'with codes' if codes else 'without codes':14} {memory.sum():7.1f} MB: "
                f"{memory[0]:.1f} anonymous, {memory[1]:.1f} of files"
            )
    for one, other in zip(*found, strict=True):
        assert all(map(np.array_equal, one, other))
    print(f"answers        the same, {len(queries)} queries, k = {arguments.k}")
    print(f"codes take     {totals[1] / totals[0]:.1%} of the memory")


if __name__ == "__main__":
    main()
