"""Hard negatives: near a query, not its own, and in the form in which the pairs came."""

import random

import numpy as np
import pytest

import minisbert
from minisbert import CrossEncoder, util
from minisbert.mining.hard_negatives import mine_hard_negatives
from models import make_cross_encoder_directory

PAIRS = [
    ("a bird", "the bird sings"),
    ("a dog", "the old dog runs"),
    ("a bird", "a bird in the tree"),
    ("a car", "the red car"),
]
CORPUS = ["a cat", "the old tree", "all day", "sing, sing!"]


class Dataset:
    """Looks like a `datasets.Dataset`."""

    def __init__(self, columns):
        self.columns, self.column_names = columns, list(columns)

    def __getitem__(self, name):
        return self.columns[name]

    @classmethod
    def from_dict(cls, columns):
        return cls(columns)


def mine(tiny, **options):
    return mine_hard_negatives(PAIRS, tiny, corpus=CORPUS, verbose=False, **options)


def test_negatives_are_the_nearest_others(tiny):
    """The negatives of a query are the nearest texts that are not its own."""
    texts = [*CORPUS, *(text for _, text in PAIRS)]
    rows = mine(tiny, num_negatives=2, output_format="n-tuple")
    assert [row[:2] for row in rows] == [PAIRS[0], PAIRS[2], PAIRS[1], PAIRS[3]]
    for query, _, *negatives in rows:
        own = [text for other, text in PAIRS if other == query]
        scores = tiny.similarity(tiny.encode_query(query), tiny.encode_document(texts))[0]
        others = [texts[row] for row in np.argsort(-scores) if texts[row] not in own]
        assert negatives == others[:2]


def test_forms_of_the_result(tiny):
    """Triplets, tuples, labelled pairs and lists hold the same negatives, with labels or scores."""
    triplets = mine(tiny, num_negatives=2)
    assert len(triplets) == 8
    assert {row[:2] for row in triplets} == set(PAIRS)
    tuples = mine(tiny, num_negatives=2, output_format="n-tuple", output_scores=True)
    assert [(*row[:2], negative) for row in tuples for negative in row[2:4]] == triplets
    pairs = mine(tiny, num_negatives=2, output_format="labeled-pair")
    assert [row for row in pairs if row[0] == "a bird"] == [
        *(("a bird", text, 1) for text in ("the bird sings", "a bird in the tree")),
        *(("a bird", text, 0) for text in tuples[0][2:4]),
    ]
    lists = mine(tiny, num_negatives=2, output_format="labeled-list", output_scores=True)
    assert lists[0] == ("a bird", ["the bird sings", *tuples[0][2:4]], tuples[0][4])
    labelled = mine(tiny, num_negatives=2, output_format="labeled-list")
    assert labelled[0][2] == [1, 0, 0]
    scored = mine(tiny, num_negatives=2, output_scores=True)
    assert scored[0][3] == tuples[0][4][:2]
    assert scored[0][3][0] == pytest.approx(
        tiny.similarity(tiny.encode("a bird"), tiny.encode("the bird sings")).item(), abs=1e-6
    )


def test_rows_come_back_as_they_came(tiny):
    """Tuples become tuples, dicts dicts, and a dataset a dataset of the same class."""
    expected = mine(tiny)
    dicts = [{"number": n, "q": query, "text": text} for n, (query, text) in enumerate(PAIRS)]
    options = {"anchor_column_name": "q", "positive_column_name": "text", "verbose": False}
    found = mine_hard_negatives(dicts, tiny, corpus=CORPUS, **options)
    assert [tuple(row.values()) for row in found] == expected
    assert list(found[0]) == ["q", "text", "negative"]
    columns = {"q": [query for query, _ in PAIRS], "text": [text for _, text in PAIRS]}
    data = mine_hard_negatives(Dataset(columns), tiny, corpus=CORPUS, verbose=False)
    assert isinstance(data, Dataset)
    assert list(zip(*data.columns.values(), strict=True)) == expected
    assert data.column_names == ["q", "text", "negative"]


@pytest.mark.parametrize(
    "names",
    [{"anchor_column_name": "Q"}, {"positive_column_name": "q"}, {"anchor_column_name": "text"}],
)
def test_columns_that_are_not_there_or_one(tiny, names):
    """A misspelt column, or one column as both, is refused; no other column is mined instead."""
    dicts = [{"q": query, "text": text} for query, text in PAIRS]
    with pytest.raises(ValueError, match=r"must be two columns of 'q', 'text', got .*; name both"):
        mine_hard_negatives(dicts, tiny, corpus=CORPUS, verbose=False, **names)


def test_limits_of_score(tiny):
    """What is too near, too far, or too near for the query's own texts, is left out."""
    tuples = mine(tiny, num_negatives=3, output_format="labeled-list", output_scores=True)
    for limit, holds in (
        ({"max_score": 0.9}, lambda own, near: near <= 0.9),
        ({"min_score": 0.9}, lambda own, near: near >= 0.9),
        ({"absolute_margin": 0.01}, lambda own, near: near + 0.01 <= own),
        ({"relative_margin": 0.01}, lambda own, near: near <= own - 0.01 * abs(own)),
        ({"margin": 0.01}, lambda own, near: near + 0.01 <= own),
    ):
        found = mine(tiny, num_negatives=3, output_scores=True, **limit)
        assert all(holds(*scores) for *_, scores in found)
    assert len(tuples) == 4


