"""Write model directories: sentence-transformers' layout, and Hugging Face's for cross-encoders.

Fields have the oldest spelling, which the newest versions still read: sentence-transformers reads
these directories from 2.2 on, and a Dense module from 3.1 on (older versions read its weights only
from a pickle). A field that old versions don't know is written only where the model needs it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import indent
from typing import Any

from minisbert.arguments import check_texts, shorten_name, shorten_names
from minisbert.arrays import Array
from minisbert.model_files.class_paths import TORCH_ACTIVATIONS, make_torch_path
from minisbert.model_files.configs import POOLING_FLAGS, read_bert_config
from minisbert.model_files.tokenizers import TOKENIZER_FILES, describe_tokenizer
from minisbert.model_files.weights import WEIGHTS_FILE, load_pooler
from minisbert.network.config import (
    BertConfig,
    DenseConfig,
    ModelConfig,
    PoolingConfig,
    parameter_shapes,
)
from minisbert.network.families import FAMILIES
from minisbert.network.heads import CrossEncoderConfig, head_shapes
from minisbert.system.disk import write_directory, write_file
from minisbert.system.json_fields import read_fields
from minisbert.system.safetensors import write_safetensors

# Patterns of all names that a saved model may hold, for `disk.check_destination`.
MODEL_FILES = (
    *("README.md", "config.json", WEIGHTS_FILE, *TOKENIZER_FILES),
    *("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"),
    *("*_Pooling", "*_Dense", "*_Normalize"),
)


def save_sentence_transformer(
    destination: str | os.PathLike[str],
    source: Path,
    config: ModelConfig,
    *,
    parameters: Mapping[str, Array],
    made_by: str | None,
) -> None:
    """Write a bi-encoder as a directory, replacing an older model of that name.

    Parameters
    ----------
    destination : str or path
    source : path
        The directory whose tokenizer, config.json and pooler are copied.
    config : ModelConfig
    parameters : mapping of str to array
        The network's under BERT's names, a Dense module's as "{its path}.linear.weight" and
        "{its path}.linear.bias".
    made_by : str
        The command or call that made the model, for the README; None for no README.

    Raises
    ------
    FileExistsError
        If there is anything but an empty directory or a model under that name.
    ValueError
        If the network has no blocks.
    OSError
        If the directory can't be written; an older model there stays.
    """
    if not config.bert.num_hidden_layers:
        raise ValueError(
            "a model to save must have at least one block, got none; load it with blocks=1 or more"
        )
    source = Path(source) / config.transformer_path
    with write_directory(destination, WEIGHTS_FILE, MODEL_FILES) as directory:
        _copy_tokenizer(source, directory)
        _write_json(directory / "config.json", _describe_bert(source, config.bert, "Model"))
        # Embeddings don't need a pooler, but without one transformers makes a random one and warns.
        pooler = load_pooler(source, FAMILIES[config.bert.model_type])
        _write_weights(directory, _name_network(config.bert, parameters) | pooler)
        _write_json(
            directory / "sentence_bert_config.json",
            {"max_seq_length": config.max_seq_length, "do_lower_case": config.do_lower_case},
        )
        settings: dict[str, Any] = {
            "prompts": dict(config.prompts),
            "default_prompt_name": config.default_prompt_name,
            "similarity_fn_name": config.similarity_fn_name,
        }
        if config.truncate_dim is not None:
            settings["truncate_dim"] = config.truncate_dim
        _write_json(directory / "config_sentence_transformers.json", settings)
        _write_modules(directory, config, parameters)
        _write_readme(
            directory,
            "sentence-similarity",
            "Bi-encoder",
            what=f"Each text becomes one embedding; up to {config.max_seq_length} tokens are read. "
            f"Embeddings are compared by {config.similarity_fn_name} similarity.",
            made_by=made_by,
            call='SentenceTransformer("path of this directory").encode(["one text", "another"])',
        )


def save_cross_encoder(
    destination: str | os.PathLike[str],
    source: Path,
    config: CrossEncoderConfig,
    *,
    parameters: Mapping[str, Array],
    made_by: str | None,
    labels: Sequence[str] | None = None,
) -> None:
    """Write a cross-encoder as a directory for sequence classification.

    Parameters
    ----------
    destination : str or path
        As for `save_sentence_transformer`.
    source : path
        The directory whose tokenizer and config.json are copied; it may be a bi-encoder's.
    config : CrossEncoderConfig
    parameters : mapping of str to array
        The network's under BERT's names, and the head's, `heads.head_shapes`.
    made_by : str
    labels : sequence of str
        The names of the classes; by default the source's own, if it has as many.

    Raises
    ------
    FileExistsError, OSError
        As `save_sentence_transformer` does.
    ValueError
        If the labels are not one different name for each output of the head, or if a directory
        can't name the activation.
    """
    labels = None if labels is None else check_labels(labels, config.num_labels)
    if config.activation not in TORCH_ACTIVATIONS.values():
        raise ValueError(
            f"activation_fn must be one of {', '.join(TORCH_ACTIVATIONS.values())} in a model to "
            f"save, got {shorten_name(config.activation)}; set it to one that a directory can name"
        )
    source = Path(source)
    with write_directory(destination, WEIGHTS_FILE, MODEL_FILES) as directory:
        _copy_tokenizer(source, directory, config.do_lower_case)
        _limit_tokenizer(directory, config.max_length)
        content = _describe_bert(source, config.bert, "ForSequenceClassification")
        _name_labels(content, config.num_labels, labels)
        # Versions from 4.0 on read the first of these, older ones the second.
        activation = make_torch_path(config.activation)
        content["sentence_transformers"] = {"activation_fn": activation}
        content["sbert_ce_default_activation_function"] = activation
        _write_json(directory / "config.json", content)
        if config.prompts:
            # Only versions from 5.4 on put prompts in front of pairs. They read them from a file
            # of their layout, which needs these others; older versions ignore all of them.
            settings = {
                "model_type": "CrossEncoder",
                "prompts": dict(config.prompts),
                "default_prompt_name": config.default_prompt_name,
                "activation_fn": activation,
            }
            _write_json(directory / "config_sentence_transformers.json", settings)
            kind = "sentence_transformers.base.modules.transformer.Transformer"
            module = {"idx": 0, "name": "0", "path": "", "type": kind}
            _write_json(directory / "modules.json", [module])
            transformer = {
                "transformer_task": "sequence-classification",
                "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
                "module_output_name": "scores",
            }
            _write_json(directory / "sentence_bert_config.json", transformer)
        head = {name: parameters[name] for name in head_shapes(config)}
        weights = _name_network(config.bert, parameters) | head
        # A pooler belongs to the network, whose names have the family's prefix.
        prefix = FAMILIES[config.bert.model_type].prefix
        outside = ("classifier.", "pre_classifier.")
        _write_weights(
            directory,
            {
                name if name.startswith(outside) else prefix + name: array
                for name, array in weights.items()
            },
        )
        single = config.num_labels == 1
        _write_readme(
            directory,
            "text-ranking" if single else "text-classification",
            "Cross-encoder",
            what="Each pair of texts gets "
            f"{'one score' if single else f'scores for {config.num_labels} labels'}; "
            f"up to {config.max_length} tokens are read.",
            made_by=made_by,
            call='CrossEncoder("path of this directory").predict([("one text", "another")])',
        )


def check_labels(labels: Sequence[str], num_labels: int) -> tuple[str, ...]:
    """Return the names of the outputs of a head, if they are one different name for each.

    Raises TypeError if they are not an iterable of str, ValueError for another number of names.
    """
    labels = tuple(check_texts(labels, "labels"))
    if not len(labels) == len(set(labels)) == num_labels:
        raise ValueError(
            f"labels must be {num_labels} different names, got {shorten_names(labels)}; "
            "give each output of the head a name"
        )
    return labels


def _name_network(bert: BertConfig, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Return the network's parameters under its family's names, without the prefix."""
    return {
        FAMILIES[bert.model_type].name_in_checkpoint(name): parameters[name]
        for name in parameter_shapes(bert)
    }


