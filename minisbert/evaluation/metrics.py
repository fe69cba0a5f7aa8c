"""How good scores and rankings are: correlation, ranking measures, and F1 at a threshold.

Ranking measures look at one query. They take what a human said of each document: a grade, 0 if it
is not relevant or was never judged.

    ranked  (n,)  grades of the documents found, best score first
    judged  (j,)  grades of all that were judged for the query, found or not

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
    """Pearson's correlation coefficient of (n,) with (n,); NaN if either is constant.

    Raises ValueError unless both are finite numbers, as many of one as of the other, and two or
    more (Pearson 1895: covariance over the product of standard deviations).
    """
    a, b = _read_pair(a, b)
    # Compared, since the mean of equal numbers may be a last bit away from them.
    if (a == a[0]).all() or (b == b[0]).all():
        return math.nan
    x, y = a - a.mean(), b - b.mean()
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the ranks (Spearman 1904); shapes as `pearson`.

    Examples
    --------
    >>> spearman([1, 2, 3], [10, 100, 1000])
    1.0
    """
    a, b = _read_pair(a, b)
    return pearson(rank_values(a), rank_values(b))


def rank_values(values: ArrayLike) -> Array:
    """Ranks from 1 up; equal values share the mean of theirs.  (n,) -> (n,)

    Examples
    --------
    >>> rank_values([3, 1, 3]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    # A value's copies take up the last `counts` ranks before the next value's.
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


# Rankings


def ndcg(ranked: ArrayLike, judged: ArrayLike, k: int) -> float:
    """Discounted gain of the first k documents over that of the best order (Järvelin & K. 2002).

    The gain of a document is its grade, the discount log2(1 + place), as in trec_eval's ndcg_cut.
    0 if nothing is relevant.
    """
    ranked, judged = _read_grades(ranked), _read_grades(judged)
    best = _discount(np.sort(judged)[::-1][:k])
    return _discount(ranked[:k]) / best if best else 0.0


def reciprocal_rank(ranked: ArrayLike, k: int) -> float:
    """1 / place of the first relevant document, 0 if none is among the first k (Voorhees 1999).

    Its mean over queries is MRR@k.
    """
    hits = np.flatnonzero(_read_grades(ranked)[:k])
    return 1 / (1 + int(hits[0])) if len(hits) else 0.0


def recall(ranked: ArrayLike, judged: ArrayLike, k: int) -> float:
    """The share of all relevant documents that is among the first k; 0 if there are none."""
    relevant = np.count_nonzero(_read_grades(judged))
    return np.count_nonzero(_read_grades(ranked)[:k]) / relevant if relevant else 0.0


def average_precision(ranked: ArrayLike, judged: ArrayLike, k: int) -> float:
    """Precision at the place of every relevant document, averaged; its mean over queries is MAP@k.

    A relevant document that is not among the first k counts as 0, as in trec_eval's map_cut.
    """
    relevant = np.count_nonzero(_read_grades(judged))
    places = 1 + np.flatnonzero(_read_grades(ranked)[:k])
    return float((np.arange(1, 1 + len(places)) / places).sum()) / relevant if relevant else 0.0


def _discount(grades: Array) -> float:
    return float((grades / np.log2(2 + np.arange(len(grades)))).sum())


# Yes or no by a threshold


class PrecisionRecall(NamedTuple):
    """How well a threshold tells yes from no."""

    precision: float
    recall: float
    f1: float


def precision_recall(scores: ArrayLike, labels: ArrayLike, threshold: float) -> PrecisionRecall:
    """Say yes where a score reaches the threshold, and compare with the labels, 0 or 1.

    Precision is the share of the yeses that is right, recall the share of the right that is found,
    F1 their harmonic mean (van Rijsbergen 1979, chapter 7); each is 0 where it is undefined.
    """
    scores, labels = _read_labelled(scores, labels)
    said = scores >= threshold
    right = int((said & labels).sum())
    # The harmonic mean, written so that nothing is divided by zero if something is to be found.
    together = int(said.sum() + labels.sum())
    return PrecisionRecall(
        right / said.sum() if said.any() else 0.0,
        right / labels.sum() if labels.any() else 0.0,
        2 * right / together if together else 0.0,
    )


def choose_threshold(scores: ArrayLike, labels: ArrayLike) -> float:
    """The threshold of the best F1: halfway between two neighbouring scores, or the lowest score.

    Of thresholds with the same F1 the highest. Choose it on other data than you judge it on.
    """
    scores, labels = _read_labelled(scores, labels)
    if not labels.any():
        raise ValueError(
            "labels must hold a 1 to choose a threshold by, got none; add pairs that are alike"
        )
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    f1 = 2 * np.cumsum(labels) / (np.arange(1, 1 + len(labels)) + labels.sum())
    # No threshold parts equal scores: only the last of them is a place to cut.
    last = np.append(scores[1:] < scores[:-1], True)
    cut = int(np.argmax(np.where(last, f1, -1.0)))
    return float(scores[cut : cut + 2].mean())


# What is asked of the arguments


def _read_pair(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(
            f"values must be two rows of equally many numbers, 2 or more, got shapes {a.shape} and "
            f"{b.shape}; pair each number with one"
        )
    _check_finite(a)
    _check_finite(b)
    return a, b


def _read_grades(grades: ArrayLike) -> Array:
    row: Array = np.asarray(grades, np.float64)
    if row.ndim != 1:
        raise ValueError(f"grades must be a row of numbers, got shape {row.shape}; give one query")
    _check_finite(row)
    # A grade below 0 is not relevant either, as in trec_eval.
    grades_from_zero: Array = np.maximum(row, 0)
    return grades_from_zero


def _read_labelled(scores: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape or not len(scores):
        raise ValueError(
            f"labels must be one for each score, got shapes {labels.shape} and {scores.shape}; "
            "give both in the same order"
        )
    _check_finite(scores)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1, got others; choose which of them mean 1")
    return scores, labels.astype(bool)


def _check_finite(values: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"values must be finite, got {values[bad[0]]} at index {bad[0]}; leave it out"
        )
