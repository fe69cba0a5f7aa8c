"""Measure a model on held-out examples by one number, chosen by the kind of their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.encoding.batching import check_finite, encode_once
from minisbert.evaluation.metrics import spearman
from minisbert.mining.nearest import find_nearest
from minisbert.training.examples import Examples
from minisbert.training.objectives import ChosenLoss

_MRR_DEPTH = 10

# Options of `encode` and `predict`: the run has already warned of long texts.
_QUIETLY: dict[str, Any] = {"on_truncate": "ignore", "show_progress_bar": False}


class Measure(NamedTuple):
    """A number from 0 to 1, or from -1 to 1 for a correlation; larger is better."""

    name: str
    value: float


def measure_development(
    model: Any, examples: Examples, loss: ChosenLoss, *, parameters: Mapping[str, Array]
) -> Measure:
    """Measure a model on held-out examples.

    model       SentenceTransformer or CrossEncoder
    loss        of the training; for classes a bi-encoder needs one with a classifier
    parameters  the trained parameters, with the classifier's

    Scores are measured by Spearman's correlation, classes by accuracy, triplets by how often the
    positive is nearer than the negative, and pairs without labels by MRR@10, where the query is the
    first text of a pair and the candidates are the second texts of all pairs.
    """
    if examples.labels is None:
        vectors = encode_once(model.encode, *examples.texts, **_QUIETLY)
        if len(vectors) == 3:
            near, far = (np.linalg.norm(vectors[0] - other, axis=1) for other in vectors[1:])
            return Measure("accuracy", float((near < far).mean()))
        value = measure_ranking(
            vectors[0], vectors[1], examples.texts[1], similarity=model.similarity_fn_name
        )
        return Measure(f"MRR@{_MRR_DEPTH}", value)
    if hasattr(model, "predict"):
        pairs = list(zip(*examples.texts, strict=True))
        scores = model.predict(pairs, return_logits=bool(examples.classes), **_QUIETLY)
    elif not examples.classes:
        u, v = encode_once(model.encode, *examples.texts, **_QUIETLY)
        scores = model.similarity_pairwise(u, v)
    else:
        width = model.config.embedding_width  # the classifier reads all of an embedding
        columns = encode_once(model.encode, *examples.texts, truncate_dim=width, **_QUIETLY)
        scores = loss.classify(columns, parameters)
        check_finite(scores, range(len(scores)), model.model_directory)
    if not examples.classes:
        return Measure("Spearman", spearman(examples.labels, scores))
    return Measure("accuracy", float((scores.argmax(axis=1) == examples.labels).mean()))


def measure_ranking(
    first: Array, second: Array, texts: list[str], *, similarity: str = "cosine"
) -> float:
    """Return MRR@10 of finding text i by row i of `first`.

    first       (n, E)
    second      (n, E)   embeddings of the texts
    texts       n        candidates; where several are equal, each of them is right
    similarity           by which candidates are ranked, the model's
    """
    _, found = find_nearest(first, second, _MRR_DEPTH, similarity=similarity)
    names = np.unique(texts, return_inverse=True)[1]  # a number for each different text
    hits = names[found] == names[:, None]
    ranks = np.where(hits.any(axis=1), 1 + hits.argmax(axis=1), np.inf)
    return float((1 / ranks).mean())


def count_overlap(training: Examples, development: Examples) -> int:
    """Count the development examples whose texts are also together in a training example.

    The order of texts is ignored, and so are labels. A pair is found in a triplet too.
    """
    waiting = Counter(map(frozenset, zip(*development.texts, strict=True)))
    return sum(
        waiting.pop(frozenset(together), 0)
        for texts in zip(*training.texts, strict=True)
        for size in range(2, len(texts) + 1)
        for together in combinations(texts, size)
    )
