"""sentence-transformers' evaluators and its hard negatives, unmodified, with our models in them.

Figures must be those that they find with sentence-transformers' own models. The two evaluators of
NanoBEIR get a small corpus instead of the one that they would fetch.
"""

import inspect
import json
import random
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import sentence_transformers
import torch
from sentence_transformers import InputExample
from sentence_transformers.cross_encoder import evaluation as pairs
from sentence_transformers.sentence_transformer import evaluation as texts
from sentence_transformers.sentence_transformer.losses import SoftmaxLoss
from sentence_transformers.util import hard_negatives

import minisbert
from minisbert import CrossEncoder, SentenceTransformer
from models import make_cross_encoder_directory

# On small batches a second thread only waits, and is waited for.
torch.set_num_threads(1)

GOLDEN = Path(__file__).parents[1] / "golden" / "texts.json"
TEXTS = [
    text
    for text in dict.fromkeys(json.loads(GOLDEN.read_text("utf-8")).values())
    if 20 < len(text) < 120
][:24]
HALVES = [text[: len(text) // 2] for text in TEXTS]
OTHERS = TEXTS[1:] + TEXTS[:1]
MEASURES = ["cosine", "dot", "euclidean", "manhattan"]
BOTH = [[a, b] for a, b in zip([*TEXTS, *TEXTS], [*HALVES, *OTHERS], strict=True)]
SCORES = np.random.default_rng(0).random(len(BOTH)).tolist()
LABELS = [1] * len(TEXTS) + [0] * len(TEXTS)
QUERIES = {f"q{number}": text for number, text in enumerate(HALVES)}
CORPUS = {f"d{number}": text for number, text in enumerate(TEXTS)}
RELEVANT = {f"q{number}": {f"d{number}"} for number in range(len(TEXTS))}
SAMPLES = [
    {"query": HALVES[number], "positive": [TEXTS[number]], "negative": TEXTS[number + 1 :][:5]}
    for number in range(8)
]
TRIPLETS = (HALVES, TEXTS, OTHERS)
COLUMNS = tuple(map(list, zip(*BOTH, strict=True)))


@pytest.fixture(scope="module")
def theirs(minilm_directory):
    return sentence_transformers.SentenceTransformer(str(minilm_directory), device="cpu")


@pytest.fixture(scope="module", params=[1, 3])
def directory(request, tmp_path_factory):
    return make_cross_encoder_directory(
        tmp_path_factory.mktemp("pairs"), num_labels=request.param, seed=3
    )


def make_nano(monkeypatch, kind, **options):
    """An evaluator of NanoBEIR with a corpus of ours instead of one that it fetches."""

    def load(self, name, **options):
        if kind is texts.NanoBEIREvaluator:
            return texts.InformationRetrievalEvaluator(
                QUERIES, CORPUS, RELEVANT, name=name, **options
            )
        samples = [{**sample, "documents": sample["negative"]} for sample in SAMPLES]
        for sample in samples:
            del sample["negative"]
        return pairs.CrossEncoderRerankingEvaluator(samples, name=f"{name}_R100", **options)

    monkeypatch.setattr(kind, "_load_dataset", load)
    return kind(["msmarco", "nq"], **options)


EVALUATORS = {
    "binary classification": lambda: texts.BinaryClassificationEvaluator(
        *COLUMNS, LABELS, similarity_fn_names=MEASURES
    ),
    "embedding similarity": lambda: texts.EmbeddingSimilarityEvaluator(
        *COLUMNS, SCORES, similarity_fn_names=MEASURES
    ),
    "information retrieval": lambda: texts.InformationRetrievalEvaluator(
        QUERIES, CORPUS, RELEVANT, corpus_chunk_size=7
    ),
    "functions of ours": lambda: texts.InformationRetrievalEvaluator(
        *(QUERIES, CORPUS, RELEVANT),
        score_functions={"cos": minisbert.util.cos_sim, "dot": minisbert.util.dot_score},
    ),
    "translation": lambda: texts.TranslationEvaluator(HALVES, TEXTS, truncate_dim=100),
    "triplet": lambda: texts.TripletEvaluator(*TRIPLETS, similarity_fn_names=MEASURES),
    "paraphrase mining": lambda: texts.ParaphraseMiningEvaluator(
        {**QUERIES, **CORPUS}, [(f"q{number}", f"d{number}") for number in range(len(TEXTS))]
    ),
    "reranking": lambda: texts.RerankingEvaluator(SAMPLES),
    "reranking, one by one": lambda: texts.RerankingEvaluator(SAMPLES, use_batched_encoding=False),
    "sequential": lambda: texts.SequentialEvaluator(
        [texts.RerankingEvaluator(SAMPLES), texts.TripletEvaluator(*TRIPLETS)]
    ),
}


@pytest.mark.parametrize("name", EVALUATORS)
@pytest.mark.filterwarnings("ignore:embeddings truncated to 100 dimensions")
def test_evaluators_of_bi_encoders(minilm, theirs, tmp_path, name):
    """Each evaluator takes our model as it is, finds the same, and writes its table."""
    got = minilm.evaluate(EVALUATORS[name](), str(tmp_path / "ours" / "deep"))
    assert list((tmp_path / "ours" / "deep").iterdir())
    assert got == pytest.approx(theirs.evaluate(EVALUATORS[name]()), abs=1e-4)


@pytest.mark.parametrize("name", ["mse", "mse from a data frame"])
def test_errors_of_a_student(minilm, theirs, name):
    """Teacher and student may be ours or theirs; the errors are the same."""

    def evaluate(teacher, student):
        if name == "mse":
            evaluator = texts.MSEEvaluator(TEXTS, HALVES, teacher)
        else:
            rows = [{"en": a, "de": b} for a, b in zip(TEXTS, HALVES, strict=True)]
            evaluator = texts.MSEEvaluatorFromDataFrame(rows, teacher, [("en", "de")])
        return evaluator(student)

    expected = evaluate(theirs, theirs)
    for models in ((minilm, minilm), (theirs, minilm), (minilm, theirs)):
        assert evaluate(*models) == pytest.approx(expected, abs=1e-4)


def test_accuracy_of_labels(minilm, theirs):
    """LabelAccuracyEvaluator and a classifier on top see our tokens and our vectors."""
    examples = [InputExample(texts=pair, label=y) for pair, y in zip(BOTH, LABELS, strict=True)]
    results = {}
    for model in (minilm, theirs):
        torch.manual_seed(0)
        loss = SoftmaxLoss(model, 384, num_labels=2)
        loader = torch.utils.data.DataLoader(examples, batch_size=7)
        results[model] = texts.LabelAccuracyEvaluator(loader, softmax_model=loss)(model)
    assert results[minilm] == results[theirs]


def test_nano_beir(monkeypatch, minilm, theirs):
    """NanoBEIREvaluator evaluates several corpora, with prompts, and takes means."""
    options = {"query_prompts": "question: ", "corpus_prompts": "text: "}
    got = make_nano(monkeypatch, texts.NanoBEIREvaluator, **options)(minilm)
    expected = make_nano(monkeypatch, texts.NanoBEIREvaluator, **options)(theirs)
    assert got == pytest.approx(expected, abs=1e-4)


def load_pairs(directory):
    theirs = sentence_transformers.CrossEncoder(str(directory), device="cpu", max_length=64)
    return CrossEncoder(directory, max_length=64), theirs


def make_old(name, **options):
    """An evaluator of an older version, made of examples where it can be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        kind = getattr(pairs, name)
        if not hasattr(kind, "from_input_examples"):
            return kind(SAMPLES)
        values = SCORES if "Correlation" in name else LABELS
        examples = [InputExample(texts=p, label=y) for p, y in zip(BOTH, values, strict=True)]
        return kind.from_input_examples(examples, **options)


OLD = [
    *("CEBinaryAccuracyEvaluator", "CEBinaryClassificationEvaluator", "CEF1Evaluator"),
    *("CESoftmaxAccuracyEvaluator", "CECorrelationEvaluator", "CERerankingEvaluator"),
]
PAIR_EVALUATORS = {
    "classification": lambda: pairs.CrossEncoderClassificationEvaluator(BOTH, LABELS),
    "correlation": lambda: pairs.CrossEncoderCorrelationEvaluator(BOTH, SCORES),
    "reranking": lambda: pairs.CrossEncoderRerankingEvaluator(SAMPLES),
    **{name: lambda name=name: make_old(name) for name in OLD},
}
# Those that are for models with several labels too.
SEVERAL = ["classification", *OLD[:4]]


@pytest.mark.parametrize("name", PAIR_EVALUATORS)
@pytest.mark.filterwarnings("ignore:.*texts are longer than the 64 tokens")
def test_evaluators_of_cross_encoders(directory, name, tmp_path):
    """Each evaluator takes our cross-encoder as it is, and finds the same."""
    ours, theirs = load_pairs(directory)
    if ours.num_labels > 1 and name not in SEVERAL:
        pytest.skip("this evaluator is for one label")
    got = ours.evaluate(PAIR_EVALUATORS[name](), str(tmp_path / "made"))
    assert got == pytest.approx(theirs.evaluate(PAIR_EVALUATORS[name]()), abs=1e-4)


@pytest.mark.filterwarnings("ignore:.*texts are longer than the 64 tokens")
def test_nano_beir_of_cross_encoders(monkeypatch, directory):
    """CrossEncoderNanoBEIREvaluator reranks several corpora, and takes means."""
    ours, theirs = load_pairs(directory)
    if ours.num_labels > 1:
        pytest.skip("reranking is for one label")
    monkeypatch.setattr(pairs.nano_beir, "is_datasets_available", lambda: True, raising=False)
    got = make_nano(monkeypatch, pairs.CrossEncoderNanoBEIREvaluator)(ours)
    expected = make_nano(monkeypatch, pairs.CrossEncoderNanoBEIREvaluator)(theirs)
    assert got == pytest.approx(expected, abs=1e-4)


def test_a_wrong_figure_is_seen():
    """The comparison above rejects a figure that is off by 2e-4, and a missing one."""
    assert {"map": 0.5002} != pytest.approx({"map": 0.5}, abs=1e-4)
    assert {} != pytest.approx({"map": 0.5}, abs=1e-4)


# Tensors


def test_tensors_are_given_where_asked_for(minilm, theirs, directory):
    """Tensors have the kinds and shapes that they have there."""
    for options in ({"convert_to_tensor": True}, {"convert_to_numpy": False}):
        for inputs in (TEXTS[:3], TEXTS[0]):
            got, expected = minilm.encode(inputs, **options), theirs.encode(inputs, **options)
            assert type(got) is type(expected)
            assert len(got) == len(expected)
            for ours, other in zip(got, expected, strict=True):
                assert ours.shape == other.shape
                assert torch.allclose(ours, other, atol=1e-5)
        tokens = minilm.encode(TEXTS[:2], output_value="token_embeddings", **options)
        assert [type(item) for item in tokens] == [torch.Tensor] * 2
        whole = minilm.encode(TEXTS[0], output_value=None, **options)
        assert isinstance(whole["sentence_embedding"], torch.Tensor)
    codes = minilm.encode(TEXTS, precision="binary", convert_to_tensor=True)
    assert codes.dtype is torch.int8
    ours, other = load_pairs(directory)
    few = [[a[:60], b[:60]] for a, b in BOTH[:4]]
    for options in ({"convert_to_tensor": True}, {"convert_to_numpy": False}):
        got, expected = ours.predict(few, **options), other.predict(few, **options)
        assert type(got) is type(expected)
        for a, b in zip(got, expected, strict=True):
            assert torch.allclose(a, b, atol=1e-5)
        assert ours.predict(tuple(few[0]), **options).shape == got[0].shape


@pytest.mark.parametrize("name", ["similarity", "similarity_pairwise"])
def test_similarities_return_what_they_were_given(minilm, theirs, name):
    """A tensor, or a list of tensors, gives a tensor; arrays give an array."""
    arrays = minilm.encode(TEXTS[:4]), minilm.encode(HALVES[:4])
    compare, expected = getattr(minilm, name), getattr(theirs, name)(*arrays)
    assert isinstance(compare(*arrays), np.ndarray)
    tensors = tuple(map(torch.from_numpy, arrays))
    for a in (arrays[0], tensors[0], list(tensors[0])):
        for b in (tensors[1], list(tensors[1])):
            got = compare(a, b)
            assert isinstance(got, torch.Tensor)
            assert torch.allclose(got, expected, atol=1e-6)
    half = tensors[0].to(torch.bfloat16)
    assert torch.allclose(compare(half, tensors[1]), expected, atol=2e-2)
    with pytest.raises(ValueError, match="embeddings must be tensors without a gradient"):
        compare(tensors[0].clone().requires_grad_(), tensors[1])


FUNCTIONS = [
    *("cos_sim", "dot_score", "euclidean_sim", "manhattan_sim", "pytorch_cos_sim"),
    *("pairwise_cos_sim", "pairwise_dot_score", "pairwise_euclidean_sim"),
    *("pairwise_manhattan_sim", "pairwise_angle_sim", "normalize_embeddings"),
]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("width", [8, 9])
def test_functions_of_util(name, width):
    """Each function of `util` gives the tensor that the one of that name gives there."""
    rng = np.random.default_rng(0)
    count = 1 if name == "normalize_embeddings" else 2
    arrays = [rng.standard_normal((4, width)).astype(np.float32) for _ in range(count)]
    expected = getattr(sentence_transformers.util, name)(*map(torch.from_numpy, arrays))
    compare = getattr(minisbert.util, name)
    assert isinstance(compare(*arrays), np.ndarray)
    got = compare(*map(torch.from_numpy, arrays))
    assert isinstance(got, torch.Tensor)
    assert torch.allclose(got, expected, atol=1e-5)


def test_enumerations_and_devices(minilm_directory):
    """Their enumeration of similarities and torch's devices are taken."""
    dot = sentence_transformers.SimilarityFunction.DOT_PRODUCT
    model = SentenceTransformer(
        minilm_directory, device=torch.device("cpu"), similarity_fn_name=dot
    )
    assert model.similarity_fn_name == "dot"
    assert model.to(torch.device("cpu", 0)) is model
    assert model.dtype is torch.float32
    model.encode(TEXTS[0], device=torch.device("cpu"))
    with pytest.raises(ValueError, match="device must be None"):
        model.to(torch.device("cuda"))
    names = {name.value for name in minisbert.SimilarityFunction}
    assert names <= {*sentence_transformers.SimilarityFunction.possible_values()}


def test_tables_are_refused_and_their_columns_encoded(minilm):
    """A data frame is refused; a series of it is encoded."""
    frame = pandas.DataFrame({"text": TEXTS[:3], "label": [1, 2, 3]})
    with pytest.raises(TypeError, match="inputs must be an iterable of str, got DataFrame"):
        minilm.encode(frame)
    expected = minilm.encode(TEXTS[:3])
    assert np.array_equal(minilm.encode(frame["text"]), expected)
    assert np.array_equal(minilm.encode(frame.set_index("label")["text"]), expected)


# Cross-encoders


@pytest.mark.parametrize("module", [torch.nn.Sigmoid(), torch.nn.Identity(), torch.nn.Tanh()])
def test_activations_of_torch(directory, module):
    """A module of torch gives the scores that it gives there, and is saved by its name."""
    few = [[a[:60], b[:60]] for a, b in BOTH[:4]]
    ours, theirs = load_pairs(directory)
    expected = theirs.predict(few, activation_fn=module)
    assert np.abs(ours.predict(few, activation_fn=module) - expected).max() <= 1e-5
    ours.activation_fn = module
    assert np.abs(ours.predict(few) - expected).max() <= 1e-5


@pytest.mark.parametrize(
    "module", [torch.nn.Softmax(dim=1), torch.nn.Softmax(dim=-1), torch.nn.GELU(), torch.nn.ReLU]
)
def test_activations_with_settings(directory, module):
    """Settings that the function here has, and a class instead of a module, are known too."""
    few = [[a[:60], b[:60]] for a, b in BOTH[:4]]
    ours, _ = load_pairs(directory)
    logits = ours.predict(few, return_logits=True).reshape(4, -1)
    made = module() if isinstance(module, type) else module
    expected = made(torch.from_numpy(logits)).numpy().reshape(4, -1)
    got = ours.predict(few, activation_fn=module).reshape(4, -1)
    assert np.abs(got - expected).max() <= 1e-5


def test_prompts_of_pairs(tmp_path, directory):
    """Prompts by name, as text and by default are put before pairs, and saved, as there."""
    few = [[a[:60], b[:60]] for a, b in BOTH[:4]]
    prompts = {"ask": "question: ", "tell": "the bird : "}
    options = {"prompts": prompts, "default_prompt_name": "ask"}
    ours = CrossEncoder(directory, **options)
    theirs = sentence_transformers.CrossEncoder(str(directory), device="cpu", **options)
    ours.save(tmp_path / "ours")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    back = sentence_transformers.CrossEncoder(str(tmp_path / "ours"), device="cpu")
    assert (back.prompts, back.default_prompt_name) == (prompts, "ask")
    ours_too = (CrossEncoder(tmp_path / name) for name in ("ours", "theirs"))
    for model in (ours, back, *ours_too):
        for choice in ({}, {"prompt_name": "tell"}, {"prompt": "say "}, {"prompt": ""}):
            expected = theirs.predict(few, **choice)
            assert np.abs(model.predict(few, **choice) - expected).max() <= 1e-5


def test_names_of_outputs(tmp_path):
    """An NLI model says which column is which, by its config and by that of its `model`."""
    names = {"0": "contradiction", "1": "entailment", "2": "neutral"}
    path = make_cross_encoder_directory(tmp_path, num_labels=3, id2label=names)
    ours, theirs = load_pairs(path)
    assert ours.config.id2label == theirs.config.id2label
    assert ours.model.config.id2label == theirs.model.config.id2label
    assert ours.label_names == [*names.values()]
    assert ours.num_labels == theirs.num_labels


# Tokens


def test_tokens(minilm, theirs):
    """Ids, masks and types are those that `tokenize` gives there."""
    got, expected = minilm.tokenize(TEXTS), theirs.tokenize(TEXTS)
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert np.array_equal(got[name], expected[name].numpy())
    found = minilm({name: expected[name] for name in ("input_ids", "attention_mask")})
    vectors = theirs(expected)
    assert torch.allclose(found["sentence_embedding"], vectors["sentence_embedding"], atol=1e-5)
    mask = expected["attention_mask"].bool()
    for name in ("token_embeddings",):
        assert torch.allclose(found[name][mask], vectors[name][mask], atol=1e-4)


# Hard negatives


class Dataset:
    """As much of a `datasets.Dataset` as hard negatives need."""

    def __init__(self, columns):
        self.columns, self.column_names = columns, list(columns)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name):
        return self.columns[name]

    def to_pandas(self):
        return pandas.DataFrame(self.columns)

    @classmethod
    def from_dict(cls, columns):
        return cls(columns)


@pytest.fixture
def datasets(monkeypatch):
    monkeypatch.setattr(hard_negatives, "is_datasets_available", lambda: True)
    fake = types.ModuleType("datasets")
    fake.Dataset = Dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)


