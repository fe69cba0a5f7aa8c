"""The classification head of a cross-encoder: what a directory says of it, its weights, its layers.

A Hugging Face directory for sequence classification holds a network and two dense layers on its
first token, with an activation between them: a *pooler* with tanh and a *classifier* with one
output a label in BERT's case, and other names or another activation in other families'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minisbert.network.activations import ACTIVATIONS
from minisbert.network.config import BertConfig
from minisbert.model_files.configs import DENSE_ACTIVATIONS, read_bert_config, read_transformer, torch_path
from minisbert.system.json_fields import FRACTION, SIZE, Fields, Rule, one_of, read_fields
from minisbert.network.layers import (
    dropout_backward,
    dropout_forward,
    linear_backward,
    linear_forward,
)
from minisbert.network.ragged import Array, Cache
from minisbert.model_files.weights import find_tensor, load_pooler, load_tensors

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
    dropout = bert.family.fields.get("classifier_dropout", "classifier_dropout")
    tasks = ("feature-extraction",) if fresh_labels else ()
    max_length, do_lower_case = read_transformer(directory, bert, "sequence-classification", *tasks)
    return CrossEncoderConfig(
        bert=bert,
        num_labels=num_labels,
        activation=SCORE_ACTIVATIONS[activation.rpartition(".")[2]],
        classifier_dropout=float(fields.find(dropout, FRACTION, bert.hidden_dropout_prob)),
        max_length=max_length,
        do_lower_case=do_lower_case,
    )


def head_shapes(config: CrossEncoderConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of the head and its shape, under its family's own names."""
    D, labels, head = config.bert.hidden_size, config.num_labels, config.bert.family.head
    return {
        f"{head.dense}.weight": (D, D),
        f"{head.dense}.bias": (D,),
        f"{head.output}.weight": (labels, D),
        f"{head.output}.bias": (labels,),
    }


def load_head(directory: Path, config: CrossEncoderConfig) -> dict[str, Array]:
    """Read the head's parameters.

    Raises ValueError for a model without a head, naming the remedy, or for a misshapen parameter.
    """
    return load_tensors(
        directory,
        config.bert.family,
        head_shapes(config),
        "give a directory for sequence classification, such as a cross-encoder's; "
        "a bi-encoder is for SentenceTransformer",
    )


def has_head(directory: Path, labels: int) -> bool:
    """Tell whether a directory has a trained head with so many outputs."""
    family = read_bert_config(Path(directory) / "config.json").family
    classifier = find_tensor(directory, f"{family.head.output}.weight")
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
    pooler = load_pooler(directory, config.bert.family)
    return head | {name: pooler[name] for name in pooler if name in head}


def head_forward(
    first: Array,
    parameters: Mapping[str, Array],
    config: CrossEncoderConfig,
    cache: Cache = None,
    rng: np.random.Generator | None = None,
) -> Array:
    """Turn the vectors of first tokens into logits.  (B, D) -> (B, labels)"""
    head, rate = config.bert.family.head, config.classifier_dropout

    def linear(name: str, x: Array) -> Array:
        return linear_forward(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"], cache)

    # 1. the dense layer
    first = dropout_forward(first, rate if head.drops_input else 0.0, rng, cache)
    pooled = ACTIVATIONS[head.activation].forward(linear(head.dense, first), cache)
    # 2. an output for each label
    return linear(head.output, dropout_forward(pooled, rate, rng, cache))


def head_backward(
    dlogits: Array, config: CrossEncoderConfig, cache: list[Any], gradients: dict[str, Any]
) -> Array:
    """Write the gradients of the head; return that of the first tokens.  (B, labels) -> (B, D)"""
    head = config.bert.family.head

    def linear(name: str, dout: Array) -> Array:
        dweight, dbias = gradients[f"{name}.weight"], gradients[f"{name}.bias"]
        return linear_backward(dout, cache, dweight, dbias)[0]

    # 2.
    dpooled = dropout_backward(linear(head.output, dlogits), cache)
    # 1.
    dfirst = linear(head.dense, ACTIVATIONS[head.activation].backward(dpooled, cache))
    return dropout_backward(dfirst, cache)
