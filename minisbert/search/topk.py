"""The k best rows for each query by dot product, exactly: the definition, in NumPy.

csrc/topk.h says what a score is, to the last bit, and what the order is. Below the calls into C
stands their NumPy twin, with the same bits: it serves where no compiler was, and tests the kernels.
"""

from __future__ import annotations

import numpy as np

from minisbert.arrays import Array

LANES = 16

# Rows that the twin works on at a time: their 16 lanes stay in cache.
TWIN_ROWS = 1024


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
            dots[start : start + TWIN_ROWS] = dot_pairs_numpy(block, queries[query : query + 1])
        scores[query], ids[query] = take_best(dots, numbers, k)
    return scores, ids


def dot_pairs_numpy(a: Array, b: Array) -> Array:
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
