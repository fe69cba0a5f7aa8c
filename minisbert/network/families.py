"""The supported families of networks, as tables of how each differs from BERT.

RoBERTa, DistilBERT, MPNet and ALBERT differ from BERT in the names of parameters, in the first
position, in the head, and in a layer or a table. Inside minisbert every parameter of the network
has BERT's name. Only this file knows the names in a family's own files.

    BERT        Devlin et al. 2019
    RoBERTa     Liu et al. 2019         positions start after the padding id; no pooler in its head
    XLM-R       Conneau et al. 2020     RoBERTa with a vocabulary of a hundred languages
    CamemBERT   Martin et al. 2020      RoBERTa in French
    DistilBERT  Sanh et al. 2019        other names; no segment table
    MPNet       Song et al. 2020        RoBERTa without segment table; bias by distance on scores
    ALBERT      Lan et al. 2020         all blocks share their parameters; a narrow word table

ALBERT has two segments like BERT, but transformers from version 5 on puts both texts of a pair into
the first, and so does minisbert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.config import BertConfig, Variant
from minisbert.network.layers import linear_backward, linear_forward
from minisbert.network.relative_bias import relative_bias_backward, relative_bias_forward

# Parameters of one family only: MPNet's bias by distance, and ALBERT's layer that widens the sum of
# the embeddings to the width of the blocks.
RELATIVE_BIAS = "encoder.relative_attention_bias.weight"
WIDENING = "encoder.embedding_hidden_mapping_in"


@dataclass(frozen=True)
class Head:
    """The layers from the first token's vector to logits, under a checkpoint's own names.

    dense        a layer from D to D
    activation   after it
    output       a layer from D to the labels
    drops_input  whether training applies dropout before `dense` too, not only before `output`
    """

    dense: str
    activation: str
    output: str
    drops_input: bool = False


# Fields that must have these values, which are also their defaults in config.json.
SUPPORTED: Mapping[str, object] = {"position_embedding_type": "absolute", "is_decoder": False}

# BERT's values of fields that config.json leaves out, as transformers documents them.
DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


@dataclass(frozen=True)
class Family(Variant):
    """One family; the defaults are those of BERT.

    architecture       prefix of the names of its classes in transformers
    prefix             of the network's parameters in a checkpoint that also has a head
    head               of a cross-encoder
    fields             BERT's name in config.json -> this family's
    aliases            BERT's names that its config.json may have instead of its own
    defaults           of fields that config.json leaves out, where they are not BERT's
    fixed              fields that its config.json lacks or that have no effect, and their values
    supported          fields that must have one value, if they are there
    padding            default of pad_token_id if positions start after that id, else None
    blocks             prefix of the parameters of block {} in a checkpoint
    layers             BERT's name of a layer in a block -> this family's
    """

    architecture: str
    prefix: str
    head: Head
    fields: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    supported: Mapping[str, object] = field(default_factory=lambda: SUPPORTED)
    padding: int | None = None
    blocks: str = "encoder.layer.{}"
    layers: Mapping[str, str] = field(default_factory=dict)

    def name_in_checkpoint(self, name: str) -> str:
        """Return a parameter's name in a checkpoint of this family, without the prefix."""
        if not name.startswith("encoder.layer."):
            return name
        _, _, block, rest = name.split(".", 3)
        layer, _, kind = rest.rpartition(".")
        return f"{self.blocks.format(block)}.{self.layers.get(layer, layer)}.{kind}"


class MPNetFamily(Family):
    """MPNet adds a learned bias by distance to the attention scores."""

    def list_extra_shapes(self, config: BertConfig) -> dict[str, tuple[int, ...]]:
        return {RELATIVE_BIAS: (self.relative_buckets, config.num_attention_heads)}

    def score_bias_forward(self, parameters: Parameters, T: int) -> Array:
        return relative_bias_forward(parameters[RELATIVE_BIAS], T)

    def score_bias_backward(self, dscore_bias: Array, gradients: Gradients) -> None:
        gradients[RELATIVE_BIAS][...] = relative_bias_backward(dscore_bias)


