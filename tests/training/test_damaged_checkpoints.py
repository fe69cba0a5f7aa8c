"""A damaged checkpoint is refused in one sentence that names its file and what to do."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tasks import make_task

from minisbert import SentenceTransformer
from minisbert.training.checkpoints import MODEL_FOLDER, STATE_FILE, TENSORS_FILE
from minisbert.training.loop import train
from models import make_model_directory

TABLE = "embeddings.word_embeddings.weight"
BIAS = "encoder.layer.0.output.dense.bias"
CLASSIFIER = "objective.classifier.weight"


class Stop(Exception):
    """The training is stopped here."""


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """Train a softmax classifier up to its first checkpoint, after step 2 of 6."""
    folder = tmp_path_factory.mktemp("unfinished")
    make_model_directory(folder / "base")

    def stop(line):
        if (folder / "out.training").exists():
            raise Stop

    with pytest.raises(Stop):
        resume(folder, report=stop, resume=False)
    return folder


@pytest.fixture
def copy(unfinished, tmp_path):
    shutil.copytree(unfinished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def resume(folder, **options):
    options = {"resume": True, "out": folder / "out", **options}
    train(
        SentenceTransformer(folder / "base"),
        make_task("softmax", 20),
        "softmax",
        development=make_task("softmax", 10, seed=1),
        **{"batch_size": 8, "epochs": 2, "evaluate_every": 2, "threads": 1},
        **options,
    )


def refuse(folder, sentence):
    """Check that resuming is refused in one printable sentence, and that the checkpoint stays."""
    before = sorted((folder / "out.training").rglob("*"))
    with pytest.raises(ValueError, match=sentence) as caught:
        resume(folder)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600 + 3 * len(str(folder))
    assert sorted((folder / "out.training").rglob("*")) == before


@pytest.mark.parametrize("digest", [True, False])
def test_a_whole_checkpoint_is_resumed(copy, digest):
    """The checkpoint that the cases below damage can be resumed; an old one has no digest."""
    path = copy / "out.training" / STATE_FILE
    state = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in state.items() if digest or k != "digest"}))
    resume(copy)
    assert (copy / "out" / "model.safetensors").exists()


MISSING = object()
MEASURES = r"measures in .*state\.json must be a list of pairs of a step up to 2"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("run", MISSING, r"run in .*state\.json must be an object, but it is missing; remove the"),
        ("run", [1], r"run in .* must be an object, got \[1\]; remove the damaged checkpoint"),
        (
            "run",
            {},
            r"objective must be that of the checkpoint in .* to resume, None, got 'softmax'",
        ),
        ("run", {"objective": "\x1b[2J\n" * 10**5}, r"objective must be .* '\\x1b\[2J\\n"),
        ("step", MISSING, "step in .* must be a whole number of 0 or more, but it is missing"),
        ("step", -1, "step in .* must be a whole number"),
        ("step", 2.0, "step in .* must be a whole number"),
        ("step", True, "step in .* must be a whole number"),
        ("step", "2", "step in .* must be a whole number"),
        ("step", 1, "losses in .* must be a list of 1 finite numbers, one for each step"),
        ("step", 10**30, "losses in .* must be a list of 1000000000000000000000000000000 finite"),
        ("losses", MISSING, "losses in .* must be a list of 2 finite numbers"),
        ("losses", {}, "losses in .* must be"),
        ("losses", [0.1, [0.2]], "losses in .* must be"),
        ("losses", [0.1, float("nan")], "losses in .* must be"),
        ("losses", [0.1, "0.2"], "losses in .* must be"),
        ("measure", MISSING, "measure in .* must be a short name"),
        ("measure", 5, "measure in .* must be a short name"),
        ("measure", "\x1b[31m", "measure in .* must be a short name"),
        ("measure", "x" * 10**6, "measure in .* must be a short name"),
        ("digest", "ab", "digest in .* must be 64 hexadecimal digits, got 'ab'"),
        ("measures", MISSING, MEASURES),
        ("measures", [[0, 0.5], [2]], MEASURES),
        ("measures", [[0, 0.5], 2], MEASURES),
        ("measures", [[0, 0.5], [2, 0.5, 1]], MEASURES),
        ("measures", [[0, 0.5], [[2], 0.5]], MEASURES),
        ("measures", [[0, 0.5], [2, "0.5"]], MEASURES),
        ("measures", [[0, 0.5], [2, None]], MEASURES),
        ("measures", [[0, 0.5], [4, 0.5]], MEASURES),
        ("measures", [[2, 0.5], [2, 0.6]], MEASURES),
        ("measures", [[2, 0.5], [0, 0.6]], MEASURES),
    ],
)
def test_damaged_state(copy, field, value, sentence):
    """Every field of the state is checked by a rule, and against the others."""
    path = copy / "out.training" / STATE_FILE
    state = json.loads(path.read_text())
    if value is MISSING:
        del state[field]
    else:
        state[field] = value
    path.write_text(json.dumps(state))
    refuse(copy, sentence)


def test_too_many_steps(copy):
    """A checkpoint can't have made more steps than the run has."""
    path = copy / "out.training" / STATE_FILE
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "step": 7, "losses": [0.1] * 7}))
    refuse(copy, r"step in .*state\.json must be at most 6, got 7; remove the damaged checkpoint")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"[" * 10**5])
