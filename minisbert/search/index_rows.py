"""The rows of an index: checked, divided by their norms for cosine, kept, searched by the cheapest
path.

The norms are roots of canonical dot products (see `topk`) and a division rounds the same way
everywhere, so the same embeddings give the same bits on every machine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_unmasked, shorten
from minisbert.arrays import Array
from minisbert.search.blas_filter import topk_blas
from minisbert.search.block_file import BlockFile, Digests
from minisbert.search.candidates import ScanReport, count_findings_bytes, score_candidates
from minisbert.search.int8_filter import count_blocks, encode_rows, make_blocks, topk_int8
from minisbert.search.kernel import LARGEST_DIMENSION, kernel_name
from minisbert.search.scan import pair_dots
from minisbert.system.threads import count_threads

# The similarities of models by which an index ranks; the others are distances.
METRICS = ("cosine", "dot")

# Rows prepared at a time, so that no second copy of a large matrix exists.
PREPARED_ROWS = 4096

# From this many rows on codes are worth their memory, a quarter of the rows'.
ROWS_FOR_CODES = 50_000

# The most queries at a time. A filter keeps some 20 kilobytes for each in each thread, and more for
# a large k; then fewer are taken, so that each thread keeps at most FINDINGS_BYTES.
QUERIES_AT_ONCE = 256
FINDINGS_BYTES = 64 << 20

# From this many queries on a product of matrices is faster than scans.
FEWEST_FOR_BLAS = 4


def check_metric(metric: str) -> str:
    """Return a metric, a str or a member of an enumeration, as a str; refuse an unknown one."""
    metric = getattr(metric, "value", metric)
    if metric not in METRICS:
        raise ValueError(
            f"metric must be 'cosine' or 'dot', got {shorten(metric)}; choose one, or rank by "
            "distance with util.semantic_search"
        )
    return METRICS[METRICS.index(metric)]


def choose_metric(similarity: str) -> str:
    """Return the metric that scores as a model's similarity does; refuse one that no index has."""
    similarity = getattr(similarity, "value", similarity)
    if similarity not in METRICS:
        raise ValueError(
            f"similarity_fn_name must be cosine or dot for an index, got {shorten(similarity)}; "
            "rank the embeddings with util.semantic_search, or change similarity_fn_name in the "
            "model's config_sentence_transformers.json"
        )
    return check_metric(similarity)


def check_codes(codes: str | None, dimension: int) -> None:
    """Refuse an unknown choice of codes, and codes for rows that are too wide."""
    if codes is not None and (not isinstance(codes, str) or codes not in ("auto", "int8")):
        raise ValueError(
            f"codes must be 'auto', 'int8' or None, got {shorten(codes)}; leave it out for 'auto'"
        )
    if codes == "int8" and dimension > LARGEST_DIMENSION:
        raise ValueError(
            f"dimension must be at most {LARGEST_DIMENSION} for codes, got {dimension}; "
            "pass codes=None"
        )


def wants_codes(codes: str | None, M: int, dimension: int) -> bool:
    """Return whether M rows get codes: under "auto" if there are many and a kernel reads them."""
    if codes == "auto":
        return M >= ROWS_FOR_CODES and dimension <= LARGEST_DIMENSION and kernel_name() != "numpy"
    return codes == "int8"


def check_ids(ids: ArrayLike, count: int) -> Array:
    """Return ids as int64; refuse anything but `count` different whole numbers."""
    check_unmasked(ids, "ids")
    array = np.asarray(ids)
    if array.shape != (count,) or (count and array.dtype.kind not in "iu"):
        raise ValueError(
            f"ids must be {count} whole numbers, one for each embedding, got shape "
            f"{array.shape} of {array.dtype}; give one for each row"
        )
    if count and not -(2**63) <= int(array.max()) < 2**63:  # uint64 would wrap
        raise ValueError(
            f"ids must be less than 2**63, got {array.max()}; number the rows from 0 instead"
        )
    array = array.astype(np.int64)
    different, counts = np.unique(array, return_counts=True)
    if len(different) < count:
        raise ValueError(
            f"ids must all be different, got {different[counts.argmax()]} twice; "
            "remove the row that has it first"
        )
    return array


def check_queries(queries: ArrayLike, dimension: int | None) -> tuple[Array, bool]:
    """Return queries as `check_matrix` does, and whether they were a single one, (D,)."""
    array = _as_array(queries, "queries")
    single = array.ndim == 1 and array.size > 0
    return check_matrix(array[None] if single else array, "queries", dimension), single


def check_new_ids(ids: ArrayLike | None, count: int, state: IndexState) -> Array | None:
    """Return the ids of new rows, different from all others; None if rows have none."""
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


