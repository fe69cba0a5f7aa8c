"""Methods of a bi-encoder beside `encode`: similarities, the width of embeddings, the forward.

The names and the order of arguments are those of sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_positive, check_texts
from minisbert.arrays import Array
from minisbert.encoding.batching import check_finite
from minisbert.encoding.drop_in import accept_old_names
from minisbert.encoding.loaded_model import LoadedModel
from minisbert.encoding.module_methods import NetworkModule
from minisbert.encoding.tokenization import TokenIds
from minisbert.model_files.transformer_module import count_positions
from minisbert.network.comparisons import PAIRWISE_SIMILARITIES, SIMILARITIES, name_similarity
from minisbert.network.config import ModelConfig
from minisbert.network.sentence_encoder import sentence_forward, token_forward
from minisbert.system.blas_limits import limit_blas
from minisbert.system.tensors import has_tensors, make_tensors, read_tensors
from minisbert.system.threads import count_threads


class EmbeddingMethods(LoadedModel):
    """The methods of a bi-encoder that need nothing of `encode` but its results."""

    config: ModelConfig

    # Similarities

    @property
    def similarity_fn_name(self) -> str:
        """The similarity by which `similarity` compares: "cosine", "dot", ...

        Assign a name, a member of `SimilarityFunction`, or None for the cosine.
        """
        return self._similarity_fn_name

    @similarity_fn_name.setter
    def similarity_fn_name(self, similarity: object) -> None:
        self._similarity_fn_name = "cosine" if similarity is None else name_similarity(similarity)

    @accept_old_names(a="embeddings1", b="embeddings2")
    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> Array:
        """Compare every embedding of one set with every one of another, by the model's similarity.

        Takes (A, D) and (B, D) arrays (or single vectors), returns (A, B); a tensor if either is a
        tensor.
        """
        return SIMILARITIES[self.similarity_fn_name](embeddings1, embeddings2)

    @accept_old_names(a="embeddings1", b="embeddings2")
    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> Array:
        """Compare embedding i of one set with embedding i of another.  (A, D), (A, D) -> (A,)"""
        return PAIRWISE_SIMILARITIES[self.similarity_fn_name](embeddings1, embeddings2)

    # Width

    @property
    def truncate_dim(self) -> int | None:
        """The number of dimensions that `encode` keeps of each embedding; None for all."""
        return self._truncate_dim

    @truncate_dim.setter
    def truncate_dim(self, truncate_dim: int | None) -> None:
        self._truncate_dim = check_positive("truncate_dim", truncate_dim)

    def get_embedding_dimension(self) -> int:
        """Return the number of dimensions of an embedding, after `truncate_dim`."""
        width = self.config.embedding_width
        return width if self.truncate_dim is None else min(width, self.truncate_dim)

    get_sentence_embedding_dimension = get_embedding_dimension

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Keep only the first `truncate_dim` dimensions, all with None, inside a `with` block."""
        before = self.truncate_dim
        self.truncate_dim = truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    # Tokens and modules

    def token_lengths(self, texts: Iterable[str]) -> Array:
        """Count the tokens of each text, special tokens included, before truncation.

        Returns an (n,) int64 array; `encode` truncates texts longer than `max_seq_length`.
        """
        return self.tokenizer.count(check_texts(texts))

    @property
    def max_seq_length(self) -> int:
        """The most tokens of a text that `encode` reads, special tokens included."""
        return self._max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, tokens: int) -> None:
        self._max_seq_length = self._check_length("max_seq_length", tokens)

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Choose whether the tokens of a prompt take part in the pooling."""
        pooling = replace(self.config.pooling, include_prompt=bool(include_prompt))
        self.config = replace(self.config, pooling=pooling)

    def _list_modules(self) -> list[Any]:
        return [NetworkModule(self), self.config.pooling, *self.config.modules]

    def _tokenize(self, inputs: list[Any]) -> TokenIds:
        return self.tokenizer.encode(check_texts(inputs, "texts"), self.max_seq_length)

    def forward(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Run the model on tokens, as `tokenize` returns them.

        Parameters
        ----------
        features : {"input_ids", "attention_mask"}: (n, T) arrays or tensors

        Returns
        -------
        dict
            The features, with "token_embeddings" (n, T, D) and "sentence_embedding" (n, E); tensors
            if the features are.

        Raises
        ------
        ValueError
            If an id is not one of the model's, or a text is longer than the model reads.
        """
        ids, mask = (read_tensors(features[name]) for name in ("input_ids", "attention_mask"))
        kept = np.asarray(mask, bool)
        texts = [row[used] for row, used in zip(np.asarray(ids), kept, strict=True)]
        bert = self.config.bert
        positions = count_positions(bert)
        for text in texts:
            if not 0 < len(text) <= positions or text.min() < 0 or text.max() >= bert.vocab_size:
                raise ValueError(
                    f"features must be ids below {bert.vocab_size}, from 1 to {positions} in a "
                    "text, got others; take them from tokenize"
                )
        width = bert.hidden_size
        vectors = np.zeros((*kept.shape, width), np.float32)
        sentences = np.empty((len(texts), self.config.embedding_width), np.float32)
        with limit_blas(count_threads(self.threads)):
            if texts:
                with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                    tokens = self._embed_tokens(texts)
                    sentences = self._embed(texts, skip=0)
                for results in (tokens, sentences):
                    check_finite(results, range(len(texts)), self.model_directory)
                vectors[kept] = np.concatenate(tokens)
        found = {"token_embeddings": vectors, "sentence_embedding": sentences}
        if has_tensors(features["input_ids"]):
            found = make_tensors(found)
        return {**features, **found}

    __call__ = forward

    def _embed(self, token_ids: Sequence[Array], skip: int) -> Array:
        """Run the network and the modules after it on one batch of B sentences.  -> (B, D)"""
        return self._run(
            lambda parameters, batch: sentence_forward(parameters, self.config, batch, skip=skip),
            token_ids,
        )

    def _embed_tokens(self, token_ids: Sequence[Array]) -> list[Array]:
        """Run the network alone on one batch of B sentences.  -> B of (T, D)"""
        vectors = self._run(
            lambda parameters, batch: token_forward(parameters, self.config, batch), token_ids
        )
        ends = np.cumsum([len(ids) for ids in token_ids])
        # Copies, so that keeping one sentence doesn't keep the whole batch in memory.
        return [sentence.copy() for sentence in np.split(vectors, ends[:-1])]
