"""Embeddings of more texts than fit in memory: one after another, or in a file that can be resumed.

While `encode_to_file` works, the rows are in "{path}.partial", and "{path}.journal" says how many
of them are complete and what they were made from. Rows are on the disk before the journal counts
them, and the journal is replaced as a whole, so a kill at any moment costs at most one chunk. When
all rows are there, the partial file gets its header, and then its final name. All the while the
lock of `path` is held, so that a second call can't write into the same partial file.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minisbert.arguments import check_rows, check_texts, check_whole_number, shorten
from minisbert.arrays import Array
from minisbert.system.disk import remove_unfinished_files, sync_directory, write_file
from minisbert.system.json_fields import DIGEST, Fields, Rule, read_fields
from minisbert.system.locks import lock_destination, resolve_path
from minisbert.system.progress import progress_bar
from minisbert.system.regular_files import shorten_path

if TYPE_CHECKING:
    from minisbert.encoding.signatures import BiEncoder

# The texts of a chunk are encoded together, and lost together in a kill: a few seconds of work.
CHUNK_TEXTS = 1024

# The header of a .npy file, version 1.0: room for any number of rows, a multiple of 64 bytes.
_HEADER_BYTES = 128

# Options that change no embedding, so a resumed call may change them.
_OPTIONS_WITHOUT_EFFECT = (
    *("batch_size", "chunk_size", "show_progress_bar", "on_truncate", "threads", "device", "pool"),
)


def encode_iter(
    model: BiEncoder, texts: Iterable[str], chunk: int = CHUNK_TEXTS, **options: Any
) -> Iterator[Array]:
    """Yield the embedding of each text, in the order of the texts.

    Parameters
    ----------
    model : SentenceTransformer
    texts : iterable of str
        May be infinite: a chunk is read, encoded and yielded before the next one is read.
    chunk : int
        The number of texts that are in memory at a time.
    **options
        Options of `encode`. A warning of truncated texts counts them from the start of their chunk.

    Yields
    ------
    (D,) array, or (T, D) with `output_value="token_embeddings"`

    Raises
    ------
    TypeError
        If a text is not a str (the message names its index).
    ValueError
        If an option is invalid, or needs all embeddings at once.
    FloatingPointError
        If an embedding is not finite.
    """
    _check_arguments(texts, chunk, options)
    first = 0
    for piece in _cut_chunks(texts, chunk):
        for embedding in _encode_chunk(model, piece, first, options=options):
            yield embedding.copy()  # keeping one should not keep its whole chunk in memory
        first += len(piece)


def encode_to_file(
    model: BiEncoder,
    texts: Iterable[str],
    path: str | os.PathLike[str],
    *,
    resume: bool = True,
    chunk: int = CHUNK_TEXTS,
    **options: Any,
) -> Array:
    """Write the embedding of each text to a .npy file, or resume an earlier call that was stopped.

    Parameters
    ----------
    model : SentenceTransformer
    texts : iterable of str
        Need not have a length. To resume, they must be the same texts again, from the first.
    path : str or path
    resume : bool
        Whether to resume. With False the rows of an earlier call are dropped, and a finished file
        is replaced.
    chunk : int
        The number of texts that are in memory at a time, and the most that a kill costs.
    **options
        Options of `encode`. By default a progress bar is shown on a terminal.

    Returns
    -------
    (n, D) array
        The contents of the file, mapped read-only.

    Raises
    ------
    BlockingIOError
        If another call, of this process or another, is writing the file now.
    FileExistsError
        If the file exists and is finished, and `resume` is not False; if "{path}.partial" is not a
        regular file.
    IsADirectoryError
        If a directory has the name.
    TypeError
        If a text is not a str (the message names its index).
    ValueError
        If an earlier call had other texts, another model or other options.
    FloatingPointError
        If an embedding is not finite.
    OSError
        If writing fails, as on a full disk; complete rows stay, and the next call resumes after
        them.
    """
    _check_arguments(texts, chunk, options)
    if options.get("output_value", "sentence_embedding") != "sentence_embedding":
        raise ValueError(
            "output_value must be 'sentence_embedding' for a file, got "
            f"{shorten(options['output_value'])}; all rows of a file have the same width"
        )
    shown = options.pop("show_progress_bar", None)
    path = resolve_path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must be in an existing folder, got {shorten_path(path)}; make the folder first"
        )
    if path.is_dir():
        raise IsADirectoryError(
            f"path must be a file, got the directory {shorten_path(path)}; choose another name"
        )
    with lock_destination(path, wait=False) as alone:
        if alone:
            remove_unfinished_files(name_partial_files(path)[1])
        return _encode_to_locked_file(
            model, texts, path, resume=resume, chunk=chunk, shown=shown, options=options
        )


def _encode_to_locked_file(
    model: BiEncoder,
    texts: Iterable[str],
    path: Path,
    *,
    resume: bool,
    chunk: int,
    shown: bool | None,
    options: dict[str, Any],
) -> Array:
    """Do the work of `encode_to_file` for a real path whose lock is held."""
    partial, journal = name_partial_files(path)
    if resume and path.exists() and not partial.exists():
        raise FileExistsError(
            f"{shorten_path(path)} must be a new file, but it exists and is finished; "
            "pass resume=False to replace it"
        )
    # A link that somebody else has put there would lead the rows to another file.
    if os.path.lexists(partial) and not stat.S_ISREG(os.lstat(partial).st_mode):
        raise FileExistsError(
            f"{shorten_path(partial)} must be a regular file with the rows of an earlier call, got "
            "something else; remove it"
        )
    # 1. Find out what an earlier call has done.
    empty: Array = model.encode([], **options)  # (0, D), has the width and the type of all rows
    origin = _hash_origin(model, empty, options)
    done, digest = 0, b""
    if resume and partial.exists() and journal.exists():
        done, digest = _read_journal(journal, origin)
    rest = iter(texts)
    if _hash_texts(rest, done) != digest:
        raise ValueError(
            f"the first {done} texts must be those that {shorten_path(partial)} was made from, got "
            "others; give the same texts, or pass resume=False to start again"
        )
    size = _HEADER_BYTES + done * empty.shape[1] * empty.dtype.itemsize
    if done and partial.stat().st_size < size:
        raise ValueError(
            f"{shorten_path(partial)} must hold {done} rows, as {shorten_path(journal)} says, but "
            "it was cut short; pass resume=False to start again"
        )
    if not done:
        journal.unlink(missing_ok=True)  # it may count rows that are dropped now
    # 2. Write the other rows.
    with partial.open("r+b" if done else "wb") as file:
        file.truncate(size)
        file.seek(size)
        total = len(texts) - done if isinstance(texts, Sized) else None
        with progress_bar(total, shown) as advance:
            for piece in _cut_chunks(rest, chunk, done):
                rows = _encode_chunk(model, piece, done, options=options)
                file.write(np.ascontiguousarray(rows).data)
                file.flush()
                os.fsync(file.fileno())
                done, digest = done + len(piece), _hash_texts(iter(piece), len(piece), digest)
                _write_journal(journal, origin, done, digest=digest)
                advance(len(piece))
        # 3. Complete the file: header, then name.
        file.seek(0)
        file.write(_make_npy_header(done, empty))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    sync_directory(path.parent)
    journal.unlink(missing_ok=True)
    # A file without rows can't be mapped.
    return np.load(path, mmap_mode="r" if done else None)


def name_partial_files(path: Path) -> tuple[Path, Path]:
    """Return the names of the rows and of the journal of an unfinished file; a link is followed."""
    path = Path(os.path.realpath(path))
    return path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.journal")


def _check_arguments(texts: Iterable[str], chunk: int, options: dict[str, Any]) -> None:
    """Refuse inputs that can't be divided into chunks, and options that need all texts at once."""
    check_rows(texts, "texts")
    check_whole_number("chunk", chunk, remedy="leave it out")
    if options.get("convert_to_tensor") or not options.get("convert_to_numpy", True):
        raise TypeError(
            "convert_to_tensor must be False and convert_to_numpy True where embeddings come in "
            "chunks, got others; wrap each in torch.from_numpy"
        )
    if options.get("precision") in ("int8", "uint8"):
        raise ValueError(
            "precision must be float32, binary or ubinary where embeddings come in chunks, got "
            f"{shorten(options['precision'])}, whose ranges would differ between chunks; "
            "encode as float32 and use quantize_embeddings"
        )


