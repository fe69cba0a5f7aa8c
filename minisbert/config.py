"""What a model directory says about itself, read into frozen dataclasses.

Both generations of the sentence-transformers format are read (up to 5.3, and from 5.4 on). Names of
classes in the files are looked up in tables here; nothing named in a file is ever imported.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

# model_type -> how many rows of the position table stand before that of the first token
POSITION_OFFSETS = {"bert": 0}

HIDDEN_ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish")

MODULE_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")

# The flags of the old format, in the order in which several are concatenated, and the new names.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

# The last part of the torch path that a Dense module names its activation by.
DENSE_ACTIVATIONS = {
    "Tanh": "tanh",
    "Identity": "identity",
    "ReLU": "relu",
    "GELU": "gelu",
    "Sigmoid": "sigmoid",
}

SIMILARITY_NAMES = ("cosine", "dot", "euclidean", "manhattan")

# The Transformer module's own file; its name follows the class that once wrote it.
TRANSFORMER_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

# The special tokens at both ends, and one token of the text.
LEAST_LENGTH = 3


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a network, under the names of config.json."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str
    layer_norm_eps: float
    max_position_embeddings: int
    type_vocab_size: int
    pad_token_id: int | None
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float

    @property
    def position_offset(self) -> int:
        """The row of the position table that belongs to the first token."""
        return POSITION_OFFSETS[self.model_type]


@dataclass(frozen=True)
class PoolingConfig:
    """How token vectors become sentence vectors: keys of `pooling.POOLINGS`, side by side."""

    modes: tuple[str, ...]
    include_prompt: bool = True


@dataclass(frozen=True)
class DenseConfig:
    """A linear layer with activation after pooling, and the folder of its weights."""

    in_features: int
    out_features: int
    bias: bool
    activation: str
    path: str


@dataclass(frozen=True)
class NormalizeConfig:
    """Scale embeddings to length 1."""


Module = PoolingConfig | DenseConfig | NormalizeConfig


@dataclass(frozen=True)
class ModelConfig:
    """A whole sentence-transformers directory; `modules` is what follows the network."""

    bert: BertConfig
    transformer_path: str
    max_seq_length: int
    do_lower_case: bool
    modules: tuple[Module, ...]
    prompts: Mapping[str, str]
    default_prompt_name: str | None
    similarity_fn_name: str
    truncate_dim: int | None


def parameter_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of the network and its shape: linear weights are (out, in)."""
    V, D, F = config.vocab_size, config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (V, D),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, D),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, D),
        "embeddings.LayerNorm.weight": (D,),
        "embeddings.LayerNorm.bias": (D,),
    }
    for block in range(config.num_hidden_layers):
        for name, weight in (
            ("attention.self.query", (D, D)),
            ("attention.self.key", (D, D)),
            ("attention.self.value", (D, D)),
            ("attention.output.dense", (D, D)),
            ("attention.output.LayerNorm", (D,)),
            ("intermediate.dense", (F, D)),
            ("output.dense", (D, F)),
            ("output.LayerNorm", (D,)),
        ):
            shapes[f"encoder.layer.{block}.{name}.weight"] = weight
            shapes[f"encoder.layer.{block}.{name}.bias"] = weight[:1]
    return shapes


class Rule(NamedTuple):
    """What a field must be, in words and as a test, and what to do if it is not."""

    expected: str
    accepts: Callable[[Any], bool]
    advice: str = "correct the file, or fetch the model again"


def one_of(*choices: object) -> Rule:
    """The rule of a field whose other values mean a kind of model that is not supported."""
    expected = " or ".join(json.dumps(choice) for choice in choices)
    return Rule(expected, lambda value: value in choices, "anything else is not supported")


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("a text", lambda value: isinstance(value, str))
TEXTS = Rule(
    "an object of texts",
    lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
)
# Types are compared, since True is an int too.
COUNT = Rule("a whole number of 0 or more", lambda value: type(value) is int and value >= 0)
SIZE = Rule("a whole number of 1 or more", lambda value: type(value) is int and value >= 1)
FRACTION = Rule(
    "a number of 0 or more, less than 1",
    lambda value: type(value) in (int, float) and 0 <= value < 1,
)
LENGTH = Rule(
    f"a number of {LEAST_LENGTH} or more",
    lambda value: type(value) in (int, float) and value >= LEAST_LENGTH,
)
MODULE_TYPE = Rule(
    f"a path that ends in {', '.join(MODULE_KINDS)}",
    lambda value: isinstance(value, str) and value.rpartition(".")[2] in MODULE_KINDS,
    "no other module is supported, and none is ever imported",
)
POOLING_MODES = Rule(
    f"one or more of {', '.join(POOLING_FLAGS.values())}",
    lambda value: bool(value) and all(mode in list(POOLING_FLAGS.values()) for mode in value),
    "anything else is not supported",
)
DENSE_ACTIVATION = Rule(
    f"a path in torch that ends in {', '.join(DENSE_ACTIVATIONS)}",
    lambda value: (
        isinstance(value, str)
        and value.startswith("torch.")
        and value.rpartition(".")[2] in DENSE_ACTIVATIONS
    ),
    "no other activation is supported, and none is ever imported",
)

