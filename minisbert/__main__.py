"""The command line: `minisbert`, or `python -m minisbert`.

What a user can cause is told in one sentence on standard error, with exit code 2 and no traceback.
Modules that take long to import are imported by the commands that need them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DEFAULT_MODEL = "all-MiniLM-L6-v2"


def run_fetch(arguments: argparse.Namespace) -> None:
    from minisbert.hub import fetch_model

    print(fetch_model(arguments.name))


def run_encode(arguments: argparse.Namespace) -> None:
    import numpy as np

    from minisbert.text_files import read_texts
    from minisbert.weights import write_file

    if arguments.out and not arguments.out.endswith((".npy", ".jsonl")):
        raise ValueError(f"--out must end in .npy or .jsonl, got {arguments.out}; rename it")
    if arguments.out and not Path(arguments.out).parent.is_dir():
        raise FileNotFoundError(
            f"--out must be in an existing folder, got {arguments.out}; make the folder first"
        )
    if arguments.texts and (arguments.file or arguments.column or arguments.field):
        raise ValueError("texts must be arguments or stand in a file, got both; leave one out")
    texts = arguments.texts or read_texts(arguments.file or "-", arguments.column, arguments.field)
    embeddings = load_model(arguments).encode(texts)
    if not arguments.out:
        for line in write_json_lines(texts, embeddings):
            print(line)
        return
    with write_file(Path(arguments.out)) as file:
        if arguments.out.endswith(".npy"):
            np.save(file, embeddings)
        else:
            file.writelines(line.encode() + b"\n" for line in write_json_lines(texts, embeddings))


def run_similarity(arguments: argparse.Namespace) -> None:
    model = load_model(arguments)
    a, b = model.encode([arguments.a, arguments.b])
    print(f"{model.similarity(a, b).item():.4f}")


def run_index(arguments: argparse.Namespace) -> None:
    from minisbert.text_files import read_texts
    from minisbert.text_index import TextIndex

    check_index_directory(Path(arguments.out))
    read = read_texts(arguments.file, arguments.column, arguments.field)
    texts = [text for text in read if text.strip()]
    if not texts:
        raise ValueError(f"{arguments.file} must hold texts, got none; is it the right file?")
    if len(texts) < len(read):
        say(f"blank texts left out: {len(read) - len(texts)}; rows are numbered without them")
    start = time.perf_counter()
    model = load_model(arguments)
    # A path must still be right when the search starts elsewhere.
    name = os.path.abspath(arguments.model) if os.path.isdir(arguments.model) else arguments.model
    metric = "dot" if model.similarity_fn_name == "dot" else "cosine"
    TextIndex.from_embeddings(model.encode_document(texts), texts, metric, name).save(arguments.out)
    print(f"{len(texts)} texts in {arguments.out}, {time.perf_counter() - start:.1f} s")


def run_search(arguments: argparse.Namespace) -> None:
    from minisbert.hub import resolve_model
    from minisbert.text_index import TextIndex

    index = TextIndex.load(arguments.directory)
    if arguments.model is None:
        # A name in a file is nobody's wish to fetch it.
        arguments.model = resolve_model(index.vectors.model_name, fetch=False)
    query = load_model(arguments).encode_query(arguments.query)
    depth = arguments.k
    if arguments.rerank:
        from minisbert.cross_encoder import CrossEncoder

        cross = CrossEncoder(arguments.rerank, threads=arguments.threads)
        depth = max(depth, arguments.candidates)
    hits = index.search(query, depth, arguments.threads)
    if arguments.rerank:
        ranking = cross.rank(arguments.query, [hit.text for hit in hits], top_k=arguments.k)
        hits = [hits[best["corpus_id"]]._replace(score=best["score"]) for best in ranking]
    for hit in hits:
        if arguments.json:
            print(json.dumps(hit._asdict(), ensure_ascii=False))
        else:
            # One line, and nothing that a terminal would obey.
            shown = "".join(c if c.isprintable() else " " for c in hit.text)
            print(f"{hit.score:7.4f}  {hit.row:6}  {shown}")


def run_evaluate_sts(arguments: argparse.Namespace) -> None:
    from minisbert.evaluation import evaluate_sts
    from minisbert.judged_files import read_sts

    other_reading = arguments.pooling is not None or arguments.blocks is not None
    if arguments.cross_encoder and other_reading:
        raise ValueError(
            "--pooling and --blocks must be left out with --cross-encoder, got both; "
            "they are for bi-encoders"
        )
    pairs = read_sts(arguments.file)
    result = evaluate_sts(load_model(arguments), pairs)
    print(f"pairs     {result.pairs}")
    print(f"Spearman  {show_measure(result.spearman)}")
    print(f"Pearson   {show_measure(result.pearson)}")


def run_evaluate_retrieval(arguments: argparse.Namespace) -> None:
    from minisbert.evaluation import evaluate_retrieval
    from minisbert.judged_files import read_beir

    task = read_beir(arguments.directory, arguments.split)
    model = load_model(arguments)
    result = evaluate_retrieval(model, task, arguments.k, arguments.threads)
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
        print(f"{name:10}  {show_measure(value)}")


def run_evaluate_table(arguments: argparse.Namespace) -> None:
    from minisbert.encoder import SentenceTransformer
    from minisbert.evaluation import evaluate_sts
    from minisbert.judged_files import read_sts

    pairs = read_sts(arguments.file)
    L = load_model(arguments).config.bert.num_hidden_layers
    poolings = ("cls", "mean", "max")
    print(f"Spearman x 100 on {len(pairs.scores)} pairs, by number of blocks and pooling")
    print("blocks" + "".join(f"{pooling:>8}" for pooling in poolings))
    for blocks in range(L + 1):
        print(f"{blocks:6}", end="")
        for pooling in poolings:
            model = SentenceTransformer(
                arguments.model, threads=arguments.threads, pooling=pooling, blocks=blocks
            )
            print(f"{show_measure(evaluate_sts(model, pairs).spearman):>8}", end="", flush=True)
        print()


def show_measure(value: float) -> str:
    """A measure x 100, as papers print it; a dash where there is none."""
    return "-" if value != value else f"{100 * value:.2f}"


def run_info(arguments: argparse.Namespace) -> None:
    from minisbert import __version__
    from minisbert.hub import models_home
    from minisbert.machine import describe_machine

    facts = {"minisbert": __version__, "models": str(models_home()), **describe_machine()}
    for name, fact in facts.items():
        print(f"{name:11} {fact}")


def run_bench(arguments: argparse.Namespace) -> None:
    from minisbert.cost_lab import run_cost_lab
    from minisbert.standard_library import read_standard_library
    from minisbert.text_files import read_texts

    if arguments.texts:
        texts = [text for text in read_texts(arguments.texts) if text.strip()]
    else:
        texts = [sentence for _, sentence in read_standard_library()]
    run_cost_lab(load_model(arguments), texts, arguments.seconds, Path(arguments.out))


def run_demo(arguments: argparse.Namespace) -> None:
    from minisbert.demo import run_demo

    run_demo(arguments.question)


def load_model(arguments: argparse.Namespace) -> Any:
    from minisbert.encoder import SentenceTransformer

    if getattr(arguments, "cross_encoder", False):
        from minisbert.cross_encoder import CrossEncoder

        return CrossEncoder(arguments.model, threads=arguments.threads)
    # Only some commands let the model be read in another way.
    reading = {name: getattr(arguments, name, None) for name in ("pooling", "blocks")}
    return SentenceTransformer(arguments.model, threads=arguments.threads, **reading)


def check_index_directory(directory: Path) -> None:
    """Refuse, before any work, to put an index among other files or over a file of another kind."""
    from minisbert.index import FORMAT
    from minisbert.text_index import FILE_NAME
    from minisbert.weights import read_safetensors

    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    foreign = FILE_NAME not in names and any(not name.startswith(".") for name in names)
    if FILE_NAME in names:
        with contextlib.suppress(ValueError):  # a damaged one may be made anew
            foreign = read_safetensors(directory / FILE_NAME)[1].get("format") != FORMAT
    if foreign:
        raise FileExistsError(
            f"--out must be a new or empty directory or an index, got {directory}, "
            "which holds something else; choose another"
        )


def write_json_lines(texts: Sequence[str], embeddings: Any) -> Iterator[str]:
    """One JSON object a text, numbers as short as float32 allows."""
    for text, embedding in zip(texts, embeddings, strict=True):
        numbers = [float(str(number)) for number in embedding]
        yield json.dumps({"text": text, "embedding": numbers}, ensure_ascii=False)


# The parser


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

    command = add(run_bench, "measure what bi- and cross-encoders cost here", DEFAULT_MODEL)
    command.add_argument("--seconds", type=float, default=120, help="time to take; default 120")
    command.add_argument("--texts", metavar="FILE", help="one a line; default Python's library")
    command.add_argument("--out", default="costs", metavar="DIR", help="default costs")

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


# What surrounds every command


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    prepare_streams()
    with speak_plainly():
        try:
            arguments = make_parser().parse_args(argv)
            arguments.run(arguments)
            sys.stdout.flush()
            return 0
        except BrokenPipeError:
            drop_output()
            return 141  # 128 + SIGPIPE, what a shell reports of other programs
        except KeyboardInterrupt:
            drop_output()
            return 130  # 128 + SIGINT
        except (OSError, ValueError, TypeError, MemoryError) as error:
            say(describe(error))
            try:
                sys.stdout.flush()
            except OSError:
                drop_output()
            return 2


def describe(error: BaseException) -> str:
    """An error as one sentence on one line."""
    if isinstance(error, OSError) and error.strerror:
        named = f" {error.filename}" if error.filename is not None else ""
        return f"the system refused{named}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def say(message: object) -> None:
    """Write one line to standard error, if that can still be written."""
    with contextlib.suppress(OSError):
        print(f"minisbert: {message}", file=sys.stderr)


def prepare_streams() -> None:
    """Write UTF-8 whatever the locale says, and nothing where a stream is closed."""
    # A file's name may be any bytes: standard output gives them back as they came.
    for name, errors in (("stdout", "surrogateescape"), ("stderr", "backslashreplace")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(encoding="utf-8", errors=errors)


def drop_output() -> None:
    """Throw away what is not yet written: at exit Python would try again, and wait or complain."""
    with contextlib.suppress(OSError, ValueError):
        output = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)


@contextlib.contextmanager
def speak_plainly() -> Iterator[None]:
    """Show warnings, and what is being fetched, as single lines on standard error."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(message)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("minisbert: %(message)s"))
    logger = logging.getLogger("minisbert")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
