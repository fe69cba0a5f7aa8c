"""An index file is opened once, notices damage, and fails in one sentence if it is cut short."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minisbert
from minisbert import BinaryIndex, FlatIndex, TextIndex
from minisbert.search import block_file, index_files
from minisbert.search.block_file import BLOCK
from minisbert.system.safetensors import read_safetensors

FILE_NAME = "index.safetensors"


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.fixture(params=[None, "int8"])
def path(request, rng, tmp_path):
    """Save an index of 40,000 rows, 2.5 MB, with ids and a companion; return its path."""
    rows = rng.standard_normal((40_000, 16)).astype(np.float32)
    index = FlatIndex.from_embeddings(rows, codes=request.param, ids=np.arange(40_000) * 7)
    index.companions["notes"] = rng.integers(0, 256, 999, np.uint8)
    index.companions["halves"] = rng.standard_normal(1000).astype(np.float16)
    index.save(tmp_path / "index")
    return tmp_path / "index"


def flip_bit(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def find_places(path):
    """Return the places of the arrays in a file: name -> (start, end)."""
    file = block_file.BlockFile(path)
    return {name: (place.start, place.end) for name, place in file.places.items()}


# --- digests ---


def test_whole_file_is_verified(path):
    """What was loaded is verified, mapped or in memory; what was made in memory is not."""
    index = FlatIndex.load(path)
    assert index.verify() is True
    assert FlatIndex.load(path, mapped=False).verify() is True
    index.companions = {}
    index.add(np.ones((1, 16)), [1])
    assert index.verify() is False
    assert FlatIndex(3).verify() is False


@pytest.mark.parametrize("name", ["rows", "codes", "ids", "notes", "halves", "digests"])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.999])
def test_one_flipped_bit_is_noticed(path, name, where):
    """One wrong bit anywhere in an array is refused, at once or by `verify`, which names it."""
    places = find_places(path)
    if name not in places:
        return
    start, end = places[name]
    flip_bit(path, start + int(where * (end - start)))
    if name in ("ids", "halves", "digests"):
        with pytest.raises(ValueError, match="damaged"):
            FlatIndex.load(path)
        return
    index = FlatIndex.load(path)
    first = int(where * (end - start)) // BLOCK * BLOCK
    last = min(first + BLOCK, end - start)
    sentence = f"^{name} in .* must be as they were saved, but bytes {first} to {last} of them "
    with pytest.raises(ValueError, match=sentence) as refusal:
        index.verify()
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match=sentence):
        FlatIndex.load(path, mapped=False)


@pytest.mark.slow
def test_one_flipped_bit_in_the_header_is_noticed(tmp_path):
    """One wrong bit anywhere in the header is refused when the file is opened."""
    path = tmp_path / "index"
    FlatIndex.from_embeddings(np.eye(3), codes="int8", ids=[3, 1, 2]).save(path)
    header = min(start for start, _ in find_places(path).values())
    content = path.read_bytes()
    for offset in range(header):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged|another kind|must be") as refusal:
            FlatIndex.load(path)
        assert "\n" not in str(refusal.value)


def test_damage_is_not_passed_on(path, rng):
    """A loaded index with damaged rows is not saved anew, and no rows are added to it."""
    start, _ = find_places(path)["rows"]
    flip_bit(path, start + 5)
    index = FlatIndex.load(path)
    with pytest.raises(ValueError, match=r"rows in .* damaged"):
        index.save(path.with_name("other"))
    assert not path.with_name("other").exists()
    index.companions = {}
    for change in (lambda: index.add(np.ones((1, 16)), [1]), lambda: index.remove([7])):
        with pytest.raises(ValueError, match=r"rows in .* damaged"):
            change()
    assert len(index) == 40_000


@pytest.mark.parametrize("path", ["int8"], indirect=True)
def test_damage_of_codes_is_not_passed_on(path):
    """A loaded index with damaged codes is not saved anew, and no rows are added to it."""
    flip_bit(path, find_places(path)["codes"][0] + 5)
    index = FlatIndex.load(path)
    with pytest.raises(ValueError, match=r"codes in .* damaged"):
        index.save(path.with_name("other"))
    assert not path.with_name("other").exists()
    index.companions = {}
    with pytest.raises(ValueError, match=r"codes in .* damaged"):
        index.add(np.ones((1, 16)), [1])
    index.remove([7])  # makes codes of the rows that stay
    assert index.search(index.rows[5])[1][0] == 42


def test_built_file_has_the_same_digests(rng, tmp_path):
    """A file that is built from pieces has the digests of one that is saved whole."""
    rows = rng.standard_normal((30_000, 24)).astype(np.float32)
    ids = np.arange(30_000)
    pieces = ((rows[i : i + 700], ids[i : i + 700]) for i in range(0, 30_000, 700))
    built = FlatIndex.build(tmp_path / "built", pieces, 24, "dot", codes="int8")
    assert built.verify()
    saved = FlatIndex.from_embeddings(rows, "dot", codes="int8", ids=ids)
    saved.save(tmp_path / "saved")
    one, other = (FlatIndex.load(tmp_path / name) for name in ("built", "saved"))
    for name, values in one._state.digests.values.items():
        assert np.array_equal(values, other._state.digests.values[name])


@pytest.mark.parametrize("name", ["rows", "codes", "ids", "digests"])
def test_names_of_companions(name, tmp_path):
    """A companion can't have the name of an index's own array."""
    index = FlatIndex.from_embeddings(np.eye(3))
    index.companions[name] = np.zeros(3)
    with pytest.raises(ValueError, match=f"^companions must be .* names other than .* '{name}'"):
        index.save(tmp_path / "index")
    index.companions = {"words": np.array(["a", "b", "c"])}
    with pytest.raises(ValueError, match=r"^companions must be arrays .* got <U1 'words'"):
        index.save(tmp_path / "index")
    assert not list(tmp_path.iterdir())


# --- opened once ---


def test_file_replaced_while_it_is_opened(path, rng, monkeypatch):
    """If another file takes the name after the header was read, all parts are of the first."""
    rows = np.array(FlatIndex.load(path).rows)
    other = FlatIndex.from_embeddings(rng.standard_normal((50, 5)), codes=None)
    read_layout = block_file.read_layout

    def replace(file, name):
        found = read_layout(file, name)
        other.save(path)
        return found

    monkeypatch.setattr(block_file, "read_layout", replace)
    index = FlatIndex.load(path)
    monkeypatch.undo()
    assert index.verify()
    assert np.array_equal(index.rows, rows)
    assert np.array_equal(index.ids, np.arange(40_000) * 7)
    assert len(FlatIndex.load(path)) == 50


def test_file_cut_short_while_it_is_opened(path, monkeypatch):
    """If the file becomes shorter after the header was read, that is an error in one sentence."""
    read_layout = block_file.read_layout

    def cut(file, name):
        found = read_layout(file, name)
        os.truncate(path, 3000)
        return found

    monkeypatch.setattr(block_file, "read_layout", cut)
    for mapped in (True, False):
        with pytest.raises(ValueError, match=r"it was cut short|damaged"):
            FlatIndex.load(path, mapped=mapped)


def test_built_index_is_that_of_its_own_file(tmp_path, monkeypatch):
    """If another file takes the name right after a build, the index is still of its own."""
    other = FlatIndex.from_embeddings(np.eye(3))
    write_file = index_files.write_file

    def write_and_lose(path):
        class Writing:
            def __enter__(self):
                self.inner = write_file(path)
                return self.inner.__enter__()

            def __exit__(self, *error):
                self.inner.__exit__(*error)
                monkeypatch.undo()
                other.save(path)

        return Writing()

    monkeypatch.setattr(index_files, "write_file", write_and_lose)
    index = FlatIndex.build(tmp_path / "index", [np.ones((9, 4))], 4)
    assert index.rows.shape == (9, 4)
    assert index.verify()
    assert FlatIndex.load(tmp_path / "index").rows.shape == (3, 3)


# --- files that are cut short ---


def test_row_that_is_missing(path):
    """A row beyond the end of the file is an error in one sentence, with preadv and without."""
    file = FlatIndex.load(path).mapped_file
    start, _ = find_places(path)["rows"]
    os.truncate(path, start + 1999 * 64)
    rows = file.fetch(np.array([1998, 0]))
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    with pytest.raises(ValueError, match=r"must stay as long as it was .* it was cut short"):
        file.fetch(np.array([0, 1999]))


def test_reading_without_preadv(path, rng, monkeypatch):
    """A system without preadv reads the same, and gives the same error."""
    query = rng.standard_normal(16)
    expected = FlatIndex.load(path).search(query, 5)
    monkeypatch.delattr(os, "preadv", raising=False)
    index = FlatIndex.load(path)
    assert all(map(np.array_equal, index.search(query, 5), expected))
    assert index.verify()
    os.truncate(path, 5000)
    with pytest.raises(ValueError, match="it was cut short"):
        index.mapped_file.fetch(np.array([39_999]))


def act(action, path):
    """Open an index, cut its file short, act, and print the error; run in a process of its own."""
    index = FlatIndex.load(path)
    binary = BinaryIndex.from_index(index)
    os.truncate(path, 3000)
    query = np.ones((5, 16))
    actions = {
        "search one": lambda: index.search(query[0]),
        "search many": lambda: index.search(query),
        "search codes": lambda: index.search(query, 40_000),
        "add": lambda: (index.companions.clear(), index.add(query, np.arange(1, 6))),
        "remove": lambda: (index.companions.clear(), index.remove([7])),
        "save": lambda: index.save(path + ".other"),
        "verify": index.verify,
        "binary": lambda: binary.search(query),
        "recall": lambda: binary.measure_recall(query),
        "make binary": lambda: BinaryIndex.from_index(index),
    }
    try:
        actions[action]()
    except ValueError as error:
        print(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "action",
    [
        *("search one", "search many", "search codes", "add", "remove", "save", "verify"),
        *("binary", "recall", "make binary"),
    ],
)
def test_cut_short_while_open(path, action):
    """Nothing that is done with an index ends the process if its file was cut short before."""
    done = subprocess.run(
        [sys.executable, __file__, action, path],
        env={**os.environ, "PYTHONPATH": str(Path(minisbert.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != -signal.SIGBUS
    assert "must stay as long as it was when it was opened" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
    assert sorted(other.name for other in path.parent.iterdir()) == ["index"]


def test_text_of_a_file_that_was_cut_short(tmp_path):
    """A text beyond the end of the file is an error in one sentence."""
    TextIndex.from_embeddings(np.eye(3), ["a", "b", "c" * 9000]).save(tmp_path)
    index = TextIndex.load(tmp_path)
    os.truncate(tmp_path / FILE_NAME, 2000)
    with pytest.raises(ValueError, match="it was cut short"):
        index.get_text(2)


def test_in_memory(path, rng, tmp_path):
    """With mapped=False the file is needed no more: it may be cut short or emptied."""
    queries = rng.standard_normal((5, 16))
    mapped = FlatIndex.load(path)
    expected, companions = mapped.search(queries), mapped.companions
    index = FlatIndex.load(path, mapped=False)
    path.write_bytes(b"")
    assert index.mapped_file is None
    assert all(map(np.array_equal, index.search(queries), expected))
    assert index.companions.keys() == {"notes", "halves"} == companions.keys()
    assert index.verify()
    index.save(tmp_path / "again")
    assert FlatIndex.load(tmp_path / "again").verify()
    assert not read_safetensors(tmp_path / "again")[0]["rows"].flags.writeable


if __name__ == "__main__":
    act(sys.argv[1], sys.argv[2])
