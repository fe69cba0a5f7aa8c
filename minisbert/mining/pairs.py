"""Pairs of texts as callers hold them: read into columns, and given back with their negatives.

Pairs come as tuples, as dicts or as a `datasets.Dataset`, and are given back as the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minisbert.arguments import check_rows, check_texts, shorten, shorten_names
from minisbert.arrays import Array


class Pairs(NamedTuple):
    """Queries and their positives, as they came, and how to return rows of the same kind.

    names  of the two columns
    build  takes columns by name, all of the same length
    """

    queries: list[str]
    positives: list[str]
    names: tuple[str, str]
    build: Callable[[dict[str, list[Any]]], Any]


class Texts(NamedTuple):
    """Each query and each text of the corpus once, and the texts that belong to each query.

    rows  for each query the numbers of its positives in the corpus
    """

    queries: list[str]
    corpus: list[str]
    rows: list[list[int]]


class Found(NamedTuple):
    """The rows found for Q queries.

    rows    (Q, k)  numbers of texts of the corpus
    scores  (Q, k)  their scores, -inf for what is no negative
    own     (n,)    scores of the positives, those of the first query first
    """

    rows: Array
    scores: Array
    own: Array


def read_dataset(dataset: Any, anchor: str | None, positive: str | None) -> Pairs:
    """Read pairs of any of the kinds that `mine_hard_negatives` takes."""
    if hasattr(dataset, "column_names"):
        names = _choose_columns(list(dataset.column_names), anchor, positive)
        columns = [list(dataset[name]) for name in names]
        build = type(dataset).from_dict
    else:
        check_rows(dataset, "dataset", "an iterable of pairs", remedy="pass a list of tuples")
        rows = list(dataset)
        if rows and isinstance(rows[0], dict):
            names = _choose_columns(list(rows[0]), anchor, positive)
            columns = [[row.get(name) for row in rows] for name in names]
            build = _make_dicts
        else:
            names = (anchor or "anchor", positive or "positive")
            for index, row in enumerate(rows):
                if not isinstance(row, (tuple, list)) or len(row) < 2:
                    raise TypeError(
                        f"dataset must hold pairs, got {shorten(row)} at index {index}; "
                        "pass a list of tuples (query, text)"
                    )
            columns = [[row[place] for row in rows] for place in (0, 1)]
            build = _make_tuples
    queries, positives = (check_texts(column, "dataset") for column in columns)
    if not queries:
        raise ValueError("dataset must hold one pair or more, got none; pass a list of tuples")
    return Pairs(queries, positives, names, build)


def _choose_columns(names: list[str], anchor: str | None, positive: str | None) -> tuple[str, str]:
    """Return the names of two columns: those asked for, else the first two."""
    if len(names) < 2:
        raise ValueError(f"dataset must have two columns or more, got {shorten(names)}; pass pairs")
    chosen = (names[0] if anchor is None else anchor, names[1] if positive is None else positive)
    if chosen[0] == chosen[1] or not {*chosen} <= {*names}:
        raise ValueError(
            "anchor_column_name and positive_column_name must be two columns of "
            f"{shorten_names(map(repr, names))}, got {shorten_names(map(repr, chosen))}; "
            "name both"
        )
    return chosen


def _make_dicts(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _make_tuples(columns: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*columns.values(), strict=True))


def collect_texts(pairs: Pairs, more: list[str]) -> Texts:
    """Number each query and each text once, in the order in which they come."""
    corpus = list(dict.fromkeys([*more, *pairs.positives]))
    places = {text: place for place, text in enumerate(corpus)}
    rows: dict[str, dict[int, None]] = {query: {} for query in pairs.queries}
    for query, positive in zip(pairs.queries, pairs.positives, strict=True):
        rows[query][places[positive]] = None
    return Texts(list(rows), corpus, [list(own) for own in rows.values()])


def arrange(
    texts: Texts, found: Found, names: tuple[str, str], *, layout: str, with_scores: bool
) -> dict[str, list[Any]]:
    """Return the columns of a layout, by name."""
    anchor, positive = names
    rows: list[dict[str, Any]] = []
    own = iter(found.own.tolist())
    for query, positives, negatives, scores in zip(
        texts.queries, texts.rows, found.rows.tolist(), found.scores.tolist(), strict=True
    ):
        kept = [
            (texts.corpus[row], score)
            for row, score in zip(negatives, scores, strict=True)
            if score > -np.inf
        ]
        belonging = [(texts.corpus[row], next(own)) for row in positives]
        if layout == "labeled-pair":
            labelled = [(*pair, 1) for pair in belonging] + [(*pair, 0) for pair in kept]
            rows += [
                {anchor: query, positive: text, **({"score": s} if with_scores else {"label": y})}
                for text, s, y in labelled
            ]
            continue
        for text, score in belonging:
            both = [(text, score), *kept]
            listed, numbers = map(list, zip(*both, strict=True))
            if layout == "triplet":
                rows += [
                    {anchor: query, positive: text, "negative": other}
                    | ({"scores": [score, near]} if with_scores else {})
                    for other, near in kept
                ]
            elif layout == "n-tuple" and len(kept) == len(negatives):
                row = {anchor: query, positive: text}
                row |= {f"negative_{n}": other for n, (other, _) in enumerate(kept, 1)}
                rows.append(row | ({"scores": numbers} if with_scores else {}))
            elif layout == "labeled-list" and kept:
                labels = {"scores": numbers} if with_scores else {"labels": [1] + [0] * len(kept)}
                rows.append({anchor: query, positive: listed, **labels})
    columns = {
        "triplet": [anchor, positive, "negative", *["scores"] * with_scores],
        "n-tuple": [
            *(anchor, positive),
            *(f"negative_{n}" for n in range(1, found.rows.shape[1] + 1)),
            *["scores"] * with_scores,
        ],
        "labeled-pair": [anchor, positive, "score" if with_scores else "label"],
        "labeled-list": [anchor, positive, "scores" if with_scores else "labels"],
    }[layout]
    return {name: [row[name] for row in rows] for name in columns}
