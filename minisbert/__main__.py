"""The command line: `minisbert`, or `python -m minisbert`.

A mistake of the user is reported in one sentence on standard error, with exit code 2 and without a
traceback.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        _prepare_streams()
        with _end_at_interrupt():
            from minisbert.command_line import COMMANDS, make_parser

        with _print_notices():
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
        from minisbert.command_line import notify

        notify(_describe(error))
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return 2


@contextlib.contextmanager
def _end_at_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the process at once, as the system does, while modules are imported.

    NumPy's extension turns a KeyboardInterrupt into an ImportError and a page of advice.
    """
    import signal

    handler = signal.getsignal(signal.SIGINT)
    # Elsewhere than in the main thread a handler can't be set, and Ctrl-C interrupts nothing.
    main = threading.current_thread() is threading.main_thread()
    if not main or handler is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _describe(error: BaseException) -> str:
    """Return an error as one sentence on one line."""
    from minisbert.arguments import escape

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
    import logging
    import warnings

    from minisbert.command_line import notify

    def show(message: Warning | str, *_: object, **__: object) -> None:
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
