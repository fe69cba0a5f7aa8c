"""Failures of the tokenizers library: panics too are one sentence, Ctrl-C is none of them."""

import json

import pytest
import tokenizers

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.model_files import tokenizer_library
from minisbert.model_files.tokenizer_library import encode_text, load_tokenizer, refuse_failures
from models import (
    edit_json,
    encode_table,
    make_cross_encoder_directory,
    make_model_directory,
    write_bpe,
)


@pytest.fixture
def directory(tmp_path):
    return make_model_directory(tmp_path / "model")


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def edit_model(path, **changes):
    content = json.loads(path.read_text("utf-8"))
    edit_json(path, model=content["model"] | changes)


def place(letter, type_id=0):
    return {"Sequence": {"id": letter, "type_id": type_id}}


def template(single, pair, special=None):
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": special or {},
    }


UNKNOWN = {"SpecialToken": {"id": "[X]", "type_id": 0}}

# Each ends in a panic of the library, at load or with a short text.
PANICS = {
    "empty table": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}},
    "garbage in a table": {"normalizer": encode_table(range(1, 2**20, 4096))},
    "pieces of no length": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "a special token without an id": {
        "post_processor": template([UNKNOWN, place("A")], [place("A"), place("B")])
    },
    "a second text in a single one": {
        "post_processor": template([place("B")], [place("A"), place("B")])
    },
}


@pytest.mark.parametrize("name", PANICS)
def test_panics_at_load(directory, name):
    """A tokenizer for which the library panics is refused by the name of its file or folder."""
    edit_json(directory / "tokenizer.json", **PANICS[name])
    with pytest.raises(
        ValueError, match=r"model(/tokenizer\.json| holds a tokenizer that)? must "
    ) as error:
        SentenceTransformer(directory)
    assert "\n" not in str(error.value)


def test_panic_while_merges_are_read(directory):
    """Merges that don't fit their prefix, for which the library panics, are refused."""
    write_bpe(directory, ["the bird"] * 4)
    edit_model(directory / "tokenizer.json", continuing_subword_prefix="#" * 10)
    with pytest.raises(ValueError, match=r"tokenizer\.json must be a tokenizer file, got"):
        SentenceTransformer(directory)


def test_panic_in_a_pair_only(tmp_path):
    """A cross-encoder whose tokenizer panics for pairs is refused when it is loaded."""
    directory = make_cross_encoder_directory(tmp_path / "model")
    stored = json.loads((directory / "tokenizer.json").read_text("utf-8"))["post_processor"]
    edit_json(
        directory / "tokenizer.json",
        post_processor=stored | {"pair": [UNKNOWN, place("A"), place("B")]},
    )
    with pytest.raises(ValueError, match=r"model must hold a usable tokenizer, but it fails"):
        CrossEncoder(directory)


def test_panic_at_encode(directory, monkeypatch):
    """A panic while a text is tokenised is a ValueError that names the text; others still work."""
    # The step is checked at load, so a table that panics must come in behind the check.
    monkeypatch.setattr(tokenizer_library, "check_steps", lambda content: None)
    units = [0] * 256
    units[ord("q")] = ord("q") | (1 << 20) << 10
    edit_json(directory / "tokenizer.json", normalizer=encode_table(units))
    whole = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (directory / "tokenizer_config.json").write_text(json.dumps(whole), "utf-8")
    model = SentenceTransformer(directory)
    model.encode(["a bird"])
    with pytest.raises(ValueError, match=r"must be texts that .* failed at index 1 \(index out"):
        model.encode(["a bird", "q\u0301", "a bird"])
    with pytest.raises(ValueError, match="failed at index 2"):
        model.token_lengths(["a bird", "q", "q\u0301"])


def test_pattern_without_end(directory):
    """A pattern that backtracks without end is refused by name before any text is read."""
    edit_json(directory / "tokenizer.json", pre_tokenizer=split("(x+x+)+y"))
    with pytest.raises(ValueError, match=r"tokenizer\.json must be .*'\(x\+x\+\)\+y'"):
        SentenceTransformer(directory)


@pytest.mark.parametrize("escaped", [False, True])
def test_growth_at_load(directory, escaped):
    """A file of 3 kB whose steps make 10^8 letters of one is refused, however it is spelt."""
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
    edit_json(
        directory / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": [step] * 8}
    )
    if escaped:
        path = directory / "tokenizer.json"
        path.write_text(path.read_text("utf-8").replace("Replace", r"\u0052eplace"), "utf-8")
    with pytest.raises(ValueError, match="must make at most 64 characters of one"):
        SentenceTransformer(directory)


def test_many_growing_pre_tokenizers(directory):
    """Pre-tokenizers that grow are found in a file without any normaliser."""
    steps = [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}] * 20
    edit_json(
        directory / "tokenizer.json",
        normalizer=None,
        pre_tokenizer={"type": "Sequence", "pretokenizers": steps},
    )
    with pytest.raises(ValueError, match="must make at most 64 characters of one"):
        load_tokenizer(directory / "tokenizer.json")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, OSError, KeyError])
def test_other_exceptions_pass(error, tmp_path):
    """Only what the library raises is taken for its failure, never Ctrl-C."""

    class Interrupted:
        def encode(self, *texts, **options):
            raise error

    with pytest.raises(error):
        encode_text(Interrupted(), "a")
    with pytest.raises(error), refuse_failures(tmp_path):
        raise error


def test_hostile_message_is_one_line(tmp_path):
    """The message of a failure is quoted in one short line."""
    content = {
        "model": {"type": "WordPiece", "vocab": {}, "unk_token": "x"},
        "decoder": "\n\x1b" * 999,
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match="must be a tokenizer file") as error:
        load_tokenizer(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300 + len(str(path))


def test_library_gives_what_it_did(directory):
    """A tokenizer that is taken is the library's own, unchanged."""
    path = directory / "tokenizer.json"
    assert load_tokenizer(path).to_str() == tokenizers.Tokenizer.from_file(str(path)).to_str()
