"""A run that is interrupted and resumed ends, to the last bit, as one that was not interrupted."""

import errno
import math
import os
import random

import numpy as np
import pytest
from kills import ENDS, run_child, write_job
from tasks import make_task

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.model_files import saving
from minisbert.training import checkpoints
from minisbert.training import loop as training
from minisbert.training import run as training_run
from minisbert.training.checkpoints import (
    MODEL_FOLDER,
    STATE_FILE,
    Progress,
    find_work_directory,
    hash_parts,
)
from minisbert.training.development import Measure
from minisbert.training.loop import train
from minisbert.training.objectives import ChosenLoss
from models import make_cross_encoder_directory, make_model_directory, write_json

# 3 steps per epoch, 6 in all, and a checkpoint after every second step.
OPTIONS = {"batch_size": 8, "epochs": 2, "evaluate_every": 2, "learning_rate": 1e-3, "threads": 1}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Skip fsync: no test here cuts the power."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    dense = make_model_directory(path / "dense", dense=12, new_format=True)
    # A folder that this package would call 2_Dense.
    (dense / "2_Dense").rename(dense / "projection")
    modules = (dense / "modules.json").read_text()
    (dense / "modules.json").write_text(modules.replace("2_Dense", "projection"))
    return {
        "bi": make_model_directory(path / "bi"),
        "dense": dense,
        "classes": make_cross_encoder_directory(path / "classes", num_labels=2),
    }


RUNS = {
    "scores": ("bi", "cosine", True),
    "classifier": ("bi", "softmax", True),
    "projection": ("dense", "softmax", True),
    "cross-encoder": ("classes", "classes", True),
    "last": ("bi", "ranking", False),
}


class Runner:
    """Runs of one kind into one directory, each from a freshly loaded model."""

    def __init__(self, kind, directories, folder):
        name, self.objective, measured = RUNS[kind]
        self.directory = directories[name]
        self.task = make_task(self.objective, 20)
        self.development = make_task(self.objective, 10, seed=1) if measured else None
        self.out = folder / "out"

    def load(self):
        read = CrossEncoder if self.objective == "classes" else SentenceTransformer
        return read(self.directory)

    def run(self, **options):
        """Return the model and the result; `options` replace OPTIONS and those of the kind."""
        options = {"development": self.development, "out": self.out, **OPTIONS, **options}
        model = options.pop("model", None) or self.load()
        result = train(model, options.pop("task", self.task), self.objective, **options)
        return model, result

    @property
    def work(self):
        return find_work_directory(self.out)


def summarise(model, result, out):
    """Return everything that must be the same, to the last bit."""
    arrays = {**model.parameters, **result.classifier}
    return (
        {name: array.tobytes() for name, array in arrays.items()},
        *(result.losses, result.measure, result.measures, result.best_step),
        {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()},
    )


@pytest.fixture(scope="module")
def uninterrupted(directories, tmp_path_factory):
    """Return the end of a run of each kind that is not interrupted."""
    ends = {}

    def find(kind):
        if kind not in ends:
            runner = Runner(kind, directories, tmp_path_factory.mktemp("whole"))
            ends[kind] = summarise(*runner.run(), runner.out)
        return ends[kind]

    return find


@pytest.fixture
def make_runner(directories, tmp_path):
    return lambda kind: Runner(kind, directories, tmp_path)


def fail_at(monkeypatch, owner, name, call, error, late=False):
    """Let the given call of a function raise an error, instead of its work or after it."""
    function, calls = getattr(owner, name), []

    def fail(*arguments, **options):
        calls.append(name)
        if len(calls) == call and not late:
            raise error
        result = function(*arguments, **options)
        if len(calls) == call:
            raise error
        return result

    monkeypatch.setattr(owner, name, fail)


