"""Texts become the ids that the model was trained on; tokens are counted before truncation."""

import itertools
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import models, processors

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.encoding.tokenization import Tokenizer
from models import (
    VOCABULARY,
    edit_json,
    make_cross_encoder_directory,
    make_model_directory,
    write_json,
)

CLS, SEP, UNK = (VOCABULARY.index(word) for word in ("[CLS]", "[SEP]", "[UNK]"))

NASTY_TEXTS = [
    "",
    " \t\r\n ",
    "The old BIRD sings, all day!",
    "birds singing",
    "naïve café e\u0301",
    "漢字 かな 한국어",
    "😀👩‍👩‍👧 مرحبا שלום",
    "\x00\x01\x7f\u200b\ufeff\ufffd\u2028",
    "İ ẞ ﬁ Ⅷ １２ \u00a0",
    "a [SEP] b [CLS] [MASK] [PAD] [UNK] ##ing",
    "x" * 101,
    "." * 300,
    "<b>def f(x):</b>",
]


@pytest.fixture
def directory(tmp_path):
    return make_model_directory(tmp_path / "model")


@pytest.fixture(scope="module")
def long_text():
    return "the old bird sings all day . " * 40


def spell(ids):
    return [VOCABULARY[row] for row in ids]


# Ids


def test_words_between_special_tokens(directory):
    """A text is [CLS], its pieces in lower case, and [SEP]."""
    (ids,) = Tokenizer(directory).encode(["The birdS singing!"], 64).ids
    assert spell(ids) == ["[CLS]", "the", "bird", "##s", "sing", "##ing", "!", "[SEP]"]
    assert ids.dtype == np.int64


@pytest.mark.parametrize("text", ["", "   ", "\x00\t"])
def test_nothing_is_two_tokens(directory, text):
    """An empty or blank text is [CLS] [SEP]."""
    tokens = Tokenizer(directory).encode([text], 64)
    assert tokens.ids[0].tolist() == [CLS, SEP]
    assert tokens.lengths.tolist() == [2]


def test_no_texts(directory):
    """No texts give no ids and no lengths."""
    tokenizer = Tokenizer(directory)
    tokens = tokenizer.encode([], 64)
    assert tokens.ids == []
    assert tokens.lengths.shape == tokenizer.count([]).shape == (0,)
    assert tokens.lengths.dtype == tokenizer.count([]).dtype == np.int64


def test_stored_padding_is_dropped(directory):
    """Padding stored in tokenizer.json adds no tokens."""
    stored = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    assert stored["padding"]["strategy"] == {"Fixed": 16}
    assert len(Tokenizer(directory).encode(["a"], 64).ids[0]) == 3


def test_stored_truncation_is_dropped(directory, long_text):
    """Truncation stored in tokenizer.json has no effect; the model's own limit has."""
    stored = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    assert stored["truncation"]["max_length"] == 16
    tokens = Tokenizer(directory).encode([long_text], 64)
    assert tokens.lengths.tolist() == [40 * 7 + 2]
    assert len(tokens.ids[0]) == 64


def test_minilm_reads_beyond_128_tokens(minilm_directory):
    """The real tokenizer stores 128 tokens of padding and truncation, and neither is applied."""
    tokenizer = Tokenizer(minilm_directory)
    tokens = tokenizer.encode(["hi", "word " * 240, "word " * 300], 256)
    assert [len(ids) for ids in tokens.ids] == [3, 242, 256]
    assert tokens.lengths.tolist() == [3, 242, 302]


def test_written_special_tokens(directory):
    """Special tokens written in a text are read as such, and truncated like any other word."""
    tokenizer = Tokenizer(directory)
    (ids,) = tokenizer.encode(["a [SEP] a [SEP]"], 64).ids
    assert spell(ids) == ["[CLS]", "a", "[SEP]", "a", "[SEP]", "[SEP]"]
    (ids,) = tokenizer.encode(["a [SEP] a [SEP]"], 4).ids
    assert spell(ids) == ["[CLS]", "a", "[SEP]", "[SEP]"]


