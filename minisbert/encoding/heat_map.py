"""Heat maps: a matrix of numbers, with a word for each row and column, as text or as a picture.

Pictures need matplotlib (`pip install minisbert[plots]`).
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from minisbert.arrays import Array
from minisbert.system.disk import write_file

_LONGEST_WORD = 16  # letters; longer words are shortened
_CELL_COLUMNS = 5  # columns of a terminal: a sign, three digits, a shade

# One for each fifth of the largest absolute value.
_SHADES = " ░▒▓█"
# Backgrounds, of the 256 colours of terminals, for positive and for negative numbers.
_REDS, _BLUES = (0, 224, 217, 210, 203), (0, 189, 153, 117, 75)


def write_heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Array,
    *,
    color: bool = False,
    width: int | None = None,
) -> str:
    """Write a matrix in hundredths, with shades, in as many panels as the width requires.

    rows     R       words
    columns  C       words, written downwards above their columns
    values   (R, C)
    color            use ANSI colours instead of shades
    width            columns of the terminal; detected if left out
    """
    width = width or shutil.get_terminal_size().columns
    label = max(count_columns(_shorten_word(word)) for word in rows)
    count = max(1, (width - label) // _CELL_COLUMNS)
    largest = np.abs(values).max()
    lines: list[str] = []
    for start in range(0, len(columns), count):
        part = slice(start, start + count)
        lines += [""] * bool(lines)
        lines += _write_header(columns[part], label)
        for word, numbers in zip(rows, values[:, part], strict=True):
            cells = "".join(_write_cell(number, largest, color) for number in numbers)
            lines.append((_pad(_shorten_word(word), label) + cells).rstrip())
    lines.append(f"{values.sum():.4f} in sum; the cells are in hundredths")
    return "\n".join(lines)


def _write_header(columns: Sequence[str], label: int) -> Iterator[str]:
    """Yield the lines above the numbers: words read downwards, and end just above their column."""
    words = [_shorten_word(word) for word in columns]
    height = max(map(len, words))
    for line in range(height):
        letters = [word.rjust(height)[line] for word in words]
        cells = "".join(" " * 3 + _pad(letter, _CELL_COLUMNS - 3) for letter in letters)
        yield (" " * label + cells).rstrip()


def _write_cell(value: float, largest: float, color: bool) -> str:
    share = abs(value) / largest if largest > 0 else 0.0
    step = min(int(share * len(_SHADES)), len(_SHADES) - 1)
    number = f"{100 * value:{_CELL_COLUMNS - 1}.0f}"
    number = number.replace("-0", " 0")
    if not color:
        return number + _SHADES[step]
    background = (_REDS if value > 0 else _BLUES)[step]
    return f"\x1b[30;48;5;{background}m{number} \x1b[0m" if step else number + " "


def _shorten_word(word: str) -> str:
    """Replace unprintable characters, and shorten a long word."""
    word = "".join(letter if letter.isprintable() else "·" for letter in word)
    return word if len(word) <= _LONGEST_WORD else word[: _LONGEST_WORD - 1] + "…"


def count_columns(text: str) -> int:
    """Count the columns of a text in a terminal: wide letters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def _pad(text: str, width: int) -> str:
    return text + " " * (width - count_columns(text))


def draw_heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Array, *, title: str, path: Path
) -> None:
    """Draw a matrix as a picture, in the format that the path's suffix names.

    Raises ModuleNotFoundError if matplotlib is not installed.
    """
    # Not pyplot, whose backend and figures belong to the whole process.
    from matplotlib.figure import Figure

    R, C = values.shape
    figure = Figure(figsize=(2.5 + 0.42 * C, 1.8 + 0.36 * R), layout="constrained")
    axes = figure.subplots()
    largest = float(np.abs(values).max()) or 1.0
    image = axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest)
    # matplotlib reads a dollar sign as the start of a formula.
    row_names, column_names = (
        [_shorten_word(word).replace("$", r"\$") for word in words] for words in (rows, columns)
    )
    axes.set_xticks(range(C), column_names, rotation=90)
    axes.set_yticks(range(R), row_names)
    axes.tick_params(length=0)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, label="contribution of a pair of tokens", shrink=0.8)
    with write_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=150)
