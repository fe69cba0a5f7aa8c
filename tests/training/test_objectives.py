"""Objectives by name: what they refuse, and that each is the loss that it names."""

import numpy as np
import pytest

from minisbert.training.examples import FOR_CROSS_ENCODERS, NEEDS
from minisbert.training.losses import CONCATENATIONS, triplet_forward
from minisbert.training.objectives import CLASSIFIER, make_classifier, make_objective

RNG = np.random.default_rng(13)


def test_objectives_are_those_of_the_files():
    """Every objective that a file can be read for there is, and nothing else."""
    for name in NEEDS:
        objective = make_objective(name)
        assert objective.cross_encoder == (name in FOR_CROSS_ENCODERS.values())
        assert bool(objective.labels) == ("and a" in NEEDS[name].partition(",")[0])
    with pytest.raises(ValueError, match=r"objective must be one of cosine, .*, got 'mse'"):
        make_objective("mse")


@pytest.mark.parametrize("option", ["margin", "scale"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_margin_and_scale_must_be_positive(option, value):
    """A margin or a scale of nothing, or without bound, would train nothing."""
    with pytest.raises(ValueError, match=f"{option} must be a number above 0, got"):
        make_objective("triplet", **{option: value})


def test_concatenation_must_be_one_of_the_seven():
    """Another order of the parts is refused, with the list of what there is."""
    with pytest.raises(ValueError, match=r"concatenation must be one of .*u,v,\|u-v\|.*got 'v,u'"):
        make_objective("softmax", concatenation="v,u")


@pytest.mark.parametrize("concatenation", CONCATENATIONS)
def test_classifier(concatenation):
    """A fresh classifier fits its concatenation, is small, and depends on the seed alone."""
    k, E = 3, 8
    classifier = make_classifier(k, E, concatenation, seed=1)
    weight, bias = classifier[f"{CLASSIFIER}.weight"], classifier[f"{CLASSIFIER}.bias"]
    assert weight.dtype == bias.dtype == np.float32
    most = 1 / np.sqrt(weight.shape[1])
    assert 0.8 * most < np.abs(weight).max() <= most
    assert np.abs(bias).max() <= most
    again, other = (make_classifier(k, E, concatenation, seed) for seed in (1, 2))
    assert np.array_equal(again[f"{CLASSIFIER}.weight"], weight)
    assert not np.array_equal(other[f"{CLASSIFIER}.weight"], weight)
    # It is what the objective reads, and the gradients go to arrays of its shape.
    u, v = RNG.standard_normal((2, 5, E)).astype(np.float32)
    gradients = {name: np.full_like(array, np.nan) for name, array in classifier.items()}
    objective, cache = make_objective("softmax", concatenation=concatenation), []
    loss = objective.forward([u, v], np.array([0, 1, 2, 0, 1]), classifier, cache)
    du, dv = objective.backward(cache, gradients)
    assert cache == []
    assert np.isfinite(loss)
    assert du.shape == dv.shape == u.shape
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


def test_options_reach_the_losses():
    """The margin is that of the triplets, the scale that of the cosines."""
    a, b, c = RNG.standard_normal((3, 6, 4))
    for margin in (0.5, 5.0):
        loss = make_objective("triplet", margin=margin).forward([a, b, c], None, {}, None)
        assert loss == triplet_forward(a, b, c, margin)
    losses = [make_objective("ranking", scale=s).forward([a, b], None, {}, None) for s in (1, 9)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("columns", [2, 3])
def test_ranking_parts_its_gradients(columns):
    """Positives and hard negatives get their own gradients back, in their order."""
    outputs = list(RNG.standard_normal((columns, 4, 6)))
    objective, cache = make_objective("ranking"), []
    loss = objective.forward(outputs, None, {}, cache)
    gradients = objective.backward(cache, {})
    assert cache == []
    assert [gradient.shape for gradient in gradients] == [(4, 6)] * columns
    downhill = [x - 1e-3 * gradient for x, gradient in zip(outputs, gradients, strict=True)]
    assert objective.forward(downhill, None, {}, None) < loss
