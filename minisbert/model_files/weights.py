"""Parameters out of safetensors files, and arrays into them.

The safetensors library checks a file's header, and gives names and metadata. Its NumPy tensors are
copies, though, so the data are mapped here instead: a file is there at once, what is never looked
at is never read, and processes share the memory of what they don't rearrange (a model's word table,
half of all-MiniLM-L6-v2; the rows of an index).
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from minisbert.network.config import BertConfig, DenseConfig, parameter_shapes
from minisbert.network.families import Family
from minisbert.system.json_fields import TEXTS, check_relative, read_fields, shorten
from minisbert.network.ragged import Array

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,  # NumPy has none: the bits, decoded below
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}

CONVERSION_RECIPE = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file({k: v.clone().contiguous() for k, v in "
    "torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors')\""
)

# What checkpoints hold beside the network: heads, and a buffer of position numbers.
NOT_OF_THE_NETWORK = (
    *("pooler.", "classifier.", "pre_classifier.", "embeddings.position_ids"),
    *("cls.", "lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
    *("predictions.", "sop_classifier."),
)


def read_safetensors(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Map every tensor of a file read-only; give its metadata too.

    float16 and bfloat16 are decoded to float32, and so copied.

    Raises FileNotFoundError, or ValueError naming the file if it is not whole.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} must be a safetensors file, but there is none; check the path"
        )
    try:
        with safe_open(path, framework="np") as checked:
            metadata = dict(checked.metadata() or {})
            names = list(checked.keys())
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} must be a whole safetensors file, but it is not ({error}); "
            "put a whole copy in its place"
        ) from None
    # The header: 8 bytes of length, then JSON with each tensor's place in the data after it.
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.asarray(np.memmap(path, np.uint8, "r"))[8 + length :]
    arrays = {}
    for name in names:
        kind, shape = header[name]["dtype"], tuple(header[name]["shape"])
        if kind not in DTYPES:
            raise ValueError(
                f"{shorten(name)} in {path} must be of type {', '.join(DTYPES)}, got {kind}; "
                "convert it to F32"
            )
        start, end = header[name]["data_offsets"]
        try:
            arrays[name] = _view_tensor(data[start:end], kind, shape)
        except ValueError as error:
            raise ValueError(
                f"{shorten(name)} in {path} must have a shape that NumPy can hold, "
                f"got {shorten(shape)} ({error}); put a whole copy in its place"
            ) from None
    return arrays, metadata


def _view_tensor(raw: Array, kind: str, shape: tuple[int, ...]) -> Array:
    """Bytes as an array of a type; a copy only if they are misaligned or of half precision."""
    dtype = np.dtype(DTYPES[kind])
    if raw.ctypes.data % dtype.itemsize:
        # BLAS would copy a misaligned matrix at every product.
        raw = raw.copy()
    array = raw.view(dtype).reshape(shape)
    if kind == "BF16":
        # bfloat16 is the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif kind == "F16":
        array = array.astype(np.float32)
    array.flags.writeable = False
    return array


def load_parameters(directory: Path, config: BertConfig) -> dict[str, Array]:
    """Read the network's parameters from model.safetensors, whole or in shards.

    The result has exactly the names and shapes of `parameter_shapes(config)`, in float32.

    Raises FileNotFoundError, or ValueError naming the parameter that is missing, unexpected or
    misshapen.
    """
    directory = Path(directory)
    tensors = {
        name: array
        for name, array in _read_checkpoint(directory, config.family).items()
        if not name.startswith(NOT_OF_THE_NETWORK)
    }
    # Held to the names that stand in the file, which an error should name.
    shapes = parameter_shapes(config)
    theirs = {name: config.family.name_in_checkpoint(name) for name in shapes}
    expected = {theirs[name]: shape for name, shape in shapes.items()}
    checked = _check_tensors(tensors, expected, directory)
    return {name: checked[theirs[name]] for name in shapes}


def load_tensors(
    directory: Path, family: Family, shapes: Mapping[str, tuple[int, ...]], remedy: str
) -> dict[str, Array]:
    """Read the parameters that `shapes` names as the family does, whatever else there is.

    Raises ValueError naming one that is missing, with the remedy, or misshapen.
    """
    directory = Path(directory)
    found = _read_checkpoint(directory, family)
    for name in shapes:
        if name not in found:
            raise ValueError(f"the weights in {directory} must have {name}, but have not; {remedy}")
    return _check_tensors({name: found[name] for name in shapes}, shapes, directory)


def find_tensor(directory: Path, name: str) -> Array | None:
    """One tensor of a directory as it is, None if there is none."""
    return _read_tensors(Path(directory)).get(name)


def load_pooler(directory: Path, family: Family) -> dict[str, Array]:
    """Read the pooler's parameters, none if there are none, as they are."""
    tensors = _read_checkpoint(directory, family)
    return {name: array for name, array in tensors.items() if name.startswith("pooler.")}


