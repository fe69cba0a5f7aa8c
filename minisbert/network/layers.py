"""The layers of BERT as plain functions on arrays, each with its gradient.

A layer is a pair of twins: `x_forward`, and `x_backward` right under it. A forward that is given a
list as `cache` pushes what its backward needs; without one (inference) it may overwrite its first
argument, and says so. A backward pops that again, so backwards are called in the opposite order. It
takes `dout`, the gradient of the loss with respect to what the forward gave, and returns those with
respect to the forward's arrays, in their order; its steps carry the forward's numbers.
Shape letters are those of `bert.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache
from minisbert.network.matrices import multiply_tiles
from minisbert.network.ragged import Group

# BLAS multiplies 1 to 7 rows by other routines than 8 and more, which round differently.
FEWEST_ROWS = 8


# Linear: y = x Wᵀ + b, with W as the checkpoint stores it, (out, in).


def linear_forward(x: Array, weight: Array, bias: Array | None, cache: Cache = None) -> Array:
    """Multiply every row by one matrix and add the bias.

    x       (N, I)
    weight  (O, I)   or the tiles that `cut_tiles` makes of it, for few rows
    bias    (O,)     or None
    out     (N, O)
    """
    N, I = x.shape  # noqa: E741
    if weight.ndim == 3:
        out: Array = multiply_tiles(x, weight)
    elif N < FEWEST_ROWS:
        padded = np.zeros((FEWEST_ROWS, I), x.dtype)
        padded[:N] = x
        out = (padded @ weight.T)[:N]
    else:
        out = x @ weight.T
    if bias is not None:
        out += bias
    if cache is not None:
        cache.append((x, weight))
    return out


def linear_backward(
    dout: Array, cache: list[Any], dweight: Array | None = None, dbias: Array | None = None
) -> tuple[Array, Array, Array]:
    """Gradients of `linear_forward`; those of weight and bias go to the arrays given, if any.

    dout     (N, O)
    dx       (N, I)   row n: the sum over o of dout[n, o] weight[o]
    dweight  (O, I)   row o: the sum over n of dout[n, o] x[n]
    dbias    (O,)     the sum over n of dout[n]
    """
    x, weight = cache.pop()
    dweight = np.matmul(dout.T, x, out=dweight)
    dbias = np.sum(dout, axis=0, out=dbias)
    return dout @ weight, dweight, dbias


# Embedding: row i of a table.


def embedding_forward(ids: Array, table: Array, cache: Cache = None) -> Array:
    """Look up one row for every id.  (N,), (V, D) -> (N, D)"""
    if cache is not None:
        cache.append(ids)
    rows: Array = table[ids]
    return rows


class RowGradient(NamedTuple):
    """The gradient of a table of which few rows were looked up; it is 0 for all others.

    rows  (R,)     each row once, ascending
    sums  (R, D)   the gradient of each of them
    """

    rows: Array
    sums: Array


def embedding_backward(dout: Array, cache: list[Any]) -> RowGradient:
    """Add up what belongs to the same row: there is never a dense array of the vocabulary."""
    return sum_rows(cache.pop(), dout)


def sum_rows(ids: Array, values: Array) -> RowGradient:
    """Add up the values of equal ids.  (N,), (N, D) -> (R,), (R, D)"""
    order = np.argsort(ids, kind="stable")
    rows, starts = np.unique(ids[order], return_index=True)
    return RowGradient(rows, np.add.reduceat(values[order], starts, axis=0))


# Layer norm: y = gamma (x - mean) / sqrt(variance + epsilon) + beta, row by row (Ba et al. 2016).


def layer_norm_forward(
    x: Array, gamma: Array, beta: Array, epsilon: float, cache: Cache = None
) -> Array:
    """Give every row mean 0 and variance 1, then scale and shift.

    x      (N, D)   overwritten without a cache
    gamma  (D,)
    beta   (D,)
    out    (N, D)
    """
    N, D = x.shape
    # 1. centre
    mean = x.sum(axis=1, keepdims=True) / D  # (N, 1)
    centred: Array = np.subtract(x, mean, out=x if cache is None else None)
    # 2. the population variance; einsum squares and sums in one pass over memory
    variance = np.einsum("nd,nd->n", centred, centred)[:, None] / D  # (N, 1)
    # 3. scale to variance 1
    inverse = 1 / np.sqrt(variance + epsilon)
    centred *= inverse
    # 4. scale and shift by what was learned
    if cache is None:
        centred *= gamma
        centred += beta
        return centred
    cache.append((centred, inverse, gamma))
    out: Array = centred * gamma
    out += beta
    return out


# With x̂ = (x - mean) / σ, where both mean and σ depend on every x of the row:
#
#     dx = (dx̂ - mean of dx̂ - x̂ (mean of dx̂ x̂)) / σ
#
# The means take out of dx̂ what only shifts or scales the row, to which x̂ is blind.


def layer_norm_backward(dout: Array, cache: list[Any]) -> tuple[Array, Array, Array]:
    """Gradients of `layer_norm_forward`.  (N, D) -> dx (N, D), dgamma (D,), dbeta (D,)"""
    N, D = dout.shape
    normalised, inverse, gamma = cache.pop()
    # 4. scale and shift
    product = dout * normalised
    dgamma, dbeta = product.sum(axis=0), dout.sum(axis=0)
    dx: Array = dout * gamma
    # 3. 2. 1. the derivation above
    along = np.einsum("nd,nd->n", dx, normalised)[:, None] / D  # (N, 1)
    dx -= dx.sum(axis=1, keepdims=True) / D
    dx -= np.multiply(normalised, along, out=product)
    dx *= inverse
    return dx, dgamma, dbeta


# Softmax: exp(x) / sum exp(x), over the last axis.


def softmax_forward(x: Array, cache: Cache = None) -> Array:
    """Turn each row of scores into weights that sum to 1.  (..., T) -> (..., T), overwrites x"""
    # Subtracting the largest changes nothing but keeps exp from overflowing.
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)
    if cache is not None:
        cache.append(x)
    return x


def softmax_backward(dout: Array, cache: list[Any]) -> Array:
    """dx = y (dout - the sum of dout y): the weights sum to 1, so one grows at the others' cost."""
    weights = cache.pop()
    dx: Array = dout - np.einsum("...t,...t->...", dout, weights)[..., None]
    dx *= weights
    return dx


