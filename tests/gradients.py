"""Check the gradients of every backward against central differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minisbert.network.layers import RowGradient

# In float64 the differences are exact to about 1e-10 of the largest derivative.
STEP = 1e-5
TOLERANCE = 1e-6


def differentiate(function: Callable[[], float], array: np.ndarray) -> np.ndarray:
    """Differentiate a function of `array` by each element, from two values on either side."""
    derivative = np.empty_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        values = []
        for steps in (2, 1, -1, -2):
            array[place] = kept + steps * STEP
            values.append(function())
        array[place] = kept
        derivative[place] = (8 * (values[1] - values[2]) - (values[0] - values[3])) / (12 * STEP)
    return derivative


def check_gradient(gradient: np.ndarray, expected: np.ndarray) -> None:
    """Fail if they differ by more than TOLERANCE of the largest element, or if all are near 0."""
    assert gradient.shape == expected.shape, (
        f"a gradient must have shape {expected.shape}, got {gradient.shape}"
    )
    largest = np.abs(expected).max()
    assert largest > 1e-3, "a gradient of nothing but zeros would prove nothing"
    place = np.unravel_index(np.abs(gradient - expected).argmax(), expected.shape)
    assert np.abs(gradient - expected).max() <= TOLERANCE * largest, (
        f"a gradient must agree with central differences: element {list(map(int, place))} "
        f"must be {expected[place]:.6g}, got {gradient[place]:.6g}"
    )


def check_parameters(
    gradients: Mapping[str, Any],
    parameters: Mapping[str, np.ndarray],
    loss: Callable[[dict[str, np.ndarray]], float],
    rng: np.random.Generator,
) -> None:
    """Compare every parameter's gradient with the loss's derivative in a random direction."""
    assert gradients.keys() == parameters.keys()
    for name, array in parameters.items():
        gradient = gradients[name]
        if isinstance(gradient, RowGradient):
            gradient = np.zeros_like(array)
            gradient[gradients[name].rows] = gradients[name].sums
        direction = rng.standard_normal(array.shape)
        direction /= np.linalg.norm(direction)
        step = np.zeros(1)

        def measure(name=name, array=array, direction=direction, step=step) -> float:
            return loss({**parameters, name: array + step * direction})

        expected = differentiate(measure, step)
        derivative = np.sum(gradient * direction, keepdims=True).ravel()
        if name.endswith("key.bias"):  # it shifts all scores of a query alike: the derivative is 0
            assert max(abs(derivative), abs(expected)) < 1e-8
        else:
            check_gradient(derivative, expected)


def check_backward(
    forward: Callable[..., np.ndarray],
    backward: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    seed: int = 0,
) -> None:
    """Compare a backward with differences of its forward.

    forward   (*arrays, cache=) -> out, an array or a number
    backward  (dout, cache) -> a gradient for each array, or the one gradient
    """
    cache: list[Any] = []
    out = np.asarray(forward(*arrays, cache=cache))
    dout = np.random.default_rng(seed).standard_normal(out.shape)
    gradients = backward(dout, cache)
    assert not cache, "a backward must pop all that its forward pushed"
    if not isinstance(gradients, tuple):
        gradients = (gradients,)
    for gradient, array in zip(gradients, arrays, strict=True):
        expected = differentiate(lambda: float(np.sum(forward(*arrays, cache=[]) * dout)), array)
        check_gradient(gradient, expected)