# Cutting


@pytest.mark.parametrize("max_length", [3, 4, 16, 64, 281, 282, 283])
def test_cut_keeps_the_special_tokens(directory, long_text, max_length):
    """Truncation drops the end of the text and keeps [CLS] and [SEP], as the library does."""
    library = LibraryTokenizer.from_file(str(directory / "tokenizer.json"))
    library.no_padding()
    library.enable_truncation(max_length)
    texts = [*NASTY_TEXTS, long_text]
    tokens = Tokenizer(directory).encode(texts, max_length)
    assert [ids.tolist() for ids in tokens.ids] == [library.encode(text).ids for text in texts]
    assert all(ids[0] == CLS and ids[-1] == SEP for ids in tokens.ids)
    assert max(len(ids) for ids in tokens.ids) == min(max_length, 302)


@pytest.mark.parametrize("max_length", [3, 16, 281, 282, 283])
@pytest.mark.parametrize(
    ("stored", "said", "side"),
    [("right", "left", "left"), ("left", None, "left"), ("left", "right", "right")],
)
def test_truncation_side(directory, max_length, stored, said, side):
    """The front is dropped if tokenizer_config.json, or else tokenizer.json, says so."""
    library = LibraryTokenizer.from_file(str(directory / "tokenizer.json"))
    library.no_padding()
    library.enable_truncation(9, direction=stored)
    library.save(str(directory / "tokenizer.json"))
    write_json(directory / "tokenizer_config.json", {"truncation_side": said})
    library.enable_truncation(max_length, direction=side)
    texts = [*NASTY_TEXTS, "first " + "the old bird sings all day . " * 40 + "last"]
    tokens = Tokenizer(directory).encode(texts, max_length)
    assert [ids.tolist() for ids in tokens.ids] == [library.encode(text).ids for text in texts]
    assert all(ids[0] == CLS and ids[-1] == SEP for ids in tokens.ids)


def test_lengths_are_those_before_the_cut(directory, long_text):
    """Lengths are counted before truncation, and `count` returns the same."""
    tokenizer = Tokenizer(directory)
    texts = [*NASTY_TEXTS, long_text]
    uncut = [len(ids) for ids in tokenizer.encode(texts, 10**9).ids]
    for max_length in (3, 20, 10**9):
        assert tokenizer.encode(texts, max_length).lengths.tolist() == uncut
    assert tokenizer.count(texts).tolist() == uncut


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a " * 500_000, 500_002),
        ("." * 1_000_000, 1_000_002),
        ("x" * 1_000_000, 3),
    ],
    ids=["words", "full stops", "one word"],
)
def test_megabyte_of_text(directory, text, tokens):
    """A text of a megabyte is counted completely if asked for, and truncated like any other."""
    tokenizer = Tokenizer(directory)
    assert tokenizer.count([text]).tolist() == [tokens]
    encoded = tokenizer.encode([text], 64)
    assert len(encoded.ids[0]) == min(tokens, 64)
    assert np.array_equal(encoded.ids[0], tokenizer.encode([text[:5000]], 64).ids[0])
    assert encoded.unread == (tokens > 64)
    assert min(tokens, 64) <= encoded.lengths[0] <= tokens


# Pairs


def test_pair_has_two_segments(directory):
    """A pair is [CLS], the first text, [SEP], the second, [SEP]; types mark the second."""
    tokens = Tokenizer(directory).encode_pairs([("a bird", "The cat!"), ("", "")], 64)
    assert " ".join(spell(tokens.ids[0])) == "[CLS] a bird [SEP] the cat ! [SEP]"
    assert tokens.types[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert spell(tokens.ids[1]) == ["[CLS]", "[SEP]", "[SEP]"]
    assert tokens.lengths.tolist() == [8, 3]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [5, 8, 9, 14])
