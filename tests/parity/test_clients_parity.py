"""Real programs written for sentence-transformers, unmodified, with our model in them.

Some replace an object that they don't know by a model of their own without a word, so each test
counts the calls of our `encode` and looks for our vectors in the client. The adapters are those of
minisbert/encoding/README.md, run as they stand there.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers
from sentence_transformers.sentence_transformer.evaluation import (
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
)

TESTS = Path(__file__).parents[1]
README = (TESTS.parent / "minisbert" / "encoding" / "README.md").read_text("utf-8")
GOLDEN = json.loads((TESTS / "golden" / "texts.json").read_text("utf-8"))
TEXTS = [text for text in GOLDEN.values() if 20 < len(text) < 400][:50]


@pytest.fixture(scope="module")
def theirs(minilm_directory):
    return sentence_transformers.SentenceTransformer(str(minilm_directory), device="cpu")


@pytest.fixture
def calls(minilm, monkeypatch):
    """Record the texts that a client gives our model, call by call."""
    asked = []
    encode = minilm.encode

    def count(inputs, *arguments, **options):
        asked.append(inputs)
        return encode(inputs, *arguments, **options)

    monkeypatch.setattr(minilm, "encode", count)
    return asked


def read_adapter(name, model):
    """Run the block of the README that imports a client: what it defines, with our model."""
    (block,) = (
        code
        for code in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
        if f"from {name}" in code
    )
    found = {"model": model}
    exec(block, found)
    return found


@pytest.mark.parametrize("precision", [None, "float32", "int8", "uint8", "binary", "ubinary"])
def test_similarity_evaluator(minilm, theirs, calls, precision):
    """EmbeddingSimilarityEvaluator takes our object as it is and finds what it finds of theirs."""
    scores = np.random.default_rng(0).random(len(TEXTS))
    measures = ["cosine", "dot", "euclidean", "manhattan"]
    others = TEXTS[1:] + TEXTS[:1]
    evaluate = EmbeddingSimilarityEvaluator(
        TEXTS, others, scores, similarity_fn_names=measures, precision=precision
    )
    got = minilm.evaluate(evaluate)
    assert [len(inputs) for inputs in calls] in ([len(TEXTS)] * 2, [2 * len(TEXTS)])
    expected = evaluate(theirs)
    assert got.keys() == expected.keys()
    # Quantised, two pairs may change places by the last bit of a vector.
    quantized = precision not in (None, "float32")
    assert got == pytest.approx(expected, abs=5e-3 if quantized else 1e-5)


def test_retrieval_evaluator(minilm, theirs, calls):
    """InformationRetrievalEvaluator ranks our vectors, as tensors, as it ranks theirs."""
    documents = {f"d{number}": text for number, text in enumerate(TEXTS)}
    queries = {f"q{number}": text[: len(text) // 2] for number, text in enumerate(TEXTS)}
    relevant = {f"q{number}": {f"d{number}"} for number in range(len(TEXTS))}
    evaluate = InformationRetrievalEvaluator(queries, documents, relevant)
    got = evaluate(minilm)
    assert [*map(len, calls)] == [len(TEXTS)] * 2
    expected = evaluate(theirs)
    assert got == pytest.approx(expected, abs=1e-9)
    assert 0.5 < got["cosine_ndcg@10"] < 1


def test_keybert(minilm, calls):
    """KeyBERT's keywords are the words whose vectors, ours, are nearest the text's."""
    client = read_adapter("keybert", minilm)["keywords_model"]
    text = "A cat sleeps on the sofa while two dogs run in the garden behind the old house."
    documents, words = client.extract_embeddings(text)
    assert np.array_equal(documents, minilm.encode([text]))
    assert len(calls) == 3  # two of the client's and the one above
    asked = list(calls[1])
    assert np.array_equal(words, minilm.encode(asked))
    keywords = client.extract_keywords(text, top_n=3)
    scores = minilm.similarity(documents, words)[0]
    best = np.argsort(-scores)[:3]
    assert [word for word, _ in keywords] == [asked[row] for row in best]
    assert [score for _, score in keywords] == pytest.approx(scores[best].tolist(), abs=1e-4)


def test_bertopic(minilm, calls):
    """BERTopic's topics lie in the middle of our vectors of their texts."""
    client = read_adapter("bertopic", minilm)["topic_model"]
    topics, _ = client.fit_transform(TEXTS)
    assert len(calls) >= 1
    assert list(calls[0]) == TEXTS
    vectors = minilm.encode(TEXTS)
    assert len(set(topics)) > 1
    order = sorted(set(topics))
    for row, topic in zip(client.topic_embeddings_, order, strict=True):
        assert row == pytest.approx(vectors[np.array(topics) == topic].mean(axis=0), abs=1e-5)


def test_langchain(minilm, calls):
    """LangChain's vector store holds our vectors and finds by them."""
    client = read_adapter("langchain_core", minilm)["store"]
    names = client.add_texts(TEXTS)
    vectors = minilm.encode_document(TEXTS)
    held = np.array([client.store[name]["vector"] for name in names])
    assert np.array_equal(held.astype(np.float32), vectors)
    assert len(calls) == 2
    (found,) = client.similarity_search(TEXTS[5], k=1)
    assert found.page_content == TEXTS[5]
    assert calls[-1] == TEXTS[5]
