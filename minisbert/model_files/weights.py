"""Read a checkpoint's weights as the network's parameters: BERT's names, checked shapes.

Checkpoints differ in the prefix of their names, in the spelling of layer norms, and in what they
hold beside the network; `network.families` has each family's own names. float32 tensors are views
of the mapped file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from minisbert.arguments import shorten
from minisbert.arrays import Array
from minisbert.network.config import BertConfig, DenseConfig, parameter_shapes
from minisbert.network.families import FAMILIES, Family
from minisbert.system.json_fields import (
    STRINGS,
    check_relative,
    name_origin,
    read_fields,
    refuse_missing,
)
from minisbert.system.regular_files import shorten_path
from minisbert.system.safetensors import read_safetensors

WEIGHTS_FILE = "model.safetensors"

_PICKLE_RECIPE = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file({k: v.clone().contiguous() for k, v in "
    "torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors')\""
)

# Prefixes that wrappers put before the whole of a model: DataParallel, a class with the network as
# its attribute, and sentence-transformers' own before 1.0.
_WRAPPERS = ("module.", "model.", "auto_model.", "0.auto_model.")

# Buffers within the network's own names, which are not parameters.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def load_parameters(
    directory: Path, config: BertConfig, *, mapped: bool = True
) -> dict[str, Array]:
    """Read the network's parameters from model.safetensors, whole or in shards.

    The result has exactly the names and shapes of `parameter_shapes(config)`, in float32. Names
    outside the network, such as heads of any kind, are not looked at.

    mapped  as in `read_safetensors`

    Raises OSError, or ValueError naming a parameter that is missing, unexpected, or of another
    shape.
    """
    directory, family = Path(directory), FAMILIES[config.model_type]
    # An error should name a parameter as the checkpoint does.
    shapes = parameter_shapes(config)
    own_names = {name: family.name_in_checkpoint(name) for name in shapes}
    expected = {own_names[name]: shape for name, shape in shapes.items()}
    network = tuple({f"{name.partition('.')[0]}." for name in expected})

    def is_inside(name: str) -> bool:
        return name.startswith(network) and name not in _BUFFERS

    tensors = _read_unprefixed(directory, family, is_inside, mapped=mapped)
    checked = check_tensors(tensors, expected, directory)
    return {name: checked[own_names[name]] for name in shapes}


def load_tensors(
    directory: Path,
    family: Family,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    remedy: str,
    mapped: bool = True,
) -> dict[str, Array]:
    """Read only the parameters in `shapes`, whose names are the family's own without its prefix.

    Raises ValueError naming one that is missing, with `remedy`, or of another shape.
    """
    directory = Path(directory)
    found = _read_unprefixed(directory, family, shapes.__contains__, mapped=mapped)
    for name in shapes:
        if name not in found:
            raise ValueError(
                f"the weights in {shorten_path(directory)} must have {name}, but it is missing; "
                f"{remedy}"
            )
    return check_tensors({name: found[name] for name in shapes}, shapes, directory)


def find_tensors(
    directory: Path, family: Family, prefix: str, *, mapped: bool = True
) -> dict[str, Array]:
    """Read the tensors whose names, without the family's prefix, begin with `prefix`, as they are.

    Raises as `load_parameters` does.
    """

    def is_wanted(name: str) -> bool:
        return name.startswith(prefix)

    return _read_unprefixed(Path(directory), family, is_wanted, mapped=mapped)


def load_pooler(directory: Path, family: Family) -> dict[str, Array]:
    """Read the pooler's parameters, as they are; an empty dict for a checkpoint without pooler."""
    return find_tensors(directory, family, "pooler.")


def load_dense(directory: Path, dense: DenseConfig, *, mapped: bool = True) -> dict[str, Array]:
    """Read a Dense module's linear.weight (out, in) and, if it has one, linear.bias (out,).

    Raises as `load_parameters` does.
    """
    folder = Path(directory) / dense.path
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (dense.out_features, dense.in_features)}
    if dense.bias:
        shapes["linear.bias"] = (dense.out_features,)
    with name_origin(Path(directory) / "modules.json"):
        return check_tensors(_read_tensors(folder, mapped), shapes, folder)


