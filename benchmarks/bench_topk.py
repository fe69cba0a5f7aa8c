"""The scan by rows, queries, k and kernel: `make bench`. Kernels must give the fallback's bits."""

import numpy as np
import pytest

from minisbert.search.kernel import list_kernels
from minisbert.search.scan import topk
from minisbert.search.topk import topk_numpy

RUNS = [*list_kernels(), "numpy"]


def scan_verified(benchmark, M: int, Q: int, k: int) -> None:
    rng = np.random.default_rng(0)
    rows, queries = (rng.standard_normal((n, 384), dtype=np.float32) for n in (M, Q))
    few = topk(queries, rows[:2000], k), topk_numpy(queries, rows[:2000], k)
    assert all(np.array_equal(a, b) for a, b in zip(*few, strict=True))
    benchmark.extra_info["bytes"] = rows.nbytes
    benchmark(topk, queries, rows, k)


@pytest.mark.parametrize("M", [1_000, 10_000, 100_000])
def test_rows(benchmark, M):
    scan_verified(benchmark, M, 1, 10)


@pytest.mark.parametrize("Q", [10, 100])
def test_queries(benchmark, Q):
    scan_verified(benchmark, 10_000, Q, 10)


@pytest.mark.parametrize("k", [1, 100, 1000])
def test_k(benchmark, k):
    scan_verified(benchmark, 100_000, 1, k)


@pytest.mark.parametrize("kernel", RUNS)
def test_kernel(benchmark, kernel, monkeypatch):
    monkeypatch.setenv("MINISBERT_SIMD", kernel)
    scan_verified(benchmark, 20_000, 1, 10)
