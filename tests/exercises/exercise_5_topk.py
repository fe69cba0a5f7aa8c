"""Exercise 5: write the scalar top-k.

A sum of floating-point numbers depends on the order of the additions, so a dot product can have
values that differ in their last bits. The comment at the top of csrc/topk.h defines which of them
is the score of a row, and which row comes first if scores are equal or are not numbers. Write that
definition in plain loops: `minisbert.topk` gets the same bits with wide registers and threads.

Keep every number an np.float32; a Python float has twice the bits. (minisbert/search/topk.py has
another answer.)
"""

import numpy as np
from checking import Unfinished

from minisbert.arrays import Array


def canonical_dot(a: Array, b: Array) -> np.float32:
    """Compute the score of two float32 vectors of any width.  (D,), (D,) -> number

    At the end lane i + 8 is added to lane i; of these eight, lane i + 4 to lane i; and so on.
    """
    raise Unfinished("fill in canonical_dot")


def scalar_topk(query: Array, rows: Array, k: int) -> tuple[Array, Array]:
    """Return the scores and the numbers of the k best rows, best first.

    query   (D,)           float32
    rows    (M, D)         float32
    scores  (min(k, M),)   float32
    ids     (min(k, M),)   int64
    """
    raise Unfinished("fill in scalar_topk")
