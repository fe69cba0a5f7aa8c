"""A progress bar on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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

    with tqdm(total=total, unit="text", desc=name) as bar:
        yield bar.update
