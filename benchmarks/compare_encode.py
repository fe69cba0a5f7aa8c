"""How fast minisbert encodes, beside sentence-transformers, onnxruntime and NumPy's own products.

    python benchmarks/compare_encode.py [--model NAME] [--texts FILE] [--count 2000] [--rounds 5]

needs an environment with the peers (`make bench-peers`). Texts are one per line of FILE, else the
sentences of the STS benchmark where MINISBERT_DATA is a folder that has it, else sentences from the
docstrings of Python's standard library.

How it measures is told in turns.py. A rival's vectors must be minisbert's to 1e-5 under each of its
settings. From texts to unit vectors everything counts: tokenising, sorting, padding, pooling.

Not measured: loading (compare_startup.py), other models, more than two threads, GPUs.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import random
import re
import statistics
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np

from turns import Worker, describe_machine, print_ratios, sweep, take_turns

BATCH_SIZES = (8, 32, 128)
THREADS = (1, 2)
SHORT_TEXT = "How do I read a comma separated file?"


# Texts


def read_texts(path: Path | None, count: int) -> list[str]:
    """Up to `count` different texts, drawn with a fixed seed."""
    data = Path(os.environ.get("MINISBERT_DATA", "")) / "stsbenchmark"
    if path:
        texts = path.read_text("utf-8").splitlines()
    elif "MINISBERT_DATA" in os.environ and data.is_dir():
        rows = [
            line.split("\t")
            for file in sorted(data.glob("*.csv"))
            for line in file.read_text("utf-8").splitlines()
        ]
        texts = [text for row in rows for text in row[5:7]]
    else:
        texts = list(iterate_docstring_sentences())
    texts = sorted({text.strip() for text in texts} - {""})
    return random.Random(0).sample(texts, min(count, len(texts)))


def iterate_docstring_sentences():
    """Sentences of the docstrings in the standard library's sources, nothing imported."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                    yield from re.split(r"(?<=[.?!]) ", " ".join(paragraph.split()))


# The sides. Each is made inside its own process, which alone imports the library.


class Minisbert:
    """This library as it comes."""

    name = "minisbert"
    settings = ({},)

    def __init__(self, directory: str, texts: list[str]) -> None:
        from minisbert import SentenceTransformer

        self.texts = texts
        self.model = SentenceTransformer(directory)

    def encode(self, texts: list[str]) -> np.ndarray:
        return self.model.encode(texts, on_truncate="ignore", show_progress_bar=False)

    def count_work(self) -> tuple[int, float]:
        """Real tokens in the texts, and the products of weights that they need, in FLOP."""
        bert = self.model.config.bert
        D, F = bert.hidden_size, bert.intermediate_size
        tokens = np.minimum(self.model.token_lengths(self.texts), self.model.max_seq_length).sum()
        return int(tokens), 2.0 * bert.num_hidden_layers * (4 * D * D + 2 * D * F) * int(tokens)

    def time_encode(self, setting: dict, step: int = 1) -> float:
        """Seconds of every `step`th text, after a short one to warm up."""
        texts = self.texts[::step]
        self.encode([SHORT_TEXT], **setting)
        start = time.perf_counter()
        self.vectors = self.encode(texts, **setting)
        return time.perf_counter() - start

    def get_vectors(self) -> np.ndarray:
        """What the last call of `time_encode` made."""
        return self.vectors

    def time_short(self, setting: dict) -> float:
        """Median seconds of one short text."""
        times = []
        for _ in range(60):
            start = time.perf_counter()
            self.encode([SHORT_TEXT], **setting)
            times.append(time.perf_counter() - start)
        return statistics.median(times[10:])


