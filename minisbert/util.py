"""Functions of other modules, under the names that they have in sentence-transformers' `util`."""

from minisbert.encoding.finishing import normalize_embeddings, truncate_embeddings
from minisbert.mining.communities import community_detection
from minisbert.mining.hard_negatives import mine_hard_negatives
from minisbert.mining.nearest import (
    paraphrase_mining,
    paraphrase_mining_embeddings,
    semantic_search,
)
from minisbert.mining.nearest import semantic_search as information_retrieval
from minisbert.network.comparisons import SimilarityFunction
from minisbert.network.comparisons import cosine_similarity as cos_sim
from minisbert.network.comparisons import cosine_similarity as pytorch_cos_sim
from minisbert.network.comparisons import dot_similarity as dot_score
from minisbert.network.comparisons import euclidean_similarity as euclidean_sim
from minisbert.network.comparisons import manhattan_similarity as manhattan_sim
from minisbert.network.comparisons import pairwise_angle_similarity as pairwise_angle_sim
from minisbert.network.comparisons import pairwise_cosine_similarity as pairwise_cos_sim
from minisbert.network.comparisons import pairwise_dot_similarity as pairwise_dot_score
from minisbert.network.comparisons import pairwise_euclidean_similarity as pairwise_euclidean_sim
from minisbert.network.comparisons import pairwise_manhattan_similarity as pairwise_manhattan_sim
from minisbert.search.quantization import quantize_embeddings

__all__ = [
    "SimilarityFunction",
    "community_detection",
    "cos_sim",
    "dot_score",
    "euclidean_sim",
    "information_retrieval",
    "manhattan_sim",
    "mine_hard_negatives",
    "normalize_embeddings",
    "pairwise_angle_sim",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "pairwise_manhattan_sim",
    "paraphrase_mining",
    "paraphrase_mining_embeddings",
    "pytorch_cos_sim",
    "quantize_embeddings",
    "semantic_search",
    "truncate_embeddings",
]
