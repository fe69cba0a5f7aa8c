"""Special and other added tokens, which a directory may name in four files.

    tokenizer_config.json    special tokens by name, a list of more, and a table of all by id
    special_tokens_map.json  special tokens again; unread where the table is there
    added_tokens.json        ids of added tokens; unread where the table is there
    tokenizer.json           its own added tokens; unread where the table is there, unless the class
                             takes all of that file

An added token is found in a text before its words are. The later file wins, as in transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from minisbert.arguments import shorten
from minisbert.system.json_fields import COUNT, Fields, Rule, read_fields
from minisbert.system.regular_files import shorten_path

# A token, with or without the rules for finding it in a text.
Token = str | AddedToken

_TABLE = "added_tokens_decoder"
_EXTRA, _OLD_EXTRA = "extra_special_tokens", "additional_special_tokens"
# The order in which transformers adds them.
_NAMES = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def _is_token(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return (
        isinstance(value, dict)
        and isinstance(value.get("content"), str)
        and all(isinstance(value.get(flag, False), bool) for flag in _FLAGS)
    )


# A special token is a string, or an object that holds one and how it is found in a text.
_TOKEN = Rule("a token", _is_token)
_TOKENS = Rule(
    "a list of tokens, or an object of them",
    lambda value: (
        isinstance(value, (list, dict))
        and all(map(_is_token, value if isinstance(value, list) else value.values()))
    ),
)
_ROW = re.compile("[0-9]{1,9}")
_TOKEN_TABLE = Rule(
    "an object of tokens by their ids",
    lambda value: (
        isinstance(value, dict)
        and all(_ROW.fullmatch(key) and _is_token(value[key]) for key in value)
    ),
)


@dataclass(frozen=True)
class AddedTokens:
    """The added and special tokens in the files of a directory.

    named   special tokens by name
    extra   more special tokens
    listed  all added tokens, by id
    files   where `listed` is from
    """

    named: Mapping[str, Token]
    extra: Sequence[Token]
    listed: Mapping[int, AddedToken]
    files: str

    def find_texts(self) -> dict[str, str]:
        """Return the special tokens by name, as they are spelt."""
        return {name: _spell(token) for name, token in self.named.items()}

    def add_to(self, tokenizer: tokenizers.Tokenizer) -> None:
        """Add all tokens to a tokenizer that lacks them.

        Raises ValueError for a token that has another id in a file than the library gives it.
        """
        present = tokenizer.get_added_tokens_decoder().values()
        new: list[Token] = [self.listed[row] for row in sorted(self.listed)]
        spelt = {_spell(token) for token in (*present, *new)}
        more = [
            token for token in (*self.named.values(), *self.extra) if _spell(token) not in spelt
        ]
        new += {repr(token): token for token in more}.values()  # each once, in order
        named = set(self.find_texts().values())
        tokenizer.add_tokens([_make_special(token, named) for token in new])
        for row, token in self.listed.items():
            got = tokenizer.token_to_id(token.content)
            if got != row:
                raise ValueError(
                    f"ids in {self.files} must be those that follow from the vocabulary, got {row} "
                    f"for {shorten(token.content)}, which follows as {got}; correct the file"
                )


def read_added_tokens(
    directory: Path,
    options: Fields,
    *,
    own: Mapping[str, str],
    own_extra: Sequence[str],
    mask_takes_space: bool,
    stored: Mapping[int, AddedToken],
    needed: Sequence[str],
) -> AddedTokens:
    """Read a directory's special and added tokens.

    options           of tokenizer_config.json
    own               special tokens of the class, by name
    own_extra         more of them, where no file names any
    mask_takes_space  whether the mask token includes a space before it, where no file says so
    stored            the added tokens in tokenizer.json, by id
    needed            names that must have a token

    Raises ValueError naming the field and its file.
    """
    table = options.find(_TABLE, _TOKEN_TABLE, None)
    map_path, ids_path = directory / "special_tokens_map.json", directory / "added_tokens.json"
    special_map, ids = Fields(map_path, {}), Fields(ids_path, {})
    if table is None:
        special_map, ids = (read_fields(path, missing_ok=True) for path in (map_path, ids_path))

    named: dict[str, Token | None] = dict(own)
    for fields, flags in ((options, {}), (special_map, {"special": True})):
        for name, value in fields.content.items():
            if name in _NAMES:
                found = fields.find(name, _TOKEN, *([] if name in needed else [None]))
                named[name] = found and _make_token(found, **flags)
            elif name.endswith("_token") and _is_token(value):
                named[name] = _make_token(value, **flags)

    mask = named.get("mask_token")
    if mask_takes_space and isinstance(mask, str):
        named["mask_token"] = AddedToken(mask, lstrip=True, special=True)

    # A list under the new name wins over one under the old name, whatever their files.
    new, old = (options.find(name, _TOKENS, None) for name in (_EXTRA, _OLD_EXTRA))
    map_new, map_old = (special_map.find(name, _TOKENS, None) for name in (_EXTRA, _OLD_EXTRA))
    if not new and _OLD_EXTRA in options.content:
        new, old = old, None
    extra: list[Token] = []
    for found, flags in ((new, {}), (map_new, {"special": True})):
        if isinstance(found, dict):
            named |= {name: _make_token(value, **flags) for name, value in found.items()}
        else:
            extra += [_make_token(value, **flags) for value in found or []]
    # transformers looks for the tokens of added_tokens.json among these before it reads the objects
    # of tokenizer_config.json.
    plain = {**options.content, **{name: named.get(name) for name in special_map.content}}
    special = {
        _spell(token)
        for token in (*map(plain.get, _NAMES), *(new or ()), *(map_new or ()))
        if isinstance(token, Token)
    }
    if not any(isinstance(found, list) for found in (new, map_new)):
        found = map_old if map_old is not None else old
        extra = [_make_token(value) for value in (own_extra if found is None else found)]

    if table is not None:
        listed = {int(row): _make_added(value) for row, value in table.items()}
        files = f"{_TABLE} in {shorten_path(options.path)}"
    else:
        listed = {
            row: AddedToken(content, normalized=content not in special, special=content in special)
            for content, row in _check_ids(ids).items()
        }
        files = shorten_path(ids_path if listed else directory / "tokenizer.json")
        listed |= stored
    return AddedTokens(
        {name: token for name in (*_NAMES, *named) if (token := named.get(name)) is not None},
        extra,
        listed,
        files,
    )


def _check_ids(ids: Fields) -> Mapping[str, int]:
    if not all(map(COUNT.accepts, ids.content.values())):
        raise ValueError(
            f"{shorten_path(ids.path)} must hold tokens and their ids, got "
            f"{shorten(ids.content)}; {COUNT.advice}"
        )
    return ids.content


def _spell(token: Token) -> str:
    return token if isinstance(token, str) else token.content


def _make_token(value: Any, **flags: bool) -> Token:
    return value if isinstance(value, str) else _make_added(value, **flags)


def _make_added(value: Any, **flags: bool) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value)
    return AddedToken(value["content"], **{f: value[f] for f in _FLAGS if f in value} | flags)


def _make_special(token: Token, named: set[str]) -> AddedToken:
    """Return a token that is special if it was, if it is a string, or if a special one's name."""
    if isinstance(token, str):
        return AddedToken(token, special=True)
    if token.content in named:
        token.special = True
    return token
