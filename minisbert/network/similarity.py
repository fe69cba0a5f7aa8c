"""How alike two embeddings are: cosine, dot product, and the two distances, negated.

All against all gives `(A, B)`, pairwise gives `(A,)`. A larger number always means more alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array, Cache

# sentence-transformers' guard against division by zero: a zero vector stays zero.
SMALLEST_NORM = 1e-12


def normalize_forward(x: Array, cache: Cache = None) -> Array:
    """Scale rows to length 1; a zero row stays zero.  (N, D) -> (N, D)"""
    norms = np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]  # (N, 1)
    scaled: Array = x / np.maximum(norms, SMALLEST_NORM)
    if cache is not None:
        cache.append((scaled, norms))
    return scaled


def normalize_backward(dout: Array, cache: list[Any]) -> Array:
    """dx = (dout - y (dout y)) / |x|: what points along the row can't change its direction.

    A zero row has no direction; its gradient is 0.  (N, D) -> (N, D)
    """
    scaled, norms = cache.pop()
    along = np.einsum("nd,nd->n", dout, scaled)[:, None]  # (N, 1)
    dx: Array = (dout - scaled * along) / np.maximum(norms, SMALLEST_NORM)
    dx[norms[:, 0] < SMALLEST_NORM] = 0
    return dx


def cosine_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Cosine of every row of `a` with every row of `b`.

    Parameters
    ----------
    a : (A, D) or (D,) array
    b : (B, D) or (D,) array

    Returns
    -------
    (A, B) array
        Between -1 and 1 up to rounding; 0 where either vector is zero.

    Raises
    ------
    ValueError
        If the widths differ or an input is not one or two-dimensional.

    Examples
    --------
    >>> cosine_similarity([[3, 4], [0, 0]], [3, 4]).tolist()
    [[1.0], [0.0]]
    """
    a, b = read_rows(a, b)
    similarity: Array = normalize_forward(a) @ normalize_forward(b).T
    return similarity


def dot_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Dot product of every row of `a` with every row of `b`; shapes as `cosine_similarity`."""
    a, b = read_rows(a, b)
    similarity: Array = a @ b.T
    return similarity


def euclidean_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Negative Euclidean distance of every two rows; shapes as `cosine_similarity`."""
    return -_measure_all(a, b, lambda difference: np.sqrt((difference * difference).sum(axis=-1)))


def manhattan_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Negative sum of absolute differences of every two rows; shapes as `cosine_similarity`."""
    return -_measure_all(a, b, lambda difference: np.abs(difference).sum(axis=-1))


def pairwise_cosine_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Cosine of row i of `a` with row i of `b`.  (A, D), (A, D) -> (A,)"""
    a, b = read_pairs(a, b)
    return _multiply_pairs(normalize_forward(a), normalize_forward(b))


def pairwise_dot_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Dot product of row i of `a` with row i of `b`.  (A, D), (A, D) -> (A,)"""
    return _multiply_pairs(*read_pairs(a, b))


def pairwise_euclidean_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Negative Euclidean distance of row i from row i.  (A, D), (A, D) -> (A,)"""
    a, b = read_pairs(a, b)
    return -np.sqrt(_multiply_pairs(a - b, a - b))


def pairwise_manhattan_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Negative sum of absolute differences of row i and row i.  (A, D), (A, D) -> (A,)"""
    a, b = read_pairs(a, b)
    similarity: Array = -np.abs(a - b).sum(axis=1)
    return similarity


SIMILARITIES: dict[str, Callable[[ArrayLike, ArrayLike], Array]] = {
    "cosine": cosine_similarity,
    "dot": dot_similarity,
    "euclidean": euclidean_similarity,
    "manhattan": manhattan_similarity,
}

PAIRWISE_SIMILARITIES: dict[str, Callable[[ArrayLike, ArrayLike], Array]] = {
    "cosine": pairwise_cosine_similarity,
    "dot": pairwise_dot_similarity,
    "euclidean": pairwise_euclidean_similarity,
    "manhattan": pairwise_manhattan_similarity,
}


def read_rows(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Check two sets of embeddings of one width; a single vector becomes one row."""
    rows = []
    for name, values in (("a", a), ("b", b)):
        array = np.asarray(values)
        if array.ndim not in (1, 2):
            raise ValueError(
                f"{name} must be one vector or rows of vectors, got {array.ndim} dimensions; "
                "pass an array of shape (D,) or (n, D)"
            )
        # Half precision and integers would overflow or round in the products.
        wide = np.result_type(array.dtype, np.float32)
        rows.append(np.atleast_2d(array).astype(wide, copy=False))
    if rows[0].shape[1] != rows[1].shape[1]:
        raise ValueError(
            f"a and b must have the same width, got {rows[0].shape[1]} and {rows[1].shape[1]}; "
            "compare embeddings of one model only"
        )
    return rows[0], rows[1]


def read_pairs(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Check that two sets of embeddings match row for row."""
    a, b = read_rows(a, b)
    if len(a) != len(b):
        raise ValueError(
            f"a and b must have equally many rows, got {len(a)} and {len(b)}; "
            "use the all-against-all form for sets of different size"
        )
    return a, b


def _multiply_pairs(a: Array, b: Array) -> Array:
    """Dot products row by row.  (A, D), (A, D) -> (A,)"""
    products: Array = np.einsum("nd,nd->n", a, b)
    return products


def _measure_all(a: ArrayLike, b: ArrayLike, measure: Callable[[Array], Any]) -> Array:
    """Distances from the differences themselves: |a|² + |b|² - 2ab would cancel for near rows."""
    a, b = read_rows(a, b)
    distances = np.empty((len(a), len(b)), np.result_type(a, b))
    for i, row in enumerate(a):
        distances[i] = measure(row - b)
    return distances
