"""An index finds the best rows, also after add, save and load, and refuses wrong arguments."""

import concurrent.futures
import errno
import os
import subprocess
import sys
import tracemalloc
import zlib
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minisbert
from minisbert.mining.nearest import semantic_search
from minisbert.search import index_rows
from minisbert.search.flat_index import FlatIndex
from minisbert.search.index_rows import PREPARED_ROWS
from minisbert.search.quantization import quantize_embeddings
from minisbert.search.scan import pair_dots, topk
from minisbert.system.safetensors import read_safetensors, write_safetensors


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def plain_search(embeddings, queries, k, metric):
    """Search in float64 by a full sort, as the reference."""
    rows, queries = embeddings.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        rows, queries = (
            x / np.where((n := np.linalg.norm(x, axis=1, keepdims=True)) > 0, n, 1)
            for x in (rows, queries)
        )
    scores = queries @ rows.T
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, ids, axis=1), ids


def agrees(found, expected):
    """Tell whether scores and ids agree with the reference; random rows have no near ties."""
    # A float32 sum of 33 products of at most about 4 differs from float64 by less than 1e-5.
    return np.allclose(found[0], expected[0], rtol=0, atol=1e-5) and np.array_equal(
        found[1], expected[1]
    )


def same(found, expected):
    """Tell whether two results are equal bit for bit."""
    return all(map(np.array_equal, found, expected))


# --- searching ---


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("k", [1, 7, 200, 1000])
def test_search_equals_sorting(metric, k, rng):
    """The k best of 200 rows are those of a full sort; k = 1000 gives all 200."""
    embeddings, queries = rng.standard_normal((200, 33)), rng.standard_normal((5, 33))
    found = FlatIndex.from_embeddings(embeddings, metric).search(queries, k)
    expected = plain_search(embeddings, queries, k, metric)
    assert agrees(found, expected)
    assert found[0].dtype == np.float32
    assert found[1].dtype == np.int64
    assert not agrees((np.zeros_like(found[0]), found[1]), expected)
    assert not agrees((found[0], found[1][::-1]), expected)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_one_query_gives_one_result(metric, rng):
    """A query (D,) gives the row of results that a matrix of it (1, D) gives."""
    index = FlatIndex.from_embeddings(rng.standard_normal((20, 8)), metric)
    query = rng.standard_normal(8)
    scores, ids = index.search(query, 3)
    assert scores.shape == ids.shape == (3,)
    many_scores, many_ids = index.search(query[None], 3)
    assert np.array_equal(many_scores[0], scores)
    assert np.array_equal(many_ids[0], ids)


def test_empty_index_and_no_queries(rng):
    """No rows or no queries give empty results of the right shape."""
    index = FlatIndex(4)
    assert [x.shape for x in index.search(np.ones((3, 4)))] == [(3, 0), (3, 0)]
    assert [x.shape for x in index.search(np.ones(4))] == [(0,), (0,)]
    index.add(rng.standard_normal((5, 4)))
    assert [x.shape for x in index.search(np.ones((0, 4)), 2)] == [(0, 2), (0, 2)]


def test_ties_go_to_the_lower_row():
    """Equal rows come in the order of their numbers."""
    index = FlatIndex.from_embeddings(np.ones((9, 3)))
    assert index.search(np.ones(3), 5)[1].tolist() == [0, 1, 2, 3, 4]


