"""BERT's encoder (Devlin et al. 2019), and that of its relatives, on a ragged batch.

`tests/plain_bert.py` is the same network as a textbook has it; read it first. What differs here,
and what it buys on two cores with all-MiniLM-L6-v2, is said at the line. Where RoBERTa and others
differ from BERT is said in the tables of `families.py`.

    N  tokens in the ragged batch      H  attention heads        M  rows of an index
    B  sentences                       d  D / H, one head        Q  queries
    T  tokens of one sentence          F  feed-forward width     k  results
    D  hidden width                    V  vocabulary
    E  width of the word table         L  blocks
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.config import RELATIVE_BIAS, WIDENING, BertConfig
from minisbert.network.layers import (
    attention_backward,
    attention_forward,
    dropout_backward,
    dropout_forward,
    embedding_backward,
    embedding_forward,
    layer_norm_backward,
    layer_norm_forward,
    linear_backward,
    linear_forward,
)
from minisbert.network.ragged import RaggedBatch, find_first_rows
from minisbert.network.relative_bias import relative_bias_backward, relative_bias_forward

# The word table, of which a batch reads few rows.
WORDS = "embeddings.word_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"


# What follows attention treats every token alone, so inference takes it slice by slice: the
# (256, F) activations of a slice stay in the second-level cache while GELU passes over them.
SLICE = 256


def bert_forward(
    parameters: Parameters,
    config: BertConfig,
    batch: RaggedBatch,
    cache: Cache = None,
    first_only: bool = False,
    rng: np.random.Generator | None = None,
) -> Array:
    """Run the network: token ids in, one vector a token out.

    parameters  by the checkpoint's names, shapes as `config.parameter_shapes` lists them
    batch       N tokens
    cache       a list              for `bert_backward`
    first_only  of each sentence only the first token is wanted: most of the last block is left out
    rng         for dropout         in training; none without it
    out         (N, D), or (B, D) of the first tokens
    """
    hidden = embeddings_forward(parameters, config, batch, cache, rng)
    bias = None
    if config.family.relative_buckets:
        longest = max(group.T for group in batch.groups)
        bias = relative_bias_forward(parameters[RELATIVE_BIAS], longest)  # (H, T, T)
    last = config.num_hidden_layers - 1
    for block in range(last + 1):
        only = first_only and block == last
        stored = config.find_block(block)
        hidden = block_forward(parameters, config, stored, hidden, batch, cache, only, rng, bias)
    return hidden


def bert_backward(
    dhidden: Array,
    config: BertConfig,
    batch: RaggedBatch,
    cache: list[Any],
    gradients: Gradients,
    first_only: bool = False,
) -> None:
    """Write the gradient of every parameter, from that of what `bert_forward` gave.

    dhidden    (N, D), or (B, D) of the first tokens
    gradients  overwritten
    """
    dbias = None
    if config.family.relative_buckets:
        longest = max(group.T for group in batch.groups)
        dbias = np.zeros((config.num_attention_heads, longest, longest), dhidden.dtype)
    last = config.num_hidden_layers - 1
    sums: Gradients = {}  # of blocks that share their parameters
    for block in range(last, -1, -1):
        only = first_only and block == last
        stored = config.find_block(block)
        dhidden = block_backward(dhidden, stored, batch, config, cache, gradients, only, dbias)
        if config.family.shared:
            for name in gradients:
                if name.startswith("encoder.layer."):
                    sums[name] = sums.get(name, 0) + gradients[name]
    for name, total in sums.items():
        gradients[name][...] = total
    if dbias is not None:
        gradients[RELATIVE_BIAS][...] = relative_bias_backward(dbias)
    embeddings_backward(dhidden, config, batch, cache, gradients)


def embeddings_forward(
    parameters: Parameters,
    config: BertConfig,
    batch: RaggedBatch,
    cache: Cache = None,
    rng: np.random.Generator | None = None,
) -> Array:
    """Add up word, segment and position vectors, and normalise the sum.  -> (N, D)"""
    # 1. words, E wide: in ALBERT less than D
    hidden = embedding_forward(batch.token_ids, parameters[WORDS], cache)
    N, E = hidden.shape
    # 2. segments, where there are any; a text without segment ids still gets segment 0's vector
    types = _find_types(config, batch)
    if types is not None:
        hidden += embedding_forward(types, parameters[SEGMENTS], cache)
    elif config.type_vocab_size:
        hidden += parameters[SEGMENTS][0]
    # 3. positions: every sentence starts at the first
    positions = parameters["embeddings.position_embeddings.weight"][config.position_offset :]
    for group in batch.groups:
        sentences = hidden[group.rows].reshape(group.B, group.T, E)
        sentences += positions[: group.T]
    # 4. layer norm
    hidden = layer_norm_forward(
        hidden,
        parameters["embeddings.LayerNorm.weight"],
        parameters["embeddings.LayerNorm.bias"],
        config.layer_norm_eps,
        cache,
    )
    # 5. dropout
    hidden = dropout_forward(hidden, config.hidden_dropout_prob, rng, cache)
    # 6. ALBERT's way to the blocks' width
    if config.family.shared:
        weight, bias = parameters[f"{WIDENING}.weight"], parameters[f"{WIDENING}.bias"]
        hidden = linear_forward(hidden, weight, bias, cache)  # (N, D)
    return hidden


def embeddings_backward(
    dhidden: Array,
    config: BertConfig,
    batch: RaggedBatch,
    cache: list[Any],
    gradients: Gradients,
) -> None:
    """Write the gradients of the three tables and the norm.  (N, D) ->"""
    # 6.
    if config.family.shared:
        dweight, dbias = gradients[f"{WIDENING}.weight"], gradients[f"{WIDENING}.bias"]
        dhidden, _, _ = linear_backward(dhidden, cache, dweight, dbias)
    N, E = dhidden.shape
    # 5. 4.
    dhidden = dropout_backward(dhidden, cache)
    dsum, dgamma, dbeta = layer_norm_backward(dhidden, cache)
    gradients["embeddings.LayerNorm.weight"][...] = dgamma
    gradients["embeddings.LayerNorm.bias"][...] = dbeta
    # 3. a position belongs to every sentence that reaches it
    dtable = gradients["embeddings.position_embeddings.weight"]
    dtable[...] = 0
    dpositions = dtable[config.position_offset :]
    for group in batch.groups:
        dpositions[: group.T] += dsum[group.rows].reshape(group.B, group.T, E).sum(axis=0)
    # 2.
    if config.type_vocab_size:
        dsegments = gradients[SEGMENTS]
        dsegments[...] = 0
        if _find_types(config, batch) is not None:
            segments, sums = embedding_backward(dsum, cache)
            dsegments[segments] = sums
        else:
            dsegments[0] = dsum.sum(axis=0)
    # 1.
    gradients[WORDS] = embedding_backward(dsum, cache)


def _find_types(config: BertConfig, batch: RaggedBatch) -> Array | None:
    """The segment ids of a batch, where the network tells segments apart."""
    told_apart = config.family.segments and config.type_vocab_size > 1
    return batch.token_type_ids if told_apart else None


def block_forward(
    parameters: Parameters,
    config: BertConfig,
    block: int,
    hidden: Array,
    batch: RaggedBatch,
    cache: Cache = None,
    first_only: bool = False,
    rng: np.random.Generator | None = None,
    bias: Array | None = None,
) -> Array:
    """One transformer block: attention, then feed-forward, a residual and a norm after each.

    hidden  (N, D)      overwritten without a cache
    bias    (H, T, T)   of the longest sentence's scores, or None
    out     (N, D), or (B, D) of the first tokens only
    """
    prefix = f"encoder.layer.{block}."
    rate = config.hidden_dropout_prob

    def linear(name: str, x: Array) -> Array:
        weight, bias = parameters[prefix + name + ".weight"], parameters[prefix + name + ".bias"]
        return linear_forward(x, weight, bias, cache)

    def layer_norm(name: str, x: Array) -> Array:
        gamma, beta = parameters[prefix + name + ".weight"], parameters[prefix + name + ".bias"]
        return layer_norm_forward(x, gamma, beta, config.layer_norm_eps, cache)

    # 1. queries, keys, values; tokens that are not wanted still have keys and values
    wanted, query_groups = hidden, batch.groups
    if first_only:
        first_rows, query_groups = find_first_rows(batch.groups)
        wanted = hidden[first_rows]  # (B, D)
    query = linear("attention.self.query", wanted)
    key = linear("attention.self.key", hidden)
    value = linear("attention.self.value", hidden)
    # 2. attention
    context = attention_forward(
        query,
        key,
        value,
        batch.groups,
        config.num_attention_heads,
        cache,
        query_groups,
        config.attention_probs_dropout_prob,
        rng,
        bias,
    )
    # From here on each token is alone.
    out = np.empty_like(wanted) if cache is not None else wanted
    for rows in cut_slices(len(wanted), SLICE if cache is None else len(wanted)):
        # 3. mix the heads, add what came in, normalise
        mixed = linear("attention.output.dense", context[rows])
        mixed = dropout_forward(mixed, rate, rng, cache)
        mixed += wanted[rows]
        mixed = layer_norm("attention.output.LayerNorm", mixed)
        # 4. feed-forward: widen, bend, narrow
        wide = linear("intermediate.dense", mixed)  # (slice, F)
        wide = ACTIVATIONS[config.hidden_act].forward(wide, cache)
        narrow = linear("output.dense", wide)
        narrow = dropout_forward(narrow, rate, rng, cache)
        # 5. add what came in, normalise
        narrow += mixed
        out[rows] = layer_norm("output.LayerNorm", narrow)
    return out


def block_backward(
    dout: Array,
    block: int,
    batch: RaggedBatch,
    config: BertConfig,
    cache: list[Any],
    gradients: Gradients,
    first_only: bool = False,
    dbias: Array | None = None,
) -> Array:
    """Write the gradients of one block's parameters; return that of what came in.

    dout   (N, D), or (B, D) of the first tokens only
    dbias  (H, T, T)   that of the scores' bias is added, where there is one
    out    (N, D)
    """
    prefix = f"encoder.layer.{block}."

    def linear(name: str, dout: Array) -> Array:
        dweight, dbias = gradients[prefix + name + ".weight"], gradients[prefix + name + ".bias"]
        return linear_backward(dout, cache, dweight, dbias)[0]

    def layer_norm(name: str, dout: Array) -> Array:
        dx, dgamma, dbeta = layer_norm_backward(dout, cache)
        gradients[prefix + name + ".weight"][...] = dgamma
        gradients[prefix + name + ".bias"][...] = dbeta
        return dx

    # 5. what was added has the gradient of the sum
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
    dquery, dkey, dvalue = attention_backward(dcontext, cache, dbias)
    # 1. the same vectors became queries, keys, values, and were added in step 3
    dhidden = linear("attention.self.value", dvalue)
    dhidden += linear("attention.self.key", dkey)
    dwanted = linear("attention.self.query", dquery)
    dwanted += dmixed
    if first_only:
        dhidden[find_first_rows(batch.groups)[0]] += dwanted
    else:
        dhidden += dwanted
    return dhidden


def cut_slices(N: int, most: int) -> Iterator[slice]:
    """Cut N rows into slices of nearly equal size, none longer than `most`."""
    count = max(1, -(-N // most))
    edges = [N * i // count for i in range(count + 1)]
    yield from (slice(start, end) for start, end in pairwise(edges))