def check_matrix(values: ArrayLike, name: str, dimension: int | None = None) -> Array:
    """Return values as an array; refuse anything but a matrix of real numbers."""
    array = _as_array(values, name)
    if array.shape == (0,) and dimension is not None:  # an empty list has no rows
        array = np.empty((0, dimension), np.float32)
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


def _as_array(values: ArrayLike, name: str) -> Array:
    """Return values as an array; refuse masked ones, and lists that NumPy can't make one of."""
    check_unmasked(values, name)
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{name} must be a matrix of real numbers, got rows of different lengths; "
            "give one row for each text"
        ) from None


def check_finite_rows(rows: Array, name: str, first: int = 0) -> None:
    """Refuse rows that are not finite; `name` and `first` as `prepare_rows` takes them."""
    for row in np.flatnonzero(~np.isfinite(rows).all(axis=1)):
        bad = rows[row][~np.isfinite(rows[row])][0]
        raise ValueError(
            f"{name} {first + row} must be finite, got {bad}; leave it out or repair it"
        )


def prepare_rows(matrix: Array, metric: str, name: str, *, first: int = 0) -> Array:
    """Return rows as float32, for cosine divided by their norms; refuse rows that are not finite.

    matrix  (M, D)  real numbers
    name            of one row, for the error text
    first           the number of the first row, for the error text
    """
    with np.errstate(over="ignore"):  # a number too large for float32 becomes inf, refused below
        rows = np.ascontiguousarray(matrix, np.float32)
    squares = pair_dots(rows, rows)
    # A square can only be inf or NaN if an element is, or if the sum overflows.
    if not np.isfinite(squares).all():
        check_finite_rows(rows, name, first)
    if metric == "dot":
        # Of shorter vectors no product, and no part of one, overflows to inf or NaN.
        for row in np.flatnonzero(~np.isfinite(squares)):
            raise ValueError(
                f"{name} {first + row} must be shorter than 1.8e19 for dot products in float32, "
                f"got {np.abs(rows[row]).max()} in it; divide all embeddings by some large number"
            )
        return rows
    # float64 has smaller numbers, which would become a zero vector without a direction.
    for row in np.flatnonzero(squares == 0) if matrix.dtype.itemsize > 4 else ():
        if matrix[row].any() and not rows[row].any():
            raise ValueError(
                f"{name} {first + row} must have a number that float32 can hold, got at most "
                f"{np.abs(matrix[row]).max()}; multiply all embeddings by some large number"
            )
    # The squares of very large or small numbers overflow or underflow float32. Scaling the row by a
    # power of two avoids that and changes no digit.
    odd = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))
    if len(odd):
        rows = rows.copy()
        _, exponents = np.frexp(np.abs(rows[odd]).max(axis=1, keepdims=True))
        rows[odd] = np.ldexp(rows[odd], -exponents)
        squares[odd] = pair_dots(rows[odd], rows[odd])
    norms = np.sqrt(np.where(squares > 0, squares, 1))  # a zero vector stays one
    return np.divide(rows, norms[:, None], dtype=np.float32)


class IndexState(NamedTuple):
    """All data that a search reads; replaced as a whole, so that no search sees half a change."""

    rows: Array  # (M, D)
    blocks: Array | None = None  # their codes
    ids: Array | None = None  # (M,) the caller's own
    file: BlockFile | None = None  # that the rows are mapped from
    digests: Digests | None = None  # of all this, as it was read from a file

    def verify(self, companions: dict[str, Array]) -> bool:
        """Check everything by its digests; return whether there are any.

        companions  as they were read from the file

        Raises ValueError naming what is damaged.
        """
        if self.digests is None:
            return False
        blocks = None if self.blocks is None else self.blocks.view(np.uint8)
        arrays = {**companions, "rows": self.rows, "codes": blocks, "ids": self.ids}
        for name in self.digests.values:
            array = arrays[name]
            if self.file is not None and name not in ("codes", "ids"):
                self.file.check(name)
            # Numbers of half precision were checked when they were read, and decoded.
            elif array is not None and self.digests.fits(name, array.nbytes):
                self.digests.check_array(name, array)
        return True

    def check_blocks(self) -> None:
        """Raise ValueError if codes are not as saved, before a new file or new rows hide that."""
        if self.digests is not None and self.blocks is not None:
            self.digests.check_array("codes", self.blocks.view(np.uint8))

    def cut(self, M: int) -> IndexState:
        """Return the first M rows, without a copy."""
        return IndexState(
            self.rows[:M],
            None if self.blocks is None else self.blocks[: count_blocks(M)],
            None if self.ids is None else self.ids[:M],
        )

    def share(self) -> IndexState:
        """Return a state that can be given to another index: neither changes what the other sees.

        It is read-only, so the other index copies it before it adds; and this one writes only
        places after its last row.
        """
        views = [None if array is None else array.view() for array in self[:3]]
        for view in views:
            if view is not None:
                view.flags.writeable = False
        rows, blocks, ids = views
        assert rows is not None
        return IndexState(rows, blocks, ids, self.file, self.digests)


