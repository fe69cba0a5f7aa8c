"""The file of an index: one safetensors file with rows, codes, ids, companions, and digests of all.

Rows stay in the file and are mapped. Codes are read into memory, since every search reads all of
them: a mapped file is read a tenth slower, because the system keeps it in much smaller pages, and
more slowly still after the system has dropped these pages. Ids are read too, since they are small.
The few rows that a search by codes needs are read one by one (see `block_file`).

A file is written from an index in memory, or from pieces that together don't fit into memory.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_unmasked, shorten
from minisbert.arrays import Array
from minisbert.search.block_file import (
    BLOCK,
    DIGESTS,
    BlockFile,
    BlockWriter,
    count_digests,
    split_array,
)
from minisbert.search.index_rows import (
    METRICS,
    PREPARED_ROWS,
    IndexState,
    check_codes,
    check_ids,
    check_matrix,
    check_metric,
    prepare_rows,
    wants_codes,
)
from minisbert.search.int8_filter import block_dtype, count_blocks, encode_rows, make_blocks
from minisbert.search.kernel import BLOCK_ROWS
from minisbert.system.disk import write_file
from minisbert.system.locks import lock_destination
from minisbert.system.regular_files import open_regular, shorten_path
from minisbert.system.safetensors import DTYPES, Tensor, count_bytes, describe_tensors, make_header

INDEX_FORMAT = "minisbert-flat-index"

# The version that is written, and those of minisbert 0.1.0, which are read too: rows only; and with
# codes, ids, or a choice about codes. Neither has digests.
VERSION, PLAIN, EXTENDED = "3", "1", "2"

# The arrays of an index; the others in its file are companions.
OWN_ARRAYS = ("rows", "codes", "ids", DIGESTS)

# What may be asked for as `codes`, as the metadata have it.
_CHOICES = {"auto": "auto", "int8": "int8", "none": None}

# Bytes for a header without the model's name, with the longest numbers.
HEADER_ROOM = 1024

# Embeddings, or a pair of embeddings and their ids.
Piece = ArrayLike | tuple[ArrayLike, ArrayLike]


class IndexContent(NamedTuple):
    """The content of an index file."""

    dimension: int
    metric: str
    model_name: str
    codes: str | None  # whether rows added later get codes: "auto", "int8" or None
    state: IndexState
    companions: dict[str, Array]


# --- writing ---


def write_index(path: Path, content: IndexContent) -> None:
    """Write an index; if that fails, an old file does not change.

    Rows and companions that are mapped from a file are read from it, checked by their digests.
    """
    state, arrays = content.state, {}
    check_companions(content.companions)
    arrays.update(content.companions)
    arrays["rows"] = state.rows
    if state.blocks is not None:
        state.check_blocks()
        arrays["codes"] = view_blocks(state.blocks)
    if state.ids is not None:
        arrays["ids"] = state.ids
    tensors = describe_tensors(arrays)
    names = list(tensors)
    tensors[DIGESTS] = _describe_digests(tensors)
    header = make_header(
        tensors,
        _make_metadata(
            state.rows.shape[1], content.metric, content.model_name, codes=content.codes
        ),
    )
    with write_file(path) as file:
        writer = BlockWriter(file)
        file.write(header)
        for name in names:
            for part in _split(arrays[name], name, state.file):
                writer.write(part)
            writer.end_array()
        file.write(writer.finish(header))


def check_companions(companions: dict[str, Array]) -> None:
    """Refuse companions that a file can't hold under their names."""
    kinds = {np.dtype(dtype) for dtype in DTYPES.values()}
    for name, array in companions.items():
        named = isinstance(name, str) and name not in (*OWN_ARRAYS, "__metadata__")
        if not named or not isinstance(array, np.ndarray) or array.dtype not in kinds:
            raise ValueError(
                "companions must be arrays of numbers under names other than "
                f"{', '.join(OWN_ARRAYS)}, got {getattr(array, 'dtype', type(array).__name__)} "
                f"{shorten(name)}; rename or convert it"
            )
        check_unmasked(array, f"companion {shorten(name)}")
        check_name(name, "name of a companion")


def check_name(name: object, what: str) -> str:
    """Return a text for a file's header; refuse what is no text, or has half a character."""
    with contextlib.suppress(UnicodeEncodeError):
        if isinstance(name, str):
            name.encode()
            return name
    raise ValueError(f"{what} must be a str that UTF-8 has, got {shorten(name)}; pass another one")


def view_blocks(blocks: Array) -> Array:
    """View codes as bytes, one row for each block."""
    return blocks.view(np.uint8).reshape(len(blocks), blocks.dtype.itemsize)


def _split(array: Array, name: str, file: BlockFile | None) -> Iterator[Array]:
    """Return the bytes of an array in parts, from the file that it is mapped from, if any."""
    if file is not None and file.maps(array, name):
        return file.read_blocks(name)
    return split_array(array)


