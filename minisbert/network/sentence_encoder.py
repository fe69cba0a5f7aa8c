"""The two networks, from a ragged batch to what a loss is taken of, and back.

The bi-encoder gives one embedding a sentence: BERT, pooling, and the modules of its directory after
it. The cross-encoder gives the logits of one pair of texts: BERT, and a head on the first token.
Inference and training run the same forward; all parameters stand in one flat dict, those of a Dense
module under its folder's name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.bert import WORDS, bert_backward, bert_forward
from minisbert.network.config import DenseConfig, ModelConfig, NormalizeConfig, PoolingConfig
from minisbert.network.layers import (
    embedding_backward,
    embedding_forward,
    linear_backward,
    linear_forward,
)
from minisbert.network.pooling import pooling_backward, pooling_forward
from minisbert.network.ragged import RaggedBatch
from minisbert.network.similarity import normalize_backward, normalize_forward


def embed_forward(
    parameters: Parameters,
    config: ModelConfig,
    batch: RaggedBatch,
    skip: int = 0,
    cache: Cache = None,
    rng: np.random.Generator | None = None,
) -> Array:
    """Turn B sentences into embeddings.

    batch   N tokens
    skip    tokens       of a prompt that the pooling leaves out
    rng     for dropout  in training
    out     (B, E)       as wide as the last module makes it
    """
    first_only = _reads_first_only(config, skip)
    # 1. the network
    vectors = token_forward(parameters, config, batch, cache, first_only, rng)
    # 2. from tokens to sentences
    if not first_only:
        modes = _pooling(config).modes
        vectors = pooling_forward(vectors, batch.groups, modes, skip, cache)  # (B, P D)
    # 3. what follows
    for module in config.modules[1:]:
        if isinstance(module, DenseConfig):
            weight = parameters[f"{module.path}.linear.weight"]
            bias = parameters.get(f"{module.path}.linear.bias")
            vectors = linear_forward(vectors, weight, bias, cache)
            vectors = ACTIVATIONS[module.activation].forward(vectors, cache)
        elif isinstance(module, NormalizeConfig):
            vectors = normalize_forward(vectors, cache)
    return vectors


def token_forward(
    parameters: Parameters,
    config: ModelConfig,
    batch: RaggedBatch,
    cache: Cache = None,
    first_only: bool = False,
    rng: np.random.Generator | None = None,
) -> Array:
    """What the pooling reads: the network's vectors; without blocks the rows of the word table.

    Arguments and result are those of `bert_forward`.
    """
    if config.bert.num_hidden_layers == 0:
        return embedding_forward(batch.token_ids, parameters[WORDS], cache)
    return bert_forward(parameters, config.bert, batch, cache, first_only, rng)


def embed_backward(
    dvectors: Array,
    config: ModelConfig,
    batch: RaggedBatch,
    cache: list[Any],
    gradients: Gradients,
    skip: int = 0,
) -> None:
    """Write the gradients of all parameters, from that of the embeddings.  (B, E) ->"""
    first_only = _reads_first_only(config, skip)
    # 3.
    for module in reversed(config.modules[1:]):
        if isinstance(module, DenseConfig):
            dvectors = ACTIVATIONS[module.activation].backward(dvectors, cache)
            dweight = gradients[f"{module.path}.linear.weight"]
            dbias = gradients.get(f"{module.path}.linear.bias")
            dvectors, _, _ = linear_backward(dvectors, cache, dweight, dbias)
        elif isinstance(module, NormalizeConfig):
            dvectors = normalize_backward(dvectors, cache)
    # 2.
    if not first_only:
        dvectors = pooling_backward(dvectors, cache)  # (N, D)
    # 1.
    if config.bert.num_hidden_layers:
        bert_backward(dvectors, config.bert, batch, cache, gradients, first_only)
    else:
        gradients[WORDS] = embedding_backward(dvectors, cache)


def _pooling(config: ModelConfig) -> PoolingConfig:
    pooling = config.modules[0]
    assert isinstance(pooling, PoolingConfig)  # the reader of directories takes no other
    return pooling


def _reads_first_only(config: ModelConfig, skip: int) -> bool:
    """Whether the pooling reads only the first token, so that the last block need do no more."""
    return config.bert.num_hidden_layers > 0 and _pooling(config).modes == ("cls",) and not skip
