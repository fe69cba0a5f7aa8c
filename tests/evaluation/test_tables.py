"""Tables of examples: their formats, how columns are found, and malformed lines."""

import os
import threading

import pytest

from minisbert.evaluation.tables import SCORE_NAMES, TEXT_NAMES, read_table

STS = 'news\tfile\t2012\t7\t{}\tA bird sings.\tA "dog" runs.{}\n'


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.csv", 'sentence1,id,sentence2,score\n"a, ""b""",1,c,.5\n\n"d\nd",2,e,1\nf,3,g,0\n'),
        ("E.CSV", 'sentence1,id,sentence2,score\n"a, ""b""",1,c,.5\r\n\r\n"d\nd",2,e,1\nf,3,g,0'),
        (
            "e.jsonl",
            '{"sentence1": "a, \\"b\\"", "sentence2": "c", "score": ".5", "id": [1]}\n\n\n'
            '{"score": 1, "sentence2": "e", "sentence1": "d\\nd", "other": null}\n\n'
            '{"sentence1": "f", "sentence2": "g", "score": 0}\n',
        ),
    ],
)
def test_formats(write, name, content):
    """CSV and JSON lines give the same: quoted line ends belong to texts, blank lines are skipped.

    An example's line is the one where it starts.
    """
    table = read_table(write(name, content))
    assert table.names == ("sentence1", "sentence2", "score")
    assert table.texts == (['a, "b"', "d\nd", "f"], ["c", "e", "g"])
    assert table.labels == [".5", "1", "0"]
    assert table.lines == ([2, 4, 6] if name.lower() == "e.csv" else [1, 4, 6])


@pytest.mark.parametrize("name", ["e.tsv", "e.txt", "e.csv"])
def test_tabs(write, name):
    """A tab in the first line makes a file of any name TSV; quotes are part of a text."""
    table = read_table(write(name, '\ufeff\nanchor\tpositive\n"a\t"b", c\nd\te\n'))
    assert table.texts == (['"a', "d"], ['"b", c', "e"])
    assert (table.labels, table.lines) == ([], [3, 4])


def test_json_under_any_name(write):
    """A first line that starts with a brace makes a file JSON lines; true and false are 1 and 0."""
    lines = '{"question1": "a", "question2": "b", "is_duplicate": %s}\n'
    table = read_table(write("e.txt", lines % "true" + lines % "false" + lines % "1e-1"))
    assert table.labels == ["1", "0", "0.1"]
    assert table.scored


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
def test_pipes(tmp_path):
    """A file is read once, so a pipe will do."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("query,answer\na,b\n",))
    writer.start()
    assert read_table(path).texts == (["a"], ["b"])
    writer.join()


def test_sts_benchmark(write):
    """The published layout: score, text, text as columns 5 to 7, more columns passed over."""
    content = STS.format("2.5", "") + STS.format("5.000", "\tmore\tcolumns")
    table = read_table(write("sts.csv", content))
    assert table.names == ("6", "7", "5")
    assert table.texts == (["A bird sings."] * 2, ['A "dog" runs.'] * 2)
    assert (table.labels, table.best, table.scored) == (["2.5", "5.000"], 5, True)


@pytest.mark.parametrize(
    "content",
    [
        "1\t1\ts\tt\n2\t2\tu\tv\n3\t3\tw\tx\n",
        "premise\thypothesis\tlabel\ns\tt\t1\nu\tv\t2\nw\tx\t0\n",
        "gold_label\tsentence1\tsentence2\nneutral\ts\tt\ncontradiction\tu\tv\nentailment\tw\tx\n",
        "Premise\tid\tLABEL\thypothesis\n"
        "s\t\tneutral\tt\nu\t\tcontradiction\tv\nw\t\tentailment\tx\n",
    ],
)
def test_classes_of_snli(write, content):
    """Both codings of SNLI's classes, and the names themselves, are read as names."""
    table = read_table(write("snli.tsv", content))
    assert table.texts == (["s", "u", "w"], ["t", "v", "x"])
    assert table.labels == ["neutral", "contradiction", "entailment"]
    assert not table.scored


def test_other_labels_are_no_codes(write):
    """Numbers are codes only in the layouts of SNLI: not under other names, nor as scores."""
    for header in ("sentence1,sentence2,label", "premise,hypothesis,score"):
        assert read_table(write("e.csv", f"{header}\na,b,0\nc,d,1\n")).labels == ["0", "1"]


@pytest.mark.parametrize("names", TEXT_NAMES)
def test_names(write, names):
    """Known names are found in any case and spelling, before any other column."""
    spelled = [name.upper()[:-1] + "_" + name[-1] for name in names]
    table = read_table(
        write("e.csv", ",".join(["id", *spelled, "score"]) + "\n1" + ",.5" * (len(names) + 1))
    )
    assert table.names[: len(names)] == tuple(spelled)
    assert len(table.texts) == len(names)
    assert table.labels == ([".5"] if len(names) == 2 else [])


