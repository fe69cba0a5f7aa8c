"""Every function that takes a number takes the same numbers, and refuses the others alike."""

import math

import numpy as np
import pytest

from minisbert import (
    BinaryIndex,
    CrossEncoder,
    FlatIndex,
    SentenceTransformer,
    mine_hard_negatives,
    train,
    util,
)
from minisbert.evaluation import RetrievalTask, evaluate_retrieval
from minisbert.search.hamming import hamming_topk
from minisbert.search.scan import topk
from models import make_cross_encoder_directory

ROWS = np.random.default_rng(7).standard_normal((6, 8)).astype(np.float32)
BITS = np.packbits(ROWS > 0, axis=1)
PAIRS = [("a bird", "the bird sings"), ("a red car", "the car runs"), ("in", "all day")]
TASK = RetrievalTask({"d": "a bird"}, {"q": "a bird"}, {"q": {"d": 1.0}})


class Whole:
    """Another package's whole number."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


@pytest.fixture(scope="module")
def cross_directory(tmp_path_factory):
    return make_cross_encoder_directory(tmp_path_factory.mktemp("cross"), num_labels=1)


def _assign(model, name, value):
    setattr(model, name, value)
    return model.encode(["a bird"])


def _train(model, rows=(("a", "b", 1.0),), objective="cosine", **options):
    return train(model, rows, objective, **{"show_progress_bar": False, **options})


# Name -> a call with one whole number; all take 8. Models are freshly loaded.
WHOLE = {
    "batch_size": lambda m, c, n: m.encode(["a"], batch_size=n),
    "chunk_size": lambda m, c, n: m.encode(["a"], chunk_size=n),
    "truncate_dim": lambda m, c, n: m.encode(["a"], truncate_dim=n),
    "truncate_dim of a model": lambda m, c, n: SentenceTransformer(
        m.model_directory, truncate_dim=n
    ).encode(["a"]),
    "truncate_dim assigned": lambda m, c, n: _assign(m, "truncate_dim", n),
    "truncate_dim of a block": lambda m, c, n: m.truncate_embeddings(n).__enter__(),
    "truncate_dim of util": lambda m, c, n: util.truncate_embeddings(ROWS, n),
    "max_seq_length assigned": lambda m, c, n: _assign(m, "max_seq_length", n),
    "threads": lambda m, c, n: m.encode(["a"], threads=n),
    "threads of a model": lambda m, c, n: SentenceTransformer(m.model_directory, threads=n),
    "threads assigned": lambda m, c, n: _assign(m, "threads", n),
    "chunk of a stream": lambda m, c, n: list(m.encode_iter(["a"], n)),
    "max_length": lambda m, c, n: CrossEncoder(c.model_directory, max_length=n),
    "max_length assigned": lambda m, c, n: setattr(c, "max_length", n),
    "num_labels": lambda m, c, n: CrossEncoder(m.model_directory, fresh_head=0, num_labels=n),
    "fresh_head": lambda m, c, n: CrossEncoder(m.model_directory, fresh_head=n),
    "batch_size of pairs": lambda m, c, n: c.predict([("a", "b")], batch_size=n),
    "top_k of a ranking": lambda m, c, n: c.rank("a", ["b", "c"], top_k=n),
    "epochs": lambda m, c, n: _train(m, epochs=n) if n != 2**63 - 1 else None,
    "batch_size of training": lambda m, c, n: _train(m, batch_size=n),
    "seed": lambda m, c, n: _train(m, seed=n),
    "evaluate_every": lambda m, c, n: _train(m, evaluate_every=n),
    "threads of training": lambda m, c, n: _train(m, threads=n),
    "k": lambda m, c, n: topk(ROWS, ROWS, n),
    "k of an index": lambda m, c, n: FlatIndex.from_embeddings(ROWS).search(ROWS, n),
    "k of bits": lambda m, c, n: hamming_topk(BITS, BITS, n),
    "k of a binary index": lambda m, c, n: BinaryIndex(BITS, ROWS).search(ROWS, n),
    "oversample": lambda m, c, n: BinaryIndex(BITS, ROWS).search(ROWS, 1, n),
    "dimension": lambda m, c, n: FlatIndex(n),
    "top_k of a search": lambda m, c, n: util.semantic_search(ROWS, ROWS, top_k=n),
    "query_chunk_size": lambda m, c, n: util.semantic_search(ROWS, ROWS, query_chunk_size=n),
    "corpus_chunk_size": lambda m, c, n: util.semantic_search(ROWS, ROWS, corpus_chunk_size=n),
    "max_pairs": lambda m, c, n: util.paraphrase_mining_embeddings(ROWS, max_pairs=n),
    "top_k of pairs": lambda m, c, n: util.paraphrase_mining_embeddings(ROWS, top_k=n),
    "min_community_size": lambda m, c, n: util.community_detection(ROWS, min_community_size=n),
    "batch_size of communities": lambda m, c, n: util.community_detection(ROWS, batch_size=n),
    "k of an evaluation": lambda m, c, n: evaluate_retrieval(m, TASK, n),
    "faiss_batch_size": lambda m, c, n: mine_hard_negatives(
        PAIRS, m, num_negatives=1, faiss_batch_size=n, verbose=False
    ),
}


@pytest.fixture
def models(tiny_directory, cross_directory):
    return SentenceTransformer(tiny_directory), CrossEncoder(cross_directory)


@pytest.mark.filterwarnings("ignore:embeddings truncated")
@pytest.mark.parametrize("value", [8, np.int64(8), np.uint8(8), np.array(8), Whole(8)])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_of_any_type(models, name, value):
    """Python's, NumPy's and other packages' whole numbers are taken everywhere."""
    WHOLE[name](*models, value)


