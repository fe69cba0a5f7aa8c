"""A lock for each file or directory that is written, so that two writers can't mix their work.

A destination's lock is an empty-looking file beside it, ".{its name}.minisbert-lock", on which the
writer holds the system's lock (flock(2)). The system drops that lock when the process ends, however
it ends, so the file of a killed process stops nobody: the next writer takes it over. The file says
which process holds it, and whether for a long run or for a short save.

Removing such a file needs care: another writer may have opened it and be about to lock it, while a
third makes a new file of that name, and both would hold "the" lock. So a lock counts only if the
name still leads to the file that was locked, and only its holder removes the file.

A process opens each lock file once, and its threads agree with each other through a table. A thread
that holds a lock may take it again: a training holds that of its directory and saves into it.

Without locks of the system (a file system that has none) only the threads of this process exclude
each other.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from minisbert.system.regular_files import shorten_path

# The seconds after which a save no longer waits: longer than any other save takes, but a process
# that was stopped in the middle of one must not stop all others for ever.
LONGEST_SAVE = 600.0

# The seconds for which a file may still name its last holder, who was killed, instead of its
# present one.
_SETTLED = 0.2

# Attempts to lock the file that has the name. On some file systems a file's number changes.
_ATTEMPTS = 100

# The longest name that common file systems take, in bytes.
_LONGEST_NAME = 255

# Where the lock lies on Windows, which locks bytes and keeps others from reading these.
_LOCKED_BYTE = 1 << 30

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


@dataclass
class _Held:
    """A lock that this process holds.

    descriptor  of the open lock file
    inode       of the lock file, as `os.fstat` describes it
    shared      whether the system keeps other processes out too
    long        whether it is held for a long run
    thread      the thread that holds it
    count       how many times that thread has taken it
    """

    descriptor: int
    inode: os.stat_result
    shared: bool
    long: bool
    thread: int
    count: int = 1


@dataclass
class _Busy:
    """Another holder of a lock.

    holder  who it is, in words
    long    whether it holds the lock for a long run
    """

    holder: str
    long: bool


_held: dict[Path, _Held] = {}
# Held for moments only, never while waiting: a fork waits for it too. A signal's handler may fork.
_table = threading.RLock()


@contextmanager
def lock_destination(path: str | os.PathLike[str], *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a file or directory to be written.

    Links, ~ and relative paths that lead to one place have one lock. The folder around it is made
    if it is missing, and removed at the end if nothing was written there.

    Parameters
    ----------
    path : str or path
        The destination; it need not exist.
    wait : bool
        With False, for long runs, a second writer is refused at once. With True, for short saves, a
        save waits for the one before, but is refused while a long run holds the lock.

    Yields
    ------
    bool
        Whether other processes are kept out too. If so, what lies unfinished beside the destination
        belongs to no living process.

    Raises
    ------
    BlockingIOError
        If another writer holds the lock.
    FileExistsError
        If the destination is the root of all directories.
    OSError
        If the folder can't be made or written.
    """
    destination = resolve_path(path)
    if not destination.name:
        raise FileExistsError(
            f"{shorten_path(destination)} must be a file or a directory inside another, got the "
            "root; choose another name"
        )
    file = name_lock_file(destination)
    missing = [folder for folder in destination.parents if not folder.exists()]
    start, pause = time.monotonic(), 0.001
    while isinstance(found := _try_to_lock(file, destination, long=not wait), _Busy):
        patience = (_SETTLED if found.long else LONGEST_SAVE) if wait else 0
        if time.monotonic() - start >= patience:
            raise BlockingIOError(
                f"{shorten_path(destination)} must have one writer at a time, but {found.holder} "
                "is writing it; wait until that is done, or choose another name"
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    try:
        yield found.shared
    finally:
        _release(file, found)
        with suppress(OSError):
            for folder in missing:  # the innermost first
                folder.rmdir()  # fails if something is in it


def resolve_path(path: str | os.PathLike[str]) -> Path:
    """Return the real path of what is to be written: ~ expanded, links followed, not replaced."""
    return Path(os.path.realpath(os.path.expanduser(os.fsdecode(path))))


def name_lock_file(destination: Path) -> Path:
    """Return the path of a destination's lock file."""
    name = f".{destination.name}.minisbert-lock"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(destination.name)).hexdigest()}.minisbert-lock"
    return destination.with_name(name)


