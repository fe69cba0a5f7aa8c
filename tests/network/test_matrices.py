"""Products by tiles equal products by BLAS, and split sums where OpenBLAS splits them."""

import numpy as np
import pytest

from minisbert.network.layers import linear_forward
from minisbert.network.matrices import TiledMatrix, _cut_runs

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("I", [1, 64, 447, 448, 449, 800, 896, 897, 1536, 3072])
def test_tiled_product_equals_product(I):  # noqa: E741
    """A product by a matrix in tiles equals the product by the matrix."""
    weight = RNG.standard_normal((128, I))
    tiles = TiledMatrix(weight)
    for N in (0, 1, 5, 24):
        x, bias = RNG.standard_normal((N, I)), RNG.standard_normal(128)
        expected = x @ weight.T + bias
        assert np.allclose(linear_forward(x, tiles, bias), expected, rtol=0, atol=1e-11)
    assert not np.allclose(linear_forward(x + 1e-9, tiles, bias), expected, 0, 1e-11)


@pytest.mark.parametrize(
    ("I", "runs"),
    [
        (384, [384]),
        (449, [240, 209]),
        (768, [384, 384]),
        (896, [448, 448]),
        (1024, [448, 288, 288]),
        (1536, [448, 448, 320, 320]),
        (3072, [448, 448, 448, 448, 448, 416, 416]),
    ],
)
def test_runs_are_those_of_openblas(I, runs):  # noqa: E741
    """Sums are split where OpenBLAS was observed to split them."""
    assert [run.stop - run.start for run in _cut_runs(I)] == runs
