"""How the comparisons measure: sides in processes of their own, swept, then asked in turn.

Each side lives in a process of its own that sleeps while another one works, since the thread pools
of torch, onnxruntime and OpenBLAS disturb each other inside one. Every rival is swept over its
settings first. Then the sides take turns, A B C D A B C D, and a ratio is the median over rounds of
two times from the same round.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import re
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

TOLERANCE = 1e-5
PACKAGES = ("numpy", "tokenizers", "torch", "sentence-transformers", "onnxruntime")


# Processes


def serve(connection, side_class, directory: str, texts: list[str]) -> None:
    """Answer (method, arguments) with the result until None comes."""
    warnings.simplefilter("ignore")
    with contextlib.redirect_stderr(None):
        side = side_class(directory, texts)
    connection.send("ready")
    for method, arguments in iter(connection.recv, None):
        connection.send(getattr(side, method)(*arguments))


class Worker:
    """A side in a process of its own, asleep unless asked."""

    def __init__(self, side_class, directory: str, texts: list[str]) -> None:
        self.side = side_class
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, side_class, directory, texts), daemon=True
        )
        self.process.start()
        theirs.close()
        assert self.connection.recv() == "ready"

    def ask(self, method: str, *arguments):
        self.connection.send((method, arguments))
        return self.connection.recv()

    def close(self) -> None:
        self.connection.send(None)
        self.process.join()


# Measuring and telling


def describe_machine() -> str:
    """Machine, processor, cores, Python, packages and command, a line each."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        processor = found[1] if found else processor
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"machine   {platform.system()} {platform.machine()}, {processor}, {os.cpu_count()} cores\n"
        f"versions  Python {platform.python_version()}, {packages}\n"
        f"command   python {' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}"
    )


def write_setting(setting: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items()) or "as it comes"


def sweep(worker: Worker, expected: np.ndarray) -> tuple[dict, dict]:
    """The rival's quickest settings for many texts and for a short one, all vectors verified.

    Every setting has a quarter of the texts to encode; those less than a quarter slower than the
    quickest then have all of them, since large batches are padded less where there is more choice.
    """
    settings = worker.side.settings
    quarter, short = [], []
    for setting in settings:
        quarter.append(worker.ask("time_encode", setting, 4))
        check_vectors(worker, expected[::4])
        short.append(worker.ask("time_short", setting))
        print_setting(worker, setting, f"{quarter[-1]:6.2f} s  {1000 * short[-1]:6.2f} ms")
    whole = []
    for i in (i for i, seconds in enumerate(quarter) if seconds < 1.25 * min(quarter)):
        whole.append((worker.ask("time_encode", settings[i]), i))
        check_vectors(worker, expected)
        print_setting(worker, settings[i], f"{whole[-1][0]:6.2f} s  all texts")
    return settings[min(whole)[1]], settings[short.index(min(short))]


def check_vectors(worker: Worker, expected: np.ndarray) -> None:
    difference = np.abs(worker.ask("get_vectors") - expected).max()
    if not difference <= TOLERANCE:
        raise SystemExit(f"{worker.side.name} gives other vectors, {difference:.1e} away")


def print_setting(worker: Worker, setting: dict, figures: str) -> None:
    print(f"  {worker.side.name:22} {figures}  {write_setting(setting)}", flush=True)


def take_turns(rounds: int, sides: list, method: str) -> np.ndarray:
    """Ask the sides one after another, round after round.  -> (rounds, sides)"""
    return np.array(
        [[worker.ask(method, setting) for _, worker, setting in sides] for _ in range(rounds)]
    )


def print_ratios(sides: list, times: np.ndarray, unit: float, sign: str) -> None:
    """A line for each side: median time, and how many times the first side's it is."""
    for (name, _, setting), column in zip(sides, times.T, strict=True):
        ratios = column / times[:, 0]
        print(
            f"  {name:34} {np.median(column) * unit:8.2f} {sign}  x {np.median(ratios):5.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f})  {write_setting(setting)}"
        )
