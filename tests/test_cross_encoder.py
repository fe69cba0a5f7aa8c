"""The cross-encoder: the logits of transformers, the same in any batch, and its errors."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minisbert import CrossEncoder, SentenceTransformer, TruncationWarning
from minisbert.network.bert import bert_forward
from minisbert.network.ragged import find_first_rows, group_lengths, join_sentences
from models import edit_json, find_map, make_cross_encoder_directory, make_model_directory

GOLDEN = json.loads((Path(__file__).parent / "golden" / "pairs.json").read_text("utf-8"))
PAIRS = [tuple(pair) for pair in GOLDEN["pairs"]]

# Two float32 programs on a small network; a wrong segment or truncation differs by 1e-2.
SAME_MODEL = 1e-5
# One program, other batches: only BLAS's last bits may differ.
SAME_PAIR = 1e-6


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_cross_encoder_directory(tmp_path_factory.mktemp("one label"))


@pytest.fixture
def model(directory):
    return CrossEncoder(directory)


@pytest.mark.parametrize("labels", [1, 3])
def test_logits_are_those_of_transformers(labels, tmp_path):
    """Pairs from empty to over-long have the logits that transformers computed."""
    directory = make_cross_encoder_directory(tmp_path, num_labels=labels)
    digest = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    assert digest == GOLDEN["weights_sha256"][str(labels)]
    model = CrossEncoder(directory)
    expected = np.squeeze(GOLDEN["logits"][str(labels)])
    got = model.predict(PAIRS, return_logits=True, on_truncate="ignore")
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= SAME_MODEL
    # The comparison finds pairs in reverse order, which differ only in segments and truncation.
    turned = model.predict([pair[::-1] for pair in PAIRS], return_logits=True, on_truncate="ignore")
    assert np.abs(turned - expected).max() > 100 * SAME_MODEL


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [None, 1, 5])
def test_batch_and_threads_change_nothing(model, threads, batch_size):
    """A pair has the same logit alone and in any batch, order and number of threads."""
    options = {"return_logits": True, "on_truncate": "ignore"}
    alone = np.array([model.predict(pair, **options) for pair in PAIRS])
    order = np.random.default_rng(0).permutation(len(PAIRS))
    shuffled = [PAIRS[i] for i in order]
    got = model.predict(shuffled, batch_size=batch_size, threads=threads, **options)
    assert np.abs(got - alone[order]).max() <= SAME_PAIR


def test_first_tokens_alone_are_those_of_the_whole_last_block(model):
    """Computing only the first tokens in the last block gives the same vectors for these."""
    rng = np.random.default_rng(0)
    batch = join_sentences([rng.integers(5, 60, length) for length in (9, 9, 7, 3, 3, 3, 1)])
    whole = bert_forward(model.parameters, model.config.bert, batch)
    rows, groups = find_first_rows(batch.groups)
    assert rows.tolist() == [0, 9, 18, 25, 28, 31, 34]
    assert groups == ((0, 2, 1), (2, 1, 1), (3, 3, 1), (6, 1, 1))
    first = bert_forward(model.parameters, model.config.bert, batch, first_only=True)
    assert first.shape == (7, 32)
    assert np.abs(first - whole[rows]).max() <= SAME_PAIR


def test_cls_pooling_computes_first_tokens_alone(tmp_path, monkeypatch):
    """A CLS-pooled bi-encoder gives the same vectors if its last block computes all tokens."""
    model = SentenceTransformer(make_model_directory(tmp_path, pooling=("cls",)))
    texts = ["a bird", "the old bird sings all day", ""]
    saved = model.encode(texts)
    monkeypatch.setattr(
        "minisbert.network.sentence_encoder.bert_forward",
        lambda parameters, config, batch, first_only, rng, cache: bert_forward(
            parameters, config, batch
        )[find_first_rows(batch.groups)[0] if first_only else slice(None)],
    )
    assert np.abs(model.encode(texts) - saved).max() <= SAME_PAIR


# Shapes, activations, ranking


def test_shapes(model, tmp_path):
    """A tuple gives one score, a list one for each pair; several labels give a row for each."""
    pair = ("a cat", "a dog")
    assert model.predict(pair).shape == ()
    assert model.predict([pair]).shape == (1,)
    assert model.predict([list(pair), pair]).dtype == np.float32
    assert model.predict([]).shape == (0,)
    three = CrossEncoder(make_cross_encoder_directory(tmp_path, num_labels=3))
    assert three.predict(pair).shape == (3,)
    assert three.predict(iter([pair, pair])).shape == (2, 3)
    assert three.predict([]).shape == (0, 3)
    assert three.predict(np.array([pair, pair])).shape == (2, 3)


def test_one_label_is_a_probability_and_several_are_logits(model, tmp_path):
    """If the directory names no activation, one label goes through the logistic function."""
    logits = model.predict(PAIRS, return_logits=True, on_truncate="ignore")
    scores = model.predict(PAIRS, on_truncate="ignore")
    assert scores == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    softened = model.predict(PAIRS, apply_softmax=True, on_truncate="ignore")
    assert np.array_equal(softened, scores)
    three = CrossEncoder(make_cross_encoder_directory(tmp_path, num_labels=3))
    logits = three.predict(PAIRS, return_logits=True, on_truncate="ignore")
    assert np.array_equal(three.predict(PAIRS, on_truncate="ignore"), logits)
    weights = three.predict(PAIRS, apply_softmax=True, on_truncate="ignore")
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(PAIRS)), abs=1e-6)


def test_prompts_without_modules(tmp_path):
    """A prompt beside no modules.json is of no effect, as in sentence-transformers."""
    directory = make_cross_encoder_directory(tmp_path, new_format=True)
    edit_json(
        directory / "config_sentence_transformers.json",
        prompts={"own": "all day "},
        default_prompt_name="own",
    )
    assert CrossEncoder(directory).default_prompt_name == "own"
    (directory / "modules.json").unlink()
    assert CrossEncoder(directory).prompts == {}


TANH = "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize(
    ("file", "fields", "activation"),
    [
        ("config.json", {"sbert_ce_default_activation_function": TANH}, np.tanh),
        ("config.json", {"sentence_transformers": {"activation_fn": TANH}}, np.tanh),
        ("config_sentence_transformers.json", {"activation_fn": IDENTITY}, np.copy),
    ],
)
def test_directory_names_the_activation(tmp_path, file, fields, activation):
    """The activation is read from each place where sentence-transformers has written it."""
    directory = make_cross_encoder_directory(tmp_path, new_format=True)
    (directory / "config_sentence_transformers.json").write_text("{}")
    edit_json(directory / file, **fields)
    model = CrossEncoder(directory)
    logits = model.predict(PAIRS[:5], return_logits=True)
    assert model.predict(PAIRS[:5]) == pytest.approx(activation(logits), abs=1e-6)


def test_directory_names_softmax(tmp_path):
    """Softmax as the directory's activation equals apply_softmax; unknown ones are refused."""
    directory = make_cross_encoder_directory(tmp_path, num_labels=3)
    expected = CrossEncoder(directory).predict(PAIRS[:5], apply_softmax=True)
    path = "torch.nn.modules.activation.Softmax"
    edit_json(directory / "config.json", sentence_transformers={"activation_fn": path})
    assert np.array_equal(CrossEncoder(directory).predict(PAIRS[:5]), expected)
    for path in ("os.system", "evil.Sigmoid", "torch.nn.modules.activation.Hardtanh"):
        edit_json(directory / "config.json", sentence_transformers={"activation_fn": path})
        with pytest.raises(ValueError, match=f"activation_fn in .* Softmax, got '{path}'; no oth"):
            CrossEncoder(directory)


