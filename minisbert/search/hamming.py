"""The k nearest binary codes for each query by Hamming distance.

The answer is exact for the codes, but approximate for the embeddings that they were made from:
`binary_index` re-ranks the nearest codes by their embeddings, and measures the recall.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_whole_number
from minisbert.arrays import Array
from minisbert.search.kernel import call_hamming_topk, choose_function
from minisbert.search.scan import scan_parts
from minisbert.search.topk import CACHED_ROWS, take_best

# The number of bits that are set in each byte.
BIT_COUNTS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)


def hamming_topk(
    queries: ArrayLike, codes: ArrayLike, k: int, threads: int | None = None
) -> tuple[Array, Array]:
    """Return the k codes that differ in the fewest bits from each query.

    Parameters
    ----------
    queries : (Q, W) uint8 array
        Eight bits in a byte, as `quantize_embeddings(..., "ubinary")` packs them.
    codes : (M, W) uint8 array
    k : int
    threads : int, optional
        Threads that share the codes; by default as many as the process has cores.

    Returns
    -------
    distances : (Q, min(k, M)) int32 array, nearest first
    ids : (Q, min(k, M)) int64 array of row numbers
        Ties are in the order of their rows.

    Raises
    ------
    ValueError
        If k or threads is below 1, or queries and codes are not rows of bytes of one width.

    Examples
    --------
    >>> codes = np.array([[0b1111], [0b0001], [0b0110]], np.uint8)
    >>> distances, ids = hamming_topk(np.array([[0b0011]], np.uint8), codes, k=2)
    >>> distances.tolist(), ids.tolist()
    ([[1, 2]], [[1, 0]])
    """
    queries, codes = read_codes("queries", queries), read_codes("codes", codes)
    if queries.shape[1] != codes.shape[1]:
        raise ValueError(
            f"queries must have the width of the codes, {codes.shape[1]} bytes, got "
            f"{queries.shape[1]}; encode both with the same model"
        )
    k = check_whole_number("k", k, remedy="ask for one result or more")
    scan = choose_function(call_hamming_topk, hamming_numpy)
    return scan_parts(scan, queries, codes, k=k, threads=threads, take=_take_nearest)


def hamming_numpy(
    queries: Array, codes: Array, k: int, *, first_id: int = 0
) -> tuple[Array, Array]:
    """Return what minisbert_hamming_topk returns.  (Q, W), (M, W) -> (Q, min(k, M)) twice"""
    Q, M = len(queries), len(codes)
    distances = np.empty((Q, M), np.int32)
    for start in range(0, M, CACHED_ROWS):
        block = codes[start : start + CACHED_ROWS]
        for query in range(Q):
            bits = BIT_COUNTS[block ^ queries[query]]
            distances[query, start : start + CACHED_ROWS] = bits.sum(axis=1)
    ids = np.arange(first_id, first_id + M, dtype=np.int64)
    return _take_nearest(distances, np.broadcast_to(ids, (Q, M)), k)


def _take_nearest(distances: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """Keep the k smallest distances, of ties the lower id.  (Q, n) -> (Q, min(k, n)) twice"""
    scores, ids = take_best(-distances, ids, k)
    return -scores, ids


def read_codes(name: str, values: ArrayLike) -> Array:
    """Return values as contiguous rows of bytes; no copy if they are already."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype != np.uint8:
        raise ValueError(
            f"{name} must be rows of bytes, (n, W) of uint8, got shape {array.shape} of "
            f'{array.dtype}; make them by quantize_embeddings(..., "ubinary")'
        )
    return np.ascontiguousarray(array)
