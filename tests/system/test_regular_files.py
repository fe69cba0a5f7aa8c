"""Files that others made: pipes, devices and giants are refused at once."""

import errno
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


def test_pointer_of_git_lfs_is_called_one(tmp_path):
    """What a clone without Git LFS leaves in the place of a large file is not read as the file."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90\n")
    for read in (open_regular, read_regular):
        with pytest.raises(ValueError, match="got a pointer of Git LFS; run `git lfs pull`"):
            read(path)
    path.write_bytes(b"version 1\n")
    assert read_regular(path) == b"version 1\n"


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.EACCES, PermissionError), (errno.EIO, OSError), (errno.ELOOP, OSError)],
)
def test_errors_of_the_system_become_one_sentence(tmp_path, monkeypatch, code, kind):
    """A file that may not or can't be read is called that, with the system's reason."""
    (tmp_path / "file").write_bytes(b"abc")

    def fail(*_):
        raise OSError(code, os.strerror(code), str(tmp_path / "file"))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(
        kind, match=f"file must be a file that can be read, got .*{os.strerror(code)}"
    ):
        read_regular(tmp_path / "file")


def test_unusable_paths_become_one_sentence(tmp_path):
    """So is a path that is too long, goes round in a circle, or leads through a file."""
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("a" * 300, "circle", "file/inner"):
        with pytest.raises(
            OSError, match="must be a file that can be read, got the system's"
        ) as error:
            read_regular(tmp_path / name)
        assert error.value.errno is None
        assert len(str(error.value)) < 450


def test_no_descriptor_is_left_open_after_an_error(tmp_path):
    """A refused file is closed."""
    pointer = tmp_path / "pointer"
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for path in ["/dev/null", pointer] * 20:
        with pytest.raises(ValueError, match=r"regular|Git LFS"):
            open_regular(path)
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)


def test_a_path_in_an_error_is_printable_and_not_endless():
    """Control characters are escaped; of a long path the end is shown."""
    assert shorten_path("a/b.txt") == "a/b.txt"
    assert shorten_path("a\x1b[2Jb") == r"'a\x1b[2Jb'"
    assert len(shorten_path("a" * 1000)) == 300
