"""What is done to embeddings after the network: cut, scaled to length 1, quantised, in this order.

Which outputs `encode` has, and which of these steps go together, is checked here too.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_positive, warn_caller
from minisbert.arrays import Array
from minisbert.network.similarity import normalize_forward, read_rows
from minisbert.search.quantization import Precision, quantize_embeddings

OUTPUTS = ("sentence_embedding", "token_embeddings")


def check_output(
    output_value: str | None,
    precision: str | None,
    normalize_embeddings: bool,
    truncate_dim: int | None,
    texts: int,
) -> None:
    """Refuse what `encode` can't give of so many texts."""
    if output_value not in OUTPUTS:
        raise ValueError(
            f"output_value must be one of {', '.join(OUTPUTS)}, got {output_value!r}; "
            "nothing else of the network is kept"
        )
    if precision is not None and precision not in get_args(Precision):
        raise ValueError(
            f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}; "
            "choose one"
        )
    check_positive("truncate_dim", truncate_dim)
    quantized = precision not in (None, "float32")
    if output_value == "token_embeddings" and (quantized or normalize_embeddings or truncate_dim):
        raise ValueError(
            "precision, normalize_embeddings and truncate_dim must be left out for "
            "token_embeddings, got one of them; they are for embeddings of whole texts"
        )
    if precision in ("int8", "uint8") and texts == 1:
        raise ValueError(
            f"inputs must be at least 2 texts for precision {precision!r}, got 1, where all codes "
            "would be one; encode as float32, then quantize_embeddings with ranges of many texts"
        )


def finish_embeddings(
    embeddings: Array,
    truncate_dim: int | None,
    normalize: bool,
    precision: Precision | None,
    unit: bool,
) -> Array:
    """Embeddings as `encode` gives them.

    embeddings  (n, D)   as the modules after the network made them
    unit                 whether these made them of length 1
    out         (n, D'), or packed bits
    """
    if truncate_dim is not None:
        if unit and truncate_dim < embeddings.shape[1] and not normalize:
            # A dot product would not forgive it.
            warn_caller(
                f"embeddings cut to {truncate_dim} dimensions no longer have length 1; "
                "pass normalize_embeddings=True if they should",
                once=True,
            )
        embeddings = np.ascontiguousarray(embeddings[:, :truncate_dim])
    if normalize:
        embeddings = normalize_forward(embeddings)
    if precision is None or precision == "float32":
        return embeddings
    return quantize_embeddings(embeddings, precision)


def truncate_embeddings(embeddings: ArrayLike, truncate_dim: int | None) -> Array:
    """Keep the first dimensions, all with None; nothing is scaled.  (..., D) -> (..., D')"""
    check_positive("truncate_dim", truncate_dim)
    return np.asarray(embeddings)[..., :truncate_dim]


def normalize_embeddings(embeddings: ArrayLike) -> Array:
    """Scale embeddings to length 1; zero ones stay zero.  (n, D) or (D,) -> the same"""
    rows, _ = read_rows(embeddings, embeddings)
    return normalize_forward(rows).reshape(np.shape(embeddings))
