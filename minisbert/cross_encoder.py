"""The cross-encoder: two texts through the network together, one score out.

Every token of one text attends to every token of the other, unlike in a bi-encoder, which compares
two finished embeddings. But the network runs once for every *pair* of texts, while a bi-encoder
runs it once for every text. `tokenization.py` joins a pair into one input,
`network/heads.py` is the network. Names and defaults are those of sentence-transformers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minisbert.arguments import (
    OnTruncate,
    check_positive,
    check_rows,
    check_run_options,
    check_texts,
    check_whole_number,
    report_truncation,
    warn_caller,
)
from minisbert.arrays import Array
from minisbert.encoding.batching import fill_rows
from minisbert.encoding.drop_in import accept_old_names, predict_method
from minisbert.encoding.loaded_model import LoadedModel
from minisbert.encoding.prompts import choose_prompt
from minisbert.encoding.tokenization import TokenIds
from minisbert.model_files.class_paths import TORCH_ACTIVATIONS
from minisbert.model_files.head_files import (
    has_head,
    load_head,
    make_head,
    read_cross_encoder_config,
)
from minisbert.model_files.saving import save_cross_encoder
from minisbert.model_files.weights import load_parameters
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.heads import CrossEncoderConfig, pair_forward
from minisbert.network.layers import softmax_forward
from minisbert.system.threads import count_threads
from minisbert.system.whole_reads import read_whole

ScoreActivation = Callable[[Array], Array]  # logits to scores, (n, labels) -> (n, labels)

_SCORE_ACTIVATIONS: dict[str, ScoreActivation] = {
    **{name: activation.forward for name, activation in ACTIVATIONS.items()},
    "softmax": softmax_forward,
}

# The repr of a torch module without settings -> its name here.
_TORCH_MODULES = {f"{torch_class}()": name for torch_class, name in TORCH_ACTIVATIONS.items()}


class CrossEncoder(LoadedModel):
    """A model that scores pairs of texts, loaded from a sequence-classification directory.

    Parameters
    ----------
    model_name_or_path : str or path
        A directory, which never touches the network, or a model's name (see `model_files.hub`).
    num_labels : int
        The number of outputs; that of the model's head if left out, and an error if it differs
        from it. Where there is no head, or with `fresh_head`, the number of outputs of a new one;
        with `fresh_head` it is 1 if left out.
    max_length : int
        The most tokens of a pair, its special tokens included; the model's own if left out.
    activation_fn : str or callable
        Turns logits into scores: "sigmoid", "identity", ..., or a function of a float32 array. For
        a torch module, such as Sigmoid(), the function of that name here is used. If left out, the
        one that the directory names, else the sigmoid for one label and the identity for several.
    device : None or "cpu"
    local_files_only : bool
        Don't fetch a named model, but raise FileNotFoundError if it is not on this machine.
    threads : int
        Cores to use; all that the process may use if left out.
    fresh_head : int
        The seed of a new, random head. The directory may then be that of any BERT, such as a
        bi-encoder. Scores mean nothing until the head is trained.
    mapped : bool
        Map the weights, so that they load as they are used and processes share them. With False
        they are read into memory: for storage on which other programs shorten or overwrite files,
        since a map of a file that has become shorter ends the process.
    **others
        Other arguments of sentence-transformers are refused, each with the reason.

    Raises
    ------
    FileNotFoundError
        If the directory is missing or lacks a file.
    ValueError
        If a file or an argument is wrong, or the model has no classification head.
    """

    config: CrossEncoderConfig

    @accept_old_names(model_name="model_name_or_path", default_activation_function="activation_fn")
    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: str | ScoreActivation | None = None,
        device: str | None = None,
        local_files_only: bool = False,
        threads: int | None = None,
        fresh_head: int | None = None,
        mapped: bool = True,
        **others: None,
    ) -> None:
        num_labels = check_positive("num_labels", num_labels)
        if fresh_head is not None:
            fresh_head = check_whole_number("fresh_head", fresh_head, 0, remedy="pass a seed")
        super().__init__(
            model_name_or_path,
            device=device,
            local_files_only=local_files_only,
            threads=threads,
            others=others,
        )
        read_whole(
            self.model_directory, lambda: self._read_files(num_labels, fresh_head, mapped=mapped)
        )
        self.num_labels = self.config.num_labels
        self.activation_fn = _find_score_activation(activation_fn or self.config.activation)
        self.max_length = self.config.max_length if max_length is None else max_length
        # The names of the outputs, for `save`; None for those of the directory.
        self.label_names: Sequence[str] | None = None

    def _read_files(self, num_labels: int | None, fresh_head: int | None, *, mapped: bool) -> None:
        """Read configuration, tokenizer and weights, or make a new head."""
        directory = self.model_directory
        if fresh_head is None and num_labels is not None and not has_head(directory):
            fresh_head = 0
            warn_caller(
                f"{directory} has no classification head, so a new one for {num_labels} labels is "
                "drawn at random; its scores mean nothing until it is trained"
            )
        labels = None if fresh_head is None else num_labels or 1
        if num_labels is not None and has_head(directory, num_labels):
            labels = num_labels  # config.json may be silent about it
        self.config = read_cross_encoder_config(directory, labels)
        if num_labels not in (None, self.config.num_labels):
            raise ValueError(
                f"num_labels must be {self.config.num_labels}, as {directory} has it, "
                f"got {num_labels!r}; leave it out"
            )
        self.tokenizer = self._load_tokenizer(directory)
        # First, since only the weights confirm the sizes of which a fresh head is made.
        network = load_parameters(directory, self.config.bert, mapped=mapped)
        if fresh_head is None:
            head = load_head(directory, self.config, mapped=mapped)
        else:
            head = make_head(directory, self.config, fresh_head, mapped=mapped)
        self.parameters = network | head

    @predict_method
    def predict(
        self,
        inputs: tuple[str, str] | Iterable[Sequence[str]],
        *,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | ScoreActivation | None = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        return_logits: bool = False,
        on_truncate: OnTruncate = "warn",
        threads: int | None = None,
    ) -> Any:
        """Score pairs of texts.

        Parameters
        ----------
        inputs : iterable of pairs, or one pair as a tuple
        prompt : str
            Text to put in front of the first text of every pair.
        batch_size : int
            The most pairs in a batch; there is no limit by default: batches are cut by tokens.
        show_progress_bar : bool
            By default a bar appears only on a terminal, and only for many pairs.
        activation_fn : str or callable
            Use this activation instead of the model's own.
        apply_softmax : bool
            Apply a softmax to the scores of several labels, after the activation. The score of a
            single label is not changed.
        return_logits : bool
            Return the output of the head, without activation or softmax.
        on_truncate : "warn", "error" or "ignore"
            What to do when a pair is longer than `max_length` tokens and its longer text would
            lose its end.
        threads : int
            Cores to use for this call.

        Returns
        -------
        (n,) float32 array for one label, else (n, labels); without the n for a single pair

        Raises
        ------
        TypeError
            If an input is not a pair of str (the message names its index), or tensors are asked
            for.
        ValueError
            If an option is invalid; if a pair is too long and `on_truncate="error"`.
        """
        check_run_options(
            batch_size, convert_to_numpy, convert_to_tensor, device=device, on_truncate=on_truncate
        )
        activation = _find_score_activation(activation_fn or self.activation_fn)
        prompt = choose_prompt({}, None, prompt=prompt)
        single = isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[0], str)
        pairs = [(prompt + a, b) for a, b in _read_pairs([inputs] if single else inputs)]
        workers = count_threads(self.threads if threads is None else threads)
        tokens = self.tokenizer.encode_pairs(pairs, self.max_length)
        report_truncation(tokens.lengths, self.max_length, on_truncate)

        logits = np.empty((len(pairs), self.num_labels), np.float32)
        fill_rows(
            logits,
            lambda indices: self._score(tokens, indices),
            np.minimum(tokens.lengths, self.max_length),
            threads=workers,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
        )
        scores = logits if return_logits else activation(logits)
        if self.num_labels == 1:
            scores = scores[:, 0]
        elif apply_softmax and not return_logits:
            scores = softmax_forward(scores)
        return scores[0] if single else scores

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Sort documents by their scores with a query, best first.

        The order is that of the logits, since an activation can round different logits to one
        score. Ties stay in the order of the documents.

        Parameters
        ----------
        query : str
        documents : iterable of str
        top_k : int
            Return only the `top_k` best; all if left out.
        return_documents : bool
            Whether to include the texts in the result.
        **options
            Options of `predict`.

        Returns
        -------
        list of {"corpus_id": int, "score": float} and, if asked for, "text"

        Raises
        ------
        TypeError
            If the query or a document is not a str.
        ValueError
            If the model has several labels.
        """
        if self.num_labels != 1:
            raise ValueError(
                f"the model must have one label to rank by, got {self.num_labels}; use predict"
            )
        check_positive("top_k", top_k)
        if not isinstance(query, str):
            raise TypeError(
                f"query must be a str, got {type(query).__name__}; pass one query at a time"
            )
        texts = check_texts(documents, "documents")
        return_logits = options.pop("return_logits", False)
        activation = _find_score_activation(
            options.pop("activation_fn", None) or self.activation_fn
        )
        logits = self.predict([(query, text) for text in texts], return_logits=True, **options)
        # A copy, since the caller's function may overwrite its argument.
        scores = logits if return_logits else activation(logits[:, None].copy())[:, 0]
        order = np.argsort(-logits, kind="stable")[:top_k]
        return [
            {"corpus_id": int(row), "score": float(scores[row])}
            | ({"text": texts[row]} if return_documents else {})
            for row in order
        ]

    @property
    def max_length(self) -> int:
        """The most tokens of a pair that `predict` reads, special tokens included."""
        return self._max_length

    @max_length.setter
    def max_length(self, tokens: int) -> None:
        self._max_length = self._check_length("max_length", tokens, least=5)

    def _write_directory(self, path: str | os.PathLike[str], made_by: str) -> None:
        names = [name for name, known in _SCORE_ACTIVATIONS.items() if known is self.activation_fn]
        activation = names[0] if names else repr(self.activation_fn)
        config = replace(self.config, max_length=self.max_length, activation=activation)
        save_cross_encoder(
            path,
            self.model_directory,
            config,
            parameters=self.parameters,
            made_by=made_by,
            labels=self.label_names,
        )

    def _score(self, tokens: TokenIds, indices: Array) -> Array:
        """Return the logits of one batch of B pairs.  -> (B, labels)"""
        types = tokens.types and [tokens.types[i] for i in indices]
        parameters, batch = self._join([tokens.ids[i] for i in indices], types)
        return pair_forward(parameters, self.config, batch)


