"""Commands that apply a model to texts: fetch, encode, similarity, explain, index, search."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minisbert.arguments import check_positive, escape
from minisbert.command_line.parser import (
    Commands,
    argument,
    model_arguments,
    notify,
    show,
    whole_number,
    write_json,
)
from minisbert.system.regular_files import shorten_path

TEXT_COMMANDS = Commands()


@TEXT_COMMANDS.add(
    "fetch",
    "fetch a model by name and print its directory",
    argument("name", metavar="NAME", help="name or organisation/name on the Hugging Face hub"),
)
def _fetch(arguments: argparse.Namespace) -> None:
    from minisbert.model_files.hub import fetch_model

    path = str(fetch_model(arguments.name))
    print(escape(path) if sys.stdout.isatty() else path)  # a script needs its exact name


def _file_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for reading texts from a column or a field of a file."""
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--column", help="column of a CSV or TSV file: its name or its number")
    kind.add_argument("--field", help="field of the objects in a JSON lines file: its name")


@TEXT_COMMANDS.add(
    "encode",
    "print or save the embeddings of texts",
    model_arguments(),
    argument("texts", nargs="*", metavar="TEXT", help="text to encode; default those of --file"),
    argument("--file", help="texts, one per line; default standard input"),
    _file_arguments,
    argument("--out", help="a .npy or .jsonl file to write, instead of printing JSON lines"),
)
def _encode(arguments: argparse.Namespace) -> None:
    from minisbert.system.locks import lock_destination
    from minisbert.system.text_files import read_texts

    _check_out_file(arguments.out, ".npy", ".jsonl")
    if arguments.texts and (arguments.file, arguments.column, arguments.field) != (None,) * 3:
        raise ValueError("texts must be arguments or in a file, got both; leave one out")
    # Locked before standard input is read and the model is loaded: a second writer needn't wait.
    lock = (
        lock_destination(arguments.out, wait=False) if arguments.out else contextlib.nullcontext()
    )
    with lock:
        file = "-" if arguments.file is None else arguments.file
        texts = arguments.texts or read_texts(file, arguments.column, arguments.field)
        _encode_texts(load_bi_encoder(arguments), texts, arguments.out)


def _check_out_file(out: str | None, *endings: str) -> None:
    """Refuse, before any work, a file of --out that can't be written."""
    if out is None:
        return
    if not out.endswith(endings):
        names = f"{', '.join(endings[:-1])} or {endings[-1]}"
        raise ValueError(f"--out must end in {names}, got {shorten_path(out)}; rename it")
    if not Path(out).parent.is_dir():
        raise FileNotFoundError(
            f"--out must be in an existing folder, got {shorten_path(out)}; make the folder first"
        )
    if os.path.isdir(out):
        raise IsADirectoryError(
            f"--out must be a file, got the directory {shorten_path(out)}; choose another name"
        )


def _encode_texts(model: Any, texts: Sequence[str], out: str | None) -> None:
    """Encode texts and print the embeddings, or write them to a file whose lock is held."""
    from minisbert.encoding.streaming import name_partial_files
    from minisbert.system.disk import write_file

    if out and out.endswith(".npy"):
        partial, _ = name_partial_files(Path(out))
        if partial.exists():
            notify(f"resuming {shorten_path(partial)}; remove it to start again")
        model.encode_to_file(texts, out, resume=partial.exists())
        return
    lines = _write_json_lines(texts, model.encode(texts))
    if not out:
        for line in lines:
            print(line)
        return
    with write_file(Path(out)) as file:
        file.writelines(line.encode() + b"\n" for line in lines)


def _write_json_lines(texts: Sequence[str], embeddings: Any) -> Iterator[str]:
    """Yield a JSON object for each text, its numbers as short as float32 allows."""
    for text, embedding in zip(texts, embeddings, strict=True):
        numbers = [float(str(number)) for number in embedding]
        yield write_json({"text": text, "embedding": numbers})


@TEXT_COMMANDS.add(
    "similarity",
    "print the similarity of two texts",
    model_arguments(),
    argument("a", metavar="A", help="first text"),
    argument("b", metavar="B", help="second text"),
)
def _similarity(arguments: argparse.Namespace) -> None:
    model = load_bi_encoder(arguments)
    a, b = model.encode([arguments.a, arguments.b])
    print(f"{model.similarity(a, b).item():.4f}")


@TEXT_COMMANDS.add(
    "explain",
    "show what each pair of tokens contributes to a similarity",
    model_arguments(),
    argument("a", metavar="A", help="first text"),
    argument("b", metavar="B", help="second text"),
    argument("--out", metavar="FILE", help="draw a picture too: .png, .svg or .pdf"),
)
def _explain(arguments: argparse.Namespace) -> None:
    from minisbert.encoding.explain import explain
    from minisbert.encoding.heat_map import draw_heat_map, write_heat_map

    _check_out_file(arguments.out, ".png", ".svg", ".pdf")
    model = load_bi_encoder(arguments)
    found = explain(model, arguments.a, arguments.b)
    matrix = (found.tokens_a, found.tokens_b, found.contributions)
    if arguments.out:
        title = f"{model.similarity_fn_name} {found.score:.4f}"
        try:
            draw_heat_map(*matrix, title=title, path=Path(arguments.out))
        except ModuleNotFoundError:
            raise ValueError(
                "--out must be left out, since matplotlib is not installed; "
                "`pip install minisbert[plots]`"
            ) from None
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(write_heat_map(*matrix, color=color))


