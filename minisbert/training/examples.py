"""Examples to train on, and the objective that they are for.

What an objective needs is checked here, line by line, before a model is loaded. Nothing is rescaled
or left out in silence: scores have to be in [0, 1] or come with their scale, and what an objective
has no use for is counted.
"""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array
from minisbert.system.json_fields import shorten
from minisbert.training.tables import NO_CONSENSUS, Table, read_number, read_table

NEEDS = {
    "cosine": "two texts and a score",
    "softmax": "two texts and a class",
    "triplet": "three texts, or two and a class of NLI",
    "ranking": "two or three texts, or two and a class of NLI",
    "binary": "two texts and a score",
    "classes": "two texts and a class",
}
# What a cross-encoder has in the place of a bi-encoder's objective.
FOR_CROSS_ENCODERS = {"cosine": "binary", "softmax": "classes"}
NLI_CLASSES = ("contradiction", "entailment", "neutral")
MANY_CLASSES = 20  # that many are plausible however few the examples are


class Examples(NamedTuple):
    """Examples of one objective.

    texts     tuple of lists  columns of n texts each: 2 for pairs, 3 for triplets
    labels    (n,)            float64 scores in [0, 1], or int64 numbers of classes, or None
    classes   tuple           names of the classes by number; () without classes
    lines     (n,)            int64, the line of the file where each example starts
    left_out  int             lines that the objective has no use for
    """

    texts: tuple[list[str], ...]
    labels: Array | None
    classes: tuple[str, ...]
    lines: Array
    left_out: int = 0


def read_examples(
    path: str | os.PathLike[str],
    objective: str | None = None,
    columns: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    scale: float | None = None,
    cross_encoder: bool = False,
) -> tuple[str, Examples]:
    """Read examples from CSV, TSV or JSON lines; return the objective, given or inferred, and them.

    The STS benchmark as published has scores from 0 to 5, which are divided by 5. From classes of
    natural language inference (NLI) "ranking" takes the entailment pairs, and "triplet" takes
    premise, entailment and contradiction, paired in file order, of each premise that has both.
    Pairs without a consensus (gold_label "-") are left out.

    Parameters
    ----------
    path : str or PathLike
    objective : str, optional
        cosine, softmax, triplet or ranking; for cross-encoders binary or classes. Inferred from the
        columns: three texts are for triplet, two without a label for ranking; a label is a score
        for cosine if its name says so (score, similarity, is_duplicate, ...) or if it holds
        fractions, else a class for softmax. `scale` tells a score and `classes` a class.
    columns : sequence of str, optional
        The columns of the texts, then of the label, each a name or a number from 1 (see
        `minisbert.training.tables.read_table`). Default: found by their names.
    classes : sequence of str, optional
        The classes in the order of their numbers, as a development file needs them. Default: those
        of the file, sorted.
    scale : float, optional
        The score that stands for 1: scores are divided by it.
    cross_encoder : bool
        Whether to infer binary in the place of cosine, classes in that of softmax.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it does not hold what the objective needs; the message names the line.
    """
    path = os.fspath(path)
    known = list(FOR_CROSS_ENCODERS.values()) if cross_encoder else list(NEEDS)
    if objective is not None and objective not in known:
        whom = " for a cross-encoder" if cross_encoder else ""
        raise ValueError(
            f"objective must be one of {', '.join(known)}{whom}, got {objective!r}; "
            "choose one, or leave it out to infer it"
        )
    if scale is not None and not 0 < scale < math.inf:
        raise ValueError(f"scale must be a number above 0, got {scale}; give the best score")
    labelled = None if objective is None else objective not in ("triplet", "ranking")
    table = read_table(path, columns, labelled)
    if objective is None:
        objective = _infer_objective(table, scale, classes)
        objective = FOR_CROSS_ENCODERS.get(objective, objective) if cross_encoder else objective
    _check_objective(objective, known, table, path)
    _check_unused("scale", scale, objective, ("cosine", "binary"))
    _check_unused("classes", classes, objective, ("softmax", "classes"))
    if objective in ("cosine", "binary"):
        return objective, _read_scores(table, scale or table.best, path)
    if objective in ("softmax", "classes"):
        return objective, _read_classes(table, classes, path)
    return objective, (_read_triplets if objective == "triplet" else _read_ranking)(table, path)


