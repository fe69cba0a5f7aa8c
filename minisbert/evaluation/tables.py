"""Read texts and labels from CSV, TSV or JSON lines, and find their columns.

The caller names the columns, or they are recognised by their names in the first line, or by the
layout of two published files without such a line: the STS benchmark and a four-column sample of
SNLI.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from minisbert.arguments import (
    parse_number,
    parse_whole_number,
    shorten,
    shorten_name,
    shorten_names,
)
from minisbert.system.regular_files import shorten_path
from minisbert.system.text_files import file_error, read_lines, read_table_rows

# Groups of names of text columns; the first group that a file has completely is used. Names are
# compared folded: in lower case, without underscores, hyphens and spaces.
TEXT_NAMES = (
    *(("anchor", "positive", "negative"), ("query", "positive", "negative")),
    *(("query", "pos", "neg"), ("premise", "entailment", "contradiction")),
    *(("anchor", "positive"), ("query", "positive"), ("sentence1", "sentence2")),
    *(("sentencea", "sentenceb"), ("text1", "text2"), ("texta", "textb")),
    *(("premise", "hypothesis"), ("question1", "question2"), ("question", "answer")),
    *(("query", "answer"), ("query", "document"), ("query", "passage")),
    *(("first", "second"), ("a", "b")),
)
SCORE_NAMES = ("score", "similarityscore", "similarity", "relatednessscore", "isduplicate")
LABEL_NAMES = (*SCORE_NAMES, "label", "goldlabel", "class")

NO_CONSENSUS = "-"  # SNLI's label of a pair on which the annotators did not agree
# The codes of SNLI's classes where columns are named, and those of the sample without names.
NAMED_CODES = {"0": "entailment", "1": "neutral", "2": "contradiction", "-1": NO_CONSENSUS}
SAMPLE_CODES = {"1": "neutral", "2": "contradiction", "3": "entailment"}


class Table(NamedTuple):
    """Texts and labels of a file.

    names   of the columns of texts, then of that of labels; numbers from 1 without a header
    texts   two or three columns of texts
    labels  as in the file, but classes of SNLI by name; empty without a column of labels
    lines   the line of each example
    scored  whether the labels are known to be scores, by their column's name or by the layout
    best    the highest possible score, by which scores are divided
    """

    names: tuple[str, ...]
    texts: tuple[list[str], ...]
    labels: list[str]
    lines: list[int]
    scored: bool = False
    best: float = 1.0


class TableLayout(NamedTuple):
    """Which columns, counted from 0, hold the texts and the label, and what the labels are.

    width   columns of a line, or the fewest if lines may be `wider`
    header  the names of all columns, if the first line holds them
    codes   label in the file -> name of a class
    """

    width: int
    texts: tuple[int, ...]
    label: int | None = None
    header: Sequence[str] | None = None
    wider: bool = False
    codes: Mapping[str, str] = {}
    scored: bool = False
    best: float = 1.0


STS_BENCHMARK = TableLayout(7, (5, 6), 4, wider=True, scored=True, best=5.0)
SNLI_SAMPLE = TableLayout(4, (2, 3), 0, codes=SAMPLE_CODES)


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    labelled: bool | None = None,
) -> Table:
    """Read the columns of texts and, if there is one, the column of labels.

    path      JSON lines if it ends in .jsonl or .ndjson or the first line starts with "{"; TSV,
              without quotes, if it ends in .tsv or the first line has a tab; else CSV
    columns   of the texts, then of the label, each a name or a number from 1; with numbers alone
              the first line is an example, unless it holds known names. Labels are then used
              unchanged. Default: columns with known names
    labelled  whether the third of three `columns` is a label; one with a label's name always is.
              Default: it is one unless it has the name of a third text, such as negative

    Raises OSError if the file can't be read, ValueError if the columns can't be found or a line is
    malformed; the message names it.
    """
    path = os.fspath(path)
    kind, rows = _open_rows(path)
    number, first = next(rows, (0, []))
    if not first:
        raise file_error(
            path, "must hold examples", "an empty file", remedy="is it the right file?"
        )
    if columns is None:
        layout = _find_layout(first, kind, path)
    else:
        layout = _find_columns(
            first, [str(column) for column in columns], kind, path=path, labelled=labelled
        )
    if layout.header is None:
        rows = chain([(number, first)], rows)
    table = take_columns(rows, layout, path)
    if not table.lines:
        raise file_error(
            path, "must hold examples", "only a header", remedy="is it the right file?"
        )
    if not table.labels or table.labels[0] not in layout.codes:
        return table
    for number, label in zip(table.lines, table.labels, strict=True):
        if label not in layout.codes:
            must = f"must have one of {', '.join(layout.codes)} as its class"
            remedy = "repair the line, or name the columns (--columns) to keep labels as they are"
            raise file_error(path, must, shorten(label), remedy=remedy, line=number)
    return table._replace(labels=[layout.codes[label] for label in table.labels])


def take_columns(
    rows: Iterable[tuple[int, Sequence[Any]]],
    layout: TableLayout,
    path: str,
    *,
    blank: bool = False,
) -> Table:
    """Return the texts and labels of numbered rows as columns.

    Raises ValueError for a row that has too few or too many columns, or a text or label that is
    missing, or is blank although `blank` is false.
    """
    places = layout.texts if layout.label is None else (*layout.texts, layout.label)
    names = tuple(layout.header[place] if layout.header else str(place + 1) for place in places)
    table = Table(names, tuple([] for _ in layout.texts), [], [], layout.scored, layout.best)
    for number, row in rows:
        if len(row) < layout.width or (len(row) > layout.width and not layout.wider):
            must = f"must have {layout.width}{' or more' if layout.wider else ''} columns"
            raise file_error(path, must, len(row), line=number)
        for place, name, column in zip(places, names, (*table.texts, table.labels), strict=False):
            kind = "label" if column is table.labels else "text"
            value = _write_label(row[place]) if kind == "label" else row[place]
            if not isinstance(value, str) or not (blank or value.strip()):
                must = f"must have a {kind} in column {shorten_name(name)}"
                remedy = "fill it in, or leave it out"
                raise file_error(path, must, shorten(row[place]), remedy=remedy, line=number)
            column.append(value)
        table.lines.append(number)
    return table


def _open_rows(path: str) -> tuple[str, Iterator[tuple[int, list[Any]]]]:
    """Return the format of a file, and its rows with their line numbers."""
    lines, head, first = read_lines(path), [], ""
    while not first.strip() and (line := next(lines, None)) is not None:
        head.append(first := line)
    listed = first.startswith("[") and path.lower().endswith(".json")  # refused by `read_objects`
    if path.lower().endswith((".jsonl", ".ndjson")) or first.startswith("{") or listed:
        kind = "JSON"
    else:
        kind = "TSV" if path.lower().endswith(".tsv") or "\t" in first else "CSV"
    # The lines read so far are put back in front, since the file may be a pipe.
    return kind, read_table_rows(chain(head, lines), path, kind)


def _find_layout(row: Sequence[str], kind: str, path: str) -> TableLayout:
    """Find the layout of a file by known names in its first row, or by the values there."""
    texts, folded = _find_text_names(row), [_fold(name) for name in row]
    if texts:
        layout = TableLayout(len(row), tuple(folded.index(name) for name in texts), header=row)
        labels = [place for place, name in enumerate(folded) if name in LABEL_NAMES]
        if len(texts) == 3 or not labels:
            return layout
        if len(labels) > 1:
            got = shorten_names(row[place] for place in labels)
            remedy = "name the columns (--columns)"
            raise file_error(path, "must have one column of labels", got, remedy=remedy)
        scored = folded[labels[0]] in SCORE_NAMES
        codes = NAMED_CODES if texts == ("premise", "hypothesis") and not scored else {}
        return layout._replace(label=labels[0], scored=scored, codes=codes)
    if kind == "TSV" and len(row) >= STS_BENCHMARK.width and math.isfinite(parse_number(row[4])):
        return STS_BENCHMARK
    if kind == "TSV" and len(row) == 4 and row[0] == row[1] and row[0] in SAMPLE_CODES:
        return SNLI_SAMPLE
    must = "must name its columns in the first line, such as sentence1, sentence2, score"
    remedy = "rename them, or say which columns to use (--columns 1,2,3)"
    raise file_error(path, must, shorten_names(map(shorten, row)), remedy=remedy)


def _find_columns(
    row: Sequence[str], columns: Sequence[str], kind: str, *, path: str, labelled: bool | None
) -> TableLayout:
    """Find the layout of the columns that the caller names, or numbers from 1."""
    if len(columns) not in (2, 3):
        raise ValueError(
            "columns must be two texts, three texts, or two texts and a label, "
            f"got {len(columns)}; name 2 or 3"
        )
    folded, places = [_fold(name) for name in row], []
    for column in columns:
        if _fold(column) in folded:
            places.append(row.index(column) if column in row else folded.index(_fold(column)))
        elif column.isdecimal() and 0 < (parse_whole_number(column) or 0) <= len(row):
            places.append(int(column) - 1)
        else:
            raise ValueError(
                f"columns must be among {shorten_names(map(shorten, row))} in "
                f"{shorten_path(path)}, got {shorten(column)}; give such names, or numbers from 1"
            )
    numbers = all(column.isdecimal() for column in columns)
    header = kind == "JSON" or not numbers or _find_text_names(row)
    layout = TableLayout(len(row), tuple(places), header=row if header else None)
    last = folded[places[-1]]
    if labelled is None:
        labelled = last not in {names[2] for names in TEXT_NAMES if len(names) == 3}
    if len(columns) == 2 or not (labelled or last in LABEL_NAMES):
        return layout
    return layout._replace(texts=layout.texts[:2], label=places[2], scored=last in SCORE_NAMES)


def _find_text_names(row: Sequence[str]) -> tuple[str, ...]:
    """Return the first names of TEXT_NAMES that are all in a row, or ()."""
    folded = {_fold(name) for name in row}
    return next((names for names in TEXT_NAMES if folded.issuperset(names)), ())


def _fold(name: str) -> str:
    return name.strip().lower().replace("_", "").replace("-", "").replace(" ", "")


def _write_label(value: Any) -> str:
    """Return a label as a string, "" if it can't be one; true and false of JSON become 1 and 0."""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).strip() if isinstance(value, (str, int, float)) else ""
