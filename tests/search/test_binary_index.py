"""An approximate index is exact if it scores every row, and measures its own recall."""

import numpy as np
import pytest

from minisbert import BinaryIndex, FlatIndex, binary_index
from minisbert.search.hamming import hamming_topk
from minisbert.search.quantization import quantize_embeddings


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def same(found, expected):
    """Return whether two results are equal bit for bit."""
    return all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, expected, strict=True)
    )


def test_both_names_are_one_class():
    """The class is the same under both of its public names."""
    assert binary_index.BinaryIndex is BinaryIndex


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_candidates_of_every_row_give_the_exact_answer(metric, rng):
    """With as many candidates as rows, scores and order are those of FlatIndex, ties included."""
    rows = rng.standard_normal((300, 33))
    rows[[7, 200, 299]] = rows[0]
    exact = FlatIndex.from_embeddings(rows, metric)
    index = BinaryIndex.from_index(exact)
    queries = np.concatenate([rng.standard_normal((5, 33)), rows[:1]])
    for k in (1, 7, 299, 300, 1000):
        found, expected = index.search(queries, k, oversample=300), exact.search(queries, k)
        assert same(found, expected), k
        assert not same(found, (expected[0], expected[1][::-1]))
        assert not same(found, (np.zeros_like(expected[0]), expected[1]))
    assert index.measure_recall(queries, 10, oversample=30) == 1
    assert len(index) == 300


def test_scores_are_exact_even_where_rows_are_missed(rng):
    """Every row that is found has the score that FlatIndex gives it, in the same order."""
    rows, queries = rng.standard_normal((500, 16)), rng.standard_normal((20, 16))
    exact = FlatIndex.from_embeddings(rows)
    every_score, every_id = exact.search(queries, 500)
    scores, ids = BinaryIndex.from_index(exact).search(queries, 10, oversample=2)
    for query in range(20):
        places = [every_id[query].tolist().index(row) for row in ids[query]]
        assert places == sorted(set(places))
        assert np.array_equal(every_score[query][places], scores[query])


def test_recall_is_counted_by_hand(rng):
    """Recall is the fraction of the exact best rows that is found; more candidates raise it."""
    rows, queries = rng.standard_normal((2000, 24)), rng.standard_normal((30, 24))
    exact = FlatIndex.from_embeddings(rows)
    index = BinaryIndex.from_index(exact)
    recalls = [index.measure_recall(queries, 10, oversample) for oversample in (1, 5, 200)]
    _, best = exact.search(queries, 10)
    _, found = index.search(queries, 10, oversample=1)
    hits = sum(row in best[query] for query in range(30) for row in found[query])
    assert recalls[0] == hits / 300
    assert 0 < recalls[0] < recalls[1] < recalls[2] == 1


def test_nearest_codes_are_the_candidates():
    """The best row by dot product, with other signs, is missed until it becomes a candidate."""
    rows = np.array([[1, 1, 1, 1], [9, -1, -1, -1], [1, 1, 1, -1]], np.float32)
    index = BinaryIndex.from_index(FlatIndex.from_embeddings(rows, "dot"))
    query = np.ones(4)
    assert [part.tolist() for part in index.search(query, 1, oversample=2)] == [[4], [0]]
    assert [part.tolist() for part in index.search(query, 1, oversample=3)] == [[6], [1]]
    assert index.measure_recall(query[None], 1, oversample=2) == 0


def test_equal_scores_are_in_row_order():
    """Of two rows with equal scores the lower comes first, though its code is farther."""
    index = BinaryIndex.from_index(FlatIndex.from_embeddings([[3, -1], [1, 1]], "dot"))
    assert [part.tolist() for part in index.search([1, 1], 2)] == [[2, 2], [0, 1]]


def test_without_rows_a_score_is_the_negative_distance(rng):
    """Without rows a score is the negative Hamming distance, so nearer rows score higher."""
    rows, queries = rng.standard_normal((100, 21)), rng.standard_normal((3, 21))
    codes = quantize_embeddings(rows, "ubinary")
    distances, expected = hamming_topk(quantize_embeddings(queries, "ubinary"), codes, 8)
    scores, ids = BinaryIndex(codes).search(queries, 8)
    assert same((scores, ids), ((-distances).astype(np.float32), expected))
    assert not np.signbit(BinaryIndex(codes).search(rows[0], 1)[0][0])


@pytest.mark.parametrize("threads", [1, 3])
def test_one_query_gives_one_result(threads, rng):
    """A query (D,) gives the row of results that a matrix of it (1, D) gives."""
    exact = FlatIndex.from_embeddings(rng.standard_normal((50, 8)))
    for index in (BinaryIndex.from_index(exact), BinaryIndex(rng.integers(0, 256, (50, 1), "u1"))):
        query = rng.standard_normal(8)
        many = index.search(query[None], 3, threads=threads)
        assert same(index.search(query, 3, threads=threads), (many[0][0], many[1][0]))


def test_rows_added_later_are_not_seen(rng):
    """Rows added to the FlatIndex later are not searched, and not used to measure recall."""
    exact = FlatIndex.from_embeddings(rng.standard_normal((50, 8)))
    index = BinaryIndex.from_index(exact)
    query = rng.standard_normal((1, 8))
    before = index.search(query, 10)
    exact.add(query)
    assert same(index.search(query, 10), before)
    assert index.measure_recall(query, 10) == 1
    assert len(index) == 50


