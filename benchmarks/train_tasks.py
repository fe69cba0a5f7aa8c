"""The trainings that compare_train.py sets side by side: what they are, made, and measured."""

from __future__ import annotations

import csv
import json
import os
import resource
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from train_torch import TorchTraining

DATA = Path(os.environ.get("MINISBERT_DATA", "data"))


class Task(NamedTuple):
    """A training and what it is measured by."""

    objective: str
    file: str
    epochs: int
    batch_size: int
    measures: tuple[str, ...]
    cross_encoder: bool = False
    after: str = ""  # the task whose model this one starts from
    max_length: int = 256


STS = ("STSb dev", "STSb test")
FOUND = ("STSb dev", "Quora MRR@10")
TASKS = {
    "sts": Task("cosine", "stsbenchmark/sts-train.csv", 1, 16, STS),
    "pairs": Task("binary", "stsbenchmark/sts-train.csv", 4, 16, STS, True),
    "nli": Task("classes", "snli/train_18k.tsv", 1, 16, ("SNLI dev",), True),
    "nli-pairs": Task("binary", "stsbenchmark/sts-train.csv", 4, 16, STS, True, "nli"),
    "softmax": Task("softmax", "snli/train_18k.tsv", 1, 16, ("SNLI dev", "STSb dev")),
    "ranking": Task("ranking", "snli/train_18k.tsv", 1, 64, FOUND),
    "triplet": Task("triplet", "snli/train_18k.tsv", 4, 16, FOUND),
}


def read_task(task: Task):
    from minisbert.training.examples import read_examples

    return read_examples(DATA / task.file, task.objective, cross_encoder=task.cross_encoder)[1]


def load_model(directory, task: Task, seed: int, labels: int = 1):
    """The model to start from, for minisbert."""
    from minisbert import CrossEncoder, SentenceTransformer

    if task.cross_encoder:
        return CrossEncoder(
            directory, num_labels=labels, fresh_head=seed, max_length=task.max_length
        )
    return SentenceTransformer(directory)


def train_one(side: str, name: str, seed: int, model: str, out: Path, threads: int) -> None:
    """Train in this process; leave a model directory and run.json."""
    from minisbert.system.safetensors import write_safetensors

    task = TASKS[name]
    examples = read_task(task)
    start = time.perf_counter()
    ours = load_model(model, task, seed, len(examples.classes) or 1)
    if side == "minisbert":
        from minisbert import train

        result = train(
            ours,
            examples,
            task.objective,
            epochs=task.epochs,
            batch_size=task.batch_size,
            seed=seed,
            threads=threads,
            on_truncate="ignore",
        )
        losses, classifier = result.losses, dict(result.classifier)
    else:
        theirs = TorchTraining(model, task, examples, seed, threads)
        losses = [theirs.step() for _ in range(theirs.steps)]
        found = theirs.get_parameters()
        classifier = {key: found[key] for key in found if key.startswith("objective")}
        ours.parameters = {key: found[key] for key in ours.parameters}
    seconds = time.perf_counter() - start
    ours.save(out / "model", made_by=f"compare_train.py quality {name}")
    write_safetensors(out / "classifier.safetensors", classifier, {})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {"seconds": seconds, "steps": len(losses), "peak": peak, "losses": losses}
    (out / "run.json").write_text(json.dumps(facts))


def measure(name: str, directory: Path | str, classifier: dict) -> dict[str, float]:
    """Every figure of a task for a model, x 100."""
    from minisbert import CrossEncoder, SentenceTransformer
    from minisbert.evaluation.evaluate import evaluate_sts
    from minisbert.evaluation.judged_files import read_sts
    from minisbert.training.development import measure_development
    from minisbert.training.examples import read_examples
    from minisbert.training.objectives import make_loss

    task = TASKS[name]
    make = CrossEncoder if task.cross_encoder else SentenceTransformer
    model = make(directory)
    figures = {}
    for what in task.measures:
        if what.startswith("STSb"):
            pairs = read_sts(DATA / f"stsbenchmark/sts-{what[5:]}.csv")
            figures[what] = evaluate_sts(model, pairs).spearman
        elif what == "SNLI dev" and (classifier or task.cross_encoder):
            _, held_out = read_examples(DATA / "snli/dev.tsv", "softmax", classes=NLI)
            figures[what] = measure_development(
                model, held_out, make_loss("softmax"), parameters=classifier
            ).value
        elif what == "Quora MRR@10":
            figures[what] = measure_duplicates(model)
    return {what: 100 * value for what, value in figures.items()}


NLI = ("contradiction", "entailment", "neutral")


def measure_duplicates(model) -> float:
    """MRR@10 of finding a question's duplicate among all questions of pairs_dev.tsv but itself."""
    from minisbert import FlatIndex

    path = DATA / "quora/pairs_dev.tsv"
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if len(row) == 4]
    rows = [row for row in rows if row[1].strip() and row[2].strip()]
    places = {text: i for i, text in enumerate(dict.fromkeys(t for row in rows for t in row[1:3]))}
    pairs = [(places[a], places[b]) for label, a, b, _ in rows if label == "1" and a != b]
    vectors = model.encode(list(places), on_truncate="ignore", show_progress_bar=False)
    asked = np.array(pairs)
    _, found = FlatIndex.from_embeddings(vectors).search(vectors[asked[:, 0]], 11)
    reciprocal = []
    for row, (itself, wanted) in zip(found, asked, strict=True):
        others = row[row != itself][:10]
        hits = np.flatnonzero(others == wanted)
        reciprocal.append(1 / (1 + hits[0]) if len(hits) else 0.0)
    return float(np.mean(reciprocal))
