"""Read the JSON files of a model directory into the dataclasses of `network.config`.

Both generations of the sentence-transformers format are read (up to 5.3, and from 5.4 on).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from minisbert.arguments import check_choice, check_whole_number, shorten
from minisbert.model_files.class_paths import (
    MODULE_PATHS,
    MODULE_TYPE,
    find_activation,
    refuse_own_code,
)
from minisbert.model_files.transformer_module import LEAST_LENGTH, read_transformer
from minisbert.network.comparisons import SIMILARITIES
from minisbert.network.config import (
    BertConfig,
    DenseConfig,
    ModelConfig,
    NormalizeConfig,
    PoolingConfig,
)
from minisbert.network.families import DEFAULTS, FAMILIES
from minisbert.network.pooling import POOLINGS
from minisbert.system.json_fields import (
    COUNT,
    FLAG,
    FRACTION,
    REQUIRED,
    SIZE,
    STRING,
    STRINGS,
    Fields,
    Rule,
    at_least,
    check_relative,
    name_origin,
    one_of,
    read_fields,
    read_json,
)
from minisbert.system.regular_files import shorten_path

logger = logging.getLogger(__name__)

HIDDEN_ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish")

# Without a limit, an absurd number would fill the memory with names of parameters.
_BLOCKS = Rule("a whole number from 1 to 1000", lambda value: SIZE.accepts(value) and value <= 1000)


def read_bert_config(path: Path) -> BertConfig:
    """Read a Hugging Face config.json of any family; for a missing field take the family's default.

    Raises FileNotFoundError, or ValueError naming the field that is impossible, or of a network
    that is not supported.
    """
    fields = read_fields(Path(path))
    refuse_own_code(fields)
    guess = _guess_family(fields) if fields.content.get("model_type") is None else None
    model_type = fields.find("model_type", one_of(*FAMILIES), guess or REQUIRED)
    family = FAMILIES[model_type]
    for name, value in family.supported.items():
        fields.find(name, one_of(value), value)

    defaults = {**DEFAULTS, "pad_token_id": family.padding, **family.defaults}

    def find(name: str, rule: Rule) -> Any:
        if name in family.fixed:
            return family.fixed[name]
        default = defaults.get(name)
        if name in family.aliases:
            default = fields.find(name, rule, default)
        return fields.find(family.fields.get(name, name), rule, default)

    H = find("num_attention_heads", SIZE)
    multiple = Rule(
        f"a positive multiple of {family.fields.get('num_attention_heads', 'num_attention_heads')}"
        f", {H}",
        lambda value: SIZE.accepts(value) and value % H == 0,
    )
    D = find("hidden_size", multiple)
    padding = find("pad_token_id", COUNT)
    offset = 0 if family.padding is None else padding + 1
    return BertConfig(
        model_type=model_type,
        vocab_size=find("vocab_size", SIZE),
        embedding_size=find("embedding_size", SIZE) if family.shared_blocks else D,
        hidden_size=D,
        num_hidden_layers=find("num_hidden_layers", _BLOCKS),
        num_attention_heads=H,
        intermediate_size=find("intermediate_size", SIZE),
        hidden_act=find("hidden_act", one_of(*HIDDEN_ACTIVATIONS)),
        layer_norm_eps=float(find("layer_norm_eps", FRACTION)),
        max_position_embeddings=find("max_position_embeddings", at_least(offset + LEAST_LENGTH)),
        position_offset=offset,
        type_vocab_size=find("type_vocab_size", SIZE),
        pad_token_id=padding,
        hidden_dropout_prob=float(find("hidden_dropout_prob", FRACTION)),
        attention_probs_dropout_prob=float(find("attention_probs_dropout_prob", FRACTION)),
        variant=family,
    )


def _guess_family(fields: Fields) -> str | None:
    """Return the model_type of a config.json that has none, as the oldest files; None if unclear.

    Their `architectures` name it. Google's own files lack that too; two segments tell BERT from
    the families that came soon after it.
    """
    named = _list_strings(fields.content.get("architectures"))
    for model_type, family in FAMILIES.items():
        if named and all(name.startswith(family.architecture) for name in named):
            return model_type
    return "bert" if not named and fields.content.get("type_vocab_size") == 2 else None


def _list_strings(value: object) -> list[str]:
    """Return the strings in a list, [] for anything else: of a field that only gives hints."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def read_model_config(directory: Path) -> ModelConfig:
    """Read the configuration of a sentence-transformers directory of either generation.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong in it.
    """
    directory = Path(directory)
    fields = read_fields(directory / "config_sentence_transformers.json", missing_ok=True)
    only = one_of("SentenceTransformer", advice="load this directory with the class that it names")
    fields.find("model_type", only, None)
    described = os.path.lexists(directory / "modules.json")
    if not described:
        # Without modules.json sentence-transformers reads no file of its own.
        fields = Fields(fields.path, {})
    transformer_path, pooling, modules = _read_modules(directory)
    with name_origin(directory / "modules.json") if transformer_path else nullcontext():
        bert = read_bert_config(directory / transformer_path / "config.json")
    _check_widths(directory, bert.hidden_size * len(pooling.modes), modules)
    max_seq_length, do_lower_case = read_transformer(
        directory / transformer_path,
        bert,
        "feature-extraction",
        described=described,
    )
    prompts, default_prompt_name = read_prompts(fields, query="", document="")
    return ModelConfig(
        bert=bert,
        transformer_path=transformer_path,
        max_seq_length=max_seq_length,
        do_lower_case=do_lower_case,
        pooling=pooling,
        modules=modules,
        prompts=prompts,
        default_prompt_name=default_prompt_name,
        similarity_fn_name=fields.find("similarity_fn_name", one_of(*SIMILARITIES), "cosine"),
        truncate_dim=fields.find("truncate_dim", SIZE, None),
    )


