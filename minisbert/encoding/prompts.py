"""Prompts: texts that some models were trained to see in front of every input, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minisbert.arguments import warn_caller
from minisbert.encoding.tokenization import Tokenizer
from minisbert.network.config import PoolingConfig

# The names that a model's prompt for queries, and for documents, may have.
QUERY = ("query",)
DOCUMENT = ("document", "passage", "corpus")


def merge_prompts(own: Mapping[str, str], given: Mapping[str, str | None] | None) -> dict[str, str]:
    """A model's prompts, those given in place of its own of that name; None is an empty one."""
    prompts = {**own, **{name: text or "" for name, text in (given or {}).items()}}
    for name, text in prompts.items():
        if not isinstance(text, str):
            raise TypeError(
                f"prompts must be texts, got {type(text).__name__} for {name!r}; give its text"
            )
    return prompts


def find_prompt(prompts: Mapping[str, str], name: str) -> str:
    """The prompt of this name, or ValueError naming those that there are."""
    if name not in prompts:
        raise ValueError(
            f"prompt_name must be one of {', '.join(sorted(prompts))}, got {name!r}; "
            "pass prompts={name: text} when loading the model"
        )
    return prompts[name]


def choose_prompt(
    prompts: Mapping[str, str],
    default_name: str | None,
    prompt_name: str | None,
    prompt: str | None,
) -> str:
    """The text to put in front: the one given, else the one named, else the default one."""
    if prompt is not None:
        if not isinstance(prompt, str):
            raise TypeError(f"prompt must be a str, got {type(prompt).__name__}; give its text")
        if prompt_name is not None:
            warn_caller(f"prompt_name {prompt_name!r} is passed over, since a prompt is given")
        return prompt
    name = default_name if prompt_name is None else prompt_name
    return "" if name is None else find_prompt(prompts, name)


def name_prompt(
    prompts: Mapping[str, str], names: Sequence[str], prompt_name: str | None, prompt: str | None
) -> str | None:
    """The name asked for; where nothing is, the first of `names` with a text, or that exists.

    An empty prompt counts: it stands in the way of the default one.
    """
    if prompt_name is not None or prompt is not None:
        return prompt_name
    filled = [name for name in names if prompts.get(name)]
    return next(iter(filled + [name for name in names if name in prompts]), None)


def count_prompt_tokens(tokenizer: Tokenizer, pooling: object, prompt: str) -> int:
    """How many tokens at the front the pooling leaves out: none unless the model says so."""
    if not prompt or not isinstance(pooling, PoolingConfig) or pooling.include_prompt:
        return 0
    # The prompt's own closing token stands at the end of the text instead.
    return int(tokenizer.count([prompt])[0]) - 1
