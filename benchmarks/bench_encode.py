"""Encoding by length, by token budget, and one text alone: `make bench`.

Each benchmark first checks the vectors against those of the texts encoded alone.
"""

import numpy as np
import pytest

from minisbert import SentenceTransformer
from minisbert.encoding import batching
from minisbert.model_files.hub import fetch_model

TEXT = "the river rose in spring and the old mill turned again while children ran along the bank"
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def model():
    return SentenceTransformer(fetch_model("all-MiniLM-L6-v2"))


def make_texts(count: int, words: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, words)) for _ in range(count)]


def encode_verified(benchmark, model, texts):
    """Time an encode of all texts, after the first and the last were checked."""
    vectors = model.encode(texts)
    for index in (0, -1):
        assert np.abs(vectors[index] - model.encode(texts[index])).max() <= 5e-7
    benchmark.extra_info["texts"] = len(texts)
    benchmark(model.encode, texts)


@pytest.mark.parametrize("words", [6, 14, 62, 254])
def test_length(benchmark, model, words):
    """2,048 tokens in texts of one length."""
    encode_verified(benchmark, model, make_texts(2048 // (words + 2), words))


@pytest.mark.parametrize("budget", [512, 2048, 8192])
def test_budget(benchmark, model, monkeypatch, budget):
    """256 texts of mixed length, by the tokens of a batch."""
    monkeypatch.setattr(batching, "TOKEN_BUDGET", budget)
    encode_verified(benchmark, model, [make_texts(1, 4 + i % 40)[0] for i in range(256)])


@pytest.mark.parametrize("words", [1, 10, 50])
def test_one_text(benchmark, model, words):
    """One text, as a search has it."""
    encode_verified(benchmark, model, make_texts(1, words))
