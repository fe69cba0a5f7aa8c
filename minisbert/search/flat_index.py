"""FlatIndex: keep embeddings as rows, and find the best rows for a query, exactly.

Nothing is approximate and there is nothing to tune. Every search reads all rows: their float32
numbers, or codes of a quarter of their size (see `int8_filter`), with the same answer to the last
bit. For cosine, rows and queries are divided by their norms first, so a search is one scan of dot
products in either metric.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import (
    check_whole_number,
    shorten_name,
    shorten_names,
)
from minisbert.arrays import Array
from minisbert.search.candidates import ScanReport
from minisbert.search.index_files import (
    IndexContent,
    Piece,
    RowFile,
    build_index,
    open_index,
    write_index,
)
from minisbert.search.index_rows import (
    PREPARED_ROWS,
    check_codes,
    check_ids,
    check_matrix,
    check_metric,
    check_queries,
    prepare_rows,
    search_rows,
    wants_codes,
)
from minisbert.search.int8_filter import count_blocks, encode_rows, make_blocks


class _State(NamedTuple):
    """All data that a search reads; replaced as a whole, so that no search sees half a change."""

    rows: Array  # (M, D)
    blocks: Array | None = None  # their codes
    ids: Array | None = None  # (M,) the caller's own
    file: RowFile | None = None  # reads single rows, where the rows are mapped from a file


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
        Whether to keep int8 codes beside the float32 rows. They take a quarter more memory, make a
        search about three times as fast, and change no bit of its answer. "auto" keeps them from
        50,000 rows on. (`precision="int8"` of `encode` is different: it replaces the embeddings by
        bytes and changes scores.)

    Attributes
    ----------
    companions : dict of str to array
        Arrays that belong to the rows, such as their texts: saved in the same file, so that a crash
        can't separate them, and mapped again by `load`.
    """

    def __init__(
        self,
        dimension: int,
        metric: str = "cosine",
        model_name: str = "",
        codes: str | None = "auto",
    ) -> None:
        self.dimension = check_whole_number(
            "dimension", dimension, most=2**31 - 1, remedy="pass the width of the embeddings"
        )
        self.metric = check_metric(metric)
        check_codes(codes, self.dimension)
        self.model_name = model_name
        self.codes = codes
        self.companions: dict[str, Array] = {}
        self._state = _State(np.empty((0, self.dimension), np.float32))
        # Arrays with room for more rows; `_state` has views of them.
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
        matrix = check_matrix(embeddings, "embeddings")
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
            Each is written before the next one is taken.
        dimension, metric, model_name, codes
            As for an index in memory.

        Raises
        ------
        BlockingIOError
            If the file is being built already.
        ValueError
            If a piece is not a matrix of finite numbers, or ids are missing or not different.
        """
        index = cls(dimension, metric, model_name, codes)  # checks the arguments
        build_index(
            Path(path),
            pieces,
            index.dimension,
            metric=metric,
            model_name=model_name,
            codes=codes,
        )
        return cls.load(path)

    def __len__(self) -> int:
        return len(self._state.rows)

    @property
    def ids(self) -> Array:
        """The ids (M,) of the rows, read-only: their row numbers, unless `add` was given others."""
        state = self._state
        view = np.arange(len(state.rows)) if state.ids is None else state.ids.view()
        view.flags.writeable = False
        return view

    @property
    def has_codes(self) -> bool:
        """Whether there are codes, which searches then read."""
        return self._state.blocks is not None

    @property
    def rows(self) -> Array:
        """The rows (M, D) as they are scanned, read-only: unit vectors if the metric is cosine."""
        view = self._state.rows.view()
        view.flags.writeable = False
        return view

    def add(self, embeddings: ArrayLike, ids: ArrayLike | None = None) -> None:
        """Append embeddings; their row numbers start at ``len(index)``.

        Parameters
        ----------
        embeddings : (M, D) array_like
        ids : (M,) array_like of int, optional
            Numbers that `search` returns instead of row numbers: for all rows of an index, or none.

        Raises
        ------
        ValueError
            If the embeddings are not a matrix of `dimension` columns of finite numbers, or the ids
            are not new, different whole numbers; then no row is added.
        """
        matrix = check_matrix(embeddings, "embeddings", self.dimension)
        M, state = len(matrix), self._state
        count = len(state.rows)
        new_ids = self._check_new_ids(ids, M)
        if M == 0:
            return
        coded = state.blocks is not None or wants_codes(self.codes, count + M, self.dimension)
        rows = _make_room(self._storage.rows, count, M)
        for start in range(0, M, PREPARED_ROWS):
            part = matrix[start : start + PREPARED_ROWS]
            block = prepare_rows(part, self.metric, "embedding", first=start)
            rows[count + start : count + start + len(block)] = block
        blocks = own_ids = None
        if coded:
            # A search that runs meanwhile ignores the new rows in the last block of its rows.
            done = 0 if state.blocks is None else count
            old = self._storage.blocks
            if old is None:
                old = make_blocks(0, self.dimension)
            full = count_blocks(done)
            blocks = _make_room(old, full, count_blocks(count + M) - full)
            encode_rows(rows[done : count + M], blocks, done)
        if new_ids is not None:
            old_ids = np.empty(0, np.int64) if self._storage.ids is None else self._storage.ids
            own_ids = _make_room(old_ids, count, M)
            own_ids[count : count + M] = new_ids
        self._storage = _State(rows, blocks, own_ids)
        self._state = _cut(self._storage, count + M)

    def remove(self, ids: ArrayLike) -> None:
        """Remove the rows of these ids; the others keep their order and their ids.

        In an index without ids, `ids` are row numbers, and the other rows keep theirs as ids. The
        rows that stay are copied in memory.

        Raises
        ------
        ValueError
            If an id has no row, or the index has companions; then no row is removed.
        """
        if self.companions:
            raise ValueError(
                f"companions must be empty where rows are removed, got "
                f"{shorten_names(sorted(self.companions))}; build the index again without "
                f"these rows"
            )
        array = np.asarray(ids)
        unwanted = check_ids(array, array.size)
        known = self.ids
        missing = unwanted[~np.isin(unwanted, known)]
        if len(missing):
            raise ValueError(
                f"ids must be of rows of the index, got {shorten_name(missing[0])}; see index.ids"
            )
        kept = np.flatnonzero(~np.isin(known, unwanted))
        rows = self._state.rows[kept]
        blocks = None
        if self._state.blocks is not None:
            blocks = make_blocks(len(rows), self.dimension)
            encode_rows(rows, blocks)
        self._storage = _State(rows, blocks, known[kept])
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
            The number of rows to find, at least 1; all, if the index has fewer.
        threads : int, optional
            Threads that share the rows; by default as many as the process has cores.
        report : bool
            Whether to return a `ScanReport` too.

        Returns
        -------
        scores : (min(k, M),) or (Q, min(k, M)) float32
            Best first; ties are in the order of their rows.
        ids : the same shape, int64
            Row numbers, or the ids given to `add`.
        report : ScanReport
            If asked for: for each query the number of rows that were scored and the path ("int8",
            "blas", or "float32" if all rows were scored), and the bytes read for all queries.

        Raises
        ------
        ValueError
            If k is less than 1 or the queries are not finite numbers of the index's dimension.
        """
        k = check_whole_number("k", k, remedy="ask for one result or more")
        matrix, single = check_queries(queries, self.dimension)
        matrix = prepare_rows(matrix, self.metric, "query")
        state = self._state
        scores, found, how = search_rows(
            matrix,
            state.rows,
            k,
            threads=threads,
            blocks=state.blocks,
            fetch=state.file.fetch if state.file else None,
        )
        if state.ids is not None:
            found = state.ids[found]
        if single:
            scores, found = scores[0], found[0]
        return (scores, found, how) if report else (scores, found)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one safetensors file; if that fails, an old file does not change."""
        state = self._state
        write_index(
            Path(path),
            IndexContent(
                metric=self.metric,
                model_name=self.model_name,
                codes=self.codes,
                rows=state.rows,
                blocks=state.blocks,
                ids=state.ids,
                companions=self.companions,
            ),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FlatIndex:
        """Open an index file; its rows stay there, mapped read-only, until rows are added.

        Codes are read into memory; a search by codes then reads the few rows that it needs. Without
        codes only the header is read.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind, or of a newer version.
        """
        content, file = open_index(Path(path))
        D = content.rows.shape[1]
        index = cls(D, content.metric, content.model_name, content.codes)
        index._state = _State(content.rows, content.blocks, content.ids, file)
        index._storage = index._state
        index.companions = content.companions
        return index

    def _check_new_ids(self, ids: ArrayLike | None, count: int) -> Array | None:
        """Return the ids of new rows, different from all others; None if rows have none."""
        state = self._state
        if ids is None and state.ids is not None:
            raise ValueError("ids must be given, got None; the rows in the index have ids")
        if ids is None:
            return None
        if state.ids is None and len(state.rows):
            raise ValueError("ids must be left out, got some; the rows in the index have none")
        array = check_ids(ids, count)
        if state.ids is not None and (known := np.isin(array, state.ids)).any():
            raise ValueError(
                f"ids must be new, got {array[known][0]}, which the index has; remove it first"
            )
        return array


def _make_room(storage: Array, count: int, more: int) -> Array:
    """Return an array with the first `count` entries and room for `more` after them.

    It grows by half each time, so that over many calls an entry is copied a few times on average.
    """
    if count + more <= len(storage) and storage.flags.writeable:
        return storage
    capacity = max(count + more, len(storage) + len(storage) // 2)
    room = np.zeros((capacity, *storage.shape[1:]), storage.dtype)
    room[:count] = storage[:count]
    return room


def _cut(storage: _State, M: int) -> _State:
    """Return the first M rows of a state, without a copy."""
    return _State(
        storage.rows[:M],
        None if storage.blocks is None else storage.blocks[: count_blocks(M)],
        None if storage.ids is None else storage.ids[:M],
    )
