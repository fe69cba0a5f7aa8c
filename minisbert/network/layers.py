"""The layers of BERT as plain functions on arrays, each with its gradient.

A layer is a pair: `x_forward`, and `x_backward` right under it. Their conventions:

    cache   A list to which the forward appends what its backward needs, and the backward pops it.
            So backwards are called in reverse order. Without a cache nothing is kept (inference).
    out     An array that the forward writes its result into. It may be the input itself, unless
            the cache keeps the input; without `out` the input does not change, and the result is
            a new array (but dropout that drops nothing returns its input).
    dout    The gradient of the loss with respect to the forward's result.

A backward returns the gradients with respect to the forward's arrays, in their order. Each step has
the number of the forward's step that it undoes. `bert.py` explains the letters of the shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache
from minisbert.network.matrices import Matrix, as_matrix
from minisbert.network.ragged import Group

# Linear: y = x Wᵀ + b, with W as the checkpoint stores it, (out, in).


class LinearCache(NamedTuple):
    """The input (N, I), and the weight (O, I)."""

    x: Array
    weight: Array


def linear_forward(
    x: Array, weight: Array | Matrix, bias: Array | None, *, cache: Cache = None
) -> Array:
    """Multiply every row by one matrix and add the bias.

    x       (N, I)
    weight  (O, I)   an array if there is a cache
    bias    (O,)     or None
    out     (N, O)
    """
    if cache is not None:
        cache.append(LinearCache(x, weight))  # type: ignore[arg-type]
    return as_matrix(weight).multiply(x, bias)


def linear_backward(
    dout: Array, cache: list[Any], *, dweight: Array | None = None, dbias: Array | None = None
) -> tuple[Array, Array, Array]:
    """Compute the gradients of `linear_forward`.

    dout     (N, O)
    dx       (N, I)   row n: the sum over o of dout[n, o] weight[o]
    dweight  (O, I)   row o: the sum over n of dout[n, o] x[n]; written into `dweight`, if given
    dbias    (O,)     the sum over n of dout[n]; written into `dbias`, if given
    """
    x, weight = cache.pop()
    dweight = np.matmul(dout.T, x, out=dweight)
    dbias = np.sum(dout, axis=0, out=dbias)
    return dout @ weight, dweight, dbias


# Lookup: row i of an embedding table. The cache holds the ids.


def lookup_forward(ids: Array, table: Array, *, cache: Cache = None) -> Array:
    """Look up one row for every id.  (N,), (V, D) -> (N, D)"""
    if cache is not None:
        cache.append(ids)
    return table[ids]


class RowGradient(NamedTuple):
    """The gradient of a table in which few rows were looked up; all other rows have gradient 0.

    rows  (R,)     each row once, ascending
    sums  (R, D)   the gradient of each of them
    """

    rows: Array
    sums: Array


def lookup_backward(dout: Array, cache: list[Any]) -> RowGradient:
    """Sum the gradients of each row that was looked up; no array of the table's size is made."""
    return sum_rows(cache.pop(), dout)


def sum_rows(ids: Array, values: Array) -> RowGradient:
    """Sum the values of equal ids.  (N,), (N, D) -> (R,), (R, D)"""
    order = np.argsort(ids, kind="stable")
    rows, starts = np.unique(ids[order], return_index=True)
    return RowGradient(rows, np.add.reduceat(values[order], starts, axis=0))


# Layer norm: y = gamma (x - mean) / sqrt(variance + epsilon) + beta, row by row (Ba et al. 2016).


class LayerNormCache(NamedTuple):
    """The rows with mean 0 and variance 1 (N, D), 1 / standard deviation (N, 1), and gamma (D,)."""

    normalized: Array
    inverse_deviation: Array
    gamma: Array


