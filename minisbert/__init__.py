"""Sentence-BERT in NumPy and a few small C files.

The rooms, from top to bottom: nothing imports from a room above its own. Each room's `__init__.py`
lists its files in reading order (tests/test_architecture.py holds both). README.md says in which
order to read the core.

    __main__        the entry point of the command line
    command_line    parser, commands, demo
    __init__        the public names
    util            functions under sentence-transformers' names
    costs           what bi- and cross-encoders cost on this machine
    training        losses, optimizer, steps, runs, checkpoints
    evaluation      metrics, files of texts with gold scores or relevant documents
    cross_encoder   CrossEncoder: two texts in, one score out
    encoder         SentenceTransformer: texts in, embeddings out
    encoding        tokens, prompts, batches, streams
    binary_index    `search.binary_index` under its public name
    quantization    `search.quantization` under its public name
    mining          the nearest embeddings, paraphrases, communities, hard negatives
    search          the scan, its filters, the indexes
    model_files     a name, a directory, its files
    network         the mathematics: forward and backward
    system          disk, files, threads
    arguments       checks of arguments
    arrays          the types that every room uses
"""

from __future__ import annotations

from importlib import import_module

# As in typing, which takes as long to import as all else that the command line needs before it is
# ready for Ctrl-C.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from minisbert import util
    from minisbert.arguments import TruncationWarning
    from minisbert.cross_encoder import CrossEncoder
    from minisbert.encoder import SentenceTransformer
    from minisbert.mining.hard_negatives import mine_hard_negatives
    from minisbert.network.comparisons import (
        SimilarityFunction,
        cosine_similarity,
        dot_similarity,
        euclidean_similarity,
        manhattan_similarity,
        pairwise_angle_similarity,
        pairwise_cosine_similarity,
        pairwise_dot_similarity,
        pairwise_euclidean_similarity,
        pairwise_manhattan_similarity,
    )
    from minisbert.search.binary_index import BinaryIndex
    from minisbert.search.flat_index import FlatIndex
    from minisbert.search.quantization import quantize_embeddings
    from minisbert.search.scan import topk
    from minisbert.search.text_index import TextIndex
    from minisbert.training.examples import InputExample, read_examples
    from minisbert.training.loop import train

__version__ = "0.1.0"

__all__ = [
    "BinaryIndex",
    "CrossEncoder",
    "FlatIndex",
    "InputExample",
    "SentenceTransformer",
    "SimilarityFunction",
    "TextIndex",
    "TruncationWarning",
    "__version__",
    "cosine_similarity",
    "dot_similarity",
    "euclidean_similarity",
    "manhattan_similarity",
    "mine_hard_negatives",
    "pairwise_angle_similarity",
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

# Imported on first use, so that a program that uses one part need not wait for the others, and that
# the command line is ready for Ctrl-C before NumPy is loaded.
_PLACES = {
    **{"SentenceTransformer": "encoder", "CrossEncoder": "cross_encoder", "topk": "search.scan"},
    **{"FlatIndex": "search.flat_index", "BinaryIndex": "search.binary_index"},
    **{"TextIndex": "search.text_index", "quantize_embeddings": "search.quantization"},
    **{"InputExample": "training.examples", "read_examples": "training.examples"},
    **{"TruncationWarning": "arguments", "train": "training.loop"},
    "mine_hard_negatives": "mining.hard_negatives",
    "SimilarityFunction": "network.comparisons",
}


def __getattr__(name: str) -> Any:
    """Import a public name, or a module of this package, on its first use."""
    place = _PLACES.get(name, name)
    if name.endswith("_similarity"):
        place = "network.comparisons"
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{place}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    found = module if place == name else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
