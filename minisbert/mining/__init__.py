"""What is near what: the nearest embeddings by any similarity, paraphrases, communities.

These work on embeddings as they are, without an index. In reading order; a file imports only from
those before it:

    nearest      the most similar embeddings for a query, and the most similar pairs
    communities  groups of similar embeddings
"""

from minisbert.mining.communities import community_detection
from minisbert.mining.nearest import (
    find_nearest,
    paraphrase_mining,
    paraphrase_mining_embeddings,
    semantic_search,
)

__all__ = [
    "community_detection",
    "find_nearest",
    "paraphrase_mining",
    "paraphrase_mining_embeddings",
    "semantic_search",
]