def load_dense(directory: Path, dense: DenseConfig) -> dict[str, Array]:
    """Read a Dense module's linear.weight (out, in) and, if it has one, linear.bias (out,).

    Raises as `load_parameters` does.
    """
    folder = Path(directory) / dense.path
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (dense.out_features, dense.in_features)}
    if dense.bias:
        shapes["linear.bias"] = (dense.out_features,)
    return _check_tensors(_read_tensors(folder), shapes, folder)


def write_safetensors(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays to a file that appears whole or not at all, without a copy of them in memory."""
    kinds = {np.dtype(dtype): kind for kind, dtype in DTYPES.items() if kind != "BF16"}
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    # The widest type first, so that every array is aligned in the file and can be mapped.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    for name in names:
        array = arrays[name]
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": kinds[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with write_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(np.ascontiguousarray(arrays[name]).data)


@contextmanager
def write_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its place when the block ends well.

    It is on the disk before it is renamed, so that a crash leaves the old file or the new one.
    If anything fails, the temporary file is removed and the old one stays.
    A link is followed, and what is no file (a device, a pipe) is written to, not replaced.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk, where the system has a way to."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_tensors(directory: Path) -> dict[str, Array]:
    """Every tensor of a folder's model.safetensors, or of the shards that its index names."""
    whole, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if whole.exists():
        return read_safetensors(whole)[0]
    if index.exists():
        weight_map = read_fields(index).find("weight_map", TEXTS)
        tensors: dict[str, Array] = {}
        for shard in sorted({check_relative(name, index) for name in weight_map.values()}):
            tensors.update(read_safetensors(directory / shard)[0])
        return tensors
    if any(directory.glob("pytorch_model*.bin")):
        raise ValueError(
            f"{directory} must hold model.safetensors, got only pytorch_model.bin, a pickle, which "
            "could run any code; convert it in that folder, where torch is installed: "
            f"{CONVERSION_RECIPE}"
        )
    raise FileNotFoundError(
        f"{whole} must be a file, but there is none; is {directory} a whole model directory?"
    )


def _read_checkpoint(directory: Path, family: Family) -> dict[str, Array]:
    """Every tensor by its name without the family's prefix, in the newer spelling of norms."""
    tensors = {}
    for name, array in _read_tensors(directory).items():
        name = name.removeprefix(family.prefix)
        for old, new in (("gamma", "weight"), ("beta", "bias")):
            if name.endswith(f"LayerNorm.{old}"):
                name = name.removesuffix(old) + new
        tensors[name] = array
    return tensors


def _check_tensors(
    tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], directory: Path
) -> dict[str, Array]:
    """Tensors as float32, in the order of `shapes`, which must name each of them."""
    for what, names in (
        ("without", [name for name in shapes if name not in tensors]),
        ("with", [name for name in tensors if name not in shapes]),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(
                f"the weights in {directory} must be the parameters that its config.json implies, "
                f"got them {what} {shorten(names[0])}{more}; config.json may be another model's"
            )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(
                f"{name} in {directory} must have the shape {shape} that its config.json implies, "
                f"got {tensors[name].shape}; config.json may be another model's"
            )
        if tensors[name].dtype.kind != "f":
            raise ValueError(
                f"{name} in {directory} must hold floating point, got {tensors[name].dtype}; "
                "quantised weights are not supported"
            )
    # The only cast: all layers compute in the type of their parameters.
    return {name: tensors[name].astype(np.float32, copy=False) for name in shapes}
