"""Time the scoring of pairs beside sentence-transformers' CrossEncoder and onnxruntime.

    python benchmarks/compare_pairs.py [--model NAME] [--count 1000] [--rounds 5]

needs the peers (`make bench-peers`). The cross-encoder has the model's weights and a random head,
the same for all sides; pairs are of the sentences of compare_encode.py. The last block computes
only what the head reads of it; the same with the whole block stands beside.

Not measured: lower precisions, more than two threads, GPUs.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from compare_encode import (
    PACKAGES,
    QUIET,
    Minisbert,
    Onnxruntime,
    Torch,
    compare_both,
    make_workloads,
)
from corpora import MODEL, read_texts
from harness import Entry, Worker, check, parse_options, print_machine, say

SHORT_PAIR = ("How do I read a comma separated file?", "The csv module reads rows.")
LIMIT = 512  # tokens of a pair


class MinisbertPairs(Minisbert):
    """This library with its defaults, or computing the whole last block."""

    def load(self, directory: str) -> None:
        from minisbert import CrossEncoder
        from minisbert.network import heads
        from minisbert.network.ragged import find_first_rows

        self.model, self.heads, bert_forward = CrossEncoder(directory), heads, heads.bert_forward

        def run_whole(parameters, config, batch, *, first_only, **options):
            hidden = bert_forward(parameters, config, batch, **options)
            return hidden[find_first_rows(batch.groups)[0]]

        self.forwards = {False: bert_forward, True: run_whole}

    def prepare(self, whole: bool = False) -> None:
        self.heads.bert_forward = self.forwards[whole]

    def run(self, pairs: list, whole: bool = False) -> np.ndarray:
        return self.model.predict(pairs, return_logits=True, **QUIET)[:, None]


class TorchPairs(Torch):
    """sentence-transformers' CrossEncoder on torch."""

    def make_model(self, directory: str):
        from sentence_transformers import CrossEncoder

        return CrossEncoder(directory, device="cpu", activation_fn=self.torch.nn.Identity())

    def run(self, pairs: list, batch_size: int, threads: int) -> np.ndarray:
        return self.model.predict(pairs, batch_size=batch_size, show_progress_bar=False)[:, None]


class OnnxruntimePairs(Onnxruntime):
    """The network and its head exported."""

    inputs, limit = ("input_ids", "attention_mask", "token_type_ids"), LIMIT
    graphs = ("exported",)
    settings = tuple(s for s in Onnxruntime.settings if s["graph"] == "exported")

    def make_network(self, directory: str):
        from transformers import BertForSequenceClassification

        return BertForSequenceClassification.from_pretrained(directory, attn_implementation="eager")

    def finish(self, logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return logits


def main() -> None:
    options = parse_options(__doc__, model=MODEL, count=1000, rounds=5)

    from minisbert import SentenceTransformer
    from minisbert.costs import make_cross_encoder

    texts = read_texts(2 * options.count)
    pairs = list(zip(texts[::2], texts[1::2], strict=False))
    print_machine(*PACKAGES)
    cross = make_cross_encoder(SentenceTransformer(options.model))
    tokens = cross.tokenizer.encode_pairs(pairs, LIMIT).lengths
    say("pairs", f"{len(pairs)} of {tokens.mean():.1f} tokens on average")
    with tempfile.TemporaryDirectory() as folder:
        cross.save(folder)
        # Only the limit of the network counts, for all sides alike.
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"model_max_length": LIMIT}))
        sides, workloads = (TorchPairs, OnnxruntimePairs), make_workloads(pairs, SHORT_PAIR)
        ours, *rivals = (Worker(side, folder, workloads) for side in (MinisbertPairs, *sides))
    check("the whole last block", ours.solve("all", whole=True), ours.solve("all"))
    entries = [Entry("minisbert", ours, {}), Entry("with the whole block", ours, {"whole": True})]
    times = compare_both(entries, rivals, options.rounds)
    print(f"  minisbert scores {len(pairs) / np.median(times[:, 0]):.0f} pairs a second")


if __name__ == "__main__":
    main()
