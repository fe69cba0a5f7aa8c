"""Arguments and methods that code for sentence-transformers expects: effective or refused."""

import inspect

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.encoding.drop_in import REFUSED_ARGUMENTS
from models import make_cross_encoder_directory

TEXTS = ["a bird", "the old tree"]


@pytest.fixture(scope="module")
def pairs_directory(tmp_path_factory):
    return make_cross_encoder_directory(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("argument", sorted(REFUSED_ARGUMENTS))
@pytest.mark.parametrize("kind", [SentenceTransformer, CrossEncoder])
def test_other_arguments_are_refused(kind, argument):
    """Each argument without effect is refused by its name, and its value is not shown."""
    if argument not in inspect.signature(kind).parameters:
        with pytest.raises(ValueError, match=f"^{argument} must be left out, got a str;") as caught:
            kind("model", **{argument: "secret"})
        assert "secret" not in str(caught.value)


def test_empty_arguments_are_accepted(tiny_directory, pairs_directory):
    """None, False and an empty dict are accepted for arguments without effect."""
    nothing = {"revision": None, "trust_remote_code": False, "model_kwargs": {}, "token": None}
    assert SentenceTransformer(tiny_directory, **nothing).encode("a").shape == (32,)
    CrossEncoder(pairs_directory, device="cpu", **nothing)


def test_unknown_arguments_are_refused(tiny, tiny_directory, pairs_directory):
    """A misspelt argument is an error that names it."""
    with pytest.raises(TypeError, match="SentenceTransformer got an unexpected argument 'devise'"):
        SentenceTransformer(tiny_directory, devise="cpu")
    with pytest.raises(TypeError, match="CrossEncoder got an unexpected argument 'pooling'"):
        CrossEncoder(pairs_directory, pooling="max")
    with pytest.raises(TypeError, match="unexpected keyword argument 'batchsize'"):
        tiny.encode(TEXTS, batchsize=3)


def test_code_that_comes_with_a_model_is_never_run(tiny_directory):
    """trust_remote_code=True is refused with the reason."""
    with pytest.raises(ValueError, match="no code that comes with a model is ever run"):
        SentenceTransformer(tiny_directory, trust_remote_code=True)


def test_local_files_only(monkeypatch, tmp_path):
    """A named model that is not on this machine is not fetched with local_files_only."""
    monkeypatch.setenv("MINISBERT_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    for kind in (SentenceTransformer, CrossEncoder):
        with pytest.raises(FileNotFoundError, match="must be on this machine, got nobody/none"):
            kind("nobody/none", local_files_only=True)


def test_older_names_of_arguments(tiny, pairs_directory):
    """Arguments are accepted by their older names; giving both names is an error."""
    assert np.array_equal(tiny.encode(sentences=TEXTS), tiny.encode(inputs=TEXTS))
    model = CrossEncoder(model_name=pairs_directory, default_activation_function="identity")
    expected = model.predict([tuple(TEXTS)], return_logits=True)
    assert np.array_equal(model.predict(sentences=[tuple(TEXTS)]), expected)
    sigmoid = model.predict([tuple(TEXTS)], activation_fct="sigmoid")
    assert sigmoid == pytest.approx(1 / (1 + np.exp(-expected)))
    with pytest.raises(TypeError, match="inputs must be given once, got sentences too"):
        tiny.encode(inputs=TEXTS, sentences=TEXTS)
    with pytest.raises(TypeError, match="multiple values"):
        tiny.encode(TEXTS, sentences=TEXTS)


def test_methods_keep_their_names_and_docstrings():
    """Decorated methods keep their names and docstrings."""
    assert SentenceTransformer.encode.__name__ == "encode"
    assert SentenceTransformer.encode.__doc__.startswith("Turn texts into embeddings")


def test_older_names_of_methods(tiny):
    """The width of an embedding is also given by the method's older name."""
    assert tiny.get_sentence_embedding_dimension() == tiny.get_embedding_dimension() == 32


def test_truncating_inside_a_with_block(tiny):
    """Embeddings are truncated only inside the `with` block, also after an error in it."""
    whole = tiny.encode(TEXTS, normalize_embeddings=True)
    for context in (tiny.truncate_embeddings, tiny.truncate_sentence_embeddings):
        with context(8):
            assert tiny.get_embedding_dimension() == 8
            assert tiny.encode(TEXTS, normalize_embeddings=True).shape == (2, 8)
        assert np.array_equal(tiny.encode(TEXTS, normalize_embeddings=True), whole)
    with pytest.raises(RuntimeError), tiny.truncate_embeddings(8):
        raise RuntimeError
    assert tiny.truncate_dim is None
    with pytest.raises(ValueError, match="truncate_dim must be"), tiny.truncate_embeddings(0):
        pass


def test_evaluators_are_called(tiny):
    """`evaluate` passes model and folder to an evaluator, and returns its result."""
    assert tiny.evaluate(lambda model, folder: (model, folder), "there") == (tiny, "there")
    assert tiny.device == "cpu"
    assert tiny.model_card_data.set_evaluation_metrics(None, {"spearman": 1.0}, 0, 0) is None
