"""Explained similarities: the contributions of all pairs of tokens add up to the similarity."""

import sys

import numpy as np
import pytest

from minisbert import SentenceTransformer, TruncationWarning, __main__
from minisbert.encoding.explain import explain
from minisbert.encoding.heat_map import count_columns, write_heat_map
from models import edit_json, make_model_directory

PAIRS = [
    ("a bird sings", "the old red car"),
    ("the dog runs!", "the dog runs!"),
    ("", "a cat"),
    ("a dog runs, a cat sings! all day, in the tree.", "sing"),
]
LINEAR = ["cls", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.mark.parametrize("pooling", LINEAR)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("truncate_dim", [None, 10])
@pytest.mark.filterwarnings("ignore:embeddings truncated to 10 dimensions")
def test_contributions_add_up(tiny_directory, pooling, similarity, truncate_dim):
    """Contributions add up to the similarity, for every pooling that is a weighted sum."""
    model = SentenceTransformer(
        tiny_directory,
        pooling=pooling,
        similarity_fn_name=similarity,
        truncate_dim=truncate_dim,
    )
    for a, b in PAIRS:
        found = explain(model, a, b)
        vectors = model.encode([a, b], normalize_embeddings=False)
        expected = model.similarity(vectors[0], vectors[1]).item()
        assert found.score == pytest.approx(expected, abs=1e-6, rel=1e-6)
        assert found.contributions.shape == (len(found.tokens_a), len(found.tokens_b))


@pytest.mark.parametrize("pooling", LINEAR)
def test_contributions_add_up_without_a_prompt(tmp_path, pooling):
    """Tokens of a prompt that is not pooled contribute nothing, and the others what they weigh."""
    make_model_directory(tmp_path)
    edit_json(tmp_path / "1_Pooling" / "config.json", include_prompt=False)
    model = SentenceTransformer(
        tmp_path, pooling=pooling, prompts={"p": "the red car "}, default_prompt_name="p"
    )
    found = explain(model, "a bird sings", "the dog")
    vectors = model.encode(["a bird sings", "the dog"])
    assert found.score == pytest.approx(model.similarity(*vectors).item(), abs=1e-6)
    assert not found.contributions[:4].any()


def test_contributions_add_up_with_the_real_model(minilm):
    """Contributions add up for 45 pairs with all-MiniLM-L6-v2, whose embeddings have length 1."""
    texts = [
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
        "Der Hund schläft.",
        "数学は美しい 🙂",
        "",
        "naïve café",
        "unbelievably long-winded",
        "one two three " * 30,
    ]
    for i, a in enumerate(texts):
        for b in texts[i:]:
            expected = model_similarity(minilm, a, b)
            assert minilm.explain(a, b).score == pytest.approx(expected, abs=1e-6)


def model_similarity(model, a, b):
    return model.similarity(model.encode(a), model.encode(b)).item()


def test_a_wrong_contribution_is_seen(minilm):
    """The comparison above rejects a contribution that is off by 2e-6."""
    found = minilm.explain("A cat sleeps.", "A dog sleeps.")
    found.contributions[2, 2] += 2e-6
    expected = model_similarity(minilm, "A cat sleeps.", "A dog sleeps.")
    assert found.score != pytest.approx(expected, abs=1e-6)


def test_each_contribution_is_a_dot_product(tiny):
    """A contribution is the dot product of two tokens' vectors, over their numbers and lengths."""
    found = tiny.explain("a bird sings", "a cat")
    a, b = tiny.encode(["a bird sings", "a cat"], output_value="token_embeddings")
    length = np.linalg.norm(a.mean(axis=0)) * np.linalg.norm(b.mean(axis=0))
    expected = a @ b.T / (len(a) * len(b) * length)
    assert np.allclose(found.contributions, expected, atol=1e-6)


def test_tokens_are_pieces_of_the_text(minilm):
    """Tokens are spelt as in the text, pieces of words are marked, special tokens are named."""
    found = minilm.explain("Unbelievably naïve!", "數")
    assert found.tokens_a == (
        "[CLS]",
        "Un",
        "##bel",
        "##ie",
        "##va",
        "##bly",
        "naïve",
        "!",
        "[SEP]",
    )
    assert found.tokens_b == ("[CLS]", "數", "[SEP]")


def test_a_prompt_is_read_too(tiny_directory):
    """The default prompt is put in front, and its tokens contribute."""
    options = {"prompts": {"query": "the old "}, "default_prompt_name": "query"}
    model = SentenceTransformer(tiny_directory, **options)
    found = model.explain("a bird", "a cat")
    assert found.tokens_a == ("[CLS]", "the", "old", "a", "bird", "[SEP]")
    assert found.score == pytest.approx(model_similarity(model, "a bird", "a cat"), abs=1e-6)


def test_a_prompt_that_is_left_out(tmp_path):
    """Tokens of a prompt that the pooling leaves out contribute 0."""
    path = make_model_directory(tmp_path / "model")
    edit_json(path / "1_Pooling" / "config.json", include_prompt=False)
    options = {"prompts": {"query": "the old "}, "default_prompt_name": "query"}
    model = SentenceTransformer(path, **options)
    found = model.explain("a bird", "a cat")
    assert not found.contributions[:3].any()
    assert found.score == pytest.approx(model_similarity(model, "a bird", "a cat"), abs=1e-6)


def test_a_text_that_is_cut(minilm):
    """A text that is too long is truncated as `encode` truncates it, with a warning."""
    model = SentenceTransformer(minilm.model_directory)
    model.max_seq_length = 5
    with pytest.warns(TruncationWarning, match="1 of 1 texts are longer than the 5 tokens"):
        found = model.explain("one two three four five", "six")
    assert found.tokens_a == ("[CLS]", "one", "two", "three", "[SEP]")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling must be one of cls, mean, .*, got max; only these are sums"),
        ({"similarity_fn_name": "euclidean"}, "similarity_fn_name must be cosine or dot"),
    ],
)
def test_what_is_no_sum_is_refused(tiny_directory, options, message):
    """A pooling or a similarity that is not a sum over pairs of tokens is refused by its name."""
    with pytest.raises(ValueError, match=message):
        SentenceTransformer(tiny_directory, **options).explain("a", "b")


