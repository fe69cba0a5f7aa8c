"""Compatibility with code written for sentence-transformers: its arguments, old names, evaluators.

No argument is silently ignored: each has its effect or is refused with the reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from minisbert.encoding.signatures import Encode, Predict

Function = TypeVar("Function", bound=Callable[..., Any])

# Arguments that sentence-transformers takes when it loads a model, and what to do here instead.
REFUSED_ARGUMENTS = {
    "backend": "the only one is NumPy",
    "cache_folder": "the environment variable MINISBERT_HOME names the folder of fetched models",
    "config_kwargs": "edit config.json, which is read as it is",
    "default_prompt_name": "pass prompt to predict",
    "keep_in_fp32_modules": "everything is float32",
    "model_card_data": "`save` writes the README of a saved model",
    "model_kwargs": "there is no transformers model to pass them to",
    "modules": "give the directory of a model, whose modules.json names them",
    "prompts": "pass prompt to predict",
    "processor_kwargs": "set max_seq_length or max_length; the tokenizer's files hold the rest",
    "revision": "fetch that revision yourself and give its directory",
    "token": "fetch the model yourself and give its directory",
    "tokenizer_kwargs": "set max_seq_length or max_length; the tokenizer's files hold the rest",
    "trust_remote_code": "no code that comes with a model is ever run",
    "use_auth_token": "fetch the model yourself and give its directory",
}


def refuse_others(owner: str, others: Mapping[str, object]) -> None:
    """Refuse arguments that have no effect here, unless their value is None, False or empty.

    owner   the class, for the message
    others  arguments by name

    Raises ValueError for an argument of sentence-transformers, TypeError for any other.
    """
    for name, value in others.items():
        if name not in REFUSED_ARGUMENTS:
            raise TypeError(f"{owner} got an unexpected argument {name!r}; leave it out")
        if value:
            # Name the type alone: the value may be a secret, which must not get into a log.
            raise ValueError(
                f"{name} must be left out, got a {type(value).__name__}; {REFUSED_ARGUMENTS[name]}"
            )


def accept_old_names(**names: str) -> Callable[[Function], Function]:
    """Decorate a function so that it takes its arguments by older names too: old="new".

    The names are those of earlier versions of sentence-transformers.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def rename(*arguments: Any, **options: Any) -> Any:
            for old in names.keys() & options.keys():
                if names[old] in options:
                    raise TypeError(f"{names[old]} must be given once, got {old} too; leave it out")
                options[names[old]] = options.pop(old)
            return function(*arguments, **options)

        return cast("Function", rename)

    return decorate


def encode_method(function: Callable[..., Any]) -> Encode:
    """Give a method the type of `encode`, and let it take `inputs` as `sentences` too."""
    return cast("Encode", accept_old_names(sentences="inputs")(function))


def predict_method(function: Callable[..., Any]) -> Predict:
    """Give a method the type of `predict`, and let it take older names of its arguments too."""
    rename = accept_old_names(sentences="inputs", activation_fct="activation_fn")
    return cast("Predict", rename(function))


class ModelCard:
    """The object that evaluators report their results to, for a model's README."""

    def set_evaluation_metrics(self, *results: object) -> None:
        """Ignore the results: an evaluator also returns them to its caller."""


class DropIn:
    """Attributes and methods that sentence-transformers' evaluators and their callers expect."""

    device = "cpu"
    model_card_data = ModelCard()

    def evaluate(self, evaluator: Callable[..., Any], output_path: str | None = None) -> Any:
        """Call an evaluator with this model, and return its result.

        Parameters
        ----------
        evaluator : callable
            One of sentence-transformers', or any function of a model and a folder.
        output_path : str
            The folder that the evaluator writes its tables to.
        """
        return evaluator(self, output_path)
