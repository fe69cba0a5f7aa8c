"""`train`: the loop over all steps, with evaluations and checkpoints between them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minisbert.arguments import OnTruncate, check_positive, check_truncation, shorten_names
from minisbert.arrays import Array
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.model_files.saving import MODEL_FILES
from minisbert.model_files.weights import WEIGHTS_FILE
from minisbert.system.disk import check_destination, recover_directory, remove_directory
from minisbert.system.locks import lock_destination
from minisbert.system.regular_files import shorten_path
from minisbert.system.threads import count_threads, keep_freed_memory, two_threads
from minisbert.training.checkpoints import CHECKPOINT_FILES, STATE_FILE, find_work_directory
from minisbert.training.development import count_overlap
from minisbert.training.examples import Examples, make_examples
from minisbert.training.networks import make_network
from minisbert.training.objectives import Objective, find_objective, make_loss
from minisbert.training.run import Run, TrainableModel, training_bar
from minisbert.training.settings import Settings
from minisbert.training.step import Trainer


class TrainingResult(NamedTuple):
    """The result of a run, apart from the model.

    losses      the loss of every step, before its update
    measure     the name of the measure on the development examples, or ""
    measures    (step, value) of each evaluation; step 0 is the model before training
    best_step   the step whose model was kept
    tokens      tokens that went through the network in this process, special ones included
    seconds     time that its steps took
    classifier  the parameters of the objective's own classifier; empty if it has none
    """

    losses: list[float]
    measure: str
    measures: list[tuple[int, float]]
    best_step: int
    tokens: int
    seconds: float
    classifier: Mapping[str, Array]


def train(
    model: TrainableModel,
    examples: Examples | Iterable[Sequence[Any]],
    objective: str,
    *,
    epochs: int = Settings.epochs,
    batch_size: int = Settings.batch_size,
    learning_rate: float = Settings.learning_rate,
    warmup: float = Settings.warmup,
    weight_decay: float = Settings.weight_decay,
    clip_norm: float = Settings.clip_norm,
    dropout: bool = Settings.dropout,
    seed: int = Settings.seed,
    margin: float | None = None,
    scale: float | None = None,
    concatenation: str | None = None,
    development: Examples | Iterable[Sequence[Any]] | None = None,
    evaluate_every: int | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    threads: int | None = None,
    show_progress_bar: bool | None = None,
    on_truncate: OnTruncate = "warn",
    report: Callable[[str], Any] | None = None,
    made_by: str | None = None,
) -> TrainingResult:
    """Fine-tune a model in place. Defaults are those of the paper (section 3.1).

    Parameters
    ----------
    model : SentenceTransformer or CrossEncoder
        Afterwards it has the parameters of the best evaluation, or without any of the last step.
    examples : Examples or iterable of tuples
        From `read_examples`; or one tuple for each example, of its texts and, if the objective
        needs one, its label: a number from 0 to 1, or the name of a class. An `InputExample`
        serves as a tuple.
    objective : str
        A name in `minisbert.training.OBJECTIVES`, such as "cosine" or "ranking"; "binary" and
        "classes" are for a CrossEncoder.
    epochs : int
        Passes over all examples.
    batch_size : int
        Examples in a minibatch.
    learning_rate : float
        The highest learning rate: it rises to this during warm-up, then falls to 0.
    warmup : float
        The fraction of all steps over which the learning rate rises.
    weight_decay : float
        Weight decay of all parameters except biases and layer norms.
    clip_norm : float
        The largest norm of a gradient; larger gradients are scaled down.
    dropout : bool
        Whether to use dropout, with the rates of the model's config.json.
    seed : int
        Seed of shuffles, dropout and a new classifier.
    margin, scale : float
        Options of objectives (margin of "triplet", scale of "ranking"); None for their defaults.
    concatenation : str
        Option of "softmax": the input of the classifier, such as "u,v,|u-v|".
    development : Examples or iterable of tuples
        Held-out examples; evaluated before the first step, every `evaluate_every` steps, and after
        the last step.
    evaluate_every : int
        Steps between evaluations, and between checkpoints; by default those of an epoch.
    out : str or path
        A directory for the model. Until it is complete, checkpoints are beside it, in `out` with
        ".training" after its name.
    resume : bool
        Continue from the checkpoint, if there is one. On the same machine and with the same
        libraries, the final weights are to the last bit those of an uninterrupted run.
    threads : int
        At most two are used; results don't depend on their number.
    show_progress_bar : bool
        By default a bar is shown on a terminal.
    on_truncate : "warn", "error" or "ignore"
        What to do when a text is longer than the model reads.
    report : callable
        Called with a line of text for each evaluation.
    made_by : str
        The command or call, for the README of the saved model.

    Returns
    -------
    TrainingResult

    Raises
    ------
    TypeError, ValueError
        If an option or an example is invalid, or the checkpoint is that of another run.
    BlockingIOError
        If another run or a save is writing `out` now.
    FileExistsError
        If there is an unfinished run and `resume` is false, or if `out` holds other files.
    FloatingPointError
        If loss or gradients are not finite; the last checkpoint is kept.
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
    settings = Settings(
        epochs, batch_size, learning_rate, warmup, weight_decay, clip_norm, dropout, seed
    )
    find_objective(objective, isinstance(model, CrossEncoder))
    loss = make_loss(objective, margin=margin, scale=scale, concatenation=concatenation)
    evaluate_every = check_positive("evaluate_every", evaluate_every)
    check_truncation(on_truncate)
    threads = count_threads(model.threads if threads is None else threads)
    data = make_examples(examples, objective)
    held_out = None
    if development is not None:
        held_out = make_examples(development, objective, data.classes)
    _check_fit(model, loss.objective, data, development=held_out)
    if out is not None and not model.config.bert.num_hidden_layers:
        raise ValueError(
            "a model to save must have at least one block, got none; "
            "load it with blocks=1 or more, or leave out `out`"
        )
    if out is None and resume:
        raise ValueError(
            "out must be the directory of an unfinished training to resume, got none; "
            "give it, or leave out resume"
        )
    parameters = {name: np.array(array) for name, array in model.parameters.items()}
    if isinstance(model, SentenceTransformer):
        width = model.config.embedding_width
        parameters |= loss.make_parameters(len(data.classes), width, seed=seed)
    keep_freed_memory()
    with lock_out_directory(out, resume), two_threads(threads) as run_both:
        trainer = Trainer(
            make_network(model.config),
            loss,
            parameters,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            run_both=run_both,
        )
        run = Run(
            model,
            trainer,
            loss,
            examples=data,
            development=held_out,
            settings=settings,
            evaluate_every=evaluate_every,
            on_truncate=on_truncate,
        )
        work = None if out is None else find_work_directory(out)
        made_by = made_by or f'train(model, examples, "{objective}")'
        say = report or (lambda line: None)
        if resume and work and run.resume(work):
            say(f"resuming after step {run.progress.step} of {run.steps}")
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
        finally:  # also of a run that is interrupted
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


