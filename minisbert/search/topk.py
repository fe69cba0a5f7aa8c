"""The specification of search, in NumPy: the score of a row, and the order of rows.

A float32 sum depends on the order of adding. One order is fixed here, the canonical dot product, so
that a score has the same bits on every machine. The C kernels (csrc/topk.c) return these bits with
wide registers; the functions below test them, and replace them where nothing was compiled.
"""

from __future__ import annotations

import numpy as np

from minisbert.arrays import Array

LANES = 16  # partial sums of a dot product: float32 numbers in the widest register in use
CACHED_ROWS = 1024  # rows scored at a time: their lanes stay in cache


def topk_numpy(queries: Array, rows: Array, k: int, *, first_id: int = 0) -> tuple[Array, Array]:
    """Return scores and ids of the k best rows.  (Q, D), (M, D) float32 -> (Q, min(k, M)) twice

    >>> rows = np.array([[3, 4], [5, 0], [3, 9]], np.float32)
    >>> [part.tolist() for part in topk_numpy(np.array([[1, 0]], np.float32), rows, k=3)]
    [[[5.0, 3.0, 3.0]], [[1, 0, 2]]]
    """
    Q, M = len(queries), len(rows)
    scores = np.empty((Q, min(k, M)), np.float32)
    ids = np.empty((Q, min(k, M)), np.int64)
    row_ids = np.arange(first_id, first_id + M, dtype=np.int64)
    for query in range(Q):
        dots = np.empty(M, np.float32)
        for start in range(0, M, CACHED_ROWS):
            block = rows[start : start + CACHED_ROWS]
            dots[start : start + CACHED_ROWS] = pair_dots_numpy(block, queries[query : query + 1])
        scores[query], ids[query] = take_best(dots, row_ids, k)
    return scores, ids


def pair_dots_numpy(a: Array, b: Array) -> Array:
    """Return canonical dot products: (M, D) with (M, D), or with one row (1, D) for all -> (M,)

    The product of elements i is added to lane i mod 16; each product and each sum is rounded to
    float32. At the end lanes are added in pairs: j and j + 8, then j + 4, then j + 2, then j + 1.
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
    return lanes[:, 0]


def take_best(scores: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """Return the k best, in order.  (..., n), (..., n) -> (..., min(k, n)) twice

    The higher score comes first, of equal scores the lower id; NaN comes after every number.
    """
    # lexsort takes the main key last, sorts NaN behind all numbers, and takes two NaN for equal.
    order = np.lexsort((ids, -scores), axis=-1)[..., :k]
    return np.take_along_axis(scores, order, -1), np.take_along_axis(ids, order, -1)