def test_mapped_rows_serve(tmp_path, rng):
    """Rows that are mapped from the file of a FlatIndex give the same answers."""
    exact = FlatIndex.from_embeddings(rng.standard_normal((200, 8)))
    exact.save(tmp_path / "index")
    mapped = BinaryIndex.from_index(FlatIndex.load(tmp_path / "index"))
    queries = rng.standard_normal((4, 8))
    assert same(mapped.search(queries), BinaryIndex.from_index(exact).search(queries))


def test_empty_index_finds_nothing():
    """An index without rows gives results of length 0."""
    index = BinaryIndex.from_index(FlatIndex(8))
    for scores, ids in (index.search(np.ones(8)), BinaryIndex(index.codes).search(np.ones(8))):
        assert scores.shape == ids.shape == (0,)


def test_bad_arguments_are_refused(rng):
    """Codes, rows and queries of different widths are refused, and counts below 1."""
    rows = rng.standard_normal((20, 12)).astype(np.float32)
    codes = quantize_embeddings(rows, "ubinary")
    index = BinaryIndex(codes, rows, "dot")
    with pytest.raises(ValueError, match=r"codes must have the shape \(19, 2\) .* got \(20, 2\)"):
        BinaryIndex(codes, rows[:19])
    with pytest.raises(ValueError, match=r"codes must have the shape \(20, 1\) .* got \(20, 2\)"):
        BinaryIndex(codes, rows[:, :8])
    with pytest.raises(ValueError, match=r"codes must be rows of bytes, .* of int8"):
        BinaryIndex(codes.astype(np.int8), rows)
    with pytest.raises(ValueError, match="metric must be 'cosine' or 'dot', got 'l2'"):
        BinaryIndex(codes, rows, "l2")
    with pytest.raises(ValueError, match="queries must have 12 columns, got 16"):
        index.search(np.ones(16))
    with pytest.raises(ValueError, match="queries must have the width of the codes, 2"):
        BinaryIndex(codes).search(np.ones(8))
    with pytest.raises(ValueError, match="query 0 must be finite, got nan"):
        index.search(np.full(12, np.nan))
    with pytest.raises(ValueError, match="k must be a whole number of 1 or more, got 0"):
        index.search(np.ones(12), 0)
    with pytest.raises(ValueError, match="oversample must be a whole number of 1 or more, got 0"):
        index.search(np.ones(12), oversample=0)


def test_recall_without_rows_or_queries_is_refused(rng):
    """Recall can't be measured without rows or without queries."""
    index = BinaryIndex.from_index(FlatIndex.from_embeddings(rng.standard_normal((20, 12))))
    for bare, queries in (
        (BinaryIndex(index.codes), np.ones((1, 12))),
        (BinaryIndex.from_index(FlatIndex(12)), np.ones((1, 12))),
        (index, np.ones((0, 12))),
    ):
        with pytest.raises(ValueError, match="recall must be measured with rows and at least one"):
            bare.measure_recall(queries)


@pytest.mark.parametrize("size", [2**31, 2**63 - 1])
def test_any_whole_number_is_a_size(size, rng):
    """k and oversample far above the number of rows find all rows, and ask for no more memory."""
    exact = FlatIndex.from_embeddings(rng.standard_normal((50, 9)))
    index, queries = BinaryIndex.from_index(exact), rng.standard_normal((5, 9))
    assert same(index.search(queries, size, size), exact.search(queries, 50))
    assert same(index.search(queries, 3, size), exact.search(queries, 3))
    assert index.measure_recall(queries, size) == 1
    assert BinaryIndex(index.codes).search(queries, size)[0].shape == (5, 50)


@pytest.mark.parametrize("wrong", [0, 3.0, None, "3"])
def test_sizes_that_are_no_whole_numbers(wrong, rng):
    """k and oversample are named if they are no whole number of 1 or more."""
    index = BinaryIndex.from_index(FlatIndex.from_embeddings(rng.standard_normal((5, 9))))
    for name in ("k", "oversample"):
        with pytest.raises(ValueError, match=f"^{name} must be a whole number of 1 or more, got "):
            index.search(np.ones(9), **{name: wrong})


def test_no_queries_and_no_rows(rng):
    """An empty list of queries, and an empty index, give empty results."""
    index = BinaryIndex.from_index(FlatIndex.from_embeddings(rng.standard_normal((5, 9))))
    assert index.search([], 2)[0].shape == (0, 2)
    assert BinaryIndex.from_index(FlatIndex(9)).search(np.ones((2, 9)))[0].shape == (2, 0)


def test_rows_that_are_not_finite_are_refused():
    """Rows are not read when an index is made, so a search names those that give no number."""
    rows = np.eye(8, dtype=np.float32)
    codes = quantize_embeddings(rows, "ubinary")
    rows[3] = np.nan
    with pytest.raises(ValueError, match=r"^rows must be finite numbers .* got 3 which"):
        BinaryIndex(codes, rows).search(np.eye(8)[3])


def test_recall_of_a_single_query():
    """A single query is taken as (D,), as by a search."""
    index = BinaryIndex.from_index(FlatIndex.from_embeddings(np.eye(8)))
    assert index.measure_recall(np.eye(8)[0], k=8) == 1
