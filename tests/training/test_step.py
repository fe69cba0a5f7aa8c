"""One step: its halves, its threads, its dropout, and what it does if numbers are not finite."""

from contextlib import contextmanager

import numpy as np
import pytest
from tasks import make_task

from minisbert import CrossEncoder
from minisbert.network.bert import WORDS
from minisbert.network.ragged import join_sentences
from minisbert.system.blas_limits import limit_blas
from minisbert.system.threads import two_threads
from minisbert.training.networks import make_network
from minisbert.training.objectives import CLASSIFIER, OBJECTIVES, make_classifier, make_loss
from minisbert.training.step import Batch, Network, Trainer, divide_texts, make_generator
from models import make_cross_encoder_directory


@pytest.fixture(params=OBJECTIVES)
def objective(request):
    return request.param


@pytest.fixture
def model(objective, tiny, tmp_path):
    record = OBJECTIVES[objective]
    if not record.cross_encoder:
        return tiny
    labels = 2 if record.labels == "classes" else 1
    return CrossEncoder(make_cross_encoder_directory(tmp_path, num_labels=labels))


def make_batch(model, objective: str, n: int = 8) -> Batch:
    rows, record = make_task(objective, n), OBJECTIVES[objective]
    labels = None
    if record.labels:
        labels = np.array([float(row[2] in (1.0, "same")) for row in rows], np.float32)
        rows = [row[:2] for row in rows]
        if record.labels == "classes":
            labels = labels.astype(np.int64)
    if isinstance(model, CrossEncoder):
        tokens = model.tokenizer.encode_pairs(rows, 64)
        return Batch([tokens.ids], [tokens.types], labels)
    columns = [model.tokenizer.encode(list(column), 64).ids for column in zip(*rows, strict=True)]
    return Batch(columns, None, labels)


@contextmanager
def make_trainer(model, objective: str, threads: int = 1, dtype=np.float32, **options):
    """A trainer on one thread or two, with BLAS at one."""
    parameters = {name: array.astype(dtype) for name, array in model.parameters.items()}
    own = make_loss(objective).make_parameters(2, 32, seed=0)
    parameters |= {name: array.astype(dtype) for name, array in own.items()}
    network = make_network(model.config)
    with two_threads(threads) as run_both, limit_blas(1):
        yield Trainer(network, make_loss(objective), parameters, run_both=run_both, **options)


def take_steps(model, objective: str, threads: int, seeds, n: int = 8):
    """Parameters, losses and norms after a step for each seed."""
    batch = make_batch(model, objective, n)
    with make_trainer(model, objective, threads) as trainer:
        results = [trainer.step(batch, 1e-3, seed) for seed in seeds]
    return trainer.parameters, results


def equal(first, second) -> bool:
    """Whether two sets of parameters are the same to the last bit."""
    assert first.keys() == second.keys()
    return all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_threads_give_the_same_bits(model, objective):
    """Two threads make the steps that one makes, to the last bit, with dropout."""
    seeds = [(0, 0, step) for step in range(4)]
    one, results = take_steps(model, objective, 1, seeds)
    two, results_of_two = take_steps(model, objective, 2, seeds)
    assert results == results_of_two
    assert equal(one, two)
    with make_trainer(model, objective) as untrained:
        assert not equal(one, untrained.parameters)


def test_dropout_is_a_function_of_the_seed(tiny):
    """A step depends on its own seed and not on the steps before; without one nothing drops out."""
    batch = make_batch(tiny, "cosine")
    with make_trainer(tiny, "cosine") as trainer:
        losses = [
            trainer.differentiate(batch, seed)[0]
            for seed in ((0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1), None, (0, 0, 1), None)
        ]
    assert len(set(losses[:5])) == 5
    assert losses[5:] == [losses[0], losses[4]]


