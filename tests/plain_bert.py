"""BERT with mean pooling as a textbook has it: padded, masked, no tricks. Read this first.

Sentence-BERT (Reimers & Gurevych 2019) is BERT (Devlin et al. 2019) followed by pooling. This file
is all of it. `minisbert/network/bert.py` computes the same numbers faster; tests compare the two.

Letters: B sentences, T tokens of the longest, D hidden width, H heads, d = D / H, F feed-forward
width.
"""

import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


def linear(x, w, b):
    return x @ w.T + b


def layer_norm(x, gamma, beta, epsilon):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def gelu(x):
    return x * ((1 + erf(x / math.sqrt(2))) / 2).astype(x.dtype)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attention(query, key, value, mask, heads):
    B, T, D = query.shape
    # 1. every head gets its own d columns
    q, k, v = (x.reshape(B, T, heads, D // heads).swapaxes(1, 2) for x in (query, key, value))
    # 2. the score of each key for each query; the lowest number for padding  (B, H, T, T)
    scores = q @ k.swapaxes(2, 3) / math.sqrt(D // heads)
    scores = np.where(mask[:, None, None, :], scores, np.finfo(scores.dtype).min)
    # 3. the mean of the values, weighted by softmax; then join the heads again  (B, T, D)
    return (softmax(scores) @ v).swapaxes(1, 2).reshape(B, T, D)


def plain_bert(parameters, config, ids, mask, token_type_ids=None):
    """Compute the vector of each token.  (B, T), (B, T) -> (B, T, D)

    ids             token ids
    mask            1 for a token, 0 for padding
    token_type_ids  0 in the first text, 1 in the second text of a pair; 0 if left out
    """
    B, T = ids.shape
    epsilon = config.layer_norm_eps
    if token_type_ids is None:
        token_type_ids = np.zeros_like(ids)

    def learned(layer):
        return parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]

    # 1. a token's vector: the sum of rows for its word, its position and its segment
    x = parameters["embeddings.word_embeddings.weight"][ids]
    x = x + parameters["embeddings.position_embeddings.weight"][:T]
    x = x + parameters["embeddings.token_type_embeddings.weight"][token_type_ids]
    x = layer_norm(x, *learned("embeddings.LayerNorm"), epsilon)

    for block in range(config.num_hidden_layers):
        prefix = f"encoder.layer.{block}"
        # 2. attention: every token takes a weighted mean over all tokens
        query = linear(x, *learned(f"{prefix}.attention.self.query"))
        key = linear(x, *learned(f"{prefix}.attention.self.key"))
        value = linear(x, *learned(f"{prefix}.attention.self.value"))
        context = attention(query, key, value, mask, config.num_attention_heads)
        # 3. mix the heads, add the residual, normalise
        mixed = linear(context, *learned(f"{prefix}.attention.output.dense"))
        x = layer_norm(x + mixed, *learned(f"{prefix}.attention.output.LayerNorm"), epsilon)
        # 4. feed-forward, each token alone: widen, apply GELU, narrow
        wide = gelu(linear(x, *learned(f"{prefix}.intermediate.dense")))  # (B, T, F)
        narrow = linear(wide, *learned(f"{prefix}.output.dense"))
        # 5. add the residual, normalise
        x = layer_norm(x + narrow, *learned(f"{prefix}.output.LayerNorm"), epsilon)
    return x


def mean_pool(hidden, mask):
    """Take the mean over each sentence's tokens, without padding.  (B, T, D), (B, T) -> (B, D)"""
    mask = mask[:, :, None].astype(hidden.dtype)
    return (hidden * mask).sum(axis=1) / mask.sum(axis=1)
