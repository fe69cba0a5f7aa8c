"""A run: its minibatches and steps, its evaluations, its checkpoints, and the best model."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minisbert.arguments import OnTruncate, report_truncation
from minisbert.arrays import Array
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.system.blas_limits import limit_blas
from minisbert.system.regular_files import shorten_path
from minisbert.training.checkpoints import (
    MODEL_FOLDER,
    STATE_FILE,
    Progress,
    check_saved,
    hash_parts,
    read_checkpoint,
    write_checkpoint,
)
from minisbert.training.development import measure_development
from minisbert.training.examples import Examples
from minisbert.training.objectives import ChosenLoss
from minisbert.training.optimizer import schedule
from minisbert.training.settings import Settings
from minisbert.training.step import Batch, Trainer

TrainableModel = SentenceTransformer | CrossEncoder


class Run:
    """A model in training, and the state that steps and evaluations change.

    steps     number of steps of all epochs
    every     number of steps from one evaluation to the next
    progress  steps, losses and measures so far
    best      the best parameters so far, name -> array; the current ones without evaluations
    tokens    tokens that went through the network in this process
    seconds   time that its steps took
    """

    def __init__(
        self,
        model: TrainableModel,
        trainer: Trainer,
        loss: ChosenLoss,
        *,
        examples: Examples,
        development: Examples | None,
        settings: Settings,
        evaluate_every: int | None,
        on_truncate: OnTruncate,
    ) -> None:
        self.model, self.trainer, self.loss, self.settings = model, trainer, loss, settings
        self.examples, self.development = examples, development
        self.ids, self.types = _tokenize(model, examples, on_truncate)
        if development is not None:
            _tokenize(model, development, on_truncate)  # warns once of what evaluations truncate
        self.labels = examples.labels
        if self.labels is not None and not examples.classes:
            self.labels = self.labels.astype(np.float32)  # as the network's outputs
        if isinstance(model, CrossEncoder) and examples.classes:
            model.label_names = examples.classes
        self.own = set(model.parameters)
        self.per_epoch = -(-len(examples.lines) // settings.batch_size)
        self.every = evaluate_every or self.per_epoch
        # Everything that must be the same to resume from a checkpoint.
        self.identity = {
            **{"objective": loss.objective.name, **asdict(settings), **loss.options},
            "examples": _hash_examples(examples),
            "development": "none" if development is None else _hash_examples(development),
            "model": hash_parts(array.tobytes() for array in trainer.parameters.values()),
            "evaluate_every": self.every,
            "max_length": _find_limit(model),
        }
        self.steps = settings.epochs * self.per_epoch
        self.warmup = math.ceil(settings.warmup * self.steps)
        self.progress = Progress()
        self.tokens, self.seconds = 0, 0.0
        self.best: dict[str, Array] = trainer.parameters
        self._order: tuple[int, Array] = (-1, np.empty(0, np.int64))

    def step(self, work: Path | None) -> None:
        """Make the next step.

        work  directory of the last checkpoint, to name it in an error

        Raises FloatingPointError if loss or gradients are not finite.
        """
        start = time.perf_counter()
        step = self.progress.step
        batch, rows = self.choose_batch(step)
        self.rate = self.settings.learning_rate * schedule(step, self.steps, self.warmup)
        seed = (self.settings.seed, *divmod(step, self.per_epoch))
        try:
            with limit_blas(1):  # each of two threads runs its own products
                loss, _ = self.trainer.step(
                    batch, self.rate, seed if self.settings.dropout else None
                )
        except FloatingPointError as error:
            lines = ", ".join(map(str, sorted(self.examples.lines[rows])))
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
        """Return the minibatch of a step, and the rows of its examples."""
        epoch, place = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            # A function of seed and epoch alone, so that a run can resume anywhere.
            rng = np.random.default_rng([self.settings.seed, epoch])
            self._order = epoch, rng.permutation(len(self.examples.lines))
        size = self.settings.batch_size
        rows = self._order[1][place * size : (place + 1) * size]
        batch = Batch(
            [[column[row] for row in rows] for column in self.ids],
            None if self.types is None else [[self.types[row] for row in rows]],
            None if self.labels is None else self.labels[rows],
        )
        return batch, rows

    def evaluate(self) -> str:
        """Measure the current model, keep it if it is the best so far; return a line of report."""
        step, losses = self.progress.step, self.progress.losses
        line = f"step {step} of {self.steps}"
        if losses:
            line += f"  loss {np.mean(losses[-self.per_epoch :]):.4f}"
        if self.development is None:
            return line
        parameters = self.trainer.parameters
        self._use(parameters)
        self.progress.measure, value = measure_development(
            self.model, self.development, self.loss, parameters=parameters
        )
        self._use(parameters)  # again: the model drops what it derived from them to encode
        self.progress.measures.append((step, value))
        if step and self.progress.best_step == step:
            if self.best is parameters:
                self.best = {name: array.copy() for name, array in parameters.items()}
            else:
                for name, array in parameters.items():
                    self.best[name][...] = array
        return f"{line}  {self.progress.measure} {100 * value:.2f}"

    def save(self, work: Path, made_by: str) -> None:
        """Write a checkpoint; if that fails with OSError, the previous one stays."""

        def save_model(directory: Path) -> None:
            self.use_best()
            self.model.save(directory, made_by=made_by)
            self._use(self.trainer.parameters)

        others = {name: array for name, array in self.best.items() if name not in self.own}
        try:
            write_checkpoint(
                work,
                self.identity,
                self.progress,
                optimizer=self.trainer.optimizer,
                save_model=save_model,
                others=others,
            )
        except OSError as error:
            if error.errno is None:  # raised by this package, with a message that says what to do
                raise
            kept = ", the one before is kept" if (work / STATE_FILE).exists() else ""
            raise OSError(
                error.errno,
                f"{error.strerror}; the checkpoint of step {self.progress.step} is not written"
                f"{kept}; make room and resume",
                error.filename,
            ) from None

    def resume(self, work: Path) -> bool:
        """Continue from the checkpoint in a directory; return whether there is one."""
        others = [name for name in self.trainer.parameters if name not in self.own]
        found = read_checkpoint(work, self.identity, self.trainer.optimizer, others=others)
        if found is None:
            return False
        self.progress, best = found
        if self.progress.step > self.steps:
            raise ValueError(
                f"step in {shorten_path(work / STATE_FILE)} must be at most {self.steps}, "
                f"got {self.progress.step}; remove the damaged checkpoint and train anew"
            )
        if self.development is not None:
            folder = work / MODEL_FOLDER
            saved = type(self.model)(folder).parameters
            if len(saved) != len(self.own):
                raise ValueError(
                    f"{shorten_path(folder)} must hold {len(self.own)} parameters, "
                    f"got {len(saved)}; remove the damaged checkpoint and train anew"
                )
            # Saving may have renamed a module's folder, but the order is the same.
            for (name, own), array in zip(
                self.model.parameters.items(), saved.values(), strict=True
            ):
                best[name] = check_saved(array, own, name=name, path=folder)
            self.best = {name: np.array(array) for name, array in best.items()}
        return True

    def use_best(self) -> None:
        """Give the model the best parameters so far."""
        self._use(self.best)

    def _use(self, parameters: Mapping[str, Array]) -> None:
        self.model.parameters = {name: parameters[name] for name in self.own}


@contextmanager
def training_bar(run: Run, shown: bool | None) -> Iterator[Callable[[], None]]:
    """Show loss, learning rate, tokens a second and the time left; None: only on a terminal."""
    if shown is None:
        shown = sys.stderr.isatty()
    if not shown:
        yield lambda: None
        return
    from tqdm import tqdm  # imported when needed: it takes long

    with tqdm(total=run.steps, initial=run.progress.step, unit="step", desc="train") as bar:

        def advance() -> None:
            bar.set_postfix_str(
                f"loss {np.mean(run.progress.losses[-20:]):.4f}, rate {run.rate:.1e}, "
                f"{run.tokens / run.seconds:.0f} tokens/s",
                refresh=False,
            )
            bar.update()

        yield advance


def _tokenize(
    model: TrainableModel, examples: Examples, on_truncate: OnTruncate
) -> tuple[list[list[Array]], list[Array] | None]:
    """Return the token ids of each column; for a cross-encoder those of the pairs, and types."""
    limit = _find_limit(model)
    if isinstance(model, CrossEncoder):
        tokens = model.tokenizer.encode_pairs(list(zip(*examples.texts, strict=True)), limit)
        report_truncation(tokens.lengths, limit, on_truncate, unread=tokens.unread)
        return [tokens.ids], tokens.types
    ids = []
    for column in examples.texts:
        tokens = model.tokenizer.encode(column, limit)
        report_truncation(tokens.lengths, limit, on_truncate, unread=tokens.unread)
        ids.append(tokens.ids)
    return ids, None


def _find_limit(model: TrainableModel) -> int:
    """Return the most tokens of a text that a model reads."""
    return model.max_length if isinstance(model, CrossEncoder) else model.max_seq_length


def _hash_examples(examples: Examples) -> str:
    """Return a hash of texts, labels and classes."""
    labels = b"" if examples.labels is None else examples.labels.tobytes()
    return hash_parts(
        [json.dumps([examples.texts, examples.classes]).encode("utf-8", "surrogatepass"), labels]
    )
