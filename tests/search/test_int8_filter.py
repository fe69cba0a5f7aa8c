"""The scan of codes gives the float32 scan's answer, bit for bit, for any data."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisbert.search import int8_filter
from minisbert.search.int8_filter import (
    LARGEST_NORM,
    encode_queries,
    encode_rows,
    encode_rows_numpy,
    make_blocks,
)
from minisbert.search.kernel import BLOCK_ROWS, QUERY_FACTORS, list_kernels
from minisbert.search.scan import topk
from minisbert.search.topk import topk_numpy
from minisbert.system import threads as threads_module

RUNS = list_kernels()
DIMENSIONS = [1, 2, 4, 5, 16, 17, 64, 384, 1024, 1041, 4096]
FEW_DIMENSIONS = {5, 384}  # for `make test-fast`
ROW_COUNTS = [0, 1, 17, 200]


@pytest.fixture(params=RUNS)
def kernel(request, monkeypatch):
    monkeypatch.setenv("MINISBERT_SIMD", request.param)
    return request.param


def scale_rows(rng, rows, low, high):
    """Scale rows to norms from 10^low to 10^high."""
    return rows * (10.0 ** rng.uniform(low, high, (len(rows), 1))).astype(np.float32)


def repeat_nearly(rng, rows):
    """Make copies of the first row with the last digit of random elements changed."""
    return np.nextafter(rows[:1], rng.choice([-9, 9], rows.shape)).astype(np.float32)


def make_one_hot(rng, rows):
    M, D = rows.shape
    return np.eye(D, dtype=np.float32)[rng.integers(0, D, M)]


def make_wild(rng, rows):
    """Make some rows whose products overflow or are not finite."""
    rows = rows.copy()
    for value in (3e38, np.inf, np.nan, 2e19):
        rows[rng.integers(0, len(rows)), rng.integers(0, rows.shape[1])] = value
    return rows


KINDS = {
    "gaussian": lambda rng, rows: rows,
    "nearly equal": lambda rng, rows: repeat_nearly(rng, rows),
    "equal": lambda rng, rows: np.repeat(rows[:1], len(rows), axis=0),
    "one-hot": make_one_hot,
    "all norms": lambda rng, rows: scale_rows(rng, rows, -44, 18),
    "tiny": lambda rng, rows: rows * np.float32(1e-20),
    "huge": lambda rng, rows: rows * np.float32(1e18),
    "zero": lambda rng, rows: rows * 0,
    "wild": make_wild,
}


def make_rows(kind, M, D, seed=0):
    rng = np.random.default_rng([seed, M, D])
    rows = rng.standard_normal((M, D)).astype(np.float32)
    return KINDS[kind](rng, rows) if M else rows


def encode(rows):
    blocks = make_blocks(*rows.shape)
    encode_rows(rows, blocks)
    return blocks


def search(queries, rows, k, threads=1):
    with np.errstate(all="ignore"):
        return int8_filter.topk_int8(queries, rows, encode(rows), k=k, threads=threads)


def same(got, expected):
    """Return whether scores and row numbers are equal in every bit; all NaN count as equal."""
    scores, ids = expected
    return np.array_equal(got[1], ids) and np.array_equal(
        np.nan_to_num(got[0], nan=1).view(np.uint32),
        np.nan_to_num(scores, nan=1).view(np.uint32),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "D", [D if D in FEW_DIMENSIONS else pytest.param(D, marks=pytest.mark.slow) for D in DIMENSIONS]
)
def test_every_kernel_gives_the_float32_answer(kernel, kind, D):
    """The answer equals the scan's for every kind of data, dimension, row count, k and threads."""
    queries = np.random.default_rng(D).standard_normal((11, D)).astype(np.float32)
    queries[3] *= np.float32(1e-20)
    queries[5] *= np.float32(1e18)
    queries[7] = 0
    for M in ROW_COUNTS:
        rows = make_rows(kind, M, D)
        for k in (1, 10, M + 1):
            expected = topk(queries, rows, k, threads=1)
            for threads in (1, 3):
                assert same(search(queries, rows, k, threads), expected), (M, k, threads)


