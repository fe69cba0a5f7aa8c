"""Run the cost lab: measure, print the table, write results.json and the picture."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from minisbert.arguments import check_number, check_texts
from minisbert.costs.machine import describe_machine
from minisbert.costs.measurement import SIZES, make_cross_encoder, measure_costs
from minisbert.costs.quality import measure_quality, write_quality
from minisbert.costs.report import draw_costs, write_results, write_table
from minisbert.cross_encoder import CrossEncoder
from minisbert.encoder import SentenceTransformer
from minisbert.evaluation.judged_files import StsPairs
from minisbert.system.locks import lock_destination

_LEAST_TEXTS = 50


def run_cost_lab(
    model: SentenceTransformer,
    texts: Sequence[str],
    *,
    seconds: float,
    directory: Path,
    trained: CrossEncoder | None = None,
    judged: StsPairs | None = None,
) -> None:
    """Measure costs for about `seconds`, print a report, and write all figures into a directory.

    With a trained cross-encoder and judged pairs, then measure the quality of the ways too.

    Raises ValueError for too few different texts or too little time, and BlockingIOError if another
    run is to write into the same directory.
    """
    different = sorted(set(check_texts(texts, "texts")))
    if len(different) < _LEAST_TEXTS:
        raise ValueError(
            f"texts must be at least {_LEAST_TEXTS} different ones, got {len(different)}; "
            "give a file with more texts"
        )
    seconds = check_number("seconds", seconds, 5, most=1e6)
    results = directory / "results.json"
    # Two runs would mix their figures, and each would measure how the other disturbs it.
    with lock_destination(results, wait=False):
        sample = random.Random(0).sample(different, min(len(different), SIZES[-1]))
        machine = {
            **describe_machine(),
            "date": time.strftime("%Y-%m-%d"),
            "seconds": f"{seconds:g}",
        }
        with _show_time_left(seconds) as report:
            report("prepare")
            cross = make_cross_encoder(model)
            costs = measure_costs(model, cross, sample, seconds=seconds, report=report)
        for name, fact in machine.items():
            print(f"{name:11} {fact}")
        print(
            "The cross-encoder has the bi-encoder's weights and a fresh head: it serves for timing."
        )
        if not costs.complete:
            print("Stopped early: the report covers what was measured until then.")
        for line in write_table(costs) if costs.measurements else ():
            print(line)
        quality = []
        if trained is not None and judged is not None:
            quality = measure_quality(model, trained, judged)
            print()
            for line in write_quality(quality, len(judged.scores)):
                print(line)
        write_results(costs, results, machine, quality=quality)
        print(f"\nwritten: {results}")
        caption = f"{machine['system']}, {machine['threads']} threads, {machine['date']}"
        pictures = [directory / "costs.png", directory / "costs.svg"]
        try:
            draw_costs(costs, pictures, caption)
        except ModuleNotFoundError:
            print("no picture: it needs matplotlib, `pip install minisbert[plots]`")
        else:
            print(f"written: {', '.join(map(str, pictures))}")


@contextmanager
def _show_time_left(seconds: float) -> Iterator[Callable[[str], object]]:
    """Show a bar of the remaining time on a terminal; yield a function that names the step."""
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
