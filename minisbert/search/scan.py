"""The k best rows for each query by dot product, exactly: the kernels, on several threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array
from minisbert.search.kernel import KERNELS, call, kernel_name
from minisbert.search.topk import dot_pairs_numpy, take_best, topk_numpy
from minisbert.system.threads import run_parts, share_out


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
        return dot_pairs_numpy(a, b)
    M, D = a.shape
    scores = np.empty(M, np.float32)
    call("minisbert_pair_dots", KERNELS[kernel], a, b, M, D, scores)
    return scores


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


def _read_matrix(name: str, values: ArrayLike) -> Array:
    """Aligned rows of float32, one after another in memory: no copy of values that are so."""
    array = np.require(values, np.float32, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be rows of vectors, (n, D), got shape {array.shape}; "
            "put a single vector in brackets"
        )
    return array
