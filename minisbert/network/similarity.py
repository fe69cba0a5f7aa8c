"""Similarity of embeddings: the cosine, and the scaling to length 1 that makes it a dot product.

`comparisons.py` has the others, and all of them by name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array, Cache

# The least number to divide by, as in sentence-transformers, so that a zero vector stays zero.
SMALLEST_NORM = 1e-12


class NormalizeCache(NamedTuple):
    """The rows of length 1 (N, D), and the lengths that they had (N, 1)."""

    scaled: Array
    norms: Array


def normalize_forward(x: Array, *, cache: Cache = None) -> Array:
    """Scale rows to length 1; a zero row stays zero, an infinite one is NaN.  (N, D) -> (N, D)"""
    norms = np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]  # (N, 1)
    if np.isinf(norms).any() and x.dtype != np.float64:  # squares that float32 can't hold
        return normalize_forward(x.astype(np.float64), cache=cache).astype(x.dtype)
    scaled = x / np.where(np.isinf(norms), np.nan, np.maximum(norms, SMALLEST_NORM))
    if cache is not None:
        cache.append(NormalizeCache(scaled, norms))
    return scaled


def normalize_backward(dout: Array, cache: list[Any]) -> Array:
    """Compute dx = (dout - y (dout · y)) / |x|.  (N, D) -> (N, D)

    The part of dout along y is removed, since y does not depend on the length of x. The gradient of
    a zero row, which has no direction, is defined as 0.
    """
    scaled, norms = cache.pop()
    along = np.einsum("nd,nd->n", dout, scaled)[:, None]  # (N, 1)
    dx = (dout - scaled * along) / np.maximum(norms, SMALLEST_NORM)
    dx[norms[:, 0] < SMALLEST_NORM] = 0
    return dx


def cosine_similarity(a: ArrayLike, b: ArrayLike) -> Array:
    """Compute the cosine of every row of `a` with every row of `b`.

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
    a, b = match_widths(a, b)
    return normalize_forward(a) @ normalize_forward(b).T


def match_widths(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Return two sets of embeddings as rows of one width; a single vector becomes one row."""
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