PLACES = [
    (training_run, "measure_development", 1, False, 0),  # before the first step
    (training.Trainer, "step", 1, False, 0),
    (training.Trainer, "step", 2, True, 0),
    (training_run, "write_checkpoint", 1, False, 0),
    (training_run, "write_checkpoint", 1, True, 2),
    (training.Trainer, "step", 3, True, 2),
    (training.Trainer, "step", 4, False, 2),  # between the epochs
    (
        training.Trainer,
        "step",
        4,
        True,
        2,
    ),  # parameters have changed, and no checkpoint was written
    (training_run, "measure_development", 3, True, 2),
    (saving, "write_safetensors", 2, True, 2),  # in the model of a checkpoint
    (checkpoints, "write_safetensors", 2, True, 2),
    (training_run, "write_checkpoint", 2, True, 4),
    (training.Trainer, "step", 6, False, 4),
    (training_run, "write_checkpoint", 3, True, 6),
    (SentenceTransformer, "save", 4, False, 6),  # that of the end
    (SentenceTransformer, "save", 4, True, 6),
    (training, "remove_directory", 1, False, 6),
]


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name", "call", "late", "kept"), PLACES)
def test_interruptions(make_runner, uninterrupted, monkeypatch, owner, name, call, late, kept):
    """Wherever a run is stopped, it resumes from its last checkpoint to the same end."""
    runner, lines = make_runner("classifier"), []
    with monkeypatch.context() as patch:
        fail_at(patch, owner, name, call, KeyboardInterrupt(), late)
        with pytest.raises(KeyboardInterrupt):
            runner.run()
    found = summarise(*runner.run(resume=True, report=lines.append), runner.out)
    assert found == uninterrupted("classifier")
    assert [path.name for path in runner.out.parent.iterdir()] == ["out"]
    if kept:
        assert lines[0] == f"resuming after step {kept} of 6"
    else:
        assert lines[0].startswith("step 0 of 6")


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_every_kind_resumes(make_runner, uninterrupted, monkeypatch, kind):
    """Every kind of run, interrupted twice, ends as one that was not interrupted."""
    runner = make_runner(kind)
    for call, resume in ((4, False), (2, True)):
        with monkeypatch.context() as patch:
            fail_at(patch, training.Trainer, "step", call, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                runner.run(resume=resume)
    found = summarise(*runner.run(resume=True), runner.out)
    assert found == uninterrupted(kind)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_between_two_checkpoints(make_runner, uninterrupted, monkeypatch, killed):
    """Stopped after the old checkpoint was moved aside and before the new one took its place."""
    monkeypatch.setattr("minisbert.system.disk._swap", lambda new, destination: False)
    runner, replace, targets = make_runner("scores"), os.replace, []

    def fail(source, target):
        targets.append(target)
        if targets.count(runner.work) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        if killed:  # no process is left to put it back
            patch.setattr("minisbert.system.disk.recover_directory", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            runner.run()
    assert runner.work.exists() != killed
    lines = []
    found = summarise(*runner.run(resume=True, report=lines.append), runner.out)
    assert found == uninterrupted("scores")
    assert lines[0] == "resuming after step 2 of 6"
    assert [path.name for path in runner.out.parent.iterdir()] == ["out"]


def test_threads_may_change(make_runner, uninterrupted, monkeypatch):
    """A run that began on one thread ends the same on two."""
    runner = make_runner("scores")
    with monkeypatch.context() as patch:
        fail_at(patch, training.Trainer, "step", 4, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            runner.run()
    found = summarise(*runner.run(resume=True, threads=2), runner.out)
    assert found == uninterrupted("scores")


def test_resume_may_begin(make_runner, uninterrupted):
    """Where there is no checkpoint yet, or an empty directory for it, the run starts."""
    runner = make_runner("scores")
    runner.work.mkdir()
    found = summarise(*runner.run(resume=True), runner.out)
    assert found == uninterrupted("scores")


def test_a_stopped_run_leaves_the_best_model(make_runner, monkeypatch):
    """After an interruption the model in memory is the best so far, as in the checkpoint."""
    runner, values = make_runner("scores"), iter([0.1, 0.9, 0.2])
    monkeypatch.setattr(
        training_run, "measure_development", lambda *_, **__: Measure("luck", next(values))
    )
    fail_at(monkeypatch, training.Trainer, "step", 5, KeyboardInterrupt())
    model = runner.load()
    with pytest.raises(KeyboardInterrupt):
        runner.run(model=model)
    saved = SentenceTransformer(runner.work / MODEL_FOLDER)
    assert all(np.array_equal(saved.parameters[n], a) for n, a in model.parameters.items())
    assert saved.encode("a bird").tobytes() == model.encode("a bird").tobytes()


def test_a_checkpoint_holds_a_model(make_runner, monkeypatch):
    """The best cross-encoder so far, with its classes' names, can be loaded from a checkpoint."""
    runner = make_runner("cross-encoder")
    fail_at(monkeypatch, training.Trainer, "step", 5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        runner.run(made_by="by hand")
    assert sorted(path.name for path in runner.work.iterdir()) == sorted(
        checkpoints.CHECKPOINT_FILES
    )
    model = CrossEncoder(runner.work / MODEL_FOLDER)
    assert model.predict([("a bird", "a tree")]).shape == (1, 2)
    assert '"same"' in (runner.work / MODEL_FOLDER / "config.json").read_text()
    assert "by hand" in (runner.work / MODEL_FOLDER / "README.md").read_text()


# What goes wrong


FULL = OSError(errno.ENOSPC, "No space left on device", "somewhere")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (saving, "write_safetensors"),
        (checkpoints, "write_safetensors"),
        (checkpoints, "write_file"),
    ],
)
def test_full_disk(make_runner, uninterrupted, monkeypatch, owner, name):
    """A checkpoint that can't be written leaves the one before, and the error says what to do."""
    runner = make_runner("classifier")
    with monkeypatch.context() as patch:
        fail_at(patch, owner, name, 2, FULL)
        with pytest.raises(
            OSError,
            match=r"No space .* of step 4 is not written, the one before is kept; make room",
        ) as caught:
            runner.run()
    assert caught.value.errno == errno.ENOSPC
    # Nothing is left of the one that was not written.
    assert [path.name for path in runner.work.parent.iterdir()] == [runner.work.name]
    assert checkpoints.read_fields(runner.work / STATE_FILE).content["step"] == 2
    found = summarise(*runner.run(resume=True), runner.out)
    assert found == uninterrupted("classifier")


def test_full_disk_at_once(make_runner, monkeypatch):
    """The error names no earlier checkpoint if there is none."""
    runner = make_runner("scores")
    fail_at(monkeypatch, checkpoints, "write_safetensors", 1, FULL)
    with pytest.raises(OSError, match="of step 2 is not written; make room and resume"):
        runner.run()
    assert list(runner.out.parent.iterdir()) == []


def test_full_disk_at_the_end(make_runner, uninterrupted, monkeypatch):
    """If there is no room for the model, the last checkpoint stays, and the run can be resumed."""
    runner = make_runner("scores")
    with monkeypatch.context() as patch:
        fail_at(patch, saving, "write_safetensors", 4, FULL)
        with pytest.raises(OSError, match="No space left"):
            runner.run()
    assert not runner.out.exists()
    assert summarise(*runner.run(resume=True), runner.out) == uninterrupted("scores")


def test_notes_in_a_checkpoint(make_runner, monkeypatch):
    """A user's file that appears in the checkpoint's directory is not removed with it."""
    runner = make_runner("scores")
    write_checkpoint = training_run.write_checkpoint

    def write(*arguments, **options):
        write_checkpoint(*arguments, **options)
        (runner.work / "notes.txt").write_text("mine")

    monkeypatch.setattr(training_run, "write_checkpoint", write)
    with pytest.raises(FileExistsError, match=r"a directory with notes.txt in it; .*move it"):
        runner.run()
    assert (runner.work / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("kind", ["scores", "last"])
def test_loss_that_runs_away(make_runner, monkeypatch, kind):
    """A loss that is not finite stops the run: step and lines are named, the last model is kept."""
    runner, model = make_runner(kind), make_runner(kind).load()
    forward, calls = ChosenLoss.forward, []

    def fail(*arguments, **options):
        calls.append("forward")
        return math.nan if len(calls) == 5 else forward(*arguments, **options)

    monkeypatch.setattr(ChosenLoss, "forward", fail)
    # Step 5 is the second of the second epoch.
    rows = np.random.default_rng([0, 1]).permutation(20)[8:16]
    lines = ", ".join(str(row + 1) for row in sorted(rows))
    with pytest.raises(FloatingPointError) as caught:
        runner.run(model=model)
    assert str(caught.value) == (
        f"the loss must be finite, got nan at step 5 of 6, in the batch of lines {lines}; "
        f"lower the learning rate; the last good model is in {runner.work}"
    )
    saved = SentenceTransformer(runner.work / MODEL_FOLDER)
    assert all(np.array_equal(saved.parameters[n], a) for n, a in model.parameters.items())
    assert np.isfinite(saved.encode("a bird")).all()


# What is refused


@pytest.fixture
def stopped(make_runner, monkeypatch):
    """An interrupted run with a checkpoint."""
    runner = make_runner("scores")
    with monkeypatch.context() as patch:
        fail_at(patch, training.Trainer, "step", 4, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            runner.run()
    return runner


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("epochs", {"epochs": 3}),
        ("batch_size", {"batch_size": 4}),
        ("learning_rate", {"learning_rate": 1e-4}),
        ("warmup", {"warmup": 0.2}),
        ("weight_decay", {"weight_decay": 0.1}),
        ("clip_norm", {"clip_norm": 2.0}),
        ("dropout", {"dropout": False}),
        ("seed", {"seed": 1}),
        ("evaluate_every", {"evaluate_every": 3}),
        ("examples", {"task": make_task("cosine", 20, seed=2)}),
        ("development", {"development": make_task("cosine", 8, seed=2)}),
        ("development", {"development": None}),
    ],
)
def test_another_run_is_refused(stopped, name, options):
    """A checkpoint of other settings or examples is not resumed; what differs is named."""
    before = (stopped.work / STATE_FILE).read_bytes()
    with pytest.raises(ValueError, match=f"^{name} must be that of the checkpoint in .*; start"):
        stopped.run(resume=True, **options)
    assert (stopped.work / STATE_FILE).read_bytes() == before


def test_another_objective_is_refused(stopped):
    """A checkpoint of another objective on the same texts is not resumed."""
    stopped.objective, stopped.development = "triplet", None
    with pytest.raises(ValueError, match=r"^objective must be that of the checkpoint"):
        stopped.run(resume=True, task=make_task("triplet", 20))


def test_another_model_is_refused(stopped, tmp_path):
    """A checkpoint of another model, or another max_length, is not resumed."""
    other = SentenceTransformer(make_model_directory(tmp_path / "other", seed=1))
    with pytest.raises(ValueError, match=r"^model must be that of the checkpoint"):
        stopped.run(resume=True, model=other)
    model = stopped.load()
    model.max_seq_length = 32
    with pytest.raises(ValueError, match=r"^max_length must be .*, 64, got 32;"):
        stopped.run(resume=True, model=model)


def test_an_unfinished_run_is_not_lost(stopped):
    """Without resume an unfinished training is neither resumed nor written over."""
    before = (stopped.work / STATE_FILE).read_bytes()
    with pytest.raises(FileExistsError, match="it holds an unfinished training; resume it"):
        stopped.run()
    assert (stopped.work / STATE_FILE).read_bytes() == before


def test_a_finished_run_is_not_resumed(make_runner):
    """A finished run can't be resumed."""
    runner = make_runner("last")
    runner.run(epochs=1)
    with pytest.raises(
        FileExistsError, match="out must be an unfinished training to resume, but it is complete"
    ):
        runner.run(epochs=1, resume=True)


@pytest.mark.parametrize(
    ("path", "damage"),
    [
        (STATE_FILE, lambda path: path.write_bytes(path.read_bytes()[:-5])),
        (STATE_FILE, lambda path: write_json(path, [])),
        (checkpoints.TENSORS_FILE, lambda path: path.write_bytes(path.read_bytes()[:-5])),
        (checkpoints.TENSORS_FILE, lambda path: path.unlink()),
    ],
    ids=["cut", "list", "cut-tensors", "no-tensors"],
)
def test_a_damaged_checkpoint(stopped, path, damage):
    """A damaged checkpoint is an error that names the file."""
    damage(stopped.work / path)
    with pytest.raises((ValueError, OSError), match=path):
        stopped.run(resume=True)


# Pieces


@pytest.mark.parametrize(
    ("measures", "best"),
    [
        ([], 7),
        ([(0, 0.9)], 7),
        ([(0, 0.9), (2, 0.1)], 2),
        ([(2, 0.5), (4, 0.7), (6, 0.7)], 4),
        ([(2, math.nan), (4, -0.5)], 4),
        ([(2, math.nan)], 7),
    ],
)
def test_best_step(measures, best):
    """The best step is that of the largest measure, the first of equal ones, else the last."""
    assert Progress(7, [], "", measures).best_step == best


def test_hashes_see_where_parts_end():
    """The same bytes, divided otherwise, have another hash."""
    assert len({hash_parts(parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [])}) == 4


def test_place_of_checkpoints(tmp_path, monkeypatch):
    """Checkpoints are beside the model, also behind a link or in a home directory."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, place in ((tmp_path / "link", "real"), ("~/there", "there"), (f"{tmp_path}/x/", "x")):
        assert find_work_directory(name) == tmp_path.resolve() / f"{place}.training"


# A true kill


@pytest.mark.slow
def test_kills(directories, tmp_path):
    """A run that is killed three times ends with the same file as one that was not."""
    arguments = {
        "examples": make_task("softmax", 40),
        "development": make_task("softmax", 8, seed=1),
        "objective": "softmax",
        **{**OPTIONS, "batch_size": 4, "evaluate_every": 3},
    }
    train(SentenceTransformer(directories["bi"]), out=tmp_path / "whole", **arguments)
    job = write_job(
        tmp_path / "job.json",
        model=str(directories["bi"]),
        cross_encoder=False,
        arguments={**arguments, "out": str(tmp_path / "killed")},
    )
    rng = random.Random(4)
    for _ in range(3):
        killed, _ = run_child(job, ENDS, rng.uniform(0, 0.03))
        assert killed, "the run must be long enough for three kills"
    killed, printed = run_child(job)
    assert not killed
    assert printed[1].startswith("resuming after step ")
    whole, found = (tmp_path / name / "model.safetensors" for name in ("whole", "killed"))
    assert found.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", "killed", "whole"]
