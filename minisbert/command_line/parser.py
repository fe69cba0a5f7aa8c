"""The command line's parser: commands, their options, and what is said of them."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from minisbert.command_line.commands import (
    run_bench,
    run_demo,
    run_encode,
    run_evaluate_retrieval,
    run_evaluate_sts,
    run_evaluate_table,
    run_explain,
    run_fetch,
    run_index,
    run_info,
    run_search,
    run_similarity,
    run_train,
)

DEFAULT_MODEL = "all-MiniLM-L6-v2"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, like all others."""

    def exit(self, status: int = 0, message: str | None = None) -> Any:
        sys.stdout.flush()  # help that can't be written is noticed while main can tell of it
        super().exit(status, message)

    def error(self, message: str) -> Any:
        self.exit(2, f"minisbert: {message}; see `{self.prog} --help`\n")


def make_parser() -> argparse.ArgumentParser:
    from minisbert import __version__

    parser = Parser(prog="minisbert", description="Sentence embeddings and search on a CPU.")
    parser.add_argument("--version", action="version", version=f"minisbert {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        run: Any, what: str, model: str | None = None, group: Any = commands
    ) -> argparse.ArgumentParser:
        name = run.__name__.rpartition("_")[2]
        command: argparse.ArgumentParser = group.add_parser(name, help=what, description=what)
        command.set_defaults(run=run)
        if model is not None:
            command.add_argument("--model", default=model or None, help="a name or a directory")
            command.add_argument("--threads", type=int, help="cores to use; default all")
        return command

    def add_file_options(command: argparse.ArgumentParser) -> None:
        kind = command.add_mutually_exclusive_group()
        kind.add_argument("--column", help="of CSV or .tsv: a name in the first row, or a number")
        kind.add_argument("--field", help="of JSON lines: the name of the text in each object")

    command = add(run_fetch, "fetch a model by name and print where it went")
    command.add_argument("name", metavar="NAME")

    command = add(run_encode, "print or save the embeddings of texts", DEFAULT_MODEL)
    command.add_argument("texts", nargs="*", metavar="TEXT")
    command.add_argument("--file", help="texts, one a line; default standard input")
    add_file_options(command)
    command.add_argument("--out", help="a file .npy or .jsonl; default JSON lines are printed")

    command = add(run_similarity, "print how alike two texts are", DEFAULT_MODEL)
    command.add_argument("a", metavar="A")
    command.add_argument("b", metavar="B")

    command = add(run_explain, "show what each pair of tokens adds to a similarity", DEFAULT_MODEL)
    command.add_argument("a", metavar="A")
    command.add_argument("b", metavar="B")
    command.add_argument("--out", metavar="FILE", help="a picture as well: .png, .svg or .pdf")

    command = add(run_index, "make a directory that can be searched", DEFAULT_MODEL)
    command.add_argument("file", metavar="FILE", help="texts, one a line; - is standard input")
    add_file_options(command)
    command.add_argument("--out", required=True, metavar="DIR")

    command = add(run_search, "print the texts that are most like a query", "")
    command.add_argument("directory", metavar="DIR")
    command.add_argument("query", metavar="QUERY")
    command.add_argument("-k", type=int, default=10, help="how many; default 10")
    command.add_argument("--rerank", metavar="MODEL", help="a cross-encoder to order them by")
    command.add_argument(
        "--candidates", type=int, default=50, help="how many to rerank; default 50"
    )
    command.add_argument("--json", action="store_true", help="a JSON object for each text")

    command = add(run_train, "fine-tune a model on a file of examples", DEFAULT_MODEL)
    add_train_options(command)

    command = add(run_bench, "measure what bi- and cross-encoders cost here", DEFAULT_MODEL)
    command.add_argument("--seconds", type=float, default=120, help="time to take; default 120")
    command.add_argument("--texts", metavar="FILE", help="one a line; default Python's library")
    command.add_argument("--out", default="costs", metavar="DIR", help="default costs")
    command.add_argument(
        "--cross-encoder",
        dest="cross_encoder_model",
        metavar="MODEL",
        help="a trained one, to show quality beside cost",
    )
    command.add_argument("--pairs", metavar="FILE", help="judged pairs to measure quality on")

    what = "print how good a model is on files that people judged"
    command = commands.add_parser("evaluate", help=what, description=what)
    kinds = command.add_subparsers(metavar="KIND", required=True)

    def add_reading_options(command: argparse.ArgumentParser) -> None:
        command.add_argument("--pooling", help="cls, mean or max; default the model's own")
        command.add_argument(
            "--blocks", type=int, help="run only so many; 0 pools the word table's rows"
        )

    sts = "a file of pairs with scores: 3 columns, or 7 as the STS benchmark has them"
    command = add(run_evaluate_sts, "correlation with human scores", DEFAULT_MODEL, kinds)
    command.add_argument("file", metavar="FILE", help=sts)
    add_reading_options(command)
    command.add_argument(
        "--cross-encoder", action="store_true", help="the model scores pairs itself"
    )

    command = add(run_evaluate_retrieval, "nDCG and others of exact search", DEFAULT_MODEL, kinds)
    command.add_argument("directory", metavar="DIR", help="corpus.jsonl, queries.jsonl, qrels")
    command.add_argument("--split", default="test", help="a file in qrels; default test")
    command.add_argument("-k", type=int, default=10, help="depth of nDCG and MRR; default 10")
    add_reading_options(command)

    command = add(run_evaluate_table, "Spearman by blocks and pooling", DEFAULT_MODEL, kinds)
    command.add_argument("file", metavar="FILE", help=sts)

    add(run_info, "print versions, threads, BLAS and the kernel in use")

    command = add(run_demo, "search Python's standard library by meaning")
    command.add_argument("question", nargs="?", metavar="QUESTION")
    return parser