def check_tensors(
    tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]], directory: Path
) -> dict[str, Array]:
    """Return the tensors in the order of `shapes`, as float32; refuse any difference in names."""
    for what, names in (
        ("without", [name for name in shapes if name not in tensors]),
        ("with", [name for name in tensors if name not in shapes]),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(
                f"the weights in {shorten_path(directory)} must be the parameters that its "
                f"config.json implies, got them {what} {shorten(names[0])}{more}; "
                "fetch the model again, config.json may be another model's"
            )
    for name, shape in shapes.items():
        where = f"{name} in {shorten_path(directory)}"
        if tensors[name].shape != shape:
            raise ValueError(
                f"{where} must have the shape {shape} that its config.json implies, got "
                f"{shorten(tensors[name].shape)}; fetch the model again, config.json may be "
                "another model's"
            )
        if tensors[name].dtype.kind != "f":
            raise ValueError(
                f"{where} must hold floating point, got {tensors[name].dtype}; "
                "give a checkpoint that is not quantised"
            )
    # The only cast: all layers compute in the type of their parameters.
    return {name: tensors[name].astype(np.float32, copy=False) for name in shapes}


def _read_tensors(directory: Path, mapped: bool) -> dict[str, Array]:
    """Read every tensor of a folder's model.safetensors, or of the shards that its index names."""
    whole, index = directory / WEIGHTS_FILE, directory / f"{WEIGHTS_FILE}.index.json"
    if os.path.lexists(whole) or not os.path.exists(index):
        try:
            return _read_shared(whole, mapped)
        except FileNotFoundError:
            if any(directory.glob("pytorch_model*.bin")):
                raise ValueError(
                    f"{shorten_path(directory)} must hold model.safetensors, got only "
                    "pytorch_model.bin, a pickle, which could run any code; convert it in that "
                    f"folder, where torch is installed: {_PICKLE_RECIPE}"
                ) from None
            raise refuse_missing(whole) from None
    weight_map = read_fields(index).find("weight_map", STRINGS)
    tensors: dict[str, Array] = {}
    for shard in sorted({check_relative(name, index) for name in weight_map.values()}):
        with name_origin(index):
            tensors |= _read_shared(directory / shard, mapped)
    return tensors


def _read_shared(path: Path, mapped: bool) -> dict[str, Array]:
    """Read every tensor of a file, also under the names that share the memory of another.

    Where two parameters are one array, as a word table and the decoder of a language model, a file
    holds it under one name, and its metadata say under which: {"the other name": "this name"}.
    (https://huggingface.co/docs/safetensors/torch_shared_tensors)
    """
    tensors, metadata = read_safetensors(path, mapped=mapped)
    shared = {
        name: tensors[kept]
        for name, kept in metadata.items()
        if kept in tensors and name not in tensors
    }
    return tensors | shared


def _read_unprefixed(
    directory: Path, family: Family, is_wanted: Callable[[str], bool], *, mapped: bool
) -> dict[str, Array]:
    """Read the tensors that are wanted, by names without prefixes, in the newer spelling of norms.

    Raises ValueError for a checkpoint that holds two tensors of one such name.
    """
    tensors: dict[str, Array] = {}
    origins: dict[str, str] = {}
    for origin, array in _read_tensors(directory, mapped).items():
        name = origin
        for prefix in (*_WRAPPERS, family.prefix):
            name = name.removeprefix(prefix)
        for old, new in (("gamma", "weight"), ("beta", "bias")):
            if name.endswith(f"LayerNorm.{old}"):
                name = name.removesuffix(old) + new
        if name in tensors and tensors[name] is not array:
            raise ValueError(
                f"the weights in {shorten_path(directory)} must hold each parameter once, got "
                f"{shorten(origins[name])} and {shorten(origin)}; remove one of them"
            )
        if is_wanted(name):
            tensors[name], origins[name] = array, origin
    return tensors