def test_named_columns(write):
    """Columns can be named or numbered in any order; their labels are not changed."""
    path = write("e.csv", "label,Hypothesis,premise,q r\n0,a,b,c\n2,d,e,f\n")
    table = read_table(path, ["Q R", "2", "label"])
    assert table.names == ("q r", "Hypothesis", "label")
    assert table.texts == (["c", "f"], ["a", "d"])
    assert table.labels == ["0", "2"]
    assert read_table(path, ["premise", "hypothesis"]).labels == []
    # Numbers alone: the first line is known to be a header.
    assert read_table(path, [3, 2, 1]).labels == ["0", "2"]


def test_numbered_columns(write):
    """With numbers alone and no known names the first line is an example."""
    table = read_table(write("e.tsv", "e\tf\t.1\nc\td\t.2\n"), ["2", "1", "3"])
    assert table.names == ("2", "1", "3")
    assert (table.texts, table.labels) == ((["f", "d"], ["e", "c"]), [".1", ".2"])
    table = read_table(write("e.jsonl", '{"x": "a", "y": "b"}'), ["2", "1"])
    assert table.texts == (["b"], ["a"])


@pytest.mark.parametrize(
    ("third", "labelled", "texts"),
    [
        ("other", None, 2),
        ("negative", None, 3),
        ("label", None, 2),
        ("other", True, 2),
        ("negative", True, 2),
        ("other", False, 3),
        ("gold_label", False, 2),
    ],
)
def test_third_column(write, third, labelled, texts):
    """A third column is a label or a text by its name, else as the caller says, else a label."""
    path = write("e.csv", f"x,y,{third}\na,b,c\n")
    assert len(read_table(path, ["x", "y", third], labelled).texts) == texts


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("e.csv", "", "must hold examples, got an empty file; is it the right file"),
        ("e.csv", "\n\r\n", "must hold examples, got an empty file"),
        ("e.jsonl", "\n", "must hold examples, got an empty file"),
        ("e.csv", "a,b\n", "must hold examples, got only a header"),
        (
            "e.csv",
            "x,y,label\n",
            "must name its columns in the first line, .* got 'x', 'y', 'label';",
        ),
        ("e.jsonl", '{"x": "a"}', r"must name its columns .*, got 'x'; .* \(--columns 1,2,3\)"),
        (
            "e.csv",
            "a,b,label,score\n",
            "must have one column of labels, got label, score; name the columns",
        ),
        ("e.csv", "a,b\nc,d\ne\n", "line 3 of .* must have 2 columns, got 1; repair the line"),
        ("e.tsv", "a\tb\nc\td\te\n", "line 2 of .* must have 2 columns, got 3"),
        ("e.tsv", STS.format(1, "") + "a\tb\t1\n", "line 2 .* must have 7 or more columns, got 3"),
        ("e.csv", 'a,b\nc,d\n"e,f\ng,h\n', "line 3 of .* must be CSV, got unexpected end"),
        (
            "e.jsonl",
            '{"a": "c", "b": "d"}\n{',
            "must be a JSON object, got something else .Expecting",
        ),
        ("e.jsonl", '["a", "b"]\n', r"line 1 of .* must be a JSON object, got \['a', 'b'\]"),
        ("e.csv", b"a,b\nc,\xff\n", "line 2 of .* must be UTF-8, got the byte 0xff"),
        ("e.csv", "a,b\nc,d\n\ne, \n", "line 4 of .* must have a text in column b, got ' '; fill"),
        ("e.jsonl", '{"a": "c", "b": 1}', "line 1 of .* must have a text in column b, got 1;"),
        ("e.jsonl", '{"a": "c", "b": "d"}\n{"a": "e"}', "line 2 of .* in column b, got None"),
        ("e.csv", "a,b,class\nc,d, \n", "line 2 of .* must have a label in column class, got ' '"),
        (
            "e.jsonl",
            '{"a": "c", "b": "d", "label": ["e"]}',
            r"line 1 .* must have a label in column label, got \['e'\]",
        ),
        (
            "e.tsv",
            "1\t1\ts\tt\n4\t4\tc\td\n",
            r"line 2 of .* must have one of 1, 2, 3 as its class, got '4'; .* \(--columns\)",
        ),
        ("e.csv", "premise,hypothesis,label\na,b,0\nc,d,e\n", "line 3 .* one of 0, 1, 2, -1 as"),
    ],
)
def test_malformed_files(write, name, content, sentence):
    """A malformed file is an error of one sentence that names the line."""
    with pytest.raises(ValueError, match=sentence) as caught:
        read_table(write(name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            ["x", "z"],
            "columns must be among 'x', 'y', 'w' in .*e.csv, got 'z'; give such names, or",
        ),
        (["x", "0"], "columns must be among 'x', 'y', 'w' in .*, got '0'"),
        (["1", "4"], "columns must be among 'x', 'y', 'w' in .*, got '4'"),
        (["x"], "columns must be two texts, .*, got 1; name 2 or 3"),
        (["x", "y", "w", "x"], "columns must be two texts, .*, got 4"),
    ],
)
def test_missing_columns(write, columns, sentence):
    """The error names a missing column and those of the file."""
    with pytest.raises(ValueError, match=sentence):
        read_table(write("e.csv", "x,y,w\na,b,1\n"), columns)


def test_score_names_are_folded():
    """Names in the tables are folded, as headers are before they are compared."""
    names = [name for names in (*TEXT_NAMES, SCORE_NAMES) for name in names]
    assert all(name == name.lower() and name.isalnum() for name in names)
