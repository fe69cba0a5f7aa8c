"""Checks of arguments, and warnings that point at the caller's line.

Public functions check their arguments before they do any work. An error is one sentence:
"{what} must be {expected}, got {actual}; {what to do}".
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Set
from typing import Any, Literal

import numpy as np

from minisbert.arrays import Array

OnTruncate = Literal["warn", "error", "ignore"]


class TruncationWarning(UserWarning):
    """Some texts were longer than the model's limit and were truncated."""


def shorten(value: object) -> str:
    """Return a value's repr for an error: one line, at most 80 characters, no control characters.

    A repr escapes control characters in strings; those of other objects may span several lines.
    """
    try:
        shown = " ".join(repr(value).split())
    except Exception:  # for example a whole number of more than 4,300 digits
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def check_whole_number(
    name: str,
    value: object,
    least: int = 1,
    *,
    most: int | None = None,
    remedy: str = "pass another number",
) -> int:
    """Return `value` as an int if it is a whole number from `least` to `most`.

    NumPy's integers are whole numbers, bools are not.

    Raises ValueError for anything else; the error text ends with `remedy`.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        expected = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(
            f"{name} must be a whole number {expected}, got {shorten(value)}; {remedy}"
        )
    return int(value)  # type: ignore[call-overload]


def check_positive(name: str, value: int | None) -> int | None:
    """Return a whole number of 1 or more as an int, or None; refuse anything else."""
    if value is None:
        return None
    return check_whole_number(name, value, remedy="leave it out, or pass another number")


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


def check_texts(inputs: Iterable[str], name: str = "inputs") -> list[str]:
    """Return the texts as a list.

    Raises TypeError if `inputs` is not an iterable of str (see `check_rows`); the error text names
    the index of the first object that is not a str.
    """
    check_rows(inputs, name)
    texts = list(inputs)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"{name} must hold only str, got {type(text).__name__} at index {index}; "
                "convert or leave it out"
            )
    return texts


def check_run_options(
    batch_size: int | None,
    convert_to_numpy: bool,
    convert_to_tensor: bool,
    *,
    device: str | None,
    on_truncate: str,
) -> None:
    """Check the options that `encode` and `predict` share.

    Raises TypeError if tensors are asked for, ValueError for any other wrong value.
    """
    check_positive("batch_size", batch_size)
    if convert_to_tensor or not convert_to_numpy:
        raise TypeError(
            "convert_to_tensor must be False and convert_to_numpy True, since minisbert has no "
            "torch; wrap the result in torch.from_numpy"
        )
    check_device(device)
    check_truncation(on_truncate)


def check_device(device: str | None) -> None:
    if device not in (None, "cpu"):
        raise ValueError(
            f'device must be None or "cpu", got {shorten(device)}; leave it out, only CPUs are used'
        )


def check_truncation(on_truncate: str) -> None:
    if on_truncate not in ("warn", "error", "ignore"):
        raise ValueError(
            f'on_truncate must be "warn", "error" or "ignore", got {shorten(on_truncate)}; '
            "choose one"
        )


def report_truncation(lengths: Array, limit: int, on_truncate: OnTruncate) -> None:
    """Warn about texts that are longer than the model's limit, or raise ValueError.

    lengths  (n,)  tokens of each text before truncation
    limit          the most tokens that the model reads
    """
    cut = np.flatnonzero(lengths > limit)
    if on_truncate == "ignore" or not len(cut):
        return
    named = ", ".join(str(index) for index in cut[:5]) + (", ..." if len(cut) > 5 else "")
    message = (
        f"{len(cut)} of {len(lengths)} texts are longer than the {limit} tokens that the model "
        f"reads (the longest has {lengths.max()}; indices {named})"
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
