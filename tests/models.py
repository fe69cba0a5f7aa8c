"""Small random models of any family, written as directories of either generation."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from minisbert.model_files.configs import POOLING_FLAGS, read_bert_config
from minisbert.model_files.head_files import read_cross_encoder_config
from minisbert.network.config import parameter_shapes
from minisbert.network.families import FAMILIES
from minisbert.network.heads import head_shapes

WORDS = "a the bird tree sings sing old in all day red ##ing car cat dog runs . , ! ?"
LETTERS = [chr(code) for code in range(ord("b"), ord("z") + 1)]
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *WORDS.split(" "),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
]

SIZES = {
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}

OLD_TYPES = {
    kind: f"sentence_transformers.models.{kind}"
    for kind in ("Transformer", "Pooling", "Dense", "Normalize")
}
NEW_TYPES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def make_model_directory(
    path: Path,
    *,
    new_format: bool = False,
    pooling: tuple[str, ...] = ("mean",),
    dense: int | None = None,
    normalize: bool = True,
    max_seq_length: int = 64,
    seed: int = 0,
    **sizes: object,
) -> Path:
    """Write a random BERT with pooling, and a Dense or a Normalize module if asked for.

    `sizes` are fields of config.json, as BERT calls them; with another model_type it is a network
    of that family. Everything is seeded. Returns `path`.
    """
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "config.json", describe_network(sizes))
    config = read_bert_config(path / "config.json")
    rng = np.random.default_rng(seed)
    parameters = {
        FAMILIES[config.model_type].name_in_checkpoint(name): draw(rng, name, shape)
        for name, shape in parameter_shapes(config).items()
    }
    save_file(parameters, path / "model.safetensors")
    write_tokenizer(path)

    width = config.hidden_size * len(pooling)
    if new_format:
        types = NEW_TYPES
        pooling_config = {
            "embedding_dimension": config.hidden_size,
            "pooling_mode": pooling[0] if len(pooling) == 1 else list(pooling),
            "include_prompt": True,
        }
        write_json(
            path / "sentence_bert_config.json",
            {
                "transformer_task": "feature-extraction",
                "modality_config": {
                    "text": {"method": "forward", "method_output_name": "last_hidden_state"}
                },
                "module_output_name": "token_embeddings",
            },
        )
        write_json(path / "tokenizer_config.json", {"model_max_length": max_seq_length})
        write_json(
            path / "config_sentence_transformers.json", {"model_type": "SentenceTransformer"}
        )
    else:
        types = OLD_TYPES
        pooling_config = {"word_embedding_dimension": config.hidden_size} | {
            flag: mode in pooling for flag, mode in POOLING_FLAGS.items()
        }
        write_json(
            path / "sentence_bert_config.json",
            {"max_seq_length": max_seq_length, "do_lower_case": False},
        )
    modules = ["Transformer", "Pooling"]
    (path / "1_Pooling").mkdir(exist_ok=True)
    write_json(path / "1_Pooling" / "config.json", pooling_config)
    if dense is not None:
        folder = path / f"{len(modules)}_Dense"
        folder.mkdir(exist_ok=True)
        write_json(
            folder / "config.json",
            {
                "in_features": width,
                "out_features": dense,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        )
        weights = {
            "linear.weight": rng.normal(0, 0.2, (dense, width)).astype(np.float32),
            "linear.bias": rng.normal(0, 0.2, dense).astype(np.float32),
        }
        save_file(weights, folder / "model.safetensors")
        modules.append("Dense")
    if normalize:
        modules.append("Normalize")
    write_json(
        path / "modules.json",
        [
            {
                "idx": index,
                "name": str(index),
                "path": "" if index == 0 else f"{index}_{kind}",
                "type": types[kind],
            }
            for index, kind in enumerate(modules)
        ],
    )
    return path


def make_cross_encoder_directory(
    path: Path, *, new_format: bool = False, num_labels: int = 1, seed: int = 0, **fields: object
) -> Path:
    """Write a random BERT with a classification head. `fields` go into config.json.

    The new format is that of sentence-transformers from 5.4 on, the old one that of transformers.
    """
    path.mkdir(parents=True, exist_ok=True)
    labels = {str(label): f"LABEL_{label}" for label in range(num_labels)}
    content = {"architectures": ["BertForSequenceClassification"], "id2label": labels}
    write_json(path / "config.json", describe_network(content | fields))
    config = read_cross_encoder_config(path)
    family = FAMILIES[config.bert.model_type]
    rng = np.random.default_rng(seed)
    parameters = {
        family.prefix + family.name_in_checkpoint(name): draw(rng, name, shape)
        for name, shape in parameter_shapes(config.bert).items()
    }
    for name, shape in head_shapes(config).items():
        prefix = family.prefix if name.startswith("pooler") else ""
        parameters[prefix + name] = draw(rng, name, shape)
    save_file(parameters, path / "model.safetensors")
    write_tokenizer(path)
    write_json(path / "tokenizer_config.json", {"model_max_length": 64})
    if new_format:
        write_json(
            path / "sentence_bert_config.json",
            {
                "transformer_task": "sequence-classification",
                "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
                "module_output_name": "scores",
            },
        )
        write_json(
            path / "config_sentence_transformers.json",
            {
                "activation_fn": "torch.nn.modules.activation.Sigmoid",
                "default_prompt_name": None,
                "model_type": "CrossEncoder",
                "prompts": {},
            },
        )
        transformer = {"idx": 0, "name": "0", "path": "", "type": NEW_TYPES["Transformer"]}
        write_json(path / "modules.json", [transformer])
    return path


def describe_network(fields: dict[str, object]) -> dict[str, object]:
    """Return a config.json of SIZES and other fields, under the family's names of the fields."""
    content = {**SIZES, **fields}
    family = FAMILIES.get(str(content["model_type"]))
    if family is None:
        return content
    if family.shared_blocks:
        content.setdefault("embedding_size", 16)
    if content["model_type"] not in ("bert", "distilbert"):
        # Their own tokenizers are not the one that `write_tokenizer` writes.
        content.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    return {
        family.fields.get(name, name): value
        for name, value in content.items()
        if name not in family.fixed
    }


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a parameter, large enough for activations to differ."""
    return rng.normal(float("LayerNorm.weight" in name), 0.2, shape).astype(np.float32)


def write_tokenizer(path: Path) -> None:
    """Write vocab.txt, and a WordPiece tokenizer.json that stores truncation and padding."""
    (path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", "utf-8")
    ids = {word: row for row, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(VOCABULARY[:5])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(path / "tokenizer.json"))


def write_bpe(path: Path, texts: Sequence[str], prefix_space: bool = False) -> None:
    """Write RoBERTa's byte-level BPE as tokenizer.json, and as vocab.json and merges.txt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[*special, AddedToken("<mask>", lstrip=True, normalized=False)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(path / "tokenizer.json"))
    tokenizer.model.save(str(path))


def encode_table(units: Sequence[int] | np.ndarray, strings: bytes = b"abc\0") -> dict[str, str]:
    """Return the normaliser with sentencepiece's table of characters: a trie and its strings."""
    trie = np.asarray(units, "<u4").tobytes()
    table = len(trie).to_bytes(4, "little") + trie + strings
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), "utf-8")


def edit_json(path: Path, **changes: object) -> None:
    """Change fields of a JSON object on disk; None removes a field."""
    content = json.loads(path.read_text("utf-8")) | changes
    write_json(path, {name: value for name, value in content.items() if value is not None})


def find_map(array: np.ndarray) -> np.memmap | None:
    """Return the memory map that an array is a view of, or None."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array
