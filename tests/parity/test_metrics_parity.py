"""The measures beside their reference implementations: scipy and trec_eval (as ir_measures)."""

import ir_measures
import numpy as np
import pytest
from scipy import stats

from minisbert.evaluation.evaluate import average_measures
from minisbert.evaluation.metrics import pearson, rank_values, spearman

TREC_NAMES = {
    "nDCG@10": "nDCG@10",
    "MRR@10": "RR@10",
    "MAP@100": "AP@100",
    "recall@1": "R@1",
    "recall@10": "R@10",
    "recall@100": "R@100",
}


@pytest.mark.parametrize("values", [3, 50, 10**9], ids=["many ties", "ties", "hardly any ties"])
def test_correlations_are_those_of_scipy(values):
    """Ranks are scipy's, correlations too up to rounding, with and without ties."""
    rng = np.random.default_rng(values)
    for n in (2, 3, 10, 1000):
        a, b = rng.permutation(n) % values, rng.integers(0, values, n)
        if len(set(b)) == 1:
            continue
        assert np.array_equal(rank_values(b), stats.rankdata(b))
        assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_ranking_measures_are_those_of_trec_eval():
    """Random rankings with grades from -1 to 3, unjudged and missing documents included."""
    rng = np.random.default_rng(0)
    run, qrels, rankings = {}, {}, []
    for query in map(str, range(300)):
        found = [str(document) for document in rng.permutation(300)[: rng.integers(1, 150)]]
        grades = {str(d): int(rng.integers(-1, 4)) for d in rng.permutation(300)[:20]}
        grades[str(rng.integers(300))] = 1
        run[query] = {document: -float(place) for place, document in enumerate(found)}
        qrels[query] = grades
        rankings.append(([grades.get(document, 0) for document in found], list(grades.values())))
    measures = [ir_measures.parse_measure(name) for name in TREC_NAMES.values()]
    expected = ir_measures.calc_aggregate(measures, qrels, run)
    ours = average_measures(rankings, 10)
    for measure, (name, trec_name) in zip(measures, TREC_NAMES.items(), strict=True):
        assert str(measure) == trec_name
        assert ours[name] == pytest.approx(expected[measure], abs=1e-9), name
