"""Activations that turn a cross-encoder's logits into scores: by name, by function, as in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minisbert.arguments import shorten
from minisbert.arrays import Array
from minisbert.model_files.class_paths import TORCH_ACTIVATIONS
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.layers import softmax_forward

ScoreActivation = Callable[[Array], Array]  # logits to scores, (n, labels) -> (n, labels)

SCORE_ACTIVATIONS: dict[str, ScoreActivation] = {
    **{name: activation.forward for name, activation in ACTIVATIONS.items()},
    "softmax": softmax_forward,
}

# What a torch module prints, without settings or with those of a function here -> its name.
_TORCH_MODULES = {
    **{f"{torch_class}()": name for torch_class, name in TORCH_ACTIVATIONS.items()},
    "GELU(approximate='none')": "gelu",
    "ReLU(inplace=True)": "relu",
    **{f"Softmax(dim={dim})": "softmax" for dim in (None, -1, 1)},  # over the labels
}
_TORCH_FILES = ("torch.nn.modules.activation", "torch.nn.modules.linear")


def find_score_activation(activation: str | ScoreActivation) -> ScoreActivation:
    """Return the activation as a function.

    It may be given by name, as a function of a float32 array, or as a module of torch or its class,
    which are known by what they print: torch is not imported.

    Raises ValueError for an unknown name, or a module with settings that no function here has.
    """
    name: Any = activation
    kind: Any = activation if isinstance(activation, type) else type(activation)
    if kind.__module__.startswith("torch."):
        # A module prints its settings in the brackets.
        name = f"{kind.__name__}()" if isinstance(activation, type) else repr(activation)
        if kind.__module__ not in _TORCH_FILES:
            name = f"{kind.__module__}.{name}"  # another class of this name
    if callable(name):
        return name
    name = _TORCH_MODULES.get(name, name)
    if name not in SCORE_ACTIVATIONS:
        raise ValueError(
            f"activation_fn must be a function or one of {', '.join(SCORE_ACTIVATIONS)}, "
            f"got {shorten(name)}; leave it out for the model's own"
        )
    return SCORE_ACTIVATIONS[name]


def name_score_activation(activation: ScoreActivation) -> str:
    """Return the name of an activation; of a function of the caller's, what it prints."""
    names = [name for name, known in SCORE_ACTIVATIONS.items() if known is activation]
    return names[0] if names else repr(activation)
