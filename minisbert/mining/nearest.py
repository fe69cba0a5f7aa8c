"""The nearest embeddings and pairs in one call each, as in sentence-transformers' `util`.

To search a collection more than once, use `FlatIndex`, which prepares it only once.

Cosine and dot product are the canonical scores of `topk`: neither their bits nor their order depend
on the machine or the size of chunks. Ties are in the order of row numbers, everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_texts, check_unmasked, check_whole_number
from minisbert.arrays import Array
from minisbert.network.comparisons import SIMILARITIES, cosine_similarity, name_similarity
from minisbert.search.flat_index import FlatIndex
from minisbert.search.index_rows import (
    METRICS,
    QUERIES_AT_ONCE,
    IndexState,
    check_finite_rows,
    check_matrix,
    prepare_rows,
    search_rows,
)
from minisbert.search.topk import take_best

ScoreFunction = Callable[[Any, Any], Any]

# Rows to score at a time by a function other than cosine and dot product.
COLUMNS_AT_ONCE = 8192


class TextEncoder(Protocol):
    """A model with the method that `paraphrase_mining` calls, as `SentenceTransformer` has it."""

    def encode(
        self,
        inputs: list[str],
        *,
        prompt_name: str | None,
        prompt: str | None,
        batch_size: int | None,
        show_progress_bar: bool | None,
        truncate_dim: int | None,
    ) -> Array:
        """Return an embedding (B, D) for each of B texts."""


class Hit(TypedDict):
    """A row that was found, in the form of sentence-transformers."""

    corpus_id: int
    score: float


def find_nearest(
    queries: ArrayLike,
    embeddings: ArrayLike,
    k: int,
    *,
    similarity: str,
    threads: int | None = None,
) -> tuple[Array, Array]:
    """Return the k most similar rows for each query, exactly, by any similarity of a model.

    queries     (Q, D)
    embeddings  (M, D)
    similarity  a key of `SIMILARITIES`, or a member of an enumeration of them
    out         (Q, min(k, M))  twice: scores and row numbers
    """
    similarity = name_similarity(similarity)
    if similarity in METRICS:  # by an index, which has codes if there are many rows
        index = FlatIndex.from_embeddings(embeddings, similarity)
        return index.search(np.atleast_2d(queries), k, threads)
    k = check_whole_number("k", k)
    rows = check_matrix(embeddings, "embeddings")
    return _find_best(
        check_matrix(np.atleast_2d(queries), "queries", rows.shape[1]),
        rows,
        k,
        score_function=SIMILARITIES[similarity],
        query_rows=QUERIES_AT_ONCE,
        corpus_rows=COLUMNS_AT_ONCE,
    )


def semantic_search(
    query_embeddings: ArrayLike,
    corpus_embeddings: ArrayLike,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500_000,
    top_k: int = 10,
    score_function: ScoreFunction = cosine_similarity,
) -> list[list[Hit]]:
    """Return the embeddings of a corpus that are most similar to each query.

    Parameters
    ----------
    query_embeddings : (Q, D) or (D,) array
    corpus_embeddings : (M, D) array
        It may be a memory map: at most a chunk of it is read into memory at a time.
    query_chunk_size, corpus_chunk_size : int
        The most queries and rows to take at a time. They change the memory that is needed, and no
        result.
    top_k : int
        The number of embeddings to find for each query; all, if there are fewer.
    score_function : callable
        Takes (q, D) and (m, D) arrays and returns (q, m) scores. `cos_sim` and `dot_score` are
        computed by the C kernel.

    Returns
    -------
    list of lists of {"corpus_id": int, "score": float}
        A list for each query, best first.

    Raises
    ------
    ValueError
        If embeddings are not finite numbers of one width, or a size is less than 1.

    Examples
    --------
    >>> semantic_search([[1, 0]], [[0, 2], [3, 0], [1, 0]], top_k=2)
    [[{'corpus_id': 1, 'score': 1.0}, {'corpus_id': 2, 'score': 1.0}]]
    """
    query_rows = check_whole_number("query_chunk_size", query_chunk_size)
    corpus_rows = check_whole_number("corpus_chunk_size", corpus_chunk_size)
    top_k = check_whole_number("top_k", top_k)
    check_unmasked(query_embeddings, "query_embeddings")
    queries = np.asarray(query_embeddings)
    if not np.size(corpus_embeddings) or not queries.size:
        return [[] for _ in range(len(np.atleast_2d(queries)) if queries.size else 0)]
    corpus = check_matrix(corpus_embeddings, "corpus_embeddings")
    queries = check_matrix(np.atleast_2d(queries), "query_embeddings", corpus.shape[1])
    scores, ids = _find_best(
        queries,
        corpus,
        top_k,
        score_function=score_function,
        query_rows=query_rows,
        corpus_rows=corpus_rows,
    )
    return [
        [Hit(corpus_id=row, score=score) for row, score in zip(*best, strict=True)]
        for best in zip(ids.tolist(), scores.tolist(), strict=True)
    ]


def paraphrase_mining(
    model: TextEncoder,
    sentences: Iterable[str],
    show_progress_bar: bool | None = None,
    batch_size: int | None = None,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: ScoreFunction = cosine_similarity,
    truncate_dim: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> list[list[float | int]]:
    """Return the pairs of sentences that are most similar.

    Parameters
    ----------
    model : SentenceTransformer
    sentences : iterable of str
    show_progress_bar, batch_size, truncate_dim, prompt_name, prompt
        As `SentenceTransformer.encode` takes them.
    query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
        As `paraphrase_mining_embeddings` takes them.

    Returns
    -------
    list of [score, i, j] with i < j, best first
    """
    embeddings = model.encode(
        check_texts(sentences, "sentences"),
        prompt_name=prompt_name,
        prompt=prompt,
        batch_size=batch_size,
        show_progress_bar=show_progress_bar,
        truncate_dim=truncate_dim,
    )
    return paraphrase_mining_embeddings(
        embeddings,
        query_chunk_size=query_chunk_size,
        corpus_chunk_size=corpus_chunk_size,
        max_pairs=max_pairs,
        top_k=top_k,
        score_function=score_function,
    )


def paraphrase_mining_embeddings(
    embeddings: ArrayLike,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: ScoreFunction = cosine_similarity,
) -> list[list[float | int]]:
    """Return the pairs of embeddings that are most similar.

    Every embedding is compared with every other, but the n (n - 1) / 2 scores are never held at
    once: for each embedding only the top_k most similar others are kept, and of all these pairs
    only the best max_pairs.

    Parameters
    ----------
    embeddings : (n, D) array
    query_chunk_size, corpus_chunk_size : int
        The most rows to compare at a time, and the most others to compare them with. They change
        the memory that is needed, and no result.
    max_pairs : int
        The number of pairs to find.
    top_k : int
        The number of others to keep for each embedding. A pair is missed if neither embedding is
        kept for the other.
    score_function : callable
        As `semantic_search` takes it, and symmetric.

    Returns
    -------
    list of [score, i, j] with i < j, best first
        Ties are in the order of i, then of j.

    Raises
    ------
    ValueError
        If the embeddings are not finite numbers, or a size is less than 1.

    Examples
    --------
    >>> paraphrase_mining_embeddings([[1, 0], [0, 1], [2, 0]], max_pairs=1)
    [[1.0, 0, 2]]
    """
    query_rows = check_whole_number("query_chunk_size", query_chunk_size)
    corpus_rows = check_whole_number("corpus_chunk_size", corpus_chunk_size)
    max_pairs = check_whole_number("max_pairs", max_pairs)
    top_k = check_whole_number("top_k", top_k)
    if np.size(embeddings) == 0:
        return []
    rows = check_matrix(embeddings, "embeddings")
    M, D = rows.shape
    top_k = min(top_k, M)
    scores, pairs = np.empty(0, np.float32), np.empty((2, 0), np.int64)
    for start in range(0, M, query_rows):
        # 1. the nearest rows of each row, and itself, unless top_k + 1 equal rows come before it
        queries = rows[start : start + query_rows]
        found, others = _find_best(
            queries,
            rows,
            top_k + 1,
            score_function=score_function,
            query_rows=query_rows,
            corpus_rows=corpus_rows,
        )
        own = np.arange(start, start + len(queries))[:, None]  # (q, 1)
        kept = others != own
        kept[:, top_k:] &= ~kept.all(axis=1, keepdims=True)
        # 2. as pairs (i, j) with i < j, added to the pairs so far; each pair once, in order
        new = np.sort(np.stack([np.broadcast_to(own, kept.shape)[kept], others[kept]]), axis=0)
        pairs = np.concatenate([pairs, new], axis=1)  # (2, pairs)
        scores = np.concatenate([scores, found[kept]])
        _, places = np.unique(pairs[0] * M + pairs[1], return_index=True)
        # 3. the best of them
        places = places[np.argsort(-scores[places], kind="stable")[:max_pairs]]
        scores, pairs = scores[places], pairs[:, places]
    return [list(pair) for pair in zip(scores.tolist(), *pairs.tolist(), strict=True)]


def _find_best(
    queries: Array,
    corpus: Array,
    k: int,
    *,
    score_function: ScoreFunction,
    query_rows: int,
    corpus_rows: int,
) -> tuple[Array, Array]:
    """Return the k best rows for each query, in the total order of `topk`.

    queries      (Q, D)
    corpus       (M, D)
    query_rows                   the most queries at a time
    corpus_rows                  the most rows at a time
    out          (Q, min(k, M))  twice: scores and row numbers
    """
    Q, M = len(queries), len(corpus)
    function = inspect.unwrap(score_function)
    metric = next(
        (name for name in METRICS if inspect.unwrap(SIMILARITIES[name]) is function), None
    )
    query_rows = min(query_rows, QUERIES_AT_ONCE)
    if metric:
        queries = prepare_rows(queries, metric, "query")
    else:
        corpus_rows = min(corpus_rows, COLUMNS_AT_ONCE)
        check_finite_rows(queries, "query")
    scores, ids = np.empty((Q, 0), np.float32), np.empty((Q, 0), np.int64)
    for start in range(0, M, corpus_rows):
        rows = corpus[start : start + corpus_rows]
        if metric:
            rows = prepare_rows(rows, metric, "embedding", first=start)
        else:
            check_finite_rows(rows, "embedding", start)
        parts = [
            search_rows(queries[i : i + query_rows], IndexState(rows), k)[:2]
            if metric
            else _score_rows(queries[i : i + query_rows], rows, k, score_function=score_function)
            for i in range(0, max(1, Q), query_rows)
        ]
        found, places = (np.concatenate(column) for column in zip(*parts, strict=True))
        scores, ids = take_best(np.hstack([scores, found]), np.hstack([ids, places + start]), k)
    return scores, ids


def _score_rows(
    queries: Array, rows: Array, k: int, *, score_function: ScoreFunction
) -> tuple[Array, Array]:
    """Return the k best rows by any function.  (Q, D), (M, D) -> (Q, min(k, M)) twice"""
    scores = np.asarray(score_function(queries, rows))
    if scores.shape != (len(queries), len(rows)) or scores.dtype.kind not in "fiu":
        raise ValueError(
            f"score_function must give numbers of shape {(len(queries), len(rows))}, got "
            f"{scores.shape} of {scores.dtype}; compare all queries with all rows"
        )
    scores = scores.astype(np.result_type(scores, np.float32))
    return take_best(scores, np.broadcast_to(np.arange(len(rows)), scores.shape), k)
