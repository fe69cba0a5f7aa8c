"""Neighbours: the nearest embeddings by any similarity, paraphrases, communities.

These work on embeddings as they are, without an index. In reading order; a file imports only from
those before it:

    nearest         the most similar embeddings for a query, and the most similar pairs
    communities     groups of similar embeddings
    pairs           pairs of texts in the forms that callers have
    hard_negatives  texts near a query that don't belong to it
"""

from minisbert.mining.communities import community_detection
from minisbert.mining.hard_negatives import mine_hard_negatives
from minisbert.mining.nearest import (
    find_nearest,
    paraphrase_mining,
    paraphrase_mining_embeddings,
    semantic_search,
)

__all__ = [
    "community_detection",
    "find_nearest",
    "mine_hard_negatives",
    "paraphrase_mining",
    "paraphrase_mining_embeddings",
    "semantic_search",
]
