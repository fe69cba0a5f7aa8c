"""Directories of tokenizers, made by hand: what each file says counts as in transformers."""

import json

import pytest
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import models, normalizers, pre_tokenizers, processors

from minisbert import SentenceTransformer
from minisbert.encoding.tokenization import Tokenizer
from models import (
    VOCABULARY,
    edit_json,
    make_model_directory,
    write_bpe,
    write_json,
    write_tokenizer,
)

ROBERTA_WORDS = ["<s>", "<pad>", "</s>", "<unk>"]
PIECES = ["▁", "▁the", "▁bird", "b", "i", "r", "d", "e", "É", "é", "T", "h"]


@pytest.fixture
def bert(tmp_path):
    """A BERT directory with tokenizer.json and vocab.txt, both of an uncased vocabulary."""
    write_json(tmp_path / "config.json", {"model_type": "bert", "vocab_size": 99})
    write_tokenizer(tmp_path)
    return tmp_path


def write_unigram(path, first, last, *, frame=None):
    """Write a tokenizer.json as sentencepiece's models become one, without a character map."""
    words = [*first, *PIECES, *last]
    model = models.Unigram([(word, -float(row)) for row, word in enumerate(words)], len(first) - 1)
    tokenizer = LibraryTokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if frame:
        tokenizer.post_processor = frame
    tokenizer.save(str(path / "tokenizer.json"))
    return words


def spell(directory, text, words=VOCABULARY, pair=None):
    """The tokens of a text, or of a pair of texts; those outside the vocabulary as numbers."""
    tokenizer = Tokenizer(directory)
    tokenizer.check_special_tokens(64, 2, pairs=True)
    if pair is None:
        (ids,) = tokenizer.encode([text], 64).ids
    else:
        (ids,) = tokenizer.encode_pairs([(text, pair)], 64).ids
    return " ".join(words[row] if row < len(words) else str(row) for row in ids)


