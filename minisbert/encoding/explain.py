"""Explain a similarity: split it into a sum over pairs of tokens, without approximation.

With mean pooling an embedding is a weighted sum of token vectors, u = Σ a_i h_i and v = Σ b_j g_j.
A dot product is linear in both sides, so

    cos(u, v)  =  u·v / |u||v|  =  Σ_ij  a_i b_j (h_i·g_j) / |u||v|

and each term of the sum is the contribution of one pair of tokens, which may be negative. The sum
is exact, but a token vector is not the token alone: in every block, attention mixes in the vectors
of all other tokens of its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minisbert.arrays import Array
from minisbert.encoding.heat_map import write_heat_map
from minisbert.encoding.prompts import choose_prompt, count_prompt_tokens
from minisbert.network.config import ModelConfig, NormalizeConfig
from minisbert.network.pooling import POOLINGS

if TYPE_CHECKING:
    from minisbert.encoding.signatures import BiEncoder


@dataclass(frozen=True)
class Explanation:
    """The contribution of each pair of tokens to the similarity of two texts.

    tokens_a, tokens_b  the tokens as they are spelt in the texts; special ones by their names
    contributions       (A, B) float64, whose sum is the similarity
    """

    tokens_a: tuple[str, ...]
    tokens_b: tuple[str, ...]
    contributions: Array

    @property
    def score(self) -> float:
        """The similarity of the two texts."""
        return float(self.contributions.sum())

    def __str__(self) -> str:
        return write_heat_map(self.tokens_a, self.tokens_b, self.contributions)


def explain(model: BiEncoder, a: str, b: str) -> Explanation:
    """Split the similarity of two texts into the contributions of all pairs of their tokens.

    Parameters
    ----------
    model : SentenceTransformer
        With cosine or dot similarity, and a pooling that is a weighted sum of token vectors. After
        pooling it may normalise, but have no Dense module.
    a, b : str
        Encoded as `encode` does, with the model's default prompt.

    Returns
    -------
    Explanation
        Its `str` is a heat map.

    Raises
    ------
    TypeError
        If a or b is not a str.
    ValueError
        If the model's similarity is not a sum over pairs of tokens.
    """
    for name, text in (("a", a), ("b", b)):
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a str, got {type(text).__name__}; give one text")
    _check_linear(model.config, model.similarity_fn_name)
    tokens_a, vectors_a = _weigh_tokens(model, a)
    tokens_b, vectors_b = _weigh_tokens(model, b)
    contributions = _truncate(model, vectors_a) @ _truncate(model, vectors_b).T
    for vectors in (vectors_a, vectors_b):
        # Divide by the length that the similarity, or the model's last module, divides by.
        embedding = vectors.sum(axis=0)
        if model.similarity_fn_name == "cosine":
            embedding = _truncate(model, embedding)
        elif not model.config.ends_in_normalize:
            continue
        contributions /= max(np.linalg.norm(embedding), 1e-12)
    return Explanation(tuple(tokens_a), tuple(tokens_b), contributions)


def _check_linear(config: ModelConfig, similarity: str) -> None:
    """Refuse a model whose similarity is not a sum over pairs of tokens."""
    modes = config.pooling.modes
    linear = [name for name, pooling in POOLINGS.items() if pooling.is_linear]
    if len(modes) != 1 or modes[0] not in linear:
        raise ValueError(
            f"pooling must be one of {', '.join(linear)} to be explained, got "
            f"{' and '.join(modes)}; only these are sums over tokens"
        )
    if not all(isinstance(module, NormalizeConfig) for module in config.modules):
        raise ValueError(
            "a model to be explained must have nothing but Normalize after its pooling, got a "
            "Dense module; its activation function is not linear"
        )
    if similarity not in ("cosine", "dot"):
        raise ValueError(
            f"similarity_fn_name must be cosine or dot to be explained, got {similarity}; "
            "a distance is not a sum over pairs of tokens"
        )


def _weigh_tokens(model: BiEncoder, text: str) -> tuple[list[str], Array]:
    """Return the tokens of a text, and their vectors times their pooling weights.  -> T, (T, D)"""
    prompt = choose_prompt(model.prompts, model.default_prompt_name)
    pooling = model.config.pooling
    limit = model.max_seq_length
    skip = count_prompt_tokens(model.tokenizer, pooling, prompt, max_length=limit)
    vectors: Array = model.encode(text, output_value="token_embeddings")
    T, D = vectors.shape
    weights = np.zeros(T)
    if T > skip:
        # The derivative of a weighted sum in a token is that token's weight.
        backward = POOLINGS[pooling.modes[0]].backward
        weights[skip:] = backward(np.ones((1, 1)), np.zeros((1, T - skip, 1)), skip)[0, :, 0]
    tokens = model.tokenizer.name_tokens(prompt + text, limit)
    return tokens, vectors.astype(np.float64) * weights[:, None]


def _truncate(model: BiEncoder, vectors: Array) -> Array:
    return vectors[..., : model.truncate_dim]
