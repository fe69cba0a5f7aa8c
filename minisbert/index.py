"""FlatIndex: keep embeddings as rows, find the best of them for a query, exactly.

Every search reads every row: no approximation and nothing to tune.
For cosine, rows and queries are divided by their norms on the way in, so a search is one scan of
dot products either way.
The norms are roots of canonical dot products (see `topk`) and a division rounds the same way
everywhere, so the same embeddings give the same bits on every machine.
"""

from __future__ import annotations

import operator
import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from minisbert.ragged import Array
from minisbert.topk import pair_dots, topk
from minisbert.weights import read_safetensors, write_safetensors

FORMAT = "minisbert-flat-index"
FORMAT_VERSION = 1
METRICS = ("cosine", "dot")

BLOCK_ROWS = 4096  # rows taken in at a time, so that no second copy of a large matrix exists


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

    Attributes
    ----------
    companions : dict of str to array
        What belongs to the rows, such as their texts: saved in the same file, so that a crash can't
        part them, and mapped again by `load`.
    """

    def __init__(self, dimension: int, metric: str = "cosine", model_name: str = "") -> None:
        self.dimension = operator.index(dimension)
        if self.dimension < 1:
            raise ValueError(f"dimension must be at least 1, got {dimension}; give a real one")
        if metric not in METRICS:
            raise ValueError(f"metric must be 'cosine' or 'dot', got {metric!r}; choose one")
        self.metric = metric
        self.model_name = model_name
        self.companions: dict[str, Array] = {}
        self._storage: Array = np.empty((0, self.dimension), np.float32)
        # One attribute holds the rows and their count, so that a search never sees half a change.
        self._rows = self._storage

    @classmethod
    def from_embeddings(
        cls, embeddings: ArrayLike, metric: str = "cosine", model_name: str = ""
    ) -> FlatIndex:
        """Return an index of embeddings (M, D); see `add`."""
        matrix = as_matrix(embeddings, "embeddings")
        index = cls(matrix.shape[1], metric, model_name)
        index.add(matrix)
        return index

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Array:
        """The rows (M, D) as they are scanned, read-only: unit vectors if the metric is cosine."""
        view: Array = self._rows.view()
        view.flags.writeable = False
        return view

    def add(self, embeddings: ArrayLike) -> None:
        """Append embeddings (M, D); their row numbers go on from ``len(index)``.

        Raises
        ------
        ValueError
            If they are not a matrix of `dimension` columns of finite numbers; then none is added.
        """
        matrix = as_matrix(embeddings, "embeddings", self.dimension)
        M, D = matrix.shape
        count = len(self._rows)
        storage = self._storage
        if count + M > len(storage):
            # Half as much again each time: M calls copy each row a constant number of times.
            capacity = max(count + M, len(storage) + len(storage) // 2)
            storage = np.empty((capacity, D), np.float32)
            storage[:count] = self._rows
        for start in range(0, M, BLOCK_ROWS):
            block = prepare_rows(
                matrix[start : start + BLOCK_ROWS], self.metric, "embedding", start
            )
            storage[count + start : count + start + len(block)] = block
        self._storage = storage
        self._rows = storage[: count + M]

    def search(
        self, queries: ArrayLike, k: int = 10, threads: int | None = None
    ) -> tuple[Array, Array]:
        """Return the scores and row numbers of the k best rows for each query.

        Parameters
        ----------
        queries : (D,) or (Q, D) array_like
        k : int
            How many rows to find, at least 1; an index with fewer gives all of them.
        threads : int, optional
            Threads that share the scan; by default as many as the process has cores.

        Returns
        -------
        scores : (min(k, M),) or (Q, min(k, M)) float32
            Best first; of equal scores the lower row number first.
        ids : the same shape, int64
            Row numbers.

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
        scores, ids = topk(
            prepare_rows(matrix, self.metric, "query"), self._rows, k, threads=threads
        )
        return (scores[0], ids[0]) if array.ndim == 1 else (scores, ids)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to one safetensors file; whatever fails, the old file stays whole."""
        metadata = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "dimension": str(self.dimension),
            "metric": self.metric,
            "model_name": self.model_name,
        }
        write_safetensors(Path(path), {**self.companions, "rows": self._rows}, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FlatIndex:
        """Open an index file; its rows stay there, mapped read-only, until rows are added.

        The numbers themselves are not read here, so that a large index opens at once.

        Raises
        ------
        ValueError
            If the file is damaged, of another kind, or of a newer version.
        """
        arrays, metadata = read_safetensors(Path(path))
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"index {path} must be a file of {FORMAT}, got another kind of safetensors file; "
                "give a file that FlatIndex.save wrote"
            )
        version = metadata.get("format_version", "")
        if version != str(FORMAT_VERSION):
            raise ValueError(
                f"index {path} must be of format version {FORMAT_VERSION}, got {version!r}; "
                "open it with the minisbert that wrote it, or a newer one"
            )
        rows = arrays.pop("rows", np.empty(0, np.float32))
        dimension, metric = metadata.get("dimension", ""), metadata.get("metric", "")
        D = rows.shape[1] if rows.ndim == 2 else 0
        if rows.dtype != np.float32 or D < 1 or str(D) != dimension or metric not in METRICS:
            raise ValueError(
                f"index {path} must hold float32 rows (M, {dimension}) and a metric, got "
                f"{rows.dtype} rows {rows.shape} and {metric!r}; it is damaged, make it anew"
            )
        index = cls(D, metric, metadata.get("model_name", ""))
        index._storage = index._rows = rows
        index.companions = arrays
        return index


def as_matrix(values: ArrayLike, name: str, dimension: int | None = None) -> Array:
    """Return values as a matrix of real numbers, or refuse them by name."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} must be a matrix of real numbers, got shape {array.shape} of {array.dtype}; "
            "give one row for each text"
        )
    if dimension is not None and array.shape[1] != dimension:
        raise ValueError(
            f"{name} must have {dimension} columns, got {array.shape[1]}; "
            "use the model that the index was made with"
        )
    return array


def prepare_rows(matrix: Array, metric: str, name: str, first: int = 0) -> Array:
    """Return rows as float32, for cosine divided by their norms; refuse one that is not finite.

    matrix  (M, D)  real numbers
    first           the number of the first row, for the message
    """
    with np.errstate(over="ignore"):  # what is too large for float32 becomes inf, refused below
        rows = np.ascontiguousarray(matrix, np.float32)
    squares = pair_dots(rows, rows)
    # A square can only be inf or NaN if an element is, or if the sum overflows.
    for row in np.flatnonzero(~np.isfinite(squares)):
        bad = rows[row][~np.isfinite(rows[row])]
        if len(bad):
            raise ValueError(
                f"{name} {first + row} must be finite, got {bad[0]}; leave it out or repair it"
            )
    if metric == "dot":
        return rows
    # Squares of very large or small numbers leave float32's range; a power of two brings them back
    # and changes no digit.
    odd = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))
    if len(odd):
        rows = rows.copy()
        _, exponents = np.frexp(np.abs(rows[odd]).max(axis=1, keepdims=True))
        rows[odd] = np.ldexp(rows[odd], -exponents)
        squares[odd] = pair_dots(rows[odd], rows[odd])
    norms = np.sqrt(np.where(squares > 0, squares, 1))  # a zero vector stays one
    return np.divide(rows, norms[:, None], dtype=np.float32)
