"""Correlation of scores, measures of a ranking, and F1 at a threshold.

Measures of a ranking are of one query. They take relevance grades that people gave to documents, 0
for a document that is not relevant or was not judged.

    ranked  (n,)  grades of the documents found, best score first
    judged  (j,)  grades of all documents judged for the query, found or not

They follow trec_eval, the reference implementation of NIST's Text REtrieval Conference.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arrays import Array

# Correlation


def pearson(a: ArrayLike, b: ArrayLike) -> float:
    """Return Pearson's correlation of (n,) with (n,); NaN if either is constant.

    It is the covariance over the product of the standard deviations (Pearson 1895).

    Raises ValueError unless both are equally many finite numbers, two or more.
    """
    a, b = _read_pair(a, b)
    # Compared directly: the mean of equal numbers may differ from them in the last bit.
    if (a == a[0]).all() or (b == b[0]).all():
        return math.nan
    x, y = a - a.mean(), b - b.mean()
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Return Spearman's rank correlation: Pearson's of the ranks (Spearman 1904).

    Shapes and errors as `pearson`.

    Examples
    --------
    >>> spearman([1, 2, 3], [10, 100, 1000])
    1.0
    """
    a, b = _read_pair(a, b)
    return pearson(rank_values(a), rank_values(b))


def rank_values(values: ArrayLike) -> Array:
    """Return ranks from 1 up; equal values share the mean of their ranks.  (n,) -> (n,)

    Examples
    --------
    >>> rank_values([3, 1, 3]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    # The copies of a value have the `counts` ranks that end at the cumulated count.
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


# Rankings


def ndcg(ranked: ArrayLike, judged: ArrayLike, k: int) -> float:
    """Return nDCG@k: the discounted gain of the first k documents over that of the best order.

    The gain of a document is its grade, divided by log2(1 + rank), as in trec_eval's ndcg_cut
    (Järvelin & Kekäläinen 2002). 0 if nothing is relevant.
    """
    ranked, judged = _read_grades(ranked), _read_grades(judged)
    best = _discount(np.sort(judged)[::-1][:k])
    return _discount(ranked[:k]) / best if best else 0.0


def reciprocal_rank(ranked: ArrayLike, k: int) -> float:
    """Return 1 / rank of the first relevant document, 0 if it is not among the first k.

    Its mean over queries is MRR@k (Voorhees 1999).
    """
    hits = np.flatnonzero(_read_grades(ranked)[:k])
    return 1 / (1 + int(hits[0])) if len(hits) else 0.0


def recall(ranked: ArrayLike, judged: ArrayLike, k: int) -> float:
    """Return the fraction of relevant documents among the first k; 0 if nothing is relevant."""
    relevant = np.count_nonzero(_read_grades(judged))
    return np.count_nonzero(_read_grades(ranked)[:k]) / relevant if relevant else 0.0


def average_precision(ranked: ArrayLike, judged: ArrayLike, k: int) -> float:
    """Return the mean of the precisions at the rank of each relevant document.

    A relevant document that is not among the first k counts as 0, as in trec_eval's map_cut. Its
    mean over queries is MAP@k.
    """
    relevant = np.count_nonzero(_read_grades(judged))
    ranks = 1 + np.flatnonzero(_read_grades(ranked)[:k])
    return float((np.arange(1, 1 + len(ranks)) / ranks).sum()) / relevant if relevant else 0.0


def _discount(grades: Array) -> float:
    return float((grades / np.log2(2 + np.arange(len(grades)))).sum())


# Binary classification by a threshold


class PrecisionRecall(NamedTuple):
    """Precision, recall and F1, from 0 to 1."""

    precision: float
    recall: float
    f1: float


def precision_recall(scores: ArrayLike, labels: ArrayLike, threshold: float) -> PrecisionRecall:
    """Predict 1 where a score reaches the threshold, and compare with the labels, 0 or 1.

    Precision is the fraction of the predictions of 1 that are right, recall the fraction of the
    labels of 1 that are predicted, F1 their harmonic mean (van Rijsbergen 1979, chapter 7). Each is
    0 where it is undefined.
    """
    scores, labels = _read_labelled(scores, labels)
    predicted = scores >= threshold
    right = int((predicted & labels).sum())
    # The harmonic mean in a form that divides by 0 only if there is nothing to predict.
    total = int(predicted.sum() + labels.sum())
    return PrecisionRecall(
        right / predicted.sum() if predicted.any() else 0.0,
        right / labels.sum() if labels.any() else 0.0,
        2 * right / total if total else 0.0,
    )


def choose_threshold(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the threshold of the best F1: midway between two neighbouring scores, or the lowest.

    Of thresholds with the same F1 it is the highest. Choose it on other data than you measure on.
    """
    scores, labels = _read_labelled(scores, labels)
    if not labels.any():
        raise ValueError(
            "labels must hold a 1 to choose a threshold by, got only 0; add pairs with label 1"
        )
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    f1 = 2 * np.cumsum(labels) / (np.arange(1, 1 + len(labels)) + labels.sum())
    # No threshold separates equal scores, so the cut can only be after the last of them.
    last = np.append(scores[1:] < scores[:-1], True)
    cut = int(np.argmax(np.where(last, f1, -1.0)))
    return float(scores[cut : cut + 2].mean())


# Checks of arguments


def _read_pair(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(
            f"values must be two rows of equal length, 2 or more, got shapes {a.shape} and "
            f"{b.shape}; pass pairs of numbers"
        )
    _check_finite(a)
    _check_finite(b)
    return a, b


def _read_grades(grades: ArrayLike) -> Array:
    row = np.asarray(grades, np.float64)
    if row.ndim != 1:
        raise ValueError(
            f"grades must be a row of numbers, got shape {row.shape}; pass those of one query"
        )
    _check_finite(row)
    return np.maximum(row, 0)  # a grade below 0 means not relevant too, as in trec_eval


def _read_labelled(scores: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape or not len(scores):
        raise ValueError(
            f"labels must be one for each score, got shapes {labels.shape} and {scores.shape}; "
            "give both in the same order"
        )
    _check_finite(scores)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1, got others; map them to 0 and 1")
    return scores, labels.astype(bool)


def _check_finite(values: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"values must be finite, got {values[bad[0]]} at index {bad[0]}; leave it out"
        )
