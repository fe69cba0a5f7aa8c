"""Safetensors files are mapped, decoded, checked, and written whole or not at all."""

import errno
import json
import os
import pickle
import resource
import shutil
import stat

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from minisbert.model_files.configs import read_model_config
from minisbert.model_files.weights import load_dense, load_parameters
from minisbert.network.config import parameter_shapes
from minisbert.system.disk import write_file
from minisbert.system.safetensors import read_safetensors, write_safetensors
from models import make_model_directory, write_json


@pytest.fixture
def directory(tmp_path):
    return make_model_directory(tmp_path / "model", dense=16)


def load(directory):
    return load_parameters(directory, read_model_config(directory).bert)


def change_tensors(path, change):
    """Rewrite a safetensors file through a function of its dict of tensors."""
    tensors = {name: array.copy() for name, array in read_safetensors(path)[0].items()}
    save_file(change(tensors), path)


def write_by_hand(path, header, data, padding=0):
    """A safetensors file from its parts; `padding` spaces shift where the data start."""
    text = json.dumps(header).encode() + b" " * padding
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def find_map(array):
    """The memory map that an array is a view of, or None."""
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array


# Mapping


def test_parameters_are_views_of_one_map(directory):
    """Every float32 parameter is a read-only view of one map of the file: nothing is copied."""
    parameters = load(directory)
    whole = find_map(parameters["embeddings.LayerNorm.bias"])
    assert whole.filename == directory / "model.safetensors"
    for array in parameters.values():
        assert find_map(array) is whole
        assert np.shares_memory(array, whole)
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        parameters["embeddings.LayerNorm.bias"][0] = 0


def test_values_are_those_of_the_library(directory):
    """Mapped tensors hold what the safetensors library reads."""
    arrays, _ = read_safetensors(directory / "model.safetensors")
    with safe_open(directory / "model.safetensors", framework="np") as expected:
        assert set(arrays) == set(expected.keys())
        for name, array in arrays.items():
            assert np.array_equal(array, expected.get_tensor(name))


@pytest.mark.parametrize("padding", range(8))
def test_misaligned_data_are_copied(tmp_path, padding):
    """Data at an offset that is no multiple of 4 are copied to an aligned place, others mapped."""
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    header = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    write_by_hand(tmp_path / "file", header, values.tobytes(), padding)
    array = read_safetensors(tmp_path / "file")[0]["a"]
    offset = 8 + len(json.dumps(header)) + padding
    assert np.array_equal(array, values)
    assert array.flags.aligned
    assert (find_map(array) is None) == bool(offset % 4)
    assert not array.flags.writeable


def test_every_float16_is_decoded(tmp_path):
    """All 65,536 bit patterns of float16 become the float32 of the same value."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    save_file({"a": halves}, tmp_path / "file")
    array = read_safetensors(tmp_path / "file")[0]["a"]
    assert array.dtype == np.float32
    assert np.array_equal(array, halves.astype(np.float32), equal_nan=True)


def test_every_bfloat16_is_decoded(tmp_path):
    """All 65,536 bit patterns of bfloat16 become the float32 whose upper half they are."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    header = {"a": {"dtype": "BF16", "shape": [256, 256], "data_offsets": [0, 1 << 17]}}
    write_by_hand(tmp_path / "file", header, bits.tobytes())
    array = read_safetensors(tmp_path / "file")[0]["a"]
    assert array.dtype == np.float32
    assert array.shape == (256, 256)
    assert np.array_equal(array.ravel().view(np.uint32), bits.astype(np.uint32) << 16)
    assert (array[0x3F, 0x80], array[0xC0, 0x49]) == (1.0, -3.140625)


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
    ],
    ids=["bert.", "gamma", "bert. and beta"],
)
def test_older_names(directory, rename):
    """Names with the family's prefix or with gamma and beta are those of the same parameters."""
    expected = load(directory)
    change_tensors(
        directory / "model.safetensors",
        lambda tensors: {rename(name): array for name, array in tensors.items()},
    )
    parameters = load(directory)
    assert list(parameters) == list(expected)
    assert all(np.array_equal(parameters[name], expected[name]) for name in expected)


