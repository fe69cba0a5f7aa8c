"""Start processes while threads of this one encode, and count those that don't do as they should.

Run as a script, this file is the process whose threads encode. It prints one line of JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from blas import count_blas_threads

import minisbert
from minisbert import SentenceTransformer

# A child that isn't done after this many seconds hangs. The machine may be busy.
PATIENCE = 60
TEXTS = {
    "short": "a dog runs",
    "long": "a bird sings all day in the old red tree " * 15,
    "many": ["a dog runs, " * (index % 6 + 1) for index in range(150)],
}
GOOD, FEWER_BLAS_THREADS, OTHER_VECTORS, HANGS = "good", "fewer BLAS threads", "other", "hangs"


def run_parent(directory: Path, start: str, *, texts: str, threads: int, children: int) -> Counter:
    """Run this file; return how many children there were of each outcome.

    start     "fork", or "Pool" or "Executor" with a start method, as in "Pool spawn"
    texts     a key of TEXTS
    threads   threads of the parent that encode
    """
    paths = [Path(minisbert.__file__).parents[1], Path(__file__).parent]
    job = [str(directory), start, texts, str(threads), str(children)]
    done = subprocess.run(
        [sys.executable, __file__, *job],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE * (children + 2),
    )
    return Counter(json.loads(done.stdout))


def observe(model: SentenceTransformer, texts: Any, expected: Any, blas_threads: int) -> str:
    """Encode in a child, and say how it went."""
    if count_blas_threads() != blas_threads:
        return FEWER_BLAS_THREADS
    # Products of another number of threads may differ in their last bits.
    return GOOD if np.abs(model.encode(texts) - expected).max() < 1e-6 else OTHER_VECTORS


def fork_and_observe(*arguments: Any) -> str:
    """Fork, observe in the child, and wait for it; kill it if it hangs."""
    outcomes = [GOOD, FEWER_BLAS_THREADS, OTHER_VECTORS]
    child = os.fork()
    if not child:
        os._exit(outcomes.index(observe(*arguments)))
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return outcomes[os.waitstatus_to_exitcode(status)]
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HANGS


def observe_all(start: str, children: int, *arguments: Any) -> Counter:
    """Start processes one after another; count their outcomes."""
    if start == "fork":
        return Counter(fork_and_observe(*arguments) for _ in range(children))
    kind, method = start.split()
    context = multiprocessing.get_context(method)
    if kind == "Pool":
        with context.Pool(2) as pool:
            jobs = [pool.apply_async(observe, arguments) for _ in range(children)]
            return Counter(job.get(PATIENCE) for job in jobs)
    with ProcessPoolExecutor(2, context) as executor:
        futures = [executor.submit(observe, *arguments) for _ in range(children)]
        return Counter(future.result(PATIENCE) for future in futures)


def encode_beside(threads: int, encode: Callable[[], Any], run: Callable[[], Counter]) -> Counter:
    """Call a function while threads encode again and again."""
    stop = threading.Event()

    def encode_again() -> None:
        while not stop.is_set():
            encode()

    workers = [threading.Thread(target=encode_again) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        return run()
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def main(directory: str, start: str, texts_name: str, threads: str, children: str) -> None:
    warnings.simplefilter("ignore")  # of truncation, and of forks beside threads
    model, texts = SentenceTransformer(directory), TEXTS[texts_name]
    arguments = (model, texts, model.encode(texts), count_blas_threads())
    outcomes = encode_beside(
        int(threads),
        lambda: model.encode(texts),
        lambda: observe_all(start, int(children), *arguments),
    )
    assert count_blas_threads() == arguments[-1], "the parent has lost BLAS threads"
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
