"""The file of an index: one safetensors file with rows, their codes, their ids, and companions.

Rows stay in the file and are mapped. Codes are read into memory, since every search reads all of
them: a mapped file is read a tenth slower, because the system keeps it in much smaller pages, and
more slowly still after the system has dropped these pages. The few rows that a search by codes
needs are read one by one, since reading one from a map would bring its neighbours into memory too.

A file is written from an index in memory, or from pieces that together don't fit into memory.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import shorten
from minisbert.arrays import Array
from minisbert.search.index_rows import (
    METRICS,
    PREPARED_ROWS,
    check_ids,
    check_matrix,
    prepare_rows,
    wants_codes,
)
from minisbert.search.int8_filter import block_dtype, count_blocks, encode_rows, make_blocks
from minisbert.search.kernel import BLOCK_ROWS
from minisbert.system.disk import write_file
from minisbert.system.locks import lock_destination
from minisbert.system.regular_files import shorten_path
from minisbert.system.safetensors import (
    make_header,
    read_header,
    read_safetensors,
    write_safetensors,
)

INDEX_FORMAT = "minisbert-flat-index"
PLAIN, EXTENDED = "1", "2"  # versions: rows only; with codes, ids, or a choice about codes

# Bytes for a header without the model's name, with the longest numbers.
HEADER_ROOM = 1024

# Embeddings, or a pair of embeddings and their ids.
Piece = ArrayLike | tuple[ArrayLike, ArrayLike]


class IndexContent(NamedTuple):
    """The content of an index file."""

    metric: str
    model_name: str
    codes: str | None  # whether rows added later get codes: "auto", "int8" or None
    rows: Array  # (M, D) float32
    blocks: Array | None  # codes of the rows, see `int8_filter`
    ids: Array | None  # (M,) int64
    companions: dict[str, Array]


# --- writing ---


def write_index(path: Path, content: IndexContent) -> None:
    """Write an index; if that fails, an old file does not change."""
    arrays = {**content.companions, "rows": content.rows}
    if content.blocks is not None:
        width = content.blocks.dtype.itemsize  # one row of bytes for each block
        arrays["codes"] = content.blocks.view(np.uint8).reshape(len(content.blocks), width)
    if content.ids is not None:
        arrays["ids"] = content.ids
    _, D = content.rows.shape
    plain = content.blocks is None and content.ids is None
    metadata = _make_metadata(
        D, content.metric, content.model_name, codes=content.codes, plain=plain
    )
    write_safetensors(path, arrays, metadata)


def build_index(
    path: Path,
    pieces: Iterable[Piece],
    dimension: int,
    *,
    metric: str,
    model_name: str,
    codes: str | None,
) -> None:
    """Write embeddings (n, D), or pairs of embeddings and their ids (n,), as they come.

    Rows are written to the file at once, after room for its header. Their codes are written to a
    temporary file in the same directory, and copied after the rows at the end. The lock of `path`
    is held all the while, so that nothing that another process builds there is lost.
    """
    stream = _CodeStream(dimension) if wants_codes(codes, 1 << 62, dimension) else None
    room = HEADER_ROOM + len(json.dumps(model_name))
    room += -room % 64
    found_ids: list[Array] = []
    count = 0
    path.absolute().parent.stat()  # a missing folder is an error, as when an index is saved
    with (
        lock_destination(path, wait=False),
        write_file(path) as file,
        tempfile.TemporaryFile(dir=path.absolute().parent) as coded,
    ):
        file.seek(room)
        for number, piece in enumerate(pieces):
            embeddings, ids = piece if isinstance(piece, tuple) else (piece, None)
            matrix = check_matrix(embeddings, f"piece {number}", dimension)
            if number and (ids is None) == bool(found_ids):
                raise ValueError(
                    f"piece {number} must have ids exactly if the pieces before it have some, got "
                    f"{'none' if ids is None else 'some'}; give ids for all rows or for none"
                )
            if ids is not None:
                found_ids.append(check_ids(ids, len(matrix)))
            for start in range(0, len(matrix), PREPARED_ROWS):
                part = matrix[start : start + PREPARED_ROWS]
                rows = prepare_rows(part, metric, "embedding", first=count)
                file.write(rows.data)
                if stream:
                    coded.write(stream.encode(rows))
                count += len(rows)
        tensors: dict[str, tuple[str, tuple[int, ...]]] = {"rows": ("F32", (count, dimension))}
        if stream and wants_codes(codes, count, dimension):
            coded.write(stream.encode(np.empty((0, dimension), np.float32), last=True))
            coded.seek(0)
            shutil.copyfileobj(coded, file, 1 << 20)
            tensors["codes"] = ("U8", (count_blocks(count), block_dtype(dimension).itemsize))
        if found_ids:
            file.write(check_ids(np.concatenate(found_ids), count).data)
            tensors["ids"] = ("I64", (count,))
        metadata = _make_metadata(
            dimension, metric, model_name, codes=codes, plain=len(tensors) == 1
        )
        file.seek(0)
        file.write(make_header(tensors, metadata, size=room))


class _CodeStream:
    """Encode rows, given in parts of any size, into whole blocks."""

    def __init__(self, D: int) -> None:
        self.waiting = np.empty((0, D), np.float32)  # rows of a block that is not full yet

    def encode(self, rows: Array, last: bool = False) -> bytes:
        """Return the blocks that are full with these rows (n, D); with `last`, all blocks."""
        rows = np.concatenate([self.waiting, rows])
        count = len(rows) if last else len(rows) // BLOCK_ROWS * BLOCK_ROWS
        self.waiting = rows[count:]
        blocks = make_blocks(count, rows.shape[1])
        encode_rows(rows[:count], blocks)
        return blocks.tobytes()


def _make_metadata(
    dimension: int, metric: str, model_name: str, *, codes: str | None, plain: bool
) -> dict[str, str]:
    """Return the metadata of a file; a plain one has neither codes nor ids."""
    metadata = {
        "format": INDEX_FORMAT,
        "format_version": PLAIN,
        "dimension": str(dimension),
        "metric": metric,
        "model_name": model_name,
    }
    if not plain or codes != "auto":
        metadata |= {"format_version": EXTENDED, "codes": codes or "none"}
    return metadata


# --- reading ---


class RowFile:
    """Rows of float32 in an open file, read by their numbers.

    It keeps reading the file that it opened, even if that is replaced by another file meanwhile.

    offset  of the first row in the file
    """

    def __init__(self, path: Path, offset: int, D: int) -> None:
        self.path, self.offset, self.D = path, offset, D
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)

    def fetch(self, numbers: Array) -> Array:
        """Return the rows of these numbers.  (n,) -> (n, D)"""
        rows = np.empty((len(numbers), self.D), np.float32)
        width = rows.itemsize * self.D
        for row, number in zip(rows, numbers.tolist(), strict=True):
            start = self.offset + width * number
            if os.preadv(self.descriptor, [row.data], start) != width:
                raise ValueError(
                    f"{shorten_path(self.path)} must hold row {number} whole, but it was cut "
                    f"short; "
                    "replace it with a whole copy"
                )
        return rows


def open_index(path: Path) -> tuple[IndexContent, RowFile | None]:
    """Map an index file, read its codes, and return a `RowFile` too if the system has preadv.

    Raises ValueError if it is damaged, of another kind, or of a newer version.
    """
    while True:
        before = os.stat(path) if path.exists() else None
        content = _map_index(path)
        if not hasattr(os, "preadv"):
            return content, None
        with path.open("rb") as file:
            header, first = read_header(file)
            if content.blocks is not None:
                file.seek(first + header["codes"]["data_offsets"][0])
                blocks = np.fromfile(file, content.blocks.dtype, len(content.blocks))
                content = content._replace(blocks=blocks)
        start = first + header["rows"]["data_offsets"][0]
        rows = RowFile(path, start, content.rows.shape[1])
        # If another file has replaced it meanwhile, parts of both may have been read: start again.
        if before and os.path.samestat(before, os.fstat(rows.descriptor)):
            return content, rows


def _map_index(path: Path) -> IndexContent:
    """Map the arrays of an index file and check them against each other and its metadata."""
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != INDEX_FORMAT:
        raise ValueError(
            f"index {shorten_path(path)} must be a file of {INDEX_FORMAT}, got another kind "
            f"of safetensors file; "
            "pass a file that FlatIndex.save wrote"
        )
    version = metadata.get("format_version", "")
    if version not in (PLAIN, EXTENDED):
        raise ValueError(
            f"index {shorten_path(path)} must be of format version {PLAIN} or {EXTENDED}, got "
            f"{shorten(version)}; "
            "open it with the minisbert that wrote it, or a newer one"
        )
    rows = arrays.pop("rows", np.empty(0, np.float32))
    dimension, metric = metadata.get("dimension", ""), metadata.get("metric", "")
    D = rows.shape[1] if rows.ndim == 2 else 0
    if rows.dtype != np.float32 or D < 1 or str(D) != dimension or metric not in METRICS:
        raise ValueError(
            f"index {shorten_path(path)} must hold float32 rows (M, {dimension}) and a metric, got "
            f"{rows.dtype} rows {rows.shape} and {shorten(metric)}; it is damaged, build it again"
        )
    choice, blocks, ids = "auto", None, None
    if version == EXTENDED:
        choice = metadata.get("codes", "")
        if choice not in ("auto", "int8", "none"):
            raise ValueError(
                f"codes in index {shorten_path(path)} must be auto, int8 or none, got "
                f"{shorten(choice)}; "
                "it is damaged, build it again"
            )
        coded, ids = arrays.pop("codes", None), arrays.pop("ids", None)
        kind = block_dtype(D)
        shape = (count_blocks(len(rows)), kind.itemsize)
        if coded is not None and (coded.dtype != np.uint8 or coded.shape != shape):
            raise ValueError(
                f"index {shorten_path(path)} must hold codes of bytes {shape}, got "
                f"{coded.dtype} {coded.shape}; "
                "it is damaged, build it again"
            )
        if ids is not None and (ids.dtype != np.int64 or ids.shape != (len(rows),)):
            raise ValueError(
                f"index {shorten_path(path)} must hold {len(rows)} ids of int64, got "
                f"{ids.dtype} {ids.shape}; "
                "it is damaged, build it again"
            )
        if coded is not None:
            blocks = coded.reshape(-1).view(kind)
    return IndexContent(
        metric=metric,
        model_name=metadata.get("model_name", ""),
        codes=None if choice == "none" else choice,
        rows=rows,
        blocks=blocks,
        ids=ids,
        companions=arrays,
    )
