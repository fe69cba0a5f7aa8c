"""An index with codes, ids or rows in a file gives the same answers as one without, bit for bit."""

import concurrent.futures
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minisbert.search import index_rows
from minisbert.search.flat_index import FlatIndex
from minisbert.search.index_files import build_index
from minisbert.search.scan import topk
from minisbert.system.safetensors import read_safetensors, write_safetensors

METRICS = ["cosine", "dot"]


@pytest.fixture
def rng():
    return np.random.default_rng(30)


def same(found, expected):
    """Tell whether two results are equal bit for bit."""
    return all(map(np.array_equal, found[:2], expected[:2]))


def make_index(embeddings, **options):
    return FlatIndex.from_embeddings(embeddings, **{"codes": "int8", **options})


# --- codes ---


@pytest.mark.parametrize("metric", METRICS)
def test_codes_change_no_answer(metric, rng):
    """With codes, scores, ids and order equal those of the float32 scan, for one query or many."""
    embeddings, queries = rng.standard_normal((3000, 48)), rng.standard_normal((20, 48))
    plain = make_index(embeddings, metric=metric, codes=None)
    coded = make_index(embeddings, metric=metric)
    assert not plain.has_codes
    assert coded.has_codes
    for k in (1, 10, 4000):
        assert same(coded.search(queries, k), plain.search(queries, k))
        assert same(coded.search(queries[0], k), plain.search(queries[0], k))


def test_report(rng):
    """A report has the rows scored and the path of each query, and the bytes read for all."""
    embeddings, queries = rng.standard_normal((3000, 48)), rng.standard_normal((4, 48))
    scores, ids, report = make_index(embeddings).search(queries, 5, report=True)
    assert scores.shape == ids.shape == (4, 5)
    assert report.path == ("int8",) * 4
    assert (report.candidates >= 5).all()
    assert report.candidates.max() < 500
    assert report.bytes_read < 3000 * 48 * 4
    plain = make_index(embeddings, codes=None)
    _, _, report = plain.search(queries[0], 5, report=True)
    assert report.path == ("float32",)
    assert report.candidates.tolist() == [3000]
    assert report.bytes_read == 3000 * 48 * 4
    _, _, report = plain.search(queries, 5, report=True)
    assert report.path == ("blas",) * 4
    assert report.candidates.tolist() == [5] * 4
    assert report.bytes_read == 3000 * 48 * 4 + 4 * 5 * 48 * 4


@pytest.mark.parametrize("codes", ["int8", None])
def test_many_queries(codes, rng, monkeypatch):
    """More queries than are searched at a time get the same answers."""
    monkeypatch.setattr(index_rows, "QUERIES_AT_ONCE", 7)
    embeddings, queries = rng.standard_normal((300, 8)), rng.standard_normal((30, 8))
    scores, ids, report = make_index(embeddings, codes=codes).search(queries, 4, report=True)
    assert same((scores, ids), topk(*map(as_unit_rows, (queries, embeddings)), 4))
    assert len(report.candidates) == len(report.path) == 30


def as_unit_rows(embeddings):
    return FlatIndex.from_embeddings(embeddings).rows


def test_auto_makes_codes_for_many_rows(rng, monkeypatch):
    """From a number of rows on "auto" makes codes for all rows; None never does."""
    monkeypatch.setattr(index_rows, "ROWS_FOR_CODES", 100)
    embeddings, queries = rng.standard_normal((150, 8)), rng.standard_normal((3, 8))
    index, plain = FlatIndex(8), FlatIndex(8, codes=None)
    for part in (embeddings[:60], embeddings[60:99], embeddings[99:]):
        assert not index.has_codes
        index.add(part)
        plain.add(part)
    assert index.has_codes
    assert not plain.has_codes
    assert same(index.search(queries), plain.search(queries))
    monkeypatch.setenv("MINISBERT_SIMD", "numpy")
    assert not FlatIndex.from_embeddings(embeddings).has_codes


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.integers(0, 40), max_size=8), saved=st.integers(0, 8))
def test_add_in_parts(parts, saved, tmp_path_factory):
    """Rows added in parts have the same codes as rows added at once, also across a save."""
    path = tmp_path_factory.mktemp("parts") / "index"
    embeddings = np.random.default_rng(3).standard_normal((sum(parts), 5))
    index = FlatIndex(5, codes="int8")
    for number, (stop, part) in enumerate(zip(np.cumsum(parts), parts, strict=True)):
        if number == saved:
            index.save(path)
            index = FlatIndex.load(path)
        index.add(embeddings[stop - part : stop])
    whole = make_index(embeddings)
    if sum(parts):
        assert index.has_codes
        assert same(index.search(embeddings[:5], 7), whole.search(embeddings[:5], 7))
        _, _, report = index.search(embeddings[:5], 1, report=True)
        assert report.path == ("int8",) * len(embeddings[:5])


