"""Copies and pickles of an index: each gives the same answers as the index, or refuses."""

import copy
import gc
import multiprocessing
import os
import pickle
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from minisbert import BinaryIndex, FlatIndex, TextIndex

QUERIES = np.random.default_rng(9).standard_normal((6, 12))
TRAVELS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda index: pickle.loads(pickle.dumps(index)),
    "copy of a pickle": lambda index: copy.copy(pickle.loads(pickle.dumps(index))),
}


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture(params=TRAVELS)
def travel(request):
    return TRAVELS[request.param]


def same(found, expected):
    return all(map(np.array_equal, found, expected))


def save_index(path, count=3000, codes="int8", seed=8, **options):
    rows = np.random.default_rng(seed).standard_normal((count, 12))
    index = FlatIndex.from_embeddings(rows, codes=codes, **options)
    index.companions["notes"] = np.arange(5)
    index.save(path)
    return index


# --- mapped indexes ---


@pytest.mark.parametrize("codes", [None, "int8"])
def test_copies_of_a_loaded_index_read_its_file(travel, codes, tmp_path):
    """A copy answers from the index's own file after the index is gone and another was opened."""
    made = save_index(tmp_path / "a", codes=codes, ids=np.arange(3000) * 2)
    save_index(tmp_path / "b", codes=codes, seed=99)
    expected = made.search(QUERIES, 7)
    index = FlatIndex.load(tmp_path / "a")
    copied = travel(index)
    del index
    gc.collect()
    other = FlatIndex.load(tmp_path / "b")  # it may get the descriptor that was closed
    assert same(copied.search(QUERIES, 7), expected)
    assert same(copied.search(QUERIES[0], 7), (expected[0][0], expected[1][0]))
    assert not same(other.search(QUERIES, 7), expected)
    assert copied.companions["notes"].tolist() == [0, 1, 2, 3, 4]
    assert copied.verify()
    assert copied.mapped_file is not None
    copied.companions = {}
    copied.add(QUERIES, np.arange(1, 13, 2))
    assert len(copied) == 3006


@pytest.mark.parametrize("kind", [FlatIndex, TextIndex, BinaryIndex])
def test_pickles_of_loaded_indexes_are_small(kind, tmp_path, monkeypatch):
    """A pickle has the path of what is in a file, absolute, and nothing of its contents."""
    rows = np.random.default_rng(8).standard_normal((3000, 12))
    texts = TextIndex.from_embeddings(rows, [f"text {row}" for row in range(3000)])
    texts.save(tmp_path)
    monkeypatch.chdir(tmp_path)
    index = TextIndex.load(".")
    if kind is not TextIndex:
        index = index.vectors
    if kind is BinaryIndex:
        index = BinaryIndex.from_index(index)
    pickled = pickle.dumps(index)
    assert len(pickled) < 3000 + (6000 if kind is BinaryIndex else 0)  # it has two bytes a row
    monkeypatch.chdir("/")
    found, expected = pickle.loads(pickled).search(QUERIES[0], 5), index.search(QUERIES[0], 5)
    assert found == expected if kind is TextIndex else same(found, expected)


@pytest.mark.parametrize("change", ["replaced", "written to", "removed", "cut short"])
def test_pickle_of_a_file_that_changed(change, tmp_path):
    """If the file was replaced or changed, reading a pickle is refused in one sentence."""
    save_index(tmp_path / "a")
    index = FlatIndex.load(tmp_path / "a")
    pickled, copied = pickle.dumps(index), copy.deepcopy(index)
    expected = index.search(QUERIES)
    if change == "replaced":
        index.save(tmp_path / "b")
        os.replace(tmp_path / "b", tmp_path / "a")
    elif change == "written to":
        content = (tmp_path / "a").read_bytes()
        os.utime(tmp_path / "a", ns=(0, 0))
        pickled = pickle.dumps(FlatIndex.load(tmp_path / "a"))
        (tmp_path / "a").write_bytes(content)
    elif change == "removed":
        (tmp_path / "a").unlink()
    else:
        os.truncate(tmp_path / "a", 100)
    with pytest.raises((ValueError, FileNotFoundError), match=r"load the object again") as refusal:
        pickle.loads(pickled)
    assert "\n" not in str(refusal.value)
    if change in ("replaced", "removed"):
        assert same(copied.search(QUERIES), expected)  # it has the file open


def test_index_without_its_file_travels_by_value(travel, tmp_path):
    """What was read into memory, or changed there, needs no file."""
    save_index(tmp_path / "a")
    index = FlatIndex.load(tmp_path / "a", mapped=False)
    changed = FlatIndex.load(tmp_path / "a")
    changed.companions = {}
    changed.add(QUERIES)
    (tmp_path / "a").unlink()
    for one in (index, changed):
        copied = travel(one)
        assert same(copied.search(QUERIES, 9), one.search(QUERIES, 9))
        assert copied.companions.keys() == one.companions.keys()
    assert travel(index).verify()


def test_companions_that_were_set_later_travel(travel, tmp_path):
    """Companions that are not those of the file travel by value, and removed ones stay away."""
    save_index(tmp_path / "a")
    index = FlatIndex.load(tmp_path / "a")
    index.companions = {"mine": np.arange(3)}
    assert {name: array.tolist() for name, array in travel(index).companions.items()} == {
        "mine": [0, 1, 2]
    }
    index = FlatIndex.load(tmp_path / "a")
    index.companions["notes"] = np.arange(2)
    assert travel(index).companions["notes"].tolist() == [0, 1]


