"""Open files that others made: only regular ones, and no larger than they can sensibly be.

Opening a pipe in place of a file would wait for ever, and reading a device such as /dev/zero would
fill the memory. Links are followed, as every file in the Hugging Face cache is one.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from io import BufferedReader

# The largest files of JSON and text that are read whole, in bytes.
LARGEST_JSON = 64 << 20
LARGEST_TOKENIZER = 512 << 20

# What `git clone` leaves in the place of large files where Git LFS is not installed.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file to read its bytes.

    Raises FileNotFoundError if there is none, another OSError in one sentence if it can't be
    opened, and ValueError if it is no regular file, or only a pointer to one; all name the path.
    """
    # Without O_NONBLOCK, opening a pipe waits for its other end. Regular files ignore it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refuse_unreadable(path, error) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(
                f"{shorten_path(path)} must be a regular file, got {_name_kind(found.st_mode)}; "
                "put a file in its place"
            )
        # With an opener the file has its path as its name, in errors and in maps of it.
        file = open(path, "rb", opener=lambda *_: descriptor)  # noqa: SIM115
    except BaseException:
        with suppress(OSError):  # Ctrl-C may come when the file has it, and closes it
            os.close(descriptor)
        raise
    try:
        if found.st_size <= _LARGEST_POINTER and file.peek().startswith(LFS_POINTER):
            raise ValueError(
                f"{shorten_path(path)} must be the file itself, got a pointer of Git LFS; "
                "run `git lfs pull` in its directory, or download the file"
            )
    except OSError as error:
        file.close()
        raise refuse_unreadable(path, error) from None
    except BaseException:
        file.close()
        raise
    return file


def refuse_unreadable(path: str | os.PathLike[str], error: OSError, kind: str = "file") -> OSError:
    """Return an error of the same kind that names the path and the reason in one sentence."""
    reason = error.strerror or str(error)
    return type(error)(
        f"{shorten_path(path)} must be a {kind} that can be read, got the system's error "
        f"{reason!r}; check its path and permissions"
    )


def read_regular(path: str | os.PathLike[str], largest: int = LARGEST_JSON) -> bytes:
    """Read a whole regular file of at most `largest` bytes.

    Raises as `open_regular` does, and ValueError naming the path if it is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # The size is asked first, so that a sparse file of a terabyte is not read.
        try:
            content = file.read(largest + 1) if size <= largest else b""
        except OSError as error:
            raise refuse_unreadable(path, error) from None
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
        shown = repr(shown)
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