QUESTIONS = HALVES[:12] + HALVES[:4]
ANSWERS = TEXTS[:12] + OTHERS[:4]
FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
MINING = [
    *({"output_format": name} for name in FORMATS),
    *({"output_format": name, "output_scores": True} for name in FORMATS),
    {"max_score": 0.3, "min_score": 0.05, "output_scores": True},
    {"absolute_margin": 0.4, "output_format": "labeled-list", "output_scores": True},
    {"relative_margin": 0.6, "output_format": "n-tuple", "num_negatives": 2},
    {"range_min": 3, "range_max": 12, "num_negatives": 5, "corpus": TEXTS[12:]},
    {"sampling_strategy": "random", "range_max": 10, "corpus": TEXTS[12:]},
    {"sampling_strategy": "random", "max_score": 0.15, "output_scores": True},
    {"query_prompt": "question: ", "corpus_prompt": "text: ", "output_scores": True},
    {"include_positives": True, "num_negatives": 20, "corpus": TEXTS},
    {"num_negatives": 15},
    {"use_multi_process": ["cpu"], "margin": 0.1},
    {"as_triplets": False},
]


def check_same(got, expected):
    """Compare columns: texts and labels must be equal, scores within 1e-4."""
    assert got.column_names == expected.column_names
    assert len(got) == len(expected) > 0
    for name in got.column_names:
        for ours, theirs in zip(got[name], expected[name], strict=True):
            if name in ("score", "scores"):
                assert ours == pytest.approx(theirs, abs=1e-4)
            else:
                assert ours == theirs


