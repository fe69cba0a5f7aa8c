"""Seeded damage to files: bytes, JSON, headers of tensors, lines of text, the file itself."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOSTILE_NUMBERS = [
    0,
    -1,
    1,
    2,
    7,
    2**31,
    2**63 - 1,
    2**64,
    10**30,
    -(2**63),
    0.5,
    1e400,
    float("nan"),
]
HOSTILE_TEXTS = [
    "",
    " ",
    "\0",
    "..",
    "../../x",
    "/dev/zero",
    "\x1b[2J",
    "\ud800",
    "é" * 300,
    "a" * 70_000,
]
HOSTILE_VALUES: list[Any] = [
    *(None, True, False, [], {}, [[]], [{}], {"": ""}, [None], "true", "None"),
    *HOSTILE_NUMBERS,
    *HOSTILE_TEXTS,
]
HOSTILE_BYTES = [
    b"",
    b"\0",
    b"\n",
    b"\r",
    b"\t",
    b'"',
    b",",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"{",
    b"[" * 3000,
]
HOSTILE_FIELDS = [
    "",
    " ",
    "--5",
    "1_0",
    "nan",
    "inf",
    "1e999",
    "٣",
    "-1",
    "9" * 400,
    '"',
    '""',
    "\0",
    "x" * 70_000,
]


def mutate_file(path: Path, rng: random.Random, pipes: bool = True) -> str:
    """Damage one file once, as suits its kind; return what was done in words.

    pipes  whether a pipe may take the file's place: whoever reads pipes on purpose waits for ever
    """
    if rng.random() < 0.03:
        return _replace_file(path, rng, pipes)
    content = path.read_bytes()
    kind = path.suffix
    mutate: Callable[[bytes, random.Random], tuple[bytes, str]] = _mutate_bytes
    if rng.random() < 0.7:
        if kind in (".json", ".journal"):
            mutate = _mutate_json
        elif kind in (".safetensors", ".idx", ".index"):
            mutate = _mutate_header
        elif kind == ".jsonl":
            mutate = _mutate_json_lines
        elif kind in (".txt", ".tsv", ".csv"):
            mutate = _mutate_lines
    content, done = mutate(content, rng)
    path.write_bytes(content)
    return f"{path.name}: {done}"


def _mutate_bytes(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Flip, overwrite, insert, remove, repeat or cut off bytes."""
    data = bytearray(content)
    # Half of all places are near the start, where formats keep their headers.
    place = rng.randrange(min(len(data), 64) + 1 if rng.random() < 0.5 else len(data) + 1)
    length = min(len(data) - place, rng.choice([1, 1, 1, 2, 8, 100]))
    how = rng.choice(["flip", "overwrite", "insert", "remove", "repeat", "cut", "append"])
    if how == "flip" and place < len(data):
        data[place] ^= 1 << rng.randrange(8)
    elif how == "overwrite":
        data[place : place + length] = rng.choice(
            [rng.randbytes(length), b"\xff" * length, bytes(length)]
        )
    elif how == "insert":
        data[place:place] = rng.choice([*HOSTILE_BYTES, rng.randbytes(8)])
    elif how == "remove":
        del data[place : place + length]
    elif how == "repeat":
        data[place:place] = data[place : place + length] * rng.choice([1, 1, 50])
    elif how == "cut":
        del data[place:]
    else:
        data += rng.choice([b"\0", b"\n", b"}", rng.randbytes(9)])
    return bytes(data), f"{how} at {place}, {length} bytes"


def _mutate_json(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Replace, remove, copy or rename a value anywhere in a JSON document."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):  # what an earlier mutation has left
        return _mutate_bytes(content, rng)
    places = list(_list_places(document))
    if not places:
        return json.dumps(rng.choice(HOSTILE_VALUES)).encode(), "another document"
    parent, key = rng.choice(places)
    how = rng.choice(["replace", "replace", "remove", "copy", "rename", "wrap", "scale"])
    value = parent[key]
    if how == "remove":
        del parent[key]
    elif how == "copy":
        other, name = rng.choice(places)
        if other is not value and name in (other if isinstance(other, dict) else range(len(other))):
            parent[key] = json.loads(json.dumps(other[name]))
    elif how == "rename" and isinstance(parent, dict):
        parent[str(rng.choice(HOSTILE_VALUES))] = parent.pop(key)
    elif how == "wrap":
        parent[key] = rng.choice([[value], {"a": value}, str(value)])
    elif how == "scale" and type(value) in (int, float):
        parent[key] = rng.choice(
            [value + 1, value - 1, -value, value * 1000, value / 3, float(value)]
        )
    else:
        parent[key] = rng.choice(HOSTILE_VALUES)
    return json.dumps(document).encode(), f"{how} {key!r:.40}"


def _list_places(value: Any) -> Any:
    """Yield the container and key of the values of a document, at most 60 of each container."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys[:30] + keys[30:][-30:]:
        yield value, key
        if isinstance(value[key], (dict, list)) and value[key]:
            yield from _list_places(value[key])


def _mutate_header(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damage the JSON header of a safetensors file and leave the rest as it is."""
    length = int.from_bytes(content[:8], "little")
    if length > len(content):
        return _mutate_bytes(content, rng)
    header, done = _mutate_json(content[8 : 8 + length], rng)
    header = header.ljust(len(header) + -len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :], f"header, {done}"


def _mutate_json_lines(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damage the object in one line."""
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place], done = _mutate_json(lines[place], rng)
    return b"\n".join(lines), f"line {place + 1}, {done}"


def _mutate_lines(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Remove, repeat, swap or join lines, or damage a field of one."""
    lines = content.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.choice(["field", "field", "remove", "repeat", "swap", "join", "blank"])
    if how == "field":
        separator = b"\t" if b"\t" in lines[place] else b","
        fields = lines[place].split(separator)
        fields[rng.randrange(len(fields))] = rng.choice(HOSTILE_FIELDS).encode()
        lines[place] = separator.join(fields)
    elif how == "remove":
        del lines[place]
    elif how == "repeat":
        lines[place:place] = [lines[place]] * rng.choice([1, 2, 500])
    elif how == "swap":
        lines[place], lines[other] = lines[other], lines[place]
    elif how == "join":
        lines[place] += rng.choice([b"\t", b",", b"\r", b"\0"]) + lines[other]
    else:
        lines[place] = b""
    return b"\n".join(lines), f"line {place + 1}, {how}"


def _replace_file(path: Path, rng: random.Random, pipes: bool) -> str:
    """Put something else in the file's place, or nothing."""
    how = rng.choice(
        ["missing", "empty", "directory", "pipe", "device", "loop", "dangling", "other"]
    )
    siblings = sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
    path.unlink()
    if how == "empty":
        path.touch()
    elif how == "directory":
        path.mkdir()
    elif how == "pipe" and pipes:
        os.mkfifo(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "dangling":
        path.symlink_to(path.name + ".none")
    elif how == "other" and siblings:
        shutil.copyfile(rng.choice(siblings), path)
    return f"{path.name}: {how} in its place"
