"""A progress bar counts texts."""

import os
import signal
import sys
import threading

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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_shows_its_bar(capsys):
    """A child that is forked while another thread draws its bar can draw one."""
    from tqdm import tqdm

    held, done = threading.Event(), threading.Event()

    def draw():
        with tqdm.get_lock():
            held.set()
            done.wait(10)

    with progress_bar(1, True) as advance:
        advance(1)
    drawing = threading.Thread(target=draw)
    drawing.start()
    held.wait(10)
    child = os.fork()
    if not child:
        signal.alarm(5)  # ends a child that waits
        with progress_bar(1, True) as advance:
            advance(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    done.set()
    drawing.join()
