"""Feed damaged files to everything that reads files, and count what comes out.

    python -m soak.fuzz                    all targets, 200,000 cases      (from the folder tests)
    python -m soak.fuzz models --case 123  one case again, with its traceback

A case is a copy of valid files, damaged by seeded mutations, and one call. It ends well if the call
returns the valid result or another well-formed one, or raises one of the documented exceptions with
one sentence. Everything else is a fault:

    other exceptions      any type but those of DOCUMENTED, subclasses included
    no sentence           more than one line, unprintable characters, too long, or no "must"; but
                          an OSError may be the system's own, with its number and file
    wrong                 the target itself says that the result can't be right
    memory                the peak is above the valid call's by more than 64 MB and 20 times the
                          size of the files
    slow                  more than 2 s, again when run alone
    died, hung            the process was killed by a signal, or a case took half a minute

Cases run in a child process, which is started again after a death at the case that follows.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import mmap
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from soak.fuzz_targets import TARGETS, Target, Wrong
from soak.mutations import mutate_file

SEED = 14
DOCUMENTED = (
    *(ValueError, TypeError, OSError, FileNotFoundError, FileExistsError),
    *(PermissionError, IsADirectoryError, NotADirectoryError, FloatingPointError),
)
LONGEST_SENTENCE = 500  # characters, without the directory's path
MORE_MEMORY, TIMES_SIZE = 64 << 20, 20
SLOW = 2.0  # seconds
HUNG = 30.0  # seconds
ADDRESS_SPACE = 16 << 30  # bytes: a child that asks for more gets MemoryError


@dataclass
class Tally:
    """The outcomes of the cases of one target: class -> number, and the faults by case."""

    classes: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)


class Bench:
    """A target's valid files, and a scratch copy that each case damages."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.valid, self.scratch = folder / "valid", folder / "scratch"
        self.valid.mkdir(parents=True)
        target.make(self.valid)
        self.files = sorted(
            path.relative_to(self.valid) for path in self.valid.rglob("*") if path.is_file()
        )
        self.size = sum((self.valid / name).stat().st_size for name in self.files)
        self.right, self.peak = None, 0
        for _ in range(3):  # the first calls import modules and fill caches
            self._copy_files()
            with measure_peak() as used:
                self.right = target.call(self.scratch)
            self.peak = used[0]

    def run(self, seed: int, case: int) -> tuple[str, str]:
        """Run one case; return its class, and for a fault what was done and what happened."""
        rng = random.Random(f"{seed}/{self.target.name}/{case}")
        self._copy_files()
        done = [
            mutate_file(self.scratch / rng.choice(self.files), rng, pipes=self.target.refuses_pipes)
            for _ in range(rng.choice([1, 1, 1, 2]))
            if all((self.scratch / name).is_file() for name in self.files)
        ]
        start = time.perf_counter()
        with measure_peak() as used:
            outcome, detail = self._call()
        seconds = time.perf_counter() - start
        if used[0] > self.peak + MORE_MEMORY + TIMES_SIZE * self.size:
            outcome, detail = "FAULT memory", f"{used[0] / 1e6:.0f} MB; {outcome} {detail}"
        if seconds > SLOW:
            outcome, detail = "FAULT slow", f"{seconds:.1f} s; {outcome} {detail}"
        return outcome, f"{'; '.join(done)} -> {detail}"

    def _call(self) -> tuple[str, str]:
        try:
            result = self.target.call(self.scratch)
        except Wrong as error:
            return "FAULT wrong", str(error)
        except BaseException as error:  # a panic of the tokenizers library is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            return self._judge(error)
        return ("the valid result" if result == self.right else "another result"), ""

    def _judge(self, error: BaseException) -> tuple[str, str]:
        """Tell a documented exception with one sentence from a fault."""
        name = type(error).__name__
        text = str(error).replace(str(self.scratch), "DIR").replace(str(self.scratch.parent), "DIR")
        if type(error) not in DOCUMENTED:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return f"FAULT {name}", f"{text[:300]!r} at {place.filename}:{place.lineno}"
        if isinstance(error, OSError) and error.errno and error.filename:
            return f"{name} of the system", text
        if not text.isprintable() or len(text) > LONGEST_SENTENCE or " must " not in text:
            return "FAULT no sentence", f"{name}, {len(text)} characters: {text[:300]!r}"
        return name, text

    def _copy_files(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.copytree(self.valid, self.scratch)


class measure_peak:
    """Measure the peak of resident memory above that at the start, in bytes; 0 where unknown."""

    def __enter__(self) -> list[int]:
        gc.collect(0)
        self.used = [0]
        try:
            Path("/proc/self/clear_refs").write_text("5")  # sets the peak back (proc(5))
        except OSError:
            self.start = -1
        else:
            self.start = _read_status("VmRSS")
        return self.used

    def __exit__(self, *_: object) -> None:
        if self.start >= 0:
            self.used[0] = max(0, _read_status("VmHWM") - self.start)


def _read_status(name: str) -> int:
    """Read a size of this process from /proc/self/status, in bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))


def run_cases(target: Target, cases: range, folder: Path, seed: int = SEED) -> Tally:
    """Run cases in this process."""
    tally = Tally()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bench = Bench(target, folder)
        for case in cases:
            outcome, detail = bench.run(seed, case)
            tally.classes[outcome] += 1
            if outcome.startswith("FAULT"):
                tally.faults[case] = f"{outcome}: {detail}"
    return tally


def run_in_children(target: Target, cases: range, seed: int = SEED) -> Tally:
    """Run cases in child processes: a death or a hang is a fault of the case that caused it."""
    tally, first = Tally(), cases.start
    while first < cases.stop:
        first = _run_child(target, range(first, cases.stop), seed, tally)
    for case, fault in list(tally.faults.items()):
        if fault.startswith("FAULT slow"):
            again = Tally()
            _run_child(target, range(case, case + 1), seed, again)
            tally.classes["FAULT slow"] -= 1
            tally.classes += again.classes
            del tally.faults[case]
            tally.faults |= again.faults
    return tally


def _run_child(target: Target, cases: range, seed: int, tally: Tally) -> int:
    """Run cases in one child until it ends; return the first case that it did not get to."""
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder, tempfile.TemporaryFile() as shared:
        shared.truncate(8)
        current = mmap.mmap(shared.fileno(), 8)
        command = [sys.executable, "-m", "soak.fuzz", target.name, "--child", str(shared.fileno())]
        command += [
            "--cases",
            f"{cases.start}:{cases.stop}",
            "--seed",
            str(seed),
            "--folder",
            folder,
        ]
        # One thread, as results must not depend on the machine's load.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
        with (
            tempfile.TemporaryFile() as written,
            subprocess.Popen(
                command,
                cwd=Path(__file__).parents[1],
                env=environment,
                pass_fds=[shared.fileno()],
                stdout=written,
                stderr=subprocess.DEVNULL,
            ) as child,
        ):
            case, since = -1, time.monotonic()
            while child.poll() is None:
                time.sleep(0.05)
                now = int.from_bytes(current[:8], "little") - 1
                if now != case:
                    case, since = now, time.monotonic()
                elif time.monotonic() - since > HUNG:
                    child.kill()
            written.seek(0)
            for line in written.read().decode().splitlines():
                number, outcome, detail = json.loads(line)
                tally.classes[outcome] += 1
                if outcome.startswith("FAULT"):
                    tally.faults[number] = f"{outcome}: {detail}"
            if child.returncode == 0:
                return cases.stop
            case = int.from_bytes(current[:8], "little") - 1
            if case < cases.start:
                raise RuntimeError(f"{target.name}: the child must run, got {child.returncode}")
            hung = time.monotonic() - since > HUNG
            how = "hung" if hung else f"died, exit code {child.returncode}"
            tally.classes[f"FAULT {how}"] += 1
            tally.faults[case] = f"FAULT {how}"
            return case + 1


def _be_child(target: Target, cases: range, seed: int, folder: Path, shared: int) -> None:
    """Run cases, print their outcomes, and tell the parent which one is running."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    bench, current = Bench(target, folder / "bench"), mmap.mmap(shared, 8)
    warnings.simplefilter("ignore")
    for case in cases:
        current[:8] = (case + 1).to_bytes(8, "little")
        outcome, detail = bench.run(seed, case)
        shown = detail[:600] if outcome.startswith("FAULT") else ""
        print(json.dumps([case, outcome, shown]), flush=True)


def main() -> int:
    """Run targets, or one case, and print the classes of outcomes and the faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET")
    parser.add_argument("--count", type=int, help="cases of each target; default its own number")
    parser.add_argument("--cases", help="from:to")
    parser.add_argument("--case", type=int)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--child", type=int)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    targets = [TARGETS[name] for name in arguments.targets or TARGETS]
    if arguments.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(targets[0], Path(folder) / "bench")
            print(*bench.run(arguments.seed, arguments.case), sep=": ")
            bench.target.call(bench.scratch)
        return 0
    total, faults = Counter[str](), 0
    for target in targets:
        cases = range(arguments.count or target.count)
        if arguments.cases:
            cases = range(*map(int, arguments.cases.split(":")))
        if arguments.child is not None:
            _be_child(target, cases, arguments.seed, arguments.folder, arguments.child)
            return 0
        start = time.monotonic()
        tally = run_in_children(target, cases, arguments.seed)
        print_tally(target, tally, time.monotonic() - start)
        total += tally.classes
        faults += len(tally.faults)
    print(f"all: {sum(total.values()):,} cases, {faults} faults")
    return int(faults > 0)


def print_tally(target: Target, tally: Tally, seconds: float) -> None:
    """Print a line of classes for a target, and its first faults of each class."""
    print(f"{target.name}: {sum(tally.classes.values()):,} cases in {seconds:.0f} s")
    for outcome, count in tally.classes.most_common():
        print(f"  {count:8,}  {outcome}")
    by_class = sorted(tally.faults.items(), key=lambda fault: fault[1][:40])
    for _, group in itertools.groupby(by_class, key=lambda fault: fault[1][:40]):
        for case, fault in list(group)[:5]:
            print(f"    case {case}: {fault}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
