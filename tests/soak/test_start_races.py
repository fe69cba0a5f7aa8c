"""Two commands that write one place, started at random moments: one of both results, whole.

MINISBERT_RACES=full starts each pair of commands 200 times.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tasks import make_task

import minisbert
from minisbert import SentenceTransformer, read_examples, train
from minisbert.search.text_index import TextIndex
from minisbert.training.checkpoints import find_work_directory
from models import make_model_directory

FULL = os.environ.get("MINISBERT_RACES") == "full"
STARTS = 200 if FULL else 10
KILLS = 50 if FULL else 5
TOLERANCE = 5e-7
EPOCHS = 2
SENTENCE = "must have one writer at a time, but"
COMPLETE = "must be an unfinished training to resume, but it is complete"


class Race(ABC):
    """A command with two inputs, whose results can be told apart.

    commands  the arguments for each input, without --out
    wanted    the result of each, alone
    length    seconds from start to end of a command, alone
    """

    name = "out"

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "race" / self.name
        self.model = make_model_directory(folder / "model")
        self.commands = [self.prepare(number) for number in range(2)]
        self.wanted = []
        for number in range(2):
            self.clean()
            start = time.perf_counter()
            child = self.start(number)
            child.communicate()
            self.length = time.perf_counter() - start
            assert child.returncode == 0
            self.wanted.append(self.read())

    @abstractmethod
    def prepare(self, number: int) -> list[str]:
        """Write an input and return the command's arguments for it."""

    @abstractmethod
    def read(self) -> object:
        """Read the result."""

    def equal(self, found: object, wanted: object) -> bool:
        return found == wanted

    def clean(self) -> None:
        shutil.rmtree(self.out.parent, ignore_errors=True)
        self.out.parent.mkdir()

    def start(self, number: int, *more: str) -> subprocess.Popen:
        root = str(Path(minisbert.__file__).parents[1])
        command = [sys.executable, "-m", "minisbert", *self.commands[number], *more]
        return subprocess.Popen(
            [*command, "--model", str(self.model), "--threads", "1", "--out", str(self.out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1"},
        )

    def is_locked(self) -> bool:
        """Return whether there is a lock file, as there is after a kill too."""
        return any(path.name.endswith("-lock") for path in self.out.parent.rglob(".*"))

    def find(self) -> list[int]:
        """Return which inputs the result is of, and check that nothing else is left."""
        assert [path.name for path in self.out.parent.iterdir()] == [self.name]
        found = self.read()
        return [number for number in range(2) if self.equal(found, self.wanted[number])]


class EncodeRace(Race):
    name = "vectors.npy"

    def prepare(self, number):
        rng = random.Random(number)
        words = ["a", "bird", "sings", "the", "old", "red", "car", "dog", "runs", "tree"]
        path = self.folder / f"texts {number}.txt"
        texts = (" ".join(rng.choices(words, k=rng.randint(3, 20))) for _ in range(2500))
        path.write_text("\n".join(texts) + "\n")
        return ["encode", "--file", str(path)]

    def read(self):
        return np.load(self.out)

    def equal(self, found, wanted):
        return found.shape == wanted.shape and np.abs(found - wanted).max() <= TOLERANCE


class IndexRace(EncodeRace):
    name = "index"

    def prepare(self, number):
        return ["index", super().prepare(number)[-1]]

    def read(self):
        index = TextIndex.load(self.out)
        return [index.get_text(row) for row in range(len(index))]

    def equal(self, found, wanted):
        return found == wanted


class TrainRace(Race):
    def prepare(self, number):
        path = self.folder / f"train {number}.tsv"
        rows = [("sentence1", "sentence2", "score"), *make_task("cosine", 24, seed=number)]
        path.write_text("\n".join("\t".join(map(str, row)) for row in rows) + "\n")
        options = f"--epochs {EPOCHS} --batch-size 4 --learning-rate 1e-3 --evaluate-every 3"
        return ["train", str(path), *options.split(" ")]

    def read(self):
        return {
            name: array.tobytes()
            for name, array in load_file(self.out / "model.safetensors").items()
        }


class ResumeRace(TrainRace):
    """Both resume one training, which was stopped after its first checkpoint."""

    stopped: Path | None = None

    def clean(self):
        super().clean()
        if self.stopped:
            shutil.copytree(self.stopped, find_work_directory(self.out))

    def start(self, number, *more):
        return super().start(0, *more, *["--resume"] * bool(self.stopped))

    def __init__(self, folder):
        super().__init__(folder)
        objective, examples = read_examples(folder / "train 0.tsv")

        def stop(line):
            if line.startswith("step 6 "):
                raise KeyError

        options = {"epochs": EPOCHS, "batch_size": 4, "learning_rate": 1e-3, "evaluate_every": 3}
        with pytest.raises(KeyError):
            train(
                SentenceTransformer(self.model),
                examples,
                objective,
                out=folder / "stopped",
                report=stop,
                threads=1,
                **options,
            )
        self.stopped = find_work_directory(folder / "stopped")


RACES = [EncodeRace, IndexRace, TrainRace, ResumeRace]


@pytest.mark.parametrize("kind", RACES)
def test_two_starts(tmp_path, kind):
    """The result is that of a command that ended well; one that did not says why, in a sentence."""
    race, rng = kind(tmp_path), random.Random(200)
    counts: dict[str, int] = {}
    for _ in range(STARTS):
        race.clean()
        children = [race.start(0)]
        time.sleep(rng.uniform(0, 1.1) * race.length)
        children.append(race.start(1))
        said = [child.communicate()[1] for child in children]
        codes = [child.returncode for child in children]
        for code, words in zip(codes, said, strict=True):
            assert code in (0, 2)
            if code:
                assert SENTENCE in words or (kind is ResumeRace and COMPLETE in words)
                assert words.count("\n") == 1
        # Without overlap the second replaces what the first has made.
        last = max(number for number in range(2) if codes[number] == 0)
        assert last in race.find()
        outcome = "one after the other"
        if 2 in codes:
            outcome = "refused" if SENTENCE in said[codes.index(2)] else "complete"
        counts[outcome] = counts.get(outcome, 0) + 1
    print(f"\n{STARTS} starts of two {kind.__name__}: {counts}")
    assert counts["refused"]


@pytest.mark.parametrize("kind", RACES)
def test_start_after_a_kill(tmp_path, kind):
    """A command that is killed at a random moment stops none that comes after it."""
    race, rng = kind(tmp_path), random.Random(50)
    held = 0
    for _ in range(KILLS):
        race.clean()
        child = race.start(0)
        while not race.is_locked() and child.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.5) * race.length)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        held += race.is_locked()
        resumes = find_work_directory(race.out).exists() and kind is TrainRace
        again = race.start(0, *["--resume"] * resumes)
        said = again.communicate()[1]
        # The kill may have come when everything was done.
        assert again.returncode == 0 or (kind is ResumeRace and COMPLETE in said), said
        assert 0 in race.find()
    print(f"\n{KILLS} kills of {kind.__name__}, {held} of them with the lock: all others worked")
    assert held
