"""The corpus of the demo: which names of Python's standard library it lists."""

import subprocess
import sys

import pytest

from minisbert.command_line import standard_library
from minisbert.command_line.standard_library import (
    find_first_sentence,
    read_source,
    read_standard_library,
)


@pytest.fixture(scope="module")
def entries():
    return read_standard_library()


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("csv.py - read/write CSV files", "csv.py - read/write CSV files"),
        ("Give it back. Or not.", "Give it back."),
        ("Read a.b.c and\n  go on. More.", "Read a.b.c and go on."),
        ("A title\n\nA text. More.", "A title"),
        ("sleep(seconds) -> None\n\nWait a while.  More.", "Wait a while."),
        ("w = csv.writer(f)\n\n[or]\n\nw = csv.writer(g)\n\nWrite. Rows.", "Write."),
        ("get(key) -> value", "get(key) -> value"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_first_sentence(docstring, sentence):
    """A sentence ends at a full stop and a space, or with its paragraph; signatures are skipped."""
    assert find_first_sentence(docstring) == sentence


@pytest.mark.slow
def test_several_thousand_entries(entries):
    """There are thousands of entries, sorted, each name once, none private, none empty."""
    names = [entry.name for entry in entries]
    assert len(names) > 2500
    assert names == sorted(set(names))
    assert not any(part.startswith("_") for name in names for part in name.split("."))
    assert all(entry.sentence.strip() for entry in entries)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "csv",  # a module in Python
        "csv.Sniffer",
        "csv.reader",  # taken over from a private module in C
        "math.gcd",  # modules in C
        "itertools.combinations",
        "time.sleep",
        "builtins.open",
        "os.listdir",  # taken over from posix or nt
        "asyncio.run",  # taken over by a package from its own module
        "concurrent.futures.Future",
        "xml.etree.ElementTree.parse",
    ],
)
def test_known_names_are_listed(entries, name):
    """Well-known functions are listed under the names that programmers use."""
    assert name in {entry.name for entry in entries}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["posix.listdir", "asyncio.runners.run", "turtle.gcd", "re._parser"]
)
def test_other_names_are_not_listed(entries, name):
    """Nothing is listed under a name that programmers don't use."""
    assert name not in {entry.name for entry in entries}


def test_sources_are_not_run(tmp_path):
    """A module's source is read without being run, even if it is for another system."""
    path = tmp_path / "tool.py"
    path.write_text(
        '"""A tool. It works."""\n'
        "raise SystemExit\n"
        "from ._other import *\n"
        "from _fast import cut, paste as _paste\n"
        "__all__ = ['use']\n"
        "try:\n    import winreg\nexcept ImportError:\n"
        "    def use():\n        'Use it.'\n"
        "else:\n"
        "    def use():\n        'Use it on Windows.'\n"
        "class _Hidden:\n    'No.'\n"
    )
    module = read_source("box.tool", path)
    assert module.docstrings == {"": "A tool. It works.", "use": "Use it.", "_Hidden": "No."}
    assert module.imports == [("box._other", {"*"}), ("_fast", {"cut"})]
    assert module.exports == {"use"}


@pytest.mark.slow
def test_nothing_is_imported_here():
    """Reading the library imports none of its modules into this process, and prints nothing."""
    program = (
        "import sys\n"
        "from minisbert.command_line.standard_library import read_standard_library as read\n"
        "before = set(sys.modules); read(); print(sorted(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    assert run.stderr == ""
    assert not {"this", "antigravity", "readline", "turtle"} & set(eval(run.stdout))


def test_a_module_that_cannot_be_imported_is_left_out(monkeypatch):
    """A compiled module that can't be imported is left out, and the others are read."""
    broken = standard_library._PRINT_COMPILED_MODULES.replace(
        "import importlib.machinery",
        "import sys; sys.modules['zlib'] = None\nimport importlib.machinery",
    )
    monkeypatch.setattr(standard_library, "_PRINT_COMPILED_MODULES", broken)
    modules = standard_library._read_compiled_modules()
    assert "zlib" not in modules
    assert "gcd" in modules["math"].docstrings
