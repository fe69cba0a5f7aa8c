"""FlatIndex: keep embeddings as rows, find the best of them for a query, exactly.

No approximation and nothing to tune. Every search reads something of every row: its float32
numbers, or codes of a quarter of their size (see `topk_int8`), and then the answer is the same to
the last bit.
For cosine, rows and queries are divided by their norms on the way in, so a search is one scan of
dot products either way.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array
from minisbert.search.blas_filter import FEWEST_QUERIES, topk_blas
from minisbert.search.candidates import ScanReport, score_candidates
from minisbert.search.index_builder import Piece, build_index
from minisbert.search.index_files import IndexContent, RowFile, open_index, write_index
from minisbert.search.index_rows import (
    BLOCK_ROWS,
    METRICS,
    as_ids,
    as_matrix,
    check_codes,
    prepare_rows,
    wants_codes,
)
from minisbert.search.int8_filter import (
    count_blocks,
    encode_rows,
    make_blocks,
    topk_int8,
)
from minisbert.search.kernel import kernel_name

# A filter keeps some 20 kilobytes for each query in each thread.
QUERIES_AT_ONCE = 256


class State(NamedTuple):
    """All that a search reads: replaced as a whole, so that it never sees half a change."""

    rows: Array  # (M, D)
    blocks: Array | None = None  # their codes
    ids: Array | None = None  # (M,) of the user's own
    file: RowFile | None = None  # where rows that were mapped are read one by one


class FlatIndex:
    """An exact index of embeddings.

    Any number of threads may search at once, also while one thread adds: a search sees the rows
    that were there when it began. Only one thread may add at a time.

    Parameters
    ----------
    dimension : int
        Numbers in an embedding.
    metric : {"cosine", "dot"}
        What a score is. A zero vector has cosine 0 with everything.
    model_name : str
        The model that made the embeddings; kept in the file, otherwise unused.
    codes : {"auto", "int8", None}
        Whether to keep one byte a number beside the rows, a quarter more memory, which makes a
        search about three times as quick and changes no bit of its answer. "auto" does so from
        50,000 rows on.

    Attributes
    ----------
    companions : dict of str to array
        What belongs to the rows, such as their texts: saved in the same file, so that a crash can't
        part them, and mapped again by `load`.
    """

    def __init__(
        self,
        dimension: int,
        metric: str = "cosine",
        model_name: str = "",
        codes: str | None = "auto",
    ) -> None:
        self.dimension = operator.index(dimension)
        if self.dimension < 1:
            raise ValueError(f"dimension must be at least 1, got {dimension}; give a real one")
        if metric not in METRICS:
            raise ValueError(f"metric must be 'cosine' or 'dot', got {metric!r}; choose one")
        check_codes(codes, self.dimension)
        self.metric = metric
        self.model_name = model_name
        self.codes = codes
        self.companions: dict[str, Array] = {}
        self._state = State(np.empty((0, self.dimension), np.float32))
        # Room for more rows than there are: `_state` has views of it.
        self._storage = self._state

    @classmethod
    def from_embeddings(
        cls,
        embeddings: ArrayLike,
        metric: str = "cosine",
        model_name: str = "",
        codes: str | None = "auto",
        ids: ArrayLike | None = None,
    ) -> FlatIndex:
        """Return an index of embeddings (M, D); see `add`."""
        matrix = as_matrix(embeddings, "embeddings")
        index = cls(matrix.shape[1], metric, model_name, codes)
        index.add(matrix, ids)
        return index

    @classmethod
    def build(
        cls,
        path: str | os.PathLike[str],
        pieces: Iterable[Piece],
        dimension: int,
        metric: str = "cosine",
        model_name: str = "",
        codes: str | None = "auto",
    ) -> FlatIndex:
        """Write an index of more rows than memory holds, and open it.

        Parameters
        ----------
        path : str or path
            The file; an old one is replaced when all is written.
        pieces : iterable of (n, D) array_like, or of pairs of such and (n,) ids
            Each is written before the next one is asked for.
        dimension, metric, model_name, codes
            As for an index in memory.

        Raises
        ------
        ValueError
            If a piece is not a matrix of finite numbers, or ids are missing or not different.
        """
        index = cls(dimension, metric, model_name, codes)  # checks the arguments
        build_index(Path(path), pieces, index.dimension, metric, model_name, codes)
        return cls.load(path)

    def __len__(self) -> int:
        return len(self._state.rows)

    @property
    def ids(self) -> Array:
        """The ids (M,) of the rows, read-only: their numbers, unless others were given."""
        state = self._state
        view = np.arange(len(state.rows)) if state.ids is None else state.ids.view()
        view.flags.writeable = False
        return view

    @property
    def has_codes(self) -> bool:
        """Whether searches read codes."""
        return self._state.blocks is not None

    @property
    def rows(self) -> Array:
        """The rows (M, D) as they are scanned, read-only: unit vectors if the metric is cosine."""
        view: Array = self._state.rows.view()
        view.flags.writeable = False
        return view

    def add(self, embeddings: ArrayLike, ids: ArrayLike | None = None) -> None:
        """Append embeddings (M, D); their row numbers go on from ``len(index)``.

        Parameters
        ----------
        ids : (M,) array_like of int
            What `search` calls them instead of their numbers: for all rows of an index, or none.

        Raises
        ------
        ValueError
            If they are not a matrix of `dimension` columns of finite numbers, or the ids are not
            different whole numbers; then none is added.
        """
        matrix = as_matrix(embeddings, "embeddings", self.dimension)
        M, state = len(matrix), self._state
        count = len(state.rows)
        new_ids = self._check_ids(ids, M)
        if M == 0:
            return
        coded = state.blocks is not None or wants_codes(self.codes, count + M, self.dimension)
        rows = _make_room(self._storage.rows, count, M)
        for start in range(0, M, BLOCK_ROWS):
            part = matrix[start : start + BLOCK_ROWS]
            block = prepare_rows(part, self.metric, "embedding", start)
            rows[count + start : count + start + len(block)] = block
        blocks = own_ids = None
        if coded:
            # Searches go on meanwhile: they look at no row of a block beyond their own.
            done = 0 if state.blocks is None else count
            old = make_blocks(0, self.dimension) if done == 0 else self._storage.blocks
            assert old is not None
            full = count_blocks(done)
            blocks = _make_room(old, full, count_blocks(count + M) - full)
            encode_rows(rows[done : count + M], blocks, done)
        if new_ids is not None:
            old_ids = np.empty(0, np.int64) if self._storage.ids is None else self._storage.ids
            own_ids = _make_room(old_ids, count, M)
            own_ids[count : count + M] = new_ids
        self._storage = State(rows, blocks, own_ids)
        self._state = _cut(self._storage, count + M)

    def remove(self, ids: ArrayLike) -> None:
        """Remove the rows of these ids; the others keep their order and their ids.

        In an index without ids of its own these are row numbers, which stay the ids of the others.
        It takes a copy of all that stays, in memory.

        Raises
        ------
        ValueError
            If there is no row of an id, or the index has companions; then none is removed.
        """
        if self.companions:
            raise ValueError(
                f"companions must be none where rows are removed, got "
                f"{', '.join(sorted(self.companions))}; make the index anew"
            )
        array = np.asarray(ids)
        unwanted = as_ids(array, array.size)
        known = self.ids
        missing = unwanted[~np.isin(unwanted, known)]
        if len(missing):
            raise ValueError(f"ids must be of rows of the index, got {missing[0]}; see index.ids")
        kept = np.flatnonzero(~np.isin(known, unwanted))
        rows = self._state.rows[kept]
        blocks = None
        if self._state.blocks is not None:
            blocks = make_blocks(len(rows), self.dimension)
            encode_rows(rows, blocks)
        self._storage = State(rows, blocks, known[kept])
        self._state = self._storage

    @overload
    def search(
        self, queries: ArrayLike, k: int = ..., threads: int | None = ..., *, report: Literal[True]
    ) -> tuple[Array, Array, ScanReport]: ...
    @overload
    def search(
        self,
        queries: ArrayLike,
        k: int = ...,
        threads: int | None = ...,
        *,
        report: Literal[False] = ...,
    ) -> tuple[Array, Array]: ...
    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        threads: int | None = None,
        *,
        report: bool = False,
    ) -> Any:
        """Return the scores and ids of the k best rows for each query.

        Parameters
        ----------
        queries : (D,) or (Q, D) array_like
        k : int
            How many rows to find, at least 1; an index with fewer gives all of them.
        threads : int, optional
            Threads that share the scan; by default as many as the process has cores.
        report : bool
            Whether to tell how the answer was found.

        Returns
        -------
        scores : (min(k, M),) or (Q, min(k, M)) float32
            Best first; of equal scores the lower row number first.
        ids : the same shape, int64
            Row numbers, or the ids that were given to `add`.
        report : ScanReport
            If asked for: for each query the rows that were scored and the path ("int8", "blas",
            or "float32" if all rows were), and the bytes read for all.

        Raises
        ------
        ValueError
            If k is less than 1 or the queries are not finite numbers of the index's dimension.
        """
        k = operator.index(k)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}; ask for one result or more")
        array = np.asarray(queries)
        matrix = as_matrix(array[None] if array.ndim == 1 else array, "queries", self.dimension)
        matrix = prepare_rows(matrix, self.metric, "query")
        state = self._state
        starts = range(0, max(1, len(matrix)), QUERIES_AT_ONCE)
        runs = [_scan(state, matrix[i : i + QUERIES_AT_ONCE], k, threads) for i in starts]
        scores, found, candidates = (
            np.concatenate(parts)
            for parts in zip(*((*run[:2], run[2].candidates) for run in runs), strict=True)
        )
        how = ScanReport(
            candidates,
            tuple(path for run in runs for path in run[2].path),
            sum(run[2].bytes_read for run in runs),
        )
        if state.ids is not None:
            found = state.ids[found]
        if array.ndim == 1:
            scores, found = scores[0], found[0]
        return (scores, found, how) if report else (scores, found)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one safetensors file; whatever fails, the old file stays whole."""
        state = self._state
        write_index(
            Path(path),
            IndexContent(
                self.metric,
                self.model_name,
                self.codes,
                state.rows,
                state.blocks,
                state.ids,
                self.companions,
            ),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FlatIndex:
        """Open an index file; its rows stay there, mapped read-only, until rows are added.

        Codes are read into memory, and of the rows a search of codes reads the few that it needs.
        Without codes no number is read here, so that an index opens at once.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind, or of a newer version.
        """
        content, file = open_index(Path(path))
        D = content.rows.shape[1]
        index = cls(D, content.metric, content.model_name, content.codes)
        index._state = State(content.rows, content.blocks, content.ids, file)
        index._storage = index._state
        index.companions = content.companions
        return index

    def _check_ids(self, ids: ArrayLike | None, count: int) -> Array | None:
        """The ids of new rows, different from all others; None for none."""
        state = self._state
        if ids is None and state.ids is not None:
            raise ValueError(
                "ids must be given, got None; the rows that are there have ids of their own"
            )
        if ids is None:
            return None
        if state.ids is None and len(state.rows):
            raise ValueError(
                "ids must be left out, got some; the rows that are there have only their numbers"
            )
        array = as_ids(ids, count)
        if state.ids is not None and (known := np.isin(array, state.ids)).any():
            raise ValueError(
                f"ids must be new, got {array[known][0]}, which the index has; remove it first"
            )
        return array


def _scan(
    state: State, queries: Array, k: int, threads: int | None
) -> tuple[Array, Array, ScanReport]:
    """Search in the way that reads least: codes, products of matrices, or the rows.

    queries  (Q, D)
    out      (Q, min(k, M)) twice, and how they were found
    """
    if state.blocks is not None:
        fetch = state.file.fetch if state.file else None
        return topk_int8(queries, state.rows, state.blocks, k, threads, fetch)
    if len(queries) >= FEWEST_QUERIES and kernel_name() != "numpy":
        return topk_blas(queries, state.rows, k, threads)
    return score_candidates(queries, state.rows, k, threads, [None] * len(queries), ("", 0))


def _make_room(storage: Array, count: int, more: int) -> Array:
    """An array with room for `more` beyond the first `count`, which are kept.

    Half as much again each time: many calls copy each entry a constant number of times.
    """
    if count + more <= len(storage) and storage.flags.writeable:
        return storage
    capacity = max(count + more, len(storage) + len(storage) // 2)
    room = np.zeros((capacity, *storage.shape[1:]), storage.dtype)
    room[:count] = storage[:count]
    return room


def _cut(storage: State, M: int) -> State:
    """The first M rows."""
    return State(
        storage.rows[:M],
        None if storage.blocks is None else storage.blocks[: count_blocks(M)],
        None if storage.ids is None else storage.ids[:M],
    )
