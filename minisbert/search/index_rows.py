"""The rows of an index: checked, divided by their norms for cosine, searched by the cheapest path.

The norms are roots of canonical dot products (see `topk`) and a division rounds the same way
everywhere, so the same embeddings give the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array
from minisbert.search.blas_filter import topk_blas
from minisbert.search.candidates import ScanReport, score_candidates
from minisbert.search.int8_filter import topk_int8
from minisbert.search.kernel import LARGEST_DIMENSION, kernel_name
from minisbert.search.scan import pair_dots

METRICS = ("cosine", "dot")

# Rows prepared at a time, so that no second copy of a large matrix exists.
PREPARED_ROWS = 4096

# From this many rows on codes are worth their memory, a quarter of the rows'.
ROWS_FOR_CODES = 50_000

# A filter keeps some 20 kilobytes for each query in each thread.
QUERIES_AT_ONCE = 256

# From this many queries on a product of matrices is faster than scans.
FEWEST_FOR_BLAS = 4


def check_metric(metric: str) -> None:
    """Refuse an unknown metric."""
    if metric not in METRICS:
        raise ValueError(f"metric must be 'cosine' or 'dot', got {metric!r}; choose one")


def check_codes(codes: str | None, dimension: int) -> None:
    """Refuse an unknown choice of codes, and codes for rows that are too wide."""
    if codes not in ("auto", "int8", None):
        raise ValueError(
            f"codes must be 'auto', 'int8' or None, got {codes!r}; leave it out for 'auto'"
        )
    if codes == "int8" and dimension > LARGEST_DIMENSION:
        raise ValueError(
            f"dimension must be at most {LARGEST_DIMENSION} for codes, got {dimension}; "
            "pass codes=None"
        )


def wants_codes(codes: str | None, M: int, dimension: int) -> bool:
    """Return whether M rows get codes: under "auto" if there are many and a kernel reads them."""
    if codes == "auto":
        return M >= ROWS_FOR_CODES and dimension <= LARGEST_DIMENSION and kernel_name() != "numpy"
    return codes == "int8"


def check_ids(ids: ArrayLike, count: int) -> Array:
    """Return ids as int64; refuse anything but `count` different whole numbers."""
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


def check_matrix(values: ArrayLike, name: str, dimension: int | None = None) -> Array:
    """Return values as an array; refuse anything but a matrix of real numbers."""
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


def prepare_rows(matrix: Array, metric: str, name: str, *, first: int = 0) -> Array:
    """Return rows as float32, for cosine divided by their norms; refuse rows that are not finite.

    matrix  (M, D)  real numbers
    name            of one row, for the error text
    first           the number of the first row, for the error text
    """
    with np.errstate(over="ignore"):  # a number too large for float32 becomes inf, refused below
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
    # The squares of very large or small numbers overflow or underflow float32. Scaling the row by a
    # power of two avoids that and changes no digit.
    odd = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))
    if len(odd):
        rows = rows.copy()
        _, exponents = np.frexp(np.abs(rows[odd]).max(axis=1, keepdims=True))
        rows[odd] = np.ldexp(rows[odd], -exponents)
        squares[odd] = pair_dots(rows[odd], rows[odd])
    norms = np.sqrt(np.where(squares > 0, squares, 1))  # a zero vector stays one
    return np.divide(rows, norms[:, None], dtype=np.float32)


def search_rows(
    queries: Array,
    rows: Array,
    k: int,
    *,
    threads: int | None = None,
    blocks: Array | None = None,
    fetch: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array, ScanReport]:
    """Return what `topk` returns, bit for bit, by the path that reads least, and a report.

    queries  (Q, D)          float32
    rows     (M, D)          float32
    blocks   (blocks,)       the codes of the rows, if there are any
    fetch    (n,) -> (n, D)  reads rows by their numbers from elsewhere than `rows`
    """
    found = []
    for start in range(0, max(1, len(queries)), QUERIES_AT_ONCE):
        some = queries[start : start + QUERIES_AT_ONCE]
        if blocks is not None:
            found.append(topk_int8(some, rows, blocks, k=k, threads=threads, fetch=fetch))
        elif len(some) >= FEWEST_FOR_BLAS and kernel_name() != "numpy":
            found.append(topk_blas(some, rows, k, threads=threads))
        else:
            every_row = [None] * len(some)
            found.append(
                score_candidates(some, rows, every_row, k=k, threads=threads, path="float32")
            )
    scores, ids, reports = zip(*found, strict=True)
    report = ScanReport(
        np.concatenate([report.candidates for report in reports]),
        tuple(path for report in reports for path in report.path),
        sum(report.bytes_read for report in reports),
    )
    return np.concatenate(scores), np.concatenate(ids), report
