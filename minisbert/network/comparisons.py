"""All similarities by name: all against all, `(A, B)`, and pairwise, `(A,)`.

A larger number always means more similar, so distances are negated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array
from minisbert.network.similarity import (
    cosine_similarity,
    match_widths,
    normalize_forward,
)


def dot_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the dot product of all rows; shapes as `cosine_similarity`."""
    a, b = match_widths(a, b)
    return a @ b.T


def euclidean_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the negative Euclidean distance of all rows; shapes as `cosine_similarity`."""
    return -_measure_all(a, b, lambda difference: np.sqrt((difference * difference).sum(axis=-1)))


def manhattan_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the negative Manhattan distance of all rows; shapes as `cosine_similarity`."""
    return -_measure_all(a, b, lambda difference: np.abs(difference).sum(axis=-1))


def pairwise_cosine_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the cosine of row i of `a` with row i of `b`.  (A, D), (A, D) -> (A,)"""
    a, b = _match_rows(a, b)
    return _multiply_pairs(normalize_forward(a), normalize_forward(b))


def pairwise_dot_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the dot product of row i of `a` with row i of `b`.  (A, D), (A, D) -> (A,)"""
    return _multiply_pairs(*_match_rows(a, b))


def pairwise_euclidean_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the negative Euclidean distance of row i and row i.  (A, D), (A, D) -> (A,)"""
    a, b = _match_rows(a, b)
    return -np.sqrt(_multiply_pairs(a - b, a - b))


def pairwise_manhattan_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the negative Manhattan distance of row i and row i.  (A, D), (A, D) -> (A,)"""
    a, b = _match_rows(a, b)
    return -np.abs(a - b).sum(axis=1)


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


def _match_rows(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Check that two sets of embeddings match row for row."""
    a, b = match_widths(a, b)
    if len(a) != len(b):
        raise ValueError(
            f"a and b must have equally many rows, got {len(a)} and {len(b)}; "
            "use the all-against-all form for sets of different size"
        )
    return a, b


def _multiply_pairs(a: Array, b: Array) -> Array:
    """Compute dot products row by row.  (A, D), (A, D) -> (A,)"""
    return np.einsum("nd,nd->n", a, b)


def _measure_all(a: ArrayLike, b: ArrayLike, measure: Callable[[Array], Any]) -> Array:
    """Measure the difference of every two rows; |a|² + |b|² - 2ab would cancel for near rows."""
    a, b = match_widths(a, b)
    distances = np.empty((len(a), len(b)), np.result_type(a, b))
    for i, row in enumerate(a):
        distances[i] = measure(row - b)
    return distances
