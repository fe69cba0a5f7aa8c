"""Fixtures that several tests share: the real model, the real data, a tiny model."""

import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from blas import count_blas_threads
from threadpoolctl import threadpool_limits

from minisbert import SentenceTransformer
from minisbert.model_files.hub import fetch_model
from minisbert.system.locks import lock_destination
from models import make_model_directory


def pytest_collection_modifyitems(items):
    """Mark tests and doctests that need the real weights or real data as slow."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            is_real = any("MiniLM" in example.source for example in item.dtest.examples)
        else:
            is_real = not {"minilm_directory", "data_directory"}.isdisjoint(item.fixturenames)
        if is_real:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def minilm_directory() -> Path:
    """The directory of all-MiniLM-L6-v2: the one place in the tests where weights are fetched."""
    return fetch_model("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def minilm(minilm_directory) -> SentenceTransformer:
    return SentenceTransformer(minilm_directory)


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """The folder of real data that MINISBERT_DATA names."""
    if "MINISBERT_DATA" not in os.environ:
        pytest.skip("MINISBERT_DATA names no folder of real data: its figures are not checked")
    return Path(os.environ["MINISBERT_DATA"])


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory) -> Path:
    """A small random model in a sentence-transformers directory."""
    return make_model_directory(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(tiny_directory) -> SentenceTransformer:
    return SentenceTransformer(tiny_directory)


@pytest.fixture
def two_blas_threads():
    """Limit BLAS to two threads on any machine, and restore its threads afterwards."""
    with threadpool_limits(2, user_api="blas"):
        if count_blas_threads() != 2:
            pytest.skip("this NumPy's BLAS has one thread only: nothing to restore")
        yield


@pytest.fixture
def other_writer():
    """Let another thread hold the lock of a destination while a block runs."""

    @contextmanager
    def other_writer(path):
        locked, done = threading.Event(), threading.Event()

        def hold():
            with lock_destination(path, wait=False):
                locked.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        locked.wait()
        try:
            yield
        finally:
            done.set()
            thread.join()

    return other_writer
