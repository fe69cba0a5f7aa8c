"""Read several files of one directory, all of the same version, while a saver may replace it.

A saver swaps a finished directory with the old one and removes the old one, file by file
(`disk.write_directory`). A reader that opens its files one after another could find the first in
the old and the second in the new, or none at all. So it holds the directory open, reads, and then
looks whether the path still leads to what it holds. A directory that is held keeps its number, so
no other can be taken for it. If the path leads elsewhere by then, all that was read is dropped and
read anew; that also serves a path with a link in it that is turned to another directory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from minisbert.system.disk import recover_directory
from minisbert.system.locks import lock_destination
from minisbert.system.regular_files import shorten_path

# The attempts that hope for a pause between two saves, and those after them that hold the savers
# off, if the directory's lock can be taken. A save takes longer than a load, so few are needed.
_FREE_ATTEMPTS = 20
_ATTEMPTS = 100

_Result = TypeVar("_Result")


def read_whole(directory: Path, read: Callable[[], _Result]) -> _Result:
    """Return what `read` makes of the files in a directory, all of one version of it.

    `read` is called again if the directory is replaced meanwhile; an error that it raises counts
    only if the directory is still the same.

    Raises what `read` raises, or OSError if the directory is replaced again and again.
    """
    for attempt in range(_ATTEMPTS):
        with ExitStack() as stack:
            if attempt >= _FREE_ATTEMPTS:
                with suppress(OSError):
                    stack.enter_context(lock_destination(directory, wait=True))
            held = _hold(directory, stack)
            try:
                result = read()
            except Exception:
                if held is None and attempt < _FREE_ATTEMPTS:
                    # Between two renames nothing has the name; a killed saver left it so.
                    recover_directory(directory)
                    if not directory.exists():
                        time.sleep(0.001)
                elif _leads_to(directory, held):
                    raise
            else:
                if held is not None and _leads_to(directory, held):
                    return result
    raise OSError(
        f"{shorten_path(directory)} must stay the same while it is read, but other processes "
        f"replaced it {_ATTEMPTS} times; load it again when they are done"
    )


def _hold(directory: Path, stack: ExitStack) -> os.stat_result | None:
    """Open a directory until the stack is closed; return what it is, None if there is none."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except PermissionError:  # one that may not be listed; Windows says so of all
        with suppress(OSError):
            return os.stat(directory)
        return None
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    return os.fstat(descriptor)


def _leads_to(directory: Path, held: os.stat_result | None) -> bool:
    """Tell whether a path leads to the directory that was held, or still to none."""
    try:
        found = os.stat(directory)
    except OSError:
        return held is None
    return held is not None and os.path.samestat(found, held)
