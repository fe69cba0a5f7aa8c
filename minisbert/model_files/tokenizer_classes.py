"""The classes of tokenizers that a directory may name, as tables of what each does to a text.

    BertTokenizer        WordPiece         words of letters, cut into pieces of the vocabulary
    MPNetTokenizer       WordPiece         the same, between RoBERTa's special tokens
    RobertaTokenizer     byte-level BPE    bytes, joined in the order in which pairs were learned
    HerbertTokenizer     BPE               letters, joined so, the last one of a word marked
    XLMRobertaTokenizer  Unigram           the most probable pieces of each word
    CamembertTokenizer   Unigram           the same
    AlbertTokenizer      Unigram           the same, without capitals and accents

The class makes the steps around the vocabulary, as transformers does from version 5 on: its
tokenizer.json gives the vocabulary, and tokenizer_config.json the options of the steps. Only
PreTrainedTokenizerFast takes all of tokenizer.json as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tokenizers import models, normalizers, pre_tokenizers, processors

from minisbert.arguments import shorten
from minisbert.model_files.tokenizer_steps import Step
from minisbert.system.json_fields import FLAG, Fields

# Normaliser and pre-tokenizer; either may be None.
Steps = tuple[Any, Any]

# A letter that hardly any vocabulary has.
RARE_LETTER = "\U00012000"

# The special tokens of a class, by name, in the order in which transformers adds them.
_BERT_TOKENS: Mapping[str, str] = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_TOKENS: Mapping[str, str] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}


def _make_bert_steps(options: Fields, charsmap: bytes | None) -> Steps:
    normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=options.find("tokenize_chinese_chars", FLAG, True),
        strip_accents=options.find("strip_accents", FLAG, None),
        lowercase=options.find("do_lower_case", FLAG, True),
    )
    return normalizer, pre_tokenizers.BertPreTokenizer()


def _make_byte_steps(options: Fields, charsmap: bytes | None) -> Steps:
    space = options.find("add_prefix_space", FLAG, False)
    return None, pre_tokenizers.ByteLevel(add_prefix_space=space)


def _make_herbert_steps(options: Fields, charsmap: bytes | None) -> Steps:
    normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    return normalizer, pre_tokenizers.BertPreTokenizer()


def _make_piece_steps(options: Fields, charsmap: bytes | None) -> Steps:
    scheme = "always" if options.find("add_prefix_space", FLAG, True) else "never"
    words = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme=scheme)]
    )
    return None if charsmap is None else normalizers.Precompiled(charsmap), words


def _make_albert_steps(options: Fields, charsmap: bytes | None) -> Steps:
    last, words = _make_piece_steps(options, charsmap)
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not options.find("keep_accents", FLAG, False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if options.find("do_lower_case", FLAG, True):
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence(steps + ([] if last is None else [last])), words


@dataclass(frozen=True)
class TokenizerClass:
    """One class; the defaults are those of BertTokenizer.

    model             the library's kind of model
    files             those of the vocabulary in a directory without tokenizer.json
    make_steps        (options, character map or None) -> normaliser and pre-tokenizer
    parts             kinds of these steps that its tokenizer.json may hold
    special_tokens    by name
    mask_takes_space  whether the mask token includes a space before it
    extra             more special tokens, where no file names any
    gives_types       whether the texts of a pair are in two segments, unless the options say else
    ends              names of the special tokens before and after a text
    end_ids           their ids, where those are fixed
    double_separator  whether there are two separators between the texts of a pair
    keeps_frame       whether the special tokens around a text are as tokenizer.json has them
    unknown           id of Unigram's unknown piece; None for that of the special token
    suffix            what marks the last piece of a word in BPE
    """

    model: Any = models.WordPiece
    files: tuple[str, ...] = ("vocab.txt",)
    make_steps: Callable[[Fields, bytes | None], Steps] = _make_bert_steps
    parts: tuple[str, ...] = ("BertNormalizer", "BertPreTokenizer")
    special_tokens: Mapping[str, str] = field(default_factory=lambda: _BERT_TOKENS)
    mask_takes_space: bool = False
    extra: tuple[str, ...] = ()
    gives_types: bool = True
    ends: tuple[str, str] = ("cls_token", "sep_token")
    end_ids: tuple[int, int] | None = None
    double_separator: bool = False
    keeps_frame: bool = False
    unknown: int | None = None
    suffix: str = ""

    def make_frame(self, tokens: Mapping[str, str], find_id: Callable[[str], Any]) -> Any:
        """Return the post-processor, which puts the first and the last token around every text."""
        start, end = (tokens[name] for name in self.ends)
        first, last = self.end_ids or (find_id(start), find_id(end))
        if self.double_separator:
            return processors.RobertaProcessing((end, last), (start, first))
        return processors.BertProcessing((end, last), (start, first))

    def fit_model(self, model: Any, tokens: Mapping[str, str]) -> str:
        """Set the model as the class has it, whatever its file says.

        Returns what makes that impossible, in a few words, or nothing.
        """
        unknown = tokens["unk_token"]
        for name in self.ends if self.keeps_frame else ():
            if model.token_to_id(tokens[name]) is None:
                return f"no {name} {shorten(tokens[name])}"
        if isinstance(model, models.WordPiece):
            if model.token_to_id(unknown) is None:
                return f"no unknown token {shorten(unknown)}"
            model.unk_token = unknown
            model.continuing_subword_prefix, model.max_input_chars_per_word = "##", 100
        elif isinstance(model, models.BPE):
            if model.continuing_subword_prefix or (model.end_of_word_suffix or "") != self.suffix:
                return "another prefix or suffix of pieces"
            model.unk_token = unknown if self.suffix else None
            model.dropout, model.fuse_unk, model.byte_fallback = None, False, False
            if getattr(model, "ignore_merges", False):
                model.ignore_merges = False
        else:
            expected = model.token_to_id(unknown) if self.unknown is None else self.unknown
            got = [token.id for token in model.tokenize(RARE_LETTER)]
            if got != [expected]:
                return f"ids {got} for an unknown letter where it has {[expected]}"
        return ""


_DISTILBERT = TokenizerClass(gives_types=False)
_MPNET = TokenizerClass(
    special_tokens={**_ROBERTA_TOKENS, "unk_token": "[UNK]"},
    mask_takes_space=True,
    double_separator=True,
)
_ROBERTA = TokenizerClass(
    model=models.BPE,
    files=("vocab.json", "merges.txt"),
    make_steps=_make_byte_steps,
    parts=("ByteLevel",),
    special_tokens=_ROBERTA_TOKENS,
    double_separator=True,
)
_HERBERT = TokenizerClass(
    model=models.BPE,
    files=("vocab.json", "merges.txt"),
    make_steps=_make_herbert_steps,
    special_tokens={
        name: token for name, token in _ROBERTA_TOKENS.items() if name[:3] not in ("bos", "eos")
    },
    gives_types=False,
    end_ids=(0, 2),
    suffix="</w>",
)
_XLM_ROBERTA = TokenizerClass(
    model=models.Unigram,
    files=(),
    make_steps=_make_piece_steps,
    parts=("Precompiled", "Replace", "Strip", "WhitespaceSplit", "Metaspace"),
    special_tokens=_ROBERTA_TOKENS,
    ends=("bos_token", "eos_token"),
    double_separator=True,
    unknown=3,
)
_CAMEMBERT = replace(
    _XLM_ROBERTA,
    mask_takes_space=True,
    extra=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    unknown=None,
)
_ALBERT = replace(
    _XLM_ROBERTA,
    make_steps=_make_albert_steps,
    parts=(*_XLM_ROBERTA.parts, "NFKD", "StripAccents", "Lowercase"),
    special_tokens={
        **_BERT_TOKENS,
        **{"bos_token": "[CLS]", "eos_token": "[SEP]", "unk_token": "<unk>", "pad_token": "<pad>"},
    },
    gives_types=False,
    ends=("cls_token", "sep_token"),
    double_separator=False,
    keeps_frame=True,
    unknown=1,
)

# By the name in a directory, without "Fast" at its end; None takes all of tokenizer.json.
TOKENIZER_CLASSES: Mapping[str, TokenizerClass | None] = {
    "BertTokenizer": TokenizerClass(),
    "ElectraTokenizer": TokenizerClass(),
    "MobileBertTokenizer": TokenizerClass(),
    "SqueezeBertTokenizer": TokenizerClass(),
    "ConvBertTokenizer": TokenizerClass(),
    "DistilBertTokenizer": _DISTILBERT,
    "MPNetTokenizer": _MPNET,
    "RobertaTokenizer": _ROBERTA,
    "HerbertTokenizer": _HERBERT,
    "XLMRobertaTokenizer": _XLM_ROBERTA,
    "CamembertTokenizer": _CAMEMBERT,
    "AlbertTokenizer": _ALBERT,
    "PreTrainedTokenizer": None,
    "TokenizersBackend": None,
}

# The class of a directory that names none, by the model_type of its config.json.
FAMILY_CLASSES = {
    "bert": "BertTokenizer",
    "distilbert": "BertTokenizer",
    "mpnet": "MPNetTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "albert": "AlbertTokenizer",
}


def find_charsmap(steps: Iterable[Step]) -> bytes | None:
    """Return the map of characters that sentencepiece normalises texts with."""
    maps = [step["precompiled_charsmap"] for step in steps if step["type"] == "Precompiled"]
    return base64.b64decode(maps[0]) if maps else None