# The class


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("BertJapaneseTokenizer", "vocab.txt"),
        ("BertweetTokenizer", "vocab.txt"),
        ("PhobertTokenizer", "vocab.txt"),
        ("FlaubertTokenizer", "vocab.json"),
        ("GPT2Tokenizer", "vocab.json"),
        ("BertJapaneseTokenizer", "tokenizer.json"),
        ("T5TokenizerFast", "tokenizer.json"),
        ("UnknownTokenizer", "tokenizer.json"),
    ],
)
@pytest.mark.parametrize("place", ["tokenizer_config.json", "config.json"])
def test_other_classes(bert, name, files, place):
    """A class that is not supported is refused, with its name, the field and both files."""
    if files == "vocab.json":
        write_bpe(bert, ["the bird"])
        (bert / "vocab.txt").unlink()
    if files != "tokenizer.json":
        (bert / "tokenizer.json").unlink()
    stated = json.loads((bert / "config.json").read_text("utf-8")) if place[0] == "c" else {}
    write_json(bert / place, {**stated, "tokenizer_class": name})
    with pytest.raises(ValueError, match=f"^tokenizer_class in .*{place} must be .*") as error:
        Tokenizer(bert)
    assert f"got '{name}'; another class may read {files} in another way" in str(error.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"auto_map": {"AutoTokenizer": ["code.Mine", None]}},
            "^auto_map in .* its code is never run",
        ),
        ({"auto_map": ["code.Mine", None]}, "^auto_map in .* its code is never run"),
        ({"fast_tokenizer_files": ["tokenizer.4.0.json"]}, "^fast_tokenizer_files in .* must be"),
        ({"init_inputs": [1]}, r"^init_inputs in .* must be \[\]"),
        ({"tokenizer_class": 3}, "^tokenizer_class in .* must be Bert, .* got 3"),
    ],
)
def test_fields_that_make_another_tokenizer(bert, options, sentence):
    """Fields that would make another tokenizer are refused."""
    write_json(bert / "tokenizer_config.json", options)
    with pytest.raises(ValueError, match=sentence):
        Tokenizer(bert)


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("RobertaTokenizer", "vocab.txt"),
        ("PreTrainedTokenizerFast", "vocab.txt"),
        ("XLMRobertaTokenizer", "vocab.txt"),
        ("BertTokenizer", "vocab.json"),
    ],
)
def test_vocabulary_of_another_class(bert, name, present):
    """A vocabulary that the class doesn't read is refused, with both names."""
    (bert / "tokenizer.json").unlink()
    if present == "vocab.json":
        (bert / "vocab.txt").rename(bert / present)
    write_json(bert / "tokenizer_config.json", {"tokenizer_class": name})
    sentence = (
        rf"must hold tokenizer\.json.* which {name} reads \(tokenizer_class in .*got {present}"
    )
    with pytest.raises(ValueError, match=sentence):
        Tokenizer(bert)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normalizer", normalizers.NFKC()),
        ("normalizer", normalizers.Sequence([normalizers.NFC(), normalizers.BertNormalizer()])),
        ("pre_tokenizer", pre_tokenizers.Whitespace()),
    ],
)
def test_steps_of_another_class(bert, name, value):
    """A tokenizer.json with steps that its class doesn't make is read only as a whole."""
    tokenizer = LibraryTokenizer.from_file(str(bert / "tokenizer.json"))
    setattr(tokenizer, name, value)
    tokenizer.save(str(bert / "tokenizer.json"))
    sentence = r"tokenizer\.json must be as BertTokenizer makes it, .* model_type in .*config\.json"
    with pytest.raises(ValueError, match=sentence) as error:
        Tokenizer(bert)
    assert str(bert / "tokenizer_config.json") in str(error.value)
    write_json(bert / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    assert Tokenizer(bert).encode(["the"], 64).ids


@pytest.mark.parametrize("options", [{}, {"tokenizer_class": "BertTokenizer"}])
def test_bert_with_pieces(bert, options, caplog):
    """A BERT with XLM-R's pieces is read by tokenizer.json alone, and a warning says so."""
    frame = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    words = write_unigram(bert, ROBERTA_WORDS, ["<mask>"], frame=frame)
    write_json(bert / "tokenizer_config.json", {**options, "do_lower_case": True})
    assert spell(bert, "the", words) == "<s> ▁the </s>"
    assert "holds pieces, which BertTokenizer" in caplog.text
    caplog.clear()
    write_json(bert / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    assert spell(bert, "the", words) == "<s> ▁the </s>"
    assert not caplog.text


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "PreTrainedTokenizer"])
def test_whole_file(bert, name):
    """PreTrainedTokenizerFast takes tokenizer.json as it is, whatever the options say."""
    write_json(bert / "tokenizer_config.json", {"tokenizer_class": name, "do_lower_case": False})
    assert spell(bert, "The BIRD") == "[CLS] the bird [SEP]"


# Options


@pytest.mark.parametrize(
    ("options", "text", "pieces"),
    [
        ({"do_lower_case": False}, "The bird", "[UNK] bird"),
        ({"do_lower_case": False}, "é", "[UNK]"),
        ({"strip_accents": False}, "é", "[UNK]"),
        ({"strip_accents": True}, "é", "e"),
        ({"tokenize_chinese_chars": False}, "a漢a", "[UNK]"),
        ({"tokenize_chinese_chars": True}, "a漢a", "a [UNK] a"),
    ],
)
@pytest.mark.parametrize("name", ["BertTokenizer", "DistilBertTokenizerFast", "ElectraTokenizer"])
def test_options_win(bert, name, options, text, pieces):
    """tokenizer_config.json wins over a tokenizer.json that says the opposite."""
    stored = json.loads((bert / "tokenizer.json").read_text("utf-8"))
    field = {"do_lower_case": "lowercase", "tokenize_chinese_chars": "handle_chinese_chars"}
    for option, value in options.items():
        stored["normalizer"][field.get(option, option)] = not value
    write_json(bert / "tokenizer.json", stored)
    write_json(bert / "tokenizer_config.json", {"tokenizer_class": name, **options})
    assert spell(bert, text) == f"[CLS] {pieces} [SEP]"


def test_default_of_an_option_wins(bert):
    """So does the default of an option that tokenizer_config.json leaves out."""
    stored = json.loads((bert / "tokenizer.json").read_text("utf-8"))
    stored["normalizer"]["lowercase"] = False
    write_json(bert / "tokenizer.json", stored)
    assert spell(bert, "The") == "[CLS] the [SEP]"


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_space_before_bytes(tmp_path, stored, prefix):
    """RoBERTa's add_prefix_space is that of tokenizer_config.json."""
    write_json(tmp_path / "config.json", {"model_type": "roberta"})
    write_bpe(tmp_path, ["the old bird sings"] * 3, prefix_space=stored)
    write_json(tmp_path / "tokenizer_config.json", {"add_prefix_space": prefix})
    first, second = Tokenizer(tmp_path).encode(["bird", " bird"], 64).ids
    assert (first.tolist() == second.tolist()) == prefix


