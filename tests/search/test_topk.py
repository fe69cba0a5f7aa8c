"""Every kernel of this machine, the NumPy fallback and the definition agree bit for bit."""

import math
import tracemalloc

import numpy as np
import pytest

from minisbert.search import kernel as kernel_module
from minisbert.search.kernel import kernel_name, list_kernels
from minisbert.search.scan import pair_dots, topk
from minisbert.search.topk import pair_dots_numpy, topk_numpy
from minisbert.system import threads as threads_module

RUNS = list_kernels()
DIMENSIONS = [*range(71), 384, 768, 1023]
ROW_COUNTS = [0, 1, 2, 5, 63, 64, 65, 131]  # the scan compares 64 rows at a time


@pytest.fixture(params=[*RUNS, "numpy"])
def kernel(request, monkeypatch):
    monkeypatch.setenv("MINISBERT_SIMD", request.param)
    return request.param


def make_rows(rng, count, D):
    """Make random rows at an unaligned address, with ties and special values."""
    rows = np.empty(count * D + 1, np.float32)[1:].reshape(count, D)
    rows[:] = rng.standard_normal((count, D))
    if count >= 5 and D:
        rows[1, 0] = np.nan
        rows[2] = rows[count - 1] = rows[0]
        rows[3, -1] = np.inf
        rows[4] = -0.0
    return rows


def dot_by_definition(a, b, lane_of=lambda i: i % 16):
    """Compute the canonical dot product as topk.h defines it, one rounded step at a time."""
    lanes = [np.float32(0)] * 16
    with np.errstate(invalid="ignore"):
        for i in range(len(a)):
            lanes[lane_of(i)] += a[i] * b[i]
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    return lanes[0]


def order_by_definition(scores):
    """Return row numbers, best first: the higher score, then the lower row; NaN last."""
    return sorted(
        range(len(scores)),
        key=lambda i: (math.isnan(scores[i]), 0 if math.isnan(scores[i]) else -scores[i], i),
    )


def same(got, expected):
    """Return whether two answers are equal in shape, type and every bit; all NaN are equal."""
    if len(got) != len(expected):
        return False
    for a, b in zip(got, expected, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        bits = f"u{a.itemsize}"
        if not np.all((a.view(bits) == b.view(bits)) | ((a != a) & (b != b))):
            return False
    return True


def test_a_compiler_was_there():
    """The scalar kernel is compiled, so the tests below don't run on the fallback alone."""
    assert "scalar" in RUNS


@pytest.mark.parametrize("D", DIMENSIONS)
def test_fallback_is_the_definition(D):
    """The NumPy fallback's dot products equal the definition, bit for bit."""
    rng = np.random.default_rng(D)
    a, b = make_rows(rng, 6, D), make_rows(rng, 6, D)[::-1]
    expected = [dot_by_definition(x, y) for x, y in zip(a, b, strict=True)]
    assert same([pair_dots_numpy(a, b)], [np.array(expected, np.float32)])


def test_kernel_gives_the_fallbacks_bits(kernel):
    """Every kernel gives the fallback's answer for every dimension, row count and k."""
    for D in DIMENSIONS:
        rng = np.random.default_rng(D)
        queries = make_rows(rng, 3, D)
        for M in ROW_COUNTS:
            rows = make_rows(rng, M, D)
            everything = topk_numpy(queries, rows, max(M, 1))
            for k in (1, 2, 10, M + 1):
                expected = [part[:, :k] for part in everything]
                assert same(topk(queries, rows, k), expected), (D, M, k)


def test_pair_dots_gives_the_fallbacks_bits(kernel):
    """Every kernel gives the fallback's dot products of pairs, for every dimension."""
    for D in DIMENSIONS:
        rng = np.random.default_rng(D)
        a, b = make_rows(rng, 7, D), make_rows(rng, 7, D)[::-1].copy()
        assert same([pair_dots(a, b)], [pair_dots_numpy(a, b)]), D


def test_fixed_score(kernel):
    """A score has the same value on every machine, fixed here."""
    i = np.arange(1023, dtype=np.int64)
    a = ((i * 37 % 101 - 50) / np.float32(7)).astype(np.float32)
    b = ((i * 53 % 97 - 48) / np.float32(11)).astype(np.float32)
    assert pair_dots(a[None], b[None]).view(np.uint32)[0] == 0xC24F7AF4


def test_order_is_total(kernel):
    """For every k: higher first, ties by row, -inf before NaN, 0 equal to -0."""
    values = [1, np.nan, 2, -np.inf, 2, np.inf, 0, -0.0, np.nan, 1, np.inf, -np.inf] * 12
    rows = np.array(values, np.float32)[:, None]
    queries = np.ones((1, 1), np.float32)
    order = order_by_definition([float(value) for value in values])
    for k in range(1, len(values) + 1):
        scores, ids = topk(queries, rows, k)
        assert ids[0].tolist() == order[:k]
        assert np.array_equal(scores[0], rows[order[:k], 0], equal_nan=True)


def test_many_entries_pass_through_the_heap(kernel):
    """Rows in order of rising score, each of which enters the heap, are returned in order."""
    rows = np.repeat(np.arange(300, dtype=np.float32), 2)[:, None]
    scores, ids = topk([[1]], rows, 7)
    assert scores[0].tolist() == [299, 299, 298, 298, 297, 297, 296]
    assert ids[0].tolist() == [598, 599, 596, 597, 594, 595, 592]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads_change_nothing(kernel, threads, monkeypatch):
    """Any number of threads gives the same bits, with ties across parts and k above their size."""
    monkeypatch.setattr(threads_module, "SMALLEST_PART", 1)
    rng = np.random.default_rng(0)
    queries, rows = make_rows(rng, 3, 19), np.tile(make_rows(rng, 50, 19), (4, 1))
    parts = threads_module.run_parts(lambda part: part, len(rows), work=1, threads=threads)
    assert len(parts) == (1 if threads == 1 else threads_module.PARTS_PER_THREAD * threads)
    for k in (1, 8, 70, 200, 201):
        assert same(topk(queries, rows, k, threads), topk_numpy(queries, rows, k)), k
    for M in range(5):
        assert same(topk(queries, rows[:M], 3, threads), topk_numpy(queries, rows[:M], 3)), M


def misalign(array):
    """Return a copy that starts one byte after an aligned address."""
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    memory[:] = np.frombuffer(array.tobytes(), np.uint8)
    return memory.view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize(
    "disguise",
    [
        misalign,
        np.asfortranarray,
        lambda array: np.repeat(array, 2, axis=1)[:, ::2],
        lambda array: array[::-1].copy()[::-1],
        lambda array: array.astype(np.float64),
        lambda array: array.astype(">f4"),
        lambda array: array.tolist(),
    ],
    ids=["misaligned", "columns", "every other", "backwards", "float64", "big-endian", "list"],
)
def test_any_layout_is_read_correctly(kernel, disguise):
    """Inputs that are not aligned rows of float32 are converted correctly."""
    rng = np.random.default_rng(0)
    queries, rows = (rng.standard_normal((n, 37), dtype=np.float32) for n in (2, 90))
    expected = topk_numpy(queries, rows, 9)
    assert same(topk(disguise(queries), disguise(rows), 9), expected)


def test_mapped_rows_are_not_copied(tmp_path):
    """A read-only memory map is scanned without a copy."""
    rng = np.random.default_rng(0)
    queries, rows = (rng.standard_normal((n, 64), dtype=np.float32) for n in (1, 20_000))
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float32, "r", shape=rows.shape)
    expected = topk_numpy(queries, rows, 5)
    tracemalloc.start()
    try:
        found = topk(queries, mapped, 5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert same(found, expected)
    assert peak < rows.nbytes / 10


def test_nothing_to_find(kernel):
    """No queries, no rows or no dimensions give answers of the right shape."""
    for Q, M, D, k in [(0, 3, 4, 2), (2, 0, 4, 2), (0, 0, 0, 1), (2, 3, 0, 2)]:
        scores, ids = topk(np.ones((Q, D)), np.ones((M, D)), k)
        assert scores.shape == ids.shape == (Q, min(k, M))
        assert scores.dtype == np.float32
        assert ids.dtype == np.int64
        assert ids.tolist() == [list(range(min(k, M)))] * Q


def test_fallback_serves_without_the_extension(monkeypatch):
    """Without the extension topk and pair_dots still answer."""
    monkeypatch.setattr(kernel_module, "lib", None)
    monkeypatch.delenv("MINISBERT_SIMD", raising=False)
    assert kernel_name() == "numpy"
    assert topk([[1, 2]], [[3, 4], [5, 6]], 1)[1].tolist() == [[1]]
    assert pair_dots([[1, 2]], [[3, 4]]).tolist() == [11]


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "2", None])
def test_bad_k_is_refused(k):
    """k must be a whole number of at least 1."""
    with pytest.raises(ValueError, match="k must be a whole number of 1 or more"):
        topk([[1]], [[1]], k)


