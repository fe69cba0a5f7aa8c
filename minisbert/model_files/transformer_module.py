"""Read how texts are limited and lower-cased, which several files of a directory may say.

sentence_bert_config.json  max_seq_length and do_lower_case, if the directory has modules.json; in
                           its name older versions put the network's family in place of "bert"
tokenizer_config.json      model_max_length, or max_len in older files
config.json                the positions of the network, the most in any case
"""

from __future__ import annotations

import os
from pathlib import Path

from minisbert.model_files.class_paths import refuse_own_code
from minisbert.network.config import BertConfig
from minisbert.system.json_fields import FLAG, OBJECT, Fields, Rule, one_of, read_fields

# The fewest tokens of a text: one of its own between the two special ones.
LEAST_LENGTH = 3

# The Transformer module's own file; its name has the family of the class that wrote it.
_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

# Not only whole numbers: some tokenizers write 1e30 for no limit.
_LENGTH = Rule(
    f"a number of {LEAST_LENGTH} or more",
    lambda value: type(value) in (int, float) and value >= LEAST_LENGTH,
)

# Fields by which sentence-transformers would make another network or tokenizer than the other files
# say, or would read texts otherwise.
_EMPTY = (
    *("config_args", "config_kwargs", "tokenizer_args", "processor_kwargs"),
    *("tokenizer_name_or_path", "processing_kwargs", "query_length", "document_length"),
)

_UNREAD = one_of(
    False,
    advice="sentence-transformers reads this file only beside modules.json, which is missing, "
    "so say do_lower_case in tokenizer_config.json",
)


def read_transformer(
    folder: Path, bert: BertConfig, *tasks: str, described: bool
) -> tuple[int, bool]:
    """Read the Transformer module: the most tokens of a text, and whether texts are lower-cased.

    The limit is the module's max_seq_length, else the tokenizer's model_max_length (a huge number
    means no limit), and at most the number of the network's positions. The tokenizer's "max_length"
    is not read: it is out of date in many directories.

    tasks      the tasks that the network may be for, where the directory names one (from 5.4 on)
    described  whether there is modules.json; without it sentence-transformers reads no module's
               file, and a limit in it is of no effect here either

    Raises ValueError naming the file and what is wrong in it.
    """
    paths = [folder / name for name in _FILES if os.path.lexists(folder / name)]
    # An empty file says nothing, so the next one is looked for.
    found = (fields for fields in map(read_fields, paths) if fields.content)
    fields = next(found, Fields(folder / _FILES[0], {}))
    if not described:
        fields.find("do_lower_case", _UNREAD, None)
        fields = Fields(fields.path, {})
    task = fields.find("transformer_task", one_of(*tasks), tasks[-1])
    _check_output(fields, task)
    for name in _EMPTY:
        fields.find(name, one_of({}), None)
    usable = count_positions(bert)
    options = read_fields(folder / "tokenizer_config.json", missing_ok=True)
    refuse_own_code(options)
    limit = fields.find("max_seq_length", _LENGTH, None)
    if limit is None:
        name = "model_max_length" if "model_max_length" in options.content else "max_len"
        limit = options.find(name, _LENGTH, usable)
    return int(min(limit, usable)), fields.find("do_lower_case", FLAG, False)


def count_positions(bert: BertConfig) -> int:
    """Return the most tokens that a network reads."""
    return bert.max_position_embeddings - bert.position_offset


# What each task takes from the network, and the name under which it passes it on.
_OUTPUTS = {
    "feature-extraction": ("last_hidden_state", "token_embeddings"),
    "sequence-classification": ("logits", "scores"),
}


def _check_output(fields: Fields, task: str) -> None:
    """Check that a Transformer module gives what this library computes: files may name another."""
    taken, passed_on = _OUTPUTS[task]
    fields.find("module_output_name", one_of(passed_on), None)
    modalities = Fields(fields.path, fields.find("modality_config", OBJECT, {}))
    text = Fields(fields.path, modalities.find("text", OBJECT, {}))
    text.find("method", one_of("forward"), None)
    text.find("method_output_name", one_of(taken), None)
    fields.find("query_expansion", one_of(None), None)
