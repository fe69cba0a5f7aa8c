"""Compare start-up, memory and installed size with sentence-transformers.

    python benchmarks/compare_startup.py [--model NAME] [--count 2000] [--rounds 5]

needs the peers (`make bench-peers`). Every run is a process of its own, the two libraries in turn,
after a first round that fills the system's cache and does not count. The first embedding is timed
from the start of a process to its end, with one text encoded; peak memory is Linux's VmHWM with
--count texts; installed is the package and all it requires. Not measured: cold disks, downloads.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from corpora import MODEL, find_model, read_texts
from harness import parse_options, print_machine

LIBRARIES = ("minisbert", "sentence_transformers")

PROGRAM = r"""
import json, re, sys, time
start = time.perf_counter()
from {library} import SentenceTransformer
seconds = time.perf_counter() - start
heavy = [name for name in ("torch", "transformers", "huggingface_hub") if name in sys.modules]
SentenceTransformer({directory!r}).encode(json.load(sys.stdin), show_progress_bar=False)
print(seconds, re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1], *heavy)
"""


def measure_run(directory: str, texts: list[str], library: str) -> tuple[float, float, float]:
    """Encode texts in a new process; return seconds of import, of the process, and megabytes."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM.format(**locals())]
    options = {"check": True, "text": True, "capture_output": True, "input": json.dumps(texts)}
    start = time.perf_counter()
    imported, peak, *heavy = subprocess.run(command, **options).stdout.split()
    seconds = time.perf_counter() - start
    if library == "minisbert" and heavy:
        raise SystemExit(f"import minisbert must not import {', '.join(heavy)}")
    return float(imported), seconds, 1024e-6 * int(peak)


def find_distributions(root: str) -> dict[str, metadata.Distribution]:
    """Return the installed distributions that one requires, itself included, by name."""
    found, wanted = {}, [root]
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        with contextlib.suppress(metadata.PackageNotFoundError):  # for another system
            if name not in found:
                found[name] = metadata.distribution(name)
                needed = [line for line in found[name].requires or () if "extra ==" not in line]
                wanted += [re.match(r"[\w.-]+", line)[0] for line in needed]
    return found


def measure_size(root: str) -> tuple[float, int]:
    """Return megabytes of a distribution and all that it requires, and their number."""
    distributions = find_distributions(root)
    files = {
        Path(distribution.locate_file(file)).resolve()
        for distribution in distributions.values()
        for file in distribution.files or ()
    }
    if root == "minisbert":
        # An editable installation lists none of the package's own files.
        import minisbert

        package = Path(minisbert.__file__).resolve().parent
        files.update(path for path in package.rglob("*.*") if path.suffix != ".pyc")
    return sum(file.stat().st_size for file in files if file.is_file()) * 1e-6, len(distributions)


def print_row(name: str, unit: str, figures: np.ndarray) -> None:
    (ours, theirs), ratio = np.median(figures, axis=0), np.median(figures[:, 1] / figures[:, 0])
    print(f"  {name:16} {ours:10.3f} {theirs:10.3f} {unit:3} x {ratio:6.1f}", flush=True)


def main() -> None:
    options = parse_options(__doc__, model=MODEL, count=2000, rounds=5)
    directory, texts = find_model(options.model), read_texts(options.count)
    os.environ["HF_HUB_OFFLINE"] = "1"  # the model is a directory
    print_machine("tokenizers", "torch", "sentence-transformers")
    print(f"\n  {'':16} {'minisbert':>10} {'s.-transf.':>10}")
    short, long = [], []  # each (rounds, libraries, figures)
    for _ in range(options.rounds + 1):
        short.append([measure_run(directory, texts[:1], library) for library in LIBRARIES])
        long.append([measure_run(directory, texts, library) for library in LIBRARIES])
    print_row("import", "s", np.array(short)[1:, :, 0])
    print_row("first embedding", "s", np.array(short)[1:, :, 1])
    print_row("peak memory", "MB", np.array(long)[1:, :, 2])
    sizes, counts = zip(*map(measure_size, ("minisbert", "sentence-transformers")), strict=True)
    print_row("installed", "MB", np.array([sizes]))
    print(f"  {'distributions':16} {counts[0]:10} {counts[1]:10}")


if __name__ == "__main__":
    main()
