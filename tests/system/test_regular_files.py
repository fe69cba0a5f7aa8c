"""Files that others made: pipes, devices and giants are refused at once."""

import os

import pytest

from minisbert.system.regular_files import open_regular, read_regular, shorten_path


def test_a_regular_file_is_read_whole_also_through_a_link(tmp_path):
    """Links are followed."""
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "file", 3) == read_regular(tmp_path / "link") == b"abc"
    with open_regular(tmp_path / "link") as file:
        assert file.read(2) == b"ab"


def test_a_pipe_is_refused_without_waiting(tmp_path):
    """Nobody writes to this pipe, so a plain open would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe must be a regular file, got a pipe; put a file"):
        read_regular(tmp_path / "pipe")


@pytest.mark.parametrize(("path", "kind"), [("/dev/zero", "a device"), ("/", "a directory")])
def test_devices_and_directories_are_refused(path, kind):
    """The error says what is there."""
    with pytest.raises(ValueError, match=f"must be a regular file, got {kind}; put a file"):
        read_regular(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    """A sparse file of a terabyte takes no memory."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="must have at most 67,108,864 bytes, got 1,099,511"):
        read_regular(tmp_path / "large")


def test_no_descriptor_is_left_open_after_an_error():
    """A refused file is closed."""
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        with pytest.raises(ValueError, match="regular"):
            open_regular("/dev/null")
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)


def test_a_path_in_an_error_is_printable_and_not_endless():
    """Control characters are escaped; of a long path the end is shown."""
    assert shorten_path("a/b.txt") == "a/b.txt"
    assert shorten_path("a\x1b[2Jb") == r"'a\x1b[2Jb'"
    assert len(shorten_path("a" * 1000)) == 300
