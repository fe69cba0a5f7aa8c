"""A filter by matrix products, for many queries at once.

One product of matrices is several times as fast as one scan for each query, but BLAS adds in
another order. Its error is bounded: D terms, added in any order, with or without fused
multiply-adds, differ from the real dot product by at most

    D u / (1 - D u)  |q| |x|  +  D 2^-149          u = 2^-24

(Higham 2002, section 3.1; the last term is for denormal numbers). The canonical score differs from
it by at most (D/16 + 6) u |q| |x| + D 2^-149, as csrc/topk_int8.c derives. Together they bound the
difference between BLAS's score and the canonical one.
"""

from __future__ import annotations

import numpy as np

from minisbert.arrays import Array
from minisbert.search.candidates import ScanReport, find_candidates, score_candidates
from minisbert.search.kernel import Findings, call_filter_scores
from minisbert.search.scan import pair_dots
from minisbert.system.blas_limits import limit_blas

# Rows of one product: with their scores for some hundred queries they stay in cache.
PRODUCT_ROWS = 2048


def topk_blas(
    queries: Array, rows: Array, k: int, *, threads: int | None = None
) -> tuple[Array, Array, ScanReport]:
    """Return what `topk` returns, bit for bit, and a report. A compiled kernel is needed.

    queries  (Q, D)  float32
    rows     (M, D)  float32
    k                1 or more
    """
    Q, D = queries.shape
    norms = _bound_norms(queries)
    relative = (17 / 16 * D + 16) * 2.0**-24 * (1 + D * 2.0**-23)
    constant = D * 2.0**-148

    def scan(part: slice, found: Findings) -> None:
        for start in range(part.start, part.stop, PRODUCT_ROWS):
            block = rows[start : min(start + PRODUCT_ROWS, part.stop)]
            with np.errstate(over="ignore", invalid="ignore"):
                scores = queries @ block.T  # (Q, n)
                longest = _bound_norms(block).max()
                bounds = relative * norms * longest + constant
            # A partial sum could overflow: then the score says nothing.
            bounds[~(norms * longest < 2.0**126)] = np.inf
            call_filter_scores(scores, bounds, first_id=start, found=found)

    with limit_blas(1):
        candidates = find_candidates(scan, len(rows), Q=Q, k=k, work=Q * D, threads=threads)
    return score_candidates(
        queries, rows, candidates, k=k, threads=threads, path="blas", bytes_read=rows.nbytes
    )


def _bound_norms(rows: Array) -> Array:
    """Return upper bounds of norms, infinite where float32 can't hold the square.  (M, D) -> (M,)

    A canonical square may be too small, by at most (D/16 + 6) 2^-24 of itself and D 2^-149.
    """
    _, D = rows.shape
    squares = pair_dots(rows, rows).astype(np.float64)
    return np.sqrt((squares + D * 2.0**-149) * (1 + (D / 8 + 12) * 2.0**-24))
