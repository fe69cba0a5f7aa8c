"""Files and directories appear whole, or not at all."""

import errno
import os
import resource
import stat
import threading

import pytest

from minisbert.system import disk, locks
from minisbert.system.disk import (
    recover_directory,
    remove_directory,
    sync_tree,
    write_directory,
    write_file,
)
from minisbert.system.locks import lock_destination


def write(path, content):
    with write_file(path) as file:
        file.write(content)


# A file


def test_failure_keeps_the_old_file(tmp_path):
    """After any failure while writing, the old file stays and nothing else is left behind."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half(error):
        with write_file(path) as file:
            file.write(b"new")
            raise error

    for error in (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_half(error)
        assert os.listdir(tmp_path) == ["file"]
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failing_step_keeps_the_old_file(tmp_path, monkeypatch, step):
    """A full disk that fails only the flush or the rename leaves the old file."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write(path, b"new")
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_disk_that_takes_no_more(tmp_path):
    """A write that the system refuses halfway leaves the old file, and no part of the new one."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(path, bytes(1 << 22))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_new_file_has_the_usual_permissions(tmp_path):
    """A written file is as readable as any other that the user makes."""
    (tmp_path / "usual").touch()
    write(tmp_path / "file", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "file")]
    assert modes[0] == modes[1]


def test_missing_folder(tmp_path):
    """A folder that is not there is an error at once."""
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "nowhere" / "file", b"")


def test_order_of_the_steps(tmp_path, monkeypatch):
    """The whole file is flushed to the disk before it is renamed, and the folder after."""
    steps = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle):
        status = os.fstat(handle)
        steps.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)
        fsync(handle)

    def note_replace(source, target):
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write(tmp_path / "file", b"12345")
    assert steps == [5, "rename", "folder"]


def test_links_are_followed_and_devices_written_to(tmp_path):
    """Writing through a link changes its target; a pipe is written to, not replaced."""
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"

    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(tmp_path / "pipe", b"through")
        assert os.read(reader, 10) == b"through"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


# A directory


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=repr)
def test_failure_keeps_the_old_directory(tmp_path, error, old):
    """An error or an interrupt in the middle leaves what was there, and nothing else."""
    if old:
        (tmp_path / "saved").mkdir()
        (tmp_path / "saved" / "marker").write_text("old")

    def write_half():
        with write_directory(tmp_path / "saved", "marker", ["marker", "half"]) as directory:
            (directory / "half").write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert os.listdir(tmp_path) == ["saved"] * old
    if old:
        assert os.listdir(tmp_path / "saved") == ["marker"]


def save(path, content):
    """Write a directory that holds one file."""
    with write_directory(path, "marker", ["marker"]) as directory:
        (directory / "marker").write_text(content)


def start(run, *arguments):
    """Run a function in another thread, which has some time until this one goes on."""
    thread = threading.Thread(target=run, args=arguments)
    thread.start()
    thread.join(0.05)
    return thread


@pytest.mark.parametrize("swap", [True, False])
def test_replacement(tmp_path, monkeypatch, swap):
    """A directory is replaced whether or not two names can be swapped, and nothing is left."""
    if not swap:
        monkeypatch.setattr(disk, "_swap", lambda new, destination: False)
    for content in ("first", "second"):
        save(tmp_path / "saved", content)
        assert (tmp_path / "saved" / "marker").read_text() == content
    assert os.listdir(tmp_path) == ["saved"]


def test_swap(tmp_path, monkeypatch):
    """Where names can be swapped, the directory is under its name at every moment."""
    save(tmp_path / "saved", "old")
    if not disk._swap(tmp_path, tmp_path):
        pytest.skip("this file system can't swap two names")
    monkeypatch.setattr(os, "replace", None)
    save(tmp_path / "saved", "new")
    assert (tmp_path / "saved" / "marker").read_text() == "new"


def test_second_writer_waits(tmp_path):
    """Of two writers of a directory the second waits, and replaces what the first wrote."""
    path = tmp_path / "saved"
    save(path, "old")
    with write_directory(path, "marker", ["marker"]) as directory:
        (directory / "marker").write_text("first")
        second = start(save, path, "second")
        assert (path / "marker").read_text() == "old"
    second.join()
    assert (path / "marker").read_text() == "second"
    assert os.listdir(tmp_path) == ["saved"]


def test_living_writer_loses_nothing(tmp_path):
    """A reader that cleans up waits for a writer that is alive, and removes nothing of its."""
    path = tmp_path / "saved"
    with write_directory(path, "marker", ["marker"]) as directory:
        (directory / "marker").write_text("new")
        reader = start(recover_directory, path)
        assert directory.exists()
    reader.join()
    assert (path / "marker").read_text() == "new"


def test_long_run_loses_nothing(tmp_path):
    """While a long run writes a directory, saves to it are refused, and nothing is cleaned up."""
    path, unfinished = tmp_path / "saved", tmp_path / ".saved.0123456789abcdef.new"
    unfinished.mkdir()
    errors = []

    def fail_to_write():
        for write in (lambda: save(path, "new"), lambda: remove_directory(path)):
            with pytest.raises(BlockingIOError, match="one writer at a time") as refused:
                write()
            errors.append(refused)
        recover_directory(path)

    with lock_destination(path, wait=False):
        start(fail_to_write).join()
    assert len(errors) == 2
    assert unfinished.exists()
    recover_directory(path)
    assert not unfinished.exists()


def test_cleaning_up_without_locks(tmp_path, monkeypatch):
    """On a file system without locks only the old directory is put back: others may be at work."""
    monkeypatch.setattr(locks, "_lock", lambda descriptor: False)
    for age in ("new", "old"):
        (tmp_path / f".saved.0123456789abcdef.{age}").mkdir()
    recover_directory(tmp_path / "saved")
    assert sorted(os.listdir(tmp_path)) == [".saved.0123456789abcdef.new", "saved"]


def test_cleaning_up_where_nothing_may_change(tmp_path, monkeypatch):
    """A reader who may not write there reads what is there."""
    (tmp_path / ".saved.0123456789abcdef.new").mkdir()

    def fail(*arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(locks, "_open_lock_file", fail)
    recover_directory(tmp_path / "saved")
    assert os.listdir(tmp_path) == [".saved.0123456789abcdef.new"]


def test_sync_tree(tmp_path, monkeypatch):
    """Every file and folder at any depth is flushed to the disk, a file before its folder."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "a" / "b" / "two").write_bytes(b"22")
    synced = []

    def note(handle):
        synced.append(os.fstat(handle).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    sync_tree(tmp_path)
    places = {path: synced.index(path.stat().st_ino) for path in [tmp_path, *tmp_path.rglob("*")]}
    assert len(synced) == len(places) == 5
    assert all(places[path] < places[path.parent] for path in places if path.is_file())