def test_zero_vectors_score_zero():
    """A zero vector has cosine 0 with everything, as a row and as a query."""
    index = FlatIndex.from_embeddings([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    scores, ids = index.search([2.0, 0.0], 3)
    assert scores.tolist() == [1.0, 0.0, -1.0]
    assert ids.tolist() == [1, 0, 2]
    assert index.search([0.0, 0.0], 3)[0].tolist() == [0.0, 0.0, 0.0]


def test_cosine_is_dot_of_canonical_unit_rows(rng):
    """For cosine, rows are divided by the root of their canonical dot product with themselves."""
    embeddings = rng.standard_normal((50, 37)).astype(np.float32)
    queries = rng.standard_normal((3, 37)).astype(np.float32)
    index = FlatIndex.from_embeddings(embeddings)
    unit_rows, unit_queries = (x / np.sqrt(pair_dots(x, x))[:, None] for x in (embeddings, queries))
    assert np.array_equal(index.rows, unit_rows)
    assert same(index.search(queries, 9), topk(unit_queries, unit_rows, 9))


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-15, 1.0, 1e18, 1e37])
def test_cosine_does_not_depend_on_scale(scale, rng):
    """Rows scaled by very large or small factors have the same cosines."""
    embeddings = rng.standard_normal((30, 16)).astype(np.float32)
    query = rng.standard_normal(16).astype(np.float32)
    expected = FlatIndex.from_embeddings(embeddings).search(query, 30)
    scaled = (embeddings.astype(np.float64) * scale).astype(np.float32)
    scores, ids = FlatIndex.from_embeddings(scaled).search(query, 30)
    # Below 1e-38 float32 has fewer digits.
    assert np.allclose(scores, expected[0], rtol=0, atol=1e-6 if scale > 1e-38 else 1e-4)
    if scale > 1e-38:
        assert np.array_equal(ids, expected[1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64])
def test_any_real_numbers(dtype, rng):
    """Real numbers of any type and layout are converted to float32."""
    embeddings = rng.integers(-9, 9, (40, 6)).astype(dtype)
    expected = FlatIndex.from_embeddings(embeddings.astype(np.float32)).rows
    assert np.array_equal(FlatIndex.from_embeddings(embeddings).rows, expected)
    assert np.array_equal(FlatIndex.from_embeddings(np.asfortranarray(embeddings)).rows, expected)
    assert np.array_equal(FlatIndex.from_embeddings(embeddings.tolist()).rows, expected)
    assert expected.flags.c_contiguous


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_give_the_same_bits(threads, rng):
    """The number of threads changes nothing."""
    index = FlatIndex.from_embeddings(rng.standard_normal((5000, 24)))
    queries = rng.standard_normal((4, 24))
    assert same(index.search(queries, 20, threads), index.search(queries, 20))


def test_searches_at_once(rng):
    """Searches at the same time give the same answers as alone, also while rows are added."""
    index = FlatIndex.from_embeddings(rng.standard_normal((3000, 16)), "dot")
    queries = rng.standard_normal((8, 16))
    # Rows of zeros, added during the searches, never reach the best ten.
    expected = index.search(queries, 10)
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        searches = [executor.submit(index.search, queries, 10) for _ in range(100)]
        for _ in range(50):
            index.add(np.zeros((100, 16)))
        for search in searches:
            assert same(search.result(), expected)
    assert len(index) == 8000


# --- adding ---


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.integers(0, 40), max_size=8), metric=st.sampled_from(["cosine", "dot"]))
def test_add_in_parts(parts, metric):
    """Rows added in parts give the same index as rows added at once."""
    embeddings = np.random.default_rng(3).standard_normal((sum(parts), 5))
    index = FlatIndex(5, metric)
    for stop, part in zip(np.cumsum(parts), parts, strict=True):
        index.add(embeddings[stop - part : stop])
        assert len(index) == stop
    assert np.array_equal(index.rows, FlatIndex.from_embeddings(embeddings, metric).rows)


def test_many_small_adds_copy_seldom(rng):
    """Adding rows one at a time allocates new storage a logarithmic number of times."""
    index = FlatIndex(3)
    storages = set()
    for row in rng.standard_normal((2000, 1, 3)):
        index.add(row)
        storages.add(len(index._storage.rows))
    assert len(storages) < 25


def test_large_adds_go_in_blocks(rng):
    """Rows are prepared in the same way in every block of a large add."""
    embeddings = rng.standard_normal((2 * PREPARED_ROWS + 5, 3)).astype(np.float32)
    index = FlatIndex.from_embeddings(embeddings)
    assert np.array_equal(
        index.rows, embeddings / np.sqrt(pair_dots(embeddings, embeddings))[:, None]
    )


def test_index_owns_its_rows(rng):
    """Changing the embeddings later does not change the index, and its rows are read-only."""
    embeddings = rng.standard_normal((4, 3)).astype(np.float32)
    index = FlatIndex.from_embeddings(embeddings, "dot")
    before = embeddings.copy()
    embeddings[:] = 0
    assert np.array_equal(index.rows, before)
    with pytest.raises(ValueError, match="read-only"):
        index.rows[0] = 1


