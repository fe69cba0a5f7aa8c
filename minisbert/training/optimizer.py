"""AdamW (Loshchilov & Hutter 2019, algorithm 2), warm-up and clipping, in place and exact.

    m = β₁ m + (1 - β₁) g                          the mean of recent gradients
    v = β₂ v + (1 - β₂) g²                         and of their squares
    p = p - lr decay p - lr m̂ / (√v̂ + ε)           with m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)

A row of the word table that was looked up once has moments, so it changes in every later step; rows
that were never looked up change by weight decay only. So an array lists the rows looked up so far,
their moments are stored in its order, and each step updates all of them. ("Lazy" variants update
only the rows of the current minibatch, and change a row seen once five times too little.)

About fifteen operations pass over every element, so the work is cut into pieces that stay in a
core's cache, and two threads take half of the pieces each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minisbert.arrays import Array, Gradients
from minisbert.network.layers import RowGradient, sum_rows

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

# Elements of a piece.
PIECE_ELEMENTS = 131_072

# Moments of rows seen long ago shrink to denormal numbers, on which every operation takes a hundred
# times as long. So every 64 steps moments below TINY are set to 0. Between two such steps none gets
# below 1e-34 x 0.9^64 = 1e-37, which is normal. No parameter changes: 1e-34 / ε = 1e-26.
FLUSH_EVERY = 64
TINY = 1e-34

# Runs two functions, at the same time if there are two threads, and returns both results.
RunBoth = Callable[[Callable[[], Any], Callable[[], Any]], tuple[Any, Any]]


def run_in_turn(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """Run two functions one after the other."""
    return first(), second()


def schedule(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate: linear warm-up, then linear decay to 0.

    step    from 0; as in transformers' linear schedule the first step has rate 0
    warmup  steps

    Examples
    --------
    >>> [schedule(step, 6, 2) for step in range(6)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return step / warmup
    return (steps - step) / max(1, steps - warmup)


def is_decayed(name: str) -> bool:
    """Tell whether weight decay applies: not to biases and layer norms, as in BERT's own code."""
    return "bias" not in name and "LayerNorm" not in name


def add_gradients(
    gradients: Gradients, others: Gradients, *, run_both: RunBoth = run_in_turn
) -> float:
    """Add the gradients of a minibatch's second half to those of its first; return the sum's norm.

    Rows of the word table that are in both halves are summed before the norm is taken.
    """
    squares: dict[tuple[str, int], float] = {}
    dense = []
    for name, gradient in gradients.items():
        if isinstance(gradient, RowGradient):
            other: RowGradient = others[name]
            gradients[name] = sum_rows(
                np.concatenate([gradient.rows, other.rows]),
                np.concatenate([gradient.sums, other.sums]),
            )
            sums = gradients[name].sums
            squares[name, 0] = float(np.einsum("rd,rd->", sums, sums))
        else:
            dense.append((name, gradient.reshape(-1), others[name].reshape(-1)))

    def add(part: int) -> None:
        for name, gradient, other in dense:
            for piece in _cut_part(len(gradient), part):
                gradient[piece] += other[piece]
                square = np.einsum("i,i->", gradient[piece], gradient[piece])
                squares[name, piece.start] = float(square)

    run_both(lambda: add(0), lambda: add(1))
    # In a fixed order, which does not depend on the threads.
    return math.sqrt(math.fsum(squares[key] for key in sorted(squares)))


def clip_factor(norm: float, longest: float = 1.0) -> float:
    """Return the factor that brings a larger norm down to `longest` (Pascanu et al. 2013)."""
    return min(1.0, longest / (norm + 1e-6))