def _cut_chunks(texts: Iterable[str], chunk: int, first: int = 0) -> Iterator[list[str]]:
    """Yield the texts in lists of `chunk`; `first` is the index of the first text."""
    rest = iter(texts)
    while piece := list(islice(rest, chunk)):
        yield check_texts(piece, "texts", first=first)
        first += len(piece)


def _encode_chunk(
    model: BiEncoder, piece: list[str], first: int, *, options: dict[str, Any]
) -> Any:
    """Encode a chunk; an error of its results says at which text the chunk begins."""
    try:
        return model.encode(piece, **{"show_progress_bar": False, **options})
    except FloatingPointError as error:
        raise FloatingPointError(f"{error} (counted from text {first})") from None


def _hash_texts(texts: Iterator[str], count: int, before: bytes = b"") -> bytes:
    """Hash the next `count` texts together with the hash of those before them.

    Returns bytes that equal no hash if there are fewer texts.
    """
    for _ in range(count):
        text = next(texts, None)
        if not isinstance(text, str):
            return b"no text"
        before = hashlib.sha256(before + text.encode("utf-8", "surrogatepass")).digest()
    return before


def _hash_origin(model: BiEncoder, empty: Array, options: dict[str, Any]) -> str:
    """Hash everything that embeddings depend on, except the texts."""
    effective = {
        name: value for name, value in options.items() if name not in _OPTIONS_WITHOUT_EFFECT
    }
    settings = (
        *(model.config, model.max_seq_length, model.truncate_dim),
        *(sorted(model.prompts.items()), model.default_prompt_name),
        *(sorted(effective.items()), empty.shape, empty.dtype.str),
    )
    digest = hashlib.sha256(repr(settings).encode())
    for name, array in sorted(model.parameters.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _write_journal(path: Path, origin: str, done: int, *, digest: bytes) -> None:
    """Replace the journal: `done` rows are complete, of texts with this digest."""
    content = {"origin": origin, "done": done, "texts": digest.hex()}
    with write_file(path) as file:
        file.write(json.dumps(content).encode())


_START_ANEW = "pass resume=False to start again"
_COUNT = Rule(
    "a whole number of texts", lambda value: type(value) is int and 0 <= value < 2**53, _START_ANEW
)
_DIGEST = DIGEST._replace(advice=_START_ANEW)


def _read_journal(path: Path, origin: str) -> tuple[int, bytes]:
    """Return the number of complete rows, and the digest of their texts."""
    fields: Fields = read_fields(path, remedy=_START_ANEW)
    if fields.find("origin", _DIGEST) != origin:
        raise ValueError(
            f"model and options must be those that {shorten_path(path)} was written with, "
            f"got others; use the same ones, or {_START_ANEW}"
        )
    return fields.find("done", _COUNT), bytes.fromhex(fields.find("texts", _DIGEST))


def _make_npy_header(count: int, like: Array) -> bytes:
    """Make the header of a .npy file of `count` rows, always of the same length.

    The format is that of numpy.lib.format, version 1.0.
    """
    description = {
        "descr": np.lib.format.dtype_to_descr(like.dtype),
        "fortran_order": False,
        "shape": (count, like.shape[1]),
    }
    magic = b"\x93NUMPY\x01\x00"
    room = _HEADER_BYTES - len(magic) - 2
    return magic + room.to_bytes(2, "little") + repr(description).ljust(room - 1).encode() + b"\n"
