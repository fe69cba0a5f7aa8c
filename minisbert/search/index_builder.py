"""Write an index of more rows than memory holds, piece by piece."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array
from minisbert.search.index_files import make_metadata
from minisbert.search.index_rows import BLOCK_ROWS, as_ids, as_matrix, prepare_rows, wants_codes
from minisbert.search.int8_filter import BLOCK_ROWS as CODED_ROWS
from minisbert.search.int8_filter import block_dtype, encode_rows, make_blocks
from minisbert.system.disk import write_file

Piece = ArrayLike | tuple[ArrayLike, ArrayLike]

Tensors = dict[str, tuple[str, tuple[int, ...]]]  # name -> type and shape

# For all of the header but the model's name, with numbers as long as they can get.
HEADER_ROOM = 1024


class CodeStream:
    """Codes of rows that come in any numbers, in whole blocks."""

    def __init__(self, D: int) -> None:
        self.waiting = np.empty((0, D), np.float32)  # rows of a block that is not full yet

    def encode(self, rows: Array, last: bool = False) -> bytes:
        """The blocks that are full with these rows, (n, D); with `last` all."""
        rows = np.concatenate([self.waiting, rows])
        count = len(rows) if last else len(rows) // CODED_ROWS * CODED_ROWS
        self.waiting = rows[count:]
        blocks = make_blocks(count, rows.shape[1])
        encode_rows(rows[:count], blocks)
        return blocks.tobytes()


def build_index(
    path: Path,
    pieces: Iterable[Piece],
    dimension: int,
    metric: str,
    model_name: str,
    codes: str | None,
) -> int:
    """Write embeddings (n, D), or pairs of them and their ids (n,), as they come; count the rows.

    Rows go straight into the file, behind room for its header, and their codes into one without a
    name beside it, which is put behind the rows in the end.
    """
    stream = CodeStream(dimension) if wants_codes(codes, 1 << 62, dimension) else None
    room = HEADER_ROOM + len(json.dumps(model_name))
    room += -room % 64
    found_ids: list[Array] = []
    count = 0
    with write_file(path) as file, tempfile.TemporaryFile(dir=path.absolute().parent) as coded:
        file.seek(room)
        for number, piece in enumerate(pieces):
            embeddings, ids = piece if isinstance(piece, tuple) else (piece, None)
            matrix = as_matrix(embeddings, f"piece {number}", dimension)
            if number and (ids is None) == bool(found_ids):
                raise ValueError(
                    f"piece {number} must have ids as those before it have or have not, got "
                    f"{'none' if ids is None else 'some'}; give ids for all rows or for none"
                )
            if ids is not None:
                found_ids.append(as_ids(ids, len(matrix)))
            for start in range(0, len(matrix), BLOCK_ROWS):
                part = matrix[start : start + BLOCK_ROWS]
                rows = prepare_rows(part, metric, "embedding", count)
                file.write(rows.data)
                if stream:
                    coded.write(stream.encode(rows))
                count += len(rows)
        tensors: Tensors = {"rows": ("F32", (count, dimension))}
        if stream and wants_codes(codes, count, dimension):
            coded.write(stream.encode(np.empty((0, dimension), np.float32), last=True))
            coded.seek(0)
            shutil.copyfileobj(coded, file, 1 << 20)
            width = block_dtype(dimension).itemsize
            tensors["codes"] = ("U8", (-(-count // CODED_ROWS), width))
        if found_ids:
            file.write(as_ids(np.concatenate(found_ids), count).data)
            tensors["ids"] = ("I64", (count,))
        metadata = make_metadata(dimension, metric, model_name, codes, plain=len(tensors) == 1)
        file.seek(0)
        file.write(make_header(tensors, metadata, room))
    return count


def make_header(tensors: Tensors, metadata: dict[str, str], room: int) -> bytes:
    """A safetensors header that fills `room` bytes; the tensors lie one after another behind it."""
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, (kind, shape) in tensors.items():
        size = {"F32": 4, "U8": 1, "I64": 8}[kind]
        start, end = end, end + size * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    return (room - 8).to_bytes(8, "little") + text.ljust(room - 8)
