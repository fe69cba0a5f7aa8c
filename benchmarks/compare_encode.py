"""Time encoding beside sentence-transformers, onnxruntime and NumPy's own matrix products.

    python benchmarks/compare_encode.py [--model NAME] [--count 2000] [--rounds 5]

needs the peers (`make bench-peers`). Texts are sentences of the STS benchmark (corpora.py), and all
from texts to unit vectors counts. NumPy's products are the multiplications by the network's weights
for the same tokens, at the best rate that NumPy reaches on these shapes with two threads.

Not measured: loading (compare_startup.py), lower precisions, more than two threads, GPUs.
"""

import itertools
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from corpora import MODEL, find_model, pad, read_texts
from harness import Entry, Side, Worker, Workload, compare, parse_options, print_machine, say

PACKAGES = ("tokenizers", "torch", "sentence-transformers", "onnxruntime")
BATCH_SIZES = (8, 32, 128)
SHORT_TEXT = "How do I read a comma separated file?"
QUIET = {"on_truncate": "ignore", "show_progress_bar": False}


class Minisbert(Side):
    """This library with its defaults."""

    def __init__(self, directory: str, workloads: dict[str, Workload]) -> None:
        self.workloads = workloads
        self.load(directory)

    def load(self, directory: str) -> None:
        from minisbert import SentenceTransformer

        self.model = SentenceTransformer(directory)

    def run(self, texts: list[str]) -> np.ndarray:
        return self.model.encode(texts, **QUIET)


class Torch(Minisbert):
    """sentence-transformers on torch."""

    name = "sentence-transformers"
    settings = tuple(
        {"batch_size": size, "threads": threads}
        for size, threads in ((32, 0), *itertools.product(BATCH_SIZES, (1, 2)))
    )

    def load(self, directory: str) -> None:
        import torch

        self.torch, self.usual_threads = torch, torch.get_num_threads()
        self.model = self.make_model(directory)

    def make_model(self, directory: str):
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(directory, device="cpu")

    def prepare(self, batch_size: int, threads: int) -> None:
        self.torch.set_num_threads(threads or self.usual_threads)

    def run(self, texts: list[str], batch_size: int, threads: int) -> np.ndarray:
        return self.model.encode(texts, batch_size=batch_size, show_progress_bar=False)


