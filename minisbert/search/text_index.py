"""TextIndex: a FlatIndex and the text of each of its rows, in one directory.

The texts are in the file of the rows, as one array of UTF-8 bytes and one of the positions where
each text ends. So opening an index of any size reads no text, and a crash while saving can't
separate texts from rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_texts, check_whole_number, shorten
from minisbert.search.flat_index import FlatIndex
from minisbert.system.regular_files import shorten_path

FILE_NAME = "index.safetensors"


class TextHit(NamedTuple):
    """One answer to a search: score, number of the row, text."""

    score: float
    row: int
    text: str


class TextIndex:
    """An index of texts; make it by `from_embeddings` or `load`.

    It never changes: as long as `vectors` has texts, no rows can be added to it or removed.

    Attributes
    ----------
    vectors : FlatIndex
        The embeddings.
    """

    def __init__(self, vectors: FlatIndex) -> None:
        self.vectors = vectors
        self._find_texts()

    def _find_texts(self) -> None:
        """Take the texts from the companions, checked against the rows."""
        file, companions = self.vectors.mapped_file, self.vectors.companions
        texts, ends = companions.get("texts"), companions.get("text_ends")
        if file is not None and ends is not None and file.maps(ends, "text_ends"):
            ends = file.read("text_ends")
        if (
            texts is None
            or ends is None
            or (texts.dtype.name, texts.ndim) != ("uint8", 1)
            or (ends.dtype.name, ends.shape) != ("int64", (len(self.vectors),))
            or (np.diff(ends, prepend=0) < 0).any()
            or (ends[-1] if len(ends) else 0) != len(texts)
        ):
            raise ValueError(
                f"index{self._name_file()} must hold a text for each of its {len(self.vectors)} "
                "rows, but it does not; build it again with `minisbert index`"
            )
        if not np.array_equal(self.vectors.ids, np.arange(len(ends))):
            raise ValueError(
                f"index{self._name_file()} must have row numbers as ids, since its texts are in "
                "the order of the rows, got other ids; make it without ids"
            )
        self._rows = self.vectors.rows  # (M, D), that the texts are of
        self._texts = texts  # (bytes,) uint8
        self._ends = ends  # (M,) int64
        self._file = file if file is not None and file.maps(texts, "texts") else None

    def _name_file(self) -> str:
        """Return the path of the file for an error, after a space; nothing without one."""
        file = self.vectors.mapped_file
        return "" if file is None else f" {shorten_path(file.path)}"

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ("_rows", "_texts", "_ends", "_file")
        }

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        self._find_texts()

    @classmethod
    def from_embeddings(
        cls,
        embeddings: ArrayLike,
        texts: Sequence[str],
        metric: str = "cosine",
        model_name: str = "",
    ) -> TextIndex:
        """Return an index of embeddings (M, D) and their M texts.

        Raises
        ------
        TypeError
            If the texts are not an iterable of str.
        ValueError
            If their numbers differ, or an embedding is not finite.
        """
        texts = check_texts(texts, "texts")
        vectors = FlatIndex.from_embeddings(embeddings, metric, model_name)
        if len(vectors) != len(texts):
            raise ValueError(
                f"texts must be as many as the embeddings, {len(vectors)}, got {len(texts)}; "
                "give one for each row"
            )
        encoded = [_encode(text, number) for number, text in enumerate(texts)]
        vectors.companions = {
            "texts": np.frombuffer(b"".join(encoded), np.uint8),
            "text_ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
        }
        return cls(vectors)

    def __len__(self) -> int:
        return len(self._ends)

    def get_text(self, row: int) -> str:
        """Return the text of one row.

        Raises
        ------
        ValueError
            If there is no such row.
        """
        row = check_whole_number("row", row, 0, most=len(self) - 1, remedy="see len(index)")
        start, end = int(self._ends[row - 1]) if row else 0, int(self._ends[row])
        if self._file is None:
            raw = self._texts[start:end]
        else:
            raw = np.empty(end - start, np.uint8)
            self._file.read_at(self._file.places["texts"].start + start, raw)
        try:
            return raw.tobytes().decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"text {row} of index{self._name_file()} must be UTF-8, but it is not "
                f"({error.reason}); it is damaged, build it again"
            ) from None

    def search(self, query: ArrayLike, k: int = 10, threads: int | None = None) -> list[TextHit]:
        """Return the k best texts for the embedding (D,) of a query, best first.

        Raises
        ------
        ValueError
            If k is less than 1, the query is not finite numbers of the index's dimension, or
            `vectors` has other rows than those of the texts by now.
        """
        self._check_rows()
        scores, rows = self.vectors.search(np.ravel(query), k, threads)
        return [
            TextHit(float(score), int(row), self.get_text(int(row)))
            for score, row in zip(scores, rows, strict=True)
        ]

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the index into a directory, made if it is missing; an old index is replaced.

        Raises
        ------
        ValueError
            If `vectors` has other rows than those of the texts by now.
        """
        self._check_rows()
        self.vectors.companions |= {"texts": self._texts, "text_ends": self._ends}
        Path(directory).mkdir(parents=True, exist_ok=True)
        self.vectors.save(Path(directory) / FILE_NAME)

    def _check_rows(self) -> None:
        """Refuse vectors whose rows are not those that the texts are of."""
        rows = self.vectors.rows
        if (len(rows), rows.ctypes.data) != (len(self._rows), self._rows.ctypes.data):
            raise ValueError(
                f"vectors must have a row for each of the {len(self._ends)} texts, in their order, "
                f"got {len(rows)} rows that changed since; make the index again by from_embeddings"
            )

    def verify(self) -> bool:
        """Check rows and texts by the digests in the file they were loaded from.

        See `FlatIndex.verify`.
        """
        return self.vectors.verify()

    @classmethod
    def load(cls, directory: str | os.PathLike[str], *, mapped: bool = True) -> TextIndex:
        """Open an index; rows and texts stay in the file, mapped read-only.

        Parameters
        ----------
        mapped : bool
            False reads everything into memory: see `FlatIndex.load`.

        Raises
        ------
        FileNotFoundError
            If the directory holds no index.
        ValueError
            If its file is damaged, of another kind, or of a newer version.
        """
        path = Path(directory) / FILE_NAME
        try:
            return cls(FlatIndex.load(path, mapped=mapped))
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"index {shorten_path(directory)} must be a directory with {FILE_NAME}, but it has "
                "no such file; make it with `minisbert index`"
            ) from None


def _encode(text: str, number: int) -> bytes:
    """Return a text as UTF-8; `number` is for the error."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text {number} must be of characters that UTF-8 has, got {shorten(text)} "
            f"({error.reason}); repair or leave it out"
        ) from None
