"""The cost model: predict the time of comparing n sentences from measurements at smaller n.

A way of comparing sentences does countable work: forward passes, tokens in them, rows scanned. The
model is a sum of counts times rates, which are in seconds per count and not negative:

    seconds  ≈  Σ_i  rate_i · count_i

`fit_costs` finds the rates from measurements. To test the model, `predict_largest` fits it without
the two largest sizes, then predicts these: their prediction error is that of sizes outside the
fit. `extrapolate` predicts sizes that would take too long to measure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minisbert.arrays import Array

WAYS = ("naive", "batched", "bi")


@dataclass(frozen=True)
class Measurement:
    """The time of comparing n sentences with each other in one way.

    way      one of WAYS
    n        sentences
    counts   what the cost model multiplies, as `count_work` returns it
    seconds  of each run
    """

    way: str
    n: int
    counts: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))


def count_work(way: str, lengths: Array) -> tuple[float, ...]:
    """Count the work of comparing sentences with each other.

    lengths  (n,)             tokens of each sentence
    out      naive, batched   pairs, and the tokens of all pairs (a pair shares one [CLS])
             bi               sentences, their tokens, and pairs of rows that the scan compares
    """
    n, tokens = len(lengths), float(lengths.sum())
    pairs = n * (n - 1) / 2
    if way == "bi":
        return (float(n), tokens, float(n) * n)
    return (pairs, (n - 1) * tokens - pairs)


def fit_costs(counts: Array, seconds: Array) -> Array:
    """Fit rates that are not negative, with the least sum of squared *relative* errors.

    counts   (R, C)  of R measurements
    seconds  (R,)    of each
    out      (C,)    seconds per count

    Least squares with bounds: solve without bounds on every subset of the columns, and of the
    solutions without a negative rate take the one with the least error. The optimum is among them,
    since it is the least-squares solution on the columns whose rates are not 0.
    """
    R, C = counts.shape
    relative = counts / seconds[:, None]
    best, least = np.zeros(C), np.inf
    for size in range(1, C + 1):
        for columns in map(list, itertools.combinations(range(C), size)):
            solution = np.linalg.lstsq(relative[:, columns], np.ones(R), rcond=None)[0]
            error = float(((relative[:, columns] @ solution - 1) ** 2).sum())
            if (solution >= 0).all() and error < least:
                least, best = error, np.zeros(C)
                best[columns] = solution
    return best


def fit_measurements(measurements: Sequence[Measurement]) -> Array:
    """Fit the rates of one way to its measurements.  -> (C,)"""
    return fit_costs(
        np.array([measurement.counts for measurement in measurements]),
        np.array([measurement.median for measurement in measurements]),
    )


def predict_largest(
    measurements: Sequence[Measurement], held_out: int = 2
) -> list[tuple[int, float, float]]:
    """Predict the largest sizes from the others.  -> (n, seconds measured, seconds predicted)"""
    if len(measurements) < held_out + 2:
        return []
    rates = fit_measurements(measurements[:-held_out])
    return [
        (largest.n, largest.median, float(np.dot(largest.counts, rates)))
        for largest in measurements[-held_out:]
    ]


def extrapolate(
    measurements: Sequence[Measurement], counts: Sequence[float], samples: int = 200
) -> tuple[float, float, float]:
    """Predict the seconds of other counts, with a 90 % interval.  -> (middle, low, high)

    The interval is a bootstrap: the model is fitted again to measurements drawn with replacement,
    `samples` times, and the lowest and highest 5 % of the predictions are left out.
    """
    rng = np.random.default_rng(0)
    R = len(measurements)
    middle = float(np.dot(counts, fit_measurements(measurements)))
    draws = (rng.integers(0, R, R) for _ in range(samples))
    predictions = [
        float(np.dot(counts, fit_measurements([measurements[i] for i in drawn]))) for drawn in draws
    ]
    low, high = np.percentile(predictions, [5, 95])
    return middle, min(middle, float(low)), max(middle, float(high))


def find_crossover(
    bi: Sequence[Measurement],
    other: Sequence[Measurement],
    tokens: float,
    *,
    most: int = 1000,
) -> int | None:
    """Find the smallest n from which on the bi-encoder is faster than another way.

    bi, other  their measurements
    tokens     of a sentence, on average
    most       the largest n to look at
    out        n, or None if the bi-encoder is not faster even at `most`
    """
    bi_rates, other_rates = fit_measurements(bi), fit_measurements(other)
    lengths = (np.full(n, tokens) for n in range(2, most))
    slower = [
        len(some)
        for some in lengths
        if np.dot(count_work("bi", some), bi_rates)
        >= np.dot(count_work(other[0].way, some), other_rates)
    ]
    last = slower[-1] if slower else 1
    return last + 1 if last + 1 < most else None
