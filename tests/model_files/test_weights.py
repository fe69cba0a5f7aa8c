"""A checkpoint's weights become the network's parameters, in every spelling, or are refused."""

import pickle
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from minisbert.model_files.configs import read_model_config
from minisbert.model_files.weights import load_dense, load_parameters
from minisbert.network.config import parameter_shapes
from minisbert.system.safetensors import read_safetensors
from models import find_map, make_model_directory, write_json


@pytest.fixture
def directory(tmp_path):
    return make_model_directory(tmp_path / "model", dense=16)


def load(directory):
    return load_parameters(directory, read_model_config(directory).bert)


def change_tensors(path, change):
    """Rewrite a safetensors file through a function of its dict of tensors."""
    tensors = {name: array.copy() for name, array in read_safetensors(path)[0].items()}
    save_file(change(tensors), path)


# Mapping


def test_parameters_are_views_of_one_map(directory):
    """Every float32 parameter is a read-only view of one map of the file: nothing is copied."""
    parameters = load(directory)
    whole = find_map(parameters["embeddings.LayerNorm.bias"])
    assert whole.filename == str(directory / "model.safetensors")
    for array in parameters.values():
        assert find_map(array) is whole
        assert np.shares_memory(array, whole)
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        parameters["embeddings.LayerNorm.bias"][0] = 0


def test_half_precision_model(directory):
    """A model stored in float16 loads as float32 of the same values."""
    full = load(directory)
    change_tensors(
        directory / "model.safetensors",
        lambda tensors: {name: array.astype(np.float16) for name, array in tensors.items()},
    )
    for name, array in load(directory).items():
        assert array.dtype == np.float32
        assert np.array_equal(array, full[name].astype(np.float16).astype(np.float32))


# Names


