"""Search, paraphrases and communities in one call each, as sentence-transformers' `util` has them.

For a collection that is searched more than once, `FlatIndex` does the work of preparing it once.

Cosine and dot product are the canonical scores of `topk`: their bits, and so the order, don't
depend on the machine, or on how the work is cut into chunks. Of equal scores the lower number comes
first, everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_positive, check_texts
from minisbert.arrays import Array
from minisbert.encoder import SentenceTransformer
from minisbert.network.comparisons import SIMILARITIES
from minisbert.network.similarity import cosine_similarity
from minisbert.search.blas_filter import FEWEST_QUERIES, topk_blas
from minisbert.search.flat_index import QUERIES_AT_ONCE
from minisbert.search.index_rows import METRICS, as_matrix, prepare_rows
from minisbert.search.kernel import kernel_name
from minisbert.search.scan import topk
from minisbert.search.topk import take_best
from minisbert.system.progress import progress_bar

ScoreFunction = Callable[[Any, Any], Any]

# Another function than the kernel's gives whole matrices of scores: so many columns stay small.
COLUMNS_AT_ONCE = 8192


class Hit(TypedDict):
    """A row that was found."""

    corpus_id: int
    score: float


def semantic_search(
    query_embeddings: ArrayLike,
    corpus_embeddings: ArrayLike,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500_000,
    top_k: int = 10,
    score_function: ScoreFunction = cosine_similarity,
) -> list[list[Hit]]:
    """Find the embeddings of a corpus that are most like each query.

    Parameters
    ----------
    query_embeddings : (Q, D) or (D,) array
    corpus_embeddings : (M, D) array
        A memory map will do: at most a chunk of it is in memory.
    query_chunk_size, corpus_chunk_size : int
        The most queries and rows to take at a time. They change the memory that it needs, and no
        result.
    top_k : int
        How many to find for each query; all, if there are fewer.
    score_function : callable
        Of (q, D) and (m, D) arrays, giving (q, m) scores. `cos_sim` and `dot_score` are run by the
        C kernel.

    Returns
    -------
    list of lists of {"corpus_id": int, "score": float}
        One for each query, best first.

    Raises
    ------
    ValueError
        If embeddings are not finite numbers of one width, or a size is less than 1.

    Examples
    --------
    >>> semantic_search([[1, 0]], [[0, 2], [3, 0], [1, 0]], top_k=2)
    [[{'corpus_id': 1, 'score': 1.0}, {'corpus_id': 2, 'score': 1.0}]]
    """
    check_positive("query_chunk_size", query_chunk_size)
    check_positive("corpus_chunk_size", corpus_chunk_size)
    check_positive("top_k", top_k)
    corpus = as_matrix(corpus_embeddings, "corpus_embeddings")
    queries = as_matrix(np.atleast_2d(query_embeddings), "query_embeddings", corpus.shape[1])
    scores, ids = _find_best(
        queries, corpus, top_k, score_function, query_chunk_size, corpus_chunk_size
    )
    return [
        [Hit(corpus_id=row, score=score) for row, score in zip(*best, strict=True)]
        for best in zip(ids.tolist(), scores.tolist(), strict=True)
    ]


def paraphrase_mining(
    model: SentenceTransformer,
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
    """Find the pairs of sentences that are most alike.

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
        prompt_name,
        prompt,
        batch_size=batch_size,
        show_progress_bar=show_progress_bar,
        truncate_dim=truncate_dim,
    )
    return paraphrase_mining_embeddings(
        embeddings, query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
    )


def paraphrase_mining_embeddings(
    embeddings: ArrayLike,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100_000,
    max_pairs: int = 500_000,
    top_k: int = 100,
    score_function: ScoreFunction = cosine_similarity,
) -> list[list[float | int]]:
    """Find the pairs of embeddings that are most alike.

    All are compared with all, n (n - 1) / 2 scores, but never held at once: for each embedding only
    the others most like it are kept, and of all these only the best pairs.

    Parameters
    ----------
    embeddings : (n, D) array
    query_chunk_size, corpus_chunk_size : int
        The most rows to compare with how many others at a time; they change the memory that it
        needs, and no result.
    max_pairs : int
        How many pairs to find.
    top_k : int
        How many others of each embedding are looked at: a pair that is among neither's is left out.
    score_function : callable
        As `semantic_search` takes it; of b and a it must be what it is of a and b.

    Returns
    -------
    list of [score, i, j] with i < j, best first
        Of equal scores the lower i first, then the lower j.

    Raises
    ------
    ValueError
        If the embeddings are not finite numbers, or a size is less than 1.

    Examples
    --------
    >>> paraphrase_mining_embeddings([[1, 0], [0, 1], [2, 0]], max_pairs=1)
    [[1.0, 0, 2]]
    """
    check_positive("query_chunk_size", query_chunk_size)
    check_positive("corpus_chunk_size", corpus_chunk_size)
    check_positive("max_pairs", max_pairs)
    check_positive("top_k", top_k)
    rows = as_matrix(embeddings, "embeddings")
    M, D = rows.shape
    scores, pairs = np.empty(0, np.float32), np.empty((2, 0), np.int64)
    for start in range(0, M, query_chunk_size):
        # 1. each row's nearest, itself among them unless copies of it push it out
        queries = rows[start : start + query_chunk_size]
        found, others = _find_best(
            queries, rows, top_k + 1, score_function, query_chunk_size, corpus_chunk_size
        )
        own = np.arange(start, start + len(queries))[:, None]  # (q, 1)
        kept = others != own
        kept[:, top_k:] &= ~kept.all(axis=1, keepdims=True)
        # 2. as pairs, lower number first, after those so far; each once, in the order of i and j
        new = np.sort(np.stack([np.broadcast_to(own, kept.shape)[kept], others[kept]]), axis=0)
        pairs = np.concatenate([pairs, new], axis=1)  # (2, pairs)
        scores = np.concatenate([scores, found[kept]])
        _, places = np.unique(pairs[0] * M + pairs[1], return_index=True)
        # 3. the best of them
        places = places[np.argsort(-scores[places], kind="stable")[:max_pairs]]
        scores, pairs = scores[places], pairs[:, places]
    return [list(pair) for pair in zip(scores.tolist(), *pairs.tolist(), strict=True)]


