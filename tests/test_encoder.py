"""`SentenceTransformer` on a tiny random model: shapes, order, prompts, edges and bad input."""

import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minisbert import SentenceTransformer, TruncationWarning
from minisbert.network.bert import POSITIONS
from minisbert.network.ragged import join_sentences
from minisbert.network.sentence_encoder import token_forward
from models import find_map, make_model_directory

WORDS = ["a", "bird", "sings", "in the old tree", "a bird sings in the old tree all day", "", "  "]


def test_shapes_follow_the_input(tiny):
    """A text gives a vector, a list gives rows, an empty list no rows, always float32."""
    assert tiny.encode("a bird").shape == (32,)
    assert tiny.encode(["a bird"]).shape == (1, 32)
    assert tiny.encode([]).shape == (0, 32)
    assert {tiny.encode(x).dtype for x in ("a", ["a"], [])} == {np.dtype(np.float32)}
    assert tiny.get_embedding_dimension() == 32


def test_any_iterable_of_texts_will_do(tiny):
    """Tuples, generators and string arrays give the same as a list."""
    expected = tiny.encode(WORDS)
    for inputs in (tuple(WORDS), (word for word in WORDS), np.array(WORDS)):
        assert np.array_equal(tiny.encode(inputs), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 100])
def test_rows_come_back_in_the_order_of_the_texts(tiny, threads, batch_size):
    """Row i is text i for any batches and threads."""
    texts = [f"{word} {word}" for word in WORDS] * 30
    rows = tiny.encode(texts, batch_size=batch_size, threads=threads)
    for text, row in zip(texts[: len(WORDS)], rows, strict=False):
        assert np.abs(tiny.encode(text) - row).max() <= 5e-7


def test_blank_texts_are_alike(tiny):
    """Empty and blank texts have the embedding of the special tokens alone, of length 1."""
    empty, blank = tiny.encode(["", "   "])
    assert np.array_equal(empty, blank)
    assert np.linalg.norm(empty) == pytest.approx(1, abs=1e-6)


def test_token_lengths_count_special_tokens(tiny):
    """Lengths include [CLS] and [SEP], and are counted before truncation."""
    assert tiny.token_lengths(["", "a", "a a"]).tolist() == [2, 3, 4]
    assert tiny.token_lengths(["a " * 500]).tolist() == [502]


def test_prompt_is_put_in_front(tiny_directory):
    """A prompt, given by name, by text or by default, is the same as text in front."""
    model = SentenceTransformer(tiny_directory, prompts={"find": "a bird "})
    expected = model.encode("a bird sings")
    assert np.array_equal(model.encode("sings", prompt_name="find"), expected)
    assert np.array_equal(model.encode("sings", prompt="a bird "), expected)
    default = SentenceTransformer(
        tiny_directory, prompts={"find": "a bird "}, default_prompt_name="find"
    )
    assert np.array_equal(default.encode("sings"), expected)
    # the empty prompt for queries replaces the default one
    assert np.array_equal(default.encode_query("sings"), model.encode("sings"))


def test_encode_document_takes_the_first_prompt_with_text(tiny_directory):
    """A model that calls its document prompt "passage" gets it, though "document" exists, empty."""
    model = SentenceTransformer(tiny_directory, prompts={"passage": "the old "})
    assert np.array_equal(model.encode_document("tree"), model.encode("the old tree"))


def test_truncation_warns_every_time_and_says_what(tiny):
    """Every call warns of texts beyond the limit, with their number and indices."""
    tiny.max_seq_length = 8
    texts = ["a", "a " * 50, "bird " * 20]
    for _ in range(2):
        with pytest.warns(TruncationWarning) as caught:
            tiny.encode(texts)
        assert len(caught) == 1
        message = str(caught[0].message)
        assert message.startswith("2 of 3 texts are longer than the 8 tokens")
        assert "longest has 52; indices 1, 2" in message
        assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="on_truncate='ignore'"):
        tiny.encode(texts, on_truncate="error")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cut = tiny.encode(texts, on_truncate="ignore")
    # [CLS], six times the word, [SEP]
    assert np.array_equal(cut[1], tiny.encode("a " * 6))


