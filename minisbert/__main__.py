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
    texts = arguments.texts or read_texts(arguments.file, arguments.column, arguments.field)
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

    read = read_texts(arguments.file, arguments.column, arguments.field)
    texts = [text for text in read if text.strip()]
    if not texts:
        raise ValueError(f"{arguments.file} must hold texts, got none; is it the right file?")
    if len(texts) < len(read):
        print(f"minisbert: blank texts left out: {len(read) - len(texts)}", file=sys.stderr)
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
    for hit in index.search(query, arguments.k, arguments.threads):
        if arguments.json:
            print(json.dumps(hit._asdict(), ensure_ascii=False))
        else:
            # One line, and nothing that a terminal would obey.
            shown = "".join(c if c.isprintable() else " " for c in hit.text)
            print(f"{hit.score:7.4f}  {hit.row:6}  {shown}")


def run_info(arguments: argparse.Namespace) -> None:
    import platform

    import numpy as np
    from threadpoolctl import threadpool_info

    from minisbert import __version__
    from minisbert.batching import count_threads
    from minisbert.hub import models_home
    from minisbert.topk import kernel_name

    kernel = kernel_name()
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    print(f"minisbert   {__version__}")
    print(f"Python      {platform.python_version()}, NumPy {np.__version__}")
    print(f"models      {models_home()}")
    print(f"threads     {count_threads(None)}")
    for library in blas:
        words = [
            library[key] for key in ("internal_api", "version", "architecture") if library.get(key)
        ]
        print(f"BLAS        {' '.join(words)}, {library['num_threads']} threads")
    print(f"scan        {kernel}" + (" (no C kernel is used)" if kernel == "numpy" else ""))


def run_demo(arguments: argparse.Namespace) -> None:
    from minisbert.demo import run_demo

    run_demo(arguments.question)


def load_model(arguments: argparse.Namespace) -> Any:
    from minisbert.encoder import SentenceTransformer

    return SentenceTransformer(arguments.model, threads=arguments.threads)


def write_json_lines(texts: Sequence[str], embeddings: Any) -> Iterator[str]:
    """One JSON object a text, numbers as short as float32 allows."""
    for text, embedding in zip(texts, embeddings, strict=True):
        numbers = [float(str(number)) for number in embedding]
        yield json.dumps({"text": text, "embedding": numbers}, ensure_ascii=False)


# The parser


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, like all others."""

    def error(self, message: str) -> Any:
        self.exit(2, f"minisbert: {message}; see `{self.prog} --help`\n")


def make_parser() -> argparse.ArgumentParser:
    from minisbert import __version__

    parser = Parser(prog="minisbert", description="Sentence embeddings and search on a CPU.")
    parser.add_argument("--version", action="version", version=f"minisbert {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(run: Any, what: str, model: str | None = None) -> argparse.ArgumentParser:
        name = run.__name__.removeprefix("run_")
        command: argparse.ArgumentParser = commands.add_parser(name, help=what, description=what)
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
    command.add_argument("--file", default="-", help="texts, one a line; default standard input")
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
    command.add_argument("--json", action="store_true", help="a JSON object for each text")

    add(run_info, "print versions, threads, BLAS and the kernel in use")

    command = add(run_demo, "search Python's standard library by meaning")
    command.add_argument("question", nargs="?", metavar="QUESTION")
    return parser


# What surrounds every command


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # texts are UTF-8, whatever the locale
            stream.reconfigure(encoding="utf-8")
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
            print(f"minisbert: {describe(error)}", file=sys.stderr)
            drop_output()
            return 2


def describe(error: BaseException) -> str:
    """An error as one sentence on one line."""
    if isinstance(error, OSError) and error.strerror:
        named = f" {error.filename}" if error.filename is not None else ""
        return f"the system refused{named}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def drop_output() -> None:
    """Let nothing more be written: Python would try again at exit, and complain."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def speak_plainly() -> Iterator[None]:
    """Show warnings, and what is being fetched, as single lines on standard error."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"minisbert: {message}", file=sys.stderr)

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
