"""Which texts go through the network together, and on which threads.

Two Python threads, each with its own batch and BLAS at one thread, run 1.3 to 1.6 times as fast as
one batch with BLAS at two threads: attention, GELU and norms then use both cores as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from minisbert.arguments import progress_bar
from minisbert.arrays import Array
from minisbert.system.threads import Result, keep_freed_memory, limit_blas

# About 2,000 tokens make the matrix products large enough for full speed; more only costs memory.
# A batch may be a text longer or shorter.
TOKEN_BUDGET = 2048
# Less work than a budget for each thread is shared out, in pieces no smaller than this.
SMALLEST_SHARE = 128


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


def run_texts(
    function: Callable[[Array], Result],
    lengths: Array,
    threads: int,
    batch_size: int | None,
    show_progress_bar: bool | None,
) -> Iterator[tuple[Array, Result]]:
    """Apply a function to texts in batches on several threads, as `run_batches` does, with a bar.

    function  of the indices of some texts
    lengths   (n,)                tokens of each text
    """
    keep_freed_memory()
    if show_progress_bar is None:
        show_progress_bar = len(lengths) >= LONG_WORK and sys.stderr.isatty()
    batches = plan_batches(lengths, threads, batch_size)
    with progress_bar(len(lengths), show_progress_bar) as advance:
        yield from run_batches(function, batches, threads, advance)


# From here on a progress bar is worth showing on a terminal, if nobody said.
LONG_WORK = 500
