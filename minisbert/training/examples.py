"""Examples to train on: read from a file or taken from memory, and checked for their objective.

Nothing is rescaled or left out silently: scores must be in [0, 1] or have a known scale, and lines
that an objective can't use are counted.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minisbert.arguments import (
    check_number,
    check_rows,
    check_texts,
    parse_number,
    shorten,
    shorten_name,
    shorten_names,
)
from minisbert.arrays import Array
from minisbert.evaluation.tables import NO_CONSENSUS, Table, read_table
from minisbert.system.text_files import file_error
from minisbert.training.objectives import Objective, find_objective, infer_objective

NLI_CLASSES = ("contradiction", "entailment", "neutral")
_MANY_CLASSES = 20  # up to this number, classes are plausible even for few examples
_OTHER_COLUMNS = "choose another objective, or say which columns to use (--columns)"
_OTHER_ROWS = "choose another objective, or pass other examples"


class Examples(NamedTuple):
    """Examples of one objective.

    texts     tuple of lists  columns of n texts each: 2 for pairs, 3 for triplets
    labels    (n,)            float64 scores in [0, 1], or int64 class numbers, or None
    classes   tuple           names of the classes by number; () without classes
    lines     (n,)            int64, the line of the file where each example starts
    left_out  int             lines that the objective can't use
    """

    texts: tuple[list[str], ...]
    labels: Array | None
    classes: tuple[str, ...]
    lines: Array
    left_out: int = 0


class InputExample:
    """One example: its texts and its label, as sentence-transformers' class of that name has them.

    guid   a name of its own, if it needs one
    texts  two or three texts
    label  a score from 0 to 1, or a class; not used by objectives without labels
    """

    def __init__(
        self, guid: str = "", texts: Sequence[str] | None = None, label: float | str = 0
    ) -> None:
        self.guid = guid
        self.texts = [] if texts is None else list(texts)
        self.label = label

    def __str__(self) -> str:
        return f"<InputExample> label: {self.label}, texts: {'; '.join(self.texts)}"


def read_examples(
    path: str | os.PathLike[str],
    objective: str | None = None,
    columns: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    scale: float | None = None,
    cross_encoder: bool = False,
) -> tuple[str, Examples]:
    """Read examples from CSV, TSV or JSON lines; return them after the objective.

    The objective is the given one, or inferred from the columns and labels.

    Scores of the STS benchmark as published are divided by 5. Pairs with the classes of natural
    language inference (NLI) also serve "ranking", which takes the entailment pairs, and "triplet",
    which takes each premise's k-th entailment and k-th contradiction; pairs without a consensus
    (gold_label "-") are left out.

    Parameters
    ----------
    path : str or PathLike
    objective : str, optional
        A name in `minisbert.training.OBJECTIVES`; by default the first that fits the columns.
        Labels are scores if their column's name says so (score, similarity, is_duplicate, ...), if
        some are fractions or if there is a `scale`, else classes.
    columns : sequence of str, optional
        The columns of the texts, then of the label, each a name or a number from 1; with numbers
        alone the first line is an example. By default columns with known names.
    classes : sequence of str, optional
        The classes by number, as a development file needs them; by default the file's, sorted.
    scale : float, optional
        The highest possible score: scores are divided by it.
    cross_encoder : bool
        Whether the objective must be one for a cross-encoder.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it does not hold what the objective needs; the message names the line.
    """
    if scale is not None:
        remedy = "pass the highest possible score"
        scale = check_number("scale", scale, above=True, remedy=remedy)
    if columns is not None:
        check_rows(
            columns,
            "columns",
            "an iterable of names",
            remedy="pass a list, since their order counts",
        )
    given = None if objective is None else find_objective(objective, cross_encoder or None)
    path = os.fspath(path)
    table = read_table(path, columns, None if given is None else bool(given.labels))
    fractions = not classes and any(map(_is_fraction, table.labels))
    labels = "scores" if table.scored or scale is not None or fractions else "classes"
    chosen = given or infer_objective(
        len(table.texts), labels if table.labels else "", cross_encoder
    )
    if chosen is None or not _fits(table, chosen):
        needs = "two texts and a score or a class for a cross-encoder"
        if chosen is not None:
            alternative = "" if chosen.labels else ", or two and a class of NLI,"
            needs = f"{chosen.needs}{alternative} for {chosen.name}"
        names = ", ".join(map(shorten, table.names))
        raise file_error(path, f"must have {needs}", names, remedy=_OTHER_COLUMNS)
    for option, value, users, show in (
        ("scale", scale, "scores", "{:g}".format),
        ("classes", classes, "classes", shorten),
    ):
        if value and chosen.labels != users:
            raise ValueError(
                f"{option} must be left out for {chosen.name}, got {show(value)}; "
                f"leave it out, or choose an objective with {users}"
            )
    return chosen.name, _take_examples(
        table, chosen, scale or table.best, classes=classes, path=path
    )


def make_examples(
    rows: Examples | Iterable[Sequence[Any]], objective: str, classes: Sequence[str] | None = None
) -> Examples:
    """Make examples from rows in memory: the texts, then the label if the objective needs one.

    A row is a tuple, or an `InputExample` of this package or of sentence-transformers.
    `classes` as in `read_examples`; Examples are returned as they are. Rows are counted from 1.

    Raises TypeError or ValueError naming the row that is not what the objective needs.
    """
    if isinstance(rows, Examples):
        return rows
    chosen = find_objective(objective)
    labelled = bool(chosen.labels)
    check_rows(rows, "the examples", "an iterable of tuples", remedy="pass a list of tuples")
    rows = [_unpack(row, labelled) for row in rows]
    for number, row in enumerate(rows, 1):
        if (
            not isinstance(row, (tuple, list))
            or len(row) - labelled not in chosen.texts
            or len(row) != len(rows[0])
            or not all(isinstance(x, str) and x.strip() for x in row[: len(row) - labelled])
        ):
            raise TypeError(
                f"row {number} of the examples must be {chosen.needs}, got {shorten(row)}; "
                "pass a tuple of these"
            )
    if not rows:
        raise ValueError("the examples must be one or more, got none; pass a list of tuples")
    texts = [list(column) for column in zip(*rows, strict=True)]
    labels = [str(label) for label in texts.pop()] if labelled else []
    names = tuple(str(number) for number in range(1, len(rows[0]) + 1))
    table = Table(names, tuple(texts), labels, list(range(1, len(rows) + 1)))
    return _take_examples(table, chosen, 1.0, classes=classes, path=None)


def _unpack(row: Any, labelled: bool) -> Any:
    """Return the texts of an `InputExample`, then its label if it is used, and a tuple as it is."""
    if not hasattr(row, "texts"):
        return row
    return (*row.texts, row.label) if labelled else tuple(row.texts)


def _fits(table: Table, objective: Objective) -> bool:
    """Return whether a table has what an objective needs, or NLI classes to make it from."""
    if objective.labels or not table.labels:
        return bool(table.labels) == bool(objective.labels) and len(table.texts) in objective.texts
    return _is_nli(table.labels)


def _take_examples(
    table: Table,
    objective: Objective,
    best: float,
    *,
    classes: Sequence[str] | None,
    path: str | None,
) -> Examples:
    """Turn a table into the examples of an objective; `path` is None for rows in memory."""
    if objective.labels == "scores":
        examples = _take_scores(table, best, path)
    elif objective.labels == "classes":
        examples = _take_classes(table, classes, path)
    elif table.labels and 2 not in objective.texts:
        examples = _take_nli_triplets(table, path)
    else:
        labels = table.labels or ["entailment"] * len(table.lines)
        examples = _take_rows(table, [r for r, label in enumerate(labels) if label == "entailment"])
    if len(examples.lines) < objective.fewest:
        must = f"must have {objective.fewest} examples or more for {objective.name}"
        raise _example_error(
            path, must, len(examples.lines), remedy="add examples", in_memory="add examples"
        )
    return examples


def _take_scores(table: Table, best: float, path: str | None) -> Examples:
    """Take pairs with scores, divided by the highest possible score."""
    scores = np.array([parse_number(label) for label in table.labels])
    for number, label, score in zip(table.lines, table.labels, scores, strict=True):
        if not 0 <= score <= best:
            remedy, in_memory = "repair the line", "correct the row"
            if score > best:
                top = math.ceil(scores[np.isfinite(scores)].max())
                remedy = f"pass scale={top} if {top} is the highest (--scale {top})"
                in_memory = f"divide the scores by {top} if {top} is the highest"
            must = f"must have a score from 0 to {best:g}"
            got = shorten(label) if math.isnan(score) else f"{score:g}"
            raise _example_error(path, must, got, remedy=remedy, in_memory=in_memory, line=number)
    return _take_rows(table, range(len(scores)))._replace(labels=scores / best)


def _take_classes(table: Table, classes: Sequence[str] | None, path: str | None) -> Examples:
    """Take pairs with class numbers."""
    # With classes other than those of NLI, the mark of no consensus may be a class.
    missing = {NO_CONSENSUS} if _is_nli(table.labels) else set()
    rows = [row for row, label in enumerate(table.labels) if label not in missing]
    labels = [table.labels[row] for row in rows]
    if not labels:
        must, got = "must have a class for some of its pairs", f"only {NO_CONSENSUS!r}"
        raise _example_error(
            path, must, got, remedy="is it the right file?", in_memory="add pairs that have one"
        )
    classes = check_texts(classes or (), "classes")
    if not classes:
        classes = _find_classes(labels, table.names[-1], path)
    elif len(set(classes)) < max(2, len(classes)):
        raise ValueError(
            f"classes must be two different names or more, got {shorten_names(map(str, classes))}; "
            "give those of the training examples"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    for row, label in zip(rows, labels, strict=True):
        if label not in numbers:
            must = f"must have one of the classes {shorten_names(classes)}"
            remedy = "repair the line, or leave it out"
            raise _example_error(
                path,
                must,
                shorten(label),
                remedy=remedy,
                in_memory="correct the row, or leave it out",
                line=table.lines[row],
            )
    numbered = np.array([numbers[label] for label in labels], np.int64)
    return _take_rows(table, rows)._replace(labels=numbered, classes=tuple(classes))


def _find_classes(labels: Sequence[str], column: str, path: str | None) -> list[str]:
    """Sort the classes of a training file by name, or by value if all are numbers."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        must, got = "must have two classes or more", f"only {shorten(classes[0])}"
        raise _example_error(
            path, must, got, remedy="is it the right file?", in_memory="add pairs of another class"
        )
    many = len(classes) > max(_MANY_CLASSES, len(labels) // 2)
    if many or any(map(_is_fraction, classes)):
        got = f"{len(classes)} different values such as {shorten(classes[-1])}"
        must = f"must hold classes in column {shorten_name(column)}"
        raise _example_error(path, must, got, remedy=_OTHER_COLUMNS, in_memory=_OTHER_ROWS)
    numeric = all(math.isfinite(parse_number(name)) for name in classes)
    return sorted(classes, key=float) if numeric else classes


def _take_nli_triplets(table: Table, path: str | None) -> Examples:
    """Take the k-th entailment of each premise with its k-th contradiction."""
    premises, hypotheses = table.texts
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, key in enumerate(zip(premises, table.labels, strict=True)):
        rows[key].append(row)
    pairs = sorted(
        pair
        for premise in dict.fromkeys(premises)
        for pair in zip(rows[premise, "entailment"], rows[premise, "contradiction"], strict=False)
    )
    if not pairs:
        must = "must have a premise with an entailment and a contradiction to make triplets"
        raise _example_error(path, must, "none", remedy="choose another objective")
    examples = _take_rows(table, [entailed for entailed, _ in pairs])
    return examples._replace(
        texts=(*examples.texts, [hypotheses[contradicted] for _, contradicted in pairs]),
        left_out=len(premises) - 2 * len(pairs),
    )


def _example_error(
    path: str | None,
    must: str,
    got: object,
    *,
    remedy: str,
    in_memory: str = "pass other examples",
    line: int | None = None,
) -> ValueError:
    """Return the error for examples that break a rule.

    path       of their file; None for rows in memory, which are no lines and have no file to repair
    remedy     for a file
    in_memory  for rows in memory
    """
    if path is not None:
        return file_error(path, must, got, remedy=remedy, line=line)
    where = "the examples" if line is None else f"row {line} of the examples"
    return ValueError(f"{where} {must}, got {got}; {in_memory}")


def _take_rows(table: Table, rows: Sequence[int]) -> Examples:
    texts = tuple([column[row] for row in rows] for column in table.texts)
    lines = np.array([table.lines[row] for row in rows], np.int64)
    return Examples(texts, None, (), lines, len(table.lines) - len(rows))


def _is_nli(labels: Sequence[str]) -> bool:
    return bool(labels) and set(labels) <= {*NLI_CLASSES, NO_CONSENSUS}


def _is_fraction(label: str) -> bool:
    number = parse_number(label)
    return math.isfinite(number) and not number.is_integer()
