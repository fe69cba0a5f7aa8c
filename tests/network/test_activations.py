"""Activations by their definitions, and their derivatives by differences."""

import math

import numpy as np
import pytest
from gradients import check_backward

from minisbert.network.activations import (
    ACTIVATIONS,
    gelu_backward,
    gelu_forward,
    gelu_tanh_forward,
    relu_backward,
)


def phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def differentiate_gelu(x: float) -> float:
    return phi(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def test_gelu_is_the_error_function_form_everywhere():
    """Within 2e-6 of x Phi(x) on [-100, 100] in float32, and far from the tanh form."""
    x = np.linspace(-100, 100, 40_001).astype(np.float32)
    truth = np.array([value * phi(value) for value in x.astype(float)])
    assert np.abs(gelu_forward(x) - truth).max() <= 2e-6
    # The tolerance is small enough to tell the two forms apart.
    assert np.abs(gelu_tanh_forward(x) - truth).max() > 1e-4


def test_gelu_has_the_derivative_of_exact_gelu():
    """Central differences are within 1e-5 of the derivative Phi(x) + x phi(x), also at 0."""
    x = np.linspace(-8, 8, 16_001)
    step = 1e-5
    derivative = (gelu_forward(x + step) - gelu_forward(x - step)) / (2 * step)
    truth = [phi(v) + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi) for v in x]
    assert np.abs(derivative - truth).max() <= 1e-5


@pytest.mark.parametrize("value", [1e3, 1e10, 3e38])
def test_gelu_survives_huge_values(value):
    """For large |x| GELU is x or 0, without a warning."""
    y = gelu_forward(np.array([value, -value], np.float32))
    assert y.tolist() == [np.float32(value), 0]


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("gelu", lambda x: x * phi(x)),
        ("gelu_new", lambda x: x * phi(x)),
        ("relu", lambda x: max(x, 0)),
        ("silu", lambda x: x / (1 + math.exp(-x))),
        ("tanh", math.tanh),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("identity", lambda x: x),
    ],
)
def test_activations_by_name(name, truth):
    """Every activation computes the function of its name, with and without a cache."""
    x = np.linspace(-4, 4, 33)
    expected = [truth(value) for value in x]
    tolerance = 5e-4 if name == "gelu_new" else 1e-6
    assert np.allclose(ACTIVATIONS[name].forward(x, cache=[]), expected, rtol=0, atol=tolerance)
    assert np.allclose(ACTIVATIONS[name].forward(x), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_input_stays_unless_it_is_out(name):
    """An activation does not change its input, but writes into `out`, which may be the input."""
    x = np.linspace(-4, 4, 33)
    kept = x.copy()
    for cache in (None, []):
        expected = ACTIVATIONS[name].forward(x, cache=cache)
        assert np.array_equal(x, kept)
    out = np.empty_like(x)
    for target in (out, x):
        assert ACTIVATIONS[name].forward(x, out=target) is target
        assert np.array_equal(target, expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients(name):
    """Every activation's gradient is its derivative, for ReLU except at 0."""
    x = np.linspace(-6, 6, 40).reshape(4, 10)  # without 0
    check_backward(*ACTIVATIONS[name], [x])


def test_gelu_backward_is_near_the_exact_derivative():
    """The gradient of the approximation is within 1e-5 of the derivative of exact GELU."""
    x = np.linspace(-30, 30, 60_001)
    for dtype, tolerance in ((np.float64, 2e-6), (np.float32, 1e-5)):
        cache = []
        gelu_forward(x.astype(dtype), cache=cache)
        derivative = gelu_backward(np.ones_like(x, dtype), cache)
        assert np.abs(derivative - [differentiate_gelu(v) for v in x]).max() <= tolerance


@pytest.mark.parametrize("value", [20, 1e3, 1e10, 3e38])
def test_gelu_backward_survives_huge_values(value):
    """For large |x| the derivative of GELU is 1 or 0, without a warning."""
    cache = []
    gelu_forward(np.array([value, -value], np.float32), cache=cache)
    derivative = gelu_backward(np.ones(2, np.float32), cache=cache)
    assert derivative.tolist() == [1, 0]


def test_relu_at_zero():
    """The derivative of ReLU at 0 is defined as 0."""
    assert relu_backward(np.ones(3), [np.array([-1.0, 0.0, 1.0])]).tolist() == [0, 0, 1]