REQUIRED: Any = object()


def find_field(
    fields: Mapping[str, Any], name: str, path: Path, rule: Rule, default: Any = REQUIRED
) -> Any:
    """A field of a file's object, held to a rule; a missing one is `default`, if there is one.

    Raises ValueError naming the field and the file.
    """
    if name not in fields:
        if default is REQUIRED:
            raise ValueError(
                f"{name} in {path} must be {rule.expected}, but it is missing; {rule.advice}"
            )
        return default
    value = fields[name]
    if not rule.accepts(value):
        raise ValueError(
            f"{name} in {path} must be {rule.expected}, got {shorten(value)}; {rule.advice}"
        )
    return value


def read_json(path: Path, missing_ok: bool = False) -> dict[str, Any]:
    """Read a file that holds one JSON object, without the fields that are null, which means unset.

    Raises FileNotFoundError, or ValueError naming the file.
    """
    if missing_ok and not path.exists():
        return {}
    content = parse_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold a JSON object, got {shorten(content)}; fetch the model again"
        )
    return {name: value for name, value in content.items() if value is not None}


def parse_json(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} must be a file, but there is none; is {path.parent} a whole model directory?"
        )
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} must hold JSON, but it does not ({error}); fetch the model again"
        ) from None


def shorten(value: object) -> str:
    """What to show of a value in an error: enough to find it by."""
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def check_relative(path: str, origin: Path) -> str:
    """A path inside a model directory, judged as it is spelled; else ValueError.

    Links are not followed to judge it: the Hugging Face cache consists of links that leave.
    """
    if path.startswith("/") or "\\" in path or ":" in path or ".." in PurePosixPath(path).parts:
        raise ValueError(
            f"paths in {origin} must be relative and stay inside the model directory, "
            f"got {shorten(path)}; do not trust this model"
        )
    return path


def read_bert_config(path: Path) -> BertConfig:
    """Read a Hugging Face config.json.

    Raises FileNotFoundError, or ValueError naming the field that is missing, impossible, or of a
    network that is not supported.
    """
    path = Path(path)
    fields = read_json(path)

    def find(name: str, rule: Rule, default: Any = REQUIRED) -> Any:
        return find_field(fields, name, path, rule, default)

    model_type = find("model_type", one_of(*POSITION_OFFSETS))
    find("position_embedding_type", one_of("absolute"), "absolute")
    find("is_decoder", one_of(False), False)
    H = find("num_attention_heads", SIZE)
    heads = Rule(f"a multiple of num_attention_heads, {H}", lambda size: size % H == 0)
    find("hidden_size", SIZE)
    return BertConfig(
        model_type=model_type,
        vocab_size=find("vocab_size", SIZE),
        hidden_size=find("hidden_size", heads),
        num_hidden_layers=find("num_hidden_layers", SIZE),
        num_attention_heads=H,
        intermediate_size=find("intermediate_size", SIZE),
        hidden_act=find("hidden_act", one_of(*HIDDEN_ACTIVATIONS)),
        layer_norm_eps=float(find("layer_norm_eps", FRACTION)),
        max_position_embeddings=find("max_position_embeddings", SIZE),
        type_vocab_size=find("type_vocab_size", SIZE),
        pad_token_id=find("pad_token_id", COUNT, None),
        hidden_dropout_prob=float(find("hidden_dropout_prob", FRACTION, 0.1)),
        attention_probs_dropout_prob=float(find("attention_probs_dropout_prob", FRACTION, 0.1)),
    )


def read_model_config(directory: Path) -> ModelConfig:
    """Read all that a sentence-transformers directory says, in either generation of its format.

    Raises FileNotFoundError, or ValueError naming the file and what is wrong in it.
    """
    directory = Path(directory)
    path = directory / "config_sentence_transformers.json"
    fields = read_json(path, missing_ok=True)

    def find(name: str, rule: Rule, default: Any) -> Any:
        return find_field(fields, name, path, rule, default)

    kind = fields.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise ValueError(
            f"model_type in {path} must be SentenceTransformer, got {shorten(kind)}; "
            f"this directory is for the class {kind}, not for SentenceTransformer"
        )
    transformer_path, modules = _read_modules(directory)
    bert = read_bert_config(directory / transformer_path / "config.json")
    _check_widths(directory, bert, modules)
    max_seq_length, do_lower_case = _read_transformer(directory / transformer_path, bert)
    prompts = {"query": "", "document": "", **find("prompts", TEXTS, {})}
    return ModelConfig(
        bert=bert,
        transformer_path=transformer_path,
        max_seq_length=max_seq_length,
        do_lower_case=do_lower_case,
        modules=modules,
        prompts=prompts,
        default_prompt_name=find("default_prompt_name", one_of(*prompts), None),
        similarity_fn_name=find("similarity_fn_name", one_of(*SIMILARITY_NAMES), "cosine"),
        truncate_dim=find("truncate_dim", SIZE, None),
    )


