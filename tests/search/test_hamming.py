"""Every kernel of this machine, the NumPy fallback and unpacked bits give the same answer."""

import numpy as np
import pytest

from minisbert.search import kernel as kernel_module
from minisbert.search.hamming import hamming_numpy, hamming_topk
from minisbert.search.kernel import KERNELS, list_kernels
from minisbert.search.topk import CACHED_ROWS
from minisbert.system import threads as threads_module

lib = kernel_module.lib

RUNS = list_kernels()
WIDTHS = [*range(21), 48, 64, 96, 128]
ROW_COUNTS = [0, 1, 2, 5, 255, 256, 257, 300]  # the scan compares 256 rows at a time


@pytest.fixture(params=[*RUNS, "numpy"])
def kernel(request, monkeypatch):
    monkeypatch.setenv("MINISBERT_SIMD", request.param)
    return request.param


def make_codes(rng, count, width):
    """Make random bytes at an odd address, with ties and rows in which every bit differs."""
    codes = np.empty(count * width + 1, np.uint8)[1:].reshape(count, width)
    codes[:] = rng.integers(0, 256, (count, width))
    if count >= 5:
        codes[2] = codes[count - 1] = codes[0]
        codes[3] = ~codes[0]
    return codes


def search_by_definition(queries, codes, k):
    """Search by unpacked bits, with rows sorted by distance, then by number."""
    bits = np.unpackbits(codes, axis=1)
    distances = np.empty((len(queries), min(k, len(codes))), np.int32)
    ids = np.empty(distances.shape, np.int64)
    for i, query in enumerate(np.unpackbits(queries, axis=1)):
        differences = (bits != query).sum(axis=1)
        ids[i] = np.lexsort((np.arange(len(codes)), differences))[:k]
        distances[i] = differences[ids[i]]
    return distances, ids