def read_prompts(fields: Fields, **own: str) -> tuple[dict[str, str], str | None]:
    """Return a model's prompts by name, and the name of the default one; `own` are always there."""
    prompts = {**own, **fields.find("prompts", STRINGS, {})}
    rule = Rule("the name of one of its prompts", lambda value: value in list(prompts))
    return prompts, fields.find("default_prompt_name", rule, None)


# The end of the name of a class with a classification head.
_CLASSIFIER = "ForSequenceClassification"


def _read_modules(
    directory: Path,
) -> tuple[str, PoolingConfig, tuple[DenseConfig | NormalizeConfig, ...]]:
    """Return the Transformer module's folder, the pooling, and the modules after it, in order."""
    path = directory / "modules.json"
    found = list_modules(directory)
    if found is None:
        # This raises where there is no model at all.
        named = read_fields(directory / "config.json").content.get("architectures")
        classifier = [name for name in _list_strings(named) if name.endswith(_CLASSIFIER)]
        logger.warning(
            "%s has no modules.json: mean pooling is assumed%s",
            shorten_path(directory),
            f", and its head is left out ({shorten(classifier[0])}); CrossEncoder loads it for "
            "scores of pairs"
            if classifier
            else "",
        )
        return "", PoolingConfig(("mean",)), ()
    kinds = [kind for kind, _ in found]
    if kinds[:2] != ["Transformer", "Pooling"] or not {*kinds[2:]} <= {"Dense", "Normalize"}:
        raise ValueError(
            f"modules in {shorten_path(path)} must be a Transformer, a Pooling, then only Dense "
            f"and Normalize, got {shorten(', '.join(kinds))}; no other order is supported"
        )
    folders = [folder for _, folder in found]
    readers: dict[str, Callable[[Path, str], DenseConfig | NormalizeConfig]] = {
        "Dense": _read_dense,
        "Normalize": _read_normalize,
    }
    with name_origin(path):
        pooling = _read_pooling(directory, folders[1])
        modules = tuple(readers[kind](directory, folder) for kind, folder in found[2:])
    return folders[0], pooling, modules


