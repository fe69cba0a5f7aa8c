"""The layers of BERT as plain functions on arrays.

Each layer is a function `x_forward`; its twin `x_backward` will stand right under it. A forward
that is given a list as `cache` pushes what its backward needs; without one (inference) it may
overwrite its first argument, and says so. Shape letters are those of `bert.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from minisbert.ragged import Array, Group

Cache = list[Any] | None

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


# A product of few rows is over before BLAS has packed the matrix for it, which it does at every
# call. OpenBLAS has kernels that don't, for products of at most 100^3 multiplications, and tiles of
# a matrix are small enough for them. One text of 12 tokens: all products in 3.3 ms instead of 4.7.

TILE = 64

# OpenBLAS adds up a long product in runs of this length (AVX-512); the same runs give a text the
# same bits alone as in company.
LONGEST_RUN = 448


def cut_tiles(weight: Array) -> Array:
    """Lay a matrix out for `multiply_tiles`.  (O, I) -> (O / TILE, I, TILE)"""
    O, I = weight.shape  # noqa: E741
    return np.ascontiguousarray(weight.T.reshape(I, O // TILE, TILE).transpose(1, 0, 2))


def multiply_tiles(x: Array, tiles: Array) -> Array:
    """Multiply a few rows by a matrix in tiles.  (N, I), (O / TILE, I, TILE) -> (N, O)"""
    N, I = x.shape  # noqa: E741
    products = (x[:, run] @ tiles[:, run] for run in cut_runs(I))
    total: Array = reduce(np.add, products)  # (O / TILE, N, TILE)
    out: Array = total.transpose(1, 0, 2).reshape(N, len(tiles) * TILE)
    return out


def cut_runs(I: int) -> Iterator[slice]:  # noqa: E741
    """Cut a sum as OpenBLAS does: whole runs, but the last two nearly equal, in steps of 16."""
    start = 0
    while start < I:
        run = I - start
        if run >= 2 * LONGEST_RUN:
            run = LONGEST_RUN
        elif run > LONGEST_RUN:
            run = -(-run // 32) * 16
        yield slice(start, start + run)
        start += run


# Embedding: row i of a table.


def embedding_forward(ids: Array, table: Array, cache: Cache = None) -> Array:
    """Look up one row for every id.  (N,), (V, D) -> (N, D)"""
    if cache is not None:
        cache.append((ids, table.shape))
    rows: Array = table[ids]
    return rows


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
    out: Array = centred * gamma + beta
    return out


# GELU: x Phi(x), with Phi the normal distribution function (Hendrycks & Gimpel 2016).
#
# NumPy has no erf. Phi(x) = 1 / (1 + exp(-x p(x²))) exactly, if p(x²) = log(Phi(x) / Phi(-x)) / x,
# and p is smooth enough for a polynomial of degree 6, fitted by benchmarks/fit_gelu.py for the
# smallest largest error: 7e-8 on [-100, 100], 6e-7 with float32's rounding. It is smooth at 0 and
# positive everywhere, so nothing is clipped: exp overflows to inf just where x / inf = 0 is right.
# Fourteen multiplications and additions, one exp, one division: 7 % of a block's products.

GELU_COEFFICIENTS = (
    1.5957684322075891e00,
    7.2668567101214620e-02,
    -6.6260045459943700e-05,
    -1.1048029885284384e-04,
    7.9382163895127460e-06,
    -2.6689266084672260e-07,
    3.6112293020424755e-09,
)


def gelu_forward(x: Array, cache: Cache = None) -> Array:
    """GELU by its error-function definition, to 1e-6.  (N, F) -> (N, F), overwrites x uncached"""
    with np.errstate(over="ignore"):
        square = x * x
        # Horner's scheme for -p, subtracting each coefficient to save a negation
        power = np.multiply(square, -GELU_COEFFICIENTS[-1])
        for coefficient in GELU_COEFFICIENTS[-2:0:-1]:
            power -= coefficient
            power *= square
        power -= GELU_COEFFICIENTS[0]
        power *= x
        np.exp(power, out=power)
    power += 1
    if cache is not None:
        cache.append((x, power))
    gelu: Array = np.divide(x, power, out=x if cache is None else None)
    return gelu


def gelu_tanh_forward(x: Array, cache: Cache = None) -> Array:
    """The tanh form of GELU (same paper, section 2), 5e-4 from it.  (N, F) -> (N, F)"""
    tanh = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    if cache is not None:
        cache.append((x, tanh))
    gelu: Array = 0.5 * x * (1 + tanh)
    return gelu


def relu_forward(x: Array, cache: Cache = None) -> Array:
    """The positive part.  (N, F) -> (N, F), overwrites x uncached"""
    if cache is not None:
        cache.append(x)
    relu: Array = np.maximum(x, 0, out=x if cache is None else None)
    return relu


def silu_forward(x: Array, cache: Cache = None) -> Array:
    """x times the logistic function of x.  (N, F) -> (N, F)"""
    with np.errstate(over="ignore"):
        logistic = 1 / (1 + np.exp(-x))
    if cache is not None:
        cache.append((x, logistic))
    silu: Array = x * logistic
    return silu


def tanh_forward(x: Array, cache: Cache = None) -> Array:
    """The hyperbolic tangent.  (N, F) -> (N, F), overwrites x uncached"""
    tanh: Array = np.tanh(x, out=x if cache is None else None)
    if cache is not None:
        cache.append(tanh)
    return tanh


def sigmoid_forward(x: Array, cache: Cache = None) -> Array:
    """The logistic function.  (N, F) -> (N, F)"""
    with np.errstate(over="ignore"):
        logistic: Array = 1 / (1 + np.exp(-x))
    if cache is not None:
        cache.append(logistic)
    return logistic


def identity_forward(x: Array, cache: Cache = None) -> Array:
    """Nothing at all, for a Dense module without activation."""
    return x


# By the names that config.json and a Dense module's config use.
ACTIVATIONS: dict[str, Callable[..., Array]] = {
    "gelu": gelu_forward,
    "gelu_new": gelu_tanh_forward,
    "gelu_pytorch_tanh": gelu_tanh_forward,
    "relu": relu_forward,
    "silu": silu_forward,
    "swish": silu_forward,
    "tanh": tanh_forward,
    "sigmoid": sigmoid_forward,
    "identity": identity_forward,
}


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


# Attention (Vaswani et al. 2017, equation 1): softmax(q kᵀ / √d) v, for each head and sentence.


def attention_forward(
    query: Array,
    key: Array,
    value: Array,
    groups: Sequence[Group],
    heads: int,
    cache: Cache = None,
    query_groups: Sequence[Group] | None = None,
) -> Array:
    """Let every token of a sentence take from all of them: the only place where tokens meet.

    query         (N, D)             becomes out without a cache
    key, value    (N, D)
    groups        runs of sentences  of equal length
    heads         H                  each works on its own d = D / H columns
    query_groups  runs of queries    where only some tokens of each sentence ask
    out           (N, D)             a row for each query
    """
    D = query.shape[1]
    d = D // heads
    # Scaling q costs N D multiplications, scaling the scores would cost N H T.
    query = np.multiply(query, 1 / math.sqrt(d), out=query if cache is None else None)
    # Without a cache a sentence's output takes the place of its query, which is not read again.
    out = np.empty_like(query) if cache is not None else query
    for group, asking in zip(groups, query_groups or groups, strict=True):
        q, context = (_split_heads(x, asking, heads) for x in (query, out))  # (B, H, T, d) views
        k, v = (_split_heads(x, group, heads) for x in (key, value))  # (B, H, T, d) views
        scores = q @ k.swapaxes(-1, -2)  # (B, H, T, T)
        weights = softmax_forward(scores, cache)
        np.matmul(weights, v, out=context)
    if cache is not None:
        cache.append((query, key, value, groups, heads))
    return out


def _split_heads(x: Array, group: Group, heads: int) -> Array:
    """View a group's rows sentence by sentence, head by head.  (N, D) -> (B, H, T, d)"""
    N, D = x.shape
    sentences: Array = x[group.rows].reshape(group.B, group.T, heads, D // heads)
    return np.transpose(sentences, (0, 2, 1, 3))
