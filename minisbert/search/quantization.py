"""Embeddings in fewer bits, in the formats of sentence-transformers, bit for bit.

int8 and uint8 divide each dimension's range, from a smallest to a largest value, into 255 steps and
store the number of the step. Codes can be compared only if they were made with the same ranges. So
take ranges once from many embeddings, keep them in a file, and pass them for all corpora and
queries.

binary and ubinary store one bit for each dimension, which is 1 above zero, and need no ranges.
`binary_index` searches such codes.

Here codes replace the embeddings, so scores change: they are for storage. `FlatIndex` with
`codes="int8"` is different: its codes only filter, and no answer changes (README.md in this folder
compares the two).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_choice, check_unmasked, shorten_message, warn_caller
from minisbert.arrays import Array
from minisbert.search.index_rows import PREPARED_ROWS
from minisbert.system.regular_files import shorten_path
from minisbert.system.safetensors import read_safetensors, write_safetensors

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]

# Ranges of fewer embeddings are too narrow for later ones; sentence-transformers warns here too.
FEW_ROWS = 100

RANGE_STEPS = 255

RANGES_FORMAT = "minisbert-ranges"


def quantize_embeddings(
    embeddings: ArrayLike,
    precision: Precision,
    ranges: ArrayLike | None = None,
    calibration_embeddings: ArrayLike | None = None,
) -> Array:
    """Return embeddings in a precision of sentence-transformers.

    Parameters
    ----------
    embeddings : (M, D) or (D,) array
    precision : {"float32", "int8", "uint8", "binary", "ubinary"}
    ranges : (2, D) array, optional
        Smallest and largest value of each dimension, for int8 and uint8: see `find_ranges`. Values
        beyond them are clipped.
    calibration_embeddings : (n, D) array, optional
        Embeddings to take the ranges from if none are given; by default the embeddings themselves.

    Returns
    -------
    (M, D) array of float32, int8 or uint8, or (M, ceil(D / 8)) of int8 (binary) or uint8 (ubinary)
        A single row if a single embedding was given; (0,) for an empty list. Bits after the last
        dimension are zero.

    Raises
    ------
    ValueError
        If a number is not finite, a shape doesn't fit, or ranges would be taken from a single row.

    Notes
    -----
    With a range from l to h and s = (h - l) / 255, or 1 where that is 0, uint8 is
    floor((x - l) / s), clipped to 0 to 255, and int8 is 128 less. Because of rounding, h itself can
    become 254. binary is 128 less than ubinary.

    Examples
    --------
    >>> quantize_embeddings([[-1, 0], [2.9, 999]], "uint8", ranges=[[0, 0], [255, 255]]).tolist()
    [[0, 0], [2, 255]]
    >>> quantize_embeddings([0, 1, -1, 0.5, 0, 0, 0, 0, 1], "ubinary").tolist()
    [80, 128]
    """
    check_choice("precision", precision, get_args(Precision))
    kind = {"binary": "int8", "ubinary": "uint8"}.get(precision, precision)
    check_unmasked(embeddings, "embeddings")
    array = np.asarray(embeddings)
    if array.shape == (0,):  # an empty list
        return np.empty(0, kind)
    rows = _read_rows(array[None] if array.ndim == 1 else array, "embeddings")
    M, D = rows.shape
    limits = None
    if precision in ("int8", "uint8"):
        if ranges is not None:
            limits = _read_ranges(ranges, D)
        elif calibration_embeddings is not None:
            limits = _find_ranges(calibration_embeddings, "calibration_embeddings", D)
        elif M > 0:
            limits = _find_ranges(rows, "embeddings", D)
    width = (D + 7) // 8 if precision in ("binary", "ubinary") else D
    codes = np.empty((M, width), kind)
    for start in range(0, M, PREPARED_ROWS):
        block = rows[start : start + PREPARED_ROWS]
        _check_finite_rows(block, "embeddings", start)
        codes[start : start + PREPARED_ROWS] = _quantize_block(block, precision, limits)
    return codes[0] if array.ndim == 1 else codes


def find_ranges(embeddings: ArrayLike) -> Array:
    """Return the smallest and largest value of each dimension, for `quantize_embeddings`.

    Parameters
    ----------
    embeddings : (M, D) array
        At least 100, better thousands, typical of those to be quantised.

    Returns
    -------
    (2, D) float32 array

    Raises
    ------
    ValueError
        If there are fewer than two rows, or a number is not finite.
    """
    return _find_ranges(embeddings, "embeddings")


def save_ranges(path: str | os.PathLike[str], ranges: ArrayLike) -> None:
    """Write ranges (2, D) to a safetensors file; if that fails, an old file does not change."""
    write_safetensors(Path(path), {"ranges": _read_ranges(ranges)}, {"format": RANGES_FORMAT})


def load_ranges(path: str | os.PathLike[str]) -> Array:
    """Read the ranges (2, D) that `save_ranges` wrote.

    Raises ValueError if the file is damaged or of another kind.
    """
    arrays, metadata = read_safetensors(Path(path))
    if metadata.get("format") != RANGES_FORMAT or "ranges" not in arrays:
        raise ValueError(
            f"ranges {shorten_path(path)} must be a file of {RANGES_FORMAT}, got another kind of "
            "safetensors file; pass a file that save_ranges wrote"
        )
    try:
        return _read_ranges(arrays["ranges"])
    except ValueError as error:
        raise ValueError(f"{shorten_path(path)} is damaged: {shorten_message(error)}") from None


def _quantize_block(rows: Array, precision: Precision, ranges: Array | None) -> Array:
    """Quantise some rows.  (M, D), (2, D) or None -> (M, D) or (M, ceil(D / 8))"""
    if precision == "float32":
        return rows
    if ranges is not None:
        low, high = ranges
        steps = (high - low) / RANGE_STEPS
        steps[steps == 0] = 1  # a range of width zero, or too narrow to divide
        with np.errstate(over="ignore"):  # an overflow is beyond the range, so it is clipped
            numbers = np.clip(np.floor((rows - low) / steps), 0, RANGE_STEPS)
        return numbers - 128 if precision == "int8" else numbers
    bits = np.packbits(rows > 0, axis=1)
    # Flipping the highest bit and reading the byte as int8 subtracts 128.
    return (bits ^ 128).view(np.int8) if precision == "binary" else bits


def _find_ranges(embeddings: ArrayLike, name: str, dimension: int | None = None) -> Array:
    """Return what `find_ranges` returns; `name` is that of the embeddings in error texts."""
    rows = _read_rows(embeddings, name)
    M, D = rows.shape
    if dimension is not None and D != dimension:
        raise ValueError(
            f"{name} must have the {dimension} columns of the embeddings, got {D}; "
            "use the same model for both"
        )
    if M < 2:
        raise ValueError(
            f"{name} must be at least 2 rows to take ranges from, got {M}, where all codes would "
            "be equal; pass ranges, or calibration_embeddings of many typical texts"
        )
    for start in range(0, M, PREPARED_ROWS):
        _check_finite_rows(rows[start : start + PREPARED_ROWS], name, start)
    if M < FEW_ROWS:
        warn_caller(
            f"ranges are taken from {M} {name}, fewer than {FEW_ROWS}; "
            "later embeddings may lie far beyond them and be clipped",
            once=True,
        )
    return _read_ranges([rows.min(axis=0), rows.max(axis=0)])


def _read_ranges(values: ArrayLike, dimension: int | None = None) -> Array:
    """Return ranges as float32, checked, since wrong ranges would make all codes wrong."""
    ranges = np.asarray(values)
    fits = ranges.ndim == 2 and len(ranges) == 2 and dimension in (None, ranges.shape[1])
    if not fits or ranges.dtype.kind not in "fiu":
        raise ValueError(
            f"ranges must be numbers of shape (2, {dimension or 'D'}), smallest and largest values,"
            f" got shape {ranges.shape} of {ranges.dtype}; take them from embeddings by find_ranges"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        ranges = ranges.astype(np.float32)
        widths = ranges[1] - ranges[0]
    # The width of a range is not finite either if one of its ends is not.
    for column in np.flatnonzero(~(np.isfinite(widths) & (widths >= 0))):
        raise ValueError(
            f"ranges of dimension {column} must go from a finite smallest to a largest value, got "
            f"{ranges[0, column]} and {ranges[1, column]}; take them from embeddings by find_ranges"
        )
    return ranges


def _read_rows(values: ArrayLike, name: str) -> Array:
    """Return rows of real numbers in their own type, since the formulas round in that type."""
    check_unmasked(values, name)
    rows = np.asarray(values)
    if rows.ndim != 2 or rows.shape[1] == 0 or rows.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} must be vectors of real numbers, (M, D), got shape {rows.shape} of "
            f"{rows.dtype}; give one row for each text"
        )
    if rows.dtype in (np.int8, np.uint8):
        raise ValueError(
            f"{name} must not be quantised yet, got {rows.dtype}; pass them as the model made them"
        )
    return rows


def _check_finite_rows(rows: Array, name: str, first: int) -> None:
    """Refuse rows that float32 can't hold.

    rows   (M, D)  real numbers
    first          the number of the first row, for the error text
    """
    with np.errstate(over="ignore"):
        bad = ~np.isfinite(rows.astype(np.float32, copy=False))
    for row, column in np.argwhere(bad):
        raise ValueError(
            f"{name} {first + row} must be finite float32 numbers, got {rows[row, column]}; "
            "leave it out or repair it"
        )