def test_exactly_the_parameters(directory):
    """The result has the names, the order and the shapes of `parameter_shapes`, in float32."""
    shapes = parameter_shapes(read_model_config(directory).bert)
    assert {name: array.shape for name, array in load(directory).items()} == shapes
    assert all(array.dtype == np.float32 for array in load(directory).values())


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"bert.{name}",
        lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma"),
        lambda name: "bert." + name.replace("LayerNorm.bias", "LayerNorm.beta"),
        lambda name: f"model.{name}",
        lambda name: f"module.bert.{name}",
        lambda name: f"0.auto_model.{name}",
    ],
    ids=["bert.", "gamma", "bert. and beta", "model.", "module.bert.", "0.auto_model."],
)
def test_older_names(directory, rename):
    """Names with known prefixes or with gamma and beta are those of the same parameters."""
    expected = load(directory)
    change_tensors(
        directory / "model.safetensors",
        lambda tensors: {rename(name): array for name, array in tensors.items()},
    )
    parameters = load(directory)
    assert list(parameters) == list(expected)
    assert all(np.array_equal(parameters[name], expected[name]) for name in expected)


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize(
    "extra",
    [
        *("pooler.dense.weight", "cls.predictions.bias", "embeddings.position_ids"),
        *("embeddings.token_type_ids", "qa_outputs.weight", "linear.weight", "logit_scale"),
        *("mlp.dense.weight", "classifier.weight", "encoder_projection", "lm_head.decoder.weight"),
    ],
)
def test_what_is_beside_the_network_is_left_out(directory, prefix, extra):
    """Heads of any kind and buffers are not looked at, whatever they hold."""
    expected = load(directory)
    change_tensors(
        directory / "model.safetensors",
        lambda tensors: (
            {prefix + name: array for name, array in tensors.items()}
            | {prefix + extra: np.arange(64)[None], f"mine.{extra}": np.array(True)}
        ),
    )
    parameters = load(directory)
    assert list(parameters) == list(expected)
    assert all(np.array_equal(parameters[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "name", ["embeddings.word_embeddings.weight", "encoder.layer.1.output.dense.weight"]
)
def test_shared_tensors(directory, name):
    """A parameter that is stored under the name of its twin is found by the metadata."""
    expected = load(directory)
    tensors = {f"bert.{own}": array.copy() for own, array in expected.items()}
    tensors["cls.predictions.decoder.weight"] = tensors.pop(f"bert.{name}")
    metadata = {"format": "pt", f"bert.{name}": "cls.predictions.decoder.weight"}
    save_file(tensors, directory / "model.safetensors", metadata)
    parameters = load(directory)
    assert all(np.array_equal(parameters[own], expected[own]) for own in expected)
    # A twin under a wrapper's name is the same parameter, and no second one.
    twin = {f"model.bert.{QUERY}": f"bert.{QUERY}"}
    save_file(tensors, directory / "model.safetensors", metadata | twin)
    assert list(load(directory)) == list(expected)
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"got them without '{name}'"):
        load(directory)


def test_weights_in_memory(directory):
    """With mapped=False no parameter is a view of the file."""
    expected = load(directory)
    config = read_model_config(directory)
    parameters = load_parameters(directory, config.bert, mapped=False)
    assert all(np.array_equal(parameters[name], expected[name]) for name in expected)
    dense = load_dense(directory, config.modules[0], mapped=False)
    assert all(find_map(array) is None for array in (parameters | dense).values())


def test_shards(directory):
    """Weights in several files, as their index says, are the same parameters."""
    expected = load(directory)
    names = sorted(expected)
    weight_map = {}
    for shard, part in enumerate((names[:10], names[10:20], names[20:])):
        file = f"model-0000{shard + 1}-of-00003.safetensors"
        save_file({name: expected[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    expected = {name: array.copy() for name, array in expected.items()}
    (directory / "model.safetensors").unlink()
    write_json(directory / "model.safetensors.index.json", {"weight_map": weight_map})
    parameters = load(directory)
    assert all(np.array_equal(parameters[name], expected[name]) for name in expected)
    assert len({id(find_map(array)) for array in parameters.values()}) == 3


def test_dense(directory):
    """A Dense module's weight is (out, in), and its bias (out,)."""
    dense = read_model_config(directory).modules[0]
    parameters = load_dense(directory, dense)
    assert {name: array.shape for name, array in parameters.items()} == {
        "linear.weight": (16, 32),
        "linear.bias": (16,),
    }


def test_links_to_weights_that_leave_the_directory(directory, tmp_path):
    """Weights behind a link that leaves the directory load, as in the Hugging Face cache."""
    (tmp_path / "blobs").mkdir()
    shutil.move(directory / "model.safetensors", tmp_path / "blobs" / "1234")
    (directory / "model.safetensors").symlink_to("../blobs/1234")
    assert len(load(directory)) == 5 + 2 * 16


# What is refused


QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t | {QUERY: t[QUERY][:-1]}, rf"^{QUERY} .* shape \(32, 32\) .* got \(31, 32\)"),
        (lambda t: t | {QUERY: t[QUERY].ravel()}, rf"^{QUERY} .* \(32, 32\) .* got \(1024,\)"),
        (lambda t: t | {QUERY: t[QUERY].astype(np.int8)}, rf"{QUERY} .* floating point, got int8"),
        (lambda t: {n: t[n] for n in t if n != QUERY}, f"got them without '{QUERY}';"),
        (
            lambda t: {n: t[n] for n in t if ".1." not in n},
            "without 'encoder.layer.1.* 15 more",
        ),
        (lambda t: t | {"encoder.extra": np.ones(1, np.float32)}, "got them with 'encoder.extra';"),
        (
            lambda t: t | {"bert.encoder.layer.2.output.dense.bias": np.ones(32, np.float32)},
            "got them with 'encoder.layer.2.output.dense.bias';",
        ),
        (
            lambda t: t | {f"model.{QUERY}": t[QUERY]},
            f"must hold each parameter once, got '{QUERY}' and 'model.{QUERY}'",
        ),
        (lambda t: t | {QUERY: np.array(1, np.float32)}, rf"^{QUERY} .* \(32, 32\) .* got \(\)"),
        (lambda t: {}, "without 'embeddings.word_embeddings.weight' and 36 more"),
    ],
    ids=[
        "short",
        "flat",
        "integers",
        "missing",
        "missing block",
        "unexpected",
        "beyond the last block",
        "twice",
        "scalar",
        "empty",
    ],
)
def test_weights_that_do_not_fit(directory, change, sentence):
    """A parameter that is missing, unexpected, or of another shape or type is named."""
    change_tensors(directory / "model.safetensors", change)
    with pytest.raises(ValueError, match=sentence) as error:
        load(directory)
    assert str(directory) in str(error.value)
    assert "\n" not in str(error.value)


def test_dense_that_does_not_fit(directory):
    """A Dense module's weight of another shape is named with its folder."""
    change_tensors(
        directory / "2_Dense" / "model.safetensors",
        lambda tensors: tensors | {"linear.weight": np.ones((32, 16), np.float32)},
    )
    with pytest.raises(ValueError, match=r"linear.weight in .*2_Dense .*\(16, 32\).*\(32, 16\)"):
        load_dense(directory, read_model_config(directory).modules[0])


def test_unexpected_name_is_printable(directory):
    """A tensor's name with line breaks and escapes, or of any length, leaves an error one line."""
    name = "encoder.a\n\x1b[2J" * 1000
    change_tensors(
        directory / "model.safetensors", lambda tensors: tensors | {name: np.ones(1, np.float32)}
    )
    with pytest.raises(ValueError, match="got them with") as error:
        load(directory)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


def test_damaged_weights(directory):
    """A truncated file of weights is named."""
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="whole safetensors file") as error:
        load(directory)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "2_Dense/model.safetensors"])
