"""MPNet's relative position bias: a number for each distance, added to attention scores.

Each head has one learned number for each of 32 buckets of distances, the same in all blocks (Song
et al. 2020, after Raffel et al. 2020, section 2.1). One half of the buckets is for keys at or
before the query, the other for keys after it. Each distance below 8 has a bucket of its own; from
there on each bucket begins at √2 times the distance at which the one before it began, and the last
has no end.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minisbert.arrays import Array

# The least distance of each bucket of one half: 0 to 7, then 8, 12, 16, 23, 32, 46, 64, 91.
STARTS = np.array([*range(8), *(math.ceil(8 * 2 ** (bucket / 2)) for bucket in range(8))])


def find_buckets(offsets: Array) -> Array:
    """Return the bucket of each offset, key position minus query position.  (...) -> (...) int64"""
    buckets = np.searchsorted(STARTS, np.abs(offsets), side="right") - 1
    buckets[offsets > 0] += len(STARTS)
    return buckets


def relative_bias_forward(table: Array, T: int) -> Array:
    """Return the bias of every pair of T tokens; rows are queries, columns are keys.

    table  (32, H)
    out    (H, T, T)   a view: a head has only 2 T - 1 numbers, and each row is a window of them
    """
    numbers = np.ascontiguousarray(table[find_buckets(np.arange(1 - T, T))].T)  # (H, 2 T - 1)
    # The row of query i begins with the number of offset -i, the last query's row with the first.
    return sliding_window_view(numbers, T, axis=1)[:, ::-1]


def relative_bias_backward(dbias: Array) -> Array:
    """Sum the gradients of all pairs that share a number of the table.  (H, T, T) -> (32, H)"""
    positions = np.arange(dbias.shape[1])
    buckets = find_buckets(positions - positions[:, None]).reshape(-1)
    sums = [np.bincount(buckets, head.reshape(-1), 2 * len(STARTS)) for head in dbias]
    return np.stack(sums, axis=1).astype(dbias.dtype)
