"""The settings of a run, and their defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisbert.arguments import check_number, check_whole_number, shorten

_DEFAULT = "leave it out for the default"


@dataclass(frozen=True)
class Settings:
    """The settings of a run; the defaults are the paper's (section 3.1).

    epochs         passes over all examples
    batch_size     examples in a minibatch
    learning_rate  the highest: the rate rises to it during warm-up, then falls to 0
    warmup         fraction of the steps over which the learning rate rises
    weight_decay   of all parameters except biases and layer norms
    clip_norm      the largest norm of a gradient; larger gradients are scaled down
    dropout        whether to use dropout, with the rates of the model's config.json
    seed           of shuffles, dropout and a new classifier
    """

    epochs: int = 1
    batch_size: int = 16
    learning_rate: float = 2e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value: Any = getattr(self, name)
            self._set(name, check_whole_number(name, value, least, remedy=_DEFAULT))
        for name, most in (
            ("learning_rate", 1.0),
            ("warmup", 1.0),
            ("weight_decay", 1.0),
            ("clip_norm", math.inf),
        ):
            value = getattr(self, name)
            self._set(name, check_number(name, value, most=most, remedy=_DEFAULT))
        if not isinstance(self.dropout, (bool, np.bool_)):
            raise ValueError(
                f"dropout must be True or False, got {shorten(self.dropout)}; {_DEFAULT}"
            )
        self._set("dropout", bool(self.dropout))

    def _set(self, name: str, value: float | bool) -> None:
        """Replace a setting by the checked one, a plain number: the checkpoint keeps it as JSON."""
        object.__setattr__(self, name, value)
