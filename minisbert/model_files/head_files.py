"""The head of a cross-encoder in a directory: what is said of it, and its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minisbert.arrays import Array
from minisbert.model_files.configs import (
    DENSE_ACTIVATIONS,
    read_bert_config,
    read_transformer,
    torch_path,
)
from minisbert.model_files.weights import find_tensor, load_pooler, load_tensors
from minisbert.network.families import FAMILIES
from minisbert.network.heads import CrossEncoderConfig, head_shapes
from minisbert.system.json_fields import FRACTION, SIZE, Fields, Rule, one_of, read_fields

# Scores may also be weights over the labels.
SCORE_ACTIVATIONS = {**DENSE_ACTIVATIONS, "Softmax": "softmax"}


LABELS = Rule(
    "an object of one or more labels", lambda value: isinstance(value, dict) and len(value) > 0
)


OBJECT = Rule("an object", lambda value: isinstance(value, dict))


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
    dropout = FAMILIES[bert.model_type].fields.get("classifier_dropout", "classifier_dropout")
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


def load_head(directory: Path, config: CrossEncoderConfig) -> dict[str, Array]:
    """Read the head's parameters.

    Raises ValueError for a model without a head, naming the remedy, or for a misshapen parameter.
    """
    return load_tensors(
        directory,
        FAMILIES[config.bert.model_type],
        head_shapes(config),
        "give a directory for sequence classification, such as a cross-encoder's; "
        "a bi-encoder is for SentenceTransformer",
    )


def has_head(directory: Path, labels: int) -> bool:
    """Tell whether a directory has a trained head with so many outputs."""
    family = FAMILIES[read_bert_config(Path(directory) / "config.json").model_type]
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
    pooler = load_pooler(directory, FAMILIES[config.bert.model_type])
    return head | {name: pooler[name] for name in pooler if name in head}
