"""A hundred kills of a process that encodes into a file: it goes on, and the file is right."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import minisbert
from minisbert import SentenceTransformer
from minisbert.encoding.streaming import name_partial_files
from minisbert.system.locks import name_lock_file

KILLS = 100
TEXTS = 3000
CHUNK = 16
LONGEST = 0.15  # seconds from the first chunk to a kill
TOLERANCE = 5e-7


def make_texts() -> list[str]:
    words = ["a", "bird", "sings", "the", "old", "red", "car", "dog", "runs", "tree"]
    rng = random.Random(0)
    return [" ".join(rng.choices(words, k=rng.randint(1, 20))) for _ in range(TEXTS)]


def work(directory: Path, path: Path) -> None:
    """Encode, and tell of each chunk how many texts it has."""
    model = SentenceTransformer(directory)
    encode = model.encode

    def tell(texts: list[str], **options: object) -> np.ndarray:
        rows = encode(texts, **options)
        print(len(texts), flush=True)
        return rows

    model.encode = tell
    model.encode_to_file(make_texts(), path, chunk=CHUNK)


def run_child(directory: Path, path: Path, delay: float | None) -> tuple[bool, int]:
    """Start a child and kill it so long after its first chunk, or not.  -> killed, texts encoded"""
    environment = {**os.environ, "PYTHONPATH": str(Path(minisbert.__file__).parents[1])}
    command = [sys.executable, __file__, str(directory), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        printed = [child.stdout.readline()]
        if delay is not None:
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
        printed += child.stdout.readlines()
    assert child.returncode in (0, -signal.SIGKILL)
    return child.returncode != 0, sum(int(line) for line in printed if line.endswith("\n"))


def test_a_hundred_kills(tiny_directory, tmp_path):
    """Whatever the moments, each finished file holds every text's vector, once."""
    expected = SentenceTransformer(tiny_directory).encode(make_texts())
    path = tmp_path / "vectors.npy"
    rng = random.Random(100)
    kills = files = encoded = 0
    while kills < KILLS:
        killed, count = run_child(tiny_directory, path, rng.uniform(0, LONGEST))
        kills += killed
        encoded += count
        if path.exists():
            found = np.load(path)
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= TOLERANCE
            for leftover in (path, *name_partial_files(path), name_lock_file(path)):
                leftover.unlink(missing_ok=True)
            files += 1
        assert {other.name for other in tmp_path.iterdir()} <= allowed(tmp_path)
    encoded += run_child(tiny_directory, path, None)[1]
    assert np.abs(np.load(path) - expected).max() <= TOLERANCE
    twice = encoded - TEXTS * (files + 1)
    print(f"\n{kills} kills, {files + 1} files of {TEXTS} texts; {twice} texts encoded twice")
    assert twice <= kills * CHUNK


def allowed(folder: Path) -> set[str]:
    """A killed write leaves its temporary file too, and a killed process its lock's file."""
    names = {"vectors.npy.partial", "vectors.npy.journal", ".vectors.npy.minisbert-lock"}
    return names | {other.name for other in folder.glob(".vectors.npy.journal.*")}


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]))
