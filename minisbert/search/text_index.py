"""TextIndex: a FlatIndex and the text of each of its rows, in one directory.

The texts are in the file of the rows, as one array of UTF-8 bytes and one of the positions where
each text ends. So opening an index of any size reads no text, and a crash while saving can't
separate texts from rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_texts, check_whole_number
from minisbert.search.flat_index import FlatIndex
from minisbert.system.regular_files import shorten_path

FILE_NAME = "index.safetensors"


class TextHit(NamedTuple):
    """One answer to a search: score, number of the row, text."""

    score: float
    row: int
    text: str


class TextIndex:
    """An index of texts; make it by `from_embeddings` or `load`."""

    def __init__(self, vectors: FlatIndex) -> None:
        self.vectors = vectors
        self._texts = vectors.companions["texts"]  # (bytes,) uint8
        self._ends = vectors.companions["text_ends"]  # (M,) int64

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
        encoded = [text.encode() for text in texts]
        vectors.companions = {
            "texts": np.frombuffer(b"".join(encoded), np.uint8),
            "text_ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
        }
        return cls(vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def get_text(self, row: int) -> str:
        """Return the text of one row.

        Raises
        ------
        ValueError
            If there is no such row.
        """
        row = check_whole_number("row", row, 0, most=len(self) - 1, remedy="see len(index)")
        start = self._ends[row - 1] if row else 0
        return self._texts[start : self._ends[row]].tobytes().decode()

    def search(self, query: ArrayLike, k: int = 10, threads: int | None = None) -> list[TextHit]:
        """Return the k best texts for the embedding (D,) of a query, best first.

        Raises
        ------
        ValueError
            If k is less than 1 or the query is not finite numbers of the index's dimension.
        """
        scores, rows = self.vectors.search(np.ravel(query), k, threads)
        return [
            TextHit(float(score), int(row), self.get_text(int(row)))
            for score, row in zip(scores, rows, strict=True)
        ]

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the index into a directory, made if it is missing; an old index is replaced."""
        Path(directory).mkdir(parents=True, exist_ok=True)
        self.vectors.save(Path(directory) / FILE_NAME)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> TextIndex:
        """Open an index; rows and texts stay in the file, mapped read-only.

        Raises
        ------
        FileNotFoundError
            If the directory holds no index.
        ValueError
            If its file is damaged, of another kind, or of a newer version.
        """
        path = Path(directory) / FILE_NAME
        if not path.is_file():
            raise FileNotFoundError(
                f"index {shorten_path(directory)} must be a directory with {FILE_NAME}, but "
                f"it has no such "
                "file; make it with `minisbert index`"
            )
        vectors = FlatIndex.load(path)
        texts, ends = (vectors.companions.get(name) for name in ("texts", "text_ends"))
        if (
            texts is None
            or ends is None
            or (texts.dtype.name, texts.ndim) != ("uint8", 1)
            or (ends.dtype.name, ends.shape) != ("int64", (len(vectors),))
            or (np.diff(ends, prepend=0) < 0).any()
            or (ends[-1] if len(ends) else 0) != len(texts)
        ):
            raise ValueError(
                f"index {shorten_path(path)} must hold a text for each of its {len(vectors)} rows, "
                "but it does not; build it again with `minisbert index`"
            )
        return cls(vectors)
