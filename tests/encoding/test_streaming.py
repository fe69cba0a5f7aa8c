"""Embeddings of a stream of texts, and a file of embeddings that is resumed after a kill."""

import itertools
import json
import os
import threading
from functools import partial

import numpy as np
import pytest

from minisbert import SentenceTransformer
from minisbert.encoding import streaming
from models import make_model_directory

WORDS = ["a", "bird", "sings", "the", "old", "red", "car", "dog", "runs", "tree"]
TEXTS = [" ".join(WORDS[i % 10 :: 1 + i % 4]) for i in range(23)]

# Where BLAS has other kernels, a text's vector may differ in its last bits with its batch.
TOLERANCE = 5e-7


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vectors.npy"


def is_near(found, expected):
    same = found.shape == expected.shape and found.dtype == expected.dtype
    return same and np.abs(found - expected).max(initial=0) <= TOLERANCE


def count_encoded(model, monkeypatch):
    """Collect the texts of every call of `encode` in a list."""
    encoded, encode = [], model.encode
    monkeypatch.setattr(
        model, "encode", lambda texts, **o: encoded.extend(texts) or encode(texts, **o)
    )
    return encoded


# --- one after another ---


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_one_by_one(tiny, chunk):
    """Vectors come in the order of the texts, the same as if all were encoded at once."""
    found = list(tiny.encode_iter(iter(TEXTS), chunk))
    assert is_near(np.array(found), tiny.encode(TEXTS))


def test_a_stream_without_end(tiny):
    """Only one chunk of an infinite stream is read before its embeddings are yielded."""
    read = []
    texts = (read.append(text) or text for text in itertools.cycle(TEXTS))
    found = list(itertools.islice(tiny.encode_iter(texts, 4), 6))
    assert is_near(np.array(found), tiny.encode(TEXTS[:6]))
    assert len(read) == 8


def test_options_are_those_of_encode(tiny):
    """Options of `encode` are accepted, except a precision that needs all embeddings at once."""
    found = list(tiny.encode_iter(TEXTS[:3], output_value="token_embeddings"))
    expected = tiny.encode(TEXTS[:3], output_value="token_embeddings")
    assert all(map(is_near, found, expected))
    with pytest.raises(ValueError, match="precision must be float32, binary or ubinary where"):
        next(tiny.encode_iter(TEXTS, precision="int8"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one", "texts must be an iterable of str, got str; pass a list of texts"),
        (7, "texts must be an iterable of str, got int"),
        ([*TEXTS[:5], None], "texts must hold only str, got NoneType at index 5"),
    ],
)
def test_texts_must_be_texts(tiny, path, texts, message):
    """Anything but a text is refused by its index among all texts."""
    with pytest.raises(TypeError, match=message):
        list(tiny.encode_iter(texts, 2))
    with pytest.raises(TypeError, match=message):
        tiny.encode_to_file(texts, path, chunk=2)


@pytest.mark.parametrize("chunk", [0, -1, 2.0, True])
def test_chunk_must_be_a_number(tiny, path, chunk):
    """A chunk that is not a whole number of 1 or more is refused."""
    with pytest.raises(ValueError, match="chunk must be a whole number of 1 or more"):
        next(tiny.encode_iter(TEXTS, chunk))
    with pytest.raises(ValueError, match="chunk must be a whole number of 1 or more"):
        tiny.encode_to_file(TEXTS, path, chunk=chunk)


# --- into a file ---


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_file(tiny, path, chunk):
    """The file is a .npy file of all embeddings, and no other file stays."""
    found = tiny.encode_to_file(iter(TEXTS), path, chunk=chunk)
    assert is_near(np.asarray(found), tiny.encode(TEXTS))
    assert not found.flags.writeable
    assert np.array_equal(np.load(path), found)
    assert list(path.parent.iterdir()) == [path]


def test_no_texts(tiny, path):
    """Without texts the file has no rows, of the usual width."""
    assert tiny.encode_to_file([], path).shape == np.load(path).shape == (0, 32)


def test_bits(tiny, path):
    """Binary embeddings are stored as bytes."""
    expected = tiny.encode(TEXTS, precision="ubinary")
    assert np.array_equal(tiny.encode_to_file(TEXTS, path, precision="ubinary", chunk=4), expected)
    assert np.load(path).dtype == np.uint8


def fail_at(texts, index):
    for number, text in enumerate(texts):
        if number == index:
            raise KeyError("the source broke")
        yield text


