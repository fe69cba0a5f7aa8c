"""Batches hold each text once, and BLAS's thread count survives whatever overlaps."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from minisbert.encoding import batching


def count_blas_threads() -> int:
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


@pytest.fixture
def two_blas_threads():
    """BLAS at two threads on any machine, put back afterwards."""
    with threadpool_limits(2, user_api="blas"):
        if count_blas_threads() != 2:
            pytest.skip("this NumPy's BLAS has one thread only: nothing to restore")
        yield


def test_plan_holds_each_text_once_longest_first():
    """Batches together are the texts sorted by length, equal ones in their order."""
    lengths = np.array([3, 9, 3, 7])
    assert np.concatenate(batching.plan_batches(lengths)).tolist() == [1, 3, 0, 2]


def test_plan_respects_the_token_budget_and_batch_size():
    """No batch is beyond the budget by more than a text, or has more texts than asked."""
    lengths = np.random.default_rng(0).integers(2, 4000, 300)
    for batch in batching.plan_batches(lengths):
        assert lengths[batch].sum() <= batching.TOKEN_BUDGET + lengths[batch].max()
    assert max(map(len, batching.plan_batches(np.full(50, 3), batch_size=7))) == 7


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_plan_gives_threads_equal_work(threads):
    """Every thread gets as many batches, and batches of about as many tokens, as any other."""
    lengths = np.random.default_rng(0).integers(2, 40, 2000)
    batches = batching.plan_batches(lengths, threads)
    tokens = [lengths[batch].sum() for batch in batches]
    assert len(batches) % threads == 0
    assert max(tokens) - min(tokens) <= 80


def test_little_work_is_shared_out():
    """Texts that would fit in one batch are cut in two for two threads, unless they are few."""
    assert len(batching.plan_batches(np.full(64, 10), threads=2)) == 2
    assert len(batching.plan_batches(np.full(8, 10), threads=2)) == 1
    assert batching.plan_batches(np.zeros(0, np.int64), threads=2) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_run_yields_every_result_with_its_batch(threads):
    """Results come in the order of the batches, whatever the number of threads."""
    batches = [np.array([i]) for i in range(10)]
    done = []
    results = list(batching.run_batches(lambda b: int(b[0]) ** 2, batches, threads, done.append))
    assert [(int(b[0]), r) for b, r in results] == [(i, i * i) for i in range(10)]
    assert sum(done) == 10


@pytest.mark.parametrize("threads", [1, 2])
def test_run_passes_on_errors_and_restores(threads, two_blas_threads):
    """An error in a batch reaches the caller, and BLAS is as before."""

    def fail(batch):
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        list(batching.run_batches(fail, [np.array([0]), np.array([1])], threads))
    assert count_blas_threads() == 2


def test_overlapping_limits_restore_what_was_found(two_blas_threads):
    """The first call in lowers, the last one out restores, in whatever order they leave."""
    first, second = batching.limit_blas(1), batching.limit_blas(1)
    first.__enter__()
    second.__enter__()
    assert count_blas_threads() == 1
    first.__exit__(None, None, None)
    assert count_blas_threads() == 1
    second.__exit__(None, None, None)
    assert count_blas_threads() == 2


def test_company_leaves_one_thread_each(two_blas_threads):
    """While several calls are inside, BLAS has one thread for each of them."""
    with batching.limit_blas(2):
        assert count_blas_threads() == 2
        with batching.limit_blas(2):
            assert count_blas_threads() == 1
    assert count_blas_threads() == 2


def test_limit_never_raises(two_blas_threads):
    """A limit above what the user set leaves it."""
    with batching.limit_blas(64):
        assert count_blas_threads() == 2


def test_limits_from_many_threads(two_blas_threads):
    """Eight threads entering and leaving at random end where they began."""

    def enter_and_leave(seed):
        for threads in np.random.default_rng(seed).integers(1, 3, 50):
            with batching.limit_blas(int(threads)):
                pass

    workers = [threading.Thread(target=enter_and_leave, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert count_blas_threads() == 2


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_must_be_a_positive_whole_number(threads):
    """Any other number of threads is refused."""
    with pytest.raises(ValueError, match="threads must be a whole number of 1 or more"):
        batching.count_threads(threads)