def test_pairs_are_cut_as_the_library_does(directory, side, max_length):
    """For texts of all lengths the library's longest_first keeps the same tokens."""
    write_json(directory / "tokenizer_config.json", {"truncation_side": side})
    library = LibraryTokenizer.from_file(str(directory / "tokenizer.json"))
    library.no_padding()
    library.enable_truncation(max_length, strategy="longest_first", direction=side)
    words = [word for word in VOCABULARY if len(word) > 1 and word.isalpha()]
    pairs = [
        (" ".join(words[:first]), " ".join(words[::-1][:second]))
        for first, second in itertools.product(range(len(words)), repeat=2)
    ]
    tokens = Tokenizer(directory).encode_pairs(pairs, max_length)
    expected = [library.encode(*pair) for pair in pairs]
    assert [ids.tolist() for ids in tokens.ids] == [encoding.ids for encoding in expected]
    assert [types.tolist() for types in tokens.types] == [pair.type_ids for pair in expected]
    assert max(map(len, tokens.ids)) == max_length
    assert tokens.lengths.max() == 2 * len(words) + 1


def test_lone_surrogate_in_a_pair(directory):
    """A text that is not valid Unicode is an error with the index of its pair."""
    with pytest.raises(ValueError, match="got a lone surrogate at index 1"):
        Tokenizer(directory).encode_pairs([("a", "b"), ("a", "\ud800")], 64)


# Lower case


def write_cased(directory):
    """Make the tokenizer of a directory keep capitals."""
    stored = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    stored["normalizer"]["lowercase"] = False
    write_json(directory / "tokenizer.json", stored)
    write_json(directory / "tokenizer_config.json", {"do_lower_case": False})


def take_whole(directory):
    """Name the class that takes all of tokenizer.json as it is."""
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


@pytest.mark.parametrize("normalizer", ["kept", "none"])
def test_do_lower_case(directory, normalizer):
    """do_lower_case lower-cases if the tokenizer does not, with a normaliser or without one."""
    write_cased(directory)
    if normalizer == "none":
        edit_json(directory / "tokenizer.json", normalizer=None)
        take_whole(directory)
    (kept,) = Tokenizer(directory).encode(["The bird"], 64).ids
    assert spell(kept) == ["[CLS]", "[UNK]", "bird", "[SEP]"]
    (lowered,) = Tokenizer(directory, do_lower_case=True).encode(["The bird"], 64).ids
    assert spell(lowered) == ["[CLS]", "the", "bird", "[SEP]"]


def test_lower_case_twice_changes_nothing(minilm_directory):
    """do_lower_case does not change the ids of an uncased tokenizer for any letter."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = [
        " ".join(f"a{chr(code)}B" for code in codes[start : start + 4096])
        for start in range(0, 0x30000, 4096)  # planes 0 to 2; letters with case end in plane 1
    ]
    once = Tokenizer(minilm_directory).encode(texts, 10**9).ids
    twice = Tokenizer(minilm_directory, do_lower_case=True).encode(texts, 10**9).ids
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


# vocab.txt


def test_vocabulary_alone_gives_the_same_ids(directory, tmp_path):
    """A directory with only vocab.txt tokenises as its tokenizer.json does."""
    expected = Tokenizer(directory).encode(NASTY_TEXTS, 64).ids
    (directory / "tokenizer.json").unlink()
    ids = Tokenizer(directory).encode(NASTY_TEXTS, 64).ids
    assert [a.tolist() for a in ids] == [a.tolist() for a in expected]


def test_vocabulary_of_minilm_alone(minilm_directory, tmp_path):
    """The real model's vocab.txt alone gives the same ids, too."""
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((minilm_directory / name).read_bytes())
    expected = Tokenizer(minilm_directory).encode(NASTY_TEXTS, 256).ids
    ids = Tokenizer(tmp_path).encode(NASTY_TEXTS, 256).ids
    assert [a.tolist() for a in ids] == [a.tolist() for a in expected]


