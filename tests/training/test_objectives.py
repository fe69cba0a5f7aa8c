"""The table of objectives: its records, what is refused, and that each is the loss it names."""

import re
from pathlib import Path

import numpy as np
import pytest

import minisbert
from minisbert.training.losses import CONCATENATIONS, triplet_loss_forward
from minisbert.training.objectives import (
    CLASSIFIER,
    OBJECTIVES,
    find_objective,
    make_classifier,
    make_loss,
)

RNG = np.random.default_rng(13)
ROOT = Path(minisbert.__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "needs", "cross_encoder", "options"),
    [
        ("cosine", "two texts and a score", False, {}),
        ("softmax", "two texts and a class", False, {"concatenation": "u,v,|u-v|"}),
        ("triplet", "three texts", False, {"margin": 1.0}),
        ("ranking", "two or three texts", False, {"scale": 20.0}),
        ("binary", "two texts and a score", True, {}),
        ("classes", "two texts and a class", True, {}),
    ],
)
def test_records(name, needs, cross_encoder, options):
    """Each objective says what an example is, for which model it is, and its default options."""
    objective = OBJECTIVES[name]
    assert (objective.name, objective.needs) == (name, needs)
    assert (objective.cross_encoder, objective.options) == (cross_encoder, options)
    assert make_loss(name).options == options
    assert find_objective(name) == find_objective(name, cross_encoder) == objective
    with pytest.raises(ValueError, match=f"for a .*-encoder, got '{name}'"):
        find_objective(name, not cross_encoder)


def test_unknown_objectives_are_refused():
    """An unknown name is an error that lists the known ones."""
    names = ", ".join(OBJECTIVES)
    with pytest.raises(ValueError, match=f"objective must be one of {names}, got 'mse'"):
        make_loss("mse")
    with pytest.raises(ValueError, match="one of binary, classes for a cross-encoder, got 'mse'"):
        find_objective("mse", True)


def write_table() -> list[str]:
    """The table of objectives in Markdown."""
    lines = [
        "| objective | for a | an example is | loss | options | source |",
        "|---|---|---|---|---|---|",
    ]
    for name, objective in OBJECTIVES.items():
        model = "cross-encoder" if objective.cross_encoder else "bi-encoder"
        options = ", ".join(f"`{key}={value!r}`" for key, value in objective.options.items())
        cells = f"`{name}`", model, objective.needs, objective.summary, options, objective.source
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def test_readme_has_the_table():
    """Wherever a README has a table of objectives, it is that of the records."""
    tables = [
        table.strip().splitlines()
        for path in [ROOT / "README.md", *(ROOT / "minisbert").rglob("README.md")]
        for table in re.findall(r"^\| objective \|.*\n(?:\|.*\n)*", path.read_text("utf-8"), re.M)
    ]
    assert tables
    assert all(table == write_table() for table in tables)


@pytest.mark.parametrize("option", ["margin", "scale"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_margin_and_scale_must_be_positive(option, value):
    """A margin or a scale that is not above 0 and finite is refused."""
    with pytest.raises(ValueError, match=f"{option} must be a number above 0, got"):
        make_loss("triplet", **{option: value})


@pytest.mark.parametrize(
    ("objective", "option", "value", "remedy"),
    [
        ("cosine", "margin", 0.5, r"it is an option of triplet \(--margin\)"),
        ("triplet", "scale", 20, r"it is an option of ranking \(--cosine-scale\)"),
        ("binary", "concatenation", "u,v", r"it is an option of softmax \(--concatenation\)"),
    ],
)
def test_options_of_other_objectives_are_refused(objective, option, value, remedy):
    """An option that the objective would ignore is refused, with the objective that has it."""
    with pytest.raises(
        ValueError, match=f"^{option} must be left out for {objective}, .*; {remedy}"
    ):
        make_loss(objective, **{option: value})


def test_concatenation_must_be_one_of_the_seven():
    """Another order of the parts is refused, with the list of the seven."""
    with pytest.raises(ValueError, match=r"concatenation must be one of .*u,v,\|u-v\|.*got 'v,u'"):
        make_loss("softmax", concatenation="v,u")


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
    assert make_loss("softmax", concatenation=concatenation).make_parameters(
        k, E, seed=1
    ).keys() == {*classifier}
    again, other = (make_classifier(k, E, concatenation, seed=seed) for seed in (1, 2))
    assert np.array_equal(again[f"{CLASSIFIER}.weight"], weight)
    assert not np.array_equal(other[f"{CLASSIFIER}.weight"], weight)
    # The objective reads this classifier, and writes its gradients to arrays of the same shape.
    u, v = RNG.standard_normal((2, 5, E)).astype(np.float32)
    gradients = {name: np.full_like(array, np.nan) for name, array in classifier.items()}
    objective, cache = make_loss("softmax", concatenation=concatenation), []
    loss = objective.forward([u, v], np.array([0, 1, 2, 0, 1]), classifier, cache=cache)
    du, dv = objective.backward(cache, gradients)
    assert cache == []
    assert np.isfinite(loss)
    assert du.shape == dv.shape == u.shape
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    logits = objective.classify([u, v], classifier)
    assert logits.shape == (5, k)


def test_options_reach_the_losses():
    """The margin is that of the triplets, the scale that of the cosines."""
    a, b, c = RNG.standard_normal((3, 6, 4))
    for margin in (0.5, 5.0):
        loss = make_loss("triplet", margin=margin).forward([a, b, c], None, {})
        assert loss == triplet_loss_forward(a, b, c, margin=margin)
    losses = [make_loss("ranking", scale=s).forward([a, b], None, {}) for s in (1, 9)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("columns", [2, 3])
def test_ranking_splits_its_gradients(columns):
    """Positives and hard negatives get their own gradients back, in their order."""
    outputs = list(RNG.standard_normal((columns, 4, 6)))
    objective, cache = make_loss("ranking"), []
    loss = objective.forward(outputs, None, {}, cache=cache)
    gradients = objective.backward(cache, {})
    assert cache == []
    assert [gradient.shape for gradient in gradients] == [(4, 6)] * columns
    downhill = [x - 1e-3 * gradient for x, gradient in zip(outputs, gradients, strict=True)]
    assert objective.forward(downhill, None, {}) < loss