def test_searches_while_rows_are_added(rng):
    """Searches of codes at the same time give the same answers as alone."""
    index = make_index(rng.standard_normal((3000, 16)), metric="dot")
    queries = rng.standard_normal((8, 16))
    # Rows of zeros, added during the searches, never reach the best ten.
    expected = index.search(queries, 10)
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        searches = [executor.submit(index.search, queries, 10) for _ in range(100)]
        for _ in range(50):
            index.add(np.zeros((101, 16)))
        for search in searches:
            assert same(search.result(), expected)
    assert len(index) == 8050


def test_bad_codes():
    """An unknown value of codes, and codes for rows that are too wide, are refused."""
    with pytest.raises(ValueError, match=r"^codes must be 'auto', 'int8' or None, got 'pq'"):
        FlatIndex(3, codes="pq")
    with pytest.raises(ValueError, match=r"^dimension must be at most 65408 for codes, got 70000"):
        FlatIndex(70_000, codes="int8")
    wide = FlatIndex(70_000)
    wide.add(np.ones((1, 70_000)))
    assert not wide.has_codes


# --- ids and removal ---


def test_own_ids(rng, tmp_path):
    """A search returns the ids that were added with the rows, also after a save."""
    embeddings, query = rng.standard_normal((50, 6)), rng.standard_normal(6)
    numbers = rng.permutation(10**12 + np.arange(50))
    index = make_index(embeddings[:20], ids=numbers[:20])
    index.add(embeddings[20:], numbers[20:])
    scores, rows = make_index(embeddings).search(query, 9)
    assert same(index.search(query, 9), (scores, numbers[rows]))
    assert np.array_equal(index.ids, numbers)
    index.save(tmp_path / "index")
    loaded = FlatIndex.load(tmp_path / "index")
    assert same(loaded.search(query, 9), (scores, numbers[rows]))
    assert not loaded.ids.flags.writeable


def test_ties_go_to_the_lower_row_not_id():
    """Of equal scores the row that was added first comes first, whatever its id."""
    index = make_index(np.ones((4, 3)), ids=[9, 3, 7, 1])
    assert index.search(np.ones(3), 3)[1].tolist() == [9, 3, 7]


@pytest.mark.parametrize("codes", ["int8", None])
def test_remove(codes, rng, tmp_path):
    """After a removal the other rows keep their order and ids, and search works on them alone."""
    embeddings, queries = rng.standard_normal((90, 7)), rng.standard_normal((3, 7))
    index = make_index(embeddings, codes=codes)
    index.remove([3, 89, 17])
    kept = np.delete(np.arange(90), [3, 17, 89])
    assert np.array_equal(index.ids, kept)
    assert len(index) == 87
    scores, rows = make_index(embeddings[kept], codes=codes).search(queries)
    assert same(index.search(queries), (scores, kept[rows]))
    index.add(embeddings[:2], [100, 3])
    assert index.search(embeddings[1], 2)[1].tolist() == [1, 3] or codes == "int8"
    index.save(tmp_path / "index")
    loaded = FlatIndex.load(tmp_path / "index")
    assert same(loaded.search(queries), index.search(queries))
    loaded.remove(loaded.ids)
    assert len(loaded) == 0


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (None, "ids must be given, got None"),
        ([1], r"ids must be 2 whole numbers, one for each embedding, got shape \(1,\)"),
        ([1.0, 2.0], "ids must be 2 whole numbers, .* of float64"),
        ([8, 8], "ids must all be different, got 8 twice"),
        (np.uint64([8, 2**63]), f"ids must be less than 2\\*\\*63, got {2**63}"),
        ([8, 2**64], "ids must be 2 whole numbers, .* of object"),
        ([True, False], "ids must be 2 whole numbers, .* of bool"),
        ([8, 5], "ids must be new, got 5, which the index has"),
    ],
)
def test_bad_ids(ids, message):
    """Ids that are missing, no integers, equal or not new are refused, and nothing is added."""
    index = make_index(np.ones((2, 3)), ids=[5, 6])
    with pytest.raises(ValueError, match=f"^{message}"):
        index.add(np.ones((2, 3)), ids)
    assert len(index) == 2


