"""The command line: what it prints, what it writes, and how it fails."""

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer, __version__
from minisbert.__main__ import main
from minisbert.command_line.parser import write_json
from minisbert.evaluation.evaluate import evaluate_sts
from minisbert.evaluation.judged_files import read_sts
from minisbert.search.text_index import TextIndex
from minisbert.system.safetensors import write_safetensors
from models import make_cross_encoder_directory, make_model_directory


@pytest.fixture
def run(capsys):
    """Run a command in this process; return exit code, standard output, standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = exit.code
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def fails(run):
    """Run a command that must fail; return its one sentence."""

    def fails(*arguments) -> str:
        code, out, error = run(*arguments)
        assert (code, out) == (2, "")
        assert error.startswith("minisbert: ")
        assert error.endswith("\n")
        assert error.count("\n") == 1
        return error

    return fails


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("the old bird sings\n\na cat\nthe dog sleeps all day\n")
    return path


@pytest.fixture
def index(run, tiny_directory, lines, tmp_path):
    """Make an index of those lines."""
    assert run("index", lines, "--out", tmp_path / "index", "--model", tiny_directory)[0] == 0
    return tmp_path / "index"


def start(*arguments, environment=(), **options):
    """Start a command in a process of its own, with output buffered as a user has it."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "minisbert", *map(str, arguments)]
    variables = {**os.environ, **dict(environment), "PYTHONUNBUFFERED": ""}
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=variables, **options)


def test_version(run):
    """--version prints the version."""
    assert run("--version") == (0, f"minisbert {__version__}\n", "")


def test_help_names_every_command(run):
    """--help lists the commands."""
    code, out, _ = run("--help")
    assert code == 0
    for command in ("fetch", "encode", "similarity", "index", "search", "evaluate", "info", "demo"):
        assert command in [line.split()[0] for line in out.splitlines() if line[:4] == "    "]


def test_fetch_prints_the_directory(run, minilm_directory):
    """fetch prints the directory of a model that is on this machine."""
    assert run("fetch", "all-MiniLM-L6-v2")[:2] == (0, f"{minilm_directory}\n")


def test_encode_prints_json_lines(run, tiny, tiny_directory):
    """encode prints texts and embeddings, which read back as the same float32 numbers."""
    code, out, error = run("encode", "a cat", "ä 🐈", "--model", tiny_directory)
    entries = [json.loads(line) for line in out.splitlines()]
    assert (code, error) == (0, "")
    assert [entry["text"] for entry in entries] == ["a cat", "ä 🐈"]
    vectors = np.float32([entry["embedding"] for entry in entries])
    assert np.array_equal(vectors, tiny.encode(["a cat", "ä 🐈"]))


@pytest.mark.parametrize("suffix", [".npy", ".jsonl"])
def test_encode_writes_files(run, tiny, tiny_directory, lines, tmp_path, suffix):
    """encode --out writes a row for every line of a file, also for a blank one."""
    out = tmp_path / f"vectors{suffix}"
    options = ("--file", lines, "--model", tiny_directory, "--out", out)
    assert run("encode", *options) == (0, "", "")
    if suffix == ".npy":
        vectors = np.load(out)
    else:
        entries = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        vectors = np.float32([entry["embedding"] for entry in entries])
    assert np.array_equal(vectors, tiny.encode(lines.read_text().splitlines()))


def test_encode_resumes(run, tiny, tiny_directory, lines, tmp_path, monkeypatch):
    """encode --out resumes an interrupted run, and says so; a finished file is replaced."""
    out = tmp_path / "vectors.npy"
    options = ("--file", lines, "--model", tiny_directory, "--out", out)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
            assert run("encode", *options)[0] == 2
        assert (tmp_path / "vectors.npy.partial").exists()
        code, _, error = run("encode", *options)
        assert code == 0
        assert "minisbert: resuming " in error
        assert np.array_equal(np.load(out), tiny.encode(lines.read_text().splitlines()))


def test_similarity(run, tiny, tiny_directory):
    """similarity prints one number with four decimals."""
    a, b = tiny.encode(["a cat", "the dog"])
    expected = f"{tiny.similarity(a, b).item():.4f}\n"
    assert run("similarity", "a cat", "the dog", "--model", tiny_directory) == (0, expected, "")


def test_index_leaves_blank_texts_out(run, tiny_directory, lines, tmp_path):
    """index prints how many texts it took and how many blank ones it left out."""
    options = ("--out", tmp_path / "new", "--model", tiny_directory, "--threads", 1)
    code, out, error = run("index", lines, *options)
    assert code == 0
    assert out.startswith(f"3 texts in {tmp_path / 'new'}, ")
    assert error == "minisbert: blank texts left out: 1; rows are numbered without them\n"
    assert TextIndex.load(tmp_path / "new").vectors.model_name == str(tiny_directory)


