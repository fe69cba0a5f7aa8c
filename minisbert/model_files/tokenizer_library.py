"""Every call into the tokenizers library that can fail: loading a file, encoding a text.

The library is written in Rust. What its authors take for impossible ends in a panic, which reaches
Python as a `PanicException`. That class derives from BaseException alone, as KeyboardInterrupt
does, so `except Exception` lets it pass, and it would end a server. Here a panic becomes a
ValueError, as any other failure of the library does; all other exceptions pass.

Rust prints a panic on standard error before it raises. That can't be stopped from Python except by
closing standard error for all threads. So the steps that are known to panic are checked first
(`tokenizer_steps`), and the message of any other panic stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tokenizers

from minisbert.arguments import shorten_message
from minisbert.model_files.tokenizer_steps import check_steps
from minisbert.system.json_fields import refuse_missing
from minisbert.system.regular_files import LARGEST_TOKENIZER, read_regular, shorten_path

# A file without any of these has no step whose time or growth must be checked, and isn't parsed
# twice. The last is an escape that could spell one of the others.
_RISKS = re.compile(rb"Regex|Replace|Prepend|Precompiled|\\u00[0-7]")
_GROWING = (b"ByteLevel", b"Metaspace")  # used once or twice, and named by decoders, too


def load_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """Read a tokenizer.json.

    Raises OSError if the file can't be read, ValueError naming it if it is no tokenizer, or one
    whose time or memory can't be bounded.
    """
    try:
        content = read_regular(path, LARGEST_TOKENIZER)
    except FileNotFoundError:
        raise refuse_missing(path) from None
    try:
        if _RISKS.search(content) or any(content.count(name) > 4 for name in _GROWING):
            check_steps(json.loads(content.decode("utf-8")))
        return tokenizers.Tokenizer.from_buffer(content)
    except BaseException as error:
        if isinstance(error, (ValueError, RecursionError)) or _is_failure(error):
            raise ValueError(
                f"{shorten_path(path)} must be a tokenizer file, got something else "
                f"({_tell(error)}); fetch the model again"
            ) from None
        raise


@contextmanager
def refuse_failures(
    path: Path,
    must: str = "must be a tokenizer file, got something else",
    remedy: str = "fetch the model again",
) -> Iterator[None]:
    """Turn what the library raises into a ValueError about a path; other exceptions pass."""
    try:
        yield
    except BaseException as error:
        if not _is_failure(error):
            raise
        raise ValueError(f"{shorten_path(path)} {must} ({_tell(error)}); {remedy}") from None


def encode_text(
    tokenizer: tokenizers.Tokenizer,
    text: str,
    second: str | None = None,
    *,
    index: int = 0,
    add_special_tokens: bool = True,
) -> tokenizers.Encoding:
    """Tokenise one text, or the two of a pair; `index` is for the error.

    Raises ValueError naming the index if the text is not valid Unicode, or the library fails.
    """
    try:
        return tokenizer.encode(text, second, add_special_tokens=add_special_tokens)
    except TypeError:
        # The library raises the same error for a text that can't be written in UTF-8.
        if isinstance(text, str) and isinstance(second, (str, type(None))):
            check_unicode(f"{text}{second}", index)
        raise
    except BaseException as error:
        if not _is_failure(error):
            raise
        raise ValueError(
            "inputs must be texts that the model's tokenizer can read, but it failed at index "
            f"{index} ({_tell(error)}); change the text, or fetch the model again"
        ) from None


def check_unicode(text: str, index: int) -> None:
    """Check that a text can be written in UTF-8, else ValueError naming its index."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"inputs must be valid Unicode, got a lone surrogate at index {index}; "
            'replace it with text.encode("utf-8", "replace").decode()'
        ) from None


def _is_failure(error: BaseException) -> bool:
    """Whether the library raised it: the bare class, or a panic, whose class can't be imported."""
    kind = type(error)
    return kind is Exception or (
        kind.__name__ == "PanicException" and kind.__module__.startswith("pyo3")
    )


def _tell(error: BaseException) -> str:
    """Return an exception's message in one line; a file may have written any part of it."""
    return shorten_message(str(error).removeprefix("Cannot instantiate Tokenizer from buffer: "))