def test_ids_of_any_integer_type(rng):
    """Ids of every integer type keep their value, up to the limits of int64."""
    rows = rng.standard_normal((2, 3))
    for ids in (np.uint64([2**63 - 1, 0]), np.int64([-(2**63), 2**63 - 1]), np.uint8([255, 0])):
        assert make_index(rows, ids=ids).ids.tolist() == ids.tolist()
    index = make_index(rows)
    with pytest.raises(ValueError, match=r"^ids must be less than 2\*\*63"):
        index.remove(np.uint64([2**63]))
    with pytest.raises(ValueError, match=r"^ids must be 1 whole numbers, .* of float64"):
        index.remove([1.0])
    assert len(index) == 2


def test_damaged_codes_with_too_few_candidates(rng):
    """Codes that rule out so many rows that fewer than k are left are an error in one sentence."""
    index = make_index(rng.standard_normal((300, 8)))
    index._state.blocks["residual"][:] = -1e6
    with pytest.raises(ValueError, match=r"^codes must leave 5 candidates for query 0, got \d; "):
        index.search(rng.standard_normal((1, 8)), 5)


def test_ids_for_some_rows_only():
    """Rows without ids can't be followed by rows with some."""
    index = make_index(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^ids must be left out, got some"):
        index.add(np.ones((1, 3)), [7])


def test_bad_removal():
    """An unknown id is named, and an index with companions keeps its rows."""
    index = make_index(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^ids must be of rows of the index, got 2"):
        index.remove([1, 2])
    index.companions["texts"] = np.zeros(1, np.uint8)
    with pytest.raises(ValueError, match=r"^companions must be empty .* got texts"):
        index.remove([1])
    assert len(index) == 2


# --- files ---


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 300])
def test_save_and_load(metric, count, tmp_path, rng):
    """A loaded index gives the saved one's answers, and reads rows from the file one by one."""
    index = make_index(rng.standard_normal((count, 12)), metric=metric, model_name="modèle")
    index.save(tmp_path / "index")
    loaded = FlatIndex.load(tmp_path / "index")
    assert loaded.has_codes == (count > 0)
    assert loaded.model_name == "modèle"
    queries = rng.standard_normal((3, 12))
    assert same(loaded.search(queries), index.search(queries))
    assert np.array_equal(loaded.rows, index.rows)


def test_replaced_file_is_still_read(tmp_path, rng):
    """An open index keeps reading the file that it opened, after that is replaced by another."""
    embeddings, queries = rng.standard_normal((2000, 24)), rng.standard_normal((5, 24))
    path = tmp_path / "index"
    index = make_index(embeddings)
    index.save(path)
    loaded = FlatIndex.load(path)
    make_index(-embeddings[:9]).save(path)
    assert same(loaded.search(queries), index.search(queries))
    assert len(FlatIndex.load(path)) == 9


def test_rows_are_read_from_the_map_without_preadv(tmp_path, rng, monkeypatch):
    """A system without preadv gives the same answers."""
    embeddings, queries = rng.standard_normal((500, 20)), rng.standard_normal((3, 20))
    built = make_index(embeddings)
    built.save(tmp_path / "index")
    monkeypatch.delattr(os, "preadv", raising=False)
    index = FlatIndex.load(tmp_path / "index")
    scores, ids, report = index.search(queries, 4, report=True)
    assert same((scores, ids), built.search(queries, 4))
    assert report.path == ("int8",) * 3


METADATA = {
    "format": "minisbert-flat-index",
    "format_version": "2",
    "dimension": "4",
    "metric": "dot",
    "model_name": "",
    "codes": "auto",
}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("codes", np.zeros((2, 192 + 64), np.uint8), r"codes of bytes \(1, 256\), got uint8 \(2, "),
        ("codes", np.zeros((1, 192 + 60), np.uint8), r"codes of bytes \(1, 256\)"),
        ("codes", np.zeros((1, 192 + 64), np.int8), r"codes of bytes \(1, 256\), got int8"),
        ("ids", np.zeros(3, np.int64), r"2 ids of int64, got int64 \(3,\)"),
        ("ids", np.zeros(2, np.int32), r"2 ids of int64, got int32"),
    ],
)
def test_damaged_file(name, array, message, tmp_path):
    """Codes or ids of another shape or type are refused."""
    rows = np.ones((2, 4), np.float32)
    write_safetensors(tmp_path / "index", {"rows": rows, name: array}, METADATA)
    with pytest.raises(ValueError, match=f"must hold {message}.*it is damaged, build it again"):
        FlatIndex.load(tmp_path / "index")


@pytest.mark.parametrize("codes", ["auto", "int8", None])
def test_choice_of_codes_is_kept(codes, tmp_path):
    """The `codes` argument is saved and loaded."""
    FlatIndex(4, codes=codes).save(tmp_path / "index")
    assert FlatIndex.load(tmp_path / "index").codes == codes


