"""From one vector a token to one vector a sentence (section 3 of the paper: CLS, MEAN, MAX).

Every pooling sees the special tokens too: sentence-transformers was trained that way.
There is no mask, since a ragged batch holds no padding.
A pooling's twin takes the gradient of its result, and the sentences, (B, T, D), to those of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache
from minisbert.network.ragged import Group


def pool_cls(sentences: Array) -> Array:
    """The first token's vector.  (B, T, D) -> (B, D)"""
    first: Array = sentences[:, 0]
    return first


def spread_cls(dpooled: Array, sentences: Array) -> Array:
    dsentences = np.zeros_like(sentences)
    dsentences[:, 0] = dpooled
    return dsentences


def pool_mean(sentences: Array) -> Array:
    """The mean over tokens.  (B, T, D) -> (B, D)"""
    mean: Array = sentences.mean(axis=1)
    return mean


def spread_mean(dpooled: Array, sentences: Array) -> Array:
    B, T, D = sentences.shape
    return np.broadcast_to(dpooled[:, None] / T, sentences.shape)


def pool_max(sentences: Array) -> Array:
    """The largest value of each dimension.  (B, T, D) -> (B, D)"""
    largest: Array = sentences.max(axis=1)
    return largest


def spread_max(dpooled: Array, sentences: Array) -> Array:
    """Of equal values the first token's has the gradient."""
    dsentences = np.zeros_like(sentences)
    first = sentences.argmax(axis=1)[:, None]  # (B, 1, D)
    np.put_along_axis(dsentences, first, dpooled[:, None], axis=1)
    return dsentences


def pool_mean_sqrt_length(sentences: Array) -> Array:
    """The sum over tokens divided by the root of their number.  (B, T, D) -> (B, D)"""
    B, T, D = sentences.shape
    scaled: Array = sentences.sum(axis=1) / np.sqrt(T).astype(sentences.dtype)
    return scaled


def spread_mean_sqrt_length(dpooled: Array, sentences: Array) -> Array:
    B, T, D = sentences.shape
    scaled = dpooled / np.sqrt(T).astype(sentences.dtype)
    return np.broadcast_to(scaled[:, None], sentences.shape)


def pool_weighted_mean(sentences: Array) -> Array:
    """The mean with weights 1, 2, ..., T: later tokens count more.  (B, T, D) -> (B, D)"""
    B, T, D = sentences.shape
    weights = np.arange(1, T + 1, dtype=sentences.dtype)[:, None]  # (T, 1)
    mean: Array = (sentences * weights).sum(axis=1) / weights.sum()
    return mean


def spread_weighted_mean(dpooled: Array, sentences: Array) -> Array:
    B, T, D = sentences.shape
    weights = np.arange(1, T + 1, dtype=sentences.dtype)[:, None]  # (T, 1)
    dsentences: Array = dpooled[:, None] * (weights / weights.sum())
    return dsentences


def pool_last(sentences: Array) -> Array:
    """The last token's vector.  (B, T, D) -> (B, D)"""
    last: Array = sentences[:, -1]
    return last


def spread_last(dpooled: Array, sentences: Array) -> Array:
    dsentences = np.zeros_like(sentences)
    dsentences[:, -1] = dpooled
    return dsentences


class Pooling(NamedTuple):
    """The twins of one pooling."""

    forward: Callable[[Array], Array]
    backward: Callable[[Array, Array], Array]


POOLINGS = {
    "cls": Pooling(pool_cls, spread_cls),
    "mean": Pooling(pool_mean, spread_mean),
    "max": Pooling(pool_max, spread_max),
    "mean_sqrt_len_tokens": Pooling(pool_mean_sqrt_length, spread_mean_sqrt_length),
    "weightedmean": Pooling(pool_weighted_mean, spread_weighted_mean),
    "lasttoken": Pooling(pool_last, spread_last),
}


def pooling_forward(
    hidden: Array,
    groups: Sequence[Group],
    modes: Sequence[str],
    skip: int = 0,
    cache: Cache = None,
) -> Array:
    """Pool every sentence of a ragged batch; several modes stand side by side in the result.

    hidden  (N, D)              vectors of all tokens
    groups  runs of sentences   of equal length
    modes   keys of POOLINGS    P of them
    skip    tokens              at the front of each sentence that are left out (a prompt)
    out     (B, P * D)          a sentence without tokens to pool is all zeros
    """
    N, D = hidden.shape
    pooled = []
    for group in groups:
        sentences = hidden[group.rows].reshape(group.B, group.T, D)[:, skip:]
        if group.T <= skip:
            pooled.append(np.zeros((group.B, len(modes) * D), hidden.dtype))
        else:
            pooled.append(np.hstack([POOLINGS[mode].forward(sentences) for mode in modes]))
    if cache is not None:
        cache.append((hidden, groups, modes, skip))
    return np.concatenate(pooled)


def pooling_backward(dpooled: Array, cache: list[Any]) -> Array:
    """Gradient of `pooling_forward` with respect to hidden.  (B, P * D) -> (N, D)"""
    hidden, groups, modes, skip = cache.pop()
    N, D = hidden.shape
    dhidden: Array = np.zeros_like(hidden)
    done = 0
    for group in groups:
        sentences, dsentences = (
            x[group.rows].reshape(group.B, group.T, D)[:, skip:] for x in (hidden, dhidden)
        )
        parts = np.split(dpooled[done : done + group.B], len(modes), axis=1)  # P of (B, D)
        done += group.B
        if group.T > skip:
            for mode, part in zip(modes, parts, strict=True):
                dsentences += POOLINGS[mode].backward(part, sentences)
    return dhidden
