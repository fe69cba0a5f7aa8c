"""One step of training: a minibatch through the network, its gradients, and AdamW.

Siamese means that all columns of a minibatch, u and v or anchor, positive and negative, are one
ragged batch through one network, split again after pooling. That batch is always divided into the
same two halves, which run at the same time if there are two threads; dropout is a function of
seed, epoch, step and half. So a step gives the same bits on one thread as on two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from minisbert.arrays import Array, Cache, Gradients, Parameters
from minisbert.network.bert import WORDS
from minisbert.network.layers import RowGradient
from minisbert.network.ragged import RaggedBatch, join_sentences
from minisbert.training.optimizer import AdamW, RunBoth, add_gradients, clip_factor, run_in_turn

# Texts of one length are cut into pieces of at most this share of a minibatch's tokens.
LARGEST_PIECE = 1 / 8


class Network(NamedTuple):
    """The bi-encoder or the cross-encoder, as `networks.py` makes them.

    forward   (parameters, batch, rng, cache) -> (B, E) embeddings or (B, labels) logits
    backward  (dout, gradients, batch, cache)    writes the gradients of all parameters
    """

    forward: Callable[[Parameters, RaggedBatch, np.random.Generator | None, Cache], Array]
    backward: Callable[[Array, Gradients, RaggedBatch, list[Any]], None]


class Loss(Protocol):
    """A loss of a minibatch's columns, as `objectives.py` makes them."""

    def forward(
        self, outputs: list[Array], labels: Any, parameters: Parameters, *, cache: Cache
    ) -> float:
        """Return the mean over the examples, from the outputs of each column."""
        ...

    def backward(self, cache: list[Any], gradients: Gradients) -> list[Array]:
        """Return the gradient of each column's outputs; write those of the loss's parameters."""
        ...


class Batch(NamedTuple):
    """B tokenised examples.

    ids     C lists of B arrays (T,)   token ids of each column; a pair of texts is one column
    types   C lists of B arrays (T,)   segment ids, or None where all are 0
    labels  (B,)                       scores, class numbers, or None
    """

    ids: Sequence[Sequence[Array]]
    types: Sequence[Sequence[Array]] | None
    labels: Array | None


class Trainer:
    """The parameters in training, their gradients, and the optimizer.

    parameters  name -> array   float32, or float64 to check gradients; updated in place
    clip_norm                   the largest norm of a step's gradients; larger ones are scaled down
    run_both                    runs two functions, at the same time if there are two threads
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        parameters: dict[str, Array],
        *,
        weight_decay: float = 0.01,
        clip_norm: float = 1.0,
        run_both: RunBoth = run_in_turn,
    ) -> None:
        self.network, self.loss, self.parameters = network, loss, parameters
        self.clip_norm = clip_norm
        self.optimizer = AdamW(parameters, weight_decay)
        self.halves: list[Gradients] = [
            {
                name: None if name == WORDS else np.zeros(p.shape, p.dtype)
                for name, p in parameters.items()
            }
            for _ in range(2)
        ]
        self._run_both = run_both

    def step(
        self, batch: Batch, learning_rate: float, seed: Sequence[int] | None
    ) -> tuple[float, float]:
        """Make one step; return the loss before it, and the norm of its gradients.

        seed  of dropout; None for no dropout

        Raises FloatingPointError, before any parameter changes, if loss or norm is not finite.
        """
        loss, norm = self.differentiate(batch, seed)
        if not np.isfinite(norm):
            raise FloatingPointError(f"gradients must be finite, got a norm of {norm}")
        factor = clip_factor(norm, self.clip_norm)
        self.optimizer.update(self.halves[0], learning_rate, factor=factor, run_both=self._run_both)
        return loss, norm

    def differentiate(self, batch: Batch, seed: Sequence[int] | None) -> tuple[float, float]:
        """Write the gradients of a minibatch's loss to `halves[0]`; return loss and norm."""
        # 1. all texts of all columns, divided into two halves
        ids = [text for column in batch.ids for text in column]
        types = None if batch.types is None else [text for column in batch.types for text in column]
        rows = divide_texts(np.array([len(text) for text in ids]))
        batches = [
            join_sentences([ids[i] for i in half], types and [types[i] for i in half])
            for half in rows
        ]
        # 2. forward
        caches: list[list[Any]] = [[] for _ in rows]

        def forward(half: int) -> Array:
            rng = None if seed is None else make_generator(*seed, half)
            return self.network.forward(self.parameters, batches[half], rng, caches[half])

        found = self._run_halves(forward, len(rows))
        outputs = np.empty((len(ids), found[0].shape[1]), found[0].dtype)
        for half, vectors in zip(rows, found, strict=True):
            outputs[half] = vectors
        # 3. the loss, and its gradient with respect to the outputs
        cache: list[Any] = []
        columns = np.split(outputs, len(batch.ids))
        loss = self.loss.forward(columns, batch.labels, self.parameters, cache=cache)
        if not np.isfinite(loss):
            raise FloatingPointError(f"the loss must be finite, got {loss}")
        douts = np.concatenate(self.loss.backward(cache, self.halves[0]))

        # 4. backward
        def backward(half: int) -> None:
            self.network.backward(douts[rows[half]], self.halves[half], batches[half], caches[half])

        self._run_halves(backward, len(rows))
        # 5. the sum of both halves
        if len(rows) == 1:  # one pair of a cross-encoder; the other half has gradient 0
            words = self.halves[0][WORDS]
            for gradient in self.halves[1].values():
                if isinstance(gradient, np.ndarray):
                    gradient[...] = 0
            self.halves[1][WORDS] = RowGradient(words.rows[:0], words.sums[:0])
        return loss, add_gradients(self.halves[0], self.halves[1], run_both=self._run_both)

    def _run_halves(self, function: Callable[[int], Any], halves: int) -> list[Any]:
        """Call a function with the number of each half; return the results."""
        if halves == 1:
            return [function(0)]
        return [*self._run_both(lambda: function(0), lambda: function(1))]


def divide_texts(lengths: Array) -> list[Array]:
    """Divide texts into two halves of nearly equal work; one text alone is one half.

    Texts of one length stay together where possible, since they are one group in attention, and
    many small groups are slow. This makes a third fewer groups than dividing texts one by one.

    lengths  (S,)   tokens of each text
    out      list   for each half the rows of its texts, the longest text first
    """
    pieces = []
    for T in np.unique(lengths):
        rows = np.flatnonzero(lengths == T)
        size = max(1, int(lengths.sum() * LARGEST_PIECE) // int(T))
        pieces += [rows[start : start + size] for start in range(0, len(rows), size)]
    # The largest first, each to the half that has fewer tokens so far.
    pieces.sort(key=lambda rows: -len(rows) * lengths[rows[0]])
    halves: tuple[list[Array], list[Array]] = ([], [])
    tokens = [0, 0]
    for rows in pieces:
        smaller = int(tokens[1] < tokens[0])
        halves[smaller].append(rows)
        tokens[smaller] += len(rows) * lengths[rows[0]]
    joined = [np.concatenate(half) for half in halves if half]
    return [half[np.argsort(-lengths[half], kind="stable")] for half in joined]


def make_generator(*seed: int) -> np.random.Generator:
    """Make a generator of random numbers from a seed; SFC64 is NumPy's fastest."""
    return np.random.Generator(np.random.SFC64(seed))