def list_modules(directory: Path) -> list[tuple[str, str]] | None:
    """Return kind and folder of each module in modules.json, in order; None if there is no file.

    Raises ValueError for a module that is not one of sentence-transformers' own.
    """
    path = directory / "modules.json"
    if not os.path.lexists(path):
        return None
    entries = read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(
            f"{shorten_path(path)} must hold a JSON list of objects, got {shorten(entries)}; "
            "fetch the model again"
        )
    found = sorted(
        (
            fields.find("idx", COUNT, place),
            MODULE_PATHS[fields.find("type", MODULE_TYPE)],
            check_relative(fields.find("path", STRING), path),
        )
        for place, fields in enumerate(Fields(path, entry) for entry in entries)
    )
    return [(kind, folder) for _, kind, folder in found]


# The old format's flags, in the order in which several poolings are concatenated -> new names.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLING_MODES = Rule(
    f"one or a list of {', '.join(POOLINGS)}",
    lambda value: (
        bool(value)
        and all(mode in [*POOLINGS] for mode in (value if isinstance(value, list) else [value]))
    ),
    "anything else is not supported",
)


def _read_pooling(directory: Path, folder: str) -> PoolingConfig:
    fields = read_fields(directory / folder / "config.json")
    flagged = [mode for flag, mode in POOLING_FLAGS.items() if fields.find(flag, FLAG, False)]
    modes = fields.find("pooling_mode", _POOLING_MODES, flagged or "mean")
    modes = [modes] if isinstance(modes, str) else modes
    return PoolingConfig(tuple(modes), fields.find("include_prompt", FLAG, True))


def _read_dense(directory: Path, folder: str) -> DenseConfig:
    fields = read_fields(directory / folder / "config.json")
    _check_sentence_module(fields)
    fields.find("use_residual", one_of(False), False)
    return DenseConfig(
        in_features=fields.find("in_features", SIZE),
        out_features=fields.find("out_features", SIZE),
        bias=fields.find("bias", FLAG, True),
        # sentence-transformers' own default is tanh.
        activation=find_activation(fields, "activation_function") or "tanh",
        path=folder,
    )


def _read_normalize(directory: Path, folder: str) -> NormalizeConfig:
    # The old format has no such file, and copies of a directory often lack the empty folder too.
    _check_sentence_module(read_fields(directory / folder / "config.json", missing_ok=True))
    return NormalizeConfig()


def _check_sentence_module(fields: Fields) -> None:
    """Check that a module after pooling has the sentence vector as its input and its output."""
    for name in ("module_input_name", "module_output_name"):
        fields.find(name, one_of("sentence_embedding"), None)


def _check_widths(
    directory: Path, width: int, modules: tuple[DenseConfig | NormalizeConfig, ...]
) -> None:
    """Check that each Dense module takes as many numbers as the module before it gives.

    width  of the pooled vectors
    """
    for module in modules:
        if isinstance(module, DenseConfig):
            if module.in_features != width:
                path = directory / module.path / "config.json"
                raise ValueError(
                    f"in_features in {shorten_path(path)} must be {width}, "
                    f"the width of the module before it, got {module.in_features}; "
                    "fetch the model again, the folders may be of different models"
                )
            width = module.out_features


def override_reading(config: ModelConfig, pooling: str | None, blocks: int | None) -> ModelConfig:
    """Return a configuration with another pooling, or with only the first blocks.

    Raises ValueError if there is no such pooling, if the network has fewer blocks, or if a Dense
    module needs the pooling that the directory has.
    """
    L = config.bert.num_hidden_layers
    if blocks is not None:
        # ALBERT's word table is narrower than its blocks; rows are widened before the first block.
        least = int(config.bert.embedding_size != config.bert.hidden_size)
        remedy = f"pass another number, or leave it out for all {L} blocks"
        blocks = check_whole_number("blocks", blocks, least, most=L, remedy=remedy)
        config = replace(config, bert=replace(config.bert, num_hidden_layers=blocks))
    if pooling is not None:
        check_choice("pooling", pooling, POOLINGS, remedy="leave it out for the model's own")
        own = config.pooling
        if len(own.modes) > 1 and any(isinstance(module, DenseConfig) for module in config.modules):
            raise ValueError(
                f"pooling must be the model's own, {' and '.join(own.modes)}, since a Dense module "
                f"follows that takes all of it, got {shorten(pooling)}; leave it out"
            )
        config = replace(config, pooling=replace(own, modes=(pooling,)))
    return config
