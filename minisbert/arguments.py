"""Checks of arguments, and warnings that point at the caller's line.

Public functions check their arguments before they do any work. An error is one sentence:
"{what} must be {expected}, got {actual}; {what to do}".
"""

from __future__ import annotations

import contextlib
import math
import numbers
import operator
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Literal

import numpy as np

from minisbert.arrays import Array

OnTruncate = Literal["warn", "error", "ignore"]

# The largest numbers of int64, which NumPy counts rows in, and of float32, which networks use.
LARGEST_WHOLE_NUMBER = 2**63 - 1
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


class TruncationWarning(UserWarning):
    """Some texts were longer than the model's limit and were truncated."""


def shorten(value: object) -> str:
    """Return a value's repr for an error: one line, at most 80 characters, no control characters.

    A repr escapes control characters in strings; those of other objects may span several lines.
    """
    if isinstance(value, (str, bytes, bytearray)):
        value = value[:100]  # so that no copy of megabytes is made
    try:
        shown = escape(" ".join(repr(value).split()))
    except Exception:  # for example a whole number of more than 4,300 digits
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def shorten_name(name: str) -> str:
    """Return a name for an error: as it is if it is short and printable, else as `shorten` does."""
    return name if len(name) <= 80 and name.isprintable() else shorten(name)


def shorten_names(names: Iterable[str]) -> str:
    """Return names for an error, separated by commas: the first ten of many."""
    names = list(names)
    shown = ", ".join(map(shorten_name, names[:10]))
    return shown if len(names) <= 10 else f"{shown}, ... ({len(names)} in all)"


def shorten_message(error: object) -> str:
    """Return another package's message for an error: one line of at most 160 characters."""
    shown = escape(" ".join(str(error)[:1000].split()))
    return shown if len(shown) <= 160 else shown[:157] + "..."


def escape(text: str) -> str:
    """Return a text with control characters and the like as Python escapes them: \\x1b, \\n.

    A terminal would obey them. Characters are kept that `str.isprintable` allows.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def check_whole_number(
    name: str,
    value: object,
    least: int = 1,
    *,
    most: int | None = None,
    remedy: str = "pass another number",
) -> int:
    """Return `value` as an int if it is a whole number from `least` to `most`.

    Whatever Python takes as an index is a whole number, such as NumPy's integers, but no bool.
    Without `most` the limit is LARGEST_WHOLE_NUMBER. Use the result, not the argument: a sum of
    small NumPy integers wraps around.

    Raises ValueError for anything else; the error text ends with `remedy`.
    """
    number = None
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            number = operator.index(value)  # type: ignore[arg-type]
    largest = LARGEST_WHOLE_NUMBER if most is None else most
    if number is None or not least <= number <= largest:
        open_ended = most is None and (number is None or number < least)
        expected = f"of {least} or more" if open_ended else f"from {least} to {largest}"
        raise ValueError(
            f"{name} must be a whole number {expected}, got {shorten(value)}; {remedy}"
        )
    return number


def check_positive(
    name: str, value: int | None, *, remedy: str = "leave it out, or pass another number"
) -> int | None:
    """Return a whole number of 1 or more as an int, or None; refuse anything else."""
    return None if value is None else check_whole_number(name, value, remedy=remedy)


def check_number(
    name: str,
    value: object,
    least: float = 0.0,
    *,
    most: float = LARGEST_FLOAT32,
    above: bool = False,
    remedy: str = "pass another number",
) -> float:
    """Return `value` as a float if it is a number from `least` to `most`.

    Python's and NumPy's numbers are taken, but no bool, no NaN, and infinity only if `most` is.
    With `above` the number must be larger than `least`.

    Raises ValueError for anything else; the error text ends with `remedy`.
    """
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not (least < number if above else least <= number) or number > most:
        expected = f"above {least:g}" if above else f"of {least:g} or more"
        if most != LARGEST_FLOAT32 or most < number < math.inf:
            upper = f", at most {most:g}"
            expected = expected + upper if above else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be a number {expected}, got {shorten(value)}; {remedy}")
    return number


def check_choice(
    name: str, value: object, choices: Iterable[str], *, remedy: str = "choose one"
) -> str:
    """Return `value` if it is one of some names; ValueError lists them for anything else."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}, got {shorten(value)}; {remedy}"
        )
    return value


def parse_whole_number(text: str) -> int | None:
    """Convert a text of at most 18 digits, perhaps with a sign, to an int; None for any other.

    Python's `int` also takes underscores, surrounding blanks and the digits of other scripts, which
    in a file or on a command line are mistakes.
    """
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


def parse_number(text: str) -> float:
    """Convert a text such as -1, .5 or 2e-5 to a float; NaN for any other, and beyond float64.

    Python's `float` also takes underscores, surrounding blanks, the digits of other scripts, and
    the words nan and infinity.
    """
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return math.nan
    number = float(text)
    return number if math.isfinite(number) else math.nan


def check_rows(
    inputs: Any,
    name: str,
    expected: str = "an iterable of str",
    *,
    remedy: str = "pass a list of texts",
) -> None:
    """Refuse what can't be read row by row: a single text, a table, a set, no iterable at all.

    Iterating over a mapping or a table yields the names of its columns, and a set has no order that
    results could follow. A series, one column of a table, has `keys` too, but yields its values.

    expected  for the error

    Raises TypeError.
    """
    table = isinstance(inputs, Mapping) or hasattr(inputs, "keys") or hasattr(inputs, "columns")
    dimensions = getattr(inputs, "ndim", None)
    if (
        isinstance(inputs, (str, bytes, Set))
        or (table and dimensions != 1)
        or dimensions == 0
        or not isinstance(inputs, Iterable)
    ):
        raise TypeError(f"{name} must be {expected}, got {type(inputs).__name__}; {remedy}")


