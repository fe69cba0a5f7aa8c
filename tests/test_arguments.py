"""Arguments are checked by one rule each, and errors say what to do."""

import numpy as np
import pytest

from minisbert.arguments import check_positive, check_texts, check_whole_number


@pytest.mark.parametrize("value", [1, 5, np.int64(3), np.uint8(5)])
def test_whole_numbers(value):
    """Python's and NumPy's integers in the range come back as Python's."""
    checked = check_whole_number("k", value, 1, most=5)
    assert checked == value
    assert type(checked) is int


@pytest.mark.parametrize("value", [0, 6, -1, True, np.True_, 2.0, np.float32(2), "2", None, [2]])
def test_other_numbers_are_refused(value):
    """Bools, fractions, texts and numbers out of the range are named with what to do instead."""
    with pytest.raises(ValueError, match=r"^k must be a whole number from 1 to 5, got .*; try 3$"):
        check_whole_number("k", value, 1, most=5, remedy="try 3")


def test_no_upper_limit():
    """Without an upper limit the error names the least number alone."""
    assert check_whole_number("k", 10**30) == 10**30
    with pytest.raises(ValueError, match=r"^k must be a whole number of 2 or more, got 1; pass"):
        check_whole_number("k", 1, least=2)


def test_positive_number_may_be_left_out():
    """None is returned unchanged."""
    assert check_positive("k", None) is None
    assert type(check_positive("k", np.int64(1))) is int
    with pytest.raises(ValueError, match=r"^k must be a whole number of 1 or more, got 0; leave"):
        check_positive("k", 0)


@pytest.mark.parametrize("texts", [["a", ""], ("a", ""), np.array(["a", ""]), iter(["a", ""])])
def test_texts(texts):
    """Any iterable of texts becomes a list."""
    assert check_texts(texts) == ["a", ""]


@pytest.mark.parametrize("texts", ["a", b"a", {"a": "b"}, 7, None])
def test_no_texts(texts):
    """A single text, a mapping and an object that is not iterable are refused by their type."""
    with pytest.raises(TypeError, match=f"^queries must be .* got {type(texts).__name__}; pass a"):
        check_texts(texts, "queries")


def test_one_other_object_among_texts():
    """The first object that is not a text is named by its index."""
    with pytest.raises(TypeError, match=r"^inputs must hold only str, got float at index 1; "):
        check_texts(["a", float("nan"), None])
