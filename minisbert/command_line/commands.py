"""What each command of the command line does, with the arguments that its parser made.

Modules that take long to import are imported by the commands that need them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def run_fetch(arguments: argparse.Namespace) -> None:
    from minisbert.model_files.hub import fetch_model

    print(fetch_model(arguments.name))


def run_encode(arguments: argparse.Namespace) -> None:
    from minisbert.encoding.streaming import name_partial_files
    from minisbert.system.disk import write_file
    from minisbert.system.text_files import read_texts

    if arguments.out and not arguments.out.endswith((".npy", ".jsonl")):
        raise ValueError(f"--out must end in .npy or .jsonl, got {arguments.out}; rename it")
    if arguments.out and not Path(arguments.out).parent.is_dir():
        raise FileNotFoundError(
            f"--out must be in an existing folder, got {arguments.out}; make the folder first"
        )
    if arguments.texts and (arguments.file or arguments.column or arguments.field):
        raise ValueError("texts must be arguments or stand in a file, got both; leave one out")
    texts = arguments.texts or read_texts(arguments.file or "-", arguments.column, arguments.field)
    model = load_model(arguments)
    if arguments.out and arguments.out.endswith(".npy"):
        partial, _ = name_partial_files(Path(arguments.out))
        if partial.exists():
            say(f"going on with {partial}; remove it to begin anew")
        model.encode_to_file(texts, arguments.out, resume=partial.exists())
        return
    lines = write_json_lines(texts, model.encode(texts))
    if not arguments.out:
        for line in lines:
            print(line)
        return
    with write_file(Path(arguments.out)) as file:
        file.writelines(line.encode() + b"\n" for line in lines)


def run_similarity(arguments: argparse.Namespace) -> None:
    model = load_model(arguments)
    a, b = model.encode([arguments.a, arguments.b])
    print(f"{model.similarity(a, b).item():.4f}")


def run_explain(arguments: argparse.Namespace) -> None:
    from minisbert.encoding.explain import explain
    from minisbert.encoding.heat_map import draw_heat_map, write_heat_map

    if arguments.out and not arguments.out.endswith((".png", ".svg", ".pdf")):
        raise ValueError(f"--out must end in .png, .svg or .pdf, got {arguments.out}; rename it")
    model = load_model(arguments)
    found = explain(model, arguments.a, arguments.b)
    matrix = (found.tokens_a, found.tokens_b, found.contributions)
    if arguments.out:
        title = f"{model.similarity_fn_name} {found.score:.4f}"
        try:
            draw_heat_map(*matrix, title=title, path=Path(arguments.out))
        except ModuleNotFoundError:
            raise ValueError(
                "--out must be left out, since matplotlib, which draws, is not installed; "
                "`pip install minisbert[plots]`"
            ) from None
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(write_heat_map(*matrix, color=color))


def run_index(arguments: argparse.Namespace) -> None:
    from minisbert.search.text_index import TextIndex
    from minisbert.system.text_files import read_texts

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
    from minisbert.model_files.hub import resolve_model
    from minisbert.search.text_index import TextIndex

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
    from minisbert.evaluation.evaluate import evaluate_sts
    from minisbert.evaluation.judged_files import read_sts

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
    from minisbert.evaluation.evaluate import evaluate_retrieval
    from minisbert.evaluation.judged_files import read_beir

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
    from minisbert.evaluation.evaluate import evaluate_sts
    from minisbert.evaluation.judged_files import read_sts

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
    from minisbert.costs.machine import describe_machine
    from minisbert.model_files.hub import models_home

    facts = {"minisbert": __version__, "models": str(models_home()), **describe_machine()}
    for name, fact in facts.items():
        print(f"{name:11} {fact}")


def run_bench(arguments: argparse.Namespace) -> None:
    from minisbert.command_line.standard_library import read_standard_library
    from minisbert.costs.lab import run_cost_lab
    from minisbert.system.text_files import read_texts

    if arguments.texts:
        texts = [text for text in read_texts(arguments.texts) if text.strip()]
    else:
        texts = [sentence for _, sentence in read_standard_library()]
    if bool(arguments.cross_encoder_model) != bool(arguments.pairs):
        raise ValueError(
            "--cross-encoder and --pairs must be given together, got one; add the other"
        )
    trained = judged = None
    if arguments.pairs:
        from minisbert.cross_encoder import CrossEncoder
        from minisbert.evaluation.judged_files import read_sts

        judged = read_sts(arguments.pairs)
        trained = CrossEncoder(arguments.cross_encoder_model, threads=arguments.threads)
    run_cost_lab(
        load_model(arguments),
        texts,
        seconds=arguments.seconds,
        directory=Path(arguments.out),
        trained=trained,
        judged=judged,
    )


def run_train(arguments: argparse.Namespace) -> None:
    from minisbert.command_line.train import run

    run(arguments)


def run_demo(arguments: argparse.Namespace) -> None:
    from minisbert.command_line.demo import run_demo

    run_demo(arguments.question)


def load_model(arguments: argparse.Namespace) -> Any:
    from minisbert.encoder import SentenceTransformer

    if getattr(arguments, "cross_encoder", False):
        from minisbert.cross_encoder import CrossEncoder

        return CrossEncoder(arguments.model, threads=arguments.threads)
    # Only some commands let the model be read in another way.
    reading: dict[str, Any] = {
        name: getattr(arguments, name, None) for name in ("pooling", "blocks")
    }
    return SentenceTransformer(arguments.model, threads=arguments.threads, **reading)


def check_index_directory(directory: Path) -> None:
    """Refuse, before any work, to put an index among other files or over a file of another kind."""
    from minisbert.search.index_files import FORMAT
    from minisbert.search.text_index import FILE_NAME
    from minisbert.system.safetensors import read_safetensors

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


def say(message: object) -> None:
    """Write one line to standard error, if that can still be written."""
    with contextlib.suppress(OSError):
        print(f"minisbert: {message}", file=sys.stderr)
