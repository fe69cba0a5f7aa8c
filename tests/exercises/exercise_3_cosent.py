"""Exercise 3: add a loss, CoSENT, forward and backward.

Each pair of sentences has a label, larger for more similar sentences. CoSENT is small if the
cosines are in the order of the labels:

    loss = log(1 + Σ exp(scale (cos_j - cos_i)))    over all i, j with label_i > label_j

(Su 2022; `CoSENTLoss` of sentence-transformers.) Derive the backward on paper first: with e_ij for
the exponent, the derivative of the loss with respect to e_ij is exp(e_ij - loss). The losses in
minisbert/training/losses.py show how `normalize_forward` and `normalize_backward` use the cache.
"""

from typing import Any

import numpy as np
from checking import Unfinished

from minisbert.arrays import Array, Cache
from minisbert.network.similarity import normalize_backward, normalize_forward


def cosent_forward(
    u: Array, v: Array, labels: Array, *, scale: float = 20.0, cache: Cache = None
) -> float:
    """Return the loss. No exp may overflow: take the largest exponent out of the sum first.

    u, v    (B, E)   embeddings of the two sentences of each pair, of any length
    labels  (B,)     numbers; pairs of equal labels are not compared
    cache            a list to which to append what the backward needs, or None
    """
    raise Unfinished("fill in cosent_forward")


def cosent_backward(dloss: float, cache: list[Any]) -> tuple[Array, Array]:
    """Pop what the forward appended, and return dloss times the gradients of u and v, (B, E)."""
    raise Unfinished("fill in cosent_backward")