@pytest.mark.parametrize(
    "value", [True, np.True_, 8.0, np.float32(8), "8", -1, 2**63, 10**30, 1e400, math.nan]
)
@pytest.mark.parametrize("name", WHOLE)
def test_other_numbers_are_refused(models, name, value):
    """Bools, fractions, texts, and numbers beyond int64 are refused everywhere, by name."""
    with pytest.raises(
        ValueError, match=rf"^{name.split()[0]} (of .*)?must be .*, got .{{1,80}}; "
    ):
        WHOLE[name](*models, value)


@pytest.mark.parametrize("value", [2**31, 2**40, 2**63 - 1])
@pytest.mark.parametrize("name", WHOLE)
def test_large_numbers_do_not_wrap(models, name, value):
    """A large number is taken as it is, or refused; it asks for no memory and doesn't wrap."""
    small = ("threads", "num_labels", "max_length", "max_seq_length", "dimension", "epochs")
    if name.startswith(small):
        if name != "dimension" and name != "epochs":
            with pytest.raises(ValueError, match=rf"^{name.split()[0]} must be .*, got {value}; "):
                WHOLE[name](*models, value)
        return
    WHOLE[name](*models, value)


# Name -> a call with one number; all take 0.5.
NUMBERS = {
    "learning_rate": lambda m, n: _train(m, learning_rate=n),
    "warmup": lambda m, n: _train(m, warmup=n),
    "weight_decay": lambda m, n: _train(m, weight_decay=n),
    "clip_norm": lambda m, n: _train(m, clip_norm=n),
    "margin": lambda m, n: _train(m, [("a", "b", "c")], "triplet", margin=n),
    "scale": lambda m, n: _train(m, [("a", "b"), ("c", "d")], "ranking", scale=n),
    "threshold": lambda m, n: util.community_detection(ROWS, n),
    "max_score": lambda m, n: mine_hard_negatives(PAIRS, m, max_score=n, verbose=False),
    "min_score": lambda m, n: mine_hard_negatives(PAIRS, m, min_score=n, verbose=False),
    "absolute_margin": lambda m, n: mine_hard_negatives(PAIRS, m, absolute_margin=n, verbose=False),
    "relative_margin": lambda m, n: mine_hard_negatives(PAIRS, m, relative_margin=n, verbose=False),
}


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float16(0.5), 1, np.int8(1)])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_any_type(models, name, value):
    """Python's and NumPy's numbers are taken everywhere."""
    NUMBERS[name](models[0], value)


@pytest.mark.parametrize("value", [True, np.True_, "0.5", math.nan, [0.5], 1j])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused(models, name, value):
    """Bools, texts and NaN are refused everywhere, by name."""
    with pytest.raises(ValueError, match=rf"^{name} must be a number .*, got .{{1,80}}; "):
        NUMBERS[name](models[0], value)


@pytest.mark.parametrize("value", [1e400, 1e39, -1e39, 10**400])
@pytest.mark.parametrize(
    "name", [name for name in NUMBERS if name not in ("threshold", "clip_norm")]
)
def test_numbers_beyond_float32_are_refused(models, name, value):
    """A number that would be infinite in float32 is refused."""
    with pytest.raises(ValueError, match=rf"^{name} must be a number .*, got .{{1,80}}; "):
        NUMBERS[name](models[0], value)
