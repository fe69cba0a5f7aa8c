"""Each objective by hand, at its kinks, and its gradients by differences."""

import math

import numpy as np
import pytest
from gradients import check_twins

from minisbert.training import losses

RNG = np.random.default_rng(17)


def make(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def test_cross_entropy_by_hand():
    """Equal scores of four classes are log 4; a sure right answer is 0, without overflow."""
    assert losses.cross_entropy_forward(np.zeros((2, 4)), np.array([0, 3])) == pytest.approx(
        math.log(4)
    )
    sure = np.array([[1e4, 0.0], [0.0, 1e4]])
    assert losses.cross_entropy_forward(sure, np.array([0, 1])) == 0
    assert losses.cross_entropy_forward(sure, np.array([1, 0])) == 1e4


def test_cross_entropy_backward():
    """The gradient of the logits."""
    labels = np.array([2, 0, 1, 1, 2])
    check_twins(
        lambda logits, cache: losses.cross_entropy_forward(logits, labels, cache),
        losses.cross_entropy_backward,
        [make(5, 3)],
    )


def test_binary_cross_entropy_by_hand():
    """-y log s - (1 - y) log (1 - s), and no overflow at logits of 1000."""
    logits, labels = np.array([[0.3], [-2.0]]), np.array([1.0, 0.25])
    s = 1 / (1 + np.exp(-logits[:, 0]))
    expected = np.mean(-labels * np.log(s) - (1 - labels) * np.log(1 - s))
    assert losses.binary_cross_entropy_forward(logits, labels) == pytest.approx(expected)
    far = np.array([[1000.0], [-1000.0]])
    assert losses.binary_cross_entropy_forward(far, np.array([1.0, 0.0])) == 0
    assert losses.binary_cross_entropy_forward(far, np.array([0.0, 1.0])) == 1000


def test_binary_cross_entropy_backward():
    """The gradient of the logits, large ones too."""
    labels = np.array([1.0, 0.0, 0.4, 0.4])
    check_twins(
        lambda logits, cache: losses.binary_cross_entropy_forward(logits, labels, cache),
        losses.binary_cross_entropy_backward,
        [np.array([[0.5], [3.0], [-4.0], [0.0]])],
    )
    cache = []
    losses.binary_cross_entropy_forward(np.array([[1e4], [-1e4]]), np.zeros(2), cache)
    assert losses.binary_cross_entropy_backward(1.0, cache).tolist() == [[0.5], [0.0]]


@pytest.mark.parametrize("concatenation", losses.CONCATENATIONS)
def test_classification_backward(concatenation):
    """Gradients of u, v, weight and bias for each concatenation of the paper's Table 6."""
    parts = concatenation.count(",") + 1
    labels = np.array([0, 2, 1, 1])

    def forward(u, v, weight, bias, cache):
        return losses.classification_forward(u, v, labels, weight, bias, concatenation, cache)

    arrays = [make(4, 5), make(4, 5), make(3, parts * 5), make(3)]
    check_twins(forward, losses.classification_backward, arrays)


def test_concatenation_by_hand():
    """(u, v, |u - v|) side by side, in this order."""
    u, v = np.array([[1.0, 4.0]]), np.array([[3.0, 3.0]])
    cache = []
    losses.classification_forward(u, v, np.array([0]), np.ones((2, 6)), np.zeros(2), cache=cache)
    features, _ = cache[1]
    assert features.tolist() == [[1, 4, 3, 3, 2, 1]]


def test_no_slope_where_u_equals_v():
    """The gradient of |u - v| at 0 is 0."""
    u = make(3, 4)
    cache = []
    weight = np.vstack([np.ones(4), -np.ones(4)])
    losses.classification_forward(u, u, np.zeros(3, int), weight, np.zeros(2), "|u-v|", cache)
    du, dv, _, _ = losses.classification_backward(1.0, cache)
    assert not du.any()
    assert not dv.any()


def test_regression_by_hand():
    """Cosines 1 and 0 against labels 0.5 and 0 have a mean squared error of 0.125."""
    u, v = np.array([[2.0, 0], [1, 0]]), np.array([[3.0, 0], [0, 5]])
    assert losses.regression_forward(u, v, np.array([0.5, 0])) == 0.125


def test_regression_backward():
    """Gradients of u and v."""
    labels = np.array([0.1, 0.9, 0.5])
    check_twins(
        lambda u, v, cache: losses.regression_forward(u, v, labels, cache),
        losses.regression_backward,
        [make(3, 4), make(3, 4)],
    )


def test_zero_vector_has_cosine_zero_and_no_gradient():
    """A zero embedding counts as cosine 0, and gives and gets no gradient."""
    cache = []
    zero, v = np.zeros((1, 3)), make(1, 3)
    assert losses.regression_forward(zero, v, np.array([0.5]), cache) == 0.25
    du, dv = losses.regression_backward(1.0, cache)
    assert not du.any()
    assert not dv.any()


def test_triplet_by_hand():
    """Distances 3 and 5 with margin 1 miss nothing, with margin 5 they miss 3."""
    anchor = np.zeros((1, 2))
    positive, negative = np.array([[3.0, 0.0]]), np.array([[3.0, 4.0]])
    assert losses.triplet_forward(anchor, positive, negative) == 0
    assert losses.triplet_forward(anchor, positive, negative, margin=5) == 3


def test_triplet_backward():
    """Gradients of anchor, positive and negative, of triplets that miss and that don't."""
    positive, negative = make(6, 3), make(6, 3)
    positive[0], negative[0] = 0.1, 9.0
    check_twins(
        lambda a, p, n, cache: losses.triplet_forward(a, p, n, 1.0, cache),
        losses.triplet_backward,
        [make(6, 3) * 0.1, positive, negative],
    )


@pytest.mark.parametrize("where", ["positive", "negative", "both"])
def test_triplet_at_distance_zero(where):
    """A text at distance 0 gives no gradient for that distance, and no NaN."""
    anchor, other = make(1, 3), make(1, 3)
    positive = anchor if where in ("positive", "both") else other
    negative = anchor if where in ("negative", "both") else other
    cache = []
    losses.triplet_forward(anchor, positive, negative, 100.0, cache)
    danchor, dpositive, dnegative = losses.triplet_backward(1.0, cache)
    assert np.isfinite(danchor).all()
    assert dpositive.any() == (where == "negative")
    assert dnegative.any() == (where == "positive")


def test_triplet_on_the_margin():
    """A triplet that misses exactly nothing has no gradient."""
    cache = []
    near, far = np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]])
    assert losses.triplet_forward(np.zeros((1, 2)), near, far, 1.0, cache) == 0
    assert not any(gradient.any() for gradient in losses.triplet_backward(1.0, cache))


