"""Arguments are checked by one rule each, and errors say what to do."""

import numpy as np
import pytest

from minisbert import CrossEncoder, TextIndex, read_examples, train, util
from minisbert.arguments import check_positive, check_texts, check_whole_number
from minisbert.costs.lab import run_cost_lab
from minisbert.evaluation.evaluate import evaluate_sts
from minisbert.evaluation.judged_files import StsPairs
from models import make_cross_encoder_directory


@pytest.mark.parametrize("value", [1, 5, np.int64(3), np.uint8(5)])
def test_whole_numbers(value):
    """Python's and NumPy's integers in the range come back as Python's."""
    checked = check_whole_number("k", value, 1, most=5)
    assert checked == value
    assert type(checked) is int


@pytest.mark.parametrize("value", [0, 6, -1, True, np.True_, 2.0, np.float32(2), "2", None, [2]])
def test_other_numbers_are_refused(value):
    """Bools, fractions, texts and numbers out of the range are named with what to do instead."""
    with pytest.raises(ValueError, match=r"^k must be a whole number from 1 to 5, got .*; try 3$"):
        check_whole_number("k", value, 1, most=5, remedy="try 3")


def test_no_upper_limit():
    """Without an upper limit the error names the least number alone."""
    assert check_whole_number("k", 10**30) == 10**30
    with pytest.raises(ValueError, match=r"^k must be a whole number of 2 or more, got 1; pass"):
        check_whole_number("k", 1, least=2)


def test_positive_number_may_be_left_out():
    """None is returned unchanged."""
    assert check_positive("k", None) is None
    assert type(check_positive("k", np.int64(1))) is int
    with pytest.raises(ValueError, match=r"^k must be a whole number of 1 or more, got 0; leave"):
        check_positive("k", 0)


@pytest.mark.parametrize("texts", [["a", ""], ("a", ""), np.array(["a", ""]), iter(["a", ""])])
def test_texts(texts):
    """Any iterable of texts becomes a list."""
    assert check_texts(texts) == ["a", ""]


@pytest.mark.parametrize("texts", ["a", b"a", {"a": "b"}, 7, None])
def test_no_texts(texts):
    """A single text, a mapping and an object that is not iterable are refused by their type."""
    with pytest.raises(TypeError, match=f"^queries must be .* got {type(texts).__name__}; pass a"):
        check_texts(texts, "queries")


def test_one_other_object_among_texts():
    """The first object that is not a text is named by its index."""
    with pytest.raises(TypeError, match=r"^inputs must hold only str, got float at index 1; "):
        check_texts(["a", float("nan"), None])


# Tables and sets


class Table(dict):
    """Like a data frame: iterating over it yields the names of its columns."""

    ndim = 2
    columns = ("text", "label")

    def __init__(self):
        super().__init__(text=["a bird", "a dog"], label=["x", "y"])


class Lake:
    """Like a table of another library: no mapping, but with columns."""

    columns = ("text", "label")

    def __iter__(self):
        return iter(self.columns)


class Row:
    """Like a row of a database: no mapping, but with keys."""

    def keys(self):
        return ["text", "label"]

    def __iter__(self):
        return iter(["a bird", "a dog"])


class Series(Row):
    """Like one column of a data frame: it has keys, but yields its values."""

    ndim = 1


UNORDERED = [
    *(Table(), Lake(), Row(), {"a bird": 1, "a dog": 2}),
    *({"a bird", "a dog"}, frozenset({"a bird", "a dog"})),
    *({"a bird": 1}.keys(), {"a bird": "a dog"}.items()),
    np.array("a bird"),
]


@pytest.fixture(scope="module")
def pairs_directory(tmp_path_factory):
    return make_cross_encoder_directory(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("texts", UNORDERED, ids=lambda texts: type(texts).__name__)
def test_tables_and_sets_are_refused(texts, tiny, pairs_directory, tmp_path):
    """Every function that takes texts refuses names of columns, and texts without an order."""
    cross = CrossEncoder(pairs_directory)
    path = tmp_path / "out.npy"
    examples = tmp_path / "examples.csv"
    examples.write_text("sentence1,sentence2,label\na,b,x\nc,d,y\n", "utf-8")
    both = ["a bird", "a dog"]
    calls = {
        "encode": lambda: tiny.encode(texts),
        "encode_query": lambda: tiny.encode_query(texts),
        "encode_document": lambda: tiny.encode_document(texts),
        "encode_iter": lambda: next(tiny.encode_iter(texts)),
        "encode_to_file": lambda: tiny.encode_to_file(texts, path),
        "token_lengths": lambda: tiny.token_lengths(texts),
        "predict": lambda: cross.predict(texts),
        "rank": lambda: cross.rank("a bird", texts),
        "paraphrase_mining": lambda: util.paraphrase_mining(tiny, texts),
        "TextIndex": lambda: TextIndex.from_embeddings(np.eye(2), texts),
        "train": lambda: train(tiny, texts, "ranking"),
        "development": lambda: train(tiny, [("a", "b"), ("c", "d")], "ranking", development=texts),
        "columns": lambda: read_examples(examples, columns=texts),
        "classes": lambda: read_examples(examples, "softmax", classes=texts),
        "evaluate_sts": lambda: evaluate_sts(tiny, StsPairs(texts, both, np.array([0.0, 1]))),
        "run_cost_lab": lambda: run_cost_lab(tiny, texts, seconds=9, directory=tmp_path),
    }
    for name, call in calls.items():
        with pytest.raises(
            TypeError, match=rf"must be .*an iterable of .*, got {type(texts).__name__};"
        ):
            call()
        assert not path.exists(), name
    cross.label_names = texts
    with pytest.raises(TypeError, match="labels must be an iterable of str, got"):
        cross.save(tmp_path / "saved")


def test_columns_of_tables_are_texts(tiny):
    """A series, whose values are texts, is encoded like a list, and so are the values of a dict."""
    expected = tiny.encode(["a bird", "a dog"])
    assert np.array_equal(tiny.encode(Series()), expected)
    assert np.array_equal(tiny.encode(Table()["text"]), expected)
    assert np.array_equal(tiny.encode({1: "a bird", 2: "a dog"}.values()), expected)
    assert np.array_equal(tiny.encode(np.array(["a bird", "a dog"])), expected)
