"""Twenty kills of a real training, at random moments: in the end the same bits as without."""

import random
import shutil
import time

from kills import BEGINS, ENDS, READY, run_child, write_job

from minisbert.training.checkpoints import STATE_FILE, find_work_directory
from minisbert.training.examples import read_examples

KILLS = 20


def read_rows(path) -> list[tuple[str, str, float]]:
    _, examples = read_examples(path, "cosine")
    return list(zip(*examples.texts, examples.labels.tolist(), strict=True))


def test_twenty_kills(minilm_directory, data_directory, tmp_path):
    """all-MiniLM-L6-v2 on 160 pairs of the STS benchmark, two epochs of ten steps."""
    arguments = {
        "examples": read_rows(data_directory / "stsbenchmark" / "sts-train.csv")[:160],
        "development": read_rows(data_directory / "stsbenchmark" / "sts-dev.csv")[-100:],
        "objective": "cosine",
        "epochs": 2,
        "batch_size": 16,
        "evaluate_every": 2,
    }
    jobs = {
        name: write_job(
            tmp_path / f"{name}.json",
            model=str(minilm_directory),
            cross_encoder=False,
            arguments={**arguments, "out": str(tmp_path / name)},
        )
        for name in ("whole", "killed")
    }
    run_child(jobs["whole"])
    expected = (tmp_path / "whole" / "model.safetensors").read_bytes()

    # How long the way to a checkpoint takes, from the very start of a process.
    start = time.perf_counter()
    run_child(jobs["killed"], ENDS)
    longest = time.perf_counter() - start
    out = tmp_path / "killed"
    shutil.rmtree(find_work_directory(out))

    rng = random.Random(20)
    counts = {"before the first checkpoint": 0, "within a checkpoint": 0, "after one": 0}
    runs = 0
    while not out.exists():
        kills = sum(counts.values())
        if kills == KILLS:
            killed, printed = run_child(jobs["killed"])
        elif kills % 4 == 3:  # few of the others hit one
            killed, printed = run_child(jobs["killed"], BEGINS, rng.uniform(0, 0.3))
        else:
            killed, printed = run_child(jobs["killed"], READY, rng.uniform(0, longest))
        if not killed:
            runs += 1
            assert (out / "model.safetensors").read_bytes() == expected
            if sum(counts.values()) < KILLS:
                shutil.rmtree(out)
        elif printed[-1] == BEGINS:
            counts["within a checkpoint"] += 1
        elif (find_work_directory(out) / STATE_FILE).exists():
            counts["after one"] += 1
        else:
            counts["before the first checkpoint"] += 1
    moments = ", ".join(f"{count} {moment}" for moment, count in counts.items())
    print(f"\n{KILLS} kills ({moments}) in {runs} runs: the same bits as without")
    left = {"whole", "killed", "whole.json", "killed.json"}
    assert {path.name for path in tmp_path.iterdir()} == left
