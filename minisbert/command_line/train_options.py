"""The options of `minisbert train`."""

from __future__ import annotations

import argparse
from typing import Any

# Option, type, help. Without an option the default of `minisbert.training.run.Settings` holds.
_SETTINGS = (
    ("--epochs", int, "passes over all examples; default 1"),
    ("--batch-size", int, "examples in a step; default 16"),
    ("--learning-rate", float, "the highest rate: it rises, then falls to 0; default 2e-5"),
    ("--warmup", float, "fraction of the steps in which the learning rate rises; default 0.1"),
    ("--weight-decay", float, "decay of all but biases and layer norms; default 0.01"),
    ("--clip-norm", float, "the largest norm of a step's gradient; default 1"),
    ("--seed", int, "seed of shuffling, dropout and a fresh head; default 0"),
    ("--margin", float, "margin of the triplet loss; default 1"),
    ("--cosine-scale", float, "factor of the cosines in the ranking loss; default 20"),
    ("--concatenation", str, "what the softmax classifier reads; default u,v,|u-v|"),
)


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `minisbert train`, apart from --model and --threads."""
    parser.add_argument("file", metavar="FILE", help="examples: CSV, TSV or JSON lines")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to make")
    parser.add_argument(
        "--cross-encoder",
        action="store_true",
        help="train a cross-encoder, with a fresh head if the model has none that fits",
    )
    objectives = "cosine, softmax, triplet, ranking; for a cross-encoder binary, classes"
    parser.add_argument("--objective", help=f"{objectives}; default by the columns")
    parser.add_argument(
        "--columns", help="names or numbers of columns, separated by commas: texts, then the label"
    )
    parser.add_argument("--scale", type=float, help="the score that stands for 1; default 1")
    parser.add_argument(
        "--development", metavar="FILE", help="held-out examples to choose the best model by"
    )
    parser.add_argument(
        "--development-columns", metavar="COLUMNS", help="its columns; default those of --columns"
    )
    parser.add_argument(
        "--evaluate-every",
        type=int,
        metavar="STEPS",
        help="steps between two evaluations, each with a checkpoint; default one epoch",
    )
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint")
    parser.add_argument(
        "--max-length", type=int, help="truncate texts to so many tokens; default the model's limit"
    )
    parser.add_argument("--no-dropout", action="store_true", help="train without dropout")
    for option, kind, text in _SETTINGS:
        parser.add_argument(option, type=kind, help=text)


def read_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of `Settings` that were given as options."""
    names = [option.removeprefix("--").replace("-", "_") for option, _, _ in _SETTINGS]
    given = {name: getattr(arguments, name) for name in names}
    settings = {name: value for name, value in given.items() if value is not None}
    if "cosine_scale" in settings:  # --scale is that of the scores in a file
        settings["scale"] = settings.pop("cosine_scale")
    return settings
