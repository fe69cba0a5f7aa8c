"""Texts to token ids, by the model's own tokenizer file.

The tokenizer is configured once, when it is loaded: reconfiguring it while another thread uses it
fails. Truncation and padding that a tokenizer file sets are turned off, since they often differ
from the model's. Texts are truncated here, after their tokens are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import normalizers

from minisbert.arrays import Array
from minisbert.model_files.tokenizers import read_tokenizer
from minisbert.system.json_fields import Rule, one_of, read_fields

_INPUT_NAMES = Rule(
    "a list of texts",
    lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
)


@dataclass(frozen=True)
class TokenIds:
    """Tokenised texts or pairs.

    ids      B arrays (T,)  int64, truncated to the limit, special tokens kept
    lengths  (B,)           int64, tokens of each text before truncation
    types    B arrays (T,)  int64, 0 for the first text of a pair and 1 for the second, or None
    """

    ids: list[Array]
    lengths: Array
    types: list[Array] | None = None


class Tokenizer:
    """The tokenizer of a model directory, as `model_files.tokenizers.read_tokenizer` finds it.

    With `do_lower_case` texts are lower-cased first, as sentence-transformers does; nothing changes
    where the tokenizer does so anyway.

    Raises FileNotFoundError if there is no tokenizer, ValueError if it can't be read or used.
    """

    def __init__(self, directory: Path, do_lower_case: bool = False) -> None:
        self._directory = directory = Path(directory)
        options = read_fields(directory / "tokenizer_config.json", missing_ok=True)
        self._tokenizer = read_tokenizer(directory, options)
        stored = self._tokenizer.truncation or {"direction": "right"}
        side = options.find("truncation_side", one_of("right", "left"), stored["direction"])
        self._cut_front = side == "left"
        # Token types tell the two texts of a pair apart; some models have none.
        inputs = options.find("model_input_names", _INPUT_NAMES, ["token_type_ids"])
        self._gives_types = "token_type_ids" in inputs
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if do_lower_case:
            own = self._tokenizer.normalizer
            steps = [normalizers.Lowercase()] + ([] if own is None else [own])
            self._tokenizer.normalizer = normalizers.Sequence(steps)
        self._check_any_text()

    def _check_any_text(self) -> None:
        """Refuse a tokenizer that fails for a rare letter, or gives no token for an empty text."""
        try:
            self._tokenizer.encode("\U00012000")  # hardly any vocabulary has this letter
        except Exception as error:  # the library raises the bare class
            raise ValueError(
                f"the tokenizer in {self._directory} must read any text, got an error for a rare "
                f"letter ({error}); add an unknown token to it"
            ) from None
        if not self._tokenizer.encode("").ids:
            raise ValueError(
                f"the tokenizer in {self._directory} must put special tokens around a text, "
                "got none for an empty one; add a post-processor to it"
            )

    def check_vocabulary(self, vocab_size: int) -> None:
        """Check that all ids are rows of a word table of `vocab_size` rows, else ValueError."""
        # The ids of special tokens come from the post-processor and may not be in the vocabulary.
        largest = max(*self._tokenizer.get_vocab().values(), *self._tokenizer.encode("").ids)
        if largest >= vocab_size:
            raise ValueError(
                f"ids of the tokenizer in {self._directory} must be below {vocab_size}, the "
                f"vocab_size of the model, got {largest}; the tokenizer may be another model's"
            )

    def encode(self, texts: Sequence[str], max_length: int) -> TokenIds:
        """Tokenise texts, special tokens included, and truncate them to `max_length` tokens.

        Texts are tokenised one at a time, since the library's batches start threads that don't
        survive a fork. Batches would save 0.1 ms per text, a hundredth of the network's time.

        Raises ValueError naming the index of a text that is not valid Unicode.
        """
        ids = []
        lengths = np.empty(len(texts), np.int64)
        for index, text in enumerate(texts):
            encoding = self._encode_one(index, text)
            token_ids = np.array(encoding.ids, np.int64)
            lengths[index] = len(token_ids)
            if len(token_ids) > max_length:
                special = np.array(encoding.special_tokens_mask, bool)
                token_ids = _truncate_text(
                    token_ids, special, max_length, cut_front=self._cut_front
                )
            ids.append(token_ids)
        return TokenIds(ids, lengths)

    def encode_pairs(self, pairs: Sequence[tuple[str, str]], max_length: int) -> TokenIds:
        """Tokenise pairs of texts; truncate the longer text of a pair until both fit.

        The tokenizer's post-processor joins a pair: [CLS] a [SEP] b [SEP] with segments 0 and 1 in
        BERT, <s> a </s></s> b </s> without segments in RoBERTa.

        Raises ValueError naming the index of a pair that is not valid Unicode.
        """
        ids, types = [], []
        lengths = np.empty(len(pairs), np.int64)
        for index, pair in enumerate(pairs):
            encoding = self._encode_one(index, pair[0], pair[1])
            lengths[index] = len(encoding)
            token_ids = np.array(encoding.ids, np.int64)
            token_types = np.array(encoding.type_ids, np.int64)
            if len(encoding) > max_length:
                kept = _truncate_pair(encoding, max_length, self._cut_front)
                token_ids, token_types = token_ids[kept], token_types[kept]
            ids.append(token_ids)
            types.append(token_types)
        return TokenIds(ids, lengths, types if self._gives_types else None)

    def name_tokens(self, text: str, max_length: int) -> list[str]:
        """Return the tokens that `encode` makes of a text, as they are spelt in the text.

        With any tokenizer, a token that continues a word begins with "##", as in WordPiece, and a
        special token is its name.
        """
        encoding = self._encode_one(0, text)
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
        return np.array(
            [len(self._encode_one(index, text)) for index, text in enumerate(texts)], np.int64
        )

    def _encode_one(self, index: int, text: str, second: str | None = None) -> tokenizers.Encoding:
        """Tokenise one text, or the two of a pair; `index` is for the error."""
        try:
            return self._tokenizer.encode(text, second)
        except TypeError:
            # The library raises the same error for a text that can't be written in UTF-8.
            if not isinstance(text, str) or not isinstance(second, (str, type(None))):
                raise
            raise ValueError(
                f"inputs must be valid Unicode, got a lone surrogate at index {index}; "
                'replace it with text.encode("utf-8", "replace").decode()'
            ) from None


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


def _truncate_pair(encoding: tokenizers.Encoding, max_length: int, cut_front: bool) -> Array:
    """Choose the tokens to keep of a pair that is too long.  -> (max_length,) positions

    Special tokens stay. The longer text loses tokens until both are equally long, then both do
    (`longest_first` in transformers). An odd token stays with the longer text, with the second if
    both are equally long.
    """
    owner = np.array([-1 if text is None else text for text in encoding.sequence_ids])
    special, first, second = (np.flatnonzero(owner == text) for text in (-1, 0, 1))
    room = max_length - len(special)
    short = min(len(first), len(second), room // 2)
    count = room - short if len(first) > len(second) else short  # of the first text
    if cut_front:
        first, second = first[len(first) - count :], second[len(second) - room + count :]
    else:
        first, second = first[:count], second[: room - count]
    return np.sort(np.concatenate([special, first, second]))