def check_unmasked(values: Any, name: str) -> None:
    """Refuse an array with masked numbers: NumPy would use what lies under the mask.

    Raises ValueError.
    """
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} must have no masked numbers, got {np.sum(values.mask)} of them; "
            "leave out their rows, or fill them"
        )


def read_numbers(values: Any, name: str) -> Array:
    """Return values as an array; refuse rows of different lengths, and what is no real number.

    NumPy would drop imaginary parts and masks, and convert texts.

    Raises ValueError.
    """
    check_unmasked(values, name)
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{name} must be rows of real numbers, got rows of different lengths; "
            "give rows of one length"
        ) from None
    if array.dtype.kind not in "biufO":
        raise ValueError(f"{name} must be real numbers, got {array.dtype}; convert them first")
    return array


def check_texts(inputs: Iterable[str], name: str = "inputs", *, first: int = 0) -> list[str]:
    """Return the texts as a list.

    first  the index of the first text, for the error

    Raises TypeError if `inputs` is not an iterable of str (see `check_rows`); the error text names
    the index of the first object that is not a str.
    """
    check_rows(inputs, name)
    texts = list(inputs)
    for index, text in enumerate(texts, first):
        if not isinstance(text, str):
            raise TypeError(
                f"{name} must hold only str, got {type(text).__name__} at index {index}; "
                "convert it or leave it out"
            )
    return texts


def check_pairs(inputs: Any) -> list[tuple[str, str]]:
    """Return the pairs as a list of tuples; TypeError names the index of anything else."""
    check_rows(
        inputs,
        "inputs",
        "a pair or an iterable of pairs",
        remedy="pass a list of pairs, [(a, b), ...]",
    )
    pairs = list(inputs)
    if len(pairs) == 2 and all(isinstance(text, str) for text in pairs):
        raise TypeError(
            "inputs must be a list of pairs, got a list of two texts; "
            "put the pair in brackets, [(a, b)], or pass it as a tuple"
        )
    for index, pair in enumerate(pairs):
        if (
            isinstance(pair, str)
            or not isinstance(pair, (Sequence, np.ndarray))
            or len(pair) != 2
            or not all(isinstance(text, str) for text in pair)
        ):
            raise TypeError(
                f"inputs must hold only pairs of str, got {type(pair).__name__} "
                f"{shorten(str(pair)[:60])} at index {index}; give two texts for each"
            )
    return [(first, second) for first, second in pairs]


def check_run_options(
    batch_size: int | None, chunk_size: int | None, *, device: object, on_truncate: str
) -> int | None:
    """Check the options that `encode` and `predict` share; return the most inputs in a batch.

    Raises ValueError for a wrong value.
    """
    sizes = [check_positive("batch_size", batch_size), check_positive("chunk_size", chunk_size)]
    for one in device if isinstance(device, (list, tuple)) else [device]:
        check_device(one)
    check_truncation(on_truncate)
    return min((size for size in sizes if size is not None), default=None)


def check_device(device: object) -> None:
    """Refuse every device but the CPU: None, its name, or a torch.device of that type.

    Raises ValueError.
    """
    if device not in (None, "cpu", "cpu:0") and getattr(device, "type", None) != "cpu":
        raise ValueError(
            f'device must be None or "cpu", got {shorten(device)}; leave it out, only CPUs are used'
        )


def check_truncation(on_truncate: str) -> None:
    if on_truncate not in ("warn", "error", "ignore"):
        raise ValueError(
            f'on_truncate must be "warn", "error" or "ignore", got {shorten(on_truncate)}; '
            "choose one"
        )


def report_truncation(
    lengths: Array, limit: int, on_truncate: OnTruncate, *, unread: bool = False
) -> None:
    """Warn about texts that are longer than the model's limit, or raise ValueError.

    lengths  (n,)  tokens of each text before truncation
    limit          the most tokens that the model reads
    unread         whether some have more tokens, since their ends were not tokenised
    """
    cut = np.flatnonzero(lengths > limit)
    if on_truncate == "ignore" or not len(cut):
        return
    named = ", ".join(str(index) for index in cut[:5]) + (", ..." if len(cut) > 5 else "")
    message = (
        f"{len(cut)} of {len(lengths)} texts are longer than the {limit} tokens that the model "
        f"reads (the longest has {'at least ' * unread}{lengths.max()}; indices {named})"
    )
    if on_truncate == "error":
        raise ValueError(f"{message}; shorten or split them, or pass on_truncate='ignore'")
    warn_caller(f"{message}; the rest of each is left out", TruncationWarning)


def warn_caller(message: str, category: type[Warning] = UserWarning, once: bool = False) -> None:
    """Warn with the file and line number of the code that called this package.

    Warn every time, or with `once` only the first time for each line, as Python does by default.
    """
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("minisbert."):
        frame = frame.f_back
    # Python records shown warnings in the registry; an empty one makes it show every warning.
    registry = frame.f_globals.setdefault("__warningregistry__", {}) if once else {}
    warnings.warn_explicit(
        message, category, frame.f_code.co_filename, frame.f_lineno, registry=registry
    )