def layer_norm_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    *,
    epsilon: float,
    cache: Cache = None,
    out: Array | None = None,
) -> Array:
    """Give every row mean 0 and variance 1, then scale and shift.

    x, out  (N, D)
    gamma   (D,)
    beta    (D,)
    """
    N, D = x.shape
    # 1. centre
    mean = x.sum(axis=1, keepdims=True) / D  # (N, 1)
    normalized = np.subtract(x, mean, out=out if cache is None else None)
    # 2. the population variance; einsum squares and sums in one pass over memory
    variance = np.einsum("nd,nd->n", normalized, normalized)[:, None] / D  # (N, 1)
    # 3. scale to variance 1
    inverse_deviation = 1 / np.sqrt(variance + epsilon)
    normalized *= inverse_deviation
    # 4. scale and shift by the learned gamma and beta
    if cache is None:
        out = normalized
    else:
        cache.append(LayerNormCache(normalized, inverse_deviation, gamma))
    out = np.multiply(normalized, gamma, out=out)
    out += beta
    return out


# With x̂ = (x - mean) / σ, where both mean and σ depend on every x of the row:
#
#     dx = (dx̂ - mean of dx̂ - x̂ (mean of dx̂ x̂)) / σ
#
# Shifting or scaling a row does not change x̂; the two means remove these two directions from dx̂.


def layer_norm_backward(dout: Array, cache: list[Any]) -> tuple[Array, Array, Array]:
    """Compute the gradients of `layer_norm_forward`.  (N, D) -> (N, D), dgamma (D,), dbeta (D,)"""
    N, D = dout.shape
    normalized, inverse_deviation, gamma = cache.pop()
    # 4. scale and shift
    product = dout * normalized
    dgamma, dbeta = product.sum(axis=0), dout.sum(axis=0)
    dx = dout * gamma
    # 3. 2. 1. the derivation above
    mean_product = np.einsum("nd,nd->n", dx, normalized)[:, None] / D  # (N, 1)
    dx -= dx.sum(axis=1, keepdims=True) / D
    dx -= np.multiply(normalized, mean_product, out=product)
    dx *= inverse_deviation
    return dx, dgamma, dbeta


# Softmax: exp(x) / sum exp(x), over the last axis. The cache holds the result.


def softmax_forward(x: Array, *, cache: Cache = None, out: Array | None = None) -> Array:
    """Turn each row of scores into weights that sum to 1.  (..., T) -> (..., T)

    >>> softmax_forward(np.log([[1.0, 3.0]])).round(2).tolist()
    [[0.25, 0.75]]
    """
    # Subtracting the largest keeps exp from overflowing and does not change the result.
    weights = np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    if cache is not None:
        cache.append(weights)
    return weights


def softmax_backward(dout: Array, cache: list[Any]) -> Array:
    """Compute dx = y (dout - Σ dout y).  (..., T) -> (..., T)

    The weights sum to 1: one grows only as the others shrink, hence the sum over all of them.
    """
    weights = cache.pop()
    dx = dout - np.einsum("...t,...t->...", dout, weights)[..., None]
    dx *= weights
    return dx


# Dropout (Srivastava et al. 2014): in training some elements are set to 0 at random. The cache
# holds the factor of each element, or None if nothing was dropped.


def dropout_forward(
    x: Array, rate: float, rng: np.random.Generator | None, *, cache: Cache = None
) -> Array:
    """Set each element to 0 with probability `rate` and scale up the others.  (...) -> (...)

    Without rng, or with rate 0, the result is x itself.
    """
    factors = None
    if rng is not None and rate > 0:
        kept = rng.random(x.shape, x.dtype) >= rate
        factors = kept * x.dtype.type(1 / (1 - rate))  # the expected value stays the same
        x = x * factors
    if cache is not None:
        cache.append(factors)
    return x


def dropout_backward(dout: Array, cache: list[Any]) -> Array:
    """Give elements that were set to 0 no gradient, and scale up the others.  (...) -> (...)"""
    factors = cache.pop()
    return dout if factors is None else dout * factors


# Attention (Vaswani et al. 2017, equation 1): softmax(q kᵀ / √d) v, for each head and sentence.


class AttentionCache(NamedTuple):
    """The scaled queries (Q, D), keys and values (N, D), the groups of both, and two settings.

    Below this entry the cache holds for each group: the weights as softmax gave them, dropout's
    factors if there was an rng, and the weights after dropout, all (B, H, T, T).
    """

    query: Array
    key: Array
    value: Array
    groups: Sequence[Group]
    query_groups: Sequence[Group]
    heads: int
    has_dropout: bool


