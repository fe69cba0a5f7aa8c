"""What a model directory says about itself, read into the dataclasses of `config.py`.

Both generations of the sentence-transformers format are read (up to 5.3, and from 5.4 on). Names of
classes in the files are looked up in tables here; nothing named in a file is ever imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from minisbert.network.config import (
    BertConfig,
    DenseConfig,
    ModelConfig,
    NormalizeConfig,
    PoolingConfig,
)
from minisbert.network.families import FAMILIES
from minisbert.system.json_fields import (
    COUNT,
    FLAG,
    FRACTION,
    REQUIRED,
    SIZE,
    TEXT,
    TEXTS,
    Fields,
    Rule,
    at_least,
    check_relative,
    one_of,
    read_fields,
    read_json,
    shorten,
)

logger = logging.getLogger(__name__)

# The special tokens at both ends, and one token of the text.
LEAST_LENGTH = 3

HIDDEN_ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish")

# A number of blocks beyond all reason would fill the memory with names of parameters.
BLOCKS = Rule("a whole number from 1 to 1000", lambda value: SIZE.accepts(value) and value <= 1000)


def read_bert_config(path: Path) -> BertConfig:
    """Read a Hugging Face config.json of any family.

    Raises FileNotFoundError, or ValueError naming the field that is missing, impossible, or of a
    network that is not supported.
    """
    fields = read_fields(Path(path))
    model_type = fields.find("model_type", one_of(*FAMILIES))
    family = FAMILIES[model_type]
    for name, value in family.supported.items():
        fields.find(name, one_of(value), value)

    def find(name: str, rule: Rule, default: Any = REQUIRED) -> Any:
        if name in family.fixed:
            return family.fixed[name]
        return fields.find(family.fields.get(name, name), rule, default)

    H = find("num_attention_heads", SIZE)
    multiple = Rule(
        f"a positive multiple of {family.fields.get('num_attention_heads', 'num_attention_heads')}"
        f", {H}",
        lambda value: SIZE.accepts(value) and value % H == 0,
    )
    D = find("hidden_size", multiple)
    padding = find("pad_token_id", COUNT, family.padding)
    offset = 0 if family.padding is None else padding + 1
    return BertConfig(
        model_type=model_type,
        vocab_size=find("vocab_size", SIZE),
        embedding_size=find("embedding_size", SIZE) if family.shared_blocks else D,
        hidden_size=D,
        num_hidden_layers=find("num_hidden_layers", BLOCKS),
        num_attention_heads=H,
        intermediate_size=find("intermediate_size", SIZE),
        hidden_act=find("hidden_act", one_of(*HIDDEN_ACTIVATIONS)),
        layer_norm_eps=float(find("layer_norm_eps", FRACTION)),
        max_position_embeddings=find("max_position_embeddings", at_least(offset + LEAST_LENGTH)),
        position_offset=offset,
        type_vocab_size=find("type_vocab_size", SIZE),
        pad_token_id=padding,
        hidden_dropout_prob=float(find("hidden_dropout_prob", FRACTION, 0.1)),
        attention_probs_dropout_prob=float(find("attention_probs_dropout_prob", FRACTION, 0.1)),
        variant=family,
    )


SIMILARITY_NAMES = ("cosine", "dot", "euclidean", "manhattan")


def read_model_config(directory: Path) -> ModelConfig:
    """Read all that a sentence-transformers directory says, in either generation of its format.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong in it.
    """
    directory = Path(directory)
    fields = read_fields(directory / "config_sentence_transformers.json", missing_ok=True)
    own = one_of("SentenceTransformer", advice="this directory is for the class that it names")
    fields.find("model_type", own, None)
    transformer_path, pooling, modules = _read_modules(directory)
    bert = read_bert_config(directory / transformer_path / "config.json")
    _check_widths(directory, bert.hidden_size * len(pooling.modes), modules)
    max_seq_length, do_lower_case = read_transformer(
        directory / transformer_path, bert, "feature-extraction"
    )
    prompts = {"query": "", "document": "", **fields.find("prompts", TEXTS, {})}
    prompt_name = Rule("the name of one of its prompts", lambda value: value in list(prompts))
    return ModelConfig(
        bert=bert,
        transformer_path=transformer_path,
        max_seq_length=max_seq_length,
        do_lower_case=do_lower_case,
        pooling=pooling,
        modules=modules,
        prompts=prompts,
        default_prompt_name=fields.find("default_prompt_name", prompt_name, None),
        similarity_fn_name=fields.find("similarity_fn_name", one_of(*SIMILARITY_NAMES), "cosine"),
        truncate_dim=fields.find("truncate_dim", SIZE, None),
    )


# The Transformer module's own file; its name follows the class that once wrote it.
TRANSFORMER_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

# Not only whole numbers: where there is no limit, 1e30 may stand for it.
LENGTH = Rule(
    f"a number of {LEAST_LENGTH} or more",
    lambda value: type(value) in (int, float) and value >= LEAST_LENGTH,
)


def read_transformer(folder: Path, bert: BertConfig, *tasks: str) -> tuple[int, bool]:
    """The most tokens of a text, and whether it is lower-cased before the tokenizer sees it.

    `tasks` are what the network may be for, where the directory says so (from 5.4 on).
    The limit is what the module says, else the tokenizer's model_max_length (at times a huge
    number that means none), but never beyond the network's positions. The tokenizer's "max_length"
    is left alone: it is stale in many directories.
    """
    present = [name for name in TRANSFORMER_FILES if (folder / name).exists()]
    fields = read_fields(folder / (present or TRANSFORMER_FILES)[0], missing_ok=True)
    fields.find("transformer_task", one_of(*tasks), None)
    usable = bert.max_position_embeddings - bert.position_offset
    limit = fields.find("max_seq_length", LENGTH, None)
    if limit is None:
        options = read_fields(folder / "tokenizer_config.json", missing_ok=True)
        limit = options.find("model_max_length", LENGTH, usable)
    return int(min(limit, usable)), fields.find("do_lower_case", FLAG, False)


MODULE_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
MODULE_TYPE = Rule(
    f"a path that ends in {', '.join(MODULE_KINDS)}",
    lambda value: isinstance(value, str) and value.rpartition(".")[2] in MODULE_KINDS,
    "no other module is supported, and none is ever imported",
)


def _read_modules(
    directory: Path,
) -> tuple[str, PoolingConfig, tuple[DenseConfig | NormalizeConfig, ...]]:
    """Return the Transformer module's folder, the pooling, and the modules after it, in order."""
    path = directory / "modules.json"
    if not path.exists():
        read_fields(directory / "config.json")  # else it is no model directory at all
        logger.warning("%s has no modules.json: mean pooling is assumed", directory)
        return "", PoolingConfig(("mean",)), ()
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(
            f"{path} must hold a JSON list of objects, got {shorten(entries)}; "
            "fetch the model again"
        )
    found = sorted(
        (
            fields.find("idx", COUNT),
            fields.find("type", MODULE_TYPE).rpartition(".")[2],
            check_relative(fields.find("path", TEXT), path),
        )
        for fields in (Fields(path, entry) for entry in entries)
    )
    kinds = [kind for _, kind, _ in found]
    if kinds[:2] != ["Transformer", "Pooling"] or not {*kinds[2:]} <= {"Dense", "Normalize"}:
        raise ValueError(
            f"modules in {path} must be a Transformer, a Pooling, then only Dense and Normalize, "
            f"got {shorten(', '.join(kinds))}; other models are not supported"
        )
    folders = [folder for _, _, folder in found]
    readers: dict[str, Callable[[Path, str], DenseConfig | NormalizeConfig]] = {
        "Dense": _read_dense,
        "Normalize": _read_normalize,
    }
    modules = tuple(readers[kind](directory, folder) for _, kind, folder in found[2:])
    return folders[0], _read_pooling(directory, folders[1]), modules