def same(got, expected):
    """Return whether two answers are equal in shape, type and every number."""
    return all(
        a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(got, expected, strict=True)
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_fallback_is_the_definition(width):
    """The NumPy fallback equals the definition, also for more rows than it takes at a time."""
    rng = np.random.default_rng(width)
    queries = make_codes(rng, 6, width)
    for M in (0, 5, CACHED_ROWS + 3):
        codes = make_codes(rng, M, width)
        expected = search_by_definition(queries, codes, 20)
        assert same(hamming_numpy(queries, codes, 20), expected)


def test_kernel_gives_the_fallbacks_answer(kernel):
    """Every kernel gives the fallback's answer for every width, row count and k."""
    for width in WIDTHS:
        rng = np.random.default_rng(width)
        queries = make_codes(rng, 5, width)
        for M in ROW_COUNTS:
            codes = make_codes(rng, M, width)
            for k in (1, 2, 10, M + 1):
                expected = hamming_numpy(queries, codes, k)
                assert same(hamming_topk(queries, codes, k), expected), (width, M, k)


def test_ties_are_in_row_order(kernel):
    """Among rows with two distances only, ties are in row order for every k."""
    codes = np.array([[0], [3], [0], [3], [3]] * 60, np.uint8)
    distances = 2 * (codes[:, 0] == 3)
    order = sorted(range(len(codes)), key=lambda row: (distances[row], row))
    for k in range(1, len(codes) + 2):
        found, ids = hamming_topk([[np.uint8(0)]], codes, k)
        assert ids[0].tolist() == order[:k]
        assert found[0].tolist() == distances[order[:k]].tolist()


def test_many_entries_pass_through_the_heap(kernel):
    """Rows in order of falling distance, each of which enters the heap, are returned in order."""
    bits = np.tril(np.ones((800, 800), bool))[::-1]  # 800, 799, ... 1 bits
    distances, ids = hamming_topk(np.zeros((1, 100), np.uint8), np.packbits(bits, axis=1), 7)
    assert distances[0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert ids[0].tolist() == [799, 798, 797, 796, 795, 794, 793]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads_change_nothing(kernel, threads, monkeypatch):
    """Any number of threads gives the same, with ties across parts and k above their size."""
    monkeypatch.setattr(threads_module, "SMALLEST_PART", 1)
    rng = np.random.default_rng(0)
    queries, codes = make_codes(rng, 3, 19), np.tile(make_codes(rng, 50, 19), (4, 1))
    for k in (1, 8, 70, 200, 201):
        expected = search_by_definition(queries, codes, k)
        assert same(hamming_topk(queries, codes, k, threads), expected), k
    for M in range(5):
        expected = search_by_definition(queries, codes[:M], 3)
        assert same(hamming_topk(queries, codes[:M], 3, threads), expected), M


@pytest.mark.parametrize(
    "disguise",
    [
        np.asfortranarray,
        lambda codes: np.repeat(codes, 2, axis=1)[:, ::2],
        lambda codes: codes[::-1].copy()[::-1],
    ],
    ids=["columns", "every other", "backwards"],
)
def test_any_layout_is_read_correctly(kernel, disguise):
    """Codes that are not contiguous are read correctly."""
    rng = np.random.default_rng(0)
    queries, codes = make_codes(rng, 2, 9), make_codes(rng, 90, 9)
    expected = search_by_definition(queries, codes, 9)
    assert same(hamming_topk(disguise(queries), disguise(codes), 9), expected)


def test_nothing_to_find(kernel):
    """No queries, no rows or codes without bytes give answers of the right shape."""
    for Q, M, W, k in [(0, 3, 4, 2), (2, 0, 4, 2), (0, 0, 0, 1), (2, 3, 0, 2)]:
        distances, ids = hamming_topk(np.ones((Q, W), np.uint8), np.ones((M, W), np.uint8), k)
        assert distances.shape == (Q, min(k, M))
        assert distances.dtype == np.int32
        assert ids.dtype == np.int64
        assert ids.tolist() == [list(range(min(k, M)))] * Q


class Watched:
    """The library on a processor that runs only some Hamming kernels; it records the one used."""

    def __init__(self, counting):
        self.counting, self.used = counting, None

    def minisbert_hamming_supports(self, number):
        return number in self.counting and lib.minisbert_hamming_supports(number)

    def minisbert_hamming_topk(self, number, *arguments):
        self.used = number
        return lib.minisbert_hamming_topk(number, *arguments)

    def __getattr__(self, name):
        return getattr(lib, name)


@pytest.mark.parametrize("name", RUNS)
def test_kernel_is_the_one_that_was_named(name, monkeypatch):
    """MINISBERT_SIMD names the kernel; if its Hamming scan can't run here, the next one is used."""
    monkeypatch.setenv("MINISBERT_SIMD", name)
    codes = make_codes(np.random.default_rng(0), 90, 9)
    expected = search_by_definition(codes[:2], codes, 9)
    for counting, used in ((KERNELS.values(), name), ({KERNELS["scalar"]}, "scalar")):
        watched = Watched(counting)
        monkeypatch.setattr(kernel_module, "lib", watched)
        assert same(hamming_topk(codes[:2], codes, 9), expected)
        assert watched.used == KERNELS[used]


def test_fallback_serves_without_the_extension(monkeypatch):
    """Without the extension the scan still answers."""
    monkeypatch.setattr(kernel_module, "lib", None)
    monkeypatch.delenv("MINISBERT_SIMD", raising=False)
    codes = np.array([[1], [2], [3]], np.uint8)
    assert hamming_topk(codes[:1], codes, 2)[1].tolist() == [[0, 2]]


def test_bad_arguments_are_refused():
    """Codes are rows of bytes of one width, k and threads whole numbers of at least 1."""
    codes = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match="queries must have the width of the codes, 3"):
        hamming_topk(codes[:, :2], codes, 1)
    with pytest.raises(ValueError, match=r"queries must be rows of bytes, .* got shape \(3,\)"):
        hamming_topk(codes[0], codes, 1)
    with pytest.raises(ValueError, match=r"codes must be rows of bytes, .* of int8; make them by"):
        hamming_topk(codes, codes.astype(np.int8), 1)
    with pytest.raises(ValueError, match="k must be a whole number of 1 or more, got 0"):
        hamming_topk(codes, codes, 0)
    with pytest.raises(ValueError, match="threads must be a whole number of 1 or more, got 0"):
        hamming_topk(codes, codes, 1, threads=0)


def test_comparison_rejects_wrong_answers():
    """The helper rejects one wrong distance, swapped or wrong rows, and another shape or type."""
    codes = np.array([[0], [1], [3], [2]], np.uint8)
    distances, ids = search_by_definition(codes[:1], codes, 4)
    assert ids.tolist() == [[0, 1, 3, 2]]
    assert same((distances, ids), (distances.copy(), ids.copy()))
    assert not same((distances, ids), (distances + (ids == 2).astype(np.int32), ids))
    assert not same((distances, ids), (distances, ids[:, [0, 2, 1, 3]]))
    assert not same((distances, ids), (distances, ids + 1))
    assert not same((distances, ids), (np.zeros_like(distances), ids))
    assert not same((distances, ids), (distances[:, :3], ids[:, :3]))
    assert not same((distances, ids), (distances, ids.astype(np.int32)))
