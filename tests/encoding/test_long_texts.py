"""Long texts: whatever is left out, the tokens that stay are those of the whole text."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as LibraryTokenizer

from minisbert import CrossEncoder, SentenceTransformer, TruncationWarning
from minisbert.encoding import long_texts, tokenization
from minisbert.encoding.long_texts import LONGEST_PIECE, PIECE
from minisbert.encoding.tokenization import Tokenizer
from models import (
    VOCABULARY,
    encode_table,
    make_cross_encoder_directory,
    make_model_directory,
    write_bpe,
    write_json,
)

TEXTS = [
    "The old bird sings in the tree all day, and the cat looks on.",
    "It's a red car, isn't it?  We'll see 123 of them; nobody's there!",
    "L'oiseau chante dans l'arbre toute la journée, déjà depuis l'été.",
    "Старая птица поёт на дереве весь день. 老鸟整天在树上唱歌。 새가 노래한다 ことり が",
] * 4


def make_table():
    """Return a table like sentencepiece's: odd spaces to " ", wide letters to others."""
    pairs = {"ﬁ": "fi", "Ａ": "A", "\u00a0": " ", "\u3000": " ", "\n": " ", "\t": " "}
    units = np.zeros(256 * 64, np.int64)
    strings, free = b"", 1
    bases = {b"": 0}
    for key, value in pairs.items():
        data = key.encode()
        for size in range(1, len(data) + 1):
            prefix = data[:size]
            if prefix in bases:
                continue
            base = bases[prefix[:-1]]
            place = base ^ prefix[-1]
            bases[prefix] = 256 * free
            is_key = size == len(data)
            # The next base is place ^ offset, so the offset is the XOR of the two.
            units[place] = prefix[-1] | is_key << 8 | (place ^ 256 * free) << 10
            if is_key:
                units[256 * free] = 1 << 31 | len(strings)
                strings += value.encode() + b"\0"
            free += 1
    return encode_table(units, strings)