def test_truncate_dim_keeps_the_first_dimensions(tiny):
    """`truncate_dim` keeps the first dimensions, and warns if embeddings lose their length of 1."""
    whole = tiny.encode(WORDS)
    with pytest.warns(UserWarning, match="no longer have length 1"):
        cut = tiny.encode(WORDS, truncate_dim=8)
    assert np.array_equal(cut, whole[:, :8])
    unit = tiny.encode(WORDS, truncate_dim=8, normalize_embeddings=True)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, rtol=0, atol=1e-6)


def test_similarity_uses_the_models_own(tiny_directory):
    """`similarity` and its pairwise form follow `similarity_fn_name`."""
    a, b = np.array([[3.0, 4.0]]), np.array([[3.0, 0.0]])
    model = SentenceTransformer(tiny_directory, similarity_fn_name="dot")
    assert model.similarity(a, b).tolist() == [[9.0]]
    assert model.similarity_pairwise(a, b).tolist() == [9.0]
    assert SentenceTransformer(tiny_directory).similarity(a, b)[0, 0] == pytest.approx(0.6)


def test_progress_bar_only_on_request(tiny, capsys):
    """No bar is shown in a pipe unless it is asked for."""
    tiny.encode(["a"] * 600)
    assert capsys.readouterr().err == ""
    tiny.encode(["a"] * 3, show_progress_bar=True)
    assert "3/3" in capsys.readouterr().err


def test_modules_after_pooling_are_run(tmp_path):
    """Several poolings, and a Dense module, give embeddings of their width."""
    directory = make_model_directory(tmp_path, pooling=("cls", "mean"), dense=16, normalize=False)
    model = SentenceTransformer(directory)
    assert model.get_embedding_dimension() == 16
    assert model.encode(WORDS).shape == (len(WORDS), 16)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of 1 or more, got 0"),
        ({"truncate_dim": -1}, "truncate_dim must be"),
        ({"threads": 0}, "threads must be"),
        ({"prompt_name": "nobody"}, "prompt_name must be one of document, query, got 'nobody'"),
        ({"on_truncate": "cut"}, "on_truncate must be"),
        ({"device": "cuda"}, 'device must be None or "cpu"'),
    ],
)
def test_options_without_such_a_value(tiny, options, sentence):
    """A wrong value of an option is refused before any work."""
    with pytest.raises(ValueError, match=sentence):
        tiny.encode(["a"], **options)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (["a", None], "got NoneType at index 1"),
        (["a", "b", 3.5], "got float at index 2"),
        (7, "inputs must be an iterable of str, got int; pass a list of texts"),
        (b"bytes", "got bytes"),
        ({"text": "a"}, "inputs must be an iterable of str, got dict"),
    ],
)
def test_inputs_that_are_no_texts(tiny, inputs, sentence):
    """An input that is not a text is refused, with its type and index."""
    with pytest.raises(TypeError, match=sentence):
        tiny.encode(inputs)


def test_tensors_are_refused(tiny):
    """`convert_to_tensor` is refused with the reason."""
    with pytest.raises(TypeError, match="minisbert has no torch"):
        tiny.encode(["a"], convert_to_tensor=True)


@pytest.mark.parametrize("tokens", [2, 0, 10_000, "8"])
def test_max_seq_length_stays_within_the_positions(tiny, tokens):
    """A limit beyond the position table, or without room for a word, is refused."""
    with pytest.raises(ValueError, match="max_seq_length must be a whole number from 3 to"):
        tiny.max_seq_length = tokens


# Other poolings and fewer blocks


def test_all_blocks_and_own_pooling_change_nothing(tiny, tiny_directory):
    """Asking for all blocks and the model's own pooling gives the same bits."""
    read = SentenceTransformer(tiny_directory, pooling="mean", blocks=2)
    assert np.array_equal(read.encode(WORDS), tiny.encode(WORDS))


