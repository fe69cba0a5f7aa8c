"""Tell whether a path still leads to the file that it led to: for objects that travel as a path.

An object that maps a file is pickled as the path and the identity of the file, which is small; it
opens the path again where it arrives. If another file is there by then, or the file was changed,
opening is refused, since the object would answer from rows or weights that it never had.
"""

from __future__ import annotations

import os
from io import BufferedReader
from typing import NamedTuple

from minisbert.system.regular_files import open_regular, shorten_path


class FileIdentity(NamedTuple):
    """The marks of a file that stay the same until somebody replaces it or writes to it.

    device, inode  which file it is
    size           in bytes
    changed        time of the last change of its contents, in nanoseconds
    """

    device: int
    inode: int
    size: int
    changed: int

    @classmethod
    def of(cls, file: int | str | os.PathLike[str]) -> FileIdentity:
        """Return the identity of an open file, by its descriptor, or of the file at a path."""
        status = os.stat(file)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def reopen(path: str | os.PathLike[str], identity: FileIdentity) -> BufferedReader:
    """Open a path to read its bytes; it must lead to the file that has this identity.

    Raises FileNotFoundError if nothing is there, ValueError if it is another file or was changed.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{shorten_path(path)} must still be where it was loaded from, but there is no such "
            "file; load the object again where it is used"
        ) from None
    found = FileIdentity.of(file.fileno())
    if found != identity:
        file.close()
        got = "another file" if found[:2] != identity[:2] else "one that was changed since"
        raise ValueError(
            f"{shorten_path(path)} must be the file that was loaded, got {got}; "
            "load the object again where it is used"
        )
    return file
