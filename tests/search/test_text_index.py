"""TextIndex keeps rows and their texts together, and reads single texts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minisbert
from minisbert import FlatIndex, TextIndex
from minisbert.search.text_index import FILE_NAME, TextHit

TEXTS = ["north", "", "öst 🧭", "south\nwest"]
EMBEDDINGS = np.float32([[0, 1], [0, 0], [2, 0], [-3, -4]])


@pytest.fixture
def index():
    return TextIndex.from_embeddings(EMBEDDINGS, TEXTS, model_name="compass")


@pytest.fixture(params=["made", "loaded"])
def either(request, index, tmp_path):
    """Return the index as it was made, and as it is loaded from its directory."""
    if request.param == "made":
        return index
    index.save(tmp_path / "deep" / "inside")
    return TextIndex.load(tmp_path / "deep" / "inside")


@pytest.mark.slow
def test_indexes_are_imported_on_first_use():
    """The package imports TextIndex and BinaryIndex only when they are used."""
    assert {"BinaryIndex", "TextIndex"} <= {*minisbert.__all__}
    code = (
        "import sys, minisbert; "
        "later = {'minisbert.search.text_index', 'minisbert.search.binary_index'}; "
        "print(len(later & {*sys.modules})); "
        "from minisbert import BinaryIndex, TextIndex; "
        "print(len(later & {*sys.modules}))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(minisbert.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.split() == ["0", "2"]


def test_texts_come_back(either):
    """Every text is returned whole, also an empty one and texts beyond ASCII."""
    assert len(either) == 4
    assert [either.get_text(row) for row in range(4)] == TEXTS
    assert either.vectors.model_name == "compass"


@pytest.mark.parametrize("row", [-1, 4, 1.0, None, 10**30])
def test_row_without_text(either, row):
    """A row that the index doesn't have is refused, and named."""
    with pytest.raises(ValueError, match=f"^row must be a whole number from 0 to 3, got {row}; "):
        either.get_text(row)


def test_search_names_texts(either):
    """Hits are scores, row numbers and texts, best first."""
    assert either.search([1, 0], 2) == [TextHit(1.0, 2, "öst 🧭"), TextHit(0.0, 0, "north")]
    assert len(either.search(np.float32([[1, 0]]), 9, threads=1)) == 4


def test_empty_index(tmp_path):
    """An empty index is saved, loaded and searched like any other."""
    TextIndex.from_embeddings(np.empty((0, 3)), []).save(tmp_path)
    assert TextIndex.load(tmp_path).search([1, 2, 3]) == []


def test_saving_replaces(index, tmp_path):
    """A second save replaces the first and leaves nothing else behind."""
    index.save(tmp_path)
    TextIndex.from_embeddings(EMBEDDINGS[:1], ["only"]).save(tmp_path)
    assert TextIndex.load(tmp_path).get_text(0) == "only"
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_file_is_a_flat_index_too(index, tmp_path):
    """The file can be loaded as a FlatIndex, which keeps the texts when it is saved again."""
    index.save(tmp_path)
    flat = FlatIndex.load(tmp_path / FILE_NAME)
    assert flat.search([1, 0], 1)[1].tolist() == [2]
    (tmp_path / "copy").mkdir()
    flat.save(tmp_path / "copy" / FILE_NAME)
    assert TextIndex.load(tmp_path / "copy").get_text(3) == TEXTS[3]


def test_counts_must_agree():
    """A different number of texts and embeddings is refused."""
    with pytest.raises(ValueError, match="texts must be as many as the embeddings, 4, got 3"):
        TextIndex.from_embeddings(EMBEDDINGS, TEXTS[:3])


def test_directory_without_index(tmp_path):
    """The error names a directory that is missing or has no index."""
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match=f"index {directory} must be a directory with"):
            TextIndex.load(directory)