@pytest.mark.parametrize(
    ("name", "content", "option"),
    [("t.csv", "id,t\n1,a cat\n", "--column=t"), ("t.jsonl", '{"t": "a cat"}\n', "--field=t")],
)
def test_index_of_columns_and_fields(run, tiny_directory, tmp_path, name, content, option):
    """index takes a column of CSV or a field of JSON lines."""
    (tmp_path / name).write_text(content)
    options = (option, "--out", tmp_path / "new", "--model", tiny_directory)
    assert run("index", tmp_path / name, *options)[0] == 0
    assert TextIndex.load(tmp_path / "new").get_text(0) == "a cat"


@pytest.mark.parametrize("similarity", ["euclidean", "manhattan"])
def test_index_of_a_model_of_distances_is_refused(fails, index, tmp_path, similarity):
    """An index can't rank by distance: both making one and searching it by such a model say so."""
    directory = make_model_directory(tmp_path / "model")
    config = directory / "config_sentence_transformers.json"
    config.write_text(json.dumps({"similarity_fn_name": similarity}))
    (tmp_path / "t.txt").write_text("a cat\n")
    for command in (
        ("index", tmp_path / "t.txt", "--out", tmp_path / "new"),
        ("search", index, "a cat"),
    ):
        error = fails(*command, "--model", directory)
        assert f"must be cosine or dot for an index, got '{similarity}'" in error
    assert not (tmp_path / "new").exists()


def test_search(run, index):
    """search finds the text itself first, with the model that the index was made with."""
    code, out, error = run("search", index, "a cat", "-k", 2)
    score, row, *text = out.splitlines()[0].split()
    assert (code, error) == (0, "")
    assert (float(score), row, " ".join(text)) == (1.0, "1", "a cat")
    assert len(out.splitlines()) == 2


def test_search_prints_json(run, index):
    """search --json prints score, row and text of each result."""
    code, out, _ = run("search", index, "a cat", "--json")
    hits = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert sorted(hit["row"] for hit in hits) == [0, 1, 2]
    assert hits[0]["text"] == "a cat"
    assert hits[0]["score"] == pytest.approx(1, abs=1e-6)


def test_search_reranks(run, index, tmp_path):
    """search --rerank orders the results of the scan by a cross-encoder's logits."""
    directory = make_cross_encoder_directory(tmp_path / "cross")
    code, out, _ = run("search", index, "a cat", "--rerank", directory, "-k", 2, "--json")
    hits = [json.loads(line) for line in out.splitlines()]
    texts = [TextIndex.load(index).get_text(row) for row in range(3)]
    ranking = CrossEncoder(directory).rank("a cat", texts)
    assert code == 0
    assert [hit["row"] for hit in hits] == [best["corpus_id"] for best in ranking[:2]]
    assert hits[0]["score"] == pytest.approx(ranking[0]["score"], abs=1e-6)


def test_search_reranks_only_candidates(run, index, tmp_path):
    """With one candidate, the first result of the scan is the only result."""
    directory = make_cross_encoder_directory(tmp_path / "cross")
    out = run("search", index, "a cat", "--rerank", directory, "-k", 1, "--candidates", 1)[1]
    assert out.endswith(" a cat\n")


def test_rerank_by_a_bi_encoder_is_refused(fails, index, tiny_directory):
    """A model without a classification head can't re-rank, and the error says so."""
    error = fails("search", index, "a cat", "--rerank", tiny_directory)
    assert "give a directory for sequence classification" in error


def test_search_prints_no_control_characters(run, tiny_directory, tmp_path):
    """Control characters of a text become spaces, so that a result is one harmless line."""
    (tmp_path / "t.jsonl").write_text('{"t": "a\\n\\u001b[31mcat"}')
    options = ("--field", "t", "--out", tmp_path / "new", "--model", tiny_directory)
    run("index", tmp_path / "t.jsonl", *options)
    assert run("search", tmp_path / "new", "cat")[1].endswith("a  [31mcat\n")


def test_info(run, monkeypatch):
    """info prints version, model directory, threads, BLAS and kernel, also without a C kernel."""
    code, out, _ = run("info")
    facts = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert facts["minisbert"] == __version__
    assert {"Python", "models", "threads", "BLAS", "scan"} <= facts.keys()
    monkeypatch.setenv("MINISBERT_SIMD", "numpy")
    assert "scan        numpy (no C kernel is used)" in run("info")[1]


