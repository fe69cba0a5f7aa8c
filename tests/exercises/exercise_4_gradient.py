"""Exercise 4: find and fix a wrong gradient.

One of the backwards in LAYERS is wrong. A network with it would still train, but worse, and nobody
might notice. Fill in `find_wrong_layers`, let it name the layer, derive the gradient of that layer
on paper, and fix its backward in this file.

`check_backward(forward, backward, arrays)` of tests/gradients.py compares a backward with central
differences of its forward, and raises AssertionError if they differ. Draw all arrays at random: the
mistake of this exercise does not show where parameters have the values that training starts from.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from checking import Unfinished
from gradients import check_backward

from minisbert.arrays import Array, Cache
from minisbert.network.layers import softmax_backward, softmax_forward


class Layer(NamedTuple):
    """A forward, its backward, and shapes that the forward's arrays may have."""

    forward: Callable[..., Array]
    backward: Callable[[Array, list[Any]], Any]
    shapes: tuple[tuple[int, ...], ...]


def find_wrong_layers(layers: Mapping[str, Layer], rng: np.random.Generator) -> list[str]:
    """Return the names of the layers whose backward differs from central differences."""
    raise Unfinished("fill in find_wrong_layers")


# RMS norm: y = gamma x / sqrt(mean of x²), row by row (Zhang & Sennrich 2019). gamma starts as 1.


def rms_norm_forward(x: Array, gamma: Array, *, cache: Cache = None) -> Array:
    """Give every row a mean square of 1, then scale.  (N, D), (D,) -> (N, D)"""
    root = np.sqrt((x * x).mean(axis=1, keepdims=True))  # (N, 1)
    normalized = x / root
    if cache is not None:
        cache.append((normalized, root, gamma))
    return normalized * gamma


def rms_norm_backward(dout: Array, cache: list[Any]) -> tuple[Array, Array]:
    normalized, root, gamma = cache.pop()
    product = dout * normalized
    dx = (dout * gamma - normalized * product.mean(axis=1, keepdims=True)) / root
    return dx, product.sum(axis=0)


# Gated linear unit: y = a s(b), with s the logistic function and x = (a, b) (Dauphin et al. 2017).


def gate_forward(x: Array, *, cache: Cache = None) -> Array:
    """Multiply one half of each row by the logistic function of the other.  (N, 2 F) -> (N, F)"""
    a, b = np.split(x, 2, axis=1)
    logistic = 1 / (1 + np.exp(-b))
    if cache is not None:
        cache.append((a, logistic))
    return a * logistic


def gate_backward(dout: Array, cache: list[Any]) -> Array:
    a, logistic = cache.pop()
    return np.hstack([dout * logistic, dout * a * logistic * (1 - logistic)])


LAYERS = {
    "rms_norm": Layer(rms_norm_forward, rms_norm_backward, ((3, 4), (4,))),
    "gate": Layer(gate_forward, gate_backward, ((3, 4),)),
    "softmax": Layer(softmax_forward, softmax_backward, ((3, 4),)),
}
