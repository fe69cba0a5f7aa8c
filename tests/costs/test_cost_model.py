"""The cost model: what it counts, fits, predicts and extrapolates."""

import numpy as np
import pytest

from minisbert.costs import cost_model
from minisbert.costs.cost_model import Measurement


def test_work_is_counted():
    """Work is pairs and their tokens (a pair shares a special token), or sentences and rows."""
    lengths = np.array([3, 4, 5])
    assert cost_model.count_work("naive", lengths) == (3, 6 + 7 + 8)
    assert cost_model.count_work("bi", lengths) == (3, 12, 9)


def test_fit_finds_the_rates():
    """Times that are exact sums give back their rates; a column without effect gets 0."""
    rng = np.random.default_rng(0)
    counts = rng.uniform(1, 1000, (8, 3))
    rates = np.array([0.5, 0, 0.02])
    assert cost_model.fit_costs(counts, counts @ rates) == pytest.approx(rates, abs=1e-9)


def test_fit_has_no_negative_rates_and_weighs_relatively():
    """A rate that would be negative is 0; short times weigh as much as long ones."""
    counts = np.array([[1.0, 1.0], [2.0, 4.0], [3.0, 9.0], [4.0, 16.0]])
    falling = counts @ [1.0, -0.05]
    assert (cost_model.fit_costs(counts, falling) >= 0).all()
    one = np.array([[1.0], [1000.0]])
    assert cost_model.fit_costs(one, np.array([2.0, 1000.0]))[0] == pytest.approx(1.2)


def make_measurements(way: str, sizes, rates, wrong: float = 1.0) -> list[Measurement]:
    """Make measurements that follow the model; the largest is off by a factor."""
    measurements = []
    for n in sizes:
        counts = cost_model.count_work(way, np.full(n, 10))
        seconds = float(np.dot(counts, rates)) * (wrong if n == sizes[-1] else 1)
        measurements.append(Measurement(way, n, counts, (seconds,)))
    return measurements


def test_largest_sizes_are_predicted_from_the_others():
    """The two largest are predicted from the others, so a wrong one shows as an error."""
    measured = make_measurements("naive", [10, 20, 50, 100, 200], [1e-3, 1e-5], wrong=2)
    (n, seconds, predicted), (last, odd, right) = cost_model.predict_largest(measured)
    assert (n, last) == (100, 200)
    assert predicted == pytest.approx(seconds)
    assert odd == pytest.approx(2 * right)
    assert cost_model.predict_largest(measured[:3]) == []


def test_extrapolation_carries_an_interval():
    """Times that follow the model have an interval of one point, noisy ones a wider one."""
    work = cost_model.count_work("naive", np.full(10_000, 10))
    measured = make_measurements("naive", [10, 20, 50, 100, 200], [1e-3, 1e-5])
    middle, low, high = cost_model.extrapolate(measured, work)
    assert low == pytest.approx(middle) == pytest.approx(high)
    assert middle == pytest.approx(np.dot(work, [1e-3, 1e-5]))
    noisy = make_measurements("naive", [10, 20, 50, 100, 200], [1e-3, 1e-5], wrong=1.5)
    middle, low, high = cost_model.extrapolate(noisy, work)
    assert low <= middle <= high
    assert high > 1.05 * low


def test_crossover_is_where_the_bi_encoder_starts_to_win():
    """If a sentence costs as much as a pair, the bi-encoder is faster from four sentences on."""
    bi = make_measurements("bi", [10, 20, 50], [1.0, 0, 0])
    dear = make_measurements("naive", [10, 20, 50], [1.0, 0])
    cheap = make_measurements("naive", [10, 20, 50], [1e-9, 0])
    assert cost_model.find_crossover(bi, dear, 10) == 4
    assert cost_model.find_crossover(bi, cheap, 10) is None