def train(tokenizer, trainer):
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def make_wordpiece(cased=False, chinese=True, most=100):
    words = {word: row for row, word in enumerate([*VOCABULARY, "鸟", "老", "'"])}
    tokenizer = LibraryTokenizer(
        models.WordPiece(words, unk_token="[UNK]", max_input_chars_per_word=most)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=not cased, handle_chinese_chars=chinese
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(VOCABULARY[:5])
    return tokenizer


def make_bpe(prefix=False, mask=False, pre_tokenizer=None):
    tokenizer = LibraryTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer = train(
        tokenizer,
        trainers.BpeTrainer(
            vocab_size=400,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if mask:
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer


def make_unigram(pre_tokenizer, *steps):
    tokenizer = LibraryTokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(list(steps)) if steps else None
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer = train(tokenizer, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer


def with_table(tokenizer, where=0):
    """Put the table of characters among the normalisers."""
    content = json.loads(tokenizer.to_str())
    steps = (content["normalizer"] or {"normalizers": []})["normalizers"]
    steps.insert(where, make_table())
    content["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return LibraryTokenizer.from_str(json.dumps(content))


# The class of a tokenizer that is what its tokenizer.json says.
PLAIN = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_input_names": ["input_ids", "token_type_ids"],
}

SPACES = normalizers.Replace(Regex(" {2,}"), " ")
XLM_R = pre_tokenizers.Sequence(
    [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
)


def add(tokenizer, *tokens):
    tokenizer.add_tokens(list(tokens))
    return tokenizer


GPT_4 = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(Regex(r"\p{N}{1,3}| ?\p{L}+|\s+(?!\S)|\s+|."), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)

# Name -> how it is made, and whether long texts of words can be cut.
KINDS = {
    "bert": (make_wordpiece, True),
    "bert cased": (lambda: make_wordpiece(cased=True), True),
    "bert without chinese": (lambda: make_wordpiece(chinese=False), True),
    "bert of short words": (lambda: make_wordpiece(most=5), True),
    "bert with words": (lambda: add(make_wordpiece(), "bird", "e-mail"), True),
    "bert with a phrase": (lambda: add(make_wordpiece(), "old bird"), False),
    "bert, stripping": (lambda: add(make_wordpiece(), AddedToken("bird", rstrip=True)), False),
    "bert, single words": (
        lambda: add(make_wordpiece(), AddedToken("xylo", single_word=True)),
        True,
    ),
    "byte-level": (make_bpe, True),
    "byte-level, prefix": (lambda: make_bpe(True), True),
    "byte-level, mask": (lambda: make_bpe(True, mask=True), True),
    "byte-level, stripping": (
        lambda: add(make_bpe(), AddedToken("bird", rstrip=True)),
        False,
    ),
    "byte-level with a phrase": (lambda: add(make_bpe(), "old bird"), False),
    "byte-level with a space": (lambda: add(make_bpe(), " "), True),
    "bert with a space": (lambda: add(make_wordpiece(), " "), True),
    "byte-level, digits": (
        lambda: make_bpe(
            pre_tokenizer=pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(), pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel()]
            )
        ),
        True,
    ),
    "byte-level, split": (lambda: make_bpe(pre_tokenizer=GPT_4), False),
    "xlm-roberta": (lambda: with_table(make_unigram(XLM_R, SPACES)), True),
    "xlm-roberta, joined": (
        lambda: make_unigram(XLM_R, normalizers.Replace(Regex(" {2,}"), "▁")),
        False,
    ),
    "camembert": (lambda: with_table(make_unigram(pre_tokenizers.Metaspace(), SPACES)), True),
    "sentencepiece, stripping": (
        lambda: with_table(
            make_unigram(
                pre_tokenizers.Metaspace(),
                normalizers.Strip(left=False),
                normalizers.Replace(Regex(" {2,}"), "▁"),
            )
        ),
        True,
    ),
    "albert": (
        lambda: with_table(
            make_unigram(
                pre_tokenizers.Metaspace(),
                normalizers.Replace("``", '"'),
                normalizers.Replace("''", '"'),
                normalizers.NFKD(),
                normalizers.StripAccents(),
                normalizers.Lowercase(),
                SPACES,
            ),
            5,
        ),
        True,
    ),
    "metaspace, first": (
        lambda: make_unigram(pre_tokenizers.Metaspace(prepend_scheme="first")),
        True,
    ),
    "metaspace, whole": (lambda: make_unigram(pre_tokenizers.Metaspace(split=False)), False),
    "stripping the front": (lambda: make_unigram(XLM_R, normalizers.Strip()), False),
    "llama": (
        lambda: make_unigram(
            pre_tokenizers.Metaspace(),
            normalizers.Prepend("▁"),
            normalizers.Replace(" ", "▁"),
        ),
        False,
    ),
    "spaces to letters": (lambda: make_unigram(XLM_R, normalizers.Replace(" ", "x")), False),
    "letters to spaces": (
        lambda: make_unigram(pre_tokenizers.Metaspace(), normalizers.Replace("e", " "), SPACES),
        False,
    ),
    "no pre-tokenizer": (lambda: make_unigram(None), False),
}


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """A directory for each kind of tokenizer, with BERT's special tokens around each text."""
    paths = {}
    for name, (make, _) in KINDS.items():
        tokenizer = make()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        paths[name] = tmp_path_factory.mktemp("kind")
        tokenizer.save(str(paths[name] / "tokenizer.json"))
        write_json(paths[name] / "tokenizer_config.json", PLAIN)
    return paths


@pytest.fixture(scope="module")
def both_sides(directories):
    """Name -> a tokenizer that truncates at the end, one at the front, and the library's own."""
    loaded = {}
    for name, path in directories.items():
        right = Tokenizer(path)
        write_json(path / "tokenizer_config.json", PLAIN | {"truncation_side": "left"})
        library = LibraryTokenizer.from_file(str(path / "tokenizer.json"))
        loaded[name] = right, Tokenizer(path), library
    return loaded


@pytest.fixture
def small_pieces(monkeypatch):
    """Cut texts into pieces of 7 characters, so that short texts have many cuts."""
    for module in (long_texts, tokenization):
        monkeypatch.setattr(module, "PIECE", 7)
    monkeypatch.setattr(long_texts, "COUNTED", 20)


ATOMS = [
    *("a", "the", "bird", "BIRD", "xylo", "old bird", "123", "4", "é", "e\u0301", "İ", "ﬁ", "Ａ"),
    *(
        "птица",
        "поёт",
        "老鸟",
        "鸟",
        "새가",
        "ことり",
        "が",
        "か\u3099",
        "\u037a",
        "ß",
        "x" * 12,
        "x" * 40,
        " " * 20,
    ),
    *(" ", " ", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "\u200b", " \u0301", "▁"),
    *(".", ",", "...", "'s", "'", "``", "''", "-", "e-mail", "!?", "。", "…", "\U0001f600"),
    *(
        "[MASK]",
        "<mask>",
        " <mask> ",
        "[SEP]",
        "[",
        "]",
        "<",
        "\x00",
        "\ufeff",
        "\u0600",
        "\U00012000",
    ),
]
nasty_texts = st.lists(st.sampled_from(ATOMS), max_size=40).map("".join)


def truncate(library, *texts, max_length, side):
    library.enable_truncation(max_length, strategy="longest_first", direction=side)
    return library.encode(*texts)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_tokens_stay(both_sides, small_pieces, name):
    """However a text is cut, its first or last tokens are the library's, and all are counted."""
    right, left, library = both_sides[name]

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(nasty_texts, st.integers(3, 30))
    def check(text, max_length):
        library.no_truncation()
        whole = len(library.encode(text).ids)
        assert right.count([text]).tolist() == [whole]
        for tokenizer, side in ((right, "right"), (left, "left")):
            tokens = tokenizer.encode([text], max_length)
            expected = truncate(library, text, max_length=max_length, side=side)
            assert tokens.ids[0].tolist() == expected.ids
            if tokens.unread:
                assert max_length < tokens.lengths[0] <= whole
            else:
                assert tokens.lengths[0] == whole

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_tokens_of_pairs_stay(both_sides, small_pieces, name):
    """The tokens of a pair are those that the library's longest_first keeps."""
    right, left, library = both_sides[name]

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(nasty_texts, nasty_texts, st.integers(5, 30))
    def check(first, second, max_length):
        for tokenizer, side in ((right, "right"), (left, "left")):
            tokens = tokenizer.encode_pairs([(first, second)], max_length)
            expected = truncate(library, first, second, max_length=max_length, side=side)
            assert tokens.ids[0].tolist() == expected.ids
            assert tokens.types[0].tolist() == expected.type_ids
        library.no_truncation()
        whole = len(library.encode(first, second).ids)
        assert tokens.lengths[0] <= whole if tokens.unread else tokens.lengths[0] == whole

    check()


@pytest.mark.parametrize("name", KINDS)
def test_which_kinds_can_be_cut(both_sides, name):
    """Texts are cut for the kinds of tokenizers in use, and not for those without a proof."""
    pieces = list(both_sides[name][0]._cutter.cut("The old bird. 老鸟 " * 5000))
    assert (len(pieces) > 5) == KINDS[name][1]
    assert [start for start, _ in pieces[1:]] == [end for _, end in pieces[:-1]]


def ranges_of(*names):
    """Return the characters of some ranges of the module."""
    return [
        chr(code)
        for name in names
        for each in getattr(long_texts, name)
        for code in range(ord(each[0]), ord(each[1]) + 1)
    ]


NORMALIZERS = {
    **{name: getattr(normalizers, name)() for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase")},
    **{name: getattr(normalizers, name)() for name in ("StripAccents", "Nmt", "BertNormalizer")},
    "cased": normalizers.BertNormalizer(lowercase=False),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_characters_before_a_cut(name):
    """Each character before a cut is normalised apart from a space after it, and not to a space."""
    normalize = NORMALIZERS[name].normalize_str
    names = ("_LETTERS", "_MORE_LETTERS", "_SYLLABLES", "_IDEOGRAPHS", "_PUNCTUATION")
    for character in ranges_of(*names):
        own = normalize(character)
        assert own.strip()
        assert own[-1] != " " or "\u4e00" <= character <= "\u9fff"  # which BERT puts apart
        assert normalize(f"{character} a") == own + normalize(" a")


def test_letters_stay_letters():
    """A letter of an unknown word stays one letter or more, which BERT's steps never divide."""
    normalize = NORMALIZERS["BertNormalizer"].normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    for character in ranges_of("_LETTERS", "_SYLLABLES"):
        assert len(split(normalize(f"a{character}a"))) == 1
        assert len(normalize(f"a{character}a")) >= 3


@pytest.fixture
def directory(tmp_path):
    return make_model_directory(tmp_path / "model")


def test_long_text_needs_little_memory(directory):
    """Five megabytes of full stops take a few megabytes of memory, not gigabytes."""
    program = f"""
import resource
from minisbert.encoding.tokenization import Tokenizer
from pathlib import Path
tokenizer = Tokenizer(Path({str(directory)!r}))
text = "." * 5_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(tokenizer.encode([text], 64).ids[0]) == 64
assert len(tokenizer.encode_pairs([("a bird", text)], 64).ids[0]) == 64
assert len(tokenizer.name_tokens(text, 64)) == 64
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100


@pytest.mark.parametrize("word", ["x" * 300_000, "Жук" * 100_000, "새" * 300_000])
def test_long_word_of_wordpiece(directory, word):
    """A word of any length is one unknown token for WordPiece."""
    tokenizer = Tokenizer(directory)
    tokens = tokenizer.encode([f"the {word} bird"], 64)
    assert [VOCABULARY[row] for row in tokens.ids[0]] == ["[CLS]", "the", "[UNK]", "bird", "[SEP]"]
    assert tokens.lengths.tolist() == tokenizer.count([f"the {word} bird"]).tolist() == [5]


def test_too_long_a_word(directory):
    """What can't be cut and is too long is refused with the index of its text."""
    model = SentenceTransformer(directory)
    word = "\U0001f600" * (LONGEST_PIECE + 1)
    with pytest.raises(ValueError, match=r"at most 262,144 characters .* 262,145 at index 1"):
        model.encode(["a", word])
    with pytest.raises(ValueError, match="262,145 at index 2"):
        model.token_lengths(["a", "b", word])
    write_bpe(directory, TEXTS)
    write_json(directory / "tokenizer_config.json", PLAIN)
    for text in ("x", "."):
        with pytest.raises(ValueError, match="262,145 at index 0"):
            Tokenizer(directory).encode([text * (LONGEST_PIECE + 1)], 64)


def test_warning_of_a_text_that_is_not_read(tmp_path):
    """The warning says that the tokens of a long text are not all counted."""
    model = SentenceTransformer(make_model_directory(tmp_path / "texts"))
    with pytest.warns(TruncationWarning, match=r"1 of 2 texts .* \(the longest has 8002; ind"):
        model.encode(["a", "a " * 8000])
    with pytest.warns(TruncationWarning, match=r"1 of 2 .* has at least \d{5}; indices 1\)"):
        vectors = model.encode(["a", "a " * 50_000])
    assert np.array_equal(vectors[1], model.encode("a " * 500, on_truncate="ignore"))
    pairs = CrossEncoder(make_cross_encoder_directory(tmp_path / "pairs"))
    with pytest.warns(TruncationWarning, match=r"1 of 1 .* has at least \d{5}; indices 0\)"):
        pairs.predict([("a", "a " * 50_000)])


def test_lone_surrogate_that_is_not_read(directory):
    """A text that is not valid Unicode is refused wherever it isn't."""
    with pytest.raises(ValueError, match="lone surrogate at index 1"):
        Tokenizer(directory).encode(["a", "a " * 50_000 + "\ud800"], 64)


def test_explanation_of_long_texts(directory):
    """Names of tokens are those of the part that is read."""
    tokenizer = Tokenizer(directory)
    text = "the birds sing " * 5000
    assert tokenizer.name_tokens(text, 64) == tokenizer.name_tokens(text[:2000], 64)
    assert PIECE < len(text)