@pytest.mark.parametrize(
    "companions",
    [
        {},
        {"texts": np.zeros(3, np.uint8)},
        {"texts": np.zeros(3, np.uint8), "text_ends": np.int64([1, 2, 3])},
        {"texts": np.zeros(3, np.uint8), "text_ends": np.int64([1, 3, 2, 3])},
        {"texts": np.zeros(3, np.uint8), "text_ends": np.int64([-1, 1, 2, 3])},
        {"texts": np.zeros(3, np.uint8), "text_ends": np.int64([0, 1, 2, 4])},
        {"texts": np.zeros(3, np.uint8), "text_ends": np.int32([0, 1, 2, 3])},
        {"texts": np.zeros((3, 1), np.uint8), "text_ends": np.int64([0, 1, 2, 3])},
        {"texts": np.zeros(3, np.int8), "text_ends": np.int64([0, 1, 2, 3])},
    ],
)
def test_damaged_texts_are_refused(companions, tmp_path):
    """Text ends that don't fit the rows or the bytes, or arrays of another type, are refused."""
    flat = FlatIndex.from_embeddings(EMBEDDINGS)
    flat.companions = companions
    flat.save(tmp_path / FILE_NAME)
    with pytest.raises(ValueError, match="must hold a text for each of its 4 rows"):
        TextIndex.load(tmp_path)


def test_broken_text_is_refused(index, tmp_path):
    """A text that is not UTF-8 is named when it is asked for; a str that has no UTF-8 at once."""
    index.vectors.companions["texts"] = np.frombuffer(b"n\xffrth" + bytes(20), np.uint8)
    ends = np.int64([5, 5, 11, 25])
    index.vectors.companions["text_ends"] = ends
    index.vectors.save(tmp_path / FILE_NAME)
    loaded = TextIndex.load(tmp_path)
    with pytest.raises(ValueError, match=r"^text 0 of index .* must be UTF-8, but it is not"):
        loaded.get_text(0)
    with pytest.raises(ValueError, match=r"^text 1 must be of characters that UTF-8 has"):
        TextIndex.from_embeddings(EMBEDDINGS, ["a", "\ud800", "c", "d"])


def test_rows_and_texts_stay_together(either, tmp_path):
    """Rows can't be added or removed beside the texts, and a save without its texts is refused."""
    for change in (
        lambda: either.vectors.add([[1, 2]]),
        lambda: either.vectors.remove([0]),
    ):
        with pytest.raises(ValueError, match=r"^companions must be empty where rows are .* texts"):
            change()
    assert either.search([1, 0], 1) == [TextHit(1.0, 2, "öst 🧭")]
    either.vectors.companions = {}
    either.save(tmp_path)
    assert TextIndex.load(tmp_path).get_text(2) == "öst 🧭"
    either.vectors.companions = {}
    either.vectors.add([[1, 2]])
    with pytest.raises(ValueError, match=r"^vectors must have a row for each of the 4 texts"):
        either.save(tmp_path)
    assert len(TextIndex.load(tmp_path)) == 4


def test_texts_in_memory(index, tmp_path):
    """With mapped=False rows and texts are read, and the file is needed no more."""
    index.save(tmp_path)
    loaded = TextIndex.load(tmp_path, mapped=False)
    (tmp_path / FILE_NAME).write_bytes(b"")
    assert [loaded.get_text(row) for row in range(4)] == TEXTS
    assert loaded.verify()
    assert not index.verify()


def test_rows_that_changed_since_are_not_searched():
    """Texts are never shown for other rows, even of the same number, nor for ids."""
    embeddings = np.eye(4)
    index = TextIndex.from_embeddings(embeddings, TEXTS[:4])
    index.vectors.companions.clear()
    index.vectors.add([[1, 1, 0, 0]])
    with pytest.raises(ValueError, match=r"^vectors must have a row for each of the 4 texts"):
        index.search([1, 1, 0, 0])
    index.vectors.remove([0])
    with pytest.raises(ValueError, match=r"^vectors must have a row for each of the 4 texts"):
        index.search([1, 1, 0, 0])
    vectors = FlatIndex.from_embeddings(embeddings, ids=[3, 2, 1, 0])
    vectors.companions = dict(TextIndex.from_embeddings(embeddings, TEXTS[:4]).vectors.companions)
    with pytest.raises(ValueError, match=r"^index must have row numbers as ids"):
        TextIndex(vectors)
