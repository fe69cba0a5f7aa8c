"""Objectives by name: which losses they are, and what of an example they need.

A bi-encoder gives embeddings, one a text; a cross-encoder gives logits, one row a pair. Either way
an objective takes a list of arrays, one for each column of the examples, and gives back as many
gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.training.losses import (
    CONCATENATIONS,
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    classification_backward,
    classification_forward,
    cross_entropy_backward,
    cross_entropy_forward,
    ranking_backward,
    ranking_forward,
    regression_backward,
    regression_forward,
    triplet_backward,
    triplet_forward,
)


class Objective(NamedTuple):
    """One thing to make small.

    labels         "scores" between 0 and 1, "classes", or "" for none
    cross_encoder  whether it takes logits of pairs, not embeddings of texts
    what           in words, for people
    forward        (outputs, labels, parameters, cache) -> loss
    backward       (cache, gradients) -> gradients of the outputs
    """

    labels: str
    cross_encoder: bool
    what: str
    forward: Callable[[list[Array], Any, Parameters, Cache], float]
    backward: Callable[[list[Any], Gradients], list[Array]]


# The classifier that the softmax objective trains beside the network and leaves behind.
CLASSIFIER = "objective.classifier"


def make_classifier(k: int, E: int, concatenation: str, seed: int) -> dict[str, Array]:
    """A fresh classifier for `softmax`: k classes, embeddings of width E.

    Its weights are drawn as torch's Linear draws them, uniformly up to 1 / √(inputs).
    """
    inputs = (concatenation.count(",") + 1) * E
    rng = np.random.default_rng([seed, k, inputs])
    most = 1 / np.sqrt(inputs)
    return {
        f"{CLASSIFIER}.weight": rng.uniform(-most, most, (k, inputs)).astype(np.float32),
        f"{CLASSIFIER}.bias": rng.uniform(-most, most, k).astype(np.float32),
    }


def make_objective(
    name: str, margin: float = 1.0, scale: float = 20.0, concatenation: str = "u,v,|u-v|"
) -> Objective:
    """Look an objective up by its name.

    margin         of "triplet"; 1 in the paper, 5 in sentence-transformers
    scale          of the cosines in "ranking"
    concatenation  of "softmax", one of `losses.CONCATENATIONS`

    Raises ValueError for a name or an option that there is not.
    """
    if concatenation not in CONCATENATIONS:
        raise ValueError(
            f"concatenation must be one of {'; '.join(CONCATENATIONS)}, got {concatenation!r}; "
            "leave it out for the paper's best"
        )
    for option, value in (("margin", margin), ("scale", scale)):
        if not 0 < value < np.inf:
            raise ValueError(f"{option} must be a number above 0, got {value!r}; leave it out")

    def softmax_forward(outputs: list[Array], labels: Any, p: Parameters, cache: Cache) -> float:
        u, v = outputs
        weight, bias = p[f"{CLASSIFIER}.weight"], p[f"{CLASSIFIER}.bias"]
        return classification_forward(u, v, labels, weight, bias, concatenation, cache)

    def softmax_backward(cache: list[Any], gradients: Gradients) -> list[Array]:
        dweight, dbias = gradients[f"{CLASSIFIER}.weight"], gradients[f"{CLASSIFIER}.bias"]
        du, dv, _, _ = classification_backward(1.0, cache, dweight, dbias)
        return [du, dv]

    def cosine_forward(outputs: list[Array], labels: Any, _: Parameters, cache: Cache) -> float:
        u, v = outputs
        return regression_forward(u, v, labels, cache)

    def triplets_forward(outputs: list[Array], _: Any, __: Parameters, cache: Cache) -> float:
        anchor, positive, negative = outputs
        return triplet_forward(anchor, positive, negative, margin, cache)

    def find_forward(outputs: list[Array], _: Any, __: Parameters, cache: Cache) -> float:
        anchor, *others = outputs  # positives, then hard negatives if there are any
        if cache is not None:
            cache.append(len(others))
        return ranking_forward(anchor, np.concatenate(others), scale, cache)

    def find_backward(cache: list[Any], _: Gradients) -> list[Array]:
        danchor, dcandidates = ranking_backward(1.0, cache)
        return [danchor, *np.split(dcandidates, cache.pop())]

    def binary_forward(outputs: list[Array], labels: Any, _: Parameters, cache: Cache) -> float:
        return binary_cross_entropy_forward(outputs[0], labels, cache)

    def classes_forward(outputs: list[Array], labels: Any, _: Parameters, cache: Cache) -> float:
        return cross_entropy_forward(outputs[0], labels, cache)

    objectives = {
        "cosine": Objective(
            "scores",
            False,
            "mean squared error of the cosine against a score from 0 to 1",
            cosine_forward,
            lambda cache, _: [*regression_backward(1.0, cache)],
        ),
        "softmax": Objective(
            "classes",
            False,
            f"softmax classification on ({concatenation})",
            softmax_forward,
            softmax_backward,
        ),
        "triplet": Objective(
            "",
            False,
            f"triplets, Euclidean, margin {margin:g}",
            triplets_forward,
            lambda cache, _: [*triplet_backward(1.0, cache)],
        ),
        "ranking": Objective(
            "", False, f"in-batch negatives, scale {scale:g}", find_forward, find_backward
        ),
        "binary": Objective(
            "scores",
            True,
            "binary cross-entropy against a score from 0 to 1",
            binary_forward,
            lambda cache, _: [binary_cross_entropy_backward(1.0, cache)],
        ),
        "classes": Objective(
            "classes",
            True,
            "cross-entropy of the classes",
            classes_forward,
            lambda cache, _: [cross_entropy_backward(1.0, cache)],
        ),
    }
    if name not in objectives:
        raise ValueError(
            f"objective must be one of {', '.join(objectives)}, got {name!r}; choose one of them"
        )
    return objectives[name]
