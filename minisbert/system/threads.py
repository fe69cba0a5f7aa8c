"""Count threads, and divide work between threads."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from minisbert.arguments import check_whole_number, shorten
from minisbert.system.blas_limits import enter_pool

Result = TypeVar("Result")

# Fewer multiplications than this take less time than a second thread needs to start.
SMALLEST_PART = 1 << 21

# A thread that is done with one part takes the next, since cores are seldom equally fast at every
# moment. With several parts per thread, a scan of a million rows on two cores gains 5 %.
PARTS_PER_THREAD = 8


# Each thread takes memory, and a system has room for only some thousands.
MOST_THREADS = 1024


def count_threads(threads: int | None) -> int:
    """Return the number of threads asked for, or one for each core that the process may use.

    Raises ValueError for anything but a whole number from 1 to MOST_THREADS.
    """
    if threads is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    number = check_whole_number("threads", threads, remedy="leave it out to use every core")
    if number > MOST_THREADS:
        raise ValueError(
            f"threads must be at most {MOST_THREADS}, got {shorten(number)}; "
            "leave it out to use every core"
        )
    return number


def keep_freed_memory() -> None:
    """Stop the allocator from returning the arrays of every batch to the operating system.

    glibc returns large freed blocks at once, and faulting them in again takes 10 % of an encode.
    Freeing one array just below 32 MiB raises its threshold (mallopt(3), under M_MMAP_THRESHOLD).
    Other allocators are not affected.
    """
    np.empty(31 << 20, np.uint8)


def make_thread_pool(threads: int) -> ThreadPoolExecutor:
    """Make a pool of threads whose products get one BLAS thread each, inside a `limit_blas(1)`."""
    return ThreadPoolExecutor(threads, "minisbert", initializer=enter_pool)


def run_parts(
    run: Callable[[slice], Result],
    M: int,
    *,
    work: int,
    threads: int | None,
    multiple: int = 1,
) -> list[Result]:
    """Cut M rows into parts, call a function on each, and return its results in order.

    Threads start the parts in order, each taking the next one that is left.

    run       slice of the rows -> result
    work      multiplications per row; a second thread starts only if there are enough in all
    threads   all cores of the process if None
    multiple  every part but the last has a multiple of this many rows
    """
    threads = count_threads(threads)
    parts = _cut_rows(M, work, threads, multiple=multiple)
    threads = min(threads, len(parts))
    if threads == 1:
        return [run(part) for part in parts]
    with make_thread_pool(threads) as pool:
        return list(pool.map(run, parts))


def _cut_rows(M: int, work: int, threads: int, *, multiple: int) -> list[slice]:
    """Cut M rows into several parts for each of several threads; one part for one thread."""
    runs = -(-M // multiple)
    most = PARTS_PER_THREAD * threads if threads > 1 else 1
    count = max(1, min(most, runs, work * M // SMALLEST_PART))
    edges = [min(M, runs * i // count * multiple) for i in range(count + 1)]
    return [slice(edges[i], edges[i + 1]) for i in range(count)]


class _SideBySide:
    """Runs two functions at the same time, the second in a thread of a pool."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def __call__(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        waiting = self._pool.submit(second)
        return first(), waiting.result()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has no pool, and runs them one after the other."""
        return _InTurn, ()


class _InTurn:
    """Runs two functions one after the other."""

    def __call__(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        return first(), second()


@contextmanager
def two_threads(threads: int) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Yield a function that runs two functions and returns both results.

    With one thread it runs them in turn, with more side by side.
    """
    if threads == 1:
        yield _InTurn()
        return
    with make_thread_pool(1) as pool:
        yield _SideBySide(pool)


class TravellingLock:
    """A lock for `with` of an object that is copied, pickled or inherited by a forked child.

    The copy, and the child, have a free lock of their own, since the thread that may hold this one
    does not exist there.
    """

    def __init__(self) -> None:
        self._renew()
        _travelling.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[TravellingLock], tuple[()]]:
        return type(self), ()

    def _renew(self) -> None:
        self._lock = threading.Lock()


_travelling: weakref.WeakSet[TravellingLock] = weakref.WeakSet()


def _renew_locks() -> None:
    for lock in list(_travelling):
        lock._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
