"""Read a model directory's tokenizer from tokenizer.json, or build it from older files.

There are two kinds of older files: WordPiece's vocabulary (vocab.txt; BERT, DistilBERT, MPNet), and
BPE's vocabulary and merges (vocab.json and merges.txt; RoBERTa, HerBERT). The class that the
directory names, or else its network's, says what is done with them, and with the vocabulary in
tokenizer.json: see `tokenizer_classes`.
"""

from __future__ import annotations

import json
import logging
import os
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import models, normalizers

from minisbert.arguments import shorten, shorten_message
from minisbert.model_files.added_tokens import AddedTokens, read_added_tokens
from minisbert.model_files.class_paths import refuse_own_code
from minisbert.model_files.tokenizer_classes import (
    FAMILY_CLASSES,
    TOKENIZER_CLASSES,
    TokenizerClass,
    find_charsmap,
)
from minisbert.model_files.tokenizer_library import load_tokenizer, refuse_failures
from minisbert.model_files.tokenizer_steps import list_steps
from minisbert.network.families import FAMILIES
from minisbert.system.json_fields import FLAG, Fields, Rule, one_of, read_fields
from minisbert.system.regular_files import (
    LARGEST_TOKENIZER,
    open_regular,
    read_regular,
    shorten_path,
)

logger = logging.getLogger(__name__)

# Files that only the sentencepiece library reads.
SENTENCEPIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model")

_VOCABULARIES = ("vocab.txt", "vocab.json", *SENTENCEPIECE_FILES)

# All files of a tokenizer.
TOKENIZER_FILES = (
    *("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", *SENTENCEPIECE_FILES),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)

_SENTENCEPIECE_RECIPE = (
    'python -c "from transformers import AutoTokenizer; '
    "AutoTokenizer.from_pretrained('.').save_pretrained('.')\""
)

_TAKE_WHOLE = 'if tokenizer.json is right as it is, name the class "PreTrainedTokenizerFast"'

_INPUT_NAMES = Rule(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
)

# Fields that would make another tokenizer than the other files say.
_ONLY = {
    "fast_tokenizer_files": one_of(["tokenizer.json"]),
    "init_inputs": one_of([]),
}


class StoredTokenizer(NamedTuple):
    """The tokenizer of a directory.

    library      the tokenizer
    gives_types  whether the second text of a pair is in a segment of its own
    frame        what the class puts around texts, where tokenizer.json has a post-processor too;
                 the library has that one, for the caller to compare
    whose        the class and where it is named
    """

    library: tokenizers.Tokenizer
    gives_types: bool
    frame: Any
    whose: str


class _NamedClass(NamedTuple):
    """A tokenizer class, its name, and where that is from."""

    kind: TokenizerClass | None
    name: str
    place: str


def read_tokenizer(directory: Path, options: Fields) -> StoredTokenizer:
    """Read or build a directory's tokenizer; `options` are those of its tokenizer_config.json.

    Raises FileNotFoundError if it has no tokenizer file; ValueError for one that can't be read, for
    a class that is not supported, and for files that contradict each other.
    """
    refuse_own_code(options)
    for name, rule in _ONLY.items():
        options.find(name, rule, None)
    config = read_fields(directory / "config.json", missing_ok=True)
    named = _find_class(directory, options, config)
    path = directory / "tokenizer.json"
    whole = load_tokenizer(path) if os.path.lexists(path) else None
    default = ["token_type_ids"] if named.kind and named.kind.gives_types else []
    if whole is None:
        _check_vocabulary_files(directory, named)
    elif (
        named.kind is not None
        and named.kind.model is models.WordPiece
        and isinstance(whole.model, models.Unigram)
    ):
        # A BERT with XLM-RoBERTa's pieces, such as paraphrase-multilingual-MiniLM-L12-v2. Version 4
        # of transformers takes tokenizer.json whole, version 5 finds nothing but unknown tokens.
        logger.warning(
            "%s holds pieces, which %s (%s) does not read, and is taken whole; %s in %s",
            *(shorten_path(path), named.name, named.place, _TAKE_WHOLE, shorten_path(options.path)),
        )
        named = named._replace(kind=None)
    added = read_added_tokens(
        directory,
        options,
        own=_find_own_tokens(named.kind, whole),
        own_extra=named.kind.extra if named.kind else (),
        mask_takes_space=bool(named.kind and named.kind.mask_takes_space),
        stored=whole.get_added_tokens_decoder() if whole else {},
        needed=(*named.kind.ends, "unk_token") if named.kind else (),
    )
    frame = None
    if named.kind is not None:
        model = whole.model if whole else _READERS[named.kind.model](directory, named.kind)
        tokenizer, frame = _build(path, named, options, model=model, whole=whole, added=added)
    else:
        assert whole is not None
        tokenizer = whole
        added.add_to(tokenizer)
    if options.find("split_special_tokens", FLAG, False):
        tokenizer.encode_special_tokens = True
    inputs = options.find("model_input_names", _INPUT_NAMES, default)
    whose = f"{named.name} ({named.place}) with the special tokens in {shorten_path(options.path)}"
    return StoredTokenizer(tokenizer, "token_type_ids" in inputs, frame, whose)


