import os

import pytest

from minisbert.system.file_identity import FileIdentity, reopen


def test_an_unchanged_file_is_opened_again(tmp_path):
    """A path that still leads to the same file is opened, and gives its bytes."""
    path = tmp_path / "rows"
    path.write_bytes(b"rows")
    with path.open("rb") as file:
        identity = FileIdentity.of(file.fileno())
    assert identity == FileIdentity.of(path)
    with reopen(path, identity) as file:
        assert file.read() == b"rows"


def test_a_replaced_file_is_refused(tmp_path):
    """Another file under the name is refused, though it holds the same bytes."""
    path, other = tmp_path / "rows", tmp_path / "other"
    path.write_bytes(b"rows")
    other.write_bytes(b"rows")
    identity = FileIdentity.of(path)
    os.utime(other, ns=(identity.changed, identity.changed))
    os.replace(other, path)
    with pytest.raises(
        ValueError, match=r"rows must be the file that was loaded, got another file"
    ):
        reopen(path, identity)


@pytest.mark.parametrize("content", [b"other rows", b"ROWS"])
def test_a_changed_file_is_refused(tmp_path, content):
    """A file that was written to is refused, whether or not its size changed."""
    path = tmp_path / "rows"
    path.write_bytes(b"rows")
    os.utime(path, ns=(0, 0))
    identity = FileIdentity.of(path)
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="must be the file that was loaded, got one that was changed"
    ):
        reopen(path, identity)


def test_a_missing_file_is_named(tmp_path):
    """A file that is gone gives FileNotFoundError with its path."""
    path = tmp_path / "rows"
    path.write_bytes(b"rows")
    identity = FileIdentity.of(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="rows must still be where it was loaded from"):
        reopen(path, identity)
