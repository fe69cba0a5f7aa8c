"""Turn texts into token ids and batches into embeddings; load, stream and explain.

In reading order; a file imports only from those before it:

    long_texts         the part of a long text that has to be tokenised
    tokenization       texts to token ids
    prompts            texts put in front of every input
    batching           batches of texts of similar length, run on several threads
    finishing          embeddings truncated, scaled to length 1, quantised
    signatures         types of `encode` and `predict`, for type checkers only
    drop_in            arguments that code for sentence-transformers passes
    module_methods     methods that such code calls on a model, as on a torch module
    loaded_model       what bi-encoders and cross-encoders share: loading, parameters, saving
    embedding_methods  what a bi-encoder offers beside `encode`: similarities, widths
    score_activations  from a cross-encoder's logits to scores
    streaming          embeddings of more texts than fit in memory
    heat_map           a matrix of numbers between tokens, in a terminal or as a picture
    explain            a similarity as a sum over pairs of tokens
"""

from minisbert.encoding.batching import encode_once, fill_rows
from minisbert.encoding.explain import Explanation
from minisbert.encoding.finishing import normalize_embeddings, truncate_embeddings
from minisbert.encoding.loaded_model import LoadedModel
from minisbert.encoding.tokenization import TokenIds, Tokenizer

__all__ = [
    "Explanation",
    "LoadedModel",
    "TokenIds",
    "Tokenizer",
    "encode_once",
    "fill_rows",
    "normalize_embeddings",
    "truncate_embeddings",
]
