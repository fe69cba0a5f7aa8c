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
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
        parser.add_argument("--threads", type=int, help="number of cores to use; default all")

    return add


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one sentence, as other errors are.

    add_later  functions that add arguments when the parser is used, so that only the command in use
               imports what its arguments need
    """

    add_later: tuple[AddArguments, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        for add in self.add_later:
            add(self)
        self.add_later = ()
        return super().parse_known_args(args, namespace)

    def exit(self, status: int = 0, message: str | None = None) -> Any:
        sys.stdout.flush()  # an error in writing the help is raised here, where `main` catches it
        super().exit(status, message)

    def error(self, message: str) -> Any:
        self.exit(2, f"minisbert: {message}; see `{self.prog} --help`\n")


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
        print(f"minisbert: {message}", file=sys.stderr)
