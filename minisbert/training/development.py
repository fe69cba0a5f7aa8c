"""How good a model in training is on examples that were held out: one measure, by their kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.encoding.batching import encode_once
from minisbert.evaluation.metrics import spearman
from minisbert.network.similarity import normalize_forward
from minisbert.search.scan import topk
from minisbert.training.examples import Examples
from minisbert.training.losses import concatenate
from minisbert.training.objectives import CLASSIFIER

# Of MRR@10.
DEPTH = 10

# Options of `encode` and `predict`: the run has warned of long texts before.
_QUIETLY: dict[str, Any] = {"on_truncate": "ignore", "show_progress_bar": False}


class Measure(NamedTuple):
    """A number from 0 to 1, or -1 to 1 for a correlation; larger is better."""

    name: str
    value: float


def measure_development(
    model: Any, examples: Examples, classifier: Mapping[str, Array], concatenation: str
) -> Measure:
    """Measure a model on held-out examples.

    model          SentenceTransformer or CrossEncoder
    classifier     what the softmax objective trains beside the model
    concatenation  what it reads

    Scores: Spearman's correlation. Classes: accuracy. Triplets: how often the positive is nearer.
    Pairs without a label: MRR@10 of finding the second text of each among those of all.
    """
    if examples.labels is None:
        vectors = encode_once(model.encode, *examples.texts, **_QUIETLY)
        if len(vectors) == 3:
            near, far = (np.linalg.norm(vectors[0] - other, axis=1) for other in vectors[1:])
            return Measure("accuracy", float((near < far).mean()))
        return Measure(f"MRR@{DEPTH}", measure_ranking(vectors[0], vectors[1], examples.texts[1]))
    if hasattr(model, "predict"):
        pairs = list(zip(*examples.texts, strict=True))
        scores = model.predict(
            pairs,
            return_logits=bool(examples.classes),
            **_QUIETLY,
        )
    elif not examples.classes:
        u, v = encode_once(model.encode, *examples.texts, **_QUIETLY)
        scores = model.similarity_pairwise(u, v)
    else:
        width = model.config.embedding_width  # the classifier reads all of an embedding
        u, v = encode_once(model.encode, *examples.texts, truncate_dim=width, **_QUIETLY)
        features = concatenate(u, v, concatenation)
        scores = features @ classifier[f"{CLASSIFIER}.weight"].T + classifier[f"{CLASSIFIER}.bias"]
    if not examples.classes:
        return Measure("Spearman", spearman(examples.labels, scores))
    return Measure("accuracy", float((scores.argmax(axis=1) == examples.labels).mean()))


def measure_ranking(first: Array, second: Array, texts: list[str]) -> float:
    """MRR@10 of finding text i by row i of `first`, by cosine.

    first   (n, E)
    second  (n, E)   embeddings of the texts
    texts   n        equal ones are as good as each other
    """
    _, found = topk(normalize_forward(first), normalize_forward(second), DEPTH)
    names = np.unique(texts, return_inverse=True)[1]  # a number for each different text
    hits = names[found] == names[:, None]
    places = np.where(hits.any(axis=1), 1 + hits.argmax(axis=1), np.inf)
    return float((1 / places).mean())
