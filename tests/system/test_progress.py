"""A progress bar counts texts."""

import sys

import pytest

from minisbert.system.progress import progress_bar


@pytest.mark.parametrize(
    ("shown", "terminal", "appears"),
    [(True, False, True), (False, True, False), (None, True, True), (None, False, False)],
)
def test_bar(capsys, monkeypatch, shown, terminal, appears):
    """A bar appears if it is asked for, and by default only on a terminal."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with progress_bar(3, shown, "compare") as advance:
        advance(1)
        advance(2)
    printed = capsys.readouterr().err
    assert ("compare: 100%" in printed) == appears
    assert ("3/3" in printed) == appears
    assert appears or not printed
