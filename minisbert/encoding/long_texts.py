"""Long texts, cut where the tokenizer starts afresh, so that little more is tokenised than is read.

The library tokenises a text as a whole, at some 500 bytes of memory a token and without a look at
Ctrl-C. Most of a long text is left out afterwards. So a long text is cut into pieces, and only as
many are tokenised as the model reads. The tokens are the same, since a cut is made only where

    tokens(a + b) = tokens(a) + tokens(b)

which holds between two characters if every step of the tokenizer can be split there:

1. Added tokens are found first. None may reach over the cut: they hold no space after their first
   character, and take in none to their right.
2. The normaliser works on the two sides independently: normal(a + b) = normal(a) + normal(b). Its
   steps look at single characters, at combining marks after a letter, at graphemes, or at runs of
   spaces. A space never joins what is before it, and a run of spaces is not divided, except where
   the pre-tokenizer drops spaces anyway. That the letters before a cut give no spaces, and that the
   space stays one, is tried out with each of them, when the first long text comes.
3. The pre-tokenizer begins a new word at the space, as those of BERT, RoBERTa and sentencepiece do;
   the model sees one word at a time.

BERT's pre-tokenizer also isolates punctuation and Chinese characters. So there is a cut on both
sides of them, if no added token stands there. Its WordPiece makes one unknown token of a word of
more than 100 characters, whatever comes after these, so the rest of the word need not be read.

Without a cut (a word of megabytes, or a tokenizer with other steps) a text is tokenised whole, up
to LONGEST_PIECE characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain

import tokenizers
from tokenizers import models

from minisbert.model_files.tokenizer_library import check_unicode, encode_text
from minisbert.model_files.tokenizer_steps import Step, list_steps

# A text of at most so many characters is tokenised as a whole; so long are the pieces of others.
PIECE = 8192
# So many characters are tokenised at least, so that the tokens of most texts are counted exactly.
COUNTED = 4 * PIECE
# The longest piece, when there is no place to cut: half a second's work.
LONGEST_PIECE = 1 << 18
# The search for a cut looks at so many characters in one call, which Ctrl-C has to wait for.
_WINDOW = 1 << 16

# Ranges of characters, each by its first and its last. None of the letters is a mark that joins
# the letter before it, none is divided by a pre-tokenizer, and each gives a letter in any normal
# form (tests/encoding/test_long_texts.py holds this).
_LETTERS = ("09", "AZ", "az", "ÀÖ", "Øö", "øſ", "Ѐҁ", "Ҋԯ")
_MORE_LETTERS = ("ΑΡ", "Σω", "את", "ؠي", "აჺ")
_SYLLABLES = ("ぁゖ", "ァヺ", "가힣")
_IDEOGRAPHS = ("\u4e00\u9fff",)
_PUNCTUATION = ("!/", ":@", "[`", "{~")
_SPACES = " \t\n\r"

# Normalisers that look at a character and the marks after it, not at what is further away.
_LOCAL_NORMALIZERS = {
    *("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"),
    *("BertNormalizer", "Precompiled"),
}

_WORD = re.compile("[0-9A-Za-z]*")


class TextCutter:
    """The places where a tokenizer starts afresh; its tokenizer must not change any more."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer

    def cut(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield start and end of each piece of a text, in order; together they are the text."""
        start = 0
        while start < len(text):
            end = self._find_cut(text, start + PIECE)
            yield start, end
            start = end

    def shorten_words(self, piece: str, index: int) -> str:
        """Return a piece with the same tokens, without the rest of words that are unknown anyway.

        Raises ValueError naming the text's index if the piece is too long then.
        """
        if len(piece) > 2 * PIECE and self._unknown_words is not None:
            piece = self._unknown_words.sub(r"\1", piece)
        if len(piece) > LONGEST_PIECE:
            raise ValueError(
                f"inputs must have at most {LONGEST_PIECE:,} characters without a space or another "
                f"place where the model's tokenizer starts afresh, got {len(piece):,} at index "
                f"{index}; shorten or split the text"
            )
        return piece

    def _find_cut(self, text: str, place: int) -> int:
        """Return the first cut at a place or after it, the text's end if there is none."""
        if self._cuts is None:
            return len(text)
        while place < len(text):
            end = min(place + _WINDOW, len(text))
            # There is no cut between two letters, and this goes through them sooner.
            place = max(place, _WORD.match(text, place, end).end() - 1)  # type: ignore[union-attr]
            match = self._cuts.search(text, place, end)
            if match and not self._is_inside_token(text, match.start()):
                return match.start()
            place = match.start() + 1 if match else end
        return len(text)

    def _is_inside_token(self, text: str, place: int) -> bool:
        """Whether an added token may reach over a place."""
        return any(
            text.find(token, max(0, place - len(token) + 1), place + len(token) - 1) >= 0
            for token in self._added
        )

    @cached_property
    def _added(self) -> list[str]:
        """The spelling of the added tokens."""
        return [token.content for token in self._added_tokens]

    @cached_property
    def _added_tokens(self) -> list[tokenizers.AddedToken]:
        return list(self._tokenizer.get_added_tokens_decoder().values())

    @cached_property
    def _steps(self) -> tuple[list[Step], list[Step]]:
        """The steps of the normaliser and of the pre-tokenizer."""
        return list_steps(self._tokenizer)

    @cached_property
    def drops_spaces(self) -> bool:
        """Whether spaces only divide words: any number of them gives the same tokens."""
        kinds = [step.get("type") for step in self._steps[1]]
        return bool(kinds) and kinds[0] in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")

    def count(self, piece: str, index: int) -> int:
        """Count the tokens of a piece, without special ones; `index` is for the error."""
        if self.drops_spaces and not piece.strip(_SPACES) and self._spaces_are_plain:
            return 0
        piece = self.shorten_words(piece, index)
        encoding = encode_text(self._tokenizer, piece, index=index, add_special_tokens=False)
        return len(encoding)

    @cached_property
    def _spaces_are_plain(self) -> bool:
        """Whether no added token is a space."""
        return not any(token.isspace() for token in self._added)

    @cached_property
    def _is_bert(self) -> bool:
        """Whether the words are exactly BERT's, with added tokens that need no look around them."""
        normalizers, pre_tokenizers = self._steps
        return (
            [step.get("type") for step in pre_tokenizers] == ["BertPreTokenizer"]
            and {step.get("type") for step in normalizers} <= {"BertNormalizer", "Lowercase"}
            and not any(token.normalized or token.single_word for token in self._added_tokens)
        )

    @cached_property
    def _unknown_words(self) -> re.Pattern[str] | None:
        """Words that WordPiece never looks at, in two parts: enough of them, and the rest."""
        model = self._tokenizer.model
        if not (self._is_bert and isinstance(model, models.WordPiece)):
            return None
        most = model.max_input_chars_per_word
        # No added token may lie inside the rest, or reach into it from outside.
        mark = _write_set(*_PUNCTUATION)
        marks = re.compile(f"[{mark}].*[{mark}]", re.DOTALL)
        if most > PIECE or not all(len(a) <= most and marks.fullmatch(a) for a in self._added):
            return None
        letters = _write_set(*_LETTERS, *_SYLLABLES)
        return re.compile(f"([{letters}]{{{most + 1}}})[{letters}]+")

    @cached_property
    def _cuts(self) -> re.Pattern[str] | None:
        """A pattern that matches, without taking a character, where a text can be cut."""
        steps, spaces = self._steps[0], self._find_spaces()
        if (
            not spaces
            or any(self._joins_spaces(step) for step in steps)
            or not self._keeps_spaces()
        ):
            return None
        ranges = (_LETTERS, _MORE_LETTERS, _SYLLABLES, _IDEOGRAPHS, _PUNCTUATION)
        divided = [each for each in ranges if self._divides_after(each, spaces)]
        if not divided:
            return None
        before = _write_set(*chain(*divided))
        if not self.drops_spaces:
            return re.compile(f"(?<=[{before}])(?=[{spaces}])")
        cuts = f"(?<=[{before}{spaces}])(?=[{spaces}])"
        if self._is_bert:
            isolates = any(step.get("handle_chinese_chars") for step in steps)
            isolated = _write_set(*_PUNCTUATION, *(_IDEOGRAPHS if isolates else ()))
            joined = _write_set(*_LETTERS, *_SYLLABLES)
            cuts += f"|(?<=[{isolated}])(?=[{isolated}{joined}])|(?<=[{joined}])(?=[{isolated}])"
        return re.compile(cuts)

    def _find_spaces(self) -> str:
        """Return the spaces at which the pre-tokenizer begins a word, "" if it may not."""
        if self.drops_spaces:
            return _SPACES
        # Others may only divide words further, at characters that are no spaces.
        dividing = [step for step in self._steps[1] if not _divides_locally(step)]
        if len(dividing) != 1:
            return ""
        (step,) = dividing
        if step.get("type") == "ByteLevel" and step.get("use_regex", True):
            # A piece that begins with another space than " " would get a prefix.
            return " " if step.get("add_prefix_space", True) else " \n"
        is_metaspace = step.get("type") == "Metaspace" and step.get("replacement") == "▁"
        return " " if is_metaspace and step.get("split", True) else ""

    def _keeps_spaces(self) -> bool:
        """Whether no added token can reach over a cut before a space."""
        return not any(
            token.rstrip or re.search(r"\s|▁", form[1:])
            for token in self._added_tokens
            for form in (token.content, self._normalize(token.content))
        )

    def _joins_spaces(self, step: Step) -> bool:
        """Whether a normaliser may look over a cut before a space."""
        kind = step.get("type")
        if kind == "Strip":
            return bool(step.get("strip_left"))
        if kind == "Replace":
            pattern = step.get("pattern", {})
            of_spaces = pattern.get("Regex") in (" {2,}", r"\s+", r"\s{2,}", " +")
            if of_spaces or pattern.get("String") == " ":
                # A pre-tokenizer that drops spaces does not drop "▁".
                return step.get("content") not in ((" ",) if self.drops_spaces else (" ", "▁"))
            word = pattern.get("String", " ") + step.get("content", "")
            return re.search(r"\s|▁", word) is not None
        return kind not in _LOCAL_NORMALIZERS

    def _divides_after(self, ranges: tuple[str, ...], spaces: str) -> bool:
        """Whether each character of some ranges is normalised apart from a space after it."""
        if {step.get("type") for step in self._steps[0]}.isdisjoint(("Replace", "Precompiled")):
            return True  # Unicode's own forms are known to do so
        characters = [
            chr(code) for each in ranges for code in range(ord(each[0]), ord(each[1]) + 1)
        ]
        for space in spaces:
            after = self._normalize(f"{space}a")
            own = self._normalize(f"{space}a".join([*characters, ""])).split(after)
            if not re.match(r"\s|▁", after) or len(own) != len(characters) + 1 or own.pop():
                return False
            if not self.drops_spaces and any(re.search(r"[\s▁]$", form) for form in own):
                return False
            if not all(form.strip() for form in own):
                return False
        return True

    def _normalize(self, text: str) -> str:
        normalizer = self._tokenizer.normalizer
        return text if normalizer is None else normalizer.normalize_str(text)


class LongText:
    """A text of which no more is tokenised than is asked for.

    count    tokens so far, without special ones
    is_read  whether these are all
    """

    def __init__(self, cutter: TextCutter, text: str, *, index: int, from_end: bool) -> None:
        check_unicode(text, index)
        self._cutter, self._text, self._index, self._from_end = cutter, text, index, from_end
        pieces: Iterable[tuple[int, int]] = cutter.cut(text)
        self._pieces = iter(list(pieces)[::-1] if from_end else pieces)
        self._kept: list[tuple[int, int]] = []
        self._left = len(text)
        self.count = 0

    @property
    def is_read(self) -> bool:
        return self._left == 0

    def read(self, most: int) -> None:
        """Read until there are `most` tokens, and to the end of a text that isn't too long."""
        while not self.is_read and (self.count < most or len(self._text) - self._left < COUNTED):
            self.read_piece(keep=self.count < most)

    def read_piece(self, keep: bool = False) -> None:
        """Tokenise one more piece, and count its tokens."""
        start, end = next(self._pieces)
        count = self._cutter.count(self._text[start:end], self._index)
        self._left -= end - start
        self.count += count
        if keep and (count or not self._cutter.drops_spaces):
            self._kept.append((start, end))

    @property
    def kept(self) -> str:
        """A text with the tokens of the pieces that were kept, in order."""
        text, last = "", None
        for start, end in sorted(self._kept):
            # A space in place of pieces without tokens, for words to stay apart.
            text += " " * (last not in (None, start))
            text += self._cutter.shorten_words(self._text[start:end], self._index)
            last = end
        return text


def _divides_locally(step: Step) -> bool:
    """Whether a pre-tokenizer divides words at digits or punctuation, wherever they stand."""
    kind = step.get("type")
    isolates = step.get("behavior", "Isolated") in ("Isolated", "Contiguous")
    return kind == "Digits" or (kind == "Punctuation" and isolates)


def _write_set(*ranges: str) -> str:
    """Write ranges as the inside of a set in a regular expression."""
    return "".join(f"{re.escape(each[0])}-{re.escape(each[1])}" for each in ranges)
