"""Tokenizer directories of every class, layout and option beside transformers, live."""

import itertools
import json
import random
from collections import Counter

import pytest
import sentence_transformers
import transformers
from tokenizer_directories import ADDED, KINDS, LAYOUTS, PAIRS, TEXTS, change, make_tokenizer

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.encoding.tokenization import Tokenizer
from models import edit_json, make_cross_encoder_directory, make_model_directory, write_json


def read_theirs(directory):
    """Ids and types of all texts and pairs by transformers; zeros where it gives no types."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    encodings = [tokenizer([text]) for text in TEXTS]
    encodings += [tokenizer([first], [second]) for first, second in PAIRS]
    ids = [encoding["input_ids"][0] for encoding in encodings]
    return ids, [
        encoding.get("token_type_ids", [[0] * len(row)])[0]
        for encoding, row in zip(encodings, ids, strict=True)
    ]


def read_ours(directory, rows):
    tokenizer = Tokenizer(directory)
    tokenizer.check_vocabulary(rows, pairs=True)
    tokenizer.check_special_tokens(10**6, 2, pairs=True)
    texts, pairs = tokenizer.encode(TEXTS, 10**6), tokenizer.encode_pairs(PAIRS, 10**6)
    ids = [row.tolist() for row in (*texts.ids, *pairs.ids)]
    types = [[0] * len(row) for row in ids]
    if pairs.types is not None:
        types[len(TEXTS) :] = [row.tolist() for row in pairs.types]
    return ids, types


def compare(directory, log=None):
    """Return "equal", "warned" or "refused"; fail if a directory is read otherwise than there.

    Only with a warning in the `log` may it be read otherwise: a BERT with pieces, in which
    transformers 5 finds nothing but unknown tokens.

    What transformers can't read either, or gives ids to that the network has no row for, must be
    refused.
    """
    rows = json.loads((directory / "config.json").read_text("utf-8"))["vocab_size"]
    try:
        expected = read_theirs(directory)
        if max(map(max, expected[0])) >= rows:
            expected = None
    except Exception:  # of any kind
        expected = None
    try:
        got = read_ours(directory, rows)
    except (ValueError, FileNotFoundError) as error:
        sentence = str(error)
    else:
        if log is not None and "holds pieces" in log.text:
            log.clear()
            return "warned"
        assert got == expected
        return "equal"
    assert str(directory) in sentence or sentence.startswith("inputs must have token ids below")
    assert "\n" not in sentence
    return "refused"


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        (name, layout)
        for name, layout in itertools.product(KINDS, LAYOUTS)
        if KINDS[name].files or layout != "files"
    ],
)
def test_grid(tmp_path, name, layout):
    """Every class, with its options and added tokens, in every layout gives the same ids."""
    counts = Counter()
    for options, added in itertools.product(KINDS[name].grid, ADDED):
        directory = tmp_path / str(counts.total())
        directory.mkdir()
        tokenizer = make_tokenizer(tmp_path / "scratch", name, options, added)
        LAYOUTS[layout](directory, name, tokenizer)
        counts[compare(directory)] += 1
    # Without its class, HerBERT's vocabulary is taken for BERT's, which no version can read.
    unreadable = (name, layout) == ("HerbertTokenizer", "alone")
    assert counts == {"refused" if unreadable else "equal": len(KINDS[name].grid) * len(ADDED)}


@pytest.mark.parametrize("name", KINDS)
def test_contradictions(tmp_path, name, caplog):
    """Files that say different things, in 60 random ways a class, give the same ids or an error."""
    rng = random.Random(name)
    counts = Counter()
    for index in range(60):
        directory = tmp_path / str(index)
        directory.mkdir()
        layout = rng.choice(
            [layout for layout in LAYOUTS if KINDS[name].files or layout != "files"]
        )
        options, added = rng.choice(KINDS[name].grid), rng.choice([*ADDED])
        LAYOUTS[layout](directory, name, make_tokenizer(tmp_path / "scratch", name, options, added))
        # Rows to spare, so that added tokens are not refused for their ids alone.
        config = json.loads((directory / "config.json").read_text("utf-8"))
        edit_json(directory / "config.json", vocab_size=config["vocab_size"] + 9)
        done = change(directory, rng, rng.randrange(1, 5))
        try:
            counts[compare(directory, caplog)] += 1
        except AssertionError as error:
            raise AssertionError(f"{layout} {options} {added} {done}") from error
    assert counts["equal"] >= 20


@pytest.mark.parametrize("options", KINDS["BertTokenizer"].grid[1:])
def test_saved_without_contradictions(tmp_path, options):
    """A saved model has the same ids there as here, and no two files that differ."""
    directory = make_model_directory(tmp_path / "model", vocab_size=99)
    tokenizer = make_tokenizer(tmp_path / "scratch", "BertTokenizer", {})
    tokenizer.save_pretrained(directory)
    edit_json(directory / "tokenizer_config.json", **options)
    write_json(directory / "added_tokens.json", {"qq": len(tokenizer)})
    ours = SentenceTransformer(directory)
    ours.save(tmp_path / "saved")
    theirs = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    # What takes tokenizer.json as it is agrees, too, as version 4 of transformers does.
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "saved" / "tokenizer.json")
    )
    for text in [*TEXTS, "a qq QQ"]:
        (ids,) = ours.tokenizer.encode([text], 64).ids
        assert theirs.tokenizer(text)["input_ids"] == ids.tolist()
        assert whole(text, truncation=False, padding=False)["input_ids"] == ids.tolist()


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("name", ["BertTokenizer", "AlbertTokenizer", "RobertaTokenizer"])
def test_lower_case_of_the_module(tmp_path, name, lower):
    """do_lower_case of sentence_bert_config.json does there what it does here."""
    directory = make_model_directory(tmp_path / "model", vocab_size=400)
    for option in KINDS[name].grid:
        tokenizer = make_tokenizer(tmp_path / "scratch", name, option)
        tokenizer.save_pretrained(directory)
        edit_json(directory / "sentence_bert_config.json", do_lower_case=lower)
        theirs = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
        ours = SentenceTransformer(directory).tokenizer
        for text, ids in zip(TEXTS, ours.encode(TEXTS, 64).ids, strict=True):
            assert theirs.tokenizer(text)["input_ids"] == ids.tolist()


def test_lower_case_of_a_saved_cross_encoder(tmp_path):
    """A cross-encoder that lower-cases does so there, too, once it is saved."""
    directory = make_cross_encoder_directory(tmp_path / "model", new_format=True, vocab_size=99)
    make_tokenizer(tmp_path / "scratch", "BertTokenizer", {"do_lower_case": False}).save_pretrained(
        directory
    )
    edit_json(directory / "tokenizer_config.json", model_max_length=64)
    edit_json(directory / "sentence_bert_config.json", do_lower_case=True)
    ours = CrossEncoder(directory)
    ours.save(tmp_path / "saved")
    theirs = sentence_transformers.CrossEncoder(str(tmp_path / "saved"), device="cpu")
    pairs = [("The BIRD", "É"), *PAIRS]
    expected = theirs.predict(pairs)
    assert abs(ours.predict(pairs) - expected).max() <= 1e-5
    assert abs(CrossEncoder(tmp_path / "saved").predict(pairs) - expected).max() <= 1e-5


LIMITS = [
    ({}, {"model_max_length": 48}),
    ({}, {"max_len": 48}),
    ({}, {"max_len": 48, "model_max_length": 32}),
    ({"max_seq_length": 21}, {"model_max_length": 48}),
    ({"do_lower_case": False}, {"model_max_length": 10**30}),
]


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("file", ["sentence_bert_config.json", "sentence_roberta_config.json"])
@pytest.mark.parametrize(("module", "options"), LIMITS)
def test_limits(tmp_path, module, options, file, described):
    """The limit of tokens is found in the same files, of newer and of older names."""
    directory = make_model_directory(tmp_path / "model")
    (directory / "sentence_bert_config.json").unlink()
    write_json(directory / file, module)
    write_json(directory / "tokenizer_config.json", options)
    if not described:
        (directory / "modules.json").unlink()
    theirs = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    assert SentenceTransformer(directory).max_seq_length == theirs.max_seq_length
