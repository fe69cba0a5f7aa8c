"""Search, paraphrases, communities beside sentence-transformers' own, where theirs is determined.

Theirs leaves the order of equal scores open, so no two scores here are equal but by rounding.
"""

import numpy as np
import pytest
import torch
from sentence_transformers import util as theirs

from minisbert import util as ours

# Two float32 programs on unit vectors.
SAME_SCORE = 1e-6


def make_rows(M, D=48, seed=0):
    """Rows around a few centres."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((8, D))[rng.integers(0, 8, M)] + 0.7 * rng.standard_normal((M, D))
    return rows.astype(np.float32)


def same_hits(ours, theirs):
    """Whether the same rows were found in the same order, with the same scores."""
    return [[hit["corpus_id"] for hit in hits] for hits in ours] == [
        [hit["corpus_id"] for hit in hits] for hits in theirs
    ] and np.allclose(
        [[hit["score"] for hit in hits] for hits in ours],
        [[hit["score"] for hit in hits] for hits in theirs],
        rtol=SAME_SCORE,
        atol=SAME_SCORE,
    )


@pytest.mark.parametrize("name", ["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"])
@pytest.mark.parametrize("sizes", [(100, 500_000), (7, 90)])
def test_hits(name, sizes):
    """Each score function finds the same rows with the same scores, in one chunk or many."""
    queries, corpus = make_rows(30, seed=1), make_rows(400)
    expected = theirs.semantic_search(
        queries, corpus, *sizes, top_k=12, score_function=getattr(theirs, name)
    )
    got = ours.semantic_search(
        queries, corpus, *sizes, top_k=12, score_function=getattr(ours, name)
    )
    assert same_hits(got, expected)
    assert not same_hits(got[1:] + got[:1], expected)


def test_hits_of_one_query():
    """One vector is one query, and the default is the ten best by cosine."""
    corpus = make_rows(400)
    got, expected = (each.semantic_search(corpus[3], corpus) for each in (ours, theirs))
    assert len(got) == 1
    assert len(got[0]) == 10
    assert same_hits(got, expected)


@pytest.mark.parametrize("max_pairs", [50, 500_000])
@pytest.mark.parametrize("top_k", [1, 5, 100])
@pytest.mark.parametrize("sizes", [(5000, 100_000), (64, 90)])
def test_pairs(sizes, top_k, max_pairs):
    """The same pairs have the same scores, the best first."""
    rows = make_rows(300)
    expected = theirs.paraphrase_mining_embeddings(
        theirs.normalize_embeddings(torch.from_numpy(rows)), *sizes, max_pairs, top_k
    )
    got = ours.paraphrase_mining_embeddings(rows, *sizes, max_pairs, top_k)
    scores = {(i, j): score for score, i, j in got}
    assert scores == pytest.approx({(i, j): score for score, i, j in expected}, abs=SAME_SCORE)
    assert len(scores) == len(got)
    assert [pair[0] for pair in got] == pytest.approx(
        [pair[0] for pair in expected], abs=SAME_SCORE
    )


@pytest.mark.parametrize("threshold", [0.3, 0.55, 0.75])
@pytest.mark.parametrize("fewest", [2, 10, 30])
@pytest.mark.parametrize("batch_size", [1024, 37])
def test_communities(threshold, fewest, batch_size):
    """The same communities come in the same order, each with its centre first."""
    rows = make_rows(500)
    expected = theirs.community_detection(rows, threshold, fewest, batch_size)
    assert ours.community_detection(rows, threshold, fewest, batch_size) == expected
    if (threshold, fewest) == (0.55, 2):
        assert len(expected) == 8


@pytest.mark.parametrize(
    "name",
    [
        *("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"),
        *("pairwise_cos_sim", "pairwise_dot_score"),
        *("pairwise_euclidean_sim", "pairwise_manhattan_sim"),
    ],
)
def test_similarities(name):
    """Every similarity gives the same numbers."""
    a, b = make_rows(20), make_rows(20, seed=1)
    expected = getattr(theirs, name)(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert getattr(ours, name)(a, b) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_shapes_of_embeddings():
    """Embeddings are cut and scaled alike."""
    rows = make_rows(20)
    expected = theirs.normalize_embeddings(torch.from_numpy(rows)).numpy()
    assert ours.normalize_embeddings(rows) == pytest.approx(expected, abs=SAME_SCORE)
    expected = theirs.truncate_embeddings(torch.from_numpy(rows), 7).numpy()
    assert np.array_equal(ours.truncate_embeddings(rows, 7), expected)
