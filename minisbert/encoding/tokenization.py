"""Texts to token ids, by the model's own tokenizer file.

The tokenizer is configured once, when it is loaded: reconfiguring it while another thread uses it
fails. Truncation and padding that a tokenizer file sets are turned off, since they often differ
from the model's. Texts are truncated here, after their tokens are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

from minisbert.arguments import shorten
from minisbert.arrays import Array
from minisbert.encoding.long_texts import PIECE, LongText, TextCutter
from minisbert.model_files.tokenizer_classes import RARE_LETTER
from minisbert.model_files.tokenizer_library import encode_text, refuse_failures
from minisbert.model_files.tokenizers import lower_case_first, read_tokenizer
from minisbert.system.json_fields import one_of, read_fields
from minisbert.system.regular_files import shorten_path

# A text with capitals, accents, digits, punctuation, other scripts, special tokens and spaces.
_MANY_KINDS = "A  Bird's ÉTÉ, l'été: x-y 12.5 <mask>[MASK] 老鸟 птица the singing\tcats  "

# At most so many words of a vocabulary may be without a row in the word table, and never come out.
_MOST_UNUSED = 1000


@dataclass(frozen=True)
class TokenIds:
    """Tokenised texts or pairs.

    ids      B arrays (T,)  int64, truncated to the limit, special tokens kept
    lengths  (B,)           int64, tokens of each text before truncation
    types    B arrays (T,)  int64, 0 for the first text of a pair and 1 for the second, or None
    unread                  whether the end of some long text was not tokenised: its length is then
                            above the limit, but less than that of the whole text
    """

    ids: list[Array]
    lengths: Array
    types: list[Array] | None = None
    unread: bool = False


class Tokenizer:
    """The tokenizer of a model directory, as `model_files.tokenizers.read_tokenizer` finds it.

    With `do_lower_case` texts are lower-cased first, as sentence-transformers does; nothing changes
    where the tokenizer does so anyway.

    Raises FileNotFoundError if there is no tokenizer, ValueError if it can't be read or used.
    """

    def __init__(self, directory: Path, do_lower_case: bool = False) -> None:
        self._directory = directory = Path(directory)
        self._named = f"the tokenizer in {shorten_path(directory)}"  # for errors
        options = read_fields(directory / "tokenizer_config.json", missing_ok=True)
        with refuse_failures(directory, "must hold a usable tokenizer, but it fails"):
            read = read_tokenizer(directory, options)
            self._tokenizer, self._gives_types, self._frame, self._whose = read
            stored = self._tokenizer.truncation or {"direction": "right"}
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            if do_lower_case:
                lower_case_first(self._tokenizer)
        side = options.find("truncation_side", one_of("right", "left"), stored["direction"])
        self._cut_front = side == "left"
        # The number of rows of the word table, if some tokens have none.
        self._rows: int | None = None
        self._cutter = TextCutter(self._tokenizer)
        self._check_any_text()

    def is_same(self, other: Tokenizer) -> bool:
        """Tell whether another tokenizer has the same words and treats a text of many kinds alike.

        Two that are written in different ways, as before and after saving, can be the same.
        """
        if self._tokenizer.get_vocab() != other._tokenizer.get_vocab():
            return False
        own, theirs = self._try(_MANY_KINDS, "b a"), other._try(_MANY_KINDS, "b a")
        return (own.ids, own.type_ids, self._cut_front, self._gives_types) == (
            *(theirs.ids, theirs.type_ids, other._cut_front, other._gives_types),
        )

    def _check_any_text(self) -> None:
        """Refuse a tokenizer that fails for a rare letter, or gives no token for an empty text."""
        must = "holds a tokenizer that must read any text, got an error for a rare letter"
        remedy = "add an unknown token to it, or fetch the model again"
        with refuse_failures(self._directory, must, remedy):
            self._tokenizer.encode(RARE_LETTER)
        if not self._try("").ids:
            raise ValueError(
                f"{self._named} must put special tokens around a text, got none for an empty one; "
                "add a post-processor to it"
            )

    def _try(self, text: str, second: str | None = None) -> tokenizers.Encoding:
        """Tokenise a text or a pair to see what the tokenizer makes of it."""
        must = "must hold a usable tokenizer, but it fails for a short text"
        with refuse_failures(self._directory, must):
            return self._tokenizer.encode(text, second)

    def check_vocabulary(self, vocab_size: int, *, pairs: bool = False) -> None:
        """Check that the ids that come out are rows of a word table of `vocab_size` rows.

        Special tokens, the unknown token and all words that come out of their own spelling must
        have a row. Other ids may lie beyond the table, as those of tokens that were added to a
        tokenizer without training: `encode` then refuses the texts that have them.

        Raises ValueError.
        """
        vocabulary = self._tokenizer.get_vocab()
        if not vocabulary:
            raise ValueError(
                f"{self._named} must have a vocabulary, got an empty one; fetch the model again"
            )
        # The ids of special tokens come from the post-processor and may not be in the vocabulary.
        always = [*self._try("").ids, *self._try(RARE_LETTER).ids]
        always += self._try("", "").ids if pairs else []
        beyond = {word for word, row in vocabulary.items() if row >= vocab_size}
        self._rows = vocab_size if beyond else None
        words = beyond - {
            token.content for token in self._tokenizer.get_added_tokens_decoder().values()
        }
        if (
            max(always) >= vocab_size
            or len(words) > _MOST_UNUSED
            or self._comes_out(words, vocab_size)
        ):
            largest = max(*vocabulary.values(), *always)
            raise ValueError(
                f"ids of {self._named} must be below {vocab_size}, the vocab_size of the model, "
                f"got {largest}; the tokenizer may be another model's"
            )

    def _comes_out(self, words: Iterable[str], vocab_size: int) -> bool:
        """Whether one of some words has an id beyond the table when it stands in a text."""
        return any(max(self._try(word).ids) >= vocab_size for word in words)

    def check_special_tokens(self, positions: int, segments: int, *, pairs: bool = False) -> None:
        """Check what the tokenizer puts around a text, or around the two of a pair.

        positions  the most tokens that the network reads: there must be room for the text's own
        segments   rows of the network's segment table, 0 if it looks up none

        Raises ValueError.
        """
        encoding = self._try("a", "a" if pairs else None)
        plain = self._tokenizer.encode("a", add_special_tokens=False)
        own = [encoding.sequence_ids.count(text) for text in range(1 + pairs)]
        special = self.count_special(pairs)
        if own != [len(plain)] * (1 + pairs) or sum(own) + special != len(encoding):
            raise ValueError(
                f"{self._named} must put each text between its special tokens once, got a "
                "post-processor that doesn't; the tokenizer may be another model's"
            )
        if special + 1 + pairs > positions:
            raise ValueError(
                f"{self._named} must leave room for the text, got {special} special tokens for "
                f"{positions} positions; the tokenizer may be another model's"
            )
        types = segments if pairs else 1
        if self._gives_types and segments and max(encoding.type_ids) >= types:
            raise ValueError(
                f"token types of {self._named} must be below {types}, got "
                f"{max(encoding.type_ids)}; the tokenizer may be another model's"
            )
        if self._frame is not None:
            self._check_frame(self._gives_types and segments > 0, pairs)

    def _check_frame(self, types: bool, pairs: bool) -> None:
        """Refuse special tokens around texts in tokenizer.json that are not those of its class.

        Versions 4 of transformers keep such tokens, versions 5 don't.
        """
        path = shorten_path(self._directory / "tokenizer.json")
        texts = [("a", None), ("a", "a")][: 1 + pairs]
        found, stored_frame = [], self._tokenizer.post_processor
        for frame in (self._frame, stored_frame):
            self._tokenizer.post_processor = frame
            encodings = [self._try(first, second) for first, second in texts]
            found.append([(encoding.ids, encoding.type_ids * types) for encoding in encodings])
        for own, stored in zip(*found, strict=True):
            if stored != own:
                raise ValueError(
                    f"{path} must put the tokens around a text as {self._whose} does, ids "
                    f"{shorten(own[0])}, got {shorten(stored[0])}; correct one of these files"
                )

    def count_special(self, pairs: bool) -> int:
        """Count the special tokens around a text, or around the two of a pair."""
        return len(self._try("", "" if pairs else None))

    def encode(self, texts: Sequence[str], max_length: int) -> TokenIds:
        """Tokenise texts, special tokens included, and truncate them to `max_length` tokens.

        Texts are tokenised one at a time, since the library's batches start threads that don't
        survive a fork. Batches would save 0.1 ms per text, a hundredth of the network's time.

        Raises ValueError naming the index of a text that is not valid Unicode.
        """
        ids, unread = [], False
        lengths = np.empty(len(texts), np.int64)
        for index, text in enumerate(texts):
            whole = None
            if len(text) > PIECE:
                whole = self._read(text, max_length, index)
                text = whole.kept
            encoding = encode_text(self._tokenizer, text, index=index)
            token_ids = np.array(encoding.ids, np.int64)
            lengths[index] = len(token_ids)
            if whole is not None:
                lengths[index] = whole.count + self.count_special(pairs=False)
                unread |= not whole.is_read
            if len(token_ids) > max_length:
                special = np.array(encoding.special_tokens_mask, bool)
                token_ids = _truncate_text(
                    token_ids, special, max_length, cut_front=self._cut_front
                )
            self._check_rows(token_ids, index)
            ids.append(token_ids)
        return TokenIds(ids, lengths, unread=unread)

    def _read(self, text: str, most: int, index: int) -> LongText:
        """Read as much of a text as `most` tokens need."""
        whole = LongText(self._cutter, text, index=index, from_end=self._cut_front)
        whole.read(most)
        return whole

    def _check_rows(self, token_ids: Array, index: int) -> None:
        """Refuse a text with a token that has no row in the word table, see `check_vocabulary`."""
        if self._rows is not None and (largest := token_ids.max()) >= self._rows:
            raise ValueError(
                f"inputs must have token ids below {self._rows}, the vocab_size of the model, got "
                f"{largest} ({shorten(self._tokenizer.id_to_token(largest))}) at index {index}; "
                "leave that token out"
            )

    def encode_pairs(self, pairs: Sequence[tuple[str, str]], max_length: int) -> TokenIds:
        """Tokenise pairs of texts; truncate the longer text of a pair until both fit.

        The tokenizer's post-processor joins a pair: [CLS] a [SEP] b [SEP] with segments 0 and 1 in
        BERT, <s> a </s></s> b </s> without segments in RoBERTa.

        Raises ValueError naming the index of a pair that is not valid Unicode.
        """
        ids, types, unread = [], [], False
        lengths = np.empty(len(pairs), np.int64)
        for index, pair in enumerate(pairs):
            whole = counts = None
            if len(pair[0]) + len(pair[1]) > PIECE:
                whole = self._read_pair(pair, max_length, index)
                pair = whole[0].kept, whole[1].kept
            encoding = encode_text(self._tokenizer, *pair, index=index)
            token_ids = np.array(encoding.ids, np.int64)
            token_types = np.array(encoding.type_ids, np.int64)
            lengths[index] = len(token_ids)
            if whole is not None:
                counts = whole[0].count, whole[1].count
                lengths[index] = sum(counts) + self.count_special(pairs=True)
                unread |= not (whole[0].is_read and whole[1].is_read)
            if len(token_ids) > max_length:
                kept = _truncate_pair(encoding, max_length, counts, cut_front=self._cut_front)
                token_ids, token_types = token_ids[kept], token_types[kept]
            self._check_rows(token_ids, index)
            ids.append(token_ids)
            types.append(token_types)
        return TokenIds(ids, lengths, types if self._gives_types else None, unread)

    def _read_pair(self, pair: tuple[str, str], most: int, index: int) -> tuple[LongText, LongText]:
        """Read as much of a pair as `most` tokens need, and as tells which text is longer."""
        first, second = (self._read(text, most, index) for text in pair)
        # The longer text keeps an odd token, so the shorter one is counted to its end.
        while not (first.is_read and second.is_read):
            shorter, longer = sorted((first, second), key=lambda text: text.count)
            if shorter.is_read and shorter.count < longer.count:
                break
            (longer if shorter.is_read else shorter).read_piece()
        return first, second

    def name_tokens(self, text: str, max_length: int) -> list[str]:
        """Return the tokens that `encode` makes of a text, as they are spelt in the text.

        With any tokenizer, a token that continues a word begins with "##", as in WordPiece, and a
        special token is its name.
        """
        if len(text) > PIECE:
            text = self._read(text, max_length, 0).kept
        encoding = encode_text(self._tokenizer, text)
        special = np.array(encoding.special_tokens_mask, bool)
        names, last = [], 0
        for name, alone, (start, end) in zip(
            encoding.tokens, special, encoding.offsets, strict=True
        ):
            piece = text[start:end].strip()
            continues = start == last > 0 and text[last - 1 : last].isalnum() and piece.isalnum()
            names.append(name if alone or not piece else "##" * continues + piece)
            last = last if alone else end
        kept = np.arange(len(names))
        if len(names) > max_length:
            kept = _truncate_text(kept, special, max_length, cut_front=self._cut_front)
        return [names[place] for place in kept]

    def count(self, texts: Sequence[str]) -> Array:
        """Count the tokens of each text before truncation, special ones too.  -> (B,) int64"""
        counts = (self._count_one(text, index) for index, text in enumerate(texts))
        return np.fromiter(counts, np.int64, len(texts))

    def _count_one(self, text: str, index: int) -> int:
        if len(text) <= PIECE:
            return len(encode_text(self._tokenizer, text, index=index))
        whole = LongText(self._cutter, text, index=index, from_end=False)
        while not whole.is_read:
            whole.read_piece()
        return whole.count + self.count_special(pairs=False)


def _truncate_text(ids: Array, special: Array, max_length: int, *, cut_front: bool) -> Array:
    """Truncate one text, but keep its special tokens.

    ids        (T,)  token ids, or another array with one element for each token
    special    (T,)  whether a token is a special one
    cut_front        remove tokens at the front instead of the end
    out        (max_length,)
    """
    text = np.flatnonzero(~special)
    surplus = len(ids) - max_length
    return np.delete(ids, text[:surplus] if cut_front else text[-surplus:])


def _truncate_pair(
    encoding: tokenizers.Encoding,
    max_length: int,
    counts: tuple[int, int] | None,
    *,
    cut_front: bool,
) -> Array:
    """Choose the tokens to keep of a pair that is too long.  -> (max_length,) positions

    Special tokens stay. The longer text loses tokens until both are equally long, then both do
    (`longest_first` in transformers). An odd token stays with the longer text, with the second if
    both are equally long.

    counts     tokens of the two texts, if they have more than `encoding` has
    cut_front  remove tokens at the front instead of the end
    """
    owner = np.array([-1 if text is None else text for text in encoding.sequence_ids])
    special, first, second = (np.flatnonzero(owner == text) for text in (-1, 0, 1))
    of_first, of_second = counts or (len(first), len(second))
    room = max_length - len(special)
    short = min(len(first), len(second), room // 2)
    count = room - short if of_first > of_second else short  # of the first text
    if cut_front:
        first, second = first[len(first) - count :], second[len(second) - room + count :]
    else:
        first, second = first[:count], second[: room - count]
    return np.sort(np.concatenate([special, first, second]))
