"""The steps of a tokenizer.json, checked before the library runs them: their time and their growth.

A file of 3 kB can ask for gigabytes: eight steps, each of which replaces a letter by ten, make 10^8
letters of one. The library runs the steps already while it loads the file, on its added tokens. So
their growth is bounded here, their patterns by `patterns`, and their tables of characters are
checked, which the library reads without looking at the limits.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

import numpy as np
import tokenizers

from minisbert.arguments import shorten
from minisbert.model_files.patterns import check_pattern

# How many characters the steps may make of one. Those of tokenizers in use make at most 4: a
# Metaspace puts "▁" before each word, and in byte-level BPE every byte becomes a character.
MOST_GROWTH = 64

# Unicode's compatibility decomposition makes at most 18 characters of one (of U+FDFA). It changes
# nothing that it has made, so all steps that normalise count once, and not in MOST_GROWTH.
_NORMALIZED_CHARACTERS = 18

# The fields that tokenizer.json has for one step.
Step = Mapping[str, Any]


def list_steps(tokenizer: tokenizers.Tokenizer) -> tuple[list[Step], list[Step]]:
    """Return the steps of a tokenizer's normaliser and of its pre-tokenizer, in order.

    A part that is written in Python has one step of the type "unknown".
    """
    normalizer, pre_tokenizer = map(_read_part, (tokenizer.normalizer, tokenizer.pre_tokenizer))
    return normalizer, pre_tokenizer


def _read_part(part: Any) -> list[Step]:
    if part is None:
        return []
    try:
        content = json.loads(part.__getstate__())
    except Exception:
        return [{"type": "unknown"}]
    return [step for step in _unfold(content) if step["type"] != "Sequence"]


def check_steps(content: Any) -> None:
    """Check the normaliser and the pre-tokenizer of the content of a tokenizer.json.

    What has the wrong type is left to the library, which refuses it.

    Raises ValueError with what is wrong.
    """
    if not isinstance(content, dict):
        return
    growth, tables = 1, 0
    for step in (*_unfold(content.get("normalizer")), *_unfold(content.get("pre_tokenizer"))):
        pattern = step.get("pattern")
        least = _measure_pattern(pattern) if isinstance(pattern, dict) else 1
        kind = step.get("type")
        if kind == "Replace":
            growth *= _measure_replacement(len(str(step.get("content", ""))), least)
        elif kind == "Prepend":
            growth *= 1 + len(str(step.get("prepend", "")))
        elif kind == "ByteLevel":
            growth *= 4
        elif kind == "Metaspace":
            growth *= 2
        elif kind == "Precompiled":
            longest = _check_table(step.get("precompiled_charsmap"))
            tables += 1
            growth *= longest if tables > 1 else max(1, ceil(longest / _NORMALIZED_CHARACTERS))
        if growth > MOST_GROWTH:
            raise ValueError(
                f"its steps must make at most {MOST_GROWTH} characters of one, got {growth:,} "
                f"with the step {shorten(kind)}"
            )


def _unfold(step: Any) -> Iterator[Step]:
    """Yield a step, and if it is a sequence, those in it, in order."""
    waiting = [step]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            yield step
            for name in ("normalizers", "pretokenizers"):
                if isinstance(step.get(name), list):
                    waiting.extend(reversed(step[name]))


def _measure_pattern(pattern: Step) -> int:
    """Return the least number of characters that a pattern matches."""
    if not isinstance(pattern.get("Regex"), str):
        return len(str(pattern.get("String", "")))
    try:
        return check_pattern(pattern["Regex"])
    except ValueError as error:
        raise ValueError(
            f"the time of its pattern {shorten(pattern['Regex'])} must be bounded, but {error}"
        ) from None


def _measure_replacement(size: int, least: int) -> int:
    """Return how many characters a replacement by `size` characters makes of one, at most."""
    # A pattern that matches nothing can match between any two characters.
    return max(1, ceil(size / least)) if least else 1 + size


def _check_table(encoded: Any) -> int:
    """Check sentencepiece's table of characters; return the most characters that it makes of one.

    The table is a number of bytes, a trie of that size, and strings that each end in a zero. The
    trie is a "double array" (Aoe 1989): a unit has a label (its byte), and an offset; the unit for
    the next byte of a key stands at its own place XOR its offset XOR that byte. Every unit is
    checked as if it could be reached, so the places of all bytes lie in the array.
    """
    try:
        table = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ValueError("its precompiled_charsmap must be in base64") from None
    size = int.from_bytes(table[:4], "little")
    strings = np.frombuffer(table[4 + size :], np.uint8)
    try:
        longest = max(map(len, table[4 + size :].decode("utf-8").split("\0")))
    except UnicodeDecodeError:
        raise ValueError("the strings of its precompiled_charsmap must be UTF-8") from None
    if len(table) < 4 + size or size < 1024 or size % 4:
        raise ValueError("its precompiled_charsmap must hold a trie, and is too short")
    units = np.frombuffer(table, "<u4", size // 4, 4).astype(np.int64)
    label = units & 0x800000FF
    inner = label < 256  # others hold the value of a key, the place of its string
    following = np.arange(len(units)) ^ ((units >> 10) << ((units & 512) >> 6))
    is_key = inner & (units >> 8 & 1 == 1)
    in_array = (following | 255) < len(units)
    starts = units[following[is_key & in_array]] & 0x7FFFFFFF
    if not in_array[inner].all() or (starts > len(strings)).any():
        raise ValueError("its precompiled_charsmap must not point beyond its end")
    starts = starts[starts < len(strings)]
    if (strings[starts] & 0xC0 == 0x80).any():  # the middle of a character in UTF-8
        raise ValueError("its precompiled_charsmap must point at whole characters")
    return longest
