"""The classification head of a cross-encoder: what a directory says of it, its weights, its layers.

A Hugging Face directory for sequence classification holds a BERT, a *pooler* (a dense layer with
tanh on the first token) and a *classifier* (a dense layer with one output a label).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minisbert.activations import tanh_backward, tanh_forward
from minisbert.config import BertConfig
from minisbert.config_files import DENSE_ACTIVATIONS, read_bert_config, read_transformer, torch_path
from minisbert.json_fields import FRACTION, SIZE, Fields, Rule, one_of, read_fields
from minisbert.layers import (
    dropout_backward,
    dropout_forward,
    linear_backward,
    linear_forward,
)
from minisbert.ragged import Array, Cache
from minisbert.weights import find_tensor, load_pooler, load_tensors

# Scores may also be weights over the labels.
SCORE_ACTIVATIONS = {**DENSE_ACTIVATIONS, "Softmax": "softmax"}

LABELS = Rule(
    "an object of one or more labels", lambda value: isinstance(value, dict) and len(value) > 0
)
OBJECT = Rule("an object", lambda value: isinstance(value, dict))


@dataclass(frozen=True)
class CrossEncoderConfig:
    """A whole sequence-classification directory; `activation` is a value of SCORE_ACTIVATIONS."""

    bert: BertConfig
    num_labels: int
    activation: str
    classifier_dropout: float
    max_length: int
    do_lower_case: bool


def read_cross_encoder_config(
    directory: Path, fresh_labels: int | None = None
) -> CrossEncoderConfig:
    """Read what a sequence-classification directory says.

    With `fresh_labels`, the number of outputs of a head that is yet to be trained, it may be any
    BERT's directory. The activation stands in one of three places, by the version that wrote it;
    where it stands in none it is the logistic function for one label, and none for several.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong in it.
    """
    directory = Path(directory)
    bert = read_bert_config(directory / "config.json")
    fields = read_fields(directory / "config.json")
    labels = fields.find("id2label", LABELS, None)
    # transformers takes two labels where nothing is said.
    own = len(labels) if labels else fields.find("num_labels", SIZE, 2)
    num_labels = fresh_labels or own
    newest = read_fields(directory / "config_sentence_transformers.json", missing_ok=True)
    newer = Fields(fields.path, fields.find("sentence_transformers", OBJECT, {}))
    path = torch_path(SCORE_ACTIVATIONS)
    activation = (
        newest.find("activation_fn", path, None)
        or newer.find("activation_fn", path, None)
        or fields.find("sbert_ce_default_activation_function", path, None)
        or ("Sigmoid" if num_labels == 1 else "Identity")
    )
    newest.find("default_prompt_name", one_of(None), None)
    tasks = ("feature-extraction",) if fresh_labels else ()
    max_length, do_lower_case = read_transformer(directory, bert, "sequence-classification", *tasks)
    return CrossEncoderConfig(
        bert=bert,
        num_labels=num_labels,
        activation=SCORE_ACTIVATIONS[activation.rpartition(".")[2]],
        classifier_dropout=float(
            fields.find("classifier_dropout", FRACTION, bert.hidden_dropout_prob)
        ),
        max_length=max_length,
        do_lower_case=do_lower_case,
    )


def head_shapes(config: CrossEncoderConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of the head and its shape."""
    D, labels = config.bert.hidden_size, config.num_labels
    return {
        "pooler.dense.weight": (D, D),
        "pooler.dense.bias": (D,),
        "classifier.weight": (labels, D),
        "classifier.bias": (labels,),
    }


def load_head(directory: Path, config: CrossEncoderConfig) -> dict[str, Array]:
    """Read the head's parameters.

    Raises ValueError for a model without a head, naming the remedy, or for a misshapen parameter.
    """
    return load_tensors(
        directory,
        head_shapes(config),
        "give a directory for sequence classification, such as a cross-encoder's; "
        "a bi-encoder is for SentenceTransformer",
    )


def has_head(directory: Path, labels: int) -> bool:
    """Tell whether a directory has a trained head with so many outputs."""
    classifier = find_tensor(directory, "classifier.weight")
    return classifier is not None and len(classifier) == labels


def make_head(directory: Path, config: CrossEncoderConfig, seed: int) -> dict[str, Array]:
    """A head to be trained: the directory's own pooler, if it has one, and all else fresh.

    What is fresh is drawn as BERT's own weights were, from a normal distribution of width 0.02,
    biases 0 (Devlin et al. 2019, their released code).
    """
    rng = np.random.default_rng(seed)
    head = {
        name: np.zeros(shape, np.float32)
        if name.endswith("bias")
        else rng.normal(0, 0.02, shape).astype(np.float32)
        for name, shape in head_shapes(config).items()
    }
    pooler = load_pooler(directory)
    return head | {name: pooler[name] for name in pooler if name in head}


def head_forward(
    first: Array,
    parameters: Mapping[str, Array],
    dropout: float = 0.0,
    cache: Cache = None,
    rng: np.random.Generator | None = None,
) -> Array:
    """Turn the vectors of first tokens into logits.  (B, D) -> (B, labels)"""
    # 1. the pooler
    pooled = linear_forward(
        first, parameters["pooler.dense.weight"], parameters["pooler.dense.bias"], cache
    )
    pooled = tanh_forward(pooled, cache)
    # 2. the classifier
    pooled = dropout_forward(pooled, dropout, rng, cache)
    return linear_forward(
        pooled, parameters["classifier.weight"], parameters["classifier.bias"], cache
    )


def head_backward(dlogits: Array, cache: list[Any], gradients: dict[str, Any]) -> Array:
    """Write the gradients of the head; return that of the first tokens.  (B, labels) -> (B, D)"""
    # 2.
    dpooled, _, _ = linear_backward(
        dlogits, cache, gradients["classifier.weight"], gradients["classifier.bias"]
    )
    dpooled = dropout_backward(dpooled, cache)
    # 1.
    dpooled = tanh_backward(dpooled, cache)
    dfirst, _, _ = linear_backward(
        dpooled, cache, gradients["pooler.dense.weight"], gradients["pooler.dense.bias"]
    )
    return dfirst
