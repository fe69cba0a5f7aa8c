"""The command line: what `minisbert` and its subcommands do.

In reading order; a file imports only from those before it:

    parser            how a command is declared, and the parser of all commands
    text_commands     fetch, encode, similarity, explain, index, search
    train_options     the options of `minisbert train`
    train             the work of `minisbert train`
    standard_library  the corpus of the demo: docstrings of Python's standard library
    demo              the work of `minisbert demo`
    model_commands    train, bench, evaluate, info, demo

A new command is one function in text_commands or model_commands, declared by the decorator above
it.
"""

from minisbert.command_line.model_commands import MODEL_COMMANDS
from minisbert.command_line.parser import make_parser, notify
from minisbert.command_line.text_commands import TEXT_COMMANDS

COMMANDS = TEXT_COMMANDS | MODEL_COMMANDS

__all__ = ["COMMANDS", "make_parser", "notify"]
