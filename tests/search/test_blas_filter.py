"""The filter by matrix products gives the scan's answer, bit for bit, for any data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_int8_filter import KINDS, make_rows, same

from minisbert.search import blas_filter
from minisbert.search.scan import topk
from minisbert.search.topk import topk_numpy


def search(queries, rows, k, threads=1):
    return blas_filter.topk_blas(queries, rows, k, threads=threads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("D", [1, 5, 16, 384, 1041])
def test_every_kind_of_data(kind, D):
    """The answer equals the scan's for every kind of data, number of rows, k and threads."""
    queries = np.random.default_rng(D).standard_normal((6, D)).astype(np.float32)
    queries[3] *= np.float32(1e-20)
    queries[4] *= np.float32(1e18)
    queries[5] = 0
    for M in (0, 1, 200, 1500):
        rows = make_rows(kind, M, D)
        for k in (1, 10, M + 1):
            expected = topk(queries, rows, k, threads=1)
            for threads in (1, 3):
                assert same(search(queries, rows, k, threads), expected), (M, k, threads)


def test_few_rows_are_scored():
    """Of 6,000 rows hardly more than k are candidates, on one thread and on several."""
    rows, queries = make_rows("gaussian", 6000, 64), make_rows("gaussian", 9, 64, seed=1)
    expected = topk_numpy(queries, rows, 10)
    for threads in (1, 2, 3, 4):
        scores, ids, report = search(queries, rows, 10, threads)
        assert same((scores, ids), expected)
        assert report.path == ("blas",) * 9
        assert report.candidates.max() <= 12
        assert report.bytes_read == rows.nbytes + 4 * 64 * report.candidates.sum()


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    M=st.integers(0, 200),
    D=st.integers(1, 80),
    k=st.integers(1, 220),
    kind=st.sampled_from(sorted(KINDS)),
    query_kind=st.sampled_from(sorted(KINDS)),
)
def test_any_data(seed, M, D, k, kind, query_kind):
    """The answer equals the scan's for random data and numbers of rows and queries."""
    rows, queries = make_rows(kind, M, D, seed), make_rows(query_kind, 4, D, seed + 1)
    assert same(search(queries, rows, k), topk(queries, rows, k, threads=1))


def test_bound_that_is_too_small_is_caught(monkeypatch):
    """With a bound of 0, near ties come out in another order."""
    rows, queries = make_rows("nearly equal", 3000, 256), make_rows("gaussian", 50, 256, seed=1)
    # Spread the scores a little: if all were near one, all rows would be scanned.
    rows *= np.linspace(1, 2, 3000, dtype=np.float32)[:, None] ** 0.01
    expected = topk(queries, rows, 10)
    assert same(search(queries, rows, 10), expected)
    monkeypatch.setattr(blas_filter, "_bound_norms", lambda rows: np.zeros(len(rows)))
    assert not same(search(queries, rows, 10), expected)


def test_norms_are_bounds():
    """The upper bound of a norm is at least the norm, and hardly more."""
    for kind in ("gaussian", "one-hot", "all norms", "tiny"):
        rows = make_rows(kind, 100, 50)
        norms = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
        bounds = blas_filter._bound_norms(rows)
        assert (bounds >= norms).all()
        # Squares of tiny numbers are lost in float32.
        assert (bounds <= norms * (1 + 1e-5) + 1e-21).all()
