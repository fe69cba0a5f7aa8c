"""Exercise 1: break and fix the mask.

A padded batch fills short sentences up with padding, and a mask tells padding from tokens. Without
the mask, `plain_bert` of tests/plain_bert.py takes padding for words, and the vector of a sentence
changes with the length of its neighbours: the first check omits the mask and shows by how much.

Most of the network works on each token alone. Tokens meet in two operations only: the softmax of
attention, and the mean at the end. Write both so that every sentence gets the vector that it has
alone. (`attention` and `mean_pool` in tests/plain_bert.py have answers; look at them afterwards.)
"""

import numpy as np
from checking import Unfinished

from minisbert.arrays import Array


def masked_softmax(scores: Array, mask: Array) -> Array:
    """Turn the scores of each query into weights: those of tokens sum to 1, of padding are 0.

    scores   (B, H, T, T)   [b, h, i, j] is the score of key j for query i, any number for padding
    mask     (B, T)         1 for a token, 0 for padding
    weights  (B, H, T, T)   the result
    """
    raise Unfinished("fill in masked_softmax")


def masked_mean(hidden: Array, mask: Array) -> Array:
    """Take the mean over each sentence's tokens, without padding.  (B, T, D), (B, T) -> (B, D)"""
    raise Unfinished("fill in masked_mean")
