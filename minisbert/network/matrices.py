"""Weights that multiply themselves: one method, and a class for each way to carry it out.

The network is written once. What differs between machines is only how a batch is multiplied by a
weight matrix, and what follows the product: bias, then an activation or a residual. So the forward
calls `as_matrix(weight).multiply(...)` and never asks which kind of weight it has. A plain array is
multiplied by BLAS, which is the reference, and what training uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import reduce

import numpy as np

from minisbert.arrays import Array
from minisbert.network.activations import ACTIVATIONS

# BLAS multiplies 1 to 7 rows by other routines than 8 and more, which round differently.
FEWEST_ROWS = 8

# Columns of a tile. OpenBLAS does not pack the operands of products of at most 100^3
# multiplications, and tiles of this width are small enough.
TILE = 64

# OpenBLAS adds up a long product in runs of this length (AVX-512). Equal runs give a text the same
# bits alone as in a batch.
LONGEST_RUN = 448


class Matrix(ABC):
    """A weight (O, I) in whatever form its product needs."""

    def multiply(
        self,
        x: Array,
        bias: Array | None = None,
        *,
        activation: str | None = None,
        residual: Array | None = None,
    ) -> Array:
        """Return x Wᵀ + bias, then the activation of it, then the residual added.

        x           (N, I)
        bias        (O,)     or None
        activation           a key of ACTIVATIONS, or None
        residual    (N, O)   or None
        out         (N, O)   a new array

        A kind whose product can do all of it in one pass over memory overrides this method.
        """
        out = self._multiply_rows(x)
        if bias is not None:
            out += bias
        if activation is not None:
            out = ACTIVATIONS[activation].forward(out, out=out)
        if residual is not None:
            out += residual
        return out

    @abstractmethod
    def _multiply_rows(self, x: Array) -> Array:
        """Return x Wᵀ as a new array.  (N, I) -> (N, O)"""


class BlasMatrix(Matrix):
    """A weight (O, I) as it was loaded, in row or column order."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight

    def _multiply_rows(self, x: Array) -> Array:
        N, I = x.shape  # noqa: E741
        if N >= FEWEST_ROWS:
            return x @ self.weight.T
        padded = np.zeros((FEWEST_ROWS, I), x.dtype)
        padded[:N] = x
        return (padded @ self.weight.T)[:N]


class TiledMatrix(Matrix):
    """A weight (O, I) in tiles, (O / TILE, I, TILE), for products of a few rows.

    Such a product is over before BLAS has packed the matrix for it, which it does at every call.
    Tiles are small enough for the kernels of OpenBLAS that do not pack. One text of 12 tokens: all
    products in 3.3 ms instead of 4.7.
    """

    def __init__(self, weight: Array) -> None:
        O, I = weight.shape  # noqa: E741
        tiles = weight.T.reshape(I, O // TILE, TILE).transpose(1, 0, 2)
        self.tiles = np.ascontiguousarray(tiles)  # (O / TILE, I, TILE)

    def _multiply_rows(self, x: Array) -> Array:
        N, I = x.shape  # noqa: E741
        sums = reduce(np.add, (x[:, run] @ self.tiles[:, run] for run in _cut_runs(I)))
        return sums.transpose(1, 0, 2).reshape(N, len(self.tiles) * TILE)


def as_matrix(weight: Array | Matrix) -> Matrix:
    """Return a weight that multiplies itself: a plain array does so by BLAS."""
    return weight if isinstance(weight, Matrix) else BlasMatrix(weight)


def _cut_runs(I: int) -> Iterator[slice]:  # noqa: E741
    """Cut a sum as OpenBLAS does: whole runs, but the last two nearly equal, in steps of 16."""
    start = 0
    while start < I:
        run = I - start
        if run >= 2 * LONGEST_RUN:
            run = LONGEST_RUN
        elif run > LONGEST_RUN:
            run = -(-run // 32) * 16
        yield slice(start, start + run)
        start += run
