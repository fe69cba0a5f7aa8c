"""What stands around the work of `encode` and `predict`: arguments, warnings, a progress bar."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from minisbert.arrays import Array

OnTruncate = Literal["warn", "error", "ignore"]


class TruncationWarning(UserWarning):
    """Texts were longer than the model reads, and their ends were left out."""


def read_texts(inputs: Iterable[str], name: str = "inputs") -> list[str]:
    """A list of the texts; TypeError naming the first that is none."""
    if isinstance(inputs, (str, bytes, Mapping)) or not isinstance(inputs, Iterable):
        raise TypeError(
            f"{name} must be an iterable of str, got {type(inputs).__name__}; pass a list of texts"
        )
    texts = list(inputs)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"{name} must hold only str, got {type(text).__name__} at index {index}; "
                "convert or leave it out"
            )
    return texts


def report_truncation(lengths: Array, limit: int, on_truncate: OnTruncate) -> None:
    """Say which texts are longer than the model reads: never cut in silence."""
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
    warn_caller(f"{message}; what is beyond is left out", TruncationWarning)


def warn_caller(message: str, category: type[Warning] = UserWarning, once: bool = False) -> None:
    """Warn of the line that called this package, each time or once, as Python otherwise does."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("minisbert."):
        frame = frame.f_back
    # In an empty registry no sentence was shown before.
    registry = frame.f_globals.setdefault("__warningregistry__", {}) if once else {}
    warnings.warn_explicit(
        message, category, frame.f_code.co_filename, frame.f_lineno, registry=registry
    )


@contextmanager
def progress_bar(
    texts: int | None, shown: bool, what: str = "encode"
) -> Iterator[Callable[[int], Any] | None]:
    """A bar that counts texts, or nothing."""
    if not shown:
        yield None
        return
    from tqdm import tqdm  # imported when wanted: it takes longer than a short encode

    with tqdm(total=texts, unit="text", desc=what) as bar:
        yield bar.update


def check_options(
    batch_size: int | None,
    convert_to_numpy: bool,
    convert_to_tensor: bool,
    device: str | None,
    on_truncate: str,
) -> None:
    """Refuse what neither `encode` nor `predict` can do."""
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
        raise ValueError(f'device must be None or "cpu", got {device!r}; minisbert runs on CPUs')


def check_truncation(on_truncate: str) -> None:
    if on_truncate not in ("warn", "error", "ignore"):
        raise ValueError(f'on_truncate must be "warn", "error" or "ignore", got {on_truncate!r}')


def check_positive(name: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{name} must be a whole number of 1 or more, got {value!r}")


def check_whole_number(
    name: str,
    value: object,
    least: int = 1,
    most: int | None = None,
    remedy: str = "pass another number",
) -> None:
    """Refuse what is not a whole number in a range; ValueError with the remedy as its last words.

    NumPy's integers count as whole numbers, bool does not.
    """
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        expected = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {expected}, got {value!r}; {remedy}")
