"""Declare commands, and make the parser of the command line from the declarations.

A command is a function of the parsed arguments, declared where it is defined:

    @COMMANDS.add("greet", "print a greeting", argument("name", help="name to greet"))
    def _greet(arguments: argparse.Namespace) -> None:
        print(f"Hello, {arguments.name}!")

A command's function imports what it needs when it runs, so that no command waits for the imports of
another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from minisbert.arguments import escape, parse_number, parse_whole_number, shorten

DEFAULT_MODEL = "all-MiniLM-L6-v2"

CommandFunction = Callable[[argparse.Namespace], None]
AddArguments = Callable[[argparse.ArgumentParser], object]


class Command(NamedTuple):
    """A declared command.

    run        does the work; None for a group of commands
    help       one line for `minisbert --help`
    arguments  functions that add arguments to the command's parser
    """

    run: CommandFunction | None
    help: str
    arguments: tuple[AddArguments, ...] = ()


class Commands(dict[str, Command]):
    """Commands by name, in the order of `minisbert --help`.

    "evaluate sts" is the command sts of the group evaluate.
    """

    def add(
        self, name: str, help: str, *arguments: AddArguments
    ) -> Callable[[CommandFunction], CommandFunction]:
        """Decorate a function as the command of this name."""

        def declare(run: CommandFunction) -> CommandFunction:
            self[name] = Command(run, help, arguments)
            return run

        return declare

    def add_group(self, name: str, help: str) -> None:
        """Declare a group; commands whose names begin with its name and a space belong to it."""
        self[name] = Command(None, help)


def argument(*names: str, **settings: Any) -> AddArguments:
    """Declare one argument, with the settings of `ArgumentParser.add_argument`."""
    return lambda parser: parser.add_argument(*names, **settings)


def model_arguments(default: str | None = DEFAULT_MODEL) -> AddArguments:
    """Declare --model and --threads."""

    def add(parser: argparse.ArgumentParser) -> None:
        source = default or "the model that made the index"
        parser.add_argument("--model", default=default, help=f"name or directory; default {source}")
        parser.add_argument(
            "--threads", type=whole_number, help="number of cores to use; default all"
        )

    return add


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one sentence, as other errors are.

    add_later  functions that add arguments when the parser is used, so that only the command in use
               imports what its arguments need
    """

    add_later: tuple[AddArguments, ...] = ()
    given: Sequence[str] = ()  # the arguments that are being parsed, to explain a mistake

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        for add in self.add_later:
            add(self)
        self.add_later = ()
        self.given = sys.argv[1:] if args is None else list(args)
        self._refuse_dashes()
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:  # refused here, not by the parser of all commands, which knows no options
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def exit(self, status: int = 0, message: str | None = None) -> Any:
        sys.stdout.flush()  # an error in writing the help is raised here, where `main` catches it
        super().exit(status, message)

    def error(self, message: str) -> Any:
        shown = escape(message)
        if len(shown) > _LONGEST_MESSAGE:
            shown = f"{shown[: _LONGEST_MESSAGE - 3]}..."
        self.exit(2, f"minisbert: {shown}{self._advise(message)}; see `{self.prog} --help`\n")

    def _refuse_dashes(self) -> None:
        """Refuse two dashes as the value of an option, of which argparse makes an empty list."""
        if self._subparsers:  # the command's own parser is yet to come
            return
        for argument in takewhile(lambda argument: argument != "--", self.given):
            if argument.startswith("-") and argument.endswith("=--"):
                self.error(f"argument {argument[:-3]} must have a value other than --")

    def _advise(self, message: str) -> str:
        """Return what to do if an argument that begins with a dash was taken for an option."""
        before = list(takewhile(lambda argument: argument != "--", self.given))
        strange = [argument for argument in before if self._is_strange(argument)]
        option = re.match(r"argument (--[a-z-]+|-\w).*: expected one argument", message)
        if option and strange:
            return f"; write {option[1]}=VALUE for a value that begins with a dash"
        # Where only an index may be named, a dash is more likely meant for an option.
        texts = [action for action in self._get_positional_actions() if action.metavar != "INDEX"]
        if not strange or self._subparsers or not texts:
            return ""
        return "; put -- before a text that begins with a dash"

    def _is_strange(self, argument: str) -> bool:
        """Tell whether an argument looks like an option but is none, not even the start of one."""
        if len(argument) < 2 or not argument.startswith("-"):
            return False
        name = argument.partition("=")[0]
        return not any(option.startswith(name) for option in self._option_string_actions)


_LONGEST_MESSAGE = 300


def whole_number(text: str) -> int:
    """Convert an argument to a whole number: the `type` of an option."""
    number = parse_whole_number(text)
    if number is None:
        raise argparse.ArgumentTypeError(
            f"must be a whole number of at most 18 digits, got {shorten(text)}"
        )
    return number


def number(text: str) -> float:
    """Convert an argument to a number: the `type` of an option."""
    value = parse_number(text)
    if value != value:
        raise argparse.ArgumentTypeError(f"must be a number, got {shorten(text)}")
    return value


def make_parser(commands: Mapping[str, Command]) -> Parser:
    """Make the parser of the command line; it sets `run` to the function of the command."""
    from minisbert import __version__

    parser = Parser(prog="minisbert", description="Sentence embeddings and search on a CPU.")
    parser.add_argument("--version", action="version", version=f"minisbert {__version__}")
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for name, command in commands.items():
        group, _, last = name.rpartition(" ")
        child = groups[group].add_parser(last, help=command.help, description=command.help)
        if command.run is None:
            groups[name] = child.add_subparsers(metavar="KIND", required=True)
        else:
            child.set_defaults(run=command.run)
        child.add_later = command.arguments
    return parser


def notify(message: object) -> None:
    """Write one line to standard error, if that is still open."""
    with contextlib.suppress(OSError):
        print(f"minisbert: {escape(str(message))}", file=sys.stderr)


def show(line: str) -> None:
    """Print a line in which the names of files and the like can't control the terminal."""
    print(escape(line), flush=True)


def write_json(value: object) -> str:
    """Return JSON on one line, whose unprintable characters are escaped as JSON has it.

    So it is exact, and harmless on a terminal too.
    """
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
