"""From one vector a token to one vector a sentence (section 3 of the paper: CLS, MEAN, MAX).

Every pooling sees the special tokens too: sentence-transformers was trained that way.
There is no mask, since a ragged batch holds no padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minisbert.ragged import Array, Group


def pool_cls(hidden: Array) -> Array:
    """The first token's vector.  (B, T, D) -> (B, D)"""
    first: Array = hidden[:, 0]
    return first


def pool_mean(hidden: Array) -> Array:
    """The mean over tokens.  (B, T, D) -> (B, D)"""
    mean: Array = hidden.mean(axis=1)
    return mean


def pool_max(hidden: Array) -> Array:
    """The largest value of each dimension.  (B, T, D) -> (B, D)"""
    largest: Array = hidden.max(axis=1)
    return largest


def pool_mean_sqrt_length(hidden: Array) -> Array:
    """The sum over tokens divided by the root of their number.  (B, T, D) -> (B, D)"""
    B, T, D = hidden.shape
    scaled: Array = hidden.sum(axis=1) / np.sqrt(T).astype(hidden.dtype)
    return scaled


def pool_weighted_mean(hidden: Array) -> Array:
    """The mean with weights 1, 2, ..., T: later tokens count more.  (B, T, D) -> (B, D)"""
    B, T, D = hidden.shape
    weights = np.arange(1, T + 1, dtype=hidden.dtype)[:, None]  # (T, 1)
    mean: Array = (hidden * weights).sum(axis=1) / weights.sum()
    return mean


def pool_last(hidden: Array) -> Array:
    """The last token's vector.  (B, T, D) -> (B, D)"""
    last: Array = hidden[:, -1]
    return last


POOLINGS: dict[str, Callable[[Array], Array]] = {
    "cls": pool_cls,
    "mean": pool_mean,
    "max": pool_max,
    "mean_sqrt_len_tokens": pool_mean_sqrt_length,
    "weightedmean": pool_weighted_mean,
    "lasttoken": pool_last,
}


def pooling_forward(
    hidden: Array, groups: Sequence[Group], modes: Sequence[str], skip: int = 0
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
            pooled.append(np.hstack([POOLINGS[mode](sentences) for mode in modes]))
    return np.concatenate(pooled)
