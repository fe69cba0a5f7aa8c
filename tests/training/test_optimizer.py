"""AdamW beside its definition on dense float64 arrays, and what surrounds a step."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minisbert.network.layers import RowGradient
from minisbert.training import optimizer
from minisbert.training.optimizer import AdamW, add_gradients, clip_factor, schedule

RNG = np.random.default_rng(23)
TABLE = "embeddings.word_embeddings.weight"
SHAPES = {TABLE: (50, 4), "encoder.weight": (30, 7), "encoder.bias": (30,)}


def make_parameters(dtype=np.float64) -> dict[str, np.ndarray]:
    return {name: RNG.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def make_gradients(rows, dtype=np.float64) -> dict:
    rows = np.array(sorted(rows))
    return {
        TABLE: RowGradient(rows, RNG.standard_normal((len(rows), 4)).astype(dtype)),
        "encoder.weight": RNG.standard_normal((30, 7)).astype(dtype),
        "encoder.bias": RNG.standard_normal(30).astype(dtype),
    }


def spread(gradient) -> np.ndarray:
    """A gradient as a dense float64 array."""
    if isinstance(gradient, RowGradient):
        dense = np.zeros(SHAPES[TABLE])
        dense[gradient.rows] = gradient.sums
        return dense
    return gradient.astype(np.float64)


class PlainAdamW:
    """The definition, dense, in float64."""

    def __init__(self, parameters):
        self.parameters = {name: a.astype(np.float64) for name, a in parameters.items()}
        self.m = {name: np.zeros(shape) for name, shape in SHAPES.items()}
        self.v = {name: np.zeros(shape) for name, shape in SHAPES.items()}
        self.t = 0

    def update(self, gradients, rate):
        self.t += 1
        for name, p in self.parameters.items():
            g, m, v = spread(gradients[name]), self.m[name], self.v[name]
            if not name.endswith("bias"):
                p *= 1 - rate * 0.01
            m += (1 - 0.9) * (g - m)
            v += (1 - 0.999) * (g * g - v)
            p -= rate * (m / (1 - 0.9**self.t)) / (np.sqrt(v / (1 - 0.999**self.t)) + 1e-8)


BATCHES = [{1, 7, 30}, {7, 8}, {0}, {49, 1}, *[{2}] * 20]


@pytest.mark.parametrize("piece", [8, 1 << 15])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 2e-6)])
def test_steps_are_those_of_the_definition(monkeypatch, dtype, tolerance, piece):
    """Every parameter, rows seen once or never too, moves as dense AdamW moves it."""
    monkeypatch.setattr(optimizer, "PIECE_ELEMENTS", piece)
    monkeypatch.setattr(optimizer._cut_part, "__defaults__", (piece,))
    parameters = make_parameters(dtype)
    plain, ours = PlainAdamW(parameters), AdamW(parameters)
    for step, rows in enumerate(BATCHES):
        gradients, rate = make_gradients(rows, dtype), 0.01 * (step + 1)
        plain.update(gradients, rate)
        ours.update(gradients, rate)
    for name, expected in plain.parameters.items():
        assert np.abs(parameters[name] - expected).max() <= tolerance * (1 + step)
    assert ours.rows[TABLE].tolist() == [1, 7, 30, 8, 0, 49, 2]


def test_lazy_variant_would_be_noticed():
    """A row seen in the first step only moves on for long: five times its first move in all."""
    parameters = make_parameters()
    start = parameters[TABLE].copy()
    ours = AdamW(parameters, weight_decay=0)
    ours.update(make_gradients({3}), 0.01)
    first = parameters[TABLE][3] - start[3]
    for _ in range(19):
        ours.update(make_gradients({4}), 0.01)
    assert np.all((parameters[TABLE][3] - start[3]) / first > 4)


def test_unseen_row_only_decays():
    """A row that no batch had shrinks by rate x decay a step and does nothing else."""
    parameters = make_parameters()
    start = parameters[TABLE][20].copy()
    ours = AdamW(parameters, weight_decay=0.5)
    for _ in range(3):
        ours.update(make_gradients({1}), 0.1)
    assert np.allclose(parameters[TABLE][20], start * 0.95**3, rtol=1e-14)


def test_threads_and_pieces_change_no_bit(monkeypatch):
    """Two threads give the bits of one."""
    monkeypatch.setattr(optimizer._cut_part, "__defaults__", (16,))
    results = []
    with ThreadPoolExecutor(1) as pool:

        def run_both(first, second):
            future = pool.submit(second)
            return first(), future.result()

        for run in (optimizer.run_in_turn, run_both):
            rng = np.random.default_rng(0)
            parameters = {n: rng.standard_normal(s).astype("f4") for n, s in SHAPES.items()}
            ours = AdamW(parameters)
            for rows in ([1, 5], [5, 9]):
                halves = [
                    {
                        n: RowGradient(np.array(rows), rng.standard_normal((2, 4)).astype("f4"))
                        if n == TABLE
                        else rng.standard_normal(s).astype("f4")
                        for n, s in SHAPES.items()
                    }
                    for _ in range(2)
                ]
                norm = add_gradients(*halves, run_both=run)
                ours.update(halves[0], 0.1, factor=clip_factor(norm), run_both=run)
            results.append((norm, parameters))
    assert results[0][0] == results[1][0]
    for name in SHAPES:
        assert np.array_equal(results[0][1][name], results[1][1][name])


def test_halves_add_up_before_the_norm():
    """The norm is that of the whole batch: rows that both halves had count once, as their sum."""
    first, second = make_gradients({1, 7}), make_gradients({7, 9})
    expected = {name: spread(first[name]) + spread(second[name]) for name in SHAPES}
    norm = add_gradients(first, second)
    assert norm == pytest.approx(np.sqrt(sum((g**2).sum() for g in expected.values())))
    for name in SHAPES:
        assert np.allclose(spread(first[name]), expected[name], rtol=0, atol=1e-15)
    assert first[TABLE].rows.tolist() == [1, 7, 9]


def test_clipping():
    """Only gradients longer than 1 are shortened, to 1."""
    assert clip_factor(0.5) == 1
    assert clip_factor(4.0) == pytest.approx(0.25)
    assert clip_factor(0.0) == 1


def test_tiny_moments_become_zero():
    """Moments of a row seen long ago never get denormal, and what they moved stays moved."""
    parameters = make_parameters(np.float32)
    ours = AdamW(parameters)
    smallest = np.finfo(np.float32).tiny
    for step in range(1000):
        ours.update(make_gradients({3} if step == 0 else {4}, np.float32), 1e-3)
        m = np.abs(ours.first[TABLE][0])
        assert np.all((m == 0) | (m >= smallest))
    assert not ours.first[TABLE][0].any()


def test_schedule_with_and_without_warmup():
    """The rate rises to 1 over the warm-up, then falls in equal steps, and never below 0."""
    rates = [schedule(step, 10, 4) for step in range(10)]
    assert rates[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert np.allclose(np.diff(rates[4:]), -1 / 6)
    assert schedule(0, 5, 0) == 1
    assert schedule(0, 1, 1) == 0
