"""The ragged network compared with the textbook's padded one, on small random weights."""

import numpy as np
import pytest
from gradients import check_parameters

from minisbert.model_files.configs import read_model_config
from minisbert.model_files.weights import load_parameters
from minisbert.network.arrangement import arrange_for_few, arrange_for_many
from minisbert.network.bert import _cut_slices, bert_backward, bert_forward
from minisbert.network.ragged import RaggedBatch, group_lengths, join_sentences
from models import make_model_directory
from plain_bert import plain_bert

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    directory = make_model_directory(tmp_path_factory.mktemp("bert"))
    config = read_model_config(directory).bert
    parameters = load_parameters(directory, config)
    return config, {name: array.astype(np.float64) for name, array in parameters.items()}


@pytest.mark.parametrize("with_types", [False, True], ids=["single", "segments"])
@pytest.mark.parametrize("lengths", [[2], [3, 3, 3], [9, 5, 5, 2, 1], [4, 9, 4], [30, 1]])
def test_ragged_equals_padded(network, lengths, with_types):
    """Every token has the same vector as in the padded, masked network (traps 3 to 7)."""
    config, parameters = network
    sentences = [RNG.integers(0, config.vocab_size, length) for length in lengths]
    types = [RNG.integers(0, 2, length) for length in lengths] if with_types else None
    padded = np.zeros((len(lengths), max(lengths)), np.int64)
    padded_types = np.zeros_like(padded)
    mask = np.zeros_like(padded)
    for row, sentence in enumerate(sentences):
        padded[row, : len(sentence)] = sentence
        mask[row, : len(sentence)] = 1
        if types is not None:
            padded_types[row, : len(sentence)] = types[row]
    expected = plain_bert(parameters, config, padded, mask, padded_types)
    batch = join_sentences(sentences, types)
    for arrange in (arrange_for_many, arrange_for_few):
        got = bert_forward(arrange(parameters), config, batch)
        # Only GELU differs, by 7e-8 at most, and the next blocks pass the difference on.
        assert np.abs(got - expected[mask == 1]).max() <= 2e-6


def test_slices_and_cache_change_nothing(network, monkeypatch):
    """Inference in slices gives the same numbers as training in one slice."""
    config, parameters = network
    batch = join_sentences([RNG.integers(0, config.vocab_size, 7) for _ in range(9)])
    monkeypatch.setattr("minisbert.network.bert.SLICE", 10)
    sliced = bert_forward(parameters, config, batch)
    assert np.allclose(
        bert_forward(parameters, config, batch, cache=[]), sliced, rtol=0, atol=1e-12
    )


def test_missing_segment_ids_add_segment_zero(network):
    """A text without segment ids gets row 0 of the segment table."""
    config, parameters = network
    ids = RNG.integers(0, config.vocab_size, 6)
    without = RaggedBatch(ids, None, group_lengths([6]))
    zeros = RaggedBatch(ids, np.zeros(6, np.int64), group_lengths([6]))
    assert np.array_equal(
        bert_forward(parameters, config, without), bert_forward(parameters, config, zeros)
    )


@pytest.mark.parametrize(("N", "most"), [(1, 8), (8, 8), (9, 8), (100, 7), (0, 4)])
def test_slices_cover_every_row_once(N, most):
    """Slices are adjacent, nearly equal and no longer than allowed."""
    sizes = [s.stop - s.start for s in _cut_slices(N, most)]
    assert sum(sizes) == N
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


def test_groups_are_runs_of_equal_length():
    """Neighbouring sentences of equal length form a group; others do not."""
    assert group_lengths([5, 5, 3, 5]) == ((0, 2, 5), (10, 1, 3), (13, 1, 5))


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("first_only", [False, True])
def test_bert_backward(network, first_only, dropout):
    """Every parameter's gradient agrees with the loss's derivative in a random direction."""
    config, parameters = network
    sentences = [RNG.integers(0, config.vocab_size, length) for length in (6, 6, 4, 1)]
    types = [RNG.integers(0, 2, len(sentence)) for sentence in sentences]
    batch = join_sentences(sentences, types)
    dout = RNG.standard_normal((4 if first_only else 17, config.hidden_size))

    def run(parameters, cache):
        rng = np.random.default_rng(3) if dropout else None
        return bert_forward(parameters, config, batch, first_only=first_only, rng=rng, cache=cache)

    cache, gradients = [], {name: np.full_like(a, np.nan) for name, a in parameters.items()}
    run(parameters, cache)
    bert_backward(dout, gradients, config, batch=batch, first_only=first_only, cache=cache)
    assert cache == []
    check_parameters(gradients, parameters, lambda moved: float(np.sum(run(moved, []) * dout)), RNG)
