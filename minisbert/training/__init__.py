"""Fine-tuning: from a loss to a saved model; README.md here explains it.

In reading order; a file imports only from those before it:

    losses         the losses, each with its gradient
    optimizer      AdamW, the optimizer
    step           one step: forward, loss, backward, update
    objectives     the table of objectives: what each loss needs of examples and model
    networks       bi-encoder and cross-encoder as a step sees them
    examples       examples from files or memory, checked for their objective
    settings       the settings of a run and their defaults
    checkpoints    what is written to resume a run
    development    how good a model is on held-out examples
    run            minibatches, evaluations, the best model so far
    loop           `train`, which puts all of it together
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minisbert.training.examples import Examples, make_examples, read_examples
    from minisbert.training.loop import TrainingResult, train
    from minisbert.training.objectives import OBJECTIVES, Objective
    from minisbert.training.settings import Settings

__all__ = [
    "OBJECTIVES",
    "Examples",
    "Objective",
    "Settings",
    "TrainingResult",
    "make_examples",
    "read_examples",
    "train",
]

# Imported on first use: every start of the command line reads the table of objectives, but few
# starts train.
_LATER = {
    **dict.fromkeys(("Examples", "make_examples", "read_examples"), "examples"),
    **dict.fromkeys(("TrainingResult", "train"), "loop"),
    **dict.fromkeys(("OBJECTIVES", "Objective"), "objectives"),
    "Settings": "settings",
}


def __getattr__(name: str) -> Any:
    """Import an exported name from its file."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
