"""The gradient checker accepts right gradients and rejects wrong ones."""

import numpy as np
import pytest
from gradients import check_backward, check_gradient, differentiate

X = np.array([[0.5, -1.5], [2.0, 3.0]])


def cube(x, cache):
    cache.append(x.copy())
    return x**3


def test_differences_are_the_derivative():
    """The derivative of the sum of cubes is 3 x²."""
    assert np.allclose(differentiate(lambda: float((X**3).sum()), X), 3 * X**2, rtol=1e-9)


def test_right_gradient_passes():
    """The true gradient is accepted."""
    check_backward(cube, lambda dout, cache: 3 * cache.pop() ** 2 * dout, [X])


@pytest.mark.parametrize("factor", [0, -1, 1.00001, 2])
def test_wrong_gradient_is_rejected(factor):
    """A gradient that is 0, negated, doubled or off by 1e-5 is rejected."""
    with pytest.raises(AssertionError):
        check_backward(cube, lambda dout, cache: factor * 3 * cache.pop() ** 2 * dout, [X])


def test_one_wrong_element_is_rejected():
    """One wrong element among right ones is found."""
    wrong = 3 * X**2
    wrong[1, 0] += 1e-4
    with pytest.raises(AssertionError, match=r"element \[1, 0\] must be 12, got 12.0001"):
        check_gradient(wrong, 3 * X**2)


def test_gradient_left_in_the_cache_is_rejected():
    """A backward that does not pop its cache entry is rejected."""
    with pytest.raises(AssertionError, match="pop all"):
        check_backward(cube, lambda dout, cache: 3 * cache[-1] ** 2 * dout, [X])