def _try_to_lock(file: Path, destination: Path, *, long: bool) -> _Held | _Busy:
    """Take a lock if it is free, or held by this thread."""
    with _table:
        held = _held.get(file)
        if held is not None:
            if held.thread != threading.get_ident():
                return _Busy("another thread of this process", held.long)
            held.count += 1
            return held
        for attempt in range(_ATTEMPTS):
            try:
                descriptor = _open_lock_file(file)
            except FileNotFoundError:
                # Missing from the start, or just removed by another writer that had made it.
                file.parent.mkdir(parents=True, exist_ok=True)
                continue
            except OSError as error:
                # The user knows the destination, not its lock file.
                raise OSError(error.errno, error.strerror, str(destination)) from None
            try:
                shared = _lock(descriptor)
                inode = os.fstat(descriptor)
                if _names_inode(file, inode) or attempt == _ATTEMPTS - 1:
                    if shared is None:
                        return _read_holder(descriptor)
                    _write_holder(descriptor, long)
                    held = _Held(descriptor, inode, shared, long, threading.get_ident())
                    _held[file] = held
                    return held
            finally:
                if held is None:
                    os.close(descriptor)
    raise AssertionError("the last attempt returns")


def _release(file: Path, held: _Held) -> None:
    with _table:
        if _held.get(file) is not held:
            return  # in a forked child, which holds nothing
        held.count -= 1
        if held.count:
            return
        del _held[file]
        if sys.platform == "win32":
            # It removes no open file, so that a file that another writer has opened stays.
            os.close(held.descriptor)
            with suppress(OSError):
                file.unlink()
            return
        try:
            # The folder may have been moved or removed while the lock was held.
            with suppress(OSError):
                if _names_inode(file, held.inode):
                    file.unlink()
        finally:
            os.close(held.descriptor)


def _open_lock_file(file: Path) -> int:
    """Open a lock file, made if it is missing."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
    except PermissionError:
        # One that another user left can still be locked, if not written.
        if not file.exists():
            raise
        return os.open(file, os.O_RDONLY | _NO_FOLLOW)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool | None:
        """Lock an open file: True; None if another process holds it."""
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        except OSError:
            return None

else:
    import fcntl

    def _lock(descriptor: int) -> bool | None:
        """Lock an open file: True; None if another process holds it; False if it has no locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            return None if error.errno in (errno.EAGAIN, errno.EACCES) else False


def _names_inode(file: Path, inode: os.stat_result) -> bool:
    """Tell whether a path still leads to the file that was opened by it."""
    try:
        return os.path.samestat(os.lstat(file), inode)
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int, long: bool) -> None:
    """Say in a lock file who holds it, for the errors of others."""
    with suppress(OSError):  # a full disk, or another user's file
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()} {'run' if long else 'save'}\n".encode())


def _read_holder(descriptor: int) -> _Busy:
    os.lseek(descriptor, 0, os.SEEK_SET)
    process, _, kind = os.read(descriptor, 64).partition(b" ")
    known = process.isdigit() and len(process) < 20
    return _Busy(f"process {process.decode()}" if known else "another process", kind == b"run\n")


def _forget_after_fork() -> None:
    """In a forked child: drop the parent's locks, without unlocking them for the parent."""
    for held in _held.values():
        with suppress(OSError):
            os.close(held.descriptor)
    _held.clear()
    _table.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_table.acquire, after_in_parent=_table.release, after_in_child=_forget_after_fork
    )
