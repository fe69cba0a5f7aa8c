"""Types of `encode` and `predict`: their options, and the shape of the result by the arguments.

For type checkers only: at run time nothing imports this file.
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

Array1D = np.ndarray[tuple[int], np.dtype[Any]]
Array2D = np.ndarray[tuple[int, int], np.dtype[Any]]


class RunOptions(TypedDict, total=False):
    """Options of `encode` and `predict`."""

    batch_size: int | None
    show_progress_bar: bool | None
    convert_to_numpy: Literal[True]
    convert_to_tensor: Literal[False]
    device: Any
    pool: dict[str, Any] | None
    chunk_size: int | None
    on_truncate: OnTruncate
    threads: int | None


class EncodeOptions(RunOptions, total=False):
    """Options of `encode`, apart from the one that changes the type of the result."""

    precision: Precision | None
    normalize_embeddings: bool
    truncate_dim: int | None


class SentenceOptions(EncodeOptions, total=False):
    """Options that give one vector for each text."""

    output_value: Literal["sentence_embedding"]


class TokenOptions(EncodeOptions, total=False):
    """Options that give one vector for each token."""

    output_value: Required[Literal["token_embeddings"]]


class WholeOptions(EncodeOptions, total=False):
    """Options that give a dict for each text."""

    output_value: Required[None]


class PredictOptions(RunOptions, total=False):
    """Options of `predict`."""

    activation_fn: str | Callable[[Array], Array] | None
    apply_softmax: bool
    return_logits: bool


class Encode(Protocol):
    """The type of `encode`, `encode_query` and `encode_document`.

    A str is also an iterable of str: where two overloads match, the first one counts.
    """

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[SentenceOptions],
    ) -> Array1D: ...

    @overload
    def __call__(
        self,
        inputs: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[SentenceOptions],
    ) -> Array2D: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[TokenOptions],
    ) -> Array2D: ...

    @overload
    def __call__(
        self,
        inputs: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[TokenOptions],
    ) -> list[Array2D]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        inputs: str,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[WholeOptions],
    ) -> dict[str, Array]: ...

    @overload
    def __call__(
        self,
        inputs: Iterable[str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[WholeOptions],
    ) -> list[dict[str, Array]]: ...


class Predict(Protocol):
    """The type of `predict`: a score for each pair, or a row with a score for each label."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        inputs: tuple[str, str],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[PredictOptions],
    ) -> np.float32 | Array1D: ...

    @overload
    def __call__(
        self,
        inputs: Iterable[Sequence[str]],
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        **options: Unpack[PredictOptions],
    ) -> Array1D | Array2D: ...


class BiEncoder(Protocol):
    """The attributes of a `SentenceTransformer` that functions of lower rooms use."""

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
