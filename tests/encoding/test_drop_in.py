"""Arguments and methods that code for sentence-transformers expects: effective or refused."""

import inspect
import shutil
from enum import Enum

import numpy as np
import pytest

from minisbert import CrossEncoder, SentenceTransformer, SimilarityFunction, util
from minisbert.encoding.drop_in import REFUSED_ARGUMENTS
from minisbert.system.threads import count_threads
from models import make_cross_encoder_directory

TEXTS = ["a bird", "the old tree"]


class FakeDevice:
    """Looks like a torch.device."""

    def __init__(self, kind):
        self.type = kind

    def __repr__(self):  # the same in each process that collects the tests
        return f"FakeDevice({self.type!r})"


class Theirs(Enum):
    """Looks like sentence-transformers' enumeration of similarities."""

    DOT_PRODUCT = "dot"
    MAXSIM = "maxsim"


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


def test_evaluators_are_called(tiny, tmp_path):
    """`evaluate` makes the folder, passes model and folder, and returns the result."""
    folder = str(tmp_path / "made" / "here")
    assert tiny.evaluate(lambda model, folder: (model, folder), folder) == (tiny, folder)
    assert (tmp_path / "made" / "here").is_dir()
    assert tiny.evaluate(lambda model, folder: folder) is None
    assert tiny.device == "cpu"
    assert tiny.model_card_data.set_evaluation_metrics(None, {"spearman": 1.0}, 0, 0) is None
    assert tiny.model_card_data.base_model == str(tiny.model_directory)


# Arguments that ask for nothing

CPUS = ["cpu", "cpu:0", FakeDevice("cpu")]
LOADING = [
    {"revision": "main"},
    {"cache_folder": None},
    {"modules": None},
    {"model_card_data": None},
    {"processor_kwargs": {}},
    {"config_kwargs": {}},
    {"use_auth_token": None},
    {"trust_remote_code": False, "token": False},
    *({"device": device} for device in CPUS),
]


@pytest.mark.parametrize("options", LOADING, ids=str)
def test_loading_options_that_ask_for_nothing(tiny_directory, pairs_directory, options):
    """Whatever asks for what happens anyway is taken by both kinds of models."""
    for kind, directory in (
        (SentenceTransformer, tiny_directory),
        (CrossEncoder, pairs_directory),
    ):
        kind(directory, **options)


def test_old_options_of_cross_encoders_that_ask_for_nothing(pairs_directory):
    """Names of older versions are taken where they are empty, and refused with a reason else."""
    nothing = {"automodel_args": {}, "tokenizer_args": {}, "config_args": {}}
    CrossEncoder(pairs_directory, classifier_dropout=None, cache_dir=None, **nothing)
    for name in nothing:
        with pytest.raises(ValueError, match=f"{name} must be left out, got a dict; "):
            CrossEncoder(pairs_directory, **{name: {"a": 1}})
    with pytest.raises(ValueError, match="backend must be left out, got a str; the only one is"):
        CrossEncoder(pairs_directory, backend="torch")
    with pytest.raises(ValueError, match="revision must be left out, got a str; fetch that"):
        CrossEncoder(pairs_directory, revision="v2")