class AdamW:
    """AdamW's moments of every parameter, and the rows of the word table that have moments.

    parameters    name -> array     updated in place
    weight_decay                    of the parameters for which `is_decayed` is true
    step                            steps made
    first         name -> m
    second        name -> v
    rows          name -> (S,)      of a table: slot i of its moments belongs to row rows[i]
    """

    def __init__(self, parameters: Mapping[str, Array], weight_decay: float = 0.01) -> None:
        self.parameters = parameters
        self.weight_decay = weight_decay
        self.step = 0
        # Pages of zeros take no memory until they are written to.
        self.first = {name: np.zeros(p.shape, p.dtype) for name, p in parameters.items()}
        self.second = {name: np.zeros(p.shape, p.dtype) for name, p in parameters.items()}
        self.rows: dict[str, Array] = {}

    def update(
        self,
        gradients: Gradients,
        learning_rate: float,
        *,
        factor: float = 1.0,
        run_both: RunBoth = run_in_turn,
    ) -> None:
        """Make one step.

        gradients  name -> array or RowGradient   for every parameter; arrays are overwritten
        factor                                    multiplies all gradients (clipping)
        """
        self.step += 1
        for name, gradient in gradients.items():
            if isinstance(gradient, RowGradient):
                known = self.rows.get(name, np.empty(0, np.int64))
                self.rows[name] = np.append(known, np.setdiff1d(gradient.rows, known))
                self._decay_table(name, learning_rate, run_both)

        def update_part(part: int) -> None:
            update_piece = _PieceUpdate(learning_rate, self.step, factor)
            for name, gradient in gradients.items():
                keep = 1 - learning_rate * self.weight_decay if is_decayed(name) else 1.0
                if isinstance(gradient, RowGradient):
                    self._update_rows(name, gradient, part, update_piece=update_piece)
                else:
                    arrays = self.parameters[name], gradient, self.first[name], self.second[name]
                    p, g, m, v = (array.reshape(-1) for array in arrays)
                    for piece in _cut_part(len(p), part):
                        update_piece(p[piece], g[piece], m[piece], v[piece], keep=keep)

        run_both(lambda: update_part(0), lambda: update_part(1))

    def _decay_table(self, name: str, learning_rate: float, run_both: RunBoth) -> None:
        """Decay every row of a table, looked up or not."""
        flat = self.parameters[name].reshape(-1)
        keep = flat.dtype.type(1 - learning_rate * self.weight_decay)

        def decay_part(part: int) -> None:
            for piece in _cut_part(len(flat), part):
                flat[piece] *= keep

        run_both(lambda: decay_part(0), lambda: decay_part(1))

    def _update_rows(
        self, name: str, gradient: RowGradient, part: int, *, update_piece: _PieceUpdate
    ) -> None:
        """Update every row looked up so far; rows that are not in the minibatch have gradient 0."""
        table, rows = self.parameters[name], self.rows[name]
        V, D = table.shape
        place = np.full(V, -1)  # row of the table -> row of the gradient, or -1
        place[gradient.rows] = np.arange(len(gradient.rows))
        for piece in _cut_part(len(rows), part, max(1, PIECE_ELEMENTS // D)):
            here = place[rows[piece]]
            g = np.zeros((len(here), D), table.dtype)
            g[here >= 0] = gradient.sums[here[here >= 0]]
            p = table[rows[piece]]
            m, v = self.first[name][piece], self.second[name][piece]
            update_piece(p.reshape(-1), g.reshape(-1), m.reshape(-1), v.reshape(-1), keep=1.0)
            table[rows[piece]] = p


class _PieceUpdate:
    """Update pieces of parameters by AdamW, with the factors that one step uses for all pieces."""

    def __init__(self, learning_rate: float, step: int, factor: float) -> None:
        # √(1 - β₂ᵗ) is taken out of √v̂, which saves a pass over the elements.
        correction = math.sqrt(1 - BETA_2**step)
        self.rate = learning_rate * correction / (1 - BETA_1**step)
        self.epsilon = EPSILON * correction
        self.factor = factor
        self.flushes = step % FLUSH_EVERY == 0
        self.scratch = np.empty(0)

    def __call__(self, p: Array, g: Array, m: Array, v: Array, *, keep: float) -> None:
        """Overwrite p, g, m and v, all (n,); weight decay multiplies p by `keep`."""
        if len(self.scratch) < len(p) or self.scratch.dtype != p.dtype:
            self.scratch = np.empty(len(p), p.dtype)
        t = self.scratch[: len(p)]
        if self.factor != 1:
            g *= self.factor
        # m += (1 - β₁) (g - m)
        np.subtract(g, m, out=t)
        t *= 1 - BETA_1
        m += t
        # v += (1 - β₂) (g² - v)
        g *= g
        g -= v
        g *= 1 - BETA_2
        v += g
        if self.flushes:
            m[np.abs(m) < TINY] = 0
            v[v < TINY] = 0
        # p -= lr decay p + lr m̂ / (√v̂ + ε)
        np.sqrt(v, out=t)
        t += self.epsilon
        np.divide(m, t, out=t)
        t *= self.rate
        if keep != 1:
            p *= keep
        p -= t


def _cut_part(n: int, part: int, piece: int = PIECE_ELEMENTS) -> Iterator[slice]:
    """Yield every second piece of n elements: the even ones for part 0, the odd ones for part 1."""
    for start in range(part * piece, n, 2 * piece):
        yield slice(start, min(start + piece, n))
