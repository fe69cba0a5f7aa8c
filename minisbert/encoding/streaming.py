"""Embeddings of more texts than fit in memory: one after another, or into a file that survives.

While `encode_to_file` works, the rows stand in "{path}.partial", and "{path}.journal" tells how
many of them are whole and what they were made of. Rows are on the disk before the journal counts
them, and the journal is replaced as a whole, so that a kill at any moment costs one chunk at most.
The partial file gets its header and its name when all is done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minisbert.arrays import Array
from minisbert.system.disk import sync_directory, write_file
from minisbert.system.json_fields import COUNT, TEXT, Fields, read_fields
from minisbert.system.progress import progress_bar

if TYPE_CHECKING:
    from minisbert.encoding.signatures import BiEncoder

# Texts that go through the network together, and that a kill can cost: some seconds' work.
CHUNK = 1024

# Of the .npy format, version 1.0: room for any number of rows, in whole units of 64 bytes.
HEADER_BYTES = 128

# What changes no embedding.
WITHOUT_EFFECT = ("batch_size", "show_progress_bar", "on_truncate", "threads", "device")


def encode_iter(
    model: BiEncoder, texts: Iterable[str], chunk: int = CHUNK, **options: Any
) -> Iterator[Array]:
    """Yield the embedding of each text, in their order, while they come.

    Parameters
    ----------
    model : SentenceTransformer
    texts : iterable of str
        It may go on for ever: a chunk is read, encoded and yielded before the next one is read.
    chunk : int
        Texts that are in memory at a time.
    **options
        As `encode` takes them. A warning of texts that are cut counts from its chunk's first.

    Yields
    ------
    (D,) array, or (T, D) with `output_value="token_embeddings"`

    Raises
    ------
    TypeError
        If a text is not a str (the message names its index).
    ValueError
        If an option has no such value, or needs all embeddings to be known.
    """
    check_options(texts, chunk, options)
    for piece in cut_texts(texts, chunk):
        for embedding in model.encode(piece, **{"show_progress_bar": False, **options}):
            yield embedding.copy()  # who keeps one should not keep its whole chunk


def encode_to_file(
    model: BiEncoder,
    texts: Iterable[str],
    path: str | os.PathLike[str],
    resume: bool = True,
    chunk: int = CHUNK,
    **options: Any,
) -> Array:
    """Write the embedding of each text into a .npy file, and go on where an earlier call ended.

    Only one process at a time may write a file.

    Parameters
    ----------
    model : SentenceTransformer
    texts : iterable of str
        Their number need not be known. To go on they must be the same ones again, from the first.
    path : str or path
    resume : bool
        Whether to go on with what an earlier call left. With False that is dropped, and a finished
        file replaced.
    chunk : int
        Texts that are in memory at a time, and what is lost at most.
    **options
        As `encode` takes them. By default a bar appears on a terminal.

    Returns
    -------
    (n, D) array
        What the file holds, mapped read-only.

    Raises
    ------
    FileExistsError
        If the file is there, and `resume` is not False.
    TypeError
        If a text is not a str (the message names its index).
    ValueError
        If what an earlier call left is of other texts, another model or other options.
    OSError
        If the disk is full, ...; what was whole stays, and the next call goes on with it.
    """
    check_options(texts, chunk, options)
    if options.get("output_value", "sentence_embedding") != "sentence_embedding":
        raise ValueError(
            "output_value must be 'sentence_embedding' for a file, got "
            f"{options['output_value']!r}; its rows are all of one width"
        )
    shown = options.pop("show_progress_bar", None)
    path = Path(os.path.realpath(path))  # a link is followed, not replaced
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must be in an existing folder, got {path}; make the folder first"
        )
    partial, journal = name_leftovers(path)
    if resume and path.exists() and not partial.exists():
        raise FileExistsError(
            f"{path} must be a new file, but it is there and finished; "
            "pass resume=False to replace it"
        )
    like: Array = model.encode([], **options)  # (0, D)
    origin = describe_origin(model, like, options)
    done, digest = 0, b""
    if resume and partial.exists() and journal.exists():
        done, digest = read_journal(journal, origin)
    rest = iter(texts)
    if digest_texts(rest, done) != digest:
        raise ValueError(
            f"the first {done} texts must be those that {partial} was made of, got others; "
            "give the same ones, or pass resume=False to begin anew"
        )
    whole = HEADER_BYTES + done * like.shape[1] * like.dtype.itemsize
    if done and partial.stat().st_size < whole:
        raise ValueError(
            f"{partial} must hold {done} rows, as {journal} tells, but it was cut short; "
            "pass resume=False to begin anew"
        )
    if not done:
        journal.unlink(missing_ok=True)  # it may tell of rows that are dropped now
    with partial.open("r+b" if done else "wb") as file:
        file.truncate(whole)
        file.seek(whole)
        total = len(texts) - done if isinstance(texts, Sized) else None
        with progress_bar(total, shown) as advance:
            for piece in cut_texts(rest, chunk, done):
                rows = model.encode(piece, show_progress_bar=False, **options)
                file.write(np.ascontiguousarray(rows).data)
                file.flush()
                os.fsync(file.fileno())
                done, digest = done + len(piece), digest_texts(iter(piece), len(piece), digest)
                write_journal(journal, origin, done, digest)
                advance(len(piece))
        file.seek(0)
        file.write(make_header(done, like))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_directory(path.parent)
    journal.unlink(missing_ok=True)
    # An empty file can't be mapped.
    found: Array = np.load(path, mmap_mode="r" if done else None)
    return found


def name_leftovers(path: Path) -> tuple[Path, Path]:
    """Where rows, and what is known of them, stand until all is done."""
    return path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.journal")


def check_options(texts: Iterable[str], chunk: int, options: dict[str, Any]) -> None:
    """Refuse what can't be cut into chunks, or encoded chunk by chunk."""
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise TypeError(
            f"texts must be an iterable of str, got {type(texts).__name__}; pass a list of texts"
        )
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"chunk must be a whole number of 1 or more, got {chunk!r}; leave it out")
    if options.get("precision") in ("int8", "uint8"):
        raise ValueError(
            "precision must be float32, binary or ubinary where embeddings come in chunks, got "
            f"{options['precision']!r}, whose ranges each chunk would set anew; "
            "encode as float32 and use quantize_embeddings"
        )