def make_examples(
    rows: Examples | Sequence[Sequence[Any]], objective: str, classes: Sequence[str] | None = None
) -> Examples:
    """Make examples of rows in memory: texts, then the label if the objective needs one.

    `classes` as in `read_examples`; examples are handed through. Rows are counted from 1.

    Raises TypeError or ValueError naming the row that is not what the objective needs.
    """
    if isinstance(rows, Examples):
        return rows
    if objective not in NEEDS:
        raise ValueError(f"objective must be one of {', '.join(NEEDS)}, got {objective!r}")
    labelled = objective not in ("triplet", "ranking")
    rows = list(rows)
    widths = (3,) if labelled or objective == "triplet" else (2, 3)
    for number, row in enumerate(rows, 1):
        if (
            not isinstance(row, (tuple, list))
            or len(row) not in widths
            or len(row) != len(rows[0])
            or not all(isinstance(x, str) and x.strip() for x in row[: 2 if labelled else 3])
        ):
            raise TypeError(
                f"row {number} of the examples must be {NEEDS[objective].split(',')[0]}, "
                f"got {shorten(row)}; give tuples"
            )
    if not rows:
        raise ValueError("the examples must be one or more, got none; give tuples")
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = Table(
        tuple(str(number + 1) for number in range(len(columns))),
        tuple(columns[:2] if labelled else columns),
        [str(label) for label in columns[2]] if labelled else [],
        list(range(1, len(rows) + 1)),
        scored=True,
        best=1.0,
    )
    where = "the examples"
    if objective in ("cosine", "binary"):
        return _read_scores(table, 1.0, where)
    if objective in ("softmax", "classes"):
        return _read_classes(table, classes, where)
    return (_read_triplets if objective == "triplet" else _read_ranking)(table, where)


def find_overlap(training: Examples, development: Examples) -> int:
    """Count the development examples whose texts also stand together in a training example.

    The order of texts is ignored, and so are labels. A pair is found in a triplet too.
    """
    waiting = Counter(map(frozenset, zip(*development.texts, strict=True)))
    return sum(
        waiting.pop(frozenset(together), 0)
        for texts in zip(*training.texts, strict=True)
        for size in range(2, len(texts) + 1)
        for together in combinations(texts, size)
    )


def _infer_objective(table: Table, scale: float | None, classes: Sequence[str] | None) -> str:
    """The bi-encoder's objective that the columns are for."""
    if not table.labels:
        return "triplet" if len(table.texts) == 3 else "ranking"
    if table.scored or scale is not None:
        return "cosine"
    return "cosine" if not classes and any(map(_is_fraction, table.labels)) else "softmax"


def _check_objective(objective: str, known: Sequence[str], table: Table, path: str) -> None:
    """The columns must be what the objective needs, and the objective one for the model."""
    suits = bool(table.labels)
    if objective == "triplet":
        suits = len(table.texts) == 3 or _is_nli(table.labels)
    elif objective == "ranking":
        suits = not table.labels or _is_nli(table.labels)
    needs, whom = NEEDS[objective], objective
    if objective not in known:  # it was inferred
        suits, needs, whom = False, "two texts and a score or a class", "a cross-encoder"
    if not suits:
        raise ValueError(
            f"{path} must have {needs} for {whom}, got {', '.join(map(shorten, table.names))}; "
            "choose another objective, or say which columns to use (--columns)"
        )


def _check_unused(name: str, value: object, objective: str, users: Sequence[str]) -> None:
    if value and objective not in users:
        raise ValueError(
            f"{name} must be left out for {objective}, got {value}; "
            f"leave it out, or choose {' or '.join(users)}"
        )


def _read_scores(table: Table, best: float, path: str) -> Examples:
    """Pairs with scores, divided by the best."""
    scores = np.array([read_number(label) for label in table.labels])
    for number, label, score in zip(table.lines, table.labels, scores, strict=True):
        if not 0 <= score <= best:
            advice = "repair the line"
            if best < score < math.inf:
                top = math.ceil(scores[np.isfinite(scores)].max())
                advice = f"pass scale={top} if {top} is the best (--scale {top})"
            shown = shorten(label) if math.isnan(score) else f"{score:g}"
            raise ValueError(
                f"line {number} of {path} must have a score from 0 to {best:g}, got {shown}; "
                f"{advice}"
            )
    return _take_rows(table, range(len(scores)))._replace(labels=scores / best)


