"""An index on the disk: one safetensors file of rows, their codes, their ids, and companions.

Rows stay in the file, mapped. Codes, which every search reads whole, are read into memory: mapped,
they would be a tenth slower, since the system keeps track of a map in much smaller pages, and slow
again whenever the system had needed their memory for something else. The few rows that a search of
codes still needs are read one by one: touching a map would bring a whole neighbourhood of each into
memory.
"""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.search.index_rows import METRICS
from minisbert.search.int8_filter import block_dtype, count_blocks
from minisbert.system.safetensors import read_safetensors, write_safetensors

FORMAT = "minisbert-flat-index"
PLAIN, EXTENDED = "1", "2"  # versions: rows only; with codes, ids, or a choice about codes


class IndexContent(NamedTuple):
    """What an index file holds."""

    metric: str
    model_name: str
    codes: str | None  # whether rows to come are to have some: "auto", "int8" or None
    rows: Array  # (M, D) float32
    blocks: Array | None  # codes of the rows, see `topk_int8`
    ids: Array | None  # (M,) int64
    companions: dict[str, Array]


class RowFile:
    """Rows of float32 in an open file, read by their numbers; it outlives a file that replaces it.

    offset  of the first row in the file
    """

    def __init__(self, path: Path, offset: int, D: int) -> None:
        self.path, self.offset, self.D = path, offset, D
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)

    def fetch(self, numbers: Array) -> Array:
        """The rows of these numbers.  (n,) -> (n, D)"""
        rows = np.empty((len(numbers), self.D), np.float32)
        width = rows.itemsize * self.D
        for row, number in zip(rows, numbers.tolist(), strict=True):
            start = self.offset + width * number
            if os.preadv(self.descriptor, [row.data], start) != width:
                raise ValueError(
                    f"{self.path} must hold row {number} whole, but it was cut short; "
                    "put a whole copy in its place"
                )
        return rows


def write_index(path: Path, content: IndexContent) -> None:
    """Write an index; whatever fails, the old file stays whole."""
    arrays = {**content.companions, "rows": content.rows}
    if content.blocks is not None:
        arrays["codes"] = view_bytes(content.blocks)
    if content.ids is not None:
        arrays["ids"] = content.ids
    _, D = content.rows.shape
    plain = content.blocks is None and content.ids is None
    metadata = make_metadata(D, content.metric, content.model_name, content.codes, plain)
    write_safetensors(path, arrays, metadata)


def make_metadata(
    dimension: int, metric: str, model_name: str, codes: str | None, plain: bool
) -> dict[str, str]:
    """What the file says of itself; `plain` without codes and ids."""
    metadata = {
        "format": FORMAT,
        "format_version": PLAIN,
        "dimension": str(dimension),
        "metric": metric,
        "model_name": model_name,
    }
    if not plain or codes != "auto":
        metadata |= {"format_version": EXTENDED, "codes": codes or "none"}
    return metadata


def view_bytes(blocks: Array) -> Array:
    """Blocks of codes as a matrix of bytes, one row a block."""
    return blocks.view(np.uint8).reshape(len(blocks), blocks.dtype.itemsize)


def open_index(path: Path) -> tuple[IndexContent, RowFile | None]:
    """Map an index file, read its codes, and open it to read rows one by one, where that can be.

    Raises ValueError if it is damaged, of another kind, or of a newer version.
    """
    while True:
        before = os.stat(path) if path.exists() else None
        content = _map_index(path)
        if not hasattr(os, "preadv"):
            return content, None
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            if content.blocks is not None:
                file.seek(8 + length + header["codes"]["data_offsets"][0])
                blocks = np.fromfile(file, content.blocks.dtype, len(content.blocks))
                content = content._replace(blocks=blocks)
        start = 8 + length + header["rows"]["data_offsets"][0]
        rows = RowFile(path, start, content.rows.shape[1])
        # Else another file has taken its place in between.
        if before and os.path.samestat(before, os.fstat(rows.descriptor)):
            return content, rows


def _map_index(path: Path) -> IndexContent:
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"index {path} must be a file of {FORMAT}, got another kind of safetensors file; "
            "give a file that FlatIndex.save wrote"
        )
    version = metadata.get("format_version", "")
    if version not in (PLAIN, EXTENDED):
        raise ValueError(
            f"index {path} must be of format version {PLAIN} or {EXTENDED}, got {version!r}; "
            "open it with the minisbert that wrote it, or a newer one"
        )
    rows = arrays.pop("rows", np.empty(0, np.float32))
    dimension, metric = metadata.get("dimension", ""), metadata.get("metric", "")
    D = rows.shape[1] if rows.ndim == 2 else 0
    if rows.dtype != np.float32 or D < 1 or str(D) != dimension or metric not in METRICS:
        raise ValueError(
            f"index {path} must hold float32 rows (M, {dimension}) and a metric, got "
            f"{rows.dtype} rows {rows.shape} and {metric!r}; it is damaged, make it anew"
        )
    choice, blocks, ids = "auto", None, None
    if version == EXTENDED:
        choice = metadata.get("codes", "")
        if choice not in ("auto", "int8", "none"):
            raise ValueError(
                f"codes in index {path} must be auto, int8 or none, got {choice!r}; "
                "it is damaged, make it anew"
            )
        coded, ids = arrays.pop("codes", None), arrays.pop("ids", None)
        kind = block_dtype(D)
        shape = (count_blocks(len(rows)), kind.itemsize)
        if coded is not None and (coded.dtype != np.uint8 or coded.shape != shape):
            raise ValueError(
                f"index {path} must hold codes of bytes {shape}, got {coded.dtype} {coded.shape}; "
                "it is damaged, make it anew"
            )
        if ids is not None and (ids.dtype != np.int64 or ids.shape != (len(rows),)):
            raise ValueError(
                f"index {path} must hold {len(rows)} ids of int64, got {ids.dtype} {ids.shape}; "
                "it is damaged, make it anew"
            )
        if coded is not None:
            blocks = coded.reshape(-1).view(kind)
    codes = None if choice == "none" else choice
    return IndexContent(metric, metadata.get("model_name", ""), codes, rows, blocks, ids, arrays)