# The flags of the old format, in the order in which several are concatenated, and the new names.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLING_MODES = Rule(
    f"one or a list of {', '.join(POOLING_FLAGS.values())}",
    lambda value: (
        bool(value)
        and all(
            mode in POOLING_FLAGS.values()
            for mode in (value if isinstance(value, list) else [value])
        )
    ),
    "anything else is not supported",
)


def _read_pooling(directory: Path, folder: str) -> PoolingConfig:
    fields = read_fields(directory / folder / "config.json")
    flagged = [mode for flag, mode in POOLING_FLAGS.items() if fields.find(flag, FLAG, False)]
    modes = fields.find("pooling_mode", POOLING_MODES, flagged or "mean")
    modes = [modes] if isinstance(modes, str) else modes
    return PoolingConfig(tuple(modes), fields.find("include_prompt", FLAG, True))


# The last part of the torch path that a Dense module names its activation by.
DENSE_ACTIVATIONS = {
    "Tanh": "tanh",
    "Identity": "identity",
    "ReLU": "relu",
    "GELU": "gelu",
    "Sigmoid": "sigmoid",
}


def torch_path(names: Collection[str]) -> Rule:
    """The rule of a field that names an activation by its path in torch."""
    return Rule(
        f"a path in torch that ends in {', '.join(names)}",
        lambda value: (
            isinstance(value, str)
            and value.startswith("torch.")
            and value.rpartition(".")[2] in names
        ),
        "no other activation is supported, and none is ever imported",
    )


