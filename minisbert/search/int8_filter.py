"""The same k best rows as `topk` finds, from codes of one byte a number: a filter with a proof.

csrc/topk_int8.c tells the idea, proves the bound, and says how codes lie in memory. Here rows and
queries are encoded, the scan is shared out to threads, and the candidates that it leaves are scored
canonically. Where it leaves too many, or without a compiled kernel, the rows are scanned instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.search.candidates import (
    Findings,
    ScanReport,
    filter_parts,
    score_candidates,
)
from minisbert.search.kernel import KERNELS, call, kernel_name
from minisbert.system.threads import run_parts, share_out

BLOCK_ROWS = 16
GROUP = 8  # queries whose codes lie together

# Encoding a number takes as long as so many multiplications.
ENCODING = 16

# Up to here every sum of codes is exact in 32 bits.
LARGEST_DIMENSION = 65408

# A query of such a norm could make a score overflow; a row of such a norm is always a candidate.
LARGEST_NORM = 2.0**62


class QueryCodes(NamedTuple):
    """Queries as minisbert_int8_scan takes them."""

    codes: Array  # (groups, quads, GROUP, 4) int8
    factors: Array  # (Q, 5) float64
    usable: Array  # (Q,) bool, false where a score could overflow


def block_dtype(D: int) -> np.dtype[np.void]:
    """A block of 16 rows of D numbers: what is known of each row, then four dimensions of all."""
    return np.dtype(
        [
            ("scale", "<f4", BLOCK_ROWS),
            ("residual", "<f4", BLOCK_ROWS),
            ("length", "<f4", BLOCK_ROWS),
            ("codes", "u1", (count_quads(D), BLOCK_ROWS, 4)),
        ]
    )


def make_blocks(M: int, D: int) -> Array:
    """Empty blocks with room for M rows.  -> (blocks,) of `block_dtype`"""
    return np.zeros(count_blocks(M), block_dtype(D))


def encode_rows(rows: Array, blocks: Array, first_row: int = 0) -> None:
    """Write the codes of rows (n, D) into blocks, from the place of `first_row` on."""
    n, D = rows.shape
    if kernel_name() == "numpy":
        encode_rows_numpy(rows, blocks, first_row)
        return

    def encode(part: slice) -> None:
        size = part.stop - part.start
        call("minisbert_int8_encode", rows[part], size, D, blocks, first_row + part.start)

    run_parts(encode, share_out(n, ENCODING * D, None), None)


def encode_rows_numpy(rows: Array, blocks: Array, first_row: int = 0) -> None:
    """The twin of minisbert_int8_encode: the same codes and scales, norms a little higher."""
    n, D = rows.shape
    block, place = np.divmod(np.arange(first_row, first_row + n), BLOCK_ROWS)
    with np.errstate(all="ignore"):
        scale = np.fmax.reduce(np.abs(rows), axis=1, initial=0) / np.float32(127)
        scale[~((scale >= np.finfo(np.float32).tiny) & (scale <= 1e38))] = 0
        codes = np.rint(rows / scale[:, None])
        codes = np.where(codes >= -127, np.minimum(codes, 127), -127)
        codes[scale == 0] = 0
        kept = codes * scale[:, None].astype(np.float64)
        residual, length = (
            np.sqrt(np.square(part).sum(axis=1)) * (1 + 2.0**-22) for part in (rows - kept, kept)
        )
        residual[~(residual + length < LARGEST_NORM)] = np.inf
    blocks["scale"][block, place] = scale
    blocks["residual"][block, place] = residual + np.finfo(np.float32).smallest_subnormal
    blocks["length"][block, place] = length + np.finfo(np.float32).smallest_subnormal
    padded = np.full((n, 4 * count_quads(D)), 128, np.uint8)
    padded[:, :D] = codes.astype(np.int16) + 128
    blocks["codes"][block, :, place] = padded.reshape(n, -1, 4)


def encode_queries(queries: Array) -> QueryCodes:
    """Encode queries (Q, D), and work out the factors of their error bounds.

    The formulas are derived in csrc/topk_int8.c.
    """
    Q, D = queries.shape
    quads = count_quads(D)
    blocks = make_blocks(Q, D)
    encode_rows(queries, blocks)
    scale = blocks["scale"].ravel()[:Q].astype(np.float64)
    residual = blocks["residual"].ravel()[:Q].astype(np.float64)
    codes = blocks["codes"].transpose(0, 2, 1, 3).reshape(-1, 4 * quads)[:Q].astype(np.int16) - 128
    norm = np.sqrt(np.square(queries, dtype=np.float64).sum(axis=1))
    g = (D / 16 + 8) * 2.0**-24
    margin = 1 + 2.0**-36
    factors = np.empty((Q, 5))
    factors[:, 0] = scale
    factors[:, 1] = norm * (1 + g) * margin
    factors[:, 2] = (residual + g * norm) * margin
    factors[:, 3] = D * 2.0**-149
    factors[:, 4] = 128 * codes.sum(axis=1, dtype=np.int64)
    groups = np.zeros((-(-Q // GROUP) * GROUP, 4 * quads), np.int8)
    groups[:Q] = codes
    groups = groups.reshape(-1, GROUP, quads, 4).transpose(0, 2, 1, 3)
    return QueryCodes(np.ascontiguousarray(groups), factors, norm < LARGEST_NORM)


def topk_int8(
    queries: Array,
    rows: Array,
    blocks: Array,
    k: int,
    threads: int | None = None,
    fetch: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array, ScanReport]:
    """What `topk` returns, bit for bit, and how it was found.

    queries  (Q, D)     float32
    rows     (M, D)     float32
    blocks              the codes of the rows
    k                   1 or more
    fetch    ids -> rows  reads rows (n, D) from elsewhere than `rows`
    """
    Q, D = queries.shape
    kernel = kernel_name()
    if kernel == "numpy":
        return score_candidates(queries, rows, k, threads, [None] * Q, ("int8", 0), fetch)
    coded = encode_queries(queries)

    def scan(part: slice, found: Findings) -> None:
        call(
            "minisbert_int8_scan", KERNELS[kernel], coded.codes, coded.factors, Q,
            blocks[part.start // BLOCK_ROWS :], part.stop - part.start, D, k,
            found.ids.shape[1], part.start, *found,
        )  # fmt: skip

    parts = share_out(len(rows), Q * D // 4, threads, BLOCK_ROWS)
    candidates = [
        found if usable else None
        for found, usable in zip(
            filter_parts(scan, parts, threads, Q, k), coded.usable, strict=True
        )
    ]
    filtered = ("int8", blocks.nbytes if Q else 0)
    return score_candidates(queries, rows, k, threads, candidates, filtered, fetch)


def count_blocks(M: int) -> int:
    """Blocks of M rows, the last filled up."""
    return -(-M // BLOCK_ROWS)


def count_quads(D: int) -> int:
    """Runs of four dimensions, the last filled up."""
    return -(-D // 4)