class Torch(Minisbert):
    """sentence-transformers on torch."""

    name = "sentence-transformers"
    default: ClassVar = {"batch_size": 32, "threads": None}
    settings = tuple(
        {"batch_size": batch_size, "threads": threads}
        for threads, batch_size in itertools.product(THREADS, BATCH_SIZES)
    )

    def __init__(self, directory: str, texts: list[str]) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self.texts = texts
        self.torch = torch
        self.default_threads = torch.get_num_threads()
        self.model = SentenceTransformer(directory, device="cpu")

    def encode(self, texts: list[str], batch_size: int, threads: int | None) -> np.ndarray:
        threads = threads or self.default_threads
        if threads != self.torch.get_num_threads():
            self.torch.set_num_threads(threads)
        return self.model.encode(texts, batch_size=batch_size, show_progress_bar=False)


class Onnxruntime(Minisbert):
    """onnxruntime in float32: texts sorted by tokens, padded batch by batch."""

    name = "onnxruntime"
    default: ClassVar = {"batch_size": 32, "threads": 0, "graph": "exported", "spin": True}
    settings = tuple(
        {"batch_size": batch_size, "threads": threads, "graph": graph, "spin": spin}
        for graph, (threads, spin), batch_size in itertools.product(
            ("exported", "fused"), ((1, True), (2, True), (2, False)), BATCH_SIZES
        )
    )

    def __init__(self, directory: str, texts: list[str]) -> None:
        from tokenizers import Tokenizer

        self.texts = texts
        self.tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)
        self.sessions = {}
        with tempfile.TemporaryDirectory() as folder:
            self.graphs = {
                graph: path.read_bytes() for graph, path in export(directory, Path(folder)).items()
            }

    def open_session(self, threads: int, graph: str, spin: bool):
        import onnxruntime

        key = threads, graph, spin
        if key not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
            self.sessions[key] = onnxruntime.InferenceSession(
                self.graphs[graph], options, providers=["CPUExecutionProvider"]
            )
        return self.sessions[key]

    def encode(self, texts: list[str], batch_size: int, **session_setting) -> np.ndarray:
        session = self.open_session(**session_setting)
        encodings = self.tokenizer.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda i: -len(encodings[i].ids))
        vectors = {}
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            ids = np.zeros((len(indices), len(encodings[indices[0]].ids)), np.int64)
            mask = np.zeros_like(ids)
            for row, index in enumerate(indices):
                tokens = encodings[index].ids
                ids[row, : len(tokens)] = tokens
                mask[row, : len(tokens)] = 1
            (hidden,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
            weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
            pooled = np.matmul(weights[:, None, :], hidden)[:, 0]
            pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
            vectors.update(zip(indices, pooled, strict=True))
        return np.stack([vectors[i] for i in range(len(texts))])


def export(directory: str, folder: Path) -> dict[str, Path]:
    """The network as torch exports it, and with attention fused by onnxruntime's own optimiser."""
    import torch
    from onnxruntime.transformers.optimizer import optimize_model
    from transformers import BertModel

    bert = BertModel.from_pretrained(
        directory, attn_implementation="eager", add_pooling_layer=False
    ).eval()

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids, attention_mask):
            return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    paths = {"exported": folder / "exported.onnx", "fused": folder / "fused.onnx"}
    ids = torch.ones((2, 7), dtype=torch.long)
    axes = {0: "B", 1: "T"}
    torch.onnx.export(
        Hidden(),
        (ids, ids),
        paths["exported"],
        dynamo=False,
        opset_version=17,
        input_names=["input_ids", "attention_mask"],
        output_names=["hidden"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes},
    )
    config = bert.config
    fused = optimize_model(
        str(paths["exported"]),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        opt_level=0,
    )
    fused.save_model_to_file(str(paths["fused"]))
    return paths


