"""Two hundred kills of a process that adds to an index and saves it: the old one or the new one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import minisbert
from minisbert import FlatIndex

KILLS = 200
WITHIN = 100  # of them while the temporary file is there, at least
D = 96
PIECE = 3000  # rows that are added at a time
PIECES = 5  # after so many the index begins anew


def make_piece(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((PIECE, D)).astype(np.float32)


def expected_rows(number: int) -> np.ndarray:
    """The rows of the index after step `number`."""
    first = number - number % PIECES
    return np.concatenate([make_piece(i) for i in range(first, number + 1)])


def work(path: Path, number: int) -> None:
    """Add and save, step after step, and tell before each save and after it."""
    while True:
        anew = number % PIECES == 0
        index = FlatIndex(D, "dot", codes="int8") if anew else FlatIndex.load(path)
        index.add(make_piece(number))
        print(number, "begins", flush=True)
        index.save(path)
        print(number, "ends", flush=True)
        number += 1


def kill_at(path: Path, number: int, delay: float) -> list[tuple[int, str]]:
    """Start a child at a step and kill it so long after its first save has begun."""
    environment = {**os.environ, "PYTHONPATH": str(Path(minisbert.__file__).parents[1])}
    command = [sys.executable, __file__, str(path), str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        printed = [child.stdout.readline()]
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        printed += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    whole = [line.split() for line in printed if line.endswith("s\n")]  # the last may be cut
    return [(int(step), word) for step, word in whole]


def test_two_hundred_kills(tmp_path):
    """Whatever the moment, the file is whole: of the step before the kill, or of the one then."""
    path = tmp_path / "index"
    rng = random.Random(200)
    number = within = kills = 0
    longest = 0.01
    while kills < KILLS:
        steps = kill_at(path, number, rng.uniform(0, longest))
        kills += 1
        left = [other for other in tmp_path.iterdir() if other != path]
        within += bool(left)
        for other in left:
            other.unlink()
        began = max((step for step, what in steps if what == "begins"), default=number)
        ended = max((step for step, what in steps if what == "ends"), default=number - 1)
        if not path.exists():
            assert ended < 0
            continue
        index = FlatIndex.load(path)
        (step,) = (
            step
            for step in {ended, began}
            if step >= 0 and np.array_equal(index.rows, expected_rows(step))
        )
        again = FlatIndex.from_embeddings(expected_rows(step), "dot", codes="int8")
        queries = make_piece(10**6)[:20]
        for found, wanted in zip(index.search(queries), again.search(queries), strict=True):
            assert np.array_equal(found, wanted)
        number = step + 1
        # Of short delays most hit a save.
        longest = 0.2 if within > 0.6 * kills else 0.01
    print(f"\n{kills} kills, {within} of them within a save: the old index or the new one")
    assert within >= WITHIN


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
