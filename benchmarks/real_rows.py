"""Embeddings of real sentences, and millions of them by small perturbations.

The sentences are those of the folder that MINISBERT_DATA names, 91,618 different ones, by
all-MiniLM-L6-v2. They are encoded once and kept in `build/`. More rows than there are sentences are
made by going through them again and again, each time with a random vector of length PERTURBATION
added to each row of length 1, and the sum brought back to length 1: such a row has a cosine of
about 0.96 to the sentence that it comes from.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DATA = Path(os.environ.get("MINISBERT_DATA", "data"))
KEPT = Path("build/rows")
MODEL = "all-MiniLM-L6-v2"
PERTURBATION = 0.3
BLOCK = 16384  # rows made at a time

# file, quoted as CSV or not, columns of texts
TABLES = (
    ("stsbenchmark/sts-train.csv", False, (5, 6)),
    ("stsbenchmark/sts-dev.csv", False, (5, 6)),
    ("stsbenchmark/sts-test.csv", False, (5, 6)),
    ("snli/train_18k.tsv", False, (2, 3)),
    ("quora/pairs_dev.tsv", True, (1, 2)),
    ("quora/first10k.tsv", True, (3, 4)),
)


def read_sentences() -> list[str]:
    """Every different sentence, in a fixed order."""
    if not (DATA / TABLES[0][0]).exists():
        raise SystemExit(f"MINISBERT_DATA must name a folder that holds {TABLES[0][0]}, got {DATA}")
    found = set()
    for name, quoted, columns in TABLES:
        with (DATA / name).open(encoding="utf-8", errors="replace", newline="") as file:
            quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
            for row in csv.reader(file, delimiter="\t", quoting=quoting):
                found.update(row[column].strip() for column in columns if column < len(row))
    with (DATA / "scifact/corpus.jsonl").open(encoding="utf-8") as file:
        found.update(json.loads(line)["title"].strip() for line in file)
    return sorted(found - {""})


def load_embeddings() -> np.ndarray:
    """Unit vectors of the sentences, from the folder where they are kept.  -> (n, D) float32"""
    sentences = read_sentences()
    digest = hashlib.sha256("\n".join([MODEL, *sentences]).encode()).hexdigest()[:16]
    path = KEPT / f"{digest}.npy"
    if not path.exists():
        from minisbert import SentenceTransformer

        model = SentenceTransformer(MODEL)
        embeddings = model.encode(sentences, on_truncate="ignore", normalize_embeddings=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".new").open("wb") as file:
            np.save(file, embeddings)
        path.with_suffix(".new").rename(path)
    return np.load(path)


def make_blocks(embeddings: np.ndarray, M: int, seed: int = 0) -> Iterator[np.ndarray]:
    """M rows in blocks: the embeddings as they are, then perturbed, again and again."""
    n, D = embeddings.shape
    for start in range(0, M, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, M))
        rows = embeddings[numbers % n]
        new = numbers >= n
        if new.any():
            noise = np.random.default_rng([seed, start]).standard_normal(rows.shape, np.float32)
            noise *= PERTURBATION / np.linalg.norm(noise, axis=1, keepdims=True)
            rows[new] += noise[new]
            rows[new] /= np.linalg.norm(rows[new], axis=1, keepdims=True)
        yield rows


def make_queries(embeddings: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """Sentences that are in no block: perturbed with another seed.  -> (count, D)"""
    n, D = embeddings.shape
    rng = np.random.default_rng(seed)
    queries = embeddings[rng.choice(n, count, replace=False)]
    noise = rng.standard_normal(queries.shape, np.float32)
    queries += PERTURBATION * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return queries / np.linalg.norm(queries, axis=1, keepdims=True)
