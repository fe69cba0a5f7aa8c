"""Texts and rows that the benchmarks measure on.

MINISBERT_DATA names a folder with the STS benchmark, SNLI, Quora's questions and SciFact. The rows
of searches are embeddings of its 91,618 different sentences, computed once, kept in `build/rows`.
More rows are made by going through them again and again, each time with a random vector of length
PERTURBATION added and the sum normalized: each has a cosine of about 0.96 to its sentence.
"""

import csv
import hashlib
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

DATA = Path(os.environ.get("MINISBERT_DATA") or "data")
MODEL = "all-MiniLM-L6-v2"
PERTURBATION = 0.3
BLOCK = 16384  # rows made at a time

STS = tuple(f"stsbenchmark/sts-{part}.csv" for part in ("train", "dev", "test"))
QUORA = ("quora/pairs_dev.tsv", "quora/first10k.tsv")
# file -> columns of texts
TEXTS = dict.fromkeys(STS, (5, 6)) | {"snli/train_18k.tsv": (2, 3)}
TEXTS |= {QUORA[0]: (1, 2), QUORA[1]: (3, 4)}


def find_model(name: str) -> str:
    """Return the directory of a model."""
    from minisbert import SentenceTransformer

    return str(SentenceTransformer(name).model_directory)


def pad(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Put B sequences into one array, 0 behind the shorter ones.  -> (B, T) int64"""
    padded = np.zeros((len(sequences), max(map(len, sequences))), np.int64)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
    return padded


def read_table(name: str) -> list[list[str]]:
    """Read tab-separated rows; only Quora's fields are quoted. Damaged UTF-8 is replaced."""
    if not (DATA / name).exists():
        raise SystemExit(f"MINISBERT_DATA must name a folder that holds {name}, got {DATA}")
    quoting = csv.QUOTE_MINIMAL if name in QUORA else csv.QUOTE_NONE
    with (DATA / name).open(encoding="utf-8", errors="replace", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=quoting))


def find_different(texts: Iterable[str]) -> list[str]:
    """Return the different texts that are not empty, sorted."""
    return sorted({text.strip() for text in texts} - {""})


def read_columns(names: Iterable[str]) -> list[str]:
    """Return all texts of some tables."""
    cells = ((row, column) for name in names for row in read_table(name) for column in TEXTS[name])
    return [row[column] for row, column in cells if column < len(row)]


def read_texts(count: int) -> list[str]:
    """Draw sentences of the STS benchmark, or without MINISBERT_DATA of the standard library."""
    if (DATA / STS[0]).exists():
        texts = find_different(read_columns(STS))
    else:
        from minisbert.command_line.standard_library import read_standard_library

        texts = find_different(entry.sentence for entry in read_standard_library())
    return random.Random(0).sample(texts, min(count, len(texts)))


def read_sentences() -> list[str]:
    """Return all different sentences."""
    with (DATA / "scifact/corpus.jsonl").open(encoding="utf-8") as file:
        titles = [json.loads(line)["title"] for line in file]
    return find_different([*read_columns(TEXTS), *titles])


def load_embeddings() -> np.ndarray:
    """Return unit vectors of all sentences, computed once and kept.  -> (n, D) float32"""
    sentences = read_sentences()
    digest = hashlib.sha256("\n".join([MODEL, *sentences]).encode()).hexdigest()[:16]
    path = Path("build/rows") / f"{digest}.npy"
    if not path.exists():
        from minisbert import SentenceTransformer

        model = SentenceTransformer(MODEL)
        embeddings = model.encode(sentences, on_truncate="ignore", normalize_embeddings=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, embeddings)
    return np.load(path)


def perturb(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a random vector of length PERTURBATION to each row; return them with length 1."""
    noise = rng.standard_normal(rows.shape, np.float32)
    rows = rows + PERTURBATION * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_blocks(embeddings: np.ndarray, M: int) -> Iterator[np.ndarray]:
    """Yield M rows in blocks: the embeddings as they are, then perturbed, again and again."""
    for start in range(0, M, BLOCK):
        numbers, n = np.arange(start, min(start + BLOCK, M)), len(embeddings)
        rows, new = embeddings[numbers % n], numbers >= n
        rows[new] = perturb(rows, np.random.default_rng([0, start]))[new]
        yield rows


def make_queries(embeddings: np.ndarray, count: int) -> np.ndarray:
    """Return sentences that are in no block: perturbed with another seed.  -> (count, D)"""
    rng = np.random.default_rng(1)
    return perturb(embeddings[rng.choice(len(embeddings), count, replace=False)], rng)