def lower_case_first(tokenizer: tokenizers.Tokenizer) -> None:
    """Let a tokenizer lower-case all texts first, as sentence-transformers does if it is asked to.

    Nothing is added where one of the steps of the normaliser does just that.
    """
    own = tokenizer.normalizer
    state = json.loads(own.__getstate__()) if own is not None else {}
    kinds = [step["type"] for step in state.get("normalizers", [state] if state else [])]
    if "Lowercase" not in kinds:
        steps = [normalizers.Lowercase()] + ([] if own is None else [own])
        tokenizer.normalizer = normalizers.Sequence(steps)


def describe_tokenizer(directory: Path, lower_case: bool) -> dict[str, bytes]:
    """Return the files of a directory's tokenizer by their names, to be saved.

    A tokenizer.json that the other files contradict becomes one that has what they say. With
    `lower_case` it lower-cases texts first, and is to be taken as it is.

    Raises as `read_tokenizer` does.
    """
    files = {
        name: read_regular(directory / name, LARGEST_TOKENIZER)
        for name in TOKENIZER_FILES
        if (directory / name).exists()
    }
    options = read_fields(directory / "tokenizer_config.json", missing_ok=True)
    read = read_tokenizer(directory, options)
    path = directory / "tokenizer.json"
    if lower_case:
        lower_case_first(read.library)
        inputs = ["input_ids", *["token_type_ids"] * read.gives_types, "attention_mask"]
        whole = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}
        files[options.path.name] = json.dumps({**options.content, **whole}, indent=2).encode()
    if lower_case or (path.exists() and read.library.to_str() != load_tokenizer(path).to_str()):
        files[path.name] = read.library.to_str(pretty=True).encode()
    return files


def _find_class(directory: Path, options: Fields, config: Fields) -> _NamedClass:
    """Return the class that tokenizer_config.json names, else config.json, else its network's."""
    whole = os.path.lexists(directory / "tokenizer.json")
    vocabularies = ("tokenizer.json", *_VOCABULARIES)
    file = next((name for name in vocabularies if (directory / name).exists()), "its vocabulary")
    names = [name.removesuffix("Tokenizer") for name, kind in TOKENIZER_CLASSES.items() if kind]
    rule = Rule(
        f"{', '.join(names)}, each followed by Tokenizer, or PreTrainedTokenizerFast",
        lambda value: isinstance(value, str) and value.removesuffix("Fast") in TOKENIZER_CLASSES,
        f"another class may read {file} in another way" + f", so {_TAKE_WHOLE}" * whole,
    )
    for fields in (options, config):
        name = fields.find("tokenizer_class", rule, None)
        if name is not None:
            kind = TOKENIZER_CLASSES[name.removesuffix("Fast")]
            return _NamedClass(kind, name, f"tokenizer_class in {shorten_path(fields.path)}")
    model_type = config.find("model_type", one_of(*FAMILIES), "bert")
    name = FAMILY_CLASSES[model_type]
    return _NamedClass(TOKENIZER_CLASSES[name], name, f"model_type in {shorten_path(config.path)}")


def _find_own_tokens(kind: TokenizerClass | None, whole: tokenizers.Tokenizer | None) -> Any:
    if kind is not None:
        return kind.special_tokens
    padding = whole.padding if whole else None
    return {"pad_token": padding["pad_token"]} if padding else {}


def _check_vocabulary_files(directory: Path, named: _NamedClass) -> None:
    """Check that a directory without tokenizer.json has the files that its class reads."""
    wanted = named.kind.files if named.kind else ()
    if wanted and (directory / wanted[0]).exists():
        if not all((directory / name).exists() for name in wanted):
            raise FileNotFoundError(
                f"{shorten_path(directory / wanted[-1])} must be a file beside {wanted[0]}, "
                "but there is no such file; fetch the model again"
            )
        return
    present = [name for name in _VOCABULARIES if (directory / name).exists()]
    if not present:
        raise FileNotFoundError(
            f"{shorten_path(directory)} must hold tokenizer.json, vocab.txt or vocab.json, "
            "got none of them; is it a whole model directory?"
        )
    if present[0] in SENTENCEPIECE_FILES:
        raise ValueError(
            f"{shorten_path(directory)} must hold tokenizer.json, got only a sentencepiece model; "
            f"convert it in that folder, where transformers is installed: {_SENTENCEPIECE_RECIPE}"
        )
    files = " or ".join(["tokenizer.json", *wanted[:1]])
    raise ValueError(
        f"{shorten_path(directory)} must hold {files}, which {named.name} reads ({named.place}), "
        f"got {present[0]}; correct the class, or fetch the model again"
    )


