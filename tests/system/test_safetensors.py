"""Safetensors files are mapped, decoded, checked and written."""

import json
import os

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from minisbert.system import safetensors
from minisbert.system.safetensors import make_header, read_safetensors, write_safetensors
from models import find_map


@pytest.fixture
def path(tmp_path):
    """A file of two tensors, written by the library."""
    rng = np.random.default_rng(0)
    tensors = {"matrix": rng.normal(size=(64, 32)).astype(np.float32), "ids": np.arange(9)}
    save_file(tensors, tmp_path / "file")
    return tmp_path / "file"


def write_by_hand(path, header, data, padding=0):
    """A safetensors file from its parts; `padding` spaces shift where the data start."""
    text = json.dumps(header).encode() + b" " * padding
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


# Mapping


def test_values_are_those_of_the_library(path):
    """Mapped tensors hold what the safetensors library reads."""
    arrays, _ = read_safetensors(path)
    with safe_open(path, framework="np") as expected:
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


def test_memory_instead_of_a_map(path):
    """With mapped=False the arrays are the same, in memory of their own."""
    mapped, metadata = read_safetensors(path)
    arrays, other = read_safetensors(path, mapped=False)
    assert other == metadata
    for name, array in arrays.items():
        assert np.array_equal(array, mapped[name])
        assert find_map(array) is None
        assert not array.flags.writeable
    with path.open("r+b") as file:
        file.truncate(100)
    assert arrays["ids"].tolist() == list(range(9))


def test_header_and_data_are_of_one_file(path, tmp_path, monkeypatch):
    """A file that takes the name between the check and the mapping is not read."""
    expected = read_safetensors(path)[0]["ids"]
    save_file({"other": np.zeros(1)}, tmp_path / "newer")

    def check_then_replace(*arguments, **options):
        if (tmp_path / "newer").exists():
            (tmp_path / "newer").rename(path)
        return safe_open(*arguments, **options)

    monkeypatch.setattr(safetensors, "safe_open", check_then_replace)
    assert np.array_equal(read_safetensors(path)[0]["ids"], expected)
    assert list(read_safetensors(path)[0]) == ["other"]


# What is refused


def test_file_that_shrinks_while_it_is_read(path, monkeypatch):
    """A file that has become shorter between the check and the reading is refused."""
    check = safetensors._check_header

    def check_then_cut(file, name):
        found = check(file, name)
        with path.open("r+b") as other:
            other.truncate(len(path.read_bytes()) - 50)
        return found

    monkeypatch.setattr(safetensors, "_check_header", check_then_cut)
    for mapped in (True, False):
        content = path.read_bytes()
        with pytest.raises(ValueError, match=r"replace (it|the file) with a whole copy"):
            read_safetensors(path, mapped=mapped)
        path.write_bytes(content)


def test_no_file_of_tensors(tmp_path):
    """A missing file, a pipe, a device and a pointer of Git LFS are told apart, without a wait."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (tmp_path / "pointer").write_bytes(pointer)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="must be a safetensors file, but there is no"):
        read_safetensors(tmp_path / "nothing")
    for name, sentence in (("pointer", "Git LFS"), ("pipe", "a pipe"), ("/dev/zero", "a device")):
        with pytest.raises(ValueError, match=f"got {sentence}|got a pointer of {sentence}"):
            read_safetensors(tmp_path / name)


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
        "garbage",
    ],
)
def test_damaged_file(path, damage):
    """A truncated or garbage file is refused in one sentence with its name."""
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match="must be a whole safetensors file, got a damaged"
    ) as error:
        read_safetensors(path)
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
    with pytest.raises(ValueError, match="must be a whole safetensors file, got a damaged"):
        read_safetensors(tmp_path / "file")


@pytest.mark.parametrize("shape", [[1] * 70 + [2], [0, 2**62]], ids=["71 axes", "nothing, wide"])
def test_shape_that_numpy_lacks(tmp_path, shape):
    """A tensor with more axes or longer ones than an array may have is named."""
    data = bytes(8 if all(shape) else 0)
    header = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}}
    write_by_hand(tmp_path / "file", header, data)
    with pytest.raises(ValueError, match=r"^'a' in .* must have a shape that NumPy can hold, got"):
        read_safetensors(tmp_path / "file")


def test_names_in_errors_are_printable(tmp_path):
    """A tensor's name with line breaks and escapes, or of any length, leaves an error one line."""
    name = "a\n\x1b[2J" * 1000
    write_by_hand(
        tmp_path / "file", {name: {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}, bytes(8)
    )
    with pytest.raises(ValueError, match="must be of type") as error:
        read_safetensors(tmp_path / "file")
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


@pytest.mark.parametrize("size", [None, 400, 1000])
def test_header_is_the_one_that_is_written(tmp_path, size):
    """A header places tensors without gaps, and has the size that was asked for."""
    tensors = {"a": ("F32", (2, 3)), "b": ("U8", (5,)), "c": ("I64", (0,))}
    header = make_header(tensors, {"name": "ä"}, size)
    assert len(header) % 8 == 0
    assert size in (None, len(header))
    data = np.arange(6, dtype=np.float32).tobytes() + bytes(range(5))
    (tmp_path / "file").write_bytes(header + data)
    arrays, metadata = read_safetensors(tmp_path / "file")
    assert metadata == {"name": "ä"}
    assert np.array_equal(arrays["a"], [[0, 1, 2], [3, 4, 5]])
    assert np.array_equal(arrays["b"], range(5))
    assert arrays["c"].shape == (0,)
