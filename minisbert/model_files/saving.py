"""Model directories, written: the sentence-transformers layout, and that for pairs of texts.

All is spelled as the oldest readers want it, which the newest still read: sentence-transformers
from 2.2 on, with a Dense module from 3.1 on (earlier versions read that only as a pickle). What an
old version does not know is written only where the model needs it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import indent
from typing import Any

from minisbert.arrays import Array
from minisbert.model_files.configs import POOLING_FLAGS, read_bert_config
from minisbert.model_files.head_files import SCORE_ACTIVATIONS
from minisbert.model_files.tokenizers import SENTENCEPIECE_FILES
from minisbert.model_files.weights import load_pooler
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

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    *SENTENCEPIECE_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)

WEIGHTS = "model.safetensors"

# All that may stand in a directory that is replaced, as `directories.check_destination` takes it.
MODEL_FILES = (
    *("README.md", "config.json", WEIGHTS, *TOKENIZER_FILES),
    *("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"),
    *("*_Pooling", "*_Dense", "*_Normalize"),
)

# The activations that a directory can name, and the paths that it names them by.
TORCH_PATHS = {
    name: f"torch.nn.modules.{'linear' if name == 'identity' else 'activation'}.{torch_name}"
    for torch_name, name in SCORE_ACTIVATIONS.items()
}


def save_sentence_transformer(
    destination: str | os.PathLike[str],
    source: Path,
    config: ModelConfig,
    parameters: Mapping[str, Array],
    made_by: str,
) -> None:
    """Write a bi-encoder; an older model under that name is replaced.

    Parameters
    ----------
    destination : str or path
    source : path
        The directory whose tokenizer, config.json and pooler are taken over.
    config : ModelConfig
    parameters : mapping of str to array
        The network's under BERT's names, a Dense module's as "{its path}.linear.weight" and
        "{its path}.linear.bias".
    made_by : str
        The command or call, for the README.

    Raises
    ------
    FileExistsError
        If there is anything but an empty directory or a model under that name.
    ValueError
        If the network has no blocks.
    OSError
        If the disk is full, ...; what stood there stays.
    """
    if not config.bert.num_hidden_layers:
        raise ValueError(
            "a model to save must have at least one block, got none, which no directory can say; "
            "load it with blocks=1 or more"
        )
    source = Path(source) / config.transformer_path
    with write_directory(destination, WEIGHTS, MODEL_FILES) as directory:
        _copy_tokenizer(source, directory)
        _write_json(directory / "config.json", _describe_bert(source, config.bert, "Model"))
        # Embeddings don't need the pooler, but transformers makes up a missing one, and warns.
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
            f"Each text, up to {config.max_seq_length} tokens of it, becomes one embedding; "
            f"two embeddings are compared by {config.similarity_fn_name} similarity.",
            made_by,
            'SentenceTransformer("path of this directory").encode(["one text", "another"])',
        )


def save_cross_encoder(
    destination: str | os.PathLike[str],
    source: Path,
    config: CrossEncoderConfig,
    parameters: Mapping[str, Array],
    made_by: str,
    labels: Sequence[str] | None = None,
) -> None:
    """Write a cross-encoder as a directory for sequence classification.

    Parameters
    ----------
    destination : str or path
        As for `save_sentence_transformer`.
    source : path
        The directory whose tokenizer and config.json are taken over; it may be a bi-encoder's.
    config : CrossEncoderConfig
    parameters : mapping of str to array
        The network's under BERT's names, and the head's, `heads.head_shapes`.
    made_by : str
    labels : sequence of str
        The names of the classes; the source's own if left out, where it has as many.

    Raises
    ------
    FileExistsError, OSError
        As `save_sentence_transformer` does.
    ValueError
        If the labels are not as many different names as the head has outputs, or the activation is
        none that a directory can name.
    """
    if labels is not None and not len(labels) == len(set(labels)) == config.num_labels:
        raise ValueError(
            f"labels must be {config.num_labels} different names, got {', '.join(labels)}; "
            "name each output of the head once"
        )
    if config.activation not in TORCH_PATHS:
        raise ValueError(
            f"activation_fn must be one of {', '.join(TORCH_PATHS)} to be saved, "
            f"got {config.activation}; a directory can name no other"
        )
    source = Path(source)
    with write_directory(destination, WEIGHTS, MODEL_FILES) as directory:
        _copy_tokenizer(source, directory)
        _limit_tokenizer(directory, config.max_length)
        content = _describe_bert(source, config.bert, "ForSequenceClassification")
        _name_labels(content, config.num_labels, labels)
        # where versions from 4.0 on look for the activation, and where those before do
        content["sentence_transformers"] = {"activation_fn": TORCH_PATHS[config.activation]}
        content["sbert_ce_default_activation_function"] = TORCH_PATHS[config.activation]
        _write_json(directory / "config.json", content)
        if config.do_lower_case:
            # This layout has no place for it, but minisbert looks for it here all the same.
            _write_json(directory / "sentence_bert_config.json", {"do_lower_case": True})
        head = {name: parameters[name] for name in head_shapes(config)}
        weights = _name_network(config.bert, parameters) | head
        # What belongs to the network, and a pooler does, stands under its prefix.
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
            f"Each pair of texts, up to {config.max_length} tokens together, gets "
            f"{'one score' if single else f'scores for {config.num_labels} labels'}.",
            made_by,
            'CrossEncoder("path of this directory").predict([("one text", "another")])',
        )


def _name_network(bert: BertConfig, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """The network's parameters under its family's names."""
    return {
        FAMILIES[bert.model_type].name_in_checkpoint(name): parameters[name]
        for name in parameter_shapes(bert)
    }


def _describe_bert(source: Path, bert: BertConfig, kind: str) -> dict[str, Any]:
    """The source's config.json, changed only where the network is another."""
    path, family = source / "config.json", FAMILIES[bert.model_type]
    content = {**read_fields(path).content, "architectures": [family.architecture + kind]}
    own = asdict(read_bert_config(path))
    content |= {
        family.fields.get(name, name): value
        for name, value in asdict(bert).items()
        if value != own[name]
    }
    # The source's type of numbers; ours are float32, and transformers sees that in the file.
    for name in ("dtype", "torch_dtype"):
        content.pop(name, None)
    return content


