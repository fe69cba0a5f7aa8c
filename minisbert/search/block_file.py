"""An index file, opened once: mapped or read, and checked by a digest of every block.

Header, rows, codes and ids are all taken through one descriptor, so they are of one file, even if
another takes its name meanwhile. Rows are mapped, or read by their numbers: reading a row from a
map would bring its neighbours into memory too, and a map of a file that somebody else cuts short
ends the process, where a read gives an error.

The last array of a file, "digests", has a CRC-32 of the header, of every block of 1 MiB of every
array in the order of the file, and of these digests. A CRC-32 finds damage of up to 32 bits in a
row for certain, and misses other damage of a block once in four thousand million times. It is no
protection against somebody who wants to deceive. It was chosen for its speed: where it was
measured it reads 1.9 GB/s, SHA-256 1.0 and BLAKE2b 0.7. Opening a file checks the header and the
digests themselves; `check` and whatever reads an array whole check the rest.
"""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from minisbert.arguments import shorten_name
from minisbert.arrays import Array
from minisbert.system.file_identity import FileIdentity, reopen
from minisbert.system.regular_files import open_regular, shorten_path
from minisbert.system.safetensors import Place, read_layout, view_tensor
from minisbert.system.threads import run_parts

DIGESTS = "digests"
BLOCK = 1 << 20

# Blocks that are read or written at a time.
BLOCKS_AT_ONCE = 8

# The time of reading a block and its digest, in multiplications.
_BLOCK_WORK = 2 * BLOCK

# Where the system can't read at a place, a seek and a read belong together.
_seeking = threading.Lock()


class Digests(NamedTuple):
    """The digests of the blocks of arrays, as they were read from a file.

    path    of the file
    values  name of an array -> (blocks,) uint32
    sizes   name of an array -> its bytes in the file
    """

    path: Path
    values: dict[str, Array]
    sizes: dict[str, int]

    def check(self, name: str, raw: Array, first: int = 0) -> None:
        """Raise ValueError if bytes of an array (n,), from a block's first on, are not as saved."""
        expected = self.values[name][first:]
        for block, start in enumerate(range(0, len(raw), BLOCK)):
            part = raw[start : start + BLOCK]
            if zlib.crc32(part.data) != expected[block]:
                begin = (first + block) * BLOCK
                raise ValueError(
                    f"{_name_array(name, self.path)} must be as they were saved, but bytes {begin} "
                    f"to {begin + len(part)} of them are damaged; restore a copy of the file, or "
                    "build the index again"
                )

    def check_array(self, name: str, array: Array) -> None:
        """Check an array in memory; raises as `check` does."""
        for place, part in enumerate(split_array(array)):
            self.check(name, part, place * BLOCKS_AT_ONCE)

    def fits(self, name: str, size: int) -> bool:
        """Tell whether an array has as many bytes as in the file, so that it was not decoded."""
        return self.sizes[name] == size


