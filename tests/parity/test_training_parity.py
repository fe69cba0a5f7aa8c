"""Steps of training beside torch: its AdamW, clipping and schedule, same shuffles, no dropout."""

import math

import numpy as np
import pytest
import torch
import transformers
from torch_peer import TorchPeer

from minisbert import CrossEncoder, SentenceTransformer, train
from minisbert.network.bert import WORDS as WORD_TABLE
from minisbert.network.layers import RowGradient
from minisbert.training import optimizer
from minisbert.training.networks import make_network
from minisbert.training.objectives import make_classifier, make_loss
from minisbert.training.optimizer import AdamW, schedule
from minisbert.training.step import Batch, Trainer
from models import WORDS, make_model_directory

COLUMNS = {"cosine": 2, "softmax": 2, "triplet": 3, "ranking": 2, "binary": 2, "classes": 2}
CROSS = ("binary", "classes")
CLASSES = ("contradiction", "entailment", "neutral")

STEPS, EPOCHS, BATCH_SIZE, SEED = 20, 4, 8, 3
EXAMPLES = 36  # 5 batches an epoch, the last of them short


def make_examples(objective):
    """Tuples of texts of 1 to 12 words and a label, which is a float32 number if it is one."""
    rng = np.random.default_rng(5)
    words = [word for word in WORDS.split() if word.isalpha()]
    examples = []
    for _ in range(EXAMPLES):
        texts = [
            " ".join(rng.choice(words, rng.integers(1, 13))) for _ in range(COLUMNS[objective])
        ]
        if objective in ("cosine", "binary"):
            texts.append(rng.integers(9) / 8)
        elif objective in ("softmax", "classes"):
            texts.append(str(rng.choice(CLASSES)))
        examples.append(tuple(texts))
    return examples


def load_model(directory, objective):
    """A model for an objective; a bi-encoder's directory gets a fresh head if need be."""
    if objective not in CROSS:
        return SentenceTransformer(directory)
    labels = len(CLASSES) if objective == "classes" else 1
    return CrossEncoder(directory, num_labels=labels, fresh_head=0)


def make_batches(model, objective, examples, dtype):
    """The batches of all steps, by the shuffles that `minisbert.train` promises."""
    texts = list(zip(*examples, strict=True))[: COLUMNS[objective]]
    types = labels = None
    if objective in CROSS:
        tokens = model.tokenizer.encode_pairs(list(zip(*texts, strict=True)), model.max_length)
        ids, types = [tokens.ids], tokens.types
    else:
        ids = [model.tokenizer.encode(list(c), model.max_seq_length).ids for c in texts]
    if objective in ("cosine", "binary"):
        labels = np.array([label for *_, label in examples], dtype)
    elif objective in ("softmax", "classes"):
        labels = np.array([CLASSES.index(label) for *_, label in examples])
    for epoch in range(EPOCHS):
        order = np.random.default_rng([SEED, epoch]).permutation(len(examples))
        for start in range(0, len(order), BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            yield Batch(
                [[column[row] for row in rows] for column in ids],
                types and [[types[row] for row in rows]],
                None if labels is None else labels[rows],
            )


def train_in_torch(peer, batches, rate):
    """Make a step for each batch, as the paper's schedule has it; return the losses."""
    named = peer.parameters.items()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for name, p in named if not is_still(name)], "weight_decay": 0.01},
            {"params": [p for name, p in named if is_still(name)], "weight_decay": 0.0},
        ],
        lr=rate,
    )
    warmup = math.ceil(0.1 * len(batches))
    rates = transformers.get_linear_schedule_with_warmup(optimizer, warmup, len(batches))
    losses = []
    for batch in batches:
        losses.append(peer.differentiate(batch))
        torch.nn.utils.clip_grad_norm_(peer.parameters.values(), 1.0)
        optimizer.step()
        rates.step()
    return losses


def is_still(name):
    """Whether a parameter is not decayed."""
    return name.endswith(("bias", "LayerNorm.weight"))


def train_both(directory, objective, rate, dtype=np.float32, **settings):
    """Losses and final parameters by minisbert, then by torch."""
    examples = make_examples(objective)
    model = load_model(directory, objective)
    model.parameters = {name: p.astype(dtype) for name, p in model.parameters.items()}
    before = dict(model.parameters)
    if objective == "softmax":
        before |= make_classifier(3, model.get_embedding_dimension(), "u,v,|u-v|", seed=SEED)
    peer = TorchPeer(directory, model.config, before, objective)
    batches = list(make_batches(model, objective, examples, dtype))
    assert len(batches) == STEPS
    expected = train_in_torch(peer, batches, rate)
    options = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": rate, "seed": SEED}
    result = train(model, examples, objective, dropout=False, **(options | settings))
    after = {**model.parameters, **result.classifier}
    return result.losses, after, expected, get_arrays(peer)