def test_info_of_an_index(run, fails, index, tiny_directory, tmp_path):
    """info describes an index, its directory or file, and --verify notices one wrong bit in it."""
    for path in (index, index / "index.safetensors"):
        code, out, error = run("info", path, "--verify")
        facts = dict(line.split(maxsplit=1) for line in out.splitlines())
        assert (code, error) == (0, "")
        assert facts["rows"].startswith("3 of 32 numbers")
        assert (facts["metric"], facts["codes"], facts["verified"]) == ("cosine", "none", "whole")
        assert facts["model"] == str(tiny_directory)
    assert "verified" not in run("info", index)[1]
    rows = TextIndex.load(index).vectors.mapped_file.places["rows"].start
    content = bytearray((index / "index.safetensors").read_bytes())
    content[rows + 9] ^= 64
    (index / "index.safetensors").write_bytes(content)
    assert run("info", index)[0] == 0
    assert "rows in " in fails("info", index, "--verify")
    assert "must be given with an index" in fails("info", "--verify")
    assert "must be a directory with index.safetensors" in fails("info", tiny_directory)
    assert "there is no such file" in fails("info", tmp_path / "missing")


def test_info_of_an_index_of_version_0_1_0(run, tmp_path):
    """An index without digests, as 0.1.0 wrote it, is described, but not called whole."""
    metadata = {"format": "minisbert-flat-index", "format_version": "1", "dimension": "3"}
    metadata |= {"metric": "dot", "model_name": ""}
    write_safetensors(tmp_path / "i", {"rows": np.eye(3, dtype=np.float32)}, metadata)
    code, out, _ = run("info", tmp_path / "i", "--verify")
    assert code == 0
    assert "verified    no: it has no digests" in out


def test_demo_passes_the_question_on(run, monkeypatch):
    """demo passes its question, or None, on."""
    asked = []
    monkeypatch.setattr("minisbert.command_line.demo.run_demo", asked.append)
    run("demo", "why?")
    run("demo")
    assert asked == ["why?", None]


def test_truncation_is_one_line(run, tiny_directory):
    """A warning is one line, without the line of source code that caused it."""
    code, _, error = run("encode", "cat " * 600, "--model", tiny_directory)
    assert code == 0
    assert error.startswith("minisbert: 1 of 1 texts are longer than")
    assert error.count("\n") == 1


@pytest.fixture
def sts(tmp_path):
    """Write a file of pairs with scores."""
    path = tmp_path / "sts.tsv"
    path.write_text("a bird\tthe bird\t5\na cat\tthe dog runs\t2\nold tree\tred car\t0\n")
    return path


@pytest.fixture
def beir(tmp_path):
    """Write a small directory in the layout of BEIR, with judgements of ids that it lacks."""
    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    for name, *entries in (
        ("corpus", {"_id": "d1", "title": "", "text": "a bird"}, {"_id": "d2", "text": "a " * 100}),
        ("queries", {"_id": "q1", "text": "a bird"}, {"_id": "q2", "text": "a tree"}),
    ):
        (tmp_path / "beir" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, entries)))
    judgements = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td9\t1\nq2\td1\t0\nq8\td1\t1\n"
    (tmp_path / "beir" / "qrels" / "dev.tsv").write_text(judgements)
    return tmp_path / "beir"


def test_evaluate_sts(run, tiny_directory, sts):
    """evaluate sts prints pairs, Spearman and Pearson x 100."""
    code, out, error = run("evaluate", "sts", sts, "--model", tiny_directory)
    assert (code, error) == (0, "")
    names, values = zip(*(line.split() for line in out.splitlines()), strict=True)
    assert names == ("pairs", "Spearman", "Pearson")
    expected = evaluate_sts(SentenceTransformer(tiny_directory), read_sts(sts))
    assert values == ("3", f"{100 * expected.spearman:.2f}", f"{100 * expected.pearson:.2f}")


def test_evaluate_reads_the_network_in_another_way(run, tiny_directory, sts):
    """--pooling and --blocks replace the model's own; a constant score has no correlation."""
    options = ("--model", tiny_directory, "--pooling", "cls", "--blocks", "0")
    assert run("evaluate", "sts", sts, *options)[1] == "pairs     3\nSpearman  -\nPearson   -\n"


def test_evaluate_sts_of_a_cross_encoder(run, fails, sts, tmp_path):
    """--cross-encoder lets the model score the pairs; it has no pooling to choose."""
    directory = make_cross_encoder_directory(tmp_path / "pairs", num_labels=1)
    options = ("--model", directory, "--cross-encoder")
    code, out, _ = run("evaluate", "sts", sts, *options)
    expected = evaluate_sts(CrossEncoder(directory), read_sts(sts))
    assert (code, out.split()[3]) == (0, f"{100 * expected.spearman:.2f}")
    assert "--pooling and --blocks must be left out" in fails(
        "evaluate", "sts", sts, *options, "--blocks", 0
    )


