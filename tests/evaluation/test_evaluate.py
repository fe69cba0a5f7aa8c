"""STS and retrieval measures, computed by hand; figures of a real model are in test_main.py."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from minisbert import SentenceTransformer
from minisbert.evaluation.evaluate import evaluate_retrieval, evaluate_sts
from minisbert.evaluation.judged_files import RetrievalTask, StsPairs

PAIRS = StsPairs(
    ["a bird", "the dog", "a bird", "a cat"],
    ["the old bird sings", "a cat", "a bird", "the dog runs"],
    np.array([4.0, 1.0, 5.0, 1.5]),
)


class Compass:
    """A stand-in for a model: a text is an angle in degrees, its embedding the unit vector."""

    max_seq_length = 2
    similarity_fn_name = "cosine"

    def encode(self, texts, **options):
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    encode_query = encode_document = encode

    def token_lengths(self, texts):
        return np.array([len(text) for text in texts])

    def similarity_pairwise(self, a, b):
        return (a * b).sum(axis=1)


TASK = RetrievalTask(
    documents={"north": "90", "east": "0", "west": "180", "south": "270"},
    queries={"up": "80", "left": "170", "right": "10", "east": "1"},
    grades={
        "up": {"north": 1.0, "south": 1.0},  # places 1 and 4
        "left": {"north": 2.0, "west": 0.0},  # place 2
    },
)


# Similarity


def test_sts_of_a_bi_encoder(tiny):
    """A text that occurs more than once has one embedding; the score is the model's own."""
    first, second = tiny.encode(PAIRS.first), tiny.encode(PAIRS.second)
    cosines = tiny.similarity_pairwise(first, second)
    result = evaluate_sts(tiny, PAIRS)
    assert result.pairs == 4
    assert result.pearson == pytest.approx(np.corrcoef(cosines, PAIRS.scores)[0, 1], abs=1e-5)
    assert -1 <= result.spearman <= 1


def test_sts_by_hand():
    """Angles between 0 and 30, 60, 90 degrees, judged 3 2 2.5: ranks 3 2 1 and 3 1 2."""
    pairs = StsPairs(["0", "0", "0"], ["30", "-60", "90"], np.array([3, 2, 2.5]))
    result = evaluate_sts(Compass(), pairs)
    assert result.spearman == pytest.approx(0.5)
    cosines = [math.sqrt(3) / 2, 1 / 2, 0]
    assert result.pearson == pytest.approx(np.corrcoef(cosines, [3, 2, 2.5])[0, 1])


def test_sts_of_a_cross_encoder():
    """A model with `predict` scores the pairs itself, all at once and in order."""
    asked = []
    model = SimpleNamespace(predict=lambda pairs: asked.extend(pairs) or [1, 2, 3, 4])
    result = evaluate_sts(model, PAIRS)
    assert asked == list(zip(PAIRS.first, PAIRS.second, strict=True))
    assert result.spearman == pytest.approx(1 - 6 * (2**2 + 1 + 1 + 2**2) / 60)


def test_scores_that_are_not_one_a_pair_are_refused():
    """Scores of three labels, and scores that are not numbers, are refused."""
    with pytest.raises(ValueError, match=r"one score for each of the 4 pairs, got .* \(4, 3\)"):
        evaluate_sts(SimpleNamespace(predict=lambda pairs: np.ones((4, 3))), PAIRS)
    with pytest.raises(ValueError, match="values must be finite, got nan at index 2"):
        evaluate_sts(SimpleNamespace(predict=lambda pairs: [1, 2, math.nan, 3]), PAIRS)


def test_equal_scores_have_no_correlation(tiny_directory):
    """Without blocks the first token's vector is the same for every text: no correlation, NaN."""
    result = evaluate_sts(SentenceTransformer(tiny_directory, pooling="cls", blocks=0), PAIRS)
    assert math.isnan(result.spearman)


# Retrieval