def get_arrays(peer):
    return {name: p.detach().numpy() for name, p in peer.parameters.items()}


def check_losses(losses, expected, tolerance=1e-4):
    """Fail if any step's loss is off, or if no step changed any."""
    assert len(losses) == len(expected)
    assert np.ptp(expected) > 100 * tolerance, "a flat curve would prove nothing"
    assert np.abs(np.subtract(losses, expected)).max() <= tolerance


def check_parameters(parameters, expected, tolerance):
    """Fail if any element is off, but for key biases.

    Their true gradient is 0, and AdamW divides what rounding makes of it by its own size.
    """
    assert parameters.keys() == expected.keys()
    for name, array in parameters.items():
        if not name.endswith("key.bias"):
            assert np.abs(array - expected[name]).max() <= tolerance, name


@pytest.mark.parametrize("objective", COLUMNS)
def test_small_model(tmp_path, objective):
    """Twenty steps in float32: the loss follows torch's within 1e-4, and the parameters arrive.

    An element whose gradient is hardly more than rounding may part by some share of a step: a
    tenth of one, of the twenty, is allowed. Double precision, below, allows nothing.
    """
    rate = 1e-3
    losses, after, expected, theirs = train_both(make_model_directory(tmp_path), objective, rate)
    check_losses(losses, expected)
    check_parameters(after, theirs, 0.1 * rate)


@pytest.mark.parametrize("objective", ["cosine", "binary"])
def test_real_model(minilm_directory, objective):
    """So it is with all-MiniLM-L6-v2, as an embedder and under a fresh head."""
    rate = 2e-5
    losses, after, expected, theirs = train_both(minilm_directory, objective, rate)
    check_losses(losses, expected)
    check_parameters(after, theirs, 0.1 * rate)


# Twenty steps of float64 leave 1e-15; the parameters move by 1e-2.
EXACT = 1e-12


# Not softmax: the classifier that `train` makes for it is float32.
@pytest.mark.parametrize("objective", [name for name in COLUMNS if name != "softmax"])
def test_double_precision(tmp_path, objective):
    """In float64 and with ReLU losses and parameters are the same but for rounding."""
    directory = make_model_directory(tmp_path, hidden_act="relu")
    losses, after, expected, theirs = train_both(directory, objective, 1e-3, np.float64)
    check_losses(losses, expected, EXACT)
    check_parameters(after, theirs, EXACT)


def test_warmup_is_rounded_up(tmp_path):
    """A share of 1.2 steps is two of them, as many as torch's run has."""
    directory = make_model_directory(tmp_path, hidden_act="relu")
    losses, after, expected, theirs = train_both(directory, "cosine", 1e-3, np.float64, warmup=0.06)
    check_losses(losses, expected, EXACT)
    check_parameters(after, theirs, EXACT)


@pytest.mark.parametrize(
    "settings", [{"weight_decay": 0.0}, {"warmup": 0.15}, {"clip_norm": 1.5}, {"seed": SEED + 1}]
)
def test_other_settings_are_rejected(tmp_path, settings):
    """Another decay, warm-up, clipping or shuffle than torch's is seen."""
    directory = make_model_directory(tmp_path, hidden_act="relu")
    losses, after, expected, theirs = train_both(directory, "ranking", 1e-3, np.float64, **settings)
    with pytest.raises(AssertionError):
        check_losses(losses, expected, EXACT)
    with pytest.raises(AssertionError):
        check_parameters(after, theirs, EXACT)


def test_one_wrong_value_is_rejected():
    """One step's loss off by twice the tolerance is seen, and one element of a parameter."""
    curve = np.linspace(1, 0.5, STEPS)
    check_losses(curve, curve)
    with pytest.raises(AssertionError):
        check_losses(curve + 2e-4 * (np.arange(STEPS) == 7), curve)
    right = {"encoder.weight": np.zeros((3, 4)), "key.bias": np.zeros(3)}
    wrong = np.zeros((3, 4))
    wrong[1, 2] = 2 * EXACT
    check_parameters(right, right, EXACT)
    with pytest.raises(AssertionError):
        check_parameters(right | {"encoder.weight": wrong}, right, EXACT)


