"""One writer at a time, whether threads or processes; the lock of a dead one stops nobody."""

import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import minisbert
from minisbert.system import locks
from minisbert.system.locks import lock_destination, name_lock_file

HOLD = """
import sys
from minisbert.system.locks import lock_destination
with lock_destination(sys.argv[1], wait=sys.argv[2] == "save"):
    print("held", flush=True)
    sys.stdin.read()
"""


def start(path, kind="run"):
    """Start a process that takes a lock and holds it until its standard input ends."""
    environment = {**os.environ, "PYTHONPATH": str(Path(minisbert.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@contextmanager
def hold_elsewhere(path, kind="run"):
    """Let another process hold a lock."""
    with start(path, kind) as child:
        assert child.stdout.readline() == "held\n"
        yield child
        if not child.stdin.closed:
            child.stdin.close()


def refuse_elsewhere(path):
    """Let another process try to take a lock; return the last line of its error."""
    with start(path) as child:
        printed, said = child.communicate()
    assert not printed
    return said.splitlines()[-1]


def in_thread(run):
    """Run a function in a thread of its own and return its result, or the error that it raised."""
    results = []

    def call():
        try:
            results.append(run())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return results[0]


def take(path, wait=False):
    with lock_destination(path, wait=wait) as shared:
        return shared


def test_process_holds(tmp_path):
    """A second process is refused in one sentence that names path and holder, until the first ends.

    A save waits for no long run.
    """
    path = tmp_path / "out"
    with hold_elsewhere(path) as child:
        for wait in (False, True):
            with pytest.raises(BlockingIOError) as refused:
                take(path, wait)
            assert str(refused.value) == (
                f"{path} must have one writer at a time, but process {child.pid} is writing it; "
                "wait until that is done, or choose another name"
            )
        assert take(tmp_path / "other")
    assert take(path)
    assert os.listdir(tmp_path) == []


def test_killed_process_holds_nothing(tmp_path):
    """The lock of a killed process stops nobody, and its file is taken over and removed."""
    path = tmp_path / "out"
    with hold_elsewhere(path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert os.listdir(tmp_path) == [name_lock_file(path).name]
    for wait in (False, True):
        assert take(path, wait)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("holder", ["thread", "process"])
def test_save_waits_for_save(tmp_path, holder):
    """A short save waits for the one before, of another thread or process, then has its turn."""
    path = tmp_path / "out"
    turns = []

    def save():
        with lock_destination(path, wait=True):
            turns.append("second")

    thread = threading.Thread(target=save)
    if holder == "thread":
        with lock_destination(path, wait=True):
            thread.start()
            thread.join(0.05)
            turns.append("first")
    else:
        with hold_elsewhere(path, "save") as child:
            thread.start()
            thread.join(0.05)
            turns.append("first")
            child.stdin.close()
    thread.join()
    assert turns == ["first", "second"]
    assert os.listdir(tmp_path) == []


def test_save_waits_within_limits(tmp_path, monkeypatch):
    """A save that another holds for longer than any save takes is an error, not a wait for ever."""
    monkeypatch.setattr(locks, "LONGEST_SAVE", 0.01)
    with lock_destination(tmp_path / "out", wait=True):
        assert isinstance(in_thread(lambda: take(tmp_path / "out", True)), BlockingIOError)


def test_threads(tmp_path):
    """A thread may take its lock again, another thread may not, until the last release."""
    path = tmp_path / "out"
    with lock_destination(path, wait=False):
        with lock_destination(path, wait=True), lock_destination(path, wait=False):
            refused = in_thread(lambda: take(path))
            assert "another thread of this process is writing it" in str(refused)
        assert isinstance(in_thread(lambda: take(path)), BlockingIOError)
    assert in_thread(lambda: take(path)) is True


def test_names_of_one_place(tmp_path, monkeypatch):
    """Links, relative paths and ~ lead to the lock of their target, which may not exist yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").symlink_to("folder/out")
    with lock_destination(tmp_path / "folder" / "out", wait=False):
        for name in ("folder/out", "link/out", "file", "~/folder/../link/out", b"file"):
            assert isinstance(in_thread(lambda name=name: take(name)), BlockingIOError), name


def test_removed_lock_file_does_not_count(tmp_path, monkeypatch):
    """A lock on a file that its holder removes meanwhile is not taken for the lock of the name."""
    path = tmp_path / "out"
    lock = locks._lock
    removed = []

    def lock_and_lose(descriptor):
        found = lock(descriptor)
        if not removed:
            removed.append(os.fstat(descriptor).st_ino)
            name_lock_file(path).rename(tmp_path / "removed")
        return found

    monkeypatch.setattr(locks, "_lock", lock_and_lose)
    with lock_destination(path, wait=False):
        assert name_lock_file(path).stat().st_ino != removed[0]


def test_forked_child(tmp_path):
    """A forked child holds none of its parent's locks, releases none, and outlives them."""
    path = tmp_path / "out"
    to_parent, to_child = os.pipe(), os.pipe()
    with lock_destination(path, wait=False):
        child = os.fork()
        if not child:
            with lock_destination(tmp_path / "own", wait=False):
                refused = isinstance(in_thread(lambda: take(path)), BlockingIOError)
            os.write(to_parent[1], b"\1" if refused else b"\0")
            os.read(to_child[0], 1)
            os._exit(0)
        assert os.read(to_parent[0], 1) == b"\1"
    assert take(path)
    with hold_elsewhere(path):
        assert name_lock_file(path).exists()
    os.write(to_child[1], b"\0")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for end in (*to_parent, *to_child):
        os.close(end)


def test_child_leaves_the_block(tmp_path):
    """A forked child that leaves the block by an error does not remove its parent's lock file."""
    path = tmp_path / "out"
    with lock_destination(path, wait=False):
        child = 1
        try:
            with lock_destination(path, wait=True):
                child = os.fork()
                if not child:
                    raise KeyError
        except KeyError:
            os._exit(0)
        os.waitpid(child, 0)
        assert name_lock_file(path).exists()
        assert "BlockingIOError" in refuse_elsewhere(path)


def test_file_system_without_locks(tmp_path, monkeypatch):
    """Without locks of the system threads still exclude each other, and the caller is told."""

    def fail(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", fail)
    with lock_destination(tmp_path / "out", wait=False) as shared:
        assert shared is False
        assert isinstance(in_thread(lambda: take(tmp_path / "out")), BlockingIOError)
    assert os.listdir(tmp_path) == []


def test_missing_folder(tmp_path):
    """A missing folder is made; what is made of it is removed if nothing is written there."""
    path = tmp_path / "a" / "b" / "out"
    with lock_destination(path, wait=False), lock_destination(path, wait=True):
        assert isinstance(in_thread(lambda: take(path)), BlockingIOError)
    assert os.listdir(tmp_path) == []
    with lock_destination(path, wait=False):
        path.with_name("other").mkdir()
    assert os.listdir(tmp_path / "a" / "b") == ["other"]


def test_folder_that_takes_no_lock(tmp_path, monkeypatch):
    """Where no lock file can be made, the error names the destination."""
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as missing:
        take(tmp_path / "file" / "out")
    assert missing.value.filename == str(tmp_path / "file" / "out")

    def fail(*arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Read-only") as refused:
        take(tmp_path / "out")
    assert refused.value.filename == str(tmp_path / "out")


def test_lock_file_of_another_user(tmp_path, monkeypatch):
    """A lock file that may be read but not written serves as a lock too."""
    name_lock_file(tmp_path / "out").touch()
    opened = os.open

    def open_to_read(path, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", open_to_read)
    assert take(tmp_path / "out")


def test_long_names(tmp_path):
    """A destination whose name has no room for an ending gets a lock of another name."""
    names = ["a" * 254 + end for end in "bc"]
    with lock_destination(tmp_path / names[0], wait=False):
        assert isinstance(in_thread(lambda: take(tmp_path / names[0])), BlockingIOError)
        assert take(tmp_path / names[1])


def test_foreign_content(tmp_path):
    """Whatever is in a lock file, the sentence quotes no more of it than a number."""
    path = tmp_path / "out"
    with lock_destination(path, wait=False):
        for content in (b"", b"\x1b[2J\n run\n", b"1" * 500, "١٢ save\n".encode()):
            name_lock_file(path).write_bytes(content)
            assert refuse_elsewhere(path) == (
                f"BlockingIOError: {path} must have one writer at a time, but another process is "
                "writing it; wait until that is done, or choose another name"
            )
