"""Each layer by a value worked out by hand, and its gradients by central differences."""

import numpy as np
import pytest
from gradients import check_backward

from minisbert.network import layers
from minisbert.network.activations import gelu_forward
from minisbert.network.ragged import find_first_rows, group_lengths

RNG = np.random.default_rng(7)


def test_linear_multiplies_by_out_in_weights():
    """y = x Wᵀ + b, with W of shape (out, in)."""
    y = layers.linear_forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]] * 3), np.arange(3.0))
    assert y.tolist() == [[11.0, 12.0, 13.0]]


@pytest.mark.parametrize("rows", range(1, 20))
def test_linear_row_does_not_depend_on_the_batch(rows):
    """A row's product has the same bits, whatever the number of rows in the batch."""
    x = RNG.standard_normal((40, 384)).astype(np.float32)
    weight = RNG.standard_normal((384, 384)).astype(np.float32)
    bias = np.zeros(384, np.float32)
    whole = layers.linear_forward(x, weight, bias)
    assert np.array_equal(layers.linear_forward(x[:rows], weight, bias), whole[:rows])


def test_layer_norm_uses_population_variance_and_epsilon_inside_the_root():
    """Row (1, 3) has mean 2 and variance 1; epsilon 3 makes the divisor 2."""
    y = layers.layer_norm_forward(
        np.array([[1.0, 3.0]]), np.array([4.0, 4]), np.array([1.0, 1]), epsilon=3
    )
    assert y.tolist() == [[-1.0, 3.0]]


def test_softmax_survives_large_scores():
    """Scores of 1000 and more neither overflow nor become NaN."""
    y = layers.softmax_forward(np.array([[1000.0, 1000.0, -1000.0]]))
    assert y.tolist() == [[0.5, 0.5, 0.0]]


def test_attention_keeps_sentences_apart():
    """Changing one sentence does not change the output of the others, bit for bit."""
    query, key, value = (RNG.standard_normal((11, 8)) for _ in range(3))
    groups = group_lengths([4, 4, 3])
    before = layers.attention_forward(query, key, value, groups=groups, heads=2)
    value[4:8] += 1
    after = layers.attention_forward(query, key, value, groups=groups, heads=2)
    assert np.array_equal(before[:4], after[:4])
    assert np.array_equal(before[8:], after[8:])
    assert np.allclose(after[4:8], before[4:8] + 1)