def test_both_generations_of_directories_are_read(model, tmp_path):
    """A directory as sentence-transformers saves it from 5.4 on gives the same scores."""
    newer = CrossEncoder(make_cross_encoder_directory(tmp_path, new_format=True))
    assert newer.max_length == model.max_length
    assert np.array_equal(newer.predict(PAIRS[:5]), model.predict(PAIRS[:5]))


def test_directories_of_other_models_are_refused(tmp_path):
    """A network for another task, and a default prompt that is missing, are refused by name."""
    directory = make_cross_encoder_directory(tmp_path, new_format=True)
    edit_json(directory / "config_sentence_transformers.json", default_prompt_name="query")
    with pytest.raises(ValueError, match=r"default_prompt_name in .* its prompts, got 'query'"):
        CrossEncoder(directory)
    edit_json(directory / "config_sentence_transformers.json", default_prompt_name=None)
    edit_json(directory / "sentence_bert_config.json", transformer_task="feature-extraction")
    with pytest.raises(ValueError, match=r'transformer_task in .* must be "sequence-class'):
        CrossEncoder(directory)


def test_activation_can_be_chosen(directory):
    """A name or a function, for the model or for a call, replaces the directory's."""
    model = CrossEncoder(directory, activation_fn="identity")
    logits = model.predict(PAIRS[:5], return_logits=True)
    assert np.array_equal(model.predict(PAIRS[:5]), logits)
    doubled = model.predict(PAIRS[:5], activation_fn=lambda x: 2 * x)
    assert np.array_equal(doubled, 2 * logits)