def build_index(
    path: Path,
    pieces: Iterable[Piece],
    dimension: int,
    *,
    metric: str,
    model_name: str,
    codes: str | None,
) -> BlockFile:
    """Write embeddings (n, D), or pairs of embeddings and their ids (n,), as they come.

    Rows are written to the file at once, after room for its header. Their codes are written to a
    temporary file in the same directory, and copied after the rows at the end. The lock of `path`
    is held all the while, so that nothing that another process builds there is lost. Returns this
    very file, open, even if another takes its name at once.
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
        writer = BlockWriter(file)
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
                writer.write(rows.reshape(-1).view(np.uint8))
                if stream:
                    coded.write(stream.encode(rows))
                count += len(rows)
        writer.end_array()
        tensors: dict[str, Tensor] = {"rows": ("F32", (count, dimension))}
        if stream and wants_codes(codes, count, dimension):
            coded.write(stream.encode(np.empty((0, dimension), np.float32), last=True))
            coded.seek(0)
            while encoded := coded.read(BLOCK):
                writer.write(encoded)
            writer.end_array()
            tensors["codes"] = ("U8", (count_blocks(count), block_dtype(dimension).itemsize))
        if found_ids:
            writer.write(check_ids(np.concatenate(found_ids), count).tobytes())
            writer.end_array()
            tensors["ids"] = ("I64", (count,))
        tensors[DIGESTS] = _describe_digests(tensors)
        header = make_header(
            tensors, _make_metadata(dimension, metric, model_name, codes=codes), size=room
        )
        file.write(writer.finish(header))
        file.seek(0)
        file.write(header)
        file.flush()
        written = open_regular(file.name)
    return BlockFile(path, written)


def _describe_digests(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return type and shape of the digests of arrays."""
    return "U32", (count_digests(count_bytes(*tensor) for tensor in tensors.values()),)


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
    dimension: int, metric: str, model_name: str, *, codes: str | None
) -> dict[str, str]:
    check_codes(codes, dimension)
    return {
        "format": INDEX_FORMAT,
        "format_version": VERSION,
        "dimension": str(dimension),
        "metric": check_metric(metric),
        "model_name": check_name(model_name, "model_name"),
        "codes": codes or "none",
    }


# --- reading ---


def open_index(path: Path, *, mapped: bool = True) -> IndexContent:
    """Open an index file: map rows and companions, read codes and ids.

    mapped  False to read everything into memory, checked by its digests, and close the file

    Raises ValueError if it is damaged, of another kind, or of a newer version; OSError if it can't
    be opened.
    """
    try:
        file = BlockFile(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"index {shorten_path(path)} must be a file, but there is no such file; check the path"
        ) from None
    return read_content(file, mapped=mapped)


def read_content(file: BlockFile, *, mapped: bool = True) -> IndexContent:
    """Take the content of an open index file, checked against itself; `mapped` as `open_index`."""
    shown = shorten_path(file.path)
    metadata, places = file.metadata, file.places
    if metadata.get("format") != INDEX_FORMAT:
        raise ValueError(
            f"index {shown} must be a file of {INDEX_FORMAT}, got another kind of safetensors "
            "file; pass a file that FlatIndex.save wrote"
        )
    version = metadata.get("format_version", "")
    if version not in (PLAIN, EXTENDED, VERSION):
        raise ValueError(
            f"index {shown} must be of format version {PLAIN}, {EXTENDED} or {VERSION}, got "
            f"{shorten(version)}; open it with the minisbert that wrote it, or a newer one"
        )
    if version == VERSION and file.digests is None:
        raise ValueError(
            f"index {shown} must hold digests, got none; it is damaged, build it again"
        )
    dimension, metric = metadata.get("dimension", ""), metadata.get("metric", "")
    kind, shape = places["rows"][:2] if "rows" in places else ("no", ())
    D = shape[1] if len(shape) == 2 else 0
    if kind != "F32" or D < 1 or str(D) != dimension or metric not in METRICS:
        raise ValueError(
            f"index {shown} must hold float32 rows (M, {shorten(dimension)}) and a metric, got "
            f"{kind} rows {shape} and {shorten(metric)}; it is damaged, build it again"
        )
    choice = "auto" if version == PLAIN else metadata.get("codes", "")
    if choice not in _CHOICES:
        raise ValueError(
            f"codes in index {shown} must be auto, int8 or none, got {shorten(choice)}; "
            "it is damaged, build it again"
        )
    M = shape[0]
    layout = block_dtype(D)
    size = (count_blocks(M), layout.itemsize)
    own = {
        "codes": ("U8", size, f"codes of bytes {size}"),
        "ids": ("I64", (M,), f"{M} ids of int64"),
    }
    found: dict[str, Array] = {}
    for name, (*wanted, what) in own.items():
        if version == PLAIN or name not in places:
            continue
        if [*places[name][:2]] != wanted:
            got = f"{DTYPES[places[name].kind].__name__} {places[name].shape}"
            raise ValueError(
                f"index {shown} must hold {what}, got {got}; it is damaged, build it again"
            )
        # Every search by codes reads all of them. At a gigabyte a second, their digests would make
        # opening slower; those of ids cost nothing beside it.
        found[name] = file.read(name, check=name == "ids" or not mapped)
    read = file.map if mapped else file.read
    state = IndexState(
        read("rows"),
        found["codes"].reshape(-1).view(layout) if "codes" in found else None,
        found.get("ids"),
        file if mapped else None,
        file.digests,
    )
    own_names = ("rows", DIGESTS) if version == PLAIN else OWN_ARRAYS
    companions = {name: read(name) for name in places if name not in own_names}
    return IndexContent(
        D, metric, metadata.get("model_name", ""), _CHOICES[choice], state, companions
    )