@pytest.mark.parametrize("threads", [0, -1, True, 1.5])
def test_bad_threads_are_refused(threads):
    """threads must be a whole number of at least 1."""
    with pytest.raises(ValueError, match="threads must be a whole number of 1 or more"):
        topk([[1]], [[1]], 1, threads)


def test_bad_shapes_are_refused():
    """Queries and rows must be matrices of one width, pairs of one shape."""
    with pytest.raises(ValueError, match="queries must have the width of the rows, 3, got 2"):
        topk([[1, 2]], [[1, 2, 3]], 1)
    with pytest.raises(ValueError, match=r"queries must be rows of vectors, .* got shape \(2,\)"):
        topk([1, 2], [[1, 2]], 1)
    with pytest.raises(ValueError, match=r"rows must be rows of vectors, .* got shape \(\)"):
        topk([[1, 2]], 3, 1)
    with pytest.raises(ValueError, match="a and b must have the same shape"):
        pair_dots([[1, 2]], [[1, 2], [3, 4]])


def test_comparison_rejects_wrong_answers():
    """The helper rejects a wrong lane, bit or sign of zero, and swapped or wrong rows."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 40), dtype=np.float32)
    right = np.array([dot_by_definition(a, b)])
    wrong = np.array([dot_by_definition(a, b, lambda i: 4 if i == 35 else i % 16)])
    assert same([right], [right.copy()])
    assert not same([right], [wrong])
    assert not same([right], [np.nextafter(right, np.float32(np.inf))])
    assert not same([np.float32([0.0])], [np.float32([-0.0])])
    scores, ids = topk_numpy(a[None, :8], b.reshape(5, 8), 4)
    assert not same((scores, ids), (scores, ids[:, ::-1].copy()))
    assert not same((scores, ids), (scores, ids + 1))
    assert not same((scores, ids), (np.zeros_like(scores), ids))
    assert not same((scores, ids), (scores[:, :3], ids[:, :3]))
    assert not same((scores, ids), (scores, ids.astype(np.int32)))
