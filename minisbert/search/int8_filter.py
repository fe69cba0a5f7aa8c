"""A filter by int8 codes: find the k best rows that `topk` finds, from one byte for each number.

Codes are symmetric, from -127 to 127, with one scale for each row: its largest number / 127.
csrc/topk_int8.c explains the idea, proves the error bound and defines how codes are stored;
README.md in this folder has an example. Here rows and queries are encoded, threads share the
scan, and its candidates are scored canonically. Queries with too many candidates, and every query
where no kernel was compiled, are answered by a scan of the float32 rows instead.

These codes have nothing to do with `quantize_embeddings(..., "int8")`, which replaces embeddings to
save space and changes scores; see `quantization`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.search.candidates import ScanReport, find_candidates, score_candidates
from minisbert.search.kernel import (
    BLOCK_ROWS,
    QUERY_FACTORS,
    QUERY_GROUP,
    Findings,
    call_int8_encode,
    call_int8_scan,
    kernel_name,
)
from minisbert.system.threads import run_parts

# The time of encoding a number, in multiplications.
ENCODING_WORK = 16

# A query with this norm or more could overflow a score; a row with it is always a candidate.
LARGEST_NORM = 2.0**62


class QueryCodes(NamedTuple):
    """Queries as minisbert_int8_scan takes them."""

    codes: Array  # (groups, quads, QUERY_GROUP, 4) int8
    factors: Array  # (Q,) of QUERY_FACTORS
    usable: Array  # (Q,) bool, false where a score could overflow


def block_dtype(D: int) -> np.dtype[np.void]:
    """Return the layout of a block, as csrc/topk_int8.c defines it."""
    return np.dtype(
        [
            ("scale", "<f4", BLOCK_ROWS),
            ("residual", "<f4", BLOCK_ROWS),
            ("length", "<f4", BLOCK_ROWS),
            ("codes", "u1", (_count_quads(D), BLOCK_ROWS, 4)),
        ]
    )


def count_blocks(M: int) -> int:
    """Return the number of blocks that M rows take; the last one may be incomplete."""
    return -(-M // BLOCK_ROWS)


def make_blocks(M: int, D: int) -> Array:
    """Return empty blocks with room for M rows.  -> (blocks,) of `block_dtype`"""
    return np.zeros(count_blocks(M), block_dtype(D))


def encode_rows(rows: Array, blocks: Array, first_row: int = 0) -> None:
    """Write the codes of rows (n, D) into blocks, starting at the place of row `first_row`."""
    n, D = rows.shape
    if kernel_name() == "numpy":
        encode_rows_numpy(rows, blocks, first_row)
        return
    run_parts(
        lambda part: call_int8_encode(rows[part], blocks, first_row + part.start),
        n,
        work=ENCODING_WORK * D,
        threads=None,
    )


def encode_rows_numpy(rows: Array, blocks: Array, first_row: int = 0) -> None:
    """Encode as minisbert_int8_encode: the same codes and scales, norms slightly larger."""
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
    padded = np.full((n, 4 * _count_quads(D)), 128, np.uint8)
    padded[:, :D] = codes.astype(np.int16) + 128
    blocks["codes"][block, :, place] = padded.reshape(n, -1, 4)


def encode_queries(queries: Array) -> QueryCodes:
    """Encode queries (Q, D) and compute the factors of their error bounds.

    csrc/topk_int8.c derives the formulas; g and margin cover the roundings named there.
    """
    Q, D = queries.shape
    quads = _count_quads(D)
    blocks = make_blocks(Q, D)
    encode_rows(queries, blocks)
    scale = blocks["scale"].ravel()[:Q].astype(np.float64)
    residual = blocks["residual"].ravel()[:Q].astype(np.float64)
    codes = blocks["codes"].transpose(0, 2, 1, 3).reshape(-1, 4 * quads)[:Q].astype(np.int16) - 128
    norm = np.sqrt(np.square(queries, dtype=np.float64).sum(axis=1))
    g = (D / 16 + 8) * 2.0**-24
    margin = 1 + 2.0**-36
    factors = np.empty(Q, QUERY_FACTORS)
    factors["scale"] = scale
    factors["residual_factor"] = norm * (1 + g) * margin
    factors["length_factor"] = (residual + g * norm) * margin
    factors["constant"] = D * 2.0**-149
    factors["offset"] = 128 * codes.sum(axis=1, dtype=np.int64)
    groups = np.zeros((-(-Q // QUERY_GROUP) * QUERY_GROUP, 4 * quads), np.int8)
    groups[:Q] = codes
    groups = groups.reshape(-1, QUERY_GROUP, quads, 4).transpose(0, 2, 1, 3)
    return QueryCodes(np.ascontiguousarray(groups), factors, norm < LARGEST_NORM)


def topk_int8(
    queries: Array,
    rows: Array,
    blocks: Array,
    *,
    k: int,
    threads: int | None = None,
    fetch: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array, ScanReport]:
    """Return what `topk` returns, bit for bit, and a report.

    queries  (Q, D)          float32
    rows     (M, D)          float32
    blocks   (blocks,)       the codes of the rows
    k                        1 or more
    fetch    (n,) -> (n, D)  reads rows by their numbers from elsewhere than `rows`
    """
    Q, D = queries.shape
    kernel = kernel_name()
    candidates: list[Array | None] = [None] * Q
    bytes_read = 0
    if kernel != "numpy":
        coded = encode_queries(queries)

        def scan(part: slice, found: Findings) -> None:
            call_int8_scan(
                coded.codes, coded.factors, blocks, rows=part, D=D, found=found, kernel=kernel
            )

        found = find_candidates(
            scan, len(rows), Q=Q, k=k, work=Q * D // 4, threads=threads, multiple=BLOCK_ROWS
        )
        candidates = [
            numbers if usable else None for numbers, usable in zip(found, coded.usable, strict=True)
        ]
        bytes_read = blocks.nbytes if Q else 0
    return score_candidates(
        queries, rows, candidates,
        k=k, threads=threads, path="int8", bytes_read=bytes_read, fetch=fetch,
    )  # fmt: skip


def _count_quads(D: int) -> int:
    """Return the number of runs of four dimensions; the last one may be incomplete."""
    return -(-D // 4)