# --- indexes in memory ---


@pytest.mark.parametrize("codes", [None, "int8"])
@pytest.mark.parametrize("own", [False, True])
def test_a_copy_and_its_index_grow_apart(travel, codes, own, rng):
    """Rows that are added to one of two copies change nothing in the other, in whatever order."""
    rows = rng.standard_normal((100, 12))
    ids = np.arange(100) if own else None
    index = FlatIndex.from_embeddings(rows[:49], codes=codes, ids=ids if ids is None else ids[:49])
    index.add(rows[49:50], ids if ids is None else ids[49:50])  # now there is room for more
    copied = travel(index)
    for start in range(50, 80, 3):
        some, others = rows[start : start + 2], -rows[start : start + 3]
        index.add(some, None if ids is None else 10_000 + np.arange(start, start + 2))
        copied.add(others, None if ids is None else 20_000 + np.arange(start, start + 3))
    for one, added in ((index, rows), (copied, -rows)):
        count = 2 if one is index else 3
        parts = [added[start : start + count] for start in range(50, 80, 3)]
        whole = FlatIndex.from_embeddings(np.concatenate([rows[:50], *parts]), codes=codes)
        assert np.array_equal(one.rows, whole.rows)
        scores, places = whole.search(QUERIES, 9)
        assert same(one.search(QUERIES, 9), (scores, one.ids[places]))


def test_subclasses_and_attributes_travel(travel):
    """A copy is of the same class and keeps what was set on the index."""
    index = Named.from_embeddings(np.eye(3))
    index.name = "mine"
    assert type(travel(index)) is Named
    assert travel(index).name == "mine"


class Named(FlatIndex):
    name = ""


def test_text_and_binary_indexes_travel(travel, tmp_path):
    """Copies of the other indexes give the same answers, in memory and loaded."""
    rows = np.random.default_rng(1).standard_normal((200, 12))
    made = TextIndex.from_embeddings(rows, [f"text {row}" for row in range(200)])
    made.save(tmp_path)
    for index in (made, TextIndex.load(tmp_path)):
        assert travel(index).search(QUERIES[0]) == index.search(QUERIES[0])
        binary = BinaryIndex.from_index(index.vectors)
        assert same(travel(binary).search(QUERIES), binary.search(QUERIES))
        assert same(
            travel(BinaryIndex(binary.codes)).search(QUERIES),
            BinaryIndex(binary.codes).search(QUERIES),
        )


# --- processes ---


def search_elsewhere(index):
    return index.search(QUERIES[0], 5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_other_processes(method, tmp_path):
    """Whatever the way a process starts, an index that is sent to it answers as here."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{sys.platform} has no {method}")
    save_index(tmp_path / "a")
    index = FlatIndex.load(tmp_path / "a")
    indexes = [index, FlatIndex.from_embeddings(QUERIES), BinaryIndex.from_index(index)]
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        for one, found in zip(indexes, pool.map(search_elsewhere, indexes), strict=True):
            assert same(found, one.search(QUERIES[0], 5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system can't fork")
def test_child_of_a_fork_can_add(rng):
    """A child that is forked while another thread adds has a lock of its own."""
    index = FlatIndex.from_embeddings(rng.standard_normal((10, 12)))
    with index._changing:  # as another thread would hold it
        child = os.fork()
        if child == 0:
            index.add(QUERIES)
            os._exit(len(index))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 16


# --- threads ---


@pytest.mark.parametrize("codes", [None, "int8"])
def test_threads_that_add_lose_no_row(codes):
    """Rows that several threads add at once are all there, each with its own id."""
    index = FlatIndex(4, "dot", codes=codes)

    def add(number):
        index.add(np.full((3, 4), number), 3 * number + np.arange(3))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(lambda i: index.add(np.full((3, 4), i), 3 * i + np.arange(3)), range(400))
            )
    finally:
        sys.setswitchinterval(interval)
    assert len(index) == 1200
    assert np.array_equal(np.sort(index.ids), np.arange(1200))
    assert np.array_equal(index.rows[:, 0], index.ids // 3)
    if codes:
        whole = FlatIndex.from_embeddings(index.rows, "dot", codes=codes)
        assert np.array_equal(index._state.blocks, whole._state.blocks)


def test_add_remove_search_and_save_at_once(tmp_path, rng):
    """Searches and saves beside changes see whole states: every file is one that existed."""
    index = FlatIndex.from_embeddings(np.ones((20, 4)), codes="int8", ids=np.arange(20))
    stop = threading.Event()

    def change():
        number = 100
        while not stop.is_set():
            index.add(np.ones((20, 4)), np.arange(number, number + 20))
            index.remove(index.ids[:20])
            number += 20

    def read(_):
        scores, ids = index.search(np.ones(4), 20)
        assert len(set(ids.tolist())) == len(ids) == 20
        assert np.allclose(scores, 1)
        path = tmp_path / str(threading.get_ident())
        index.save(path)
        loaded = FlatIndex.load(path)
        assert len(loaded) in (20, 40)
        assert len(set(loaded.ids.tolist())) == len(loaded)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(read, range(40)))
    finally:
        stop.set()
        changing.join()
