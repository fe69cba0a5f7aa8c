"""Sixteen threads on one model and one index; a hundred thousand calls without growth of memory."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from minisbert import FlatIndex

THREADS = 16
CALLS = 250  # of each thread
TOLERANCE = 5e-7
ENCODES = 100_000
SETTLED = 1_000  # calls after which memory should not grow
GROWTH = 5e6  # bytes
WORDS = ["old", "red", "tree", "bird", "dog", "car", "sings", "runs", "sleeps", "all", "day"]


def test_threads(minilm):
    """Every one of 4,000 answers, encoding and searching in turn, is that of a single thread."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(THREADS * CALLS)]
    vectors = np.array([minilm.encode(text) for text in texts])
    index = FlatIndex.from_embeddings(vectors)
    found = [index.search(vector) for vector in vectors]

    def call(number):
        if number % 2:
            return np.abs(minilm.encode(texts[number]) - vectors[number]).max() <= TOLERANCE
        return all(map(np.array_equal, index.search(vectors[number]), found[number]))

    with ThreadPoolExecutor(THREADS) as pool:
        good = list(pool.map(call, range(len(texts))))
    print(
        f"\n{THREADS} threads x {CALLS} calls: {sum(good)} of {len(good)} answers as of one thread"
    )
    assert all(good)


def measure_memory():
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system tells no memory")
def test_memory(minilm):
    """After the first thousand calls of encode, resident memory stays where it is."""
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for number in range(ENCODES):
        minilm.encode(" ".join(rng.choice(WORDS, rng.integers(1, 12))))
        if number + 1 == SETTLED:
            settled = measure_memory()
        if (number + 1) % (ENCODES // 5) == 0:
            grown = (measure_memory() - settled) / 1e6
            seconds = time.perf_counter() - start
            print(f"{number + 1} calls, {seconds:.0f} s: {grown:+.2f} MB since {SETTLED}")
    assert measure_memory() - settled < GROWTH
