"""Every pooling on numbers worked out by hand."""

import numpy as np
import pytest

from minisbert.pooling import pooling_forward
from minisbert.ragged import group_lengths

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
    """Each mode gives the values of its definition, for negative features too."""
    assert np.allclose(pooling_forward(HIDDEN, GROUPS, [mode]), expected, rtol=0, atol=1e-14)


def test_modes_stand_side_by_side_in_the_order_given():
    """Several modes are concatenated, first named first."""
    both = pooling_forward(HIDDEN, GROUPS, ["max", "cls"])
    assert both.tolist() == [[3, 6, 1, 2], [-2, -1, -4, -1], [5, 5, 5, 5]]


def test_skipped_prompt_tokens_take_no_part():
    """The first `skip` tokens are left out; a sentence with nothing left is zeros."""
    assert pooling_forward(HIDDEN, GROUPS, ["mean"], skip=1).tolist() == [[3, 6], [-2, -3], [0, 0]]
    assert pooling_forward(HIDDEN, GROUPS, ["cls"], skip=1).tolist() == [[3, 6], [-2, -3], [0, 0]]
