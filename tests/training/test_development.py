"""Each measure of held-out examples equals the same computed by hand."""

import numpy as np
import pytest
from tasks import make_task

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.evaluation.metrics import spearman
from minisbert.training.development import measure_development, measure_ranking
from minisbert.training.examples import make_examples
from minisbert.training.objectives import CLASSIFIER, make_classifier, make_loss
from models import make_cross_encoder_directory, make_model_directory

RNG = np.random.default_rng(17)
CONCATENATION = "u,v,|u-v|"


def encode_columns(model, rows):
    return [model.encode(list(column)) for column in list(zip(*rows, strict=True))]


def compare_classes(logits, rows):
    """Return for each row whether the largest logit is that of its class."""
    return np.array(["other", "same"])[logits.argmax(axis=1)] == [label for *_, label in rows]


def test_scores_are_correlated(tiny):
    """A bi-encoder's scores are measured by the rank correlation of the cosines with them."""
    rows = [(*row[:2], float(RNG.random())) for row in make_task("cosine", 12)]
    u, v = encode_columns(tiny, [row[:2] for row in rows])
    name, value = measure_development(
        tiny, make_examples(rows, "cosine"), make_loss("cosine"), parameters={}
    )
    assert name == "Spearman"
    expected = spearman([row[2] for row in rows], np.einsum("be,be->b", u, v))
    assert value == pytest.approx(expected, abs=1e-9)


def test_scores_of_a_cross_encoder(tmp_path):
    """A cross-encoder's scores are measured by their rank correlation with the labels."""
    model = CrossEncoder(make_cross_encoder_directory(tmp_path))
    rows = [(*row[:2], float(RNG.random())) for row in make_task("binary", 12)]
    expected = spearman([row[2] for row in rows], model.predict([row[:2] for row in rows]))
    found = measure_development(
        model, make_examples(rows, "binary"), make_loss("binary"), parameters={}
    )
    assert found == ("Spearman", pytest.approx(expected, abs=1e-9))


@pytest.mark.parametrize("dense", [None, 12])
def test_classes_by_the_classifier(tmp_path, dense):
    """A bi-encoder's classes are measured by the accuracy of the classifier trained with it."""
    model = SentenceTransformer(make_model_directory(tmp_path, dense=dense))
    model.truncate_dim = 7  # the classifier reads all dimensions nevertheless
    rows = make_task("softmax", 21)
    classifier = make_classifier(2, dense or 32, CONCATENATION, seed=0)
    found = measure_development(
        model, make_examples(rows, "softmax"), make_loss("softmax"), parameters=classifier
    )
    model.truncate_dim = None
    u, v = encode_columns(model, [row[:2] for row in rows])
    weight, bias = classifier[f"{CLASSIFIER}.weight"], classifier[f"{CLASSIFIER}.bias"]
    logits = np.hstack([u, v, np.abs(u - v)]) @ weight.T + bias
    right = compare_classes(logits, rows)
    assert found == ("accuracy", pytest.approx(np.mean(right)))
    assert 0 < found.value < 1


def test_classes_by_a_cross_encoder(tmp_path):
    """A cross-encoder's classes are measured by its accuracy."""
    model = CrossEncoder(make_cross_encoder_directory(tmp_path, num_labels=2))
    rows = make_task("classes", 20)
    logits = model.predict([row[:2] for row in rows], return_logits=True)
    right = compare_classes(logits, rows)
    found = measure_development(
        model, make_examples(rows, "classes"), make_loss("classes"), parameters={}
    )
    assert found == ("accuracy", pytest.approx(np.mean(right)))


def test_triplets(tiny):
    """Triplets are measured by how often the positive is strictly nearer than the negative."""
    rows = make_task("triplet", 12)
    rows += [(c, a, b) for a, b, c in rows] + [("a bird", "a tree", "a tree")]
    a, b, c = encode_columns(tiny, rows)
    nearer = ((a - b) ** 2).sum(axis=1) < ((a - c) ** 2).sum(axis=1)
    nearer[-1] = False
    found = measure_development(
        tiny, make_examples(rows, "triplet"), make_loss("triplet"), parameters={}
    )
    assert found == ("accuracy", pytest.approx(nearer.mean()))
    assert 0 < found.value < 1


def test_ranking_by_hand():
    """Pairs are measured by the mean of 1 / rank of the right text, which is 0 from rank 11 on."""
    first = np.eye(12, dtype=np.float32)
    second, texts = first.copy(), [f"text {row}" for row in range(12)]
    assert measure_ranking(first, 3 * second, texts) == 1  # lengths don't matter
    second[0], second[1] = [0.6, 0.8] + [0] * 10, [0.8, 0.6] + [0] * 10
    # The right ones of 0 and 1 now come second.
    assert measure_ranking(first, second, texts) == pytest.approx((10 + 2 / 2) / 12)
    # But not if they are the same text.
    assert measure_ranking(first, second, ["text", "text", *texts[2:]]) == 1
    # By -x the right one comes last of 12.
    assert measure_ranking(-first, first, texts) == 0


def test_ranking_by_the_similarity_of_the_model():
    """Pairs are ranked by any similarity: by dot product a long candidate is first."""
    first = np.eye(2, dtype=np.float32)
    second = np.float32([[1, 0], [9, 9]])
    texts = ["a", "b"]
    assert measure_ranking(first, second, texts) == 1
    assert measure_ranking(first, second, texts, similarity="dot") == (1 / 2 + 1) / 2
    assert measure_ranking(first, second, texts, similarity="euclidean") == (1 + 1 / 2) / 2


def test_ranking_of_texts(tiny):
    """Pairs of texts without a label are ranked among each other."""
    rows = make_task("ranking", 25)
    cosines = np.matmul(*(x if i == 0 else x.T for i, x in enumerate(encode_columns(tiny, rows))))
    places = (cosines > np.diag(cosines)[:, None] + 1e-6).sum(axis=1) + 1
    found = measure_development(
        tiny, make_examples(rows, "ranking"), make_loss("ranking"), parameters={}
    )
    assert found == ("MRR@10", pytest.approx(np.mean((places <= 10) / places)))


def test_long_texts_are_cut_in_silence(tiny):
    """A measure that is taken again and again does not warn of long texts every time."""
    rows = [("bird " * 100, "tree", 1.0), ("bird", "tree", 0.5), ("a", "the", 0.2)]
    for objective, examples in (("cosine", rows), ("ranking", [row[:2] for row in rows])):
        measure_development(
            tiny, make_examples(examples, objective), make_loss(objective), parameters={}
        )