def test_evaluate_table(run, tiny_directory, sts):
    """evaluate table prints what evaluate sts does, for each pooling and number of blocks."""
    code, out, error = run("evaluate", "table", sts, "--model", tiny_directory)
    assert (code, error) == (0, "")
    _, head, *rows = out.splitlines()
    assert head.split() == ["blocks", "cls", "mean", "max"]
    assert [row.split()[0] for row in rows] == ["0", "1", "2"]
    for row in rows:
        blocks, *cells = row.split()
        for pooling, cell in zip(head.split()[1:], cells, strict=True):
            options = ("--model", tiny_directory, "--pooling", pooling, "--blocks", blocks)
            assert run("evaluate", "sts", sts, *options)[1].split()[3] == cell


def test_evaluate_retrieval(run, tiny_directory, beir):
    """evaluate retrieval prints measures, truncated documents, and what could not be used."""
    options = ("--split", "dev", "-k", "5", "--model", tiny_directory)
    code, out, error = run("evaluate", "retrieval", beir, *options)
    assert (code, error) == (0, "")
    lines = out.splitlines()
    assert lines[:5] == [
        "documents   2, 1 cut at the 64 tokens that the model reads",
        "queries     1",
        "unusable    1 queries without a relevant document, left out",
        "unusable    1 judged queries that queries.jsonl does not have, left out",
        "unusable    1 judged documents that corpus.jsonl does not have, never found",
    ]
    names = [line.split()[0] for line in lines[5:]]
    assert names == ["nDCG@5", "MRR@5", "MAP@100", "recall@1", "recall@10", "recall@100"]
    assert lines[-1] == "recall@100  50.00"


def test_evaluate_mistakes_are_one_sentence(fails, tiny_directory, sts, beir):
    """Bad files and options of evaluate are one sentence; files are read before the model."""
    model = ("--model", tiny_directory)
    assert "arguments are required: KIND" in fails("evaluate")
    assert "blocks must be a whole number from 0 to 2, got 3" in fails(
        "evaluate", "sts", sts, *model, "--blocks", 3
    )
    assert "pooling must be one of cls, mean, max" in fails(
        "evaluate", "sts", sts, *model, "--pooling", "median"
    )
    assert "k must be a whole number of 1 or more, got 0" in fails(
        "evaluate", "retrieval", beir, "--split", "dev", "-k", 0, *model
    )
    nowhere = ("--model", "./nowhere")
    assert "split must be one of" in fails("evaluate", "retrieval", beir, *nowhere)
    assert "must be a directory with corpus.jsonl" in fails("evaluate", "retrieval", sts, *nowhere)
    sts.write_text("a\tb\t1\na\tb\n")
    for kind in ("sts", "table"):
        assert f"line 2 of {sts} must have 3 columns" in fails("evaluate", kind, sts, *nowhere)


