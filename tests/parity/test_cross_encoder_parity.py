"""CrossEncoder beside sentence-transformers' own, live: scores, activations, ranking, cuts."""

import numpy as np
import pytest
import sentence_transformers

from minisbert import CrossEncoder
from models import WORDS, make_cross_encoder_directory

RNG = np.random.default_rng(9)
WORD_LIST = [word for word in WORDS.split() if word.isalpha()]


def make_text(most: int) -> str:
    return " ".join(RNG.choice(WORD_LIST, RNG.integers(0, most)))


PAIRS = [(make_text(50), make_text(50)) for _ in range(100)]


@pytest.fixture(scope="module", params=[1, 3], ids=["one label", "three labels"])
def models(request, tmp_path_factory):
    directory = make_cross_encoder_directory(
        tmp_path_factory.mktemp("pairs"), num_labels=request.param
    )
    theirs = sentence_transformers.CrossEncoder(str(directory), device="cpu")
    return CrossEncoder(directory), theirs


def test_scores(models):
    """Scores of pairs of all lengths, cut ones too, are within 1e-5."""
    ours, theirs = models
    got = ours.predict(PAIRS, on_truncate="ignore")
    expected = theirs.predict(PAIRS)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-5


def test_saved_directory(models, tmp_path):
    """A directory that sentence-transformers has saved is read, with its activation and limit."""
    ours, theirs = models
    theirs.save_pretrained(str(tmp_path))
    saved = CrossEncoder(tmp_path)
    assert saved.max_length == ours.max_length
    expected = ours.predict(PAIRS, on_truncate="ignore")
    assert np.array_equal(saved.predict(PAIRS, on_truncate="ignore"), expected)


def test_softmax(models):
    """apply_softmax does the same: nothing to the scores of one label."""
    ours, theirs = models
    got = ours.predict(PAIRS, apply_softmax=True, on_truncate="ignore")
    assert np.abs(got - theirs.predict(PAIRS, apply_softmax=True)).max() <= 1e-5


def test_rank(models):
    """rank gives the same documents in the same order with the same scores."""
    ours, theirs = models
    if ours.num_labels == 1:
        documents = [make_text(20) for _ in range(30)]
        got = ours.rank("the old bird", documents, top_k=7, return_documents=True)
        expected = theirs.rank("the old bird", documents, top_k=7, return_documents=True)
        assert [hit["corpus_id"] for hit in got] == [hit["corpus_id"] for hit in expected]
        assert [hit["text"] for hit in got] == [hit["text"] for hit in expected]
        scores = [hit["score"] for hit in expected]
        assert [hit["score"] for hit in got] == pytest.approx(scores, abs=1e-5)
