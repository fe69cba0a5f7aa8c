"""How many tokens are read, and whether texts are lower-cased, is found as others find it."""

import pytest

from minisbert import CrossEncoder
from minisbert.model_files.configs import read_model_config
from models import edit_json, make_cross_encoder_directory, make_model_directory, write_json


@pytest.fixture
def directory(tmp_path):
    return make_model_directory(tmp_path / "model")


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"max_len": 32}, 32),
        ({"max_len": 32, "model_max_length": 48}, 48),
        ({"max_len": 32, "model_max_length": None}, 64),
        ({"max_len": 1e30}, 64),
        ({"max_length": 16}, 64),
    ],
)
def test_older_name_of_the_limit(directory, options, limit):
    """A tokenizer's max_len is its model_max_length, where the latter is missing."""
    edit_json(directory / "sentence_bert_config.json", max_seq_length=None)
    write_json(directory / "tokenizer_config.json", options)
    assert read_model_config(directory).max_seq_length == limit


def test_impossible_older_limit(directory):
    """An impossible max_len is refused by its own name."""
    edit_json(directory / "sentence_bert_config.json", max_seq_length=None)
    write_json(directory / "tokenizer_config.json", {"max_len": "512"})
    with pytest.raises(ValueError, match=r"^max_len in .*tokenizer_config\.json must be a number"):
        read_model_config(directory)


def test_empty_file_says_nothing(directory):
    """After an empty sentence_bert_config.json the file of an older name is read."""
    write_json(directory / "sentence_bert_config.json", {})
    write_json(directory / "sentence_roberta_config.json", {"max_seq_length": 21})
    assert read_model_config(directory).max_seq_length == 21


def test_without_modules(directory):
    """Without modules.json the module's file sets no limit, and its lower-casing is refused."""
    edit_json(directory / "sentence_bert_config.json", max_seq_length=21)
    assert read_model_config(directory).max_seq_length == 21
    (directory / "modules.json").unlink()
    assert read_model_config(directory).max_seq_length == 64
    edit_json(directory / "sentence_bert_config.json", do_lower_case=True)
    sentence = r"^do_lower_case in .*sentence_bert_config\.json must be false, got True; .*modules"
    with pytest.raises(ValueError, match=sentence):
        read_model_config(directory)


@pytest.mark.parametrize("new_format", [True, False])
def test_limit_of_a_cross_encoder(tmp_path, new_format):
    """So it is with cross-encoders: only the new layout has modules.json."""
    directory = make_cross_encoder_directory(tmp_path / "model", new_format=new_format)
    path = directory / "sentence_bert_config.json"
    if new_format:
        edit_json(path, max_seq_length=21)
    else:
        write_json(path, {"max_seq_length": 21})
    assert CrossEncoder(directory).max_length == (21 if new_format else 64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokenizer_args", {"do_lower_case": False}),
        ("processor_kwargs", {"model_max_length": 9}),
        ("config_args", {"max_position_embeddings": 9}),
        ("processing_kwargs", {"text": {"max_length": 9}}),
        ("tokenizer_name_or_path", "other"),
        ("query_length", 9),
    ],
)
def test_fields_that_change_other_files(directory, name, value):
    """Fields that would change what other files say are refused by name, empty ones are not."""
    edit_json(directory / "sentence_bert_config.json", **{name: {}})
    read_model_config(directory)
    edit_json(directory / "sentence_bert_config.json", **{name: value})
    with pytest.raises(ValueError, match=rf"^{name} in .*sentence_bert_config\.json must be"):
        read_model_config(directory)
