"""Files of one directory are read all of one version, while savers replace it."""

import os
import shutil

import pytest

from minisbert.system import disk, whole_reads
from minisbert.system.whole_reads import read_whole


def write_version(path, version, swap=True):
    """Replace a directory of two files, as models are saved."""
    with pytest.MonkeyPatch.context() as patch:
        if not swap:
            patch.setattr(disk, "_swap", lambda *_: False)
        with disk.write_directory(path, "a", ["a", "b"]) as new:
            for name in ("a", "b"):
                (new / name).write_text(version, "utf-8")


class Reader:
    """Read both files of a directory, and let something happen between them."""

    def __init__(self, path, between):
        self.path, self.between, self.calls = path, between, 0

    def __call__(self):
        self.calls += 1
        first = (self.path / "a").read_text("utf-8")
        self.between(self.calls)
        return first, (self.path / "b").read_text("utf-8")


@pytest.fixture
def path(tmp_path):
    write_version(tmp_path / "model", "old")
    return tmp_path / "model"


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("times", [0, 1, 5, 40])
def test_a_replaced_directory_is_read_again(path, times, swap):
    """What was read of two versions is dropped, however often it happens."""
    reader = Reader(path, lambda n: n <= times and write_version(path, str(n), swap))
    version = str(times) if times else "old"
    assert read_whole(path, reader) == (version, version)
    assert reader.calls == times + 1


def test_an_error_of_a_replaced_directory_does_not_count(path):
    """A file that the saver has removed with the old directory is no missing file."""

    def lose(call):
        if call == 1:
            write_version(path, "new")
            raise FileNotFoundError("b")

    assert read_whole(path, Reader(path, lose)) == ("new", "new")


@pytest.mark.parametrize("kind", [FileNotFoundError, ValueError, KeyError])
def test_an_error_of_the_same_directory_is_raised_at_once(path, kind):
    """A directory that nobody replaces is read once."""

    def fail(_):
        raise kind("b")

    reader = Reader(path, fail)
    with pytest.raises(kind, match="b"):
        read_whole(path, reader)
    assert reader.calls == 1


def test_nothing_under_the_name_for_a_moment(path):
    """Between two renames, or after a kill between them, the old directory is put back."""
    path.rename(path.with_name(f".model.{'0' * 16}.old"))
    assert read_whole(path, Reader(path, lambda _: None)) == ("old", "old")


def test_a_directory_that_is_gone(path):
    """Without any directory the reader's own error is raised."""
    shutil.rmtree(path)
    with pytest.raises(FileNotFoundError):
        read_whole(path, Reader(path, lambda _: None))


def test_a_link_that_is_turned_to_another_directory(path, tmp_path):
    """So a path with a link in it is read, too."""
    write_version(tmp_path / "other", "new")
    link = tmp_path / "current"
    link.symlink_to(path)

    def turn(call):
        if call == 1:
            (tmp_path / "next").symlink_to(tmp_path / "other")
            (tmp_path / "next").rename(link)

    assert read_whole(link, Reader(link, turn)) == ("new", "new")


def test_a_directory_that_never_rests(path, monkeypatch):
    """After many attempts the error says what to do."""
    monkeypatch.setattr(whole_reads, "_ATTEMPTS", 25)
    with pytest.raises(OSError, match=r"must stay the same while it is read, .* 25 times; load it"):
        read_whole(path, Reader(path, lambda n: write_version(path, str(n))))


def test_a_directory_that_may_not_be_listed(path, monkeypatch):
    """Files can be read in a directory that can't be opened, and replacing it is noticed."""
    opened = os.open

    def refuse(name, flags, *rest, **options):
        if flags & os.O_DIRECTORY:
            raise PermissionError(name)
        return opened(name, flags, *rest, **options)

    monkeypatch.setattr(whole_reads.os, "open", refuse)
    reader = Reader(path, lambda n: n == 1 and write_version(path, "new"))
    assert read_whole(path, reader) == ("new", "new")