def _name_labels(content: dict[str, Any], num_labels: int, labels: Sequence[str] | None) -> None:
    """Put the classes into config.json, whose number tells how many outputs the head has."""
    content.pop("num_labels", None)
    if labels is not None or len(content.get("id2label") or {}) != num_labels:
        labels = labels or [f"LABEL_{label}" for label in range(num_labels)]
        content["id2label"] = {str(label): name for label, name in enumerate(labels)}
        content["label2id"] = {name: label for label, name in enumerate(labels)}


def _copy_tokenizer(source: Path, directory: Path) -> None:
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            with write_file(directory / name) as file:
                file.write((source / name).read_bytes())


def _limit_tokenizer(directory: Path, max_length: int) -> None:
    """Say the most tokens of a pair where CrossEncoder looks for it."""
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
    """A flag for each way of pooling, or a list where flags can't tell their order.

    Flags stand for a fixed order. A model with another one can only come from a version that has
    lists (5.4 and later), and older ones could not run it: they refuse a list, loudly.
    """
    content: dict[str, Any]
    if pooling.modes == tuple(mode for mode in POOLING_FLAGS.values() if mode in pooling.modes):
        content = {"word_embedding_dimension": bert.hidden_size}
        # Versions that know only the first four flags refuse the others, even as false.
        for place, (flag, mode) in enumerate(POOLING_FLAGS.items()):
            if place < 4 or mode in pooling.modes:
                content[flag] = mode in pooling.modes
    else:
        content = {"embedding_dimension": bert.hidden_size, "pooling_mode": list(pooling.modes)}
    # Likewise: true is what they do anyway.
    if not pooling.include_prompt:
        content["include_prompt"] = False
    return content


def _describe_dense(dense: DenseConfig) -> dict[str, Any]:
    return {
        "in_features": dense.in_features,
        "out_features": dense.out_features,
        "bias": dense.bias,
        "activation_function": TORCH_PATHS[dense.activation],
    }


def _write_weights(directory: Path, arrays: Mapping[str, Array]) -> None:
    # transformers refuses a file that does not say where its layout comes from
    write_safetensors(directory / WEIGHTS, arrays, {"format": "pt"})


def _write_json(path: Path, content: object) -> None:
    with write_file(path) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")


def _write_readme(
    directory: Path, task: str, title: str, what: str, made_by: str, call: str
) -> None:
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
        file.write(text.encode(errors="replace"))  # a command may hold bytes that are no text