def _read_dense(directory: Path, folder: str) -> DenseConfig:
    fields = read_fields(directory / folder / "config.json")
    _check_sentence_module(fields)
    fields.find("use_residual", one_of(False), False)
    activation = fields.find("activation_function", torch_path(DENSE_ACTIVATIONS), "Tanh")
    return DenseConfig(
        in_features=fields.find("in_features", SIZE),
        out_features=fields.find("out_features", SIZE),
        bias=fields.find("bias", FLAG, True),
        activation=DENSE_ACTIVATIONS[activation.rpartition(".")[2]],
        path=folder,
    )


def _read_normalize(directory: Path, folder: str) -> NormalizeConfig:
    # The old format has no such file, and a copied directory often not even the empty folder.
    _check_sentence_module(read_fields(directory / folder / "config.json", missing_ok=True))
    return NormalizeConfig()


def _check_sentence_module(fields: Fields) -> None:
    """A module after pooling must take and give the sentence vector, and nothing else."""
    for name in ("module_input_name", "module_output_name"):
        fields.find(name, one_of("sentence_embedding"), None)


def _check_widths(
    directory: Path, width: int, modules: tuple[DenseConfig | NormalizeConfig, ...]
) -> None:
    """Check that each Dense module takes what the module before it gives."""
    for module in modules:
        if isinstance(module, DenseConfig):
            if module.in_features != width:
                raise ValueError(
                    f"in_features in {directory / module.path / 'config.json'} must be {width}, "
                    f"the width of the module before it, got {module.in_features}; "
                    "the modules may be of different models"
                )
            width = module.out_features


def override_reading(config: ModelConfig, pooling: str | None, blocks: int | None) -> ModelConfig:
    """Read a network in another way than its directory says: other pooling, only the first blocks.

    Raises ValueError if there is no such pooling, the network has fewer blocks, or a Dense module
    can't take what the pooling gives.
    """
    L = config.bert.num_hidden_layers
    if blocks is not None:
        # Without blocks there is nothing to widen a narrow word table's rows for.
        least = int(config.bert.embedding_size != config.bert.hidden_size)
        if isinstance(blocks, bool) or not isinstance(blocks, int) or not least <= blocks <= L:
            raise ValueError(
                f"blocks must be a whole number from {least} to {L}, got {blocks!r}; "
                f"the network has {L} blocks"
            )
        config = replace(config, bert=replace(config.bert, num_hidden_layers=blocks))
    if pooling is not None:
        if pooling not in POOLING_FLAGS.values():
            raise ValueError(
                f"pooling must be one of {', '.join(POOLING_FLAGS.values())}, got {pooling!r}; "
                "leave it out for the model's own"
            )
        own = config.pooling
        if len(own.modes) > 1 and any(isinstance(module, DenseConfig) for module in config.modules):
            raise ValueError(
                f"pooling must be the model's own, {' and '.join(own.modes)}, since a Dense module "
                f"follows that takes all of it, got {pooling!r}; leave it out"
            )
        config = replace(config, pooling=replace(own, modes=(pooling,)))
    return config
