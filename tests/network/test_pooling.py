"""Every pooling by values worked out by hand."""

import numpy as np
import pytest
from gradients import check_backward

from minisbert.network.pooling import POOLINGS, pooling_backward, pooling_forward
from minisbert.network.ragged import group_lengths

# Two sentences of two tokens, one of one token; the second has negative features only.
HIDDEN = np.array([[1.0, 2], [3, 6], [-4, -1], [-2, -3], [5, 5]])
GROUPS = group_lengths([2, 2, 1])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("cls", [[1, 2], [-4, -1], [5, 5]]),
        ("mean", [[2, 4], [-3, -2], [5, 5]]),
        ("max", [[3, 6], [-2, -1], [5, 5]]),
        ("mean_sqrt_len_tokens", [[8**0.5, 32**0.5], [-(18**0.5), -(8**0.5)], [5, 5]]),
        ("weightedmean", [[7 / 3, 14 / 3], [-8 / 3, -7 / 3], [5, 5]]),
        ("lasttoken", [[3, 6], [-2, -3], [5, 5]]),
    ],
)
def test_pooling_by_hand(mode, expected):
    """Each mode gives the values of its definition, also for negative features."""
    assert np.allclose(pooling_forward(HIDDEN, GROUPS, [mode]), expected, rtol=0, atol=1e-14)


def test_modes_stand_side_by_side_in_the_order_given():
    """The results of several modes are concatenated in the order given."""
    both = pooling_forward(HIDDEN, GROUPS, ["max", "cls"])
    assert both.tolist() == [[3, 6, 1, 2], [-2, -1, -4, -1], [5, 5, 5, 5]]


def test_skipped_prompt_tokens_take_no_part():
    """The first `skip` tokens are left out; a sentence without other tokens gives zeros."""
    assert pooling_forward(HIDDEN, GROUPS, ["mean"], skip=1).tolist() == [[3, 6], [-2, -3], [0, 0]]
    assert pooling_forward(HIDDEN, GROUPS, ["cls"], skip=1).tolist() == [[3, 6], [-2, -3], [0, 0]]


def test_weights_count_from_the_first_token():
    """After skipped tokens the weights by position are skip + 1, ..., as if they were there."""
    hidden = np.array([[7.0], [7], [1], [10]])
    got = pooling_forward(hidden, group_lengths([4]), ["weightedmean"], skip=2)
    assert got.item() == pytest.approx((3 * 1 + 4 * 10) / (3 + 4))


@pytest.mark.parametrize("skip", [0, 1, 2])
@pytest.mark.parametrize("modes", [*((mode,) for mode in POOLINGS), ("max", "mean", "cls")])
def test_pooling_backward(modes, skip):
    """Every pooling's gradient agrees with differences: alone, concatenated, and with a prompt."""
    hidden = np.random.default_rng(1).standard_normal((9, 3))
    groups = group_lengths([4, 2, 2, 1])
    check_backward(
        lambda hidden, cache: pooling_forward(hidden, groups, modes, skip=skip, cache=cache),
        pooling_backward,
        [hidden],
    )


def test_max_with_ties_gives_the_gradient_to_the_first():
    """If tokens tie for the largest value, the first one gets the gradient."""
    cache = []
    pooling_forward(np.array([[1.0], [2.0], [2.0]]), group_lengths([3]), ["max"], cache=cache)
    assert pooling_backward(np.array([[5.0]]), cache).tolist() == [[0], [5], [0]]
