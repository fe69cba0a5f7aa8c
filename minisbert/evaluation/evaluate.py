"""Measure a model: correlation with human scores of similarity (STS), and retrieval (BEIR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minisbert.arguments import check_texts, check_whole_number
from minisbert.encoding.batching import encode_once
from minisbert.evaluation.judged_files import RetrievalTask, StsPairs
from minisbert.evaluation.metrics import (
    average_precision,
    ndcg,
    pearson,
    recall,
    reciprocal_rank,
    spearman,
)
from minisbert.mining.nearest import find_nearest

RECALL_DEPTHS = (1, 10, 100)
PRECISION_DEPTH = 100  # of mean average precision (MAP)


class StsResult(NamedTuple):
    """Correlations of a model's scores with human ones, from -1 to 1; NaN if one is constant."""

    pairs: int
    spearman: float
    pearson: float


class RetrievalResult(NamedTuple):
    """Means over the queries, and counts.

    measures           name -> mean, from 0 to 1
    queries            queries that were searched for
    documents          documents in the corpus
    cut_documents      documents that were truncated
    unknown_queries    judged ids that queries.jsonl does not have; left out
    unknown_documents  judged ids that corpus.jsonl does not have; never found, so missed
    idle_queries       queries without a relevant document; left out
    """

    measures: dict[str, float]
    queries: int
    documents: int
    cut_documents: int
    unknown_queries: int
    unknown_documents: int
    idle_queries: int


def evaluate_sts(model: Any, pairs: StsPairs) -> StsResult:
    """Correlate a model's scores of pairs with human ones (section 4 of the paper).

    Parameters
    ----------
    model : SentenceTransformer, CrossEncoder or alike
        With a method `predict(pairs)` it scores pairs itself; else the score of a pair is
        `similarity_pairwise` of the embeddings of its texts: the cosine, unless the model was
        trained for another similarity.
    pairs : StsPairs
        See `read_sts`.

    Raises
    ------
    ValueError
        If the model does not give one finite number for each pair.
    """
    first, second = (check_texts(getattr(pairs, x), f"pairs.{x}") for x in ("first", "second"))
    if hasattr(model, "predict"):
        scores = model.predict(list(zip(first, second, strict=True)))
    else:
        u, v = encode_once(model.encode, first, second)
        scores = model.similarity_pairwise(u, v)
    if np.shape(scores) != pairs.scores.shape:
        raise ValueError(
            f"the model must give one score for each of the {len(pairs.scores)} pairs, "
            f"got an array of shape {np.shape(scores)}; use a model with one label"
        )
    return StsResult(
        len(pairs.scores), spearman(pairs.scores, scores), pearson(pairs.scores, scores)
    )


def evaluate_retrieval(
    model: Any, task: RetrievalTask, k: int = 10, *, threads: int | None = None
) -> RetrievalResult:
    """Search all documents exactly for each query, and compare the rankings with the judgements.

    Documents are ranked by the model's similarity.

    Parameters
    ----------
    model : SentenceTransformer or alike
        It needs `encode_query`, `encode_document`, `token_lengths`, `max_seq_length` and
        `similarity_fn_name`.
    task : RetrievalTask
        See `read_beir`. Only queries with a relevant document are searched for.
    k : int
        The depth of nDCG@k and MRR@k; BEIR's is 10.
    threads : int
        Threads of the scan; by default one for each core.

    Returns
    -------
    RetrievalResult
        As in trec_eval, a relevant document that is not in the corpus counts as missed. As in BEIR,
        a document with the id of the query is left out of the ranking.

    Raises
    ------
    ValueError
        If k is less than 1, or no query with a relevant document is left.
    """
    k = check_whole_number("k", k, remedy="ask for one result or more")
    known = {query: grades for query, grades in task.grades.items() if query in task.queries}
    searched = {query: grades for query, grades in known.items() if max(grades.values()) > 0}
    if not task.documents:
        raise ValueError("the corpus must hold documents, got none; is it the right file?")
    if not searched:
        raise ValueError(
            f"judgements must name a relevant document for one of the {len(task.queries)} queries, "
            "got none; are they of the same data?"
        )
    documents = list(task.documents.values())
    embeddings = model.encode_document(documents, on_truncate="ignore")  # they are counted below
    queries = model.encode_query([task.queries[query] for query in searched])
    depth = min(max(k, PRECISION_DEPTH, *RECALL_DEPTHS), len(documents))
    _, rows = find_nearest(
        queries,
        embeddings,
        depth + 1,  # one more, for the query itself
        similarity=model.similarity_fn_name,
        threads=threads,
    )

    names = list(task.documents)
    rankings = []
    for (query, grades), found in zip(searched.items(), rows, strict=True):
        others = [names[row] for row in found if names[row] != query][:depth]
        rankings.append(([grades.get(name, 0.0) for name in others], list(grades.values())))
    judged = {document for grades in task.grades.values() for document in grades}
    return RetrievalResult(
        measures=average_measures(rankings, k),
        queries=len(searched),
        documents=len(documents),
        cut_documents=int((model.token_lengths(documents) > model.max_seq_length).sum()),
        unknown_queries=len(task.grades) - len(known),
        unknown_documents=len(judged - task.documents.keys()),
        idle_queries=len(known) - len(searched),
    )


def average_measures(
    rankings: Sequence[tuple[Sequence[float], Sequence[float]]], k: int
) -> dict[str, float]:
    """Return means over queries, each a pair (ranked, judged) of grades as in `metrics.py`."""
    measures = {
        f"nDCG@{k}": [ndcg(ranked, judged, k) for ranked, judged in rankings],
        f"MRR@{k}": [reciprocal_rank(ranked, k) for ranked, _ in rankings],
        f"MAP@{PRECISION_DEPTH}": [
            average_precision(ranked, judged, PRECISION_DEPTH) for ranked, judged in rankings
        ],
    } | {
        f"recall@{depth}": [recall(ranked, judged, depth) for ranked, judged in rankings]
        for depth in RECALL_DEPTHS
    }
    return {name: float(np.mean(values)) for name, values in measures.items()}
