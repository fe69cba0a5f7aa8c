"""What an index takes in: matrices of real numbers, for cosine divided by their norms.

The norms are roots of canonical dot products (see `topk`) and a division rounds the same way
everywhere, so the same embeddings give the same bits on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array
from minisbert.search.int8_filter import LARGEST_DIMENSION
from minisbert.search.kernel import kernel_name
from minisbert.search.scan import pair_dots

METRICS = ("cosine", "dot")

BLOCK_ROWS = 4096  # rows taken in at a time, so that no second copy of a large matrix exists

CODES = ("auto", "int8", None)

# From here on a scan of codes saves more than the codes cost: a fifth of the rows' memory.
ROWS_FOR_CODES = 50_000


def check_codes(codes: str | None, dimension: int) -> None:
    """Refuse an unknown choice of codes, and codes for rows that are too wide."""
    if codes not in CODES:
        raise ValueError(
            f"codes must be 'auto', 'int8' or None, got {codes!r}; leave it out for 'auto'"
        )
    if codes == "int8" and dimension > LARGEST_DIMENSION:
        raise ValueError(
            f"dimension must be at most {LARGEST_DIMENSION} for codes, got {dimension}; "
            "pass codes=None"
        )


def wants_codes(codes: str | None, M: int, dimension: int) -> bool:
    """Whether M rows are to have codes: under "auto" where a kernel gains by them."""
    if codes == "auto":
        return M >= ROWS_FOR_CODES and dimension <= LARGEST_DIMENSION and kernel_name() != "numpy"
    return codes == "int8"


def as_ids(ids: ArrayLike, count: int) -> Array:
    """Return `count` different whole numbers as int64, or refuse them."""
    array = np.asarray(ids)
    if array.shape != (count,) or (count and array.dtype.kind not in "iu"):
        raise ValueError(
            f"ids must be {count} whole numbers, one for each embedding, got shape "
            f"{array.shape} of {array.dtype}; give one for each row"
        )
    array = array.astype(np.int64)
    different, counts = np.unique(array, return_counts=True)
    if len(different) < count:
        raise ValueError(
            f"ids must all be different, got {different[counts.argmax()]} twice; "
            "remove the row that has it first"
        )
    return array


def as_matrix(values: ArrayLike, name: str, dimension: int | None = None) -> Array:
    """Return values as a matrix of real numbers, or refuse them by name."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} must be a matrix of real numbers, got shape {array.shape} of {array.dtype}; "
            "give one row for each text"
        )
    if dimension is not None and array.shape[1] != dimension:
        raise ValueError(
            f"{name} must have {dimension} columns, got {array.shape[1]}; "
            "use the model that the index was made with"
        )
    return array


def prepare_rows(matrix: Array, metric: str, name: str, first: int = 0) -> Array:
    """Return rows as float32, for cosine divided by their norms; refuse one that is not finite.

    matrix  (M, D)  real numbers
    first           the number of the first row, for the message
    """
    with np.errstate(over="ignore"):  # what is too large for float32 becomes inf, refused below
        rows = np.ascontiguousarray(matrix, np.float32)
    squares = pair_dots(rows, rows)
    # A square can only be inf or NaN if an element is, or if the sum overflows.
    for row in np.flatnonzero(~np.isfinite(squares)):
        bad = rows[row][~np.isfinite(rows[row])]
        if len(bad):
            raise ValueError(
                f"{name} {first + row} must be finite, got {bad[0]}; leave it out or repair it"
            )
    if metric == "dot":
        return rows
    # Squares of very large or small numbers leave float32's range; a power of two brings them back
    # and changes no digit.
    odd = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))
    if len(odd):
        rows = rows.copy()
        _, exponents = np.frexp(np.abs(rows[odd]).max(axis=1, keepdims=True))
        rows[odd] = np.ldexp(rows[odd], -exponents)
        squares[odd] = pair_dots(rows[odd], rows[odd])
    norms = np.sqrt(np.where(squares > 0, squares, 1))  # a zero vector stays one
    return np.divide(rows, norms[:, None], dtype=np.float32)
