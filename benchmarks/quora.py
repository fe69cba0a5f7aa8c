"""The paper's Quora task on real questions: the nearest to a new one, and telling duplicates.

    python benchmarks/quora.py [--model NAME] [--new 200] [--sample 2000] [--cache FOLDER]

reads quora/first10k.tsv and quora/pairs_dev.tsv in the folder that MINISBERT_DATA names.

Nearest: some questions, drawn with a fixed seed, are taken out as new; each is compared with all
others by FlatIndex, after its answer was found to be the one of a plain NumPy product. Beside it
stands what a cross-encoder of the same size would take, one pass through the network for every
pair, all cores, batched and sorted: measured on a sample of pairs joined to one text, which leaves
out the cross-encoder's head and so is rather too little than too much.

Duplicates: the threshold of the cosine is the one with the best F1 on the first half of
pairs_dev.tsv; precision, recall and F1 are those of the second half, labelled pairs only.

Embeddings are kept in --cache, so that a second run only measures.

Not measured: approximate search, a trained cross-encoder, training on duplicates.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import platform
import re
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from minisbert import FlatIndex, SentenceTransformer
from minisbert.evaluation.metrics import choose_threshold, precision_recall
from minisbert.search.kernel import kernel_name

PACKAGES = ("minisbert", "numpy", "tokenizers")
PAPER_QUESTIONS = 40_000_000
EXAMPLES = 5


def read_rows(path: Path, columns: int) -> list[list[str]]:
    """Rows of tab-separated values with quotes; damaged UTF-8 becomes a replacement character."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    whole = [row for row in rows if len(row) == columns]
    print(f"{path.name:14} {len(whole)} rows, {len(rows) - len(whole)} malformed and left out")
    return whole


def find_unique(questions: list[str]) -> list[str]:
    return sorted({question.strip() for question in questions} - {""})


def encode_questions(
    model: SentenceTransformer, questions: list[str], sample: int, cache: Path | None
) -> np.ndarray:
    """Embeddings of the questions, from the cache if it has them; prints the rate of a sample."""
    rng = np.random.default_rng(0)
    some = [questions[i] for i in rng.permutation(len(questions))[:sample]]
    model.encode(some[:50], on_truncate="ignore")
    start = time.perf_counter()
    model.encode(some, show_progress_bar=False, on_truncate="ignore")
    rate = len(some) / (time.perf_counter() - start)
    tokens = model.token_lengths(questions)
    cut = int((tokens > model.max_seq_length).sum())
    print(f"tokens         {tokens.mean():.1f} each, {cut} questions are cut at the model's limit")
    print(f"encoding       {rate:.0f} questions/s, measured on {len(some)}")
    print(f"               all {len(questions)} take about {len(questions) / rate:.0f} s")
    weights = str(model.model_directory) + "\n"
    digest = hashlib.sha256((weights + "\n".join(questions)).encode()).hexdigest()[:16]
    kept = cache / f"questions-{digest}.npy" if cache else None
    if kept and kept.exists():
        return np.load(kept)
    start = time.perf_counter()
    embeddings = model.encode(questions, on_truncate="ignore")
    print(f"               and took {time.perf_counter() - start:.0f} s")
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, embeddings)
    return embeddings


def measure_nearest(
    model: SentenceTransformer, questions: list[str], embeddings: np.ndarray, new: int
) -> float:
    """Find the nearest of all others for each of `new` questions.  -> seconds of one scan"""
    order = np.random.default_rng(1).permutation(len(questions))
    asked, kept = order[:new], np.sort(order[new:])
    index = FlatIndex.from_embeddings(embeddings[kept])
    products = embeddings[asked] @ embeddings[kept].T
    scan_times, encode_times, examples = [], [], []
    for place, query in enumerate(asked):
        start = time.perf_counter()
        embedding = model.encode(questions[query])
        encoded = time.perf_counter()
        scores, rows = index.search(embedding, 1)
        scan_times.append(time.perf_counter() - encoded)
        encode_times.append(encoded - start)
        if not abs(products[place].max() - products[place, rows[0]]) <= 1e-5:
            raise SystemExit(f"the scan missed the nearest question to {questions[query]!r}")
        examples.append((float(scores[0]), questions[query], questions[kept[rows[0]]]))
    scan, encode = (1000 * np.percentile(t, (50, 5, 95)) for t in (scan_times, encode_times))
    print(f"\nNearest of {len(kept)} questions to each of {new} new ones, one at a time")
    print(f"encode         {encode[0]:.2f} ms (5 % to 95 %: {encode[1]:.2f} to {encode[2]:.2f})")
    print(f"scan           {scan[0]:.2f} ms (5 % to 95 %: {scan[1]:.2f} to {scan[2]:.2f})")
    for score, question, nearest in examples[:EXAMPLES]:
        print(f"  {score:.3f}  {question}\n         {nearest}")
    return float(scan[0]) / 1000