@pytest.mark.parametrize("options", MINING, ids=str)
@pytest.mark.filterwarnings("ignore:output_format is n-tuple")
def test_hard_negatives(datasets, minilm, theirs, options):
    """Their function finds the same with our model, and ours finds the same as theirs."""
    data = Dataset({"query": QUESTIONS, "answer": ANSWERS})

    def mine(function, model):
        random.seed(1)
        kept = {k: v for k, v in options.items() if k != "use_multi_process" or model is minilm}
        return function(data, model, verbose=False, **kept)

    expected = mine(hard_negatives.mine_hard_negatives, theirs)
    check_same(mine(hard_negatives.mine_hard_negatives, minilm), expected)
    check_same(mine(minisbert.mine_hard_negatives, minilm), expected)


@pytest.mark.filterwarnings("ignore:.*texts are longer than the 64 tokens")
def test_hard_negatives_of_a_cross_encoder(datasets, minilm, theirs, directory):
    """A cross-encoder of ours rescores candidates there, and one here finds the same."""
    ours_too, theirs_too = load_pairs(directory)
    if ours_too.num_labels > 1:
        pytest.skip("scores are of one label")
    data = Dataset({"query": QUESTIONS, "answer": ANSWERS})
    options = {"absolute_margin": 0.001, "output_scores": True, "verbose": False}
    mine = hard_negatives.mine_hard_negatives
    expected = mine(data, theirs, cross_encoder=theirs_too, **options)
    check_same(mine(data, minilm, cross_encoder=ours_too, **options), expected)
    got = minisbert.mine_hard_negatives(data, minilm, cross_encoder=ours_too, **options)
    check_same(got, expected)


