"""Time and memory of real sizes of three families, weights random: 200 short sentences.

    python benchmarks/time_families.py

Each size is written to a temporary directory (2 GB in all, one after another), then loaded and run
in a process of its own, so that the peak of memory is that of one model and nothing else. Weights
are random and words few, so what comes out means nothing, but each product has its real shape.
Not measured: the tokenizers of these models, whose place one of sixteen words takes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from minisbert import SentenceTransformer
from minisbert.costs.machine import describe_machine
from minisbert.model_files.configs import read_bert_config
from minisbert.network.config import parameter_shapes
from minisbert.network.families import FAMILIES
from minisbert.system.safetensors import write_safetensors

BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}
MODELS = {
    "roberta-base": BASE | {"model_type": "roberta", "vocab_size": 50_265},
    "all-mpnet-base-v2": BASE | {"model_type": "mpnet", "vocab_size": 30_527},
    "xlm-roberta-base": BASE | {"model_type": "xlm-roberta", "vocab_size": 250_002},
}

TEXT = "the river rose in spring and old mill turned again while children ran along a bank"
WORDS = TEXT.split()
SENTENCES = 200
REPEATS = 3


def make_sentences() -> list[str]:
    """Of 6 to 20 words, 13 on average."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(6, 21))) for _ in range(SENTENCES)]


def write_model(directory: Path, fields: dict[str, object]) -> int:
    """Write a directory with random weights; return how many there are."""
    (directory / "config.json").write_text(json.dumps(fields), "utf-8")
    config = read_bert_config(directory / "config.json")
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in parameter_shapes(config).items():
        array = rng.standard_normal(shape, np.float32)
        array *= 0.02
        array += "LayerNorm.weight" in name
        arrays[FAMILIES[config.model_type].name_in_checkpoint(name)] = array
    write_safetensors(directory / "model.safetensors", arrays, {"format": "pt"})
    words = {word: row for row, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(directory / "tokenizer.json"))
    return sum(array.size for array in arrays.values())


def measure(directory: str) -> None:
    """Load and encode in this process; print what it took as JSON."""
    sentences = make_sentences()
    start = time.perf_counter()
    model = SentenceTransformer(directory)
    vectors = model.encode(sentences)  # also lays out the weights
    first = time.perf_counter() - start
    alone = model.encode(sentences[0])
    assert np.abs(vectors[0] - alone).max() <= 1e-5 * np.abs(alone).max()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        model.encode(sentences)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"first": first, "encode": min(times), "peak": peak}))


def main() -> None:
    for fact, value in describe_machine().items():
        print(f"{fact}: {value}")
    print(f"\n{SENTENCES} sentences of 6 to 20 words; best of {REPEATS} runs after a first one\n")
    print("| sizes of | parameters | load and first run | encode | sentences/s | peak memory |")
    print("|---|---|---|---|---|---|")
    for name, fields in MODELS.items():
        with tempfile.TemporaryDirectory() as directory:
            count = write_model(Path(directory), fields)
            command = [sys.executable, "-W", "ignore", __file__, directory]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(
            f"| {name} | {count / 1e6:.0f} M | {found['first']:.2f} s | {found['encode']:.2f} s "
            f"| {SENTENCES / found['encode']:.0f} | {found['peak'] / 1e6:,.0f} MB |"
        )


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
