"""The options of `minisbert train`.

Defaults are those of `Settings` and of the table of objectives; an option not given is None.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from minisbert.command_line.parser import number, whole_number
from minisbert.training import OBJECTIVES, Settings
from minisbert.training.objectives import OPTION_NAMES, name_option

# How an option with a default of some type is read.
_TYPES: dict[type, Callable[[str], Any]] = {int: whole_number, float: number, str: str}

# Field of Settings -> help.
_SETTINGS = {
    "epochs": "passes over all examples",
    "batch_size": "examples in a minibatch",
    "learning_rate": "highest learning rate, reached after the warm-up; it then falls to 0",
    "warmup": "fraction of the steps in which the learning rate rises",
    "weight_decay": "weight decay of all parameters except biases and layer norms",
    "clip_norm": "largest norm of a gradient; larger gradients are scaled down",
    "seed": "seed of shuffling, dropout and a new head",
}


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `minisbert train`, apart from --model and --threads."""
    parser.add_argument("file", metavar="FILE", help="examples: CSV, TSV or JSON lines")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="directory for the trained model"
    )
    parser.add_argument(
        "--cross-encoder",
        action="store_true",
        help="train a cross-encoder, with a new head if the model has none that fits",
    )
    parser.add_argument(
        "--objective",
        metavar="NAME",
        help=f"{_join_names(False)}; for a cross-encoder {_join_names(True)}; "
        "default the first that fits the columns of the file",
    )
    parser.add_argument(
        "--columns", help="names or numbers of columns, separated by commas: texts, then the label"
    )
    parser.add_argument(
        "--scale",
        type=number,
        help="highest possible score, by which scores are divided; default 1, or 5 for a file in "
        "the layout of the STS benchmark",
    )
    parser.add_argument(
        "--development", metavar="FILE", help="held-out examples to choose the best model by"
    )
    parser.add_argument(
        "--development-columns",
        metavar="COLUMNS",
        help="columns of that file; default those of --columns",
    )
    parser.add_argument(
        "--evaluate-every",
        type=whole_number,
        metavar="STEPS",
        help="steps between two evaluations, each with a checkpoint; default one epoch",
    )
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint")
    parser.add_argument(
        "--max-length",
        type=whole_number,
        help="truncate texts to this many tokens; default the model's limit",
    )
    parser.add_argument(
        "--no-dropout", dest="dropout", action="store_false", help="train without dropout"
    )
    for name, meaning in _SETTINGS.items():
        default = getattr(Settings, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(
            option, type=_TYPES[type(default)], help=f"{meaning}; default {default}"
        )
    for name in OPTION_NAMES:
        defaults = {
            objective.name: objective.options[name]
            for objective in OBJECTIVES.values()
            if name in objective.options
        }
        parser.add_argument(
            name_option(name),
            dest=f"objective_{name}",
            metavar=name.upper(),
            type=_TYPES[type(next(iter(defaults.values())))],
            help="; ".join(
                f"{name} of the objective {user}, default {d}" for user, d in defaults.items()
            ),
        )


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings that were given as options, and the defaults of the others."""
    given = {field.name: getattr(arguments, field.name) for field in fields(Settings)}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def read_objective_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of objectives, None for those that were not given."""
    return {name: getattr(arguments, f"objective_{name}") for name in OPTION_NAMES}


def _join_names(cross_encoder: bool) -> str:
    """Return the names of the objectives for one kind of model."""
    return ", ".join(
        objective.name
        for objective in OBJECTIVES.values()
        if objective.cross_encoder == cross_encoder
    )
