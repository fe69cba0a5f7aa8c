"""A progress bar on the terminal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def progress_bar(
    total: int | None, shown: bool | None, name: str = "encode"
) -> Iterator[Callable[[int], object]]:
    """Show a bar that counts texts inside the `with` block; yield the function that advances it.

    total  texts in all, None if it is not known
    shown  whether to show the bar; None for only on a terminal
    name   of the work, before the bar
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda texts: None
        return
    from tqdm import tqdm  # imported only here: it takes longer than a short encode

    _renew_lock_in_children()
    with tqdm(total=total, unit="text", desc=name) as bar:
        yield bar.update


@cache
def _renew_lock_in_children() -> None:
    """Give bars another lock after each fork from now on.

    A thread that draws its bar during a fork would hold the lock in the child for ever.
    """
    from tqdm import tqdm

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: tqdm.set_lock(threading.RLock()))