@pytest.mark.parametrize(
    ("name", "first", "last", "start", "end"),
    [
        ("XLMRobertaTokenizer", ROBERTA_WORDS, ["<mask>"], "<s>", "</s>"),
        (
            "CamembertTokenizer",
            ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>NOTUSED", "<s>", "</s>", "<unk>"],
            ["<mask>"],
            "<s>",
            "</s>",
        ),
        ("AlbertTokenizer", ["<pad>", "<unk>"], ["[CLS]", "[SEP]", "[MASK]"], "[CLS]", "[SEP]"),
    ],
)
def test_pieces(tmp_path, name, first, last, start, end):
    """Unigram's classes split words at spaces; only ALBERT's changes capitals and accents."""
    words = write_unigram(tmp_path, first, last)
    write_json(tmp_path / "config.json", {"tokenizer_class": name, "vocab_size": len(words)})
    albert = name == "AlbertTokenizer"
    assert spell(tmp_path, "the  bird", words) == f"{start} ▁the ▁bird {end}"
    capitals = "▁the ▁ e" if albert else "▁ T h e ▁ é"
    assert spell(tmp_path, "The é", words) == f"{start} {capitals} {end}"
    between = f"{end} {end}" if not albert else end
    pair = spell(tmp_path, "the", words, pair="bird")
    assert pair == f"{start} ▁the {between} ▁bird {end}"
    write_json(tmp_path / "tokenizer_config.json", {"do_lower_case": False, "keep_accents": True})
    assert spell(tmp_path, "The é", words) == f"{start} ▁ T h e ▁ é {end}"
    write_json(tmp_path / "tokenizer_config.json", {"add_prefix_space": False})
    assert spell(tmp_path, "bird", words) == f"{start} b i r d {end}"


def test_segments_of_a_pair(bert):
    """The class, or model_input_names, says whether the texts of a pair have segments."""
    for options, given in (
        ({}, True),
        ({"tokenizer_class": "DistilBertTokenizer"}, False),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, False),
        ({"tokenizer_class": "DistilBertTokenizer", "model_input_names": ["token_type_ids"]}, True),
        ({"model_input_names": ["input_ids"]}, False),
    ):
        write_json(bert / "tokenizer_config.json", options)
        types = Tokenizer(bert).encode_pairs([("a", "the bird")], 64).types
        assert (types is not None and types[0].tolist() == [0, 0, 0, 1, 1, 1]) == given, options


def test_side_that_is_cut(bert):
    """The side that tokenizer.json cuts counts for a class that builds all else anew."""
    tokenizer = LibraryTokenizer.from_file(str(bert / "tokenizer.json"))
    tokenizer.enable_truncation(16, direction="left")
    tokenizer.save(str(bert / "tokenizer.json"))
    (ids,) = Tokenizer(bert).encode(["the old bird"], 3).ids
    assert [VOCABULARY[row] for row in ids] == ["[CLS]", "bird", "[SEP]"]


# Added tokens

ADDED = {"content": "<e>", "lstrip": False, "rstrip": False, "normalized": False}
ADDED |= {"single_word": False, "special": True}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("added_tokens.json", {"<e>": 75}),
        ("tokenizer_config.json", {"additional_special_tokens": ["<e>"]}),
        ("tokenizer_config.json", {"extra_special_tokens": ["<e>"]}),
        ("tokenizer_config.json", {"extra_special_tokens": {"image_token": "<e>"}}),
        ("tokenizer_config.json", {"image_token": "<e>"}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"75": ADDED}}),
        ("tokenizer_config.json", {"bos_token": {"__type": "AddedToken", **ADDED}}),
        ("special_tokens_map.json", {"additional_special_tokens": ["<e>"]}),
        ("special_tokens_map.json", {"eos_token": {"content": "<e>"}}),
    ],
)
def test_added_tokens(bert, file, content, whole):
    """Each file and field that adds a token gives it the row after the vocabulary."""
    if not whole:
        (bert / "tokenizer.json").unlink()
    write_json(bert / file, content)
    assert spell(bert, "a<e>b") == "[CLS] a 75 b [SEP]"
    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if whole:
        edit_json(bert / "config.json", **config)
        assert spell(bert, "a<e>b") == "[CLS] a 75 b [SEP]"