@pytest.mark.parametrize(("split", "figure"), [("dev", "86.72"), ("test", "82.03")])
def test_evaluate_sts_benchmark(run, minilm_directory, data_directory, split, figure):
    """evaluate sts prints all-MiniLM-L6-v2's known figures on the STS benchmark."""
    path = data_directory / "stsbenchmark" / f"sts-{split}.csv"
    code, out, _ = run("evaluate", "sts", path, "--model", minilm_directory)
    assert code == 0
    assert out.splitlines()[1] == f"Spearman  {figure}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND; see `minisbert --help`"),
        (["encode", "--file", ""], ": No such file or directory"),
        (["encode", "a", "--file", ""], "texts must be arguments or in a file, got both"),
        (["encode", "a", "--column", ""], "texts must be arguments or in a file, got both"),
        (["encode", "a", "--field", ""], "texts must be arguments or in a file, got both"),
        (["encode", "a", "--out", ""], "--out must end in .npy or .jsonl"),
        (["explain", "a", "b", "--out", ""], "--out must end in .png, .svg or .pdf"),
        (["explain", "a", "b", "--out", "no/a.png"], "--out must be in an existing folder"),
        (["bench", "--texts", ""], ": No such file or directory"),
        (["bench", "--pairs", ""], "--cross-encoder and --pairs must be given together"),
        (["train", "t.csv", "--out", "/"], "/ must be a file or a directory inside another"),
        (["sing"], "invalid choice: 'sing'"),
        (["search", "x"], "the following arguments are required: QUERY"),
        (["encode", "a", "--model", "./nowhere"], "model must be an existing directory"),
        (["encode", "a", "--out", "a.txt"], "--out must end in .npy or .jsonl, got a.txt"),
        (["encode", "a", "--out", "no/a.npy"], "--out must be in an existing folder, got no/a.npy"),
        (["encode", "a", "--file", "-"], "texts must be arguments or in a file, got both"),
        (["encode", "--file", "\udcff"], "\\udcff: No such file or directory"),
        (["encode", "--file", "nowhere.txt"], "nowhere.txt: No such file or directory"),
        (["encode", "--file", "t.csv", "--column", "1", "--field", "t"], "not allowed with"),
        (["search", "nowhere", "a"], "index nowhere must be a directory with index.safetensors"),
        (["fetch", "../up"], "model name must be"),
    ],
)
def test_mistakes_are_one_sentence(fails, arguments, message, tmp_path, monkeypatch):
    """A mistake in the arguments is reported in one sentence, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    assert message in fails(*arguments)


DASH = "put -- before a text that begins with a dash"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["search", "x", "-foo"], DASH),
        (["search", "x", "-k bar"], DASH),
        (["search", "x", "--why"], DASH),
        (["search", "x", "--json", "--nope", "cat"], DASH),
        (["similarity", "-a", "b"], DASH),
        (["explain", "a", "-b"], DASH),
        (["encode", "-x"], DASH),
        (["demo", "-x"], DASH),
        (["encode", "--file", "-x"], "write --file=VALUE for a value that begins with a dash"),
        (["search", "x", "a", "-k", "--json"], "argument -k: expected one argument; see"),
        (["search", "--json", "x"], "arguments are required: QUERY; see"),
        (["search", "--", "x"], "arguments are required: QUERY; see"),
        (["info", "--foo"], "unrecognized arguments: --foo; see"),
    ],
)
def test_arguments_that_begin_with_a_dash(fails, arguments, advice):
    """A text or a value that looks like an option gets the advice that lets it be one."""
    assert advice in fails(*arguments)


@pytest.mark.parametrize("query", ["-20 degrees", "-5", "- a cat"])
def test_queries_with_a_dash_that_is_no_option(run, index, query):
    """A query may be whatever is no option, and after -- anything."""
    assert run("search", index, query)[1]
    assert run("search", index, "--", "-k")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "x", "--out", "y", "--columns=--"],
        ["encode", "--file=--"],
        ["encode", "a", "--model=--"],
        ["search", "x", "a", "-k=--"],
    ],
)
def test_two_dashes_as_a_value(fails, arguments):
    """Two dashes are no value of an option; after two dashes alone they are a text."""
    option = arguments[-1].removesuffix("=--")
    assert f"argument {option} must have a value other than --; see" in fails(*arguments)


@pytest.mark.parametrize("value", ["1_0", " 1", "٣", "1e3", "9" * 19, "", "nan"])
@pytest.mark.parametrize(
    "command",
    [
        ["search", "x", "a", "-k"],
        ["search", "x", "a", "--candidates"],
        ["encode", "a", "--threads"],
        ["train", "x", "--out", "y", "--epochs"],
        ["evaluate", "sts", "x", "--blocks"],
    ],
)
def test_options_take_plain_whole_numbers(fails, command, value):
    """Forms that Python's int takes beside plain digits are a mistake on a command line."""
    sentence = fails(*command, value)
    assert f"{command[-1]}: must be a whole number of at most 18 digits, got " in sentence


@pytest.mark.parametrize("value", ["1_0", "nan", "inf", "1e400", "٣", "1,5"])
@pytest.mark.parametrize("option", ["--learning-rate", "--margin", "--cosine-scale", "--scale"])
def test_options_take_plain_numbers(fails, option, value):
    """Forms that Python's float takes beside plain numbers are a mistake on a command line."""
    assert f"argument {option}: must be a number, got " in fails(
        "train", "x", "--out", "y", option, value
    )


def test_options_that_nothing_uses_are_refused(fails, index, tiny_directory, tmp_path):
    """An option that the rest of the command makes meaningless is refused, not ignored."""
    assert "--candidates must be given with --rerank" in fails(
        "search", index, "a", "--candidates", 3
    )
    rerank = ("search", index, "a", "--rerank", tiny_directory)
    assert "candidates must be a whole number of 1 or more, got 0" in fails(
        *rerank, "--candidates", 0
    )
    assert "model name must be" in fails("search", index, "a", "--rerank", "")
    (tmp_path / "t.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,0\n")
    train = ("train", tmp_path / "t.csv", "--out", tmp_path / "o", "--model", tiny_directory)
    assert "--development-columns must be given with --development" in fails(
        *train, "--development-columns", "1,2"
    )
    assert "--evaluate-every must be given with --development" in fails(
        *train, "--evaluate-every", 1
    )
    assert "margin must be left out for cosine, got 3.0; it is an option of triplet" in fails(
        *train, "--margin", 3
    )


