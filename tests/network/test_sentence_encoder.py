"""The gradients of whole networks, against central differences in float64."""

import numpy as np
import pytest
from gradients import check_gradient, differentiate

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.network.bert import WORDS
from minisbert.network.heads import pair_backward, pair_forward
from minisbert.network.ragged import join_sentences
from minisbert.network.sentence_encoder import sentence_backward, sentence_forward
from models import make_cross_encoder_directory, make_model_directory

RNG = np.random.default_rng(31)


def make_batch(lengths, vocabulary: int, with_types: bool = False):
    ids = [RNG.integers(0, vocabulary, length) for length in lengths]
    types = [RNG.integers(0, 2, length) for length in lengths] if with_types else None
    return join_sentences(ids, types)


def check_network(model, forward, backward) -> None:
    """Compare every parameter's gradient with the loss's derivative in a random direction.

    forward   (parameters, cache) -> out
    backward  (dout, cache, gradients)
    """
    parameters = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    gradients = {name: np.zeros_like(array) for name, array in parameters.items()}
    cache = []
    # A steep loss, so that its derivative is seldom near 0 by chance.
    dout = 100 * RNG.standard_normal(forward(parameters, cache).shape)
    backward(dout, cache, gradients)
    assert cache == [], "a backward must pop all that its forward pushed"
    rows, sums = gradients[WORDS]
    gradients[WORDS] = np.zeros_like(parameters[WORDS])
    gradients[WORDS][rows] = sums
    for name, array in parameters.items():
        direction = RNG.standard_normal(array.shape)
        direction /= np.linalg.norm(direction)
        step = np.zeros(1)

        def loss(name=name, array=array, direction=direction, step=step):
            moved = {**parameters, name: array + step * direction}
            return float(np.sum(forward(moved, None) * dout))

        expected = differentiate(loss, step)
        derivative = np.sum(gradients[name] * direction, keepdims=True).ravel()
        unread = not model.config.bert.num_hidden_layers and name != WORDS and "linear" not in name
        if name.endswith("key.bias") or unread:  # the outputs don't depend on them
            assert max(abs(derivative), abs(expected)) < 1e-6
        else:
            check_gradient(derivative, expected)


@pytest.mark.parametrize(
    ("modules", "skip", "dropout", "blocks"),
    [
        ({"pooling": ("mean",)}, 0, True, 2),
        ({"pooling": ("cls",)}, 0, True, 2),  # the last block computes only first tokens
        ({"pooling": ("max",), "normalize": False}, 0, False, 1),
        ({"pooling": ("cls", "mean", "max"), "dense": 12}, 0, True, 2),
        ({"pooling": ("mean",)}, 2, False, 2),
        ({"pooling": ("cls",)}, 2, False, 1),
        ({"pooling": ("mean",), "dense": 12}, 0, False, 0),
    ],
    ids=["mean", "cls", "max", "dense", "prompt", "cls-prompt", "no-blocks"],
)
def test_sentence_backward(tmp_path, modules, skip, dropout, blocks):
    """Gradients agree with differences for every module, pooling and number of blocks."""
    model = SentenceTransformer(make_model_directory(tmp_path, **modules), blocks=blocks)
    # If there is a prompt, the last text, of one token, is all prompt.
    batch = make_batch((6, 6, 4, 1), model.config.bert.vocab_size)

    def forward(parameters, cache):
        rng = np.random.default_rng(3) if dropout else None
        return sentence_forward(parameters, model.config, batch, skip=skip, rng=rng, cache=cache)

    def backward(dout, cache, gradients):
        sentence_backward(dout, gradients, model.config, batch=batch, skip=skip, cache=cache)

    check_network(model, forward, backward)


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("labels", [1, 3])
def test_pair_backward(tmp_path, labels, dropout):
    """Gradients through head and network agree with differences."""
    directory = make_cross_encoder_directory(tmp_path, num_labels=labels, classifier_dropout=0.3)
    model = CrossEncoder(directory)
    batch = make_batch((7, 5, 5), model.config.bert.vocab_size, with_types=True)

    def forward(parameters, cache):
        rng = np.random.default_rng(3) if dropout else None
        return pair_forward(parameters, model.config, batch, rng=rng, cache=cache)

    def backward(dout, cache, gradients):
        pair_backward(dout, gradients, model.config, batch=batch, cache=cache)

    check_network(model, forward, backward)


def test_a_wrong_gradient_is_noticed(tmp_path):
    """The check of this file rejects a gradient that is 1 % too large."""
    model = SentenceTransformer(make_model_directory(tmp_path))
    batch = make_batch((4, 3), model.config.bert.vocab_size)

    def forward(parameters, cache):
        return sentence_forward(parameters, model.config, batch, cache=cache)

    def backward(dout, cache, gradients):
        sentence_backward(1.01 * dout, gradients, model.config, batch=batch, cache=cache)

    with pytest.raises(AssertionError):
        check_network(model, forward, backward)


def test_dropout_is_for_training_only(tmp_path):
    """Dropout is applied only with a generator."""
    model = SentenceTransformer(make_model_directory(tmp_path))
    batch = make_batch((4, 3), model.config.bert.vocab_size)
    plain = sentence_forward(model.parameters, model.config, batch, cache=[])
    dropped = sentence_forward(
        model.parameters, model.config, batch, rng=np.random.default_rng(0), cache=[]
    )
    # Without a cache the network works in place, in slices: the last bits may differ.
    assert np.abs(plain - sentence_forward(model.parameters, model.config, batch)).max() < 1e-6
    assert np.abs(plain - dropped).max() > 0.01