@TEXT_COMMANDS.add(
    "index",
    "make an index of texts for `minisbert search`",
    model_arguments(),
    argument("file", metavar="FILE", help="texts, one per line; - is standard input"),
    _file_arguments,
    argument("--out", required=True, metavar="DIR", help="directory for the index"),
)
def _index(arguments: argparse.Namespace) -> None:
    from minisbert.search.text_index import FILE_NAME
    from minisbert.system.locks import lock_destination

    directory = Path(arguments.out)
    _check_index_directory(directory)
    with lock_destination(directory / FILE_NAME, wait=False):
        _index_texts(arguments)


def _index_texts(arguments: argparse.Namespace) -> None:
    """Make an index in a directory whose lock is held."""
    from minisbert.search.index_rows import choose_metric
    from minisbert.search.text_index import TextIndex
    from minisbert.system.text_files import read_texts

    read = read_texts(arguments.file, arguments.column, arguments.field)
    texts = [text for text in read if text.strip()]
    if not texts:
        raise ValueError(
            f"{shorten_path(arguments.file)} must hold texts, got none; is it the right file?"
        )
    if len(texts) < len(read):
        notify(f"blank texts left out: {len(read) - len(texts)}; rows are numbered without them")
    start = time.perf_counter()
    model = load_bi_encoder(arguments)
    # A relative path would be wrong when a search starts in another directory.
    name = os.path.abspath(arguments.model) if os.path.isdir(arguments.model) else arguments.model
    metric = choose_metric(model.similarity_fn_name)  # before the work of encoding
    TextIndex.from_embeddings(model.encode_document(texts), texts, metric, name).save(arguments.out)
    show(f"{len(texts)} texts in {arguments.out}, {time.perf_counter() - start:.1f} s")


def _check_index_directory(directory: Path) -> None:
    """Refuse, before any work, to put an index among other files or over a file of another kind."""
    from minisbert.search.index_files import INDEX_FORMAT
    from minisbert.search.text_index import FILE_NAME
    from minisbert.system.safetensors import read_safetensors

    names = [path.name for path in directory.iterdir()] if directory.exists() else []
    foreign = FILE_NAME not in names and any(not name.startswith(".") for name in names)
    if FILE_NAME in names:
        with contextlib.suppress(ValueError):  # a damaged index may be replaced
            foreign = read_safetensors(directory / FILE_NAME)[1].get("format") != INDEX_FORMAT
    if foreign:
        raise FileExistsError(
            f"--out must be a new or empty directory or an index, got {shorten_path(directory)}, "
            "which holds something else; choose another"
        )


@TEXT_COMMANDS.add(
    "search",
    "print the texts that are most similar to a query",
    model_arguments(default=None),
    argument("directory", metavar="DIR", help="directory that `minisbert index` made"),
    argument("query", metavar="QUERY", help="text to search for"),
    argument("-k", type=whole_number, default=10, help="number of texts to print; default 10"),
    argument("--rerank", metavar="MODEL", help="cross-encoder that re-ranks the best texts"),
    argument("--candidates", type=whole_number, help="number of texts to re-rank; default 50"),
    argument("--json", action="store_true", help="print a JSON object for each text"),
)
def _search(arguments: argparse.Namespace) -> None:
    from minisbert.model_files.hub import resolve_model
    from minisbert.search.index_rows import choose_metric
    from minisbert.search.text_index import TextIndex

    if arguments.candidates is not None and arguments.rerank is None:
        raise ValueError("--candidates must be given with --rerank, got it alone; leave it out")
    check_positive("candidates", arguments.candidates)
    index = TextIndex.load(arguments.directory)
    if arguments.model is None:
        # The user named an index, not a model, so a model that only the index names is not fetched.
        arguments.model = resolve_model(index.vectors.model_name, fetch=False)
    model = load_bi_encoder(arguments)
    choose_metric(model.similarity_fn_name)  # the index has a metric, but a distance it can't have
    query = model.encode_query(arguments.query)
    depth = arguments.k
    if arguments.rerank is not None:
        from minisbert.cross_encoder import CrossEncoder

        cross = CrossEncoder(arguments.rerank, threads=arguments.threads)
        depth = max(depth, 50 if arguments.candidates is None else arguments.candidates)
    hits = index.search(query, depth, arguments.threads)
    if arguments.rerank is not None:
        ranking = cross.rank(arguments.query, [hit.text for hit in hits], top_k=arguments.k)
        hits = [hits[best["corpus_id"]]._replace(score=best["score"]) for best in ranking]
    for hit in hits:
        if arguments.json:
            print(write_json(hit._asdict()))
        else:
            # One line a text, without control characters that a terminal would act on.
            shown = "".join(c if c.isprintable() else " " for c in hit.text)
            print(f"{hit.score:7.4f}  {hit.row:6}  {shown}")


def load_bi_encoder(arguments: argparse.Namespace, **reading: Any) -> Any:
    """Load the model of --model; `reading` may name another pooling, or the number of blocks."""
    from minisbert.encoder import SentenceTransformer

    return SentenceTransformer(arguments.model, threads=arguments.threads, **reading)
