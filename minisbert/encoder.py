"""The bi-encoder: texts in, one vector each out, so that a cosine tells how alike they mean.

Tokenise everything, sort by length, run ragged batches through BERT, pool, and give the vectors
back in the order of the texts. Names and argument order are those of sentence-transformers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

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
from minisbert.encoding.drop_in import DropInEncoder, encode_method, refuse_others
from minisbert.encoding.explain import Explanation, explain
from minisbert.encoding.finishing import check_output, finish_embeddings
from minisbert.encoding.prompts import (
    DOCUMENT,
    QUERY,
    choose_prompt,
    count_prompt_tokens,
    find_prompt,
    merge_prompts,
    name_prompt,
)
from minisbert.encoding.streaming import CHUNK, encode_iter, encode_to_file
from minisbert.encoding.tokenization import Tokenizer
from minisbert.model_files.configs import override_reading, read_model_config
from minisbert.model_files.hub import resolve_model
from minisbert.model_files.saving import save_sentence_transformer
from minisbert.model_files.weights import load_dense, load_parameters
from minisbert.network.config import DenseConfig, NormalizeConfig, measure_width, parameter_shapes
from minisbert.network.matrices import ArrangedParameters
from minisbert.network.ragged import join_sentences
from minisbert.network.sentence_encoder import embed_forward, token_forward
from minisbert.network.similarity import PAIRWISE_SIMILARITIES, SIMILARITIES
from minisbert.search.quantization import Precision
from minisbert.system.threads import count_threads


class SentenceTransformer(DropInEncoder):
    """A sentence-embedding model, loaded from a sentence-transformers directory.

    Parameters
    ----------
    model_name_or_path : str or path
        A directory, which never touches the network, or a model's name (see `model_files.hub`).
    device : None or "cpu"
    prompts : mapping of str to str
        Texts put in front of every input, by name; they replace the model's own of that name.
    default_prompt_name : str
    similarity_fn_name : "cosine", "dot", "euclidean" or "manhattan"
    truncate_dim : int
        Keep only the first so many dimensions.
    local_files_only : bool
        Don't fetch a named model, but raise FileNotFoundError if it is not on this machine.
    threads : int
        Cores to use; all that the process may use if left out.
    pooling : "cls", "mean", "max" or another key of `minisbert.network.pooling.POOLINGS`
        Instead of the model's own, to see what it is worth.
    blocks : int
        Run only the first so many blocks; with 0 the rows of the word table are pooled as they are.
    **others
        Other arguments of sentence-transformers are refused, each with the reason.

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
        prompts: Mapping[str, str | None] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: str | None = None,
        truncate_dim: int | None = None,
        local_files_only: bool = False,
        threads: int | None = None,
        pooling: str | None = None,
        blocks: int | None = None,
        **others: None,
    ) -> None:
        refuse_others("SentenceTransformer", others)
        check_device(device)
        count_threads(threads)
        self.model_directory: Path = resolve_model(model_name_or_path, not local_files_only)
        whole = read_model_config(self.model_directory)
        self.config = override_reading(whole, pooling, blocks)
        self.prompts = merge_prompts(self.config.prompts, prompts)
        self.default_prompt_name = default_prompt_name or self.config.default_prompt_name
        if self.default_prompt_name is not None:
            find_prompt(self.prompts, self.default_prompt_name)
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

    get_sentence_embedding_dimension = get_embedding_dimension

    def token_lengths(self, texts: Iterable[str]) -> Array:
        """Count the tokens of each text, special tokens included, nothing cut.

        Returns an (n,) int64 array; texts longer than `max_seq_length` would be cut by `encode`.
        """
        return self.tokenizer.count(check_texts(texts))

    @encode_method
    def encode(
        self,
        inputs: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: Literal["sentence_embedding", "token_embeddings"] = "sentence_embedding",
        precision: Precision | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        *,
        on_truncate: OnTruncate = "warn",
        threads: int | None = None,
    ) -> Any:
        """Turn texts into embeddings.

        Parameters
        ----------
        inputs : str or iterable of str
            An empty or blank text is fine: it is read as its special tokens alone.
        prompt_name, prompt : str
            Text put in front of every input, by name or itself; `prompt` wins.
        batch_size : int
            The most texts in a batch. Unlike sentence-transformers' 32 the default is none:
            batches are cut by tokens, `minisbert.encoding.batching.TOKEN_BUDGET` each.
        show_progress_bar : bool
            By default a bar appears for long work on a terminal.
        output_value : "sentence_embedding" or "token_embeddings"
            One vector a text, or the network's own, one a token, special tokens included.
        precision : "float32", "int8", "uint8", "binary" or "ubinary"
            See `quantize_embeddings`, which takes ranges that these texts alone don't give.
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
            With another precision of its type; with token embeddings a (T, D) float32 array for one
            str, else a list of n.

        Raises
        ------
        TypeError
            If an input is not a str (the message names its index), or tensors are asked for.
        ValueError
            If an option has no such value, or goes with no other that is given; if a text is too
            long and `on_truncate="error"`.
        """
        check_run_options(batch_size, convert_to_numpy, convert_to_tensor, device, on_truncate)
        workers = count_threads(self.threads if threads is None else threads)
        single = isinstance(inputs, str)
        texts = check_texts([inputs] if isinstance(inputs, str) else inputs)
        check_output(output_value, precision, normalize_embeddings, truncate_dim, len(texts))

        prompt = choose_prompt(self.prompts, self.default_prompt_name, prompt_name, prompt)
        tokens = self.tokenizer.encode([prompt + text for text in texts], self.max_seq_length)
        report_truncation(tokens.lengths, self.max_seq_length, on_truncate)
        embed: Callable[[Sequence[Array]], Iterable[Array]] = self._embed_tokens
        rows: Any = [None] * len(texts)
        if output_value == "sentence_embedding":
            skip = count_prompt_tokens(self.tokenizer, self.config.modules[0], prompt)
            embed = partial(self._embed, skip=skip)
            rows = np.empty((len(texts), self._width), np.float32)
        fill_rows(
            rows,
            lambda indices: embed([tokens.ids[i] for i in indices]),
            np.minimum(tokens.lengths, self.max_seq_length),
            threads=workers,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
        )
        if output_value == "sentence_embedding":
            rows = finish_embeddings(
                rows,
                self.truncate_dim if truncate_dim is None else truncate_dim,
                normalize_embeddings,
                precision,
                unit=isinstance(self.config.modules[-1], NormalizeConfig),
            )
        return rows[0] if single else rows

    @encode_method
    def encode_query(
        self,
        inputs: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """`encode` with the model's prompt for queries, if it has one and no other is given."""
        prompt_name = name_prompt(self.prompts, QUERY, prompt_name, prompt)
        return self.encode(inputs, prompt_name, prompt, **options)

    @encode_method
    def encode_document(
        self,
        inputs: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> Any:
        """`encode` with the model's prompt for documents, if it has one and no other is given.

        The first of the prompts "document", "passage" and "corpus" that is not empty is used.
        (sentence-transformers stops at the first that *exists*, and "document" always does.)
        """
        prompt_name = name_prompt(self.prompts, DOCUMENT, prompt_name, prompt)
        return self.encode(inputs, prompt_name, prompt, **options)

    def encode_iter(
        self, texts: Iterable[str], chunk: int = CHUNK, **options: Any
    ) -> Iterator[Array]:
        """Yield the embedding of each text while they come: see `streaming.encode_iter`."""
        return encode_iter(self, texts, chunk, **options)

    def encode_to_file(
        self,
        texts: Iterable[str],
        path: str | os.PathLike[str],
        resume: bool = True,
        chunk: int = CHUNK,
        **options: Any,
    ) -> Array:
        """Write embeddings into a .npy file, or go on with it: see `streaming.encode_to_file`."""
        return encode_to_file(self, texts, path, resume, chunk, **options)

    def explain(self, a: str, b: str) -> Explanation:
        """Take the similarity of two texts apart, by pairs of tokens: see `explain.explain`."""
        return explain(self, a, b)

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

    def _embed_tokens(self, token_ids: Sequence[Array]) -> list[Array]:
        """Run the network alone on one batch of B sentences.  -> B of (T, D)"""
        batch = join_sentences(token_ids)
        parameters = self._arranged.choose(len(batch.token_ids))
        vectors = token_forward(parameters, self.config, batch)
        ends = np.cumsum([len(ids) for ids in token_ids])
        # Copies, so that who keeps one sentence doesn't keep the batch.
        return [sentence.copy() for sentence in np.split(vectors, ends[:-1])]
