"""A matrix of numbers between words, for the eye: in a terminal, or as a picture.

The picture needs matplotlib (`pip install minisbert[plots]`).
"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from minisbert.arrays import Array
from minisbert.system.disk import write_file

LONGEST = 16  # columns of a word beside the rows, lines of one above the columns
CELL = 5  # a number of three digits with its sign, and its shade

# From little to much, of the largest number.
SHADES = " ░▒▓█"
# Backgrounds of the 256 colours of terminals: to red where numbers are positive, to blue elsewhere.
REDS, BLUES = (0, 224, 217, 210, 203), (0, 189, 153, 117, 75)


def write_heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Array,
    color: bool = False,
    width: int | None = None,
) -> str:
    """The numbers in hundredths with their shades, in as many panels as the width takes.

    values  (R, C)                of rows and columns
    color   with ANSI colours     instead of shades
    width   columns of the page   the terminal's if left out
    """
    width = width or shutil.get_terminal_size().columns
    label = max(count_columns(shorten_word(word)) for word in rows)
    count = max(1, (width - label) // CELL)
    lines: list[str] = []
    for start in range(0, len(columns), count):
        part = slice(start, start + count)
        lines += [""] * bool(lines)
        lines += _write_header(columns[part], label)
        for word, numbers in zip(rows, values[:, part], strict=True):
            cells = "".join(_write_cell(x, np.abs(values).max(), color) for x in numbers)
            lines.append((pad(shorten_word(word), label) + cells).rstrip())
    lines.append(f"{values.sum():.4f} together, in hundredths")
    return "\n".join(lines)


def _write_header(columns: Sequence[str], label: int) -> Iterator[str]:
    """The words above their columns, top down, so that the last letter stands by the numbers."""
    words = [shorten_word(word) for word in columns]
    height = max(map(len, words))
    for line in range(height):
        letters = [word.rjust(height)[line] for word in words]
        yield (
            " " * label + "".join(" " * 3 + pad(letter, CELL - 3) for letter in letters)
        ).rstrip()


def _write_cell(value: float, largest: float, color: bool) -> str:
    share = abs(value) / largest if largest > 0 else 0.0
    step = min(int(share * len(SHADES)), len(SHADES) - 1)
    number = f"{100 * value:{CELL - 1}.0f}"
    number = number.replace("-0", " 0")
    if not color:
        return number + SHADES[step]
    background = (REDS if value > 0 else BLUES)[step]
    return f"\x1b[30;48;5;{background}m{number} \x1b[0m" if step else number + " "


def shorten_word(word: str) -> str:
    """A word that a terminal can show on one line, and not too long."""
    word = "".join(letter if letter.isprintable() else "·" for letter in word)
    return word if len(word) <= LONGEST else word[: LONGEST - 1] + "…"


def count_columns(text: str) -> int:
    """Columns that a text takes in a terminal: two for a wide letter, none for a mark on one."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def pad(text: str, width: int) -> str:
    return text + " " * (width - count_columns(text))


def draw_heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Array, title: str, path: Path
) -> None:
    """Write the matrix as a picture, of the kind that the path's suffix names.

    Raises ModuleNotFoundError where matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    R, C = values.shape
    figure, axes = pyplot.subplots(
        figsize=(2.5 + 0.42 * C, 1.8 + 0.36 * R), constrained_layout=True
    )
    largest = float(np.abs(values).max()) or 1.0
    image = axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest)
    # A dollar sign would begin a formula.
    axes.set_xticks(
        range(C), [shorten_word(word).replace("$", r"\$") for word in columns], rotation=90
    )
    axes.set_yticks(range(R), [shorten_word(word).replace("$", r"\$") for word in rows])
    axes.tick_params(length=0)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, label="what a pair of tokens adds", shrink=0.8)
    with write_file(path) as file:
        figure.savefig(file, format=path.suffix[1:], dpi=150)
    pyplot.close(figure)