def test_ranges_and_samples(tiny):
    """The nearest can be skipped; random negatives come from the range, by Python's own seed."""
    ranked = mine(tiny, num_negatives=4, output_format="n-tuple")
    skipped = mine(tiny, num_negatives=2, range_min=2, output_format="n-tuple")
    assert [row[2:] for row in skipped] == [row[4:] for row in ranked]
    options = {"range_max": 4, "num_negatives": 2, "output_format": "n-tuple"}
    random.seed(3)
    first = mine(tiny, sampling_strategy="random", **options)
    random.seed(3)
    assert mine(tiny, sampling_strategy="random", **options) == first
    for row, all_of_it in zip(first, ranked, strict=True):
        assert set(row[2:]) <= set(all_of_it[2:])


def test_own_texts_can_be_included(tiny):
    """With `include_positives` a query's own texts take part in its ranking."""
    with pytest.warns(UserWarning, match="output_format is n-tuple with include_positives"):
        rows = mine(tiny, include_positives=True, num_negatives=6)
    assert any(row[1] in row[2:] for row in rows)


def test_scores_of_a_cross_encoder(tiny, tmp_path):
    """Where a limit is given, the scores are those of the cross-encoder."""
    cross = CrossEncoder(make_cross_encoder_directory(tmp_path))
    rows = mine(tiny, cross_encoder=cross, max_score=0.99, output_scores=True)
    for query, own, negative, scores in rows:
        expected = cross.predict([(query, own), (query, negative)])
        assert scores == pytest.approx(expected.tolist(), abs=1e-6)


def test_more_negatives_than_texts(tiny):
    """Where the corpus is too small, there are fewer triplets, and no tuple is incomplete."""
    pairs = PAIRS[:2]
    assert len(mine_hard_negatives(pairs, tiny, num_negatives=3, verbose=False)) == 2
    options = {"num_negatives": 3, "verbose": False}
    assert mine_hard_negatives(pairs, tiny, output_format="n-tuple", **options) == []
    random.seed(0)
    found = mine_hard_negatives(pairs, tiny, sampling_strategy="random", **options)
    assert len(found) <= 2


def test_embeddings_are_kept_in_a_folder(tiny, tmp_path, monkeypatch):
    """A second call reads the embeddings of the first; another model or prompt does not."""
    expected = mine(tiny, cache_folder=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2
    monkeypatch.setattr(type(tiny), "encode", None)
    assert mine(tiny, cache_folder=tmp_path / "kept") == expected
    with pytest.raises(TypeError, match="not callable"):
        mine(tiny, cache_folder=tmp_path / "kept", query_prompt="the ")


def test_report(tiny, capsys):
    """By default the number of negatives and their scores are printed."""
    mine_hard_negatives(PAIRS, tiny, corpus=CORPUS, use_multi_process=["cpu"])
    printed = capsys.readouterr().out
    assert printed.startswith("12 rows; 9 of 9 negatives were found\nscores of own texts: least,")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_negatives": 0}, ValueError, "num_negatives must be a whole number of 1 or more"),
        ({"range_min": -1}, ValueError, "range_min must be a whole number"),
        ({"range_max": 2}, ValueError, "range_max must be a whole number of 3 or more, got 2; it"),
        ({"output_format": "pairs"}, ValueError, "output_format must be one of triplet, n-tuple"),
        ({"sampling_strategy": "best"}, ValueError, 'sampling_strategy must be "top" or "random"'),
        ({"use_faiss": True}, ValueError, "use_faiss must be False, got True; the search here is"),
        ({"faiss_batch_size": 0}, ValueError, "faiss_batch_size must be a whole number"),
    ],
)
def test_impossible_options_are_refused(tiny, options, error, message):
    """An option that leaves nothing to find, or is unknown, is refused."""
    with pytest.raises(error, match=message):
        mine(tiny, **options)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([], ValueError, "dataset must hold one pair or more, got none"),
        ([("a",)], TypeError, "dataset must hold pairs, got \\('a',\\) at index 0"),
        ([("a", 3)], TypeError, "dataset must hold only str, got int at index 0"),
        ([{"a": "b"}], ValueError, "dataset must have two columns or more"),
        ({"a": "b"}, TypeError, "dataset must be an iterable of pairs, got dict"),
    ],
)
def test_what_are_no_pairs_is_refused(tiny, pairs, error, message):
    """Pairs must be pairs of str."""
    with pytest.raises(error, match=message):
        mine_hard_negatives(pairs, tiny, verbose=False)


def test_names():
    """The function is where sentence-transformers has it."""
    assert minisbert.mine_hard_negatives is util.mine_hard_negatives is mine_hard_negatives
