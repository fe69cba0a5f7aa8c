"""Hundreds of processes started beside threads that encode; a thousand overlapping calls."""

import time
from concurrent.futures import ThreadPoolExecutor

import forks
import pytest
from blas import count_blas_threads

CHILDREN = 200
TEXT = "a bird sings all day in the old red tree " * 25


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("texts", list(forks.TEXTS))
def test_forks(minilm_directory, texts, threads):
    """Of 200 children that are forked while threads encode, none hangs or has fewer threads."""
    options = {"texts": texts, "threads": threads, "children": CHILDREN}
    found = forks.run_parent(minilm_directory, "fork", **options)
    print(f"\n{CHILDREN} forks beside {threads} threads with {texts} texts: {dict(found)}")
    assert found == {forks.GOOD: CHILDREN}


@pytest.mark.parametrize("kind", ["Pool", "Executor"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes(minilm_directory, kind, method):
    """Nor does any process of multiprocessing's Pool or of concurrent.futures."""
    start = f"{kind} {method}"
    found = forks.run_parent(minilm_directory, start, texts="short", threads=2, children=40)
    print(f"\n40 calls of {start}: {dict(found)}")
    assert found == {forks.GOOD: 40}


def test_overlapping_calls(minilm):
    """After 1,000 overlapping calls BLAS has its number, and a call takes as long as before."""

    def measure():
        times = []
        for _ in range(20):
            start = time.perf_counter()
            minilm.encode(TEXT, on_truncate="ignore")
            times.append(time.perf_counter() - start)
        return 1000 * min(times)

    number, before = count_blas_threads(), measure()
    texts = ["a bird", "a dog runs in the tree", ["all day"] * 40, "sing " * 50]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(minilm.encode, texts * 250))
        elsewhere = set(pool.map(lambda _: count_blas_threads(), range(8)))
    print(
        f"\n{number} BLAS threads, then {count_blas_threads()} and elsewhere {elsewhere}; ", end=""
    )
    print(f"a call took {before:.1f} ms, then {measure():.1f} ms")
    assert elsewhere == {count_blas_threads()} == {number}
