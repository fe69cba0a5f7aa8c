"""Steps after the network: embeddings are truncated, scaled to length 1, quantised."""

import numpy as np
import pytest

from minisbert import quantize_embeddings
from minisbert.encoding.finishing import normalize_embeddings, truncate_embeddings

TEXTS = ["a", "a bird", "the bird sings", "the old tree", "car , dog !"]


def test_embeddings_are_scaled_to_length_one():
    """Rows and single vectors are scaled to length 1; zero vectors stay zero."""
    assert normalize_embeddings([[3, 4], [0, 0]]) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))
    assert normalize_embeddings([3, 4]) == pytest.approx(np.array([0.6, 0.8]))
    assert normalize_embeddings(np.ones((2, 4), np.float16)).dtype == np.float32


def test_embeddings_are_cut():
    """The first dimensions are kept unscaled, of one vector or many; None keeps all."""
    rows = np.arange(12).reshape(3, 4)
    assert np.array_equal(truncate_embeddings(rows, 2), rows[:, :2])
    assert np.array_equal(truncate_embeddings(rows[0], 3), rows[0, :3])
    assert np.array_equal(truncate_embeddings(rows, None), rows)
    with pytest.raises(ValueError, match="truncate_dim must be"):
        truncate_embeddings(rows, 0)


@pytest.mark.filterwarnings("ignore:ranges are taken from")
@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary", None])
def test_encode_quantises_last(tiny, precision):
    """Embeddings are quantised after they are truncated and scaled."""
    rows = tiny.encode(TEXTS, truncate_dim=12, normalize_embeddings=True)
    got = tiny.encode(TEXTS, truncate_dim=12, normalize_embeddings=True, precision=precision)
    expected = quantize_embeddings(rows, precision or "float32")
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected)


def test_single_texts_and_none_are_quantised(tiny):
    """One text gives one row of bits, and no text no rows, of the right type and width."""
    assert tiny.encode("a bird", precision="ubinary").shape == (4,)
    assert tiny.encode([], precision="ubinary").shape == (0, 4)
    assert tiny.encode([], precision="int8").shape == (0, 32)
    assert tiny.encode([], precision="int8").dtype == np.int8


@pytest.mark.parametrize("inputs", ["a bird", ["a bird"]])
@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_one_text_gives_no_ranges(tiny, precision, inputs):
    """A single text has no ranges to quantise by: refused, with what to do instead."""
    with pytest.raises(ValueError, match="inputs must be at least 2 texts for precision"):
        tiny.encode(inputs, precision=precision)


def test_few_texts_give_poor_ranges(tiny):
    """Quantising by the ranges of a few texts causes a warning."""
    with pytest.warns(UserWarning, match="ranges are taken from 5 embeddings") as caught:
        tiny.encode(TEXTS, precision="int8")
    assert caught[0].filename == __file__


def test_token_embeddings_are_those_that_are_pooled(tiny):
    """A text has a vector for each token, special tokens included; their mean is its embedding."""
    tokens = tiny.encode(TEXTS, output_value="token_embeddings")
    assert isinstance(tokens, list)
    assert [len(rows) for rows in tokens] == tiny.token_lengths(TEXTS).tolist()
    means = np.stack([rows.mean(axis=0) for rows in tokens])
    assert normalize_embeddings(means) == pytest.approx(tiny.encode(TEXTS), abs=1e-6)
    alone = tiny.encode(TEXTS[2], output_value="token_embeddings")
    assert alone == pytest.approx(tokens[2], abs=1e-6)
    assert tiny.encode([], output_value="token_embeddings") == []


def test_token_embeddings_are_cut_with_the_text(tiny):
    """A text that is too long has a vector for each token that the model reads."""
    tiny.max_seq_length = 8
    tokens = tiny.encode("a " * 50, output_value="token_embeddings", on_truncate="ignore")
    assert tokens.shape == (8, 32)
    assert tokens.base is None  # owns its memory, is not a view of the batch


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"precision": "int4"}, "precision must be one of float32, int8, .*, got 'int4'"),
        ({"output_value": "tokens"}, "output_value must be one of sentence_embedding, "),
        ({"output_value": False}, "token_embeddings, got False; the network"),
        ({"output_value": None, "precision": "int8"}, "must be left out for output_value=None"),
        ({"truncate_dim": 0}, "truncate_dim must be"),
        ({"output_value": "token_embeddings", "precision": "int8"}, "must be left out for token"),
        ({"output_value": "token_embeddings", "truncate_dim": 3}, "must be left out for token"),
        ({"output_value": "token_embeddings", "normalize_embeddings": True}, "must be left out"),
    ],
)
def test_unknown_outputs_are_refused(tiny, options, sentence):
    """Unknown outputs and precisions are refused, and options that token vectors can't have."""
    with pytest.raises(ValueError, match=sentence):
        tiny.encode(TEXTS, **options)