def test_pointer_of_git_lfs(directory, name):
    """What a clone without Git LFS leaves in the place of weights is called that."""
    (directory / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    config = read_model_config(directory)
    with pytest.raises(ValueError, match=f"{name} .* got a pointer of Git LFS; run `git lfs pull`"):
        load_dense(directory, config.modules[0]) if "Dense" in name else load(directory)


def test_missing_weights(directory):
    """A directory without weights is named."""
    (directory / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors must be a file, but there is"):
        load(directory)


class Bomb:
    """An object whose pickle writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
@pytest.mark.parametrize("folder", ["", "2_Dense"])
def test_pickles_are_never_loaded(directory, tmp_path, folder, name):
    """Weights in a pickle get a refusal with a recipe, and the pickle is not opened."""
    (directory / folder / "model.safetensors").unlink()
    (directory / folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    config = read_model_config(directory)
    with pytest.raises(ValueError, match=r"got only pytorch_model\.bin, a pickle") as error:
        load_dense(directory, config.modules[0]) if folder else load(directory)
    assert "torch.load('pytorch_model.bin', weights_only=True)" in str(error.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ({"weight_map": {"a": "../other.safetensors"}}, "must be relative and stay inside"),
        ({"weight_map": {"a": "/etc/passwd"}}, "must be relative and stay inside"),
        ({"weight_map": {"a": "..\\other"}}, "must be relative and stay inside"),
        ({"weight_map": {"a": "x" * 10**6}}, "must be relative and stay inside"),
        ({"weight_map": {"a": "é" * 200}}, "must be relative and stay inside"),
        ({"weight_map": {"a": 7}}, "weight_map in .* must be an object of strings"),
        ({"weight_map": ["a"]}, "weight_map in .* must be an object"),
        ({}, "weight_map in .* must be an object"),
        ([], "must hold a JSON object"),
    ],
)
def test_bad_shard_index(directory, index, sentence):
    """An index of shards whose paths leave the directory, or of another structure, is refused."""
    (directory / "model.safetensors").rename(directory.parent / "other.safetensors")
    write_json(directory / "model.safetensors.index.json", index)
    with pytest.raises(ValueError, match=sentence):
        load(directory)


@pytest.mark.parametrize("name", ["circle", "config.json/inner", "folder/" * 30 + "a"])
def test_shard_that_cannot_be_opened(directory, name):
    """An error of the system names the shard, and the index that names it."""
    (directory / "model.safetensors").unlink()
    (directory / "circle").symlink_to(directory / "circle")
    write_json(directory / "model.safetensors.index.json", {"weight_map": {"a": name}})
    with pytest.raises(
        OSError, match=rf"{name} must be .*\(the path is from .*index\.json\)"
    ) as error:
        load(directory)
    assert error.value.errno is None


def test_missing_shard(directory):
    """A shard that is not there is named."""
    (directory / "model.safetensors").unlink()
    write_json(
        directory / "model.safetensors.index.json", {"weight_map": {"a": "model-1.safetensors"}}
    )
    with pytest.raises(FileNotFoundError, match=r"model-1\.safetensors must be a safetensors file"):
        load(directory)
