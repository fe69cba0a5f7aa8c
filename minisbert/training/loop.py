"""Fine-tuning: epochs of shuffled batches, a learning rate that rises and falls, evaluation, and
checkpoints that a run can go on from as if it had never stopped.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minisbert.arguments import OnTruncate, check_positive, check_truncation
from minisbert.arrays import Array
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.model_files.saving import MODEL_FILES
from minisbert.model_files.weights import WEIGHTS_FILE
from minisbert.system.disk import check_destination, recover_directory, remove_directory
from minisbert.system.threads import count_threads, keep_freed_memory, two_threads
from minisbert.training.checkpoints import (
    FILES,
    STATE,
    find_work_directory,
)
from minisbert.training.examples import Examples, find_overlap, make_examples
from minisbert.training.networks import make_network
from minisbert.training.objectives import Objective, make_classifier, make_objective
from minisbert.training.run import Model, Run, Settings, training_bar
from minisbert.training.step import Trainer


class TrainingResult(NamedTuple):
    """What came of a run.

    losses      of every step, before it
    measure     the name of the measure on the development examples, or ""
    measures    (step, value) of each evaluation; that of step 0 is of the model as it was
    best_step   the step whose model was kept
    tokens      that went through the network in this process, special ones included
    seconds     that its steps took
    classifier  the softmax objective's own parameters, none for the others
    """

    losses: list[float]
    measure: str
    measures: list[tuple[int, float]]
    best_step: int
    tokens: int
    seconds: float
    classifier: Mapping[str, Array]


def train(
    model: Model,
    examples: Examples | Sequence[Sequence[Any]],
    objective: str,
    *,
    development: Examples | Sequence[Sequence[Any]] | None = None,
    evaluate_every: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    threads: int | None = None,
    show_progress_bar: bool | None = None,
    on_truncate: OnTruncate = "warn",
    report: Callable[[str], Any] | None = None,
    made_by: str | None = None,
    **settings: Any,
) -> TrainingResult:
    """Fine-tune a model in place.

    Parameters
    ----------
    model : SentenceTransformer or CrossEncoder
        It has the best weights afterwards: those of the best evaluation, or of the last step.
    examples : Examples or sequence of tuples
        See `read_examples`; or each example as its texts and, if the objective needs one, its
        label: a number from 0 to 1, or the name of a class.
    objective : str
        "cosine", "softmax", "triplet" or "ranking"; for a CrossEncoder "binary" or "classes".
    development : Examples or sequence of tuples
        Held out; evaluated before the first step, every so many steps, and after the last.
    evaluate_every : int
        Steps between evaluations, and between checkpoints; by default those of an epoch.
    out : str or path
        A directory for the model. While it is made, checkpoints stand beside it, in `out` with
        ".training" after its name.
    resume : bool
        Go on from the checkpoint, if there is one. The weights are in the end, to the last bit,
        those of a run that was never interrupted, on this machine and with these libraries.
    threads : int
        Of which two are used; results don't depend on it.
    on_truncate : "warn", "error" or "ignore"
        What to do when a text is longer than the model reads.
    report : callable
        Told a line for each evaluation.
    made_by : str
        The command or call, for the README of the saved model.
    **settings
        The fields of `Settings`: epochs, batch_size, learning_rate, warmup, weight_decay,
        clip_norm, dropout, seed, margin, scale, concatenation.

    Returns
    -------
    TrainingResult

    Raises
    ------
    TypeError, ValueError
        If an option or an example is not what it must be, or the checkpoint is another run's.
    FileExistsError
        If there is an unfinished run and `resume` is not given, or something else under `out`.
    FloatingPointError
        If the loss is not finite; what the last checkpoint holds is kept.
    OSError
        If a checkpoint can't be written; the one before is kept.

    Examples
    --------
    >>> model = SentenceTransformer("all-MiniLM-L6-v2")
    >>> pairs = [("A cat sleeps.", "A cat is asleep.", 1.0), ("A cat sleeps.", "Rain falls.", 0.0)]
    >>> result = train(model, pairs, "cosine", epochs=2, warmup=0)
    >>> result.losses[1] < result.losses[0]
    True
    """
    chosen = Settings(**settings)
    goal = make_objective(objective, chosen.margin, chosen.scale, chosen.concatenation)
    check_positive("evaluate_every", evaluate_every)
    check_truncation(on_truncate)
    workers = count_threads(model.threads if threads is None else threads)
    data = make_examples(examples, objective)
    held_out = None if development is None else make_examples(development, objective, data.classes)
    _check_fit(model, goal, data, held_out)
    if out is not None:
        check_output(out, resume)
        if not model.config.bert.num_hidden_layers:
            raise ValueError(
                "a model to save must have at least one block, got none; "
                "load it with blocks=1 or more, or leave out `out`"
            )
    elif resume:
        raise ValueError(
            "out must be the directory of an unfinished training to resume, got none; "
            "give it, or leave out resume"
        )
    parameters = {name: np.array(array) for name, array in model.parameters.items()}
    if objective == "softmax" and isinstance(model, SentenceTransformer):
        width = model.config.embedding_width
        parameters |= make_classifier(len(data.classes), width, chosen.concatenation, chosen.seed)
    keep_freed_memory()
    with two_threads(workers) as run_both:
        trainer = Trainer(
            make_network(model.config),
            goal,
            parameters,
            weight_decay=chosen.weight_decay,
            clip_norm=chosen.clip_norm,
            run_both=run_both,
        )
        run = Run(model, trainer, goal.what, data, held_out, chosen, evaluate_every, on_truncate)
        work = None if out is None else find_work_directory(out)
        made_by = made_by or f'train(model, examples, "{objective}")'
        say = report or (lambda line: None)
        if resume and work and run.go_back(work):
            say(f"going on after step {run.progress.step} of {run.steps}")
        elif held_out is not None:
            say(run.evaluate())
        try:
            with training_bar(run, show_progress_bar) as advance:
                while run.progress.step < run.steps:
                    run.step(work)
                    advance()
                    if run.progress.step % run.every == 0 or run.progress.step == run.steps:
                        say(run.evaluate())
                        if work:
                            run.save(work, made_by)
        finally:  # also of a run that is stopped
            run.use_best()
        if out is not None:
            model.save(out, made_by=made_by)
            remove_directory(find_work_directory(out))
    classifier = {name: array for name, array in run.best.items() if name not in run.own}
    progress = run.progress
    return TrainingResult(
        progress.losses,
        progress.measure,
        progress.measures,
        progress.best_step,
        run.tokens,
        run.seconds,
        classifier,
    )


def _check_fit(model: Model, goal: Objective, data: Examples, held_out: Examples | None) -> None:
    """Objective, model and examples must be for each other."""
    cross = isinstance(model, CrossEncoder)
    if cross != goal.cross_encoder:
        fitting = "binary or classes" if cross else "cosine, softmax, triplet or ranking"
        raise ValueError(
            f"objective must be {fitting} for a {type(model).__name__}, got another; "
            "choose another objective or model"
        )
    labels = len(data.classes) if goal.labels == "classes" else 1
    if isinstance(model, CrossEncoder) and model.num_labels != labels:
        raise ValueError(
            f"num_labels of the model must be {labels}, as many as the examples need, "
            f"got {model.num_labels}; load it with fresh_head=0 and num_labels={labels}"
        )
    if held_out is not None:
        _check_held_out(goal, data, held_out)
        overlap = find_overlap(data, held_out)
        if overlap:
            warnings.warn(
                f"{overlap} of {len(held_out.lines)} development examples also stand among the "
                "training examples: the measure will be too good",
                stacklevel=3,
            )


def _check_held_out(goal: Objective, data: Examples, held_out: Examples) -> None:
    """Development examples must be something that this model can be measured on."""
    if held_out.classes and held_out.classes != data.classes:
        raise ValueError(
            f"classes of the development examples must be {', '.join(data.classes) or 'none'}, "
            f"as in training, got {', '.join(held_out.classes)}; use others"
        )
    if goal.cross_encoder and (
        held_out.labels is None or bool(held_out.classes) != bool(data.classes)
    ):
        raise ValueError(f"development examples must have {goal.labels}, got others; use others")
    if held_out.labels is not None and not held_out.classes and len(held_out.lines) < 2:
        raise ValueError(
            "development examples must be two or more to correlate scores, got 1; add examples"
        )


def check_output(out: str | os.PathLike[str], resume: bool) -> None:
    """Refuse, before any work, what would be written over, or is not there to go on from.

    Raises FileExistsError.
    """
    out = Path(out).expanduser()
    check_destination(out, WEIGHTS_FILE, MODEL_FILES)
    work = find_work_directory(out)
    recover_directory(work)
    check_destination(work, STATE, FILES)
    unfinished = (work / STATE).exists()
    if unfinished and not resume:
        raise FileExistsError(
            f"{work} must be gone to start anew, but an unfinished training is in it; "
            "go on with resume, or remove it"
        )
    if resume and not unfinished and (out / WEIGHTS_FILE).exists():
        raise FileExistsError(
            f"{out} must be unfinished to go on, but it is whole; leave out resume to train anew"
        )
