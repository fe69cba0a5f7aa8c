"""One step of training: a batch through the network, its gradients, and AdamW.

Siamese means that all columns of a batch, u and v or anchor, positive and negative, are one ragged
batch through one network, parted again after pooling. That batch is always cut into the same two
halves, which run side by side where there are two threads; dropout is a function of seed, epoch,
step and half. So a step gives the same bits on one thread as on two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.bert import WORDS
from minisbert.network.config import ModelConfig
from minisbert.network.heads import CrossEncoderConfig, score_backward, score_forward
from minisbert.network.ragged import RaggedBatch, join_sentences
from minisbert.network.sentence_encoder import embed_backward, embed_forward
from minisbert.system.threads import limit_blas
from minisbert.training.objectives import Objective
from minisbert.training.optimizer import AdamW, add_gradients, clip, run_in_turn

# Of a batch's tokens, how many of one length may stay together.
LARGEST_PIECE = 1 / 8


class Network(NamedTuple):
    """A network as training sees it.

    forward   (parameters, batch, cache, rng) -> (B, E) or (B, labels)
    backward  (dout, batch, cache, gradients)
    """

    forward: Callable[[Parameters, RaggedBatch, Cache, np.random.Generator | None], Array]
    backward: Callable[[Array, RaggedBatch, list[Any], Gradients], None]


def make_network(config: ModelConfig | CrossEncoderConfig) -> Network:
    """The bi-encoder or the cross-encoder that a directory describes."""
    if isinstance(config, ModelConfig):
        return Network(
            lambda parameters, batch, cache, rng: embed_forward(
                parameters, config, batch, 0, cache, rng
            ),
            lambda dout, batch, cache, gradients: embed_backward(
                dout, config, batch, cache, gradients
            ),
        )
    return Network(
        lambda parameters, batch, cache, rng: score_forward(parameters, config, batch, cache, rng),
        lambda dout, batch, cache, gradients: score_backward(dout, config, batch, cache, gradients),
    )


class Batch(NamedTuple):
    """B examples, tokenised.

    ids     C lists of B arrays (T,)   token ids of each column; a pair of texts is one column
    types   C lists of B arrays (T,)   segments, or None where all are 0
    labels  (B,)                       scores, numbers of classes, or None
    """

    ids: Sequence[Sequence[Array]]
    types: Sequence[Sequence[Array]] | None
    labels: Array | None


class Trainer:
    """Parameters and moments, which every step moves.

    Use it as a context: on two threads it holds one of them.

    parameters  by name   float32, or float64 to check gradients; updated in place
    threads     1 or more of which two are used
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        parameters: dict[str, Array],
        decay: float = 0.01,
        most: float = 1.0,
        threads: int = 2,
    ) -> None:
        self.network, self.objective, self.parameters = network, objective, parameters
        self.most = most
        self.optimizer = AdamW(parameters, decay)
        self.halves: list[Gradients] = [
            {
                name: None if name == WORDS else np.zeros(p.shape, p.dtype)
                for name, p in parameters.items()
            }
            for _ in range(2)
        ]
        self._pool = ThreadPoolExecutor(1, "minisbert") if threads > 1 else None

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()

    def step(self, batch: Batch, rate: float, seed: Sequence[int] | None) -> tuple[float, float]:
        """Make one step; return the loss before it, and the norm of its gradients.

        seed  numbers that dropout is a function of, or None for none

        Raises FloatingPointError, before anything is moved, if loss or norm is not finite.
        """
        with limit_blas(1):
            loss, norm = self.differentiate(batch, seed)
            if not np.isfinite(norm):
                raise FloatingPointError(f"gradients must be finite, got a norm of {norm}")
            self.optimizer.update(self.halves[0], rate, clip(norm, self.most), self._run_both)
        return loss, norm

    def differentiate(self, batch: Batch, seed: Sequence[int] | None) -> tuple[float, float]:
        """Write the gradients of a batch's loss to `halves[0]`; return the loss and their norm."""
        # 1. all texts of all columns, dealt out to two halves
        ids = [text for column in batch.ids for text in column]
        types = None if batch.types is None else [text for column in batch.types for text in column]
        rows = deal_out(np.array([len(text) for text in ids]))
        batches = [
            join_sentences([ids[i] for i in half], types and [types[i] for i in half])
            for half in rows
        ]
        # 2. forward
        caches: list[list[Any]] = [[] for _ in rows]

        def forward(half: int) -> Array:
            rng = None if seed is None else make_generator(*seed, half)
            return self.network.forward(self.parameters, batches[half], caches[half], rng)

        found = self._run(forward, len(rows))
        outputs = np.empty((len(ids), found[0].shape[1]), found[0].dtype)
        for half, vectors in zip(rows, found, strict=True):
            outputs[half] = vectors
        # 3. the loss, and what it wants of the outputs
        cache: list[Any] = []
        columns = np.split(outputs, len(batch.ids))
        loss = self.objective.forward(columns, batch.labels, self.parameters, cache)
        if not np.isfinite(loss):
            raise FloatingPointError(f"the loss must be finite, got {loss}")
        douts = np.concatenate(self.objective.backward(cache, self.halves[0]))

        # 4. backward
        def backward(half: int) -> None:
            self.network.backward(douts[rows[half]], batches[half], caches[half], self.halves[half])

        self._run(backward, len(rows))
        # 5. the two halves together
        if len(rows) == 1:  # a single pair of texts: the other half has nothing to add
            for name, gradient in self.halves[1].items():
                if name == WORDS:
                    first = self.halves[0][WORDS]
                    self.halves[1][name] = type(first)(first.rows[:0], first.sums[:0])
                else:
                    gradient[...] = 0
        return loss, add_gradients(self.halves[0], self.halves[1], self._run_both)

    def _run(self, function: Callable[[int], Any], halves: int) -> list[Any]:
        """The results of a function for each half."""
        if halves == 1:
            return [function(0)]
        return [*self._run_both(lambda: function(0), lambda: function(1))]

    def _run_both(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
        if self._pool is None:
            return run_in_turn(first, second)
        waiting = self._pool.submit(second)
        return first(), waiting.result()


def deal_out(lengths: Array) -> list[Array]:
    """Cut texts into two halves of nearly equal work; one text alone is one half.

    Texts of one length stay together where they can: they are one group in attention, whose many
    small products hold the threads up. A third fewer groups than by dealing out one by one.

    lengths  (S,)   tokens
    out      list   of rows, the longest first
    """
    pieces = []
    for T in np.unique(lengths):
        rows = np.flatnonzero(lengths == T)
        size = max(1, int(lengths.sum() * LARGEST_PIECE) // int(T))
        pieces += [rows[start : start + size] for start in range(0, len(rows), size)]
    # The heaviest first, each to the half that is lighter so far.
    pieces.sort(key=lambda rows: -len(rows) * lengths[rows[0]])
    halves: tuple[list[Array], list[Array]] = ([], [])
    work = [0, 0]
    for rows in pieces:
        lighter = int(work[1] < work[0])
        halves[lighter].append(rows)
        work[lighter] += len(rows) * lengths[rows[0]]
    dealt = [np.concatenate(half) for half in halves if half]
    return [half[np.argsort(-lengths[half], kind="stable")] for half in dealt]


def make_generator(*seed: int) -> np.random.Generator:
    """Random numbers that are a function of the seed; SFC64 is NumPy's quickest source."""
    return np.random.Generator(np.random.SFC64(seed))
