"""The command line: `minisbert`, or `python -m minisbert`.

What a user can cause is told in one sentence on standard error, with exit code 2 and no traceback.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from minisbert.command_line.commands import say
from minisbert.command_line.parser import make_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    prepare_streams()
    with speak_plainly():
        try:
            arguments = make_parser().parse_args(argv)
            arguments.run(arguments)
            sys.stdout.flush()
            return 0
        except BrokenPipeError:
            drop_output()
            return 141  # 128 + SIGPIPE, what a shell reports of other programs
        except KeyboardInterrupt:
            drop_output()
            return 130  # 128 + SIGINT
        except (OSError, ValueError, TypeError, MemoryError, FloatingPointError) as error:
            say(describe(error))
            try:
                sys.stdout.flush()
            except OSError:
                drop_output()
            return 2


def describe(error: BaseException) -> str:
    """An error as one sentence on one line."""
    if isinstance(error, OSError) and error.strerror:
        named = f" {error.filename}" if error.filename is not None else ""
        return f"the system refused{named}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def prepare_streams() -> None:
    """Write UTF-8 whatever the locale says, and nothing where a stream is closed."""
    # A file's name may be any bytes: standard output gives them back as they came.
    for name, errors in (("stdout", "surrogateescape"), ("stderr", "backslashreplace")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(encoding="utf-8", errors=errors)


def drop_output() -> None:
    """Throw away what is not yet written: at exit Python would try again, and wait or complain."""
    with contextlib.suppress(OSError, ValueError):
        output = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)


@contextlib.contextmanager
def speak_plainly() -> Iterator[None]:
    """Show warnings, and what is being fetched, as single lines on standard error."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(message)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("minisbert: %(message)s"))
    logger = logging.getLogger("minisbert")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = show
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
