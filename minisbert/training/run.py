"""A training on its way: which examples make a step, what is measured, and what is kept."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from minisbert.arguments import OnTruncate, check_positive, report_truncation
from minisbert.arrays import Array
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.system.threads import limit_blas
from minisbert.training.checkpoints import (
    MODEL,
    STATE,
    Progress,
    digest,
    read_checkpoint,
    write_checkpoint,
)
from minisbert.training.development import measure_development
from minisbert.training.examples import Examples
from minisbert.training.optimizer import schedule
from minisbert.training.step import Batch, Trainer

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


class Run:
    """A model on its way: what every step and evaluation changes."""

    def __init__(
        self,
        model: Model,
        trainer: Trainer,
        objective: str,
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
            **{"objective": objective, **asdict(settings)},
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
            with limit_blas(1):  # each of two threads runs its own products
                loss, _ = self.trainer.step(
                    batch, self.rate, seed if self.settings.dropout else None
                )
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
