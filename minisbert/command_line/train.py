"""`minisbert train`: a file of examples and a model in, a model directory out."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minisbert.arguments import shorten_names
from minisbert.command_line.parser import show
from minisbert.command_line.train_options import read_objective_options, read_settings
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.model_files.head_files import has_head
from minisbert.model_files.hub import resolve_model
from minisbert.training import Examples, read_examples, train
from minisbert.training.checkpoints import find_work_directory
from minisbert.training.loop import lock_out_directory
from minisbert.training.objectives import make_loss
from minisbert.training.run import TrainableModel


def run(arguments: argparse.Namespace) -> None:
    """Train as the arguments say, and print the progress."""
    for option in ("development_columns", "evaluate_every"):
        if getattr(arguments, option) is not None and arguments.development is None:
            raise ValueError(
                f"--{option.replace('_', '-')} must be given with --development, got it alone; "
                "leave it out"
            )
    # Locked before anything is read or loaded: a second training needn't wait for its error.
    with lock_out_directory(arguments.out, arguments.resume):
        _run_locked(arguments)


def _run_locked(arguments: argparse.Namespace) -> None:
    """Train into a directory whose lock is held."""
    objective, examples = read_examples(
        arguments.file,
        arguments.objective,
        split_names(arguments.columns),
        scale=arguments.scale,
        cross_encoder=arguments.cross_encoder,
    )
    settings, options = read_settings(arguments), read_objective_options(arguments)
    inferred = "" if arguments.objective else ", inferred from the columns"
    loss = make_loss(objective, **options)
    development = read_development(arguments, objective, examples)
    show(f"objective    {objective}: {loss.describe()}{inferred}")
    show(f"examples     {describe_examples(examples)}")
    if development is not None:
        show(f"development  {describe_examples(development)}")
    model, head = load_model(arguments, len(examples.classes), settings.seed)
    show(f"model        {arguments.model}{head}")
    try:
        result = train(
            model,
            examples,
            objective,
            development=development,
            evaluate_every=arguments.evaluate_every,
            out=arguments.out,
            resume=arguments.resume,
            threads=arguments.threads,
            report=show,
            made_by=shlex.join(["minisbert", *sys.argv[1:]]),
            **asdict(settings),
            **options,
        )
    except KeyboardInterrupt:
        if find_work_directory(arguments.out).exists():
            print("stopped; --resume continues from the last checkpoint", file=sys.stderr)
        raise
    pace = f", {result.tokens / result.seconds:.0f} tokens/s" if result.tokens else ""
    show(f"trained      {len(result.losses)} steps{pace}")
    if result.measures:
        values = dict(result.measures)
        best, before = values[result.best_step], values[0]
        print(
            f"best         step {result.best_step}: {result.measure} {100 * best:.2f}, "
            f"before {100 * before:.2f}"
        )
        if not best > before:
            print(
                "No evaluation was better than before training: check examples and learning rate."
            )
    show(f"saved        {arguments.out}")


def split_names(names: str | None) -> list[str] | None:
    """Split names at commas."""
    return None if names is None else [name.strip() for name in names.split(",")]


def describe_examples(examples: Examples) -> str:
    """Describe examples in one line: their number, their texts, their labels."""
    line = f"{len(examples.lines)}, each {len(examples.texts)} texts"
    if examples.classes:
        counts = np.bincount(examples.labels, minlength=len(examples.classes))  # type: ignore
        named = (f"{n} {name}" for name, n in zip(examples.classes, counts, strict=True))
        line += f" and a class: {shorten_names(named)}"
    elif examples.labels is not None:
        line += f" and a score, {examples.labels.mean():.2f} on average"
    if examples.left_out:
        line += f"; {examples.left_out} lines left out"
    return line


def read_development(
    arguments: argparse.Namespace, objective: str, examples: Examples
) -> Examples | None:
    """Read the held-out examples, by default for the objective that is inferred from their columns.

    Classes are read for the objective of training if that has no classes (triplets or ranking from
    NLI), and are numbered as in training if it has.
    """
    if arguments.development is None:
        return None
    columns = split_names(arguments.development_columns or arguments.columns)
    cross = arguments.cross_encoder
    inferred, found = read_examples(
        arguments.development, None, columns, scale=arguments.scale, cross_encoder=cross
    )
    if found.classes and inferred != objective and not examples.classes:
        # Pairs with classes of NLI can also be read as triplets, or for ranking.
        _, found = read_examples(arguments.development, objective, columns, cross_encoder=cross)
    elif found.classes:
        _, found = read_examples(
            arguments.development, inferred, columns, examples.classes, cross_encoder=cross
        )
    return found


def load_model(
    arguments: argparse.Namespace, classes: int, seed: int
) -> tuple[TrainableModel, str]:
    """Load the model to train; return it, and words about its head for the report."""
    if not arguments.cross_encoder:
        model = SentenceTransformer(arguments.model, threads=arguments.threads)
        if arguments.max_length is not None:
            model.max_seq_length = arguments.max_length
        return model, ""
    labels = classes or 1
    directory: Path = resolve_model(arguments.model, modules=False)
    own = has_head(directory, labels)
    cross = CrossEncoder(
        directory,
        num_labels=labels,
        max_length=arguments.max_length,
        threads=arguments.threads,
        fresh_head=None if own else seed,
    )
    return cross, ", with its own head" if own else ", with a new head"
