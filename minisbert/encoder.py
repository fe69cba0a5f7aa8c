"""The bi-encoder: texts in, one embedding each out; similar texts have similar embeddings.

`encode` tokenises all texts, sorts them by length, runs ragged batches through BERT, pools the
token vectors, and returns the embeddings in the order of the texts. Names and the order of
arguments are those of sentence-transformers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from minisbert.arguments import OnTruncate, check_run_options, check_texts, report_truncation
from minisbert.arrays import Array
from minisbert.encoding.batching import fill_rows
from minisbert.encoding.drop_in import count_workers, encode_method, name_positions
from minisbert.encoding.embedding_methods import EmbeddingMethods
from minisbert.encoding.explain import Explanation, explain
from minisbert.encoding.finishing import (
    OutputValue,
    check_output_options,
    describe_output,
    finish_embeddings,
)
from minisbert.encoding.prompts import (
    DOCUMENT_NAMES,
    QUERY_NAMES,
    choose_prompt,
    choose_prompt_name,
    count_prompt_tokens,
)
from minisbert.encoding.streaming import CHUNK_TEXTS, encode_iter, encode_to_file
from minisbert.model_files.configs import override_reading, read_model_config
from minisbert.model_files.saving import save_sentence_transformer
from minisbert.model_files.weights import load_dense, load_parameters
from minisbert.network.comparisons import SimilarityFunction
from minisbert.network.config import DenseConfig, parameter_shapes
from minisbert.search.quantization import Precision
from minisbert.system.tensors import check_tensors, convert_output


class SentenceTransformer(EmbeddingMethods):
    """A sentence-embedding model, loaded from a sentence-transformers directory.

    Parameters
    ----------
    model_name_or_path : str or path
        A directory, which never touches the network, or a model's name (see `model_files.hub`).
    device : None or "cpu"
    prompts : mapping of str to str
        Prompts by name: texts that can be put in front of every input. A prompt given here replaces
        the model's own of the same name.
    default_prompt_name : str
        The name of the prompt that `encode` uses by default; the model's own if left out.
    similarity_fn_name : "cosine", "dot", "euclidean" or "manhattan"
        How `similarity` compares; the model's own if left out.
    truncate_dim : int
        Keep only the first `truncate_dim` dimensions of every embedding.
    cache_folder : str or path
        Look for a named model in this folder alone, and fetch it into it.
    local_files_only : bool
        Don't fetch a named model, but raise FileNotFoundError if it is not on this machine.
    threads : int
        Cores to use; all that the process may use if left out.
    pooling : "cls", "mean", "max" or another key of `minisbert.network.pooling.POOLINGS`
        Use this pooling instead of the model's own, to compare poolings.
    blocks : int
        Run only the first `blocks` blocks; with 0 the rows of the word table are pooled directly.
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
        If a file or an argument is wrong, or the model is of a kind that can't be run.
    """

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        device: object = None,
        prompts: Mapping[str, str | None] | None = None,
        default_prompt_name: str | None = None,
        similarity_fn_name: str | SimilarityFunction | None = None,
        truncate_dim: int | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        threads: int | None = None,
        pooling: str | None = None,
        blocks: int | None = None,
        mapped: bool = True,
        **others: None,
    ) -> None:
        super().__init__(
            model_name_or_path,
            device=device,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
            threads=threads,
            others=others,
        )
        self._load(lambda: self._read_files(pooling, blocks, mapped=mapped))
        self._set_prompts(prompts, default_prompt_name)
        self.similarity_fn_name = (
            self.config.similarity_fn_name if similarity_fn_name is None else similarity_fn_name
        )
        self.truncate_dim = self.config.truncate_dim if truncate_dim is None else truncate_dim
        self.max_seq_length = self.config.max_seq_length

    def _read_files(self, pooling: str | None, blocks: int | None, *, mapped: bool) -> None:
        """Read configuration, tokenizer and weights."""
        whole = read_model_config(self.model_directory)
        self.config = override_reading(whole, pooling, blocks)
        network_directory = self.model_directory / self.config.transformer_path
        self.tokenizer = self._load_tokenizer(network_directory)
        stored = load_parameters(network_directory, whole.bert, mapped=mapped)
        parameters = {name: stored[name] for name in parameter_shapes(self.config.bert)}
        for module in self.config.modules:
            if isinstance(module, DenseConfig):
                dense = load_dense(self.model_directory, module, mapped=mapped)
                parameters |= {f"{module.path}.{name}": dense[name] for name in dense}
        self.parameters = parameters

    @encode_method
    def encode(
        self,
        inputs: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: OutputValue | None = "sentence_embedding",
        precision: Precision | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: dict[str, Any] | None = None,
        chunk_size: int | None = None,
        *,
        on_truncate: OnTruncate = "warn",
        threads: int | None = None,
    ) -> Any:
        """Turn texts into embeddings.

        Parameters
        ----------
        inputs : str or iterable of str
            Empty and blank texts are allowed: their embeddings are those of the special tokens.
        prompt_name, prompt : str
            The prompt for every input, by its name or as text; the text takes precedence.
        batch_size : int
            The most texts in a batch. By default there is no limit (sentence-transformers' is 32),
            and a batch holds about `minisbert.encoding.batching.TOKEN_BUDGET` tokens.
        show_progress_bar : bool
            By default a bar appears only on a terminal, and only for many texts.
        output_value : "sentence_embedding", "token_embeddings" or None
            One vector for each text, or one for each of its tokens, special tokens included, as the
            network gives them before pooling. None for both, in a dict for each text.
        precision : "float32", "int8", "uint8", "binary" or "ubinary"
            The type of the result. Types other than float32 are smaller and lose precision (see
            `quantize_embeddings`, which can take its ranges from other texts than these).
            `FlatIndex(..., codes="int8")` is something else: it keeps the float32 embeddings, and
            its codes make a search faster without changing the result.
        convert_to_numpy, convert_to_tensor : bool
            With `convert_to_tensor` the result is a tensor; with neither, a list of tensors. Torch
            must have been imported.
        device : None, "cpu", or a list of it
            With a list, a thread for each.
        normalize_embeddings : bool
            Scale every embedding to length 1 (many models do so anyway).
        truncate_dim : int
            Keep the first `truncate_dim` dimensions, without scaling to length 1 again.
        pool : dict
            As `start_multi_process_pool` returns it: a thread for each of its workers.
        chunk_size : int
            The most texts that a worker takes at a time, so that with `batch_size` the smaller of
            the two limits a batch.
        on_truncate : "warn", "error" or "ignore"
            What to do when a text is longer than `max_seq_length` tokens and would lose its end.
        threads : int
            Cores to use for this call.

        Returns
        -------
        (D,) float32 array for one str, else (n, D) float32 array
            With another `precision` the array has that type. With token embeddings: a (T, D)
            float32 array for one str, else a list of n of them. With `output_value=None`: a dict
            with "input_ids", "attention_mask", "token_embeddings" and "sentence_embedding", or a
            list of n.

        Raises
        ------
        TypeError
            If an input is not a str (the message names its index), or tensors are asked for where
            torch has not been imported.
        ValueError
            If an option is invalid or can't be combined with another; if a text is too long and
            `on_truncate="error"`.
        FloatingPointError
            If a result is not finite, as weights with NaN or of enormous size give.
        """
        check_tensors(convert_to_numpy, convert_to_tensor)
        most = check_run_options(batch_size, chunk_size, device=device, on_truncate=on_truncate)
        workers = count_workers(threads, self.threads, pool=pool, device=device)
        single = isinstance(inputs, str)
        texts = check_texts([inputs] if isinstance(inputs, str) else inputs)
        check_output_options(
            len(texts),
            output_value=output_value,
            precision=precision,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
        )

        # 1. texts to token ids
        prompt = choose_prompt(
            self.prompts, self.default_prompt_name, prompt_name=prompt_name, prompt=prompt
        )
        tokens = self.tokenizer.encode([prompt + text for text in texts], self.max_seq_length)
        report_truncation(tokens.lengths, self.max_seq_length, on_truncate, unread=tokens.unread)
        # 2. token ids to vectors, in batches
        run = partial(
            fill_rows,
            lengths=np.minimum(tokens.lengths, self.max_seq_length),
            model=self.model_directory,
            threads=workers,
            batch_size=most,
            show_progress_bar=show_progress_bar,
        )
        vectors: list[Any] = [None] * len(texts)
        if output_value != "sentence_embedding":
            run(vectors, lambda indices: self._embed_tokens([tokens.ids[i] for i in indices]))
        rows = np.empty((len(texts), self.config.embedding_width), np.float32)
        if output_value != "token_embeddings":
            skip = count_prompt_tokens(
                self.tokenizer, self.config.pooling, prompt, max_length=self.max_seq_length
            )
            run(rows, lambda indices: self._embed([tokens.ids[i] for i in indices], skip))
            # 3. the steps after the network
            rows = finish_embeddings(
                rows,
                truncate_dim=self.truncate_dim if truncate_dim is None else truncate_dim,
                normalize=normalize_embeddings,
                precision=precision,
                unit=self.config.ends_in_normalize,
            )
        output: Any = rows if output_value == "sentence_embedding" else vectors
        if output_value is None:
            output = [
                describe_output(*found) for found in zip(tokens.ids, vectors, rows, strict=True)
            ]
        output = convert_output(output, convert_to_numpy, convert_to_tensor)
        return output[0] if single else output

    @encode_method
    def encode_query(
        self,
        inputs: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        *others: Any,
        **options: Any,
    ) -> Any:
        """Encode with the model's prompt for queries, if it has one and no other is given."""
        prompt_name = choose_prompt_name(
            self.prompts, QUERY_NAMES, prompt_name=prompt_name, prompt=prompt
        )
        named = name_positions("encode", others)
        return self.encode(
            inputs=inputs, prompt_name=prompt_name, prompt=prompt, **named, **options
        )

    @encode_method
    def encode_document(
        self,
        inputs: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        *others: Any,
        **options: Any,
    ) -> Any:
        """Encode with the model's prompt for documents, if it has one and no other is given.

        The first of the prompts "document", "passage" and "corpus" that is not empty is used.
        (sentence-transformers stops at the first that *exists*, and "document" always does.)
        """
        prompt_name = choose_prompt_name(
            self.prompts, DOCUMENT_NAMES, prompt_name=prompt_name, prompt=prompt
        )
        named = name_positions("encode", others)
        return self.encode(
            inputs=inputs, prompt_name=prompt_name, prompt=prompt, **named, **options
        )

    def encode_multi_process(self, sentences: Iterable[str], pool: Any, **options: Any) -> Any:
        """Encode with the threads of a pool, as `encode(sentences, pool=pool)` does."""
        return self.encode(sentences, pool=pool, **options)

    def encode_iter(
        self, texts: Iterable[str], chunk: int = CHUNK_TEXTS, **options: Any
    ) -> Iterator[Array]:
        """Yield the embedding of each text of a stream: see `encoding.streaming.encode_iter`."""
        return encode_iter(self, texts, chunk, **options)

    def encode_to_file(
        self,
        texts: Iterable[str],
        path: str | os.PathLike[str],
        resume: bool = True,
        chunk: int = CHUNK_TEXTS,
        **options: Any,
    ) -> Array:
        """Write embeddings to a .npy file, or resume: see `encoding.streaming.encode_to_file`."""
        return encode_to_file(self, texts, path, resume=resume, chunk=chunk, **options)

    def explain(self, a: str, b: str) -> Explanation:
        """Split the similarity of two texts by pairs of tokens: see `encoding.explain.explain`."""
        return explain(self, a, b)

    def _write_directory(self, path: str | os.PathLike[str], made_by: str | None) -> None:
        config = replace(
            self.config,
            max_seq_length=self.max_seq_length,
            prompts=self._check_prompts(),
            default_prompt_name=self.default_prompt_name,
            similarity_fn_name=self.similarity_fn_name,
            truncate_dim=self.truncate_dim,
        )
        save_sentence_transformer(
            path, self.model_directory, config, parameters=self.parameters, made_by=made_by
        )
