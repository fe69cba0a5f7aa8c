"""Time the scan by rows, queries, k and kernel: `make bench`.

Each benchmark first checks its kernel's bits against those of the NumPy fallback.
"""

import numpy as np
import pytest

from minisbert import topk
from minisbert.search.kernel import list_kernels
from minisbert.search.topk import topk_numpy

SIZES = [(M, 1, 10) for M in (1_000, 10_000, 100_000)]
SIZES += [(10_000, Q, 10) for Q in (10, 100)] + [(100_000, 1, k) for k in (1, 100, 1000)]


def time_scan(benchmark, M: int, Q: int, k: int) -> None:
    rng = np.random.default_rng(0)
    rows, queries = (rng.standard_normal((n, 384), dtype=np.float32) for n in (M, Q))
    few = topk(queries, rows[:2000], k), topk_numpy(queries, rows[:2000], k)
    assert all(np.array_equal(a, b) for a, b in zip(*few, strict=True))
    benchmark.extra_info["bytes"] = rows.nbytes
    benchmark(topk, queries, rows, k)


@pytest.mark.parametrize(("M", "Q", "k"), SIZES)
def test_sizes(benchmark, M, Q, k):
    time_scan(benchmark, M, Q, k)


@pytest.mark.parametrize("kernel", [*list_kernels(), "numpy"])
def test_kernel(benchmark, kernel, monkeypatch):
    monkeypatch.setenv("MINISBERT_SIMD", kernel)
    time_scan(benchmark, 20_000, 1, 10)