class FakeModule:
    """Looks like a module of torch."""

    def __init__(self, printed):
        self.printed = printed

    def __repr__(self):
        return self.printed


FakeModule.__module__ = "torch.nn.modules.activation"


def test_modules_of_torch_are_known_by_name(directory):
    """torch.nn.Identity() and the like select the functions of these names; others are refused."""
    for printed, name in (
        *(("Identity()", "identity"), ("Sigmoid()", "sigmoid"), ("Tanh()", "tanh")),
        *(("GELU(approximate='none')", "gelu"), ("Softmax(dim=-1)", "softmax")),
    ):
        model = CrossEncoder(directory, activation_fn=FakeModule(printed))
        expected = model.predict(PAIRS[:5], activation_fn=name)
        assert np.array_equal(model.predict(PAIRS[:5]), expected)
        again = model.predict(PAIRS[:5], activation_fn=FakeModule(printed))
        assert np.array_equal(again, expected)
    with pytest.raises(ValueError, match=r"activation_fn must be .*, got 'Softmax\(dim=0\)'"):
        CrossEncoder(directory, activation_fn=FakeModule("Softmax(dim=0)"))


def test_module_of_another_file_of_torch_is_not_known(directory):
    """A class of the same name in another part of torch computes something else."""
    other = type("Sigmoid", (), {"__module__": "torch.mine", "__repr__": lambda _: "Sigmoid()"})
    for activation in (other, other()):
        with pytest.raises(
            ValueError, match=r"activation_fn must be .* 'torch\.mine\.Sigmoid\(\)'"
        ):
            CrossEncoder(directory, activation_fn=activation)


def test_prompt_is_put_before_the_first_text(model):
    """A prompt is put in front of the first text of every pair, and of the query of a ranking."""
    pairs = [("bird", "a cat"), ("tree", "")]
    expected = model.predict([("the old bird", "a cat"), ("the old tree", "")])
    assert np.array_equal(model.predict(pairs, prompt="the old "), expected)
    ranking = model.rank("bird", ["a cat", "tree"], prompt="the old ")
    assert ranking == model.rank("the old bird", ["a cat", "tree"])
    with pytest.raises(TypeError, match="prompt must be a str, got int"):
        model.predict(pairs, prompt=3)