def test_retrieval_by_hand():
    """Two queries whose relevant documents have the ranks 1 and 4, and the rank 2."""
    result = evaluate_retrieval(Compass(), TASK)
    second = 1 / math.log2(3)
    up = (1 + 1 / math.log2(5)) / (1 + second)
    assert result.measures == pytest.approx(
        {
            "nDCG@10": (up + second) / 2,
            "MRR@10": (1 + 1 / 2) / 2,
            "MAP@100": ((1 + 2 / 4) / 2 + 1 / 2) / 2,
            "recall@1": (1 / 2 + 0) / 2,
            "recall@10": 1,
            "recall@100": 1,
        }
    )
    assert (result.queries, result.documents) == (2, 4)


def test_depth_of_retrieval():
    """k is the depth of nDCG and MRR."""
    measures = evaluate_retrieval(Compass(), TASK, k=1).measures
    assert (measures["nDCG@1"], measures["MRR@1"]) == (1 / 2, 1 / 2)


def test_cut_documents_are_counted():
    """Documents of more tokens than the model reads are counted, here of more than 2 letters."""
    assert evaluate_retrieval(Compass(), TASK).cut_documents == 2


def test_unknown_ids_are_counted():
    """Unknown queries and queries without a relevant document are left out, documents missed."""
    grades = {
        "up": {"north": 1.0, "nowhere": 1.0},
        "who": {"north": 1.0, "nobody": 1.0},
        "right": {"east": 0.0},
    }
    result = evaluate_retrieval(Compass(), TASK._replace(grades=grades))
    assert (result.unknown_queries, result.unknown_documents, result.idle_queries) == (1, 2, 1)
    assert result.queries == 1
    assert result.measures["recall@100"] == 1 / 2
    assert result.measures["nDCG@10"] == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_a_query_does_not_find_itself():
    """A document with the id of the query is passed over: the next one is first."""
    result = evaluate_retrieval(Compass(), TASK._replace(grades={"east": {"north": 1.0}}))
    assert result.measures["MRR@10"] == 1


def test_dot_product_where_the_model_says_so():
    """The search is by dot product for a model of dot products: the longest document is first."""

    class Ruler(Compass):
        similarity_fn_name = "dot"

        def encode_document(self, texts, **options):
            return self.encode(texts) * np.float32([[1], [1], [1], [9]])

    task = TASK._replace(grades={"right": {"south": 1.0}}, queries={"right": "-30"})
    assert evaluate_retrieval(Ruler(), task).measures["MRR@10"] == 1
    assert evaluate_retrieval(Compass(), task).measures["MRR@10"] == 1 / 2


@pytest.mark.parametrize("similarity", ["euclidean", "manhattan"])
def test_distance_where_the_model_says_so(similarity):
    """The search is by distance for a model of distances: the long document is last."""

    class Ruler(Compass):
        similarity_fn_name = similarity

        def encode_document(self, texts, **options):
            return self.encode(texts) * np.float32([[9], [1], [1], [1]])

    # By cosine north would be first: it points in the direction of the query.
    task = TASK._replace(grades={"up": {"north": 1.0}})
    assert evaluate_retrieval(Ruler(), task).measures["MRR@10"] == 1 / 4


@pytest.mark.parametrize(
    ("change", "k", "sentence"),
    [
        ({}, 0, "k must be a whole number of 1 or more, got 0"),
        ({"grades": {}}, 10, "judgements must name a relevant document for one of the 4 queries"),
        ({"grades": {"who": {"north": 1.0}}}, 10, "judgements must name a relevant document"),
        ({"grades": {"up": {"north": 0.0}}}, 10, "judgements must name a relevant document"),
        ({"documents": {}}, 10, "corpus must hold documents, got none"),
    ],
)
def test_tasks_without_an_answer_are_refused(change, k, sentence):
    """A task on which nothing can be measured is refused in one sentence."""
    with pytest.raises(ValueError, match=sentence):
        evaluate_retrieval(Compass(), TASK._replace(**change), k)
