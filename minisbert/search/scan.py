"""The k best rows for each query by dot product, exactly: by a kernel, on several threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_whole_number, read_numbers
from minisbert.arrays import Array
from minisbert.search.kernel import call_pair_dots, call_topk, choose_function
from minisbert.search.topk import pair_dots_numpy, take_best, topk_numpy
from minisbert.system.threads import run_parts


def topk(
    queries: ArrayLike, rows: ArrayLike, k: int, threads: int | None = None
) -> tuple[Array, Array]:
    """Return the k rows with the largest dot product for each query.

    Parameters
    ----------
    queries : (Q, D) array
    rows : (M, D) array
        Aligned float32 in row order is read in place, also from a memory map; anything else is
        converted, which takes a copy.
    k : int
        1 or more; from the number of rows on, all rows are returned.
    threads : int, optional
        Threads that share the rows; by default as many as the process has cores.

    Returns
    -------
    scores : (Q, min(k, M)) float32 array, best first
    ids : (Q, min(k, M)) int64 array of row numbers
        Ties are in the order of their rows; scores that are NaN come last.

    Raises
    ------
    ValueError
        If k or threads is below 1, or the shapes don't fit.

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
    k = check_whole_number("k", k, remedy="ask for one result or more")
    scan = choose_function(call_topk, topk_numpy)
    return scan_parts(scan, queries, rows, k=k, threads=threads, take=take_best)


def pair_dots(a: ArrayLike, b: ArrayLike) -> Array:
    """Return the canonical dot product of each row of a with its row of b.

    a, b  (M, D)
    out   (M,)    float32
    """
    a, b = _read_matrix("a", a), _read_matrix("b", b)
    if a.shape != b.shape:
        raise ValueError(
            f"a and b must have the same shape, got {a.shape} and {b.shape}; pair each row with one"
        )
    return choose_function(call_pair_dots, pair_dots_numpy)(a, b)


def scan_parts(
    scan: Callable[..., tuple[Array, Array]],
    queries: Array,
    rows: Array,
    *,
    k: int,
    threads: int | None,
    take: Callable[[Array, Array, int], tuple[Array, Array]],
) -> tuple[Array, Array]:
    """Scan parts of the rows on several threads and take the k best of what they find.

    scan     the kernel, or its NumPy fallback
    queries  (Q, D), or codes (Q, W)
    rows     (M, D), or codes (M, W)
    take     (Q, n), (Q, n), k -> (Q, min(k, n)) twice: the k best of the parts' results
    """
    found = run_parts(
        lambda part: scan(queries, rows[part], k, first_id=part.start),
        len(rows),
        work=queries.size,
        threads=threads,
    )
    if len(found) == 1:
        return found[0]
    values, ids = (np.concatenate(column, axis=1) for column in zip(*found, strict=True))
    return take(values, ids, k)


def _read_matrix(name: str, values: ArrayLike) -> Array:
    """Return values as rows of float32, contiguous and aligned; no copy if they are already."""
    numbers = read_numbers(values, name)
    array = np.require(numbers, np.float32, ["C_CONTIGUOUS", "ALIGNED", "ENSUREARRAY"])
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be rows of vectors, (n, D), got shape {array.shape}; "
            "put a single vector in brackets"
        )
    return array
