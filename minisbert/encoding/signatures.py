"""What type checkers know of `encode` and `predict`: options, and the shape of what comes back.

Only they read this file; nothing imports it when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, overload

import numpy as np
from typing_extensions import Required, TypedDict, Unpack

from minisbert.arguments import OnTruncate
from minisbert.arrays import Array
from minisbert.encoding.tokenization import Tokenizer
from minisbert.network.config import ModelConfig
from minisbert.search.quantization import Precision

Vector = np.ndarray[tuple[int], np.dtype[Any]]
Matrix = np.ndarray[tuple[int, int], np.dtype[Any]]


class Options(TypedDict, total=False):
    batch_size: int | None
    show_progress_bar: bool | None
    convert_to_numpy: Literal[True]
    convert_to_tensor: Literal[False]
    device: str | None
    on_truncate: OnTruncate
    threads: int | None


class EncodeOptions(Options, total=False):
    precision: Precision | None
    normalize_embeddings: bool
    truncate_dim: int | None


class SentenceOptions(EncodeOptions, total=False):
    output_value: Literal["sentence_embedding"]


class TokenOptions(EncodeOptions, total=False):
    output_value: Required[Literal["token_embeddings"]]


class PredictOptions(Options, total=False):
    prompt: str | None
    activation_fn: str | Callable[[Array], Array] | None
    apply_softmax: bool
    return_logits: bool


class Encode(Protocol):
    """`encode`, `encode_query` and `encode_document` of a model.

    A str is an iterable of str too: of two signatures that fit, the first holds.
    """

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[SentenceOptions],
    ) -> Vector: ...

    @overload
    def __call__(
        self,
        inputs: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[SentenceOptions],
    ) -> Matrix: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[TokenOptions],
    ) -> Matrix: ...

    @overload
    def __call__(
        self,
        inputs: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[TokenOptions],
    ) -> list[Matrix]: ...


class Predict(Protocol):
    """`predict` of a cross-encoder: a score a pair, or a row of one for each label."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, inputs: tuple[str, str], **options: Unpack[PredictOptions]
    ) -> np.float32 | Vector: ...

    @overload
    def __call__(
        self, inputs: Iterable[Sequence[str]], **options: Unpack[PredictOptions]
    ) -> Vector | Matrix: ...


class BiEncoder(Protocol):
    """What functions ask of a `SentenceTransformer`, which stands above them."""

    config: ModelConfig
    prompts: dict[str, str]
    default_prompt_name: str | None
    similarity_fn_name: str
    truncate_dim: int | None
    tokenizer: Tokenizer

    @property
    def parameters(self) -> Mapping[str, Array]: ...

    @property
    def max_seq_length(self) -> int: ...

    @property
    def encode(self) -> Encode: ...