def test_heads_and_position_numbers_are_left_out(directory):
    """Pooler, pre-training heads and position_ids are no parameters of the network."""
    extra = {
        "embeddings.position_ids": np.arange(64)[None],
        "bert.pooler.dense.weight": np.ones((32, 32), np.float32),
        "cls.predictions.bias": np.ones(9, np.float32),
    }
    change_tensors(directory / "model.safetensors", lambda tensors: tensors | extra)
    assert list(load(directory)) == list(parameter_shapes(read_model_config(directory).bert))


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
    dense = read_model_config(directory).modules[1]
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
        (lambda t: {}, "without 'embeddings.word_embeddings.weight' and 36 more"),
    ],
    ids=["short", "flat", "integers", "missing", "missing block", "unexpected", "empty"],
)
def test_weights_that_do_not_fit(directory, change, sentence):
    """A parameter that is missing, unexpected, misshapen or of another type is named."""
    change_tensors(directory / "model.safetensors", change)
    with pytest.raises(ValueError, match=sentence) as error:
        load(directory)
    assert str(directory) in str(error.value)
    assert "\n" not in str(error.value)


def test_dense_that_does_not_fit(directory):
    """A Dense module's misshapen weight is named with its folder."""
    change_tensors(
        directory / "2_Dense" / "model.safetensors",
        lambda tensors: tensors | {"linear.weight": np.ones((32, 16), np.float32)},
    )
    with pytest.raises(ValueError, match=r"linear.weight in .*2_Dense .*\(16, 32\).*\(32, 16\)"):
        load_dense(directory, read_model_config(directory).modules[1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:4],
        lambda content: content[:100],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: (1 << 63).to_bytes(8, "little") + content[8:],
        lambda content: content[:8] + b"x" + content[9:],
        lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        lambda content: np.random.default_rng(0).bytes(10_000),
    ],
    ids=[
        "empty",
        "4 bytes",
        "cut in the header",
        "cut in the data",
        "a byte too many",
        "huge header",
        "header of 2^63 bytes",
        "broken header",
        "pointer",
        "garbage",
    ],
)
def test_damaged_file(directory, damage):
    """A truncated or garbage file is refused in one sentence with its name."""
    path = directory / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match="must be a whole safetensors file, but it is not"
    ) as error:
        load(directory)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"a": {"dtype": "F31", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 8]}},
        {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"},
        {"a": {"dtype": "F32", "shape": [float("nan")], "data_offsets": [0, 8]}},
        {"a": []},
        [],
    ],
    ids=(
        *("short", "hole", "negative shape", "negative offset", "type", "overflow", "overlap"),
        *("NaN", "list", "lists"),
    ),
)
def test_lying_header(tmp_path, header):
    """A header that does not fit its data is refused before anything is mapped."""
    write_by_hand(tmp_path / "file", header, bytes(8))
    with pytest.raises(ValueError, match="must be a whole safetensors file, but it is not"):
        read_safetensors(tmp_path / "file")


@pytest.mark.parametrize("shape", [[1] * 70 + [2], [0, 2**62]], ids=["71 axes", "nothing, wide"])
def test_shape_that_numpy_lacks(tmp_path, shape):
    """A tensor with more axes or longer ones than an array may have is named."""
    data = bytes(8 if all(shape) else 0)
    header = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}}
    write_by_hand(tmp_path / "file", header, data)
    with pytest.raises(ValueError, match=r"^'a' in .* must have a shape that NumPy can hold, got"):
        read_safetensors(tmp_path / "file")


