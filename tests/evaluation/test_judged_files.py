"""STS and BEIR files: what is read, and which line is named when it can't be."""

import json

import pytest

from minisbert.evaluation.judged_files import read_beir, read_sts

SEVEN = 'news\tfile\t2012\t{}\t{}\tA bird sings.\tA "dog" runs.\n'


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def beir(write, tmp_path):
    """A small directory in the layout of BEIR."""
    documents = [
        {"_id": "d1", "title": "The bird", "text": "It sings.", "metadata": {}},
        {"_id": "d2", "text": "A dog runs."},
        {"_id": "d3", "title": "", "text": " A cat. "},
    ]
    queries = [{"_id": "q1", "text": "birds"}, {"_id": "q2", "text": "dogs"}]
    write("corpus.jsonl", "\n".join(map(json.dumps, documents)) + "\n\n")
    write("queries.jsonl", "\n".join(map(json.dumps, queries)))
    write(
        "qrels/test.tsv",
        "query-id\tcorpus-id\tscore\nq1\td1\t2\r\nq1\td2\t-1\n\nq1\td2\t-1\nq2\td9\t1\n",
    )
    return tmp_path


def test_seven_columns(write):
    """The STS benchmark's layout, quotes left alone, more columns and blank lines passed over."""
    path = write("sts.csv", SEVEN.format(1, "3.500") + "\n" + SEVEN.format(2, 0)[:-1] + "\tmore\n")
    pairs = read_sts(path)
    assert pairs.first == ["A bird sings."] * 2
    assert pairs.second == ['A "dog" runs.'] * 2
    assert pairs.scores.tolist() == [3.5, 0]


def test_three_columns(write):
    """Text, text, score; a byte-order mark and Windows line ends are no part of them."""
    pairs = read_sts(write("sts.tsv", "\ufeffä\tb\t1\r\nc\td\t-2e-1\r\n"))
    assert (pairs.first, pairs.second, pairs.scores.tolist()) == (
        ["ä", "c"],
        ["b", "d"],
        [1, -0.2],
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "must hold two pairs of texts or more, got 0"),
        ("a\tb\t1\n", "must hold two pairs of texts or more, got 1"),
        ("a\tb\n" * 2, "line 1 of .* must have 3 columns, or 7 or more, separated by tabs, got 2"),
        ("a,b,1\n" * 2, "line 1 of .* got 1; repair the line"),
        ("a\tb\t1\n\na\tb\n", "line 3 of .* must have 3 columns, got 2; repair the line"),
        (SEVEN + "a\tb\t1\n", "line 2 of .* must have 7 or more columns"),
        ("a\tb\tscore\na\tb\t1\n", "line 1 of .* must have a number as its score, got 'score'"),
        ("a\tb\t1\na\tb\tnan\n", "line 2 of .* must have a number as its score, got 'nan'"),
        ("a\tb\t1\na\tb\t\n", "line 2 of .* must have a number as its score, got ''"),
        (b"a\tb\t1\n\xff\tb\t1\n", "line 2 of .* must be UTF-8, got the byte 0xff"),
    ],
)
def test_malformed_sts_lines_are_named(write, content, sentence):
    """A line that is not a pair with a score is named by its number."""
    if isinstance(content, str):
        content = content.replace("{}", "1")
    with pytest.raises(ValueError, match=sentence):
        read_sts(write("sts.tsv", content))


def test_beir(beir):
    """Documents are "title text", grades are any whole numbers, unknown ids are kept."""
    task = read_beir(beir)
    assert task.documents == {"d1": "The bird It sings.", "d2": "A dog runs.", "d3": "A cat."}
    assert task.queries == {"q1": "birds", "q2": "dogs"}
    assert task.grades == {"q1": {"d1": 2, "d2": -1}, "q2": {"d9": 1}}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "b"}\n{', "line 2 of .*corpus.jsonl must be a JSON"),
        ("corpus.jsonl", '{"_id": "a"}', r"line 1 of .* texts as _id and text, got \{'_id': 'a'\}"),
        ("corpus.jsonl", '{"_id": 1, "text": "b"}', "line 1 of .* texts as _id and text"),
        (
            "queries.jsonl",
            '["a", "b"]',
            r"line 1 of .*queries.jsonl must be a JSON object, got \['a', 'b'\]",
        ),
        (
            "queries.jsonl",
            '{"_id": "a", "text": "b"}\n{"_id": "a", "text": "c"}',
            "line 2 of .*queries.jsonl must have an _id of its own, got 'a' again",
        ),
        ("queries.jsonl", b'{"_id": "\xff"}', "line 1 of .* must be UTF-8"),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "b", "title": 5}',
            "line 1 of .*corpus.jsonl must have a text as title, got 5; repair it",
        ),
        *(
            ("qrels/test.tsv", f"a\tb\tc\nq1\td1\t{score}\n", "line 2 of .* a whole number, .*got")
            for score in ("--5", "+-5", "1_0", "٣", "9" * 30, "")
        ),
        ("qrels/test.tsv", "q1\td1\t1\n", "line 1 of .*test.tsv must be the header query-id"),
        ("qrels/test.tsv", "a\tb\tc\nq1\td1\n", r"line 2 of .* a whole number, .*, got 'q1\\td1'"),
        ("qrels/test.tsv", "a\tb\tc\nq1\td1\t0.5\n", "line 2 of .* a whole number"),
        (
            "qrels/test.tsv",
            "a\tb\tc\nq1\td1\t1\nq1\td1\t0\n",
            "line 3 of .* agree with the lines before it, got another grade",
        ),
    ],
)
def test_malformed_beir_lines_are_named(beir, write, name, content, sentence):
    """A line that is not what it must be is named by its number and its file."""
    write(name, content)
    with pytest.raises(ValueError, match=sentence):
        read_beir(beir)


def test_missing_files_are_named(beir):
    """An unknown split, a missing file and a missing directory are named."""
    with pytest.raises(FileNotFoundError, match=r"split must be .* has test, got dev"):
        read_beir(beir, "dev")
    (beir / "queries.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"queries\.jsonl"):
        read_beir(beir)
    with pytest.raises(FileNotFoundError, match=r"must be a directory with corpus.jsonl"):
        read_beir(beir / "nowhere")
