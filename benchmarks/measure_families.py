"""Measure time and memory of RoBERTa, MPNet and XLM-R at their real sizes, with random weights.

    python benchmarks/measure_families.py [--count 200]

Each model is written to a temporary directory (2 GB in all), then loaded and run in a process of
its own. Weights are random and words few: the vectors mean nothing, but each product has its real
shape. Not measured: the tokenizers of these models.
"""

import sys
import tempfile
import time
import timeit
from pathlib import Path

import numpy as np

from harness import Side, Worker, parse_options, print_machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from models import WORDS, make_model_directory

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
BASE |= {"intermediate_size": 3072, "layer_norm_eps": 1e-5, "max_position_embeddings": 514}
BASE |= {"type_vocab_size": 1, "pad_token_id": 1}
MODELS = {
    "roberta-base": BASE | {"model_type": "roberta", "vocab_size": 50_265},
    "all-mpnet-base-v2": BASE | {"model_type": "mpnet", "vocab_size": 30_527},
    "xlm-roberta-base": BASE | {"model_type": "xlm-roberta", "vocab_size": 250_002},
}
REPEATS = 3


class Family(Side):
    """One model in one process."""

    def measure(self, directory: Path, sentences: list[str]) -> tuple[int, float, float, float]:
        """Return parameters, seconds of load and first run, of a later run, and peak megabytes."""
        from minisbert import SentenceTransformer

        start = time.perf_counter()
        model = SentenceTransformer(directory)
        vectors = model.encode(sentences)  # also lays out the weights
        first, alone = time.perf_counter() - start, model.encode(sentences[0])
        assert np.abs(vectors[0] - alone).max() <= 1e-5 * np.abs(alone).max()
        times = timeit.repeat(lambda: model.encode(sentences), number=1, repeat=REPEATS)
        size = sum(array.size for array in model.parameters.values())
        return size, first, min(times), *self.read_memory("VmHWM")


def main() -> None:
    count = parse_options(__doc__, count=200).count
    rng, words = np.random.default_rng(0), [word for word in WORDS.split() if word.isalpha()]
    sentences = [" ".join(rng.choice(words, rng.integers(6, 21))) for _ in range(count)]
    print_machine()
    print(f"\n{count} sentences of 6 to 20 words; best of {REPEATS} runs after a first one\n")
    print("| sizes of | parameters | load and first run | encode | sentences/s | peak memory |")
    print(6 * "|---" + "|")
    for name, fields in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            directory = make_model_directory(Path(folder), **fields)
            size, first, encode, peak = Worker(Family).ask("measure", directory, sentences)
        times = f"{first:.2f} s | {encode:.2f} s | {count / encode:.0f}"
        print(f"| {name} | {size / 1e6:.0f} M | {times} | {peak:,.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
