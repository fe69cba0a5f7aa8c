"""Pooling: from token vectors to one vector for each sentence (section 3 of the paper).

Special tokens are pooled too, since sentence-transformers' models were trained so. There is no
mask: nothing is padded. `pool_x` maps sentences (B, T, D), without the `skip` tokens before them,
to vectors (B, D); its backward `spread_x` maps the gradient, with the sentences, to (B, T, D).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache
from minisbert.network.ragged import Group


def pool_cls(sentences: Array, skip: int) -> Array:
    """Take the first token's vector."""
    return sentences[:, 0]


def spread_cls(dpooled: Array, sentences: Array, skip: int) -> Array:
    dsentences = np.zeros_like(sentences)
    dsentences[:, 0] = dpooled
    return dsentences


def pool_mean(sentences: Array, skip: int) -> Array:
    """Take the mean over the tokens."""
    return sentences.mean(axis=1)


def spread_mean(dpooled: Array, sentences: Array, skip: int) -> Array:
    B, T, D = sentences.shape
    return np.broadcast_to(dpooled[:, None] / T, sentences.shape)


def pool_max(sentences: Array, skip: int) -> Array:
    """Take the largest value of each dimension."""
    return sentences.max(axis=1)


def spread_max(dpooled: Array, sentences: Array, skip: int) -> Array:
    """Give the gradient to the largest value; in a tie, to the first token's."""
    dsentences = np.zeros_like(sentences)
    first = sentences.argmax(axis=1)[:, None]  # (B, 1, D)
    np.put_along_axis(dsentences, first, dpooled[:, None], axis=1)
    return dsentences


def pool_mean_sqrt_length(sentences: Array, skip: int) -> Array:
    """Divide the sum over the tokens by the square root of their number."""
    B, T, D = sentences.shape
    return sentences.sum(axis=1) / np.sqrt(T).astype(sentences.dtype)


def spread_mean_sqrt_length(dpooled: Array, sentences: Array, skip: int) -> Array:
    B, T, D = sentences.shape
    scaled = dpooled / np.sqrt(T).astype(sentences.dtype)
    return np.broadcast_to(scaled[:, None], sentences.shape)


def pool_weighted_mean(sentences: Array, skip: int) -> Array:
    """Take the mean with weights skip + 1, ..., skip + T: later tokens count more."""
    B, T, D = sentences.shape
    weights = np.arange(skip + 1, skip + T + 1, dtype=sentences.dtype)[:, None]  # (T, 1)
    return (sentences * weights).sum(axis=1) / weights.sum()


def spread_weighted_mean(dpooled: Array, sentences: Array, skip: int) -> Array:
    B, T, D = sentences.shape
    weights = np.arange(skip + 1, skip + T + 1, dtype=sentences.dtype)[:, None]  # (T, 1)
    return dpooled[:, None] * (weights / weights.sum())


def pool_last(sentences: Array, skip: int) -> Array:
    """Take the last token's vector."""
    return sentences[:, -1]


def spread_last(dpooled: Array, sentences: Array, skip: int) -> Array:
    dsentences = np.zeros_like(sentences)
    dsentences[:, -1] = dpooled
    return dsentences


class Pooling(NamedTuple):
    """One pooling: its forward, its backward, and whether it is a weighted sum of the tokens."""

    forward: Callable[[Array, int], Array]
    backward: Callable[[Array, Array, int], Array]
    is_linear: bool = True


# By name; a directory that names none means "mean". A new pooling is two functions above, an entry
# here (is_linear=False unless it is a weighted sum), and a value in test_pooling.py.
POOLINGS = {
    "cls": Pooling(pool_cls, spread_cls),
    "mean": Pooling(pool_mean, spread_mean),
    "max": Pooling(pool_max, spread_max, is_linear=False),
    "mean_sqrt_len_tokens": Pooling(pool_mean_sqrt_length, spread_mean_sqrt_length),
    "weightedmean": Pooling(pool_weighted_mean, spread_weighted_mean),
    "lasttoken": Pooling(pool_last, spread_last),
}


class PoolingCache(NamedTuple):
    """The tokens' vectors (N, D), their groups, and the two settings of the forward."""

    hidden: Array
    groups: Sequence[Group]
    modes: Sequence[str]
    skip: int


def pooling_forward(
    hidden: Array,
    groups: Sequence[Group],
    modes: Sequence[str],
    *,
    skip: int = 0,
    cache: Cache = None,
) -> Array:
    """Pool every sentence of a ragged batch; concatenate the results of several poolings.

    hidden  (N, D)              vectors of all tokens
    groups  runs of sentences   of equal length
    modes   keys of POOLINGS    P of them
    skip    tokens              at the front of each sentence that are left out (a prompt)
    out     (B, P * D)          zeros for a sentence without tokens to pool
    """
    N, D = hidden.shape
    pooled = []
    for group in groups:
        sentences = hidden[group.rows].reshape(group.B, group.T, D)[:, skip:]
        if group.T <= skip:
            pooled.append(np.zeros((group.B, len(modes) * D), hidden.dtype))
        else:
            pooled.append(np.hstack([POOLINGS[mode].forward(sentences, skip) for mode in modes]))
    if cache is not None:
        cache.append(PoolingCache(hidden, groups, modes, skip))
    return np.concatenate(pooled)


def pooling_backward(dpooled: Array, cache: list[Any]) -> Array:
    """Compute the gradient of the tokens' vectors.  (B, P * D) -> (N, D)"""
    hidden, groups, modes, skip = cache.pop()
    N, D = hidden.shape
    dhidden = np.zeros_like(hidden)
    first = 0  # number of the group's first sentence
    for group in groups:
        sentences, dsentences = (
            x[group.rows].reshape(group.B, group.T, D)[:, skip:] for x in (hidden, dhidden)
        )
        parts = np.split(dpooled[first : first + group.B], len(modes), axis=1)  # P of (B, D)
        first += group.B
        if group.T > skip:
            for mode, part in zip(modes, parts, strict=True):
                dsentences += POOLINGS[mode].backward(part, sentences, skip)
    return dhidden
