"""Compare fine-tuning with the same in torch: the time of a step, and the models that come out.

    python benchmarks/compare_train.py speed [--rounds 7]
    python benchmarks/compare_train.py TASK [--seeds 1 2 3] [--sides torch minisbert] [--threads 2]

needs the peers (`make bench-peers`) and MINISBERT_DATA. TASKS lists the tasks; all start from
--model, with a learning rate of 2e-5 and dropout 0.1. Each seed is trained on both sides, each run
in a process of its own and kept in --kept, so that a stopped comparison resumes. minisbert measures
the models of both sides. `speed` times steps of `sts` in turn, with dropout: forward, backward,
clipping and AdamW, after both sides had the same first loss without dropout.

Not measured: tokenizing (each side does it before its steps), GPUs, half precision, larger models.
"""

import timeit
from pathlib import Path
from typing import NamedTuple

import numpy as np

from corpora import DATA, MODEL, QUORA, STS, find_model, read_table
from harness import Entry, Side, Worker, check, compare, parse_options, print_machine, say
from train_torch import TorchTraining

STEPS = 10  # of a turn


class Task(NamedTuple):
    objective: str
    file: str
    epochs: int
    batch_size: int
    measures: tuple[str, ...]
    cross_encoder: bool = False
    after: str = ""  # the task whose model this one starts from
    max_length: int = 256


SNLI = "snli/train_18k.tsv"
CORRELATIONS = ("STSb dev", "STSb test")
RANKINGS = ("STSb dev", "Quora MRR@10")
TASKS = {
    "sts": Task("cosine", STS[0], 1, 16, CORRELATIONS),
    "pairs": Task("binary", STS[0], 4, 16, CORRELATIONS, True),
    "nli": Task("classes", SNLI, 1, 16, ("SNLI dev",), True),
    "nli-pairs": Task("binary", STS[0], 4, 16, CORRELATIONS, True, "nli"),
    "softmax": Task("softmax", SNLI, 1, 16, ("SNLI dev", "STSb dev")),  # of (u, v, |u - v|)
    "ranking": Task("ranking", SNLI, 1, 64, RANKINGS),  # pairs of entailment
    "triplet": Task("triplet", SNLI, 4, 16, RANKINGS),  # premise, entailment, contradiction
}


def read_task(task: Task):
    """Return the examples of a task."""
    from minisbert import read_examples

    return read_examples(DATA / task.file, task.objective, cross_encoder=task.cross_encoder)[1]


def load_model(directory: str, task: Task, seed: int, labels: int):
    """Return minisbert's model to start from."""
    from minisbert import CrossEncoder, SentenceTransformer

    if not task.cross_encoder:
        return SentenceTransformer(directory)
    return CrossEncoder(directory, num_labels=labels, fresh_head=seed, max_length=task.max_length)


def measure(task: Task, directory: Path | str, classifier: dict) -> dict[str, float]:
    """Return every measure of a task for a model, x 100."""
    from minisbert import CrossEncoder, SentenceTransformer, read_examples
    from minisbert.evaluation.evaluate import evaluate_sts
    from minisbert.evaluation.judged_files import read_sts
    from minisbert.training.development import measure_development
    from minisbert.training.objectives import make_loss

    model = (CrossEncoder if task.cross_encoder else SentenceTransformer)(directory)
    values = {}
    for measured in task.measures:
        if measured in CORRELATIONS:
            pairs = read_sts(DATA / f"stsbenchmark/sts-{measured[5:]}.csv")
            values[measured] = evaluate_sts(model, pairs).spearman
        elif measured == "Quora MRR@10":
            values[measured] = measure_duplicates(model)
        elif classifier or task.cross_encoder:
            classes = ("contradiction", "entailment", "neutral")
            examples = read_examples(DATA / "snli/dev.tsv", "softmax", classes=classes)[1]
            loss = make_loss("softmax")
            found = measure_development(model, examples, loss, parameters=classifier)
            values[measured] = found.value
    return {measured: 100 * value for measured, value in values.items()}


def measure_duplicates(model) -> float:
    """Return MRR@10 of finding a question's duplicate among all others of pairs_dev.tsv."""
    from minisbert import FlatIndex
    from minisbert.evaluation.metrics import reciprocal_rank

    rows = read_table(QUORA[0])
    rows = [row for row in rows if len(row) == 4 and row[1].strip() and row[2].strip()]
    places = {text: i for i, text in enumerate(dict.fromkeys(t for row in rows for t in row[1:3]))}
    pairs = [(places[a], places[b]) for label, a, b, _ in rows if label == "1" and a != b]
    vectors = model.encode(list(places), on_truncate="ignore", show_progress_bar=False)
    asked, wanted = np.array(pairs).T
    _, found = FlatIndex.from_embeddings(vectors).search(vectors[asked], 11)
    grades = (row[row != i] == j for row, i, j in zip(found, asked, wanted, strict=True))
    return float(np.mean([reciprocal_rank(grade, 10) for grade in grades]))


class Training(Side):
    """One training from beginning to end."""

    def train(self, side: str, name: str, seed: int, model: str, out: Path, threads: int) -> None:
        """Leave a model directory, and the losses and the classifier's parameters in run.npz."""
        from minisbert import train

        task = TASKS[name]
        examples = read_task(task)
        ours = load_model(model, task, seed, len(examples.classes) or 1)
        if side == "minisbert":
            sizes = {"epochs": task.epochs, "batch_size": task.batch_size}
            options = {"seed": seed, "threads": threads, "on_truncate": "ignore"}
            result = train(ours, examples, task.objective, **sizes, **options)
            losses, classifier = result.losses, result.classifier
        else:
            theirs = TorchTraining(model, task, examples, seed, threads)
            losses = [theirs.step() for _ in range(theirs.steps)]
            found = theirs.get_parameters()
            classifier = {key: found[key] for key in found if key.startswith("objective")}
            ours.parameters = {key: found[key] for key in ours.parameters}
        ours.save(out / "model", made_by=f"compare_train.py {name}")
        np.savez(out / "run.npz", losses=losses, **classifier)