def test_ranking_by_hand():
    """Two anchors that see both candidates alike lose log 2; scale 20 makes a right one sure."""
    alike = np.array([[1.0, 1.0], [1.0, 1.0]])
    candidates = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert losses.ranking_forward(alike, candidates) == pytest.approx(math.log(2))
    assert losses.ranking_forward(candidates, 7 * candidates) == pytest.approx(
        math.log1p(math.exp(-20))
    )


@pytest.mark.parametrize("candidates", [3, 6])
def test_ranking_backward(candidates):
    """Gradients of anchors and candidates, without and with further negatives."""
    check_twins(
        lambda a, c, cache: losses.ranking_forward(a, c, 4.0, cache),
        losses.ranking_backward,
        [make(3, 4), make(candidates, 4)],
    )


def test_float32_stays_float32():
    """Gradients have the type of the embeddings."""
    u, v = make(3, 4).astype(np.float32), make(3, 4).astype(np.float32)
    labels = np.array([0.1, 0.5, 0.9], np.float32)
    cache = []
    losses.regression_forward(u, v, labels, cache)
    assert {g.dtype for g in losses.regression_backward(1.0, cache)} == {np.dtype(np.float32)}
    losses.triplet_forward(u, v, v[::-1], 5.0, cache)
    assert {g.dtype for g in losses.triplet_backward(1.0, cache)} == {np.dtype(np.float32)}
    losses.ranking_forward(u, v, 20.0, cache)
    assert {g.dtype for g in losses.ranking_backward(1.0, cache)} == {np.dtype(np.float32)}
    losses.binary_cross_entropy_forward(u[:, :1], labels, cache)
    assert losses.binary_cross_entropy_backward(1.0, cache).dtype == np.float32
