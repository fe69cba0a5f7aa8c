"""The checks of the exercises: `check_N_*(answer)` checks an answer to exercise N, a module.

A check raises an error if the answer is wrong, and may return a remark. Either is printed under the
docstring of the check.
"""

from unittest import mock

import numpy as np
from gradients import check_backward

from minisbert import cosine_similarity, topk
from minisbert.network.config import BertConfig, parameter_shapes
from minisbert.network.pooling import POOLINGS, pooling_backward, pooling_forward
from minisbert.network.ragged import group_lengths
from models import SIZES, draw
from plain_bert import plain_bert


def expect_array(name, got, expected, tolerance=0.0):
    """Fail unless shape and elements are as expected; without a tolerance, bit for bit."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype != object, f"{name} must be numeric, got {got}"
    assert got.shape == expected.shape, f"{name} must have shape {expected.shape}, got {got.shape}"
    if tolerance:
        right = np.abs(got - expected) <= tolerance
    else:
        right = (got == expected) & (np.signbit(got) == np.signbit(expected))
        right |= np.isnan(got) & np.isnan(expected)
    for place in map(tuple, np.argwhere(~right)):
        where = str([int(index) for index in place]) if place else ""
        raise AssertionError(f"{name}{where} must be {expected[place]}, got {got[place]}")


# 1. The mask: a long and a short sentence in one padded batch of a small random network.

CONFIG = BertConfig(**SIZES, embedding_size=SIZES["hidden_size"], position_offset=0)
RNG = np.random.default_rng(0)
PARAMETERS = {
    name: draw(RNG, name, shape).astype(float) for name, shape in parameter_shapes(CONFIG).items()
}
IDS = np.array([[2, 9, 14, 7, 20, 31, 8, 15, 3], [2, 11, 3, 0, 0, 0, 0, 0, 0]])
ALONE = IDS[1:, :3]


def check_1_break(answer):
    """Without a mask, padding changes the vector of the short sentence."""
    alone = plain_bert(PARAMETERS, CONFIG, ALONE, np.ones_like(ALONE)).mean(axis=1)
    broken = plain_bert(PARAMETERS, CONFIG, IDS, np.ones_like(IDS)).mean(axis=1)
    cosine = cosine_similarity(alone, broken[1]).item()
    assert cosine < 0.9
    return f"its cosine with the vector of the sentence alone is {cosine:.2f}"


def check_1_weights(answer):
    """Scores log 1, log 3 and padding get the weights 1/4, 3/4 and 0, for any score of padding."""
    for padding in (0.0, -5.0, 1000.0):
        scores = np.tile([np.log(1), np.log(3), padding], (1, 2, 3, 1))
        weights = answer.masked_softmax(scores, np.array([[1, 1, 0]]))
        expected = np.tile([0.25, 0.75, 0], (1, 2, 3, 1))
        expect_array(f"with {padding:g} for padding, weights", weights, expected, 1e-12)


def check_1_tokens(answer):
    """With your softmax, every token of the short sentence has the vector that it has alone."""
    mask = (IDS != 0).astype(int)
    with mock.patch("plain_bert.softmax", lambda scores: answer.masked_softmax(scores, mask)):
        hidden = plain_bert(PARAMETERS, CONFIG, IDS, np.ones_like(IDS))
    alone = plain_bert(PARAMETERS, CONFIG, ALONE, np.ones_like(ALONE))
    expect_array("token vectors", hidden[1:, :3], alone, 1e-12)


def check_1_mean(answer):
    """The mean of [1, 2], [3, 6] and padding is [2, 4], for any vector of padding."""
    hidden = np.array([[[1.0, 2], [3, 6], [50, 70]]])
    expect_array("the mean", answer.masked_mean(hidden, np.array([[1, 1, 0]])), [[2, 4]], 1e-12)


# 2. Pooling.


def check_2_hand(answer):
    """Of two tokens the first gets the gradient, the second 0; the sentence does not change."""
    sentences = np.array([[[1.0, 2], [3, 4]]])
    dsentences = answer.spread_cls(np.array([[7.0, 8]]), sentences)
    expect_array("dsentences", dsentences, [[[7, 8], [0, 0]]], 1e-12)
    expect_array("sentences", sentences, [[[1, 2], [3, 4]]])


def check_2_project(answer):
    """With your function, the gradient of pooling agrees with central differences."""
    groups = group_lengths([4, 2, 2, 1])

    def backward(dpooled, sentences, skip):
        return answer.spread_cls(dpooled, sentences)

    with mock.patch.dict(POOLINGS, cls=POOLINGS["cls"]._replace(backward=backward)):
        check_backward(
            lambda x, cache: pooling_forward(x, groups, ["cls", "mean"], cache=cache),
            pooling_backward,
            [np.random.default_rng(2).standard_normal((9, 3))],
        )


# 3. CoSENT: two pairs with the cosines 0.6 and 0.8.

U, V = np.array([[1.0, 0], [2, 0]]), np.array([[3.0, 4], [4, 3]])


def check_3_hand(answer):
    """Cosines 0.6, 0.8 give log(1 + e⁴) with labels 1 and 0, log(1 + e⁻⁴) with labels 0 and 1."""
    for labels, expected in (([1.0, 0], 4.0181499279178090), ([0.0, 1], 0.0181499279178098)):
        loss = answer.cosent_forward(U, V, np.array(labels))
        expect_array(f"with labels {labels} the loss", loss, expected, 1e-12)


def check_3_equal(answer):
    """Pairs of equal labels are not compared: the loss and both gradients are 0."""
    cache = []
    expect_array("the loss", answer.cosent_forward(U, V, np.ones(2), cache=cache), 0.0, 1e-12)
    for name, gradient in zip("uv", answer.cosent_backward(1.0, cache), strict=True):
        expect_array(f"the gradient of {name}", gradient, np.zeros((2, 2)), 1e-12)


def check_3_overflow(answer):
    """Nothing overflows: with cosines 1 and -1 in the wrong order, scale 1000 gives 2000."""
    loss = answer.cosent_forward(U, np.array([[-1.0, 0], [1, 0]]), np.array([1, 0]), scale=1000.0)
    expect_array("the loss", loss, 2000.0, 1e-9)


def check_3_gradients(answer):
    """The gradients agree with central differences, also if the loss is scaled."""
    u, v = np.random.default_rng(3).standard_normal((2, 5, 4))
    options = {"labels": np.array([2, 0, 1, 1, 3]), "scale": 4.0}
    check_backward(
        lambda u, v, cache: answer.cosent_forward(u, v, **options, cache=cache),
        answer.cosent_backward,
        [u, v],
    )


# 4. The wrong gradient.


def check_4_finder(answer):
    """Of three layers made for this check, find_wrong_layers names the two that are wrong."""

    def forward(x, gamma, *, cache):
        cache.append((x, gamma))
        return x * gamma

    def backward(dout, cache):
        x, gamma = cache.pop()
        return dout * gamma, (dout * x).sum(axis=0)

    right = answer.LAYERS["rms_norm"]._replace(forward=forward, backward=backward)
    layers = {
        "right": right,
        "doubled": right._replace(backward=lambda d, cache: backward(2 * d, cache)),
        "no gamma": right._replace(backward=lambda d, cache: (d, backward(d, cache)[1])),
    }
    found = list(answer.find_wrong_layers(layers, np.random.default_rng(4)))
    assert found == ["doubled", "no gamma"], f"it must name 'doubled' and 'no gamma', got {found}"


def check_4_fixed(answer):
    """Every backward in the exercise is right."""
    rng = np.random.default_rng(5)
    found = answer.find_wrong_layers(answer.LAYERS, rng)
    assert not found, f"your find_wrong_layers names {', '.join(found)}: fix its backward"
    for layer in answer.LAYERS.values():
        check_backward(
            layer.forward, layer.backward, [rng.standard_normal(s) for s in layer.shapes]
        )


# 5. The scalar top-k.


def expect_topk(answer, query, rows, k):
    query, rows = np.asarray(query, np.float32), np.asarray(rows, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        scores, ids = answer.scalar_topk(query, rows, k)
    expected_scores, expected_ids = topk(query[None], rows, k)
    for name, got, expected in (("scores", scores, expected_scores), ("ids", ids, expected_ids)):
        expect_array(name, got, expected[0])
        assert got.dtype == expected.dtype, f"{name} must be {expected.dtype}, got {got.dtype}"


def check_5_hand(answer):
    """The sum of 1e8, 1 and -1e8 is 1 if the lanes add 1e8 and -1e8 first, else 0."""
    for places, expected in (((0, 4, 8), 1.0), ((0, 16, 32), 0.0), ((0, 8, 4), 0.0)):
        a = np.zeros(40, np.float32)
        a[list(places)] = 1e8, 1, -1e8
        dot = answer.canonical_dot(a, np.ones(40, np.float32))
        expect_array(f"with 1e8, 1, -1e8 as elements {places}, the score", dot, expected)


def check_5_bits(answer):
    """Scores and ids equal those of minisbert.topk bit for bit, at widths from 1 to 70."""
    rng = np.random.default_rng(5)
    for D in (1, 7, 15, 16, 17, 33, 70):
        expect_topk(answer, rng.standard_normal(D), rng.standard_normal((12, D)), 5)


def check_5_ties(answer):
    """Of equal scores the lower row comes first, and k may exceed the number of rows."""
    expect_topk(answer, [1, 2], [[1, 1], [3, 0], [5, 1], [0, 1.5], [7, 0], [3, 2]], 4)
    expect_topk(answer, [1, 2], [[1, 1], [3, 0]], 9)


def check_5_nan(answer):
    """A score of NaN comes last, after minus infinity; no score is minus zero."""
    nan, inf = np.nan, np.inf
    expect_topk(answer, [1, 1], [[nan, 1], [-inf, 0], [1, 1], [inf, -inf], [inf, 0], [3e38] * 2], 6)
    expect_topk(answer, [1, -1], [[-1, 1], [-0.0, 0.0], [0, 0]], 3)