class AlbertFamily(Family):
    """ALBERT has a narrow word table, and a linear layer to the width of the blocks."""

    def list_extra_shapes(self, config: BertConfig) -> dict[str, tuple[int, ...]]:
        D, E = config.hidden_size, config.embedding_size
        return {f"{WIDENING}.weight": (D, E), f"{WIDENING}.bias": (D,)}

    def widen_forward(self, hidden: Array, parameters: Parameters, *, cache: Cache = None) -> Array:
        weight, bias = parameters[f"{WIDENING}.weight"], parameters[f"{WIDENING}.bias"]
        return linear_forward(hidden, weight, bias, cache=cache)

    def widen_backward(self, dhidden: Array, gradients: Gradients, *, cache: list[Any]) -> Array:
        dweight, dbias = gradients[f"{WIDENING}.weight"], gradients[f"{WIDENING}.bias"]
        return linear_backward(dhidden, cache, dweight=dweight, dbias=dbias)[0]


BERT = Family("Bert", "bert.", Head("pooler.dense", "tanh", "classifier"))

ROBERTA = Family(
    "Roberta",
    "roberta.",
    Head("classifier.dense", "tanh", "classifier.out_proj", drops_input=True),
    one_segment=True,
    defaults={"vocab_size": 50265},
    padding=1,
)

DISTILBERT = Family(
    "DistilBert",
    "distilbert.",
    Head("pre_classifier", "relu", "classifier"),
    one_segment=True,
    fields={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout": "seq_classif_dropout",
    },
    aliases=("hidden_size", "num_hidden_layers", "num_attention_heads"),
    defaults={"num_hidden_layers": 6, "classifier_dropout": 0.2},
    fixed={"layer_norm_eps": 1e-12, "type_vocab_size": 0},
    blocks="transformer.layer.{}",
    layers={
        "attention.self.query": "attention.q_lin",
        "attention.self.key": "attention.k_lin",
        "attention.self.value": "attention.v_lin",
        "attention.output.dense": "attention.out_lin",
        "attention.output.LayerNorm": "sa_layer_norm",
        "intermediate.dense": "ffn.lin1",
        "output.dense": "ffn.lin2",
        "output.LayerNorm": "output_layer_norm",
    },
)

MPNET = MPNetFamily(
    "MPNet",
    "mpnet.",
    ROBERTA.head,
    one_segment=True,
    padding=1,
    defaults={"vocab_size": 30527},
    fixed={"type_vocab_size": 0, "pad_token_id": 1},
    # transformers uses 32 buckets, whatever the field says
    supported={**SUPPORTED, "relative_attention_num_buckets": 32},
    layers={
        "attention.self.query": "attention.attn.q",
        "attention.self.key": "attention.attn.k",
        "attention.self.value": "attention.attn.v",
        "attention.output.dense": "attention.attn.o",
        "attention.output.LayerNorm": "attention.LayerNorm",
    },
    relative_buckets=32,
)

ALBERT = AlbertFamily(
    "Albert",
    "albert.",
    Head("pooler", "tanh", "classifier"),
    one_segment=True,
    fields={"classifier_dropout": "classifier_dropout_prob"},
    defaults={
        "vocab_size": 30000,
        "embedding_size": 128,
        "hidden_size": 4096,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": 0.1,
    },
    supported={**SUPPORTED, "num_hidden_groups": 1, "inner_group_num": 1},
    blocks="encoder.albert_layer_groups.{}.albert_layers.0",
    layers={
        "attention.self.query": "attention.query",
        "attention.self.key": "attention.key",
        "attention.self.value": "attention.value",
        "attention.output.dense": "attention.dense",
        "attention.output.LayerNorm": "attention.LayerNorm",
        "intermediate.dense": "ffn",
        "output.dense": "ffn_output",
        "output.LayerNorm": "full_layer_layer_norm",
    },
    shared_blocks=True,
)

# By the model_type of config.json.
FAMILIES = {
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": replace(ROBERTA, architecture="XLMRoberta", defaults={}),
    "camembert": replace(ROBERTA, architecture="Camembert", defaults={}),
    "distilbert": DISTILBERT,
    "mpnet": MPNET,
    "albert": ALBERT,
}
