"""Gradients of all parameters beside torch autograd, in float64, through training's own step."""

import numpy as np
import pytest
from torch_peer import TorchPeer

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.network.families import FAMILIES
from minisbert.network.layers import RowGradient
from minisbert.training.losses import CONCATENATIONS
from minisbert.training.networks import make_network
from minisbert.training.objectives import make_classifier, make_loss
from minisbert.training.step import Batch, Trainer
from models import SIZES, make_cross_encoder_directory, make_model_directory

# Rounding only; our GELU's slope is within 1e-5 of the true one.
TOLERANCES = {"relu": 1e-9, "gelu_new": 1e-9, "gelu": 2e-5}

OBJECTIVES = [
    ("cosine", 2, {}),
    *(("softmax", 2, {"concatenation": names}) for names in CONCATENATIONS),
    ("triplet", 3, {}),
    ("triplet", 3, {"margin": 5.0}),
    ("ranking", 2, {}),
    ("ranking", 3, {"scale": 5.0}),
]
MODULES = [
    {"pooling": (pooling,), "dense": dense, "normalize": normalize}
    for pooling, dense, normalize in (
        ("mean", None, False),
        ("cls", None, False),
        ("max", None, False),
        ("mean", 24, False),
        ("mean", None, True),
        ("cls", 24, True),
    )
]


FAMILY_SIZES = {
    name: {"type_vocab_size": 1 if family.padding else 2, "pad_token_id": family.padding or 0}
    for name, family in FAMILIES.items()
}


def make_batch(objective, columns, B, seed):
    """Texts of 2 to 20 random tokens: several of one length, and most tokens several times."""
    rng = np.random.default_rng(seed)
    cross = objective in ("binary", "classes")
    ids = [
        [rng.integers(2, SIZES["vocab_size"], rng.integers(2, 21)) for _ in range(B)]
        for _ in range(columns)
    ]
    # A pair's second text is segment 1.
    types = [[np.arange(len(text)) >= len(text) // 2 for text in ids[0]]] if cross else None
    types = types and [[segments.astype(np.int64) for segments in types[0]]]
    labels = None
    if objective in ("cosine", "binary"):
        labels = rng.random(B)
    elif objective in ("softmax", "classes"):
        labels = rng.integers(0, 3, B)
    return Batch(ids, types, labels)


def differentiate(directory, objective, columns, B, options):
    """Gradients of a batch by minisbert and by torch, by name and dense."""
    if objective in ("binary", "classes"):
        model = CrossEncoder(directory)
    else:
        model = SentenceTransformer(directory)
    parameters = {name: p.astype(np.float64) for name, p in model.parameters.items()}
    if objective == "softmax":
        concatenation, width = options["concatenation"], model.get_embedding_dimension()
        classifier = make_classifier(3, width, concatenation, seed=0)
        parameters |= {name: p.astype(np.float64) for name, p in classifier.items()}
    batch = make_batch(objective, columns, B, seed=1)
    if model.config.bert.variant.one_segment:
        batch = batch._replace(types=None)
    peer = TorchPeer(directory, model.config, parameters, objective, **options)
    expected_loss = peer.differentiate(batch)
    expected = {name: p.grad.numpy() for name, p in peer.parameters.items()}
    trainer = Trainer(make_network(model.config), make_loss(objective, **options), parameters)
    # Another batch first: what it leaves in the arrays must not count.
    trainer.differentiate(make_batch(objective, columns, B + 1, seed=2), None)
    loss, norm = trainer.differentiate(batch, None)
    gradients = {name: spread(g, parameters[name]) for name, g in trainer.halves[0].items()}
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    squares = sum(float((gradient**2).sum()) for gradient in expected.values())
    assert norm == pytest.approx(squares**0.5, rel=1e-4)
    return gradients, expected


def spread(gradient, parameter):
    """A gradient as a dense array."""
    if not isinstance(gradient, RowGradient):
        return gradient
    dense = np.zeros_like(parameter)
    dense[gradient.rows] = gradient.sums
    return dense


def check_gradients(gradients, expected, tolerance):
    """Fail if any element is off by more than `tolerance` of the largest of all parameters.

    There is no error relative to each parameter: a key bias has a true gradient of 0.
    """
    assert gradients.keys() == expected.keys()
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    assert largest > 1e-3, "gradients of nothing but zeros would prove nothing"
    for name, gradient in gradients.items():
        assert gradient.shape == expected[name].shape
        assert np.abs(gradient - expected[name]).max() <= tolerance * largest, name


@pytest.mark.parametrize("activation", TOLERANCES)
@pytest.mark.parametrize("modules", MODULES, ids=lambda m: "-".join(map(str, m.values())))
@pytest.mark.parametrize(("objective", "columns", "options"), OBJECTIVES)
def test_bi_encoder(tmp_path, objective, columns, options, modules, activation):
    """Every parameter of a bi-encoder has torch's gradient, for every objective."""
    directory = make_model_directory(
        tmp_path, num_hidden_layers=3, hidden_act=activation, **modules
    )
    gradients, expected = differentiate(directory, objective, columns, 7, options)
    check_gradients(gradients, expected, TOLERANCES[activation])


@pytest.mark.parametrize("activation", TOLERANCES)
@pytest.mark.parametrize("B", [1, 2, 9])
@pytest.mark.parametrize(("objective", "num_labels"), [("binary", 1), ("classes", 3)])
def test_cross_encoder(tmp_path, objective, num_labels, B, activation):
    """Every parameter of a cross-encoder does, also when one pair leaves a half of none."""
    directory = make_cross_encoder_directory(
        tmp_path, num_labels=num_labels, num_hidden_layers=3, hidden_act=activation
    )
    gradients, expected = differentiate(directory, objective, 1, B, {})
    check_gradients(gradients, expected, TOLERANCES[activation])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_families(tmp_path, model_type, pooling):
    """Every parameter of every family's bi-encoder does: MPNet's bias, ALBERT's one block."""
    sizes = {"num_hidden_layers": 3, "hidden_act": "gelu_new", **FAMILY_SIZES[model_type]}
    directory = make_model_directory(tmp_path, model_type=model_type, pooling=(pooling,), **sizes)
    gradients, expected = differentiate(directory, "ranking", 2, 7, {})
    check_gradients(gradients, expected, TOLERANCES["gelu_new"])


@pytest.mark.parametrize("model_type", FAMILIES)
def test_heads_of_families(tmp_path, model_type):
    """So does every parameter of every family's cross-encoder."""
    sizes = {"num_hidden_layers": 3, "hidden_act": "gelu_new", **FAMILY_SIZES[model_type]}
    directory = make_cross_encoder_directory(tmp_path, model_type=model_type, num_labels=3, **sizes)
    gradients, expected = differentiate(directory, "classes", 1, 7, {})
    check_gradients(gradients, expected, TOLERANCES["gelu_new"])


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_one_wrong_element_is_rejected(tmp_path, activation):
    """One element off by twice the tolerance is seen, in whichever parameter; so is a lost one."""
    tolerance = TOLERANCES[activation]
    directory = make_model_directory(tmp_path, hidden_act=activation, dense=24)
    gradients, expected = differentiate(directory, "cosine", 2, 7, {})
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for name, gradient in gradients.items():
        wrong = gradient.copy()
        wrong.flat[-1] = expected[name].flat[-1] + 2 * tolerance * largest
        with pytest.raises(AssertionError, match=name):
            check_gradients(gradients | {name: wrong}, expected, tolerance)
    del gradients["embeddings.LayerNorm.bias"]
    with pytest.raises(AssertionError):
        check_gradients(gradients, expected, tolerance)
