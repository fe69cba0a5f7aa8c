"""The command line: `minisbert`, or `python -m minisbert`.

A mistake of the user is reported in one sentence on standard error, with exit code 2 and without a
traceback.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from minisbert.arguments import escape
from minisbert.command_line import COMMANDS
from minisbert.command_line.parser import make_parser, notify


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    _prepare_streams()
    with _print_notices():
        try:
            arguments = make_parser(COMMANDS).parse_args(argv)
            arguments.run(arguments)
            sys.stdout.flush()
            return 0
        except BrokenPipeError:
            _drop_output()
            return 141  # 128 + SIGPIPE, as shells report it
        except KeyboardInterrupt:
            _drop_output()
            return 130  # 128 + SIGINT, as shells report it
        except (OSError, ValueError, TypeError, MemoryError, FloatingPointError) as error:
            notify(_describe(error))
            try:
                sys.stdout.flush()
            except OSError:
                _drop_output()
            return 2


def _describe(error: BaseException) -> str:
    """Return an error as one sentence on one line."""
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            return error.strerror
        name = error.filename
        name = escape(os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name))
        return f"{name if len(name) <= 300 else '...' + name[-297:]}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _prepare_streams() -> None:
    """Write UTF-8 in any locale, and discard what is written to a closed stream."""
    # A file's name may be any bytes: standard output writes those that are not UTF-8 unchanged.
    for name, errors in (("stdout", "surrogateescape"), ("stderr", "backslashreplace")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        if hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(encoding="utf-8", errors=errors)


def _drop_output() -> None:
    """Discard unwritten output: at exit Python would try to write it again, and block or fail."""
    with contextlib.suppress(OSError, ValueError):
        output = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)


@contextlib.contextmanager
def _print_notices() -> Iterator[None]:
    """Print warnings and log messages, each as one line on standard error."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        notify(message)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notify(record.getMessage())

    handler = Handler()
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
