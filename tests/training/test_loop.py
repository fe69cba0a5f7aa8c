"""Training: its result, its report, and what it refuses before any work."""

import inspect
import math
import threading
import warnings
from dataclasses import fields

import numpy as np
import pytest
from tasks import make_task

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.arguments import TruncationWarning
from minisbert.training import loop as training
from minisbert.training import run as training_run
from minisbert.training.checkpoints import find_work_directory
from minisbert.training.development import Measure
from minisbert.training.examples import make_examples, read_examples
from minisbert.training.loop import train
from minisbert.training.objectives import (
    CLASSIFIER,
    OBJECTIVES,
    OPTION_NAMES,
    find_objective,
    infer_objective,
)
from minisbert.training.settings import Settings
from models import make_cross_encoder_directory, make_model_directory

QUICK = {"batch_size": 8, "learning_rate": 1e-3, "warmup": 0.0, "threads": 1}


def load(objective: str, directories) -> SentenceTransformer | CrossEncoder:
    record = OBJECTIVES.get(objective)
    if record and record.cross_encoder:
        return CrossEncoder(directories["classes" if record.labels == "classes" else "binary"])
    return SentenceTransformer(directories["bi"])


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    return {
        "bi": make_model_directory(path / "bi"),
        "binary": make_cross_encoder_directory(path / "binary"),
        "classes": make_cross_encoder_directory(path / "classes", num_labels=2),
    }


def copy(model) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in model.parameters.items()}


def equal(first, second) -> bool:
    """Return whether two sets of parameters are the same to the last bit."""
    assert first.keys() == second.keys()
    return all(first[name].tobytes() == second[name].tobytes() for name in first)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_loss_falls(directories, objective):
    """Every objective's loss falls on a small task, and the model's parameters change."""
    model = load(objective, directories)
    before = copy(model)
    options = {**QUICK, "epochs": 8, "dropout": False}
    result = train(model, make_task(objective, 24), objective, **options)
    assert len(result.losses) == 24
    assert np.mean(result.losses[-3:]) < 0.9 * np.mean(result.losses[:3])
    assert not equal(copy(model), before)
    # The vectors of words that are in no text only decay.
    word = model.tokenizer.encode(["zz"], 8).ids[0][1]
    moved = model.parameters["embeddings.word_embeddings.weight"][word]
    assert np.allclose(moved, before["embeddings.word_embeddings.weight"][word], rtol=1e-3)


def test_the_trained_model_is_used(directories):
    """`encode` uses the new weights after training, also where it made copies of the old ones."""
    model = load("cosine", directories)
    texts = ["the old bird sings in the red tree"] * 40
    before = model.encode(texts), model.encode(texts[0])
    train(model, make_task("cosine", 16), "cosine", **QUICK)
    after = model.encode(texts), model.encode(texts[0])
    assert np.abs(after[0] - before[0]).max() > 1e-3
    assert np.abs(after[0][0] - after[1]).max() < 1e-6


def test_the_directory_is_left_alone(directories):
    """Parameters that were mapped from a file are copied, and the file stays as it was."""
    path = directories["bi"] / "model.safetensors"
    before = path.read_bytes()
    train(load("cosine", directories), make_task("cosine", 8), "cosine", **QUICK)
    assert path.read_bytes() == before


def test_result(directories):
    """The result holds every step and every evaluation."""
    model = load("softmax", directories)
    task, held_out = make_task("softmax", 20), make_task("softmax", 10, seed=1)
    result = train(
        model, task, "softmax", development=held_out, evaluate_every=2, epochs=2, **QUICK
    )
    assert len(result.losses) == 6
    assert all(map(math.isfinite, result.losses))
    assert result.measure == "accuracy"
    assert [step for step, _ in result.measures] == [0, 2, 4, 6]
    best = max(value for step, value in result.measures if step)
    assert result.best_step == min(s for s, value in result.measures if s and value == best)
    texts = [text for row in task for text in row[:2]]
    assert result.tokens == 2 * model.token_lengths(texts).sum()
    assert result.seconds > 0
    assert set(result.classifier) == {f"{CLASSIFIER}.weight", f"{CLASSIFIER}.bias"}
    assert result.classifier[f"{CLASSIFIER}.weight"].shape == (2, 96)
    assert not set(result.classifier) & set(model.parameters)


