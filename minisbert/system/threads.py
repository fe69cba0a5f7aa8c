"""Threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController


def count_threads(threads: int | None) -> int:
    """How many threads to use: as many as asked for, or one for each core of this process.

    Raises ValueError for a number below 1.
    """
    if threads is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(
            f"threads must be a whole number of 1 or more, got {threads!r}; "
            "leave it out to use every core"
        )
    return threads


def keep_freed_memory() -> None:
    """Stop the allocator from handing every batch's arrays back to the kernel.

    glibc returns large freed blocks at once, and faulting them in again takes 10 % of an encode.
    Freeing one array just below 32 MiB raises its threshold (mallopt(3), under M_MMAP_THRESHOLD).
    Other allocators take no notice.
    """
    np.empty(31 << 20, np.uint8)


class _BlasLimits:
    """The one owner of BLAS's thread limit, which is global to the process.

    Two limits that overlap in time and each restore what they found restore in the wrong order and
    can leave BLAS at one thread for ever. So the first call that enters notes what it found, calls
    inside may only lower it further, and the last that leaves restores.

    With company there is one thread for each call, as in a server that answers many at once: BLAS's
    own threads would only wait for each other. It makes two long texts at once a tenth quicker.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._controller: Any = None
        self._found: list[tuple[Any, int]] = []

    def enter(self, threads: int) -> None:
        with self._lock:
            if self._controller is None:
                self._controller = ThreadpoolController().select(user_api="blas")
            if self._inside == 0:
                self._found = [
                    (library, library.num_threads) for library in self._controller.lib_controllers
                ]
            self._inside += 1
            if self._inside > 1:
                threads = 1
            for library, _ in self._found:
                if library.num_threads > threads:
                    library.set_num_threads(threads)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for library, threads in self._found:
                    library.set_num_threads(threads)


_blas_limits = _BlasLimits()


@contextmanager
def limit_blas(threads: int) -> Iterator[None]:
    """Keep BLAS at no more than this many threads inside the `with` block."""
    _blas_limits.enter(threads)
    try:
        yield
    finally:
        _blas_limits.leave()


Result = TypeVar("Result")


# Fewer multiplications than this are done before a second thread has started.
SMALLEST_SHARE = 1 << 21


# Parts for each thread: whichever is done with one takes the next, since cores are seldom equally
# quick at every moment. A scan of a million rows on two cores gains a twentieth.
PARTS = 8


def share_out(M: int, work: int, threads: int | None, together: int = 1) -> list[slice]:
    """Cut M rows into parts for threads to take one after another; one part for one thread.

    work      multiplications  of a row
    together  rows             that must stay in one part
    """
    threads = count_threads(threads)
    runs = -(-M // together)
    most = PARTS * threads if threads > 1 else 1
    count = max(1, min(most, runs, work * M // SMALLEST_SHARE))
    edges = [min(M, runs * i // count * together) for i in range(count + 1)]
    return [slice(edges[i], edges[i + 1]) for i in range(count)]


def run_parts(
    run: Callable[[slice], Result], parts: list[slice], threads: int | None
) -> list[Result]:
    """Run a function of each part, started in their order, on as many threads."""
    threads = min(count_threads(threads), len(parts))
    if threads == 1:
        return [run(part) for part in parts]
    with ThreadPoolExecutor(threads, "minisbert") as pool:
        return list(pool.map(run, parts))


@contextmanager
def two_threads(threads: int) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Yield a function that runs two functions and returns both results.

    With one thread it runs them in turn, with more side by side.
    """
    if threads == 1:
        yield lambda first, second: (first(), second())
        return
    with ThreadPoolExecutor(1, "minisbert") as pool:

        def run_both(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
            waiting = pool.submit(second)
            return first(), waiting.result()

        yield run_both
