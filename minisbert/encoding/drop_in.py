"""What code written for sentence-transformers says besides: old names, hub options, a model card.

Nothing of it is accepted in silence: an argument does what it says, or is refused with the reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from minisbert.arguments import check_positive

if TYPE_CHECKING:
    from minisbert.encoding.signatures import Encode, Predict

Function = TypeVar("Function", bound=Callable[..., Any])

# What sentence-transformers takes when it loads a model, and what to do here instead.
NOT_TAKEN = {
    "backend": "there is one, NumPy",
    "cache_folder": "MINISBERT_HOME names the folder where fetched models lie",
    "config_kwargs": "edit config.json, which is read as it stands",
    "default_prompt_name": "pass prompt to predict",
    "keep_in_fp32_modules": "everything is float32",
    "model_card_data": "a saved model's README is written by `save`",
    "model_kwargs": "there is no transformers model to pass them to",
    "modules": "give the directory of a model, whose modules.json names them",
    "prompts": "pass prompt to predict",
    "processor_kwargs": "set max_seq_length or max_length; the tokenizer's files say the rest",
    "revision": "fetch that revision yourself and give its directory",
    "token": "fetch the model yourself and give its directory",
    "tokenizer_kwargs": "set max_seq_length or max_length; the tokenizer's files say the rest",
    "trust_remote_code": "no code that comes with a model is ever run",
    "use_auth_token": "fetch the model yourself and give its directory",
}


def refuse_others(owner: str, others: Mapping[str, object]) -> None:
    """Refuse arguments that a model can't be loaded with, unless they ask for nothing.

    Raises TypeError for one that nobody knows, ValueError for one of sentence-transformers'.
    """
    for name, value in others.items():
        if name not in NOT_TAKEN:
            raise TypeError(f"{owner} got an unexpected argument {name!r}; leave it out")
        if value:
            # Its type alone: a token must not get into a log.
            raise ValueError(
                f"{name} must be left out, got a {type(value).__name__}; {NOT_TAKEN[name]}"
            )


def accept_old_names(**names: str) -> Callable[[Function], Function]:
    """Let callers name arguments as older versions of sentence-transformers did: old="new"."""

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
    """Let a method take its texts as `sentences` too; its types are those of `Encode`."""
    return cast("Encode", accept_old_names(sentences="inputs")(function))


def predict_method(function: Callable[..., Any]) -> Predict:
    """The same for pairs of texts, and for `activation_fct`."""
    rename = accept_old_names(sentences="inputs", activation_fct="activation_fn")
    return cast("Predict", rename(function))


class ModelCard:
    """Where sentence-transformers' evaluators note what they found."""

    def set_evaluation_metrics(self, *findings: object) -> None:
        """Note nothing: who calls an evaluator gets its findings anyway."""


class DropIn:
    """What sentence-transformers' evaluators, and those who call them, ask of any model."""

    device = "cpu"
    model_card_data = ModelCard()

    def evaluate(self, evaluator: Callable[..., Any], output_path: str | None = None) -> Any:
        """Return what an evaluator finds of this model.

        Parameters
        ----------
        evaluator : callable
            One of sentence-transformers', or any function of a model and a folder.
        output_path : str
            The folder to write its tables to.
        """
        return evaluator(self, output_path)


class DropInEncoder(DropIn):
    """The same of a model of embeddings."""

    truncate_dim: int | None

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Keep only the first so many dimensions, all with None, inside a `with` block."""
        check_positive("truncate_dim", truncate_dim)
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings
