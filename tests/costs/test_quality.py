"""Quality beside cost, on a few judged pairs."""

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.costs.quality import measure_quality, write_quality
from minisbert.evaluation.judged_files import StsPairs
from minisbert.evaluation.metrics import spearman
from models import WORDS, make_cross_encoder_directory

RNG = np.random.default_rng(5)
WORD_LIST = [word for word in WORDS.split() if word.isalpha()]


def make_text() -> str:
    return " ".join(RNG.choice(WORD_LIST, RNG.integers(2, 9)))


PAIRS = StsPairs([make_text() for _ in range(20)], [make_text() for _ in range(20)], RNG.random(20))


def test_three_ways(tiny_directory, tmp_path):
    """The ways score by cosines, by all logits, and by the best quarter's logits above the rest."""
    model = SentenceTransformer(tiny_directory)
    cross = CrossEncoder(make_cross_encoder_directory(tmp_path))
    bi, all_pairs, rerank = measure_quality(model, cross, PAIRS)
    u, v = model.encode(PAIRS.first), model.encode(PAIRS.second)
    cosines = model.similarity_pairwise(u, v)
    logits = cross.predict(list(zip(PAIRS.first, PAIRS.second, strict=True)), return_logits=True)
    assert bi.spearman == pytest.approx(spearman(PAIRS.scores, cosines))
    assert all_pairs.spearman == pytest.approx(spearman(PAIRS.scores, logits))
    best = np.argsort(-cosines)[:5]
    together = cosines.astype(float)
    together[best] = 10 + logits[best]
    assert rerank.spearman == pytest.approx(spearman(PAIRS.scores, together))
    assert (bi.scored, all_pairs.scored, rerank.scored) == (0, 20, 5)
    lines = list(write_quality([bi, all_pairs, rerank], 20))
    assert lines[0].startswith("Quality and cost together: 20 judged pairs")
    assert lines[3].endswith("5 of them by the cross-encoder")


def test_several_labels_are_refused(tiny_directory, tmp_path):
    """A cross-encoder with three labels has no single score for a pair, and is refused."""
    cross = CrossEncoder(make_cross_encoder_directory(tmp_path, num_labels=3))
    with pytest.raises(ValueError, match="must have one label to score pairs, got 3"):
        measure_quality(SentenceTransformer(tiny_directory), cross, PAIRS)
