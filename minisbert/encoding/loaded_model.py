"""The base class of bi-encoders and cross-encoders: loading, parameters, saving."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from minisbert.arguments import check_device, check_whole_number
from minisbert.arrays import Array, Parameters
from minisbert.encoding.drop_in import refuse_others
from minisbert.encoding.module_methods import ModelCard, ModuleMethods
from minisbert.encoding.prompts import find_prompt, merge_prompts
from minisbert.encoding.tokenization import Tokenizer
from minisbert.model_files.hub import resolve_model
from minisbert.model_files.sources import use_folder
from minisbert.model_files.transformer_module import count_positions
from minisbert.network.arrangement import ArrangedParameters
from minisbert.network.bert import POSITIONS
from minisbert.network.config import ModelConfig
from minisbert.network.heads import CrossEncoderConfig
from minisbert.network.ragged import RaggedBatch, join_sentences
from minisbert.system.file_identity import FileIdentity
from minisbert.system.mapped_arrays import Span, copy_deeply, map_spans, replace_by_span
from minisbert.system.regular_files import shorten_path
from minisbert.system.threads import count_threads
from minisbert.system.whole_reads import read_whole


class NamedArrays(dict[str, Array]):
    """Parameters by name. Pickles hold the places in files of those that are mapped."""

    def __call__(self, *arguments: object) -> NoReturn:
        """Raise TypeError: in torch `parameters` is a method."""
        raise TypeError(
            "parameters must be read as a mapping of names to arrays, got a call; "
            "iterate over parameters.values()"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _name_arrays, (list(self), [replace_by_span(array) for array in self.values()])

    def __copy__(self) -> NamedArrays:
        return NamedArrays(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> NamedArrays:
        return NamedArrays({name: copy_deeply(array, memo) for name, array in self.items()})


def _name_arrays(names: Sequence[str], found: Sequence[Array | Span]) -> NamedArrays:
    """Make the mapping again where a pickle arrives."""
    return NamedArrays(zip(names, map_spans(found), strict=True))


class LoadedModel(ModuleMethods):
    """A network, its tokenizer, and the directory that both were loaded from.

    It can be copied and pickled. Weights that are mapped from a file travel as their places in it,
    and arrive if the file is still the same; those that training or the caller made, by value.

    model_directory  where the files are
    threads          cores to use unless a call says otherwise; None for all
    """

    config: ModelConfig | CrossEncoderConfig
    tokenizer: Tokenizer
    # Whether a modules.json says what follows the network.
    _has_modules: ClassVar[bool] = True

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        device: object,
        cache_folder: str | os.PathLike[str] | None,
        local_files_only: bool,
        threads: int | None,
        others: Mapping[str, object],
    ) -> None:
        """Check the arguments that both kinds of models take, and find or fetch the directory."""
        refuse_others(type(self).__name__, others)
        check_device(device)
        count_threads(threads)
        with use_folder(cache_folder):
            self.model_directory: Path = resolve_model(
                model_name_or_path, not local_files_only, modules=self._has_modules
            )
        self.threads = threads
        self.model_card_data = ModelCard(str(self.model_directory))

    @property
    def parameters(self) -> Mapping[str, Array]:
        """All parameters by name: the network's, and those of its head or its Dense modules.

        Assign the whole mapping. The arrays are not copied, so assign it again after changing one
        in place.
        """
        return self._arranged.parameters

    @parameters.setter
    def parameters(self, parameters: Mapping[str, Array]) -> None:
        self._arranged = ArrangedParameters(NamedArrays(parameters))

    @property
    def prompts(self) -> dict[str, str]:
        """Prompts by name: texts that can be put in front of every input."""
        return self._prompts

    @prompts.setter
    def prompts(self, prompts: Mapping[str, str | None]) -> None:
        self._prompts = merge_prompts({}, prompts)

    @property
    def default_prompt_name(self) -> str | None:
        """The name of the prompt that is used if a call names none; None for no prompt."""
        return self._default_prompt_name

    @default_prompt_name.setter
    def default_prompt_name(self, name: str | None) -> None:
        if name is not None:
            find_prompt(self.prompts, name)
        self._default_prompt_name = name

    def save(
        self,
        path: str | os.PathLike[str],
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: Sequence[str] | None = None,
        safe_serialization: bool = True,
        *,
        made_by: str | None = None,
    ) -> None:
        """Write the model as a directory, which sentence-transformers can read too.

        It is written completely or not at all.

        Parameters
        ----------
        path : str or path
            A new or empty directory, or a saved model to replace.
        model_name : str
            What the README calls the model that was saved; by default the name of its directory.
        create_model_card : bool
            Whether to write a README.
        made_by : str
            The command or call that made the model, for its README; by default this call.
        train_datasets, safe_serialization
            sentence-transformers' arguments; only their defaults are accepted.

        Raises
        ------
        FileExistsError
            If anything else is at the path.
        ValueError
            If the format can't describe the model: a bi-encoder loaded with `blocks=0`, a
            cross-encoder whose `activation_fn` is a function of your own, or prompts that are no
            texts or lack the default one.
        OSError
            If the directory can't be written; an older model there stays.
        """
        if train_datasets or not safe_serialization:
            raise ValueError(
                "train_datasets must be left out and safe_serialization True, got others; the "
                "README names no data, and weights are written as safetensors, which run no code"
            )
        self._check_tokenizer()
        name = model_name or self.model_directory.resolve().name
        made_by = made_by or f'{type(self).__name__}("{name}").save()'
        self._write_directory(path, made_by if create_model_card else None)

    save_pretrained = save

    @abstractmethod
    def _write_directory(self, path: str | os.PathLike[str], made_by: str | None) -> None:
        """Write the directory of this kind of model; without a README if `made_by` is None."""

    def _set_prompts(
        self, prompts: Mapping[str, str | None] | None, default_prompt_name: str | None
    ) -> None:
        """Take the model's own prompts, replaced by the given ones of the same name."""
        self.prompts = merge_prompts(self.config.prompts, prompts)
        self.default_prompt_name = default_prompt_name or self.config.default_prompt_name

    def _check_prompts(self) -> dict[str, str]:
        """Return the prompts for saving; they may have been changed in place."""
        prompts = merge_prompts({}, self.prompts)
        if self.default_prompt_name is not None:
            find_prompt(prompts, self.default_prompt_name)
        return prompts

    def _load(self, read: Callable[[], None]) -> None:
        """Read the files of the directory, all of one version, and note which directory it was."""

        def note_and_read() -> None:
            self._origin = FileIdentity.of(self.model_directory)[:2]
            read()

        read_whole(self.model_directory, note_and_read)

    def _check_tokenizer(self) -> None:
        """Check that the tokenizer that `save` copies is the one that was loaded.

        Raises ValueError if the directory was replaced since by that of a model with another.
        """
        with suppress(OSError):  # without a directory the tokenizer can't be read, below
            if FileIdentity.of(self.model_directory)[:2] == self._origin:
                return
        folder = getattr(self.config, "transformer_path", "")
        present = Tokenizer(self.model_directory / folder, self.config.do_lower_case)
        if not present.is_same(self.tokenizer):
            raise ValueError(
                f"the tokenizer in {shorten_path(self.model_directory)} must be the one that was "
                "loaded with the model, got that of another model, which has replaced it since; "
                "load the model from a directory that stays"
            )

    def _load_tokenizer(self, directory: Path) -> Tokenizer:
        """Load the tokenizer, and check that the network has rows for whatever it gives."""
        tokenizer = Tokenizer(directory, self.config.do_lower_case)
        bert, pairs = self.config.bert, self._reads_pairs
        segments = 0 if bert.variant.one_segment else bert.type_vocab_size
        positions = count_positions(bert)
        tokenizer.check_vocabulary(bert.vocab_size, pairs=pairs)
        tokenizer.check_special_tokens(positions, segments if segments > 1 else 0, pairs=pairs)
        return tokenizer

    @property
    def _reads_pairs(self) -> bool:
        return isinstance(self.config, CrossEncoderConfig)

    def _check_length(self, name: str, tokens: int) -> int:
        """Check a limit of tokens: special ones and one of each text must fit, and all positions.

        The tokenizer must be loaded.
        """
        least = self.tokenizer.count_special(self._reads_pairs) + 1 + self._reads_pairs
        positions = count_positions(self.config.bert)
        remedy = (
            f"the model has {positions} positions, and special tokens with one token of each text "
            f"need {least}"
        )
        return check_whole_number(name, tokens, least, most=positions, remedy=remedy)

    def _run(
        self,
        forward: Callable[[Parameters, RaggedBatch], Array],
        token_ids: Sequence[Array],
        types: Sequence[Array] | None = None,
    ) -> Array:
        """Run sentences as one batch, with the fastest parameters for its size."""
        batch = join_sentences(token_ids, types)
        parameters = self._arranged.choose(len(batch.token_ids))
        padding = self.config.bert.position_offset - 1
        if not (batch.token_ids == padding).any():
            return forward(parameters, batch)
        # Where positions start after the padding id, a padding token that a text spells has that
        # row of the table and isn't counted. So each sentence gets a table of its own.
        table, results = parameters[POSITIONS], []
        for place, ids in enumerate(token_ids):
            counted = ids != padding
            rows = padding + np.where(counted, np.cumsum(counted), 0)
            own = {**parameters, POSITIONS: np.concatenate([table[: padding + 1], table[rows]])}
            results.append(forward(own, join_sentences([ids], types and [types[place]])))
        return np.concatenate(results)
