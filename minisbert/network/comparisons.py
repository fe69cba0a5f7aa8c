"""All similarities by name: all against all, `(A, B)`, and pairwise, `(A,)`.

A larger number always means more similar, so distances are negated. Each function returns a tensor
if it is given one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_choice, read_numbers
from minisbert.arrays import Array
from minisbert.network import similarity
from minisbert.network.similarity import match_widths, normalize_forward
from minisbert.system.tensors import keep_kind


@functools.wraps(similarity.cosine_similarity)
def _cosine_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    return similarity.cosine_similarity(*_read_rows(a, b))


cosine_similarity = keep_kind(_cosine_similarity)
cosine_similarity.__module__ = __name__  # where pickle looks for it


@keep_kind
def dot_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the dot product of all rows; shapes as `cosine_similarity`."""
    a, b = _read_rows(a, b)
    return a @ b.T


@keep_kind
def euclidean_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the negative Euclidean distance of all rows; shapes as `cosine_similarity`."""
    return -_measure_all(a, b, lambda difference: np.sqrt((difference * difference).sum(axis=-1)))


@keep_kind
def manhattan_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the negative Manhattan distance of all rows; shapes as `cosine_similarity`."""
    return -_measure_all(a, b, lambda difference: np.abs(difference).sum(axis=-1))


@keep_kind
def pairwise_cosine_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the cosine of row i of `a` with row i of `b`.  (A, D), (A, D) -> (A,)"""
    a, b = _match_rows(a, b)
    return _multiply_pairs(normalize_forward(a), normalize_forward(b))


@keep_kind
def pairwise_dot_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the dot product of row i of `a` with row i of `b`.  (A, D), (A, D) -> (A,)"""
    return _multiply_pairs(*_match_rows(a, b))


@keep_kind
def pairwise_euclidean_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the negative Euclidean distance of row i and row i.  (A, D), (A, D) -> (A,)"""
    a, b = _match_rows(a, b)
    return -np.sqrt(_multiply_pairs(a - b, a - b))


@keep_kind
def pairwise_manhattan_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the negative Manhattan distance of row i and row i.  (A, D), (A, D) -> (A,)"""
    a, b = _match_rows(a, b)
    return -np.abs(a - b).sum(axis=1)


@keep_kind
def pairwise_angle_similarity(x: ArrayLike, y: ArrayLike) -> Array:
    """Compute the similarity of AnglE (Li & Li 2023) of row i and row i.  (A, D), (A, D) -> (A,)

    The first half of a vector is read as the real parts of complex numbers, the second half as the
    imaginary parts; an odd width is filled up with a 0. For vectors x and y of length 1 it is
    |Re q + Im q|, where q is the sum of x_i times the conjugate of y_i.
    """
    sides = []
    for rows in map(normalize_forward, _match_rows(x, y)):
        half = -(-rows.shape[1] // 2)
        imaginary = np.zeros_like(rows[:, :half])
        imaginary[:, : rows.shape[1] - half] = rows[:, half:]
        sides.append((rows[:, :half], imaginary))
    (x, x_imaginary), (y, y_imaginary) = sides
    real = _multiply_pairs(x, y) + _multiply_pairs(x_imaginary, y_imaginary)
    return np.abs(real + _multiply_pairs(x_imaginary, y) - _multiply_pairs(x, y_imaginary))


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


class SimilarityFunction(Enum):
    """The similarities that a model can have: members serve wherever their names do."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"

    @staticmethod
    def to_similarity_fn(
        similarity_function: str | SimilarityFunction,
    ) -> Callable[[ArrayLike, ArrayLike], Array]:
        """Return the function that compares all rows with all rows; ValueError for another name."""
        return SIMILARITIES[name_similarity(similarity_function)]

    @staticmethod
    def to_similarity_pairwise_fn(
        similarity_function: str | SimilarityFunction,
    ) -> Callable[[ArrayLike, ArrayLike], Array]:
        """Return the function that compares row i with row i; ValueError for another name."""
        return PAIRWISE_SIMILARITIES[name_similarity(similarity_function)]

    @staticmethod
    def possible_values() -> list[str]:
        """Return the names of the similarities."""
        return list(SIMILARITIES)


def name_similarity(similarity_function: object) -> str:
    """Return the name of a similarity, given by name or as a member of an enumeration.

    Members of sentence-transformers' own enumeration are accepted too.

    Raises ValueError for anything else.
    """
    name = similarity_function
    if isinstance(similarity_function, Enum):
        name = similarity_function.value
    remedy = "leave it out for the model's own"
    return check_choice("similarity_fn_name", name, SIMILARITIES, remedy=remedy)


def _read_rows(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Return two sets of real numbers as rows of one width."""
    return match_widths(read_numbers(a, "a"), read_numbers(b, "b"))


def _match_rows(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Check that two sets of embeddings match row for row."""
    a, b = _read_rows(a, b)
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
    a, b = _read_rows(a, b)
    distances = np.empty((len(a), len(b)), np.result_type(a, b))
    for i, row in enumerate(a):
        distances[i] = measure(row - b)
    return distances
