"""Quantized embeddings by the formulas of sentence-transformers, and refused arguments."""

import warnings

import numpy as np
import pytest

import minisbert
from minisbert.search.index_rows import PREPARED_ROWS
from minisbert.search.quantization import find_ranges, load_ranges, quantize_embeddings, save_ranges
from minisbert.system.safetensors import write_safetensors

RANGES = np.array([[0, -1], [255, 1.55]], np.float32)  # steps of 1 and of 0.01


def same(got, expected):
    """Return whether two arrays are equal in shape, type and every number."""
    return got.shape == expected.shape and got.dtype == expected.dtype and np.all(got == expected)


# --- the formulas ---


def test_uint8_counts_steps():
    """uint8 is the distance from the smallest value in steps, rounded down."""
    rows = [[0, -1], [0.99, -0.985], [1, 0.555], [254.5, 1.5449], [255, 1.55]]
    expected = np.array([[0, 0], [0, 1], [1, 155], [254, 254], [255, 255]], np.uint8)
    assert same(quantize_embeddings(rows, "uint8", RANGES), expected)


def test_int8_is_uint8_less_128():
    """int8 is uint8 minus 128."""
    rows = np.random.default_rng(0).uniform(-1, 1.5, (200, 2))
    wide = quantize_embeddings(rows, "uint8", RANGES).astype(int)
    assert same(quantize_embeddings(rows, "int8", RANGES), (wide - 128).astype(np.int8))


def test_values_beyond_the_ranges_are_clipped():
    """Values beyond a range are clipped to its ends, and never wrap around."""
    rows = np.array([[-1e-3, -9], [256, 9], [-3e38, 3e38], [3e38, -3e38]])
    assert quantize_embeddings(rows, "uint8", RANGES).tolist() == [
        [0, 0],
        [255, 255],
        [0, 255],
        [255, 0],
    ]
    assert quantize_embeddings(rows, "int8", RANGES).tolist() == [
        [-128, -128],
        [127, 127],
        [-128, 127],
        [127, -128],
    ]


def test_a_dimension_that_never_changes_has_steps_of_one():
    """If a range is empty or too narrow to divide, a step is 1."""
    tiny = np.float32(1e-45)
    ranges = [[2, 0], [2, tiny]]
    rows = np.array([[2, 0], [3.5, 1], [1, -1]], np.float32)
    assert quantize_embeddings(rows, "uint8", ranges).tolist() == [[0, 0], [1, 1], [0, 0]]


def test_binary_is_one_bit_for_each_dimension():
    """A bit is 1 above zero; the first dimension is the highest bit; spare bits are 0."""
    row = [0, 1, -1, 0.5, 0, 0, 0, 0, 1]
    assert same(quantize_embeddings([row], "ubinary"), np.array([[80, 128]], np.uint8))
    assert same(quantize_embeddings([row], "binary"), np.array([[-48, 0]], np.int8))
    assert quantize_embeddings([[-0.0, 1e-45]], "ubinary").tolist() == [[64]]


def test_float32_is_a_copy():
    """float32 converts to float32 and makes a copy."""
    rows = np.random.default_rng(0).standard_normal((3, 2))
    assert same(quantize_embeddings(rows, "float32"), rows.astype(np.float32))
    narrow = rows.astype(np.float32)
    assert not np.shares_memory(quantize_embeddings(narrow, "float32"), narrow)


@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_one_embedding_is_a_row_of_many(precision):
    """A single embedding gives the same code as among many others."""
    rows = np.random.default_rng(0).standard_normal((PREPARED_ROWS + 3, 9), np.float32)
    ranges = find_ranges(rows)
    codes = quantize_embeddings(rows, precision, ranges)
    for row in (0, PREPARED_ROWS - 1, PREPARED_ROWS, PREPARED_ROWS + 2):
        assert same(quantize_embeddings(rows[row], precision, ranges), codes[row])
    empty = quantize_embeddings(rows[:0], precision)
    assert same(empty, codes[:0])