def test_result_without_development(directories):
    """Without held-out examples the last step's model is kept and nothing was measured."""
    result = train(load("cosine", directories), make_task("cosine", 20), "cosine", **QUICK)
    assert (result.measure, result.measures, result.best_step) == ("", [], 3)
    assert result.classifier == {}


@pytest.mark.parametrize("objective", ["softmax", "binary"])
@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.1, 0.2, 0.9, 0.3], 2),
        ([0.1, 0.5, 0.5, 0.5], 1),  # of equal ones the first
        ([0.1, 0.2, 0.3, 0.4], 3),
        ([0.9, 0.2, 0.5, 0.3], 2),  # the model as it was does not count
        ([0.1, math.nan, 0.3, math.nan], 2),
        ([math.nan] * 4, 3),
    ],
)
def test_best_model_is_kept(directories, monkeypatch, objective, values, best):
    """The model, and a classifier beside it, are those of the best evaluation after a step."""
    seen, remaining = [], iter(values)

    def measure(model, held_out, loss, *, parameters):
        seen.append({name: array.copy() for name, array in parameters.items()})
        return Measure("luck", next(remaining))

    monkeypatch.setattr(training_run, "measure_development", measure)
    model = load(objective, directories)
    task, held_out = make_task(objective, 24), make_task(objective, 4, seed=1)
    result = train(model, task, objective, development=held_out, evaluate_every=1, **QUICK)
    assert result.best_step == best
    assert equal({**model.parameters, **result.classifier}, seen[best])
    assert not equal(seen[1], seen[3])


def test_seeds(directories):
    """One seed gives the same bits again, on any number of threads; another gives others."""
    found = []
    for seed, threads in ((0, 1), (0, 2), (1, 1)):
        model = load("softmax", directories)
        options = {**QUICK, "threads": threads}
        result = train(model, make_task("softmax", 20), "softmax", seed=seed, **options)
        found.append({**copy(model), **result.classifier})
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])


def test_dropout_can_be_left_out(directories):
    """Without dropout the first loss is that of the model as it is."""
    task = make_task("cosine", 8)
    losses = [
        train(load("cosine", directories), task, "cosine", dropout=dropout, **QUICK).losses[0]
        for dropout in (False, True)
    ]
    model = load("cosine", directories)
    u, v = (model.encode([row[side] for row in task]) for side in (0, 1))
    expected = np.mean((model.similarity_pairwise(u, v) - [row[2] for row in task]) ** 2)
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses[1] != pytest.approx(expected, rel=1e-2)


def test_options_have_effect(directories):
    """Each setting changes the result, so none is ignored."""
    results = []
    for options in (
        {},
        {"batch_size": 4},
        {"learning_rate": 1e-4},
        {"warmup": 0.5},
        {"weight_decay": 0.5},
        {"clip_norm": 0.01},
        {"dropout": False},
        {"concatenation": "u,v"},
    ):
        model = load("softmax", directories)
        train(model, make_task("softmax", 20), "softmax", **{**QUICK, **options})
        results.append(copy(model)["encoder.layer.0.output.dense.weight"].tobytes())
    assert len(set(results)) == len(results)


def test_a_rate_of_nothing_moves_nothing(directories):
    """With a learning rate of 0 no parameter changes."""
    model = load("cosine", directories)
    before = copy(model)
    train(model, make_task("cosine", 8), "cosine", **{**QUICK, "learning_rate": 0})
    assert equal(copy(model), before)


