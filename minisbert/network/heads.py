"""The cross-encoder: BERT, and a classification head on the first token of a pair of texts.

The head is two dense layers with an activation between them: in BERT a *pooler* with tanh and a
*classifier* with one output for each label; other families use other names or activations.
`encoding.tokenization.Tokenizer.encode_pairs` joins two texts into one input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.bert import bert_backward, bert_forward
from minisbert.network.config import BertConfig
from minisbert.network.families import FAMILIES, Head
from minisbert.network.layers import (
    dropout_backward,
    dropout_forward,
    linear_backward,
    linear_forward,
)
from minisbert.network.ragged import RaggedBatch


@dataclass(frozen=True)
class CrossEncoderConfig:
    """The configuration of a cross-encoder's directory.

    activation  turns logits into scores
    labels      what each output stands for, such as "entailment"; () if the directory doesn't say
    """

    bert: BertConfig
    num_labels: int
    activation: str
    classifier_dropout: float
    max_length: int
    do_lower_case: bool
    labels: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None

    @property
    def id2label(self) -> dict[int, str]:
        """The names of the outputs by number; "LABEL_0" and so on where none are given."""
        return dict(enumerate(self.labels or (f"LABEL_{n}" for n in range(self.num_labels))))

    @property
    def label2id(self) -> dict[str, int]:
        """The number of each output, by what it stands for."""
        return {label: number for number, label in self.id2label.items()}

    @property
    def head(self) -> Head:
        """The layers of the head, which depend on the family of the network."""
        return FAMILIES[self.bert.model_type].head


def head_shapes(config: CrossEncoderConfig) -> dict[str, tuple[int, ...]]:
    """Return every parameter of the head and its shape, under its family's own names."""
    D, labels, head = config.bert.hidden_size, config.num_labels, config.head
    return {
        f"{head.dense}.weight": (D, D),
        f"{head.dense}.bias": (D,),
        f"{head.output}.weight": (labels, D),
        f"{head.output}.bias": (labels,),
    }


def head_forward(
    first: Array,
    parameters: Parameters,
    config: CrossEncoderConfig,
    *,
    rng: np.random.Generator | None = None,
    cache: Cache = None,
) -> Array:
    """Turn the vectors of first tokens into logits.  (B, D) -> (B, labels)"""
    head, rate = config.head, config.classifier_dropout

    def linear(name: str, x: Array) -> Array:
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        return linear_forward(x, weight, bias, cache=cache)

    # 1. the dense layer
    first = dropout_forward(first, rate if head.drops_input else 0.0, rng, cache=cache)
    pooled = ACTIVATIONS[head.activation].forward(linear(head.dense, first), cache=cache)
    # 2. an output for each label
    return linear(head.output, dropout_forward(pooled, rate, rng, cache=cache))


def head_backward(
    dlogits: Array, gradients: Gradients, config: CrossEncoderConfig, *, cache: list[Any]
) -> Array:
    """Write the gradients of the head; return the first tokens' gradient.  (B, labels) -> (B, D)"""
    head = config.head

    def linear(name: str, dout: Array) -> Array:
        dweight, dbias = gradients[f"{name}.weight"], gradients[f"{name}.bias"]
        return linear_backward(dout, cache, dweight=dweight, dbias=dbias)[0]

    # 2.
    dpooled = dropout_backward(linear(head.output, dlogits), cache)
    # 1.
    dfirst = linear(head.dense, ACTIVATIONS[head.activation].backward(dpooled, cache))
    return dropout_backward(dfirst, cache)


def pair_forward(
    parameters: Parameters,
    config: CrossEncoderConfig,
    batch: RaggedBatch,
    *,
    rng: np.random.Generator | None = None,
    cache: Cache = None,
) -> Array:
    """Turn B pairs of texts into logits.  -> (B, labels)"""
    first = bert_forward(
        parameters, config.bert, batch, first_only=True, rng=rng, cache=cache
    )  # (B, D)
    return head_forward(first, parameters, config, rng=rng, cache=cache)


def pair_backward(
    dlogits: Array,
    gradients: Gradients,
    config: CrossEncoderConfig,
    *,
    batch: RaggedBatch,
    cache: list[Any],
) -> None:
    """Write the gradients of all parameters, given the gradient of the logits (B, labels)."""
    dfirst = head_backward(dlogits, gradients, config, cache=cache)
    bert_backward(dfirst, gradients, config.bert, batch=batch, first_only=True, cache=cache)
