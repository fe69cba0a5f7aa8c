"""The k best rows for each query by dot product, exactly: the one owner of the C library.

csrc/topk.h says what a score is, to the last bit, and what the order is. Below the calls into C
stands their NumPy twin, with the same bits: it serves where no compiler was, and tests the kernels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from minisbert.network.ragged import Array

try:
    from minisbert._topk import ffi, lib
except ImportError:
    ffi = lib = None

Result = TypeVar("Result")

LANES = 16

# Rows that the twin works on at a time: their 16 lanes stay in cache.
TWIN_ROWS = 1024

# Fewer multiplications than this are done before a second thread has started.
SMALLEST_SHARE = 1 << 21

# Parts for each thread: whichever is done with one takes the next, since cores are seldom equally
# quick at every moment. A scan of a million rows on two cores gains a twentieth.
PARTS = 8

# Kernel names by number in csrc/topk.h; "numpy" is the twin.
KERNELS = {"avx512vnni": 4, "avx512": 2, "avx2": 1, "neondot": 5, "neon": 3, "scalar": 0}


def kernel_name() -> str:
    """The kernel in use: the widest that this machine runs, or the one MINISBERT_SIMD names.

    Raises ValueError if MINISBERT_SIMD names one that this machine can't run.
    """
    runs = [name for name, number in KERNELS.items() if supports("minisbert_supports", number)]
    runs.append("numpy")
    wanted = os.environ.get("MINISBERT_SIMD") or runs[0]
    if wanted not in runs:
        raise ValueError(
            f"MINISBERT_SIMD must be one of {', '.join(runs)} on this machine, got {wanted!r}; "
            "unset it to let minisbert choose"
        )
    return wanted


def topk(
    queries: ArrayLike, rows: ArrayLike, k: int, threads: int | None = None
) -> tuple[Array, Array]:
    """Find the k rows with the largest dot product for each query.

    Parameters
    ----------
    queries : (Q, D) array
    rows : (M, D) array
        Aligned float32 in row order is read where it lies, a memory map too; anything else is
        converted, which takes a copy.
    k : int
    threads : int
        Cores to share the rows out to; all that the process may use if left out.

    Returns
    -------
    scores : (Q, min(k, M)) float32 array, best first
    ids : (Q, min(k, M)) int64 array of row numbers
        Equal scores stand in the order of their rows, scores that are not a number last.

    Raises
    ------
    ValueError
        If k is below 1, or the shapes don't fit.

    Examples
    --------
    >>> scores, ids = topk([[1, 0]], [[3, 4], [5, 0], [3, 9]], k=2)
    >>> scores.tolist(), ids.tolist()
    ([[5.0, 3.0]], [[1, 0]])
    """
    queries, rows = _read_matrix("queries", queries), _read_matrix("rows", rows)
    if queries.shape[1] != rows.shape[1]:
        raise ValueError(
            f"queries must have the width of the rows, {rows.shape[1]}, got {queries.shape[1]}; "
            "encode both with the same model"
        )
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(
            f"k must be a whole number of 1 or more, got {k!r}; ask for one result or more"
        )
    kernel = kernel_name()
    scan = topk_numpy if kernel == "numpy" else _make_scan(KERNELS[kernel])
    found = run_parts(
        lambda part: scan(queries, rows[part], int(k), part.start),
        share_out(len(rows), queries.size, threads),
        threads,
    )
    if len(found) == 1:
        return found[0]
    scores, ids = (np.concatenate(column, axis=1) for column in zip(*found, strict=True))
    return take_best(scores, ids, int(k))


def pair_dots(a: ArrayLike, b: ArrayLike) -> Array:
    """The canonical dot product of row i of `a` with row i of `b`.  (M, D), (M, D) -> (M,)"""
    a, b = _read_matrix("a", a), _read_matrix("b", b)
    if a.shape != b.shape:
        raise ValueError(
            f"a and b must have one shape, got {a.shape} and {b.shape}; pair each row with one"
        )
    kernel = kernel_name()
    if kernel == "numpy":
        return _dot_pairs_numpy(a, b)
    M, D = a.shape
    scores = np.empty(M, np.float32)
    call("minisbert_pair_dots", KERNELS[kernel], a, b, M, D, scores)
    return scores


def topk_numpy(queries: Array, rows: Array, k: int, first_id: int = 0) -> tuple[Array, Array]:
    """The twin of minisbert_topk in csrc/topk.h.  (Q, D), (M, D) -> (Q, min(k, M)) twice"""
    Q, M = len(queries), len(rows)
    scores = np.empty((Q, min(k, M)), np.float32)
    ids = np.empty((Q, min(k, M)), np.int64)
    numbers = np.arange(first_id, first_id + M, dtype=np.int64)
    for query in range(Q):
        dots = np.empty(M, np.float32)
        for start in range(0, M, TWIN_ROWS):
            block = rows[start : start + TWIN_ROWS]
            dots[start : start + TWIN_ROWS] = _dot_pairs_numpy(block, queries[query : query + 1])
        scores[query], ids[query] = take_best(dots, numbers, k)
    return scores, ids


def _dot_pairs_numpy(a: Array, b: Array) -> Array:
    """Canonical dot products: element i goes to lane i mod 16, then 8 + 8, 4 + 4, 2 + 2, 1 + 1.

    a  (M, D)            rows
    b  (M, D) or (1, D)  rows, or one for all
    """
    M, D = a.shape
    lanes = np.zeros((M, LANES), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, D, LANES):
            product = a[:, start : start + LANES] * b[:, start : start + LANES]
            lanes[:, : product.shape[1]] += product
        width = LANES
        while width > 1:
            width //= 2
            lanes = lanes[:, :width] + lanes[:, width:]
    dots: Array = lanes[:, 0]
    return dots


def take_best(scores: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """Sort candidates into the total order and keep k.  (..., n) -> (..., min(k, n)) twice"""
    # The last key counts most. NumPy puts NaN behind all numbers and takes one NaN for another's
    # equal, which is the order that topk.h defines.
    order = np.lexsort((ids, -scores), axis=-1)[..., :k]
    return np.take_along_axis(scores, order, -1), np.take_along_axis(ids, order, -1)


def share_out(M: int, work: int, threads: int | None, together: int = 1) -> list[slice]:
    """Cut M rows into parts for threads to take one after another; one part for one thread.

    work      multiplications  of a row
    together  rows             that must stay in one part
    """
    threads = count_cores(threads)
    runs = -(-M // together)
    most = PARTS * threads if threads > 1 else 1
    count = max(1, min(most, runs, work * M // SMALLEST_SHARE))
    edges = [min(M, runs * i // count * together) for i in range(count + 1)]
    return [slice(edges[i], edges[i + 1]) for i in range(count)]


def run_parts(
    run: Callable[[slice], Result], parts: list[slice], threads: int | None
) -> list[Result]:
    """Run a function of each part, started in their order, on as many threads."""
    threads = min(count_cores(threads), len(parts))
    if threads == 1:
        return [run(part) for part in parts]
    with ThreadPoolExecutor(threads, "minisbert") as pool:
        return list(pool.map(run, parts))


def count_cores(threads: int | None) -> int:
    """As many threads as asked for, or one for each core of this process."""
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        threads = threads or os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(
            f"threads must be a whole number of 1 or more, got {threads!r}; "
            "leave it out to use every core"
        )
    return threads


def _make_scan(kernel: int) -> Callable[[Array, Array, int, int], tuple[Array, Array]]:
    """A kernel's scan as a Python function; it runs without the interpreter's lock."""

    def scan(queries: Array, rows: Array, k: int, first_id: int) -> tuple[Array, Array]:
        Q, D = queries.shape
        M = len(rows)
        scores = np.empty((Q, min(k, M)), np.float32)
        ids = np.empty((Q, min(k, M)), np.int64)
        call("minisbert_topk", kernel, queries, Q, rows, M, D, min(k, M), first_id, scores, ids)
        return scores, ids

    return scan


# The types of arrays as csrc/topk.h names them; blocks of codes are bytes.
POINTERS = {
    "f4": "float *",
    "f8": "double *",
    "i8": "int64_t *",
    "i4": "int32_t *",
    "i1": "int8_t *",
}


def supports(question: str, kernel: int) -> bool:
    """Whether there is a C library that can run a kernel here, as this function of it answers."""
    return lib is not None and getattr(lib, question)(kernel) == 1


def call(function: str, *arguments: Any) -> None:
    """Call a function of the C library that returns a status; arrays go in by their addresses."""
    status = getattr(lib, function)(
        *(
            ffi.cast(POINTERS.get(argument.dtype.str[1:], "uint8_t *"), argument.ctypes.data)
            if isinstance(argument, np.ndarray)
            else argument
            for argument in arguments
        )
    )
    if status != lib.MINISBERT_OK:
        raise RuntimeError(f"{function} failed with status {status}")


def _read_matrix(name: str, values: ArrayLike) -> Array:
    """Aligned rows of float32, one after another in memory: no copy of values that are so."""
    array = np.require(values, np.float32, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be rows of vectors, (n, D), got shape {array.shape}; "
            "put a single vector in brackets"
        )
    return array