def _describe_bert(source: Path, bert: BertConfig, kind: str) -> dict[str, Any]:
    """Return the source's config.json, changed only in the fields where the network differs."""
    path, family = source / "config.json", FAMILIES[bert.model_type]
    content = {**read_fields(path).content, "architectures": [family.architecture + kind]}
    content["model_type"] = bert.model_type  # the oldest files lack it
    own = asdict(read_bert_config(path))
    content |= {
        family.fields.get(name, name): value
        for name, value in asdict(bert).items()
        if value != own[name]
    }
    # The source's weights may have another type; transformers finds float32 in the file itself.
    for name in ("dtype", "torch_dtype"):
        content.pop(name, None)
    return content


def _name_labels(content: dict[str, Any], num_labels: int, labels: Sequence[str] | None) -> None:
    """Set the names of the classes in the content of config.json."""
    content.pop("num_labels", None)
    if labels is not None or len(content.get("id2label") or {}) != num_labels:
        labels = labels or [f"LABEL_{label}" for label in range(num_labels)]
        content["id2label"] = {str(label): name for label, name in enumerate(labels)}
        content["label2id"] = {name: label for label, name in enumerate(labels)}


def _copy_tokenizer(source: Path, directory: Path, lower_case: bool = False) -> None:
    """Write the source's tokenizer; `lower_case` is for layouts without another file for it."""
    for name, content in describe_tokenizer(source, lower_case).items():
        with write_file(directory / name) as file:
            file.write(content)


