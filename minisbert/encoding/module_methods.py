"""Methods that code for sentence-transformers or torch calls on a model that runs on a CPU.

What makes sense without torch is done; what does not is missing, and says why.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minisbert.arguments import check_device, check_rows, shorten
from minisbert.encoding.drop_in import start_pool
from minisbert.encoding.tokenization import TokenIds, Tokenizer
from minisbert.system.tensors import find_torch, make_tensors

_ONLY_CPU = "only CPUs are used"
_FLOAT32 = "everything is float32"
_NO_TORCH = "`parameters` is a mapping of names to arrays"
_NO_NETWORK = "the network is not one of transformers; `config` has its sizes"
_NO_ADAPTER = "merge the adapter into the model before you load it"
_TRAIN = "train with `minisbert.train`"
_UPLOAD = "upload the directory that `save` writes"

# What torch's or sentence-transformers' models have and these have not, and what to do instead.
_MISSING = {
    name: reason
    for reason, names in {
        _ONLY_CPU: "cuda xpu mps ipu mtia share_memory to_empty",
        _FLOAT32: "half bfloat16 double type set_keep_in_fp32_modules",
        _NO_TORCH: "state_dict load_state_dict named_parameters get_parameter buffers "
        "named_buffers named_modules named_children get_submodule add_module apply "
        "register_buffer register_parameter register_module register_forward_hook",
        _NO_NETWORK: "auto_model transformers_model processor",
        _NO_ADAPTER: "add_adapter load_adapter set_adapter delete_adapter enable_adapters "
        "disable_adapters active_adapter active_adapters merge",
        _TRAIN: "fit old_fit zero_grad requires_grad_ gradient_checkpointing_enable compile",
        _UPLOAD: "push_to_hub save_to_hub",
    }.items()
    for name in names.split()
}


class ModelCard:
    """The object that evaluators report their results to, for a model's README.

    base_model  what the model was loaded from
    """

    def __init__(self, base_model: str) -> None:
        self.base_model = base_model

    def set_evaluation_metrics(self, *results: object) -> None:
        """Ignore the results: an evaluator also returns them to its caller."""


class NetworkModule:
    """The first module of a model: tokenizer and network."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.tokenizer: Tokenizer = model.tokenizer
        self.config = model.config.bert

    @property
    def max_seq_length(self) -> int:
        """The most tokens of an input that the model reads, special tokens included."""
        return self._model.max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, tokens: int) -> None:
        self._model.max_seq_length = tokens

    def get_embedding_dimension(self) -> int:
        """Return the width of a token's vector."""
        return self.config.hidden_size

    get_word_embedding_dimension = get_embedding_dimension

    def tokenize(self, texts: Sequence[Any]) -> dict[str, Any]:
        """Tokenise as the model does."""
        return self._model.tokenize(texts)