@pytest.mark.parametrize(
    ("options", "text", "pieces"),
    [
        ({}, "The é漢", ["the", "e", "[UNK]"]),
        ({"do_lower_case": False}, "The bird é", ["[UNK]", "bird", "[UNK]"]),
        ({"do_lower_case": False, "strip_accents": True}, "The é", ["[UNK]", "e"]),
        ({"strip_accents": False}, "The é", ["the", "[UNK]"]),
        ({"tokenize_chinese_chars": False}, "a漢a", ["[UNK]"]),
        ({"tokenize_chinese_chars": True}, "a漢a", ["a", "[UNK]", "a"]),
        ({"unk_token": {"content": "!"}}, "漢", ["!"]),
    ],
)
def test_vocabulary_with_options(directory, options, text, pieces):
    """tokenizer_config.json says how vocab.txt is used."""
    (directory / "tokenizer.json").unlink()
    write_json(directory / "tokenizer_config.json", options)
    (ids,) = Tokenizer(directory).encode([text], 64).ids
    assert spell(ids) == ["[CLS]", *pieces, "[SEP]"]


def test_lines_of_a_vocabulary(directory):
    """The row of a word is its line, with either line ending and after an empty line."""
    (directory / "tokenizer.json").unlink()
    words = [*VOCABULARY[:8], "", *VOCABULARY[8:]]
    (directory / "vocab.txt").write_bytes("\r\n".join(words).encode())
    (ids,) = Tokenizer(directory).encode(["the tree"], 64).ids
    assert [words[row] for row in ids] == ["[CLS]", "the", "tree", "[SEP]"]


def test_repeated_line_of_a_vocabulary(directory):
    """A word that is in vocab.txt twice has the row of its last line, and moves no other word."""
    (directory / "tokenizer.json").unlink()
    words = [*VOCABULARY, "the"]
    words[VOCABULARY.index("bird")] = "the"
    (directory / "vocab.txt").write_text("\n".join(words), "utf-8")
    (ids,) = Tokenizer(directory).encode(["the tree"], 64).ids
    assert ids.tolist() == [CLS, len(words) - 1, VOCABULARY.index("tree"), SEP]


# What is refused


def test_ids_beyond_the_word_table(directory):
    """A tokenizer with an id beyond the network's word table is refused."""
    Tokenizer(directory).check_vocabulary(len(VOCABULARY))
    make_model_directory(directory, vocab_size=20)
    with pytest.raises(ValueError, match=r"must be below 20, .* got 74; .* another"):
        SentenceTransformer(directory)


def test_special_id_beyond_the_word_table(directory):
    """A tokenizer is refused, too, if only its special tokens have ids beyond the word table."""
    tokenizer = LibraryTokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", 99))
    tokenizer.save(str(directory / "tokenizer.json"))
    take_whole(directory)
    with pytest.raises(ValueError, match=r"must be below 75, .* got 99"):
        SentenceTransformer(directory)