def test_attention_by_hand():
    """One head, one sentence: softmax(q kᵀ / √d) v."""
    query, key, value = (RNG.standard_normal((3, 4)) for _ in range(3))
    weights = np.exp(query @ key.T / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    out = layers.attention_forward(query, key, value, groups=group_lengths([3]), heads=1)
    assert np.allclose(out, weights @ value, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "forward",
    [
        lambda x, cache: layers.linear_forward(x, np.eye(4), np.ones(4), cache=cache),
        lambda x, cache: layers.layer_norm_forward(
            x, np.ones(4), np.ones(4), epsilon=1e-12, cache=cache
        ),
        gelu_forward,
        lambda x, cache: layers.attention_forward(
            x, x.copy(), x.copy(), groups=group_lengths([6]), heads=2, cache=cache
        ),
    ],
    ids=["linear", "layer norm", "gelu", "attention"],
)
def test_cache_changes_nothing_and_keeps_the_input(forward):
    """A layer gives the same result with and without a cache, and does not change its input."""
    x = RNG.standard_normal((6, 4))
    kept, cache = x.copy(), []
    with_cache = forward(x, cache=cache)
    assert np.array_equal(x, kept)
    assert cache
    assert np.allclose(forward(x, cache=None), with_cache, rtol=0, atol=1e-12)
    assert np.array_equal(x, kept)


@pytest.mark.parametrize(
    "forward",
    [
        lambda x, **kept: layers.layer_norm_forward(
            x, np.ones(4), np.ones(4), epsilon=1e-12, **kept
        ),
        layers.softmax_forward,
        gelu_forward,
        lambda x, **kept: layers.attention_forward(
            x, x + 1, x - 1, groups=group_lengths([6]), heads=2, **kept
        ),
    ],
    ids=["layer norm", "softmax", "gelu", "attention"],
)
def test_out_receives_the_result(forward):
    """A result goes into the array given as `out`, which may be the input itself."""
    x = RNG.standard_normal((6, 4))
    expected, out = forward(x), np.empty_like(x)
    assert forward(x, out=out) is out
    assert np.array_equal(out, expected)
    assert forward(x, out=out, cache=[]) is out
    assert np.allclose(out, expected, rtol=0, atol=1e-12)
    assert forward(x, out=x) is x
    assert np.array_equal(x, expected)


# Gradients


def make(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def test_linear_backward():
    """Gradients of a linear layer with respect to x, weight and bias, for few rows and many."""
    for rows in (1, 9):
        check_backward(
            layers.linear_forward, layers.linear_backward, [make(rows, 4), make(3, 4), make(3)]
        )


def test_linear_backward_writes_into_given_arrays():
    """Gradients of weight and bias are written into the arrays given."""
    cache, dweight, dbias = [], np.empty((3, 4)), np.empty(3)
    layers.linear_forward(make(5, 4), make(3, 4), None, cache=cache)
    _, first, second = layers.linear_backward(make(5, 3), cache, dweight=dweight, dbias=dbias)
    assert first is dweight
    assert second is dbias


def test_layer_norm_backward():
    """Gradients of layer norm with respect to x, gamma and beta."""

    def forward(x, gamma, beta, cache):
        return layers.layer_norm_forward(x, gamma, beta, epsilon=1e-5, cache=cache)

    check_backward(forward, layers.layer_norm_backward, [make(5, 6), make(6), make(6)])


def test_softmax_backward():
    """The gradient of softmax over the last axis."""

    def forward(x, cache):
        return layers.softmax_forward(x, cache=cache)

    check_backward(forward, layers.softmax_backward, [make(2, 3, 4)])


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("first_only", [False, True])
def test_attention_backward(first_only, rate):
    """Gradients with respect to query, key and value, on groups of several lengths."""
    groups = group_lengths([4, 4, 3, 1])
    query_groups = find_first_rows(groups)[1] if first_only else None
    queries = 4 if first_only else 12

    def forward(query, key, value, cache):
        rng = np.random.default_rng(5) if rate else None
        return layers.attention_forward(
            query,
            key,
            value,
            groups=groups,
            heads=2,
            query_groups=query_groups,
            dropout=rate,
            rng=rng,
            cache=cache,
        )

    arrays = [make(queries, 6), make(12, 6), make(12, 6)]
    check_backward(forward, layers.attention_backward, arrays)


def test_lookup_backward_sums_repeated_rows():
    """The gradient has each row that was looked up once, with the sum of its gradients."""
    ids = np.array([5, 2, 5, 5, 0])
    cache, dout = [], make(5, 3)
    layers.lookup_forward(ids, make(7, 3), cache=cache)
    rows, sums = layers.lookup_backward(dout, cache)
    assert rows.tolist() == [0, 2, 5]
    assert np.allclose(sums, [dout[4], dout[1], dout[0] + dout[2] + dout[3]], rtol=0, atol=1e-15)


def test_lookup_backward_is_the_gradient_of_the_table():
    """The rows, written into a table of zeros, are the gradient of the table."""
    ids = np.array([5, 2, 5, 5, 0])

    def backward(dout, cache):
        table = np.zeros((7, 3))
        rows, sums = layers.lookup_backward(dout, cache)
        table[rows] = sums
        return table

    check_backward(
        lambda table, cache: layers.lookup_forward(ids, table, cache=cache), backward, [make(7, 3)]
    )


def test_dropout_drops_its_share_and_keeps_the_mean():
    """At rate 0.2 a fifth of the elements is 0, the others are scaled by 1.25; a seed decides."""
    x = np.ones((300, 400), np.float32)
    out = layers.dropout_forward(x, 0.2, np.random.default_rng(1))
    assert out.dtype == np.float32
    assert {*np.unique(out).tolist()} == {0, 1.25}
    assert abs((out == 0).mean() - 0.2) < 0.005
    assert np.array_equal(out, layers.dropout_forward(x, 0.2, np.random.default_rng(1)))


def test_dropout_backward():
    """Dropped elements have gradient 0, the others the factor of the forward."""
    check_backward(
        lambda x, cache: layers.dropout_forward(x, 0.5, np.random.default_rng(2), cache=cache),
        layers.dropout_backward,
        [make(4, 5)],
    )


@pytest.mark.parametrize(("rate", "rng"), [(0.5, None), (0.0, np.random.default_rng(0))])
def test_no_dropout(rate, rng):
    """Without a generator, or at rate 0, nothing is dropped, forward or backward."""
    x, cache = make(3, 3), []
    assert layers.dropout_forward(x, rate, rng, cache=cache) is x
    assert layers.dropout_backward(x, cache) is x
