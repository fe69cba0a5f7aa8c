"""Steps after the network, in this order: truncate embeddings, scale them to length 1, quantise.

The options of `encode` are checked here too, since most checks concern these steps.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_choice, check_positive, read_numbers, shorten, warn_caller
from minisbert.arrays import Array
from minisbert.network.similarity import match_widths, normalize_forward
from minisbert.search.quantization import Precision, quantize_embeddings
from minisbert.system.tensors import keep_kind

OutputValue = Literal["sentence_embedding", "token_embeddings"]


def check_output_options(
    texts: int,
    *,
    output_value: str | None,
    precision: str | None,
    normalize_embeddings: bool,
    truncate_dim: int | None,
) -> None:
    """Refuse unknown values of `encode`'s options, and combinations that have no meaning.

    texts  number of texts
    """
    if output_value is not None:
        remedy = "the network has no other output"
        check_choice("output_value", output_value, get_args(OutputValue), remedy=remedy)
    if precision is not None:
        check_choice("precision", precision, get_args(Precision))
    check_positive("truncate_dim", truncate_dim)
    quantized = precision not in (None, "float32")
    of_texts = quantized or normalize_embeddings or truncate_dim
    if output_value != "sentence_embedding" and of_texts:
        raise ValueError(
            "precision, normalize_embeddings and truncate_dim must be left out for "
            f"{output_value or 'output_value=None'}, got one of them; they are for embeddings of "
            "whole texts"
        )
    if precision in ("int8", "uint8") and texts == 1:
        raise ValueError(
            f"inputs must be at least 2 texts for precision {shorten(precision)}, got 1, whose "
            "codes would all be equal; encode as float32, and call quantize_embeddings with ranges"
        )


def finish_embeddings(
    embeddings: Array,
    *,
    truncate_dim: int | None,
    normalize: bool,
    precision: Precision | None,
    unit: bool,
) -> Array:
    """Truncate, normalise and quantise embeddings.

    embeddings    (n, D)   as the last module of the model gives them
    truncate_dim           dimensions to keep; None for all
    normalize              scale to length 1 after truncating
    unit                   whether `embeddings` already have length 1
    out           (n, D')  of the type of `precision`; D / 8 bytes of packed bits for binary ones
    """
    truncate_dim = check_positive("truncate_dim", truncate_dim)
    if truncate_dim is not None:
        if unit and truncate_dim < embeddings.shape[1] and not normalize:
            # Dot products of unit vectors are cosines; those of truncated ones are not.
            warn_caller(
                f"embeddings truncated to {truncate_dim} dimensions no longer have length 1; "
                "pass normalize_embeddings=True if they should",
                once=True,
            )
        embeddings = np.ascontiguousarray(embeddings[:, :truncate_dim])
    if normalize:
        embeddings = normalize_forward(embeddings)
    if precision is None or precision == "float32":
        return embeddings
    return quantize_embeddings(embeddings, precision)


def describe_output(ids: Array, vectors: Array, embedding: Array) -> dict[str, Any]:
    """Return all that the model computes for one text, under sentence-transformers' names."""
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_embeddings": vectors,
        "sentence_embedding": embedding,
    }


@keep_kind
def truncate_embeddings(embeddings: ArrayLike, truncate_dim: int | None) -> Array:
    """Keep the first dimensions, all with None, unscaled.  (..., D) -> (..., truncate_dim)"""
    width = check_positive("truncate_dim", truncate_dim)
    return read_numbers(embeddings, "embeddings")[..., :width]


@keep_kind
def normalize_embeddings(embeddings: ArrayLike) -> Array:
    """Scale embeddings to length 1; zero vectors stay zero.  (n, D) or (D,) -> same shape"""
    embeddings = read_numbers(embeddings, "embeddings")
    rows, _ = match_widths(embeddings, embeddings)
    return normalize_forward(rows).reshape(np.shape(embeddings))