class ModuleMethods(ABC):
    """Attributes and methods that sentence-transformers' evaluators and their callers expect."""

    config: Any
    device = "cpu"
    modalities = ("text",)
    model_card_data: ModelCard
    max_seq_length: Any

    def __getattr__(self, name: str) -> Any:
        """Say why an attribute of torch's or sentence-transformers' models is missing."""
        reason = f"; {_MISSING[name]}" if name in _MISSING else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {shorten(name)}{reason}")

    def evaluate(self, evaluator: Callable[..., Any], output_path: str | None = None) -> Any:
        """Call an evaluator with this model, and return its result.

        Parameters
        ----------
        evaluator : callable
            One of sentence-transformers', or any function of a model and a folder.
        output_path : str
            The folder that the evaluator writes its tables to; it is made if it is missing.
        """
        if output_path is not None:
            os.makedirs(output_path, exist_ok=True)
        return evaluator(self, output_path)

    def supports(self, modality: object) -> bool:
        """Return whether inputs may be of this kind: "text" alone."""
        return modality in self.modalities

    def get_model_kwargs(self) -> list[str]:
        """Return the names of options for modules of one model alone: there are none."""
        return []

    # A model is a sequence of modules

    def __len__(self) -> int:
        """Return the number of modules: the network, the pooling, and those after it."""
        return len(self._list_modules())

    def __getitem__(self, place: int) -> Any:
        """Return a module; all but the first are the settings that its files hold."""
        return self._list_modules()[place]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._list_modules())

    def modules(self) -> Iterator[Any]:
        """Yield the model and its modules."""
        return iter([self, *self._list_modules()])

    def children(self) -> Iterator[Any]:
        """Yield the modules."""
        return iter(self)

    def _list_modules(self) -> list[Any]:
        return [NetworkModule(self)]

    def _first_module(self) -> Any:
        """Return the network, by the name that code for sentence-transformers knows."""
        return self[0]

    # Devices and modes

    # Whether dropout is at work, as torch's modules have it.
    training = False

    @property
    def dtype(self) -> Any:
        """The type of all weights: torch.float32 if torch has been imported, else NumPy's."""
        torch = find_torch()
        return np.dtype(np.float32) if torch is None else torch.float32

    def to(self, device: Any = None, dtype: Any = None) -> Any:
        """Return the model: it is on the CPU, in float32. Any other wish is a ValueError."""
        if str(device) in ("torch.float32", "float32"):
            device = None
        if dtype is not None and str(dtype) not in ("torch.float32", "float32"):
            raise ValueError(f"dtype must be float32, got {dtype}; {_FLOAT32}")
        check_device(device)
        return self

    def cpu(self) -> Any:
        """Return the model, which is on the CPU."""
        return self

    def float(self) -> Any:
        """Return the model, which is in float32."""
        return self

    def eval(self) -> Any:
        """Return the model: it never drops anything out, except inside `minisbert.train`."""
        return self

    def train(self, mode: bool = True) -> Any:
        """Return the model if `mode` is False; else raise ValueError."""
        if mode:
            raise ValueError("mode must be False, got True; train with `minisbert.train`")
        return self

    # Tokens

    def get_max_seq_length(self) -> int:
        """Return the most tokens of an input that the model reads, special tokens included."""
        return self.max_seq_length

    def tokenize(self, texts: Sequence[Any]) -> dict[str, Any]:
        """Tokenise texts, or pairs of them, as the model does.

        Returns
        -------
        {"input_ids", "attention_mask", "token_type_ids"}: (n, T) int64 arrays
            T is the length of the longest input, truncated to `max_seq_length`. Shorter ones are
            filled up with the id of padding, where the mask is 0. Token types are there if the
            tokenizer has them.

        Raises
        ------
        TypeError
            If an input is not a text or a pair of texts.
        """
        check_rows(texts, "texts")
        tokens = self._tokenize(list(texts))
        T = max(map(len, tokens.ids), default=0)
        bert = self.config.bert
        padded = np.full((len(tokens.ids), T), bert.pad_token_id or 0, np.int64)
        mask, types = np.zeros_like(padded), np.zeros_like(padded)
        for row, ids in enumerate(tokens.ids):
            padded[row, : len(ids)], mask[row, : len(ids)] = ids, 1
            if tokens.types is not None:
                types[row, : len(ids)] = tokens.types[row]
        found = {"input_ids": padded, "attention_mask": mask}
        return found | ({"token_type_ids": types} if bert.type_vocab_size > 1 else {})

    preprocess = tokenize

    @abstractmethod
    def _tokenize(self, inputs: list[Any]) -> TokenIds:
        """Tokenise inputs of this kind of model, without a prompt."""

    def smart_batching_collate(self, batch: Sequence[Any]) -> tuple[list[dict[str, Any]], Any]:
        """Turn examples into tensors: the tokens of each column of texts, and the labels.

        A `torch.utils.data.DataLoader` calls it with some `InputExample`s.

        Raises
        ------
        TypeError
            If torch has not been imported.
        """
        if find_torch() is None:
            raise TypeError("torch must be imported to make tensors, got none; import torch first")
        columns = zip(*(example.texts for example in batch), strict=True)
        features = [make_tensors(self.tokenize(column)) for column in columns]
        return features, find_torch().tensor([example.label for example in batch])

    # Pools of processes, which are threads here

    def start_multi_process_pool(self, target_devices: Any = None) -> dict[str, Any]:
        """Return a pool for `encode(pool=...)`: a thread for each device, by default each core."""
        return start_pool(target_devices)

    @staticmethod
    def stop_multi_process_pool(pool: dict[str, Any]) -> None:
        """Stop a pool: it can't be used again."""
        pool.clear()
