"""BERT's encoder (Devlin et al. 2019) on a ragged batch.

`tests/plain_bert.py` is the same network as a textbook has it; read it first. What differs here,
and what it buys on two cores with all-MiniLM-L6-v2, is said at the line.

    N  tokens in the ragged batch      H  attention heads        M  rows of an index
    B  sentences                       d  D / H, one head        Q  queries
    T  tokens of one sentence          F  feed-forward width     k  results
    D  hidden width                    V  vocabulary
                                       L  blocks
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from minisbert.config import BertConfig
from minisbert.layers import (
    ACTIVATIONS,
    TILE,
    Cache,
    attention_forward,
    cut_tiles,
    embedding_forward,
    layer_norm_forward,
    linear_forward,
)
from minisbert.ragged import Array, RaggedBatch, find_first_rows

Parameters = Mapping[str, Array]

# What follows attention treats every token alone, so inference takes it slice by slice: the
# (256, F) activations of a slice stay in the second-level cache while GELU passes over them.
SLICE = 256


# Up to here products in tiles are quicker than BLAS on two threads.
FEW_TOKENS = 24


def arrange_for_many(parameters: Parameters) -> dict[str, Array]:
    """Copy the blocks' matrices into column order, in which `x @ weight.T` packs them faster.

    The shapes stay (out, in). It buys 8 % of the products, and costs the memory that was mapped.
    The word table is only looked up, so it stays where it is.
    """
    return {
        name: np.asfortranarray(array) if name.startswith("encoder.") else array
        for name, array in parameters.items()
    }


def arrange_for_few(parameters: Parameters) -> dict[str, Array]:
    """Copy the blocks' matrices into tiles, for batches of at most FEW_TOKENS tokens."""
    return {
        name: cut_tiles(array)
        if name.startswith("encoder.") and array.ndim == 2 and len(array) % TILE == 0
        else array
        for name, array in parameters.items()
    }


def bert_forward(
    parameters: Parameters,
    config: BertConfig,
    batch: RaggedBatch,
    cache: Cache = None,
    first_only: bool = False,
) -> Array:
    """Run the network: token ids in, one vector a token out.

    parameters  by the checkpoint's names, shapes as `config.parameter_shapes` lists them
    batch       N tokens
    first_only  of each sentence only the first token is wanted: most of the last block is left out
    out         (N, D), or (B, D) of the first tokens
    """
    hidden = embeddings_forward(parameters, config, batch, cache)
    last = config.num_hidden_layers - 1
    for block in range(last + 1):
        hidden = block_forward(
            parameters, config, block, hidden, batch, cache, first_only and block == last
        )
    return hidden


def embeddings_forward(
    parameters: Parameters, config: BertConfig, batch: RaggedBatch, cache: Cache = None
) -> Array:
    """Add up word, segment and position vectors, and normalise the sum.  -> (N, D)"""
    # 1. words
    hidden = embedding_forward(
        batch.token_ids, parameters["embeddings.word_embeddings.weight"], cache
    )
    N, D = hidden.shape
    # 2. segments; a text without segment ids still gets the vector of segment 0
    segments = parameters.get("embeddings.token_type_embeddings.weight")
    if segments is not None:
        if batch.token_type_ids is None:
            hidden += segments[0]
        else:
            hidden += embedding_forward(batch.token_type_ids, segments, cache)
    # 3. positions: every sentence starts at the first
    positions = parameters["embeddings.position_embeddings.weight"][config.position_offset :]
    for group in batch.groups:
        sentences = hidden[group.rows].reshape(group.B, group.T, D)
        sentences += positions[: group.T]
    # 4. layer norm
    return layer_norm_forward(
        hidden,
        parameters["embeddings.LayerNorm.weight"],
        parameters["embeddings.LayerNorm.bias"],
        config.layer_norm_eps,
        cache,
    )


def block_forward(
    parameters: Parameters,
    config: BertConfig,
    block: int,
    hidden: Array,
    batch: RaggedBatch,
    cache: Cache = None,
    first_only: bool = False,
) -> Array:
    """One transformer block: attention, then feed-forward, a residual and a norm after each.

    hidden  (N, D)   overwritten without a cache
    out     (N, D), or (B, D) of the first tokens only
    """
    prefix = f"encoder.layer.{block}."

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
    heads = config.num_attention_heads
    context = attention_forward(query, key, value, batch.groups, heads, cache, query_groups)
    # From here on each token is alone.
    out = np.empty_like(wanted) if cache is not None else wanted
    for rows in cut_slices(len(wanted), SLICE if cache is None else len(wanted)):
        # 3. mix the heads, add what came in, normalise
        mixed = linear("attention.output.dense", context[rows])
        mixed += wanted[rows]
        mixed = layer_norm("attention.output.LayerNorm", mixed)
        # 4. feed-forward: widen, bend, narrow
        wide = linear("intermediate.dense", mixed)  # (slice, F)
        wide = ACTIVATIONS[config.hidden_act](wide, cache)
        narrow = linear("output.dense", wide)
        # 5. add what came in, normalise
        narrow += mixed
        out[rows] = layer_norm("output.LayerNorm", narrow)
    return out


def cut_slices(N: int, most: int) -> Iterator[slice]:
    """Cut N rows into slices of nearly equal size, none longer than `most`."""
    count = max(1, -(-N // most))
    edges = [N * i // count for i in range(count + 1)]
    yield from (slice(start, end) for start, end in pairwise(edges))
