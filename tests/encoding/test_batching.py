"""Batches are planned and run, and results go to the rows of their texts."""

from pathlib import Path

import numpy as np
import pytest
from blas import count_blas_threads

from minisbert.encoding import batching


def test_plan_holds_each_text_once_longest_first():
    """The batches together are all texts sorted by length; ties stay in their order."""
    lengths = np.array([3, 9, 3, 7])
    assert np.concatenate(batching.plan_batches(lengths)).tolist() == [1, 3, 0, 2]


def test_plan_respects_the_token_budget_and_batch_size():
    """No batch exceeds the budget by more than a text, or has more texts than `batch_size`."""
    lengths = np.random.default_rng(0).integers(2, 4000, 300)
    for batch in batching.plan_batches(lengths):
        assert lengths[batch].sum() <= batching.TOKEN_BUDGET + lengths[batch].max()
    assert max(map(len, batching.plan_batches(np.full(50, 3), batch_size=7))) == 7


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_plan_gives_threads_equal_work(threads):
    """Every thread gets the same number of batches, of about the same number of tokens."""
    lengths = np.random.default_rng(0).integers(2, 40, 2000)
    batches = batching.plan_batches(lengths, threads)
    tokens = [lengths[batch].sum() for batch in batches]
    assert len(batches) % threads == 0
    assert max(tokens) - min(tokens) <= 80


def test_little_work_is_shared_out():
    """Texts that would fit into one batch are split for two threads, unless they are few."""
    assert len(batching.plan_batches(np.full(64, 10), threads=2)) == 2
    assert len(batching.plan_batches(np.full(8, 10), threads=2)) == 1
    assert batching.plan_batches(np.zeros(0, np.int64), threads=2) == []


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_run_yields_every_result_with_its_batch(threads):
    """Results come in the order of the batches for any number of threads."""
    batches = [np.array([i]) for i in range(10)]
    done = []
    results = list(
        batching.run_batches(lambda b: int(b[0]) ** 2, batches, threads, advance=done.append)
    )
    assert [(int(b[0]), r) for b, r in results] == [(i, i * i) for i in range(10)]
    assert sum(done) == 10


@pytest.mark.parametrize("threads", [1, 2])
def test_run_passes_on_errors_and_restores(threads, two_blas_threads):
    """An error in a batch reaches the caller, and BLAS gets its threads back."""

    def fail(batch):
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        list(batching.run_batches(fail, [np.array([0]), np.array([1])], threads))
    assert count_blas_threads() == 2


@pytest.mark.parametrize("rows", [np.zeros((5, 2)), [None] * 5])
def test_rows_are_filled_in_the_order_of_the_texts(rows):
    """Row i is the result for text i, in an array and in a list, on two threads."""
    lengths = np.array([300, 7, 900, 20, 300])
    values = np.arange(10).reshape(5, 2)
    batching.fill_rows(
        rows, lambda indices: values[indices], lengths, model=Path(), threads=2, batch_size=2
    )
    assert np.array_equal(rows, values)


def test_each_different_text_is_encoded_once():
    """A text of two columns, or twice in one, is encoded once; each column gets all its rows."""
    asked = []

    def encode(texts, factor):
        asked.extend(texts)
        return factor * np.array([[len(text)] for text in texts])

    first, second = batching.encode_once(encode, ["a", "bb", "a"], ["ccc", "bb"], factor=10)
    assert asked == ["a", "bb", "ccc"]
    assert first.tolist() == [[10], [20], [10]]
    assert second.tolist() == [[30], [20]]
