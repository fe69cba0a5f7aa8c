"""Text files: plain lines, rows of CSV or TSV, and objects in JSON lines.

Files are UTF-8. They are decoded line by line, so that an error can name the line. They may be
pipes, which a shell puts in the place of a file, so nothing is read twice, and what has no end must
be noticed: a line has a limit, and a device such as /dev/zero is refused.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any, BinaryIO

from minisbert.arguments import (
    parse_whole_number,
    shorten,
    shorten_message,
    shorten_name,
    shorten_names,
)
from minisbert.system.regular_files import LFS_POINTER, shorten_path

# The longest line, and the longest quoted field of CSV, in bytes and in characters.
LARGEST_LINE = 64 << 20


def file_error(
    path: str, must: str, got: object, *, remedy: str = "repair the line", line: int | None = None
) -> ValueError:
    """Return the error for a file, or for one of its lines, that breaks a rule."""
    shown = "standard input" if path == "-" else shorten_path(path)
    where = shown if line is None else f"line {line} of {shown}"
    return ValueError(f"{where} {must}, got {got}; {remedy}")


def read_texts(path: str, column: str | None = None, field: str | None = None) -> list[str]:
    """Read one text per line, or one column or field of each row.

    path    a file, or "-" for standard input
    column  of CSV, or of TSV if the path ends in .tsv: a name in the first row, or a number from 1;
            with a number the first row is not a header but is read, too
    field   of JSON lines: the key of the text in every object

    Raises OSError if the file can't be read, ValueError naming a line that is malformed.
    """
    if column is not None:
        return _read_column(path, "TSV" if path.endswith(".tsv") else "CSV", "column", name=column)
    if field is not None:
        return _read_column(path, "JSON", "field", name=field)
    texts = [line.rstrip("\r\n") for line in read_lines(path)]
    if path.lower().endswith(".json") and texts and texts[0].lstrip().startswith("["):
        remedy = "write each text on a line of its own, or each object and name its field"
        raise file_error(path, "must hold one text a line", "a JSON list", remedy=remedy)
    return texts


def _read_column(path: str, kind: str, what: str, *, name: str) -> list[str]:
    """Read a column or field by its name in the first row, a column also by its number from 1."""
    rows = read_table_rows(read_lines(path), path, kind)
    number = parse_whole_number(name) if what == "column" and name.isdecimal() else None
    if number is not None:
        place = number - 1
    else:
        _, names = next(rows, (0, [name] if what == "field" else []))
        if not names:
            must = "must name its columns in the first row"
            raise file_error(path, must, "an empty file", remedy="is it the right file?")
        if name not in names:
            remedy = "choose one, or a number from 1" if what == "column" else "choose one"
            must = f"{what} must be one of {shorten_names(map(repr, names))}"
            raise ValueError(f"{must} in {shorten_path(path)}, got {shorten(name)}; {remedy}")
        place = names.index(name)
    texts = []
    for line, row in rows:
        there = 0 <= place < len(row)
        if not there or not isinstance(row[place], str):
            got = shorten(row[place]) if there else f"{len(row)} columns"
            remedy = f"repair the line, or choose another {what}"
            raise file_error(
                path,
                f"must have a text in {what} {shorten_name(name)}",
                got,
                remedy=remedy,
                line=line,
            )
        texts.append(row[place])
    return texts


def read_lines(path: str) -> Iterator[str]:
    """Yield the lines of a file with their ends, without a byte-order mark at the start."""
    if path == "-" and sys.stdin is None:
        raise ValueError("standard input must be open, but it is closed; give the name of a file")
    number = 0
    with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
        _check_device(file, path)
        while line := file.readline(LARGEST_LINE + 1):
            number += 1
            if len(line) > LARGEST_LINE:
                must = f"must have at most {LARGEST_LINE:,} bytes"
                raise file_error(path, must, "more", remedy="is it the right file?", line=number)
            if number == 1 and line.startswith(LFS_POINTER):
                must, remedy = "must be the file itself", "fetch it with `git lfs pull`"
                raise file_error(path, must, "a Git LFS pointer to it", remedy=remedy)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = f"the byte 0x{error.object[error.start]:02x} at position {error.start + 1}"
                remedy = "convert the file to UTF-8"
                raise file_error(path, "must be UTF-8", byte, remedy=remedy, line=number) from None


def _check_device(file: BinaryIO, path: str) -> None:
    """Refuse a device that gives bytes and is no terminal."""
    with suppress(OSError):  # a stream in memory has no descriptor
        device = stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty()
        if device and file.read(1):
            remedy = "give the name of a file"
            raise file_error(path, "must be a file or a pipe", "a device", remedy=remedy)


def read_table_rows(lines: Iterator[str], path: str, kind: str) -> Iterator[tuple[int, list[Any]]]:
    """Yield the number of the first line of each row, and its fields; skip blank lines.

    kind  "CSV"; "TSV", which has no quotes: a quotation mark is a part of the text; or "JSON" for
          JSON lines: the first row holds the keys of the first object, and each object gives one
          row, its values for these keys
    """
    if kind == "JSON":
        names = None
        for number, entry in read_objects(lines, path):
            if names is None:
                names = list(entry)
                yield number, names
            yield number, [entry.get(name) for name in names]
        return
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if kind == "CSV" and '"' in line:
            row = _split_quoted(line, numbered, path, number=number)
        else:
            separator = "," if kind == "CSV" else "\t"
            row = _split_plain(line, separator, path, kind=kind, number=number)
        if row:
            yield number, row


def _split_plain(line: str, separator: str, path: str, *, kind: str, number: int) -> list[str]:
    """Split a line without quotes into its fields; none for a blank line."""
    line = line.rstrip("\r\n")
    if "\r" in line:
        raise file_error(path, f"must be {kind}", "a carriage return inside it", line=number)
    return line.split(separator) if line else []


def _split_quoted(
    line: str, numbered: Iterator[tuple[int, str]], path: str, *, number: int
) -> list[str]:
    """Split a row of CSV into its fields (RFC 4180); quoted ones may go on in the next lines.

    This is not left to the csv module, whose limit on the length of a field belongs to the whole
    process.
    """
    row: list[str] = []
    place = -1
    while not row or line.startswith(",", place):
        place += 1
        if line.startswith('"', place):
            field, line, place = _read_quoted(line, numbered, path, start=place, number=number)
            if not line.startswith(",", place) and line[place:].strip("\r\n"):
                got = f"{shorten(line[place])} after a quoted field"
                raise file_error(path, "must be CSV", got, line=number)
        else:
            end = line.find(",", place)
            # Only behind the last field a carriage return is a part of the line's end.
            last, end = end < 0, len(line) if end < 0 else end
            field = line[place:end].rstrip("\r\n") if last else line[place:end]
            if "\r" in field:
                got = "a carriage return inside it"
                raise file_error(path, "must be CSV", got, line=number)
            place = end
        row.append(field)
    return row


def _read_quoted(
    line: str, numbered: Iterator[tuple[int, str]], path: str, *, start: int, number: int
) -> tuple[str, str, int]:
    """Read a field from its opening quotation mark on; inside, two marks mean one.

    Returns the field, the line where it ends, and the place behind its closing mark.
    """
    parts: list[str] = []
    length, place = 0, start + 1
    while length <= LARGEST_LINE:
        end = line.find('"', place)
        parts.append(line[place:] if end < 0 else line[place:end])
        length += len(parts[-1])
        if end < 0:
            _, line = next(numbered, (0, ""))
            place = 0
            if not line:
                got = "unexpected end inside quotation marks"
                raise file_error(path, "must be CSV", got, line=number)
        elif line.startswith('"', end + 1):
            parts.append('"')
            place = end + 2
        else:
            return "".join(parts), line, end + 1
    must = f"must have quoted fields of at most {LARGEST_LINE:,} characters"
    raise file_error(path, must, "more", remedy="is a quotation mark missing?", line=number)


def read_objects(lines: Iterator[str], path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line of JSON lines; skip blank lines."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            if "\\u" in line:  # half of a surrogate pair can be written in JSON, but not in UTF-8
                json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            got, remedy = "half of a surrogate pair", "repair the line"
            raise file_error(path, "must be Unicode", got, remedy=remedy, line=number) from None
        except (ValueError, RecursionError) as error:
            listed = line.lstrip().startswith("[")
            got = (
                "the start of a JSON list"
                if listed
                else f"something else ({shorten_message(error)})"
            )
            value = None
        else:
            got = "" if isinstance(value, dict) else shorten(value)
        if not isinstance(value, dict):
            remedy = "write one JSON object on each line"
            if line.lstrip().startswith("["):
                remedy = "write each object of a list on a line of its own"
            raise file_error(path, "must be a JSON object", got, remedy=remedy, line=number)
        yield number, value
