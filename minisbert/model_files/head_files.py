"""Read a cross-encoder's head from a directory: its configuration and its weights.

The directory is Hugging Face's for sequence classification: config.json says how many labels there
are, and the checkpoint holds the head beside the network (see `network.heads`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minisbert.arguments import shorten
from minisbert.arrays import Array
from minisbert.model_files.class_paths import find_activation
from minisbert.model_files.configs import list_modules, read_bert_config, read_prompts
from minisbert.model_files.transformer_module import read_transformer
from minisbert.model_files.weights import check_tensors, find_tensors, load_tensors
from minisbert.network.families import FAMILIES
from minisbert.network.heads import CrossEncoderConfig, head_shapes
from minisbert.system.json_fields import FRACTION, OBJECT, SIZE, Fields, Rule, read_fields
from minisbert.system.regular_files import shorten_path

_LABELS = Rule(
    "an object of one or more labels", lambda value: isinstance(value, dict) and len(value) > 0
)


def read_cross_encoder_config(directory: Path, num_labels: int | None = None) -> CrossEncoderConfig:
    """Read the configuration of a directory for sequence classification.

    The activation is in one of three places, depending on the version that wrote the directory. If
    it is in none, it is the sigmoid for one label, and the identity for several.

    num_labels  the number of outputs, whatever the directory says, as for a new head; the directory
                may then be that of any BERT

    Raises FileNotFoundError, or ValueError naming the file and what is wrong in it.
    """
    directory = Path(directory)
    _check_modules(directory)
    bert = read_bert_config(directory / "config.json")
    fields = read_fields(directory / "config.json")
    labels = fields.find("id2label", _LABELS, None)
    # A new head may be put on a network that was saved for embeddings.
    tasks = ["sequence-classification", *["feature-extraction"] * bool(num_labels)]
    # transformers' default is two labels.
    own = len(labels) if labels else fields.find("num_labels", SIZE, 2)
    num_labels = num_labels or own
    # Versions from 5.4 on, from 4.0 on, and older ones write the activation in different places.
    newest = read_fields(directory / "config_sentence_transformers.json", missing_ok=True)
    described = os.path.lexists(directory / "modules.json")
    if not described:
        # Without modules.json sentence-transformers reads no file of its own.
        newest = Fields(newest.path, {})
    newer = Fields(fields.path, fields.find("sentence_transformers", OBJECT, {}))
    activation = (
        find_activation(newest, "activation_fn", scores=True)
        or find_activation(newer, "activation_fn", scores=True)
        or find_activation(fields, "sbert_ce_default_activation_function", scores=True)
        or ("sigmoid" if num_labels == 1 else "identity")
    )
    prompts, default_prompt_name = read_prompts(newest)
    family = FAMILIES[bert.model_type]
    dropout = family.fields.get("classifier_dropout", "classifier_dropout")
    default_dropout = family.defaults.get("classifier_dropout", bert.hidden_dropout_prob)
    max_length, do_lower_case = read_transformer(directory, bert, *tasks, described=described)
    return CrossEncoderConfig(
        bert=bert,
        num_labels=num_labels,
        activation=activation,
        classifier_dropout=float(fields.find(dropout, FRACTION, default_dropout)),
        max_length=max_length,
        do_lower_case=do_lower_case,
        labels=_name_outputs(labels or {}, num_labels),
        prompts=prompts,
        default_prompt_name=default_prompt_name,
    )


def _name_outputs(labels: Mapping[str, Any], num_labels: int) -> tuple[str, ...]:
    """Return what each output stands for; () if there are not as many names as outputs."""
    if len(labels) != num_labels:
        return ()
    return tuple(str(labels.get(str(number), f"LABEL_{number}")) for number in range(num_labels))


def _check_modules(directory: Path) -> None:
    """Check that nothing follows the network and its head, where modules.json says what does.

    A bi-encoder's pooling and what follows it are no part of a cross-encoder with a new head.
    """
    found = list_modules(directory)
    kinds = ["Transformer"] if found is None else [kind for kind, _ in found]
    if kinds != ["Transformer"] and kinds[:2] != ["Transformer", "Pooling"]:
        raise ValueError(
            f"modules in {shorten_path(directory / 'modules.json')} must be a Transformer alone, "
            f"got {shorten(', '.join(kinds))}; no other cross-encoder is supported"
        )


def load_head(
    directory: Path, config: CrossEncoderConfig, *, mapped: bool = True
) -> dict[str, Array]:
    """Read the head's parameters.

    Raises ValueError for a model without a head, or for a parameter of another shape.
    """
    return load_tensors(
        directory,
        FAMILIES[config.bert.model_type],
        head_shapes(config),
        remedy="give a directory for sequence classification, such as a cross-encoder's, pass "
        "num_labels= for a new head, or load a bi-encoder with SentenceTransformer",
        mapped=mapped,
    )


def has_head(directory: Path, labels: int | None = None) -> bool:
    """Return whether a directory has a trained head, if asked for with this number of outputs."""
    family = FAMILIES[read_bert_config(Path(directory) / "config.json").model_type]
    name = f"{family.head.output}.weight"
    classifier = find_tensors(directory, family, name).get(name)
    return classifier is not None and (labels is None or classifier.shape[:1] == (labels,))


def make_head(
    directory: Path, config: CrossEncoderConfig, seed: int, *, mapped: bool = True
) -> dict[str, Array]:
    """Return a head to be trained: the directory's own pooler, if it has one, all else random.

    Weights are drawn as BERT's were, from a normal distribution of standard deviation 0.02; biases
    are 0 (Devlin et al. 2019, their released code). Call this after the network's weights have
    confirmed the sizes in the configuration, which say how much is drawn.

    Raises ValueError for a pooler of another shape.
    """
    rng = np.random.default_rng(seed)
    shapes, family = head_shapes(config), FAMILIES[config.bert.model_type]
    found = find_tensors(directory, family, "pooler.", mapped=mapped)
    own = {name: shape for name, shape in shapes.items() if name in found}
    pooler = check_tensors({name: found[name] for name in own}, own, directory)
    head = {
        name: np.zeros(shape, np.float32)
        if name.endswith("bias")
        else rng.normal(0, 0.02, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    return head | pooler