@pytest.mark.slow
@pytest.mark.parametrize("D", [64, 384])
def test_filter_works_on_many_rows(kernel, D, monkeypatch):
    """Of 6,000 rows the filter leaves a few candidates, on one thread and on several."""
    monkeypatch.setattr(threads_module, "SMALLEST_PART", 1000)
    rows = make_rows("gaussian", 6000, D)
    queries = make_rows("gaussian", 9, D, seed=1)
    expected = topk_numpy(queries, rows, 10)
    for threads in (1, 2, 3, 4):
        scores, ids, report = search(queries, rows, 10, threads)
        assert same((scores, ids), expected)
        assert report.path == ("int8",) * 9
        assert (report.candidates >= 10).all()
        assert report.candidates.max() < 200
        assert report.bytes_read == encode(rows).nbytes + 4 * D * report.candidates.sum()


@settings(max_examples=200, deadline=None)
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
    rows, queries = make_rows(kind, M, D, seed), make_rows(query_kind, 3, D, seed + 1)
    assert same(search(queries, rows, k), topk(queries, rows, k, threads=1))


def dot_exactly(a, b):
    return sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)))


@pytest.mark.parametrize("kind", ["gaussian", "one-hot", "all norms", "tiny", "huge", "zero"])
@pytest.mark.parametrize("D", [1, 5, 40])
def test_bounds_hold(kind, D):
    """The canonical score lies between the bounds; stored norms are checked in exact fractions."""
    rows, queries = make_rows(kind, 20, D), make_rows(kind, 3, D, seed=1)
    blocks, coded = encode(rows), encode_queries(queries)
    heads = {name: blocks[name].ravel() for name in ("scale", "residual", "length")}
    codes = blocks["codes"].transpose(0, 2, 1, 3).reshape(len(blocks) * BLOCK_ROWS, -1)
    codes = codes[:20, :D].astype(int) - 128
    for row in range(20):
        if not np.isfinite(heads["residual"][row]):
            assert np.linalg.norm(rows[row].astype(float)) >= 0.99 * LARGEST_NORM
            continue
        scale = Fraction(float(heads["scale"][row]))
        kept = [scale * int(code) for code in codes[row]]
        left = [Fraction(float(x)) - part for x, part in zip(rows[row], kept, strict=True)]
        for name, parts in (("residual", left), ("length", kept)):
            assert sum(part**2 for part in parts) <= Fraction(float(heads[name][row])) ** 2
        for query in range(3):
            factors = {name: coded.factors[name][query].item() for name in QUERY_FACTORS.names}
            group = coded.codes[0, :, query].reshape(-1)[:D].astype(int)
            assert factors["offset"] == 128 * group.sum()
            estimate = scale * Fraction(factors["scale"]) * int(codes[row] @ group)
            bound = (
                Fraction(float(heads["residual"][row])) * Fraction(factors["residual_factor"])
                + Fraction(float(heads["length"][row])) * Fraction(factors["length_factor"])
                + Fraction(factors["constant"])
            )
            score = topk(queries[query : query + 1], rows[row : row + 1], 1)[0][0, 0]
            assert abs(Fraction(float(score)) - estimate) <= bound
            assert abs(dot_exactly(queries[query], rows[row]) - estimate) <= bound


def test_bound_that_is_too_small_is_caught(monkeypatch):
    """The comparison notices the rows that are lost if bounds are 64 times too small."""
    rows, queries = make_rows("gaussian", 4000, 64), make_rows("gaussian", 50, 64, seed=1)
    expected = topk(queries, rows, 10)
    assert same(search(queries, rows, 10), expected)

    def encode_wrongly(queries):
        coded = encode_queries(queries)
        for name in ("residual_factor", "length_factor"):
            coded.factors[name] /= 64
        return coded

    monkeypatch.setattr(int8_filter, "encode_queries", encode_wrongly)
    assert not same(search(queries, rows, 10), expected)


