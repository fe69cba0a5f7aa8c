"""Directories saved here are read by sentence-transformers, and those it saves are read here."""

import json

import numpy as np
import pytest
import sentence_transformers
from safetensors.numpy import load_file, save_file

from minisbert import CrossEncoder, SentenceTransformer
from models import edit_json, make_cross_encoder_directory, make_model_directory

TEXTS = ["", "a bird", "The old bird sings all day in the tree .", "cat , dog ! " * 30]
PAIRS = [("a bird", "the old cat"), ("", "dog"), ("car " * 40, "tree " * 50)]


def add_pooler(directory):
    """Give a network the layer that checkpoints of BERT have and embeddings don't need."""
    path = directory / "model.safetensors"
    tensors = load_file(path)
    D = len(tensors["embeddings.LayerNorm.bias"])
    tensors["pooler.dense.weight"] = np.full((D, D), 0.1, np.float32)
    tensors["pooler.dense.bias"] = np.full(D, 0.2, np.float32)
    save_file(tensors, path)


def encode(model, **options):
    if isinstance(model, SentenceTransformer):
        options["on_truncate"] = "ignore"
    return model.encode(TEXTS, **options)


def predict(model):
    options = {"on_truncate": "ignore"} if isinstance(model, CrossEncoder) else {}
    return model.predict(PAIRS, **options)


def test_missing_weights_are_heard_of(tmp_path, complaints):
    """The check below would see a warning: a network without the pooler gets one."""
    directory = make_model_directory(tmp_path / "source")
    sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    assert any("pooler.dense.weight" in complaint for complaint in complaints())


@pytest.mark.parametrize("new_format", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": ("cls",), "normalize": False},
        {"pooling": ("lasttoken",)},
        {"pooling": ("max", "mean", "weightedmean")},
        {"pooling": ("cls", "mean"), "dense": 16, "normalize": False},
        {"dense": 16, "max_seq_length": 20},
    ],
    ids=str,
)
def test_bi_encoder(tmp_path, complaints, new_format, options):
    """A saved bi-encoder gives the same embeddings there without a complaint, and back here."""
    source = make_model_directory(tmp_path / "source", new_format=new_format, **options)
    add_pooler(source)
    edit_json(source / "config.json", torch_dtype="float16")
    model = SentenceTransformer(source, prompts={"query": "bird : "}, similarity_fn_name="dot")
    model.save(tmp_path / "ours")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert complaints() == []
    assert np.abs(encode(theirs) - encode(model)).max() <= 1e-5
    expected = encode(model, prompt_name="query")
    assert np.abs(encode(theirs, prompt_name="query") - expected).max() <= 1e-5
    assert theirs.similarity_fn_name == "dot"

    theirs.save_pretrained(str(tmp_path / "theirs"))
    back = SentenceTransformer(tmp_path / "theirs")
    assert np.abs(encode(back) - encode(model)).max() <= 1e-5
    assert back.max_seq_length == model.max_seq_length
    assert back.prompts == model.prompts
    assert back.similarity_fn_name == "dot"


def test_order_of_pooling(tmp_path, complaints):
    """Poolings in an order that the old spelling can't tell keep it."""
    source = make_model_directory(tmp_path / "source", new_format=True, pooling=("mean", "cls"))
    add_pooler(source)
    model = SentenceTransformer(source)
    model.save(tmp_path / "ours")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert complaints() == []
    assert np.abs(encode(theirs) - encode(model)).max() <= 1e-5


def test_fewer_blocks(tmp_path, complaints):
    """A model cut to its first blocks is whole for others."""
    source = make_model_directory(tmp_path / "source")
    add_pooler(source)
    model = SentenceTransformer(source, blocks=1, pooling="max")
    model.save(tmp_path / "ours")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert complaints() == []
    assert np.abs(encode(theirs) - encode(model)).max() <= 1e-5


@pytest.mark.parametrize("new_format", [False, True])
@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("activation", [None, "identity", "tanh", "sigmoid"])
def test_cross_encoder(tmp_path, complaints, new_format, num_labels, activation):
    """A saved cross-encoder gives the same scores there without a complaint, and back here."""
    source = make_cross_encoder_directory(
        tmp_path / "source", new_format=new_format, num_labels=num_labels
    )
    model = CrossEncoder(source, max_length=30, activation_fn=activation)
    model.save(tmp_path / "ours")
    theirs = sentence_transformers.CrossEncoder(str(tmp_path / "ours"), device="cpu")
    assert complaints() == []
    assert theirs.max_seq_length == 30
    assert np.abs(predict(theirs) - predict(model)).max() <= 1e-5

    theirs.save_pretrained(str(tmp_path / "theirs"))
    back = CrossEncoder(tmp_path / "theirs")
    assert back.max_length == 30
    assert np.abs(predict(back) - predict(model)).max() <= 1e-5


def test_names_of_classes(tmp_path):
    """Classes keep their names there."""
    names = {0: "contradiction", 1: "entailment", 2: "neutral"}
    source = make_cross_encoder_directory(tmp_path / "source", num_labels=3, id2label=names)
    CrossEncoder(source).save(tmp_path / "ours")
    theirs = sentence_transformers.CrossEncoder(str(tmp_path / "ours"), device="cpu")
    assert theirs.config.id2label == names
    content = json.loads((tmp_path / "ours" / "config.json").read_text("utf-8"))
    assert content["id2label"] == {str(label): name for label, name in names.items()}


def test_real_model(minilm, tmp_path, complaints):
    """all-MiniLM-L6-v2, saved here, is the same there."""
    minilm.save(tmp_path / "ours")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert complaints() == []
    assert theirs.max_seq_length == 256
    assert np.abs(encode(theirs) - encode(minilm)).max() <= 1e-5