def test_report_of_hard_negatives(datasets, minilm, tmp_path):
    """Their report and their cache of embeddings work with our model."""
    data = Dataset({"query": QUESTIONS, "answer": ANSWERS})
    options = {"cache_folder": str(tmp_path), "verbose": True}
    first = hard_negatives.mine_hard_negatives(data, minilm, **options)
    check_same(hard_negatives.mine_hard_negatives(data, minilm, **options), first)


# Signatures

KINDS = {
    SentenceTransformer: sentence_transformers.SentenceTransformer,
    CrossEncoder: sentence_transformers.CrossEncoder,
}
METHODS = {
    SentenceTransformer: {
        **{key: {"inputs": TEXTS[:2]} for key in ("encode", "encode_query", "encode_document")},
        **{
            key: {"embeddings1": [[1.0]], "embeddings2": [[1.0]]}
            for key in ("similarity", "similarity_pairwise")
        },
        "encode_multi_process": {"sentences": TEXTS[:2], "pool": {"processes": ["cpu"]}},
        "truncate_embeddings": {"truncate_dim": None},
    },
    CrossEncoder: {
        "predict": {"inputs": [("a", "b")]},
        "rank": {"query": "a", "documents": ["b", "c"]},
    },
}
COMMON = {"evaluate": {"evaluator": lambda *arguments: {}}, "start_multi_process_pool": {}}


