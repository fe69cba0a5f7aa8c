"""Prompts: which one is put in front, and how many of its tokens the pooling leaves out."""

import numpy as np
import pytest

from minisbert import SentenceTransformer
from minisbert.encoding.prompts import (
    DOCUMENT_NAMES,
    QUERY_NAMES,
    choose_prompt,
    choose_prompt_name,
    count_prompt_tokens,
)
from models import edit_json, make_model_directory

PROMPTS = {"query": "", "document": "", "passage": "passage: ", "task": "do "}


def test_prompts_given_replace_the_models_own(tiny_directory):
    """A given prompt replaces the model's own of the same name; None makes it empty."""
    model = SentenceTransformer(tiny_directory, prompts={"query": None, "task": "do "})
    assert model.prompts == {"query": "", "document": "", "task": "do "}
    assert np.array_equal(model.encode_query("a bird"), model.encode("a bird"))
    with pytest.raises(TypeError, match="prompts must be texts, got int for 'query'"):
        SentenceTransformer(tiny_directory, prompts={"query": 3})


def test_the_prompt_given_wins():
    """A prompt takes precedence over a name, with a warning, and a name over the default."""
    assert choose_prompt(PROMPTS, "task") == "do "
    assert choose_prompt(PROMPTS, "task", prompt_name="passage") == "passage: "
    assert choose_prompt(PROMPTS, "task", prompt="") == ""
    assert choose_prompt(PROMPTS, None) == ""
    with pytest.warns(UserWarning, match="'task' is ignored, since a prompt is given"):
        assert choose_prompt(PROMPTS, None, prompt_name="task", prompt="mine ") == "mine "


def test_names_for_queries_and_documents():
    """The first name with a text is chosen, else the first that exists, unless one is given."""
    assert choose_prompt_name(PROMPTS, DOCUMENT_NAMES) == "passage"
    assert choose_prompt_name(PROMPTS, QUERY_NAMES) == "query"
    assert choose_prompt_name({}, QUERY_NAMES) is None
    assert choose_prompt_name(PROMPTS, DOCUMENT_NAMES, prompt_name="task") == "task"
    assert choose_prompt_name(PROMPTS, DOCUMENT_NAMES, prompt="mine ") is None


def test_none_is_no_prompt(tiny_directory):
    """Queries get their prompt also if None is passed for it."""
    model = SentenceTransformer(tiny_directory, prompts={"query": "a bird "})
    expected = model.encode("sings", prompt="a bird ")
    assert np.array_equal(model.encode_query("sings", prompt_name=None, prompt=None), expected)
    assert np.array_equal(model.encode_query("sings", None, "a bird "), expected)
    assert np.array_equal(model.encode_query(sentences="sings"), expected)
    assert np.array_equal(model.encode_document("sings"), model.encode("sings"))


def test_tokens_of_a_prompt_are_counted(tmp_path):
    """A model that excludes prompts from its pooling skips their tokens, but not the last."""
    model = SentenceTransformer(make_model_directory(tmp_path))
    with_prompt = model.config.pooling
    edit_json(tmp_path / "1_Pooling" / "config.json", include_prompt=False)
    without_prompt = SentenceTransformer(tmp_path).config.pooling

    def count(pooling, prompt, max_length=64):
        return count_prompt_tokens(model.tokenizer, pooling, prompt, max_length=max_length)

    assert count(with_prompt, "a bird ") == 0
    assert count(without_prompt, "a bird ") == 3
    assert count(without_prompt, "") == 0
    assert count(without_prompt, "a bird sings all day ", max_length=5) == 4


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"prompt_name": "nobody"}, ValueError, "prompt_name must be one of document, query, got"),
        ({"prompt": 3}, TypeError, "prompt must be a str, got int"),
    ],
)
def test_unknown_prompts_are_refused(tiny, options, error, sentence):
    """An unknown name, and a prompt that is not a text, are refused."""
    with pytest.raises(error, match=sentence):
        tiny.encode("a bird", **options)