def find_run(side: str, name: str, seed: int, options) -> Path:
    """Return the folder of a run, which is made now if it is not kept."""
    out = options.kept / f"{side}-{name}-{seed}"
    if not (out / "run.npz").exists():
        model, before = options.model, TASKS[name].after
        if before:
            model = str(find_run(side, before, seed, options) / "model")
        out.mkdir(parents=True, exist_ok=True)
        Worker(Training).ask("train", side, name, seed, model, out, options.threads)
    return out


def write_values(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:5.2f}" for name, value in values.items())


def compare_quality(name: str, options) -> None:
    """Train what is not kept, measure all, print a line a run and the means."""
    task, means = TASKS[name], {}
    say("task", f"{name}, {task.epochs} epochs of batches of {task.batch_size} of {task.file}")
    if not task.cross_encoder:
        print(f"  {'before':12}         {write_values(measure(task, options.model, {}))}")
    for side in options.sides:
        rows = []
        for seed in options.seeds:
            out = find_run(side, name, seed, options)
            run = dict(np.load(out / "run.npz"))
            last = f"loss of the last 100 steps {run.pop('losses')[-100:].mean():.4f}"
            values = measure(task, out / "model", run)
            print(f"  {side:12} seed {seed:2} {write_values(values)}  {last}", flush=True)
            rows.append(list(values.values()))
        means[side] = np.mean(rows, axis=0)
        spread = ", ".join(f"{value:.2f}" for value in np.ptp(rows, axis=0))
        shown = write_values(dict(zip(values, means[side], strict=True)))
        print(f"  {side:12} mean    {shown}  spread {spread}")
    if len(means) > 1:
        difference = means["minisbert"] - means["torch"]
        print(f"  minisbert's means less torch's: {', '.join(f'{d:+.2f}' for d in difference)}")


class MinisbertSteps(Side):
    """minisbert's steps of `sts`, by its public `train`, which counts their seconds itself."""

    def __init__(self, directory: str, *arguments) -> None:
        self.task, self.done = TASKS["sts"], 0
        self.examples = read_task(self.task)
        self.load(directory, *arguments)

    def load(self, directory: str) -> None:
        self.model = load_model(directory, self.task, 0, 1)
        rows = list(zip(*self.examples.texts, self.examples.labels, strict=True))
        self.rows = [rows[i] for i in np.random.default_rng([0, 0]).permutation(len(rows))]

    def train(self, steps: int, **options):
        """Train on the examples of the next steps."""
        from minisbert import train

        size = self.task.batch_size
        chosen = self.rows[self.done * size :][: steps * size]
        return train(self.model, chosen, "cosine", batch_size=size, threads=2, **options)

    def first_loss(self) -> float:
        return self.train(1, learning_rate=0.0, dropout=False).losses[0]

    def time(self, workload: str, setting: dict) -> float:
        """Return the seconds of a step."""
        result = self.train(STEPS)
        self.done = (self.done + STEPS) % (len(self.rows) // self.task.batch_size - STEPS)
        self.tokens = result.tokens / STEPS
        return result.seconds / STEPS


class TorchSteps(MinisbertSteps):
    """torch's steps of the same task."""

    settings = ({"threads": 2}, {"threads": 1})

    def load(self, directory: str, attention: str) -> None:
        self.name = f"torch, {attention}"
        self.training = TorchTraining(directory, self.task, self.examples, 0, 2, attention)
        self.first_loss = self.training.first_loss

    def time(self, workload: str, setting: dict) -> float:
        """Return the seconds of a step, after one that does not count."""
        self.training.torch.set_num_threads(setting["threads"])
        self.training.step()
        return timeit.timeit(self.training.step, number=STEPS) / STEPS


def compare_speed(options) -> None:
    """Time the steps of both sides, and print rates and memory."""
    ours, model = Worker(MinisbertSteps, options.model), options.model
    rivals = [Worker(TorchSteps, model, attention) for attention in ("sdpa", "eager")]
    expected = ours.ask("first_loss")
    for rival in rivals:
        check(rival.name, rival.ask("first_loss"), expected)
    entries = [Entry("minisbert", ours, {})]
    entries, times = compare("one step", entries, rivals, expected=None, rounds=options.rounds)
    medians, tokens = np.median(times, axis=0), ours.ask("get", "tokens")
    for i in (0, 1 + int(medians[1:].argmin())):
        (peak,), rate = entries[i].worker.ask("read_memory", "VmHWM"), 1 / medians[i]
        print(f"  {entries[i].label:34} {rate:.2f} steps/s, peak memory {peak:.0f} MB")
    print(f"  {tokens:.0f} tokens a step in the last turn, without padding")


def main() -> None:
    names = {"model": MODEL, "kept": Path("build/train"), "sides": ["torch", "minisbert"]}
    options = parse_options(__doc__, task=str, rounds=7, seeds=[1, 2, 3], threads=2, **names)
    options.model = find_model(options.model)
    print_machine("torch", "transformers")
    if options.task == "speed":
        compare_speed(options)
    else:
        compare_quality(options.task, options)


if __name__ == "__main__":
    main()
