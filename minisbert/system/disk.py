"""Files and directories that appear under their names whole, or not at all.

Both are written beside their final name, flushed to the disk, and renamed. A rename is one step:
whoever opens the name, even after a crash, finds all of the old content or all of the new.

Replacing a directory takes two steps, since Python has no call that swaps two directories: the old
one is renamed aside, then the new one takes its name. A process killed between the two leaves
nothing under the name and the old directory, whole, beside it; `recover_directory` puts it back.
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
def write_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes this name when the block ends without error.

    After an error the temporary file is removed and the old file stays.
    A link is followed. A device, a pipe or the like is written to, not replaced.
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
    """Flush the names of a directory's files to the disk, but not the contents of the files.

    Do nothing on Windows, which has no call for it.
    """
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Flush every file and folder below a directory to the disk, contents and names."""
    for folder, _, names in os.walk(directory):
        for name in names:
            with open(os.path.join(folder, name), "r+b") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))


# The end of a temporary directory's name: the new directory, or the old one that was renamed.
_AGES = ("new", "old")


@contextmanager
def write_directory(
    destination: str | os.PathLike[str], marker: str, names: Collection[str]
) -> Iterator[Path]:
    """Make a temporary directory that takes the name `destination` if the block ends without error.

    After an error it is removed, and the old directory stays. The block itself must flush the files
    to the disk, as `write_file` does. If two processes write to one name at the same time, one of
    them fails.

    Raises FileExistsError as `check_destination` does, before the block runs.
    """
    destination = _resolve(destination)
    recover_directory(destination)
    check_destination(destination, marker, names)
    destination.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    new, old = (destination.with_name(f".{destination.name}.{token}.{age}") for age in _AGES)
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

    A directory of that kind holds the file `marker`, and every name in it matches one of the shell
    patterns `names`. So a user's own files beside a model are never lost.

    Raises FileExistsError naming what is there instead.
    """
    destination = _resolve(destination)
    if not destination.exists():
        return
    if not destination.is_dir():
        actual = "a file"
    elif os.path.ismount(destination) or Path.cwd().is_relative_to(destination):
        actual = "a mount point or the working directory, which can't be renamed"
    else:
        found = sorted(os.listdir(destination))
        strange = [name for name in found if not any(fnmatch(name, like) for like in names)]
        if not found or (marker in found and not strange):
            return
        contents = f"with {strange[0]} in it" if strange else f"without {marker}"
        actual = f"a directory {contents}"
    raise FileExistsError(
        f"{destination} must be a new or empty directory, or an older one of the same kind, "
        f"got {actual}; choose another name, or move it away"
    )


def recover_directory(destination: str | os.PathLike[str]) -> None:
    """Clean up after a process that was killed while it wrote a directory.

    Put the old directory back if it had been renamed aside, and remove what is unfinished.
    Call this before reading a directory that a killed process may have been writing.
    """
    destination = _resolve(destination)
    name, token = glob.escape(destination.name), "[0-9a-f]" * 16
    new, old = (sorted(destination.parent.glob(f".{name}.{token}.{age}")) for age in _AGES)
    if old and not destination.exists():
        os.replace(old.pop(), destination)
    for left in new + old:
        shutil.rmtree(left, ignore_errors=True)


def remove_directory(directory: str | os.PathLike[str]) -> None:
    """Remove a directory in one step: a kill leaves it whole, or nothing under its name."""
    directory = _resolve(directory)
    # After a kill `recover_directory` removes it, since it has the name of an unfinished one.
    unfinished = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}.{_AGES[0]}")
    os.replace(directory, unfinished)
    shutil.rmtree(unfinished, ignore_errors=True)


def _resolve(path: str | os.PathLike[str]) -> Path:
    """Return the real path: expand ~ and follow links, so that they are not replaced."""
    return Path(os.path.realpath(os.path.expanduser(path)))