def build_other(kind):
    """Make a tokenizer that is not WordPiece, with truncation, without special tokens."""
    words = {"[UNK]": 0, "t": 1, "h": 2, "th": 3}
    model = {
        "BPE": models.BPE(words, [("t", "h")], unk_token="[UNK]"),
        "Unigram": models.Unigram([("<unk>", 0.0), ("the", -1.0)], 0),
        "Unigram without unknown": models.Unigram([("the", -1.0)]),
        "WordLevel without unknown": models.WordLevel({"the": 0}),
        "WordPiece without unknown": models.WordPiece({"the": 0}, unk_token="[UNK]"),
    }[kind]
    tokenizer = LibraryTokenizer(model)
    tokenizer.enable_truncation(8)
    return tokenizer


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_other_kinds_of_tokenizers(directory, kind):
    """BPE and Unigram tokenizers work if they add special tokens."""
    tokenizer = build_other(kind)
    take_whole(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    with pytest.raises(ValueError, match="must put special tokens around a text, got none"):
        Tokenizer(directory)
    tokenizer.post_processor = processors.BertProcessing(("t", 1), ("h", 2))
    tokenizer.save(str(directory / "tokenizer.json"))
    tokens = Tokenizer(directory).encode(["", "the " * 9], 5)
    assert [(len(ids), ids[0], ids[-1]) for ids in tokens.ids] == [(2, 2, 1), (5, 2, 1)]
    assert tokens.lengths[1] > 8


@pytest.mark.parametrize("kind", ["Unigram", "WordLevel", "WordPiece"])
def test_no_unknown_token(directory, kind):
    """A tokenizer that would fail for an unknown letter is refused when it is loaded."""
    build_other(f"{kind} without unknown").save(str(directory / "tokenizer.json"))
    take_whole(directory)
    with pytest.raises(ValueError, match=r"must read any text, got an error .* unknown token"):
        Tokenizer(directory)


def test_no_file(directory):
    """A directory without tokenizer.json and without a vocabulary is refused by its name."""
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold tokenizer\.json, vocab\.txt or"):
        Tokenizer(directory)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff\xfe", b'{"model": 1}'])
def test_broken_tokenizer_file(directory, content):
    """A broken tokenizer.json is one sentence that names it."""
    (directory / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json must be a tokenizer file") as error:
        Tokenizer(directory)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a\nb\n", r"vocab\.txt must hold the unk_token '\[UNK\]'"),
        (b"[UNK]\n[CLS]\n", r"vocab\.txt must hold the sep_token '\[SEP\]'"),
        (b"", r"vocab\.txt must hold the unk_token"),
        (b"\xff\xfe", r"vocab\.txt must be a list of tokens in UTF-8"),
    ],
)
def test_broken_vocabulary(directory, content, sentence):
    """A vocab.txt without the special tokens, or not in UTF-8, is refused."""
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.txt").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        Tokenizer(directory)


def test_broken_tokenizer_options(directory):
    """A tokenizer_config.json that is not JSON is an error that names it."""
    (directory / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json must hold JSON"):
        Tokenizer(directory)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("do_lower_case", "no", "true or false"),
        ("strip_accents", 3, "true or false"),
        ("tokenize_chinese_chars", [], "true or false"),
        ("unk_token", 7, "a token"),
        ("cls_token", {"content": 7}, "a token"),
        ("sep_token", ["[SEP]"], "a token"),
        ("truncation_side", "middle", '"right" or "left"'),
    ],
)
def test_impossible_tokenizer_option(directory, name, value, expected):
    """An option of a wrong type is refused with its name, the file and the value."""
    (directory / "tokenizer.json").unlink()
    write_json(directory / "tokenizer_config.json", {name: value})
    with pytest.raises(ValueError, match=f"^{name} in .*config.json must be {expected}, got "):
        Tokenizer(directory)


@pytest.mark.parametrize("text", ["\ud800", "a bird \udfff sings", "\ude00\ud83d"])
def test_lone_surrogate(directory, text):
    """A text with a lone surrogate is an error with its index."""
    tokenizer = Tokenizer(directory)
    for read in (tokenizer.count, lambda texts: tokenizer.encode(texts, 64)):
        with pytest.raises(ValueError, match=r"inputs .* surrogate at index 2; replace"):
            read(["a", "😀", text])


# Threads and processes


@pytest.mark.slow
def test_sixteen_threads_share_one_tokenizer(directory, long_text):
    """Sixteen threads with different limits on one tokenizer get what one thread gets."""
    tokenizer = Tokenizer(directory)
    texts = [*NASTY_TEXTS, long_text]
    expected = {
        limit: [ids.tolist() for ids in tokenizer.encode(texts, limit).ids] for limit in (8, 64)
    }

    def hammer(thread):
        limit = (8, 64)[thread % 2]
        return all(
            [ids.tolist() for ids in tokenizer.encode(texts, limit).ids] == expected[limit]
            for _ in range(25)
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(hammer, range(16)))


