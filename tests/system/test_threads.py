"""BLAS's thread count survives whatever overlaps."""

import threading

import numpy as np
import pytest
from blas import count_blas_threads

from minisbert.system.threads import count_threads, limit_blas


def test_overlapping_limits_restore_what_was_found(two_blas_threads):
    """The first call in lowers, the last one out restores, in whatever order they leave."""
    first, second = limit_blas(1), limit_blas(1)
    first.__enter__()
    second.__enter__()
    assert count_blas_threads() == 1
    first.__exit__(None, None, None)
    assert count_blas_threads() == 1
    second.__exit__(None, None, None)
    assert count_blas_threads() == 2


def test_company_leaves_one_thread_each(two_blas_threads):
    """While several calls are inside, BLAS has one thread for each of them."""
    with limit_blas(2):
        assert count_blas_threads() == 2
        with limit_blas(2):
            assert count_blas_threads() == 1
    assert count_blas_threads() == 2


def test_limit_never_raises(two_blas_threads):
    """A limit above what the user set leaves it."""
    with limit_blas(64):
        assert count_blas_threads() == 2


def test_limits_from_many_threads(two_blas_threads):
    """Eight threads entering and leaving at random end where they began."""

    def enter_and_leave(seed):
        for threads in np.random.default_rng(seed).integers(1, 3, 50):
            with limit_blas(int(threads)):
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
        count_threads(threads)