def test_generators_differ_in_every_number():
    """Seed, epoch, step and half each change what is drawn, and the same ones give the same."""
    seeds = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    assert len({make_generator(*seed).integers(2**62) for seed in seeds}) == 5
    assert make_generator(1, 2).random() == make_generator(1, 2).random()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_halves_hold_every_text_once(tiny, n):
    """The halves are together all texts of all columns, and what drops out of one does not tell
    what drops out of the other.
    """
    batch = make_batch(tiny, "triplet", n)
    seen, drawn = [], set()
    network = make_network(tiny.config)

    def forward(parameters, half, rng, cache):
        sizes = [group.T for group in half.groups for _ in range(group.B)]
        assert sizes == sorted(sizes, reverse=True)
        seen.append([ids.tolist() for ids in np.split(half.token_ids, np.cumsum(sizes)[:-1])])
        drawn.add(rng.integers(2**62))
        return network.forward(parameters, half, rng, cache)

    objective = make_loss("triplet")
    parameters = {name: array.copy() for name, array in tiny.parameters.items()}
    trainer = Trainer(Network(forward, network.backward), objective, parameters)
    trainer.differentiate(batch, (0, 0, 0))
    assert len(seen) == len(drawn) == 2
    texts = [text.tolist() for column in batch.ids for text in column]
    assert sorted(seen[0] + seen[1]) == sorted(texts)


def test_halves_change_nothing(model, objective):
    """Loss and gradients of two halves are those of the whole batch in one piece."""
    batch = make_batch(model, objective, 5)
    with make_trainer(model, objective, dtype=np.float64) as trainer:
        loss, norm = trainer.differentiate(batch, None)
        network = make_network(model.config)
        ids = [text for column in batch.ids for text in column]
        types = batch.types and [text for column in batch.types for text in column]
        cache, own, p = [], [], trainer.parameters
        whole = {name: np.zeros_like(array) for name, array in p.items()}
        joined = join_sentences(ids, types)
        outputs = np.split(network.forward(p, joined, None, cache), len(batch.ids))
        goal = make_loss(objective)
        assert goal.forward(outputs, batch.labels, p, cache=own) == pytest.approx(loss, rel=1e-12)
        network.backward(np.concatenate(goal.backward(own, whole)), whole, joined, cache)
    squares = 0.0
    for name, gradient in trainer.halves[0].items():
        if name == WORDS:
            assert np.array_equal(gradient.rows, whole[name].rows)
            gradient, whole[name] = gradient.sums, whole[name].sums
        # Where the true gradient is 0 both are rounding.
        assert np.abs(gradient - whole[name]).max() < 1e-12 * norm, name
        squares += np.sum(whole[name] ** 2)
    assert norm == pytest.approx(np.sqrt(squares), rel=1e-12)


@pytest.mark.parametrize("objective", ["binary", "cosine"], indirect=True)
def test_one_pair(model, objective):
    """A single pair is a batch; what an earlier step left in the other half does not count."""
    single = make_batch(model, objective, 1)
    with make_trainer(model, objective) as fresh, make_trainer(model, objective, 2) as used:
        expected = fresh.differentiate(single, None)
        used.differentiate(make_batch(model, objective, 8), None)
        assert used.differentiate(single, None) == expected
        assert used.step(single, 1e-3, (0, 0, 0))[1] > 0


def test_a_step_lowers_the_loss(model, objective):
    """A few steps on one batch, without dropout, end below where they began."""
    _, results = take_steps(model, objective, 1, [None] * 6)
    losses = [loss for loss, _ in results]
    assert losses[-1] < 0.95 * losses[0]