FORK = """
import os, sys
from pathlib import Path
from minisbert.encoding.tokenization import Tokenizer

tokenizer = Tokenizer(Path(sys.argv[1]))
threads = os.listdir("/proc/self/task")
expected = tokenizer.count(["the old bird"] * 500).tolist()
assert os.listdir("/proc/self/task") == threads
child = os.fork()
if child == 0:
    os._exit(tokenizer.count(["the old bird"] * 500).tolist() != expected)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_fork_after_use(directory):
    """Tokenising starts no thread: a process may fork, and both tokenise on without a warning."""
    # Newer versions of Python warn if a process with threads forks, and BLAS has threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What a tokenizer adds, held against the network


def set_template(path, *, single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", cls=CLS):
    """Store what is put around a text and around a pair."""
    tokenizer = LibraryTokenizer.from_file(str(path / "tokenizer.json"))
    special = [("[CLS]", cls), ("[SEP]", SEP), ("[PAD]", 75)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=special
    )
    tokenizer.save(str(path / "tokenizer.json"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pair": "[CLS] $A [SEP] $B:1 [SEP]:2"}, "token types .* must be below 2, got 2"),
        ({"pair": "[CLS]:1000000 $A $B"}, "token types .* must be below 2, got 1000000"),
        ({"pair": "[CLS] $A [PAD] $B"}, "ids of the tokenizer .* must be below 75, .* got 75"),
        ({"pair": "$A $B" + " [SEP]" * 100}, "room for the text, got 100 special tokens for 64"),
        ({"pair": "$A $B" + " [SEP]" * 63}, "room for the text, got 63 special tokens for 64"),
        ({"pair": "$A $B $A [SEP]"}, "must put each text between its special tokens once"),
    ],
)
def test_special_tokens_of_pairs(tmp_path, changes, sentence):
    """What only pairs get is checked for cross-encoders at load, and no matter for bi-encoders."""
    directory = make_cross_encoder_directory(tmp_path / "pairs")
    set_template(directory, **changes)
    with pytest.raises(ValueError, match=sentence):
        CrossEncoder(directory)
    directory = make_model_directory(tmp_path / "texts")
    set_template(directory, **changes)
    assert np.isfinite(SentenceTransformer(directory).encode("a bird")).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"single": "[CLS]:1 $A [SEP]"}, "token types .* must be below 1, got 1"),
        ({"single": "[CLS] $A:1 [SEP]"}, "token types .* must be below 1, got 1"),
        ({"single": "[CLS] $A [PAD]"}, "ids of the tokenizer .* must be below 75, .* got 75"),
        ({"single": "$A" + " [SEP]" * 100}, "room for the text, got 100 special tokens for 64"),
        ({"single": "$A" + " [SEP]" * 64}, "room for the text, got 64 special tokens for 64"),
        ({"single": "$A $A [SEP]"}, "must put each text between its special tokens once"),
        ({"single": "[CLS] [SEP]"}, "must put each text between its special tokens once"),
    ],
)
def test_special_tokens_of_texts(directory, changes, sentence):
    """Special tokens of a text must be rows of the network's tables, and leave room for it."""
    set_template(directory, **changes)
    with pytest.raises(ValueError, match=sentence):
        SentenceTransformer(directory)


def test_limit_below_the_special_tokens(tmp_path):
    """A limit of tokens that leaves no room for the text is refused at load and when it is set."""
    directory = make_model_directory(tmp_path / "model", max_seq_length=11)
    set_template(directory, single="$A" + " [SEP]" * 11)
    take_whole(directory)
    with pytest.raises(ValueError, match=r"max_seq_length must be .* from 12 to 64, got 11; .*12"):
        SentenceTransformer(directory)
    edit_json(directory / "sentence_bert_config.json", max_seq_length=12)
    model = SentenceTransformer(directory)
    assert len(model.tokenizer.encode(["a bird"], 12).ids[0]) == 12
    with pytest.raises(ValueError, match=r"max_seq_length must be .* from 12 to 64, got 11"):
        model.max_seq_length = 11


