"""Regular expressions of tokenizers: those in use are taken, those that may not end are refused."""

import pytest

from minisbert.model_files.patterns import check_pattern

# What tokenizers ship, and the least number of characters that each matches.
IN_USE = {
    "sentencepiece": (" {2,}", 2),
    "spaces": (r"\s+", 1),
    "GPT-2": (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        1,
    ),
    "CLIP": (r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", 1),
    "GPT-4": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        1,
    ),
    "o200k": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        1,
    ),
    "BLOOM": (r" ?[^(\s|[.,!?…。，、।۔،])]+", 1),
    "digits": ("[0-9][0-9][0-9]", 3),
    "quotes": ("``", 2),
    "a group repeated": ("(?:ab){3}", 6),
    "nothing": ("", 0),
    "look around": (r"(?<=x)y(?!z)", 1),
    "a set inside a set": ("[[:alpha:]_]+", 1),
    "braces that are letters": ("a{b}{}", 6),
}

# Without a bound, or with one that can't be seen; and what the refusal says.
REFUSED = {
    r"(x+x+)+y": "inside a group",
    r"(a*)*": "inside a group",
    r"(a|a)*b": "several lengths or alternatives",
    r"(?:a|b|c)+": "several lengths or alternatives",
    r"(?:ab?)*c": "several lengths or alternatives",
    r"(?:\b)*": "several lengths or alternatives",
    r"\s+$": "again and again",
    r"a+b": "again and again",
    r"\s*\s*q": "again and again",
    r"x*x*y|x+": "again and again",
    r"x+q|x|x+": "again and again",
    r"x+y|z?x+q": "again and again",
    r"(\w+)\1": "inside a group",
    r"(x)\1": r"it has '\\\\1'",
    r"\k<a>": r"it has '\\\\k'",
    r"(?<n>a)\g<n>": r"it has '\(\?<n'",
    r"(?x: a )": r"it has '\(\?x:'",
    "a?" * 30 + "a" * 30: "too many choices",
    "(?:x{1000}){1000}": "repeats a repetition",
    "x{99999}": "99,999 times",
    "x{3,1}": "wrong order",
    "a**": "repeats a repetition",
    "*a": "repeats nothing",
    "(": "parentheses",
    ")": "parentheses",
    "[a": "brackets",
    "(" * 5000 + ")" * 5000: "too deep",
    "x" * 10_001: "10,001 characters",
}


@pytest.mark.parametrize("name", IN_USE)
def test_patterns_in_use(name):
    """A pattern that tokenizers ship is taken, with the length of its shortest match."""
    pattern, least = IN_USE[name]
    assert check_pattern(pattern) == least


@pytest.mark.parametrize("pattern", REFUSED, ids=[pattern[:20] for pattern in REFUSED])
def test_refused_patterns(pattern):
    """A pattern whose time has no bound that can be seen is refused with the reason."""
    with pytest.raises(ValueError, match=REFUSED[pattern]):
        check_pattern(pattern)
