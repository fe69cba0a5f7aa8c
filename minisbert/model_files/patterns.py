"""Regular expressions of tokenizer files: which of them surely end soon.

The tokenizers library hands them to Oniguruma, which backtracks: `(x+x+)+y` takes 2^n steps for n
letters, and nothing stops a call. So a pattern is taken only if its form bounds its time:

1. What a quantifier repeats is one character, or a group of fixed length without alternatives, so
   a text can be divided among the repetitions in one way only. There are no references.
2. The bounded choices of an alternative (`?`, `{1,3}`, a group of several words) multiply to at
   most 64.
3. After `X+` or `X*`, either nothing can fail, so that no step is taken back; or the pattern's next
   alternative takes the same run: `X+` itself, with only optional things around it. Then each run
   is scanned a few times and left behind, as with the spaces in `\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`.
   Without that, a search for `X+Y` would scan a run of n characters from each of its n characters.

The time is then proportional to the length of a text. The patterns of GPT-2, CLIP, GPT-4, o200k and
sentencepiece are of this form; anything else is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from minisbert.arguments import shorten

# The longest pattern; the most repetitions that a number may ask for, choices, and nested groups.
_LONGEST = 10_000
_MOST_REPEATED = 1000
_MOST_CHOICES = 64
_DEEPEST = 20

# "\p{L}" and "\u00e9" are one character; so are "\d" and "\." .
_ESCAPE = re.compile(
    r"\\(?:[pP]\{\^?\w+\}|x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[^\dpPxu])"
)
_CHARACTERS = frozenset("dDsSwWhHntrfvae")  # letters after a backslash that stand for a character
_PLACES = frozenset("bBAzZ")  # and those that stand for a place between two
_QUANTIFIER = re.compile(r"([?*+]|\{(?=,?\d)(\d*)(,?)(\d*)\})([?+]?)")
_GROUP = re.compile(r"\?(?:[im]*(?:-[im]+)?:|>|(<?[=!]))")


@dataclass
class _Part:
    """A character, a place or a group, with its quantifier.

    text     as written, without the quantifier
    least    characters of its shortest match
    most     characters of its longest match, None for no limit
    choices  ways in which it can match, not counting how often it is repeated without limit
    fails    whether it can fail where it stands
    """

    text: str
    least: int = 1
    most: int | None = 1
    choices: int = 1
    fails: bool = True


@dataclass
class _Alternative:
    """One alternative of a pattern, between two bars."""

    parts: list[_Part] = field(default_factory=list)

    @property
    def least(self) -> int:
        return sum(part.least for part in self.parts)

    @property
    def most(self) -> int | None:
        sizes = [part.most for part in self.parts if part.most is not None]
        return sum(sizes) if len(sizes) == len(self.parts) else None

    @property
    def choices(self) -> int:
        product = 1
        for part in self.parts:
            product = min(product * part.choices, _LONGEST)
        return product

    def find_run(self) -> int | None:
        """Return the place of the first part that is repeated without limit."""
        return next((i for i, part in enumerate(self.parts) if part.most is None), None)

    def backtracks(self) -> bool:
        """Whether something can fail after the first run."""
        run = self.find_run()
        return run is not None and any(part.fails for part in self.parts[run + 1 :])


def check_pattern(pattern: str) -> int:
    """Return the least number of characters that a pattern matches.

    Raises ValueError, with the reason, if its time can't be bounded.
    """
    if len(pattern) > _LONGEST:
        raise ValueError(f"it has {len(pattern):,} characters")
    alternatives, end = _read_alternatives(pattern, 0)
    if end < len(pattern):
        raise ValueError("its parentheses don't match")
    for place, alternative in enumerate(alternatives):
        if alternative.choices > _MOST_CHOICES:
            raise ValueError("it has too many choices")
        if alternative.backtracks() and not _is_left_behind(alternatives, place):
            raise ValueError("it can go back over a run of characters again and again")
    return min(alternative.least for alternative in alternatives)


def _is_left_behind(alternatives: list[_Alternative], place: int) -> bool:
    """Whether one of the next alternatives takes the run that this one may have to give back."""
    run = alternatives[place].find_run()
    if run is None or sum(part.most is None for part in alternatives[place].parts) > 2:
        return False
    parts = alternatives[place].parts
    last = max(i for i, part in enumerate(parts) if part.most is None)
    if last > run and any(part.fails for part in parts[last + 1 :]):
        return False  # n runs of n lengths
    for other in alternatives[place + 1 :]:
        start = other.find_run()
        if start is None or other.parts[start].text != parts[run].text:
            return False
        if any(part.fails for part in other.parts[:start]):
            return False
        if other.parts[start].fails and not other.backtracks():
            return True
    return False


def _read_alternatives(pattern: str, start: int, depth: int = 0) -> tuple[list[_Alternative], int]:
    """Read up to the end of the pattern or of the group; return where that is."""
    if depth > _DEEPEST:
        raise ValueError("its groups are too deep")
    alternatives = [_Alternative()]
    while start < len(pattern) and pattern[start] != ")":
        if pattern[start] == "|":
            alternatives.append(_Alternative())
            start += 1
            continue
        part, start = _read_part(pattern, start, depth)
        quantifier = _QUANTIFIER.match(pattern, start)
        if quantifier:
            part, start = _repeat(part, quantifier), quantifier.end()
            if _QUANTIFIER.match(pattern, start):
                raise ValueError("it repeats a repetition")
        alternatives[-1].parts.append(part)
    return alternatives, start


def _read_part(pattern: str, start: int, depth: int) -> tuple[_Part, int]:
    character = pattern[start]
    if character == "(":
        return _read_group(pattern, start, depth + 1)
    if character == "[":
        end = _end_of_class(pattern, start)
        return _Part(pattern[start:end]), end
    if character == "\\":
        escape = _ESCAPE.match(pattern, start)
        letter = pattern[start + 1 : start + 2]
        is_place = letter in _PLACES
        plain = not letter.isalpha() or letter in _CHARACTERS or letter in "pPxu"
        if escape is None or not (plain or is_place):
            raise ValueError(f"it has {shorten(pattern[start : start + 2])}")
        size = 0 if is_place else 1
        return _Part(escape.group(), size, size), escape.end()
    if character in "^$":
        return _Part(character, 0, 0), start + 1
    if character in "?*+":
        raise ValueError("it repeats nothing")
    return _Part(character), start + 1


def _read_group(pattern: str, start: int, depth: int) -> tuple[_Part, int]:
    kind = _GROUP.match(pattern, start + 1)
    if kind is None and pattern[start + 1 : start + 2] in ("?", "*"):
        raise ValueError(f"it has {shorten(pattern[start : start + 4])}")
    alternatives, end = _read_alternatives(pattern, kind.end() if kind else start + 1, depth)
    if end >= len(pattern):
        raise ValueError("its parentheses don't match")
    sizes = [alternative.most for alternative in alternatives]
    if None in sizes:
        raise ValueError("it repeats without limit inside a group")
    choices = sum(alternative.choices for alternative in alternatives)
    text = pattern[start : end + 1]
    if kind and kind.group(1):  # what stands before or after, which takes no characters
        return _Part(text, 0, 0, choices), end + 1
    least = min(alternative.least for alternative in alternatives)
    most = max(size for size in sizes if size is not None)
    return _Part(text, least, most, choices), end + 1


def _repeat(part: _Part, quantifier: re.Match[str]) -> _Part:
    """Apply a quantifier to a part."""
    sign, low, comma, high, _ = quantifier.groups()
    least = int(low or 0) if sign[0] == "{" else int(sign == "+")
    most: int | None = None
    if sign == "?":
        most = 1
    elif sign[0] == "{" and (high or not comma):
        most = int(high or low or 0)
    largest = max(least, most or 0)
    if largest > _MOST_REPEATED:
        raise ValueError(f"it repeats something {largest:,} times")
    if most is not None and least > most:
        raise ValueError("its numbers are in the wrong order")
    size = part.most or 0
    if most != 1 and not (part.choices == 1 and part.least == size > 0):
        raise ValueError("it repeats something of several lengths or alternatives")
    if size * largest > _MOST_REPEATED:
        raise ValueError("it repeats a repetition")
    return _Part(
        part.text,
        part.least * least,
        None if most is None else size * most,
        part.choices + (0 if most is None else most - least),
        fails=least > 0,
    )


def _end_of_class(pattern: str, start: int) -> int:
    """Return the end of a set of characters in brackets, which may hold others."""
    depth, place = 0, start
    while place < len(pattern):
        character = pattern[place]
        depth += (character == "[") - (character == "]")
        place += 2 if character == "\\" else 1
        if depth == 0:
            return place
    raise ValueError("its brackets don't match")
