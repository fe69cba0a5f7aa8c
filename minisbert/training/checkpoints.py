"""Checkpoints: everything needed to resume a run with the same result as without interruption.

A checkpoint is a directory that is written beside its name and renamed whole. It holds the best
model so far as a model directory, the parameters and moments of the current step, and the settings
of the run. There is no state of a random generator: shuffles and dropout are functions of seed,
epoch and step.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minisbert.arguments import shorten
from minisbert.arrays import Array
from minisbert.system.disk import recover_directory, write_directory, write_file
from minisbert.system.json_fields import COUNT, DIGEST, OBJECT, Fields, Rule, read_fields
from minisbert.system.locks import resolve_path
from minisbert.system.regular_files import shorten_path
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
            content = {"run": identity, **vars(progress), "digest": _hash_tensors(tensors)}
            file.write(json.dumps(content, default=float).encode())


def read_checkpoint(
    directory: Path, identity: Mapping[str, Any], optimizer: AdamW, *, others: Iterable[str]
) -> tuple[Progress, dict[str, Array]] | None:
    """Read a checkpoint into the parameters and moments of an optimizer; None if there is none.

    others  names of the objective's own parameters

    Returns the progress, and the objective's own parameters of the best model.

    Raises ValueError naming what differs if the checkpoint is that of another run, or what is wrong
    if it is damaged.
    """
    recover_directory(directory)
    if not (directory / STATE_FILE).exists():
        return None
    state = read_fields(directory / STATE_FILE, remedy=_START_ANEW)
    saved_run = state.find("run", _FIELDS)
    for name, value in identity.items():
        if saved_run.get(name) != value:
            raise ValueError(
                f"{name} must be that of the checkpoint in {shorten_path(directory)} to resume, "
                f"{shorten(saved_run.get(name))}, got {shorten(value)}; "
                f"start with the same {name} and a freshly loaded model, or remove the checkpoint"
            )
    progress = _read_progress(state)
    path = directory / TENSORS_FILE
    tensors, _ = read_safetensors(path)

    def find(name: str, like: Array, shape: tuple[int, ...] | None = None) -> Array:
        return check_saved(tensors.get(name), like, name=name, path=path, shape=shape)

    for name, parameter in optimizer.parameters.items():
        parameter[...] = find(f"parameter/{name}", parameter)
        slots = parameter.shape
        if f"rows/{name}" in tensors:
            optimizer.rows[name] = _check_rows(tensors, name, parameter, path=path)
            slots = (len(optimizer.rows[name]), *parameter.shape[1:])
        for kind, moments in (("first", optimizer.first), ("second", optimizer.second)):
            moments[name][: slots[0]] = find(f"{kind}/{name}", parameter, slots)
        if (optimizer.second[name] < 0).any():  # its square root would be NaN
            raise _damaged(path, f"second/{name}", "numbers of 0 or more", got="one below")
    best = {name: find(f"best/{name}", optimizer.parameters[name]) for name in others}
    # Checkpoints of version 0.1.0 have no digest.
    digest = _hash_tensors(tensors)
    if state.find("digest", _HASH, digest) != digest:
        raise _damaged(path, "the content", "that which was written", got="another")
    optimizer.step = progress.step
    return progress, best


def _hash_tensors(tensors: Mapping[str, Array]) -> str:
    """Return a hash of names and contents, by which a flipped bit of a weight is noticed."""
    return hash_parts(
        part for name in sorted(tensors) for part in (name.encode(), tensors[name].tobytes())
    )


def check_saved(
    array: Array | None,
    like: Array,
    *,
    name: str,
    path: Path,
    shape: tuple[int, ...] | None = None,
) -> Array:
    """Return a saved array if it has the type and the shape of another, and is finite.

    shape  if it differs from that of `like`

    Raises ValueError naming the array and the file.
    """
    shape = like.shape if shape is None else shape
    expected = f"{like.dtype} of shape {shape}"
    if array is None:
        raise _damaged(path, name, expected, got="none")
    if array.dtype != like.dtype or array.shape != shape:
        raise _damaged(path, name, expected, got=f"{array.dtype} of shape {shorten(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _damaged(path, name, "finite numbers", got="others")
    return array


def _check_rows(tensors: Mapping[str, Array], name: str, parameter: Array, *, path: Path) -> Array:
    """Return the rows of a table that have moments: different numbers of its rows."""
    rows = tensors[f"rows/{name}"]
    if parameter.ndim != 2 or rows.dtype != np.int64 or rows.ndim != 1:
        got = f"{rows.dtype} of shape {shorten(rows.shape)}"
        raise _damaged(path, f"rows/{name}", "the row numbers of a table", got=got)
    inside = (rows >= 0) & (rows < len(parameter))
    if not inside.all() or len(np.unique(rows)) < len(rows):
        expected = f"different numbers below {len(parameter)}"
        raise _damaged(path, f"rows/{name}", expected, got="others")
    return rows.copy()


def _damaged(path: Path, name: str, expected: str, *, got: str) -> ValueError:
    return ValueError(
        f"{name} in {shorten_path(path)} must be {expected}, got {got}; {_START_ANEW}"
    )


_START_ANEW = "remove the damaged checkpoint and train anew"
_FIELDS, _STEPS, _HASH = (rule._replace(advice=_START_ANEW) for rule in (OBJECT, COUNT, DIGEST))
_NAME = Rule(
    "a short name",
    lambda value: isinstance(value, str) and value.isprintable() and len(value) <= 40,
    _START_ANEW,
)


def _read_progress(state: Fields) -> Progress:
    """Read the progress of a run, whose steps, losses and measures must agree."""
    step = state.find("step", _STEPS)
    losses = Rule(
        f"a list of {step} finite numbers, one for each step",
        lambda value: (
            isinstance(value, list)
            and len(value) == step
            and all(isinstance(loss, float) and math.isfinite(loss) for loss in value)
        ),
        _START_ANEW,
    )
    measures = Rule(
        f"a list of pairs of a step up to {step}, each once, and a number",
        lambda value: isinstance(value, list) and _are_measures(value, step),
        _START_ANEW,
    )
    return Progress(
        step,
        state.find("losses", losses),
        state.find("measure", _NAME),
        [(at, value) for at, value in state.find("measures", measures)],
    )


def _are_measures(values: list[Any], last: int) -> bool:
    """Tell whether values are pairs of a step and a measure, in the order of the steps."""
    pairs = all(isinstance(value, list) and len(value) == 2 for value in values)
    if not pairs or not all(type(step) is int and type(value) is float for step, value in values):
        return False
    steps = [step for step, _ in values]
    return steps == sorted({step for step in steps if 0 <= step <= last})


def find_work_directory(out: str | os.PathLike[str]) -> Path:
    """Return the directory of checkpoints: beside `out`, with ".training" after its name."""
    path = resolve_path(out)
    return path.with_name(f"{path.name}.training")
