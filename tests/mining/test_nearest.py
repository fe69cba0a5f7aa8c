"""Search and paraphrases give the same as plain loops over all scores."""

import tracemalloc

import numpy as np
import pytest
from rows import all_cosines, make_rows

from minisbert import FlatIndex
from minisbert.mining import nearest
from minisbert.mining.nearest import (
    find_nearest,
    paraphrase_mining,
    paraphrase_mining_embeddings,
    semantic_search,
)
from minisbert.network.comparisons import (
    SIMILARITIES,
    dot_similarity,
    euclidean_similarity,
    manhattan_similarity,
)
from minisbert.network.similarity import cosine_similarity

# semantic_search


def test_hits_are_those_of_the_index():
    """For cosine and dot product, hits are those of `FlatIndex`, for few queries and many."""
    rows, queries = make_rows(300), make_rows(40, seed=1)
    for metric, function in (("cosine", cosine_similarity), ("dot", dot_similarity)):
        index = FlatIndex.from_embeddings(rows, metric)
        for some in (queries[:2], queries):
            scores, ids = index.search(some, 7)
            hits = semantic_search(some, rows, top_k=7, score_function=function)
            assert [[hit["corpus_id"] for hit in one] for one in hits] == ids.tolist()
            assert [[hit["score"] for hit in one] for one in hits] == scores.tolist()


def test_default_is_ten_by_cosine():
    """By default the ten best by cosine are returned, as dicts of an int and a float."""
    rows = make_rows(60)
    (hits,) = semantic_search(rows[5], rows)
    assert len(hits) == 10
    assert hits == semantic_search(rows[5] * 8, rows, top_k=10, score_function=cosine_similarity)[0]
    assert {(type(hit["corpus_id"]), type(hit["score"])) for hit in hits} == {(int, float)}


@pytest.mark.parametrize("function", [cosine_similarity, dot_similarity, manhattan_similarity])
def test_chunks_change_nothing(function):
    """Chunks of any size give the same rows and scores, ties included."""
    rows, queries = make_rows(200), make_rows(30, seed=2)
    whole = semantic_search(queries, rows, top_k=20, score_function=function)
    for sizes in ((1, 1), (7, 13), (100, 50), (1000, 1000)):
        assert semantic_search(queries, rows, *sizes, 20, function) == whole


def test_ties_go_to_the_lower_row():
    """Of equal scores the lower row comes first, for any function and chunk size."""
    rows = np.ones((9, 4), np.float32)
    for function in (cosine_similarity, dot_similarity, euclidean_similarity):
        for size in (2, 4, 100):
            (hits,) = semantic_search(rows[:1], rows, 1, size, 5, function)
            assert [hit["corpus_id"] for hit in hits] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("function", [euclidean_similarity, manhattan_similarity])
def test_other_functions_are_sorted_scores(function, monkeypatch):
    """For another score function, hits are in the order of its scores."""
    rows, queries = make_rows(120), make_rows(9, seed=3)
    monkeypatch.setattr(nearest, "COLUMNS_AT_ONCE", 32)
    scores = function(queries, rows)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :15]
    hits = semantic_search(queries, rows, top_k=15, score_function=function)
    assert [[hit["corpus_id"] for hit in one] for one in hits] == order.tolist()
    assert [[hit["score"] for hit in one] for one in hits] == [
        pytest.approx(row[some].tolist()) for row, some in zip(scores, order, strict=True)
    ]


def test_nothing_to_find():
    """Without rows queries have no hits, without queries the list is empty; few rows all hit."""
    rows = make_rows(20)
    assert semantic_search(rows[:2], rows[:0]) == [[], []]
    assert semantic_search(rows[:0], rows) == []
    assert len(semantic_search(rows[0], rows, top_k=50)[0]) == 20


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"top_k": 0}, "top_k must be a whole number of 1 or more, got 0"),
        ({"query_chunk_size": -1}, "query_chunk_size must be a whole number of 1 or more"),
        ({"corpus_chunk_size": 1.5}, "corpus_chunk_size must be a whole number of 1 or more"),
        ({"corpus_embeddings": np.ones((3, 5))}, "query_embeddings must have 5 columns, got 4"),
        ({"corpus_embeddings": np.ones(4)}, "corpus_embeddings must be a matrix"),
        ({"corpus_embeddings": [[1, 1, 1, 1], [1, np.nan, 1, 1]]}, "embedding 1 must be finite"),
        ({"query_embeddings": [1, 1, np.inf, 1]}, "query 0 must be finite"),
        ({"score_function": lambda a, b: a}, "score_function must give numbers of shape"),
    ],
)
def test_what_cannot_be_searched(arguments, sentence):
    """Sizes below 1, wrong widths, numbers that are not finite and bad functions are refused."""
    good = {"query_embeddings": np.ones(4), "corpus_embeddings": np.ones((3, 4))}
    with pytest.raises(ValueError, match=sentence):
        semantic_search(**{**good, **arguments})


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_nearest_by_any_similarity(similarity):
    """The nearest rows are those with the highest scores, for each of the four similarities."""
    rows, queries = 3 * make_rows(120), make_rows(9, seed=3)
    expected = SIMILARITIES[similarity](queries, rows)
    scores, ids = find_nearest(queries, rows, 15, similarity=similarity)
    assert ids.shape == (9, 15)
    assert np.allclose(scores, np.take_along_axis(expected, ids, axis=1), atol=1e-5)
    assert np.allclose(scores, -np.sort(-expected, axis=1)[:, :15], atol=1e-5)


