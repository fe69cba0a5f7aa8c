"""Texts are read from plain lines, CSV, TSV and JSON lines, and errors name bad lines."""

import csv
import io
import os
import re
import sys
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minisbert.system import text_files
from minisbert.system.text_files import read_table_rows, read_texts


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


@pytest.mark.parametrize("kind", ["CSV", "TSV"])
@given(text=st.text(alphabet='ab,\t"\r\n', max_size=30))
@example(text='a,"b\r\n""c"\n')
@example(text='"a"b')
@example(text='"a\n')
@example(text="a\rb")
@example(text='\r,a"')
def test_rows_are_those_of_the_csv_module(kind, text):
    """Rows, and what is refused, are those of Python's csv in its strict mode."""
    lines = text.splitlines(keepends=True) if "\r" not in text else io.StringIO(text, newline="\n")
    lines = list(lines)
    options = {} if kind == "CSV" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    try:
        expected = [row for row in csv.reader(lines, strict=True, **options) if row]
    except csv.Error:
        with pytest.raises(ValueError, match=rf"^line \d+ of t must be {kind}, got "):
            list(read_table_rows(iter(lines), "t", kind))
        return
    assert [row for _, row in read_table_rows(iter(lines), "t", kind)] == expected


def test_row_numbers(write):
    """A row is numbered by its first line, also after one that goes on over several lines."""
    lines = iter(['a,"b\n', 'c"\n', "\n", '"",d\n', '"e\n'])
    rows = read_table_rows(lines, "t", "CSV")
    assert [next(rows), next(rows)] == [(1, ["a", "b\nc"]), (4, ["", "d"])]
    with pytest.raises(ValueError, match="line 5 of t must be CSV, got unexpected end"):
        next(rows)


def test_the_process_is_left_alone(write, monkeypatch):
    """Reading changes no setting of the csv module, and leaves standard input open."""
    before = csv.field_size_limit()
    read_texts(write("t.csv", b"t\n" + b"x" * 200_000), column="t")
    assert csv.field_size_limit() == before
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    assert read_texts("-") == ["a"]
    assert not sys.stdin.buffer.closed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipes_are_read(tmp_path):
    """A pipe in the place of a file is read to its end, as a shell's <(zcat texts.gz) needs."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=["t\na\nb\n"])
    writer.start()
    assert read_texts(str(tmp_path / "pipe"), column="t") == ["a", "b"]
    writer.join()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"a\n" + b"b" * 101, {}, "line 2 of .* must have at most 100 bytes, got more; is it the"),
        (
            b"t\n" + b"b" * 101,
            {"column": "t"},
            "line 2 of .* must have at most 100 bytes, got more",
        ),
        (
            b"t\n" + b'"aaaaaaaaa\n' * 20,
            {"column": "t"},
            "line 2 of .* must be CSV, got 'a' after a quoted field",
        ),
        (
            b't\n"' + b"aaaaaaaaa\n" * 20,
            {"column": "t"},
            "line 2 of .* must have quoted fields of at most 100 characters, got more; is a quot",
        ),
    ],
)
def test_lines_have_a_limit(write, monkeypatch, content, options, message):
    """A line or a quoted field without an end is refused before it fills the memory."""
    monkeypatch.setattr(text_files, "LARGEST_LINE", 100)
    assert read_texts(write("t.csv", b"b" * 100)) == ["b" * 100]
    with pytest.raises(ValueError, match=message):
        read_texts(write("t.csv", content), **options)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="the system has no /dev/zero")
def test_endless_device():
    """A device that gives bytes without end is refused, and an empty one is an empty file."""
    with pytest.raises(
        ValueError, match=r"^/dev/zero must be a file or a pipe, got a device; give"
    ):
        read_texts("/dev/zero")
    assert read_texts(os.devnull) == []


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("options", [{}, {"column": "t"}, {"field": "t"}])
def test_git_lfs_pointers_are_named(write, options):
    """A pointer that Git LFS leaves in the place of a file is called one."""
    with pytest.raises(
        ValueError, match=r"t\.x must be the file itself, got a Git LFS pointer to it"
    ):
        read_texts(write("t.x", LFS), **options)


@pytest.mark.parametrize("content", [b'["a", "b"]', b'[\n  "a",\n  "b"\n]\n', b'\n [{"t": "a"}]'])
def test_json_lists_are_named(write, content):
    """A JSON list is called one, and the error says how to write its parts instead."""
    path = write("t.json", content)
    with pytest.raises(
        ValueError,
        match=r"must be a JSON object, got (\[['{]|the start of a JSON list).*; write each ob",
    ):
        read_texts(path, field="t")
    if content.startswith(b"["):
        with pytest.raises(ValueError, match="must hold one text a line, got a JSON list; write"):
            read_texts(path)


@pytest.mark.parametrize("name", ["1_0", "٢", "9" * 5000, "²"])
def test_column_numbers_are_plain_digits(write, name):
    """Only digits of ASCII count as the number of a column."""
    with pytest.raises(
        ValueError, match=r"column must be one of 'a', 'b' in .*, got '.{1,80}; "
    ) as e:
        read_texts(write("t.csv", b"a,b\n1,2\n"), column=name)
    assert len(str(e.value)) < 400


def test_half_a_surrogate_pair_is_refused(write):
    """JSON can spell half of a surrogate pair, which is no character."""
    path = write("t.jsonl", b'{"t": "\\ud83d\\udc08"}\n{"t": "\\ud83d"}\n')
    with pytest.raises(
        ValueError, match=r"line 2 of .* must be Unicode, got half of a surrogate pair"
    ):
        read_texts(path, field="t")


def test_names_in_errors_are_short(tmp_path):
    """A file's name, its columns and its values are quoted in one short printable line."""
    path = tmp_path / "\x1b[31m\nred.csv"
    path.write_text(",".join(f"\x1b{i}" * 100 for i in range(200)) + "\n1,2\n", "utf-8")
    for options in ({"column": "\x1b\n" * 1000}, {"column": "5"}, {"field": "t"}):
        with pytest.raises(ValueError, match="must") as caught:
            read_texts(str(path), **options)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1500