@pytest.mark.parametrize("index", [0, 3, 4, 11, 22])
def test_resuming(tiny, path, monkeypatch, index):
    """Complete rows are not encoded again, and the file is the same as without a stop."""
    with pytest.raises(KeyError):
        tiny.encode_to_file(fail_at(TEXTS, index), path, chunk=4)
    assert not path.exists()
    encoded = count_encoded(tiny, monkeypatch)
    found = tiny.encode_to_file(TEXTS, path, chunk=7)
    assert encoded == TEXTS[index // 4 * 4 :]
    assert is_near(np.asarray(found), tiny.encode(TEXTS))
    assert list(path.parent.iterdir()) == [path]


class Killed(BaseException):
    """Simulate a kill: nothing may run after it."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsync", "replace", "write"])
def test_a_kill_at_any_moment(tiny_directory, tmp_path, monkeypatch, name):
    """Whichever system call a kill interrupts, the next run makes the same file."""
    model = SentenceTransformer(tiny_directory)
    expected = model.encode(TEXTS)
    for moment in range(100):
        path = tmp_path / str(moment) / "vectors.npy"
        path.parent.mkdir()
        calls = itertools.count()

        def die(*arguments, real, calls=calls, moment=moment, **options):
            if next(calls) == moment:
                raise Killed
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            if name == "write":
                real = streaming._write_journal
                patch.setattr(streaming, "_write_journal", partial(die, real=real))
            else:
                real = getattr(streaming.os, name)
                patch.setattr(streaming.os, name, partial(die, real=real))
            try:
                model.encode_to_file(TEXTS, path, chunk=6)
            except Killed:
                killed = True
            else:
                killed = False
        if not path.exists():
            model.encode_to_file(TEXTS, path, chunk=6)
        assert is_near(np.load(path), expected)
        if not killed:
            break
    assert moment > 3


def test_a_finished_file_stays(tiny, path):
    """A finished file is replaced only if asked for, and then only by a complete one."""
    tiny.encode_to_file(TEXTS, path)
    with pytest.raises(FileExistsError, match=r"vectors.npy must be a new file, but it exists"):
        tiny.encode_to_file(TEXTS[:3], path)
    with pytest.raises(KeyError):
        tiny.encode_to_file(fail_at(TEXTS, 5), path, resume=False, chunk=2)
    assert len(np.load(path)) == len(TEXTS)
    assert len(tiny.encode_to_file(TEXTS[:6], path)) == len(np.load(path)) == 6
    assert len(tiny.encode_to_file(TEXTS[:3], path, resume=False)) == len(np.load(path)) == 3


@pytest.mark.parametrize(
    "others", [TEXTS[::-1], TEXTS[:3], ["", *TEXTS[:7]], [*TEXTS[:3], 5, *TEXTS[4:]]]
)
def test_other_texts_are_refused(tiny, path, others):
    """A call with other texts can't resume, but can start again."""
    with pytest.raises(KeyError):
        tiny.encode_to_file(fail_at(TEXTS, 8), path, chunk=4)
    with pytest.raises(ValueError, match="the first 8 texts must be those that"):
        tiny.encode_to_file(others, path)
    assert len(tiny.encode_to_file(TEXTS[:2], path, resume=False)) == 2


def test_another_model_is_refused(tiny, path, tmp_path):
    """Other parameters, settings or options can't resume; options without effect may differ."""
    with pytest.raises(KeyError):
        tiny.encode_to_file(fail_at(TEXTS, 8), path, chunk=4)
    for model, options in (
        (SentenceTransformer(make_model_directory(tmp_path / "other", seed=1)), {}),
        (SentenceTransformer(tiny.model_directory, prompts={"query": "a "}), {}),
        (tiny, {"prompt": "a "}),
        (tiny, {"precision": "binary"}),
    ):
        with pytest.raises(ValueError, match=r"model and options must be those that .*journal"):
            model.encode_to_file(TEXTS, path, **options)
    options = {"batch_size": 2, "threads": 1, "show_progress_bar": False}
    assert len(tiny.encode_to_file(TEXTS, path, **options)) == len(TEXTS)


def test_a_partial_file_that_was_cut(tiny, path):
    """Rows that the journal counts but the file lacks are an error."""
    with pytest.raises(KeyError):
        tiny.encode_to_file(fail_at(TEXTS, 8), path, chunk=4)
    rows, journal = streaming.name_partial_files(path)
    with rows.open("r+b") as file:
        file.truncate(900)
    with pytest.raises(ValueError, match=r"partial must hold 8 rows, as .* says, but it was cut"):
        tiny.encode_to_file(TEXTS, path)
    journal.write_text(json.dumps({"origin": "x", "done": -1}))
    with pytest.raises(ValueError, match="journal"):
        tiny.encode_to_file(TEXTS, path)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("texts", "no hexadecimal digits", "64 hexadecimal digits"),
        ("texts", "ab", "64 hexadecimal digits"),
        ("texts", "\u0664" * 64, "64 hexadecimal digits"),
        ("texts", 5, "64 hexadecimal digits"),
        ("origin", None, "64 hexadecimal digits"),
        ("done", -1, "a whole number of texts"),
        ("done", 4.0, "a whole number of texts"),
        ("done", 2**60, "a whole number of texts"),
    ],
)
def test_a_damaged_journal(tiny, path, field, value, expected):
    """Each field of a damaged journal is named, with what to do."""
    with pytest.raises(ZeroDivisionError):
        tiny.encode_to_file(
            (1 / 0 if row == 8 else text for row, text in enumerate(TEXTS)), path, chunk=4
        )
    journal = path.with_name(f"{path.name}.journal")
    journal.write_text(json.dumps({**json.loads(journal.read_text()), field: value}))
    with pytest.raises(
        ValueError, match=f"^{field} in .*journal must be {expected}, .*; pass resume=False to"
    ):
        tiny.encode_to_file(TEXTS, path, chunk=4)
    journal.write_text("[]")
    with pytest.raises(ValueError, match=r"journal must hold a JSON object, got \[\]; pass resume"):
        tiny.encode_to_file(TEXTS, path, chunk=4)
    assert is_near(tiny.encode_to_file(TEXTS, path, resume=False), tiny.encode(TEXTS))


