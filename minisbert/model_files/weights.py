"""Read a checkpoint's weights as the network's parameters: BERT's names, checked shapes.

Checkpoints differ in the prefix of their names, in the spelling of layer norms, and in what they
hold beside the network; `network.families` has each family's own names. float32 tensors are views
of the mapped file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minisbert.arguments import shorten
from minisbert.arrays import Array
from minisbert.network.config import BertConfig, DenseConfig, parameter_shapes
from minisbert.network.families import FAMILIES, Family
from minisbert.system.json_fields import STRINGS, check_relative, read_fields
from minisbert.system.safetensors import read_safetensors

WEIGHTS_FILE = "model.safetensors"

_PICKLE_RECIPE = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file({k: v.clone().contiguous() for k, v in "
    "torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors')\""
)

# Prefixes of what checkpoints hold beside the network: heads, and a buffer of position numbers.
_NOT_OF_THE_NETWORK = (
    *("pooler.", "classifier.", "pre_classifier.", "embeddings.position_ids"),
    *("cls.", "lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
    *("predictions.", "sop_classifier."),
)


def load_parameters(directory: Path, config: BertConfig) -> dict[str, Array]:
    """Read the network's parameters from model.safetensors, whole or in shards.

    The result has exactly the names and shapes of `parameter_shapes(config)`, in float32.

    Raises FileNotFoundError, or ValueError naming a parameter that is missing, unexpected, or of
    another shape.
    """
    directory, family = Path(directory), FAMILIES[config.model_type]
    tensors = {
        name: array
        for name, array in _read_unprefixed(directory, family).items()
        if not name.startswith(_NOT_OF_THE_NETWORK)
    }
    # An error should name a parameter as the checkpoint does.
    shapes = parameter_shapes(config)
    own_names = {name: family.name_in_checkpoint(name) for name in shapes}
    expected = {own_names[name]: shape for name, shape in shapes.items()}
    checked = _check_tensors(tensors, expected, directory)
    return {name: checked[own_names[name]] for name in shapes}


def load_tensors(
    directory: Path, family: Family, shapes: Mapping[str, tuple[int, ...]], *, remedy: str
) -> dict[str, Array]:
    """Read only the parameters in `shapes`, whose names are the family's own without its prefix.

    Raises ValueError naming one that is missing, with `remedy`, or of another shape.
    """
    directory = Path(directory)
    found = _read_unprefixed(directory, family)
    for name in shapes:
        if name not in found:
            raise ValueError(
                f"the weights in {directory} must have {name}, but it is missing; {remedy}"
            )
    return _check_tensors({name: found[name] for name in shapes}, shapes, directory)


def find_tensor(directory: Path, name: str) -> Array | None:
    """Return one tensor of a checkpoint by its name in the file, None if it has no such tensor."""
    return _read_tensors(Path(directory)).get(name)


def load_pooler(directory: Path, family: Family) -> dict[str, Array]:
    """Read the pooler's parameters, as they are; an empty dict for a checkpoint without pooler."""
    tensors = _read_unprefixed(directory, family)
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


def _read_tensors(directory: Path) -> dict[str, Array]:
    """Read every tensor of a folder's model.safetensors, or of the shards that its index names."""
    whole, index = directory / WEIGHTS_FILE, directory / f"{WEIGHTS_FILE}.index.json"
    if whole.exists():
        return read_safetensors(whole)[0]
    if index.exists():
        weight_map = read_fields(index).find("weight_map", STRINGS)
        tensors: dict[str, Array] = {}
        for shard in sorted({check_relative(name, index) for name in weight_map.values()}):
            tensors.update(read_safetensors(directory / shard)[0])
        return tensors
    if any(directory.glob("pytorch_model*.bin")):
        raise ValueError(
            f"{directory} must hold model.safetensors, got only pytorch_model.bin, a pickle, which "
            "could run any code; convert it in that folder, where torch is installed: "
            f"{_PICKLE_RECIPE}"
        )
    raise FileNotFoundError(
        f"{whole} must be a file, but there is no such file; "
        f"is {directory} a whole model directory?"
    )


def _read_unprefixed(directory: Path, family: Family) -> dict[str, Array]:
    """Read every tensor by its name without the family's prefix, in the newer spelling of norms."""
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
    """Return the tensors in the order of `shapes`, as float32; refuse any difference in names."""
    for what, names in (
        ("without", [name for name in shapes if name not in tensors]),
        ("with", [name for name in tensors if name not in shapes]),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(
                f"the weights in {directory} must be the parameters that its config.json implies, "
                f"got them {what} {shorten(names[0])}{more}; fetch the model again, "
                "config.json may be another model's"
            )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ValueError(
                f"{name} in {directory} must have the shape {shape} that its config.json implies, "
                f"got {tensors[name].shape}; fetch the model again, config.json may be another "
                "model's"
            )
        if tensors[name].dtype.kind != "f":
            raise ValueError(
                f"{name} in {directory} must hold floating point, got {tensors[name].dtype}; "
                "give a checkpoint that is not quantised"
            )
    # The only cast: all layers compute in the type of their parameters.
    return {name: tensors[name].astype(np.float32, copy=False) for name in shapes}
