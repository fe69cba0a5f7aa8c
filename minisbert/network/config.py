"""A model's configuration: its sizes, modules, and the names and shapes of its parameters.

`model_files/configs.py` reads all of it from a directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minisbert.arrays import Array, Cache, Gradients, Parameters


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A network's differences from BERT. This class has none; `families.py` has others.

    shared_blocks     whether all blocks share one set of parameters
    one_segment       whether both texts of a pair belong to segment 0
    relative_buckets  buckets of distances, each with a bias on attention scores; 0 without bias
    """

    shared_blocks: bool = False
    one_segment: bool = False
    relative_buckets: int = 0

    def list_extra_shapes(self, config: BertConfig) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of parameters that BERT does not have."""
        return {}

    def widen_forward(self, hidden: Array, parameters: Parameters, *, cache: Cache = None) -> Array:
        """Map the sum of the embeddings to the width of the blocks.  (N, E) -> (N, D)"""
        return hidden

    def widen_backward(self, dhidden: Array, gradients: Gradients, *, cache: list[Any]) -> Array:
        """Write the gradients of `widen_forward`.  (N, D) -> (N, E)"""
        return dhidden

    def score_bias_forward(self, parameters: Parameters, T: int) -> Array | None:
        """Return the bias on the attention scores of T tokens, (H, T, T), or None."""
        return None

    def score_bias_backward(self, dscore_bias: Array, gradients: Gradients) -> None:
        """Write the gradients of `score_bias_forward`."""


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a network, under the names that BERT's config.json has for them.

    embedding_size   width of the word table: hidden_size, except in ALBERT
    position_offset  row of the position table that belongs to the first token
    variant          how the network differs from BERT
    """

    model_type: str
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    layer_norm_eps: float
    max_position_embeddings: int
    position_offset: int
    type_vocab_size: int
    pad_token_id: int | None
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    variant: Variant = Variant()

    def find_block(self, block: int) -> int:
        """Return the number under which a block's parameters are stored."""
        return 0 if self.variant.shared_blocks else block


@dataclass(frozen=True)
class PoolingConfig:
    """The poolings, keys of `pooling.POOLINGS`, side by side; are tokens of a prompt included?"""

    modes: tuple[str, ...]
    include_prompt: bool = True


@dataclass(frozen=True)
class DenseConfig:
    """A linear layer with activation after pooling, and the folder of its weights."""

    in_features: int
    out_features: int
    bias: bool
    activation: str
    path: str


@dataclass(frozen=True)
class NormalizeConfig:
    """Scale embeddings to length 1."""


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a sentence-transformers directory.

    modules  the modules after pooling
    """

    bert: BertConfig
    transformer_path: str
    max_seq_length: int
    do_lower_case: bool
    pooling: PoolingConfig
    modules: tuple[DenseConfig | NormalizeConfig, ...]
    prompts: Mapping[str, str]
    default_prompt_name: str | None
    similarity_fn_name: str
    truncate_dim: int | None

    @property
    def embedding_width(self) -> int:
        """The width of an embedding: the last Dense module's, or the pooling's if there is none."""
        widths = [module.out_features for module in self.modules if isinstance(module, DenseConfig)]
        return [self.bert.hidden_size * len(self.pooling.modes), *widths][-1]

    @property
    def ends_in_normalize(self) -> bool:
        """Whether the last module scales embeddings to length 1."""
        return bool(self.modules) and isinstance(self.modules[-1], NormalizeConfig)


def parameter_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Return every parameter of the network and its shape; linear weights are (out, in)."""
    V, E = config.vocab_size, config.embedding_size
    D, F = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (V, E),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, E),
    }
    if config.type_vocab_size:
        shapes["embeddings.token_type_embeddings.weight"] = (config.type_vocab_size, E)
    shapes |= {"embeddings.LayerNorm.weight": (E,), "embeddings.LayerNorm.bias": (E,)}
    shapes |= config.variant.list_extra_shapes(config)
    for block in map(config.find_block, range(config.num_hidden_layers)):
        for name, weight in (
            ("attention.self.query", (D, D)),
            ("attention.self.key", (D, D)),
            ("attention.self.value", (D, D)),
            ("attention.output.dense", (D, D)),
            ("attention.output.LayerNorm", (D,)),
            ("intermediate.dense", (F, D)),
            ("output.dense", (D, F)),
            ("output.LayerNorm", (D,)),
        ):
            shapes[f"encoder.layer.{block}.{name}.weight"] = weight
            shapes[f"encoder.layer.{block}.{name}.bias"] = weight[:1]
    return shapes