def test_a_text_must_be_one(tiny):
    """Anything but two texts is refused."""
    with pytest.raises(TypeError, match="b must be a str, got list; give one text"):
        tiny.explain("a", ["b"])


# --- heat maps ---

VALUES = np.array([[0.5, -0.25, 0.001], [0.04, 0.0, -0.004]])


def test_heat_map():
    """Numbers are in hundredths with shades; words of columns read downwards."""
    assert write_heat_map(["cat", "is"], ["a", "bc", "d"], VALUES, width=80).split("\n") == [
        "           b",
        "      a    c    d",
        "cat  50█ -25▒   0",
        "is    4    0    0",
        "0.2870 in sum; the cells are in hundredths",
    ]


def test_heat_map_in_panels():
    """Columns beyond the width of the page go into a panel below."""
    lines = write_heat_map(["cat", "is"], ["a", "bc", "d"], VALUES, width=13).split("\n")
    assert max(map(len, lines[:-1])) <= 13
    assert [line for line in lines if line.startswith("cat")] == ["cat  50█ -25▒", "cat   0"]


def test_heat_map_of_wide_letters():
    """Rows stay aligned with letters of two columns and with marks of none."""
    lines = write_heat_map(["数学", "é", "abc"], ["x"], np.ones((3, 1)), width=80).split("\n")[1:4]
    assert [count_columns(line.partition("100")[0]) for line in lines] == [5, 5, 5]


def test_heat_map_in_colour():
    """In colour there are no shades: red for positive, blue for negative, no colour for 0."""
    line = write_heat_map(["cat"], ["a", "b", "c"], VALUES[:1], color=True, width=80).split("\n")[1]
    assert line.count("\x1b[30;48;5;203m") == 1
    assert line.count("\x1b[30;48;5;153m") == 1
    assert line.endswith("0")


def test_a_line_stays_one():
    """Control characters are not sent to a terminal, and long words are shortened."""
    text = write_heat_map(["a\x1b[2Jb\n", "x" * 99], ["y"], np.ones((2, 1)), width=80)
    assert "\x1b" not in text
    assert text.count("\n") == 3
    assert "x" * 15 + "…" in text


# --- the command ---


def test_command(tiny_directory, capsys):
    """`minisbert explain` prints the heat map."""
    assert __main__.main(["explain", "a bird", "a cat", "--model", str(tiny_directory)]) == 0
    out = capsys.readouterr().out
    assert "bird" in out
    assert "the cells are in hundredths" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.jpg", "--out must end in .png, .svg or .pdf"), ("x.png", "pip install minisbert[plots]")],
)
def test_command_without_a_picture(tiny_directory, tmp_path, capsys, monkeypatch, name, message):
    """A picture of another format, or without matplotlib, is one sentence and exit code 2."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    options = ["--model", str(tiny_directory), "--out", str(tmp_path / name)]
    assert __main__.main(["explain", "a bird", "a cat", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_picture(tiny_directory, tmp_path):
    """With matplotlib a picture is written."""
    pytest.importorskip("matplotlib")
    options = ["--model", str(tiny_directory), "--out", str(tmp_path / "x.png")]
    assert __main__.main(["explain", "a $bird$", "a cat", *options]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
