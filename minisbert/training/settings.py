"""The settings of a run, and their defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

from minisbert.arguments import check_whole_number


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
        default = "leave it out for the default"
        check_whole_number("epochs", self.epochs, remedy=default)
        check_whole_number("batch_size", self.batch_size, remedy=default)
        check_whole_number("seed", self.seed, least=0, remedy=default)
        for name, most in (
            ("learning_rate", 1),
            ("warmup", 1),
            ("weight_decay", 1),
            ("clip_norm", math.inf),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not 0 <= value <= most:
                raise ValueError(
                    f"{name} must be a number from 0 to {most}, got {value!r}; {default}"
                )
