"""What a model is: its sizes, the modules after its network, and its parameters' names and shapes.

`config_files.py` reads them from a directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from minisbert.network.families import FAMILIES, Family

# Parameters that only one family has: MPNet's numbers by distance, ALBERT's way from the word
# table's width to that of the blocks.
RELATIVE_BIAS = "encoder.relative_attention_bias.weight"
WIDENING = "encoder.embedding_hidden_mapping_in"


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a network, under the names that BERT's config.json has for them.

    `embedding_size` is the width of the word table, `position_offset` the row of the position table
    that belongs to the first token.
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

    @property
    def family(self) -> Family:
        return FAMILIES[self.model_type]

    def find_block(self, block: int) -> int:
        """The number under which a block's parameters stand: shared ones under the first."""
        return 0 if self.family.shared else block


@dataclass(frozen=True)
class PoolingConfig:
    """How token vectors become sentence vectors: keys of `pooling.POOLINGS`, side by side."""

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


Module = PoolingConfig | DenseConfig | NormalizeConfig


@dataclass(frozen=True)
class ModelConfig:
    """A whole sentence-transformers directory; `modules` is what follows the network."""

    bert: BertConfig
    transformer_path: str
    max_seq_length: int
    do_lower_case: bool
    modules: tuple[Module, ...]
    prompts: Mapping[str, str]
    default_prompt_name: str | None
    similarity_fn_name: str
    truncate_dim: int | None


def measure_width(config: ModelConfig) -> int:
    """The width of an embedding: of what the last module gives."""
    width = config.bert.hidden_size
    for module in config.modules:
        if isinstance(module, PoolingConfig):
            width *= len(module.modes)
        elif isinstance(module, DenseConfig):
            width = module.out_features
    return width


def parameter_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of the network and its shape: linear weights are (out, in)."""
    V, E = config.vocab_size, config.embedding_size
    D, F = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (V, E),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, E),
    }
    if config.type_vocab_size:
        shapes["embeddings.token_type_embeddings.weight"] = (config.type_vocab_size, E)
    shapes |= {"embeddings.LayerNorm.weight": (E,), "embeddings.LayerNorm.bias": (E,)}
    if config.family.shared:
        shapes |= {f"{WIDENING}.weight": (D, E), f"{WIDENING}.bias": (D,)}
    if config.family.relative_buckets:
        shapes[RELATIVE_BIAS] = (config.family.relative_buckets, config.num_attention_heads)
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
