"""The harness of all comparisons: sides in processes of their own, swept, checked, timed in turns.

A *side* is one library on one task. It has a process of its own, since the thread pools of torch,
onnxruntime and OpenBLAS disturb each other inside one, and waits there until it is asked. Every
rival is swept over its settings; its best setting and its default both take part, after each
setting has given minisbert's numbers, else the script stops. The sides take turns, A B C A B C, and
a ratio is the median over rounds of two times from the same round: what slows the machine down
slows down both. Before each turn come a pause, in which the threads of the previous side stop
spinning, and a run that does not count.
"""

import argparse
import atexit
import contextlib
import io
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PAUSE = 0.3  # seconds before a turn; idle threads of OpenMP spin for up to 0.2
TOLERANCE = 1e-5  # largest difference between a rival's numbers and minisbert's
NEAR = 1.3  # times the quickest setting's time: too near to tell apart by one run
REPEATS = 3  # runs of each of these


class Workload(NamedTuple):
    """Inputs to time: the median of `repeats` runs counts, after some on `warm_up` that do not."""

    inputs: Any
    warm_up: Any
    repeats: int = 1


class Side:
    """One library on one task. A subclass fills `workloads` and defines `run`.

    name       for the tables
    settings   keyword arguments of `prepare` and `run` that a sweep tries; the default first
    workloads  by name
    run        (inputs, **setting) -> answer: an array or a tuple of arrays
    """

    name = "minisbert"
    settings: Sequence[dict] = ({},)
    workloads: dict[str, Workload]
    run: Callable[..., Any]

    def prepare(self, **setting) -> None:
        """Set the switches that are global to the process; not timed."""

    def time(self, workload: str, setting: dict) -> float:
        """Return the seconds of a workload and keep its answer."""
        inputs, warm_up, repeats = self.workloads[workload]
        self.prepare(**setting)
        for _ in range(1 + repeats // 5):
            self.run(warm_up, **setting)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            self.answer = self.run(inputs, **setting)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    @staticmethod
    def read_memory(*names: str) -> np.ndarray:
        """Return megabytes of this process by Linux's names; VmHWM is the peak."""
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        status = dict(line.split(":") for line in lines)
        return np.array([int(status[name].split()[0]) * 1024e-6 for name in names])

    def get(self, name: str) -> Any:
        """Return an attribute."""
        return getattr(self, name)

    def get_answer(self) -> Any:
        """Return the part of the last answer that must be equal on all sides."""
        return self.answer


def _serve(connection: Connection, side: type[Side], arguments: tuple, checkout: str) -> None:
    """Make a side, then call its methods as asked until the other end closes."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # models are directories here
    warnings.simplefilter("ignore")
    sys.path.insert(0, checkout)
    with contextlib.redirect_stderr(io.StringIO()):
        made = side(*arguments)
    connection.send((made.name, made.settings))
    with contextlib.suppress(EOFError):
        while True:
            method, arguments = connection.recv()
            connection.send(getattr(made, method)(*arguments))


class Worker:
    """A side in a process of its own, which imports minisbert from a checkout if one is given."""

    def __init__(self, side: type[Side], *arguments: Any, checkout: str | Path = "") -> None:
        self.name, context = side.name, multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, side, arguments, str(checkout or sys.path[0]))
        context.Process(target=_serve, args=arguments).start()
        theirs.close()
        atexit.register(self.connection.close)  # which ends the process
        self.name, self.settings = self._receive()

    def _receive(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise SystemExit(f"{self.name}: the process of this side has ended") from None

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of the side and return what it returns."""
        self.connection.send((method, arguments))
        return self._receive()

    def time(self, workload: str, setting: dict) -> float:
        """Return the seconds of a workload, after a pause."""
        time.sleep(PAUSE)
        return self.ask("time", workload, setting)

    def solve(self, workload: str, **setting) -> Any:
        """Run a workload and return its answer."""
        self.time(workload, setting)
        return self.ask("get_answer")


class Entry(NamedTuple):
    """A side that takes part in the rounds, under one setting."""

    label: str
    worker: Worker
    setting: dict


def check(name: str, answer: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    """Stop unless two answers, arrays or tuples of arrays of one shape, are the same."""
    if not np.allclose(answer, expected, rtol=0, atol=tolerance):
        raise SystemExit(f"{name} gives other numbers")


def sweep(worker: Worker, workload: str, expected: Any, limit: float) -> dict | None:
    """Return the quickest setting of a rival; None if all take longer than `limit` seconds.

    Every setting runs once, those near the quickest more often. Answers must be the expected one.
    """

    def measure(setting: dict, count: int) -> float:
        times = []
        for _ in range(count):
            times.append(worker.time(workload, setting))
            if expected is not None:
                check(worker.name, worker.ask("get_answer"), expected)
        seconds = statistics.median(times)
        print(f"  {worker.name:24} {show(seconds)}  {setting}", flush=True)
        return seconds

    times = [measure(setting, 1) for setting in worker.settings]
    near = [i for i, seconds in enumerate(times) if seconds < NEAR * min(times)]
    if min(times) > limit:
        return None
    return worker.settings[min(near, key=lambda i: measure(worker.settings[i], REPEATS))]


def compare(
    workload: str, ours: list[Entry], rivals: list[Worker], *, expected, rounds, limit=np.inf
) -> tuple[list[Entry], np.ndarray]:
    """Sweep the rivals, let all take turns; return the entries, and their times by rounds."""
    print(f"\n{workload}: the rivals' settings")
    entries = [*ours]
    for rival in rivals:
        best, default = sweep(rival, workload, expected, limit), rival.settings[0]
        if best is None:
            print(f"  {rival.name} is too slow to take part")
        else:
            entries.append(Entry(f"{rival.name} at its best", rival, best))
        if best not in (None, default):
            entries.append(Entry(f"{rival.name} by default", rival, default))
    return entries, time_entries(entries, workload, rounds)


def time_entries(entries: Sequence[Entry], workload: str, rounds: int) -> np.ndarray:
    """Return the seconds of a workload in turns; print medians, and ratios to the first entry."""
    print(f"\n{workload}, {rounds} rounds: median time, times {entries[0].label}'s (range)")
    times = [[e.worker.time(workload, e.setting) for e in entries] for _ in range(rounds)]
    times = np.array(times)  # (rounds, entries)
    for (label, _, setting), column in zip(entries, times.T, strict=True):
        ratios = column / times[:, 0]
        ratio = f"x {np.median(ratios):5.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        print(f"  {label:34} {show(np.median(column))}  {ratio}  {setting or ''}")
    return times


def show(seconds: float) -> str:
    return f"{seconds:8.2f} s " if seconds >= 1 else f"{1e3 * seconds:8.2f} ms"


def parse_options(description: str, **defaults: Any) -> argparse.Namespace:
    """Read the command line: an option for each keyword, of the type of its default.

    A type instead of a default makes a positional argument; a list takes several values.
    """
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=kind)
    for name, default in defaults.items():
        if isinstance(default, type):
            parser.add_argument(name, type=default)
        elif isinstance(default, list):
            parser.add_argument(f"--{name}", nargs="+", type=type(default[0]), default=default)
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def print_machine(*packages: str) -> None:
    """Print machine, versions, date and command, a line each."""
    from minisbert.costs import describe_machine

    for name, fact in describe_machine(*packages).items():
        say(name, fact)
    say("date", time.strftime("%Y-%m-%d"))
    say("command", " ".join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]))


def say(name: str, fact: str) -> None:
    print(f"{name:14} {fact}", flush=True)