def test_no_blocks_average_the_word_vectors(tiny_directory):
    """With no block an embedding is the mean of the word table's rows, special tokens included."""
    model = SentenceTransformer(tiny_directory, blocks=0)
    table = load_file(tiny_directory / "model.safetensors")["embeddings.word_embeddings.weight"]
    for text, row in zip(WORDS, model.encode(WORDS), strict=True):
        (ids,) = model.tokenizer.encode([text], 64).ids
        mean = table[ids].mean(axis=0)
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_fewer_blocks_are_the_first_ones(tmp_path):
    """One block of a network of two gives what the network cut after its first block gives."""
    model = SentenceTransformer(make_model_directory(tmp_path / "whole"), blocks=1)
    parameters = load_file(tmp_path / "whole" / "model.safetensors")
    cut = make_model_directory(tmp_path / "cut", num_hidden_layers=1)
    kept = {name: array for name, array in parameters.items() if ".layer.1." not in name}
    save_file(kept, cut / "model.safetensors")
    assert np.array_equal(model.encode(WORDS), SentenceTransformer(cut).encode(WORDS))


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_pooling_in_place_of_the_models_own(tiny_directory, tmp_path, pooling):
    """Another pooling gives the same as a directory with that pooling."""
    other = SentenceTransformer(make_model_directory(tmp_path, pooling=(pooling,)))
    read = SentenceTransformer(tiny_directory, pooling=pooling)
    assert np.array_equal(read.encode(WORDS), other.encode(WORDS))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pooling": "median"}, "pooling must be one of cls, mean, max, .*, got 'median'"),
        ({"pooling": ["mean"]}, "pooling must be one of"),
        ({"blocks": 3}, "blocks must be a whole number from 0 to 2, got 3"),
        ({"blocks": -1}, "blocks must be a whole number from 0 to 2, got -1"),
        ({"blocks": True}, "blocks must be a whole number from 0 to 2, got True"),
    ],
)
def test_unknown_poolings_and_blocks_are_refused(tiny_directory, options, sentence):
    """An unknown pooling, or more blocks than the model has, are refused."""
    with pytest.raises(ValueError, match=sentence):
        SentenceTransformer(tiny_directory, **options)


def test_dense_after_several_poolings_needs_them_all(tmp_path):
    """A Dense module that takes two poolings refuses one; one that takes one accepts any."""
    two = make_model_directory(tmp_path / "two", pooling=("cls", "mean"), dense=8)
    with pytest.raises(ValueError, match="pooling must be the model's own, cls and mean, since"):
        SentenceTransformer(two, pooling="cls")
    one = make_model_directory(tmp_path / "one", dense=8)
    assert SentenceTransformer(one, pooling="max").encode("a bird").shape == (8,)


def test_weights_in_memory(tmp_path):
    """With mapped=False no parameter is a view of a file, so shortening the file does no harm."""
    directory = make_model_directory(tmp_path, dense=8)
    expected = SentenceTransformer(directory).encode(WORDS)
    model = SentenceTransformer(directory, mapped=False)
    assert all(find_map(array) is None for array in model.parameters.values())
    for name in ("model.safetensors", "2_Dense/model.safetensors"):
        with (directory / name).open("r+b") as file:
            file.truncate(10)
    assert np.array_equal(model.encode(WORDS), expected)


def test_directory_that_a_killed_saver_left_aside(tmp_path):
    """A directory whose saver was killed between two renames is put back, and loads."""
    directory = make_model_directory(tmp_path / "model")
    expected = SentenceTransformer(directory).encode(WORDS)
    directory.rename(tmp_path / f".model.{'0' * 16}.old")
    assert np.array_equal(SentenceTransformer(directory).encode(WORDS), expected)


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "camembert"])
def test_padding_token_in_a_text(tmp_path, model_type):
    """Where positions start after the padding id, a padding token in a text isn't counted."""
    directory = make_model_directory(tmp_path, model_type=model_type, pad_token_id=0)
    model = SentenceTransformer(directory)
    text = "a [PAD] bird [PAD] sings"
    got = model.encode([text, "a bird", "the old bird sings all day"])
    tokens = model.encode(text, output_value="token_embeddings")
    assert np.array_equal(got[1], model.encode("a bird"))
    # The network itself knows of no padding.
    (ids,) = model.tokenizer.encode([text], 64).ids
    table = model.parameters[POSITIONS]
    moved = {**model.parameters, POSITIONS: table[[0, 1, 2, 0, 3, 0, 4, 5]]}
    expected = token_forward(moved, model.config, join_sentences([ids]))
    assert ids.tolist().count(0) == 2
    assert tokens == pytest.approx(expected, abs=1e-6)
    assert got[0] == pytest.approx(model.encode(text), abs=1e-6)
    assert not np.allclose(
        expected, token_forward(model.parameters, model.config, join_sentences([ids]))
    )
