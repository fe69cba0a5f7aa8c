"""The bi-encoder: from sentences to embeddings by BERT, pooling, and the modules after it.

Inference and training run the same forward. All parameters are in one flat dict; the names of a
Dense module's begin with its folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.bert import WORDS, bert_backward, bert_forward
from minisbert.network.config import DenseConfig, ModelConfig
from minisbert.network.layers import (
    linear_backward,
    linear_forward,
    lookup_backward,
    lookup_forward,
)
from minisbert.network.pooling import pooling_backward, pooling_forward
from minisbert.network.ragged import RaggedBatch
from minisbert.network.similarity import normalize_backward, normalize_forward


def sentence_forward(
    parameters: Parameters,
    config: ModelConfig,
    batch: RaggedBatch,
    *,
    skip: int = 0,
    rng: np.random.Generator | None = None,
    cache: Cache = None,
) -> Array:
    """Turn B sentences into embeddings.

    batch   N tokens
    skip    tokens              at the front of each sentence that pooling leaves out (a prompt)
    rng     source of dropout   in training
    out     (B, E)              E is config.embedding_width
    """
    first_only = _reads_first_only(config, skip)
    # 1. the network
    vectors = token_forward(parameters, config, batch, first_only=first_only, rng=rng, cache=cache)
    # 2. from tokens to sentences
    if not first_only:
        modes = config.pooling.modes
        vectors = pooling_forward(vectors, batch.groups, modes, skip=skip, cache=cache)  # (B, P D)
    # 3. the modules after pooling
    for module in config.modules:
        if isinstance(module, DenseConfig):
            weight = parameters[f"{module.path}.linear.weight"]
            bias = parameters.get(f"{module.path}.linear.bias")
            vectors = linear_forward(vectors, weight, bias, cache=cache)
            vectors = ACTIVATIONS[module.activation].forward(vectors, cache=cache)
        else:
            vectors = normalize_forward(vectors, cache=cache)
    return vectors


def sentence_backward(
    dvectors: Array,
    gradients: Gradients,
    config: ModelConfig,
    *,
    batch: RaggedBatch,
    skip: int = 0,
    cache: list[Any],
) -> None:
    """Write the gradients of all parameters, given the gradient of the embeddings (B, E)."""
    first_only = _reads_first_only(config, skip)
    # 3.
    for module in reversed(config.modules):
        if isinstance(module, DenseConfig):
            dvectors = ACTIVATIONS[module.activation].backward(dvectors, cache)
            dweight = gradients[f"{module.path}.linear.weight"]
            dbias = gradients.get(f"{module.path}.linear.bias")
            dvectors, _, _ = linear_backward(dvectors, cache, dweight=dweight, dbias=dbias)
        else:
            dvectors = normalize_backward(dvectors, cache)
    # 2.
    if not first_only:
        dvectors = pooling_backward(dvectors, cache)  # (N, D)
    # 1.
    if config.bert.num_hidden_layers:
        bert_backward(
            dvectors, gradients, config.bert, batch=batch, first_only=first_only, cache=cache
        )
    else:
        gradients[WORDS] = lookup_backward(dvectors, cache)


def token_forward(
    parameters: Parameters,
    config: ModelConfig,
    batch: RaggedBatch,
    *,
    first_only: bool = False,
    rng: np.random.Generator | None = None,
    cache: Cache = None,
) -> Array:
    """Compute one vector for each token: without blocks, its row of the word table.

    Arguments and result are those of `bert_forward`.
    """
    if config.bert.num_hidden_layers == 0:
        return lookup_forward(batch.token_ids, parameters[WORDS], cache=cache)
    return bert_forward(parameters, config.bert, batch, first_only=first_only, rng=rng, cache=cache)


def _reads_first_only(config: ModelConfig, skip: int) -> bool:
    """Return whether only first tokens are pooled, so that the last block can skip all others."""
    return config.bert.num_hidden_layers > 0 and config.pooling.modes == ("cls",) and not skip