def test_add_own_rows(rng):
    """An index's own rows can be added to it."""
    index = FlatIndex.from_embeddings(rng.standard_normal((7, 3)), "dot")
    index.add(index.rows)
    index.add(index.rows)
    assert np.array_equal(index.rows, np.tile(index.rows[:7], (4, 1)))


# --- refusals ---


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("row", [0, 17, PREPARED_ROWS + 1])
def test_bad_row_is_named(metric, bad, row, rng):
    """A row with NaN or infinity is named in the error, and no row of the call is added."""
    index = FlatIndex.from_embeddings(rng.standard_normal((3, 4)), metric)
    before = index.rows.copy()
    embeddings = rng.standard_normal((PREPARED_ROWS + 9, 4))
    embeddings[row, 2] = bad
    with pytest.raises(ValueError, match=f"^embedding {row} must be finite, got (nan|-?inf); "):
        index.add(embeddings)
    assert np.array_equal(index.rows, before)
    with pytest.raises(ValueError, match=f"^query {row} must be finite"):
        index.search(embeddings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 5)), "must have 4 columns, got 5"),
        (np.ones((2, 3, 4)), r"must be a matrix of real numbers, got shape \(2, 3, 4\)"),
        (np.float32(1), r"must be a matrix of real numbers, got shape \(\)"),
        (np.ones((2, 4), complex), "must be a matrix of real numbers, .* of complex128"),
        (np.ones((2, 4), bool), ".* of bool"),
        ([["a"] * 4], ".* of <U1"),
        ([[None] * 4], ".* of object"),
        (np.ones((2, 4)).astype(object), ".* of object"),
        ([[1] * 4, [2] * 3], "must be a matrix of real numbers, got rows of different lengths"),
    ],
)
def test_wrong_shape_is_named(values, message):
    """Embeddings and queries of a wrong shape or type are refused; the error names them."""
    index = FlatIndex(4)
    with pytest.raises(ValueError, match=f"^embeddings {message}"):
        index.add(values)
    with pytest.raises(ValueError, match=f"^queries {message}"):
        index.search(values)
    assert len(index) == 0


def test_numbers_too_small_for_float32_are_refused():
    """A row that float32 would turn into zeros is refused; a row of zeros is not."""
    index = FlatIndex(2)
    with pytest.raises(ValueError, match=r"^embedding 1 must have .* got at most 1e-60; multiply"):
        index.add([[0, 0], [1e-60, -1e-70]])
    index.add([[0, 0], [1e-44, 0]])
    assert index.rows.tolist() == [[0, 0], [1, 0]]
    FlatIndex(2, "dot").add([[1e-60, 0]])


def test_vector_is_no_matrix():
    """A single embedding (D,) can't be added."""
    with pytest.raises(ValueError, match=r"^embeddings must be a matrix .* got shape \(4,\)"):
        FlatIndex(4).add(np.ones(4))
    with pytest.raises(ValueError, match=r"^queries must have 4 columns, got 3"):
        FlatIndex(4).search(np.ones(3))


@pytest.mark.parametrize("k", [0, -1, 3.0, None, "3", True])
def test_k_that_is_no_number_of_rows(k):
    """k below 1, and anything but a whole number, is refused, and named."""
    with pytest.raises(ValueError, match=f"^k must be a whole number of 1 or more, got {k!r}; "):
        FlatIndex.from_embeddings(np.ones((2, 2))).search([1, 1], k)
    with pytest.raises(ValueError, match=r"^k must be a whole number from 1 to \d+, got 1000"):
        FlatIndex.from_embeddings(np.ones((2, 2))).search([1, 1], 10**30)


@pytest.mark.parametrize("queries", [1, 5])
@pytest.mark.parametrize("codes", [None, "int8"])
@pytest.mark.parametrize("k", [501, 2**31, 2**63 - 1, np.int64(2**62)])
def test_k_above_the_number_of_rows(k, codes, queries, rng):
    """A k of any size returns all rows, and asks for no more memory than they need."""
    index = FlatIndex.from_embeddings(rng.standard_normal((500, 8)), codes=codes)
    some = rng.standard_normal((queries, 8))
    tracemalloc.start()
    found = index.search(some, k)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert same(found, index.search(some, 500))
    assert found[0].shape == (queries, 500)
    assert peak < 5e6


