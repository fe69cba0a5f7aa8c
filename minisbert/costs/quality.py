"""Measure quality beside cost: score pairs with human scores in three ways, and time each.

1. *bi*       cosines of embeddings, each different text encoded once
2. *cross*    a trained cross-encoder on every pair
3. *rerank*   cosines first, then the cross-encoder on the best quarter of the pairs, which stay
              above all others: retrieve and re-rank, applied to judged pairs
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.costs.measurement import QUIET
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.encoding.batching import encode_once
from minisbert.evaluation.judged_files import StsPairs
from minisbert.evaluation.metrics import rank_values, spearman

_RERANKED = 0.25  # of the pairs


class Quality(NamedTuple):
    """The quality and the cost of one way.

    name      of the way
    spearman  correlation with people's scores, -1 to 1
    seconds   for scoring all pairs, tokenising included
    scored    number of pairs that the cross-encoder scored
    """

    name: str
    spearman: float
    seconds: float
    scored: int


def measure_quality(
    model: SentenceTransformer, cross: CrossEncoder, pairs: StsPairs
) -> list[Quality]:
    """Score judged pairs in three ways.

    Raises ValueError if the cross-encoder has several labels.
    """
    if cross.num_labels != 1:
        raise ValueError(
            f"the cross-encoder must have one label to score pairs, got {cross.num_labels}; "
            "choose another"
        )
    both = list(zip(pairs.first, pairs.second, strict=True))
    reranked = round(_RERANKED * len(both))

    def score_by_cosine() -> Array:
        u, v = encode_once(model.encode, pairs.first, pairs.second, **QUIET)
        return model.similarity_pairwise(u, v)

    def score_by_cross(rows: Array) -> Array:
        return cross.predict([both[row] for row in rows], return_logits=True, **QUIET)

    def rerank() -> Array:
        cosines = score_by_cosine()
        best = np.argsort(-cosines, kind="stable")[:reranked]
        ranks = rank_values(cosines)
        ranks[best] = len(both) + rank_values(score_by_cross(best))
        return ranks

    ways: tuple[tuple[str, Callable[[], Array], int], ...] = (
        ("bi-encoder", score_by_cosine, 0),
        ("cross-encoder", lambda: score_by_cross(np.arange(len(both))), len(both)),
        ("retrieve and rerank", rerank, reranked),
    )
    score_by_cross(np.arange(min(8, len(both))))  # the first call starts threads
    found = []
    for name, score, scored in ways:
        start = time.perf_counter()
        scores = score()
        seconds = time.perf_counter() - start
        found.append(Quality(name, spearman(pairs.scores, scores), seconds, scored))
    return found


def write_quality(found: list[Quality], pairs: int) -> Iterator[str]:
    """Yield the lines of the report."""
    yield f"Quality and cost together: {pairs} judged pairs, Spearman x 100"
    for name, correlation, seconds, scored in found:
        yield (
            f"  {name:20} {100 * correlation:6.2f}  {pairs / seconds:8,.0f} pairs/s  "
            f"{scored} of them by the cross-encoder"
        )
