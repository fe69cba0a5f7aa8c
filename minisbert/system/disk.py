"""Files and directories that appear under their names whole, or not at all.

Both are written beside their final name, flushed to the disk, and renamed. A rename is one step:
whoever opens the name, even after a crash, finds all of the old content or all of the new.

A directory is replaced in one step too, by swapping two names, on Linux and macOS. Elsewhere it
takes two: the old one is renamed aside, then the new one takes its name. A process killed between
the two leaves nothing under the name and the old directory, whole, beside it; `recover_directory`
puts it back.

A file has a new temporary name each time, so of two writers the last to end wins. Writers of one
directory take turns, by its lock: each cleans up what killed ones left beside it, and nobody may
remove what a living process is still writing.
"""

from __future__ import annotations

import ctypes
import glob
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from minisbert.system.locks import lock_destination, resolve_path
from minisbert.system.regular_files import shorten_path

# What temporary names have after the name of what is written: 8 random bytes in hexadecimal.
_TOKEN = "[0-9a-f]" * 16


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


def remove_unfinished_files(path: Path) -> None:
    """Remove the temporary files that killed processes left when they wrote a file.

    Call this only where nobody else can be writing that file, since a lock is held.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.{_TOKEN}"):
        left.unlink(missing_ok=True)


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
    to the disk, as `write_file` does. A second writer of the same directory waits for the first.

    Raises FileExistsError as `check_destination` does, and BlockingIOError if a long run is writing
    the directory, before the block runs.
    """
    destination = resolve_path(destination)
    with lock_destination(destination, wait=True):
        recover_directory(destination)
        check_destination(destination, marker, names)
        token = secrets.token_hex(8)
        new, old = (destination.with_name(f".{destination.name}.{token}.{age}") for age in _AGES)
        new.mkdir()
        try:
            yield new
            sync_directory(new)
            if not destination.exists():
                os.replace(new, destination)
            elif not _swap(new, destination):
                os.replace(destination, old)
                os.replace(new, destination)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            recover_directory(destination)
            raise
        sync_directory(destination.parent)
        for left in (new, old):  # the one that holds the old directory
            shutil.rmtree(left, ignore_errors=True)


def _swap(new: Path, destination: Path) -> bool:
    """Swap two directories in one step; return whether the system could.

    renameat2(2) of Linux and renamex_np(2) of macOS; their flags are from the systems' headers.
    """
    arguments: tuple[int | bytes, ...]
    names = os.fsencode(new), os.fsencode(destination)
    if sys.platform == "linux":
        name, here, exchange = "renameat2", -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        arguments = (here, names[0], here, names[1], exchange)
    else:
        name, arguments = "renamex_np", (*names, 2)  # RENAME_SWAP
    if os.name != "posix" or not hasattr(library := ctypes.CDLL(None), name):
        return False
    return getattr(library, name)(*arguments) == 0


def check_destination(
    destination: str | os.PathLike[str], marker: str, names: Collection[str]
) -> None:
    """Refuse to replace anything but an empty directory or one of the kind to be written.

    A directory of that kind holds the file `marker`, and every name in it matches one of the shell
    patterns `names`. So a user's own files beside a model are never lost.

    Raises FileExistsError naming what is there instead.
    """
    destination = resolve_path(destination)
    if destination.is_symlink():
        actual = "a link that leads to itself"
    elif not destination.exists():
        return
    elif not destination.is_dir():
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
        f"{shorten_path(destination)} must be a new or empty directory, or an older one of the "
        f"same kind, got {actual}; choose another name, or move it away"
    )


def recover_directory(destination: str | os.PathLike[str]) -> None:
    """Clean up after a process that was killed while it wrote a directory.

    Put the old directory back if it had been renamed aside, and remove what is unfinished.
    Call this before reading a directory that a killed process may have been writing. If a living
    process is saving it, wait until that is done; if one is writing it in a long run, or nothing
    may be changed here, do nothing.
    """
    destination = resolve_path(destination)
    if not any(_find_unfinished(destination, age) for age in _AGES):
        return
    with suppress(OSError), lock_destination(destination, wait=True) as alone:
        new, old = (_find_unfinished(destination, age) for age in _AGES)
        if old and not destination.exists():
            os.replace(old.pop(), destination)
        # Where there are no locks, a living process may still be writing it.
        for left in new + old if alone else ():
            shutil.rmtree(left, ignore_errors=True)


def _find_unfinished(destination: Path, age: str) -> list[Path]:
    """Return the temporary directories of one age that are beside a directory."""
    return sorted(destination.parent.glob(f".{glob.escape(destination.name)}.{_TOKEN}.{age}"))


def remove_directory(directory: str | os.PathLike[str]) -> None:
    """Remove a directory in one step: a kill leaves it whole, or nothing under its name."""
    directory = resolve_path(directory)
    with lock_destination(directory, wait=True):
        # After a kill `recover_directory` removes it, since it has the name of an unfinished one.
        unfinished = directory.with_name(f".{directory.name}.{secrets.token_hex(8)}.{_AGES[0]}")
        os.replace(directory, unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)
