"""Options of `encode` beside sentence-transformers' own, with all-MiniLM-L6-v2."""

import json
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers

from minisbert import SentenceTransformer

GOLDEN = Path(__file__).parents[1] / "golden" / "texts.json"
TEXTS = [text for text in json.loads(GOLDEN.read_text("utf-8")).values() if len(text) < 400][:40]


@pytest.fixture(scope="module")
def theirs(minilm_directory):
    return sentence_transformers.SentenceTransformer(str(minilm_directory), device="cpu")


def test_token_embeddings(minilm, theirs):
    """Each token has the same vector, and each text as many, of one text and of many."""
    got = minilm.encode(TEXTS, output_value="token_embeddings")
    expected = theirs.encode(TEXTS, output_value="token_embeddings")
    for ours, tokens in zip(got, expected, strict=True):
        assert ours.shape == tokens.shape
        assert np.abs(ours - tokens.numpy()).max() <= 1e-5
    alone = minilm.encode(TEXTS[3], output_value="token_embeddings")
    assert np.abs(alone - expected[3].numpy()).max() <= 1e-5


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("options", [{}, {"truncate_dim": 100, "normalize_embeddings": True}])
def test_precisions(minilm, theirs, precision, options):
    """Codes are the same but where vectors differ in their last bits at the edge of a step."""
    got = minilm.encode(TEXTS, precision=precision, **options)
    expected = theirs.encode(TEXTS, precision=precision, **options)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    assert (got != expected).mean() < 2e-3


def test_refusals(minilm, theirs):
    """Both refuse to quantise a single text to int8, and an unknown precision."""
    for options in ({"precision": "int8"}, {"precision": "int4"}):
        for model in (minilm, theirs):
            with pytest.raises(ValueError, match=r"2 texts|single|precision|Precision"):
                model.encode("a single text", **options)


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_prompts(minilm_directory, method):
    """Named, given and default prompts are put in front alike."""
    prompts = {"query": "question: ", "document": "text: ", "task": "do: "}
    ours, theirs = (
        kind(str(minilm_directory), prompts=prompts, default_prompt_name="task", device="cpu")
        for kind in (SentenceTransformer, sentence_transformers.SentenceTransformer)
    )
    for options in ({}, {"prompt_name": "query"}, {"prompt": "mine "}, {"prompt": ""}):
        got, expected = (getattr(model, method)(TEXTS[:9], **options) for model in (ours, theirs))
        assert np.abs(got - expected).max() <= 1e-5