def test_memory_for_a_large_k(rng, monkeypatch):
    """Where k is large, fewer queries are taken at a time, so that memory is bounded."""
    index = FlatIndex.from_embeddings(rng.standard_normal((6000, 4)), codes="int8")
    queries = rng.standard_normal((100, 4))
    expected = index.search(queries, 1200)
    monkeypatch.setattr(index_rows, "FINDINGS_BYTES", 1 << 20)
    tracemalloc.start()
    found = index.search(queries, 1200, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert same(found, expected)
    # Results are held twice while they are joined. All queries at once would take 10 MB more.
    assert peak < 2 * sum(part.nbytes for part in found) + 2.5e6


def test_searches_without_rows_or_queries(rng):
    """An empty index and an empty list of queries or embeddings give empty results."""
    scores, ids, report = FlatIndex(3).search(np.ones((2, 3)), report=True)
    assert scores.shape == ids.shape == (2, 0)
    assert report.candidates.tolist() == [0, 0]
    assert FlatIndex(3).search([1, 2, 3])[1].shape == (0,)
    with pytest.raises(ValueError, match=r"^threads must be a whole number of 1 or more, got 0"):
        FlatIndex(3).search([1, 2, 3], threads=0)
    index = FlatIndex.from_embeddings(rng.standard_normal((9, 3)))
    index.add([])
    assert len(index) == 9
    assert index.search([], 4)[0].shape == (0, 4)


def test_bad_construction():
    """A dimension that is no whole number of 1 or more, and an unknown metric, are refused."""
    for wrong in (0, 2.5, None, True, 2**40):
        with pytest.raises(ValueError, match=f"^dimension must be a whole .*, got {wrong}; "):
            FlatIndex(wrong)
    assert FlatIndex(np.int64(3)).dimension == 3
    with pytest.raises(ValueError, match=r"^metric must be 'cosine' or 'dot', got 'euclidean'"):
        FlatIndex(3, "euclidean")

    class Similarity(Enum):
        COSINE = "cosine"
        EUCLIDEAN = "euclidean"

    assert FlatIndex(3, Similarity.COSINE).metric == "cosine"
    with pytest.raises(ValueError, match=r"^metric must be 'cosine' or 'dot', got 'euclidean'; "):
        FlatIndex(3, Similarity.EUCLIDEAN)


# --- files ---


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_save_and_load(metric, count, tmp_path, rng):
    """A loaded index equals the saved one, bit for bit, and maps its file."""
    index = FlatIndex.from_embeddings(rng.standard_normal((count, 12)), metric, "a model é")
    index.save(tmp_path / "index")
    loaded = FlatIndex.load(tmp_path / "index")
    assert (loaded.dimension, loaded.metric, loaded.model_name) == (12, metric, "a model é")
    assert np.array_equal(loaded.rows, index.rows)
    assert not loaded.rows.flags.writeable
    query = rng.standard_normal(12)
    assert same(loaded.search(query), index.search(query))
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_spare_room_is_not_saved(tmp_path, rng):
    """Storage that is reserved for later rows is not saved."""
    index = FlatIndex.from_embeddings(rng.standard_normal((1000, 8)))
    index.add(np.ones((1, 8)))
    index.save(tmp_path / "index")
    assert (tmp_path / "index").stat().st_size < 1001 * 8 * 4 + 1000
    assert len(FlatIndex.load(tmp_path / "index")) == 1001


def test_add_to_loaded_index(tmp_path, rng):
    """Rows added to a loaded index do not change the file."""
    embeddings = rng.standard_normal((6, 4))
    FlatIndex.from_embeddings(embeddings[:4]).save(tmp_path / "index")
    before = (tmp_path / "index").read_bytes()
    index = FlatIndex.load(tmp_path / "index")
    index.add(embeddings[4:])
    assert np.array_equal(index.rows, FlatIndex.from_embeddings(embeddings).rows)
    assert (tmp_path / "index").read_bytes() == before


def test_save_over_the_mapped_file(tmp_path, rng):
    """An index can be saved over the file that it maps, and still works."""
    embeddings = rng.standard_normal((6, 4))
    path = tmp_path / "index"
    FlatIndex.from_embeddings(embeddings).save(path)
    index = FlatIndex.load(path)
    index.save(path)
    assert np.array_equal(index.rows, FlatIndex.load(path).rows)
    index.add(embeddings)
    index.save(path)
    assert np.array_equal(FlatIndex.load(path).rows, index.rows)
    assert len(FlatIndex.load(path)) == 12


@pytest.fixture
def saved(tmp_path, rng):
    """Save an index of 100 rows of 8 numbers; return its path."""
    FlatIndex.from_embeddings(rng.standard_normal((100, 8))).save(tmp_path / "index")
    return tmp_path / "index"


def assert_refused(path, match=None):
    with pytest.raises(ValueError, match=match) as refusal:
        FlatIndex.load(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.05, 0.5, 0.9999])
