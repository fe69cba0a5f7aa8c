"""Read a model directory's tokenizer from tokenizer.json, or build it from older files.

There are two kinds of older files: WordPiece's vocabulary (vocab.txt; BERT, DistilBERT, MPNet), and
byte-level BPE's vocabulary and merges (vocab.json and merges.txt; RoBERTa). `network.families` has
each family's special tokens; a directory may name others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from minisbert.arguments import (
    shorten,
    shorten_message,
)
from minisbert.model_files.tokenizer_library import load_tokenizer
from minisbert.network.families import FAMILIES, Family
from minisbert.system.json_fields import FLAG, Fields, Rule, one_of, read_fields
from minisbert.system.regular_files import shorten_path

# A special token is a string, or an object that holds one.
_SPECIAL_TOKEN = Rule(
    "a token",
    lambda value: isinstance(value.get("content") if isinstance(value, dict) else value, str),
)

# Files that only the sentencepiece library reads.
SENTENCEPIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model")

_SENTENCEPIECE_RECIPE = (
    'python -c "from transformers import AutoTokenizer; '
    "AutoTokenizer.from_pretrained('.').save_pretrained('.')\""
)


def read_tokenizer(directory: Path, options: Fields) -> tokenizers.Tokenizer:
    """Read or build a directory's tokenizer; `options` are those of its tokenizer_config.json.

    Raises FileNotFoundError if it has no tokenizer file, ValueError for one that can't be read.
    """
    for name, read in _READERS.items():
        if (directory / name).exists():
            return read(directory, options)
    if any((directory / name).exists() for name in SENTENCEPIECE_FILES):
        raise ValueError(
            f"{shorten_path(directory)} must hold tokenizer.json, got only a sentencepiece model; "
            f"convert it in that folder, where transformers is installed: {_SENTENCEPIECE_RECIPE}"
        )
    raise FileNotFoundError(
        f"{shorten_path(directory)} must hold tokenizer.json, vocab.txt or vocab.json, got "
        f"none of them; "
        "is it a whole model directory?"
    )


def _read_whole(directory: Path, options: Fields) -> tokenizers.Tokenizer:
    return load_tokenizer(directory / "tokenizer.json")


def _build_wordpiece(directory: Path, options: Fields) -> tokenizers.Tokenizer:
    """Build BERT's tokenizer from its vocabulary, one token per line."""
    path = directory / "vocab.txt"
    try:
        words = path.read_text("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{shorten_path(path)} must be a list of tokens in UTF-8, got something else "
            f"({shorten_message(error)}); "
            "fetch the model again"
        ) from None
    vocabulary = {word: row for row, word in enumerate(words) if word}
    family = _read_family(directory)
    special = _find_special_tokens(directory, options, family)
    _check_special_tokens(path, vocabulary, special, "unk_token", "cls_token", "sep_token")
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=options.find("tokenize_chinese_chars", FLAG, True),
        strip_accents=options.find("strip_accents", FLAG, None),
        lowercase=options.find("do_lower_case", FLAG, True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _add_special_tokens(tokenizer, vocabulary, special, family=family)
    return tokenizer


def _build_bpe(directory: Path, options: Fields) -> tokenizers.Tokenizer:
    """Build RoBERTa's tokenizer from its vocabulary and the order in which pieces are merged."""
    path, merges = directory / "vocab.json", directory / "merges.txt"
    vocabulary = read_fields(path).content
    if not merges.is_file():
        raise FileNotFoundError(
            f"{shorten_path(merges)} must be a file beside {path.name}, but there is no such file; "
            "fetch the model again"
        )
    try:
        model = models.BPE.from_file(str(path), str(merges))
    except Exception as error:  # the library raises the bare class
        raise ValueError(
            f"{shorten_path(path)} and {merges.name} must belong to one tokenizer, got others "
            f"({shorten_message(error)}); "
            "fetch the model again"
        ) from None
    family = _read_family(directory)
    special = _find_special_tokens(directory, options, family)
    _check_special_tokens(path, vocabulary, special, "cls_token", "sep_token")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=options.find("add_prefix_space", FLAG, False)
    )
    _add_special_tokens(tokenizer, vocabulary, special, family=family)
    return tokenizer


# File -> its reader; the first file that exists is read.
_READERS: dict[str, Callable[[Path, Fields], tokenizers.Tokenizer]] = {
    "tokenizer.json": _read_whole,
    "vocab.txt": _build_wordpiece,
    "vocab.json": _build_bpe,
}


def _read_family(directory: Path) -> Family:
    fields = read_fields(directory / "config.json", missing_ok=True)
    return FAMILIES[fields.find("model_type", one_of(*FAMILIES), "bert")]


def _find_special_tokens(directory: Path, options: Fields, family: Family) -> dict[str, str]:
    """Return the special tokens by name, from either of two files, else the family's own."""
    older = read_fields(directory / "special_tokens_map.json", missing_ok=True)
    special = {}
    for name, own in family.special_tokens.items():
        token = options.find(name, _SPECIAL_TOKEN, None) or older.find(name, _SPECIAL_TOKEN, own)
        special[name] = token["content"] if isinstance(token, dict) else token
    return special


def _check_special_tokens(
    path: Path, vocabulary: Mapping[str, int], special: Mapping[str, str], *names: str
) -> None:
    for name in names:
        if special[name] not in vocabulary:
            raise ValueError(
                f"{shorten_path(path)} must hold the {name} {shorten(special[name])}, got "
                f"tokens without it; "
                "fetch the model again"
            )


def _add_special_tokens(
    tokenizer: tokenizers.Tokenizer,
    vocabulary: Mapping[str, int],
    special: Mapping[str, str],
    *,
    family: Family,
) -> None:
    """Recognise special tokens in texts, and put the first and last token around every text."""
    # "[MASK]" in a text is read as that token. In byte-level BPE a space belongs to the word after
    # it, so the mask token includes the space before it.
    tokenizer.add_special_tokens(
        [
            tokenizers.AddedToken(
                word, lstrip=family.double_separator and name == "mask_token", normalized=False
            )
            for name, word in special.items()
            if word in vocabulary
        ]
    )
    end, start = ((special[name], vocabulary[special[name]]) for name in ("sep_token", "cls_token"))
    put_around = (
        processors.RobertaProcessing if family.double_separator else processors.BertProcessing
    )
    tokenizer.post_processor = put_around(end, start)
