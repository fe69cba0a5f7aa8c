"""No result of a network that is NaN or infinite comes out: an error names the model and a text."""

import re
import warnings

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer, train
from minisbert.__main__ import main
from minisbert.evaluation import RetrievalTask, StsPairs, evaluate_retrieval, evaluate_sts
from minisbert.system.safetensors import read_safetensors, write_safetensors
from models import make_cross_encoder_directory, make_model_directory

TEXTS = ["a bird sings", "the old red car", "a dog", "a cat runs"]
LAST_NORM = "encoder.layer.1.output.LayerNorm.weight"


def change_weight(directory, name, value):
    """Write a value into the first number of a weight in a model's file."""
    path = directory / "model.safetensors"
    arrays, metadata = read_safetensors(path)
    name = next(other for other in arrays if other.endswith(name))
    arrays = {key: array.copy() for key, array in arrays.items()}
    arrays[name].flat[0] = value
    write_safetensors(path, arrays, metadata)
    return directory


@pytest.fixture
def broken(tmp_path):
    """A model with a NaN in its last layer norm."""
    directory = make_model_directory(tmp_path / "broken", normalize=False)
    return SentenceTransformer(change_weight(directory, LAST_NORM, np.nan))


def refused(model, index=0):
    name = re.escape(str(model.model_directory))
    return pytest.raises(FloatingPointError, match=f"model in {name} must .* index {index};")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("normalize", [True, False])
def test_encode(tmp_path, value, normalize):
    """Weights that are NaN, infinite, or too large for float32's sums are refused by encode."""
    directory = make_model_directory(tmp_path, normalize=normalize)
    model = SentenceTransformer(change_weight(directory, LAST_NORM, value))
    with refused(model):
        model.encode(TEXTS)
    with refused(model):
        model.encode(TEXTS[0], normalize_embeddings=True)
    with refused(model):
        model.encode(TEXTS * 100, batch_size=400, threads=1, precision="ubinary")


def test_the_first_text_is_named(tiny):
    """If only some texts have results that are not finite, the first of them is named."""
    row = tiny.tokenizer.encode(["dog"], 10).ids[0][1]
    words = tiny.parameters["embeddings.word_embeddings.weight"].copy()
    words[row] = np.inf
    tiny.parameters = {**tiny.parameters, "embeddings.word_embeddings.weight": words}
    with refused(tiny, 2):
        tiny.encode([*TEXTS, "the dog runs"])
    assert np.isfinite(tiny.encode(["a bird sings", "a cat"])).all()


def test_every_way_to_encode(broken, tmp_path):
    """So does every method that encodes, and none writes a file."""
    for options in (
        {"output_value": "token_embeddings"},
        {"output_value": None},
        {"threads": 2, "batch_size": 1},
    ):
        with refused(broken):
            broken.encode(TEXTS[:1], **options)
    with refused(broken):
        broken.encode_query(TEXTS)
    with refused(broken):
        broken.encode_document(TEXTS)
    with refused(broken):
        list(broken.encode_iter(iter(TEXTS)))
    with refused(broken):
        broken.encode_to_file(TEXTS, tmp_path / "rows.npy")
    assert not (tmp_path / "rows.npy").exists()
    with refused(broken):
        broken.explain(*TEXTS[:2])
    with refused(broken):
        broken.forward(broken.tokenize(TEXTS))


def test_a_stream_counts_from_its_chunk(tiny):
    """An error in a later chunk of a stream says where the chunk begins."""
    words = tiny.parameters["embeddings.word_embeddings.weight"].copy()
    words[tiny.tokenizer.encode(["dog"], 10).ids[0][1]] = np.nan
    tiny.parameters = {**tiny.parameters, "embeddings.word_embeddings.weight": words}
    rows = tiny.encode_iter(["a", "bird", "a", "dog"], chunk=2)
    assert len([next(rows), next(rows)]) == 2
    with pytest.raises(FloatingPointError, match=r"index 1; .*\(counted from text 2\)"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [("classifier.weight", np.nan), ("classifier.weight", np.inf), (LAST_NORM, np.nan)],
)
def test_a_cross_encoder(tmp_path, name, value):
    """Logits of a cross-encoder are checked before any activation could hide them."""
    directory = change_weight(make_cross_encoder_directory(tmp_path), name, value)
    model = CrossEncoder(directory)
    with refused(model):
        model.predict([("a bird", "a tree"), ("a dog", "a car")])
    with refused(model):
        model.predict(("a bird", "a tree"), activation_fn=lambda logits: np.zeros_like(logits))
    with refused(model):
        model.rank("a bird", TEXTS)


def test_evaluation(broken):
    """No measure is made of results that are not finite."""
    pairs = StsPairs(["a bird", "a dog"], ["a tree", "a car"], np.array([0.0, 1.0]))
    with refused(broken):
        evaluate_sts(broken, pairs)
    task = RetrievalTask({"d": "a tree"}, {"q": "a bird"}, {"q": {"d": 1.0}})
    with refused(broken):
        evaluate_retrieval(broken, task)


def test_training(broken, tiny):
    """A training measures and trains no model whose results are not finite."""
    examples = [("a bird", "a tree", 0.5), ("a dog", "a car", 0.1)]
    with refused(broken):
        train(broken, examples, "cosine", development=[("a", "b", 0.0), ("a", "c", 1.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(FloatingPointError, match="the loss must be finite"):
            train(broken, examples, "cosine")


def test_command_line(broken, capsys):
    """The command line prints the one sentence."""
    assert main(["encode", "--model", str(broken.model_directory), "a bird"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "must be finite, got NaN or infinity for the input at index 0" in printed


def test_similarity_of_the_callers_vectors(tiny):
    """Similarities of vectors with NaN are NaN, and of those of lengths beyond float32 right."""
    rows = np.array([[1, 2], [np.nan, 1], [3e30, 1e30]], np.float32)
    first = rows[[0, 0, 0]]
    for found in (tiny.similarity(rows, rows[:1])[:, 0], tiny.similarity_pairwise(rows, first)):
        np.testing.assert_allclose(found, [1, np.nan, np.sqrt(0.5)], rtol=1e-6)