def test_long_gradients_are_cut(tiny):
    """No step follows a gradient longer than the most allowed: the moments show it."""
    batch = make_batch(tiny, "ranking")
    firsts = []
    for most in (1e9, 0.5):
        with make_trainer(tiny, "ranking", clip_norm=most) as trainer:
            _, norm = trainer.step(batch, 1e-3, None)
        assert norm > 0.5
        squares = [np.sum(moment**2) for moment in trainer.optimizer.first.values()]
        firsts.append(np.sqrt(np.sum(squares)) / (1 - 0.9))
    assert firsts == pytest.approx([norm, 0.5], rel=1e-4)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_run_away(model, objective, value):
    """A number that is not finite is an error, before any parameter or moment changes."""
    batch = make_batch(model, objective)
    with make_trainer(model, objective, 2) as trainer:
        trainer.parameters["encoder.layer.1.output.LayerNorm.bias"][3] = value
        before = {name: array.copy() for name, array in trainer.parameters.items()}
        # The tanh of a pooler makes an infinite number finite: then the gradients tell.
        with pytest.raises(FloatingPointError, match=r"(the loss|gradients) must be finite, got"):
            trainer.step(batch, 1e-3, None)
    assert equal(trainer.parameters, before)
    assert trainer.optimizer.step == 0
    assert not any(moment.any() for moment in trainer.optimizer.first.values())


def test_gradients_that_run_away(tiny):
    """A finite loss whose gradients are not finite moves nothing either."""
    batch = make_batch(tiny, "cosine")
    network = make_network(tiny.config)

    def backward(dout, gradients, half, cache):
        network.backward(dout, gradients, half, cache)
        gradients["embeddings.LayerNorm.bias"][0] = np.inf

    parameters = {name: array.copy() for name, array in tiny.parameters.items()}
    broken = Network(network.forward, backward)
    trainer = Trainer(broken, make_loss("cosine"), parameters)
    with pytest.raises(FloatingPointError, match="gradients must be finite, got a norm of inf"):
        trainer.step(batch, 1e-3, None)
    assert equal(trainer.parameters, dict(tiny.parameters))
    assert trainer.optimizer.step == 0


def test_an_error_in_either_thread_is_raised(tiny):
    """An error in one half is raised by the step, and the next step works."""
    network = make_network(tiny.config)
    calls = []

    def forward(parameters, half, rng, cache):
        calls.append(len(half.token_ids))
        if len(calls) <= 2:
            raise MemoryError("no room for a half")
        return network.forward(parameters, half, rng, cache)

    parameters = {name: array.copy() for name, array in tiny.parameters.items()}
    failing = Network(forward, network.backward)
    with two_threads(2) as run_both:
        trainer = Trainer(failing, make_loss("cosine"), parameters, run_both=run_both)
        with pytest.raises(MemoryError, match="no room"):
            trainer.step(make_batch(tiny, "cosine"), 1e-3, None)
        trainer.step(make_batch(tiny, "cosine"), 1e-3, None)


def test_the_classifier_is_trained_too(tiny):
    """The softmax objective moves its own weights beside the network's."""
    parameters, _ = take_steps(tiny, "softmax", 1, [None])
    fresh = make_classifier(2, 32, "u,v,|u-v|", seed=0)
    for name in (f"{CLASSIFIER}.weight", f"{CLASSIFIER}.bias"):
        assert not np.array_equal(parameters[name], fresh[name])


def test_halves_have_equal_work_and_few_lengths():
    """Halves differ by no more than a piece, and texts of one length mostly stay together."""
    rng = np.random.default_rng(8)
    for _ in range(50):
        lengths = rng.integers(3, 30, 32)
        first, second = divide_texts(lengths)
        assert sorted([*first, *second]) == list(range(32))
        tokens = lengths[first].sum(), lengths[second].sum()
        assert abs(tokens[0] - tokens[1]) <= max(lengths.max(), lengths.sum() / 8)
        together = len({*lengths[first]} & {*lengths[second]})
        assert together <= len({*lengths}) / 4


@pytest.mark.parametrize(
    ("lengths", "halves"), [([7] * 32, [16, 16]), ([7, 7], [1, 1]), ([5], [1])]
)
def test_halves_of_one_length(lengths, halves):
    """Texts of one length are divided too, and one text alone is one half."""
    assert [len(half) for half in divide_texts(np.array(lengths))] == halves