class BlockFile:
    """An open file of arrays, read-only; it keeps reading the file that it opened.

    It is never changed, so copies of an index share it. It is pickled as its path: where a pickle
    is read, that path is opened again, and must still lead to the same file.

    metadata  of its header
    places    name -> where an array is
    digests   of its arrays; None in a file that has none, as version 0.1.0 wrote it
    """

    def __init__(self, path: str | os.PathLike[str], file: BufferedReader | None = None) -> None:
        self.path = Path(os.path.abspath(path))
        with file or open_regular(path) as opened:
            self.metadata, self.places = read_layout(opened, self.path)
            self.identity = FileIdentity.of(opened.fileno())
            self._descriptor = os.dup(opened.fileno())
            weakref.finalize(self, os.close, self._descriptor)
            size = max((place.end for place in self.places.values()), default=8)
            try:
                self._whole = np.asarray(np.memmap(opened, np.uint8, "r", shape=size))
            except ValueError:  # it has become shorter since the header was checked
                raise self._refuse_short() from None
        self.digests = self._read_digests() if DIGESTS in self.places else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (self.path, self.identity)

    def __copy__(self) -> BlockFile:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> BlockFile:
        return self

    def maps(self, array: Array, name: str) -> bool:
        """Tell whether an array is the one of this name that stays in this file."""
        if name not in self.places or not array.nbytes:
            return False
        place = self.places[name]
        start = self._whole.ctypes.data + place.start
        return array.ctypes.data == start and array.nbytes == place.end - place.start

    def map(self, name: str) -> Array:
        """Return an array that stays in the file; half precision is decoded, so it is read."""
        place = self.places[name]
        if place.kind in ("F16", "BF16"):
            return self.read(name)
        return self._view(self._whole[place.start : place.end], name)

    def read(self, name: str, check: bool = True) -> Array:
        """Read an array into memory; check its digests, unless told not to."""
        place = self.places[name]
        raw = np.empty(place.end - place.start, np.uint8)
        self.read_into(name, raw, check)
        return self._view(raw, name)

    def read_into(self, name: str, out: Array, check: bool = True) -> None:
        """Read the bytes of an array into another's memory, (n,) uint8, on several threads."""
        start = self.places[name].start
        digests = self.digests if check else None

        def read(blocks: slice) -> None:
            for block in range(blocks.start, blocks.stop):
                part = out[block * BLOCK : (block + 1) * BLOCK]
                self.read_at(start + block * BLOCK, part)
                if digests:
                    digests.check(name, part, block)

        run_parts(read, -(-len(out) // BLOCK), work=_BLOCK_WORK, threads=None)

    def read_blocks(self, name: str) -> Iterator[Array]:
        """Read an array some blocks at a time, each checked by its digest, into one buffer."""
        start, end = self.places[name][2:]
        buffer = np.empty(min(end - start, BLOCKS_AT_ONCE * BLOCK), np.uint8)
        for offset in range(start, end, BLOCKS_AT_ONCE * BLOCK):
            part = buffer[: end - offset]
            self.read_at(offset, part)
            if self.digests:
                self.digests.check(name, part, (offset - start) // BLOCK)
            yield part

    def check(self, name: str) -> None:
        """Raise ValueError if the bytes of an array in the file are not as they were saved."""
        place = self.places[name]

        def check(blocks: slice) -> None:
            buffer = np.empty(BLOCK, np.uint8)
            for block in range(blocks.start, blocks.stop):
                offset = place.start + block * BLOCK
                part = buffer[: place.end - offset]
                self.read_at(offset, part)
                if self.digests:
                    self.digests.check(name, part, block)

        run_parts(check, -(-(place.end - place.start) // BLOCK), work=_BLOCK_WORK, threads=None)

    def read_rows(self, start: int, stop: int) -> Array:
        """Read some rows one after another.  -> (stop - start, D)"""
        rows = np.empty((stop - start, self.places["rows"].shape[1]), np.float32)
        if rows.nbytes:
            offset = self.places["rows"].start + start * rows.itemsize * rows.shape[1]
            self.read_at(offset, rows.reshape(-1).view(np.uint8))
        return rows

    def fetch(self, numbers: Array) -> Array:
        """Read the rows of these numbers.  (n,) -> (n, D)"""
        _, (_, D), offset, _ = self.places["rows"]
        rows = np.empty((len(numbers), D), np.float32)
        width = rows.itemsize * D
        if not hasattr(os, "preadv"):
            for row, number in zip(rows, numbers.tolist(), strict=True):
                self.read_at(offset + width * number, row.view(np.uint8))
            return rows
        for row, number in zip(rows, numbers.tolist(), strict=True):
            if os.preadv(self._descriptor, [row.data], offset + width * number) != width:
                raise self._refuse_short()
        return rows

    def read_at(self, offset: int, out: Array) -> None:
        """Read bytes from an offset of the file into an array (n,) of uint8 until it is full."""
        view, done = memoryview(out.data), 0
        while done < len(view):
            if hasattr(os, "preadv"):
                count = os.preadv(self._descriptor, [view[done:]], offset + done)
            else:
                with _seeking:
                    os.lseek(self._descriptor, offset + done, os.SEEK_SET)
                    found = os.read(self._descriptor, len(view) - done)
                count = len(found)
                view[done : done + count] = found
            if count == 0:
                raise self._refuse_short()
            done += count

    def check_size(self) -> None:
        """Raise ValueError if the file has become shorter, before its map is read."""
        if os.fstat(self._descriptor).st_size < self.identity.size:
            raise self._refuse_short()

    def _refuse_short(self) -> ValueError:
        return ValueError(
            f"{shorten_path(self.path)} must stay as long as it was when it was opened, "
            f"{self.identity.size} bytes, but it was cut short; replace it with a whole copy, and "
            "load with mapped=False what others write to"
        )

    def _view(self, raw: Array, name: str) -> Array:
        return view_tensor(raw, self.places[name], _name_array(name, self.path))

    def _read_digests(self) -> Digests:
        """Read the digests, and check the header and themselves by them."""
        sizes = {name: place.end - place.start for name, place in self._arrays()}
        place = self.places[DIGESTS]
        if place.kind != "U32" or place.shape != (count_digests(sizes.values()),):
            raise self._refuse_header(f"{place.kind} digests of shape {place.shape}")
        values = np.empty(place.shape, np.uint32)
        self.read_at(place.start, values.view(np.uint8))
        if zlib.crc32(values[:-1].data) != values[-1]:
            raise self._refuse_header("digests that changed since they were saved")
        header = np.empty(min(place.start for place in self.places.values()), np.uint8)
        self.read_at(0, header)
        if zlib.crc32(header.data) != values[0]:
            raise self._refuse_header("a header that changed since it was saved")
        found, first = {}, 1
        for name, size in sizes.items():
            found[name] = values[first : first + -(-size // BLOCK)]
            first += len(found[name])
        return Digests(self.path, found, sizes)

    def _arrays(self) -> list[tuple[str, Place]]:
        """Return the names and places of all arrays but the digests, in the order of the file."""
        places = [(name, place) for name, place in self.places.items() if name != DIGESTS]
        return sorted(places, key=lambda item: (item[1].start, item[1].end))

    def _refuse_header(self, actual: str) -> ValueError:
        return ValueError(
            f"index {shorten_path(self.path)} must have the digests that were saved with it, got "
            f"{actual}; it is damaged, build it again"
        )


def _name_array(name: str, path: Path) -> str:
    """Return the name of an array and its file, for an error."""
    return f"{shorten_name(name)} in {shorten_path(path)}"


def _open_again(path: Path, identity: FileIdentity) -> BlockFile:
    """Open a file again where a pickle of it arrives."""
    return BlockFile(path, reopen(path, identity))


class BlockWriter:
    """Write the arrays of a file one after another, and take the digests of their blocks.

    Digests are taken on a thread of their own while the system writes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digests: list[int] = []
        self._crc = self._filled = 0  # of the block that is not full yet

    def write(self, raw: bytes | Array) -> None:
        """Write bytes of the present array."""
        view = memoryview(raw.data if isinstance(raw, np.ndarray) else raw)
        if len(view) < BLOCK:
            self._digest(view)
            self._file.write(view)
            return
        with ThreadPoolExecutor(1, "minisbert") as pool:
            digesting = pool.submit(self._digest, view)
            self._file.write(view)
            digesting.result()

    def end_array(self) -> None:
        """Begin another array."""
        if self._filled:
            self._digests.append(self._crc)
        self._crc = self._filled = 0

    def finish(self, header: bytes) -> bytes:
        """Return the bytes of the digests, which come last."""
        values = np.array([zlib.crc32(header), *self._digests], "<u4")
        return values.tobytes() + zlib.crc32(values.tobytes()).to_bytes(4, "little")

    def _digest(self, view: memoryview) -> None:
        start = 0
        while start < len(view):
            part = view[start : start + BLOCK - self._filled]
            self._crc = zlib.crc32(part, self._crc)
            self._filled += len(part)
            start += len(part)
            if self._filled == BLOCK:
                self.end_array()


def count_digests(sizes: Iterable[int]) -> int:
    """Return the number of digests of a file whose arrays have these sizes, in bytes."""
    return 2 + sum(-(-size // BLOCK) for size in sizes)


def split_array(array: Array) -> Iterator[Array]:
    """Yield the bytes of an array in memory, some blocks at a time.  -> (n,) uint8 each"""
    if array.nbytes:
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, len(raw), BLOCKS_AT_ONCE * BLOCK):
            yield raw[start : start + BLOCKS_AT_ONCE * BLOCK]
