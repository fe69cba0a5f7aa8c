"""Rows that lie in groups, and their cosines, for the tests of mining."""

import numpy as np

from minisbert.search.index_rows import prepare_rows
from minisbert.search.scan import pair_dots


def make_rows(M: int, D: int = 24, seed: int = 0) -> np.ndarray:
    """Make rows around a few centres, some of them twice and one zero."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((5, D))
    rows = centres[rng.integers(0, 5, M)] + 0.3 * rng.standard_normal((M, D))
    rows[M // 2] = rows[3]
    rows[M // 2 + 1] = rows[3]
    rows[7] = 0
    return rows.astype(np.float32)


def all_cosines(rows: np.ndarray) -> np.ndarray:
    """Compute the canonical cosine of every two rows.  (M, D) -> (M, M)"""
    unit = prepare_rows(rows, "cosine", "row")
    M = len(unit)
    first, second = np.divmod(np.arange(M * M), M)
    return pair_dots(unit[first], unit[second]).reshape(M, M)
