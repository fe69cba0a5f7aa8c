"""The measures, against values computed by hand."""

import math

import numpy as np
import pytest

from minisbert.evaluation.metrics import (
    average_precision,
    choose_threshold,
    ndcg,
    pearson,
    precision_recall,
    rank_values,
    recall,
    reciprocal_rank,
    spearman,
)

# Correlation


def test_ranks_of_equal_values():
    """Equal values share the mean of the ranks that they take up."""
    assert rank_values([3, 1, 3, 2, 3]).tolist() == [4, 1, 4, 2, 4]
    assert rank_values([]).tolist() == []


def test_pearson_by_hand():
    """Deviations -1 0 1 and -1 1 0: covariance 1 over the root of 2 times 2."""
    assert pearson([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5, abs=1e-15)
    assert pearson([1, 2, 4], [-2, -4, -8]) == pytest.approx(-1, abs=1e-15)


def test_spearman_by_hand():
    """Without ties it is 1 - 6 sum(d^2) / (n (n^2 - 1)): d = 1 1 0 1 1, or 2 0 1 1 4."""
    assert spearman([1, 2, 3, 4, 5], [20, 10, 30, 60, 40]) == pytest.approx(1 - 6 * 4 / 120)
    assert spearman([1, 2, 3, 4, 5], [2, 1, 3, 2**9, -1]) == pytest.approx(1 - 6 * 22 / 120)


def test_spearman_with_ties_by_hand():
    """Ranks 1.5 1.5 3 and 1 2 3: covariance 1.5 over the root of 1.5 times 2."""
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(3), abs=1e-15)


def test_spearman_sees_only_the_order():
    """A monotone change of the values changes nothing."""
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    assert spearman(np.exp(a), b**3) == spearman(a, b)


def test_constant_values_have_no_correlation():
    """The correlation with a constant is NaN, also where its mean is rounded."""
    assert math.isnan(pearson([0.1] * 3, [1, 2, 3]))
    assert math.isnan(spearman([1, 2, 3], [0.1] * 3))


# Rankings


def test_ndcg_by_hand():
    """Grades are divided by log2(2), log2(3), log2(4): 0 2 1 as found, 2 1 1 in the best order."""
    found = 2 / math.log2(3) + 1 / 2
    best = 2 + 1 / math.log2(3) + 1 / 2
    assert ndcg([0, 2, 1], [2, 1, 0, 1], 3) == pytest.approx(found / best)
    assert ndcg([0, 2, 1], [2, 1, 0, 1], 2) == pytest.approx(
        (2 / math.log2(3)) / (2 + 1 / math.log2(3))
    )
    assert ndcg([2, 1, 1, 0], [2, 1, 0, 1], 10) == 1


def test_reciprocal_rank_by_hand():
    """The first relevant document is third: 1/3, and nothing if only two are looked at."""
    assert reciprocal_rank([0, 0, 1, 1], 10) == pytest.approx(1 / 3)
    assert reciprocal_rank([0, 0, 1, 1], 2) == 0


def test_recall_by_hand():
    """Of three relevant documents one is among the first two, two among the first ten."""
    assert recall([0, 1, 2], [1, 2, 1, 0], 2) == pytest.approx(1 / 3)
    assert recall([0, 1, 2], [1, 2, 1, 0], 10) == pytest.approx(2 / 3)


def test_average_precision_by_hand():
    """Relevant at ranks 1 and 4, a third never found: (1/1 + 2/4) / 3."""
    assert average_precision([1, 0, 0, 3], [1, 3, 1], 10) == pytest.approx(0.5)
    assert average_precision([1, 0, 0, 3], [1, 3, 1], 3) == pytest.approx(1 / 3)


def test_nothing_relevant_or_nothing_found_is_zero():
    """A query without a relevant document, or without any found, has 0 of everything."""
    for judged in ([], [0], [-1], [1]):
        assert ndcg([], judged, 10) == recall([], judged, 10) == 0
        assert average_precision([], judged, 10) == reciprocal_rank([], 10) == 0
    assert ndcg([0, -1], [-1], 10) == recall([-1], [-1], 10) == 0


# Binary classification by a threshold


def test_precision_recall_by_hand():
    """Three predictions of 1, two of them right, of four labels of 1: 2/3, 2/4, and F1 4/7."""
    scores, labels = [0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 1, 1]
    assert precision_recall(scores, labels, 0.7) == pytest.approx((2 / 3, 1 / 2, 4 / 7))


def test_undefined_precision_and_recall_are_zero():
    """No prediction or no label of 1 gives 0 without a warning."""
    assert precision_recall([0.1], [1], 0.5) == (0, 0, 0)
    assert precision_recall([0.9], [0], 0.5) == (0, 0, 0)
    assert precision_recall([0.1], [0], 0.5) == (0, 0, 0)


def test_threshold_of_the_best_f1():
    """Cutting after 0.7 has F1 of 4/5, after 0.9 only 2/3: halfway between 0.7 and 0.3."""
    scores, labels = [0.3, 0.9, 0.7, 0.8], [0, 1, 1, 0]
    assert choose_threshold(scores, labels) == pytest.approx(0.5)


def test_threshold_does_not_part_equal_scores():
    """Of equal scores all or none reach the threshold."""
    threshold = choose_threshold([0.5, 0.5, 0.9], [1, 0, 1])
    assert threshold == pytest.approx(0.5)
    assert precision_recall([0.5, 0.5, 0.9], [1, 0, 1], threshold).f1 == pytest.approx(4 / 5)


def test_chosen_threshold_is_the_best_of_all():
    """No score as a threshold has a better F1 than the chosen one, also with many ties."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        scores = rng.integers(0, 8, 20) / 8
        labels = np.append(rng.integers(0, 2, 19), 1)
        chosen = precision_recall(scores, labels, choose_threshold(scores, labels)).f1
        assert chosen == max(precision_recall(scores, labels, score).f1 for score in scores)


# Bad input


@pytest.mark.parametrize(
    ("measure", "arguments", "sentence"),
    [
        (pearson, ([1, 2], [1, 2, 3]), r"values must be two rows .* got shapes \(2,\) and \(3,\)"),
        (spearman, ([1], [1]), "rows of equal length, 2 or more"),
        (spearman, ([1, math.nan], [1, 2]), "values must be finite, got nan at index 1"),
        (pearson, ([1, 2], [1, math.inf]), "values must be finite, got inf at index 1"),
        (ndcg, ([[1]], [1], 10), r"grades must be a row of numbers, got shape \(1, 1\)"),
        (recall, ([math.nan], [1], 10), "values must be finite, got nan"),
        (precision_recall, ([1, 2], [1], 0.5), "labels must be one for each score"),
        (precision_recall, ([1, 2], [1, 2], 0.5), "labels must be 0 or 1"),
        (choose_threshold, ([], []), "labels must be one for each score"),
        (choose_threshold, ([1, 2], [0, 0]), "labels must hold a 1"),
    ],
)
def test_values_that_cannot_be_measured(measure, arguments, sentence):
    """Invalid arguments are refused in one sentence."""
    with pytest.raises(ValueError, match=sentence):
        measure(*arguments)