def test_report(directories):
    """A line for each evaluation reports the step, the recent loss and the measure."""
    lines = []
    held_out = make_task("cosine", 6, seed=1)
    options = {**QUICK, "development": held_out, "evaluate_every": 2, "report": lines.append}
    result = train(load("cosine", directories), make_task("cosine", 24), "cosine", **options)
    first, second, last = lines
    assert first == f"step 0 of 3  Spearman {100 * result.measures[0][1]:.2f}"
    loss = np.mean(result.losses[:2])
    assert second == f"step 2 of 3  loss {loss:.4f}  Spearman {100 * result.measures[1][1]:.2f}"
    assert last.startswith("step 3 of 3  loss ")
    # Without held-out examples the loss alone, once an epoch.
    del options["development"], options["evaluate_every"]
    lines.clear()
    train(load("cosine", directories), make_task("cosine", 24), "cosine", epochs=2, **options)
    assert [line.split("  ")[0] for line in lines] == ["step 3 of 6", "step 6 of 6"]
    assert not any("Spearman" in line for line in lines)


def test_progress_bar(directories, capsys):
    """A bar shows steps, loss, rate and speed if asked for; by default a test shows none."""
    train(
        load("cosine", directories),
        make_task("cosine", 24),
        "cosine",
        show_progress_bar=True,
        **QUICK,
    )
    shown = capsys.readouterr().err
    for part in ("train: 100%", "3/3", "loss ", "rate ", "tokens/s"):
        assert part in shown
    train(load("cosine", directories), make_task("cosine", 8), "cosine", **QUICK)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_examples_in_memory_and_in_files(directories, tmp_path, objective):
    """Tuples give the model that the same rows in a file give."""
    task, record = make_task(objective, 16), OBJECTIVES[objective]
    label = {"scores": "score", "classes": "label", "": "negative"}[record.labels]
    lines = ["\t".join(["anchor", "positive", label][: len(task[0])])]
    lines += ["\t".join(map(str, row)) for row in task]
    path = tmp_path / "train.tsv"
    path.write_text("\n".join(lines) + "\n")
    inferred = infer_objective(min(record.texts), record.labels, record.cross_encoder)
    given = None if inferred is record else objective
    found, examples = read_examples(path, given, cross_encoder=record.cross_encoder)
    assert found == objective
    models = load(objective, directories), load(objective, directories)
    for model, given in zip(models, (task, examples), strict=True):
        train(model, given, objective, **QUICK)
    assert equal(copy(models[0]), copy(models[1]))


def test_a_cross_encoder_takes_the_names_of_the_classes(directories, tmp_path):
    """The saved cross-encoder's labels have the names of the classes."""
    model = load("classes", directories)
    train(model, make_task("classes", 8), "classes", out=tmp_path / "out", **QUICK)
    assert list(model.label_names) == ["other", "same"]
    assert '"1": "same"' in (tmp_path / "out" / "config.json").read_text()


def test_out(directories, tmp_path):
    """The saved model is the one in memory, and no other file is left beside it."""
    model = load("cosine", directories)
    out = tmp_path / "out"
    train(model, make_task("cosine", 16), "cosine", out=out, made_by="by hand", **QUICK)
    assert equal(copy(SentenceTransformer(out)), copy(model))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "by hand" in (out / "README.md").read_text()
    # A model that is trained again may take the place of the one before.
    train(model, make_task("cosine", 16), "cosine", out=out, **QUICK)
    assert equal(copy(SentenceTransformer(out)), copy(model))


def test_one_example(directories):
    """A single example is a batch, an epoch and a run."""
    for objective in ("cosine", "triplet", "binary"):
        rows = make_task(objective, 1)
        result = train(load(objective, directories), rows, objective, **QUICK)
        assert len(result.losses) == 1


# What is refused, before any work


@pytest.fixture
def no_steps(monkeypatch):
    """Make any step an error."""

    def fail(*_):
        raise AssertionError("there must be no step")

    monkeypatch.setattr(training.Trainer, "step", fail)