def community_detection(
    embeddings: ArrayLike,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool = False,
) -> list[list[int]]:
    """Find groups of embeddings around a centre each.

    The group of a centre is all whose cosine with it is at least the threshold. Groups are taken
    largest first; what one has taken is missing in those after it, and one whose centre is taken,
    or of which too few are left, is dropped.

    Parameters
    ----------
    embeddings : (n, D) array
    threshold : float
    min_community_size : int
        The fewest in a group, its centre among them.
    batch_size : int
        How many centres to look at at a time; it changes the memory that it needs, and no result.
    show_progress_bar : bool

    Returns
    -------
    list of lists of int
        The largest group first, and of equally large ones as they were taken: that of the lower
        centre first where they were so from the beginning. In each its centre first, then the
        others, the most alike first.

    Raises
    ------
    ValueError
        If the embeddings are not finite numbers, or a size is less than 1.
    """
    check_positive("min_community_size", min_community_size)
    check_positive("batch_size", batch_size)
    if np.size(embeddings) == 0:
        return []
    rows = prepare_rows(as_matrix(np.atleast_2d(embeddings), "embeddings"), "cosine", "embedding")
    M, D = rows.shape
    # A product of matrices may differ by so much from the canonical score: see `topk_blas`.
    slack = (2 * D + 32) * 2.0**-24
    groups: list[tuple[int, Array]] = []
    with progress_bar(M, show_progress_bar, "compare") as advance:
        for start in range(0, M, batch_size):
            # 1. who may be near, by a product of matrices
            centres = rows[start : start + batch_size]
            near = centres @ rows.T >= np.float32(threshold - slack)  # (batch, M)
            for place in np.flatnonzero(near.sum(axis=1) >= min_community_size):
                # 2. who is, by canonical scores, the most alike first
                candidates = np.flatnonzero(near[place])
                centre = centres[place : place + 1]
                scores, order = topk(centre, rows[candidates], len(candidates), threads=1)
                group = candidates[order[0, scores[0] >= np.float32(threshold)]]
                if len(group) >= min_community_size:
                    groups.append((start + int(place), group))
            advance(len(centres))
    # 3. the largest first, of equal ones the lower centre's
    groups.sort(key=lambda group: len(group[1]), reverse=True)
    taken = np.zeros(M, bool)
    communities: list[list[int]] = []
    for first, group in groups:
        left = group[~taken[group]]
        if not taken[first] and len(left) >= min_community_size:
            communities.append([first, *left[left != first].tolist()])
            taken[communities[-1]] = True
    return sorted(communities, key=len, reverse=True)


def _find_best(
    queries: Array,
    corpus: Array,
    k: int,
    score_function: ScoreFunction,
    query_rows: int,
    corpus_rows: int,
) -> tuple[Array, Array]:
    """The k best rows for each query, in the total order of `topk`.

    queries      (Q, D)
    corpus       (M, D)
    query_rows   the most queries at a time
    corpus_rows  the most rows at a time
    out          (Q, min(k, M)) twice: scores and row numbers
    """
    Q, M = len(queries), len(corpus)
    metric = next((name for name in METRICS if SIMILARITIES[name] is score_function), None)
    query_rows = min(query_rows, QUERIES_AT_ONCE)
    if metric:
        queries = prepare_rows(queries, metric, "query")
    else:
        corpus_rows = min(corpus_rows, COLUMNS_AT_ONCE)
    scores, ids = np.empty((Q, 0), np.float32), np.empty((Q, 0), np.int64)
    for start in range(0, M, corpus_rows):
        rows = corpus[start : start + corpus_rows]
        if metric:
            rows = prepare_rows(rows, metric, "embedding", start)
        parts = [
            _scan(queries[i : i + query_rows], rows, k)
            if metric
            else _score(queries[i : i + query_rows], rows, k, score_function)
            for i in range(0, max(1, Q), query_rows)
        ]
        found, places = (np.concatenate(column) for column in zip(*parts, strict=True))
        scores, ids = take_best(np.hstack([scores, found]), np.hstack([ids, places + start]), k)
    return scores, ids


def _scan(queries: Array, rows: Array, k: int) -> tuple[Array, Array]:
    """By dot products, in the way that is quickest.  (Q, D), (M, D) -> (Q, min(k, M)) twice"""
    if len(queries) >= FEWEST_QUERIES and kernel_name() != "numpy":
        scores, ids, _ = topk_blas(queries, rows, k)
        return scores, ids
    return topk(queries, rows, k)


def _score(
    queries: Array, rows: Array, k: int, score_function: ScoreFunction
) -> tuple[Array, Array]:
    """By any other function.  (Q, D), (M, D) -> (Q, min(k, M)) twice"""
    scores = np.asarray(score_function(queries, rows))
    if scores.shape != (len(queries), len(rows)) or scores.dtype.kind not in "fiu":
        raise ValueError(
            f"score_function must give numbers of shape {(len(queries), len(rows))}, got "
            f"{scores.shape} of {scores.dtype}; compare all queries with all rows"
        )
    scores = scores.astype(np.result_type(scores, np.float32))
    return take_best(scores, np.broadcast_to(np.arange(len(rows)), scores.shape), k)