@pytest.mark.parametrize("size", [2**31, 2**63 - 1, np.int64(2**62)])
def test_any_whole_number_is_a_size(size):
    """Sizes far above the number of rows ask for no more memory and give the same as all rows."""
    rows = make_rows(20)
    for function in (cosine_similarity, euclidean_similarity):
        expected = semantic_search(rows, rows, top_k=20, score_function=function)
        assert semantic_search(rows, rows, size, size, size, function) == expected
    expected = paraphrase_mining_embeddings(rows, top_k=20)
    assert paraphrase_mining_embeddings(rows, size, size, size, size) == expected


def test_empty_lists():
    """An empty list is taken for no rows, as in sentence-transformers."""
    rows = make_rows(9)
    assert semantic_search([], rows) == []
    assert semantic_search(rows, []) == [[]] * 9
    assert semantic_search([], []) == []
    assert paraphrase_mining_embeddings([]) == []


# paraphrase_mining


def mine_slowly(rows: np.ndarray, max_pairs: int, top_k: int) -> list[list[float | int]]:
    """Apply the definition, over all pairs."""
    scores = all_cosines(rows)
    pairs = set()
    for i, row in enumerate(scores):
        others = [j for j in np.lexsort((np.arange(len(row)), -row)).tolist() if j != i]
        pairs.update((min(i, j), max(i, j)) for j in others[:top_k])
    best = sorted(pairs, key=lambda pair: (-scores[pair], *pair))[:max_pairs]
    return [[float(scores[pair]), *pair] for pair in best]


@pytest.mark.parametrize("top_k", [1, 3, 1000])
@pytest.mark.parametrize("max_pairs", [1, 10, 100_000])
@pytest.mark.parametrize(
    "sizes",
    [(5000, 100_000), (7, 100_000), (50, 9), pytest.param((1, 1), marks=pytest.mark.slow)],
)
def test_pairs_are_the_best_of_all(sizes, max_pairs, top_k):
    """The pairs and scores are those of the definition, for any chunks."""
    rows = make_rows(60)
    got = paraphrase_mining_embeddings(rows, *sizes, max_pairs, top_k)
    assert got == mine_slowly(rows, max_pairs, top_k)


def test_copies_do_not_push_each_other_out():
    """If there are more equal rows than are kept, each still finds others and never itself."""
    got = paraphrase_mining_embeddings(np.ones((5, 4)), top_k=2)
    assert [pair[1:] for pair in got] == [[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]]


def test_pairs_by_another_function():
    """Pairs are found by any symmetric function."""
    rows = make_rows(30)
    scores = euclidean_similarity(rows, rows)
    got = paraphrase_mining_embeddings(rows, max_pairs=5, score_function=euclidean_similarity)
    assert [pair[1:] for pair in got[:1]] == [[3, 15]]
    assert [pair[0] for pair in got] == pytest.approx([scores[i, j] for _, i, j in got])
    assert got == sorted(got, key=lambda pair: -pair[0])


def test_sentences_are_encoded(tiny):
    """Sentences are encoded with the given options, and their pairs are those of the embeddings."""
    sentences = ["a bird", "the tree", "a bird", "the old tree", "dog"]
    expected = paraphrase_mining_embeddings(tiny.encode(sentences))
    assert paraphrase_mining(tiny, iter(sentences)) == expected
    assert expected[0][1:] == [0, 2]
    prompted = paraphrase_mining(tiny, sentences, prompt="red car ", max_pairs=4)
    assert prompted == paraphrase_mining_embeddings(
        tiny.encode(sentences, prompt="red car "), max_pairs=4
    )
    with pytest.raises(TypeError, match="sentences must be an iterable of str, got str"):
        paraphrase_mining(tiny, "a bird")


@pytest.mark.slow
def test_mining_never_holds_all_scores():
    """The peak memory is a fraction of the memory of all pairs' scores."""
    rows = np.random.default_rng(0).standard_normal((6000, 8)).astype(np.float32)
    tracemalloc.start()
    pairs = paraphrase_mining_embeddings(rows, max_pairs=1000, top_k=5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs) == 1000
    assert peak < 4 * len(rows) ** 2 / 5


def test_too_few_for_a_pair():
    """One row or none has no pairs."""
    assert paraphrase_mining_embeddings(np.ones((1, 4))) == []
    assert paraphrase_mining_embeddings(np.ones((0, 4))) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"max_pairs": 0}, "max_pairs must be"),
        ({"top_k": 0}, "top_k must be"),
        ({"query_chunk_size": 0}, "query_chunk_size must be"),
        ({"corpus_chunk_size": 0}, "corpus_chunk_size must be"),
        ({"embeddings": np.ones(4)}, "embeddings must be a matrix"),
        ({"embeddings": [[1.0], [np.nan]]}, "query 1 must be finite"),
    ],
)
def test_what_cannot_be_mined(arguments, sentence):
    """Sizes below 1, and anything but a matrix of finite numbers, are refused."""
    with pytest.raises(ValueError, match=sentence):
        paraphrase_mining_embeddings(**{"embeddings": np.ones((3, 4)), **arguments})


@pytest.mark.parametrize("name", SIMILARITIES)
def test_numbers_that_are_not_finite_are_named(name):
    """No similarity gives NaN as a score of an embedding that is not finite."""
    bad = np.eye(4)
    bad[2, 1] = np.nan
    function = SIMILARITIES[name]
    with pytest.raises(ValueError, match=r"^embedding 2 must be finite, got nan; "):
        semantic_search(np.eye(4), bad, score_function=function)
    with pytest.raises(ValueError, match=r"^embedding 2 must be finite, got nan; "):
        semantic_search(np.eye(4), bad, score_function=function, corpus_chunk_size=2)
    with pytest.raises(ValueError, match=r"^query 2 must be finite, got nan; "):
        semantic_search(bad, np.eye(4), score_function=function)
