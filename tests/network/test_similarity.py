"""Similarities by definition, in edge cases, and with the shapes of sentence-transformers."""

import numpy as np
import pytest
from gradients import check_backward

from minisbert.network import comparisons, similarity

RNG = np.random.default_rng(3)
A = RNG.standard_normal((4, 6)).astype(np.float32)
B = RNG.standard_normal((3, 6)).astype(np.float32)

BY_DEFINITION = {
    "cosine": lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    "dot": lambda a, b: a @ b,
    "euclidean": lambda a, b: -np.linalg.norm(a - b),
    "manhattan": lambda a, b: -np.abs(a - b).sum(),
}


@pytest.mark.parametrize("name", BY_DEFINITION)
def test_all_against_all(name):
    """Entry (i, j) compares row i of a with row j of b."""
    expected = [[BY_DEFINITION[name](a, b) for b in B] for a in A]
    got = comparisons.SIMILARITIES[name](A, B)
    assert got.dtype == np.float32
    assert np.allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BY_DEFINITION)
def test_pairwise(name):
    """Entry i compares row i with row i."""
    expected = [BY_DEFINITION[name](a, b) for a, b in zip(A[:3], B, strict=True)]
    got = comparisons.PAIRWISE_SIMILARITIES[name](A[:3], B)
    assert got.shape == (3,)
    assert np.allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BY_DEFINITION)
def test_single_vector_is_one_row(name):
    """A single vector counts as one row."""
    assert comparisons.SIMILARITIES[name](A[0], B).shape == (1, 3)


def test_zero_vector_has_cosine_zero():
    """A zero vector has cosine 0, not NaN, all against all and pairwise."""
    assert similarity.cosine_similarity(np.zeros(6), B).tolist() == [[0, 0, 0]]
    assert comparisons.pairwise_cosine_similarity(np.zeros(6), B[0]).tolist() == [0]


def test_near_rows_keep_their_distance():
    """Distances are computed from differences, so tiny ones survive large coordinates."""
    a = np.full((1, 4), 1000.0, np.float32)
    b = a + np.float32(0.01)
    exact = np.sqrt(((a.astype(float) - b) ** 2).sum())
    assert -comparisons.euclidean_similarity(a, b)[0, 0] == pytest.approx(exact, rel=1e-6)


def test_half_precision_is_widened():
    """float16 input is compared in float32: 300 x 300 would overflow."""
    half = np.full(2, 300, np.float16)
    assert comparisons.dot_similarity(half, half).tolist() == [[180000.0]]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: similarity.cosine_similarity(A, B[:, :5]), "same width, got 6 and 5"),
        (lambda: comparisons.pairwise_dot_similarity(A, B), "equally many rows, got 4 and 3"),
        (lambda: similarity.cosine_similarity(A[None], B), "a must be .* got 3 dimensions"),
    ],
)
def test_shapes_that_do_not_fit(call, sentence):
    """Shapes that don't fit are refused in one sentence."""
    with pytest.raises(ValueError, match=sentence):
        call()


def test_normalize_backward():
    """The gradient of scaling rows to length 1."""
    x = np.random.default_rng(4).standard_normal((5, 4))
    check_backward(similarity.normalize_forward, similarity.normalize_backward, [x])


def test_zero_vector_has_no_gradient():
    """A zero row, which has no direction, has gradient 0."""
    cache = []
    similarity.normalize_forward(np.array([[0.0, 0.0], [3.0, 4.0]]), cache=cache)
    dx = similarity.normalize_backward(np.ones((2, 2)), cache)
    assert dx[0].tolist() == [0, 0]
    assert np.allclose(dx[1], [0.032, -0.024], rtol=0, atol=1e-15)


def test_long_vectors_have_the_cosine_of_short_ones():
    """Squares that overflow float32 make no cosine NaN; infinity still does."""
    rows = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    for long in (rows * np.float32(1e20), rows * np.float32(1e38)):
        scores = similarity.cosine_similarity(long, rows)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, similarity.cosine_similarity(rows, rows), atol=1e-6)
    rows[0, 0] = np.inf
    assert np.isnan(similarity.cosine_similarity(rows, rows)[0]).all()
