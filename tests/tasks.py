"""Small tasks to train on: texts of few words, whose labels can be learned from the words."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisbert.training.objectives import OBJECTIVES
from models import WORDS

WORD_LIST = [word for word in WORDS.split() if word.isalpha()]


def make_text(rng: np.random.Generator) -> str:
    """Make a text of 2 to 6 words."""
    return " ".join(rng.choice(WORD_LIST, rng.integers(2, 7)))


def make_task(objective: str, n: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """Make rows for `train`: two texts belong together if one is the other shuffled."""
    record = OBJECTIVES[objective]
    rng = np.random.default_rng([seed, n])
    rows: list[tuple[Any, ...]] = []
    for number in range(n):
        text, other = make_text(rng), make_text(rng)
        shuffled = " ".join(rng.permutation(text.split()))
        together = number % 2 == 0
        pair = (text, shuffled if together else other)
        if record.labels == "scores":
            rows.append((*pair, float(together)))
        elif record.labels == "classes":
            rows.append((*pair, "same" if together else "other"))
        else:
            rows.append((text, shuffled, other)[: min(record.texts)])
    return rows
