"""Weight matrices with a method `multiply`, and a class for each way to carry it out.

`multiply` computes the product of a batch and a weight, and what follows it: the bias, then an
activation or a residual. The forward calls `as_matrix(weight).multiply(...)` for any kind of
weight, so the network is written once and each batch can use its fastest product. A plain array is
multiplied by BLAS, which is the reference and is used in training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import reduce

import numpy as np

from minisbert.arrays import Array
from minisbert.network.activations import ACTIVATIONS

# BLAS uses other routines for 1 to 7 rows than for 8 and more, and they round differently.
FEWEST_ROWS = 8

# Columns of a tile. OpenBLAS does not pack the operands of products of at most 100^3
# multiplications, and tiles of this width are small enough.
TILE = 64

# OpenBLAS adds the terms of a long sum in runs of this length (AVX-512). The same runs here give a
# text the same bits alone as in a batch.
LONGEST_RUN = 448


class Matrix(ABC):
    """A weight (O, I), stored in the form that its product needs."""

    def multiply(
        self,
        x: Array,
        bias: Array | None = None,
        *,
        activation: str | None = None,
        residual: Array | None = None,
    ) -> Array:
        """Return activation(x Wᵀ + bias) + residual.

        x           (N, I)
        bias        (O,)     or None
        activation           a key of ACTIVATIONS, or None
        residual    (N, O)   or None
        out         (N, O)   a new array

        A subclass that can do all of this in one pass over memory overrides this method.
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

    BLAS packs the matrix at every call, which takes longer than a product of few rows. Tiles are
    small enough for the kernels of OpenBLAS that do not pack. All products for one text of 12
    tokens take 3.3 ms instead of 4.7.
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
    """Return a matrix as it is, an array as a `BlasMatrix`."""
    return weight if isinstance(weight, Matrix) else BlasMatrix(weight)


def _cut_runs(I: int) -> Iterator[slice]:  # noqa: E741
    """Cut I terms as OpenBLAS does: into full runs and two last ones of nearly equal length."""
    start = 0
    while start < I:
        run = I - start
        if run >= 2 * LONGEST_RUN:
            run = LONGEST_RUN
        elif run > LONGEST_RUN:
            run = -(-run // 32) * 16
        yield slice(start, start + run)
        start += run
