"""Two processes that save models to one directory: it holds one of both, whole, at every moment.

MINISBERT_RACES=full runs as many rounds as it takes to see a fault of one in four hundred.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import minisbert
from minisbert import SentenceTransformer
from minisbert.system import disk
from models import make_model_directory

FULL = os.environ.get("MINISBERT_RACES") == "full"
ROUNDS = 3276 if FULL else 200
REPEATED = 10 if FULL else 3  # rounds of repeated saves
SAVES = 100  # of each process in such a round
LATEST = 0.01  # seconds from one saver's start to the other's


def work(directory: str, out: str, swap: str) -> None:
    """Save a model as often as each line of input says, after a delay; say how each line went."""
    if swap == "False":
        disk._swap = lambda new, destination: False
    os.fsync = lambda _: None  # rounds are quicker, and their renames come closer together
    model = SentenceTransformer(directory)
    print("ready", flush=True)
    for line in sys.stdin:
        count, delay = line.split()
        time.sleep(float(delay))
        try:
            for _ in range(int(count)):
                model.save(out)
            print("saved", flush=True)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)


class Savers:
    """Two processes that save two models, one each, to one directory."""

    def __init__(self, tmp_path: Path, swap: bool, stack: ExitStack) -> None:
        self.out = tmp_path / "saved"
        self.folder = tmp_path
        models = [make_model_directory(tmp_path / f"model {seed}", seed=seed) for seed in range(2)]
        self.wanted = []  # name -> content of every file that each of them saves
        root = Path(minisbert.__file__).parents[1]
        paths = os.pathsep.join(map(str, (root, Path(__file__).parents[1])))
        self.children = []
        for model in models:
            SentenceTransformer(model).save(tmp_path / "saved")
            self.wanted.append(self.read())
            command = [sys.executable, __file__, str(model), str(self.out), str(swap)]
            child = stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": paths},
                )
            )
            assert child.stdout.readline() == "ready\n"
            self.children.append(child)
        self.before = set(os.listdir(tmp_path))

    def read(self) -> dict[str, bytes]:
        """Read every file of the saved model, except the README, which names the source."""
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in self.out.rglob("*")
            if path.is_file() and path.name != "README.md"
        }

    def save(self, count: int, delays: list[float]) -> list[str]:
        """Let both save, `count` times each, and return what they say."""
        for child, delay in zip(self.children, delays, strict=True):
            child.stdin.write(f"{count} {delay}\n")
            child.stdin.flush()
        return [child.stdout.readline().strip() for child in self.children]

    def judge(self, said: list[str]) -> str:
        """Return what became of the directory, in one word."""
        if self.read() not in self.wanted:
            shutil.rmtree(self.out, ignore_errors=True)
            return "destroyed"
        if said != ["saved", "saved"]:
            return "failed"
        return "whole" if set(os.listdir(self.folder)) == self.before else "littered"

    def stop(self) -> None:
        for child in self.children:
            child.stdin.close()


@pytest.mark.parametrize("swap", [True, False])
def test_two_savers(tmp_path, swap):
    """Of two saves at about the same time both succeed, and the directory is one of both, whole."""
    rng = random.Random(3276)
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        savers = Savers(tmp_path, swap, stack)
        for _ in range(ROUNDS):
            said = savers.save(1, [rng.uniform(0, LATEST), rng.uniform(0, LATEST)])
            outcome = savers.judge(said)
            counts[outcome] = counts.get(outcome, 0) + 1
        savers.stop()
    print(f"\n{ROUNDS} rounds of two savers: {counts}")
    assert counts == {"whole": ROUNDS}


@pytest.mark.parametrize("swap", [True, False])
def test_repeated_savers(tmp_path, swap):
    """Of two processes that save a hundred times each all saves succeed."""
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        savers = Savers(tmp_path, swap, stack)
        for _ in range(REPEATED):
            outcome = savers.judge(savers.save(SAVES, [0, 0]))
            counts[outcome] = counts.get(outcome, 0) + 1
        savers.stop()
    print(f"\n{REPEATED} rounds of two times {SAVES} saves: {counts}")
    assert counts == {"whole": REPEATED}


if __name__ == "__main__":
    work(*sys.argv[1:])
