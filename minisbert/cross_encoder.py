"""The cross-encoder: two texts through the network together, one score out.

Every token of one text attends to every token of the other, unlike in a bi-encoder, which compares
two finished embeddings. But the network runs once for every *pair* of texts, while a bi-encoder
runs it once for every text. `tokenization.py` joins a pair into one input,
`network/heads.py` is the network. Names and defaults are those of sentence-transformers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minisbert.arguments import (
    OnTruncate,
    check_pairs,
    check_positive,
    check_run_options,
    check_texts,
    check_whole_number,
    report_truncation,
    shorten,
    warn_caller,
)
from minisbert.arrays import Array
from minisbert.encoding.batching import fill_rows
from minisbert.encoding.drop_in import (
    accept_old_names,
    count_workers,
    name_positions,
    predict_method,
)
from minisbert.encoding.loaded_model import LoadedModel
from minisbert.encoding.prompts import choose_prompt
from minisbert.encoding.score_activations import (
    ScoreActivation,
    find_score_activation,
    name_score_activation,
)
from minisbert.encoding.tokenization import TokenIds
from minisbert.model_files.head_files import (
    has_head,
    load_head,
    make_head,
    read_cross_encoder_config,
)
from minisbert.model_files.saving import check_labels, save_cross_encoder
from minisbert.model_files.weights import load_parameters
from minisbert.network.heads import CrossEncoderConfig, pair_forward
from minisbert.network.layers import softmax_forward
from minisbert.system.regular_files import shorten_path
from minisbert.system.tensors import check_tensors, convert_output

# A head of more labels than this can't have been meant: its rows alone would take gigabytes.
_MOST_LABELS = 1 << 20


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
    prompts : mapping of str to str
        Prompts by name: texts that can be put in front of the first text of every pair. A prompt
        given here replaces the model's own of the same name.
    default_prompt_name : str
        The name of the prompt that `predict` uses by default; the model's own if left out.
    device : None or "cpu"
    cache_folder : str or path
        Look for a named model in this folder alone, and fetch it into it.
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
    _has_modules = False

    @accept_old_names(
        model_name="model_name_or_path",
        default_activation_function="activation_fn",
        cache_dir="cache_folder",
    )
    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: str | ScoreActivation | None = None,
        prompts: Mapping[str, str | None] | None = None,
        default_prompt_name: str | None = None,
        device: object = None,
        cache_folder: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        threads: int | None = None,
        fresh_head: int | None = None,
        mapped: bool = True,
        **others: None,
    ) -> None:
        if num_labels is not None:
            num_labels = check_whole_number("num_labels", num_labels, most=_MOST_LABELS)
        if fresh_head is not None:
            fresh_head = check_whole_number("fresh_head", fresh_head, 0, remedy="pass a seed")
        super().__init__(
            model_name_or_path,
            device=device,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
            threads=threads,
            others=others,
        )
        self._load(lambda: self._read_files(num_labels, fresh_head, mapped=mapped))
        self._own_labels = self.config.labels
        self._set_prompts(prompts, default_prompt_name)
        self.activation_fn = activation_fn or self.config.activation
        self.max_length = self.config.max_length if max_length is None else max_length

    def _read_files(self, num_labels: int | None, fresh_head: int | None, *, mapped: bool) -> None:
        """Read configuration, tokenizer and weights, or make a new head."""
        directory = self.model_directory
        if fresh_head is None and num_labels is not None and not has_head(directory):
            fresh_head = 0
            warn_caller(
                f"{shorten_path(directory)} has no classification head, so a new one for "
                f"{num_labels} labels is drawn; its scores mean nothing until it is trained"
            )
        labels = None if fresh_head is None else num_labels or 1
        if num_labels is not None and has_head(directory, num_labels):
            labels = num_labels  # config.json may be silent about it
        self.config = read_cross_encoder_config(directory, labels)
        if num_labels not in (None, self.config.num_labels):
            raise ValueError(
                f"num_labels must be {self.config.num_labels}, as {shorten_path(directory)} has "
                f"it, got {shorten(num_labels)}; leave it out"
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
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | ScoreActivation | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        pool: dict[str, Any] | None = None,
        chunk_size: int | None = None,
        *,
        return_logits: bool = False,
        on_truncate: OnTruncate = "warn",
        threads: int | None = None,
    ) -> Any:
        """Score pairs of texts.

        Parameters
        ----------
        inputs : iterable of pairs, or one pair as a tuple
        prompt_name, prompt : str
            The prompt in front of the first text of every pair, by its name or as text; the text
            takes precedence.
        batch_size : int
            The most pairs in a batch; there is no limit by default: batches are cut by tokens.
        show_progress_bar : bool
            By default a bar appears only on a terminal, and only for many pairs.
        activation_fn : str or callable
            Use this activation instead of the model's own.
        apply_softmax : bool
            Apply a softmax to the scores of several labels, after the activation. The score of a
            single label is not changed.
        convert_to_numpy, convert_to_tensor, device, pool, chunk_size
            As `SentenceTransformer.encode` takes them.
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
            If an input is not a pair of str (its index is named), or torch is missing for tensors.
        ValueError
            If an option is invalid; if a pair is too long and `on_truncate="error"`.
        FloatingPointError
            If the head's output is not finite, as weights with NaN or of enormous size give.
        """
        check_tensors(convert_to_numpy, convert_to_tensor)
        most = check_run_options(batch_size, chunk_size, device=device, on_truncate=on_truncate)
        activation = find_score_activation(activation_fn or self.activation_fn)
        prompt = choose_prompt(
            self.prompts, self.default_prompt_name, prompt_name=prompt_name, prompt=prompt
        )
        single = isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[0], str)
        pairs = [(prompt + a, b) for a, b in check_pairs([inputs] if single else inputs)]
        workers = count_workers(threads, self.threads, pool=pool, device=device)
        tokens = self.tokenizer.encode_pairs(pairs, self.max_length)
        report_truncation(tokens.lengths, self.max_length, on_truncate, unread=tokens.unread)

        logits = np.empty((len(pairs), self.num_labels), np.float32)
        fill_rows(
            logits,
            lambda indices: self._score(tokens, indices),
            np.minimum(tokens.lengths, self.max_length),
            model=self.model_directory,
            threads=workers,
            batch_size=most,
            show_progress_bar=show_progress_bar,
        )
        scores = logits if return_logits else activation(logits)
        if self.num_labels == 1:
            scores = scores[:, 0]
        elif apply_softmax and not return_logits:
            scores = softmax_forward(scores)
        output = convert_output(scores, convert_to_numpy, convert_to_tensor)
        return output[0] if single else output

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        *others: Any,
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
        *others, **options
            Options of `predict`, from `prompt_name` on.

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
        options = dict(**name_positions("rank", others), **options)
        return_logits = options.pop("return_logits", False)
        activation = find_score_activation(options.pop("activation_fn", None) or self.activation_fn)
        if options.pop("convert_to_tensor", False) or options.pop("apply_softmax", False):
            raise ValueError(
                "convert_to_tensor and apply_softmax must be left out, got one of them; a ranking "
                "holds numbers, and its models have one label"
            )
        options.pop("convert_to_numpy", True)
        pairs = [(query, text) for text in texts]
        logits = self.predict(inputs=pairs, return_logits=True, **options)
        # A copy, since the caller's function may overwrite its argument.
        scores = logits if return_logits else activation(logits[:, None].copy())[:, 0]
        order = np.argsort(-logits, kind="stable")[:top_k]
        return [
            {"corpus_id": int(row), "score": float(scores[row])}
            | ({"text": texts[row]} if return_documents else {})
            for row in order
        ]

    @property
    def num_labels(self) -> int:
        """The number of outputs."""
        return self.config.num_labels

    @property
    def label_names(self) -> list[str]:
        """The names of the outputs, such as "entailment": the values of `config.id2label`."""
        return list(self.config.id2label.values())

    @label_names.setter
    def label_names(self, names: Sequence[str]) -> None:
        self.config = replace(self.config, labels=check_labels(names, self.num_labels))

    @property
    def activation_fn(self) -> ScoreActivation:
        """The function that turns logits into scores; assign it, its name, or a torch module."""
        return self._activation_fn

    @activation_fn.setter
    def activation_fn(self, activation: str | ScoreActivation) -> None:
        self._activation_fn = find_score_activation(activation)

    default_activation_function = activation_fn

    @property
    def max_length(self) -> int:
        """The most tokens of a pair that `predict` reads, special tokens included."""
        return self._max_length

    @max_length.setter
    def max_length(self, tokens: int) -> None:
        self._max_length = self._check_length("max_length", tokens)

    max_seq_length = max_length

    @property
    def model(self) -> CrossEncoder:
        """The model itself, whose `config` has the labels as that of a transformers model has."""
        return self

    def _tokenize(self, inputs: list[Any]) -> TokenIds:
        return self.tokenizer.encode_pairs(check_pairs(inputs), self.max_length)

    def _write_directory(self, path: str | os.PathLike[str], made_by: str | None) -> None:
        config = replace(
            self.config,
            max_length=self.max_length,
            activation=name_score_activation(self.activation_fn),
            prompts=self._check_prompts(),
            default_prompt_name=self.default_prompt_name,
        )
        save_cross_encoder(
            path,
            self.model_directory,
            config,
            parameters=self.parameters,
            made_by=made_by,
            labels=None if config.labels == self._own_labels else config.labels,
        )

    def _score(self, tokens: TokenIds, indices: Array) -> Array:
        """Return the logits of one batch of B pairs.  -> (B, labels)"""
        types = tokens.types and [tokens.types[i] for i in indices]
        ids = [tokens.ids[i] for i in indices]
        return self._run(lambda arrays, batch: pair_forward(arrays, self.config, batch), ids, types)
