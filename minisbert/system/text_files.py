"""Text files: plain lines, rows of CSV or TSV, and objects in JSON lines.

Files are UTF-8. They are decoded line by line, so that an error can name the line.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any

from minisbert.arguments import shorten


def file_error(
    path: str, must: str, got: object, *, remedy: str = "repair the line", line: int | None = None
) -> ValueError:
    """Return the error for a file, or for one of its lines, that breaks a rule."""
    where = path if line is None else f"line {line} of {path}"
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
    return [line.rstrip("\r\n") for line in read_lines(path)]


def _read_column(path: str, kind: str, what: str, *, name: str) -> list[str]:
    """Read a column or field by its name in the first row, a column also by its number from 1."""
    rows = read_table_rows(read_lines(path), path, kind)
    if what == "column" and name.isdecimal():
        place = int(name) - 1
    else:
        _, names = next(rows, (0, [name] if what == "field" else []))
        if not names:
            must = "must name its columns in the first row"
            raise file_error(path, must, "an empty file", remedy="is it the right file?")
        if name not in names:
            remedy = "choose one, or a number from 1" if what == "column" else "choose one"
            choices = ", ".join(map(repr, names))
            raise ValueError(f"{what} must be one of {choices} in {path}, got {name!r}; {remedy}")
        place = names.index(name)
    texts = []
    for line, row in rows:
        there = 0 <= place < len(row)
        if not there or not isinstance(row[place], str):
            got = shorten(row[place]) if there else f"{len(row)} columns"
            remedy = f"repair the line, or choose another {what}"
            raise file_error(
                path, f"must have a text in {what} {name}", got, remedy=remedy, line=line
            )
        texts.append(row[place])
    return texts


def read_lines(path: str) -> Iterator[str]:
    """Yield the lines of a file with their ends, without a byte-order mark at the start."""
    if path == "-" and sys.stdin is None:
        raise ValueError("standard input must be open, but it is closed; give the name of a file")
    with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = f"the byte 0x{error.object[error.start]:02x} at position {error.start + 1}"
                remedy = "convert the file to UTF-8"
                raise file_error(path, "must be UTF-8", byte, remedy=remedy, line=number) from None


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
    csv.field_size_limit(2**31 - 1)  # the largest limit that every system accepts
    if kind == "CSV":
        rows = csv.reader(lines, strict=True)
    else:
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    number = 1
    try:
        for row in rows:
            if row:
                yield number, row
            number = rows.line_num + 1
    except csv.Error as error:
        raise file_error(path, f"must be {kind}", error, line=number) from None


def read_objects(lines: Iterator[str], path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line of JSON lines; skip blank lines."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            got = shorten(value)
        except (ValueError, RecursionError) as error:
            value, got = None, str(error)
        if not isinstance(value, dict):
            raise file_error(path, "must be a JSON object", got, line=number)
        yield number, value