HOSTILE = "\x1b[2J\x1b]0;owned\x07\n\u202e\x9b31m"


def test_the_terminal_is_not_controlled(run, tiny_directory, lines, tmp_path, monkeypatch):
    """Names of files, texts and arguments can't send escapes or line breaks to the terminal."""
    folder = tmp_path / HOSTILE
    folder.mkdir()
    text, table = folder / "t.txt", folder / "t.csv"
    text.write_text(f"a cat{HOSTILE}\n", "utf-8")
    classes = "".join(f"a,b,{HOSTILE.replace(chr(10), '')}{n}\n" for n in (0, 0, 1, 1))
    table.write_text(f"sentence1,sentence2,label\n{classes}", "utf-8")
    monkeypatch.setenv("MINISBERT_HOME", str(folder / "home"))
    model = ("--model", tiny_directory)
    for command in (
        ["index", text, "--out", folder / "index", *model],
        ["search", folder / "index", HOSTILE, *model],
        ["search", folder / "index", HOSTILE, "--json", *model],
        ["encode", HOSTILE, *model],
        ["explain", HOSTILE, HOSTILE, *model],
        ["train", table, "--out", folder / "out", *model],
        ["info"],
        ["encode", "--file", folder / "none.txt"],
        ["encode", "--file", text, "--column", HOSTILE],
        ["encode", "a", "--model", f"./{HOSTILE}"],
        ["encode", "a", "--out", HOSTILE],
        ["encode", f"--{HOSTILE}"],
        ["fetch", HOSTILE],
        ["search", folder, "a"],
        [HOSTILE],
    ):
        _, out, error = run(*command)
        assert out or error
        for line in (out + error).split("\n"):
            assert line.isprintable(), (command, line)


def test_json_output_is_exact(run, tiny_directory):
    """JSON lines escape what a terminal would act on, and read back as the same text."""
    assert write_json("\udcff") == '"\\udcff"'
    for text in (HOSTILE, "\U000e0001 🐈\xa0é"):
        code, out, _ = run("encode", text, "--model", tiny_directory)
        assert (code, out.count("\n"), out.strip("\n").isprintable()) == (0, 1, True)
        assert json.loads(out)["text"] == text


def test_fetch_prints_an_exact_path_to_scripts(run, monkeypatch, tmp_path, capsys):
    """The path of a fetched model is exact, but for a terminal it is escaped."""
    path = tmp_path / "\x1b[31m"
    monkeypatch.setattr("minisbert.model_files.hub.fetch_model", lambda name: path)
    assert run("fetch", "a")[1] == f"{path}\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main(["fetch", "a"])
    assert capsys.readouterr().out == f"{tmp_path}/\\x1b[31m\n"


