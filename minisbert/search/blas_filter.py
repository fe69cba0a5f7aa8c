"""The same k best rows as `topk` finds, for many queries at once: a filter by matrix products.

Many queries in one product of matrices are several times as quick as one scan for each, but BLAS
adds up in an order of its own. Its error is bounded: with products or fused multiplications, in
whatever order, D terms differ from the real dot product by at most

    D u / (1 - D u)  |q| |x|  +  D 2^-149          u = 2^-24

(Higham 2002, section 3.1; the last term for denormals), and the canonical score by at most
(D/16 + 6) u |q| |x| + D 2^-149, as csrc/topk_int8.c derives. The two together are the bound here.
"""

from __future__ import annotations

import numpy as np

from minisbert.arrays import Array
from minisbert.search.candidates import (
    Findings,
    ScanReport,
    filter_parts,
    score_candidates,
)
from minisbert.search.kernel import call
from minisbert.search.scan import pair_dots
from minisbert.system.threads import limit_blas, share_out

# Rows of a product: with their scores for some hundred queries they stay in cache.
BLOCK_ROWS = 2048

# From so many queries on a product is quicker than scans.
FEWEST_QUERIES = 4


def topk_blas(
    queries: Array, rows: Array, k: int, threads: int | None = None
) -> tuple[Array, Array, ScanReport]:
    """What `topk` returns, bit for bit, and how it was found.

    queries  (Q, D)  float32
    rows     (M, D)  float32
    k                1 or more
    """
    Q, D = queries.shape
    norms = bound_norms(queries)
    share = (17 / 16 * D + 16) * 2.0**-24 * (1 + D * 2.0**-23)
    constant = D * 2.0**-148

    def scan(part: slice, found: Findings) -> None:
        for start in range(part.start, part.stop, BLOCK_ROWS):
            block = rows[start : min(start + BLOCK_ROWS, part.stop)]
            with np.errstate(over="ignore", invalid="ignore"):
                scores = queries @ block.T  # (Q, n)
                longest = bound_norms(block).max()
                bounds = share * norms * longest + constant
            # A sum that could overflow on its way says nothing.
            bounds[~(norms * longest < 2.0**126)] = np.inf
            call(
                "minisbert_filter_scores", scores, Q, len(block), bounds, k,
                found.ids.shape[1], start, *found,
            )  # fmt: skip

    with limit_blas(1):
        parts = share_out(len(rows), Q * D, threads)
        candidates = filter_parts(scan, parts, threads, Q, k)
    return score_candidates(queries, rows, k, threads, candidates, ("blas", rows.nbytes))


def bound_norms(rows: Array) -> Array:
    """Upper bounds of norms, in float64, that are infinite where float32 can't hold their squares.

    A canonical square is at most (D/16 + 6) 2^-24 of itself too small, and D 2^-149 besides.
    """
    _, D = rows.shape
    squares = pair_dots(rows, rows).astype(np.float64)
    norms: Array = np.sqrt((squares + D * 2.0**-149) * (1 + (D / 8 + 12) * 2.0**-24))
    return norms