@pytest.mark.parametrize("kind", KINDS)
def test_every_argument_at_its_default(kind, minilm_directory, tmp_path):
    """Every argument of every method is known, and may be given its default, but `backend`."""
    directory = minilm_directory
    if kind is CrossEncoder:
        directory = make_cross_encoder_directory(tmp_path / "pairs")
    model = kind(directory)
    saving = {key: {"path": str(tmp_path / "saved")} for key in ("save", "save_pretrained")}
    calls = {**METHODS[kind], **COMMON, **saving, "__init__": {"model_name_or_path": directory}}
    for name, needed in calls.items():
        ours = kind if name == "__init__" else getattr(model, name)
        signature = inspect.signature(inspect.unwrap(getattr(KINDS[kind], name)))
        for argument, parameter in signature.parameters.items():
            if parameter.default is parameter.empty or argument in needed:
                continue
            options = {**needed, argument: parameter.default}
            if argument == "backend":
                with pytest.raises(ValueError, match="backend must be left out, got a str; the"):
                    ours(**options)
            else:
                ours(**options)


@pytest.mark.parametrize("name", sorted({*minisbert.util.__all__} - {"SimilarityFunction"}))
def test_arguments_of_util(name):
    """The functions of `util` have the names of arguments that they have there, in that order."""
    theirs = inspect.signature(getattr(sentence_transformers.util, name))
    ours = inspect.signature(getattr(minisbert.util, name))
    if name == "information_retrieval":
        theirs = inspect.signature(sentence_transformers.util.semantic_search)
    assert list(ours.parameters)[: len(theirs.parameters)] == list(theirs.parameters)
