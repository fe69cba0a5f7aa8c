"""Each loss by hand, where it has no derivative, and its gradients by central differences."""

import math

import numpy as np
import pytest
from gradients import check_backward

from minisbert.training import losses

RNG = np.random.default_rng(17)


def make(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


def test_cross_entropy_by_hand():
    """Equal logits of four classes give log 4; a certain right answer gives 0, without overflow."""
    assert losses.cross_entropy_forward(np.zeros((2, 4)), np.array([0, 3])) == pytest.approx(
        math.log(4)
    )
    certain = np.array([[1e4, 0.0], [0.0, 1e4]])
    assert losses.cross_entropy_forward(certain, np.array([0, 1])) == 0
    assert losses.cross_entropy_forward(certain, np.array([1, 0])) == 1e4


def test_cross_entropy_backward():
    """The gradient of the logits."""
    labels = np.array([2, 0, 1, 1, 2])
    check_backward(
        lambda logits, cache: losses.cross_entropy_forward(logits, labels, cache=cache),
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
    check_backward(
        lambda logits, cache: losses.binary_cross_entropy_forward(logits, labels, cache=cache),
        losses.binary_cross_entropy_backward,
        [np.array([[0.5], [3.0], [-4.0], [0.0]])],
    )
    cache = []
    losses.binary_cross_entropy_forward(np.array([[1e4], [-1e4]]), np.zeros(2), cache=cache)
    assert losses.binary_cross_entropy_backward(1.0, cache).tolist() == [[0.5], [0.0]]


@pytest.mark.parametrize("concatenation", losses.CONCATENATIONS)
def test_softmax_loss_backward(concatenation):
    """Gradients of u, v, weight and bias for each concatenation of the paper's Table 6."""
    parts = concatenation.count(",") + 1
    labels = np.array([0, 2, 1, 1])

    def forward(u, v, weight, bias, cache):
        options = {"weight": weight, "bias": bias, "concatenation": concatenation}
        return losses.softmax_loss_forward(u, v, labels, **options, cache=cache)

    arrays = [make(4, 5), make(4, 5), make(3, parts * 5), make(3)]
    check_backward(forward, losses.softmax_loss_backward, arrays)


def test_concatenation_by_hand():
    """(u, v, |u - v|) side by side, in this order."""
    u, v = np.array([[1.0, 4.0]]), np.array([[3.0, 3.0]])
    assert losses.concatenate_features(u, v, "u,v,|u-v|").tolist() == [[1, 4, 3, 3, 2, 1]]


def test_no_gradient_where_u_equals_v():
    """The gradient of |u - v| at 0 is 0."""
    u = make(3, 4)
    cache = []
    weight = np.vstack([np.ones(4), -np.ones(4)])
    options = {"weight": weight, "bias": np.zeros(2), "concatenation": "|u-v|"}
    losses.softmax_loss_forward(u, u, np.zeros(3, int), **options, cache=cache)
    du, dv, _, _ = losses.softmax_loss_backward(1.0, cache)
    assert not du.any()
    assert not dv.any()


def test_cosine_loss_by_hand():
    """Cosines 1 and 0 against labels 0.5 and 0 have a mean squared error of 0.125."""
    u, v = np.array([[2.0, 0], [1, 0]]), np.array([[3.0, 0], [0, 5]])
    assert losses.cosine_loss_forward(u, v, np.array([0.5, 0])) == 0.125


def test_cosine_loss_backward():
    """Gradients of u and v."""
    labels = np.array([0.1, 0.9, 0.5])
    check_backward(
        lambda u, v, cache: losses.cosine_loss_forward(u, v, labels, cache=cache),
        losses.cosine_loss_backward,
        [make(3, 4), make(3, 4)],
    )


def test_zero_vector_has_cosine_zero_and_no_gradient():
    """A zero embedding counts as cosine 0, and gives and gets no gradient."""
    cache = []
    zero, v = np.zeros((1, 3)), make(1, 3)
    assert losses.cosine_loss_forward(zero, v, np.array([0.5]), cache=cache) == 0.25
    du, dv = losses.cosine_loss_backward(1.0, cache)
    assert not du.any()
    assert not dv.any()


def test_triplet_by_hand():
    """Distances 3 and 5 keep a margin of 1, and violate one of 5 by 3."""
    anchor = np.zeros((1, 2))
    positive, negative = np.array([[3.0, 0.0]]), np.array([[3.0, 4.0]])
    assert losses.triplet_loss_forward(anchor, positive, negative, margin=1) == 0
    assert losses.triplet_loss_forward(anchor, positive, negative, margin=5) == 3


def test_triplet_loss_backward():
    """Gradients of anchor, positive and negative, where the margin is violated and where not."""
    positive, negative = make(6, 3), make(6, 3)
    positive[0], negative[0] = 0.1, 9.0
    check_backward(
        lambda a, p, n, cache: losses.triplet_loss_forward(a, p, n, margin=1.0, cache=cache),
        losses.triplet_loss_backward,
        [make(6, 3) * 0.1, positive, negative],
    )


@pytest.mark.parametrize("where", ["positive", "negative", "both"])
def test_triplet_at_distance_zero(where):
    """A text at distance 0 gives no gradient for that distance, and no NaN."""
    anchor, other = make(1, 3), make(1, 3)
    positive = anchor if where in ("positive", "both") else other
    negative = anchor if where in ("negative", "both") else other
    cache = []
    losses.triplet_loss_forward(anchor, positive, negative, margin=100.0, cache=cache)
    danchor, dpositive, dnegative = losses.triplet_loss_backward(1.0, cache)
    assert np.isfinite(danchor).all()
    assert dpositive.any() == (where == "negative")
    assert dnegative.any() == (where == "positive")


def test_triplet_on_the_margin():
    """A triplet that keeps the margin exactly has no gradient."""
    cache = []
    near, far = np.array([[1.0, 0.0]]), np.array([[2.0, 0.0]])
    assert losses.triplet_loss_forward(np.zeros((1, 2)), near, far, margin=1.0, cache=cache) == 0
    assert not any(gradient.any() for gradient in losses.triplet_loss_backward(1.0, cache))


def test_ranking_by_hand():
    """Two anchors equally near to both candidates give log 2; scale 20 separates right ones."""
    alike = np.array([[1.0, 1.0], [1.0, 1.0]])
    candidates = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert losses.ranking_loss_forward(alike, candidates, scale=20) == pytest.approx(math.log(2))
    assert losses.ranking_loss_forward(candidates, 7 * candidates, scale=20) == pytest.approx(
        math.log1p(math.exp(-20))
    )


@pytest.mark.parametrize("columns", [1, 2])
def test_ranking_backward(columns):
    """Gradients of anchors and positives, and of hard negatives if there are any."""
    check_backward(
        lambda *texts, cache: losses.ranking_loss_forward(*texts, scale=4.0, cache=cache),
        losses.ranking_loss_backward,
        [make(3, 4), *(make(3, 4) for _ in range(columns))],
    )


def test_float32_stays_float32():
    """Gradients have the type of the embeddings."""
    u, v = make(3, 4).astype(np.float32), make(3, 4).astype(np.float32)
    labels = np.array([0.1, 0.5, 0.9], np.float32)
    cache = []
    losses.cosine_loss_forward(u, v, labels, cache=cache)
    assert {g.dtype for g in losses.cosine_loss_backward(1.0, cache)} == {np.dtype(np.float32)}
    losses.triplet_loss_forward(u, v, v[::-1], margin=5.0, cache=cache)
    assert {g.dtype for g in losses.triplet_loss_backward(1.0, cache)} == {np.dtype(np.float32)}
    losses.ranking_loss_forward(u, v, scale=20.0, cache=cache)
    assert {g.dtype for g in losses.ranking_loss_backward(1.0, cache)} == {np.dtype(np.float32)}
    losses.binary_cross_entropy_forward(u[:, :1], labels, cache=cache)
    assert losses.binary_cross_entropy_backward(1.0, cache).dtype == np.float32