def test_file_cut_short(saved, fraction):
    """A truncated file is refused in one sentence, wherever it was cut."""
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * fraction)])
    assert_refused(saved)


def test_garbage(saved):
    """Random bytes are refused in one sentence."""
    for seed in range(50):
        saved.write_bytes(np.random.default_rng(seed).bytes(200))
        assert_refused(saved)
    saved.write_text("[[1, 2], [3, 4]]")
    assert_refused(saved)


def test_missing_file(tmp_path):
    """A file that is not there is a FileNotFoundError."""
    with pytest.raises(FileNotFoundError):
        FlatIndex.load(tmp_path / "index")


METADATA = {
    "format": "minisbert-flat-index",
    "format_version": "1",
    "dimension": "4",
    "metric": "dot",
    "model_name": "",
}


def test_golden_metadata(tmp_path):
    """The file format has exactly these metadata, rows and digests; that of 0.1.0 is read too."""
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    write_safetensors(tmp_path / "index", {"rows": rows}, METADATA)
    loaded = FlatIndex.load(tmp_path / "index")
    assert np.array_equal(loaded.rows, rows)
    assert not loaded.verify()  # there is nothing to compare with
    loaded.save(tmp_path / "again")
    arrays, metadata = read_safetensors(tmp_path / "again")
    assert metadata == METADATA | {"format_version": "3", "codes": "auto"}
    assert sorted(arrays) == ["digests", "rows"]
    assert np.array_equal(arrays["rows"], rows)
    content = (tmp_path / "again").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    digests = [zlib.crc32(content[:header]), zlib.crc32(rows.tobytes())]
    assert arrays["digests"].tolist() == [*digests, zlib.crc32(np.uint32(digests).tobytes())]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": "pt"}, "another kind of safetensors file"),
        ({"format": None}, "another kind of safetensors file"),
        ({"format_version": "4"}, "must be of format version 1, 2 or 3, got '4'"),
        ({"format_version": None}, "must be of format version 1, 2 or 3, got ''"),
        ({"format_version": "3"}, "must hold digests, got none; it is damaged"),
        ({"dimension": "5"}, "damaged"),
        ({"dimension": None}, "damaged"),
        ({"metric": "euclidean"}, "damaged"),
        ({"metric": None}, "damaged"),
    ],
)
def test_other_metadata(tmp_path, change, match):
    """Another format, a newer version or wrong metadata are refused, and named in the error."""
    metadata = {name: value for name, value in {**METADATA, **change}.items() if value is not None}
    write_safetensors(tmp_path / "index", {"rows": np.ones((2, 4), np.float32)}, metadata)
    assert_refused(tmp_path / "index", match)


@pytest.mark.parametrize(
    "arrays",
    [
        {"rows": np.ones((2, 4))},
        {"rows": np.ones((2, 4), np.int8)},
        {"rows": np.ones(4, np.float32)},
        {"rows": np.ones((2, 4, 4), np.float32)},
        {"rows": np.ones((4, 0), np.float32)},
        {"weights": np.ones((2, 4), np.float32)},
    ],
)
def test_other_arrays(tmp_path, arrays):
    """Rows that are missing, or of another type or shape, are refused."""
    write_safetensors(tmp_path / "index", arrays, METADATA)
    assert_refused(tmp_path / "index", "damaged")