def test_names_in_errors_are_printable(tmp_path, directory):
    """A tensor's name with line breaks and escapes, or of any length, leaves an error one line."""
    name = "a\n\x1b[2J" * 1000
    write_by_hand(
        tmp_path / "file", {name: {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}, bytes(8)
    )
    with pytest.raises(ValueError, match="must be of type") as unreadable:
        read_safetensors(tmp_path / "file")
    change_tensors(
        directory / "model.safetensors", lambda tensors: tensors | {name: np.ones(1, np.float32)}
    )
    with pytest.raises(ValueError, match="got them with") as unexpected:
        load(directory)
    for error in (unreadable, unexpected):
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 500


def test_type_that_numpy_lacks(tmp_path):
    """A tensor of a type that is not read is named with its type."""
    write_by_hand(
        tmp_path / "file",
        {"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}},
        bytes(8),
    )
    with pytest.raises(ValueError, match=r"^'a' in .* must be of type .*, got F8_E4M3; "):
        read_safetensors(tmp_path / "file")


def test_missing_weights(directory):
    """A directory without weights is named."""
    (directory / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors must be a file, but there is"):
        load(directory)


class Bomb:
    """A pickle of it leaves a file behind when it is loaded."""

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
        load_dense(directory, config.modules[1]) if folder else load(directory)
    assert "torch.load('pytorch_model.bin', weights_only=True)" in str(error.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ({"weight_map": {"a": "../other.safetensors"}}, "must be relative and stay inside"),
        ({"weight_map": {"a": "/etc/passwd"}}, "must be relative and stay inside"),
        ({"weight_map": {"a": "..\\other"}}, "must be relative and stay inside"),
        ({"weight_map": {"a": "x" * 10**6}}, "must be relative and stay inside"),
        ({"weight_map": {"a": 7}}, "weight_map in .* must be an object of texts"),
        ({"weight_map": ["a"]}, "weight_map in .* must be an object"),
        ({}, "weight_map in .* must be an object"),
        ([], "must hold a JSON object"),
    ],
)
def test_bad_shard_index(directory, index, sentence):
    """An index of shards whose paths leave the directory, or of another make, is refused."""
    (directory / "model.safetensors").rename(directory.parent / "other.safetensors")
    write_json(directory / "model.safetensors.index.json", index)
    with pytest.raises(ValueError, match=sentence):
        load(directory)


def test_missing_shard(directory):
    """A shard that is not there is named."""
    (directory / "model.safetensors").unlink()
    write_json(
        directory / "model.safetensors.index.json", {"weight_map": {"a": "model-1.safetensors"}}
    )
    with pytest.raises(FileNotFoundError, match=r"model-1\.safetensors must be a safetensors file"):
        load(directory)


# Writing


def test_round_trip(tmp_path):
    """Arrays of every type and shape, and metadata, come back as they were, also by the library."""
    arrays = {
        "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
        "columns": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "every other": np.arange(12, dtype=np.float32)[::2],
        "none": np.empty((0, 4), np.float32),
        "scalar": np.array(7.0),
        "bytes": np.arange(3, dtype=np.int8),
        "flags": np.array([True, False, True]),
        "ids": np.arange(5),
    }
    metadata = {"format": "näme", "line": "a\nb"}
    write_safetensors(tmp_path / "file", arrays, metadata)
    read, read_metadata = read_safetensors(tmp_path / "file")
    assert read_metadata == metadata
    with safe_open(tmp_path / "file", framework="np") as library:
        assert library.metadata() == metadata
        for name, array in arrays.items():
            for found in (read[name], library.get_tensor(name)):
                assert found.dtype == array.dtype
                assert np.array_equal(found, array)
    assert all(array.size == 0 or find_map(array) is not None for array in read.values())


def test_same_arrays_same_bytes(tmp_path):
    """A file depends on the arrays and not on their order in the dict."""
    a, b = np.ones(3, np.float32), np.ones(5, np.int8)
    write_safetensors(tmp_path / "one", {"a": a, "b": b}, {})
    write_safetensors(tmp_path / "two", {"b": b, "a": a}, {})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_write_over_the_mapped_file(tmp_path):
    """A file may be replaced while its old content is mapped."""
    path = tmp_path / "file"
    write_safetensors(path, {"a": np.zeros(1000, np.float32)}, {})
    old = read_safetensors(path)[0]["a"]
    write_safetensors(path, {"a": old + 1}, {})
    assert not old.any()
    assert (read_safetensors(path)[0]["a"] == 1).all()


def test_failure_keeps_the_old_file(tmp_path):
    """Whatever fails while writing, the old file stays and nothing else is left behind."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half(error):
        with write_file(path) as file:
            file.write(b"new")
            raise error

    for error in (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_half(error)
        assert os.listdir(tmp_path) == ["file"]
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failing_step_keeps_the_old_file(tmp_path, monkeypatch, step):
    """A full disk may show only when the data are forced out, or renamed: the old file stays."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_safetensors(path, {"a": np.ones(3, np.float32)}, {})
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_disk_that_takes_no_more(tmp_path):
    """A write that the system refuses halfway leaves the old file, and no part of the new one."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_safetensors(path, {"a": np.ones(1 << 20, np.float32)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_new_file_has_the_usual_permissions(tmp_path):
    """A written file is as readable as any other that the user makes."""
    (tmp_path / "usual").touch()
    write_safetensors(tmp_path / "file", {}, {})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "file")]
    assert modes[0] == modes[1]


def test_missing_folder(tmp_path):
    """A folder that is not there is an error at once."""
    with pytest.raises(FileNotFoundError):
        write_safetensors(tmp_path / "nowhere" / "file", {}, {})


def test_order_of_the_steps(tmp_path, monkeypatch):
    """The whole file is forced to the disk before it is renamed, and the folder after."""
    steps = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle):
        status = os.fstat(handle)
        steps.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)
        fsync(handle)

    def note_replace(source, target):
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_safetensors(tmp_path / "file", {"a": np.ones(5, np.int8)}, {})
    assert steps == [(tmp_path / "file").stat().st_size, "rename", "folder"]


def test_links_are_followed_and_devices_written_to(tmp_path):
    """Writing through a link changes its target; what is no file is written to, not replaced."""
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with write_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"

    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with write_file(tmp_path / "pipe") as file:
            file.write(b"through")
        assert os.read(reader, 10) == b"through"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
