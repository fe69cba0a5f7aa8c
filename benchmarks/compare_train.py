"""Fine-tuning beside the same in torch: what comes of it, and how fast it goes.

    python benchmarks/compare_train.py quality TASK [--seeds 1 2 3] [--sides torch minisbert]
    python benchmarks/compare_train.py speed [--rounds 7]

needs an environment with the peers (`make bench-peers`) and real data in the folder that
MINISBERT_DATA names. All start from --model, all-MiniLM-L6-v2.

Tasks, with batches of 16 (ranking: 64), a learning rate of 2e-5, dropout 0.1:

    sts       cosine regression on the STS benchmark, 1 epoch
    pairs     a cross-encoder on the STS benchmark, 4 epochs of binary cross-entropy
    nli       a cross-encoder on 18,000 pairs of SNLI, 1 epoch of 3-way cross-entropy
    nli-pairs what `pairs` does, from the model that `nli` made
    softmax   (u, v, |u - v|) on 18,000 pairs of SNLI, 1 epoch
    ranking   in-batch negatives on SNLI's entailment pairs, 1 epoch
    triplet   premise, entailment, contradiction of SNLI, 4 epochs

quality trains with each seed on both sides, each run in a process of its own, and measures both
sides' models by minisbert, which also measures the model as it was. A model that was trained stays
in --kept, and is only measured again.

speed makes the steps of `sts` on both sides in turn, each in its own process, after the loss of the
first batch, without dropout, was found to be the same. Torch takes part as it comes, and in every
setting that came near the best in one turn. A step is forward, backward, clipping and AdamW.

Not measured: GPUs, half precision, larger models, tokenising (each side does it before it starts).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from train_tasks import TASKS, load_model, measure, read_task, train_one
from train_torch import TorchTraining
from turns import Worker, describe_machine, print_ratios, take_turns

SIDES = ("torch", "minisbert")
STEPS_A_TURN = 10
NEAR = 1.3  # times the quickest setting's one turn


# What comes of it


def find_run(side: str, name: str, seed: int, model: str, kept: Path, threads: int) -> Path:
    """The folder of a run, which is made now if it is not kept."""
    out = kept / f"{side}-{name}-{seed}"
    if not (out / "run.json").exists():
        if TASKS[name].after:
            before = find_run(side, TASKS[name].after, seed, model, kept, threads)
            model = str(before / "model")
        out.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, "train", side, name, str(seed), model, out]
        subprocess.run([*map(str, command), str(threads)], check=True)
    return out


def compare_quality(
    name: str, seeds: list[int], model: str, kept: Path, threads: int, sides: list[str]
) -> None:
    """Train what is not kept, measure all, print a line a run and the means."""
    from minisbert.system.safetensors import read_safetensors

    print(describe_machine())
    task = TASKS[name]
    print(
        f"task      {name}: {task.objective}, {task.file}, {task.epochs} epochs of batches of "
        f"{task.batch_size}"
    )
    if not task.cross_encoder:
        print(f"  {'before':12}         {show(measure(name, model, {}))}")
    means = {}
    for side in sides:
        rows = []
        for seed in seeds:
            out = find_run(side, name, seed, model, kept, threads)
            classifier = read_safetensors(out / "classifier.safetensors")[0]
            figures = measure(name, out / "model", classifier)
            run = json.loads((out / "run.json").read_text())
            last = np.mean(run["losses"][-100:])
            print(
                f"  {side:12} seed {seed:2} {show(figures)}  loss of the last 100 steps {last:.4f}",
                flush=True,
            )
            rows.append(list(figures.values()))
        means[side] = np.mean(rows, axis=0)
        spread = np.ptp(rows, axis=0)
        print(
            f"  {side:12} mean    {show(dict(zip(figures, means[side], strict=True)))}"
            f"  spread {', '.join(f'{s:.2f}' for s in spread)}"
        )
    if len(means) == len(SIDES):
        difference = means["minisbert"] - means["torch"]
        print(f"  minisbert's means less torch's: {', '.join(f'{d:+.2f}' for d in difference)}")


def show(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:5.2f}" for name, value in figures.items())


# How fast it goes


class MinisbertSteps:
    """minisbert's steps of the sts task."""

    name = "minisbert"

    def __init__(self, directory: str, _: object) -> None:
        from minisbert.system.threads import keep_freed_memory, two_threads
        from minisbert.training.networks import make_network
        from minisbert.training.objectives import make_loss
        from minisbert.training.run import Run
        from minisbert.training.settings import Settings
        from minisbert.training.step import Trainer

        task = TASKS["sts"]
        model = load_model(directory, task, 0)
        parameters = {name: np.array(array) for name, array in model.parameters.items()}
        keep_freed_memory()
        loss = make_loss(task.objective)
        self.threads = two_threads(2)  # until the process ends
        run_both = self.threads.__enter__()
        self.trainer = Trainer(make_network(model.config), loss, parameters, run_both=run_both)
        self.run = Run(
            model,
            self.trainer,
            loss,
            examples=read_task(task),
            development=None,
            settings=Settings(),
            evaluate_every=None,
            on_truncate="ignore",
        )

    def first_loss(self) -> float:
        return self.trainer.differentiate(self.run.choose_batch(0)[0], None)[0]

    def time_steps(self, setting: dict) -> float:
        start = time.perf_counter()
        for _ in range(STEPS_A_TURN):
            self.run.step(None)
        return (time.perf_counter() - start) / STEPS_A_TURN

    def measure_peak(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def count_tokens(self) -> float:
        return self.run.tokens / self.run.progress.step


class TorchSteps(MinisbertSteps):
    """torch's steps of the same task."""

    name = "torch"

    def __init__(self, directory: str, attention: str) -> None:
        task = TASKS["sts"]
        self.training = TorchTraining(directory, task, read_task(task), 0, 2, attention)

    def first_loss(self) -> float:
        self.training.model.eval()
        loss = self.training.first_loss()
        self.training.model.train()
        return loss

    def time_steps(self, setting: dict) -> float:
        threads = setting["threads"]
        if threads != self.training.torch.get_num_threads():
            self.training.torch.set_num_threads(threads)
        start = time.perf_counter()
        for _ in range(STEPS_A_TURN):
            self.training.step()
        return (time.perf_counter() - start) / STEPS_A_TURN


def compare_speed(rounds: int, model: str) -> None:
    """Try torch's settings, then take turns with all that came near the best."""
    print(describe_machine())
    ours = Worker(MinisbertSteps, model, [])
    rivals = {attention: Worker(TorchSteps, model, attention) for attention in ("sdpa", "eager")}
    expected = ours.ask("first_loss")
    ours.ask("time_steps", {})
    print("\nTorch's settings: one turn each, after another to warm up")
    swept = []
    for attention, worker in rivals.items():
        loss = worker.ask("first_loss")
        if not abs(loss - expected) <= 1e-5:
            raise SystemExit(f"torch has another first loss, {loss}, not {expected}")
        for threads in (1, 2):
            setting = {"threads": threads}
            worker.ask("time_steps", setting)
            swept.append((worker.ask("time_steps", setting), attention, setting))
            print(f"  {1 / swept[-1][0]:5.2f} steps/s  attention {attention}, threads {threads}")
    quickest = min(seconds for seconds, _, _ in swept)
    sides = [("minisbert", ours, {})]
    for seconds, attention, setting in swept:
        default = attention == "sdpa" and setting["threads"] == os.cpu_count()
        # One turn is too noisy to tell settings apart that are near each other.
        if default or seconds < NEAR * quickest:
            name = f"torch, {attention}{', as it comes' if default else ''}"
            sides.append((name, rivals[attention], setting))
    print(f"\nSeconds a step, {rounds} rounds of {STEPS_A_TURN} steps: median, times minisbert's")
    times = take_turns(rounds, sides, "time_steps")
    print_ratios(sides, times, 1, "s")
    medians = np.median(times, axis=0)
    best = 1 + int(medians[1:].argmin())
    for side in (0, best):
        name, worker, _ = sides[side]
        print(
            f"  {name:34} {1 / medians[side]:5.2f} steps/s, peak memory "
            f"{worker.ask('measure_peak'):.0f} MB"
        )
    ratio = np.median(times[:, best] / times[:, 0])
    print(f"  minisbert makes {ratio:.2f} times the steps of torch at its best, {sides[best][0]}")
    print(f"  {ours.ask('count_tokens'):.0f} tokens a step on average, without padding")
    for worker in (ours, *rivals.values()):
        worker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    quality = commands.add_parser("quality")
    quality.add_argument("task", choices=TASKS)
    quality.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    quality.add_argument("--kept", type=Path, default=Path("build/train"))
    quality.add_argument("--threads", type=int, default=2)
    quality.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    speed = commands.add_parser("speed")
    speed.add_argument("--rounds", type=int, default=7)
    for command in (quality, speed):
        command.add_argument("--model", default="all-MiniLM-L6-v2", help="a name or a directory")
    train = commands.add_parser("train")
    for name in ("side", "task", "seed", "model", "out", "threads"):
        train.add_argument(name)
    arguments = parser.parse_args()
    if arguments.command == "train":
        train_one(
            arguments.side,
            arguments.task,
            int(arguments.seed),
            arguments.model,
            Path(arguments.out),
            int(arguments.threads),
        )
        return

    from minisbert.model_files.hub import resolve_model

    model = str(resolve_model(arguments.model))
    if arguments.command == "speed":
        compare_speed(arguments.rounds, model)
    else:
        compare_quality(
            arguments.task,
            arguments.seeds,
            model,
            arguments.kept,
            arguments.threads,
            arguments.sides,
        )


if __name__ == "__main__":
    main()
