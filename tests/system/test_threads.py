"""Threads are counted, and divide rows among them."""

import threading

import numpy as np
import pytest

from minisbert.system import threads as threads_module
from minisbert.system.threads import count_threads, run_parts


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_must_be_a_positive_whole_number(threads):
    """Any other number of threads is refused."""
    with pytest.raises(ValueError, match="threads must be a whole number of 1 or more"):
        count_threads(threads)


def test_numpys_whole_numbers_are_taken():
    """A NumPy integer comes back as an int; None means every core of the process."""
    assert type(count_threads(np.int64(3))) is int
    assert count_threads(None) >= 1


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("multiple", [1, 16])
def test_parts_are_all_rows_in_order(threads, multiple, monkeypatch):
    """The parts follow one another, cover every row once, and end at multiples."""
    monkeypatch.setattr(threads_module, "SMALLEST_PART", 1)
    for M in (0, 1, 15, 16, 17, 1000):
        parts = run_parts(lambda part: part, M, work=1, threads=threads, multiple=multiple)
        assert [row for part in parts for row in range(part.start, part.stop)] == list(range(M))
        assert all(part.stop % multiple == 0 for part in parts[:-1])
        assert len(parts) <= threads * threads_module.PARTS_PER_THREAD


def test_little_work_stays_in_the_calling_thread():
    """Little work is one part, which runs in the calling thread."""
    used = run_parts(lambda part: threading.get_ident(), 100, work=100, threads=4)
    assert used == [threading.get_ident()]


def test_much_work_is_shared():
    """With enough work, parts run at once in as many threads as were asked for."""
    together = threading.Barrier(2)  # each part waits for another one, so they must run at once
    work = threads_module.SMALLEST_PART

    def run(part):
        together.wait(timeout=10)
        return threading.get_ident()

    used = run_parts(run, 4, work=work, threads=2)
    assert len(used) == 4
    assert threading.get_ident() not in used
