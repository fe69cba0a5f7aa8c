"""Measure what the four classic mistakes of BERT ports cost, with all-MiniLM-L6-v2.

    MINISBERT_DATA=data python benchmarks/wrong_ports.py

Each mistake is one line of a padded port: tests/plain_bert.py, in minibatches of 32 texts in file
order, gets a wrong mask, a wrong pooling or a wrong length. It needs MINISBERT_DATA: the dev set of
the STS benchmark (short texts), and SciFact (long ones).
"""

import sys
from pathlib import Path

import numpy as np

from corpora import DATA, MODEL, STS, pad
from harness import print_machine
from minisbert import SentenceTransformer
from minisbert.evaluation.evaluate import evaluate_retrieval
from minisbert.evaluation.judged_files import read_beir, read_sts
from minisbert.evaluation.metrics import spearman
from minisbert.network.activations import gelu_forward

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import plain_bert

BATCH_SIZE = 32
RIGHT_LENGTH, WRONG_LENGTH = 256, 128
HEADER = f"{'':24} {'mean cos':>8} {'lowest':>8}"

# The same to 1e-6, and many times faster than math.erf called for one number at a time.
plain_bert.gelu = gelu_forward


def encode_padded(model: SentenceTransformer, texts: list[str]) -> dict[str, np.ndarray]:
    """Encode texts as a padded port does, right and with each mistake.  name -> (B, D)"""
    found: dict[str, list[np.ndarray]] = {}
    sentences = model.tokenizer.encode(texts, RIGHT_LENGTH).ids
    for start in range(0, len(texts), BATCH_SIZE):
        batch = sentences[start : start + BATCH_SIZE]
        ids, mask = pad(batch), pad([np.ones_like(sentence) for sentence in batch]) > 0
        nothing_masked = np.ones_like(mask)
        inputs = model.parameters, model.config.bert, ids
        masked, unmasked = (plain_bert.plain_bert(*inputs, m) for m in (mask, nothing_masked))
        for name, vectors in {
            "right": plain_bert.mean_pool(masked, mask),
            "no mask in the softmax": plain_bert.mean_pool(unmasked, mask),
            "padding in the mean": plain_bert.mean_pool(masked, nothing_masked),
            "both": plain_bert.mean_pool(unmasked, nothing_masked),
            "CLS for mean": masked[:, 0],
        }.items():
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            found.setdefault(name, []).append(vectors / lengths)
    return {name: np.concatenate(batches) for name, batches in found.items()}


def print_row(name: str, wrong: np.ndarray, right: np.ndarray, quality: float) -> None:
    cosines = np.einsum("bd,bd->b", wrong, right)
    print(f"{name:24} {cosines.mean():8.3f} {cosines.min():8.3f} {100 * quality:10.2f}")


def measure_padding(model: SentenceTransformer) -> None:
    """Print what mistakes with padding and pooling cost on short texts."""
    pairs = read_sts(DATA / STS[1])
    texts = [*pairs.first, *pairs.second]
    vectors = encode_padded(model, texts)
    difference = np.abs(vectors["right"] - model.encode(texts)).max()
    assert difference < 1e-5, f"the padded port must be right first, but is {difference} off"
    print(f"\nSTS benchmark dev, {len(texts)} texts\n{HEADER} {'Spearman':>10}")
    for name, wrong in vectors.items():
        scores = np.einsum("bd,bd->b", *np.split(wrong, 2))
        print_row(name, wrong, vectors["right"], spearman(pairs.scores, scores))


def measure_truncation(model: SentenceTransformer) -> None:
    """Print what half of the right length costs on long texts."""
    task, vectors = read_beir(DATA / "scifact"), []
    documents = list(task.documents.values())
    long = [text for text in documents[:300] if model.token_lengths([text])[0] > WRONG_LENGTH]
    print(f"\nSciFact: cosines of {len(long)} documents, nDCG@10 of all {len(documents)}")
    print(f"{HEADER} {'nDCG@10':>10}")
    for length in (RIGHT_LENGTH, WRONG_LENGTH):
        model.max_seq_length = length
        vectors.append(model.encode(long, on_truncate="ignore"))
        quality = evaluate_retrieval(model, task).measures["nDCG@10"]
        print_row(f"{length} tokens", vectors[-1], vectors[0], quality)


if __name__ == "__main__":
    print_machine()
    model = SentenceTransformer(MODEL)
    measure_padding(model)
    measure_truncation(model)
