"""One solution of each exercise; the test suite runs the checks of the exercises on them."""

from typing import Any, NamedTuple

import numpy as np
from exercise_4_gradient import LAYERS as GIVEN_LAYERS
from gradients import check_backward

from minisbert.network.similarity import normalize_backward, normalize_forward

# 1. If weights of padding are set to 0 after the softmax, the others do not sum to 1: so the scores
# are masked before it. The mask is over keys, the last axis; padding's queries are ignored.


def masked_softmax(scores, mask):
    scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def masked_mean(hidden, mask):
    counted = mask[:, :, None]  # (B, T, 1)
    return (hidden * counted).sum(axis=1) / counted.sum(axis=1)


# 2. The result is a copy of the first token's vector; the other tokens have gradient 0.


def spread_cls(dpooled, sentences):
    dsentences = np.zeros_like(sentences)
    dsentences[:, 0] = dpooled
    return dsentences


# 3. The derivative with respect to e_ij is its share of the sum, exp(e_ij - loss). e_ij grows with
# cos_j and falls with cos_i: a cosine's derivative is its column's sum minus its row's sum.


class CosentCache(NamedTuple):
    """Embeddings of length 1 (B, E), shares of the sum (B, B), and the scale."""

    unit_u: Any
    unit_v: Any
    shares: Any
    scale: float


def cosent_forward(u, v, labels, *, scale=20.0, cache=None):
    # 1. cosines
    unit_u, unit_v = normalize_forward(u, cache=cache), normalize_forward(v, cache=cache)
    cosines = np.einsum("be,be->b", unit_u, unit_v)
    # 2. exponents; pairs that are not compared add exp(-inf) = 0
    exponents = scale * (cosines[None, :] - cosines[:, None])  # (B, B)
    exponents[labels[:, None] <= labels[None, :]] = -np.inf
    # 3. log(1 + Σ exp), where 1 = exp(0) is one of the exponentials
    largest = exponents.max(initial=0)
    exponentials = np.exp(exponents - largest)
    total = np.exp(-largest) + exponentials.sum()
    if cache is not None:
        cache.append(CosentCache(unit_u, unit_v, exponentials / total, scale))
    return float(largest + np.log(total))


def cosent_backward(dloss, cache):
    # 3. 2.
    unit_u, unit_v, shares, scale = cache.pop()
    dcosines = dloss * scale * (shares.sum(axis=0) - shares.sum(axis=1))[:, None]  # (B, 1)
    # 1. what was pushed last is popped first
    dv = normalize_backward(dcosines * unit_u, cache)
    du = normalize_backward(dcosines * unit_v, cache)
    return du, dv


# 4. With x̂ = x / root and dx̂ = dout gamma:  dx = (dx̂ - x̂ (mean of dx̂ x̂)) / root. The wrong
# backward takes the mean of dout x̂, which is the same only where gamma is 1.


def find_wrong_layers(layers, rng):
    wrong = []
    for name, layer in layers.items():
        try:
            arrays = [rng.standard_normal(shape) for shape in layer.shapes]
            check_backward(layer.forward, layer.backward, arrays)
        except AssertionError:
            wrong.append(name)
    return wrong


def rms_norm_backward(dout, cache):
    normalized, root, gamma = cache.pop()
    dnormalized = dout * gamma
    along = (dnormalized * normalized).mean(axis=1, keepdims=True)  # (N, 1)
    return (dnormalized - normalized * along) / root, (dout * normalized).sum(axis=0)


LAYERS = GIVEN_LAYERS | {"rms_norm": GIVEN_LAYERS["rms_norm"]._replace(backward=rms_norm_backward)}

# 5. No comparison with NaN is true, so NaN cannot be sorted by its value. Whether a score is NaN is
# the first sort key, and False comes before True.


def canonical_dot(a, b):
    lanes = [np.float32(0)] * 16
    for i in range(len(a)):
        lanes[i % 16] += a[i] * b[i]
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    return lanes[0]


def scalar_topk(query, rows, k):
    scores = [canonical_dot(query, row) for row in rows]
    keys = [(True, 0, i) if np.isnan(s) else (False, -s, i) for i, s in enumerate(scores)]
    best = [i for is_nan, negated, i in sorted(keys)[:k]]
    return np.array([scores[i] for i in best], np.float32), np.array(best, np.int64)
