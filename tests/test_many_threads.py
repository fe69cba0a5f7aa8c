"""Many threads on one object, as in a server: each gets what it would get alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minisbert import CrossEncoder, FlatIndex
from models import make_cross_encoder_directory

THREADS = 16

TEXTS = [
    "a bird sings",
    "the old red car",
    "",
    "a dog runs, a cat sings! all day, in the tree.",
    "sing bird sing, sing all day " * 4,
]

# Where BLAS has other kernels, a text's vector may differ in its last bits with the threads.
TOLERANCE = 5e-7


def run_together(calls):
    """Every call of every thread's list, all threads at once.  -> their results, in order"""
    start = threading.Barrier(len(calls))

    def run(own):
        start.wait()
        return [call() for call in own]

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def read_blas_threads():
    return {library["filepath"]: library["num_threads"] for library in threadpool_info()}


def is_near(found, expected):
    return found.shape == expected.shape and np.abs(found - expected).max() <= TOLERANCE


def make_calls(encode, texts, count):
    """For each thread a list of calls: one text, or some of them in another order each time."""
    lists, expected = [], []
    alone = [encode(text) for text in texts]
    for thread in range(THREADS):
        rng = np.random.default_rng(thread)
        orders = [rng.permutation(len(texts))[: rng.integers(1, 5)] for _ in range(count)]
        lists.append([lambda order=order: encode([texts[i] for i in order]) for order in orders])
        expected.append([np.array([alone[i] for i in order]) for order in orders])
    return lists, expected


def check(lists, expected):
    for found, wanted in zip(run_together(lists), expected, strict=True):
        assert all(map(is_near, found, wanted))


@pytest.mark.slow
def test_encode(tiny):
    """Vectors are those of one thread, and BLAS has as many threads as before."""
    before = read_blas_threads()
    check(*make_calls(tiny.encode, TEXTS, 20))
    assert read_blas_threads() == before


def test_predict(tmp_path):
    """Scores are those of one thread."""
    model = CrossEncoder(make_cross_encoder_directory(tmp_path))
    pairs = [(a, b) for a in TEXTS for b in TEXTS[:3]]
    check(*make_calls(model.predict, pairs, 10))


@pytest.mark.slow
@pytest.mark.parametrize("codes", [None, "int8"])
def test_search(codes):
    """Scores and ids are those of one thread, to the last bit."""
    rng = np.random.default_rng(0)
    index = FlatIndex.from_embeddings(rng.standard_normal((9000, 40)), codes=codes)
    queries = [rng.standard_normal((count, 40)) for count in (1, 3, 17)]
    expected = [index.search(query) for query in queries]
    lists = [[lambda query=query: index.search(query) for query in queries * 4]] * THREADS
    for found in run_together(lists):
        for one, other in zip(found, expected * 4, strict=True):
            assert all(map(np.array_equal, one, other))


def test_real_model(minilm):
    """All-MiniLM-L6-v2: threads that encode and search at once get the results of one thread."""
    before = read_blas_threads()
    texts = ["Two dogs run.", "Prices rose in May.", "Der Hund schläft.", "A cat is asleep. " * 20]
    lists, expected = make_calls(minilm.encode, texts, 4)
    index = FlatIndex.from_embeddings(minilm.encode(texts))
    answers = run_together([[*own, lambda: index.search(expected[0][0])] for own in lists])
    for found, wanted in zip(answers, expected, strict=True):
        assert all(map(is_near, found[:-1], wanted))
        assert all(map(np.array_equal, found[-1], index.search(expected[0][0])))
    assert read_blas_threads() == before


def test_a_wrong_answer_is_seen(tiny):
    """The comparison above rejects a vector that differs by 1e-5."""
    lists, expected = make_calls(tiny.encode, TEXTS, 2)
    expected[3][1] = expected[3][1] + 1e-5
    with pytest.raises(AssertionError):
        check(lists, expected)
