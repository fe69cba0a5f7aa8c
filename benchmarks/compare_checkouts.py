"""Time this checkout beside another one: encoding, scoring, searching and training.

    python benchmarks/compare_checkouts.py OTHER_CHECKOUT [--rounds 15] [--count 2000]
        [--rows 200000] [--model NAME]

Each side is a process of its own that imports minisbert from its checkout, so both need a compiled
kernel. Both must give the same bits of a search, and vectors, scores and losses equal to 1e-5. They
take turns, and x is the other's time divided by this one's: below 1, this checkout is slower.
"""

from pathlib import Path
from typing import Any

import numpy as np

from corpora import MODEL, find_model, read_texts
from harness import Entry, Side, Worker, Workload, check, parse_options, print_machine, time_entries

HERE = Path(__file__).resolve().parents[1]
STEPS = 6  # of training in a turn
QUIET = {"on_truncate": "ignore", "show_progress_bar": False}


class Checkout(Side):
    """The minisbert of one checkout; inputs are a function and its argument."""

    def __init__(self, root: Path, directory: str, texts: list[str], M: int) -> None:
        import minisbert

        if root != Path(minisbert.__file__).resolve().parents[1]:
            raise SystemExit(f"minisbert must come from {root}, got {minisbert.__file__}")
        self.minisbert = minisbert
        self.model, self.trained = (minisbert.SentenceTransformer(directory) for _ in range(2))
        self.cross = minisbert.CrossEncoder(directory, fresh_head=0)
        rng = np.random.default_rng(0)
        self.rows, queries = (rng.standard_normal((n, 384), np.float32) for n in (M, 32))
        self.index = minisbert.FlatIndex.from_embeddings(self.rows, "dot", codes="int8")
        pairs = list(zip(texts[::2], texts[1::2], strict=False))[:200]
        inputs = {
            f"encode {len(texts)} texts": (self.encode, texts, 1),
            "encode one text": (self.encode, texts[:1], 50),
            f"score {len(pairs)} pairs": (self.score, pairs, 1),
            f"scan {M} rows, one query": (self.scan, queries[:1], 15),
            f"scan {M} rows, 32 queries": (self.scan, queries, 1),
            f"search {M} rows by codes, one query": (self.search, queries[:1], 50),
            f"search {M} rows by codes, 32 queries": (self.search, queries, 1),
            f"train {STEPS} steps of 16 pairs": (self.train, pairs[: 16 * STEPS], 1),
        }
        self.names = list(inputs)
        self.workloads = {
            name: Workload((function, given), (function, given[:16]), repeats)
            for name, (function, given, repeats) in inputs.items()
        }

    def run(self, inputs: tuple) -> Any:
        return inputs[0](inputs[1])

    def encode(self, texts: list[str]) -> np.ndarray:
        return self.model.encode(texts, **QUIET)

    def score(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        return self.cross.predict(pairs, return_logits=True, **QUIET)

    def scan(self, queries: np.ndarray) -> tuple:
        return self.minisbert.topk(queries, self.rows, 10)

    def search(self, queries: np.ndarray) -> tuple:
        return self.index.search(queries, 10)

    def train(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        """Go on with the training, in which both sides have made as many steps."""
        rows = [(*pair, (i % 6) / 5) for i, pair in enumerate(pairs)]
        result = self.minisbert.train(self.trained, rows, "cosine", batch_size=16, **QUIET)
        return np.array(result.losses)


def main() -> None:
    sizes = {"rounds": 15, "count": 2000, "rows": 200_000}
    options = parse_options(__doc__, other=Path, **sizes, model=MODEL)
    arguments = find_model(options.model), read_texts(options.count), options.rows
    print_machine()
    entries = [
        Entry(label, Worker(Checkout, root, *arguments, checkout=root), {})
        for label, root in (("this checkout", HERE), ("the other", options.other.resolve()))
    ]
    for name in entries[0].worker.ask("get", "names"):
        ours, theirs = (entry.worker.solve(name) for entry in entries)
        check(name, theirs, ours, 0 if name.startswith(("scan", "search")) else 1e-5)
        time_entries(entries, name, options.rounds)


if __name__ == "__main__":
    main()
