"""The types that every room uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

# A list to which a forward appends what its backward needs, and from which the backward pops it;
# None in inference.
Cache = list[Any] | None

# Parameter name -> array, or in inference also a `Matrix` of `network/matrices.py`.
Parameters = Mapping[str, Any]

# Parameter name -> gradient. A backward puts in a new `RowGradient` for the word table, and
# overwrites every other gradient, an array of the parameter's shape.
Gradients = dict[str, Any]
