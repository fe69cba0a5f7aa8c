"""The cost lab: its three ways, and what it prints and writes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.costs import measurement
from minisbert.costs.lab import run_cost_lab
from minisbert.costs.report import show_duration, write_table

WORDS = ["the", "old", "bird", "sings", "all", "day", "in", "a", "red", "tree", "cat", "dog"]


def make_texts(count: int) -> list[str]:
    """Make different texts of 1 to 9 words."""
    rng = np.random.default_rng(0)
    texts = {" ".join(rng.choice(WORDS, rng.integers(1, 10))) for _ in range(3 * count)}
    return sorted(texts)[:count]


@pytest.fixture(scope="module")
def cross(tiny_directory) -> CrossEncoder:
    return measurement.make_cross_encoder(SentenceTransformer(tiny_directory))


def test_fresh_cross_encoder_has_the_bi_encoders_weights(tiny, cross):
    """A cross-encoder for timing has the bi-encoder's weights; only its head is new."""
    for name, array in tiny.parameters.items():
        assert np.array_equal(cross.parameters[name], array)
    assert cross.num_labels == 1


def test_ways_compare_all_pairs(tiny, cross):
    """Naive and batched give every pair the same score; bi finds each sentence's nearest one."""
    texts = make_texts(12)
    naive, batched = (
        measurement.compare_naively(cross, texts),
        measurement.compare_batched(cross, texts),
    )
    assert naive.shape == batched.shape == (66,)
    assert np.abs(naive - batched).max() <= 1e-6
    embeddings = tiny.encode(texts)
    similarity = embeddings @ embeddings.T - 2 * np.eye(12)
    assert measurement.compare_embedded(tiny, texts).tolist() == similarity.argmax(axis=1).tolist()


def test_comparison_is_by_the_similarity_of_the_model():
    """The nearest other text is that of the model's similarity: a long vector is not always it."""
    vectors = np.float32([[1, 0], [0.9, 0.1], [9, 9], [0, 1]])
    for similarity, nearest in (
        ("cosine", [1, 0, 1, 2]),
        ("dot", [2, 2, 0, 2]),
        ("euclidean", [1, 0, 1, 1]),
    ):
        model = SimpleNamespace(
            encode=lambda texts, **options: vectors, similarity_fn_name=similarity, threads=1
        )
        assert measurement.compare_embedded(model, list("abcd")).tolist() == nearest


def test_measuring_stops_at_the_budget(monkeypatch):
    """A size that the model predicts to exceed the budget is not measured."""
    clock = [0.0]
    monkeypatch.setattr(measurement.time, "perf_counter", lambda: clock[0])

    def run(texts):
        clock[0] += len(texts) ** 2 / 100

    texts, lengths = ["a"] * 500, np.full(500, 3)
    options = {"lengths": lengths, "budget": 60.0, "report": lambda step: None}
    measured = list(measurement.measure_way("naive", run, texts, **options))
    # 10 and 15 take 1 and 2.25 seconds and are repeated, 20, 30 and 40 take 4, 9 and 16; 50 would
    # take 25 more, beyond 60.
    assert [one.n for one in measured] == [10, 15, 20, 30, 40]


@pytest.mark.slow
def test_interrupt_keeps_what_was_measured(tiny, cross):
    """Ctrl-C in the middle keeps the sizes that were measured, marked as incomplete."""

    def report(step):
        if step == "batched, 20 sentences":
            raise KeyboardInterrupt

    costs = measurement.measure_costs(tiny, cross, make_texts(60), seconds=2.0, report=report)
    assert not costs.complete
    assert {measured.way for measured in costs.measurements} == {"naive", "batched"}
    assert list(write_table(costs))


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
    """A duration is shown in a readable unit."""
    assert show_duration(seconds) == shown


@pytest.mark.slow
def test_lab_prints_and_writes(tiny, tmp_path, capsys):
    """A short run prints the table and writes all raw figures."""
    run_cost_lab(tiny, make_texts(60), seconds=5, directory=tmp_path / "out")
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
    """Too few texts, or too little time, are refused."""
    with pytest.raises(ValueError, match="texts must be at least 50 different ones, got 1;"):
        run_cost_lab(tiny, ["a"] * 60, seconds=5, directory=tmp_path)
    for seconds in (0, float("nan"), float("inf"), 1e7):
        with pytest.raises(ValueError, match=r"seconds must be a number from 5 to 1e\+06, got"):
            run_cost_lab(tiny, make_texts(60), seconds=seconds, directory=tmp_path)
