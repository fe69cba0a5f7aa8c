"""Train in a child process and kill it, so that it can't clean up.

Run as a script, this file is the child: it prints when a checkpoint begins and when it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import minisbert
from minisbert import CrossEncoder, SentenceTransformer
from minisbert.training import loop as training
from minisbert.training import run as training_run

READY, BEGINS, ENDS = "ready", "a checkpoint begins", "a checkpoint ends"


def write_job(path: Path, **job: Any) -> Path:
    """Write the job of a child process to a file.

    model          a directory
    cross_encoder  whether it is one
    arguments      arguments of `train`, without the model
    """
    path.write_text(json.dumps(job))
    return path


def run_child(job: Path, wait_for: str | None = None, delay: float = 0) -> tuple[bool, list[str]]:
    """Start a training or resume it; kill it `delay` seconds after it printed a line.

    Returns whether it was killed before its end, and the lines that it printed.
    """
    root = str(Path(minisbert.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, __file__, str(job)]
    printed = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        if wait_for is not None:
            for line in child.stdout:
                printed.append(line.strip())
                if printed[-1] == wait_for:
                    break
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)  # does nothing to a child that is done
        printed += child.stdout.read().split("\n")[:-1]
    if child.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a training must end well or be killed, got {child.returncode}")
    return child.returncode != 0, printed


def main(path: str) -> None:
    """Do the job, and print when a checkpoint begins and ends."""
    job = json.loads(Path(path).read_text())
    write_checkpoint = training_run.write_checkpoint

    def write_and_tell(*arguments: Any, **options: Any) -> None:
        print(BEGINS, flush=True)
        write_checkpoint(*arguments, **options)
        print(ENDS, flush=True)

    training_run.write_checkpoint = write_and_tell
    model = (CrossEncoder if job["cross_encoder"] else SentenceTransformer)(job["model"])
    arguments = {**job["arguments"], "resume": True}
    print(READY, flush=True)
    training.train(model, report=lambda line: print(line, flush=True), **arguments)


if __name__ == "__main__":
    main(sys.argv[1])