def test_unknown_choice_of_codes(tmp_path):
    """A file with an unknown value of `codes` is refused."""
    rows, metadata = np.ones((2, 4), np.float32), METADATA | {"codes": "pq"}
    write_safetensors(tmp_path / "index", {"rows": rows}, metadata)
    with pytest.raises(ValueError, match=r"must be auto, int8 or none, got 'pq'; it is damaged"):
        FlatIndex.load(tmp_path / "index")


# --- building ---


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("sizes", [[], [0], [5], [16, 1, 0, 40], [5000, 3, 4100]])
def test_build_writes_what_add_and_save_write(metric, sizes, tmp_path, rng):
    """An index built from pieces equals the index of all rows at once."""
    pieces = [rng.standard_normal((size, 8)) for size in sizes]
    embeddings = np.concatenate([np.empty((0, 8)), *pieces])
    index = FlatIndex.build(tmp_path / "built", iter(pieces), 8, metric, "a model é", "int8")
    expected = make_index(embeddings, metric=metric)
    assert np.array_equal(index.rows, expected.rows)
    assert (index.metric, index.model_name) == (metric, "a model é")
    queries = rng.standard_normal((3, 8))
    assert same(index.search(queries), expected.search(queries))
    built, saved = (
        read_safetensors(path)[0].get("codes")
        for path in (tmp_path / "built", save(expected, tmp_path / "saved"))
    )
    if sum(sizes):
        assert np.array_equal(built, saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["built", "saved"]


def save(index, path):
    index.save(path)
    return path


def test_build_with_ids_and_without_codes(tmp_path, rng):
    """Pieces may have ids; few rows get no codes under "auto"."""
    pieces = [(rng.standard_normal((size, 3)), np.arange(size) + 100 * size) for size in (2, 3, 5)]
    index = FlatIndex.build(tmp_path / "index", pieces, 3)
    assert index.ids.tolist() == [200, 201, 300, 301, 302, 500, 501, 502, 503, 504]
    assert not index.has_codes
    assert index.search(pieces[1][0][1], 1)[1].tolist() == [301]


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([np.ones((2, 3)), np.ones((2, 4))], "piece 1 must have 3 columns, got 4"),
        ([np.ones((2, 3)), [[1, np.nan, 1]]], "embedding 2 must be finite, got nan"),
        ([(np.ones((1, 3)), [4]), np.ones((1, 3))], "piece 1 must have ids .* got none"),
        ([np.ones((1, 3)), (np.ones((1, 3)), [4])], "piece 1 must have ids .* got some"),
        ([(np.ones((1, 3)), [4]), (np.ones((1, 3)), [4])], "ids must all be different, got 4"),
    ],
)
def test_bad_pieces(pieces, message, tmp_path):
    """The error names a bad piece, and the old file stays."""
    (tmp_path / "index").write_text("old")
    with pytest.raises(ValueError, match=f"^{message}"):
        FlatIndex.build(tmp_path / "index", pieces, 3)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_two_builds(tmp_path, rng, other_writer):
    """A build beside another of the same file is refused before it takes a piece."""
    taken = []
    pieces = (taken.append(1) or rng.random((5, 8)) for _ in range(2))
    with other_writer(tmp_path / "i"), pytest.raises(BlockingIOError, match="one writer at a time"):
        FlatIndex.build(tmp_path / "i", pieces, 8)
    assert taken == []
    assert len(FlatIndex.build(tmp_path / "i", pieces, 8)) == 10
    assert list(tmp_path.iterdir()) == [tmp_path / "i"]
    with pytest.raises(FileNotFoundError):
        FlatIndex.build(tmp_path / "missing" / "i", [], 8)
    assert not (tmp_path / "missing").exists()


def test_build_takes_little_memory(tmp_path):
    """Building holds only one piece in memory: writing 64 MB takes far less."""
    import tracemalloc

    piece = np.ones((4096, 64), np.float32)
    tracemalloc.start()
    pieces = (piece for _ in range(64))
    build_index(tmp_path / "index", pieces, 64, metric="dot", model_name="", codes="int8")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * piece.nbytes
    assert len(FlatIndex.load(tmp_path / "index")) == 64 * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
def test_files_are_closed(tmp_path, rng):
    """An index that is deleted leaves no open file behind."""
    make_index(rng.standard_normal((20, 4))).save(tmp_path / "index")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        FlatIndex.load(tmp_path / "index")
    assert len(os.listdir("/proc/self/fd")) <= before + 1
