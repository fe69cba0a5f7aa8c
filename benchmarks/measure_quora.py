"""Measure the paper's task on real questions of Quora: the nearest to a new one, and duplicates.

    python benchmarks/measure_quora.py [--new 200] [--sample 2000]

needs MINISBERT_DATA: quora/first10k.tsv and quora/pairs_dev.tsv in it.

Nearest: some questions are taken out as new; each is compared with all others by FlatIndex, and the
answer with that of a NumPy product. Beside it stands the time of a cross-encoder of the same size,
which runs once for every pair: measured on a sample of pairs joined to one text, without the head.
Duplicates: the cosine's threshold has the best F1 on the first half of pairs_dev.tsv.

Not measured: approximate search, a trained cross-encoder.
"""

import time
import timeit
from pathlib import Path

import numpy as np

from corpora import MODEL, QUORA, find_different, load_embeddings, read_sentences, read_table
from harness import parse_options, print_machine, say
from minisbert import FlatIndex, SentenceTransformer
from minisbert.evaluation.metrics import choose_threshold, precision_recall

PAPER_QUESTIONS = 40_000_000
QUIET = {"on_truncate": "ignore", "show_progress_bar": False}


def read_rows(name: str, columns: int) -> list[list[str]]:
    rows = read_table(name)
    whole = [row for row in rows if len(row) == columns]
    say(Path(name).name, f"{len(whole)} rows, {len(rows) - len(whole)} malformed and left out")
    return whole


def measure_rate(model: SentenceTransformer, texts: list[str], seed: int, sample: int) -> float:
    """Return texts a second, of a sample."""
    order = np.random.default_rng(seed).permutation(len(texts))
    texts = [texts[i] for i in order[:sample]]
    model.encode(texts[:50], **QUIET)
    return len(texts) / timeit.timeit(lambda: model.encode(texts, **QUIET), number=1)


def measure_nearest(model, questions: list[str], embeddings: np.ndarray, new: int) -> float:
    """Find the nearest question to each of `new` ones; return the median seconds of a scan."""
    order = np.random.default_rng(1).permutation(len(questions))
    asked, kept = order[:new], np.sort(order[new:])
    index = FlatIndex.from_embeddings(embeddings[kept])
    products = embeddings[asked] @ embeddings[kept].T
    print(f"\nNearest of {len(kept)} questions to each of {new} new ones, one at a time")
    times = []
    for place, query in enumerate(asked):
        start = time.perf_counter()
        embedding = model.encode(questions[query])
        encoded = time.perf_counter()
        scores, rows = index.search(embedding, 1)
        times.append((encoded - start, time.perf_counter() - encoded))
        if not abs(products[place].max() - products[place, rows[0]]) <= 1e-5:
            raise SystemExit(f"the scan missed the nearest question to {questions[query]!r}")
        if place < 5:
            print(f"  {scores[0]:.3f}  {questions[query]}\n         {questions[kept[rows[0]]]}")
    for name, column in zip(("encode", "scan"), np.transpose(times), strict=True):
        middle, low, high = 1000 * np.percentile(column, (50, 5, 95))
        say(name, f"{middle:.2f} ms (5 % to 95 %: {low:.2f} to {high:.2f})")
    return float(np.median(times, axis=0)[1])


def measure_duplicates(labels: np.ndarray, cosines: np.ndarray) -> None:
    """Print precision, recall and F1 at a threshold chosen on the first half."""
    half = len(labels) // 2
    threshold = choose_threshold(cosines[:half], labels[:half])
    print(f"\nDuplicates: cosine of {threshold:.4f} or more, chosen on the first {half} pairs")
    for name, part in (("first half", slice(half)), ("second half", slice(half, None))):
        found = precision_recall(cosines[part], labels[part], threshold)
        precision, recall, f1 = (100 * x for x in (found.precision, found.recall, found.f1))
        say(name, f"precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.2f}, x 100")
    always = precision_recall(cosines[half:], labels[half:], -np.inf)
    say("always yes", f"F1 {100 * always.f1:.2f} on the second half")


def main() -> None:
    options = parse_options(__doc__, new=200, sample=2000)
    print_machine("tokenizers")
    judged = read_rows(QUORA[0], 4)
    pairs = [(first.strip(), second.strip()) for _, first, second, _ in judged]
    more = read_rows(QUORA[1], 6)[1:]  # without the header
    questions = find_different(text for row in (*pairs, *(r[3:5] for r in more)) for text in row)
    model, M = SentenceTransformer(MODEL), len(questions) - options.new
    tokens = model.token_lengths(questions)
    say("questions", f"{len(questions)} unique, {tokens.mean():.1f} tokens each")
    say("", f"{(tokens > model.max_seq_length).sum()} are cut at the model's limit")
    rate = measure_rate(model, questions, 0, options.sample)
    say("encoding", f"{rate:.0f} questions/s; all take about {len(questions) / rate:.0f} s")
    places = {text: row for row, text in enumerate(read_sentences())}
    embeddings = load_embeddings()
    rows = [places[question] for question in questions]
    scan = measure_nearest(model, questions, embeddings[rows], options.new)
    rate = measure_rate(model, [" ".join(pair) for pair in pairs], 2, options.sample)
    say("pairs", f"{rate:.0f} pairs/s, both questions in one pass, so for one new question")
    say("", f"{M / rate:.0f} s with these {M}, the time of {M / rate / scan:.0f} scans")
    hours, seconds = PAPER_QUESTIONS / rate / 3600, PAPER_QUESTIONS / M * scan
    say("", f"{hours:.1f} hours with the paper's 40 million (its 50 hours are BERT's on a V100);")
    say("", f"a scan of as many takes {seconds:.2f} s")

    first, second = (embeddings[[places[pair[side]] for pair in pairs]] for side in (0, 1))
    labels = np.array([int(row[0]) for row in judged])
    measure_duplicates(labels, model.similarity_pairwise(first, second))
    half = len(pairs) // 2
    seen = {question for pair in pairs[:half] for question in pair}
    shared = sum(not seen.isdisjoint(pair) for pair in pairs[half:])
    say("", f"{shared} of its pairs have a question that the first half has too")


if __name__ == "__main__":
    main()
