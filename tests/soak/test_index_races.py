"""Indexes beside savers, and threads that add at once: 0 refused, 0 mixed, 0 rows lost."""

import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minisbert import FlatIndex, TextIndex

SECONDS = float(os.environ.get("MINISBERT_SOAK_SECONDS", "20"))


def make_index(number):
    """Make an index whose rows, ids and texts all tell its number; every second one has codes."""
    rows = np.random.default_rng(number).standard_normal((200 + 50 * number, 8))
    codes = "int8" if number % 2 else None
    ids = 1000 * number + np.arange(len(rows)) if number > 1 else None
    return FlatIndex.from_embeddings(rows, model_name=str(number), codes=codes, ids=ids)


def make_texts(number):
    rows = np.random.default_rng(number).standard_normal((20 + number, 8))
    texts = [f"{number} {row} " + "x" * 100 * number for row in range(len(rows))]
    return TextIndex.from_embeddings(rows, texts, model_name=str(number))


def save_in_turn(make, out, numbers, stop):
    indexes = [make(number) for number in numbers]
    while not stop.is_set():
        for index in indexes:
            index.save(out)


@pytest.mark.parametrize("make", [make_index, make_texts])
def test_every_load_is_of_one_version(tmp_path, make):
    """Beside two savers every load succeeds, is whole, and has the answers of one index."""
    out = tmp_path / "out"
    indexes = [make(number) for number in range(4)]
    query = np.ones(8)
    expected = [repr(index.search(query, 5)) for index in indexes]
    indexes[0].save(out)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    savers = [
        context.Process(target=save_in_turn, args=(make, out, numbers, stop))
        for numbers in ((0, 1, 2), (3, 2, 1))
    ]
    for saver in savers:
        saver.start()
    seen = [0] * 4
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            index = type(indexes[0]).load(out, mapped=bool(sum(seen) % 3))
            vectors = index if isinstance(index, FlatIndex) else index.vectors
            number = int(vectors.model_name)
            assert repr(index.search(query, 5)) == expected[number]
            assert index.verify()
            seen[number] += 1
    finally:
        stop.set()
        for saver in savers:
            saver.join()
    print(f"\n{sum(seen)} loads, of each version {seen}: 0 refused, 0 mixed")
    assert [saver.exitcode for saver in savers] == [0, 0]
    assert min(seen) > 0


@pytest.mark.parametrize("codes", [None, "int8"])
def test_threads_lose_no_row(codes):
    """Eight threads add and remove, others search, until time is up: all rows are there."""
    index = FlatIndex(4, "dot", codes=codes)
    end = time.monotonic() + SECONDS / 2

    def change(thread):
        number = 0
        while time.monotonic() < end:
            ids = (thread << 32) + number + np.arange(5)
            index.add(np.full((5, 4), thread + 1), ids)
            index.remove(ids[:2])
            number += 5
        return number // 5 * 3

    def search(_):
        count = 0
        while time.monotonic() < end:
            scores, ids = index.search(np.ones((1, 4)), 10)
            assert np.array_equal(scores, 4 * (ids >> 32) + 4)
            count += 1
        return count

    with ThreadPoolExecutor(10) as pool:
        searching = [pool.submit(search, thread) for thread in range(2)]
        changing = [pool.submit(change, thread) for thread in range(8)]
        added = sum(future.result() for future in changing)
        searches = sum(future.result() for future in searching)
    print(f"\n{added} rows kept by 8 threads beside {searches} searches")
    assert len(index) == added
    assert np.array_equal(index.rows[:, 0], (index.ids >> 32) + 1)