def test_comparison_rejects_wrong_answers():
    """The helper rejects one wrong number, another type and another shape."""
    codes = np.array([[80, 128]], np.uint8)
    assert same(codes, codes.copy())
    assert not same(codes, np.array([[80, 129]], np.uint8))
    assert not same(codes, codes.astype(np.int16))
    assert not same(codes, codes[0])
    assert not same(codes, np.zeros_like(codes))


# --- ranges ---


def test_ranges_are_the_extremes_of_each_dimension():
    """By default ranges are taken from calibration embeddings, and without these from the rows."""
    rng = np.random.default_rng(0)
    rows, others = rng.standard_normal((2, 150, 5))
    ranges = find_ranges(others)
    assert same(ranges, np.stack([others.min(axis=0), others.max(axis=0)]).astype(np.float32))
    expected = quantize_embeddings(rows, "int8", ranges)
    assert same(quantize_embeddings(rows, "int8", calibration_embeddings=others), expected)
    assert same(quantize_embeddings(rows, "int8", ranges, rows), expected)
    expected = quantize_embeddings(rows, "int8", find_ranges(rows))
    assert same(quantize_embeddings(rows, "int8"), expected)


def test_ranges_of_few_rows_warn_once():
    """Ranges of fewer than 100 rows give one warning, at the caller's line."""
    rows = np.random.default_rng(0).standard_normal((99, 5))
    for call in (
        lambda: quantize_embeddings(rows, "int8"),
        lambda: quantize_embeddings(rows[0], "uint8", calibration_embeddings=rows),
        lambda: find_ranges(rows),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert len(caught) == 1
        assert "ranges are taken from 99 " in str(caught[0].message)
        assert caught[0].filename == __file__


def test_no_warning_without_need():
    """There is no warning with given ranges, with 100 rows, or for precisions without ranges."""
    rows = np.random.default_rng(0).standard_normal((100, 5))
    quantize_embeddings(rows, "int8")
    quantize_embeddings(rows[:2], "int8", find_ranges(rows))
    quantize_embeddings(rows[:2], "binary", calibration_embeddings=rows[:2])


def test_saved_ranges_come_back(tmp_path):
    """Loaded ranges equal those that were saved, also over an old file."""
    ranges = find_ranges(np.random.default_rng(0).standard_normal((100, 5)))
    for values in (RANGES, ranges.tolist()):
        save_ranges(tmp_path / "ranges", values)
    assert same(load_ranges(str(tmp_path / "ranges")), ranges)


def test_bad_files_of_ranges_are_refused(tmp_path):
    """A missing, other or damaged file is refused in one sentence, and bad ranges aren't saved."""
    path = tmp_path / "ranges"
    with pytest.raises(FileNotFoundError, match="must be a safetensors file"):
        load_ranges(path)
    write_safetensors(path, {"ranges": RANGES}, {"format": "another"})
    with pytest.raises(ValueError, match="must be a file of minisbert-ranges, got another kind"):
        load_ranges(path)
    write_safetensors(path, {"rows": RANGES}, {"format": "minisbert-ranges"})
    with pytest.raises(ValueError, match="must be a file of minisbert-ranges, got another kind"):
        load_ranges(path)
    write_safetensors(path, {"ranges": RANGES[::-1]}, {"format": "minisbert-ranges"})
    with pytest.raises(ValueError, match=r"ranges is damaged: ranges of dimension 0 must go from"):
        load_ranges(path)
    save_ranges(path, RANGES)
    with pytest.raises(ValueError, match=r"ranges must be numbers of shape \(2, D\)"):
        save_ranges(path, RANGES[:1])
    assert same(load_ranges(path), RANGES)


# --- what is refused ---


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_ranges_of_a_single_text_are_refused(precision):
    """Ranges of a single row are refused, since all codes would be equal."""
    row = np.ones((1, 4))
    for rows in (row, row[0]):
        with pytest.raises(ValueError, match=r"embeddings must be at least 2 rows .* got 1, where"):
            quantize_embeddings(rows, precision)
    with pytest.raises(ValueError, match=r"calibration_embeddings must be at least 2 .* got 1"):
        quantize_embeddings(np.ones((200, 4)), precision, calibration_embeddings=row)
    with pytest.raises(ValueError, match=r"embeddings must be at least 2 rows .* got 0"):
        find_ranges(row[:0])


@pytest.mark.parametrize("precision", ["int4", "float16", "INT8", "", None])
def test_unknown_precision_is_refused(precision):
    """An unknown precision is refused."""
    with pytest.raises(ValueError, match=r"precision must be one of float32, int8, .* got"):
        quantize_embeddings(np.ones((2, 2)), precision)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("precision", ["float32", "int8", "ubinary"])
def test_numbers_that_are_not_finite_are_refused(bad, precision):
    """The error names the first row that float32 can't hold."""
    rows = np.ones((PREPARED_ROWS + 5, 3))
    rows[PREPARED_ROWS + 2, 1] = bad
    with pytest.raises(ValueError, match=f"^embeddings {PREPARED_ROWS + 2} must be finite float32"):
        quantize_embeddings(rows, precision, ranges=[[0] * 3, [1] * 3])
    with pytest.raises(ValueError, match=f"^calibration_embeddings {PREPARED_ROWS + 2} must be"):
        quantize_embeddings(rows[:2], "int8", calibration_embeddings=rows)


@pytest.mark.parametrize(
    "rows",
    [np.ones((2, 2, 2)), 3.0, [["a", "b"]], np.ones((2, 0)), np.ones((2, 2), bool), [[1j]]],
    ids=["3-D", "number", "texts", "no columns", "bools", "complex"],
)
def test_wrong_shapes_are_refused(rows):
    """Anything but vectors of real numbers is refused."""
    with pytest.raises(ValueError, match=r"embeddings must be vectors of real numbers, .* got"):
        quantize_embeddings(rows, "ubinary")


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_codes_are_not_quantised_again(kind):
    """Embeddings of int8 or uint8 are refused: they are codes already."""
    with pytest.raises(ValueError, match=r"embeddings must not be quantised yet, got u?int8"):
        quantize_embeddings(np.ones((2, 2), kind), "binary")


def test_calibration_embeddings_of_another_width_are_refused():
    """Calibration embeddings of another width than the embeddings are refused."""
    with pytest.raises(ValueError, match="must have the 3 columns of the embeddings, got 2"):
        quantize_embeddings(np.ones((5, 3)), "int8", calibration_embeddings=np.ones((100, 2)))


@pytest.mark.parametrize("ranges", [[0, 1], [[0, 0]], [[0, 0, 0]] * 2, [["a", "b"]] * 2, 1])
def test_ranges_of_wrong_shape_are_refused(ranges):
    """Anything but two rows of numbers, as wide as the embeddings, is refused."""
    with pytest.raises(ValueError, match=r"ranges must be numbers of shape \(2, 2\), .* got shape"):
        quantize_embeddings(np.ones((5, 2)), "int8", ranges)


@pytest.mark.parametrize(
    ("low", "high"), [(1, 0), (np.nan, 1), (0, np.inf), (-np.inf, np.inf), (-3e38, 3e38), (0, 1e39)]
)
def test_bad_ranges_are_refused(low, high):
    """Ranges must be finite, in order, and of a width that float32 can hold."""
    with pytest.raises(ValueError, match="ranges of dimension 1 must go from a finite smallest"):
        quantize_embeddings(np.ones((5, 2)), "int8", [[0, low], [1, high]])


def test_the_package_exports_it():
    """`minisbert.quantize_embeddings` is this function."""
    assert minisbert.quantize_embeddings is quantize_embeddings


@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_nothing_to_quantise(precision):
    """An empty list gives an empty array of the precision's type, and no rows give no rows."""
    kind = {"binary": "int8", "ubinary": "uint8"}.get(precision, precision)
    for empty in ([], np.empty(0)):
        codes = quantize_embeddings(empty, precision)
        assert (codes.shape, codes.dtype) == ((0,), kind)
    codes = quantize_embeddings(np.empty((0, 16), np.float32), precision)
    assert (codes.shape, codes.dtype) == ((0, 2 if "binary" in precision else 16), kind)
