"""Exercise 2: write the backward of `cls` pooling.

`pool_cls` of minisbert/network/pooling.py returns the vector of each sentence's first token. Given
the gradient of the loss with respect to that result, compute the gradient with respect to all
token vectors. (The other poolings there are examples; read its `spread_cls` only after yours.)
"""

import numpy as np
from checking import Unfinished

from minisbert.arrays import Array


def spread_cls(dpooled: Array, sentences: Array) -> Array:
    """Return the gradient of the sentences in a new array; change neither argument.

    dpooled     (B, D)      the gradient of what pool_cls returned
    sentences   (B, T, D)   what pool_cls was called with
    dsentences  (B, T, D)   the result
    """
    raise Unfinished("fill in spread_cls")
