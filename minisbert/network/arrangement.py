"""A network's matrices, copied into the order in which products with them are quickest.

The shapes stay (out, in) where a matrix stays a matrix, so the layers know nothing of it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from minisbert.network.bert import Parameters
from minisbert.network.tiles import TILE, cut_tiles

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
