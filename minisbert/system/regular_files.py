"""Open files that others made: only regular ones, and no larger than they can sensibly be.

A pipe in the place of a file would wait for ever, and a device such as /dev/zero would fill the
memory. Links are followed, as every file in the Hugging Face cache is one.
"""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from minisbert.arguments import shorten

# The largest files of JSON and text that are read whole, in bytes.
LARGEST_JSON = 64 << 20
LARGEST_TOKENIZER = 512 << 20


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read its bytes.

    Raises ValueError naming the path if it is something else; OSError if it can't be opened.
    """
    # Without O_NONBLOCK, opening a pipe waits for its other end. Regular files ignore it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(
                f"{shorten_path(path)} must be a regular file, got {_name_kind(mode)}; "
                "put a file in its place"
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], largest: int = LARGEST_JSON) -> bytes:
    """Read a whole regular file of at most `largest` bytes.

    Raises ValueError naming the path if it is larger or no regular file; OSError if it can't be
    opened or read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # The size is asked first, so that a sparse file of a terabyte is not read.
        content = file.read(largest + 1) if size <= largest else b""
        if size > largest or len(content) > largest:
            raise ValueError(
                f"{shorten_path(path)} must have at most {largest:,} bytes, got {size:,}; "
                "is it the right file?"
            )
        return content


def shorten_path(path: str | os.PathLike[str]) -> str:
    """Return a path for an error: as it is if it is printable, else its repr; the end if long."""
    shown = os.fspath(path)
    if not shown.isprintable():
        shown = shorten(shown)
    return shown if len(shown) <= 300 else "..." + shown[-297:]


def _name_kind(mode: int) -> str:
    """Return what a path is that is no regular file, in words."""
    kinds = {
        stat.S_ISDIR: "a directory",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
        stat.S_ISSOCK: "a socket",
    }
    return next((name for test, name in kinds.items() if test(mode)), "something else")
