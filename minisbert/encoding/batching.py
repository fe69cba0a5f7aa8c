"""Divide texts into batches, and run the batches on several threads.

1. Batches hold texts of similar length. Nothing is padded (see `network.ragged`), but attention
   works on groups of equally long texts, and a few large groups are quicker than many small ones.
2. Batches are cut by tokens, not by texts, since the work is in the tokens. Matrix products reach
   full speed from about 2,000 tokens on; larger batches only cost memory.
3. On two cores, two Python threads, each with its own batch and BLAS limited to one thread, run 1.3
   to 1.6 times as fast as one batch at a time with BLAS on two threads: attention, GELU and layer
   norms then use both cores, too. So every thread gets the same number of equally large batches.

Results are written to the rows of their texts, so their order does not depend on the batches. A
result that is not finite is an error here, for all that a network computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from minisbert.arrays import Array
from minisbert.system.blas_limits import limit_blas
from minisbert.system.progress import progress_bar
from minisbert.system.regular_files import shorten_path
from minisbert.system.threads import Result, keep_freed_memory, make_thread_pool

# The number of tokens in a batch, give or take one text.
TOKEN_BUDGET = 2048
# A batch of fewer tokens than this is not worth another thread.
_LEAST_TOKENS = 128

# From this many texts on, a progress bar is shown on a terminal by default.
_PROGRESS_BAR_TEXTS = 500


def plan_batches(lengths: Array, threads: int = 1, batch_size: int | None = None) -> list[Array]:
    """Sort texts by token count, longest first, and cut the sequence into batches of equal work.

    lengths     (n,)  tokens of each text
    threads           number of threads that will run the batches
    batch_size        the most texts in a batch; None for no limit
    out               arrays of indices, which together hold each text once
    """
    if not len(lengths):
        return []
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    # The same number of batches for each thread, else all would wait for one with a batch more.
    count = threads * -(-int(ends[-1]) // (TOKEN_BUDGET * threads))
    count = max(1, min(count, int(ends[-1]) // _LEAST_TOKENS))
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
    *,
    advance: Callable[[int], Any] | None = None,
) -> Iterator[tuple[Array, Result]]:
    """Apply a function to each batch on several threads; yield (batch, result) in order.

    A single batch runs in the calling thread, with BLAS on all threads instead.

    function  takes the indices of the texts of a batch
    batches   arrays of such indices
    threads   cores to use
    advance   takes the number of texts of a batch; called when the batch is done
    """
    workers = min(threads, len(batches))
    if workers <= 1:
        with limit_blas(threads):
            for batch in batches:
                yield batch, function(batch)
                if advance:
                    advance(len(batch))
        return
    with limit_blas(1), make_thread_pool(workers) as pool:
        futures = [pool.submit(function, batch) for batch in batches]
        try:
            for batch, future in zip(batches, futures, strict=True):
                yield batch, future.result()
                if advance:
                    advance(len(batch))
        finally:
            for future in futures:
                future.cancel()


def fill_rows(
    rows: Array | list[Array],
    function: Callable[[Array], Iterable[Array]],
    lengths: Array,
    *,
    model: Path,
    threads: int,
    batch_size: int | None = None,
    show_progress_bar: bool | None = None,
) -> None:
    """Write what a function returns for text i into row i, batch by batch.

    rows               n     an array or a list, overwritten
    function                 takes the indices of some texts, returns a row for each of them
    lengths            (n,)  tokens of each text
    model                    directory of the model, to name it in an error
    show_progress_bar        None for a bar only on a terminal, and only for many texts

    Raises FloatingPointError if a result is not finite.
    """

    def run(indices: Array) -> Iterable[Array]:
        # `check_finite` refuses what overflows, so NumPy need not warn of it.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return function(indices)

    keep_freed_memory()
    if show_progress_bar is None and len(lengths) < _PROGRESS_BAR_TEXTS:
        show_progress_bar = False
    batches = plan_batches(lengths, threads, batch_size)
    with progress_bar(len(lengths), show_progress_bar) as advance:
        for indices, values in run_batches(run, batches, threads, advance=advance):
            check_finite(values, indices, model)
            for index, value in zip(indices, values, strict=True):
                rows[index] = value


def check_finite(values: Iterable[Array], indices: Iterable[int], model: Path) -> None:
    """Raise FloatingPointError if a result of the network is NaN or infinite.

    values   a result for each input; an array, or a list of arrays
    indices  of the inputs
    model    directory of the model
    """
    if isinstance(values, np.ndarray) and _is_finite(values):
        return
    found = zip(indices, values, strict=True)
    wrong = [index for index, value in found if not _is_finite(value)]
    if wrong:
        raise FloatingPointError(
            f"the results of the model in {shorten_path(model)} must be finite, got NaN or "
            f"infinity for the input at index {min(wrong)}; its weights are not finite or too "
            "large, so fetch or train it again"
        )


def _is_finite(values: Array) -> bool:
    """Tell whether all numbers are finite: at once if the sum of their squares is, as it mostly is.

    Looking at each number takes five times as long.
    """
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())


def encode_once(
    encode: Callable[..., Array], *columns: Sequence[str], **options: Any
) -> list[Array]:
    """Encode each different text of some columns once.

    encode   takes a list of n texts and the options, returns (n, D)
    columns  lists of texts; a text may be in several of them, and several times in one
    out      for each column an array with a row for each of its texts
    """
    places = {text: place for place, text in enumerate(dict.fromkeys(chain(*columns)))}
    embeddings = encode(list(places), **options)
    return [embeddings[[places[text] for text in column]] for column in columns]