def measure_pairs(model: SentenceTransformer, pairs: list[tuple[str, str]]) -> float:
    """Pairs a second, both questions in one pass."""
    texts = [f"{first} {second}" for first, second in pairs]
    start = time.perf_counter()
    model.encode(texts, show_progress_bar=False, on_truncate="ignore")
    return len(texts) / (time.perf_counter() - start)


def measure_duplicates(labels: np.ndarray, cosines: np.ndarray, shared: int) -> None:
    half = len(labels) // 2
    threshold = choose_threshold(cosines[:half], labels[:half])
    print(f"\nDuplicates: cosine of {threshold:.4f} or more, chosen on the first {half} pairs")
    for name, part in (("first half", slice(half)), ("second half", slice(half, None))):
        found = precision_recall(cosines[part], labels[part], threshold)
        print(
            f"{name:14} precision {100 * found.precision:.2f}, recall {100 * found.recall:.2f}, "
            f"F1 {100 * found.f1:.2f}, x 100"
        )
    always = precision_recall(cosines[half:], labels[half:], -np.inf)
    print(f"always yes     F1 {100 * always.f1:.2f} on the second half")
    print(f"               {shared} of its pairs have a question that the first half has too")


def describe_machine() -> str:
    """Machine, processor, cores, kernel, Python, packages and command, a line each."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        processor = found[1] if found else processor
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"machine        {platform.system()} {platform.machine()}, {processor}, "
        f"{os.cpu_count()} cores, scan by {kernel_name()}\n"
        f"versions       Python {platform.python_version()}, {packages}\n"
        f"command        python {' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="a name or a directory")
    parser.add_argument("--new", type=int, default=200, help="so many questions are new")
    parser.add_argument("--sample", type=int, default=2000, help="texts to measure rates on")
    parser.add_argument("--cache", type=Path, help="a folder that keeps embeddings")
    arguments = parser.parse_args()
    if not os.environ.get("MINISBERT_DATA"):
        parser.error("MINISBERT_DATA must name a folder that has quora/pairs_dev.tsv")

    folder = Path(os.environ["MINISBERT_DATA"]) / "quora"
    print(describe_machine())
    judged = read_rows(folder / "pairs_dev.tsv", 4)
    pairs = [(first.strip(), second.strip()) for _, first, second, _ in judged]
    more = read_rows(folder / "first10k.tsv", 6)[1:]  # without the header
    sides = [*pairs, *((row[3], row[4]) for row in more)]
    questions = find_unique([question for pair in sides for question in pair])
    print(f"questions      {len(questions)} unique")

    model = SentenceTransformer(arguments.model)
    embeddings = encode_questions(model, questions, arguments.sample, arguments.cache)
    scan = measure_nearest(model, questions, embeddings, arguments.new)
    some = np.random.default_rng(2).permutation(len(pairs))[: arguments.sample]
    rate = measure_pairs(model, [pairs[i] for i in some])
    M = len(questions) - arguments.new
    print(f"pairs          {rate:.0f} pairs/s, both questions in one pass, so for one new question")
    print(f"               {M / rate:.0f} s with these {M}, {M / rate / scan:.0f} scans' time")
    print(
        f"               {PAPER_QUESTIONS / rate / 3600:.1f} hours with the paper's 40 million "
        f"(its 50 hours are BERT's on a V100); scans of as many would take "
        f"{PAPER_QUESTIONS / M * scan:.2f} s"
    )

    rows = {question: row for row, question in enumerate(questions)}
    first, second = (embeddings[[rows[pair[side]] for pair in pairs]] for side in (0, 1))
    seen = {question for pair in pairs[: len(pairs) // 2] for question in pair}
    shared = sum(not seen.isdisjoint(pair) for pair in pairs[len(pairs) // 2 :])
    labels = np.array([int(row[0]) for row in judged])
    measure_duplicates(labels, model.similarity_pairwise(first, second), shared)


if __name__ == "__main__":
    main()
