"""A training that was interrupted, on the disk: all that it takes to go on as if nothing had been.

A checkpoint is a directory that is written beside its name and renamed whole. It holds the best
model so far as a directory that can be loaded, parameters and moments of the step it was made at,
and what the run was started with. There is no state of a random generator: shuffles and dropout are
functions of seed, epoch and step.
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

# All that is in a checkpoint.
FILES = STATE, TENSORS, MODEL = "state.json", "state.safetensors", "model"


@dataclass
class Progress:
    """How far a run has come.

    step      steps made
    losses    of each of them
    measure   name of what was evaluated
    measures  (step, value) of each evaluation
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    measure: str = ""
    measures: list[tuple[int, float]] = field(default_factory=list)

    @property
    def best_step(self) -> int:
        """The step of the best evaluation, the earliest of equal ones; the last step without any.

        What was measured before the first step counts only if nothing else was.
        """
        trained = [(value, -step) for step, value in self.measures if step and value == value]
        return -max(trained)[1] if trained else self.step


def digest(parts: Iterable[bytes]) -> str:
    """One number for a sequence of bytes, whose lengths count too."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def write_checkpoint(
    directory: Path,
    run: Mapping[str, Any],
    progress: Progress,
    optimizer: AdamW,
    save_model: Callable[[Path], None],
    others: Mapping[str, Array],
) -> None:
    """Write a checkpoint in the place of the one before.

    run         what the run was started with, as JSON can hold it
    save_model  writes the best model to a directory
    others      the best parameters that are not the model's

    Raises OSError if it can't be written; the one before stays.
    """
    tensors: dict[str, Array] = {}
    for name, parameter in optimizer.parameters.items():
        seen = optimizer.rows.get(name)
        tensors[f"parameter/{name}"] = parameter
        # Moments of a table fill only the first slots.
        tensors[f"first/{name}"] = optimizer.first[name][: None if seen is None else len(seen)]
        tensors[f"second/{name}"] = optimizer.second[name][: None if seen is None else len(seen)]
        if seen is not None:
            tensors[f"rows/{name}"] = seen
    tensors |= {f"best/{name}": array for name, array in others.items()}
    with write_directory(directory, STATE, FILES) as new:
        save_model(new / MODEL)
        write_safetensors(new / TENSORS, tensors, {})
        with write_file(new / STATE) as file:
            content = {"run": run, **vars(progress)}
            file.write(json.dumps(content, default=float).encode())


def read_checkpoint(
    directory: Path, run: Mapping[str, Any], optimizer: AdamW
) -> tuple[Progress, dict[str, Array]] | None:
    """Put parameters and moments of a checkpoint in their places; None if there is none.

    Returns how far the run had come, and the best parameters that are not the model's.

    Raises ValueError if it is that of a run that was started with something else.
    """
    recover_directory(directory)
    if not (directory / STATE).exists():
        return None
    state = read_fields(directory / STATE).content
    for name, value in run.items():
        if state["run"].get(name) != value:
            raise ValueError(
                f"{name} must be that of the checkpoint in {directory} to go on, "
                f"{state['run'].get(name)}, got {value}; "
                f"start with the same, loaded anew, or remove {directory}"
            )
    tensors, _ = read_safetensors(directory / TENSORS)
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
    """Where the checkpoint of a model stands while it is made: beside it."""
    path = Path(os.path.realpath(os.path.expanduser(out)))
    return path.with_name(f"{path.name}.training")
