"""A directory that appears under its name whole, or not at all.

It is written beside its name, brought to the disk, and renamed. No system swaps two directories in
one step that Python could ask for, so one that is replaced is first renamed aside: a kill between
the two steps leaves the old one there, whole, and `recover_directory` puts it back.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_directory(
    destination: str | os.PathLike[str], marker: str, names: Collection[str]
) -> Iterator[Path]:
    """Make a temporary directory that takes the name `destination` when the block ends well.

    If anything fails, it is removed, and what stood under the name stays. Of two that write under
    one name at the same time one fails.

    Raises FileExistsError as `check_destination` does, before the block.
    """
    destination = _follow(destination)
    recover_directory(destination)
    check_destination(destination, marker, names)
    destination.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    new, old = (destination.with_name(f".{destination.name}.{token}.{age}") for age in AGES)
    new.mkdir()
    try:
        yield new
        sync_directory(new)
        if destination.exists():
            os.replace(destination, old)
        os.replace(new, destination)
    except BaseException:
        recover_directory(destination)
        raise
    sync_directory(destination.parent)
    shutil.rmtree(old, ignore_errors=True)


def check_destination(
    destination: str | os.PathLike[str], marker: str, names: Collection[str]
) -> None:
    """Refuse to replace anything but an empty directory or one of the kind to be written.

    Such a one holds `marker`, and nothing whose name is like none of `names` (as shells match).
    Nobody's notes beside a model are lost that way.

    Raises FileExistsError naming what stands there.
    """
    destination = _follow(destination)
    if not destination.exists():
        return
    if not destination.is_dir():
        actual = "a file"
    elif os.path.ismount(destination) or Path.cwd().is_relative_to(destination):
        actual = "one that can't be renamed, since it is mounted or worked in"
    else:
        found = sorted(os.listdir(destination))
        strange = [name for name in found if not any(fnmatch(name, like) for like in names)]
        if not found or (marker in found and not strange):
            return
        actual = f"one with {strange[0]} in it" if strange else f"one without {marker}"
    raise FileExistsError(
        f"{destination} must be a new or empty directory, or an older one of its kind to replace, "
        f"got {actual}; choose another name, or move it away"
    )


def recover_directory(destination: str | os.PathLike[str]) -> None:
    """Put back what a kill left aside while it was being replaced; remove what it left unfinished.

    Call this before reading a directory that a killed process may have been writing.
    """
    destination = _follow(destination)
    new, old = (
        sorted(destination.parent.glob(f".{glob.escape(destination.name)}.{TOKEN}.{age}"))
        for age in AGES
    )
    if old and not destination.exists():
        os.replace(old.pop(), destination)
    for left in new + old:
        shutil.rmtree(left, ignore_errors=True)


def remove_directory(directory: str | os.PathLike[str]) -> None:
    """Remove a directory at once: a kill leaves it whole, or nothing under its name."""
    directory = _follow(directory)
    new, _ = AGES
    left = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}.{new}")
    os.replace(directory, left)
    shutil.rmtree(left, ignore_errors=True)


AGES = ("new", "old")
TOKEN = "[0-9a-f]" * 16


def _follow(path: str | os.PathLike[str]) -> Path:
    """The path that a name stands for: a link is followed, not replaced."""
    return Path(os.path.realpath(os.path.expanduser(path)))


@contextmanager
def write_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its place when the block ends well.

    It is on the disk before it is renamed, so that a crash leaves the old file or the new one.
    If anything fails, the temporary file is removed and the old one stays.
    A link is followed, and what is no file (a device, a pipe) is written to, not replaced.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk, where the system has a way to."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