def test_comparison_rejects_wrong_answers():
    """The helper rejects one wrong bit of a score, one wrong row number, and a missing result."""
    scores, ids = np.ones((2, 3), np.float32), np.arange(6).reshape(2, 3)
    assert same((scores, ids), (scores.copy(), ids.copy()))
    assert not same((np.nextafter(scores, 2), ids), (scores, ids))
    assert not same((scores, ids[::-1]), (scores, ids))
    assert not same((scores[:, :2], ids[:, :2]), (scores, ids))


def test_too_many_candidates_are_scanned_instead():
    """If thousands of rows are equal, all rows are scanned, and the report says so."""
    rows = make_rows("equal", 3000, 16)
    rows[1000:1010] *= 2
    queries = rows[[0, 1000]] * np.array([[1], [-1]], np.float32)
    scores, ids, report = search(queries, rows, 10)
    assert same((scores, ids), topk(queries, rows, 10))
    assert report.path == ("int8", "float32")
    assert report.candidates[1] == 3000
    assert report.bytes_read > rows.nbytes


def test_query_that_could_overflow_is_scanned_instead():
    """A query with a norm of 2^62 or more is answered without codes."""
    rows = make_rows("gaussian", 100, 8)
    queries = np.array([[LARGEST_NORM] * 8, [np.inf] * 8, [1] * 8], np.float32)
    scores, ids, report = search(queries, rows, 3)
    assert same((scores, ids), topk(queries, rows, 3))
    assert report.path == ("float32", "float32", "int8")


def test_without_a_kernel_rows_are_scanned(monkeypatch):
    """Without a kernel rows are scanned, also if there are codes."""
    monkeypatch.setenv("MINISBERT_SIMD", "numpy")
    rows, queries = make_rows("gaussian", 50, 20), make_rows("gaussian", 2, 20, seed=1)
    scores, ids, report = search(queries, rows, 5)
    assert same((scores, ids), topk_numpy(queries, rows, 5))
    assert report.path == ("float32", "float32")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("D", [1, 3, 16, 384])
def test_fallback_makes_the_same_codes(kind, D):
    """The fallback's scales and codes equal those of C; its norms are at most slightly larger."""
    rows = make_rows(kind, 37, D)
    ours, theirs = encode(rows), make_blocks(37, D)
    encode_rows_numpy(rows, theirs)
    for name in ("scale", "codes"):
        assert np.array_equal(ours[name], theirs[name]), name
    for name in ("residual", "length"):
        a, b = (blocks[name].ravel()[:37].astype(np.float64) for blocks in (ours, theirs))
        finite = np.isfinite(a)
        assert np.array_equal(finite, np.isfinite(b))
        assert (b[finite] >= a[finite] * (1 - 1e-12)).all()
        assert (b[finite] <= a[finite] * (1 + 1e-6) + 1e-44).all()


def test_codes_are_written_in_pieces():
    """Rows encoded a few at a time give the same blocks as all at once."""
    rows = make_rows("gaussian", 50, 10)
    whole, pieces = encode(rows), make_blocks(50, 10)
    for start, stop in ((0, 3), (3, 20), (20, 50)):
        encode_rows(rows[start:stop], pieces, start)
    assert np.array_equal(whole, pieces)


def test_rows_may_lie_elsewhere():
    """Candidates are read by `fetch`, in the order of the rows."""
    rows, queries = make_rows("gaussian", 3000, 32), make_rows("gaussian", 2, 32, seed=1)
    asked = []

    def fetch(ids):
        asked.append(ids)
        return rows[ids]

    result = int8_filter.topk_int8(queries, rows, encode(rows), k=5, fetch=fetch)
    assert same(result, topk(queries, rows, 5))
    assert len(asked) == 2
    assert all((np.diff(ids) > 0).all() for ids in asked)
