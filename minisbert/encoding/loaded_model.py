"""The base class of bi-encoders and cross-encoders: loading, parameters, saving."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from minisbert.arguments import check_device, check_whole_number
from minisbert.arrays import Array, Parameters
from minisbert.encoding.drop_in import DropIn, refuse_others
from minisbert.encoding.tokenization import Tokenizer
from minisbert.model_files.hub import resolve_model
from minisbert.network.arrangement import ArrangedParameters
from minisbert.network.config import ModelConfig
from minisbert.network.heads import CrossEncoderConfig
from minisbert.network.ragged import RaggedBatch, join_sentences
from minisbert.system.threads import count_threads


class LoadedModel(DropIn, ABC):
    """A network, its tokenizer, and the directory that both were loaded from.

    model_directory  where the files are
    threads          cores to use unless a call says otherwise; None for all
    """

    config: ModelConfig | CrossEncoderConfig
    tokenizer: Tokenizer

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
        *,
        device: str | None,
        local_files_only: bool,
        threads: int | None,
        others: Mapping[str, object],
    ) -> None:
        """Check the arguments that both kinds of models take, and find or fetch the directory."""
        refuse_others(type(self).__name__, others)
        check_device(device)
        count_threads(threads)
        self.model_directory: Path = resolve_model(model_name_or_path, not local_files_only)
        self.threads = threads

    @property
    def parameters(self) -> Mapping[str, Array]:
        """All parameters by name: the network's, and those of its head or its Dense modules.

        Assign the whole mapping. The arrays are not copied, so assign it again after changing one
        in place.
        """
        return self._arranged.parameters

    @parameters.setter
    def parameters(self, parameters: Mapping[str, Array]) -> None:
        self._arranged = ArrangedParameters(dict(parameters))

    def save(self, path: str | os.PathLike[str], *, made_by: str | None = None) -> None:
        """Write the model as a directory, which sentence-transformers can read too.

        It is written completely or not at all.

        Parameters
        ----------
        path : str or path
            A new or empty directory, or a saved model to replace.
        made_by : str
            The command or call that made the model, for its README; by default this call.

        Raises
        ------
        FileExistsError
            If anything else is at the path.
        ValueError
            If the format can't describe the model: a bi-encoder loaded with `blocks=0`, or a
            cross-encoder whose `activation_fn` is a function of your own.
        OSError
            If the directory can't be written; an older model there stays.
        """
        name = self.model_directory.resolve().name
        self._write_directory(path, made_by or f'{type(self).__name__}("{name}").save()')

    save_pretrained = save

    @abstractmethod
    def _write_directory(self, path: str | os.PathLike[str], made_by: str) -> None:
        """Write the directory of this kind of model."""

    def _load_tokenizer(self, directory: Path) -> Tokenizer:
        """Load the tokenizer, and check that the word table has a row for each of its tokens."""
        tokenizer = Tokenizer(directory, self.config.do_lower_case)
        tokenizer.check_vocabulary(self.config.bert.vocab_size)
        return tokenizer

    def _check_length(self, name: str, tokens: int, least: int) -> int:
        """Check a limit of tokens; `least` leaves room for special tokens and one of each text."""
        bert = self.config.bert
        positions = bert.max_position_embeddings - bert.position_offset
        remedy = (
            f"the model has {positions} positions, and special tokens with one token of each text "
            f"need {least}"
        )
        return check_whole_number(name, tokens, least, most=positions, remedy=remedy)

    def _join(
        self, token_ids: Sequence[Array], types: Sequence[Array] | None = None
    ) -> tuple[Parameters, RaggedBatch]:
        """Join sentences into one batch, and choose the fastest parameters for its size."""
        batch = join_sentences(token_ids, types)
        return self._arranged.choose(len(batch.token_ids)), batch