@contextmanager
def lock_out_directory(out: str | os.PathLike[str] | None, resume: bool) -> Iterator[None]:
    """Hold the locks of the model's directory and of the checkpoints', if there is to be one.

    Raises BlockingIOError if another training or a save is writing there, and FileExistsError as
    `check_out_directory` does.
    """
    if out is None:
        yield
        return
    # Another run may have the directory of this one's checkpoints as its `out`.
    with (
        lock_destination(out, wait=False),
        lock_destination(find_work_directory(out), wait=False),
    ):
        check_out_directory(out, resume)
        yield


def check_out_directory(out: str | os.PathLike[str], resume: bool) -> None:
    """Refuse, before any work, to write over other files, or to resume a run that is complete.

    Raises FileExistsError.
    """
    out = Path(os.path.expanduser(out))
    check_destination(out, WEIGHTS_FILE, MODEL_FILES)
    work = find_work_directory(out)
    recover_directory(work)
    check_destination(work, STATE_FILE, CHECKPOINT_FILES)
    unfinished = (work / STATE_FILE).exists()
    if unfinished and not resume:
        raise FileExistsError(
            f"{shorten_path(work)} must not exist to start anew, but it holds an unfinished "
            "training; resume it, or remove it"
        )
    if resume and not unfinished and (out / WEIGHTS_FILE).exists():
        raise FileExistsError(
            f"{shorten_path(out)} must be an unfinished training to resume, but it is complete; "
            "leave out resume to train anew"
        )


def _check_fit(
    model: TrainableModel, objective: Objective, examples: Examples, *, development: Examples | None
) -> None:
    """Check that model, examples and development examples fit each other."""
    labels = len(examples.classes) if objective.labels == "classes" else 1
    if isinstance(model, CrossEncoder) and model.num_labels != labels:
        raise ValueError(
            f"num_labels of the model must be {labels}, as many as the examples need, "
            f"got {model.num_labels}; load it with fresh_head=0 and num_labels={labels}"
        )
    if development is None:
        return
    if development.classes and development.classes != examples.classes:
        raise ValueError(
            "classes of the development examples must be "
            f"{shorten_names(examples.classes) or 'none'}, as in training, "
            f"got {shorten_names(development.classes)}; use examples with the same classes"
        )
    if objective.cross_encoder and (
        development.labels is None or bool(development.classes) != bool(examples.classes)
    ):
        raise ValueError(
            f"development examples must have {objective.labels}, as in training; use other examples"
        )
    if development.labels is not None and not development.classes and len(development.lines) < 2:
        raise ValueError(
            "development examples must be two or more to correlate scores, got 1; add examples"
        )
    overlap = count_overlap(examples, development)
    if overlap:
        warnings.warn(
            f"{overlap} of {len(development.lines)} development examples are also training "
            "examples, so the measure will be too high",
            stacklevel=3,
        )