def test_prompts_by_name(directory, tmp_path):
    """Prompts are the directory's and those given, chosen by name, as text, or by default."""
    model = CrossEncoder(directory, prompts={"ask": "the old ", "none": None})
    pairs = [("bird", "a cat"), ("tree", "")]
    expected = model.predict([("the old bird", "a cat"), ("the old tree", "")])
    plain = model.predict(pairs)
    assert np.array_equal(model.predict(pairs, prompt_name="ask"), expected)
    model.default_prompt_name = "ask"
    assert np.array_equal(model.predict(pairs), expected)
    assert np.array_equal(model.predict(pairs, prompt=""), plain)
    model.save(tmp_path / "saved")
    saved = CrossEncoder(tmp_path / "saved")
    assert saved.prompts == {"ask": "the old ", "none": ""}
    assert np.array_equal(saved.predict(pairs), expected)
    assert np.array_equal(saved.predict(pairs, prompt_name="none"), plain)
    with pytest.raises(ValueError, match="prompt_name must be one of ask, none, got 'aks'"):
        model.predict(pairs, prompt_name="aks")
    with pytest.raises(ValueError, match="prompt_name must be one of ask, got 'x'"):
        CrossEncoder(directory, prompts={"ask": "a"}, default_prompt_name="x")


def test_names_of_outputs(tmp_path):
    """The config says what each output stands for; given names are checked and saved."""
    names = {"0": "contradiction", "1": "entailment", "2": "neutral"}
    model = CrossEncoder(make_cross_encoder_directory(tmp_path / "a", num_labels=3, id2label=names))
    assert model.config.id2label == {0: "contradiction", 1: "entailment", 2: "neutral"}
    assert model.config.label2id == {"contradiction": 0, "entailment": 1, "neutral": 2}
    assert model.model.config.id2label == model.config.id2label
    assert model.num_labels == 3
    model.label_names = ["no", "yes", "perhaps"]
    model.save(tmp_path / "saved")
    assert CrossEncoder(tmp_path / "saved").label_names == ["no", "yes", "perhaps"]
    for labels in (["no", "yes"], ["no", "no", "yes"]):
        with pytest.raises(ValueError, match="labels must be 3 different names, got no, "):
            model.label_names = labels
    edit_json(tmp_path / "a" / "config.json", id2label=None, num_labels=3)
    assert CrossEncoder(tmp_path / "a").label_names == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_activation_can_be_assigned(directory, tmp_path):
    """An activation that is assigned, by name or as a module of torch, is used and saved."""
    model = CrossEncoder(directory)
    for given in ("tanh", FakeModule("Tanh()")):
        model.activation_fn = given
        model.save(tmp_path / "saved")
        saved = CrossEncoder(tmp_path / "saved")
        assert np.array_equal(saved.predict(PAIRS[:3]), model.predict(PAIRS[:3]))
        assert model.default_activation_function is model.activation_fn
    with pytest.raises(ValueError, match="activation_fn must be a function or one of"):
        model.activation_fn = "tan"


def test_rank(model):
    """Documents are sorted by logit, with their numbers and scores, and with texts if asked."""
    documents = ["a dog", "the old bird", "a tree sings", "a dog"]
    logits = model.predict([("a cat", text) for text in documents], return_logits=True)
    ranking = model.rank("a cat", documents, return_documents=True)
    assert [hit["corpus_id"] for hit in ranking] == np.argsort(-logits, kind="stable").tolist()
    assert [hit["text"] for hit in ranking] == [documents[hit["corpus_id"]] for hit in ranking]
    scores = model.predict([("a cat", text) for text in documents])
    assert ranking[0]["score"] == scores[ranking[0]["corpus_id"]]
    assert [hit["corpus_id"] for hit in ranking if hit["text"] == "a dog"] == [0, 3]
    assert len(model.rank("a cat", documents, top_k=2)) == 2
    assert model.rank("a cat", []) == []


