"""Products of a few rows with a matrix, which one short text consists of.

Such a product is over before BLAS has packed the matrix for it, which it does at every call.
OpenBLAS has kernels that don't, for products of at most 100^3 multiplications, and tiles of a
matrix are small enough for them. One text of 12 tokens: all products in 3.3 ms instead of 4.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, reduce

import numpy as np

from minisbert.arrays import Array, Parameters

TILE = 64

# OpenBLAS adds up a long product in runs of this length (AVX-512); the same runs give a text the
# same bits alone as in company.
LONGEST_RUN = 448


def cut_tiles(weight: Array) -> Array:
    """Lay a matrix out for `multiply_tiles`.  (O, I) -> (O / TILE, I, TILE)"""
    O, I = weight.shape  # noqa: E741
    return np.ascontiguousarray(weight.T.reshape(I, O // TILE, TILE).transpose(1, 0, 2))


def multiply_tiles(x: Array, tiles: Array) -> Array:
    """Multiply a few rows by a matrix in tiles.  (N, I), (O / TILE, I, TILE) -> (N, O)"""
    N, I = x.shape  # noqa: E741
    products = (x[:, run] @ tiles[:, run] for run in cut_runs(I))
    total: Array = reduce(np.add, products)  # (O / TILE, N, TILE)
    out: Array = total.transpose(1, 0, 2).reshape(N, len(tiles) * TILE)
    return out


def cut_runs(I: int) -> Iterator[slice]:  # noqa: E741
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


"""A network's matrices, copied into the order in which products with them are quickest.

The shapes stay (out, in) where a matrix stays a matrix, so the layers know nothing of it.
"""


# Up to here products in tiles are quicker than BLAS on two threads.
FEW_TOKENS = 24


class ArrangedParameters:
    """Parameters as they were loaded, and a copy for batches of each kind.

    A copy is made when it is first wanted: a search needs one, a long encode the other. Two threads
    may make it twice; both are right.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    def choose(self, N: int) -> Parameters:
        """The parameters that a batch of N tokens is quickest with."""
        return self.for_few if N <= FEW_TOKENS else self.for_many

    @cached_property
    def for_few(self) -> Parameters:
        return arrange_for_few(self.parameters)

    @cached_property
    def for_many(self) -> Parameters:
        return arrange_for_many(self.parameters)


def arrange_for_many(parameters: Parameters) -> Parameters:
    """Copy the blocks' matrices into column order, in which `x @ weight.T` packs them faster.

    It buys 8 % of the products, and costs the memory that was mapped. The word table is only looked
    up, so it stays where it is.
    """
    return {
        name: np.asfortranarray(array) if name.startswith("encoder.layer.") else array
        for name, array in parameters.items()
    }


def arrange_for_few(parameters: Parameters) -> Parameters:
    """Copy the blocks' matrices into tiles, for batches of at most FEW_TOKENS tokens."""
    return {
        name: cut_tiles(array)
        if name.startswith("encoder.layer.") and array.ndim == 2 and len(array) % TILE == 0
        else array
        for name, array in parameters.items()
    }