LONG = "x" * 5000


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "--file", LONG],
        ["encode", "a", "--model", LONG],
        ["encode", "a", "--model", f"./{LONG}"],
        ["encode", "a", "--out", f"{LONG}.npy"],
        ["encode", "a", "--out", f"{LONG}/{LONG}.jsonl"],
        ["index", LONG, "--out", "y"],
        ["index", "t.txt", "--out", LONG],
        ["search", LONG, "a"],
        ["train", LONG, "--out", "y"],
        ["train", "t.csv", "--out", LONG],
        ["train", "t.csv", "--out", "y", "--development", LONG],
        ["evaluate", "sts", LONG],
        ["evaluate", "retrieval", LONG],
        ["evaluate", "retrieval", ".", "--split", LONG],
        ["bench", "--texts", LONG],
        ["bench", "--out", LONG, "--texts", "t.txt"],
        ["fetch", LONG],
        ["encode", LONG, f"--{LONG}"],
        ["encode", "--file", "t.txt", "--column", LONG],
        ["encode", "--file", "t.txt", "--field", LONG],
        ["search", "x", "a", "-k", LONG],
        ["encode", "--file", "loop"],
        ["encode", "a", "--model", "./loop"],
        ["encode", "a", "--out", "loop/x.npy"],
        ["index", "t.txt", "--out", "loop"],
        ["search", "loop", "a"],
        ["train", "t.csv", "--out", "loop"],
        ["encode", "--file", "."],
        ["train", ".", "--out", "y"],
        ["evaluate", "sts", "."],
        ["index", "t.txt", "--out", "t.txt"],
        ["train", "t.csv", "--out", "t.txt"],
        ["encode", "a", "--out", "folder.npy"],
        ["encode", "a", "--out", "folder.jsonl"],
        ["encode", "--file", "t.txt/x"],
        ["search", "t.txt", "a"],
        ["encode", "a", "--model", "t.txt"],
    ],
)
def test_paths_that_the_system_refuses(fails, tiny_directory, tmp_path, monkeypatch, arguments):
    """Names too long, loops of links, folders for files and files for folders: one sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "t.txt").write_text("a cat\n" * 2)
    (tmp_path / "t.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,0\n")
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "folder.jsonl").mkdir()
    if "--model" not in arguments and arguments[0] not in ("fetch", "search"):
        arguments = [*arguments, "--model", str(tiny_directory)]
    sentence = fails(*arguments)
    assert len(sentence) < 700
    assert sentence[:-1].isprintable()


def test_bad_values_are_one_sentence(fails, index, tiny_directory, lines, tmp_path):
    """Values that fail only while a command runs are reported in one sentence, too."""
    assert "k must be a whole number of 1 or more, got 0" in fails("search", index, "cat", "-k", 0)
    assert "threads must be" in fails("encode", "a", "--model", tiny_directory, "--threads", 0)
    (tmp_path / "bad.txt").write_bytes(b"good\n\xff\n")
    for command in (("encode", "--file", tmp_path / "bad.txt"), ("index", tmp_path / "bad.txt")):
        out = ("--out", tmp_path / "x.npy", "--model", tiny_directory)
        assert f"line 2 of {tmp_path / 'bad.txt'} must be UTF-8" in fails(*command, *out)
    (tmp_path / "none.txt").write_bytes(b"\n \n")
    assert "must hold texts, got none" in fails("index", tmp_path / "none.txt", *out)


def test_damaged_index_is_one_sentence(fails, index):
    """An index file cut short is named, and nothing is printed."""
    file = index / "index.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert str(file) in fails("search", index, "cat")


def test_index_replaces_only_an_index(run, fails, index, lines, tiny_directory):
    """An index is replaced, also a damaged one, but no other file is."""
    options = (lines, "--out", index, "--model", tiny_directory)
    file = index / "index.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert run("index", *options)[0] == 0
    assert file.read_bytes() == whole
    model = (tiny_directory / "model.safetensors").read_bytes()
    file.write_bytes(model)
    assert f"--out must be a new or empty directory or an index, got {index}" in fails(
        "index", *options
    )
    assert file.read_bytes() == model
    file.rename(index / "holiday.txt")
    assert "which holds something else" in fails("index", *options)
    assert os.listdir(index) == ["holiday.txt"]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("encode --file {lines} --model {model} --out", "vectors.npy"),
        ("encode --file {lines} --model {model} --out", "vectors.jsonl"),
        ("index {lines} --model {model} --out", "index/index.safetensors"),
        ("train {lines} --model {model} --out", "trained"),
        ("train {lines} --model {model} --resume --out", "trained.training"),
        ("bench --model {model} --out", "costs/results.json"),
    ],
)
def test_second_writer_is_refused(
    fails, other_writer, lines, tiny_directory, tmp_path, command, name
):
    """A file that another process is writing is named in one sentence, and not touched."""
    out = tmp_path / name.split("/")[0].removesuffix(".training")
    words = command.format(lines=lines, model=tiny_directory).split(" ")
    with other_writer(tmp_path / name):
        before = sorted(tmp_path.rglob("*"))
        assert fails(*words, out) == (
            f"minisbert: {tmp_path / name} must have one writer at a time, but another thread of "
            "this process is writing it; wait until that is done, or choose another name\n"
        )
        assert sorted(tmp_path.rglob("*")) == before
    assert list(tmp_path.iterdir()) == [lines]


def test_mistake_leaves_no_folder(fails, lines, tmp_path):
    """A command that fails leaves neither a folder for its result nor a lock."""
    for command in ("index", "train"):
        fails(command, tmp_path / "nothing", "--out", tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == [lines]


def test_encode_resumes_through_a_link(run, tiny, tiny_directory, lines, tmp_path):
    """The unfinished file of a link's target is resumed, not dropped."""
    out, link = tmp_path / "vectors.npy", tmp_path / "link.npy"
    link.symlink_to(out)

    def stop():
        yield "the old bird sings"
        raise KeyError

    with pytest.raises(KeyError):
        tiny.encode_to_file(stop(), out, chunk=1)
    code, _, error = run("encode", "--file", lines, "--out", link, "--model", tiny_directory)
    assert code == 0
    assert error.startswith(f"minisbert: resuming {out}.partial")
    assert len(np.load(out)) == 4
    assert link.is_symlink()


