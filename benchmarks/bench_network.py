"""Time encoding by length, by token budget, for one text, and the scoring of pairs: `make bench`.

Each benchmark first checks its numbers against those of the texts or pairs alone. The cross-encoder
has the weights of all-MiniLM-L6-v2 and a random head, which serves for timing.
"""

from itertools import combinations

import numpy as np
import pytest

from minisbert import SentenceTransformer
from minisbert.costs import make_cross_encoder
from minisbert.costs.measurement import compare_batched, compare_naively

TEXT = "the river rose in spring and the old mill turned again while children ran along the bank"
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def model():
    return SentenceTransformer("all-MiniLM-L6-v2")


def make_texts(count: int, words: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, words)) for _ in range(count)]


def time_encode(benchmark, model, texts):
    vectors = model.encode(texts)
    for index in (0, -1):
        assert np.abs(vectors[index] - model.encode(texts[index])).max() <= 5e-7
    benchmark.extra_info["texts"] = len(texts)
    benchmark(model.encode, texts)


@pytest.mark.parametrize(("count", "words"), [(256, 6), (128, 14), (32, 62), (8, 254)])
def test_length(benchmark, model, count, words):
    """2,048 tokens in texts of one length."""
    time_encode(benchmark, model, make_texts(count, words))


@pytest.mark.parametrize("budget", [512, 2048, 8192])
def test_budget(benchmark, model, monkeypatch, budget):
    """256 texts of mixed length, by the tokens of a batch."""
    monkeypatch.setattr("minisbert.encoding.batching.TOKEN_BUDGET", budget)
    time_encode(benchmark, model, [make_texts(1, 4 + i % 40)[0] for i in range(256)])


@pytest.mark.parametrize("words", [1, 10, 50])
def test_one_text(benchmark, model, words):
    """One text, as a search encodes its query."""
    time_encode(benchmark, model, make_texts(1, words))


@pytest.mark.parametrize("way", [compare_naively, compare_batched])
def test_pairs(benchmark, model, way):
    """All 45 pairs of 10 sentences of 14 words."""
    cross, texts = make_cross_encoder(model), make_texts(10, 14)
    expected = [cross.predict(pair) for pair in combinations(texts, 2)]
    assert np.abs(way(cross, texts) - expected).max() <= 1e-6
    benchmark(way, cross, texts)
