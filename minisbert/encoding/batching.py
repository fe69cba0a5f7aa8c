"""Which texts go through the network together, and on which threads.

Two Python threads, each with its own batch and BLAS at one thread, run 1.3 to 1.6 times as fast as
one batch with BLAS at two threads: attention, GELU and norms then use both cores as well.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from minisbert.network.ragged import Array

# About 2,000 tokens make the matrix products large enough for full speed; more only costs memory.
# A batch may be a text longer or shorter.
TOKEN_BUDGET = 2048
# Less work than a budget for each thread is shared out, in pieces no smaller than this.
SMALLEST_SHARE = 128

Result = TypeVar("Result")


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


def plan_batches(lengths: Array, threads: int = 1, batch_size: int | None = None) -> list[Array]:
    """Sort texts by token count, longest first, and cut the row into batches of equal work.

    lengths     (B,)   tokens of each text
    batch_size  texts  at most in a batch
    out         list   of arrays of indices, together each text once
    """
    if not len(lengths):
        return []
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    # As many batches for one thread as for another, or one would wait for the other's last.
    count = threads * -(-int(ends[-1]) // (TOKEN_BUDGET * threads))
    count = max(1, min(count, int(ends[-1]) // SMALLEST_SHARE))
    cuts = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)
    return [
        batch[start : start + (batch_size or len(batch))]
        for batch in np.split(order, cuts)
        for start in range(0, len(batch), batch_size or len(batch) or 1)
    ]


def keep_freed_memory() -> None:
    """Stop the allocator from handing every batch's arrays back to the kernel.

    glibc returns large freed blocks at once, and faulting them in again takes 10 % of an encode.
    Freeing one array just below 32 MiB raises its threshold (mallopt(3), under M_MMAP_THRESHOLD).
    Other allocators take no notice.
    """
    np.empty(31 << 20, np.uint8)


def run_batches(
    function: Callable[[Array], Result],
    batches: Sequence[Array],
    threads: int,
    report: Callable[[int], Any] | None = None,
) -> Iterator[tuple[Array, Result]]:
    """Apply a function to each batch on several threads; yield (batch, result) in order.

    `report` is told the number of texts of each batch when it is done.
    A single batch runs in the calling thread, with BLAS at all threads instead.
    """
    workers = min(threads, len(batches))
    if workers <= 1:
        with limit_blas(threads):
            for batch in batches:
                yield batch, function(batch)
                if report:
                    report(len(batch))
        return
    with limit_blas(1), ThreadPoolExecutor(workers, "minisbert") as pool:
        futures = [pool.submit(function, batch) for batch in batches]
        try:
            for batch, future in zip(batches, futures, strict=True):
                yield batch, future.result()
                if report:
                    report(len(batch))
        finally:
            for future in futures:
                future.cancel()


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