@pytest.mark.parametrize(
    ("rows", "objective", "error", "sentence"),
    [
        ([("a", "b", 1.0), ("a", "b")], "cosine", TypeError, "row 2 .* two texts and a score"),
        ([("a", "b", 1.0), "abc"], "cosine", TypeError, "row 2 of the examples must be"),
        ([("a", "b", 1.0), 5], "cosine", TypeError, "row 2 of the examples must be"),
        ([5], "ranking", TypeError, "row 1 of the examples must be"),
        ([{"a": 1, "b": 2}] * 2, "ranking", TypeError, "row 1 of the examples must be"),
        ([("a", None, 1.0)], "cosine", TypeError, "row 1 of the examples must be"),
        ([("a", " ", 1.0)], "cosine", TypeError, "row 1 of the examples must be"),
        ([("a", "b")], "triplet", TypeError, "row 1 of the examples must be three texts"),
        ([("a", "b"), ("a", "b", "c")], "ranking", TypeError, "row 2 of the examples must be"),
        ([("a", "b", 0.5), ("a", "b", 1.5)], "cosine", ValueError, "row 2 of the examples"),
        ([("a", "b", -0.1)], "cosine", ValueError, "row 1 .* a score from 0 to 1, got -0.1"),
        ([("a", "b", math.nan)], "cosine", ValueError, "row 1 of the examples must have a score"),
        ([("a", "b", "x"), ("c", "d", "x")], "softmax", ValueError, "two classes or more"),
        ([], "cosine", ValueError, "the examples must be one or more, got none"),
        ([("a", "b")], "ranking", ValueError, "2 examples or more for ranking"),
        ([("a", "b", 1.0)], "mse", ValueError, "objective must be one of cosine, .*, got 'mse'"),
    ],
)
def test_examples_that_are_refused(directories, no_steps, rows, objective, error, sentence):
    """Rows of the wrong form are named, in one sentence."""
    with pytest.raises(error, match=sentence) as caught:
        train(load(objective, directories), rows, objective)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "objective", "sentence"),
    [
        ("cosine", "binary", "one of cosine, .* for a bi-encoder, got 'binary'"),
        (
            "binary",
            "cosine",
            "objective must be one of binary, .* for a cross-encoder, got 'cosine'",
        ),
        ("binary", "classes", "num_labels of the model must be 2, .*got 1; .*num_labels=2"),
        ("classes", "binary", "num_labels of the model must be 1, .*got 2; .*num_labels=1"),
    ],
)
def test_models_that_do_not_fit(directories, no_steps, model, objective, sentence):
    """An objective for the other kind of model is refused."""
    with pytest.raises(ValueError, match=sentence):
        train(load(model, directories), make_task(objective, 4), objective)


@pytest.mark.parametrize(
    ("objective", "held_out", "sentence"),
    [
        ("softmax", [("a", "b", "maybe")], "row 1 .* one of the classes other, same, got 'maybe'"),
        ("cosine", [], "the examples must be one or more, got none"),
        ("cosine", [("a", "b", 0.5)], "development examples must be two or more to correlate"),
        (
            "cosine",
            [("a", "b", 5)],
            "row 1 of the examples must have a score from 0 to 1, got 5; divide",
        ),
        (
            "softmax",
            make_examples([("a", "b", "x"), ("a", "b", "y")], "softmax"),
            "classes of the development examples must be other, same, .* got x, y",
        ),
        (
            "triplet",
            make_examples([("a", "b", "x"), ("a", "b", "y")], "softmax"),
            "classes of the development examples must be none",
        ),
        (
            "binary",
            make_examples([("a", "b"), ("c", "d")], "ranking"),
            "development examples must have scores",
        ),
        (
            "classes",
            make_examples([("a", "b", 1.0)], "binary"),
            "development examples must have classes",
        ),
    ],
)
def test_development_examples_that_are_refused(
    directories, no_steps, objective, held_out, sentence
):
    """Held-out examples must be something that the model can be measured on."""
    model, task = load(objective, directories), make_task(objective, 8)
    with pytest.raises(ValueError, match=sentence):
        train(model, task, objective, development=held_out)


@pytest.mark.parametrize("objective", ["cosine", "triplet", "softmax", "ranking"])
def test_development_examples_of_another_kind(directories, objective):
    """A bi-encoder can be measured on pairs with scores for any objective."""
    scored = make_examples(make_task("cosine", 8, seed=1), "cosine")
    model = load(objective, directories)
    result = train(model, make_task(objective, 8), objective, development=scored, **QUICK)
    assert result.measure == "Spearman"