def test_table_of_added_tokens_stands_for_the_other_files(bert):
    """With added_tokens_decoder the older files, and the tokens of tokenizer.json, are unread."""
    named = {name: f"[{name[:4].strip('_').upper()}]" for name in ("unk_token", "cls_token")}
    write_json(bert / "added_tokens.json", {"<f>": 75})
    write_json(bert / "special_tokens_map.json", {"mask_token": "<g>", **named})
    write_json(bert / "tokenizer_config.json", {"added_tokens_decoder": {"75": ADDED}})
    assert spell(bert, "<e>a[MASK]") == "[CLS] 75 a [MASK] [SEP]"
    assert "75" not in spell(bert, "<f> <g>")


@pytest.mark.parametrize(
    ("flags", "text", "tokens"),
    [
        ({"single_word": True}, "a<e>b <e>", "a [UNK] e [UNK] b 75"),
        ({"normalized": True, "special": False}, "<E>", "75"),
        ({"normalized": False, "special": False}, "<E>", "[UNK] e [UNK]"),
    ],
)
def test_how_an_added_token_is_found(bert, flags, text, tokens):
    """The flags of a token say where it is found."""
    table = {"75": {**ADDED, **flags}}
    write_json(bert / "tokenizer_config.json", {"added_tokens_decoder": table})
    assert spell(bert, text) == f"[CLS] {tokens} [SEP]"


@pytest.mark.parametrize("name", ["BertTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("split", [True, False])
def test_split_special_tokens(bert, name, split):
    """With split_special_tokens a special token in a text is read as any other word."""
    options = {"tokenizer_class": name, "split_special_tokens": split}
    write_json(bert / "tokenizer_config.json", options)
    inside = "[UNK] [UNK] [UNK]" if split else "[MASK]"
    assert spell(bert, "[MASK]") == f"[CLS] {inside} [SEP]"


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
def test_special_tokens_around_a_text(bert, file):
    """The special tokens that a file names stand around a text; tokenizer.json must agree."""
    write_json(bert / file, {"cls_token": "[MASK]", "sep_token": "[PAD]"})
    sentence = (
        r"tokenizer\.json must put the tokens around a text as BertTokenizer .* got '?\[2, 5, 3"
    )
    with pytest.raises(ValueError, match=sentence) as error:
        spell(bert, "the")
    assert str(bert / "tokenizer_config.json") in str(error.value)
    edit_json(bert / "tokenizer.json", post_processor=None)
    assert spell(bert, "the", pair="a") == "[MASK] the [PAD] a [PAD]"
    (bert / "tokenizer.json").unlink()
    assert spell(bert, "the", pair="a") == "[MASK] the [PAD] a [PAD]"
    write_json(bert / "special_tokens_map.json", {"cls_token": "[SEP]", "sep_token": "[PAD]"})
    assert spell(bert, "the") == "[SEP] the [PAD]"


def test_truncation_without_room(bert):
    """A stored truncation that the library refuses around the class's tokens is named."""
    limit = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 15}
    edit_json(bert / "tokenizer.json", truncation=limit, post_processor=None)
    with pytest.raises(ValueError, match=r"^truncation in .*tokenizer\.json must fit .* null$"):
        Tokenizer(bert)


@pytest.mark.parametrize("single", ["[CLS] $A", "[CLS]:1 $A [SEP]", "[SEP] $A [CLS]"])
def test_post_processor_of_another_class(tmp_path, single):
    """A post-processor that the class doesn't make is refused for the model as a whole."""
    directory = make_model_directory(tmp_path / "model")
    tokenizer = LibraryTokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"tokenizer\.json must put|token types"):
        SentenceTransformer(directory)


def test_pieces_stand_between_bos_and_eos(tmp_path):
    """XLM-R's tokenizer puts bos_token and eos_token around a text, not cls_token and sep_token."""
    words = write_unigram(tmp_path, ROBERTA_WORDS, ["<mask>"])
    write_json(tmp_path / "config.json", {"model_type": "xlm-roberta"})
    write_json(tmp_path / "special_tokens_map.json", {"cls_token": "b", "eos_token": "<mask>"})
    assert spell(tmp_path, "the", words) == "<s> ▁the <mask>"


