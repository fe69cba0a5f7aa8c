"""Loads beside a process that saves two models to one directory in turn: 0 refused, 0 mixed."""

import multiprocessing
import os
import time

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.system import disk
from models import edit_json, make_cross_encoder_directory, make_model_directory

SECONDS = float(os.environ.get("MINISBERT_SOAK_SECONDS", "20"))
PAIRS = [("a bird sings", "the red car")]


def save_in_turn(kind, sources, out, swap, stop):
    if not swap:
        disk._swap = lambda *_: False
    models = [kind(source) for source in sources]
    while not stop.is_set():
        for model in models:
            model.save(out)


def run(model):
    return model.predict(PAIRS) if isinstance(model, CrossEncoder) else model.encode(PAIRS[0])


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("kind", [SentenceTransformer, CrossEncoder])
def test_every_load_is_of_one_version(tmp_path, kind, swap):
    """Every load succeeds and computes what one of the two models does."""
    if kind is SentenceTransformer:
        sources = [make_model_directory(tmp_path / name, seed=ord(name), dense=8) for name in "ab"]
        pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        edit_json(sources[1] / "1_Pooling" / "config.json", **pooling)
    else:
        sources = [make_cross_encoder_directory(tmp_path / name, seed=ord(name)) for name in "ab"]
        edit_json(sources[1] / "config.json", hidden_act="relu")
    expected = [run(kind(source)) for source in sources]
    out = tmp_path / "out"
    kind(sources[0]).save(out)
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    saver = context.Process(target=save_in_turn, args=(kind, sources, out, swap, stop))
    saver.start()
    seen = [0, 0]
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            got = run(kind(out))
            same = [np.allclose(got, vectors, atol=1e-6) for vectors in expected]
            assert sum(same) == 1
            seen[same.index(True)] += 1
    finally:
        stop.set()
        saver.join()
    assert saver.exitcode == 0
    assert min(seen) > 0