def _find_score_activation(activation: str | ScoreActivation) -> ScoreActivation:
    """Return the activation as a function; it may be given by name, or as a torch module."""
    name = activation
    if type(activation).__module__.startswith("torch."):
        # A module prints its settings in the brackets; one with settings is refused.
        name = _TORCH_MODULES.get(repr(activation), repr(activation))
    if callable(name):
        return name
    if name not in _SCORE_ACTIVATIONS:
        raise ValueError(
            f"activation_fn must be a function or one of {', '.join(_SCORE_ACTIVATIONS)}, "
            f"got {name!r}; leave it out for the model's own"
        )
    return _SCORE_ACTIVATIONS[name]


def _read_pairs(inputs: Any) -> list[tuple[str, str]]:
    """Return the pairs as a list of tuples; TypeError names the index of anything else."""
    check_rows(
        inputs,
        "inputs",
        "a pair or an iterable of pairs",
        remedy="pass a list of pairs, [(a, b), ...]",
    )
    pairs = list(inputs)
    if len(pairs) == 2 and all(isinstance(text, str) for text in pairs):
        raise TypeError(
            "inputs must be a list of pairs, got a list of two texts; "
            "put the pair in brackets, [(a, b)], or pass it as a tuple"
        )
    for index, pair in enumerate(pairs):
        if (
            isinstance(pair, str)
            or not isinstance(pair, (Sequence, np.ndarray))
            or len(pair) != 2
            or not all(isinstance(text, str) for text in pair)
        ):
            raise TypeError(
                f"inputs must hold only pairs of str, got {type(pair).__name__} "
                f"{str(pair)[:60]!r} at index {index}; give two texts for each"
            )
    return [(first, second) for first, second in pairs]