def test_types_that_the_network_does_not_read(directory):
    """Token types are no matter where the network has one segment, or the tokenizer gives none."""
    set_template(directory, single="[CLS]:7 $A [SEP]")
    write_json(directory / "tokenizer_config.json", {"model_input_names": ["input_ids"]})
    SentenceTransformer(directory)
    make_model_directory(directory, type_vocab_size=1)
    set_template(directory, single="[CLS]:7 $A [SEP]")
    (directory / "tokenizer_config.json").unlink()
    SentenceTransformer(directory)


@pytest.mark.parametrize("kind", ["WordPiece", "BPE", "WordLevel"])
def test_empty_vocabulary(directory, kind):
    """A tokenizer without a vocabulary is refused in one sentence."""
    stored = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    model = {"type": kind, "vocab": {}, "unk_token": "[UNK]"}
    model |= {"merges": [], "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    write_json(directory / "tokenizer.json", stored | {"model": model, "added_tokens": []})
    take_whole(directory)
    with pytest.raises(ValueError, match=r"must have a vocabulary, got an empty|unknown token"):
        SentenceTransformer(directory)


def add_tokens(path, *tokens):
    tokenizer = LibraryTokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.add_tokens(list(tokens))
    tokenizer.save(str(path / "tokenizer.json"))


def test_added_tokens_without_rows(directory):
    """Added tokens beyond the word table are no matter until a text has one, which is named."""
    plain = SentenceTransformer(directory)
    add_tokens(directory, "zebra", "quagga")
    model = SentenceTransformer(directory)
    texts = ["a bird", "the tree"]
    assert np.array_equal(model.encode(texts), plain.encode(texts))
    with pytest.raises(ValueError, match=r"ids below 75, .* got 76 \('quagga'\) at index 1"):
        model.encode(["a bird", "a quagga"])
    # What truncation leaves out is never looked up.
    assert np.isfinite(model.encode("a " * 70 + "quagga", on_truncate="ignore")).all()


def test_added_tokens_without_rows_in_pairs(tmp_path):
    """A pair with an added token beyond the word table is named, too."""
    directory = make_cross_encoder_directory(tmp_path / "model")
    add_tokens(directory, "zebra")
    model = CrossEncoder(directory)
    with pytest.raises(ValueError, match=r"ids below 75, .* got 75 \('zebra'\) at index 0"):
        model.predict([("a", "the zebra"), ("a", "b")])


@pytest.mark.parametrize(
    ("word", "comes_out"), [("zebra", True), ("[unused1]", False), ("##zebra", False)]
)
def test_words_without_rows(directory, word, comes_out):
    """Words beyond the word table are no matter if no text has them: [unused1], say."""
    stored = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    stored["model"]["vocab"][word] = len(VOCABULARY)
    write_json(directory / "tokenizer.json", stored)
    if comes_out:
        with pytest.raises(ValueError, match=r"must be below 75, .* got 75; .* another"):
            SentenceTransformer(directory)
    else:
        assert np.isfinite(SentenceTransformer(directory).encode(f"a {word} b")).all()


def test_many_words_without_rows(directory):
    """A tokenizer with more than a thousand words beyond the table is another model's."""
    stored = json.loads((directory / "tokenizer.json").read_text("utf-8"))
    for row in range(75, 1200):
        stored["model"]["vocab"][f"[unused{row}]"] = row
    write_json(directory / "tokenizer.json", stored)
    with pytest.raises(ValueError, match=r"must be below 75, .* got 1199; .* another"):
        SentenceTransformer(directory)
