"""Run the cost lab: measure, print the table, write results.json and the picture."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from minisbert.costs.machine import describe_machine
from minisbert.costs.measurement import LADDER, make_cross_encoder, measure_costs
from minisbert.costs.quality import measure_quality, write_quality
from minisbert.costs.report import draw_costs, write_results, write_table
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.evaluation.judged_files import StsPairs

LEAST_TEXTS = 50


def run_cost_lab(
    model: SentenceTransformer,
    texts: Sequence[str],
    seconds: float,
    directory: Path,
    trained: CrossEncoder | None = None,
    judged: StsPairs | None = None,
) -> None:
    """Measure for about so many seconds and write what came out into a directory.

    With a trained cross-encoder and judged pairs it also measures, beyond that time, what the ways
    are worth.

    Raises ValueError for too few different texts or too little time.
    """
    different = sorted(set(texts))
    if len(different) < LEAST_TEXTS:
        raise ValueError(
            f"texts must be at least {LEAST_TEXTS} different ones, got {len(different)}; "
            "give a longer file"
        )
    if not seconds >= 5:
        raise ValueError(f"seconds must be 5 or more, got {seconds:g}; give it time to measure")
    sample = random.Random(0).sample(different, min(len(different), LADDER[-1]))
    machine = {**describe_machine(), "date": time.strftime("%Y-%m-%d"), "seconds": f"{seconds:g}"}
    with show_time_left(seconds) as report:
        report("prepare")
        cross = make_cross_encoder(model)
        costs = measure_costs(model, cross, sample, seconds, report)
    for name, fact in machine.items():
        print(f"{name:11} {fact}")
    print("The cross-encoder has the bi-encoder's weights and a fresh head: it serves for timing.")
    if not costs.complete:
        print("Stopped early: what follows is what was measured.")
    for line in write_table(costs) if costs.rungs else ():
        print(line)
    worth = []
    if trained is not None and judged is not None:
        worth = measure_quality(model, trained, judged)
        print()
        for line in write_quality(worth, len(judged.scores)):
            print(line)
    directory.mkdir(parents=True, exist_ok=True)
    write_results(costs, directory / "results.json", machine, worth)
    print(f"\nwritten: {directory / 'results.json'}")
    caption = f"{machine['system']}, {machine['threads']} threads, {machine['date']}"
    pictures = [directory / "costs.png", directory / "costs.svg"]
    try:
        draw_costs(costs, pictures, caption)
    except ModuleNotFoundError:
        print("no picture: it takes matplotlib, `pip install minisbert[plots]`")
    else:
        print(f"written: {', '.join(map(str, pictures))}")


@contextmanager
def show_time_left(seconds: float) -> Iterator[Callable[[str], object]]:
    """A bar of the time to take, on a terminal; the step in progress stands beside it."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from tqdm import tqdm

    layout = "{desc:28} {percentage:3.0f}% |{bar}| {remaining} left"
    with tqdm(total=int(seconds), bar_format=layout, desc="start") as bar:
        done = threading.Event()

        def tick() -> None:
            while not done.wait(1) and bar.n < int(seconds):
                bar.update()

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield bar.set_description_str
        finally:
            done.set()
            ticker.join()
