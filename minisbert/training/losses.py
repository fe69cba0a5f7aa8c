"""The losses: the paper's three objectives (Reimers & Gurevych 2019, section 3), in-batch
negatives, and the two cross-entropies that train a cross-encoder.

A forward takes what the network returns for B examples, embeddings (B, E) or logits, then the
labels if there are any, and returns the mean loss. Its backward takes `dloss`, the derivative with
respect to that mean (1 unless the loss is scaled), and returns gradients in the order of the
forward's arguments. Caches and numbered steps are used as in `layers.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache
from minisbert.network.layers import linear_backward, linear_forward
from minisbert.network.similarity import normalize_backward, normalize_forward

# Cross-entropy: the negative log likelihood -log softmax(logits)[label], averaged.
# Its derivative with respect to the logits is softmax(logits) - one_hot(label).


class CrossEntropyCache(NamedTuple):
    probabilities: Array  # (B, k)   softmax of the logits
    labels: Array  # (B,)


def cross_entropy_forward(logits: Array, labels: Array, *, cache: Cache = None) -> float:
    """Return the mean negative log likelihood of class numbers.  (B, k), (B,) -> number"""
    B, k = logits.shape
    shifted = logits - logits.max(axis=1, keepdims=True)  # so that exp can't overflow
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1)  # (B,)
    losses = np.log(sums) - shifted[np.arange(B), labels]
    if cache is not None:
        cache.append(CrossEntropyCache(exponentials / sums[:, None], labels))
    return float(losses.mean())


def cross_entropy_backward(dloss: float, cache: list[Any]) -> Array:
    """Return the gradient of the logits."""
    probabilities, labels = cache.pop()
    B, k = probabilities.shape
    dlogits = probabilities.copy()
    dlogits[np.arange(B), labels] -= 1
    dlogits *= dloss / B
    return dlogits


# Binary cross-entropy: -y log s - (1 - y) log(1 - s), where s = sigmoid(z) of the logit z.
# Written as max(z, 0) - z y + log(1 + exp(-|z|)) it can't overflow. Its derivative is s - y.


class BinaryCrossEntropyCache(NamedTuple):
    errors: Array  # (B,)   sigmoid(logit) - label


def binary_cross_entropy_forward(logits: Array, labels: Array, *, cache: Cache = None) -> float:
    """Return the mean negative log likelihood of labels from 0 to 1.  (B, 1), (B,) -> number"""
    z = logits[:, 0]
    exponentials = np.exp(-np.abs(z))
    losses = np.maximum(z, 0) - z * labels + np.log1p(exponentials)
    if cache is not None:
        sigmoid = np.where(z >= 0, 1, exponentials) / (1 + exponentials)
        cache.append(BinaryCrossEntropyCache(sigmoid - labels))
    return float(losses.mean())


def binary_cross_entropy_backward(dloss: float, cache: list[Any]) -> Array:
    """Return the gradient of the logits."""
    (errors,) = cache.pop()
    return errors[:, None] * (dloss / len(errors))


# Cosine loss (section 3, regression objective): the mean squared error of the cosine.


class CosineLossCache(NamedTuple):
    unit_u: Array  # (B, E)   u / |u|
    unit_v: Array  # (B, E)
    errors: Array  # (B,)     cosine - label


def cosine_loss_forward(u: Array, v: Array, labels: Array, *, cache: Cache = None) -> float:
    """Return the mean squared error of cosines.  (B, E), (B, E), (B,) from 0 to 1 -> number"""
    # 1. cosines, as dot products of unit vectors; the cosine of a zero vector is 0
    unit_u, unit_v = normalize_forward(u, cache=cache), normalize_forward(v, cache=cache)
    cosines = np.einsum("be,be->b", unit_u, unit_v)
    errors = cosines - labels  # 2.
    if cache is not None:
        cache.append(CosineLossCache(unit_u, unit_v, errors))
    return float(np.mean(errors * errors))


def cosine_loss_backward(dloss: float, cache: list[Any]) -> tuple[Array, Array]:
    """Return the gradients of u and v."""
    unit_u, unit_v, errors = cache.pop()
    dcosines = (errors * (2 * dloss / len(errors)))[:, None]  # 2. (B, 1)
    # 1. v was pushed after u, so it is popped first
    dv = normalize_backward(dcosines * unit_u, cache)
    du = normalize_backward(dcosines * unit_v, cache)
    return du, dv


# Softmax loss (section 3, classification objective): cross-entropy of softmax(W (u, v, |u - v|)).
# Table 6 compares concatenations. Where u = v, |u - v| has no derivative; 0 is taken.

CONCATENATIONS = ("u,v", "|u-v|", "u*v", "|u-v|,u*v", "u,v,u*v", "u,v,|u-v|", "u,v,|u-v|,u*v")


class SoftmaxLossCache(NamedTuple):
    u: Array  # (B, E)
    v: Array  # (B, E)
    concatenation: str


def concatenate_features(u: Array, v: Array, concatenation: str) -> Array:
    """Concatenate F features of two embeddings.  (B, E), (B, E) -> (B, F E)"""
    features = {"u": u, "v": v, "|u-v|": np.abs(u - v), "u*v": u * v}
    return np.hstack([features[name] for name in concatenation.split(",")])


def softmax_loss_forward(
    u: Array,
    v: Array,
    labels: Array,
    *,
    weight: Array,
    bias: Array,
    concatenation: str,
    cache: Cache = None,
) -> float:
    """Return the cross-entropy of a linear classifier on features of two embeddings.

    labels         (B,)       class numbers
    weight         (k, F E)
    bias           (k,)       as in sentence-transformers; the paper has none
    concatenation             one of CONCATENATIONS
    """
    features = concatenate_features(u, v, concatenation)  # 1.
    if cache is not None:
        cache.append(SoftmaxLossCache(u, v, concatenation))
    logits = linear_forward(features, weight, bias, cache=cache)  # 2. (B, k)
    return cross_entropy_forward(logits, labels, cache=cache)  # 3.


def softmax_loss_backward(
    dloss: float, cache: list[Any], *, dweight: Array | None = None, dbias: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """Return the gradients of u, v, weight and bias, the last two in the arrays given, if any."""
    dlogits = cross_entropy_backward(dloss, cache)  # 3.
    dfeatures, dweight, dbias = linear_backward(dlogits, cache, dweight=dweight, dbias=dbias)  # 2.
    # 1. each feature's gradient, times its derivatives by u and by v
    u, v, concatenation = cache.pop()
    sign = np.sign(u - v)
    derivatives = {"u": (1, 0), "v": (0, 1), "|u-v|": (sign, -sign), "u*v": (v, u)}
    names = concatenation.split(",")
    du, dv = np.zeros_like(u), np.zeros_like(v)
    for name, dfeature in zip(names, np.split(dfeatures, len(names), axis=1), strict=True):
        by_u, by_v = derivatives[name]
        du += dfeature * by_u
        dv += dfeature * by_v
    return du, dv, dweight, dbias


# Triplet loss (section 3): max(|a - p| - |a - n| + margin, 0) with Euclidean distances. Where the
# sum is exactly 0, and where a distance is 0, there is no derivative; 0 is taken.


class TripletLossCache(NamedTuple):
    to_positive: Array  # (B, E)   a - p
    positive_distances: Array  # (B,)
    to_negative: Array  # (B, E)   a - n
    negative_distances: Array  # (B,)
    violated: Array  # (B,)   whether the loss of an example is above 0


def triplet_loss_forward(
    anchor: Array, positive: Array, negative: Array, *, margin: float, cache: Cache = None
) -> float:
    """Return the mean violation of the margin.  three (B, E) -> number"""
    to_positive, to_negative = anchor - positive, anchor - negative  # 1.
    near, far = (np.sqrt(np.einsum("be,be->b", x, x)) for x in (to_positive, to_negative))  # (B,)
    violations = near - far + margin  # 2.
    if cache is not None:
        cache.append(TripletLossCache(to_positive, near, to_negative, far, violations > 0))
    return float(np.maximum(violations, 0).mean())


def triplet_loss_backward(dloss: float, cache: list[Any]) -> tuple[Array, Array, Array]:
    """Return the gradients of anchor, positive and negative."""
    to_positive, near, to_negative, far, violated = cache.pop()
    dviolations = violated * (dloss / len(violated))  # 2. (B,)
    # 1. the gradient of a length |x| is the direction x / |x|
    dnear, dfar = (
        x * np.divide(dviolations, length, out=np.zeros_like(length), where=length > 0)[:, None]
        for x, length in ((to_positive, near), (to_negative, far))
    )
    return dnear - dfar, -dnear, dfar


# Ranking loss: in-batch negatives (Henderson et al. 2017, section 4.4; MultipleNegativesRankingLoss
# in sentence-transformers). Anchor i has to find positive i among the positives of all anchors.


class RankingLossCache(NamedTuple):
    unit_anchor: Array  # (B, E)
    unit_candidates: Array  # (C, E)
    scale: float


def ranking_loss_forward(
    anchor: Array, *candidates: Array, scale: float, cache: Cache = None
) -> float:
    """Return the cross-entropy of finding candidate i for anchor i by scaled cosines.

    anchor      (B, E)
    candidates  (B, E)   the positives, and after them hard negatives, if any: C rows together
    scale                factor on the cosines, which alone give a nearly uniform softmax
    """
    # 1. unit vectors
    unit_anchor = normalize_forward(anchor, cache=cache)
    unit_candidates = normalize_forward(np.concatenate(candidates), cache=cache)
    if cache is not None:
        cache.append(RankingLossCache(unit_anchor, unit_candidates, scale))
    # 2. scaled cosines of all with all
    scores = (unit_anchor @ unit_candidates.T) * unit_anchor.dtype.type(scale)  # (B, C)
    return cross_entropy_forward(scores, np.arange(len(anchor)), cache=cache)  # 3.


def ranking_loss_backward(dloss: float, cache: list[Any]) -> tuple[Array, ...]:
    """Return the gradients of anchor, positives and hard negatives."""
    dscores = cross_entropy_backward(dloss, cache)  # 3.
    unit_anchor, unit_candidates, scale = cache.pop()
    dscores *= scale  # 2.
    # 1. candidates were pushed after anchors, so they are popped first
    dcandidates = normalize_backward(dscores.T @ unit_anchor, cache)
    danchor = normalize_backward(dscores @ unit_candidates, cache)
    return danchor, *np.split(dcandidates, len(dcandidates) // len(danchor))
