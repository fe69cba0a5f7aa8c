"""The interface to C: which kernel runs, and every call into the compiled library.

csrc/topk.h is the contract; cffi compiles it and the files beside it (csrc/build_topk.py). Only
this module knows that library, the kernels' numbers, and the layouts that C and Python share. Each
`call_` function calls the C function of its name. C runs without the interpreter's lock, so several
threads can scan at the same time.

Where nothing was compiled, the kernel is "numpy": callers have a NumPy fallback with the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minisbert.arguments import shorten
from minisbert.arrays import Array

try:
    from minisbert._topk import ffi, lib
except ImportError:
    ffi = lib = None

# The kernels' numbers in csrc/topk.h, the preferred kernel first.
KERNELS = {"avx512vnni": 4, "avx512": 2, "avx2": 1, "neondot": 5, "neon": 3, "scalar": 0}

# Constants of csrc/topk.h.
BLOCK_ROWS = 16  # rows of a block of codes
QUERY_GROUP = 8  # queries of a group, whose codes are stored together
LARGEST_DIMENSION = 65408  # up to here every sum of codes is exact in 32 bits
TOO_MANY = -1  # stored instead of a count: there are more candidates than room

# The struct minisbert_query_factors of csrc/topk.h, which explains its fields.
QUERY_FACTORS = np.dtype(
    [
        ("scale", np.float64),
        ("residual_factor", np.float64),
        ("length_factor", np.float64),
        ("constant", np.float64),
        ("offset", np.float64),
    ]
)


class Findings(NamedTuple):
    """The bounds and candidates that a filter has found so far, as C reads and updates them."""

    lowers: Array  # (Q, k) float64, the best lower bounds, a heap with the least on top
    ids: Array  # (Q, capacity) int64, the candidates in the order of the rows
    uppers: Array  # (Q, capacity) float64, their upper bounds
    counts: Array  # (Q,) int64, how many candidates there are, or TOO_MANY


# The C types of arrays by NumPy's type codes. cffi checks them against the prototype; any other
# type, such as blocks of codes, is passed without that check.
_POINTERS = {
    "f4": "float *",
    "f8": "double *",
    "i8": "int64_t *",
    "i4": "int32_t *",
    "i1": "int8_t *",
    "u1": "uint8_t *",
}


def list_kernels() -> list[str]:
    """Return the compiled kernels that this machine runs, the preferred one first."""
    return [name for name in KERNELS if _supports("minisbert_supports", name)]


def kernel_name() -> str:
    """Return the kernel in use: the one that MINISBERT_SIMD names, or the preferred one.

    "numpy" is the fallback. Raises ValueError if MINISBERT_SIMD names a kernel that this machine
    can't run.
    """
    kernels = [*list_kernels(), "numpy"]
    wanted = os.environ.get("MINISBERT_SIMD") or kernels[0]
    if wanted not in kernels:
        raise ValueError(
            f"MINISBERT_SIMD must be one of {', '.join(kernels)} on this machine, got "
            f"{shorten(wanted)}; unset it to let minisbert choose"
        )
    return wanted


def choose_function(
    compiled: Callable[..., Any], fallback: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a `call_` function with the kernel in use filled in, or its NumPy fallback."""
    name = kernel_name()
    return fallback if name == "numpy" else partial(compiled, kernel=name)


def call_topk(
    queries: Array, rows: Array, k: int, *, first_id: int, kernel: str
) -> tuple[Array, Array]:
    """Return scores and ids of the k best rows.  (Q, D), (M, D) -> (Q, min(k, M)) twice"""
    Q, D = queries.shape
    M = len(rows)
    k = min(k, M)
    scores, ids = np.empty((Q, k), np.float32), np.empty((Q, k), np.int64)
    _call("minisbert_topk", KERNELS[kernel], queries, Q, rows, M, D, k, first_id, scores, ids)
    return scores, ids


def call_pair_dots(a: Array, b: Array, *, kernel: str) -> Array:
    """Return the dot products of rows with the same number.  (M, D), (M, D) -> (M,)"""
    M, D = a.shape
    scores = np.empty(M, np.float32)
    _call("minisbert_pair_dots", KERNELS[kernel], a, b, M, D, scores)
    return scores


def call_int8_encode(rows: Array, blocks: Array, first_row: int) -> None:
    """Write the codes of rows (n, D) into blocks, starting at the place of row `first_row`."""
    n, D = rows.shape
    _call("minisbert_int8_encode", rows, n, D, blocks, first_row)


def call_int8_scan(
    codes: Array,
    factors: Array,
    blocks: Array,
    *,
    rows: slice,
    D: int,
    found: Findings,
    kernel: str,
) -> None:
    """Update the findings with some rows, by their codes.

    codes    (groups, quads, QUERY_GROUP, 4)  of the queries, int8
    factors  (Q,)                             of QUERY_FACTORS
    blocks   (blocks,)                        codes of all rows
    rows                                      the rows to scan; they start at a block's start
    """
    _call(
        "minisbert_int8_scan", KERNELS[kernel], codes, factors, len(factors),
        blocks[rows.start // BLOCK_ROWS :], rows.stop - rows.start, D, found.lowers.shape[1],
        found.ids.shape[1], rows.start, *found,
    )  # fmt: skip


def call_filter_scores(scores: Array, bounds: Array, *, first_id: int, found: Findings) -> None:
    """Update the findings with some rows, by their approximate scores.

    scores    (Q, n)  float32
    bounds    (Q,)    the largest errors of the scores, float64
    first_id          the number of the first row
    """
    Q, n = scores.shape
    _call(
        "minisbert_filter_scores", scores, Q, n, bounds, found.lowers.shape[1],
        found.ids.shape[1], first_id, *found,
    )  # fmt: skip


def call_hamming_topk(
    queries: Array, codes: Array, k: int, *, first_id: int, kernel: str
) -> tuple[Array, Array]:
    """Return distances and ids of the k nearest codes.  (Q, W), (M, W) -> (Q, min(k, M)) twice

    If the processor lacks the kernel's instruction that counts bits, the next kernel is used.
    """
    names = list(KERNELS)
    kernel = next(
        name
        for name in names[names.index(kernel) :]
        if _supports("minisbert_hamming_supports", name)
    )
    Q, W = queries.shape
    M = len(codes)
    k = min(k, M)
    distances, ids = np.empty((Q, k), np.int32), np.empty((Q, k), np.int64)
    _call(
        "minisbert_hamming_topk", KERNELS[kernel], queries, Q, codes, M, W, k, first_id,
        distances, ids,
    )  # fmt: skip
    return distances, ids


def _supports(function: str, kernel: str) -> bool:
    """Tell whether the library is there and its function says that a kernel runs here."""
    return lib is not None and getattr(lib, function)(KERNELS[kernel]) == 1


def _call(function: str, *arguments: Any) -> None:
    """Call a C function that returns a status; arrays are passed by their addresses."""
    status = getattr(lib, function)(
        *(
            ffi.cast(_POINTERS.get(argument.dtype.str[1:], "void *"), argument.ctypes.data)
            if isinstance(argument, np.ndarray)
            else argument
            for argument in arguments
        )
    )
    if status != lib.MINISBERT_OK:
        raise RuntimeError(f"{function} failed with status {status}")
