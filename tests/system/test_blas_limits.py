"""BLAS's number of threads is limited from any thread, and in the end is what was found."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import forks
import numpy as np
import pytest
from blas import count_blas_threads
from threadpoolctl import threadpool_limits

from minisbert.system import blas_limits
from minisbert.system.blas_limits import limit_blas

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


def run_elsewhere(function):
    """Call a function in a new thread; return its result."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_overlapping_limits_restore_what_was_found(two_blas_threads):
    """The first call lowers BLAS's threads, the last to leave restores them, in any order."""
    first, second = limit_blas(1), limit_blas(1)
    first.__enter__()
    second.__enter__()
    assert count_blas_threads() == 1
    first.__exit__(None, None, None)
    assert count_blas_threads() == 1
    second.__exit__(None, None, None)
    assert count_blas_threads() == 2


def test_overlapping_calls_get_one_thread_each(two_blas_threads):
    """While several calls are inside, BLAS has one thread for each of them."""
    with limit_blas(2):
        assert count_blas_threads() == 2
        with limit_blas(2):
            assert count_blas_threads() == 1
    assert count_blas_threads() == 2


def test_limit_never_raises(two_blas_threads):
    """A limit above the user's own leaves BLAS at the user's."""
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


def test_a_limit_of_another_thread_takes_effect(two_blas_threads):
    """A thread limits BLAS though the main thread was the first that set its number."""

    def count_inside():
        with limit_blas(1):
            return count_blas_threads()

    assert run_elsewhere(count_inside) == 1
    assert count_blas_threads() == 2


def test_the_last_to_leave_may_be_another_thread(two_blas_threads):
    """A thread that leaves after the main thread restores what the main thread found."""
    entered, left = threading.Event(), threading.Event()

    def stay():
        with limit_blas(1):
            entered.set()
            left.wait(10)

    with ThreadPoolExecutor(1) as pool:
        with limit_blas(1):
            waiting = pool.submit(stay)
            entered.wait(10)
        assert count_blas_threads() == 1
        left.set()
        waiting.result()
    assert count_blas_threads() == 2
    assert run_elsewhere(count_blas_threads) == 2


def test_a_number_that_others_set_stays(two_blas_threads):
    """A number that somebody sets while a call is inside is not overwritten when it leaves."""
    with limit_blas(1):
        threadpool_limits(3, user_api="blas")
        assert count_blas_threads() == 3
    assert count_blas_threads() == 3


@pytest.mark.slow
def test_a_thousand_overlapping_calls(tiny, two_blas_threads):
    """After 1,000 calls of encode from 8 threads, BLAS has its number in every thread."""
    tiny.encode("the first limit is the main thread's")
    texts = ["a bird", "a dog runs in the tree", ["all day"] * 40, "sing " * 50]
    with ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(tiny.encode, texts * 250))
        assert set(pool.map(lambda _: count_blas_threads(), range(8))) == {2}
    assert len(vectors) == 1000
    assert count_blas_threads() == 2
    with limit_blas(2):
        assert count_blas_threads() == 2


class OwnNumbers:
    """Stands for MKL, or an OpenBLAS with OpenMP: a number for each thread, at first 4."""

    internal_api = "mkl"

    def __init__(self):
        self.numbers = threading.local()

    @property
    def num_threads(self):
        return getattr(self.numbers, "number", 4)

    def set_num_threads(self, number):
        self.numbers.number = number


@pytest.fixture
def own_numbers(monkeypatch):
    """Let BLAS have a number for each thread."""
    library = OwnNumbers()
    found = SimpleNamespace(select=lambda user_api: SimpleNamespace(lib_controllers=[library]))
    monkeypatch.setattr(blas_limits, "ThreadpoolController", lambda: found)
    monkeypatch.setattr(blas_limits, "_blas_limits", blas_limits._BlasLimits())
    return library


def test_each_thread_has_its_own_number(own_numbers):
    """Where each thread has a number, each call lowers and restores that of its thread."""
    entered, left = threading.Event(), threading.Event()

    def stay():
        with limit_blas(2):
            inside = own_numbers.num_threads
            entered.set()
            left.wait(10)
        return inside, own_numbers.num_threads

    with ThreadPoolExecutor(1) as pool:
        with limit_blas(3):
            waiting = pool.submit(stay)
            entered.wait(10)
            assert own_numbers.num_threads == 3
        assert own_numbers.num_threads == 4
        left.set()
        assert waiting.result() == (1, 4)


def test_threads_of_a_pool_have_one_blas_thread(own_numbers):
    """Where each thread has a number, the threads that share the work of a call have one each."""
    from minisbert.system.threads import make_thread_pool

    with limit_blas(1), make_thread_pool(2) as pool:
        assert set(pool.map(lambda _: own_numbers.num_threads, range(4))) == {1}
    assert own_numbers.num_threads == 4


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_has_what_was_found(two_blas_threads):
    """A child that is forked while another thread limits BLAS has BLAS as it was, and can limit."""
    entered, left = threading.Event(), threading.Event()

    def stay():
        with limit_blas(1):
            entered.set()
            left.wait(10)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(stay)
        entered.wait(10)
        child = os.fork()
        if not child:
            numbers = [count_blas_threads()]
            with limit_blas(1):
                numbers.append(count_blas_threads())
            os._exit(0 if [*numbers, count_blas_threads()] == [2, 1, 2] else 1)
        assert os.waitpid(child, 0)[1] == 0
        left.set()
    assert count_blas_threads() == 2


@needs_fork
def test_a_child_keeps_the_limit_of_its_own_thread(two_blas_threads):
    """A child forked inside a limit is inside it, too, and leaves it."""
    with limit_blas(1):
        child = os.fork()
        number = count_blas_threads()
    if not child:
        os._exit(0 if [number, count_blas_threads()] == [1, 2] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert [number, count_blas_threads()] == [1, 2]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_several_blas_threads(two_blas_threads):
    """A fork begins after a call with several BLAS threads; calls that enter meanwhile get one."""
    entered, events = threading.Event(), []

    def stay():
        with limit_blas(2):
            entered.set()
            while not blas_limits._blas_limits._forks:
                time.sleep(0.001)
            with limit_blas(2):
                events.append(count_blas_threads())
        events.append("left")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(stay)
        entered.wait(10)
        child = os.fork()
        if not child:
            os._exit(0 if count_blas_threads() == 2 and events[0] == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        waiting.result()
    assert events == [1, "left"]
    assert count_blas_threads() == 2


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("texts", list(forks.TEXTS))
def test_forks_beside_threads_that_encode(tiny_directory, texts):
    """Children that are forked while two threads encode do as the parent does."""
    found = forks.run_parent(tiny_directory, "fork", texts=texts, threads=2, children=15)
    assert found == {forks.GOOD: 15}


@pytest.mark.slow
@pytest.mark.parametrize(
    "start", ["Pool fork", "Pool spawn", "Executor fork", "Executor forkserver", "Executor spawn"]
)
def test_processes_beside_threads_that_encode(tiny_directory, start):
    """So do processes of multiprocessing and concurrent.futures, however they are started."""
    if start.endswith(("fork", "forkserver")) and not hasattr(os, "fork"):
        pytest.skip("the system has no fork")
    found = forks.run_parent(tiny_directory, start, texts="short", threads=2, children=4)
    assert found == {forks.GOOD: 4}