def test_rank_is_by_logits(model):
    """An activation that makes all scores equal does not change the order."""
    documents = ["a dog", "the old bird", "a tree sings"]
    ranking = model.rank("a cat", documents, activation_fn=lambda x: 0 * x)
    order = [hit["corpus_id"] for hit in ranking]
    assert order == [hit["corpus_id"] for hit in model.rank("a cat", documents)]
    assert [hit["score"] for hit in ranking] == [0, 0, 0]


# Truncation


def test_truncated_pairs(model):
    """Pairs beyond the limit are truncated with a warning, refused, or truncated silently."""
    long = ("cat " * 60, "dog " * 60)
    with pytest.warns(TruncationWarning, match="1 of 2 texts are longer than the 64 tokens"):
        model.predict([("a", "b"), long])
    with pytest.raises(ValueError, match="1 of 1 texts are longer"):
        model.predict([long], on_truncate="error")
    model.predict([long], on_truncate="ignore")
    with pytest.warns(TruncationWarning) as caught:
        model.rank(long[0], long[1:])
    assert caught[0].filename == __file__  # not a line of this package's


# What is refused


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a", "b"], r"inputs must be a list of pairs, got a list of two texts; .*\[\(a, b\)\]"),
        ([("a", "b"), "ab"], "got str 'ab' at index 1; give two texts for each"),
        ([("a", "b"), ("a", "b", "c")], "got tuple .* at index 1"),
        ([("a", None)], "got tuple .* at index 0"),
        ([("a", "b"), None], "got NoneType 'None' at index 1"),
        (np.array(["a", "b"]), "got a list of two texts"),
        ("ab", "inputs must be a pair or an iterable of pairs, got str; pass a list of pairs"),
        (7, "inputs must be a pair or an iterable of pairs, got int"),
    ],
)
def test_what_is_no_pair_is_named(model, inputs, message):
    """A flat list, and anything that is not a pair of texts, is refused by its index."""
    with pytest.raises(TypeError, match=message):
        model.predict(inputs)


@pytest.mark.parametrize(
    ("query", "documents", "message"),
    [
        ("a", "a dog", "documents must be an iterable of str, got str; pass a list"),
        ("a", ["a dog", None], "documents must hold only str, got NoneType at index 1"),
        (["a"], ["a dog"], "query must be a str, got list; pass one query at a time"),
    ],
)
def test_what_cannot_be_ranked_is_named(model, query, documents, message):
    """A text instead of a list of documents is refused: it would be ranked letter by letter."""
    with pytest.raises(TypeError, match=message):
        model.rank(query, documents)


def test_bad_options_are_refused(directory, model, tmp_path):
    """Wrong values of options are one sentence each."""
    with pytest.raises(ValueError, match=r"num_labels must be 1, as .* has it, got 2"):
        CrossEncoder(directory, num_labels=2)
    for length in (4, 65, 5.5):
        with pytest.raises(ValueError, match="max_length must be a whole number from 5 to 64"):
            CrossEncoder(directory, max_length=length)
        with pytest.raises(ValueError, match="max_length must be a whole number from 5 to 64"):
            model.max_length = length
    for activation in ("softplus", 7):
        with pytest.raises(ValueError, match=r"activation_fn must be a function or one of .*sigm"):
            CrossEncoder(directory, activation_fn=activation)
    with pytest.raises(ValueError, match=r'on_truncate must be "warn", "error" or "ignore", got'):
        model.predict([], on_truncate="never")
    with pytest.raises(TypeError, match="convert_to_tensor must be False"):
        model.predict([], convert_to_tensor=True)
    with pytest.raises(ValueError, match="device must be None"):
        CrossEncoder(directory, device="cuda")
    with pytest.raises(ValueError, match="top_k must be a whole number of 1 or more, got 0"):
        model.rank("a", ["b"], top_k=0)
    three = CrossEncoder(make_cross_encoder_directory(tmp_path, num_labels=3))
    with pytest.raises(ValueError, match="the model must have one label to rank by, got 3"):
        three.rank("a", ["b"])


