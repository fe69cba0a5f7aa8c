"""Fine-tuning: epochs of shuffled batches, a learning rate that rises and falls, evaluation, and
checkpoints that a run can go on from as if it had never stopped.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minisbert.arguments import OnTruncate, check_positive, check_truncation, report_truncation
from minisbert.batching import count_threads, keep_freed_memory
from minisbert.checkpoints import (
    FILES,
    MODEL,
    STATE,
    Progress,
    digest,
    find_work_directory,
    read_checkpoint,
    write_checkpoint,
)
from minisbert.config import measure_width
from minisbert.cross_encoder import CrossEncoder
from minisbert.development import measure_development
from minisbert.directories import check_destination, recover_directory, remove_directory
from minisbert.encoder import SentenceTransformer
from minisbert.objectives import Objective, make_classifier, make_objective
from minisbert.optimizer import schedule
from minisbert.ragged import Array
from minisbert.saving import MODEL_FILES, WEIGHTS
from minisbert.train_step import Batch, Trainer, make_network
from minisbert.training_files import Examples, find_overlap, make_examples

Model = SentenceTransformer | CrossEncoder


@dataclass(frozen=True)
class Settings:
    """What a run depends on beside model and data; the defaults are the paper's (section 3.1).

    epochs         times that every example is seen
    batch_size     examples in a step
    learning_rate  the highest
    warmup         share of the steps over which it rises
    weight_decay   of all but biases and layer norms
    clip_norm      longest gradient of a step
    dropout        whether there is any; how much, the model's config.json says
    seed           of shuffles, dropout and fresh classifiers
    margin, scale, concatenation   of objectives, see `objectives.make_objective`
    """

    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 2e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: bool = True
    seed: int = 0
    margin: float = 1.0
    scale: float = 20.0
    concatenation: str = "u,v,|u-v|"

    def __post_init__(self) -> None:
        check_positive("epochs", self.epochs)
        check_positive("batch_size", self.batch_size)
        for name, least, most in (
            ("learning_rate", 0, 1),
            ("warmup", 0, 1),
            ("weight_decay", 0, 1),
            ("clip_norm", 0, math.inf),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not least <= value <= most:
                raise ValueError(
                    f"{name} must be a number from {least} to {most}, got {value!r}; "
                    "leave it out for the paper's"
                )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(
                f"seed must be a whole number of 0 or more, got {self.seed!r}; leave it out for 0"
            )


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
        width = measure_width(model.config)
        parameters |= make_classifier(len(data.classes), width, chosen.concatenation, chosen.seed)
    keep_freed_memory()
    with Trainer(
        make_network(model.config),
        goal,
        parameters,
        chosen.weight_decay,
        chosen.clip_norm,
        workers,
    ) as trainer:
        run = Run(model, trainer, data, held_out, chosen, evaluate_every, on_truncate)
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


class Run:
    """A model on its way: what every step and evaluation changes."""

    def __init__(
        self,
        model: Model,
        trainer: Trainer,
        data: Examples,
        held_out: Examples | None,
        settings: Settings,
        evaluate_every: int | None,
        on_truncate: OnTruncate,
    ) -> None:
        self.model, self.trainer, self.settings = model, trainer, settings
        self.data, self.held_out = data, held_out
        self.ids, self.types = _tokenize(model, data, on_truncate)
        if held_out is not None:
            _tokenize(model, held_out, on_truncate)  # says once what evaluations will cut
        self.labels = data.labels
        if self.labels is not None and not data.classes:
            self.labels = self.labels.astype(np.float32)  # scores beside float32 outputs
        if isinstance(model, CrossEncoder) and data.classes:
            model.label_names = data.classes
        self.own = set(model.parameters)
        n = len(data.lines)
        self.per_epoch = -(-n // settings.batch_size)
        self.every = evaluate_every or self.per_epoch
        # What a checkpoint must agree on to be gone on from.
        self.identity = {
            **{"objective": trainer.objective.what, **asdict(settings)},
            "examples": _digest_examples(data),
            "development": "none" if held_out is None else _digest_examples(held_out),
            "model": digest(p.tobytes() for p in trainer.parameters.values()),
            "evaluate_every": self.every,
            "the most tokens of a text": _find_limit(model),
        }
        self.steps = settings.epochs * self.per_epoch
        self.warmup = math.ceil(settings.warmup * self.steps)
        self.progress = Progress()
        self.tokens, self.seconds = 0, 0.0  # of this process
        # Without evaluations the best is always what there is.
        self.best: dict[str, Array] = trainer.parameters
        self._order: tuple[int, Array] = (-1, np.empty(0, np.int64))

    def step(self, work: Path | None) -> None:
        """Make the next step; `work` is where the last good model is, if it is anywhere."""
        start = time.perf_counter()
        step = self.progress.step
        batch, rows = self.choose_batch(step)
        self.rate = self.settings.learning_rate * schedule(step, self.steps, self.warmup)
        seed = (self.settings.seed, *divmod(step, self.per_epoch))
        try:
            loss, _ = self.trainer.step(batch, self.rate, seed if self.settings.dropout else None)
        except FloatingPointError as error:
            lines = ", ".join(map(str, sorted(self.data.lines[rows])))
            kept = f"; the last good model is in {work}" if work and work.exists() else ""
            raise FloatingPointError(
                f"{error} at step {step + 1} of {self.steps}, in the batch of lines {lines}; "
                f"lower the learning rate{kept}"
            ) from None
        self.progress.losses.append(loss)
        self.progress.step += 1
        self.tokens += sum(len(text) for column in batch.ids for text in column)
        self.seconds += time.perf_counter() - start

    def choose_batch(self, step: int) -> tuple[Batch, Array]:
        """The examples of a step, and their rows."""
        epoch, place = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            # A function of seed and epoch alone, so that a run can go on from anywhere.
            rng = np.random.default_rng([self.settings.seed, epoch])
            self._order = epoch, rng.permutation(len(self.data.lines))
        size = self.settings.batch_size
        rows = self._order[1][place * size : (place + 1) * size]
        batch = Batch(
            [[column[row] for row in rows] for column in self.ids],
            None if self.types is None else [[self.types[row] for row in rows]],
            None if self.labels is None else self.labels[rows],
        )
        return batch, rows

    def evaluate(self) -> str:
        """Measure the model as it is, keep it if it is the best so far, and tell of it."""
        step, losses = self.progress.step, self.progress.losses
        told = f"step {step} of {self.steps}"
        if losses:
            told += f"  loss {np.mean(losses[-self.per_epoch :]):.4f}"
        if self.held_out is None:
            return told
        parameters = self.trainer.parameters
        self._use(parameters)
        self.progress.measure, value = measure_development(
            self.model, self.held_out, parameters, self.settings.concatenation
        )
        self._use(parameters)  # drops the copies that were made to measure it
        self.progress.measures.append((step, value))
        if step and self.progress.best_step == step:
            if self.best is parameters:
                self.best = {name: array.copy() for name, array in parameters.items()}
            else:
                for name, array in parameters.items():
                    self.best[name][...] = array
        return f"{told}  {self.progress.measure} {100 * value:.2f}"

    def save(self, work: Path, made_by: str) -> None:
        """Write a checkpoint; raises OSError, the one before stays."""

        def save_model(directory: Path) -> None:
            self.use_best()
            self.model.save(directory, made_by=made_by)
            self._use(self.trainer.parameters)

        others = {name: array for name, array in self.best.items() if name not in self.own}
        try:
            write_checkpoint(
                work, self.identity, self.progress, self.trainer.optimizer, save_model, others
            )
        except OSError as error:
            if error.errno is None:  # a refusal of this package, which says what to do
                raise
            kept = ", the one before is kept" if (work / STATE).exists() else ""
            raise OSError(
                error.errno,
                f"{error.strerror}; the checkpoint of step {self.progress.step} is not written"
                f"{kept}; make room and go on with resume",
                error.filename,
            ) from None

    def go_back(self, work: Path) -> bool:
        """Take up the checkpoint, if there is one."""
        found = read_checkpoint(work, self.identity, self.trainer.optimizer)
        if found is None:
            return False
        self.progress, others = found
        if self.held_out is not None:
            saved = type(self.model)(work / MODEL).parameters
            # Saving may have given a module's folder another name, but the order is the same.
            own = dict(zip(self.model.parameters, saved.values(), strict=True))
            self.best = {name: np.array(array) for name, array in {**own, **others}.items()}
        return True

    def use_best(self) -> None:
        """Let the model run with the best parameters so far."""
        self._use(self.best)

    def _use(self, parameters: Mapping[str, Array]) -> None:
        self.model.parameters = {name: parameters[name] for name in self.own}


@contextmanager
def training_bar(run: Run, shown: bool | None) -> Iterator[Callable[[], None]]:
    """A bar with loss, learning rate, tokens a second and the time left, on a terminal."""
    if shown is None:
        shown = sys.stderr.isatty()
    if not shown:
        yield lambda: None
        return
    from tqdm import tqdm  # imported when wanted, as elsewhere

    with tqdm(total=run.steps, initial=run.progress.step, unit="step", desc="train") as bar:

        def advance() -> None:
            bar.set_postfix_str(
                f"loss {np.mean(run.progress.losses[-20:]):.4f}, rate {run.rate:.1e}, "
                f"{run.tokens / run.seconds:.0f} tokens/s",
                refresh=False,
            )
            bar.update()

        yield advance


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
    check_destination(out, WEIGHTS, MODEL_FILES)
    work = find_work_directory(out)
    recover_directory(work)
    check_destination(work, STATE, FILES)
    unfinished = (work / STATE).exists()
    if unfinished and not resume:
        raise FileExistsError(
            f"{work} must be gone to start anew, but an unfinished training is in it; "
            "go on with resume, or remove it"
        )
    if resume and not unfinished and (out / WEIGHTS).exists():
        raise FileExistsError(
            f"{out} must be unfinished to go on, but it is whole; leave out resume to train anew"
        )


def _tokenize(
    model: Model, data: Examples, on_truncate: OnTruncate
) -> tuple[list[list[Array]], list[Array] | None]:
    """Token ids of each column, and segments for a cross-encoder, whose pairs are one column."""
    limit = _find_limit(model)
    if isinstance(model, CrossEncoder):
        tokens = model.tokenizer.encode_pairs(list(zip(*data.texts, strict=True)), limit)
        report_truncation(tokens.lengths, limit, on_truncate)
        return [tokens.ids], tokens.types
    ids = []
    for column in data.texts:
        tokens = model.tokenizer.encode(column, limit)
        report_truncation(tokens.lengths, limit, on_truncate)
        ids.append(tokens.ids)
    return ids, None


def _find_limit(model: Model) -> int:
    """The most tokens that it reads."""
    return model.max_length if isinstance(model, CrossEncoder) else model.max_seq_length


def _digest_examples(examples: Examples) -> str:
    """One number for texts, labels and classes."""
    labels = b"" if examples.labels is None else examples.labels.tobytes()
    return digest(
        [json.dumps([examples.texts, examples.classes]).encode("utf-8", "surrogatepass"), labels]
    )
