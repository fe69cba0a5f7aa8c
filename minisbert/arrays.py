"""The types that every room uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

# To this list a forward appends what its backward needs, which pops it again; None in inference.
Cache = list[Any] | None

# A network's parameters by name: arrays, and in inference also weights as `network.matrices`
# prepares them.
Parameters = Mapping[str, Any]

# Gradients by the parameters' names. A backward replaces that of the word table, a `RowGradient`,
# and overwrites all others, which are arrays of the parameter's shape.
Gradients = dict[str, Any]
