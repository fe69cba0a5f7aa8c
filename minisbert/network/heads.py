"""The classification head of a cross-encoder: what a directory says of it, its weights, its layers.

A Hugging Face directory for sequence classification holds a network and two dense layers on its
first token, with an activation between them: a *pooler* with tanh and a *classifier* with one
output a label in BERT's case, and other names or another activation in other families'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.bert import bert_backward, bert_forward
from minisbert.network.config import BertConfig
from minisbert.network.layers import (
    dropout_backward,
    dropout_forward,
    linear_backward,
    linear_forward,
)
from minisbert.network.ragged import RaggedBatch


@dataclass(frozen=True)
class CrossEncoderConfig:
    """A whole sequence-classification directory; `activation` is a value of SCORE_ACTIVATIONS."""

    bert: BertConfig
    num_labels: int
    activation: str
    classifier_dropout: float
    max_length: int
    do_lower_case: bool


def head_shapes(config: CrossEncoderConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of the head and its shape, under its family's own names."""
    D, labels, head = config.bert.hidden_size, config.num_labels, config.bert.family.head
    return {
        f"{head.dense}.weight": (D, D),
        f"{head.dense}.bias": (D,),
        f"{head.output}.weight": (labels, D),
        f"{head.output}.bias": (labels,),
    }


def head_forward(
    first: Array,
    parameters: Mapping[str, Array],
    config: CrossEncoderConfig,
    cache: Cache = None,
    rng: np.random.Generator | None = None,
) -> Array:
    """Turn the vectors of first tokens into logits.  (B, D) -> (B, labels)"""
    head, rate = config.bert.family.head, config.classifier_dropout

    def linear(name: str, x: Array) -> Array:
        return linear_forward(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"], cache)

    # 1. the dense layer
    first = dropout_forward(first, rate if head.drops_input else 0.0, rng, cache)
    pooled = ACTIVATIONS[head.activation].forward(linear(head.dense, first), cache)
    # 2. an output for each label
    return linear(head.output, dropout_forward(pooled, rate, rng, cache))


def head_backward(
    dlogits: Array, config: CrossEncoderConfig, cache: list[Any], gradients: dict[str, Any]
) -> Array:
    """Write the gradients of the head; return that of the first tokens.  (B, labels) -> (B, D)"""
    head = config.bert.family.head

    def linear(name: str, dout: Array) -> Array:
        dweight, dbias = gradients[f"{name}.weight"], gradients[f"{name}.bias"]
        return linear_backward(dout, cache, dweight, dbias)[0]

    # 2.
    dpooled = dropout_backward(linear(head.output, dlogits), cache)
    # 1.
    dfirst = linear(head.dense, ACTIVATIONS[head.activation].backward(dpooled, cache))
    return dropout_backward(dfirst, cache)


def score_forward(
    parameters: Parameters,
    config: CrossEncoderConfig,
    batch: RaggedBatch,
    cache: Cache = None,
    rng: np.random.Generator | None = None,
) -> Array:
    """Turn B pairs into logits.  -> (B, labels)"""
    first = bert_forward(parameters, config.bert, batch, cache, True, rng)  # (B, D)
    return head_forward(first, parameters, config, cache, rng)


def score_backward(
    dlogits: Array,
    config: CrossEncoderConfig,
    batch: RaggedBatch,
    cache: list[Any],
    gradients: Gradients,
) -> None:
    """Write the gradients of all parameters, from that of the logits.  (B, labels) ->"""
    dfirst = head_backward(dlogits, config, cache, gradients)
    bert_backward(dfirst, config.bert, batch, cache, gradients, first_only=True)
