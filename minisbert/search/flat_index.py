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
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_whole_number, shorten_names
from minisbert.arrays import Array
from minisbert.search.block_file import BlockFile
from minisbert.search.candidates import ScanReport
from minisbert.search.index_files import (
    IndexContent,
    Piece,
    build_index,
    check_name,
    open_index,
    read_content,
    write_index,
)
from minisbert.search.index_rows import (
    IndexState,
    append_rows,
    check_codes,
    check_ids,
    check_matrix,
    check_metric,
    check_new_ids,
    check_queries,
    keep_rows,
    prepare_rows,
    search_rows,
    wants_codes,
)
from minisbert.system.threads import TravellingLock


class FlatIndex:
    """An exact index of embeddings.

    Any number of threads may use it at once: a search or a save sees the rows that were there when
    it began, and `add` and `remove` take turns. Copies and pickles share nothing that changes. An
    index that was loaded is pickled as the path of its file, which must still be the same file
    where the pickle is read.

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
        self.model_name = check_name(model_name or "", "model_name")
        self.codes = codes
        self.companions: dict[str, Array] = {}
        self._set_state(IndexState(np.empty((0, self.dimension), np.float32)), {})

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
        file = build_index(
            Path(path),
            pieces,
            index.dimension,
            metric=index.metric,
            model_name=model_name,
            codes=codes,
        )
        return cls._from_content(read_content(file))

    @classmethod
    def _from_content(cls, content: IndexContent) -> FlatIndex:
        index = cls(content.dimension, content.metric, content.model_name, content.codes)
        index._set_state(content.state, content.companions)
        index.companions = dict(content.companions)
        return index

    def _set_state(self, state: IndexState, loaded: dict[str, Array]) -> None:
        """Take a state, the companions as they were read, and a lock for those who change it."""
        self._state = state
        # Arrays with room for more rows; `_state` has views of them.
        self._storage = state
        self._loaded = loaded
        self._changing = TravellingLock()

    def __copy__(self) -> FlatIndex:
        """Return an index that shares rows with this one, and no change."""
        return self._copy(self.companions)

    def __deepcopy__(self, memo: dict[int, Any]) -> FlatIndex:
        mapped = self._state.file is not None
        own = {
            name: array if mapped and array is self._loaded.get(name) else array.copy()
            for name, array in self.companions.items()
        }
        return self._copy(own)

    def _copy(self, companions: dict[str, Array]) -> FlatIndex:
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._set_state(self._state.share(), self._loaded)
        copy.companions = dict(companions)
        return copy

    def __getstate__(self) -> dict[str, Any]:
        """Return what is in memory, and the file of what is in one."""
        state = self._state
        values = {**self.__dict__, "_state": state, "_storage": None}
        if state.file is not None:
            kept = [
                name for name in self._loaded if self.companions.get(name) is self._loaded[name]
            ]
            own = {name: self.companions[name] for name in self.companions if name not in kept}
            values |= {"_state": state.file, "_loaded": kept, "companions": own}
        return values

    def __setstate__(self, values: dict[str, Any]) -> None:
        state, loaded, companions = (values[name] for name in ("_state", "_loaded", "companions"))
        if isinstance(state, BlockFile):
            content = read_content(state)
            companions = {name: content.companions[name] for name in loaded} | companions
            state, loaded = content.state, content.companions
        self.__dict__.update(values)
        self._set_state(state, loaded)
        self.companions = companions

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
    def mapped_file(self) -> BlockFile | None:
        """The open file that the rows are mapped from; None if they are in memory."""
        return self._state.file

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
        M = len(matrix)
        with self._changing:
            self._refuse_companions("added")
            state = self._state
            new_ids = check_new_ids(ids, M, state)
            if M == 0:
                return
            count = len(state.rows) + M
            coded = state.blocks is not None or wants_codes(self.codes, count, self.dimension)
            self._storage = append_rows(
                self._storage, state, matrix, ids=new_ids, metric=self.metric, coded=coded
            )
            self._state = self._storage.cut(count)

    def remove(self, ids: ArrayLike) -> None:
        """Remove the rows of these ids; the others keep their order and their ids.

        In an index without ids, `ids` are row numbers, and the other rows keep theirs as ids. The
        rows that stay are copied in memory.

        Raises
        ------
        ValueError
            If an id has no row, or the index has companions; then no row is removed.
        """
        array = np.asarray(ids)
        unwanted = check_ids(array, array.size)
        with self._changing:
            self._refuse_companions("removed")
            known = self.ids
            missing = unwanted[~np.isin(unwanted, known)]
            if len(missing):
                raise ValueError(
                    f"ids must be of rows of the index, got {missing[0]}; see index.ids"
                )
            kept = np.flatnonzero(~np.isin(known, unwanted))
            self._storage = keep_rows(self._state, kept, known[kept])
            self._state = self._storage

    def _refuse_companions(self, change: str) -> None:
        """Refuse a change of rows that would leave companions with others than theirs."""
        if self.companions:
            raise ValueError(
                f"companions must be empty where rows are {change}, got "
                f"{shorten_names(sorted(self.companions))}; build the index again with the new rows"
            )

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
        scores, found, how = search_rows(matrix, state, k, threads=threads)
        if state.ids is not None:
            found = state.ids[found]
        if single:
            scores, found = scores[0], found[0]
        return (scores, found, how) if report else (scores, found)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one safetensors file; if that fails, an old file does not change."""
        content = IndexContent(
            self.dimension, self.metric, self.model_name, self.codes, self._state, self.companions
        )
        write_index(Path(path), content)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mapped: bool = True) -> FlatIndex:
        """Open an index file; its rows stay there, mapped read-only, until rows are added.

        Codes are read into memory; a search by codes then reads the few rows that it needs. Without
        codes only header and ids are read.

        Parameters
        ----------
        mapped : bool
            False reads everything into memory, and checks it, for a file that others may write to
            or cut short: where a mapped file is cut short, a search that scans all rows ends the
            process.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind, or of a newer version.
        """
        return cls._from_content(open_index(Path(path), mapped=mapped))

    def verify(self) -> bool:
        """Check every number of a loaded index by the digests in its file.

        Opening a file checks only its header and ids, since it would take longer to read all rows.

        Returns
        -------
        bool
            True if everything is as it was saved. False if there is nothing to compare with: in an
            index made or changed in memory, and in a file that minisbert 0.1.0 wrote.

        Raises
        ------
        ValueError
            If rows, codes, ids or companions are damaged; the error names which, and where.
        """
        return self._state.verify(self._loaded)