def _limit_tokenizer(directory: Path, max_length: int) -> None:
    """Write `max_length` into tokenizer_config.json, where CrossEncoder reads it."""
    path = directory / "tokenizer_config.json"
    options = read_fields(path, missing_ok=True).content
    if options.get("model_max_length") != max_length:
        _write_json(path, {**options, "model_max_length": max_length})


def _write_modules(directory: Path, config: ModelConfig, parameters: Mapping[str, Array]) -> None:
    """Write modules.json, and the folder of each module after the network."""
    entries = [_describe_module(0, "Transformer", "")]
    for index, module in enumerate((config.pooling, *config.modules), 1):
        kind = type(module).__name__.removesuffix("Config")
        folder = directory / f"{index}_{kind}"
        folder.mkdir()  # that of a Normalize module stays empty
        entries.append(_describe_module(index, kind, folder.name))
        if isinstance(module, PoolingConfig):
            _write_json(folder / "config.json", _describe_pooling(module, config.bert))
        elif isinstance(module, DenseConfig):
            _write_json(folder / "config.json", _describe_dense(module))
            names = ["linear.weight"] + ["linear.bias"] * module.bias
            _write_weights(folder, {name: parameters[f"{module.path}.{name}"] for name in names})
    _write_json(directory / "modules.json", entries)


def _describe_module(index: int, kind: str, path: str) -> dict[str, Any]:
    kind = f"sentence_transformers.models.{kind}"
    return {"idx": index, "name": str(index), "path": path, "type": kind}


def _describe_pooling(pooling: PoolingConfig, bert: BertConfig) -> dict[str, Any]:
    """Return a pooling's fields: a flag for each mode, or a list if the order is not the flags'.

    Flags have a fixed order. A model with another order can only come from a version that writes
    lists (5.4 and later); older versions refuse the list with an error.
    """
    content: dict[str, Any]
    if pooling.modes == tuple(mode for mode in POOLING_FLAGS.values() if mode in pooling.modes):
        content = {"word_embedding_dimension": bert.hidden_size}
        # Old versions know only the first four flags, and refuse the others even if false.
        for place, (flag, mode) in enumerate(POOLING_FLAGS.items()):
            if place < 4 or mode in pooling.modes:
                content[flag] = mode in pooling.modes
    else:
        content = {"embedding_dimension": bert.hidden_size, "pooling_mode": list(pooling.modes)}
    # Old versions don't know this flag either; true is what they do.
    if not pooling.include_prompt:
        content["include_prompt"] = False
    return content


def _describe_dense(dense: DenseConfig) -> dict[str, Any]:
    return {
        "in_features": dense.in_features,
        "out_features": dense.out_features,
        "bias": dense.bias,
        "activation_function": make_torch_path(dense.activation),
    }


def _write_weights(directory: Path, arrays: Mapping[str, Array]) -> None:
    # transformers refuses a file without a format in its metadata.
    write_safetensors(directory / WEIGHTS_FILE, arrays, {"format": "pt"})


def _write_json(path: Path, content: object) -> None:
    with write_file(path) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")


def _write_readme(
    directory: Path, task: str, title: str, *, what: str, made_by: str | None, call: str
) -> None:
    if made_by is None:
        return
    text = f"""\
---
library_name: sentence-transformers
pipeline_tag: {task}
tags:
- sentence-transformers
- {task}
---

# {title}

{what}

Made by:

{indent(made_by, "    ")}

Read by minisbert and by sentence-transformers:

    {call}
"""
    with write_file(directory / "README.md") as file:
        file.write(text.encode(errors="replace"))  # a command may hold bytes that are not UTF-8
