"""Declared commands: a name, a line of help, arguments, and the function that runs."""

import subprocess
import sys

import pytest

from minisbert.command_line.parser import Commands, argument, make_parser

COMMANDS = Commands()


@COMMANDS.add(
    "greet", "print a greeting", argument("name"), argument("--loud", action="store_true")
)
def greet(arguments):
    return f"hello {arguments.name}{'!' * arguments.loud}"


COMMANDS.add_group("count", "count things")


@COMMANDS.add("count letters", "count letters of a text", argument("text"))
def count_letters(arguments):
    return len(arguments.text)


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["greet", "you"], "hello you"),
        (["greet", "you", "--loud"], "hello you!"),
        (["count", "letters", "abc"], 3),
    ],
)
def test_declared_commands_run(words, result):
    """A command, alone or in a group, is found by its name and gets its arguments."""
    arguments = make_parser(COMMANDS).parse_args(words)
    assert arguments.run(arguments) == result


def test_help_says_what_is_declared(capsys):
    """The help lists commands in the order of their declaration; a group has its own help."""
    with pytest.raises(SystemExit):
        make_parser(COMMANDS).parse_args(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line[:4] == "    "] == [
        ["greet", "print", "a", "greeting"],
        ["count", "count", "things"],
    ]
    with pytest.raises(SystemExit):
        make_parser(COMMANDS).parse_args(["count", "--help"])
    assert "count letters of a text" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["count"], ["greet"], ["greet", "you", "--quiet"]])
def test_mistakes_are_one_sentence(words, capsys):
    """A missing command or argument, or an unknown option, is one line and exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        make_parser(COMMANDS).parse_args(words)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("minisbert: ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_command_does_not_import_what_another_needs():
    """Help and short commands run without the rooms that only training and measuring need."""
    program = """
import sys
from minisbert.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
assert not {"minisbert.training", "minisbert.evaluation"} & set(sys.modules)
"""
    for words in (["--help"], ["search", "--help"]):
        subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True)
