"""Checkpoints: everything needed to resume a run with the same result as without interruption.

A checkpoint is a directory that is written beside its name and renamed whole. It holds the best
model so far as a model directory, the parameters and moments of the current step, and the settings
of the run. There is no state of a random generator: shuffles and dropout are functions of seed,
epoch and step.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minisbert.arrays import Array
from minisbert.system.disk import recover_directory, write_directory, write_file
from minisbert.system.json_fields import read_fields
from minisbert.system.safetensors import read_safetensors, write_safetensors
from minisbert.training.optimizer import AdamW

# Names of all that is in a checkpoint.
STATE_FILE, TENSORS_FILE, MODEL_FOLDER = "state.json", "state.safetensors", "model"
CHECKPOINT_FILES = (STATE_FILE, TENSORS_FILE, MODEL_FOLDER)


@dataclass
class Progress:
    """The progress of a run.

    step      number of steps made
    losses    the loss of every step
    measure   the name of the measure, or "" before an evaluation
    measures  (step, value) of each evaluation
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    measure: str = ""
    measures: list[tuple[int, float]] = field(default_factory=list)

    @property
    def best_step(self) -> int:
        """The step of the best evaluation, the earliest of equal ones.

        The evaluation before the first step does not count, nor does NaN. Without any other
        evaluation return the last step.
        """
        trained = [(value, -step) for step, value in self.measures if step and value == value]
        return -max(trained)[1] if trained else self.step


def hash_parts(parts: Iterable[bytes]) -> str:
    """Return the SHA-256 of a sequence of byte strings and of their lengths."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def write_checkpoint(
    directory: Path,
    identity: Mapping[str, Any],
    progress: Progress,
    *,
    optimizer: AdamW,
    save_model: Callable[[Path], None],
    others: Mapping[str, Array],
) -> None:
    """Write a checkpoint over the previous one.

    identity    settings that must be the same to resume, as JSON can hold them
    save_model  writes the best model to a directory
    others      name -> array, the objective's own parameters of the best model

    Raises OSError if it can't be written; the previous one stays.
    """
    tensors: dict[str, Array] = {}
    for name, parameter in optimizer.parameters.items():
        seen = optimizer.rows.get(name)
        tensors[f"parameter/{name}"] = parameter
        # Only the first slots of a table's moments are in use: one for each row seen so far.
        tensors[f"first/{name}"] = optimizer.first[name][: None if seen is None else len(seen)]
        tensors[f"second/{name}"] = optimizer.second[name][: None if seen is None else len(seen)]
        if seen is not None:
            tensors[f"rows/{name}"] = seen
    tensors |= {f"best/{name}": array for name, array in others.items()}
    with write_directory(directory, STATE_FILE, CHECKPOINT_FILES) as new:
        save_model(new / MODEL_FOLDER)
        write_safetensors(new / TENSORS_FILE, tensors, {})
        with write_file(new / STATE_FILE) as file:
            content = {"run": identity, **vars(progress)}
            file.write(json.dumps(content, default=float).encode())


def read_checkpoint(
    directory: Path, identity: Mapping[str, Any], optimizer: AdamW
) -> tuple[Progress, dict[str, Array]] | None:
    """Read a checkpoint into the parameters and moments of an optimizer; None if there is none.

    Returns the progress, and the objective's own parameters of the best model.

    Raises ValueError naming what differs if the checkpoint is that of another run.
    """
    recover_directory(directory)
    if not (directory / STATE_FILE).exists():
        return None
    state = read_fields(directory / STATE_FILE).content
    for name, value in identity.items():
        if state["run"].get(name) != value:
            raise ValueError(
                f"{name} must be that of the checkpoint in {directory} to resume, "
                f"{state['run'].get(name)}, got {value}; "
                f"start with the same {name} and a freshly loaded model, or remove {directory}"
            )
    tensors, _ = read_safetensors(directory / TENSORS_FILE)
    optimizer.step = state["step"]
    for name, parameter in optimizer.parameters.items():
        parameter[...] = tensors[f"parameter/{name}"]
        for kind, moments in (("first", optimizer.first), ("second", optimizer.second)):
            saved = tensors[f"{kind}/{name}"]
            moments[name][: len(saved)] = saved
        if f"rows/{name}" in tensors:
            optimizer.rows[name] = tensors[f"rows/{name}"].copy()
    measures = [(step, value) for step, value in state["measures"]]
    others = {
        name.removeprefix("best/"): array
        for name, array in tensors.items()
        if name.startswith("best/")
    }
    return Progress(state["step"], state["losses"], state["measure"], measures), others


def find_work_directory(out: str | os.PathLike[str]) -> Path:
    """Return the directory of checkpoints: beside `out`, with ".training" after its name."""
    path = Path(os.path.realpath(os.path.expanduser(out)))
    return path.with_name(f"{path.name}.training")
