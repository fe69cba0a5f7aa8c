"""`minisbert train`: what it prints, what it leaves behind, and what it refuses."""

import json
import re

import pytest
from tasks import make_task

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.__main__ import main
from minisbert.training import OBJECTIVES, Settings
from models import make_cross_encoder_directory

QUICK = ("--batch-size", 8, "--learning-rate", 1e-3, "--threads", 1)


@pytest.fixture
def run(capsys):
    """Run `minisbert train` in this process: exit code, standard output, standard error."""

    def run(*arguments) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(["train", *map(str, arguments)])
        except SystemExit as exit:
            code = exit.code
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def write(tmp_path):
    """Write the rows of a task to a TSV file with a header."""

    def write(name, header, rows):
        path = tmp_path / name
        path.write_text("\n".join("\t".join(map(str, row)) for row in [header, *rows]) + "\n")
        return path

    return write


SCORED, CLASSED = ("sentence1", "sentence2", "score"), ("sentence1", "sentence2", "label")


def test_scores(run, write, tiny_directory, tmp_path):
    """The objective is inferred and described; examples, evaluations and the end are printed."""
    file = write("train.tsv", SCORED, make_task("cosine", 16))
    held_out = write("dev.tsv", SCORED, make_task("cosine", 6, seed=1))
    options = ("--development", held_out, "--model", tiny_directory, "--out", tmp_path / "out")
    code, out, error = run(file, *options, *QUICK)
    assert (code, error) == (0, "")
    lines = [line.split("  ") for line in out.splitlines()]
    assert out.splitlines()[:4] == [
        "objective    cosine: mean squared error of the cosine, inferred from the columns",
        "examples     16, each 2 texts and a score, 0.50 on average",
        "development  6, each 2 texts and a score, 0.50 on average",
        f"model        {tiny_directory}",
    ]
    assert [line[0] for line in lines[4:6]] == ["step 0 of 2", "step 2 of 2"]
    assert lines[6][0] == "trained"
    assert lines[-1][0] == "saved"
    SentenceTransformer(tmp_path / "out")
    assert "minisbert" in (tmp_path / "out" / "README.md").read_text()


def test_options_of_objectives(run, write, tiny_directory, tmp_path):
    """Options reach the objective that has them, and are printed with it."""
    triplets = write("t.tsv", ("anchor", "positive", "negative"), make_task("triplet", 8))
    model = ("--model", tiny_directory, *QUICK)
    for name, options, described in (
        ("triplet", ("--margin", 2), "margin 2"),
        ("ranking", ("--objective", "ranking", "--cosine-scale", 5), "scale 5"),
    ):
        code, out, _ = run(triplets, *options, "--out", tmp_path / name, *model)
        assert code == 0
        assert out.startswith(f"objective    {name}: {OBJECTIVES[name].summary}, {described}")


def test_classes_of_a_cross_encoder(run, write, tmp_path):
    """A cross-encoder gets a new head if it needs one; its labels are the classes of the file."""
    file = write("train.tsv", CLASSED, make_task("classes", 8))
    directory = make_cross_encoder_directory(tmp_path / "model")
    options = ("--cross-encoder", "--model", directory, "--out", tmp_path / "out", "--no-dropout")
    code, out, _ = run(file, *options, *QUICK)
    assert code == 0
    assert out.splitlines()[0].startswith("objective    classes: cross-entropy, inferred")
    assert out.splitlines()[1] == "examples     8, each 2 texts and a class: 4 other, 4 same"
    assert out.splitlines()[2] == f"model        {directory}, with a new head"
    CrossEncoder(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "other", "1": "same"}


def test_resume(run, write, tiny_directory, tmp_path, monkeypatch):
    """An interrupted training says how to continue, and continues."""
    file = write("train.tsv", SCORED, make_task("cosine", 24))
    options = (file, "--model", tiny_directory, "--out", tmp_path / "out", *QUICK, "--epochs", 2)
    from minisbert.training import step

    steps, trainer_step = [], step.Trainer.step

    def interrupt(*arguments):
        steps.append("step")
        if len(steps) == 5:
            raise KeyboardInterrupt
        return trainer_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(step.Trainer, "step", interrupt)
        code, _, error = run(*options)
    assert code == 130
    assert error == "stopped; --resume continues from the last checkpoint\n"
    code, _, error = run(*options)
    assert code == 2
    assert "holds an unfinished training; resume it, or remove it" in error
    code, out, _ = run(*options, "--resume")
    assert code == 0
    assert "resuming after step 3 of 6" in out
    SentenceTransformer(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--objective", "mse"), "objective must be one of cosine, .*, got 'mse'"),
        (("--objective", "classes"), "must hold classes in column score, got 2 different values"),
        (("--cosine-scale", 0), "scale must be a number above 0, got 0.0"),
        (("--epochs", 0), "epochs must be a whole number of 1 or more, got 0"),
        (("--concatenation", "v,u"), "concatenation must be one of"),
        (("--columns", "a,b"), "columns must be among 'sentence1', 'sentence2', 'score'"),
    ],
)
def test_mistakes_are_one_sentence(run, write, tiny_directory, tmp_path, options, message):
    """A mistake is one sentence and exit code 2, before the model is loaded."""
    file = write("train.tsv", SCORED, [("a", "b", 0.5), ("c", "d", 0.7)])
    code, out, error = run(file, "--model", "./nowhere", "--out", tmp_path / "out", *options)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert re.search(message, error)


def test_help_lists_objectives_and_defaults(run):
    """--help names every objective and the default of every setting and option."""
    code, out, _ = run("--help")
    shown = " ".join(out.split())
    assert code == 0
    assert all(name in shown for name in OBJECTIVES)
    for default in (Settings.epochs, Settings.batch_size, Settings.learning_rate, Settings.seed):
        assert f"default {default}" in shown
    for objective in OBJECTIVES.values():
        for value in objective.options.values():
            assert f"of the objective {objective.name}, default {value}" in shown