def attention_forward(
    query: Array,
    key: Array,
    value: Array,
    *,
    groups: Sequence[Group],
    heads: int,
    query_groups: Sequence[Group] | None = None,
    score_bias: Array | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    cache: Cache = None,
    out: Array | None = None,
) -> Array:
    """Compute each token's weighted mean of its sentence's values: only here do tokens meet.

    query         (N, D)             with `query_groups` fewer rows; may be `out`
    key, value    (N, D)
    groups        runs of sentences  of equal length
    heads         H                  each works on its own d = D / H columns
    query_groups  runs of queries    one for each group, if not all tokens are queries
    score_bias    (H, T, T)          added to the scores, with the largest T; or None
    dropout, rng                     rate and source of dropout on the weights
    out           (N, D)             a row for each query
    """
    N, D = query.shape
    d = D // heads
    query_groups = query_groups or groups
    # 1. Scaling q costs N D multiplications, scaling the scores would cost N H T.
    query = np.multiply(query, 1 / math.sqrt(d), out=out if cache is None else None)
    # Without a cache a sentence's result replaces its scaled query, which is not read again.
    if cache is None:
        out = query
    elif out is None:
        out = np.empty_like(query)
    for group, query_group in zip(groups, query_groups, strict=True):
        q, context = (_split_heads(x, query_group, heads) for x in (query, out))  # (B, H, T, d)
        k, v = (_split_heads(x, group, heads) for x in (key, value))  # (B, H, T, d)
        # 2. the score of each key for each query
        scores = q @ k.swapaxes(-1, -2)  # (B, H, T, T)
        if score_bias is not None:
            scores += score_bias[:, : query_group.T, : group.T]
        # 3. scores to weights that sum to 1
        weights = softmax_forward(scores, cache=cache, out=scores)
        if rng is not None:
            weights = dropout_forward(weights, dropout, rng, cache=cache)
        # 4. the mean of the values with these weights
        np.matmul(weights, v, out=context)
        if cache is not None:
            cache.append(weights)
    if cache is not None:
        has_dropout = rng is not None
        cache.append(AttentionCache(query, key, value, groups, query_groups, heads, has_dropout))
    return out


def attention_backward(
    dout: Array, cache: list[Any], *, dscore_bias: Array | None = None
) -> tuple[Array, Array, Array]:
    """Compute the gradients of query, key and value, of the same shapes.

    dout         (N, D)      a row for each query
    dscore_bias  (H, T, T)   the gradient of `score_bias` is added to it, if given
    """
    saved: AttentionCache = cache.pop()
    query, key, value, heads = saved.query, saved.key, saved.value, saved.heads
    dquery, dkey, dvalue = (np.empty_like(x) for x in (query, key, value))
    for group, query_group in zip(
        reversed(saved.groups), reversed(saved.query_groups), strict=True
    ):
        q, dq, dcontext = (_split_heads(x, query_group, heads) for x in (query, dquery, dout))
        k, v, dk, dv = (_split_heads(x, group, heads) for x in (key, value, dkey, dvalue))
        # 4. context = weights v
        weights = cache.pop()  # (B, H, T, T)
        np.matmul(weights.swapaxes(-1, -2), dcontext, out=dv)
        dweights = dcontext @ v.swapaxes(-1, -2)  # (B, H, T, T)
        # 3.
        if saved.has_dropout:
            dweights = dropout_backward(dweights, cache)
        dscores = softmax_backward(dweights, cache)
        # 2. scores = q kᵀ + bias
        if dscore_bias is not None:
            dscore_bias[:, : query_group.T, : group.T] += dscores.sum(axis=0)
        np.matmul(dscores, k, out=dq)
        np.matmul(dscores.swapaxes(-1, -2), q, out=dk)
    # 1.
    dquery *= 1 / math.sqrt(query.shape[1] // heads)
    return dquery, dkey, dvalue


def _split_heads(x: Array, group: Group, heads: int) -> Array:
    """View a group's rows sentence by sentence, head by head.  (N, D) -> (B, H, T, d)"""
    N, D = x.shape
    sentences = x[group.rows].reshape(group.B, group.T, heads, D // heads)
    return np.transpose(sentences, (0, 2, 1, 3))
