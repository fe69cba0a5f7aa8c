"""Limit the threads of BLAS from any thread, and give back what was found.

OpenBLAS with threads of its own, as in NumPy's wheels, has one number of threads for the process.
If two limits overlapped in time and each restored the value that it found, they could restore in
the wrong order and leave BLAS at one thread for ever. So there is one owner of the number: the
first call that enters saves it, calls that enter later may only lower it, and the last that leaves
restores it. MKL, and an OpenBLAS built with OpenMP, have a number for each thread instead, so a
call and each thread of its pool set their own.

A fork copies the process with only the thread that called it. What the other threads hold would be
held in the child for ever, so the owner is locked while a process forks, and the child forgets the
calls of threads that it doesn't have. Besides, OpenBLAS stops its threads at a fork, and waits for
ever if one of them is at work. So a fork waits for calls with several BLAS threads.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

from threadpoolctl import ThreadpoolController

# Builds of OpenBLAS put these around the names of its functions.
_SETTERS = [
    f"{prefix}openblas_set_num_threads{suffix}"
    for prefix, suffix in product(("scipy_", ""), ("64_", "_64", ""))
]

# A call with several BLAS threads is one batch, which takes a few seconds with the largest models.
# After this many seconds a fork waits no longer, in case a call itself waits for the new process.
_LONGEST_WAIT = 60.0


class _Library:
    """A BLAS library's number of threads.

    shared  whether the process has one number, or each thread its own; None if not known yet
    found   the shared number before the first call entered
    set_to  the shared number that the calls inside have set
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self.set = _find_setter(library)
        self.shared: bool | None = None
        self.found = self.set_to = 0

    def count(self) -> int:
        """Return the number of threads of a product in this thread."""
        return int(self._library.num_threads or 1)

    def lower(self, threads: int) -> None:
        """Set the number; the first time find out whose it is, by setting it in another thread."""
        if self.shared is None:
            other = threading.Thread(target=self.set, args=(threads,))
            other.start()
            other.join()
            self.shared = self.count() == threads
            if self.shared:
                return
        self.set(threads)


def _find_setter(library: Any) -> Any:
    """Return the function that sets the number of threads of a library.

    That of threadpoolctl 3.7 and later does nothing for OpenBLAS in any thread but the first that
    called it. OpenBLAS's own works in each.
    """
    if library.internal_api == "openblas" and library.threading_layer != "openmp":
        functions = ctypes.CDLL(library.filepath)
        for name in _SETTERS:
            if hasattr(functions, name):
                return getattr(functions, name)
    return library.set_num_threads


@dataclass(eq=False)
class _Call:
    """A call that is inside.

    thread   its thread
    several  whether its products may run on several threads
    own      libraries with a number for each thread, with the number that was found
    """

    thread: int
    several: bool
    own: list[tuple[_Library, int]]


class _BlasLimits:
    """The one owner of BLAS's numbers of threads.

    While several calls are inside, each gets one BLAS thread, as suits a server that answers many
    requests at once: BLAS's own threads would only wait for each other. Two long texts at once take
    a tenth less time this way.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._libraries: list[_Library] | None = None
        self._calls: list[_Call] = []
        self._forks = 0

    def enter(self, threads: int) -> _Call:
        with self._changed:
            if self._libraries is None:
                controller = ThreadpoolController().select(user_api="blas")
                self._libraries = [_Library(library) for library in controller.lib_controllers]
            if not self._calls:
                for library in self._libraries:
                    library.found = library.set_to = library.count()
            if self._calls or self._forks:
                threads = 1
            own = []
            for library in self._libraries:
                found = library.count()
                if found > threads:
                    library.lower(threads)
                    if library.shared:
                        library.set_to = threads
                    else:
                        own.append((library, found))
            several = any(library.count() > 1 for library in self._libraries)
            call = _Call(threading.get_ident(), several, own)
            self._calls.append(call)
            return call

    def leave(self, call: _Call) -> None:
        with self._changed:
            self._calls.remove(call)
            if call.thread == threading.get_ident():
                for library, found in call.own:
                    library.set(found)
            self._restore_shared()
            self._changed.notify_all()

    def enter_pool(self) -> None:
        """Give a new thread, whose products are parts of a call, one BLAS thread for good."""
        with self._changed:
            for library in self._libraries or []:
                if library.shared is False and library.count() > 1:
                    library.set(1)

    def _restore_shared(self) -> None:
        """When no call is inside, restore each shared number, unless somebody else has set it."""
        if not self._calls:
            for library in self._libraries or []:
                if library.set_to != library.found and library.count() == library.set_to:
                    library.set(library.found)

    def before_fork(self) -> None:
        """Take the lock, when no other thread is in a call with several BLAS threads."""
        self._changed.acquire()
        self._forks += 1
        here = threading.get_ident()
        self._changed.wait_for(
            lambda: not any(call.several and call.thread != here for call in self._calls),
            _LONGEST_WAIT,
        )

    def after_fork_in_parent(self) -> None:
        self._forks -= 1
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Keep only the calls of the one thread that the child has."""
        self._changed = threading.Condition(threading.Lock())
        self._forks = 0
        here = threading.get_ident()
        self._calls = [call for call in self._calls if call.thread == here]
        self._restore_shared()


_blas_limits = _BlasLimits()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_blas_limits.before_fork,
        after_in_parent=_blas_limits.after_fork_in_parent,
        after_in_child=_blas_limits.after_fork_in_child,
    )


@contextmanager
def limit_blas(threads: int) -> Iterator[None]:
    """Keep BLAS at no more than this many threads inside the `with` block."""
    call = _blas_limits.enter(threads)
    try:
        yield
    finally:
        _blas_limits.leave(call)


def enter_pool() -> None:
    """Limit BLAS in a new thread of a pool to one thread, where each thread has its own limit."""
    _blas_limits.enter_pool()
