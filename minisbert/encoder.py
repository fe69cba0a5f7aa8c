"""The bi-encoder: texts in, one vector each out, so that a cosine tells how alike they mean.

Tokenise everything, sort by length, run ragged batches through BERT, pool, and give the vectors
back in the order of the texts. Names and argument order are those of sentence-transformers.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import (
    LONG_WORK,
    OnTruncate,
    check_conversion,
    check_device,
    check_positive,
    check_truncation,
    progress_bar,
    read_texts,
    report_truncation,
)
from minisbert.arrangement import ArrangedParameters
from minisbert.batching import count_threads, keep_freed_memory, plan_batches, run_batches
from minisbert.config import (
    DenseConfig,
    NormalizeConfig,
    PoolingConfig,
    measure_width,
    parameter_shapes,
)
from minisbert.config_files import override_reading, read_model_config
from minisbert.hub import resolve_model
from minisbert.networks import embed_forward
from minisbert.ragged import Array, join_sentences
from minisbert.saving import save_sentence_transformer
from minisbert.similarity import PAIRWISE_SIMILARITIES, SIMILARITIES, normalize_forward
from minisbert.tokenization import Tokenizer
from minisbert.weights import load_dense, load_parameters


class SentenceTransformer:
    """A sentence-embedding model, loaded from a sentence-transformers directory.

    Parameters
    ----------
    model_name_or_path : str or path
        A directory, which never touches the network, or a model's name (see `minisbert.hub`).
    device : None or "cpu"
    prompts : mapping of str to str
        Texts put in front of every input, by name; they replace the model's own of that name.
    default_prompt_name : str
    similarity_fn_name : "cosine", "dot", "euclidean" or "manhattan"
    truncate_dim : int
        Keep only the first so many dimensions.
    threads : int
        Cores to use; all that the process may use if left out.
    pooling : "cls", "mean", "max" or another key of `minisbert.pooling.POOLINGS`
        Instead of the model's own, to see what it is worth.
    blocks : int
        Run only the first so many blocks; with 0 the rows of the word table are pooled as they are.

    Raises
    ------
    FileNotFoundError, ValueError
        If the directory is missing or not a model that can be run; the sentence says which.
    """

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        device: str | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: str | None = None,
        truncate_dim: int | None = None,
        threads: int | None = None,
        pooling: str | None = None,
        blocks: int | None = None,
    ) -> None:
        check_device(device)
        count_threads(threads)
        self.model_directory: Path = resolve_model(model_name_or_path)
        whole = read_model_config(self.model_directory)
        self.config = override_reading(whole, pooling, blocks)
        self.prompts = {**self.config.prompts, **(prompts or {})}
        self.default_prompt_name = default_prompt_name or self.config.default_prompt_name
        if self.default_prompt_name is not None:
            self._find_prompt(self.default_prompt_name)
        self.similarity_fn_name = similarity_fn_name or self.config.similarity_fn_name
        if self.similarity_fn_name not in SIMILARITIES:
            raise ValueError(
                f"similarity_fn_name must be one of {', '.join(SIMILARITIES)}, "
                f"got {self.similarity_fn_name!r}; leave it out for the model's own"
            )
        self.truncate_dim = self.config.truncate_dim if truncate_dim is None else truncate_dim
        check_positive("truncate_dim", self.truncate_dim)
        self.threads = threads
        self.tokenizer = Tokenizer(
            self.model_directory / self.config.transformer_path, self.config.do_lower_case
        )
        self.tokenizer.check_vocabulary(self.config.bert.vocab_size)
        self._max_seq_length = self.config.max_seq_length
        self._width = measure_width(self.config)
        parameters = load_parameters(
            self.model_directory / self.config.transformer_path, whole.bert
        )
        kept = {name: parameters[name] for name in parameter_shapes(self.config.bert)}
        for module in self.config.modules:
            if isinstance(module, DenseConfig):
                dense = load_dense(self.model_directory, module)
                kept |= {f"{module.path}.{name}": dense[name] for name in dense}
        self._arranged = ArrangedParameters(kept)

    @property
    def parameters(self) -> Mapping[str, Array]:
        """All parameters by name, those of a Dense module under its folder's; set them as a whole.

        They are looked at, not copied: set them again after changing one in place.
        """
        return self._arranged.parameters

    @parameters.setter
    def parameters(self, parameters: Mapping[str, Array]) -> None:
        self._arranged = ArrangedParameters(dict(parameters))

    @property
    def max_seq_length(self) -> int:
        """The most tokens of a text that are read, special tokens included."""
        return self._max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, tokens: int) -> None:
        limit = self.config.bert.max_position_embeddings - self.config.bert.position_offset
        if isinstance(tokens, bool) or not isinstance(tokens, int) or not 3 <= tokens <= limit:
            raise ValueError(
                f"max_seq_length must be a whole number from 3 to {limit}, got {tokens!r}; "
                f"the model has no positions beyond {limit}"
            )
        self._max_seq_length = tokens

    def get_embedding_dimension(self) -> int:
        """The width of an embedding, after `truncate_dim`."""
        return self._width if self.truncate_dim is None else min(self._width, self.truncate_dim)

    def token_lengths(self, texts: Iterable[str]) -> Array:
        """Count the tokens of each text, special tokens included, nothing cut.

        Returns an (n,) int64 array; texts longer than `max_seq_length` would be cut by `encode`.
        """
        return self.tokenizer.count(read_texts(texts))

    def encode(
        self,
        inputs: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: Literal["float32"] = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        *,
        on_truncate: OnTruncate = "warn",
        threads: int | None = None,
    ) -> Array:
        """Turn texts into embeddings.

        Parameters
        ----------
        inputs : str or iterable of str
            An empty or blank text is fine: it is read as its special tokens alone.
        prompt_name, prompt : str
            Text put in front of every input, by name or itself; `prompt` wins.
        batch_size : int
            The most texts in a batch. Unlike sentence-transformers' 32 the default is none:
            batches are cut by tokens, `minisbert.batching.TOKEN_BUDGET` each.
        show_progress_bar : bool
            By default a bar appears for long work on a terminal.
        normalize_embeddings : bool
            Scale every embedding to length 1 (many models do so anyway).
        truncate_dim : int
            Keep the first so many dimensions, without scaling to length 1 again.
        on_truncate : "warn", "error" or "ignore"
            What to do when a text is longer than `max_seq_length` tokens and would lose its end.
        threads : int
            Cores to use for this call.

        Returns
        -------
        (D,) float32 array for one str, else (n, D) float32 array

        Raises
        ------
        TypeError
            If an input is not a str (the message names its index), or tensors are asked for.
        ValueError
            If an option has no such value; if a text is too long and `on_truncate="error"`.
        """
        check_conversion(convert_to_numpy, convert_to_tensor)
        _check_output(output_value, precision)
        check_device(device)
        check_positive("batch_size", batch_size)
        check_positive("truncate_dim", truncate_dim)
        check_truncation(on_truncate)
        keep_freed_memory()
        workers = count_threads(self.threads if threads is None else threads)
        single = isinstance(inputs, str)
        texts = read_texts([inputs] if isinstance(inputs, str) else inputs)

        prompt = self._choose_prompt(prompt_name, prompt)
        if prompt:
            texts = [prompt + text for text in texts]
        tokens = self.tokenizer.encode(texts, self.max_seq_length)
        report_truncation(tokens.lengths, self.max_seq_length, on_truncate)

        skip = self._count_prompt_tokens(prompt)
        embeddings = np.empty((len(texts), self._width), np.float32)
        batches = plan_batches(np.minimum(tokens.lengths, self.max_seq_length), workers, batch_size)
        if show_progress_bar is None:
            show_progress_bar = len(texts) >= LONG_WORK and sys.stderr.isatty()
        with progress_bar(len(texts), show_progress_bar) as advance:
            for indices, vectors in run_batches(
                lambda indices: self._embed([tokens.ids[i] for i in indices], skip),
                batches,
                workers,
                advance,
            ):
                embeddings[indices] = vectors

        truncate_dim = self.truncate_dim if truncate_dim is None else truncate_dim
        if truncate_dim is not None:
            self._warn_of_length(truncate_dim, normalize_embeddings)
            embeddings = np.ascontiguousarray(embeddings[:, :truncate_dim])
        if normalize_embeddings:
            embeddings = normalize_forward(embeddings)
        return embeddings[0] if single else embeddings

    def encode_query(self, inputs: str | Iterable[str], **options: Any) -> Array:
        """`encode` with the model's prompt for queries, if it has one."""
        return self.encode(inputs, **{"prompt_name": "query", **options})

    def encode_document(self, inputs: str | Iterable[str], **options: Any) -> Array:
        """`encode` with the model's prompt for documents, if it has one.

        The first of the prompts "document", "passage" and "corpus" that is not empty is used.
        (sentence-transformers stops at the first that *exists*, and "document" always does.)
        """
        names = [name for name in ("document", "passage", "corpus") if self.prompts.get(name)]
        return self.encode(inputs, **{"prompt_name": (names or ["document"])[0], **options})

    def similarity(self, a: ArrayLike, b: ArrayLike) -> Array:
        """Compare every embedding of `a` with every one of `b`, by the model's own similarity.

        Takes (A, D) and (B, D) arrays (or single vectors), returns (A, B).
        """
        return SIMILARITIES[self.similarity_fn_name](a, b)

    def similarity_pairwise(self, a: ArrayLike, b: ArrayLike) -> Array:
        """Compare embedding i of `a` with embedding i of `b`.  (A, D), (A, D) -> (A,)"""
        return PAIRWISE_SIMILARITIES[self.similarity_fn_name](a, b)

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
            If the model was loaded with `blocks=0`.
        OSError
            If it can't be written; what stood there stays.
        """
        config = replace(
            self.config,
            max_seq_length=self.max_seq_length,
            prompts=self.prompts,
            default_prompt_name=self.default_prompt_name,
            similarity_fn_name=self.similarity_fn_name,
            truncate_dim=self.truncate_dim,
        )
        made_by = made_by or f'SentenceTransformer("{self.model_directory.resolve().name}").save()'
        save_sentence_transformer(path, self.model_directory, config, self.parameters, made_by)

    save_pretrained = save

    def _embed(self, token_ids: Sequence[Array], skip: int) -> Array:
        """Run the network and the modules after it on one batch of B sentences.  -> (B, D)"""
        batch = join_sentences(token_ids)
        parameters = self._arranged.choose(len(batch.token_ids))
        return embed_forward(parameters, self.config, batch, skip)

    def _warn_of_length(self, truncate_dim: int, normalize_embeddings: bool) -> None:
        """Cutting unit vectors leaves shorter ones, which a dot product would not forgive."""
        ends_in_normalize = isinstance(self.config.modules[-1], NormalizeConfig)
        if ends_in_normalize and truncate_dim < self._width and not normalize_embeddings:
            warnings.warn(
                f"embeddings cut to {truncate_dim} dimensions no longer have length 1; "
                "pass normalize_embeddings=True if they should",
                stacklevel=3,
            )

    def _choose_prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        """The text to put in front: the one given, else the one named, else the default one."""
        if prompt is not None:
            if not isinstance(prompt, str):
                raise TypeError(f"prompt must be a str, got {type(prompt).__name__}")
            return prompt
        name = self.default_prompt_name if prompt_name is None else prompt_name
        return "" if name is None else self._find_prompt(name)

    def _find_prompt(self, name: str) -> str:
        if name not in self.prompts:
            raise ValueError(
                f"prompt_name must be one of {', '.join(sorted(self.prompts))}, got {name!r}; "
                "pass prompts={name: text} when loading the model"
            )
        return self.prompts[name]

    def _count_prompt_tokens(self, prompt: str) -> int:
        """How many tokens at the front the pooling leaves out: none unless the model says so."""
        pooling = self.config.modules[0]
        if not prompt or not isinstance(pooling, PoolingConfig) or pooling.include_prompt:
            return 0
        # The prompt's own closing token stands at the end of the text instead.
        return int(self.tokenizer.count([prompt])[0]) - 1


def _check_output(output_value: str, precision: str) -> None:
    if output_value != "sentence_embedding":
        raise ValueError(
            f'output_value must be "sentence_embedding", got {output_value!r}; '
            "other outputs are not supported"
        )
    if precision != "float32":
        raise ValueError(
            f'precision must be "float32", got {precision!r}; quantise the returned array instead'
        )
