"""Scoring pairs, one at a time and batched: `make bench`.

The cross-encoder has the weights of all-MiniLM-L6-v2 and a fresh head, which serves for timing.
"""

import itertools

import numpy as np
import pytest

from bench_encode import make_texts
from minisbert import SentenceTransformer
from minisbert.costs.measurement import compare_batched, compare_naively, make_cross_encoder
from minisbert.model_files.hub import fetch_model


@pytest.fixture(scope="module")
def cross():
    return make_cross_encoder(SentenceTransformer(fetch_model("all-MiniLM-L6-v2")))


@pytest.mark.parametrize("way", [compare_naively, compare_batched])
def test_pairs(benchmark, cross, way):
    """All 45 pairs of 10 sentences of 14 words."""
    texts = make_texts(10, 14)
    expected = [cross.predict(pair) for pair in itertools.combinations(texts, 2)]
    assert np.abs(way(cross, texts) - expected).max() <= 1e-6
    benchmark(way, cross, texts)
