"""The k nearest binary codes for each query by Hamming distance.

The answer is exact for the codes. For the embeddings that they came from it is approximate:
`binary_index` scores the best of it again, and measures what is missed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array
from minisbert.search.kernel import KERNELS, call, kernel_name, supports
from minisbert.search.topk import TWIN_ROWS
from minisbert.system.threads import run_parts, share_out

# How many bits are set in each byte.
BIT_COUNTS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)


def hamming_topk(
    queries: ArrayLike, codes: ArrayLike, k: int, threads: int | None = None
) -> tuple[Array, Array]:
    """Find the k codes that differ in the fewest bits from each query.

    Parameters
    ----------
    queries : (Q, W) uint8 array
        Eight bits in a byte, as `quantize_embeddings(..., "ubinary")` packs them.
    codes : (M, W) uint8 array
    k : int
    threads : int
        Cores to share the rows out to; all that the process may use if left out.

    Returns
    -------
    distances : (Q, min(k, M)) int32 array, nearest first
    ids : (Q, min(k, M)) int64 array of row numbers
        Equal distances stand in the order of their rows.

    Raises
    ------
    ValueError
        If k is below 1, or the codes are not bytes of one width.

    Examples
    --------
    >>> codes = np.array([[0b1111], [0b0001], [0b1000]], np.uint8)
    >>> distances, ids = hamming_topk(codes[:1], codes, k=2)
    >>> distances.tolist(), ids.tolist()
    ([[0, 3]], [[0, 1]])
    """
    queries, codes = read_codes("queries", queries), read_codes("codes", codes)
    if queries.shape[1] != codes.shape[1]:
        raise ValueError(
            f"queries must have the width of the codes, {codes.shape[1]} bytes, got "
            f"{queries.shape[1]}; encode both with the same model"
        )
    k = operator.index(k)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}; ask for one result or more")
    scan = _choose_scan()
    parts = share_out(len(codes), queries.size, threads)
    found = run_parts(lambda part: scan(queries, codes[part], k, part.start), parts, threads)
    distances, ids = (np.concatenate(column, axis=1) for column in zip(*found, strict=True))
    return _take_nearest(distances, ids, k)


def hamming_numpy(queries: Array, codes: Array, k: int, first_id: int = 0) -> tuple[Array, Array]:
    """The twin of minisbert_hamming_topk in csrc/topk.h.  (Q, W), (M, W) -> (Q, min(k, M)) twice"""
    Q, M = len(queries), len(codes)
    distances = np.empty((Q, M), np.int32)
    for start in range(0, M, TWIN_ROWS):
        block = codes[start : start + TWIN_ROWS]
        for query in range(Q):
            bits = BIT_COUNTS[block ^ queries[query]]
            distances[query, start : start + TWIN_ROWS] = bits.sum(axis=1)
    ids = np.arange(first_id, first_id + M, dtype=np.int64)
    return _take_nearest(distances, np.broadcast_to(ids, (Q, M)), k)


def _take_nearest(distances: Array, ids: Array, k: int) -> tuple[Array, Array]:
    """Keep the k nearest of candidates whose ties stand in order.  (Q, n) -> (Q, min(k, n)) twice

    That holds for parts of the rows, one behind the other: a lower part has the lower numbers.
    """
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(ids, order, 1)


def _choose_scan() -> Callable[[Array, Array, int, int], tuple[Array, Array]]:
    """The kernel that `topk` would use, or the next one where the processor can't count its bits.

    It runs without the interpreter's lock.
    """
    chosen = kernel_name()
    if chosen == "numpy":
        return hamming_numpy
    kernels = list(KERNELS.values())
    kernel = next(
        number
        for number in kernels[kernels.index(KERNELS[chosen]) :]
        if supports("minisbert_hamming_supports", number)
    )

    def scan(queries: Array, codes: Array, k: int, first_id: int) -> tuple[Array, Array]:
        Q, W = queries.shape
        M = len(codes)
        distances = np.empty((Q, min(k, M)), np.int32)
        ids = np.empty((Q, min(k, M)), np.int64)
        call(
            "minisbert_hamming_topk", kernel, queries, Q, codes, M, W, min(k, M), first_id,
            distances, ids,
        )  # fmt: skip
        return distances, ids

    return scan


def read_codes(name: str, values: ArrayLike) -> Array:
    """Rows of bytes, one after another in memory: no copy of values that are so."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype != np.uint8:
        raise ValueError(
            f"{name} must be rows of bytes, (n, W) of uint8, got shape {array.shape} of "
            f'{array.dtype}; make them by quantize_embeddings(..., "ubinary")'
        )
    return np.ascontiguousarray(array)