def test_scores_without_a_correlation(directories):
    """Held-out scores that are all equal have no correlation, which is no reason to stop."""
    model, task = load("cosine", directories), make_task("cosine", 8)
    held_out = [("a", "the", 0.5), ("a bird", "tree", 0.5)]
    result = train(model, task, "cosine", development=held_out, **QUICK)
    assert all(math.isnan(value) for _, value in result.measures)
    assert result.best_step == 1


def test_overlap_is_warned_of(directories):
    """A warning counts the held-out examples that are also trained on."""
    task = make_task("cosine", 8)
    held_out = [(b, a, label) for a, b, label in task[:3]] + make_task("cosine", 4, seed=1)
    with pytest.warns(UserWarning, match="3 of 7 development examples are also training examples"):
        train(load("cosine", directories), task, "cosine", development=held_out, **QUICK)


def test_long_texts_are_warned_of(directories):
    """Truncated texts cause a warning, held-out ones only one, or an error, or nothing."""
    model = load("cosine", directories)
    long = ("bird " * 90, "tree", 0.5)
    task = [*make_task("cosine", 8), long]
    with pytest.warns(TruncationWarning, match="1 of 9 texts are longer than the 64 tokens"):
        train(model, task, "cosine", **QUICK)
    options = {"development": [long, ("a", "the", 0.1)], "epochs": 3, **QUICK}
    with pytest.warns(TruncationWarning, match="1 of 2 texts are longer") as caught:
        train(model, task[:8], "cosine", **options)
    assert len(caught) == 1
    with pytest.raises(ValueError, match="shorten or split them"):
        train(model, task, "cosine", on_truncate="error", **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, task, "cosine", on_truncate="ignore", **QUICK)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("batch_size", 0),
        ("batch_size", True),
        ("learning_rate", -1e-5),
        ("learning_rate", math.nan),
        ("learning_rate", 2.0),
        ("learning_rate", True),
        ("warmup", 1.1),
        ("weight_decay", -0.1),
        ("clip_norm", -1.0),
        ("clip_norm", math.nan),
        ("seed", -1),
        ("seed", 0.5),
        ("margin", 0),
        ("scale", -1),
        ("concatenation", "u-v"),
        ("evaluate_every", 0),
        ("threads", 0),
        ("on_truncate", "maybe"),
    ],
)
def test_settings_that_are_refused(directories, no_steps, option, value):
    """An option out of range is named with what was given."""
    model = load("cosine", directories)
    with pytest.raises(ValueError, match=rf"{option} must be .*got {value!r}"):
        train(model, make_task("cosine", 4), "cosine", **{option: value})


def test_unknown_settings_are_refused(directories, no_steps):
    """A misspelt option is an error."""
    with pytest.raises(TypeError, match="learningrate"):
        train(load("cosine", directories), make_task("cosine", 4), "cosine", learningrate=1)


def test_the_papers_settings():
    """The defaults are those of section 3.1."""
    chosen = Settings()
    assert (chosen.epochs, chosen.batch_size, chosen.learning_rate) == (1, 16, 2e-5)
    assert chosen.warmup == 0.1
    assert find_objective("triplet").options == {"margin": 1.0}
    assert find_objective("softmax").options == {"concatenation": "u,v,|u-v|"}


def test_settings_are_keywords_of_train():
    """`train` takes every setting by its name, with the default of Settings."""
    keywords = inspect.signature(train).parameters
    for field in fields(Settings):
        assert keywords[field.name].kind == inspect.Parameter.KEYWORD_ONLY
        assert keywords[field.name].default == field.default
    assert all(keywords[name].default is None for name in OPTION_NAMES)


