"""The activations between two linear layers: GELU and others, each with its derivative.

All work element by element, (N, F) -> (N, F). `layers.py` explains the arguments `cache` and
`out`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minisbert.arrays import Array, Cache

# GELU: x Phi(x), with Phi the normal distribution function (Hendrycks & Gimpel 2016).
#
# NumPy has no erf. Phi(x) = 1 / (1 + exp(-x p(x²))) exactly, if p(x²) = log(Phi(x) / Phi(-x)) / x,
# and p is smooth enough for a polynomial of degree 6, which tests/network/fit_gelu.py fits so that
# the largest error is least: 7e-8 on [-100, 100], 6e-7 with float32's rounding. It is positive, so
# nothing is clipped: where exp overflows to inf, x / inf = 0 is the right result. The cost is
# fourteen multiplications and additions, one exp and one division: 7 % of the time of a block's
# products.

GELU_COEFFICIENTS = (
    1.5957684322075891e00,
    7.2668567101214620e-02,
    -6.6260045459943700e-05,
    -1.1048029885284384e-04,
    7.9382163895127460e-06,
    -2.6689266084672260e-07,
    3.6112293020424755e-09,
)
NEGATED_COEFFICIENTS = tuple(-c for c in GELU_COEFFICIENTS)


class GeluCache(NamedTuple):
    """The input x, and 1 / Phi(x)."""

    x: Array
    inverse_phi: Array


def gelu_forward(x: Array, *, cache: Cache = None, out: Array | None = None) -> Array:
    """Compute the error-function form of GELU to 1e-6; without a cache `out` may be x."""
    with np.errstate(over="ignore"):
        # 1. -x p(x²)
        inverse_phi = _evaluate_polynomial(x * x, NEGATED_COEFFICIENTS)
        inverse_phi *= x
        # 2. 1 / Phi(x) = 1 + exp(-x p(x²))
        np.exp(inverse_phi, out=inverse_phi)
    inverse_phi += 1
    if cache is not None:
        cache.append(GeluCache(x, inverse_phi))
    # 3. x Phi(x)
    return np.divide(x, inverse_phi, out=out)


# The derivative of the formula above. With s = Phi = 1 / (1 + exp(-x p(x²))):
#
#     d(x s)/dx = s + x s (1 - s) q(x²),    q(x²) = d(x p(x²))/dx = sum of (2 i + 1) c_i x^(2 i)
#
# Where |x| > 10, s (1 - s) is less than 1e-22, so x² in q(x²) is limited to 100: it can't overflow.

DERIVATIVE_COEFFICIENTS = tuple((2 * i + 1) * c for i, c in enumerate(GELU_COEFFICIENTS))
SATURATION = 10.0


def gelu_backward(dout: Array, cache: list[Any]) -> Array:
    x, inverse_phi = cache.pop()
    # s
    phi = 1 / inverse_phi
    # q(x²)
    with np.errstate(over="ignore"):
        square = x * x
    np.minimum(square, SATURATION * SATURATION, out=square)
    derivative = _evaluate_polynomial(square, DERIVATIVE_COEFFICIENTS)
    # s + x s (1 - s) q(x²); s (1 - s) comes before x, which may be huge
    np.subtract(1, phi, out=square)
    square *= phi
    derivative *= square
    derivative *= x
    derivative += phi
    derivative *= dout
    return derivative


def _evaluate_polynomial(square: Array, coefficients: Sequence[float]) -> Array:
    """Apply Horner's scheme: c_0 + square (c_1 + square (c_2 + ...))."""
    total = np.multiply(square, coefficients[-1])
    for coefficient in coefficients[-2:0:-1]:
        total += coefficient
        total *= square
    total += coefficients[0]
    return total


# The tanh form of GELU (same paper, section 2), within 5e-4 of the other form.

TANH_SCALE = math.sqrt(2 / math.pi)
TANH_CUBIC = 0.044715


class GeluTanhCache(NamedTuple):
    """The input, and the tanh in the formula."""

    x: Array
    tanh: Array


def gelu_tanh_forward(x: Array, *, cache: Cache = None, out: Array | None = None) -> Array:
    tanh = np.tanh(TANH_SCALE * (x + TANH_CUBIC * x * x * x))
    if cache is not None:
        cache.append(GeluTanhCache(x, tanh))
    return np.multiply(0.5 * x, 1 + tanh, out=out)


def gelu_tanh_backward(dout: Array, cache: list[Any]) -> Array:
    x, tanh = cache.pop()
    inner = TANH_SCALE * (1 + 3 * TANH_CUBIC * x * x)
    return dout * (0.5 * (1 + tanh + x * (1 - tanh * tanh) * inner))


# ReLU: max(x, 0); its derivative at 0 is defined as 0. The cache holds x.


def relu_forward(x: Array, *, cache: Cache = None, out: Array | None = None) -> Array:
    if cache is not None:
        cache.append(x)
    return np.maximum(x, 0, out=out)


def relu_backward(dout: Array, cache: list[Any]) -> Array:
    return dout * (cache.pop() > 0)


# Sigmoid: the logistic function. The cache holds its value.


def sigmoid_forward(x: Array, *, cache: Cache = None, out: Array | None = None) -> Array:
    with np.errstate(over="ignore"):
        logistic = np.divide(1, 1 + np.exp(-x), out=out)
    if cache is not None:
        cache.append(logistic)
    return logistic


def sigmoid_backward(dout: Array, cache: list[Any]) -> Array:
    logistic = cache.pop()
    return dout * logistic * (1 - logistic)


# SiLU: x times the logistic function (Elfwing et al. 2018).


class SiluCache(NamedTuple):
    """The input, and the logistic function of it."""

    x: Array
    logistic: Array


def silu_forward(x: Array, *, cache: Cache = None, out: Array | None = None) -> Array:
    logistic = sigmoid_forward(x)
    if cache is not None:
        cache.append(SiluCache(x, logistic))
    return np.multiply(x, logistic, out=out)


def silu_backward(dout: Array, cache: list[Any]) -> Array:
    x, logistic = cache.pop()
    return dout * logistic * (1 + x * (1 - logistic))


# Tanh: the hyperbolic tangent. The cache holds its value.


def tanh_forward(x: Array, *, cache: Cache = None, out: Array | None = None) -> Array:
    tanh = np.tanh(x, out=out)
    if cache is not None:
        cache.append(tanh)
    return tanh


def tanh_backward(dout: Array, cache: list[Any]) -> Array:
    tanh = cache.pop()
    return dout * (1 - tanh * tanh)


# The identity, for a Dense module without activation.


def identity_forward(x: Array, *, cache: Cache = None, out: Array | None = None) -> Array:
    return np.positive(x, out=out)


def identity_backward(dout: Array, cache: list[Any]) -> Array:
    return dout


class Activation(NamedTuple):
    """One activation: its forward and its backward."""

    forward: Callable[..., Array]
    backward: Callable[[Array, list[Any]], Array]


GELU_TANH = Activation(gelu_tanh_forward, gelu_tanh_backward)
SILU = Activation(silu_forward, silu_backward)

# By the names that config.json and a Dense module's config use.
ACTIVATIONS = {
    "gelu": Activation(gelu_forward, gelu_backward),
    "gelu_new": GELU_TANH,
    "gelu_pytorch_tanh": GELU_TANH,
    "relu": Activation(relu_forward, relu_backward),
    "silu": SILU,
    "swish": SILU,
    "tanh": Activation(tanh_forward, tanh_backward),
    "sigmoid": Activation(sigmoid_forward, sigmoid_backward),
    "identity": Activation(identity_forward, identity_backward),
}