def _build(
    path: Path,
    named: _NamedClass,
    options: Fields,
    *,
    model: Any,
    whole: tokenizers.Tokenizer | None,
    added: AddedTokens,
) -> tuple[tokenizers.Tokenizer, Any]:
    """Build the tokenizer of a class around a vocabulary; return `StoredTokenizer.frame`, too.

    path   of tokenizer.json
    model  the vocabulary, as the library's model
    whole  all of tokenizer.json, if there is one
    """
    kind = named.kind
    assert kind is not None
    stored_steps = [*chain(*list_steps(whole))] if whole else []
    others = {step["type"] for step in stored_steps} - {*kind.parts}
    found = type(model).__name__
    if others or not isinstance(model, kind.model):
        steps = "".join(f" after {other}" for other in sorted(others))
        raise ValueError(
            f"{shorten_path(path)} must be as {named.name} makes it, {kind.model.__name__} after "
            f"{', '.join(kind.parts)}, since {named.place} has that class, got {found}{steps}; "
            f"{_TAKE_WHOLE} in {shorten_path(options.path)}"
        )
    texts = added.find_texts()
    if whole is None:
        _check_special_tokens(path.parent / kind.files[0], model, texts, kind=kind)
    fault = kind.fit_model(model, texts)
    if fault:
        raise ValueError(
            f"{shorten_path(path)} must have a vocabulary as {named.name} reads it "
            f"({named.place}), got {fault}; {_TAKE_WHOLE} in {shorten_path(options.path)}"
        )
    tokenizer = tokenizers.Tokenizer(model)
    normalizer, tokenizer.pre_tokenizer = kind.make_steps(options, find_charsmap(stored_steps))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    added.add_to(tokenizer)
    frame = kind.make_frame(texts, tokenizer.token_to_id)
    stored = whole.post_processor if whole else None
    tokenizer.post_processor = frame if stored is None else stored
    if whole is not None:
        if whole.decoder is not None:
            tokenizer.decoder = whole.decoder
        # Of these, only the side that is cut is read.
        if whole.truncation is not None:
            try:
                tokenizer.enable_truncation(**whole.truncation)
            except ValueError as error:
                raise ValueError(
                    f"truncation in {shorten_path(path)} must fit the special tokens, "
                    f"got {shorten_message(error)}; set it to null"
                ) from None
        if whole.padding is not None:
            tokenizer.enable_padding(**whole.padding)
    return tokenizer, None if stored is None or kind.keeps_frame else frame


def _check_special_tokens(
    path: Path, model: Any, texts: dict[str, str], *, kind: TokenizerClass
) -> None:
    for name in ("unk_token", *kind.ends)[kind.model is models.BPE :]:
        if model.token_to_id(texts[name]) is None:
            raise ValueError(
                f"{shorten_path(path)} must hold the {name} {shorten(texts[name])}, "
                "got tokens without it; fetch the model again"
            )


# What is stripped from the end of a line of vocab.txt: Unicode's White_Space.
_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


def _read_wordpiece(directory: Path, kind: TokenizerClass) -> Any:
    """Read BERT's vocabulary, one token per line."""
    path = directory / "vocab.txt"
    try:
        lines = read_regular(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{shorten_path(path)} must be a list of tokens in UTF-8, "
            f"got something else ({shorten_message(error)}); fetch the model again"
        ) from None
    # Empty lines count, as one word that no text has, since added tokens come after the last.
    lines = lines[: len(lines) - (lines[-1] == "")]
    return models.WordPiece({line.rstrip(_SPACES): row for row, line in enumerate(lines)})


def _read_bpe(directory: Path, kind: TokenizerClass) -> Any:
    """Read the vocabulary of BPE, and the order in which its pieces are merged."""
    path, merges = directory / "vocab.json", directory / "merges.txt"
    read_fields(path)
    open_regular(merges).close()
    with refuse_failures(path, f"and {merges.name} must belong to one tokenizer, got others"):
        return models.BPE.from_file(str(path), str(merges), end_of_word_suffix=kind.suffix)


_READERS = {models.WordPiece: _read_wordpiece, models.BPE: _read_bpe}
