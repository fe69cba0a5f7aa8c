"""Models and trainers that are copied or pickled give the same bits, or refuse in one sentence."""

import copy
import io
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest
from tasks import make_task

from minisbert import CrossEncoder, SentenceTransformer, train
from minisbert.encoding.score_activations import SCORE_ACTIVATIONS
from minisbert.system.threads import two_threads
from minisbert.training.networks import make_network
from minisbert.training.objectives import OBJECTIVES, make_loss
from minisbert.training.step import Batch, Trainer
from models import find_map, make_cross_encoder_directory, make_model_directory

TEXTS = ["a bird sings", "the old red car", "a dog runs, a cat sings! " * 5]
PAIRS = [("a bird", "a tree"), ("a dog runs", "the cat sings")]
LARGE = {"hidden_size": 64, "intermediate_size": 1024, "num_hidden_layers": 4}


def travel(model):
    return pickle.loads(pickle.dumps(model))


WAYS = pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, travel])


@pytest.fixture(params=[SentenceTransformer, CrossEncoder])
def model(request, tmp_path):
    if request.param is CrossEncoder:
        return CrossEncoder(make_cross_encoder_directory(tmp_path / "model", **LARGE))
    return SentenceTransformer(make_model_directory(tmp_path / "model", dense=48, **LARGE))


def run(model):
    return model.predict(PAIRS) if isinstance(model, CrossEncoder) else model.encode(TEXTS)


def train_briefly(model):
    objective = "binary" if isinstance(model, CrossEncoder) else "cosine"
    examples = make_task(objective, 8)
    train(model, examples, objective, epochs=1, batch_size=4, learning_rate=1e-2)


@WAYS
def test_a_copy_gives_the_same_bits(model, copied):
    """Copies of a model, before and after it has encoded, encode as it does."""
    first = copied(model)
    expected = run(model)
    for other in (first, copied(model)):
        assert np.array_equal(run(other), expected)
        assert other.parameters.keys() == model.parameters.keys()


@WAYS
@pytest.mark.parametrize("trained", [0, 1])
def test_copies_are_independent(model, copied, trained):
    """Training a model or its copy leaves the other as it was."""
    pair = [model, copied(model)]
    before = run(model)
    train_briefly(pair[trained])
    assert not np.array_equal(run(pair[trained]), before)
    assert np.array_equal(run(pair[1 - trained]), before)


@WAYS
def test_a_trained_model_travels_by_value(model, copied):
    """A model that training has changed is copied with its new weights."""
    train_briefly(model)
    other = copied(model)
    shutil.rmtree(model.model_directory)
    assert np.array_equal(run(other), run(model))


def test_a_deep_copy_of_changed_weights_is_independent(model):
    """Weights that are not mapped are copied, so that changing them in place changes one model."""
    model.parameters = {name: array.copy() for name, array in model.parameters.items()}
    other = copy.deepcopy(model)
    before = run(other)
    for array in model.parameters.values():
        array *= 2
    model.parameters = model.parameters
    assert np.array_equal(run(other), before)


def test_a_pickle_is_small(model):
    """A pickle holds no weights that are mapped from a file, nor what was derived from them."""
    run(model)
    content = pickle.dumps(model)
    assert len(content) < 20_000 < sum(array.nbytes for array in model.parameters.values()) / 10
    other = pickle.loads(content)
    assert all(find_map(array) is not None for array in other.parameters.values())


def test_a_model_in_memory_travels_by_value(model):
    """A model that was not mapped needs no file where it arrives."""
    other = type(model)(model.model_directory, mapped=False)
    expected, content = run(other), pickle.dumps(other)
    shutil.rmtree(model.model_directory)
    assert np.array_equal(run(pickle.loads(content)), expected)


@pytest.mark.parametrize("change", ["replaced", "changed", "removed"])
def test_another_file_is_refused(model, change):
    """A pickle is refused where the file of the weights is not the one that was loaded."""
    content = pickle.dumps(model)
    path = model.model_directory / "model.safetensors"
    whole = path.read_bytes()
    if change == "changed":
        with path.open("r+b") as file:
            file.seek(-1, io.SEEK_END)
            file.write(bytes([whole[-1] ^ 1]))
        os.utime(path, ns=(1, 1))
    else:
        os.rename(path, path.with_name("other"))
    if change == "replaced":
        path.write_bytes(whole)
    expected = FileNotFoundError if change == "removed" else ValueError
    with pytest.raises(expected, match=r"model\.safetensors must .* load the object again"):
        pickle.loads(content)


def test_a_file_of_another_folder_is_found(model, monkeypatch, tmp_path):
    """A model that was loaded by a relative path is found from another folder."""
    monkeypatch.chdir(model.model_directory.parent)
    content = pickle.dumps(type(model)(model.model_directory.name))
    monkeypatch.chdir(tmp_path.parent)
    assert np.array_equal(run(pickle.loads(content)), run(model))


@pytest.mark.parametrize("name", SCORE_ACTIVATIONS)
def test_activations_travel(tmp_path, name):
    """A cross-encoder travels with any activation that has a name."""
    model = CrossEncoder(make_cross_encoder_directory(tmp_path), activation_fn=name)
    assert np.array_equal(run(travel(model)), run(model))


@pytest.mark.slow
def test_a_spawned_process(tiny):
    """A model is sent to a process that is started anew, and its vectors come back."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(tiny.encode, [TEXTS, TEXTS[0]])
    assert np.array_equal(found[0], tiny.encode(TEXTS))
    assert np.array_equal(found[1], tiny.encode(TEXTS[0]))


def test_a_stream_refuses(tiny):
    """An open stream of embeddings can't be pickled or copied: TypeError."""
    stream = tiny.encode_iter(TEXTS)
    next(stream)
    for copied in (copy.copy, copy.deepcopy, travel):
        with pytest.raises(TypeError, match="generator"):
            copied(stream)


@pytest.mark.parametrize(
    "objective", [name for name, record in OBJECTIVES.items() if not record.cross_encoder]
)
@pytest.mark.parametrize("copied", [copy.deepcopy, travel])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_trainer(tiny, objective, copied, threads):
    """A copy of a trainer, moments and all, makes the same steps, and the two are independent."""
    rows = [row[: min(OBJECTIVES[objective].texts)] for row in make_task(objective, 8)]
    ids = [tiny.tokenizer.encode(list(column), 64).ids for column in zip(*rows, strict=True)]
    labels = {"scores": np.linspace(0, 1, 8, dtype=np.float32), "classes": np.arange(8) % 2}
    batch = Batch(ids, None, labels.get(OBJECTIVES[objective].labels))
    parameters = {name: array.copy() for name, array in tiny.parameters.items()}
    parameters |= make_loss(objective).make_parameters(2, 32, seed=0)
    with two_threads(threads) as run_both:
        network, loss = make_network(tiny.config), make_loss(objective)
        trainer = Trainer(network, loss, parameters, run_both=run_both)
        trainer.step(batch, 1e-3, (0, 0))
        other = copied(trainer)
        found = [each.step(batch, 1e-3, (0, step)) for step in (1, 2) for each in (trainer, other)]
    assert found[0] == found[1]
    assert found[2] == found[3]
    for name, array in trainer.parameters.items():
        assert np.array_equal(array, other.parameters[name])
        assert not np.shares_memory(array, other.parameters[name])
