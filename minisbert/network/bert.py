"""The encoder of BERT (Devlin et al. 2019) and of related networks, on a ragged batch.

`tests/plain_bert.py` is the same network as a textbook has it; read it first. Comments here give
the reason for each difference from it. `families.py` says how RoBERTa and others differ from BERT.

    N  tokens in the ragged batch      H  attention heads        M  rows of an index
    B  sentences                       d  D / H, one head        Q  queries
    T  tokens of one sentence          F  feed-forward width     k  results
    D  hidden width                    V  vocabulary
    E  width of the word table, and    L  blocks
       after pooling of an embedding
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.config import BertConfig
from minisbert.network.layers import (
    attention_backward,
    attention_forward,
    dropout_backward,
    dropout_forward,
    layer_norm_backward,
    layer_norm_forward,
    linear_backward,
    linear_forward,
    lookup_backward,
    lookup_forward,
)
from minisbert.network.matrices import as_matrix
from minisbert.network.ragged import RaggedBatch, find_first_rows

# Names of the three embedding tables and of the norm of their sum.
WORDS = "embeddings.word_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
EMBEDDING_NORM = "embeddings.LayerNorm"

# After attention every token is computed alone, so inference goes slice by slice: the (256, F)
# activations of a slice stay in the second-level cache while GELU passes over them.
SLICE = 256


def bert_forward(
    parameters: Parameters,
    config: BertConfig,
    batch: RaggedBatch,
    *,
    first_only: bool = False,
    rng: np.random.Generator | None = None,
    cache: Cache = None,
) -> Array:
    """Compute one vector for each token.

    parameters  by the checkpoint's names, shapes as `config.parameter_shapes` lists them
    batch       N tokens
    first_only  compute only the vector of each sentence's first token, which saves most of the
                work of the last block
    rng         source of dropout, in training
    cache       a list for `bert_backward`
    out         (N, D), or (B, D) with first_only
    """
    hidden = embeddings_forward(parameters, config, batch, rng=rng, cache=cache)
    longest = max(group.T for group in batch.groups)
    score_bias = config.variant.score_bias_forward(parameters, longest)  # (H, T, T)
    last = config.num_hidden_layers - 1
    for block in range(last + 1):
        only = first_only and block == last
        hidden = block_forward(
            hidden,
            parameters,
            config,
            batch=batch,
            block=config.find_block(block),
            first_only=only,
            score_bias=score_bias,
            rng=rng,
            cache=cache,
            out=hidden if cache is None and not only else None,
        )
    return hidden


def bert_backward(
    dhidden: Array,
    gradients: Gradients,
    config: BertConfig,
    *,
    batch: RaggedBatch,
    first_only: bool = False,
    cache: list[Any],
) -> None:
    """Write the gradient of every parameter.

    dhidden    (N, D), or (B, D) with first_only
    gradients  overwritten
    """
    dscore_bias = None
    if config.variant.relative_buckets:
        longest = max(group.T for group in batch.groups)
        dscore_bias = np.zeros((config.num_attention_heads, longest, longest), dhidden.dtype)
    last = config.num_hidden_layers - 1
    sums: Gradients = {}  # over the blocks, where they share their parameters
    for block in range(last, -1, -1):
        dhidden = block_backward(
            dhidden,
            gradients,
            config,
            batch=batch,
            block=config.find_block(block),
            first_only=first_only and block == last,
            dscore_bias=dscore_bias,
            cache=cache,
        )
        if config.variant.shared_blocks:
            for name in gradients:
                if name.startswith("encoder.layer."):
                    sums[name] = sums.get(name, 0) + gradients[name]
    for name, total in sums.items():
        gradients[name][...] = total
    if dscore_bias is not None:
        config.variant.score_bias_backward(dscore_bias, gradients)
    embeddings_backward(dhidden, gradients, config, batch=batch, cache=cache)


def embeddings_forward(
    parameters: Parameters,
    config: BertConfig,
    batch: RaggedBatch,
    *,
    rng: np.random.Generator | None = None,
    cache: Cache = None,
) -> Array:
    """Sum word, segment and position embeddings, and normalise the sum.  -> (N, D)"""
    # 1. words, E wide: in ALBERT less than D
    hidden = lookup_forward(batch.token_ids, parameters[WORDS], cache=cache)
    N, E = hidden.shape
    # 2. segments, where there are any; a text without segment ids is in segment 0
    segments = _find_segments(config, batch)
    if segments is not None:
        hidden += lookup_forward(segments, parameters[SEGMENTS], cache=cache)
    elif config.type_vocab_size:
        hidden += parameters[SEGMENTS][0]
    # 3. positions: every sentence starts at the first
    positions = parameters[POSITIONS][config.position_offset :]
    for group in batch.groups:
        sentences = hidden[group.rows].reshape(group.B, group.T, E)
        sentences += positions[: group.T]
    # 4. layer norm
    hidden = layer_norm_forward(
        hidden,
        parameters[f"{EMBEDDING_NORM}.weight"],
        parameters[f"{EMBEDDING_NORM}.bias"],
        epsilon=config.layer_norm_eps,
        cache=cache,
        out=hidden,
    )
    # 5. dropout
    hidden = dropout_forward(hidden, config.hidden_dropout_prob, rng, cache=cache)
    # 6. to the width of the blocks
    return config.variant.widen_forward(hidden, parameters, cache=cache)  # (N, D)


def embeddings_backward(
    dhidden: Array,
    gradients: Gradients,
    config: BertConfig,
    *,
    batch: RaggedBatch,
    cache: list[Any],
) -> None:
    """Write the gradients of the three tables and the norm.  (N, D) ->"""
    # 6.
    dhidden = config.variant.widen_backward(dhidden, gradients, cache=cache)  # (N, E)
    N, E = dhidden.shape
    # 5. 4.
    dhidden = dropout_backward(dhidden, cache)
    dsum, dgamma, dbeta = layer_norm_backward(dhidden, cache)
    gradients[f"{EMBEDDING_NORM}.weight"][...] = dgamma
    gradients[f"{EMBEDDING_NORM}.bias"][...] = dbeta
    # 3. a position belongs to every sentence that reaches it
    gradients[POSITIONS][...] = 0
    dpositions = gradients[POSITIONS][config.position_offset :]
    for group in batch.groups:
        dpositions[: group.T] += dsum[group.rows].reshape(group.B, group.T, E).sum(axis=0)
    # 2.
    if config.type_vocab_size:
        dsegments = gradients[SEGMENTS]
        dsegments[...] = 0
        if _find_segments(config, batch) is not None:
            rows, sums = lookup_backward(dsum, cache)
            dsegments[rows] = sums
        else:
            dsegments[0] = dsum.sum(axis=0)
    # 1.
    gradients[WORDS] = lookup_backward(dsum, cache)


def _find_segments(config: BertConfig, batch: RaggedBatch) -> Array | None:
    """Return the segment ids of a batch, or None where all tokens are in segment 0."""
    has_segments = config.type_vocab_size > 1 and not config.variant.one_segment
    return batch.token_type_ids if has_segments else None


def block_forward(
    hidden: Array,
    parameters: Parameters,
    config: BertConfig,
    *,
    batch: RaggedBatch,
    block: int,
    first_only: bool = False,
    score_bias: Array | None = None,
    rng: np.random.Generator | None = None,
    cache: Cache = None,
    out: Array | None = None,
) -> Array:
    """Run one transformer block: attention, then feed-forward, each with a residual and a norm.

    hidden      (N, D)
    score_bias  (H, T, T)   added to attention scores, with the largest T; or None
    out         (N, D), or (B, D) with first_only; may be `hidden` without a cache

    A block appends to the cache, in this order (classes of `layers.py` and `activations.py`):

        LinearCache     of the queries, of the keys, of the values
        arrays          of each group: the attention weights, the factors of dropout if there is
                        an rng, and the weights that the values were multiplied by
        AttentionCache  with the queries, keys and values
        LinearCache     of the layer that mixes the heads
        factors         of dropout, or None
        LayerNormCache  after attention
        LinearCache     of the widening layer
        GeluCache       or that of another activation
        LinearCache     of the narrowing layer
        factors         of dropout, or None
        LayerNormCache  after feed-forward
    """
    prefix = f"encoder.layer.{block}."

    def linear(
        name: str, x: Array, *, activation: str | None = None, residual: Array | None = None
    ) -> Array:
        weight, bias = parameters[f"{prefix}{name}.weight"], parameters[f"{prefix}{name}.bias"]
        if cache is None and rng is None:
            return as_matrix(weight).multiply(x, bias, activation=activation, residual=residual)
        out = linear_forward(x, weight, bias, cache=cache)
        if activation is not None:
            out = ACTIVATIONS[activation].forward(out, cache=cache)
        if residual is not None:
            out = dropout_forward(out, config.hidden_dropout_prob, rng, cache=cache)
            out += residual
        return out

    def layer_norm(name: str, x: Array) -> Array:
        gamma, beta = parameters[f"{prefix}{name}.weight"], parameters[f"{prefix}{name}.bias"]
        return layer_norm_forward(x, gamma, beta, epsilon=config.layer_norm_eps, cache=cache, out=x)

    # 1. queries, keys, values; with first_only all tokens still have keys and values
    query_input, query_groups = hidden, batch.groups
    if first_only:
        first_rows, query_groups = find_first_rows(batch.groups)
        query_input = hidden[first_rows]  # (B, D)
    query = linear("attention.self.query", query_input)
    key = linear("attention.self.key", hidden)
    value = linear("attention.self.value", hidden)
    # 2. attention
    context = attention_forward(
        query,
        key,
        value,
        groups=batch.groups,
        heads=config.num_attention_heads,
        query_groups=query_groups,
        score_bias=score_bias,
        dropout=config.attention_probs_dropout_prob,
        rng=rng,
        cache=cache,
        out=query if cache is None else None,
    )
    # From here on each token is computed alone.
    out = np.empty_like(query_input) if out is None else out
    for rows in _cut_slices(len(query_input), SLICE if cache is None else len(query_input)):
        # 3. mix the heads, add the residual, normalise
        mixed = linear("attention.output.dense", context[rows], residual=query_input[rows])
        mixed = layer_norm("attention.output.LayerNorm", mixed)
        # 4. feed-forward: widen, apply the activation, narrow, add the residual
        wide = linear("intermediate.dense", mixed, activation=config.hidden_act)  # (slice, F)
        narrow = linear("output.dense", wide, residual=mixed)
        # 5. normalise
        out[rows] = layer_norm("output.LayerNorm", narrow)
    return out


def block_backward(
    dout: Array,
    gradients: Gradients,
    config: BertConfig,
    *,
    batch: RaggedBatch,
    block: int,
    first_only: bool = False,
    dscore_bias: Array | None = None,
    cache: list[Any],
) -> Array:
    """Write the gradients of one block's parameters; return the gradient of its input.

    dout         (N, D), or (B, D) with first_only
    dscore_bias  (H, T, T)   the gradient of the score bias is added to it, if given
    dhidden      (N, D)
    """
    prefix = f"encoder.layer.{block}."

    def linear(name: str, dout: Array) -> Array:
        return linear_backward(
            dout,
            cache,
            dweight=gradients[f"{prefix}{name}.weight"],
            dbias=gradients[f"{prefix}{name}.bias"],
        )[0]

    def layer_norm(name: str, dout: Array) -> Array:
        dx, dgamma, dbeta = layer_norm_backward(dout, cache)
        gradients[f"{prefix}{name}.weight"][...] = dgamma
        gradients[f"{prefix}{name}.bias"][...] = dbeta
        return dx

    # 5. the residual has the same gradient, which step 4 adds
    dnarrow = layer_norm("output.LayerNorm", dout)
    # 4.
    dwide = linear("output.dense", dropout_backward(dnarrow, cache))  # (N, F)
    dwide = ACTIVATIONS[config.hidden_act].backward(dwide, cache)
    dmixed = linear("intermediate.dense", dwide)
    dmixed += dnarrow
    # 3.
    dmixed = layer_norm("attention.output.LayerNorm", dmixed)
    dcontext = linear("attention.output.dense", dropout_backward(dmixed, cache))
    # 2.
    dquery, dkey, dvalue = attention_backward(dcontext, cache, dscore_bias=dscore_bias)
    # 1. the input is read four times: for queries, keys, values, and as the residual of step 3
    dhidden = linear("attention.self.value", dvalue)
    dhidden += linear("attention.self.key", dkey)
    dquery_input = linear("attention.self.query", dquery)
    dquery_input += dmixed
    if first_only:
        dhidden[find_first_rows(batch.groups)[0]] += dquery_input
    else:
        dhidden += dquery_input
    return dhidden


def _cut_slices(N: int, most: int) -> Iterator[slice]:
    """Cut N rows into slices of nearly equal size, none longer than `most`."""
    count = max(1, -(-N // most))
    edges = [N * i // count for i in range(count + 1)]
    yield from (slice(start, end) for start, end in pairwise(edges))
