"""How small and how quick to start minisbert is, beside sentence-transformers.

    python benchmarks/compare_startup.py [--model NAME] [--count 2000] [--rounds 5]

needs an environment with the peers (`make bench-peers`). Every run is a process of its own, the two
libraries in turn, files in the operating system's cache after a first run that does not count:

    import            the import statement alone
    first embedding   from the start of the process to its end, one short text encoded in between
    peak memory       the most that was resident (ru_maxrss) while encoding --count texts
    installed         the package and everything that it requires, on disk

Ratios are medians over rounds. Not measured: cold disks, downloads.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from compare_encode import read_texts
from turns import describe_machine

LIBRARIES = ("minisbert", "sentence_transformers")
# What makes sentence-transformers slow to start; minisbert must not import it.
HEAVY = ("torch", "transformers", "huggingface_hub")

IMPORT = """
import sys, time
start = time.perf_counter()
import {library}
seconds = time.perf_counter() - start
print(seconds, *(name for name in {heavy} if name in sys.modules))
"""

FIRST_EMBEDDING = """
from {library} import SentenceTransformer
print(SentenceTransformer({directory!r}).encode("How do I read a comma separated file?").shape)
"""

PEAK_MEMORY = """
import json, resource, sys
from {library} import SentenceTransformer
texts = json.load(sys.stdin)
SentenceTransformer({directory!r}).encode(texts, show_progress_bar=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run_python(program: str, given: str = "") -> tuple[float, list[str]]:
    """Run a program in a new process: seconds from start to end, and the words it printed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=given,
        env=environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start, done.stdout.split()


def take_turns(rounds: int, measure) -> list[list[float]]:
    """Measure both libraries in every round, after one that does not count."""
    return [[measure(library) for library in LIBRARIES] for _ in range(rounds + 1)][1:]


def print_row(what: str, unit: str, rounds: list[list[float]], factor: float = 1) -> None:
    ours, theirs = (statistics.median(column) * factor for column in zip(*rounds, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in rounds)
    print(f"  {what:16} {ours:10.3f} {theirs:10.3f} {unit:3} x {ratio:6.1f}")


def measure_import(library: str) -> float:
    _, (seconds, *heavy) = run_python(IMPORT.format(library=library, heavy=HEAVY))
    if library == "minisbert" and heavy:
        raise SystemExit(f"import minisbert must not import {', '.join(heavy)}")
    return float(seconds)


def find_distributions(root: str) -> dict[str, metadata.Distribution]:
    """The installed distributions that one requires, itself included, by normalised name."""
    from packaging.requirements import Requirement

    found: dict[str, metadata.Distribution] = {}
    wanted = [root]
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        found[name] = metadata.distribution(name)
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    return found


def measure_size(root: str) -> tuple[int, int]:
    """Bytes on disk of a distribution and all that it requires, and how many they are."""
    distributions = find_distributions(root)
    files = {
        Path(distribution.locate_file(file)).resolve()
        for distribution in distributions.values()
        for file in distribution.files or ()
    }
    if root == "minisbert":
        # An editable installation lists none of the package's own files.
        import minisbert

        files.update(Path(minisbert.__file__).resolve().parent.glob("*.*"))
    return sum(file.stat().st_size for file in files if file.is_file()), len(distributions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="a name or a directory")
    parser.add_argument("--count", type=int, default=2000, help="texts for the peak memory")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    from minisbert.model_files.hub import resolve_model

    directory = str(resolve_model(arguments.model))
    texts = json.dumps(read_texts(None, arguments.count))

    def measure_first(library: str) -> float:
        return run_python(FIRST_EMBEDDING.format(library=library, directory=directory))[0]

    def measure_memory(library: str) -> float:
        program = PEAK_MEMORY.format(library=library, directory=directory)
        # Linux counts in KiB, macOS in bytes.
        return int(run_python(program, texts)[1][0]) * (1 if sys.platform == "darwin" else 1024)

    print(describe_machine())
    print(f"\n  {'':16} {'minisbert':>10} {'s.-transf.':>10}")
    print_row("import", "s", take_turns(arguments.rounds, measure_import))
    print_row("first embedding", "s", take_turns(arguments.rounds, measure_first))
    print_row("peak memory", "MB", take_turns(min(arguments.rounds, 3), measure_memory), 1e-6)
    (ours, count), (theirs, their_count) = map(measure_size, ("minisbert", "sentence-transformers"))
    print_row("installed", "MB", [[ours, theirs]], 1e-6)
    print(f"  {'distributions':16} {count:10} {their_count:10}")


if __name__ == "__main__":
    main()