@pytest.mark.parametrize("objective", ["cosine", "triplet"])
def test_examples_may_be_any_iterable(directories, objective):
    """Any iterable of rows, for training and development, gives the model that a list gives."""
    rows, held_out = make_task(objective, 16), make_task(objective, 6, seed=1)
    models = load(objective, directories), load(objective, directories)
    results = [
        train(models[0], rows, objective, development=held_out, **QUICK),
        train(
            models[1],
            (row for row in rows),
            objective,
            development=map(list, held_out),
            **QUICK,
        ),
    ]
    assert equal(copy(models[0]), copy(models[1]))
    assert results[0].measures == results[1].measures


def test_out_that_can_not_be_replaced(directories, no_steps, tmp_path):
    """Only a model is written over; anything else is refused before any work."""
    model, task = load("cosine", directories), make_task("cosine", 4)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    for name, actual in (("file", "a file"), ("folder", "a directory with notes.txt in it")):
        with pytest.raises(FileExistsError, match=f"{name} must be a new or empty .*got {actual}"):
            train(model, task, "cosine", out=tmp_path / name)
    assert (tmp_path / "folder" / "notes.txt").read_text() == "mine"
    assert not find_work_directory(tmp_path / "folder").exists()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["out", "out.training"])
def test_second_training(directories, no_steps, tmp_path, other_writer, name, resume):
    """A training beside another writer of its model or its checkpoints is refused at once."""
    model, task = load("cosine", directories), make_task("cosine", 4)
    with (
        other_writer(tmp_path / name),
        pytest.raises(BlockingIOError, match=f"{name} must have one writer at a time"),
    ):
        train(model, task, "cosine", out=tmp_path / "out", resume=resume)
    assert list(tmp_path.iterdir()) == []


def test_intruders(directories, tmp_path):
    """While a training runs, no other one and no save can touch its directories."""
    task, refused = make_task("cosine", 16), []

    def intrude():
        model = load("cosine", directories)
        work = find_work_directory(tmp_path / "out")
        for write in (
            lambda: train(model, task, "cosine", out=tmp_path / "out", resume=True, **QUICK),
            lambda: train(model, task, "cosine", out=work, **QUICK),
            lambda: model.save(tmp_path / "out"),
        ):
            with pytest.raises(BlockingIOError) as error:
                write()
            refused.append(str(error.value))

    def report(line):
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    model = load("cosine", directories)
    train(model, task, "cosine", out=tmp_path / "out", report=report, **QUICK)
    assert len(refused) == 3 * QUICK.get("epochs", 1)
    assert equal(copy(model), copy(SentenceTransformer(tmp_path / "out")))
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_notes_in_the_work_directory(directories, no_steps, tmp_path):
    """Other files in the checkpoint's directory are neither read nor replaced."""
    model, task = load("cosine", directories), make_task("cosine", 4)
    work = find_work_directory(tmp_path / "out")
    work.mkdir()
    (work / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="training must be "):
            train(model, task, "cosine", out=tmp_path / "out", resume=resume)
    assert (work / "notes.txt").read_text() == "mine"


def test_a_model_that_can_not_be_saved(directories, no_steps, tmp_path):
    """Training a model without blocks is refused with `out`, since it can't be saved."""
    model = SentenceTransformer(directories["bi"], blocks=0)
    with pytest.raises(ValueError, match="at least one block"):
        train(model, make_task("cosine", 4), "cosine", out=tmp_path / "out")


def test_a_model_without_blocks(directories):
    """The rows of the word table can be trained by themselves."""
    model = SentenceTransformer(directories["bi"], blocks=0)
    result = train(model, make_task("cosine", 24), "cosine", epochs=6, **QUICK)
    assert np.mean(result.losses[-3:]) < np.mean(result.losses[:3])


def test_resume_needs_a_place(directories, no_steps):
    """Resuming without `out` is refused."""
    with pytest.raises(ValueError, match="resume"):
        train(load("cosine", directories), make_task("cosine", 4), "cosine", resume=True)


def test_nothing_moves_when_something_is_refused(directories, tmp_path):
    """A refused call leaves the model as it was."""
    model = load("cosine", directories)
    before = model.parameters
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError):
        train(model, make_task("cosine", 4), "cosine", out=tmp_path / "out")
    assert model.parameters is before