def _read_transformer(folder: Path, bert: BertConfig) -> tuple[int, bool]:
    """The most tokens of a text, and whether it is lower-cased before the tokenizer sees it.

    The limit is what the module says, else the tokenizer's model_max_length (at times a huge
    number that means none), but never beyond the network's positions. The tokenizer's "max_length"
    is left alone: it is stale in many directories.
    """
    present = [name for name in TRANSFORMER_FILES if (folder / name).exists()]
    path = folder / (present or TRANSFORMER_FILES)[0]
    fields = read_json(path, missing_ok=True)
    find_field(fields, "transformer_task", path, one_of("feature-extraction"), None)
    do_lower_case = find_field(fields, "do_lower_case", path, FLAG, False)

    usable = bert.max_position_embeddings - bert.position_offset
    limit = find_field(fields, "max_seq_length", path, LENGTH, None)
    if limit is None:
        path = folder / "tokenizer_config.json"
        fields = read_json(path, missing_ok=True)
        limit = find_field(fields, "model_max_length", path, LENGTH, usable)
    return int(min(limit, usable)), do_lower_case


def _read_modules(directory: Path) -> tuple[str, tuple[Module, ...]]:
    """The Transformer module's folder, and the modules that follow it, in order."""
    path = directory / "modules.json"
    if not path.exists():
        read_json(directory / "config.json")  # else it is no model directory at all
        logger.warning("%s has no modules.json: mean pooling is assumed", directory)
        return "", (PoolingConfig(("mean",)),)
    entries = parse_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(
            f"{path} must hold a JSON list of objects, got {shorten(entries)}; "
            "fetch the model again"
        )
    found = sorted(
        (
            find_field(entry, "idx", path, COUNT),
            find_field(entry, "type", path, MODULE_TYPE).rpartition(".")[2],
            check_relative(find_field(entry, "path", path, TEXT), path),
        )
        for entry in entries
    )
    kinds = [kind for _, kind, _ in found]
    if kinds[:2] != ["Transformer", "Pooling"] or not {*kinds[2:]} <= {"Dense", "Normalize"}:
        raise ValueError(
            f"modules in {path} must be a Transformer, a Pooling, then only Dense and Normalize, "
            f"got {', '.join(kinds) or 'none'}; other models are not supported"
        )
    readers: dict[str, Callable[[Path, str], Module]] = {
        "Pooling": _read_pooling,
        "Dense": _read_dense,
        "Normalize": _read_normalize,
    }
    modules = tuple(readers[kind](directory, folder) for _, kind, folder in found[1:])
    return found[0][2], modules


def _read_pooling(directory: Path, folder: str) -> PoolingConfig:
    path = directory / folder / "config.json"
    fields = read_json(path)
    flags = [mode for flag, mode in POOLING_FLAGS.items() if fields.get(flag)]
    modes = fields.get("pooling_mode", flags or ["mean"])
    modes = modes if isinstance(modes, list) else [modes]
    find_field({"pooling_mode": modes}, "pooling_mode", path, POOLING_MODES)
    return PoolingConfig(tuple(modes), find_field(fields, "include_prompt", path, FLAG, True))


def _read_dense(directory: Path, folder: str) -> DenseConfig:
    path = directory / folder / "config.json"
    fields = read_json(path)
    _check_sentence_module(fields, path)
    find_field(fields, "use_residual", path, one_of(False), False)
    activation = find_field(fields, "activation_function", path, DENSE_ACTIVATION, "Tanh")
    return DenseConfig(
        in_features=find_field(fields, "in_features", path, SIZE),
        out_features=find_field(fields, "out_features", path, SIZE),
        bias=find_field(fields, "bias", path, FLAG, True),
        activation=DENSE_ACTIVATIONS[activation.rpartition(".")[2]],
        path=folder,
    )


def _read_normalize(directory: Path, folder: str) -> NormalizeConfig:
    path = directory / folder / "config.json"
    # The old format has no such file, and a copied directory often not even the empty folder.
    _check_sentence_module(read_json(path, missing_ok=True), path)
    return NormalizeConfig()


def _check_sentence_module(fields: Mapping[str, Any], path: Path) -> None:
    """A module after pooling must take and give the sentence vector, and nothing else."""
    for name in ("module_input_name", "module_output_name"):
        find_field(fields, name, path, one_of("sentence_embedding"), None)


def _check_widths(directory: Path, bert: BertConfig, modules: tuple[Module, ...]) -> None:
    """Each Dense module must take what the module before it gives."""
    width = bert.hidden_size
    for module in modules:
        if isinstance(module, PoolingConfig):
            width *= len(module.modes)
        elif isinstance(module, DenseConfig):
            if module.in_features != width:
                raise ValueError(
                    f"in_features in {directory / module.path / 'config.json'} must be {width}, "
                    f"the width of the module before it, got {module.in_features}; "
                    "the modules may be of different models"
                )
            width = module.out_features