def cut_texts(texts: Iterable[str], chunk: int, first: int = 0) -> Iterator[list[str]]:
    """The texts in lists of `chunk`; `first` is the number of the first."""
    rest = iter(texts)
    while piece := list(islice(rest, chunk)):
        for index, text in enumerate(piece, first):
            if not isinstance(text, str):
                raise TypeError(
                    f"texts must hold only str, got {type(text).__name__} at index {index}; "
                    "convert or drop it"
                )
        yield piece
        first += len(piece)


def digest_texts(texts: Iterator[str], count: int, before: bytes = b"") -> bytes:
    """A digest of the next `count` texts and of what `before` is one of; any other if they end."""
    for _ in range(count):
        text = next(texts, None)
        if not isinstance(text, str):
            return b"no text"
        before = hashlib.sha256(before + text.encode("utf-8", "surrogatepass")).digest()
    return before


def describe_origin(model: BiEncoder, like: Array, options: dict[str, Any]) -> str:
    """A digest of all that embeddings come from, but for the texts."""
    effective = {name: value for name, value in options.items() if name not in WITHOUT_EFFECT}
    settings = (
        *(model.config, model.max_seq_length, model.truncate_dim),
        *(sorted(model.prompts.items()), model.default_prompt_name),
        *(sorted(effective.items()), like.shape, like.dtype.str),
    )
    digest = hashlib.sha256(repr(settings).encode())
    for name, array in sorted(model.parameters.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_journal(path: Path, origin: str, done: int, digest: bytes) -> None:
    content = {"origin": origin, "done": done, "texts": digest.hex()}
    with write_file(path) as file:
        file.write(json.dumps(content).encode())


def read_journal(path: Path, origin: str) -> tuple[int, bytes]:
    """How many rows are whole, and the digest of their texts."""
    fields: Fields = read_fields(path)
    if fields.find("origin", TEXT) != origin:
        raise ValueError(
            f"model and options must be those that {path} tells of, got others; "
            "take the same ones, or pass resume=False to begin anew"
        )
    return fields.find("done", COUNT), bytes.fromhex(fields.find("texts", TEXT))


def make_header(count: int, like: Array) -> bytes:
    """The header of a .npy file of `count` rows, always of the same length.

    The format: numpy.lib.format, version 1.0.
    """
    description = {
        "descr": np.lib.format.dtype_to_descr(like.dtype),
        "fortran_order": False,
        "shape": (count, like.shape[1]),
    }
    magic = b"\x93NUMPY\x01\x00"
    room = HEADER_BYTES - len(magic) - 2
    return magic + room.to_bytes(2, "little") + repr(description).ljust(room - 1).encode() + b"\n"
