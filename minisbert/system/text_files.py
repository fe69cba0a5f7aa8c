"""Texts from files: plain lines, one column of CSV or TSV, one field of JSON lines.

All is UTF-8, decoded line by line so that an error can name the line.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Any


def read_texts(path: str, column: str | None = None, field: str | None = None) -> list[str]:
    """Read the texts of a file, or of standard input if its name is "-".

    Parameters
    ----------
    path : str
    column : str, optional
        Of CSV, or of TSV if the name ends in .tsv: a name in the first row, or a number from 1,
        with which the first row is a text too.
    field : str, optional
        Of JSON lines: the name of a text in every object.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If a line is not what it must be; the message names it.
    """
    lines = read_lines(path)
    if column is not None:
        return list(read_column(lines, path, column))
    if field is not None:
        return list(read_field(lines, path, field))
    return [line.rstrip("\r\n") for line in lines]


def read_lines(path: str) -> Iterator[str]:
    """Yield the lines of a file with their ends, without a byte-order mark at the start."""
    if path == "-" and sys.stdin is None:
        raise ValueError("standard input must be open, but it is closed; give the name of a file")
    with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"line {number} of {path} must be UTF-8, got the byte "
                    f"0x{error.object[error.start]:02x} at place {error.start + 1}; "
                    "convert the file to UTF-8"
                ) from None


def read_column(lines: Iterator[str], path: str, column: str) -> Iterator[str]:
    """Yield one column of CSV or TSV."""
    place = int(column) - 1 if column.isdecimal() else None
    for number, row in read_rows(lines, path, tabs=path.endswith(".tsv")):
        if place is None:
            if column not in row:
                raise ValueError(
                    f"column must be one of {', '.join(row)} in {path}, got {column!r}; "
                    "give such a name, or a number from 1"
                )
            place = row.index(column)
        elif not 0 <= place < len(row):
            raise ValueError(
                f"line {number} of {path} must have a column {column}, "
                f"got {len(row)} columns; repair the line or choose another column"
            )
        else:
            yield row[place]
    if place is None:
        raise ValueError(
            f"{path} must name its columns in the first row, but it is empty; is it the right file?"
        )


def read_rows(lines: Iterator[str], path: str, tabs: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and the fields of each row of TSV, or of CSV."""
    csv.field_size_limit(2**31 - 1)  # the most that every system takes
    # A tab can't be part of a field, so TSV has no quotes to give it shelter.
    rows = csv.reader(
        lines,
        delimiter="\t" if tabs else ",",
        quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    number = 1
    try:
        for row in rows:
            if row:  # a blank line is no row
                yield number, row
            number = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"line {number} of {path} must be {'TSV' if tabs else 'CSV'}, got {error}; "
            "repair the line"
        ) from None


def read_field(lines: Iterator[str], path: str, field: str) -> Iterator[str]:
    """Yield one field of each object in JSON lines."""
    for number, entry in read_json_lines(lines, path):
        text = entry.get(field) if isinstance(entry, dict) else None
        if not isinstance(text, str):
            raise ValueError(
                f"line {number} of {path} must be a JSON object with a text in {field!r}, "
                f"got {json.dumps(entry)[:80]}; repair the line or choose another field"
            )
        yield text


def read_json_lines(lines: Iterator[str], path: str) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line of JSON; blank lines are left out."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"line {number} of {path} must be a JSON object, got {error}; repair the line"
            ) from None
        yield number, value