# Tokens by where they are: in the first batch only, in none, and twice in every text.
ONCE, NEVER, TWICE = 60, slice(65, 70), 7


def make_token_batches(seed):
    """A batch of pairs for each step, their tokens from 10 to 49 but for those above."""
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        ids = [
            [
                np.concatenate([[2, TWICE], rng.integers(10, 50, rng.integers(2, 15)), [TWICE, 3]])
                for _ in range(6)
            ]
            for _ in range(2)
        ]
        if step == 0:
            ids[0][1][3] = ids[1][4][3] = ONCE
        yield Batch(ids, None, None)


def make_trainer(directory, dtype, **options):
    """A trainer of in-batch negatives, and its peer."""
    model = SentenceTransformer(directory)
    parameters = {name: p.astype(dtype) for name, p in model.parameters.items()}
    peer = TorchPeer(directory, model.config, parameters, "ranking", **options)
    loss = make_loss("ranking", **options)
    return Trainer(make_network(model.config), loss, parameters), peer


class LazyAdamW(AdamW):
    """Moves the rows of the current batch only; the others just decay."""

    def update(self, gradients, rate, **others):
        decayed = self.parameters[WORD_TABLE] * np.float32(1 - rate * self.weight_decay)
        present = gradients[WORD_TABLE].rows
        super().update(gradients, rate, **others)
        absent = np.setdiff1d(np.arange(len(decayed)), present)
        self.parameters[WORD_TABLE][absent] = decayed[absent]


@pytest.mark.parametrize(("variant", "right"), [(AdamW, True), (LazyAdamW, False)])
def test_rows_of_other_steps(tmp_path, variant, right):
    """A token of the first step only ends within 1e-7 of torch's, which a lazy variant does not."""
    rate = 2e-5
    batches = list(make_token_batches(1))
    trainer, peer = make_trainer(make_model_directory(tmp_path), np.float32)
    before = trainer.parameters[WORD_TABLE].copy()
    trainer.optimizer = variant(trainer.parameters)
    for step, batch in enumerate(batches):
        trainer.step(batch, rate * schedule(step, STEPS, 2), None)
    train_in_torch(peer, batches, rate)
    expected = get_arrays(peer)[WORD_TABLE]
    assert np.abs(expected - before)[ONCE].max() > rate
    assert 0 < np.abs(expected - before)[NEVER].max() < rate
    difference = np.abs(trainer.parameters[WORD_TABLE] - expected)
    assert (difference[ONCE].max() <= 1e-7) == right
    assert difference[NEVER].max() <= 1e-7


@pytest.mark.parametrize("scale", [100.0, 0.1])
def test_clipping(tmp_path, scale):
    """The norm is torch's, and so are the gradients after clipping, or without where none is due.

    AdamW's moment after one step is a tenth of what it was given.
    """
    batch = next(make_token_batches(2))
    trainer, peer = make_trainer(
        make_model_directory(tmp_path, hidden_act="relu"), np.float64, scale=scale
    )
    _, norm = trainer.step(batch, 2e-5, None)
    peer.differentiate(batch)
    expected = torch.nn.utils.clip_grad_norm_(peer.parameters.values(), 1.0).item()
    assert norm == pytest.approx(expected, rel=1e-12)
    assert (norm > 1) is (scale > 1)
    for name, parameter in peer.parameters.items():
        moment = trainer.optimizer.first[name]
        if name in trainer.optimizer.rows:
            rows = trainer.optimizer.rows[name]
            moment = np.zeros_like(moment)
            moment[rows] = trainer.optimizer.first[name][: len(rows)]
        assert np.abs(10 * moment - parameter.grad.numpy()).max() <= 1e-12, name


def test_rows_not_added_up_are_rejected(tmp_path, monkeypatch):
    """A norm of rows that stand twice, once for each half, is another one."""
    batch = next(make_token_batches(2))
    trainer, peer = make_trainer(make_model_directory(tmp_path), np.float64)
    monkeypatch.setattr(optimizer, "sum_rows", RowGradient)
    _, norm = trainer.differentiate(batch, None)
    peer.differentiate(batch)
    expected = torch.nn.utils.clip_grad_norm_(peer.parameters.values(), 1.0).item()
    assert norm != pytest.approx(expected, rel=1e-4)