def test_model_named_by_an_index_is_not_fetched(fails, tiny_directory, tmp_path, monkeypatch):
    """A model's name that comes from an index file is not fetched."""
    monkeypatch.setenv("MINISBERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    TextIndex.from_embeddings(np.ones((1, 4)), ["a"], model_name="some/model").save(tmp_path / "i")
    error = fails("search", tmp_path / "i", "cat")
    assert "model must be on this machine, got some/model" in error
    assert "`minisbert fetch some/model`" in error


@pytest.mark.slow
def test_full_disk_keeps_the_old_file(lines, index, tiny_directory, tmp_path):
    """A disk that is full while saving leaves the old index, and no other files."""
    before = (index / "index.safetensors").read_bytes()
    child = start(
        *("index", lines, "--out", index, "--model", tiny_directory),
        preexec_fn=lambda: (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        ),
    )
    _, error = child.communicate(timeout=60)
    assert child.returncode == 2
    assert error.decode().splitlines()[-1] == "minisbert: File too large"
    assert b"Traceback" not in error
    assert (index / "index.safetensors").read_bytes() == before
    assert os.listdir(index) == ["index.safetensors"]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_full_standard_output(tiny_directory):
    """Output that can't be written is one sentence, even if that only shows at the end."""
    with open("/dev/full", "wb") as full:
        child = start("encode", "a cat", "--model", tiny_directory, stdout=full)
        _, error = child.communicate(timeout=60)
    assert child.returncode == 2
    assert error == b"minisbert: No space left on device\n"


@pytest.mark.slow
def test_help_into_a_closed_pipe():
    """Help into a closed pipe ends without an error message."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        child = start("--help", stdout=closed)
        _, error = child.communicate(timeout=60)
    assert (child.returncode, error) == (141, b"")


@pytest.mark.slow
def test_closed_streams(tiny_directory):
    """Standard output may be closed; a closed standard input is reported in one sentence."""
    child = start("encode", "--model", tiny_directory, preexec_fn=lambda: os.closerange(0, 2))
    _, error = child.communicate(timeout=60)
    assert child.returncode == 2
    assert error.startswith(b"minisbert: standard input must be open, but it is closed")
    assert error.count(b"\n") == 1


@pytest.mark.slow
def test_closed_pipe_ends_quietly(tiny_directory, tmp_path):
    """A command whose reader closes the pipe ends without an error message."""
    (tmp_path / "many.txt").write_text("a cat\n" * 2000)
    child = start("encode", "--file", tmp_path / "many.txt", "--model", tiny_directory)
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(timeout=60) == 141


@pytest.mark.slow
def test_interrupt_ends_quietly(tiny_directory):
    """Ctrl-C while waiting for input ends the command without an error message."""
    child = start(
        *("encode", "--model", tiny_directory),
        stdin=subprocess.PIPE,
        bufsize=0,
        # A shell's background job, which the tests may be, leaves Ctrl-C ignored in its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    # When it has read more than a pipe holds, the command is past its imports, and waits.
    child.stdin.write(b"a cat\n" * 30_000)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=60)
    assert error == b""
    assert child.returncode == 130


INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
signal.signal(signal.SIGINT, signal.default_int_handler)
from minisbert.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        *("minisbert.command_line", "argparse", "numpy", "datetime", "minisbert.network"),
        *("minisbert.encoder", "tokenizers", "safetensors"),
    ],
)
def test_interrupt_while_importing(tiny_directory, module):
    """Ctrl-C while a module is imported, also by NumPy's extension, ends the command quietly."""
    finished = subprocess.run(
        [
            *(sys.executable, "-c", INTERRUPTED.format(module=module)),
            *("similarity", "a cat", "a dog", "--model", str(tiny_directory)),
        ],
        capture_output=True,
        check=False,
    )
    assert (finished.stdout, finished.stderr) == (b"", b"")
    assert finished.returncode in (130, -signal.SIGINT)


@pytest.mark.slow
def test_output_is_utf8_in_any_locale(tiny_directory):
    """Texts are printed as UTF-8 even if the locale is ASCII."""
    ascii = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    options = {"environment": ascii, "stdin": subprocess.PIPE}
    child = start("encode", "--model", tiny_directory, **options)
    out, error = child.communicate("🐈\n".encode(), timeout=60)
    assert (child.returncode, error) == (0, b"")
    assert json.loads(out)["text"] == "🐈"
