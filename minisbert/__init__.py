"""Sentence-BERT in NumPy and one small C kernel.

The modules stand on floors. A module imports from lower floors, or from one listed before it on its
own floor, so this list is also the order to read them in (tests/test_architecture.py holds it):

floor 0: ragged json_fields families config config_files weights directories sources hub
floor 0: tokenizer_files tokenization tiles activations layers relative_bias heads pooling
floor 0: similarity optimizer topk candidates topk_int8 hamming metrics
floor 1: bert arrangement networks losses batching topk_blas arguments prompts saving
floor 1: index_rows index_files index_builder index quantization finishing signatures drop_in
floor 2: heat_map explain streaming encoder cross_encoder objectives train_step binary_index
floor 3: search text_index text_files judged_files evaluation table_files training_files development
floor 3: checkpoints training_run training standard_library machine costs cost_report quality
floor 4: util demo cost_lab train_command commands command_parser
floor 5: __main__ __init__
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minisbert.arguments import TruncationWarning
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.search.flat_index import FlatIndex
from minisbert.search.quantization import quantize_embeddings
from minisbert.network.similarity import (
    cosine_similarity,
    dot_similarity,
    euclidean_similarity,
    manhattan_similarity,
    pairwise_cosine_similarity,
    pairwise_dot_similarity,
    pairwise_euclidean_similarity,
    pairwise_manhattan_similarity,
)
from minisbert.search.topk import topk

if TYPE_CHECKING:
    from minisbert import util
    from minisbert.training.loop import train
    from minisbert.training.examples import read_examples

__version__ = "0.1.0"

__all__ = [
    "CrossEncoder",
    "FlatIndex",
    "SentenceTransformer",
    "TruncationWarning",
    "__version__",
    "cosine_similarity",
    "dot_similarity",
    "euclidean_similarity",
    "manhattan_similarity",
    "pairwise_cosine_similarity",
    "pairwise_dot_similarity",
    "pairwise_euclidean_similarity",
    "pairwise_manhattan_similarity",
    "quantize_embeddings",
    "read_examples",
    "topk",
    "train",
    "util",
]

# Imported when asked for: a search should start at once.
LATER = {"read_examples": "training_files", "train": "training", "util": "util"}


def __getattr__(name: str) -> Any:
    """Import what only some need."""
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{LATER[name]}")
    return module if name == LATER[name] else getattr(module, name)