def test_state_that_is_no_object(copy, content):
    """A state that is no JSON object is told to be removed, not to be fetched like a model."""
    (copy / "out.training" / STATE_FILE).write_bytes(content)
    refuse(copy, r"state\.json must hold .*; remove the damaged checkpoint and train anew$")


def put_nan(array):
    array.reshape(-1)[-1] = np.nan
    return array


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (f"parameter/{BIAS}", None, "must be float32 of shape .*, got none; remove the damaged"),
        (
            f"parameter/{BIAS}",
            lambda a: a[None],
            r"must be float32 of shape .*, got float32 of shape",
        ),
        (f"parameter/{BIAS}", lambda a: a[:1], "must be float32 of shape"),
        (
            f"parameter/{BIAS}",
            lambda a: a.astype(np.float64),
            r"must be float32 of .*, got float64 of",
        ),
        (f"parameter/{BIAS}", put_nan, "must be finite numbers, got others"),
        (f"first/{BIAS}", None, "must be float32 of shape"),
        (f"first/{BIAS}", lambda a: a[:1], "must be float32 of shape"),
        (f"first/{TABLE}", lambda a: a[:-1], "must be float32 of shape"),
        (f"second/{BIAS}", put_nan, "must be finite numbers"),
        (f"second/{BIAS}", lambda a: a - 1, "must be numbers of 0 or more, got one below"),
        (f"second/{TABLE}", lambda a: a - 1, "must be numbers of 0 or more, got one below"),
        (f"rows/{TABLE}", None, "must be float32 of shape"),
        (
            f"rows/{TABLE}",
            lambda a: a.astype(np.int32),
            "must be the row numbers of a table, got int32",
        ),
        (f"rows/{TABLE}", lambda a: a.astype(np.float32), "must be the row numbers of a table"),
        (f"rows/{TABLE}", lambda a: a[None], "must be the row numbers of a table"),
        (f"rows/{TABLE}", lambda a: a + 10**6, "must be different numbers below"),
        (f"rows/{TABLE}", lambda a: a - 10**6, "must be different numbers below"),
        (f"rows/{TABLE}", lambda a: a * 0, "must be different numbers below"),
        (f"rows/{BIAS}", lambda a: np.arange(3), "must be the row numbers of a table"),
        (f"best/{CLASSIFIER}", None, "must be float32 of shape"),
        (f"best/{CLASSIFIER}", lambda a: a[:, :-1], "must be float32 of shape"),
        (f"best/{CLASSIFIER}", put_nan, "must be finite numbers"),
        (f"parameter/{BIAS}", lambda a: a + 1, None),
        (f"first/{BIAS}", lambda a: a * 1.001, None),
        (f"rows/{TABLE}", lambda a: np.roll(a, 1), None),
    ],
)
def test_damaged_arrays(copy, name, change, sentence):
    """Every array must have the type and shape that the run gives it, and be finite."""
    path = copy / "out.training" / TENSORS_FILE
    arrays = load_file(path)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = np.ascontiguousarray(change(arrays.get(name)))
    save_file(arrays, path)
    if sentence is None:  # it could be right, but it is not what was written
        refuse(copy, r"the content in .*state\.safetensors must be that which was written, got")
        return
    refuse(copy, rf"{name.partition('/')[2]} in .*state\.safetensors {sentence}")


@pytest.mark.parametrize("damage", ["width", "nan"])
def test_damaged_best_model(copy, damage):
    """The best model so far must have the shapes of the model in training, and be finite."""
    folder = copy / "out.training" / MODEL_FOLDER
    if damage == "width":
        shutil.rmtree(folder)
        make_model_directory(folder, intermediate_size=32)
        refuse(copy, r"encoder.* in .*model must be float32 of shape .*, got float32 of shape")
    else:
        arrays = load_file(folder / "model.safetensors")
        put_nan(arrays[BIAS])
        save_file(arrays, folder / "model.safetensors")
        refuse(copy, rf"{BIAS} in .*model must be finite numbers, got others; remove the damaged")


def test_damaged_best_model_of_fewer_parts(copy):
    """A best model with another number of parameters is refused."""
    folder = copy / "out.training" / MODEL_FOLDER
    shutil.rmtree(folder)
    make_model_directory(folder, num_hidden_layers=1)
    refuse(copy, r"model must hold \d+ parameters, got \d+; remove the damaged checkpoint")