def test_frame_of_albert(tmp_path):
    """ALBERT's tokenizer keeps what its tokenizer.json puts around a text."""
    frame = processors.BertProcessing(("<pad>", 0), ("[CLS]", 14))
    words = write_unigram(tmp_path, ["<pad>", "<unk>"], ["[CLS]", "[SEP]", "[MASK]"], frame=frame)
    write_json(tmp_path / "config.json", {"model_type": "albert"})
    assert spell(tmp_path, "the", words) == "[CLS] ▁the <pad>"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("added_tokens.json", {"<e>": 80}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"80": ADDED}}),
        ("added_tokens.json", {"bird": 80}),
    ],
)
def test_id_that_does_not_follow(bert, file, content):
    """An id that the vocabulary gives to no token, or another id for a word, is refused."""
    write_json(bert / file, content)
    with pytest.raises(ValueError, match=rf"^ids in .*{file} must be those .* got 80 for "):
        Tokenizer(bert)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("added_tokens.json", {"<e>": "75"}, r"added_tokens\.json must hold tokens and their ids"),
        ("added_tokens.json", {"<e>": -1}, r"added_tokens\.json must hold tokens and their ids"),
        ("added_tokens.json", ["<e>"], r"added_tokens\.json must hold a JSON object"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"x": ADDED}},
            "^added_tokens_decoder in .* must be an object of tokens by their ids",
        ),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"75": {"content": "<e>", "lstrip": "no"}}},
            "^added_tokens_decoder in .* must be an object of tokens by their ids",
        ),
        (
            "tokenizer_config.json",
            {"additional_special_tokens": [3]},
            "^additional_special_tokens in .* must be a list of tokens",
        ),
        (
            "special_tokens_map.json",
            {"extra_special_tokens": "<e>"},
            "^extra_special_tokens in .*special_tokens_map.json must be a list of tokens",
        ),
        ("tokenizer_config.json", {"cls_token": None}, "^cls_token in .* must be a token"),
        ("tokenizer_config.json", {"unk_token": "<none>"}, "no unknown token '<none>'"),
        ("tokenizer_config.json", {"split_special_tokens": 1}, "^split_special_tokens in .*"),
    ],
)
def test_broken_added_tokens(bert, file, content, sentence):
    """A field of a wrong type is refused with its name and its file."""
    write_json(bert / file, content)
    with pytest.raises(ValueError, match=sentence) as error:
        Tokenizer(bert)
    assert "\n" not in str(error.value)


def test_many_added_tokens(bert):
    """Twenty thousand names of tokens take no time that grows with their square."""
    names = [f"<{number}>" for number in range(20_000)]
    write_json(bert / "tokenizer_config.json", {"additional_special_tokens": names * 2})
    assert spell(bert, "a <19999>") == f"[CLS] a {75 + 19_999} [SEP]"


def test_added_token_beyond_the_word_table(tmp_path):
    """An added token without a row in the word table is refused in a text, by its name."""
    directory = make_model_directory(tmp_path / "model")
    write_json(directory / "added_tokens.json", {"<e>": 75})
    model = SentenceTransformer(directory)
    assert model.encode("a bird").shape == (32,)
    with pytest.raises(ValueError, match=r"must have token ids below 75, .* got 75 \('<e>'\)"):
        model.encode("a <e>")


# vocab.txt


def test_spaces_in_a_vocabulary(bert):
    """A word ends before spaces, an empty line has an id, and only a line feed ends a line."""
    (bert / "tokenizer.json").unlink()
    lines = [*VOCABULARY[:5], "the ", "bird\u00a0", "", "c\rd", "x\u2028y", "tree\r", "old\x85"]
    (bert / "vocab.txt").write_bytes("\n".join([*lines, ""]).encode())
    (ids,) = Tokenizer(bert).encode(["the bird tree old"], 64).ids
    assert ids.tolist() == [2, 5, 6, 10, 11, 3]
    write_json(bert / "added_tokens.json", {"<e>": 12})
    assert Tokenizer(bert).encode(["<e>"], 64).ids[0].tolist() == [2, 12, 3]
