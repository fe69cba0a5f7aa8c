"""BinaryIndex: approximate search over one bit for each dimension, a thirty-second of float32.

Vectors that point in similar directions agree in most signs, so the number of signs in which two
vectors differ ranks rows roughly. A search takes more candidates from this ranking than the rows to
find, and scores them exactly. A row that is not a candidate is missed: the result is approximate,
and `measure_recall` says how much is missed for given queries. `FlatIndex` misses nothing.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_whole_number
from minisbert.arrays import Array
from minisbert.search.candidates import score_candidates
from minisbert.search.flat_index import FlatIndex
from minisbert.search.hamming import hamming_topk, read_codes
from minisbert.search.index_rows import (
    PREPARED_ROWS,
    check_matrix,
    check_metric,
    check_queries,
    prepare_rows,
)
from minisbert.search.quantization import quantize_embeddings
from minisbert.search.scan import topk

# Measured on 36,401 real questions by all-MiniLM-L6-v2: the recall of the ten best is 68 % with
# one candidate for each, 93 % with 4, 98 % with 10, 99.6 % with 20.
OVERSAMPLE = 10


class BinaryIndex:
    """An approximate index of embeddings; it never changes, so any number of threads may search.

    Parameters
    ----------
    codes : (M, ceil(D / 8)) uint8 array
        Embeddings as `quantize_embeddings(..., "ubinary")` packs them.
    rows : (M, D) float32 array, optional
        The embeddings, to score candidates. They may be a memory map: only candidates are read.
    metric : {"cosine", "dot"}
        What a score is, if there are rows. For cosine they are unit vectors, as `FlatIndex.rows`.

    Raises
    ------
    ValueError
        If the codes are not bytes, or do not match the rows in number and width.
    """

    def __init__(
        self, codes: ArrayLike, rows: ArrayLike | None = None, metric: str = "cosine"
    ) -> None:
        self.metric = check_metric(metric)
        self.codes = read_codes("codes", codes)
        self.rows = None if rows is None else check_matrix(rows, "rows")
        self._exact: FlatIndex | None = None  # that the rows are of, if they are mapped from a file
        if self.rows is not None:
            M, D = self.rows.shape
            if self.codes.shape != (M, (D + 7) // 8):
                raise ValueError(
                    f"codes must have the shape {(M, (D + 7) // 8)} for rows {(M, D)}, got "
                    f"{self.codes.shape}; make them from the same embeddings"
                )

    @classmethod
    def from_index(cls, index: FlatIndex) -> BinaryIndex:
        """Return an approximate index of the rows that an exact index has now, shared with it."""
        index = copy.copy(index)  # as it is now
        file, (M, D) = index.mapped_file, index.rows.shape
        codes = np.empty((M, (D + 7) // 8), np.uint8)
        for start in range(0, M, PREPARED_ROWS):
            stop = min(start + PREPARED_ROWS, M)
            rows = file.read_rows(start, stop) if file else index.rows[start:stop]
            codes[start:stop] = quantize_embeddings(rows, "ubinary")
        binary = cls(codes, index.rows, index.metric)
        binary._exact = index if file else None
        return binary

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **({"rows": None} if self._exact else {})}

    def __setstate__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        if self._exact is not None:
            self.rows = self._exact.rows

    def __len__(self) -> int:
        return len(self.codes)

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        oversample: int = OVERSAMPLE,
        threads: int | None = None,
    ) -> tuple[Array, Array]:
        """Return the scores and row numbers of about the k best rows for each query.

        Parameters
        ----------
        queries : (D,) or (Q, D) array_like
        k : int
            The number of rows to find, at least 1; all, if the index has fewer.
        oversample : int
            Candidates to score for each row to find. More take more time and miss less; if k times
            oversample is at least the number of rows, nothing is missed.
        threads : int, optional
            Threads that share the codes; by default as many as the process has cores.

        Returns
        -------
        scores : (min(k, M),) or (Q, min(k, M)) float32
            Best first; ties are in the order of their rows. With rows, the score that `FlatIndex`
            returns for the row, bit for bit; without, the negative Hamming distance.
        ids : the same shape, int64
            Row numbers.

        Raises
        ------
        ValueError
            If k or oversample is less than 1, the queries are not finite numbers of the width that
            the codes were made from, or the rows of candidates are not finite.
        """
        k = check_whole_number("k", k, remedy="ask for one or more")
        oversample = check_whole_number("oversample", oversample, remedy="ask for one or more")
        matrix, single = self._prepare_queries(queries)
        codes = quantize_embeddings(matrix, "ubinary")
        if self.rows is None:
            distances, ids = hamming_topk(codes, self.codes, k, threads)
            scores = (-distances).astype(np.float32)
        else:
            count = max(1, min(k * oversample, len(self)))
            _, candidates = hamming_topk(codes, self.codes, count, threads)
            candidates.sort(axis=1)  # so that ties come out in the order of their rows
            self._check_size()
            scores, ids, _ = score_candidates(
                matrix, self.rows, list(candidates), k=k, threads=1, path="hamming"
            )
            for row in ids[~np.isfinite(scores)]:
                raise ValueError(
                    f"rows must be finite numbers whose products are finite too, got {row} which "
                    "is not; leave it out or repair it"
                )
        return (scores[0], ids[0]) if single else (scores, ids)

    def measure_recall(
        self, queries: ArrayLike, k: int = 10, oversample: int = OVERSAMPLE
    ) -> float:
        """Return the average recall: the fraction of the exact k best rows that a search finds.

        Parameters
        ----------
        queries : (Q, D) array_like
            A sample of the queries to expect, some hundreds.
        k, oversample : int
            As for `search`.

        Raises
        ------
        ValueError
            If the index has no rows to compare with, or there are no queries.
        """
        if self.rows is None or not len(self.rows) or not np.size(queries):
            raise ValueError(
                "recall must be measured with rows and at least one query, got none; make the "
                "index from a FlatIndex that is not empty"
            )
        matrix, _ = check_queries(queries, self.rows.shape[1])
        _, found = self.search(matrix, k, oversample)
        self._check_size()
        _, exact = topk(self._prepare_queries(matrix)[0], self.rows, k)
        hits = sum(len(np.intersect1d(*ids)) for ids in zip(found, exact, strict=True))
        return hits / exact.size

    def _check_size(self) -> None:
        """Refuse to read rows of a file that has become shorter, which would end the process."""
        if self._exact is not None and self._exact.mapped_file is not None:
            self._exact.mapped_file.check_size()

    def _prepare_queries(self, queries: ArrayLike) -> tuple[Array, bool]:
        """Return queries (Q, D), prepared as the rows are, and whether they were a single one."""
        dimension = None if self.rows is None else self.rows.shape[1]
        matrix, single = check_queries(queries, dimension)
        return prepare_rows(matrix, self.metric, "query"), single