# Dropout (Srivastava et al. 2014): in training some elements are set to 0 at random.


def dropout_forward(
    x: Array, rate: float, rng: np.random.Generator | None, cache: Cache = None
) -> Array:
    """Set each element to 0 with probability `rate`, scale the others up; nothing without rng.

    x, out  (...)
    """
    factors = None
    if rng is not None and rate > 0:
        kept = rng.random(x.shape, x.dtype) >= rate
        factors = kept * x.dtype.type(1 / (1 - rate))  # so that the mean stays what it was
        x = x * factors
    if cache is not None:
        cache.append(factors)
    return x


def dropout_backward(dout: Array, cache: list[Any]) -> Array:
    """What was set to 0 has no gradient.  (...) -> (...)"""
    factors = cache.pop()
    dx: Array = dout if factors is None else dout * factors
    return dx


# Attention (Vaswani et al. 2017, equation 1): softmax(q kᵀ / √d) v, for each head and sentence.


def attention_forward(
    query: Array,
    key: Array,
    value: Array,
    groups: Sequence[Group],
    heads: int,
    cache: Cache = None,
    query_groups: Sequence[Group] | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    bias: Array | None = None,
) -> Array:
    """Let every token of a sentence take from all of them: the only place where tokens meet.

    query         (N, D)             becomes out without a cache
    key, value    (N, D)
    groups        runs of sentences  of equal length
    heads         H                  each works on its own d = D / H columns
    query_groups  runs of queries    where only some tokens of each sentence ask
    dropout, rng                     how many of the weights are left out in training
    bias          (H, T, T)          of the longest sentence, added to the scores; or None
    out           (N, D)             a row for each query
    """
    D = query.shape[1]
    d = D // heads
    asking_groups = query_groups or groups
    # 1. Scaling q costs N D multiplications, scaling the scores would cost N H T.
    query = np.multiply(query, 1 / math.sqrt(d), out=query if cache is None else None)
    # Without a cache a sentence's output takes the place of its query, which is not read again.
    out = np.empty_like(query) if cache is not None else query
    for group, asking in zip(groups, asking_groups, strict=True):
        q, context = (_split_heads(x, asking, heads) for x in (query, out))  # (B, H, T, d) views
        k, v = (_split_heads(x, group, heads) for x in (key, value))  # (B, H, T, d) views
        # 2. how much each token wants of each other token
        scores = q @ k.swapaxes(-1, -2)  # (B, H, T, T)
        if bias is not None:
            scores += bias[:, : asking.T, : group.T]
        # 3. as weights that sum to 1
        weights = softmax_forward(scores, cache)
        if rng is not None:
            weights = dropout_forward(weights, dropout, rng, cache)
        # 4. the mean of the values with these weights
        np.matmul(weights, v, out=context)
        if cache is not None:
            cache.append(weights)
    if cache is not None:
        cache.append((query, key, value, groups, asking_groups, heads, rng is not None))
    return out


def attention_backward(
    dout: Array, cache: list[Any], dbias: Array | None = None
) -> tuple[Array, Array, Array]:
    """Gradients of `attention_forward` with respect to query, key and value, shaped as they are.

    That with respect to the bias, if there was one, is added to `dbias`, (H, T, T).
    """
    query, key, value, groups, asking_groups, heads, dropped = cache.pop()
    dquery, dkey, dvalue = (np.empty_like(x) for x in (query, key, value))
    for group, asking in zip(reversed(groups), reversed(asking_groups), strict=True):
        q, dq, dcontext = (_split_heads(x, asking, heads) for x in (query, dquery, dout))
        k, v, dk, dv = (_split_heads(x, group, heads) for x in (key, value, dkey, dvalue))
        # 4. each value went where its weight was, each weight stood beside a value
        weights = cache.pop()  # (B, H, T, T)
        np.matmul(weights.swapaxes(-1, -2), dcontext, out=dv)
        dweights = dcontext @ v.swapaxes(-1, -2)  # (B, H, T, T)
        # 3.
        if dropped:
            dweights = dropout_backward(dweights, cache)
        dscores = softmax_backward(dweights, cache)
        # 2.
        if dbias is not None:
            dbias[:, : asking.T, : group.T] += dscores.sum(axis=0)
        np.matmul(dscores, k, out=dq)
        np.matmul(dscores.swapaxes(-1, -2), q, out=dk)
    # 1.
    dquery *= 1 / math.sqrt(query.shape[1] // heads)
    return dquery, dkey, dvalue


def _split_heads(x: Array, group: Group, heads: int) -> Array:
    """View a group's rows sentence by sentence, head by head.  (N, D) -> (B, H, T, d)"""
    N, D = x.shape
    sentences: Array = x[group.rows].reshape(group.B, group.T, heads, D // heads)
    return np.transpose(sentences, (0, 2, 1, 3))
