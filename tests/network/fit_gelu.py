"""Fit the polynomial of `activations.GELU_COEFFICIENTS` and print the largest error of GELU.

    python tests/network/fit_gelu.py

GELU is x Phi(x), with Phi the normal distribution function. Since Phi(-x) = 1 - Phi(x), it can be
written with the logistic function of an odd function: Phi(x) = 1 / (1 + exp(-x p(x^2))) with
p(x^2) = log(Phi(x) / Phi(-x)) / x, which is smooth and nearly flat: a polynomial of degree 6 in
x^2 will do. Even degrees end in a positive coefficient, so p stays positive for all x and the
function needs no clipping at the ends.

The best polynomial in the largest error of the *value* is found by Lawson's iteration: least
squares, with each point's weight multiplied by its error, over and over.
"""

import math

import numpy as np

from minisbert.network.activations import GELU_COEFFICIENTS, gelu_forward

DEGREE = 6
END = 6.5  # beyond, 1 - Phi(x) is below float32's resolution


def normal_cdf(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])


def fit() -> np.ndarray:
    """Return the coefficients of p, lowest power first."""
    x = END * np.sin(np.linspace(0.001, math.pi / 2, 4000))
    square, upper, lower = x * x, normal_cdf(x), normal_cdf(-x)
    target = np.log(upper / lower) / x
    # d(value) / dp = x^2 Phi(x) Phi(-x): the error of x Phi(x) for an error of p.
    effect = square * upper * lower
    basis = np.polynomial.chebyshev.chebvander(2 * square / END**2 - 1, DEGREE)
    weights = np.full(len(x), 1 / len(x))
    for _ in range(3000):
        root = (np.sqrt(weights) * effect)[:, None]
        solution = np.linalg.lstsq(basis * root, target * root[:, 0], rcond=None)[0]
        weights *= np.abs((basis @ solution - target) * effect)
        weights /= weights.sum()
    series = np.polynomial.chebyshev.Chebyshev(solution, domain=[0, END**2])
    return series.convert(kind=np.polynomial.Polynomial).coef


if __name__ == "__main__":
    print("fitted:", *(f"{value:.9e}" for value in fit()), sep="\n  ")
    print("in use:", *(f"{value:.9e}" for value in GELU_COEFFICIENTS), sep="\n  ")
    x = np.linspace(-100, 100, 1_000_001).astype(np.float32)
    error = np.abs(gelu_forward(x.copy()) - x.astype(np.float64) * normal_cdf(x)).max()
    print(f"largest error on [-100, 100] in float32: {error:.2e}")
