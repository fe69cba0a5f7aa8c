"""The library changes no setting of the process that uses it."""

import csv
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer, TextIndex, read_examples, train, util
from minisbert.encoding.heat_map import draw_heat_map
from minisbert.evaluation import evaluate_sts, read_sts
from models import make_cross_encoder_directory


def take_settings():
    """Return what belongs to the whole process, as far as a library could change it."""
    return {
        "csv": (csv.field_size_limit(), csv.list_dialects()),
        "locale": locale.setlocale(locale.LC_ALL),
        "logging": (
            logging.root.level,
            list(logging.root.handlers),
            logging.Logger.manager.disable,
        ),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "random": (random.getstate(), str(np.random.get_state())),  # noqa: NPY002
        "signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "streams": (sys.stdin, sys.stdout, sys.stderr, sys.excepthook, threading.excepthook),
        "recursion": sys.getrecursionlimit(),
        "switches": sys.getswitchinterval(),
        "warnings": list(warnings.filters),
        "numpy": (np.geterr(), np.get_printoptions()),
        "pyplot": "matplotlib.pyplot" in sys.modules,
    }


def test_the_process_is_left_as_it_was(tiny_directory, tmp_path):
    """Reading, encoding, searching, training, measuring and drawing leave all settings alone."""
    pytest.importorskip("matplotlib.figure")
    table = tmp_path / "t.csv"
    table.write_text(f'sentence1,sentence2,score\n"{"a bird " * 30_000}",b,1\nc,d,0\n')
    (tmp_path / "t.tsv").write_text("a bird\tthe bird\t5\na cat\tthe dog\t1\n")
    make_cross_encoder_directory(tmp_path / "cross", num_labels=1)
    before = take_settings()
    model = SentenceTransformer(tiny_directory)
    _, examples = read_examples(table)
    model.encode(["a bird"] * 40, threads=2)
    model.encode_to_file(["a bird", "a cat"], tmp_path / "rows.npy")
    CrossEncoder(tmp_path / "cross").rank("a bird", ["a cat", "a dog"])
    index = TextIndex.from_embeddings(model.encode(["a bird", "a cat"]), ["a bird", "a cat"])
    index.save(tmp_path / "index")
    TextIndex.load(tmp_path / "index").search(model.encode("a bird"), 1)
    util.community_detection(model.encode(["a bird", "a cat"]))
    evaluate_sts(model, read_sts(tmp_path / "t.tsv"))
    train(model, examples, "cosine", out=tmp_path / "out", on_truncate="ignore")
    words = ["a", "bird"]
    draw_heat_map(words, words, np.eye(2), title="t", path=tmp_path / "picture.svg")
    after = take_settings()
    for name, value in before.items():
        assert after[name] == value, name
