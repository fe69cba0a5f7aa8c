"""Files of judged texts: STS pairs with human scores, and retrieval tasks in the layout of BEIR.

They are read as they are published. A malformed line is not skipped but an error that names it: a
measure on a part of a file could not be compared with other results.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minisbert.arguments import (
    parse_number,
    parse_whole_number,
    shorten,
    shorten_name,
    shorten_names,
)
from minisbert.arrays import Array
from minisbert.evaluation.tables import STS_BENCHMARK, TableLayout, take_columns
from minisbert.system.regular_files import shorten_path
from minisbert.system.text_files import file_error, read_lines, read_objects, read_table_rows

STS_OF_THREE_COLUMNS = TableLayout(3, (0, 1), 2)


class StsPairs(NamedTuple):
    """Pairs of texts, and how similar people found them."""

    first: list[str]
    second: list[str]
    scores: Array  # (n,)


def read_sts(path: str | os.PathLike[str]) -> StsPairs:
    """Read pairs of texts with scores from TSV without a header and without quotes.

    A line has three columns (text, text, score), or seven or more as in the STS benchmark (genre,
    file, year, id, score, text, text); the first line says which.

    Raises OSError if the file can't be read, ValueError if it has fewer than two pairs or a line is
    malformed; the message names it.
    """
    path = os.fspath(path)
    rows = [
        (number, row)
        for number, row in read_table_rows(read_lines(path), path, "TSV")
        if "".join(row).strip()
    ]
    if len(rows) < 2:
        must = "must hold two pairs of texts or more"
        raise file_error(path, must, len(rows), remedy="is it the right file?")
    number, first = rows[0]
    if len(first) != 3 and len(first) < STS_BENCHMARK.width:
        must = f"must have 3 columns, or {STS_BENCHMARK.width} or more, separated by tabs"
        raise file_error(path, must, len(first), line=number)
    layout = STS_OF_THREE_COLUMNS if len(first) == 3 else STS_BENCHMARK
    table = take_columns(rows, layout, path, blank=True)
    scores = np.array([parse_number(label) for label in table.labels])
    for number, label, score in zip(table.lines, table.labels, scores, strict=True):
        if not math.isfinite(score):
            remedy = "repair the line, or leave it out if it is a header"
            must = "must have a number as its score"
            raise file_error(path, must, shorten(label), remedy=remedy, line=number)
    return StsPairs(table.texts[0], table.texts[1], scores)


class RetrievalTask(NamedTuple):
    """Documents and queries by their ids, and relevance judgements of some pairs of them."""

    documents: dict[str, str]
    queries: dict[str, str]
    grades: dict[str, dict[str, float]]  # query -> document -> grade, above 0 if it is relevant


def read_beir(directory: str | os.PathLike[str], split: str = "test") -> RetrievalTask:
    """Read corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, the layout of BEIR.

    A document's text is its title, a space and its text, as BEIR and sentence-transformers join
    them. Ids that only the judgements name are kept; `evaluate_retrieval` counts them.

    Raises OSError if a file can't be read, ValueError if a line is malformed or an id appears
    twice; the message names the line.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{shorten_path(folder)} must be a directory with corpus.jsonl, queries.jsonl and "
            "qrels, but there is none; check the path"
        )
    documents = dict(_read_entries(str(folder / "corpus.jsonl")))
    queries = dict(_read_entries(str(folder / "queries.jsonl")))
    path = folder / "qrels" / f"{split}.tsv"
    if not path.is_file():
        splits = shorten_names(sorted(file.stem for file in path.parent.glob("*.tsv"))) or "none"
        raise FileNotFoundError(
            f"split must be one of {shorten_path(path.parent)}, which has {splits}, got "
            f"{shorten_name(split)}; choose another"
        )
    grades: dict[str, dict[str, float]] = {}
    for number, query, document, grade in _read_judgements(str(path)):
        if grades.setdefault(query, {}).setdefault(document, grade) != grade:
            got = f"another grade of {shorten(document)} for {shorten(query)}"
            must, remedy = "must agree with the lines before it", "leave one of them out"
            raise file_error(str(path), must, got, remedy=remedy, line=number)
    return RetrievalTask(documents, queries, grades)


def _read_entries(path: str) -> Iterator[tuple[str, str]]:
    """Yield the id and the text, title first, of each line of corpus.jsonl or queries.jsonl."""
    seen = set()
    for number, entry in read_objects(read_lines(path), path):
        identifier, text, title = (entry.get(name) for name in ("_id", "text", "title"))
        if not isinstance(identifier, str) or not isinstance(text, str):
            raise file_error(path, "must have texts as _id and text", shorten(entry), line=number)
        if not isinstance(title, (str, type(None))):
            remedy = "repair it, or leave it out"
            raise file_error(
                path, "must have a text as title", shorten(title), remedy=remedy, line=number
            )
        if identifier in seen:
            must, remedy = "must have an _id of its own", "leave one of them out"
            raise file_error(path, must, f"{shorten(identifier)} again", remedy=remedy, line=number)
        seen.add(identifier)
        yield identifier, f"{title or ''} {text}".strip()


def _read_judgements(path: str) -> Iterator[tuple[int, str, str, float]]:
    """Yield line, query, document and grade of each line but the first, which is a header."""
    for number, row in read_table_rows(read_lines(path), path, "TSV"):
        got = shorten("\t".join(row).strip())
        grade = parse_whole_number(row[2].strip()) if len(row) == 3 else None
        if number == 1:
            if grade is not None:
                must = "must be the header query-id, corpus-id, score"
                raise file_error(path, must, got, remedy="put one in front", line=number)
        elif grade is not None:
            yield number, row[0], row[1], float(grade)
        elif "".join(row).strip():
            must = "must be a query's id, a document's id and a whole number, separated by tabs"
            raise file_error(path, must, got, line=number)
