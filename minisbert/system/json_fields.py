"""JSON files, and the rules that their fields must follow.

An error is one sentence that names the field, the file, and what to do.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from minisbert.arguments import shorten, shorten_message
from minisbert.system.regular_files import read_regular, shorten_path


class Rule(NamedTuple):
    """A rule for the value of a field.

    expected  the rule in words, after "must be"
    accepts   the rule as a function of a value
    advice    what to do about a value that breaks it
    """

    expected: str
    accepts: Callable[[Any], bool]
    advice: str = "correct the file, or fetch the model again"


def one_of(*choices: object, advice: str = "anything else is not supported") -> Rule:
    """Return the rule of a field that has only a few values."""
    expected = " or ".join(json.dumps(choice) for choice in choices)
    return Rule(expected, lambda value: value in choices, advice)


def at_least(least: int) -> Rule:
    """Return the rule of a whole number with a lower limit."""
    # Types are compared, since True is an instance of int.
    return Rule(
        f"a whole number of {least} or more", lambda value: type(value) is int and value >= least
    )


COUNT = at_least(0)
SIZE = at_least(1)
FRACTION = Rule(
    "a number of 0 or more, less than 1",
    lambda value: type(value) in (int, float) and 0 <= value < 1,
)
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
STRING = Rule("a string", lambda value: isinstance(value, str))
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
STRINGS = Rule(
    "an object of strings",
    lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
)
DIGEST = Rule(
    "64 hexadecimal digits",
    lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None,
)

REQUIRED: Any = object()
_FETCH_AGAIN = "fetch the model again"


@dataclass(frozen=True)
class Fields:
    """The fields of a JSON object, and the file that holds it."""

    path: Path
    content: Mapping[str, Any]

    def find(self, name: str, rule: Rule, default: Any = REQUIRED) -> Any:
        """Return the value of a field, checked by a rule.

        For a field that is missing or null, return `default` if it is given.

        Raises ValueError naming the field and the file.
        """
        value = self.content.get(name)
        if value is None and default is not REQUIRED:
            return default
        if value is None or not rule.accepts(value):
            actual = "but it is missing" if value is None else f"got {shorten(value)}"
            raise ValueError(
                f"{name} in {shorten_path(self.path)} must be {rule.expected}, {actual}; "
                f"{rule.advice}"
            )
        return value


def read_fields(path: Path, missing_ok: bool = False, *, remedy: str = _FETCH_AGAIN) -> Fields:
    """Read a file that holds one JSON object; with `missing_ok` a missing file has no fields.

    remedy  what to do about a damaged file

    Raises FileNotFoundError, another OSError, or ValueError naming the file.
    """
    try:
        content = read_json(path, remedy=remedy)
    except FileNotFoundError:
        # A link to nothing is a damaged copy, as of a cache, not a file that was never there.
        if missing_ok and not os.path.islink(path):
            return Fields(path, {})
        raise
    if not isinstance(content, dict):
        raise ValueError(
            f"{shorten_path(path)} must hold a JSON object, got {shorten(content)}; {remedy}"
        )
    return Fields(path, content)


def read_json(path: Path, *, remedy: str = _FETCH_AGAIN) -> Any:
    """Read a file that holds any JSON; raises as `read_fields` does."""
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise refuse_missing(path) from None
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{shorten_path(path)} must hold JSON, got something else "
            f"({shorten_message(error)}); {remedy}"
        ) from None


def refuse_missing(path: Path) -> FileNotFoundError:
    """Return the error for a file that is missing in a model directory."""
    return FileNotFoundError(
        f"{shorten_path(path)} must be a file, but there is no such file; "
        f"is {shorten_path(path.parent)} a whole model directory?"
    )


def check_relative(path: str, origin: Path) -> str:
    """Return a path that is written in the file `origin`, if it stays inside the model directory.

    Only the spelling is checked: links may lead out of the directory, as all links in the Hugging
    Face cache do.

    Raises ValueError for a path that leaves the directory, is unprintable, or is too long for a
    file's name.
    """
    leaves = path.startswith("/") or "\\" in path or ":" in path or ".." in path.split("/")
    if leaves or not path.isprintable() or len(path.encode()) > 255:
        raise ValueError(
            f"paths in {shorten_path(origin)} must be relative and stay inside the model directory"
            f", in at most 255 bytes, got {shorten(path)}; don't use this model"
        )
    return path


@contextmanager
def name_origin(origin: Path) -> Iterator[None]:
    """Name the file that a path is from in the errors of reading what is there."""
    try:
        yield
    except OSError as error:
        raise type(error)(f"{error} (the path is from {shorten_path(origin)})") from None
