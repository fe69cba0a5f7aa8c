"""What a score is, and in which order rows are returned: the specification, in NumPy.

Adding the same float32 numbers in another order gives another sum in the last bits. So that a score
is the same on every machine, one order is fixed: the *canonical dot product*. The C kernels
(csrc/topk.c) return the same bits with wide registers and many threads; these functions test them,
and serve where nothing was compiled.
"""

from __future__ import annotations

import numpy as np

from minisbert.arrays import Array

# Partial sums of a dot product: as many as the widest register in use has float32 numbers.
LANES = 16

# Rows scored at a time: their lanes stay in cache.
CACHED_ROWS = 1024


def topk_numpy(queries: Array, rows: Array, k: int, *, first_id: int = 0) -> tuple[Array, Array]:
    """Return the scores and ids of the k best rows for each query.

    queries   (Q, D)          float32
    rows      (M, D)          float32
    first_id                  the id of the first row; the others count on from it
    out       (Q, min(k, M))  twice: scores, float32, and ids, int64

    Sums of small whole numbers are exact in any order:

    >>> rows = np.array([[3, 4], [5, 0], [3, 9]], np.float32)
    >>> scores, ids = topk_numpy(np.array([[1, 0]], np.float32), rows, k=3)
    >>> scores.tolist(), ids.tolist()  # rows 0 and 2 are a tie
    ([[5.0, 3.0, 3.0]], [[1, 0, 2]])
    """
    Q, M = len(queries), len(rows)
    scores = np.empty((Q, min(k, M)), np.float32)
    ids = np.empty((Q, min(k, M)), np.int64)
    row_ids = np.arange(first_id, first_id + M, dtype=np.int64)
    for query in range(Q):
        dots = np.empty(M, np.float32)
        for start in range(0, M, CACHED_ROWS):
            block = rows[start : start + CACHED_ROWS]
            dots[start : start + CACHED_ROWS] = dot_pairs_numpy(block, queries[query : query + 1])
        scores[query], ids[query] = take_best(dots, row_ids, k)
    return scores, ids


def dot_pairs_numpy(a: Array, b: Array) -> Array:
    """Return the canonical dot product of each row of a with its row of b.

    a    (M, D)            float32
    b    (M, D) or (1, D)  float32; one row serves all of a
    out  (M,)              float32

    The product of elements i is added to lane i mod 16; each product and each sum is rounded to
    float32. At the end lanes are added in pairs: j and j + 8, then j + 4, then j + 2, then j + 1.

    In float32, 2^24 + 1 rounds to 2^24. Of the 34 products below, lane 0 adds 2^24, 1 and -2^24,
    and loses the 1; lane 1 keeps its 1 until the end. The exact sum would be 2:

    >>> a = np.zeros((1, 34), np.float32)
    >>> a[0, [0, 16, 17, 32]] = 2.0**24, 1, 1, -(2.0**24)
    >>> dot_pairs_numpy(a, np.ones((1, 34), np.float32)).tolist()
    [1.0]
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
    """Sort by the total order and keep the first k.  (..., n), (..., n) -> (..., min(k, n)) twice

    The higher score comes first, of equal scores the lower id. NaN comes after every number.

    >>> scores, ids = take_best(np.array([1, np.nan, 2, 1]), np.array([7, 6, 5, 4]), k=3)
    >>> scores.tolist(), ids.tolist()
    ([2.0, 1.0, 1.0], [5, 4, 7])
    """
    # lexsort takes the most important key last. NumPy sorts NaN behind all numbers, and one NaN
    # equals another, as the order demands.
    order = np.lexsort((ids, -scores), axis=-1)[..., :k]
    return np.take_along_axis(scores, order, -1), np.take_along_axis(ids, order, -1)
