"""Why two texts are alike: their similarity as a sum over pairs of tokens, exactly.

With mean pooling an embedding is a weighted sum of token vectors, u = Σ a_i h_i and v = Σ b_j g_j.
A dot product is linear in both sides, so

    cos(u, v)  =  u·v / |u||v|  =  Σ_ij  a_i b_j (h_i·g_j) / |u||v|

and each pair of tokens has its share, which may be negative. Nothing is approximated. What a vector
h_i says is another matter: by the last block it has taken something of all tokens of its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from minisbert.arrays import Array
from minisbert.encoding.heat_map import write_heat_map
from minisbert.encoding.prompts import choose_prompt, count_prompt_tokens
from minisbert.network.config import ModelConfig, NormalizeConfig, PoolingConfig
from minisbert.network.pooling import POOLINGS

if TYPE_CHECKING:
    from minisbert.encoding.signatures import BiEncoder


@dataclass(frozen=True)
class Explanation:
    """What each pair of tokens adds to the similarity of two texts.

    tokens_a, tokens_b  the tokens as the texts have them, special ones by their names
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
    """Take the similarity of two texts apart, into what each pair of tokens adds to it.

    Parameters
    ----------
    model : SentenceTransformer
        Of cosine or dot similarity, whose embeddings are weighted sums of token vectors, of length
        1 or as they are.
    a, b : str
        Read as `encode` reads them, with the model's default prompt.

    Returns
    -------
    Explanation
        Print it to see a heat map.

    Raises
    ------
    TypeError
        If a or b is not a str.
    ValueError
        If the model's similarity is no such sum.
    """
    for name, text in (("a", a), ("b", b)):
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a str, got {type(text).__name__}; give one text")
    check_linear(model.config, model.similarity_fn_name)
    tokens_a, vectors_a = _weigh_tokens(model, a)
    tokens_b, vectors_b = _weigh_tokens(model, b)
    contributions = _cut(model, vectors_a) @ _cut(model, vectors_b).T
    for vectors in (vectors_a, vectors_b):
        # 1. what the model scales to length 1, and what a cosine does after cutting
        embedding = vectors.sum(axis=0)
        if model.similarity_fn_name == "cosine":
            embedding = _cut(model, embedding)
        elif not isinstance(model.config.modules[-1], NormalizeConfig):
            continue
        contributions /= max(np.linalg.norm(embedding), 1e-12)
    return Explanation(tuple(tokens_a), tuple(tokens_b), contributions)


def check_linear(config: ModelConfig, similarity: str) -> None:
    """Refuse a model whose similarity is no sum over pairs of tokens."""
    pooling, *others = config.modules
    modes = pooling.modes if isinstance(pooling, PoolingConfig) else ()
    if modes == ("max",) or len(modes) != 1:
        raise ValueError(
            f"pooling must be one of {', '.join(name for name in POOLINGS if name != 'max')} to be "
            f"explained, got {' and '.join(modes)}; only these are sums over tokens"
        )
    if not all(isinstance(module, NormalizeConfig) for module in others):
        raise ValueError(
            "a model to be explained must have nothing but Normalize after its pooling, got a "
            "Dense module; its activation mixes the tokens"
        )
    if similarity not in ("cosine", "dot"):
        raise ValueError(
            f"similarity_fn_name must be cosine or dot to be explained, got {similarity}; "
            "a distance is no sum over pairs of tokens"
        )


def _weigh_tokens(model: BiEncoder, text: str) -> tuple[list[str], Array]:
    """The tokens of a text, and their vectors times their weights in the pooling.  -> T, (T, D)"""
    prompt = choose_prompt(model.prompts, model.default_prompt_name, None, None)
    pooling = model.config.modules[0]
    assert isinstance(pooling, PoolingConfig)
    skip = count_prompt_tokens(model.tokenizer, pooling, prompt)
    vectors: Array = model.encode(text, output_value="token_embeddings")
    T, D = vectors.shape
    weights = np.zeros(T)
    if T > skip:
        # A sum's gradient in each token is that token's weight.
        spread = POOLINGS[pooling.modes[0]].backward
        weights[skip:] = spread(np.ones((1, 1)), np.zeros((1, T - skip, 1)))[0, :, 0]
    names = model.tokenizer.name_tokens(prompt + text, model.max_seq_length)
    return names, vectors.astype(np.float64) * weights[:, None]


def _cut(model: BiEncoder, vectors: Array) -> Array:
    return vectors[..., : model.truncate_dim]
