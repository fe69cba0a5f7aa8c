"""The steps of a tokenizer.json: growth, patterns and tables are bounded before they run."""

import numpy as np
import pytest

from minisbert.model_files.tokenizer_steps import check_steps
from models import encode_table


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def map_letter(letter, start, strings):
    """Return a table that makes one string of one letter."""
    units = np.zeros(512, np.int64)
    units[0] = 256 << 10  # keys begin at place 256
    place = 256 ^ ord(letter)
    units[place] = ord(letter) | 1 << 8 | 256 << 10  # ends a key, whose value is at place ^ 256
    units[place ^ 256] = 1 << 31 | start
    return encode_table(units, strings)


BERT = {"type": "BertNormalizer", "lowercase": True}
# The normalisers of BERT, ALBERT, XLM-R and Llama, and the pre-tokenizers of RoBERTa and XLM-R.
IN_USE = {
    "bert": (BERT, {"type": "BertPreTokenizer"}),
    "albert": (
        {
            "type": "Sequence",
            "normalizers": [
                replace("``", '"'),
                replace("''", '"'),
                {"type": "NFKD"},
                {"type": "StripAccents"},
                {"type": "Lowercase"},
                map_letter("a", 0, b"b\0"),
                replace(" {2,}", " ", "Regex"),
            ],
        },
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
    ),
    "xlm-roberta": (
        {
            "type": "Sequence",
            "normalizers": [
                map_letter("a", 0, b"b" * 18 + b"\0"),
                {"type": "Strip", "strip_left": False, "strip_right": True},
                replace(" {2,}", "▁", "Regex"),
            ],
        },
        {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "WhitespaceSplit"},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
            ],
        },
    ),
    "llama": (
        {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")],
        },
        None,
    ),
    "roberta": (None, {"type": "ByteLevel", "add_prefix_space": False}),
}


@pytest.mark.parametrize("name", IN_USE)
def test_steps_in_use(name):
    """The steps of tokenizers in use are taken."""
    normalizer, pre_tokenizer = IN_USE[name]
    check_steps({"normalizer": normalizer, "pre_tokenizer": pre_tokenizer})


@pytest.mark.parametrize(
    ("steps", "growth"),
    [
        ([replace("a", "a" * 10)] * 8, "100"),
        ([replace("ab", "a" * 130)], "65"),
        ([replace("a{2}", "a" * 130, "Regex")], "65"),
        ([replace("a*", "a" * 64, "Regex")], "65"),
        ([{"type": "Prepend", "prepend": "aaa"}] * 4, "256"),
        ([{"type": "ByteLevel"}] * 4, "256"),
        ([{"type": "Metaspace"}] * 7, "128"),
        ([map_letter("a", 0, b"a" * 18 + b"\0")] * 3, "324"),
        ([map_letter("a", 0, b"a" * 2000 + b"\0")], "112"),
        ([BERT, {"type": "Sequence", "normalizers": [replace("a", "a" * 65)]}], "65"),
    ],
)
@pytest.mark.parametrize("kind", ["normalizer", "pre_tokenizer"])
def test_growing_steps(steps, growth, kind):
    """Steps that could make more than 64 characters of one are refused."""
    name = "normalizers" if kind == "normalizer" else "pretokenizers"
    with pytest.raises(ValueError, match=f"at most 64 characters of one, got {growth} with"):
        check_steps({kind: {"type": "Sequence", name: steps}})


@pytest.mark.parametrize("kind", ["Replace", "Split"])
def test_pattern_without_bound(kind):
    """A pattern of a normaliser or a pre-tokenizer whose time has no bound is refused."""
    step = {"type": kind, "pattern": {"Regex": "(x+x+)+y"}, "content": ""}
    for field in ("normalizer", "pre_tokenizer"):
        with pytest.raises(ValueError, match=r"the time of its pattern '\(x\+x\+\)\+y' must be"):
            check_steps({field: step})


LABELS = np.arange(256)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"type": "Precompiled", "precompiled_charsmap": "%"}, "base64"),
        ({"type": "Precompiled"}, "base64"),
        ({"type": "Precompiled", "precompiled_charsmap": ""}, "too short"),
        ({"type": "Precompiled", "precompiled_charsmap": "////f2FiY2Q="}, "too short"),
        (encode_table(np.zeros(255)), "too short"),
        (encode_table(np.full(256, 0x7FFFFFFF) - 256 + LABELS), "beyond its end"),
        (encode_table(np.zeros(300)), "beyond its end"),
        (encode_table(LABELS | 1 << 18), "beyond its end"),
        (map_letter("a", 5, b"abc\0"), "beyond its end"),
        (map_letter("a", 1, "é\0".encode()), "whole characters"),
        (encode_table(np.zeros(256), b"\xff\0"), "UTF-8"),
    ],
)
def test_broken_table(step, sentence):
    """A table of characters that points beyond its end, or into a character, is refused."""
    with pytest.raises(ValueError, match=f"precompiled_charsmap must .*{sentence}|{sentence}"):
        check_steps({"normalizer": step})


@pytest.mark.parametrize(
    "content",
    [[], 7, {}, {"normalizer": 7}, {"normalizer": {"type": "Sequence", "normalizers": 7}}],
)
def test_other_types_are_left_to_the_library(content):
    """What is no object of steps is not judged here."""
    check_steps(content)
