"""Ragged batches: the tokens of many sentences in one row-major array, with no padding and no mask.

A padded batch gives every sentence as many rows as the longest has, multiplies the empty rows too,
and must mask them in every softmax and every mean. Here the tokens of all sentences are
concatenated, `(N, D)`, sentences of equal length next to each other. Linear layers, activations and
layer norm work on each token alone. Position embeddings, attention and pooling need to know the
sentences: for them a *group*, B sentences of T tokens, reshapes to `(B, T, D)` without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minisbert.arrays import Array


class Group(NamedTuple):
    """B sentences of T tokens each, whose tokens are rows[first : first + B * T]."""

    first: int
    B: int
    T: int

    @property
    def rows(self) -> slice:
        """The rows of the ragged batch that belong to this group."""
        return slice(self.first, self.first + self.B * self.T)


@dataclass(frozen=True)
class RaggedBatch:
    """B sentences as one array of N tokens.

    token_ids       (N,)    row of the word table, sentence after sentence
    token_type_ids  (N,)    row of the segment table, or None where all are 0
    groups          tuple   runs of sentences of equal length, in order
    """

    token_ids: Array
    token_type_ids: Array | None
    groups: tuple[Group, ...]


def group_lengths(lengths: Sequence[int]) -> tuple[Group, ...]:
    """Group neighbouring sentences of equal length.

    >>> group_lengths([5, 5, 3])
    (Group(first=0, B=2, T=5), Group(first=10, B=1, T=3))
    """
    groups: list[Group] = []
    first = 0
    for length in lengths:
        if groups and groups[-1].T == length:
            groups[-1] = groups[-1]._replace(B=groups[-1].B + 1)
        else:
            groups.append(Group(first, 1, length))
        first += length
    return tuple(groups)


def find_first_rows(groups: Sequence[Group]) -> tuple[Array, tuple[Group, ...]]:
    """Return the row of each sentence's first token, and the groups of an array of these rows."""
    rows = [group.first + group.T * np.arange(group.B) for group in groups]
    counts = np.cumsum([0] + [group.B for group in groups])
    firsts = tuple(
        Group(int(first), group.B, 1) for first, group in zip(counts[:-1], groups, strict=True)
    )
    return np.concatenate(rows), firsts


def join_sentences(
    token_ids: Sequence[Array], token_type_ids: Sequence[Array] | None = None
) -> RaggedBatch:
    """Concatenate B arrays of token ids; sort them by length before, to get few groups."""
    return RaggedBatch(
        np.concatenate(token_ids),
        None if token_type_ids is None else np.concatenate(token_type_ids),
        group_lengths([len(ids) for ids in token_ids]),
    )
