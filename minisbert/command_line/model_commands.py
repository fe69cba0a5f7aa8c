"""Commands that train and measure models, describe the machine, and show the demo."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minisbert.command_line.parser import (
    Commands,
    argument,
    model_arguments,
    number,
    show,
    whole_number,
)
from minisbert.command_line.text_commands import load_bi_encoder
from minisbert.network.pooling import POOLINGS

MODEL_COMMANDS = Commands()


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    from minisbert.command_line.train_options import add_train_options

    add_train_options(parser)


@MODEL_COMMANDS.add(
    "train", "fine-tune a model on a file of examples", model_arguments(), _train_arguments
)
def _train(arguments: argparse.Namespace) -> None:
    from minisbert.command_line.train import run

    run(arguments)


@MODEL_COMMANDS.add(
    "bench",
    "measure what bi- and cross-encoders cost on this machine",
    model_arguments(),
    argument("--seconds", type=number, default=120, help="seconds to measure for; default 120"),
    argument(
        "--texts",
        metavar="FILE",
        help="texts, one per line; default docstrings of Python's standard library",
    ),
    argument("--out", default="costs", metavar="DIR", help="directory for figures; default costs"),
    argument(
        "--cross-encoder",
        dest="cross_encoder_model",
        metavar="MODEL",
        help="a trained cross-encoder, to measure quality beside cost",
    ),
    argument("--pairs", metavar="FILE", help="pairs with human scores, to measure quality on"),
)
def _bench(arguments: argparse.Namespace) -> None:
    from minisbert.command_line.standard_library import read_standard_library
    from minisbert.costs.lab import run_cost_lab
    from minisbert.system.text_files import read_texts

    if arguments.texts is not None:
        texts = [text for text in read_texts(arguments.texts) if text.strip()]
    else:
        texts = [sentence for _, sentence in read_standard_library()]
    if (arguments.cross_encoder_model is None) != (arguments.pairs is None):
        raise ValueError(
            "--cross-encoder and --pairs must be given together, got one; add the other"
        )
    trained = judged = None
    if arguments.pairs is not None:
        from minisbert.cross_encoder import CrossEncoder
        from minisbert.evaluation.judged_files import read_sts

        judged = read_sts(arguments.pairs)
        trained = CrossEncoder(arguments.cross_encoder_model, threads=arguments.threads)
    run_cost_lab(
        load_bi_encoder(arguments),
        texts,
        seconds=arguments.seconds,
        directory=Path(arguments.out),
        trained=trained,
        judged=judged,
    )


MODEL_COMMANDS.add_group(
    "evaluate", "measure the quality of a model on texts with human judgements"
)

_STS_FILE = argument(
    "file",
    metavar="FILE",
    help="pairs with scores: 3 columns, or 7 as in the STS benchmark",
)


def _reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --pooling and --blocks, which change how the network is run."""
    parser.add_argument("--pooling", help=f"{', '.join(POOLINGS)}; default the model's own")
    parser.add_argument(
        "--blocks",
        type=whole_number,
        help="run only this many blocks; with 0 the word table's rows are pooled",
    )


@MODEL_COMMANDS.add(
    "evaluate sts",
    "print the correlation with human scores",
    model_arguments(),
    _STS_FILE,
    _reading_arguments,
    argument("--cross-encoder", action="store_true", help="the model is a cross-encoder"),
)
def _evaluate_sts(arguments: argparse.Namespace) -> None:
    from minisbert.evaluation.evaluate import evaluate_sts
    from minisbert.evaluation.judged_files import read_sts

    reading = {"pooling": arguments.pooling, "blocks": arguments.blocks}
    if arguments.cross_encoder and reading != {"pooling": None, "blocks": None}:
        raise ValueError(
            "--pooling and --blocks must be left out with --cross-encoder, got one of them; "
            "they are for bi-encoders"
        )
    pairs = read_sts(arguments.file)
    if arguments.cross_encoder:
        from minisbert.cross_encoder import CrossEncoder

        model: Any = CrossEncoder(arguments.model, threads=arguments.threads)
    else:
        model = load_bi_encoder(arguments, **reading)
    result = evaluate_sts(model, pairs)
    print(f"pairs     {result.pairs}")
    print(f"Spearman  {_show_measure(result.spearman)}")
    print(f"Pearson   {_show_measure(result.pearson)}")


