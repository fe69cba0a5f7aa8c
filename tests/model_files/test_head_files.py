"""A cross-encoder's head is read or drawn only in the shapes that config.json implies."""

import json
from functools import partial

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.model_files.head_files import (
    has_head,
    load_head,
    make_head,
    read_cross_encoder_config,
)
from minisbert.network.families import FAMILIES
from minisbert.network.heads import head_shapes
from minisbert.system.safetensors import read_safetensors, write_safetensors
from models import (
    NEW_TYPES,
    edit_json,
    make_cross_encoder_directory,
    make_model_directory,
    write_json,
)


@pytest.fixture
def directory(tmp_path):
    return make_cross_encoder_directory(tmp_path / "model", num_labels=3)


def replace_tensor(directory, name, array):
    path = directory / "model.safetensors"
    tensors, metadata = read_safetensors(path, mapped=False)
    write_safetensors(path, tensors | {name: np.asarray(array, np.float32)}, metadata)


SHAPES = [(), (0,), (3,), (3, 5), (32, 33), (8, 8, 8)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model_type", FAMILIES)
def test_head_of_another_shape_is_refused(tmp_path, model_type, shape):
    """Every tensor of every family's head must have its shape, before anything is computed."""
    directory = make_cross_encoder_directory(tmp_path / "model", model_type=model_type)
    config = read_cross_encoder_config(directory)
    family = FAMILIES[model_type]
    content = (directory / "model.safetensors").read_bytes()
    for name, right in head_shapes(config).items():
        if shape == right:
            continue
        prefix = family.prefix if name.startswith("pooler") else ""
        replace_tensor(directory, prefix + name, np.ones(shape))
        with pytest.raises(ValueError, match=rf"^{name} in .* must have the shape .* implies, got"):
            load_head(directory, config)
        (directory / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize("shape", SHAPES)
def test_pooler_of_another_shape_is_refused_with_a_fresh_head(directory, shape):
    """A fresh head keeps the pooler, which must fit the network too."""
    replace_tensor(directory, "bert.pooler.dense.weight", np.ones(shape))
    with pytest.raises(ValueError, match=r"^pooler\.dense\.weight in .* shape \(32, 32\) .* got"):
        CrossEncoder(directory, fresh_head=0)


@pytest.mark.parametrize(("shape", "found"), [((), False), ((3,), True), ((4, 32), False)])
def test_number_of_outputs(directory, shape, found):
    """Whether a directory has a head of so many outputs is asked of weights of any shape."""
    assert has_head(directory, 3)
    replace_tensor(directory, "classifier.weight", np.ones(shape))
    assert has_head(directory, 3) == found


@pytest.mark.parametrize("labels", [2, 4])
def test_labels_that_the_weights_do_not_have(directory, labels):
    """The number of labels in config.json must be that of the weights."""
    edit_json(directory / "config.json", id2label={str(i): f"L{i}" for i in range(labels)})
    with pytest.raises(ValueError, match=rf"classifier\.weight .* \({labels}, 32\) .* \(3, 32\)"):
        CrossEncoder(directory)


@pytest.mark.parametrize("load", [partial(CrossEncoder, fresh_head=0), SentenceTransformer])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("hidden_size", 10**6), ("hidden_size", 4 << 60), ("intermediate_size", 10**15)),
        *(("vocab_size", 10**12), ("max_position_embeddings", 10**15)),
        *(("num_hidden_layers", 1000), ("type_vocab_size", 10**18)),
    ],
)
def test_sizes_are_confirmed_before_anything_is_made(tmp_path, field, value, load):
    """A config.json of enormous sizes is refused by the weights before any memory is asked for."""
    directory = make_model_directory(tmp_path / "model")
    edit_json(directory / "config.json", **{field: value})
    with pytest.raises(ValueError, match=r"its config\.json implies"):
        load(directory)


def test_number_of_labels_alone_asks_for_no_memory(directory):
    """So is an enormous num_labels."""
    content = json.loads((directory / "config.json").read_text("utf-8"))
    edit_json(directory / "config.json", id2label=None, num_labels=10**12)
    assert "id2label" in content
    with pytest.raises(ValueError, match=r"classifier\.weight .* \(1000000000000, 32\)"):
        CrossEncoder(directory)


@pytest.mark.parametrize(
    ("types", "sentence"),
    [
        (["custom_st.Transformer"], "type in .* none is ever imported"),
        ([NEW_TYPES["Transformer"], "mine.LogitScore"], "type in .* none is ever imported"),
        ([NEW_TYPES["Transformer"], NEW_TYPES["Dense"]], "must be a Transformer alone, got"),
        ([], "must be a Transformer alone, got"),
    ],
)
def test_modules_of_another_cross_encoder(tmp_path, types, sentence):
    """A cross-encoder's modules.json may name nothing but sentence-transformers' own network."""
    directory = make_cross_encoder_directory(tmp_path, new_format=True)
    CrossEncoder(directory)
    entries = [{"idx": i, "path": "", "type": kind} for i, kind in enumerate(types)]
    write_json(directory / "modules.json", entries)
    with pytest.raises(ValueError, match=sentence):
        CrossEncoder(directory)


def test_fresh_head_keeps_a_pooler(directory):
    """The pooler of the checkpoint is a part of a fresh head, the classifier is drawn."""
    config = read_cross_encoder_config(directory, num_labels=5)
    head = make_head(directory, config, seed=3)
    tensors, _ = read_safetensors(directory / "model.safetensors")
    assert np.array_equal(head["pooler.dense.weight"], tensors["bert.pooler.dense.weight"])
    assert head["classifier.weight"].shape == (5, 32)
    assert not head["classifier.bias"].any()