def test_a_full_disk(tiny, path, monkeypatch):
    """After a full disk, complete rows stay, and the next call resumes after them."""
    fsync, calls = streaming.os.fsync, itertools.count()

    def refuse(descriptor):
        if next(calls) == 6:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(streaming.os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            tiny.encode_to_file(TEXTS, path, chunk=4)
    encoded = count_encoded(tiny, monkeypatch)
    tiny.encode_to_file(TEXTS, path)
    assert 0 < len(encoded) < len(TEXTS)


@pytest.mark.parametrize("resume", [True, False])
def test_second_writer(tiny, path, monkeypatch, other_writer, resume):
    """A call beside another of the same file is refused before it reads a text."""
    encoded, read = count_encoded(tiny, monkeypatch), []
    texts = (read.append(text) or text for text in TEXTS)
    with (
        other_writer(path),
        pytest.raises(BlockingIOError, match="npy must have one writer at a time"),
    ):
        tiny.encode_to_file(texts, path, resume=resume)
    assert encoded == read == list(path.parent.iterdir()) == []


def test_leftovers_of_kills(tiny, path):
    """What killed processes left is removed: a lock's file, half-written journals, nothing else."""
    for name in (".vectors.npy.minisbert-lock", ".vectors.npy.journal.0123456789abcdef", ".mine"):
        path.with_name(name).touch()
    tiny.encode_to_file(TEXTS, path)
    assert {other.name for other in path.parent.iterdir()} == {".mine", path.name}


def test_writer_in_the_middle(tiny, path):
    """A second call in the middle of the first, from another thread, changes nothing of it."""
    refused = []

    def intrude():
        for text in ("a cat", "a dog"):
            with pytest.raises(BlockingIOError) as error:
                tiny.encode_to_file([text], path, resume=False)
            refused.append(str(error.value))

    def texts():
        for number, text in enumerate(TEXTS):
            if number == 10:
                thread = threading.Thread(target=intrude)
                thread.start()
                thread.join()
            yield text

    found = tiny.encode_to_file(texts(), path, chunk=3)
    assert len(refused) == 2
    assert is_near(np.asarray(found), tiny.encode(TEXTS))
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_folder(tiny, tmp_path):
    """A missing folder is an error before anything is encoded, and is not made."""
    with pytest.raises(FileNotFoundError, match="path must be in an existing folder, got"):
        tiny.encode_to_file(TEXTS, tmp_path / "none" / "x.npy")


def test_token_vectors_make_no_file(tiny, path):
    """Token vectors can't be written to a file, since texts differ in their number."""
    with pytest.raises(ValueError, match="output_value must be 'sentence_embedding' for a file"):
        tiny.encode_to_file(TEXTS, path, output_value="token_embeddings")


def test_a_directory_is_no_file_of_embeddings(tiny, tmp_path):
    """A directory in the place of the file is refused before the first text is read."""
    with pytest.raises(IsADirectoryError, match="path must be a file, got the directory"):
        tiny.encode_to_file(iter(lambda: 1 / 0, None), tmp_path, resume=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "pipe"])
def test_rows_go_only_into_a_regular_file(tiny, tmp_path, kind, resume):
    """A link, a directory or a pipe in the place of the unfinished file is refused, and stays."""
    other, partial = tmp_path / "other.txt", tmp_path / "rows.npy.partial"
    other.write_text("mine")
    if kind == "directory":
        partial.mkdir()
    elif kind == "pipe":
        os.mkfifo(partial)
    else:
        partial.symlink_to(other if kind == "link" else tmp_path / "nothing")
    with pytest.raises(FileExistsError, match="must be a regular file with the rows of an earl"):
        tiny.encode_to_file(["a bird"], tmp_path / "rows.npy", resume=resume)
    assert other.read_text() == "mine"
    assert not (tmp_path / "nothing").exists()
    assert os.path.lexists(partial)
