"""Texts are read from plain lines, CSV, TSV and JSON lines, and errors name bad lines."""

import io
import re
import sys

import pytest

from minisbert.system.text_files import read_texts


@pytest.fixture
def write(tmp_path):
    """Write bytes to a file of the given name, and give its path."""

    def write(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\n\r\nlast without end", ["one", "", "last without end"]),
        ("\ufefföst\n🧭".encode(), ["öst", "🧭"]),
        (b"a\x0cb\xe2\x80\xa8c\n", ["a\x0cb\u2028c"]),
        (b"", []),
    ],
)
def test_plain_lines(write, content, texts):
    """Lines are read without their ends, and without a byte-order mark."""
    assert read_texts(write("t.txt", content)) == texts


def test_standard_input(monkeypatch):
    """The name "-" is standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ä\nb".encode()), "ascii"))
    assert read_texts("-") == ["ä", "b"]


CSV = b'\xef\xbb\xbfid,"text, long"\r\n1,"Hello,\nworld ""you"""\r\n\r\n2,Bye\r\n'
TSV = b'id\ttext\n1\tsay "hi"\n2\t"\n'


@pytest.mark.parametrize(
    ("name", "content", "column", "texts"),
    [
        ("t.csv", CSV, "text, long", ['Hello,\nworld "you"', "Bye"]),
        ("t.csv", CSV, "id", ["1", "2"]),
        ("t.csv", CSV, "2", ["text, long", 'Hello,\nworld "you"', "Bye"]),
        ("t.tsv", TSV, "text", ['say "hi"', '"']),
        ("t.csv", b"\n\nid,t\n1,a\n", "t", ["a"]),
        ("t.csv", b"t\n" + b"x" * 200_000, "t", ["x" * 200_000]),
    ],
)
def test_columns(write, name, content, column, texts):
    """A column is found by its name in the first row, or by its number from 1."""
    assert read_texts(write(name, content), column=column) == texts


def test_json_fields(write):
    """A field is read from every object; blank lines are skipped."""
    path = write("t.jsonl", b'{"t": "a\\nb", "n": 1}\n\n{"t": "\xc3\xa4"}\n')
    assert read_texts(path, field="t") == ["a\nb", "ä"]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        (
            "t.txt",
            b"a\nb\xff\n",
            {},
            "line 2 of .* must be UTF-8, got the byte 0xff at position 2",
        ),
        ("t.txt", b"a\x00\n\xed\xa0\x80", {}, "line 2 of .* must be UTF-8, got the byte 0xed"),
        (
            "t.csv",
            b"a,b\n1\n",
            {"column": "b"},
            "line 2 of .* must have a text in column b, got 1 columns",
        ),
        (
            "t.csv",
            b"a,b\n",
            {"column": "0"},
            "line 1 of .* must have a text in column 0, got 2 columns",
        ),
        ("t.csv", b"a,b\n", {"column": "c"}, "column must be one of 'a', 'b' in .*, got 'c'"),
        (
            "t.csv",
            b"\n",
            {"column": "c"},
            "t.csv must name its columns in the first row, got an empty file; is it the right file",
        ),
        ("t.csv", b'a\n"b\n', {"column": "a"}, "line 2 of .* must be CSV, got .*; repair"),
        ("t.jsonl", b'{"t": "a"}\n{"t"', {"field": "t"}, "line 2 of .* must be a JSON object, got"),
        ("t.jsonl", b"[" * 100_000, {"field": "t"}, "line 1 of .* must be a JSON object, got"),
        (
            "t.jsonl",
            b'{"t": 1}',
            {"field": "t"},
            "line 1 of .* must have a text in field t, got 1;",
        ),
        ("t.jsonl", b'["t"]', {"field": "t"}, r"line 1 of .* must be a JSON object, got \['t'\]"),
        (
            "t.jsonl",
            b'{"n": "a"}',
            {"field": "t"},
            "field must be one of 'n' in .*, got 't'; choose one",
        ),
        ("t.jsonl", b'{"t": "a"}\n{}', {"field": "t"}, "line 2 of .* in field t, got None"),
    ],
)
def test_bad_lines_are_named(write, name, content, options, message):
    """A malformed line is an error of one sentence with the number of the line."""
    path = write(name, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_texts(path, **options)
    assert re.fullmatch("[^\n]+", str(caught.value))
    assert len(str(caught.value)) < 400