def append_rows(
    storage: IndexState,
    state: IndexState,
    matrix: Array,
    *,
    ids: Array | None,
    metric: str,
    coded: bool,
) -> IndexState:
    """Return storage that holds the rows of a state and new ones after them.

    storage  what `state` is the beginning of; its room is used
    matrix   (n, D)  real numbers
    ids      (n,)    of the new rows, if rows have ids
    coded            whether to keep codes
    """
    count, more = len(state.rows), len(matrix)
    D = state.rows.shape[1]
    rows = _make_room(storage.rows, count, more, file=state.file)
    for start in range(0, more, PREPARED_ROWS):
        part = matrix[start : start + PREPARED_ROWS]
        block = prepare_rows(part, metric, "embedding", first=start)
        rows[count + start : count + start + len(block)] = block
    blocks = own_ids = None
    if coded:
        state.check_blocks()
        # A search that runs meanwhile ignores the new rows in the last block of its rows.
        done = 0 if state.blocks is None else count
        old = make_blocks(0, D) if storage.blocks is None else storage.blocks
        full = count_blocks(done)
        blocks = _make_room(old, full, count_blocks(count + more) - full)
        encode_rows(rows[done : count + more], blocks, done)
    if ids is not None:
        old_ids = np.empty(0, np.int64) if storage.ids is None else storage.ids
        own_ids = _make_room(old_ids, count, more)
        own_ids[count : count + more] = ids
    return IndexState(rows, blocks, own_ids)


def keep_rows(state: IndexState, kept: Array, ids: Array) -> IndexState:
    """Return a state of some rows only, in memory.

    kept  (n,)  their numbers, in order
    ids   (n,)  their ids
    """
    M, D = state.rows.shape
    rows = np.empty((len(kept), D), np.float32)
    if state.file is not None:
        state.file.check("rows")
        for start in range(0, M, PREPARED_ROWS):
            stop = min(start + PREPARED_ROWS, M)
            first, last = np.searchsorted(kept, [start, stop])
            rows[first:last] = state.file.read_rows(start, stop)[kept[first:last] - start]
    else:
        np.take(state.rows, kept, axis=0, out=rows)
    blocks = None
    if state.blocks is not None:
        blocks = make_blocks(len(rows), D)
        encode_rows(rows, blocks)
    return IndexState(rows, blocks, ids)


def _make_room(storage: Array, count: int, more: int, *, file: BlockFile | None = None) -> Array:
    """Return an array with the first `count` entries and room for `more` after them.

    It grows by half each time, so that over many calls an entry is copied a few times on average.

    file  that the entries are to be read from, since `storage` is a map of its rows
    """
    if count + more <= len(storage) and storage.flags.writeable:
        return storage
    capacity = max(count + more, len(storage) + len(storage) // 2)
    room = np.zeros((capacity, *storage.shape[1:]), storage.dtype)
    if file is not None:
        file.read_into("rows", room[:count].reshape(-1).view(np.uint8))
    else:
        room[:count] = storage[:count]
    return room


def search_rows(
    queries: Array,
    state: IndexState,
    k: int,
    *,
    threads: int | None = None,
) -> tuple[Array, Array, ScanReport]:
    """Return what `topk` returns, bit for bit, by the path that reads least, and a report.

    queries  (Q, D)  float32
    """
    rows, blocks, _, file, _ = state
    fetch = file.fetch if file else None
    if file:
        file.check_size()
    k = min(k, len(rows))  # before memory is asked for
    if k == 0:
        count_threads(threads)  # checks it
        Q = len(queries)
        report = ScanReport(np.zeros(Q, np.int64), ("float32",) * Q, 0)
        return np.empty((Q, 0), np.float32), np.empty((Q, 0), np.int64), report
    found = []
    at_once = max(1, min(QUERIES_AT_ONCE, FINDINGS_BYTES // count_findings_bytes(k, len(rows))))
    for start in range(0, max(1, len(queries)), at_once):
        some = queries[start : start + at_once]
        if blocks is not None:
            found.append(topk_int8(some, rows, blocks, k=k, threads=threads, fetch=fetch))
        elif len(some) >= FEWEST_FOR_BLAS and kernel_name() != "numpy":
            found.append(topk_blas(some, rows, k, threads=threads))
        else:
            every_row = [None] * len(some)
            found.append(
                score_candidates(some, rows, every_row, k=k, threads=threads, path="float32")
            )
    scores, ids, reports = zip(*found, strict=True)
    report = ScanReport(
        np.concatenate([report.candidates for report in reports]),
        tuple(path for report in reports for path in report.path),
        sum(report.bytes_read for report in reports),
    )
    return np.concatenate(scores), np.concatenate(ids), report