def test_failed_write_keeps_the_old_file(saved, monkeypatch):
    """If syncing the new file to the disk fails, only the old file is left."""
    before = saved.read_bytes()
    index = FlatIndex.load(saved)
    index.add(np.ones((1, 8)))

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        index.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["index"]


FILL_DISK = """
import resource, signal, sys
import numpy as np
from minisbert.search.flat_index import FlatIndex
index = FlatIndex.load(sys.argv[1])
index.add(np.ones((5000, 8)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    index.save(sys.argv[1])
except OSError as error:
    print(type(error).__name__, len(index), index.search(np.ones(8), 1)[0].shape)
"""


@pytest.mark.slow
def test_full_disk_keeps_the_old_file(saved):
    """A write that fails half-way leaves only the old file, and a working index."""
    before = saved.read_bytes()
    finished = subprocess.run(
        [sys.executable, "-c", FILL_DISK, str(saved)],
        cwd=Path(minisbert.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout == "OSError 5100 (1,)\n", finished.stderr
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["index"]


def test_masked_numbers_are_refused():
    """What lies under a mask is no number, so it isn't taken for one."""
    masked = np.ma.masked_array(np.eye(3), mask=np.eye(3))
    for call in (
        lambda: FlatIndex.from_embeddings(masked),
        lambda: FlatIndex.from_embeddings(np.eye(3)).search(masked),
        lambda: FlatIndex.from_embeddings(np.eye(3), ids=np.ma.masked_equal([0, 1, 2], 1)),
        lambda: quantize_embeddings(masked, "ubinary"),
        lambda: semantic_search(masked, np.eye(3)),
        lambda: semantic_search(np.eye(3), masked),
    ):
        with pytest.raises(ValueError, match=r"must have no masked numbers, got [13] of them; "):
            call()
    whole = np.ma.masked_array(np.eye(3))
    assert len(FlatIndex.from_embeddings(whole)) == 3


@pytest.mark.parametrize("rows", [1, 5])
def test_products_can_not_overflow(rows):
    """For dot products a vector is refused that is so long that scores could become NaN."""
    index = FlatIndex.from_embeddings(np.full((rows, 2), 1e19), "dot")
    assert np.isfinite(index.search([1e19, -1e19])[0]).all()
    for call in (index.search, lambda row: index.add([row])):
        with pytest.raises(ValueError, match=r" 0 must be shorter than 1.8e19 for dot products"):
            call([1e19, 2e19])
    assert FlatIndex.from_embeddings([[1e38, 1e38]]).search([1, 1])[0][0] == pytest.approx(1)


@pytest.mark.parametrize("name", [3, b"a", "\ud800"])
def test_names_that_no_file_holds_are_refused(tmp_path, name):
    """A model's name or a companion's that the header can't hold is refused before writing."""
    with pytest.raises(ValueError, match=r"^model_name must be a str that UTF-8 has, got "):
        FlatIndex(2, model_name=name)
    index = FlatIndex.from_embeddings(np.eye(2))
    index.model_name = name
    with pytest.raises(ValueError, match=r"^model_name must be a str that UTF-8 has, got "):
        index.save(tmp_path / "index")
    index.model_name = ""
    for companion in (name, "__metadata__"):
        index.companions = {"other": np.eye(2), companion: np.eye(2)}
        with pytest.raises(ValueError, match=r"companion"):
            index.save(tmp_path / "index")
    assert not (tmp_path / "index").exists()
    assert FlatIndex(2, model_name=None).model_name == ""


def test_attributes_that_no_file_holds_are_refused(tmp_path):
    """What was assigned to an index is checked before a file is written that can't be loaded."""
    for name, value in (("metric", "manhattan"), ("codes", "int4")):
        index = FlatIndex.from_embeddings(np.eye(2))
        setattr(index, name, value)
        with pytest.raises(ValueError, match=rf"^{name} must be "):
            index.save(tmp_path / "index")
    assert not (tmp_path / "index").exists()
