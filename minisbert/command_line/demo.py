"""The demo: search Python's standard library by meaning.

The first run reads the library, encodes its docstrings and saves an index; later runs only search.
Another version of Python, or a change of standard_library.py, makes a new index.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minisbert.command_line import standard_library
from minisbert.command_line.parser import DEFAULT_MODEL
from minisbert.encoder import SentenceTransformer
from minisbert.model_files.hub import models_home
from minisbert.search.text_index import FILE_NAME, TextHit, TextIndex

QUESTIONS = (
    "read a comma separated file",
    "how many days are in a month",
    "run another program and get its output",
)

_HITS = 3


def run_demo(question: str | None = None) -> None:
    """Print the answers to a question, or to QUESTIONS, with the time that each step takes."""
    with _report_time(f"load {DEFAULT_MODEL}"):
        model = SentenceTransformer(DEFAULT_MODEL)
    index = prepare_index(model, find_directory())
    for text in QUESTIONS if question is None else (question,):
        print()
        answer(model, index, text)
    if question is None:
        print('\nAsk your own: make demo QUERY="..."')


def find_directory() -> Path:
    """Return the directory of the index, named by what the index depends on.

    That is the version of Python, and the code that reads its library. The weights are pinned.
    """
    code = Path(standard_library.__file__).read_bytes()
    key = hashlib.sha256(platform.python_version().encode() + code).hexdigest()[:8]
    return models_home() / f"standard-library-{platform.python_version()}-{key}"


def prepare_index(model: SentenceTransformer, directory: Path) -> TextIndex:
    """Open the saved index, or make and save it."""
    if (directory / FILE_NAME).exists():
        with _report_time("open the saved index"):
            index = TextIndex.load(directory)
        return index
    with _report_time(f"read the standard library of Python {platform.python_version()}"):
        entries = standard_library.read_standard_library()
    texts = [f"{name} {sentence}" for name, sentence in entries]
    with _report_time(f"encode {len(texts)} entries"):
        # A few docstrings are long grammars without a full stop, which may be truncated.
        embeddings = model.encode(texts, show_progress_bar=True, on_truncate="ignore")
    with _report_time(f"save the index in {directory}"):
        index = TextIndex.from_embeddings(embeddings, texts, model_name=DEFAULT_MODEL)
        index.save(directory)
    return index


def answer(model: SentenceTransformer, index: TextIndex, question: str) -> list[TextHit]:
    """Print and return the best entries for a question."""
    print(question)
    with _report_time("  encode the question"):
        query = model.encode(question)
    with _report_time(f"  search {len(index)} entries"):
        hits = index.search(query, _HITS)
    for hit in hits:
        name, sentence = hit.text.split(" ", 1)
        print(f"  {hit.score:.3f}  {name}\n         {sentence}")
    return hits


@contextmanager
def _report_time(step: str) -> Iterator[None]:
    """Print a step's name and how long the `with` block took."""
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    shown = f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
    print(f"{step}: {shown}", flush=True)
