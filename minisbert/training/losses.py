"""What training makes small: the paper's three objectives, what came after, and a cross-encoder's.

Every forward takes embeddings (or logits) of B examples and returns one number, the mean over them;
its twin takes the gradient of that number, 1 unless it is scaled, and returns those of the
embeddings. The twins are as in `layers.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache
from minisbert.network.layers import linear_backward, linear_forward
from minisbert.network.similarity import normalize_backward, normalize_forward

# Cross-entropy of k classes: -log softmax(logits)[label]. Its slope is softmax - one-hot.


def cross_entropy_forward(logits: Array, labels: Array, cache: Cache = None) -> float:
    """How surprising the labels are.  (B, k), (B,) numbers of classes -> mean"""
    B, k = logits.shape
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1)  # (B,)
    surprise = np.log(sums) - shifted[np.arange(B), labels]
    if cache is not None:
        cache.append((exponentials / sums[:, None], labels))
    return float(surprise.mean())


def cross_entropy_backward(dloss: float, cache: list[Any]) -> Array:
    weights, labels = cache.pop()
    B, k = weights.shape
    dlogits: Array = weights.copy()
    dlogits[np.arange(B), labels] -= 1
    dlogits *= dloss / B
    return dlogits


# Binary cross-entropy: -y log s - (1 - y) log (1 - s), with s the logistic function of the logit.
# Written as max(z, 0) - z y + log(1 + exp(-|z|)) nothing overflows. Its slope is s - y.


def binary_cross_entropy_forward(logits: Array, labels: Array, cache: Cache = None) -> float:
    """How surprising labels between 0 and 1 are.  (B, 1), (B,) -> mean"""
    z = logits[:, 0]
    small = np.exp(-np.abs(z))
    surprise = np.maximum(z, 0) - z * labels + np.log1p(small)
    if cache is not None:
        logistic = np.where(z >= 0, 1, small) / (1 + small)
        cache.append(logistic - labels)
    return float(surprise.mean())


def binary_cross_entropy_backward(dloss: float, cache: list[Any]) -> Array:
    difference = cache.pop()
    dlogits: Array = difference[:, None] * (dloss / len(difference))
    return dlogits


# Softmax classification (section 3 of the paper): softmax(W (u, v, |u - v|)). Table 6 of the paper
# tries what else to put side by side; a name here is the list of its parts. The slope of |u - v| at
# 0 is defined as 0.


class Part(NamedTuple):
    """Something made of u and v, and the gradients of both from its own."""

    forward: Callable[[Array, Array], Array]
    backward: Callable[[Array, Array, Array], tuple[Array | float, Array | float]]


PARTS = {
    "u": Part(lambda u, v: u, lambda dout, u, v: (dout, 0.0)),
    "v": Part(lambda u, v: v, lambda dout, u, v: (0.0, dout)),
    "|u-v|": Part(
        lambda u, v: np.abs(u - v),
        lambda dout, u, v: (dout * np.sign(u - v), -dout * np.sign(u - v)),
    ),
    "u*v": Part(lambda u, v: u * v, lambda dout, u, v: (dout * v, dout * u)),
}

CONCATENATIONS = (
    "u,v",
    "|u-v|",
    "u*v",
    "|u-v|,u*v",
    "u,v,u*v",
    "u,v,|u-v|",
    "u,v,|u-v|,u*v",
)


def concatenate(u: Array, v: Array, concatenation: str) -> Array:
    """Put what is made of two embeddings side by side.  (B, E), (B, E) -> (B, P E)"""
    return np.hstack([PARTS[part].forward(u, v) for part in concatenation.split(",")])


def classification_forward(
    u: Array,
    v: Array,
    labels: Array,
    weight: Array,
    bias: Array,
    concatenation: str = "u,v,|u-v|",
    cache: Cache = None,
) -> float:
    """Cross-entropy of a linear classifier on two embeddings side by side.

    u, v           (B, E)
    labels         (B,)       numbers of classes
    weight         (k, P E)   P parts
    bias           (k,)       sentence-transformers has one, the paper does not write it
    concatenation             one of CONCATENATIONS
    """
    # 1. side by side
    features = concatenate(u, v, concatenation)
    if cache is not None:
        cache.append((u, v, concatenation))
    # 2. a score for each class
    logits = linear_forward(features, weight, bias, cache=cache)  # (B, k)
    # 3. how surprising the labels are
    return cross_entropy_forward(logits, labels, cache)


def classification_backward(
    dloss: float, cache: list[Any], dweight: Array | None = None, dbias: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """Gradients of u, v, weight and bias; the last two go to the arrays given, if any."""
    # 3.
    dlogits = cross_entropy_backward(dloss, cache)
    # 2.
    dfeatures, dweight, dbias = linear_backward(dlogits, cache, dweight=dweight, dbias=dbias)
    # 1.
    u, v, concatenation = cache.pop()
    parts = concatenation.split(",")
    du, dv = np.zeros_like(u), np.zeros_like(v)
    for part, dpart in zip(parts, np.split(dfeatures, len(parts), axis=1), strict=True):
        first, second = PARTS[part].backward(dpart, u, v)
        du += first
        dv += second
    return du, dv, dweight, dbias


# Regression (section 3 of the paper): the mean squared error of the cosine.


def regression_forward(u: Array, v: Array, labels: Array, cache: Cache = None) -> float:
    """How far cosines are from labels between 0 and 1.  (B, E), (B, E), (B,) -> mean square"""
    # 1. directions, whose dot product is the cosine; a zero vector has cosine 0
    unit_u, unit_v = normalize_forward(u, cache=cache), normalize_forward(v, cache=cache)
    cosines = np.einsum("be,be->b", unit_u, unit_v)
    # 2. the error
    error = cosines - labels
    if cache is not None:
        cache.append((unit_u, unit_v, error))
    return float(np.mean(error * error))


def regression_backward(dloss: float, cache: list[Any]) -> tuple[Array, Array]:
    """Gradients of u and v."""
    # 2.
    unit_u, unit_v, error = cache.pop()
    dcosines = (error * (2 * dloss / len(error)))[:, None]  # (B, 1)
    # 1. what was pushed last is popped first
    dv = normalize_backward(dcosines * unit_u, cache)
    du = normalize_backward(dcosines * unit_v, cache)
    return du, dv


# Triplets (section 3 of the paper): max(|a - p| - |a - n| + margin, 0), Euclidean. The slope is
# defined as 0 where the positive is nearer by just the margin, and that of a distance 0 as 0.


def triplet_forward(
    anchor: Array, positive: Array, negative: Array, margin: float = 1.0, cache: Cache = None
) -> float:
    """How much nearer than the negative the positive still has to come.  three (B, E) -> mean

    margin  1 in the paper; sentence-transformers' default is 5
    """
    # 1. distances
    to_positive, to_negative = anchor - positive, anchor - negative
    near, far = (np.sqrt(np.einsum("be,be->b", x, x)) for x in (to_positive, to_negative))  # (B,)
    # 2. what is missing
    missing = near - far + margin
    if cache is not None:
        cache.append((to_positive, near, to_negative, far, missing > 0))
    return float(np.maximum(missing, 0).mean())


def triplet_backward(dloss: float, cache: list[Any]) -> tuple[Array, Array, Array]:
    """Gradients of anchor, positive and negative."""
    to_positive, near, to_negative, far, counts = cache.pop()
    # 2.
    dmissing = counts * (dloss / len(counts))  # (B,)
    # 1. the slope of a length is the direction
    dnear, dfar = (
        x * np.divide(dmissing, length, out=np.zeros_like(length), where=length > 0)[:, None]
        for x, length in ((to_positive, near), (to_negative, far))
    )
    return dnear - dfar, -dnear, dfar


# In-batch negatives (Henderson et al. 2017, section 4.4; "multiple negatives ranking" in
# sentence-transformers, scale 20): each anchor has to find its own positive among all of the batch.


def ranking_forward(
    anchor: Array, candidates: Array, scale: float = 20.0, cache: Cache = None
) -> float:
    """Cross-entropy of finding candidate i for anchor i by scaled cosines.

    anchor      (B, E)
    candidates  (C, E)   the B positives, and after them further negatives, if any
    """
    # 1. directions
    unit_anchor = normalize_forward(anchor, cache=cache)
    unit_candidates = normalize_forward(candidates, cache=cache)
    if cache is not None:
        cache.append((unit_anchor, unit_candidates, scale))
    # 2. all cosines
    scores = (unit_anchor @ unit_candidates.T) * unit_anchor.dtype.type(scale)  # (B, C)
    # 3. how surprising it is that i belongs to i
    return cross_entropy_forward(scores, np.arange(len(anchor)), cache)


def ranking_backward(dloss: float, cache: list[Any]) -> tuple[Array, Array]:
    """Gradients of anchor and candidates."""
    # 3.
    dscores = cross_entropy_backward(dloss, cache)
    # 2.
    unit_anchor, unit_candidates, scale = cache.pop()
    dscores *= scale
    # 1.
    dcandidates = normalize_backward(dscores.T @ unit_anchor, cache)
    danchor = normalize_backward(dscores @ unit_candidates, cache)
    return danchor, dcandidates