def test_model_without_head_is_refused(tiny_directory):
    """A bi-encoder's directory has no head, and the error says what to do."""
    with pytest.raises(ValueError, match=r"must have pooler\..*; give a directory for sequence"):
        CrossEncoder(tiny_directory)


def test_number_of_labels_without_a_head(tiny_directory):
    """With num_labels a directory without a head gets a new one, and a warning says so."""
    with pytest.warns(
        UserWarning, match="has no classification head, so a new one for 3"
    ) as caught:
        model = CrossEncoder(tiny_directory, num_labels=3)
    assert caught[0].filename == __file__
    fresh = CrossEncoder(tiny_directory, num_labels=3, fresh_head=0)
    assert np.array_equal(model.predict(PAIRS[:3]), fresh.predict(PAIRS[:3]))
    assert model.predict(PAIRS[:3]).shape == (3, 3)


def test_number_of_labels_that_only_the_weights_have(tmp_path):
    """Where config.json says nothing of labels, those of the weights may be asked for."""
    directory = make_cross_encoder_directory(tmp_path, num_labels=1)
    expected = CrossEncoder(directory).predict(PAIRS[:3])
    edit_json(directory / "config.json", id2label=None)
    with pytest.raises(ValueError, match=r"classifier\.weight .* \(2, 32\) .* got \(1, 32\)"):
        CrossEncoder(directory)
    assert np.array_equal(CrossEncoder(directory, num_labels=1).predict(PAIRS[:3]), expected)


@pytest.mark.parametrize("seed", [-1, "x", 1.5, True, [0, 1]])
def test_seed_of_a_fresh_head(tiny_directory, seed):
    """The seed of a fresh head is a whole number of 0 or more."""
    with pytest.raises(
        ValueError, match=r"^fresh_head must be a whole number .* got .*; pass a seed"
    ):
        CrossEncoder(tiny_directory, fresh_head=seed)


def test_weights_in_memory(directory):
    """With mapped=False no parameter is a view of a file, and scores are the same."""
    model = CrossEncoder(directory, mapped=False)
    assert all(find_map(array) is None for array in model.parameters.values())
    assert np.array_equal(model.predict(PAIRS[:9]), CrossEncoder(directory).predict(PAIRS[:9]))


def test_one_segment(tmp_path):
    """A network with one segment uses it for both texts with any tokenizer."""
    one = CrossEncoder(make_cross_encoder_directory(tmp_path / "1", type_vocab_size=1))
    two = CrossEncoder(make_cross_encoder_directory(tmp_path / "2"))
    segments = one.parameters["embeddings.token_type_embeddings.weight"]
    two.parameters = one.parameters | {
        "embeddings.token_type_embeddings.weight": np.repeat(segments, 2, axis=0)
    }
    assert np.array_equal(one.predict(PAIRS[:5]), two.predict(PAIRS[:5]))


def test_misshapen_head_is_named(tmp_path):
    """A classifier with another number of labels than config.json is refused by its name."""
    directory = make_cross_encoder_directory(tmp_path, num_labels=3)
    weights = load_file(directory / "model.safetensors")
    save_file({**weights, "classifier.weight": np.ones((2, 32), np.float32)}, directory / "m")
    (directory / "m").replace(directory / "model.safetensors")
    with pytest.raises(ValueError, match=r"classifier\.weight .* must have the shape \(3, 32\)"):
        CrossEncoder(directory)


def test_groups_of_first_rows_follow_the_batch():
    """Two runs of one length that are not neighbours stay two groups."""
    rows, groups = find_first_rows(group_lengths([2, 5, 2]))
    assert rows.tolist() == [0, 2, 7]
    assert groups == ((0, 1, 1), (1, 1, 1), (2, 1, 1))
