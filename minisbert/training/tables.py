"""Files of examples as tables: CSV, TSV or JSON lines, and which columns are texts and label.

The columns are those that the caller names, or found by their names in the first line, or those of
two published layouts that have no such line: the STS benchmark and a four-column sample of SNLI.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from minisbert.system.json_fields import shorten
from minisbert.system.text_files import read_json_lines, read_lines, read_rows

# Names are compared folded: in lower case, without underscores, hyphens and spaces.
TEXT_NAMES = (
    ("anchor", "positive", "negative"),
    ("query", "positive", "negative"),
    ("query", "pos", "neg"),
    ("premise", "entailment", "contradiction"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("sentence1", "sentence2"),
    ("sentencea", "sentenceb"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "answer"),
    ("query", "answer"),
    ("query", "document"),
    ("query", "passage"),
    ("first", "second"),
    ("a", "b"),
)
SCORE_NAMES = ("score", "similarityscore", "similarity", "relatednessscore", "isduplicate")
LABEL_NAMES = (*SCORE_NAMES, "label", "goldlabel", "class")

NO_CONSENSUS = "-"  # SNLI's label of a pair on which the annotators did not agree
# The codes of SNLI's classes where columns are named, and those of the sample without names.
NAMED_CODES = {"0": "entailment", "1": "neutral", "2": "contradiction", "-1": NO_CONSENSUS}
SAMPLE_CODES = {"1": "neutral", "2": "contradiction", "3": "entailment"}


class Table(NamedTuple):
    """The texts and the labels of a file, with nothing yet made of the labels.

    names   the columns: of the texts, then of the label if there is one; numbers without a header
    texts   two or three columns of texts, none of them blank
    labels  what stands in the label's column, classes of SNLI by name; empty without a label
    lines   the line of each example
    scored  whether the label is known to be a score, by its name or by the layout
    best    the score that stands for 1
    """

    names: tuple[str, ...]
    texts: tuple[list[str], ...]
    labels: list[str]
    lines: list[int]
    scored: bool
    best: float


class Layout(NamedTuple):
    """Where the texts and the label stand, counted from 0, and what is known of the label."""

    texts: tuple[int, ...]
    label: int | None
    header: bool = True
    codes: Mapping[str, str] = {}
    scored: bool = False
    best: float = 1.0


STS_BENCHMARK = Layout((5, 6), 4, header=False, scored=True, best=5.0)
SNLI_SAMPLE = Layout((2, 3), 0, header=False, codes=SAMPLE_CODES)


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    labelled: bool | None = None,
) -> Table:
    """Read the columns of texts and, if there is one, the column of labels.

    Parameters
    ----------
    path : str or PathLike
        JSON lines if the name ends in .jsonl or .ndjson or the first line starts with "{"; without
        quotes and parted by tabs if it ends in .tsv or the first line has a tab; else CSV.
    columns : sequence of str, optional
        The columns of the texts, then of the label, each a name or a number from 1. With numbers
        alone the first line is an example, unless it holds names that are known. Labels are taken
        as they stand.
    labelled : bool, optional
        Whether the third of three `columns` is a label; one with a label's name always is. Default:
        unless it has the name of a third text, such as negative.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If the columns can't be found, or a line is malformed; the message names it.
    """
    path = os.fspath(path)
    kind, rows = _read_rows(path)
    number, first = next(rows, (0, []))
    if not first:
        raise ValueError(f"{path} must hold examples, got an empty file; is it the right file?")
    if columns is None:
        layout = _find_layout(first, kind, path)
    else:
        layout = _find_columns(first, [str(column) for column in columns], kind, path, labelled)
    if not layout.header:
        rows = chain([(number, first)], rows)
    places = layout.texts if layout.label is None else (*layout.texts, layout.label)
    names = tuple(first[place] if layout.header else str(place + 1) for place in places)
    table = Table(names, tuple([] for _ in layout.texts), [], [], layout.scored, layout.best)
    # The STS benchmark's lines have columns more, of sources, or none.
    expected = "7 columns or more" if layout is STS_BENCHMARK else f"{len(first)} columns"
    for number, row in rows:
        where = f"line {number} of {path}"
        if len(row) != len(first) and not (layout is STS_BENCHMARK and len(row) >= 7):
            raise ValueError(f"{where} must have {expected}, got {len(row)}; repair the line")
        for column, place, name in zip(table.texts, layout.texts, names, strict=False):
            column.append(_read_text(row[place], where, name))
        if layout.label is not None:
            table.labels.append(_read_label(row[layout.label], where, names[-1]))
        table.lines.append(number)
    if not table.lines:
        raise ValueError(f"{path} must hold examples, got only a header; is it the right file?")
    return _decode_labels(table, layout.codes, path)


def _read_rows(path: str) -> tuple[str, Iterator[tuple[int, list[Any]]]]:
    """The format, then the line and the fields of each row."""
    lines = read_lines(path)
    head: list[str] = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    first = head[-1] if head else ""
    lines = chain(head, lines)  # joined again, not opened again: it may be a pipe
    if path.lower().endswith((".jsonl", ".ndjson")) or first.startswith("{"):
        return "JSON", _read_objects(lines, path)
    tabs = path.lower().endswith(".tsv") or "\t" in first
    return "TSV" if tabs else "CSV", read_rows(lines, path, tabs)


def _read_objects(lines: Iterator[str], path: str) -> Iterator[tuple[int, list[Any]]]:
    """The names of the first object of JSON lines, then what each object has under them."""
    names = None
    for number, entry in read_json_lines(lines, path):
        if not isinstance(entry, dict):
            raise ValueError(
                f"line {number} of {path} must be a JSON object, got {shorten(entry)}; "
                "repair the line"
            )
        if names is None:
            names = list(entry)
            yield number, names
        yield number, [entry.get(name) for name in names]


def _find_layout(row: Sequence[str], kind: str, path: str) -> Layout:
    """The layout that the first row tells, by known names or by its values."""
    texts = _find_text_names(row)
    if texts:
        return _find_named(row, texts, path)
    if kind == "TSV" and len(row) >= 7 and math.isfinite(read_number(row[4])):
        return STS_BENCHMARK
    if kind == "TSV" and len(row) == 4 and row[0] == row[1] and row[0] in SAMPLE_CODES:
        return SNLI_SAMPLE
    raise ValueError(
        f"{path} must name its columns in the first line, such as sentence1, sentence2, score, "
        f"got {', '.join(map(shorten, row))}; rename them, or say which columns to use "
        "(--columns 1,2,3)"
    )


def _find_text_names(row: Sequence[str]) -> tuple[str, ...]:
    """The known names of texts that a row holds, the first in the table above; () without any."""
    folded = {_fold(name) for name in row}
    return next((names for names in TEXT_NAMES if folded.issuperset(names)), ())


def _find_named(row: Sequence[str], texts: tuple[str, ...], path: str) -> Layout:
    """The layout of a header with known names of texts: two may have a label."""
    folded = [_fold(name) for name in row]
    places = tuple(folded.index(name) for name in texts)
    labels = [place for place, name in enumerate(folded) if name in LABEL_NAMES]
    if len(texts) == 3 or not labels:
        return Layout(places, None)
    if len(labels) > 1:
        raise ValueError(
            f"{path} must have one column of labels, "
            f"got {', '.join(row[place] for place in labels)}; "
            "say which columns to use (--columns)"
        )
    scored = folded[labels[0]] in SCORE_NAMES
    codes = NAMED_CODES if texts == ("premise", "hypothesis") and not scored else {}
    return Layout(places, labels[0], codes=codes, scored=scored)


def _find_columns(
    row: Sequence[str], columns: Sequence[str], kind: str, path: str, labelled: bool | None
) -> Layout:
    """The layout that the caller names."""
    if len(columns) not in (2, 3):
        raise ValueError(
            "columns must be two texts, three texts, or two texts and a label, "
            f"got {len(columns)} columns; name 2 or 3"
        )
    folded = [_fold(name) for name in row]
    places = []
    for column in columns:
        if _fold(column) in folded:
            places.append(row.index(column) if column in row else folded.index(_fold(column)))
        elif column.isdecimal() and 0 < int(column) <= len(row):
            places.append(int(column) - 1)
        else:
            raise ValueError(
                f"columns must be among {', '.join(map(shorten, row))} in {path}, got {column!r}; "
                "give such names, or numbers from 1"
            )
    numbers = all(column.isdecimal() for column in columns)
    header = kind == "JSON" or not numbers or bool(_find_text_names(row))
    last = folded[places[-1]]
    if labelled is None:
        labelled = last not in {names[2] for names in TEXT_NAMES if len(names) == 3}
    if len(columns) == 2 or not (labelled or last in LABEL_NAMES):
        return Layout(tuple(places), None, header)
    return Layout(tuple(places[:2]), places[2], header, scored=last in SCORE_NAMES)


def _fold(name: str) -> str:
    return name.strip().lower().replace("_", "").replace("-", "").replace(" ", "")


def _read_text(value: Any, where: str, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(
            f"{where} must have a text in column {name}, got {shorten(value)}; "
            "fill it in, or leave the line out"
        )
    return value


def _read_label(value: Any, where: str, name: str) -> str:
    if isinstance(value, bool):  # of JSON
        return str(int(value))
    label = str(value).strip() if isinstance(value, (str, int, float)) else ""
    if not label:
        raise ValueError(
            f"{where} must have a label in column {name}, got {shorten(value)}; "
            "fill it in, or leave the line out"
        )
    return label


def _decode_labels(table: Table, codes: Mapping[str, str], path: str) -> Table:
    """Classes by name, if the first label is a code."""
    if not table.labels or table.labels[0] not in codes:
        return table
    for number, label in zip(table.lines, table.labels, strict=True):
        if label not in codes:
            raise ValueError(
                f"line {number} of {path} must have one of {', '.join(codes)} as its class, "
                f"got {shorten(label)}; repair the line, or name the columns (--columns) to take "
                "the labels as they stand"
            )
    return table._replace(labels=[codes[label] for label in table.labels])


def read_number(text: str) -> float:
    """The number that a text is, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