class Products:
    """What NumPy itself reaches on the model's own matrix products, two threads."""

    name = "NumPy's products"
    ROWS = (256, 512, 1024, 2048)

    def __init__(self, directory: str, texts: list[str]) -> None:
        from threadpoolctl import ThreadpoolController

        from minisbert.model_files.configs import read_bert_config

        bert = read_bert_config(Path(directory) / "config.json")
        D, F = bert.hidden_size, bert.intermediate_size
        self.blas = ThreadpoolController().select(user_api="blas")
        rng = np.random.default_rng(0)
        # (in, out) of one block's products: query, key, value, heads mixed, wide, narrow
        shapes = [(D, D)] * 4 + [(D, F), (F, D)]
        self.weights = [rng.standard_normal((out, into), dtype=np.float32) for into, out in shapes]
        self.inputs = {
            (N, into): rng.standard_normal((N, into), dtype=np.float32)
            for N in self.ROWS
            for into in (D, F)
        }

    def multiply(self, N: int, repeats: int) -> None:
        for _ in range(repeats):
            for weight in self.weights:
                self.inputs[N, weight.shape[1]] @ weight.T

    def measure_rate(self) -> float:
        """FLOP per second: the best of row counts and of the two ways to use two threads."""
        best = 0.0
        for N in self.ROWS:
            repeats = 2 * 2048 // N
            work = 2.0 * N * repeats * sum(weight.size for weight in self.weights)
            with self.blas.limit(limits=2):
                self.multiply(N, 1)
                start = time.perf_counter()
                self.multiply(N, repeats)
                best = max(best, work / (time.perf_counter() - start))
            with self.blas.limit(limits=1), ThreadPoolExecutor(2) as pool:
                list(pool.map(self.multiply, (N, N), (1, 1)))
                start = time.perf_counter()
                list(pool.map(self.multiply, (N, N), (repeats, repeats)))
                best = max(best, 2 * work / (time.perf_counter() - start))
        return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="a name or a directory")
    parser.add_argument("--texts", type=Path, help="a file with one text per line")
    parser.add_argument("--count", type=int, default=2000, help="at most so many texts")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    from minisbert.model_files.hub import resolve_model

    directory = str(resolve_model(arguments.model))
    texts = read_texts(arguments.texts, arguments.count)
    print(describe_machine())
    ours, torch, onnxruntime, products = (
        Worker(side, directory, texts) for side in (Minisbert, Torch, Onnxruntime, Products)
    )
    tokens, work = ours.ask("count_work")
    print(f"texts     {len(texts)} of {tokens / len(texts):.1f} tokens on average")

    print(
        "\nThe rivals' settings: a quarter of the texts, one short text; then the best, all texts"
    )
    ours.ask("time_encode", {})
    expected = ours.ask("get_vectors")
    many, short = [("minisbert", ours, {})], [("minisbert", ours, {})]
    for rival in (torch, onnxruntime):
        best_many, best_short = sweep(rival, expected)
        for sides, best in ((many, best_many), (short, best_short)):
            sides.append((f"{rival.side.name} at its best", rival, best))
            sides.append((f"{rival.side.name} by default", rival, rival.side.default))

    print(f"\nAll texts, {arguments.rounds} rounds: median time, times minisbert's (range)")
    # NumPy's rate is asked in every round too, as the last side.
    rates = []
    times = []
    for _ in range(arguments.rounds):
        times.append(take_turns(1, many, "time_encode")[0])
        rates.append(products.ask("measure_rate"))
    times = np.array(times)
    print_ratios(many, times, 1, "s")
    fractions = work / times[:, 0] / rates
    print(
        f"  NumPy's own products reach {np.median(rates) / 1e9:.0f} GFLOP/s; minisbert runs at "
        f"{np.median(fractions):.0%} of that ({fractions.min():.0%} to {fractions.max():.0%}), "
        f"counting the weights' products of real tokens only"
    )

    print(f"\nOne short text, {arguments.rounds} rounds: median time, times minisbert's (range)")
    print_ratios(short, take_turns(arguments.rounds, short, "time_short"), 1000, "ms")
    for worker in (ours, torch, onnxruntime, products):
        worker.close()


if __name__ == "__main__":
    main()
