"""Errors quote what users and files say in one short printable line."""

import ast

import pytest

from rooms import read_sources

# Calls that make what they show short and printable, or that show a number or a type.
QUOTES = {
    *("shorten", "shorten_name", "shorten_names", "shorten_path", "shorten_message", "escape"),
    *("len", "sum", "type"),
}

# Variables that hold what a user or a file says, wherever they stand in this package.
HOSTILE = {
    *("path", "directory", "destination", "folder", "source", "file", "out", "work", "partial"),
    *("journal", "merges", "value", "label", "text", "error", "arguments.out", "arguments.file"),
    *(
        "self._directory",
        "self.path",
        "self.model_directory",
        "given",
        "column",
        "content",
        "actual",
    ),
}

# Expressions of these names that are no one else's words, by module.
OWN_WORDS = {
    "arguments": {"name"},
    "system.disk": {"actual"},  # in this package's words, with shortened names
    "system.json_fields": {"actual", "error"},  # the sentence of this package, passed on
    "model_files.hub": {"actual", "source"},  # a digest, and where it is, with shortened names
    "encoding.streaming": {"error"},  # the sentence of a batch
    "encoding.tokenization": {"path"},  # shortened before
    "search.block_file": {"actual"},  # a digest
    "search.quantization": {"column"},  # a number
    "training.run": {"error"},  # the sentence of a step
    "model_files.tokenizer_steps": {"error"},  # the sentence of the check of patterns
    "training.objectives": {"value"},  # checked options
    "costs.report": {"value", "path"},
    "encoding.heat_map": {"value", "text"},
}


def find_raw_quotes(source: str) -> list[str]:
    """Find reprs in f-strings, and names of HOSTILE that f-strings show as they are."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FormattedValue):
            continue
        shown = ast.unparse(node.value)
        if node.conversion == ord("r"):
            found.append(f"{shown}!r")
        elif shown in HOSTILE and node.format_spec is None:
            found.append(shown)
    return found


def find_error_quotes(source: str) -> list[str]:
    """Find raw quotes inside of raised errors, and of calls that warn or make an error."""
    found = []
    for node in ast.walk(ast.parse(source)):
        called = getattr(node, "func", None)
        name = getattr(called, "id", getattr(called, "attr", ""))
        if isinstance(node, ast.Raise) or name.endswith(("error", "Error", "warn", "warn_caller")):
            found += find_raw_quotes(ast.unparse(node))
    return sorted(set(found))


@pytest.mark.parametrize("name", sorted(read_sources()))
def test_no_raw_quotes_in_errors(name):
    """An error quotes values by `shorten` and paths by `shorten_path`, not by !r or as they are."""
    own = OWN_WORDS.get(name, set())
    found = [
        shown
        for shown in find_error_quotes(read_sources()[name])
        if shown not in own and shown not in ("__name__!r", "name!r")
    ]
    assert found == []


def test_raw_quotes_are_found():
    """The check above finds a repr and a path, in a raised error and in the call that makes one."""
    source = """
def f(path, value):
    raise ValueError(f"{path} must be {shorten(value)}, got {value!r:>3} or {len(path)}")
def g(path):
    return file_error(f"{path}", "must be")
def h(path):
    return f"{path}"
"""
    assert find_error_quotes(source) == ["path", "value!r"]