def add_train_options(command: argparse.ArgumentParser) -> None:
    """The options of `train`; what is not given is as `minisbert.training.run.Settings` has it."""
    command.add_argument("file", metavar="FILE", help="examples: CSV, TSV or JSON lines")
    command.add_argument("--out", required=True, metavar="DIR", help="the directory to make")
    command.add_argument(
        "--cross-encoder", action="store_true", help="train one; its head is fresh if need be"
    )
    objectives = "cosine, softmax, triplet, ranking; for a cross-encoder binary, classes"
    command.add_argument("--objective", help=f"{objectives}; default what the columns are for")
    command.add_argument("--columns", help="names or numbers, parted by commas: texts, label")
    command.add_argument("--scale", type=float, help="the score that stands for 1; default 1")
    command.add_argument("--development", metavar="FILE", help="held out, to choose the best by")
    command.add_argument(
        "--development-columns", metavar="COLUMNS", help="default those of --columns"
    )
    command.add_argument(
        "--evaluate-every",
        type=int,
        metavar="STEPS",
        help="steps until the next evaluation and checkpoint; default those of an epoch",
    )
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    command.add_argument(
        "--max-length", type=int, help="most tokens of a text; default the model's"
    )
    command.add_argument("--no-dropout", action="store_true")
    for option, kind, what in (
        ("--epochs", int, "times that every example is seen; default 1"),
        ("--batch-size", int, "examples in a step; default 16"),
        ("--learning-rate", float, "the highest: it rises, then falls to 0; default 2e-5"),
        ("--warmup", float, "share of the steps over which it rises; default 0.1"),
        ("--weight-decay", float, "of all but biases and layer norms; default 0.01"),
        ("--clip-norm", float, "longest gradient of a step; default 1"),
        ("--seed", int, "of shuffles, dropout and a fresh head; default 0"),
        ("--margin", float, "of triplet; default 1"),
        ("--cosine-scale", float, "of ranking; default 20"),
        ("--concatenation", str, "of softmax; default u,v,|u-v|"),
    ):
        command.add_argument(option, type=kind, help=what)
