"""The types that every room uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

# What the forward of a layer pushes for its backward to pop; None where no backward follows.
Cache = list[Any] | None

# A network's parameters by their names.
Parameters = Mapping[str, Array]

# By the parameters' names. The word table's is replaced by a RowGradient at every backward, all
# others are arrays of the parameter's shape that are overwritten.
Gradients = dict[str, Any]
