"""Files of judged texts: STS pairs with human scores, and retrieval tasks in the layout of BEIR.

They are read as they are published. A line that is not what it must be is named by its number,
never left out: a measure over what happened to be readable would be of no use.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.system.json_fields import shorten
from minisbert.system.text_files import read_json_lines, read_lines


class StsPairs(NamedTuple):
    """Pairs of texts, and how alike people found them."""

    first: list[str]
    second: list[str]
    scores: Array  # (n,)


def read_sts(path: str | os.PathLike[str]) -> StsPairs:
    """Read pairs of texts with scores, tab separated, without a header and without quotes.

    Either three columns (text, text, score), or seven and more, as the STS benchmark has them
    (genre, file, year, id, score, text, text). The first line says which.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it has fewer than two pairs, or a line is malformed; the message names it.
    """
    path = os.fspath(path)
    rows = [
        (number, line.rstrip("\r\n").split("\t"))
        for number, line in enumerate(read_lines(path), 1)
        if line.strip()
    ]
    if len(rows) < 2:
        raise ValueError(
            f"{path} must hold two pairs of texts or more, got {len(rows)}; is it the right file?"
        )
    three = len(rows[0][1]) == 3
    pairs = StsPairs([], [], np.empty(len(rows)))
    for index, (number, columns) in enumerate(rows):
        if not (len(columns) == 3 if three else len(columns) >= 7):
            expected = "3" if three else "3, or 7 and more," if index == 0 else "7 or more"
            raise ValueError(
                f"line {number} of {path} must have {expected} columns parted by tabs, "
                f"got {len(columns)}; repair the line"
            )
        first, second, score = columns if three else (*columns[5:7], columns[4])
        pairs.first.append(first)
        pairs.second.append(second)
        pairs.scores[index] = _read_score(score, number, path)
    return pairs


def _read_score(text: str, number: int, path: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(
            f"line {number} of {path} must have a number as its score, got {shorten(text)}; "
            "repair the line, or leave it out if it is a header"
        )
    return score


class RetrievalTask(NamedTuple):
    """Documents, queries, and what people said of some pairs of them, by id."""

    documents: dict[str, str]
    queries: dict[str, str]
    grades: dict[str, dict[str, float]]  # query -> document -> grade, above 0 if it is relevant


def read_beir(directory: str | os.PathLike[str], split: str = "test") -> RetrievalTask:
    """Read corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, the layout of BEIR.

    A document's text is its title, a space and its text, as BEIR and sentence-transformers join
    them. Ids that only the judgements name are kept; `evaluate_retrieval` counts them.

    Raises
    ------
    OSError
        If a file can't be read.
    ValueError
        If a line is malformed or an id stands twice; the message names the line.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} must be a directory with corpus.jsonl, queries.jsonl and qrels, "
            "but there is none; check the path"
        )
    documents = dict(_read_entries(folder / "corpus.jsonl"))
    queries = dict(_read_entries(folder / "queries.jsonl"))
    path = folder / "qrels" / f"{split}.tsv"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.tsv"))) or "none"
        raise FileNotFoundError(
            f"split must be one of {folder / 'qrels'}, which has {there}, got {split}; "
            "choose another"
        )
    grades: dict[str, dict[str, float]] = {}
    for number, query, document, grade in _read_judgements(path):
        if grades.setdefault(query, {}).setdefault(document, grade) != grade:
            raise ValueError(
                f"line {number} of {path} must agree with those before it, got another grade of "
                f"{shorten(document)} for {shorten(query)}; leave one of them out"
            )
    return RetrievalTask(documents, queries, grades)


def _read_entries(path: Path) -> Iterator[tuple[str, str]]:
    """The id and the text, title first, of each line of corpus.jsonl or queries.jsonl."""
    seen = set()
    for number, entry in read_json_lines(read_lines(str(path)), str(path)):
        fields = entry if isinstance(entry, dict) else {}
        identifier, text, title = (fields.get(name) for name in ("_id", "text", "title"))
        if not isinstance(identifier, str) or not isinstance(text, str):
            raise ValueError(
                f"line {number} of {path} must be a JSON object with texts as _id and text, "
                f"got {shorten(entry)}; repair the line"
            )
        if identifier in seen:
            raise ValueError(
                f"line {number} of {path} must have an _id of its own, got {identifier!r} again; "
                "leave one of them out"
            )
        seen.add(identifier)
        yield identifier, f"{title or ''} {text}".strip()


def _read_judgements(path: Path) -> Iterator[tuple[int, str, str, float]]:
    """Number, query, document and grade of each line but the first, which is a header."""
    for number, line in enumerate(read_lines(str(path)), 1):
        columns = line.rstrip("\r\n").split("\t")
        if number == 1:
            if len(columns) == 3 and _is_whole(columns[2]):
                raise ValueError(
                    f"line 1 of {path} must be the header query-id, corpus-id, score, "
                    f"got {shorten(line.strip())}; put one in front"
                )
        elif line.strip():
            if len(columns) != 3 or not _is_whole(columns[2]):
                raise ValueError(
                    f"line {number} of {path} must be a query's id, a document's id and a whole "
                    f"number, parted by tabs, got {shorten(line.strip())}; repair the line"
                )
            yield number, columns[0], columns[1], float(columns[2])


def _is_whole(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()
