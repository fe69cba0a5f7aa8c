"""Arrays that are views of a mapped file: recognised, so that they are copied and pickled as such.

A read-only view of a map never changes, so a deep copy may share it. A pickle holds the name and
the identity of the file and the place in it, instead of the bytes; the file is mapped again where
the pickle arrives, if it is still the same.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.system.file_identity import FileIdentity, reopen


class _Source(NamedTuple):
    """A mapped file: its absolute path, and its identity when it was mapped."""

    path: str
    identity: FileIdentity


class _Map(np.memmap[Any, Any]):
    """The bytes of a file, with its source."""

    source: _Source


class Span(NamedTuple):
    """An array's place in a file, for a pickle."""

    source: _Source
    start: int
    dtype: str
    shape: tuple[int, ...]


def map_file(file: BinaryIO, path: str | os.PathLike[str]) -> Array:
    """Map an open file, read-only.  -> (size,) uint8

    Raises ValueError if it is empty.
    """
    whole = _Map(file, np.uint8, "r")
    whole.source = _Source(os.path.abspath(path), FileIdentity.of(file.fileno()))
    return np.asarray(whole)


def find_span(array: Array) -> Span | None:
    """Return the place of an array that is a read-only view of a mapped file, else None."""
    base: Any = array
    while base is not None and not isinstance(base, _Map):
        base = getattr(base, "base", None)
    if base is None or array.flags.writeable or not array.flags.c_contiguous or not array.size:
        return None
    return Span(base.source, array.ctypes.data - base.ctypes.data, array.dtype.str, array.shape)


def replace_by_span(array: Array) -> Array | Span:
    """Return what a pickle should hold of an array: its place in a file, or else itself."""
    return find_span(array) or array


def copy_deeply(array: Array, memo: dict[int, Any]) -> Array:
    """Return a view of a mapped file as it is, and a copy of any other array."""
    return array if find_span(array) else copy.deepcopy(array, memo)


def map_spans(found: Iterable[Array | Span]) -> list[Array]:
    """Map the arrays that are given by their places, each file once; return all arrays.

    Raises FileNotFoundError or ValueError if a file is not the one that was mapped.
    """
    maps: dict[_Source, Array] = {}
    arrays = []
    for item in found:
        if isinstance(item, Span):
            source, start, dtype, shape = item
            if source not in maps:
                with reopen(*source) as file:
                    maps[source] = map_file(file, source.path)
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            item = maps[source][start : start + size].view(dtype).reshape(shape)
        arrays.append(item)
    return arrays
