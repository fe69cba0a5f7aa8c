"""Arguments are checked by one rule each, and errors say what to do."""

import math
import operator

import numpy as np
import pytest

from minisbert import CrossEncoder, TextIndex, read_examples, topk, train, util
from minisbert.arguments import (
    check_number,
    check_positive,
    check_texts,
    check_whole_number,
    escape,
    parse_number,
    parse_whole_number,
    shorten,
    shorten_name,
    shorten_names,
)
from minisbert.costs.lab import run_cost_lab
from minisbert.evaluation.evaluate import evaluate_sts
from minisbert.evaluation.judged_files import StsPairs
from minisbert.network.comparisons import PAIRWISE_SIMILARITIES, SIMILARITIES
from models import make_cross_encoder_directory


class Whole:
    """Another package's whole number."""

    def __index__(self) -> int:
        return 4


@pytest.mark.parametrize("value", [1, 5, np.int64(3), np.uint8(5), np.array(2), Whole()])
def test_whole_numbers(value):
    """Whatever Python takes as an index and is in the range comes back as an int."""
    checked = check_whole_number("k", value, 1, most=5)
    assert checked == operator.index(value)
    assert type(checked) is int


@pytest.mark.parametrize(
    "value", [0, 6, -1, True, np.True_, 2.0, np.float32(2), "2", None, [2], np.array([2])]
)
def test_other_numbers_are_refused(value):
    """Bools, fractions, texts and numbers out of the range are named with what to do instead."""
    with pytest.raises(ValueError, match=r"^k must be a whole number from 1 to 5, got .*; try 3$"):
        check_whole_number("k", value, 1, most=5, remedy="try 3")


def test_no_upper_limit():
    """Without an upper limit int64 is the limit, and only a number beyond it is told so."""
    assert check_whole_number("k", 2**63 - 1) == 2**63 - 1
    with pytest.raises(ValueError, match=rf"^k must be .* from 1 to {2**63 - 1}, got {2**63}; "):
        check_whole_number("k", 2**63)
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
    with pytest.raises(TypeError, match="labels must be an iterable of str, got"):
        cross.label_names = texts


def test_columns_of_tables_are_texts(tiny):
    """A series, whose values are texts, is encoded like a list, and so are the values of a dict."""
    expected = tiny.encode(["a bird", "a dog"])
    assert np.array_equal(tiny.encode(Series()), expected)
    assert np.array_equal(tiny.encode(Table()["text"]), expected)
    assert np.array_equal(tiny.encode({1: "a bird", 2: "a dog"}.values()), expected)
    assert np.array_equal(tiny.encode(np.array(["a bird", "a dog"])), expected)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.float16(1), np.int8(1)])
def test_numbers(value):
    """Python's and NumPy's numbers in the range come back as a float."""
    checked = check_number("rate", value, most=1)
    assert checked == value
    assert type(checked) is float


@pytest.mark.parametrize(
    "value",
    [
        *(True, np.True_, "0.5", None, [0.5], math.nan, -0.1, 1.1, math.inf),
        1e400,
        0.5j,
        pytest.param(10**400, id="long"),
    ],
)
def test_numbers_out_of_range_are_refused(value):
    """Bools, texts, NaN and numbers out of the range are refused in one sentence."""
    with pytest.raises(
        ValueError, match=r"^rate must be a number from 0 to 1, got .{1,80}; try 1$"
    ):
        check_number("rate", value, most=1, remedy="try 1")


def test_numbers_beyond_float32_are_refused():
    """A number that float32 can't hold would become infinite; infinity must be asked for."""
    with pytest.raises(ValueError, match=r"^a must be a number above 0, at most 3.40282e\+38, got"):
        check_number("a", 1e39, above=True)
    with pytest.raises(ValueError, match=r"^a must be a number above 0, got 0;"):
        check_number("a", 0, above=True)
    assert check_number("a", math.inf, most=math.inf) == math.inf


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("-07", -7), ("+1", 1), ("9" * 18, 10**18 - 1)]
)
def test_whole_numbers_in_texts(text, number):
    """A text of digits, perhaps with a sign, is a whole number."""
    assert parse_whole_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "1_0", " 1", "1\n", "--5", "+-5", "1.0", "1e3", "٣", "²", "0x1", "9" * 19, "9" * 5000],
)
def test_other_texts_are_no_whole_numbers(text):
    """Underscores, blanks, other scripts' digits and numbers of more than 18 digits are refused."""
    assert parse_whole_number(text) is None


@pytest.mark.parametrize("text", ["0", "-1.5", ".5", "5.", "2e-5", "+1E3", "1e-9999"])
def test_numbers_in_texts(text):
    """A decimal number, perhaps with an exponent, is read as Python reads it."""
    assert parse_number(text) == float(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1_0",
        " 1",
        "1 ",
        "nan",
        "inf",
        "-Infinity",
        "1e400",
        "٣",
        "0x1",
        "1e",
        "--5",
        "1,5",
    ],
)
def test_other_texts_are_no_numbers(text):
    """What Python's float takes beside plain decimal numbers is NaN here, and so is infinity."""
    assert math.isnan(parse_number(text))


class Hostile:
    """An object whose repr would take over a terminal."""

    def __repr__(self) -> str:
        return "\x1b[2J\nhostile\x07\u202e" * 1000


@pytest.mark.parametrize(
    "value",
    [
        "\x1b[31m\n" * 10**6,
        b"\xff" * 10**6,
        ["a\n"] * 10**4,
        Hostile(),
        pytest.param(10**5000, id="long"),
        "\ud800",
    ],
)
def test_quoted_values_are_short_and_printable(value):
    """A quoted value is one line of at most 80 printable characters, whatever it is."""
    shown = shorten(value)
    assert 0 < len(shown) <= 80
    assert shown.isprintable()
    if isinstance(value, str):
        assert shorten_name(value) == shown


def test_names_are_counted():
    """Of many names the first ten are shown, and plain ones without quotes."""
    assert shorten_names(["a", "b c", "d\n"]) == r"a, b c, 'd\n'"
    shown = shorten_names(f"name {i}" * 100 for i in range(10**4))
    assert shown.endswith(", ... (10000 in all)")
    assert len(shown) < 1000


def test_control_characters_are_escaped():
    """Escapes, line breaks and marks that turn text around are shown, not sent to a terminal."""
    assert escape("a\x1b[31m\n\u202eé 🐈\x9b\udcff") == "a\\x1b[31m\\n\\u202eé 🐈\\x9b\\udcff"
    assert escape("plain") == "plain"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.eye(2) * 1j, "must be real numbers, got complex128; "),
        (np.eye(2).astype(str), "must be real numbers, got <U"),
        (np.ma.masked_less(np.eye(2), 1), "must have no masked numbers, got 2 of them; "),
        ([[1], [1, 2]], "must be rows of real numbers, got rows of different lengths; "),
    ],
)
def test_what_is_no_real_number_is_refused(values, sentence):
    """No similarity and no search drops imaginary parts or masks, or converts texts."""
    for change in (util.normalize_embeddings, lambda rows: util.truncate_embeddings(rows, 1)):
        with pytest.raises(ValueError, match=sentence):
            change(values)
    calls = [lambda a, b: topk(a, b, 1), *SIMILARITIES.values()]
    calls += PAIRWISE_SIMILARITIES.values()
    for call in calls:
        with pytest.raises(ValueError, match=sentence):
            call(values, np.eye(2))
        with pytest.raises(ValueError, match=sentence):
            call(np.eye(2), values)
