"""Read arrays from safetensors files by mapping them into memory, and write such files.

A file is a header and the bytes of all tensors, one after another. The header is its length in 8
bytes, then JSON: the type, shape and place of each tensor, and a table of strings, the metadata.
(The format: https://github.com/huggingface/safetensors)

The safetensors library checks the header, and a file that it refuses is not read. But it copies
tensors for NumPy, so the data are mapped here instead: a file opens at once, data that nothing
reads are never loaded, and processes share the memory of arrays that they don't change (a model's
word table, half of all-MiniLM-L6-v2; the rows of an index).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from minisbert.arguments import shorten, shorten_message, shorten_name
from minisbert.arrays import Array
from minisbert.system.disk import write_file
from minisbert.system.mapped_arrays import map_file
from minisbert.system.regular_files import open_regular, shorten_path

# The types of tensors, as headers name them.
DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,  # NumPy has no bfloat16: these are the bits, decoded below
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}

# What a header says of a tensor: its type, a key of DTYPES, and its shape.
Tensor = tuple[str, tuple[int, ...]]


def read_safetensors(path: Path, mapped: bool = True) -> tuple[dict[str, Array], dict[str, str]]:
    """Map every tensor of a file, read-only; return the tensors and the metadata.

    float16 and bfloat16 are decoded to float32, and so copied.

    mapped  False to read the file into memory, for storage on which others may shorten it: a map
            of a file that has become shorter ends the process

    Raises FileNotFoundError, another OSError, or ValueError naming the file if it is damaged.
    """
    path = Path(path)
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{shorten_path(path)} must be a safetensors file, but there is no such file; "
            "check the path"
        ) from None
    arrays = {}
    # One descriptor for the check, the header and the data, so that all are of one file.
    with file:
        metadata, places = read_layout(file, path)
        try:
            whole = map_file(file, path) if mapped else None
        except ValueError as error:  # it has changed since it was checked
            raise _refuse_damaged(path, error) from None
        for name, place in places.items():
            start, end = place.start, place.end
            raw = _read_span(file, start, end) if whole is None else whole[start:end]
            if len(raw) != end - start:
                raise _refuse_damaged(path, ValueError("it became shorter while it was read"))
            arrays[name] = view_tensor(raw, place, what=f"{shorten(name)} in {shorten_path(path)}")
    return arrays, metadata


class Place(NamedTuple):
    """A tensor in a file.

    kind        a key of DTYPES
    shape
    start, end  offsets in the file
    """

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_layout(file: BufferedReader, path: Path) -> tuple[dict[str, str], dict[str, Place]]:
    """Check the header of an open file; return the metadata and the place of each tensor.

    Raises ValueError naming the path if the file is damaged, or a type is unknown.
    """
    metadata, names = _check_header(file, path)
    try:
        header, first = read_header(file)
    except ValueError as error:  # it has changed since it was checked
        raise _refuse_damaged(path, error) from None
    places = {}
    for name in names:
        kind = header[name]["dtype"]
        if kind not in DTYPES:
            raise ValueError(
                f"{shorten(name)} in {shorten_path(path)} must be of type "
                f"{', '.join(DTYPES)}, got {shorten_name(kind)}; convert it to F32"
            )
        start, end = (first + offset for offset in header[name]["data_offsets"])
        places[name] = Place(kind, tuple(header[name]["shape"]), start, end)
    return metadata, places


def _check_header(file: BufferedReader, path: Path) -> tuple[dict[str, str], list[str]]:
    """Have the library check an open file; return the metadata and the names of the tensors."""
    # A path to the descriptor itself, where the system has them: the name could lead to another
    # file by now.
    own = f"/dev/fd/{file.fileno()}"
    try:
        with safe_open(own if os.path.exists(own) else path, framework="np") as checked:
            return dict(checked.metadata() or {}), list(checked.keys())
    except (SafetensorError, OSError) as error:
        raise _refuse_damaged(path, error) from None


def _refuse_damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{shorten_path(path)} must be a whole safetensors file, got a damaged one "
        f"({shorten(str(error))}); replace it with a whole copy"
    )


def _read_span(file: BufferedReader, start: int, end: int) -> Array:
    """Read the bytes between two offsets into memory, fewer if the file ends before.  (n,)"""
    raw = np.empty(end - start, np.uint8)  # NumPy's memory is aligned
    file.seek(start)
    return raw[: file.readinto(raw.data)]


def view_tensor(raw: Array, place: Place, what: str) -> Array:
    """View bytes as a read-only array; copy only what is misaligned or of half precision.

    what  name of the tensor, for the error if NumPy can't hold its shape
    """
    kind, shape = place.kind, place.shape
    dtype = np.dtype(DTYPES[kind])
    if raw.ctypes.data % dtype.itemsize:
        # BLAS would copy a misaligned matrix at every product.
        raw = raw.copy()
    try:
        array = raw.view(dtype).reshape(shape)
    except ValueError as error:
        raise ValueError(
            f"{what} must have a shape that NumPy can hold, got {shorten(shape)} "
            f"({shorten_message(error)}); replace the file with a whole copy"
        ) from None
    if kind == "BF16":
        # A bfloat16 is the upper half of a float32.
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif kind == "F16":
        array = array.astype(np.float32)
    array.flags.writeable = False
    return array


def write_safetensors(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays to a file that appears whole or not at all, without copying them all first."""
    tensors = describe_tensors(arrays)
    with write_file(path) as file:
        file.write(make_header(tensors, metadata))
        for name in tensors:
            file.write(np.ascontiguousarray(arrays[name]).data)


def describe_tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Return type and shape of each array, in the order of a file.

    The widest type comes first, so that every array is aligned in the file and can be mapped.
    """
    kinds = {np.dtype(dtype): kind for kind, dtype in DTYPES.items() if kind != "BF16"}
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    return {name: (kinds[arrays[name].dtype], arrays[name].shape) for name in names}


def read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Read the header of a file that is known to be whole.

    Returns its JSON, and the offset in the file from which the JSON counts the places of tensors.
    """
    length = int.from_bytes(file.read(8), "little")
    return json.loads(file.read(length)), 8 + length


def count_bytes(kind: str, shape: tuple[int, ...]) -> int:
    """Return the size of a tensor in a file; `kind` is a key of DTYPES."""
    return np.dtype(DTYPES[kind]).itemsize * math.prod(shape)


def make_header(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    size: int | None = None,
) -> bytes:
    """Return the bytes before the tensors, which must follow in this order without gaps.

    metadata  name -> text
    size      bytes of the header, filled up with spaces; by default the next multiple of 8
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (kind, shape) in tensors.items():
        start, end = end, end + count_bytes(kind, shape)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text = text.ljust(len(text) + -len(text) % 8 if size is None else size - 8)
    return len(text).to_bytes(8, "little") + text