class Onnxruntime(Minisbert):
    """onnxruntime in float32: texts sorted by token count, padded batch by batch.

    The graph is as torch exports it, or with attention fused; idle threads may spin or not.
    """

    name = "onnxruntime"
    inputs, limit = ("input_ids", "attention_mask"), 256
    graphs = ("exported", "fused")
    settings = tuple(
        {"graph": graph, "batch_size": size, "threads": threads, "spin": spin}
        for graph, size, (threads, spin) in (
            ("exported", 32, (0, True)),
            *itertools.product(graphs, BATCH_SIZES, ((1, True), (2, True), (2, False))),
        )
    )

    def load(self, directory: str) -> None:
        from tokenizers import Tokenizer

        self.sessions = {}
        self.tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.limit)
        with tempfile.TemporaryDirectory() as folder:
            self.exported = self.export(self.make_network(directory).eval(), Path(folder))

    def make_network(self, directory: str):
        from transformers import BertModel

        options = {"attn_implementation": "eager", "add_pooling_layer": False}
        return BertModel.from_pretrained(directory, **options)

    def finish(self, hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Pool and normalize."""
        weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
        pooled = np.matmul(weights[:, None, :], hidden)[:, 0]
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def export(self, network, folder: Path) -> dict[str, bytes]:
        """Return the graphs by name."""
        import torch
        from onnxruntime.transformers.optimizer import optimize_model

        class Outputs(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def forward(self, *tensors):
                return self.network(**dict(zip(names, tensors, strict=True)))[0]

        names, axes = self.inputs, {0: "B", 1: "T"}
        paths = {graph: folder / f"{graph}.onnx" for graph in self.graphs}
        torch.onnx.export(
            Outputs(),
            (torch.ones((2, 7), dtype=torch.long),) * len(names),
            paths["exported"],
            dynamo=False,
            opset_version=17,
            input_names=list(names),
            output_names=["out"],
            dynamic_axes=dict.fromkeys((*names, "out"), axes),
        )
        if "fused" in paths:
            sizes = network.config.num_attention_heads, network.config.hidden_size
            fused = optimize_model(str(paths["exported"]), "bert", *sizes, opt_level=0)
            fused.save_model_to_file(str(paths["fused"]))
        return {graph: path.read_bytes() for graph, path in paths.items()}

    def open_session(self, graph: str, threads: int, spin: bool):
        from onnxruntime import InferenceSession, SessionOptions

        key = graph, threads, spin
        if key not in self.sessions:
            options = SessionOptions()
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
            provider = "CPUExecutionProvider"
            self.sessions[key] = InferenceSession(self.exported[graph], options, [provider])
        return self.sessions[key]

    def run(self, texts: list, batch_size: int, **session_setting) -> np.ndarray:
        session = self.open_session(**session_setting)
        encodings = self.tokenizer.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda i: -len(encodings[i].ids))
        answers = {}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            arrays = {
                "input_ids": pad([encodings[i].ids for i in rows]),
                "attention_mask": pad([encodings[i].attention_mask for i in rows]),
                "token_type_ids": pad([encodings[i].type_ids for i in rows]),
            }
            (out,) = session.run(None, {name: arrays[name] for name in self.inputs})
            answers |= zip(rows, self.finish(out, arrays["attention_mask"]), strict=True)
        return np.stack([answers[i] for i in range(len(texts))])


class Products(Minisbert):
    """The products of the weights alone."""

    name = "NumPy's products"
    ROWS = (256, 512, 1024, 2048)

    def load(self, directory: str) -> None:
        from threadpoolctl import ThreadpoolController

        super().load(directory)
        self.blas = ThreadpoolController().select(user_api="blas")
        bert, rng = self.model.config.bert, np.random.default_rng(0)
        D, F, L = bert.hidden_size, bert.intermediate_size, bert.num_hidden_layers
        # (out, in) of the weights of a block: query, key, value, output; feed-forward
        shapes = [(D, D)] * 4 + [(F, D), (D, F)]
        self.weights = [rng.standard_normal(shape, np.float32) for shape in shapes]
        self.x = {width: rng.standard_normal((2048, width), np.float32) for width in (D, F)}
        self.size = sum(weight.size for weight in self.weights)
        tokens = self.model.token_lengths(self.workloads["all"].inputs)
        self.tokens = int(np.minimum(tokens, self.model.max_seq_length).sum())
        self.work = 2.0 * L * self.tokens * self.size  # FLOP

    def multiply(self, N: int, repeats: int) -> None:
        for _ in range(repeats):
            for weight in self.weights:
                self.x[weight.shape[1]][:N] @ weight.T

    def time(self, workload: str, setting: dict) -> float:
        """Return the seconds at the best rate of row counts; threads are BLAS's or Python's."""
        rates = []
        with ThreadPoolExecutor(2) as pool:
            for N, blas_threads in itertools.product(self.ROWS, (2, 1)):
                repeats, callers = 2 * self.ROWS[-1] // N, 3 - blas_threads
                with self.blas.limit(limits=blas_threads):
                    list(pool.map(self.multiply, [N] * callers, [1] * callers))
                    start = time.perf_counter()
                    list(pool.map(self.multiply, [N] * callers, [repeats] * callers))
                    seconds = time.perf_counter() - start
                rates.append(2.0 * N * repeats * callers * self.size / seconds)
        return self.work / max(rates)


def make_workloads(many: list, one: object) -> dict[str, Workload]:
    return {"all": Workload(many, [one]), "one": Workload([one], [one], 50)}


def compare_both(ours: list[Entry], rivals: list[Worker], rounds: int) -> np.ndarray:
    """Compare on one input, without further entries, and on all; return the latter's times."""
    for name, entries in {"one": ours[:1], "all": ours}.items():
        expected = ours[0].worker.solve(name)
        _, times = compare(name, entries, rivals, expected=expected, rounds=rounds)
    return times


def main() -> None:
    options = parse_options(__doc__, model=MODEL, count=2000, rounds=5)
    directory, texts = find_model(options.model), read_texts(options.count)
    print_machine(*PACKAGES)
    sides, workloads = (Minisbert, Products, Torch, Onnxruntime), make_workloads(texts, SHORT_TEXT)
    ours, products, *rivals = (Worker(side, directory, workloads) for side in sides)
    tokens, work = products.ask("get", "tokens"), products.ask("get", "work")
    say("texts", f"{len(texts)} of {tokens / len(texts):.1f} tokens on average")
    entries = [Entry("minisbert", ours, {}), Entry(products.name, products, {})]
    times = compare_both(entries, rivals, options.rounds)
    print(f"  NumPy's products run at {work / np.median(times[:, 1]) / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