@MODEL_COMMANDS.add(
    "evaluate retrieval",
    "print nDCG and other measures of exact search",
    model_arguments(),
    argument("directory", metavar="DIR", help="with corpus.jsonl, queries.jsonl and qrels/"),
    argument("--split", default="test", help="a file in qrels, without .tsv; default test"),
    argument("-k", type=whole_number, default=10, help="depth of nDCG and MRR; default 10"),
    _reading_arguments,
)
def _evaluate_retrieval(arguments: argparse.Namespace) -> None:
    from minisbert.evaluation.evaluate import evaluate_retrieval
    from minisbert.evaluation.judged_files import read_beir

    task = read_beir(arguments.directory, arguments.split)
    model = load_bi_encoder(arguments, pooling=arguments.pooling, blocks=arguments.blocks)
    result = evaluate_retrieval(model, task, arguments.k, threads=arguments.threads)
    print(
        f"documents   {result.documents}, {result.cut_documents} cut at the "
        f"{model.max_seq_length} tokens that the model reads"
    )
    print(f"queries     {result.queries}")
    for count, what in (
        (result.idle_queries, "queries without a relevant document, left out"),
        (result.unknown_queries, "judged queries that queries.jsonl does not have, left out"),
        (result.unknown_documents, "judged documents that corpus.jsonl does not have, never found"),
    ):
        if count:
            print(f"unusable    {count} {what}")
    for name, value in result.measures.items():
        print(f"{name:10}  {_show_measure(value)}")


@MODEL_COMMANDS.add(
    "evaluate table",
    "print Spearman's correlation by number of blocks and pooling",
    model_arguments(),
    _STS_FILE,
)
def _evaluate_table(arguments: argparse.Namespace) -> None:
    from minisbert.evaluation.evaluate import evaluate_sts
    from minisbert.evaluation.judged_files import read_sts

    pairs = read_sts(arguments.file)
    L = load_bi_encoder(arguments).config.bert.num_hidden_layers
    poolings = ("cls", "mean", "max")
    print(f"Spearman x 100 on {len(pairs.scores)} pairs, by number of blocks and pooling")
    print("blocks" + "".join(f"{pooling:>8}" for pooling in poolings))
    for blocks in range(L + 1):
        print(f"{blocks:6}", end="")
        for pooling in poolings:
            model = load_bi_encoder(arguments, pooling=pooling, blocks=blocks)
            print(f"{_show_measure(evaluate_sts(model, pairs).spearman):>8}", end="", flush=True)
        print()


def _show_measure(value: float) -> str:
    """Format a measure x 100, as papers print it; a dash if it is not a number."""
    return "-" if value != value else f"{100 * value:.2f}"


@MODEL_COMMANDS.add(
    "info",
    "print versions, threads, BLAS and the kernel in use, or describe an index",
    argument("path", nargs="?", metavar="INDEX", help="an index: its directory or its file"),
    argument("--verify", action="store_true", help="check all of the index by its digests"),
)
def _info(arguments: argparse.Namespace) -> None:
    if arguments.path is not None:
        _describe_index(Path(arguments.path), arguments.verify)
        return
    if arguments.verify:
        raise ValueError(
            "--verify must be given with an index, got none; name its directory or file"
        )
    from minisbert import __version__
    from minisbert.costs.machine import describe_machine
    from minisbert.model_files.hub import models_home

    facts = {"minisbert": __version__, "models": str(models_home()), **describe_machine()}
    for name, fact in facts.items():
        show(f"{name:11} {fact}")


def _describe_index(path: Path, verify: bool) -> None:
    """Print what an index holds; raise ValueError if it is damaged."""
    from minisbert.search.flat_index import FlatIndex
    from minisbert.search.text_index import TextIndex

    texts = TextIndex.load(path) if path.is_dir() else None
    index = FlatIndex.load(path) if texts is None else texts.vectors
    facts = {
        "rows": f"{len(index)} of {index.dimension} numbers" + (", with texts" if texts else ""),
        "metric": index.metric,
        "model": index.model_name or "not named",
        "codes": "int8" if index.has_codes else "none",
    }
    if verify:
        whole = index.verify()
        facts["verified"] = "whole" if whole else "no: it has no digests; save it again to add them"
    for name, fact in facts.items():
        show(f"{name:11} {fact}")


@MODEL_COMMANDS.add(
    "demo",
    "search Python's standard library by meaning",
    argument("question", nargs="?", metavar="QUESTION", help="default three example questions"),
)
def _demo(arguments: argparse.Namespace) -> None:
    from minisbert.command_line.demo import run_demo

    run_demo(arguments.question)
