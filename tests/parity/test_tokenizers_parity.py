"""Tokenizer directories of every class, layout and option beside transformers, live."""

import itertools
import json
import random
from collections import Counter

import pytest
import transformers
from tokenizer_directories import (
    ADDED,
    KINDS,
    LAYOUTS,
    PAIRS,
    TEXTS,
    change,
    make_tokenizer,
    write_new,
)

from minisbert.encoding.tokenization import Tokenizer
from models import edit_json


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


def compare(directory):
    """Return "equal" or "refused"; fail if a directory is read otherwise than there.

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
def test_contradictions(tmp_path, name):
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
            counts[compare(directory)] += 1
        except AssertionError as error:
            raise AssertionError(f"{layout} {options} {added} {done}") from error
    assert counts["equal"] >= 20


def swap_whole(tmp_path, options):
    """A BERT directory whose tokenizer_config.json and tokenizer.json differ in the options."""
    directory = tmp_path / "model"
    tokenizer = make_tokenizer(tmp_path / "scratch", "BertTokenizer", options)
    write_new(directory, "BertTokenizer", tokenizer)
    opposite = {name: not value for name, value in options.items()}
    other = make_tokenizer(tmp_path / "scratch", "BertTokenizer", opposite)
    other.backend_tokenizer.save(str(directory / "tokenizer.json"))
    return directory
