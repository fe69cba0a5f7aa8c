"""Tensors for callers that use torch: given where they ask for them, and read where they pass them.

torch is never imported here: whoever has a tensor, or can use one, has imported it already.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from minisbert.arrays import Array

Function = TypeVar("Function", bound=Callable[..., Any])


def find_torch() -> Any:
    """Return torch if it has been imported, else None."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "Tensor") else None  # None, too, while it is being imported


def check_tensors(convert_to_numpy: bool, convert_to_tensor: bool) -> None:
    """Raise TypeError if tensors are asked for where torch has not been imported."""
    if (convert_to_tensor or not convert_to_numpy) and find_torch() is None:
        raise TypeError(
            "convert_to_tensor must be False and convert_to_numpy True unless torch is imported, "
            "since minisbert has no torch; import it first, or wrap the result in torch.from_numpy"
        )


def convert_output(output: Any, convert_to_numpy: bool, convert_to_tensor: bool) -> Any:
    """Return the output of `encode` or `predict` as its caller asks for it.

    output             an array with a row for each input, or a list of arrays or dicts
    convert_to_tensor  tensors instead of arrays
    convert_to_numpy   False, without the other: a list of tensors, one for each input
    """
    if convert_to_tensor:
        return make_tensors(output)
    return output if convert_to_numpy else list(make_tensors(output))


def make_tensors(output: Any) -> Any:
    """Return a tensor for each array, also in a list or a dict; torch must have been imported."""
    if isinstance(output, list):
        return [make_tensors(item) for item in output]
    if isinstance(output, dict):
        return {name: make_tensors(item) for name, item in output.items()}
    # Copied only if read-only, since torch has no such tensors.
    return find_torch().from_numpy(np.require(output, requirements="W"))


def has_tensors(value: object) -> bool:
    """Return whether a value is a tensor, or a list or tuple that begins with one."""
    torch = find_torch()
    if torch is not None and isinstance(value, (list, tuple)) and value:
        value = value[0]
    return torch is not None and isinstance(value, torch.Tensor)


def keep_kind(function: Function) -> Function:
    """Decorate a function of embeddings so that it returns a tensor if it was given one."""

    @functools.wraps(function)
    def convert(*arguments: Any, **options: Any) -> Any:
        if not any(map(has_tensors, (*arguments, *options.values()))):
            return function(*arguments, **options)
        return make_tensors(
            function(
                *(read_tensors(value) for value in arguments),
                **{name: read_tensors(value) for name, value in options.items()},
            )
        )

    return cast("Function", convert)


def read_tensors(value: Any) -> Any:
    """Return a tensor, or a list of tensors, as an array, and anything else as it is.

    Raises ValueError for a tensor that requires a gradient.
    """
    if not has_tensors(value):
        return value
    if isinstance(value, (list, tuple)):
        return np.stack([read_tensors(item) for item in value])
    if value.requires_grad:
        raise ValueError(
            "embeddings must be tensors without a gradient, got one that requires it, and NumPy "
            "would lose it; pass embeddings.detach()"
        )
    # NumPy has no bfloat16.
    array: Array = (value.float() if value.dtype is find_torch().bfloat16 else value).cpu().numpy()
    return array