def _read_classes(table: Table, classes: Sequence[str] | None, path: str) -> Examples:
    """Pairs with the numbers of their classes."""
    # Among other classes than those of NLI, the mark of no consensus may be a class.
    missing = {NO_CONSENSUS} if _is_nli(table.labels) else set()
    rows = [row for row, label in enumerate(table.labels) if label not in missing]
    labels = [table.labels[row] for row in rows]
    if not labels:
        raise ValueError(
            f"{path} must have a class for some of its pairs, got only {NO_CONSENSUS!r}; "
            "is it the right file?"
        )
    if not classes:
        classes = _find_classes(labels, table.names[-1], path)
    elif len(set(classes)) < max(2, len(classes)):
        raise ValueError(
            f"classes must be two different names or more, got {', '.join(classes)}; "
            "give those of the training file"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    for row, label in zip(rows, labels, strict=True):
        if label not in numbers:
            raise ValueError(
                f"line {table.lines[row]} of {path} must have one of the classes "
                f"{', '.join(classes)}, got {shorten(label)}; repair the line, or leave it out"
            )
    return _take_rows(table, rows)._replace(
        labels=np.array([numbers[label] for label in labels], np.int64), classes=tuple(classes)
    )


def _find_classes(labels: Sequence[str], column: str, path: str) -> list[str]:
    """The classes of a training file, by name, or by value if all are numbers."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise ValueError(
            f"{path} must have examples of two classes or more, "
            f"got only {shorten(classes[0])}; is it the right file?"
        )
    many = len(classes) > max(MANY_CLASSES, len(labels) // 2)
    if many or any(map(_is_fraction, classes)):
        raise ValueError(
            f"column {column} of {path} must hold classes, got {len(classes)} different values "
            f"such as {shorten(classes[-1])}; choose another objective, or say which columns to "
            "use (--columns)"
        )
    numeric = all(math.isfinite(read_number(name)) for name in classes)
    return sorted(classes, key=float) if numeric else classes


def _read_ranking(table: Table, path: str) -> Examples:
    """Texts that belong together: all, or the entailment pairs."""
    rows = [
        row
        for row in range(len(table.lines))
        if not table.labels or table.labels[row] == "entailment"
    ]
    if len(rows) < 2:
        raise ValueError(
            f"{path} must have two examples or more for ranking, where each is a negative of the "
            f"others, got {len(rows)}; add examples"
        )
    return _take_rows(table, rows)


def _read_triplets(table: Table, path: str) -> Examples:
    """Triplets as they stand, or a premise, a hypothesis that it entails, and one it contradicts.

    The k-th entailment of a premise is paired with its k-th contradiction.
    """
    if not table.labels:
        return _take_rows(table, range(len(table.lines)))
    premises, hypotheses = table.texts
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, key in enumerate(zip(premises, table.labels, strict=True)):
        rows[key].append(row)
    pairs = sorted(
        pair
        for (premise, label), entailed in list(rows.items())
        if label == "entailment"
        for pair in zip(entailed, rows[premise, "contradiction"], strict=False)
    )
    if not pairs:
        raise ValueError(
            f"{path} must have a premise with an entailment and a contradiction for triplet, "
            "got none; choose another objective"
        )
    examples = _take_rows(table, [entailed for entailed, _ in pairs])
    return examples._replace(
        texts=(*examples.texts, [hypotheses[contradicted] for _, contradicted in pairs]),
        left_out=len(premises) - 2 * len(pairs),
    )


def _take_rows(table: Table, rows: Sequence[int]) -> Examples:
    return Examples(
        tuple([column[row] for row in rows] for column in table.texts),
        None,
        (),
        np.array([table.lines[row] for row in rows], np.int64),
        len(table.lines) - len(rows),
    )


def _is_nli(labels: Sequence[str]) -> bool:
    return bool(labels) and set(labels) <= {*NLI_CLASSES, NO_CONSENSUS}


def _is_fraction(label: str) -> bool:
    number = read_number(label)
    return math.isfinite(number) and not number.is_integer()
