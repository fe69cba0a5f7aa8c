"""The cross-encoder: two texts through the network together, one score out.

Every token of one text attends to every token of the other, which no cosine of two vectors can
match; but the network runs once for every *pair*, which is what the bi-encoder was invented to
avoid. Names and defaults are those of sentence-transformers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minisbert.arguments import (
    OnTruncate,
    check_device,
    check_positive,
    check_run_options,
    check_texts,
    report_truncation,
)
from minisbert.arrays import Array
from minisbert.encoding.batching import fill_rows
from minisbert.encoding.drop_in import DropIn, accept_old_names, predict_method, refuse_others
from minisbert.encoding.prompts import choose_prompt
from minisbert.encoding.tokenization import TokenIds, Tokenizer
from minisbert.model_files.head_files import load_head, make_head, read_cross_encoder_config
from minisbert.model_files.hub import resolve_model
from minisbert.model_files.saving import TORCH_PATHS, save_cross_encoder
from minisbert.model_files.weights import load_parameters
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.heads import score_forward
from minisbert.network.layers import softmax_forward
from minisbert.network.matrices import ArrangedParameters
from minisbert.network.ragged import join_sentences
from minisbert.system.threads import count_threads

Activation = Callable[[Array], Array]

SCORE_ACTIVATIONS: dict[str, Activation] = {
    **{name: activation.forward for name, activation in ACTIVATIONS.items()},
    "softmax": softmax_forward,
}

# What people pass to sentence-transformers, as it prints itself.
TORCH_MODULES = {
    "Identity()": "identity",
    "ReLU()": "relu",
    "Sigmoid()": "sigmoid",
    "Tanh()": "tanh",
}


class CrossEncoder(DropIn):
    """A model that scores pairs of texts, loaded from a sequence-classification directory.

    Parameters
    ----------
    model_name_or_path : str or path
        A directory, which never touches the network, or a model's name (see `model_files.hub`).
    num_labels : int
        Only checked: a head has as many outputs as it was trained with. With `fresh_head` it is how
        many to make; 1 if left out.
    max_length : int
        The most tokens of a pair, its three special ones included; the model's own if left out.
    activation_fn : str or callable
        Turns logits into scores: "sigmoid", "identity", ..., or a function of a float32 array; for
        a module of torch, such as Sigmoid(), its namesake here is taken. The model's own if left
        out: the logistic function for one label, none for several, unless the directory says
        otherwise.
    device : None or "cpu"
    local_files_only : bool
        Don't fetch a named model, but raise FileNotFoundError if it is not on this machine.
    threads : int
        Cores to use; all that the process may use if left out.
    fresh_head : int
        The seed of a new head, to be trained: the directory may then be any BERT's, a bi-encoder's
        too. Its scores mean nothing until then.
    **others
        Other arguments of sentence-transformers are refused, each with the reason.

    Raises
    ------
    FileNotFoundError, ValueError
        If the directory is missing or not a model with a classification head.
    """

    @accept_old_names(model_name="model_name_or_path", default_activation_function="activation_fn")
    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: str | Activation | None = None,
        device: str | None = None,
        local_files_only: bool = False,
        threads: int | None = None,
        fresh_head: int | None = None,
        **others: None,
    ) -> None:
        refuse_others("CrossEncoder", others)
        check_device(device)
        check_positive("num_labels", num_labels)
        count_threads(threads)
        self.model_directory = resolve_model(model_name_or_path, not local_files_only)
        fresh_labels = None if fresh_head is None else num_labels or 1
        self.config = read_cross_encoder_config(self.model_directory, fresh_labels)
        self.num_labels = self.config.num_labels
        if num_labels not in (None, self.num_labels):
            raise ValueError(
                f"num_labels must be {self.num_labels}, as {self.model_directory} has it, "
                f"got {num_labels!r}; leave it out"
            )
        self.activation_fn = _find_activation(activation_fn or self.config.activation)
        self.max_length = self.config.max_length if max_length is None else max_length
        # Of the outputs, for `save`; the directory's own if None.
        self.label_names: Sequence[str] | None = None
        self.threads = threads
        self.tokenizer = Tokenizer(self.model_directory, self.config.do_lower_case)
        self.tokenizer.check_vocabulary(self.config.bert.vocab_size)
        if fresh_head is None:
            head = load_head(self.model_directory, self.config)
        else:
            head = make_head(self.model_directory, self.config, fresh_head)
        network = load_parameters(self.model_directory, self.config.bert)
        self._arranged = ArrangedParameters(network | head)

    @property
    def max_length(self) -> int:
        """The most tokens of a pair that are read, special tokens included."""
        return self._max_length

    @max_length.setter
    def max_length(self, tokens: int) -> None:
        limit = self.config.bert.max_position_embeddings - self.config.bert.position_offset
        if not isinstance(tokens, int) or not 5 <= tokens <= limit:
            raise ValueError(
                f"max_length must be a whole number from 5 to {limit}, got {tokens!r}; "
                "three special tokens and one of each text must fit, and no more than the model has"
            )
        self._max_length = tokens

    @property
    def parameters(self) -> Mapping[str, Array]:
        """All parameters by name, the head's too; set them as a whole.

        They are looked at, not copied: set them again after changing one in place.
        """
        return self._arranged.parameters

    @parameters.setter
    def parameters(self, parameters: Mapping[str, Array]) -> None:
        self._arranged = ArrangedParameters(dict(parameters))

    @predict_method
    def predict(
        self,
        inputs: tuple[str, str] | Iterable[Sequence[str]],
        *,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | Activation | None = None,
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
            Text put in front of the first text of every pair.
        batch_size : int
            The most pairs in a batch; by default batches are cut by tokens.
        activation_fn : str or callable
            Instead of the model's own.
        apply_softmax : bool
            Turn the scores of several labels into weights that sum to 1, after the activation; one
            label's stay as they are.
        return_logits : bool
            Return what the head gives, without activation or softmax.
        on_truncate : "warn", "error" or "ignore"
            What to do when a pair is longer than `max_length` tokens and its longer text would
            lose its end.
        threads : int
            Cores to use for this call.

        Returns
        -------
        (n,) float32 array for one label, else (n, labels); for a single pair without the n

        Raises
        ------
        TypeError
            If an input is not a pair of str (the message names its index), or tensors are asked
            for.
        ValueError
            If an option has no such value; if a pair is too long and `on_truncate="error"`.
        """
        check_run_options(batch_size, convert_to_numpy, convert_to_tensor, device, on_truncate)
        activation = _find_activation(activation_fn or self.activation_fn)
        prompt = choose_prompt({}, None, None, prompt)
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
        """Order documents by how well they go with a query, best first.

        The order is that of the logits: an activation can round different ones to one score.
        Equal ones stay in the order of the documents.

        Parameters
        ----------
        query : str
        documents : iterable of str
        top_k : int
            Only so many of the best; all if left out.
        return_documents : bool
            Whether to put the texts into the result.
        **options
            As `predict` takes them.

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
                f"query must be a str, got {type(query).__name__}; rank by one at a time"
            )
        texts = check_texts(documents, "documents")
        return_logits = options.pop("return_logits", False)
        activation = _find_activation(options.pop("activation_fn", None) or self.activation_fn)
        logits = self.predict([(query, text) for text in texts], return_logits=True, **options)
        scores = logits if return_logits else activation(logits[:, None].copy())[:, 0]
        order = np.argsort(-logits, kind="stable")[:top_k]
        return [
            {"corpus_id": int(row), "score": float(scores[row])}
            | ({"text": texts[row]} if return_documents else {})
            for row in order
        ]

    def save(self, path: str | os.PathLike[str], *, made_by: str | None = None) -> None:
        """Write the model as a directory that sentence-transformers reads too, whole or not at all.

        Parameters
        ----------
        path : str or path
            A new or empty directory, or a saved model to replace.
        made_by : str
            The command or call that made the model, for its README; this one if left out.

        Raises
        ------
        FileExistsError
            If there is anything else under that name.
        ValueError
            If `activation_fn` is a function of one's own, which a directory can't name.
        OSError
            If it can't be written; what stood there stays.
        """
        names = [name for name in TORCH_PATHS if _find_activation(name) is self.activation_fn]
        activation = names[0] if names else repr(self.activation_fn)
        config = replace(self.config, max_length=self.max_length, activation=activation)
        made_by = made_by or f'CrossEncoder("{self.model_directory.resolve().name}").save()'
        save_cross_encoder(
            path, self.model_directory, config, self.parameters, made_by, self.label_names
        )

    save_pretrained = save

    def _score(self, tokens: TokenIds, indices: Array) -> Array:
        """The logits of one batch of B pairs.  -> (B, labels)"""
        types = tokens.types and [tokens.types[i] for i in indices]
        batch = join_sentences([tokens.ids[i] for i in indices], types)
        parameters = self._arranged.choose(len(batch.token_ids))
        return score_forward(parameters, self.config, batch)


def _find_activation(activation: str | Activation) -> Activation:
    name = activation
    if type(activation).__module__.startswith("torch."):
        # Its repr has its settings in the brackets, and those with settings are not taken.
        name = TORCH_MODULES.get(repr(activation), repr(activation))
    if callable(name):
        return name
    if name not in SCORE_ACTIVATIONS:
        raise ValueError(
            f"activation_fn must be a function or one of {', '.join(SCORE_ACTIVATIONS)}, "
            f"got {name!r}; leave it out for the model's own"
        )
    return SCORE_ACTIVATIONS[name]


def _read_pairs(inputs: Any) -> list[tuple[str, str]]:
    """A list of the pairs; TypeError naming the first that is none."""
    if isinstance(inputs, (str, bytes)) or not isinstance(inputs, Iterable):
        raise TypeError(
            f"inputs must be a pair or an iterable of pairs, got {type(inputs).__name__}; "
            "pass a list of pairs, [(a, b), ...]"
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
