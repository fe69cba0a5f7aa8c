"""The cost lab: its three ways, its cost model, and what it says and writes."""

import json

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.costs import measurement as costs
from minisbert.costs.lab import run_cost_lab
from minisbert.costs.measurement import Costs, Rung
from minisbert.costs.report import show_duration, write_table

WORDS = ["the", "old", "bird", "sings", "all", "day", "in", "a", "red", "tree", "cat", "dog"]


def make_texts(count: int) -> list[str]:
    """Different texts of 1 to 9 words."""
    rng = np.random.default_rng(0)
    texts = {" ".join(rng.choice(WORDS, rng.integers(1, 10))) for _ in range(3 * count)}
    return sorted(texts)[:count]


@pytest.fixture(scope="module")
def cross(tiny_directory) -> CrossEncoder:
    return costs.make_cross_encoder(SentenceTransformer(tiny_directory))


def test_fresh_cross_encoder_has_the_bi_encoders_weights(tiny, cross):
    """Only the head is new."""
    for name, array in tiny.parameters.items():
        assert np.array_equal(cross.parameters[name], array)
    assert cross.num_labels == 1


def test_ways_compare_all_pairs(tiny, cross):
    """Naive and batched give every pair the same score; the bi-encoder finds each one's nearest."""
    texts = make_texts(12)
    naive, batched = costs.compare_naively(cross, texts), costs.compare_batched(cross, texts)
    assert naive.shape == batched.shape == (66,)
    assert np.abs(naive - batched).max() <= 1e-6
    embeddings = tiny.encode(texts)
    similarity = embeddings @ embeddings.T - 2 * np.eye(12)
    assert costs.compare_embedded(tiny, texts).tolist() == similarity.argmax(axis=1).tolist()


def test_work_is_counted():
    """Pairs, their tokens (a pair shares one special token), sentences and rows."""
    lengths = np.array([3, 4, 5])
    assert costs.count_work("naive", lengths) == (3, 6 + 7 + 8)
    assert costs.count_work("bi", lengths) == (3, 12, 9)


def test_fit_finds_the_rates():
    """Exact times give back the rates that made them; a useless column gets 0."""
    rng = np.random.default_rng(0)
    counts = rng.uniform(1, 1000, (8, 3))
    rates = np.array([0.5, 0, 0.02])
    assert costs.fit_costs(counts, counts @ rates) == pytest.approx(rates, abs=1e-9)


def test_fit_has_no_negative_rates_and_weighs_relatively():
    """A rate that would be negative is 0, and small times count as much as large ones."""
    counts = np.array([[1.0, 1.0], [2.0, 4.0], [3.0, 9.0], [4.0, 16.0]])
    falling = counts @ [1.0, -0.05]
    assert (costs.fit_costs(counts, falling) >= 0).all()
    one = np.array([[1.0], [1000.0]])
    assert costs.fit_costs(one, np.array([2.0, 1000.0]))[0] == pytest.approx(1.2)


def make_rungs(way: str, sizes, rates, wrong: float = 1.0) -> list[Rung]:
    """Rungs that follow the model, but for the largest by a factor."""
    rungs = []
    for n in sizes:
        counts = costs.count_work(way, np.full(n, 10))
        seconds = float(np.dot(counts, rates)) * (wrong if n == sizes[-1] else 1)
        rungs.append(Rung(way, n, counts, (seconds,)))
    return rungs


def test_largest_sizes_are_predicted_from_the_others():
    """The two largest are held out: an odd one shows as an error, and not in the prediction."""
    rungs = make_rungs("naive", [10, 20, 50, 100, 200], [1e-3, 1e-5], wrong=2)
    (n, measured, predicted), (last, odd, right) = costs.predict_largest(rungs)
    assert (n, last) == (100, 200)
    assert predicted == pytest.approx(measured)
    assert odd == pytest.approx(2 * right)
    assert costs.predict_largest(rungs[:3]) == []