def test_folder_of_models(tiny_directory, pairs_directory, tmp_path, monkeypatch):
    """With `cache_folder` a named model is looked for there alone, in either layout."""
    monkeypatch.setenv("MINISBERT_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tiny_directory, tmp_path / "elsewhere" / "org" / "there")
    shutil.copytree(tiny_directory, tmp_path / "own" / "org" / "here")
    storage = tmp_path / "own" / "models--org--pairs"
    shutil.copytree(pairs_directory, storage / "snapshots" / ("a" * 40))
    (storage / ".no_exist" / ("a" * 40)).mkdir(parents=True)
    (storage / ".no_exist" / ("a" * 40) / "modules.json").touch()
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text("a" * 40)
    options = {"cache_folder": tmp_path / "own", "local_files_only": True}
    assert SentenceTransformer("org/here", **options).encode("a").shape == (32,)
    assert CrossEncoder("org/pairs", **options).num_labels == 1
    options["cache_dir"] = str(options.pop("cache_folder"))
    assert CrossEncoder("org/pairs", **options).num_labels == 1
    SentenceTransformer("org/there", local_files_only=True)
    with pytest.raises(FileNotFoundError, match="must be on this machine, got org/there"):
        SentenceTransformer("org/there", cache_folder=tmp_path / "own", local_files_only=True)


def test_call_options_that_ask_for_nothing(tiny, pairs_directory, tmp_path):
    """Every option of a call may be given its own default there."""
    expected = tiny.encode(TEXTS)
    nothing = {"pool": None, "chunk_size": None, "prompt_name": None, "prompt": None}
    more = {"batch_size": 32, "show_progress_bar": None, "convert_to_numpy": True, "device": None}
    for encode in (tiny.encode, tiny.encode_query, tiny.encode_document):
        got = encode(TEXTS, **nothing, **more, truncate_dim=None, task=None, processing_kwargs=None)
        assert np.array_equal(got, expected)
    with pytest.raises(ValueError, match="task must be left out, got a str; no module"):
        tiny.encode(TEXTS, task="query")
    cross = CrossEncoder(pairs_directory)
    scores = cross.predict([tuple(TEXTS)])
    got = cross.predict([tuple(TEXTS)], **nothing, **more, apply_softmax=None, num_workers=0)
    assert np.array_equal(got, scores)
    assert np.array_equal(cross.predict([tuple(TEXTS)], None, None, 32), scores)
    ranking = cross.rank(*(TEXTS[0], [TEXTS[1]]), **nothing, **more, convert_to_tensor=False)
    assert ranking == [{"corpus_id": 0, "score": scores[0]}]
    with pytest.raises(ValueError, match="convert_to_tensor and apply_softmax must be left out"):
        cross.rank(TEXTS[0], TEXTS, convert_to_tensor=True)
    for model in (tiny, cross):
        model.save(tmp_path / "saved", "a name", True, None, True)
        assert '("a name").save()' in (tmp_path / "saved" / "README.md").read_text("utf-8")
        model.save_pretrained(tmp_path / "saved", create_model_card=False)
        assert not (tmp_path / "saved" / "README.md").exists()
        for options in ({"safe_serialization": False}, {"train_datasets": ["nli"]}):
            with pytest.raises(ValueError, match="train_datasets must be left out and safe_serial"):
                model.save(tmp_path / "saved", **options)


def test_names_of_embeddings(tiny):
    """Both sets of embeddings have the names that they have there, and those of older versions."""
    a, b = tiny.encode(TEXTS), tiny.encode(TEXTS[:1])
    expected = tiny.similarity(a, b)
    assert np.array_equal(tiny.similarity(embeddings1=a, embeddings2=b), expected)
    assert np.array_equal(tiny.similarity(a=a, b=b), expected)
    pairwise = tiny.similarity_pairwise(embeddings1=a[:1], embeddings2=b)
    assert pairwise == pytest.approx(expected[0])


def test_inner_calls_pass_keywords(tiny_directory, pairs_directory):
    """A subclass that reads its options by name sees them in every inner call."""
    seen = []

    class Spy(SentenceTransformer):
        def encode(self, inputs, **options):
            seen.append(options)
            return super().encode(inputs, **options)

    class PairSpy(CrossEncoder):
        def predict(self, inputs, **options):
            seen.append(options)
            return super().predict(inputs, **options)

    model = Spy(tiny_directory, prompts={"query": "the "})
    model.encode_query(TEXTS, None, None)
    model.encode_document(TEXTS, prompt="a ")
    util.paraphrase_mining(model, TEXTS)
    model.encode_multi_process(TEXTS, model.start_multi_process_pool(["cpu"]))
    PairSpy(pairs_directory).rank("a", TEXTS, prompt_name=None)
    assert [options.get("prompt_name") for options in seen] == ["query", *[None] * 4]
    assert seen[1]["prompt"] == "a "


# Devices, modules, tokens, pools


def test_devices(tiny):
    """The CPU is accepted by each of its names, any other device and type is refused."""
    for device in [None, *CPUS]:
        assert tiny.to(device) is tiny
        tiny.encode(TEXTS, device=device)
    assert tiny.to("cpu", np.dtype("float32")) is tiny
    assert tiny.cpu() is tiny.float() is tiny.eval() is tiny.train(False) is tiny
    for device in ("cuda", "cuda:0", "mps", "cpu:1", 0, FakeDevice("cuda")):
        with pytest.raises(ValueError, match='device must be None or "cpu", got '):
            tiny.to(device)
    with pytest.raises(ValueError, match="dtype must be float32, got float16"):
        tiny.to(dtype="float16")
    with pytest.raises(ValueError, match=r"mode must be False, got True; train with `minisbert\."):
        tiny.train()
    assert tiny.dtype == np.float32


@pytest.mark.parametrize("name", ["cuda", "half", "state_dict", "fit", "push_to_hub", "processor"])
def test_missing_methods_say_why(tiny, pairs_directory, name):
    """What makes no sense without torch is missing, and the error says why; others say nothing."""
    for model in (tiny, CrossEncoder(pairs_directory)):
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'; "):
            getattr(model, name)
        with pytest.raises(AttributeError, match=r"has no attribute 'encod'$"):
            model.encod([])


def test_parameters_are_no_method(tiny):
    """Calling `parameters`, a method in torch, says what it is here."""
    with pytest.raises(TypeError, match="parameters must be read as a mapping of names to arrays"):
        tiny.parameters()


@pytest.mark.parametrize("method", ["encode_query", "encode_document"])
def test_options_by_position(tiny, pairs_directory, method):
    """Options that a method only passes on may be given by position, in the known order."""
    texts = ["a bird", "the tree sings"]
    given = (None, None, 1, False, "token_embeddings")
    found = getattr(tiny, method)(texts, *given)
    for rows, expected in zip(found, tiny.encode(texts, *given), strict=True):
        assert np.array_equal(rows, expected)
    cross = CrossEncoder(pairs_directory)
    expected = cross.rank("a", texts, activation_fn="identity")
    assert cross.rank("a", texts, None, False, None, None, 1, False, "identity") == expected
    with pytest.raises(TypeError, match="arguments by position must end with chunk_size, got 1"):
        getattr(tiny, method)(texts, *[None] * 14)


@pytest.mark.parametrize("name", [None, 3, b"model"])
@pytest.mark.parametrize("kind", [SentenceTransformer, CrossEncoder])
def test_what_names_no_model(kind, name):
    """A name that is neither text nor a path is refused in one sentence."""
    with pytest.raises(TypeError, match="model_name_or_path must be a name or the path of a dir"):
        kind(name)


def test_a_model_is_a_sequence_of_modules(tiny, pairs_directory):
    """The network comes first; the limit of tokens can be set there too."""
    assert len(tiny) == len(list(tiny)) == 3
    assert next(tiny.modules()) is tiny
    assert len([*tiny.children()]) == 3
    assert tiny[1].modes == ("mean",)
    tiny[0].max_seq_length = 7
    assert tiny.max_seq_length == tiny.get_max_seq_length() == tiny[0].max_seq_length == 7
    assert tiny[0].get_word_embedding_dimension() == 32
    assert tiny[0].tokenizer is tiny.tokenizer is tiny._first_module().tokenizer
    assert tiny.training is False
    cross = CrossEncoder(pairs_directory, max_length=9)
    assert len(cross) == 1
    cross.max_seq_length = 8
    assert cross.max_length == cross.get_max_seq_length() == 8


def test_tokens_and_their_mask(tiny, pairs_directory):
    """Ids are filled up with padding, where the mask is 0; pairs have types."""
    tokens = tiny.tokenize(["a bird sings", "a"])
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert tokens["input_ids"][1, 3:].tolist() == [0, 0]
    assert (
        tokens["input_ids"][0].tolist()
        == tiny.tokenizer.encode(["a bird sings"], 64).ids[0].tolist()
    )
    assert not tokens["token_type_ids"].any()
    pairs = CrossEncoder(pairs_directory).tokenize([("a bird", "a")])
    assert pairs["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1]]
    assert tiny.tokenize([])["input_ids"].shape == (0, 0)
    with pytest.raises(TypeError, match="texts must be an iterable of str, got str"):
        tiny.tokenize("a bird")
    with pytest.raises(TypeError, match="texts must hold only str, got tuple at index 0"):
        tiny.tokenize([("a", "b")])


def test_forward_of_tokens(tiny):
    """A model can be called with tokens, and gives the vectors of `encode`."""
    texts = ["a bird sings", "a", "the old tree"]
    found = tiny(tiny.tokenize(texts))
    assert np.abs(found["sentence_embedding"] - tiny.encode(texts)).max() <= 1e-6
    vectors = tiny.encode(texts, output_value="token_embeddings")
    assert np.abs(found["token_embeddings"][1, :3] - vectors[1]).max() <= 1e-6
    assert not found["token_embeddings"][1, 3:].any()
    assert tiny.forward(tiny.tokenize([]))["sentence_embedding"].shape == (0, 32)
    with pytest.raises(ValueError, match="features must be ids below"):
        tiny({"input_ids": np.array([[1, 999]]), "attention_mask": np.ones((1, 2))})


def test_all_outputs_of_a_text(tiny):
    """`output_value=None` gives ids, mask, token vectors and the embedding of each text."""
    (first, second) = tiny.encode(["a bird sings", "a"], output_value=None)
    assert np.array_equal(first["sentence_embedding"], tiny.encode("a bird sings"))
    assert np.array_equal(
        second["token_embeddings"], tiny.encode("a", output_value="token_embeddings")
    )
    assert second["input_ids"].shape == second["attention_mask"].shape == (3,)
    assert sorted(tiny.encode("a", output_value=None)) == sorted(first)
    assert tiny.encode([], output_value=None) == []


def test_pools_are_threads(tiny, pairs_directory):
    """A pool gives the vectors that `encode` gives, until it is stopped."""
    expected = tiny.encode(TEXTS)
    for devices in (None, ["cpu"] * 3, [FakeDevice("cpu")]):
        pool = tiny.start_multi_process_pool(devices)
        assert len(pool["processes"]) == len(devices or count_threads(None) * ["cpu"])
        assert np.abs(tiny.encode(TEXTS, pool=pool, chunk_size=1) - expected).max() <= 5e-7
        assert np.abs(tiny.encode_multi_process(TEXTS, pool) - expected).max() <= 5e-7
        cross = CrossEncoder(pairs_directory)
        assert cross.predict([tuple(TEXTS)], pool=pool).shape == (1,)
        tiny.stop_multi_process_pool(pool)
        with pytest.raises(ValueError, match="pool must be one that start_multi_process_pool"):
            tiny.encode(TEXTS, pool=pool)
    assert np.abs(tiny.encode(TEXTS, device=["cpu", "cpu"]) - expected).max() <= 5e-7
    with pytest.raises(ValueError, match="pool must be one that"):
        tiny.encode(TEXTS, pool=[1])
    with pytest.raises(ValueError, match="chunk_size must be a whole number of 1 or more, got 0"):
        tiny.encode(TEXTS, chunk_size=0)
    with pytest.raises(ValueError, match='device must be None or "cpu", got '):
        tiny.start_multi_process_pool(["cuda:0"])
    with pytest.raises(ValueError, match="target_devices must be a list such as"):
        tiny.start_multi_process_pool("cpu")


def test_pooling_with_and_without_a_prompt(tiny_directory):
    """Prompts can be left out of the pooling of a loaded model, and are again when it is saved."""
    model = SentenceTransformer(tiny_directory)
    vectors = model.encode("sings", prompt="the old ", output_value="token_embeddings")
    model.set_pooling_include_prompt(False)
    mean = vectors[3:].mean(axis=0)
    got = model.encode("sings", prompt="the old ")
    assert got == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    model.set_pooling_include_prompt(True)
    mean = vectors.mean(axis=0)
    got = model.encode("sings", prompt="the old ")
    assert got == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_tensors_need_torch(tiny, pairs_directory, tmp_path):
    """Tensors are refused where nobody has imported torch, and in files and streams always."""
    cross = CrossEncoder(pairs_directory)
    for options in ({"convert_to_tensor": True}, {"convert_to_numpy": False}):
        with pytest.raises(TypeError, match="unless torch is imported, since minisbert has no"):
            tiny.encode(TEXTS, **options)
        with pytest.raises(TypeError, match="unless torch is imported"):
            cross.predict([tuple(TEXTS)], **options)
        with pytest.raises(TypeError, match="where embeddings come in chunks"):
            tiny.encode_to_file(TEXTS, tmp_path / "out.npy", **options)
        with pytest.raises(TypeError, match="where embeddings come in chunks"):
            next(tiny.encode_iter(TEXTS, **options))
    with pytest.raises(TypeError, match="torch must be imported to make tensors"):
        tiny.smart_batching_collate([])


# Settings that `save` writes


def test_similarity_is_checked_when_assigned(tiny, tmp_path):
    """A name, a member of an enumeration or None is taken; a misspelt name never reaches a file."""
    vectors = tiny.encode(TEXTS)
    for similarity in (SimilarityFunction.DOT, Theirs.DOT_PRODUCT, "dot"):
        tiny.similarity_fn_name = similarity
        assert tiny.similarity_fn_name == "dot"
        assert np.array_equal(tiny.similarity(vectors, vectors), util.dot_score(vectors, vectors))
    tiny.similarity_fn_name = None
    assert tiny.similarity_fn_name == "cosine"
    for similarity in ("cosin", Theirs.MAXSIM, 3, ["dot"], ""):
        with pytest.raises(ValueError, match="similarity_fn_name must be one of cosine, dot, "):
            tiny.similarity_fn_name = similarity
    tiny.save(tmp_path / "saved")
    assert SentenceTransformer(tmp_path / "saved").similarity_fn_name == "cosine"
    loaded = SentenceTransformer(
        tmp_path / "saved", similarity_fn_name=SimilarityFunction.EUCLIDEAN
    )
    assert loaded.similarity_fn_name == "euclidean"


def test_other_settings_are_checked_when_assigned(tiny, tmp_path):
    """What could not be loaded again is refused when it is assigned, or else by `save`."""
    for value in (0, -3, "8", 2.5, True):
        with pytest.raises(ValueError, match="truncate_dim must be a whole number"):
            tiny.truncate_dim = value
    with pytest.raises(ValueError, match="prompt_name must be one of document, query, got 'quary'"):
        tiny.default_prompt_name = "quary"
    with pytest.raises(TypeError, match="prompts must be texts, got int for 'query'"):
        tiny.prompts = {"query": 3}
    tiny.prompts = {"query": None, "task": "do "}
    assert tiny.prompts == {"query": "", "task": "do "}
    tiny.default_prompt_name = "task"
    del tiny.prompts["task"]
    with pytest.raises(ValueError, match="prompt_name must be one of query, got 'task'"):
        tiny.save(tmp_path / "saved")
    tiny.prompts["task"] = 7
    with pytest.raises(TypeError, match="prompts must be texts, got int for 'task'"):
        tiny.save(tmp_path / "saved")
    tiny.prompts["task"] = "do "
    tiny.truncate_dim = 5
    tiny.save(tmp_path / "saved")
    saved = SentenceTransformer(tmp_path / "saved")
    assert (saved.prompts["task"], saved.default_prompt_name, saved.truncate_dim) == (
        *("do ", "task"),
        5,
    )
