"""How fast pairs are scored, beside sentence-transformers' CrossEncoder and onnxruntime.

    python benchmarks/compare_pairs.py [--model NAME] [--count 1000] [--rounds 5]

needs an environment with the peers (`make bench-peers`). The cross-encoder is made of the weights
of --model and a fresh head, for minisbert and the peers alike; pairs are of the sentences that
compare_encode.py draws. It also measures what leaving out most of the last block saves, as a ratio
to the same network with its last block whole.

How it measures is told in turns.py. Each rival's scores must be
minisbert's to 1e-5.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from compare_encode import Minisbert, Onnxruntime, Torch, read_texts
from turns import Worker, describe_machine, print_ratios, sweep, take_turns

SHORT_PAIR = ("How do I read a comma separated file?", "The csv module reads rows.")


class MinisbertPairs(Minisbert):
    """This library as it comes, or with the whole last block."""

    settings = ({},)

    def __init__(self, directory: str, texts: list) -> None:
        from minisbert import CrossEncoder
        from minisbert.network import heads
        from minisbert.network.bert import bert_forward
        from minisbert.network.ragged import find_first_rows

        self.texts = texts
        self.model = CrossEncoder(directory)
        self.module = heads

        def run_whole(parameters, config, batch, first_only, rng, cache):
            return bert_forward(parameters, config, batch)[find_first_rows(batch.groups)[0]]

        self.forwards = {False: bert_forward, True: run_whole}

    def encode(self, texts: list, whole: bool = False) -> np.ndarray:
        self.module.bert_forward = self.forwards[whole]
        return self.model.predict(
            texts, return_logits=True, on_truncate="ignore", show_progress_bar=False
        )[:, None]

    def time_encode(self, setting: dict, step: int = 1) -> float:
        self.encode([SHORT_PAIR], **setting)
        start = time.perf_counter()
        self.vectors = self.encode(self.texts[::step], **setting)
        return time.perf_counter() - start

    def time_short(self, setting: dict) -> float:
        times = []
        for _ in range(40):
            start = time.perf_counter()
            self.encode([SHORT_PAIR], **setting)
            times.append(time.perf_counter() - start)
        return statistics.median(times[10:])


class TorchPairs(MinisbertPairs):
    """sentence-transformers' CrossEncoder on torch."""

    name = "sentence-transformers"
    default = Torch.default
    settings = Torch.settings

    def __init__(self, directory: str, texts: list) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        self.texts = texts
        self.torch = torch
        self.default_threads = torch.get_num_threads()
        self.model = CrossEncoder(directory, device="cpu", activation_fn=torch.nn.Identity())

    def encode(self, texts: list, batch_size: int, threads: int | None) -> np.ndarray:
        threads = threads or self.default_threads
        if threads != self.torch.get_num_threads():
            self.torch.set_num_threads(threads)
        return self.model.predict(texts, batch_size=batch_size, show_progress_bar=False)[:, None]


class OnnxruntimePairs(MinisbertPairs):
    """onnxruntime in float32: pairs sorted by tokens, padded batch by batch."""

    name = "onnxruntime"
    default = {"batch_size": 32, "threads": 0, "spin": True}  # noqa: RUF012
    settings = tuple(
        {key: value for key, value in setting.items() if key != "graph"}
        for setting in Onnxruntime.settings
        if setting["graph"] == "exported"
    )

    def __init__(self, directory: str, texts: list) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import BertForSequenceClassification

        self.texts = texts
        self.tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(512)
        self.sessions = {}
        model = BertForSequenceClassification.from_pretrained(
            directory, attn_implementation="eager"
        ).eval()

        class Logits(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.bert = model

            def forward(self, input_ids, attention_mask, token_type_ids):
                return self.bert(
                    input_ids=input_ids,
                    attention_mask=attention_mask,
                    token_type_ids=token_type_ids,
                ).logits

        names = ["input_ids", "attention_mask", "token_type_ids"]
        axes = {0: "B", 1: "T"}
        ids = torch.ones((2, 7), dtype=torch.long)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pairs.onnx"
            torch.onnx.export(
                Logits(),
                (ids, ids, ids),
                path,
                dynamo=False,
                opset_version=17,
                input_names=names,
                output_names=["logits"],
                dynamic_axes={**dict.fromkeys(names, axes), "logits": {0: "B"}},
            )
            self.graph = path.read_bytes()

    def open_session(self, threads: int, spin: bool):
        import onnxruntime

        if (threads, spin) not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
            self.sessions[threads, spin] = onnxruntime.InferenceSession(
                self.graph, options, providers=["CPUExecutionProvider"]
            )
        return self.sessions[threads, spin]

    def encode(self, texts: list, batch_size: int, **session_setting) -> np.ndarray:
        session = self.open_session(**session_setting)
        encodings = self.tokenizer.encode_batch([tuple(pair) for pair in texts])
        order = sorted(range(len(texts)), key=lambda i: -len(encodings[i].ids))
        scores = np.empty((len(texts), 1), np.float32)
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            ids = np.zeros((len(indices), len(encodings[indices[0]].ids)), np.int64)
            mask, types = np.zeros_like(ids), np.zeros_like(ids)
            for row, index in enumerate(indices):
                length = len(encodings[index].ids)
                ids[row, :length] = encodings[index].ids
                types[row, :length] = encodings[index].type_ids
                mask[row, :length] = 1
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
            scores[indices] = session.run(None, inputs)[0]
        return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="a name or a directory")
    parser.add_argument("--count", type=int, default=1000, help="pairs")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    from minisbert import SentenceTransformer
    from minisbert.costs.measurement import make_cross_encoder

    texts = read_texts(None, 2 * arguments.count)
    pairs = list(zip(texts[::2], texts[1::2], strict=False))
    with tempfile.TemporaryDirectory() as folder:
        cross = make_cross_encoder(SentenceTransformer(arguments.model))
        cross.save(folder)
        # Only the limit of the network counts, for all sides alike.
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512}))
        lengths = cross.tokenizer.encode_pairs(pairs, 512).lengths
        del cross
        print(describe_machine())
        print(f"pairs     {len(pairs)} of {lengths.mean():.1f} tokens on average")
        ours, torch, onnxruntime = (
            Worker(side, folder, pairs) for side in (MinisbertPairs, TorchPairs, OnnxruntimePairs)
        )
        print("\nThe rivals' settings: a quarter of the pairs, one pair; then the best, all pairs")
        ours.ask("time_encode", {})
        expected = ours.ask("get_vectors")
        sides = [("minisbert", ours, {}), ("with the whole last block", ours, {"whole": True})]
        short = [("minisbert", ours, {})]
        for rival in (torch, onnxruntime):
            best_many, best_short = sweep(rival, expected)
            for some, best in ((sides, best_many), (short, best_short)):
                some.append((f"{rival.side.name} at its best", rival, best))
                some.append((f"{rival.side.name} by default", rival, rival.side.default))
        print(f"\nAll pairs, {arguments.rounds} rounds: median time, times minisbert's (range)")
        times = take_turns(arguments.rounds, sides, "time_encode")
        print_ratios(sides, times, 1, "s")
        print(f"  minisbert scores {len(pairs) / np.median(times[:, 0]):.0f} pairs a second")
        print(f"\nOne pair, {arguments.rounds} rounds: median time, times minisbert's (range)")
        print_ratios(short, take_turns(arguments.rounds, short, "time_short"), 1000, "ms")
        for worker in (ours, torch, onnxruntime):
            worker.close()


if __name__ == "__main__":
    main()