def test_extrapolation_carries_an_interval():
    """Times that follow the model extrapolate to a point, noisy ones to a range around it."""
    work = costs.count_work("naive", np.full(10_000, 10))
    rungs = make_rungs("naive", [10, 20, 50, 100, 200], [1e-3, 1e-5])
    middle, low, high = costs.extrapolate(rungs, work)
    assert low == pytest.approx(middle) == pytest.approx(high)
    assert middle == pytest.approx(np.dot(work, [1e-3, 1e-5]))
    noisy = make_rungs("naive", [10, 20, 50, 100, 200], [1e-3, 1e-5], wrong=1.5)
    middle, low, high = costs.extrapolate(noisy, work)
    assert low <= middle <= high
    assert high > 1.05 * low


def test_crossover_is_where_the_bi_encoder_starts_to_win():
    """A pair as dear as a sentence: two sentences cost two, one pair one; from four on it wins."""
    found = Costs(np.full(4, 10))
    found.rungs = make_rungs("naive", [10, 20, 50], [1.0, 0])
    found.rungs += make_rungs("bi", [10, 20, 50], [1.0, 0, 0])
    assert costs.find_crossover(found, "naive") == 4
    found.rungs = make_rungs("naive", [10, 20, 50], [1e-9, 0])
    found.rungs += make_rungs("bi", [10, 20, 50], [1.0, 0, 0])
    assert costs.find_crossover(found, "naive") is None


def test_climbing_stops_at_the_budget(monkeypatch):
    """The next size is not begun when the model says that it would not fit."""
    clock = [0.0]
    monkeypatch.setattr(costs.time, "perf_counter", lambda: clock[0])

    def run(texts):
        clock[0] += len(texts) ** 2 / 100

    texts, lengths = ["a"] * 500, np.full(500, 3)
    rungs = list(costs.climb("naive", run, texts, lengths, 60.0, lambda step: None))
    # 10 and 15 take 1 and 2.25 seconds and are repeated, 20, 30 and 40 take 4, 9 and 16; 50 would
    # take 25 more, beyond 60.
    assert [rung.n for rung in rungs] == [10, 15, 20, 30, 40]


def test_interrupt_keeps_what_was_measured(tiny, cross):
    """Ctrl-C in the middle leaves the rungs that were climbed, marked as incomplete."""

    def report(step):
        if step == "batched, 20 sentences":
            raise KeyboardInterrupt

    measured = costs.measure_costs(tiny, cross, make_texts(60), 2.0, report)
    assert not measured.complete
    assert {rung.way for rung in measured.rungs} == {"naive", "batched"}
    assert list(write_table(measured))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0049, "4.9 ms"),
        (1.5, "1.5 s"),
        (100, "100 s"),
        (120, "2 min"),
        (5400, "1.5 h"),
        (65 * 3600, "65 h"),
        (20 * 86_400, "20 days"),
    ],
)
def test_durations_are_readable(seconds, shown):
    """A duration is shown in the unit that a reader thinks in."""
    assert show_duration(seconds) == shown


def test_lab_prints_and_writes(tiny, tmp_path, capsys):
    """A short run prints the table, and writes all raw figures."""
    run_cost_lab(tiny, make_texts(60), 5, tmp_path / "out")
    printed = capsys.readouterr().out
    for words in (
        "All pairs of n sentences, really run",
        "fitted without the two largest sizes",
        "In one second",
        "retrieve by scan, rerank by cross-encoder",
        "All pairs of 10,000: 49,995,000",
        "One question against 40,000,000",
        "The bi-encoder is quicker than the cross-encoder, pair by pair",
        "a fresh head: it serves for timing",
    ):
        assert words in printed
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["complete"]
    assert {rung["way"] for rung in results["rungs"]} == {"naive", "batched", "bi"}
    assert results["machine"]["scan"]


def test_lab_refuses_too_little(tiny, tmp_path):
    """Too few texts, or no time, are one sentence each."""
    with pytest.raises(ValueError, match="texts must be at least 50 different ones, got 1;"):
        run_cost_lab(tiny, ["a"] * 60, 5, tmp_path)
    for seconds in (0, float("nan")):
        with pytest.raises(ValueError, match="seconds must be 5 or more"):
            run_cost_lab(tiny, make_texts(60), seconds, tmp_path)
