"""Each layer by its definition, in numbers worked out by hand or by Python's own math module."""

import math

import numpy as np
import pytest

from minisbert import layers
from minisbert.ragged import group_lengths

RNG = np.random.default_rng(7)


def phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def test_linear_multiplies_by_out_in_weights():
    """y = x Wᵀ + b, with W of shape (out, in)."""
    y = layers.linear_forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]] * 3), np.arange(3.0))
    assert y.tolist() == [[11.0, 12.0, 13.0]]


@pytest.mark.parametrize("rows", range(1, 20))
def test_linear_row_does_not_depend_on_its_company(rows):
    """A row gives the same bits in a product of any number of rows."""
    x = RNG.standard_normal((40, 384)).astype(np.float32)
    weight = RNG.standard_normal((384, 384)).astype(np.float32)
    bias = np.zeros(384, np.float32)
    whole = layers.linear_forward(x, weight, bias)
    assert np.array_equal(layers.linear_forward(x[:rows], weight, bias), whole[:rows])


@pytest.mark.parametrize("I", [1, 64, 447, 448, 449, 800, 896, 897, 1536, 3072])
def test_tiles_are_the_matrix(I):  # noqa: E741
    """A product of few rows by the tiles of a matrix is the product by the matrix."""
    weight = RNG.standard_normal((128, I))
    tiles = layers.cut_tiles(weight)
    for N in (0, 1, 5, 24):
        x, bias = RNG.standard_normal((N, I)), RNG.standard_normal(128)
        expected = x @ weight.T + bias
        assert np.allclose(layers.linear_forward(x, tiles, bias), expected, rtol=0, atol=1e-11)
    assert not np.allclose(layers.linear_forward(x + 1e-9, tiles, bias), expected, 0, 1e-11)


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
    """Sums are cut where OpenBLAS was seen to cut them."""
    assert [run.stop - run.start for run in layers.cut_runs(I)] == runs


def test_layer_norm_uses_population_variance_and_epsilon_inside_the_root():
    """Row (1, 3) has mean 2 and variance 1; epsilon 3 makes the divisor 2."""
    y = layers.layer_norm_forward(np.array([[1.0, 3.0]]), np.array([4.0, 4]), np.array([1.0, 1]), 3)
    assert y.tolist() == [[-1.0, 3.0]]


def test_gelu_is_the_error_function_form_everywhere():
    """Within 2e-6 of x Phi(x) on [-100, 100] in float32, and far from the tanh form."""
    x = np.linspace(-100, 100, 40_001).astype(np.float32)
    truth = np.array([value * phi(value) for value in x.astype(float)])
    assert np.abs(layers.gelu_forward(x.copy()) - truth).max() <= 2e-6
    # the comparison is sharp enough to tell the tanh form
    assert np.abs(layers.gelu_tanh_forward(x) - truth).max() > 1e-4


def test_gelu_has_no_kink_and_the_true_slope():
    """The slope by differences is within 1e-5 of Phi(x) + x phi(x), at 0 as elsewhere."""
    x = np.linspace(-8, 8, 16_001)
    step = 1e-5
    slope = (layers.gelu_forward(x + step) - layers.gelu_forward(x - step)) / (2 * step)
    truth = [phi(v) + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi) for v in x]
    assert np.abs(slope - truth).max() <= 1e-5


@pytest.mark.parametrize("value", [1e3, 1e10, 3e38])
def test_gelu_survives_huge_values(value):
    """Far out GELU is x or 0, without a warning."""
    y = layers.gelu_forward(np.array([value, -value], np.float32))
    assert y.tolist() == [np.float32(value), 0]


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("gelu", lambda x: x * phi(x)),
        ("gelu_new", lambda x: x * phi(x)),
        ("relu", lambda x: max(x, 0)),
        ("silu", lambda x: x / (1 + math.exp(-x))),
        ("tanh", math.tanh),
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("identity", lambda x: x),
    ],
)
def test_activations_by_name(name, truth):
    """Every activation is what its name says, with and without a cache."""
    x = np.linspace(-4, 4, 33)
    expected = [truth(value) for value in x]
    tolerance = 5e-4 if name == "gelu_new" else 1e-6
    assert np.allclose(layers.ACTIVATIONS[name](x.copy(), []), expected, rtol=0, atol=tolerance)
    assert np.allclose(layers.ACTIVATIONS[name](x.copy()), expected, rtol=0, atol=tolerance)


def test_softmax_survives_large_scores():
    """Scores of 1000 and more neither overflow nor become NaN."""
    y = layers.softmax_forward(np.array([[1000.0, 1000.0, -1000.0]]))
    assert y.tolist() == [[0.5, 0.5, 0.0]]


def test_attention_keeps_sentences_apart():
    """Changing one sentence leaves the output of the others bit for bit."""
    query, key, value = (RNG.standard_normal((11, 8)) for _ in range(3))
    groups = group_lengths([4, 4, 3])
    before = layers.attention_forward(query.copy(), key, value, groups, heads=2)
    value[4:8] += 1
    after = layers.attention_forward(query.copy(), key, value, groups, heads=2)
    assert np.array_equal(before[:4], after[:4])
    assert np.array_equal(before[8:], after[8:])
    assert np.allclose(after[4:8], before[4:8] + 1)


def test_attention_by_hand():
    """One head, one sentence: softmax(q kᵀ / √d) v."""
    query, key, value = (RNG.standard_normal((3, 4)) for _ in range(3))
    weights = np.exp(query @ key.T / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    out = layers.attention_forward(query, key, value, group_lengths([3]), heads=1)
    assert np.allclose(out, weights @ value, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "forward",
    [
        lambda x, cache: layers.linear_forward(x, np.eye(4), np.ones(4), cache),
        lambda x, cache: layers.layer_norm_forward(x, np.ones(4), np.ones(4), 1e-12, cache),
        lambda x, cache: layers.gelu_forward(x, cache),
        lambda x, cache: layers.attention_forward(
            x, x.copy(), x.copy(), group_lengths([6]), 2, cache
        ),
    ],
    ids=["linear", "layer norm", "gelu", "attention"],
)
def test_cache_changes_nothing_and_keeps_the_input(forward):
    """With a cache a layer gives the same result, leaves its input alone, and saves something."""
    x = RNG.standard_normal((6, 4))
    kept, cache = x.copy(), []
    with_cache = forward(x, cache)
    assert np.array_equal(x, kept)
    assert cache
    assert np.allclose(forward(x, None), with_cache, rtol=0, atol=1e-12)
