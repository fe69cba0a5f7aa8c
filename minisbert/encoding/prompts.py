"""Prompts: texts that a model was trained to see in front of every input, stored by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minisbert.arguments import shorten, shorten_names, warn_caller
from minisbert.encoding.tokenization import Tokenizer
from minisbert.network.config import PoolingConfig

# The names under which a model may store its prompt for queries, and that for documents.
QUERY_NAMES = ("query",)
DOCUMENT_NAMES = ("document", "passage", "corpus")


def merge_prompts(own: Mapping[str, str], given: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return a model's own prompts, replaced by the given ones of the same name; None means "".

    Raises TypeError for a prompt that is not a str.
    """
    prompts = {**own, **{name: text or "" for name, text in (given or {}).items()}}
    for name, text in prompts.items():
        if not isinstance(text, str):
            raise TypeError(
                f"prompts must be texts, got {type(text).__name__} for {shorten(name)}; "
                "give its text"
            )
    return prompts


def find_prompt(prompts: Mapping[str, str], name: str) -> str:
    """Return the prompt of a name; ValueError with all names if there is none."""
    if name not in prompts:
        raise ValueError(
            f"prompt_name must be one of {shorten_names(sorted(prompts))}, got {shorten(name)}; "
            "pass prompts={name: text} when loading the model"
        )
    return prompts[name]


def choose_prompt(
    prompts: Mapping[str, str],
    default_name: str | None,
    *,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> str:
    """Return the prompt's text: `prompt`, else that of `prompt_name`, else the default one."""
    if prompt is not None:
        if not isinstance(prompt, str):
            raise TypeError(f"prompt must be a str, got {type(prompt).__name__}; give its text")
        if prompt_name is not None:
            warn_caller(f"prompt_name {shorten(prompt_name)} is ignored, since a prompt is given")
        return prompt
    name = default_name if prompt_name is None else prompt_name
    return "" if name is None else find_prompt(prompts, name)


def choose_prompt_name(
    prompts: Mapping[str, str],
    names: Sequence[str],
    *,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> str | None:
    """Return `prompt_name` if it or a prompt is given; else choose among a model's own names.

    Return the first of `names` whose prompt is not empty. If all are empty, return the first that
    exists, so that its empty prompt replaces the model's default prompt; None if none exists.
    """
    if prompt_name is not None or prompt is not None:
        return prompt_name
    filled = [name for name in names if prompts.get(name)]
    return next(iter(filled + [name for name in names if name in prompts]), None)


def count_prompt_tokens(
    tokenizer: Tokenizer, pooling: PoolingConfig, prompt: str, *, max_length: int
) -> int:
    """Count the tokens of a prompt that pooling leaves out; 0 if pooling includes the prompt.

    A closing special token is not counted, since it comes after the whole text. A prompt as long as
    the model reads, `max_length` tokens, leaves that token alone to be pooled.
    """
    if not prompt or pooling.include_prompt:
        return 0
    tokens, special = tokenizer.encode([prompt, ""], max_length).ids
    return len(tokens) - int(tokens[-1] == special[-1])
