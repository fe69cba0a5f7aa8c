"""Real weights give the vectors of sentence-transformers, the same ones in any batch."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from minisbert import SentenceTransformer
from models import make_model_directory
from plain_bert import mean_pool, plain_bert

GOLDEN = Path(__file__).parent / "golden"
TEXTS: dict[str, str] = json.loads((GOLDEN / "texts.json").read_text("utf-8"))
VECTORS = load_file(GOLDEN / "vectors.safetensors")["vectors"]

# Two float32 programs that sum in different orders end up 1e-6 apart, a wrong formula 1e-4 or more
# (GELU by tanh: 1.9e-4).
SAME_MODEL = 1e-5
# One program, other batches: only BLAS's last bits may differ.
SAME_TEXT = 5e-7


def find_differences(vectors, expected, tolerance) -> list[str]:
    """Name the golden texts whose vectors are further apart than the tolerance, or not numbers."""
    distances = np.abs(vectors - expected).max(axis=1)
    return [
        f"{name}: {distance:.1e}"
        for name, distance in zip(TEXTS, distances, strict=True)
        if not distance <= tolerance
    ]


# Against sentence-transformers


def test_golden_vectors(minilm):
    """Every golden text gets the vector that sentence-transformers gave it."""
    vectors = minilm.encode(TEXTS.values(), on_truncate="ignore")
    assert find_differences(vectors, VECTORS, SAME_MODEL) == []


def test_comparison_finds_a_wrong_vector():
    """The comparison above rejects zeros, one wrong number, one NaN, and rows out of order."""
    assert len(find_differences(np.zeros_like(VECTORS), VECTORS, SAME_MODEL)) == len(TEXTS)
    for wrong in (VECTORS[5, 7] + 2 * SAME_MODEL, np.nan):
        vectors = VECTORS.copy()
        vectors[5, 7] = wrong
        assert len(find_differences(vectors, VECTORS, SAME_MODEL)) == 1
    assert len(find_differences(VECTORS[::-1], VECTORS, SAME_MODEL)) >= len(TEXTS) - 1


def test_golden_set_is_of_the_weights_in_use(minilm_directory):
    """The golden vectors were made with the very weights that the tests run on."""
    with safe_open(GOLDEN / "vectors.safetensors", "np") as golden:
        made_with = golden.metadata()["weights_sha256"]
    weights = (minilm_directory / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == made_with


def test_plain_bert_makes_the_golden_vectors(minilm):
    """The tests' oracle, padded and masked, agrees with sentence-transformers as well."""
    names = [name for name, text in TEXTS.items() if len(text) < 60][::4]
    sentences = minilm.tokenizer.encode([TEXTS[name] for name in names], 256).ids
    ids = np.zeros((len(names), max(map(len, sentences))), np.int64)
    mask = np.zeros_like(ids)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)] = sentence
        mask[row, : len(sentence)] = 1
    parameters = load_file(minilm.model_directory / "model.safetensors")
    pooled = mean_pool(plain_bert(parameters, minilm.config.bert, ids, mask), mask)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    expected = VECTORS[[name in names for name in TEXTS]]
    assert np.abs(pooled - expected).max() <= 1e-6


def test_readme_triple(minilm):
    """The example of sentence-transformers' README has the cosines printed there."""
    triple = minilm.encode([TEXTS[f"readme {i}"] for i in (1, 2, 3)])
    cosines = minilm.similarity(triple, triple)[np.triu_indices(3, 1)]
    assert cosines == pytest.approx([0.6660, 0.1046, 0.1411], abs=5e-5)


# The same vector in any batch


@pytest.fixture(scope="module")
def alone(minilm):
    """Every golden text encoded alone, on one thread."""
    return np.stack(
        [minilm.encode(text, threads=1, on_truncate="ignore") for text in TEXTS.values()]
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 7])
def test_batch_and_threads_change_nothing(minilm, alone, batch_size, threads):
    """A text gets the same vector alone and in any batch, order and number of threads."""
    order = np.random.default_rng(3).permutation(len(TEXTS))
    texts = list(TEXTS.values())
    shuffled = minilm.encode(
        [texts[i] for i in order], batch_size=batch_size, threads=threads, on_truncate="ignore"
    )
    assert find_differences(shuffled[np.argsort(order)], alone, SAME_TEXT) == []


@pytest.mark.parametrize(("text", "tokens"), [("", 2), ("hello", 3), ("good morning", 4)])
def test_shortest_texts_change_nothing(minilm, text, tokens):
    """Batches of so few tokens that BLAS would take another kernel give the same vectors."""
    assert minilm.token_lengths([text]).tolist() == [tokens]
    expected = minilm.encode([text, TEXTS["128 tokens"]], threads=1)[0]
    for copies in range(1, 7):
        for threads in (1, 2):
            vectors = minilm.encode([text] * copies, threads=threads)
            assert np.abs(vectors - expected).max() <= SAME_TEXT


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": ("cls",)},
        {"dense": 24},
        {"pooling": ("cls", "mean", "max"), "dense": 24},
    ],
    ids=["cls", "dense", "cls mean max dense"],
)
def test_poolings_and_dense_change_nothing(tmp_path, options):
    """One text alone through CLS pooling or Dense gets the vector that it gets in a batch."""
    model = SentenceTransformer(make_model_directory(tmp_path, **options))
    texts = ["", "a", "a bird", "the old bird sings all day", "cat . dog , ! ?"] * 3
    for text, row in zip(texts, model.encode(texts, threads=1), strict=True):
        for threads in (1, 2):
            assert np.abs(model.encode([text], threads=threads) - row).max() <= SAME_TEXT
