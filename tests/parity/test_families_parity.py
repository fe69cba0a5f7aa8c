"""Every family beside transformers and sentence-transformers, live: ids, vectors, logits, files."""

import dataclasses
import json

import numpy as np
import pytest
import sentence_transformers
import torch
import transformers
from family_models import make_family_directory
from safetensors.torch import save_file
from sentence_transformers.sentence_transformer import modules
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.encoding.tokenization import Tokenizer
from minisbert.model_files.configs import POOLING_FLAGS, read_bert_config
from minisbert.model_files.head_files import read_cross_encoder_config
from minisbert.model_files.weights import load_parameters
from minisbert.network.bert import bert_forward
from minisbert.network.families import FAMILIES
from minisbert.network.ragged import join_sentences
from minisbert.network.relative_bias import find_buckets
from models import write_json

LIMIT = 64
TEXT = "the old bird sings in a red tree , déjà 老鸟 птица ! cat-like <s> don't x"
WORDS = TEXT.split()
RNG = np.random.default_rng(6)


def make_text(most):
    return " ".join(RNG.choice(WORDS, RNG.integers(0, most)))


TEXTS = ["", "a bird", *(make_text(60) for _ in range(20)), "bird " * 100]
PAIRS = [("", ""), *((make_text(40), make_text(40)) for _ in range(20)), ("cat " * 99, "dog " * 99)]

every_family = pytest.mark.parametrize("model_type", FAMILIES)


def run_theirs(directory, inputs, limit=LIMIT, head=False):
    """Ids, and last hidden states or logits, of texts or pairs by transformers, padded."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    auto = transformers.AutoModelForSequenceClassification if head else transformers.AutoModel
    network = auto.from_pretrained(directory, attn_implementation="eager").eval().float()
    columns = zip(*inputs, strict=True) if isinstance(inputs[0], tuple) else [inputs]
    encoded = tokenizer(
        *map(list, columns), padding=True, truncation=True, max_length=limit, return_tensors="pt"
    )
    with torch.no_grad():
        outputs = network(**encoded)
    mask = encoded["attention_mask"].numpy() == 1
    ids = [row[kept].tolist() for row, kept in zip(encoded["input_ids"].numpy(), mask, strict=True)]
    if head:
        return ids, outputs.logits.numpy()
    hidden = outputs.last_hidden_state.numpy()
    return ids, [row[kept] for row, kept in zip(hidden, mask, strict=True)]


def run_ours(directory, inputs, limit=LIMIT):
    """The same by minisbert, in one ragged batch."""
    config = read_bert_config(directory / "config.json")
    tokenizer = Tokenizer(directory)
    read = tokenizer.encode_pairs if isinstance(inputs[0], tuple) else tokenizer.encode
    tokens = read(inputs, limit)
    batch = join_sentences(tokens.ids, tokens.types)
    hidden = bert_forward(load_parameters(directory, config), config, batch)
    ends = np.cumsum([len(ids) for ids in tokens.ids])[:-1]
    return [ids.tolist() for ids in tokens.ids], np.split(hidden, ends)


def check_hidden(directory, inputs, limit=LIMIT):
    expected_ids, expected = run_theirs(directory, inputs, limit)
    ids, hidden = run_ours(directory, inputs, limit)
    assert ids == expected_ids
    assert max(map(len, ids)) == limit
    for ours, theirs in zip(hidden, expected, strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5


@pytest.mark.parametrize("inputs", [TEXTS, PAIRS], ids=["singles", "pairs"])
@every_family
def test_last_hidden_state(tmp_path, model_type, inputs):
    """Texts and pairs of all lengths up to the limit have the same ids, and vectors within 1e-5."""
    check_hidden(make_family_directory(tmp_path, model_type), inputs)


@pytest.mark.parametrize("model_type", ["roberta", "mpnet"])
def test_512_tokens(tmp_path, model_type):
    """A network of 514 positions reads 512 tokens, as many as there."""
    directory = make_family_directory(tmp_path, model_type, positions=512, num_hidden_layers=2)
    check_hidden(directory, ["bird " * 600, "a bird"], limit=512)
    texts = ["bird " * 600, "a bird"]
    model = SentenceTransformer(directory)
    assert model.max_seq_length == 512
    with pytest.warns(UserWarning, match="longer than the 512 tokens"):
        vectors = model.encode(texts)
    _, hidden = run_theirs(directory, texts, limit=512)
    expected = np.stack([tokens.mean(axis=0) for tokens in hidden])
    assert np.abs(vectors - expected).max() <= 1e-5


def test_two_segments_of_roberta(tmp_path):
    """A RoBERTa with a segment table of two rows reads the first for both texts, as there."""
    check_hidden(make_family_directory(tmp_path, "roberta", type_vocab_size=2), PAIRS)


def test_buckets():
    """MPNet's distances fall into the same buckets, far beyond the longest text."""
    offsets = np.arange(-3000, 3001)
    expected = MPNetEncoder.relative_position_bucket(torch.from_numpy(offsets))
    assert np.array_equal(find_buckets(offsets), expected.numpy())


@pytest.mark.parametrize("num_labels", [1, 3])
@every_family
def test_logits(tmp_path, model_type, num_labels):
    """The logits of pairs are within 1e-5."""
    directory = make_family_directory(tmp_path, model_type, num_labels=num_labels)
    _, expected = run_theirs(directory, PAIRS, head=True)
    got = CrossEncoder(directory).predict(PAIRS, return_logits=True, on_truncate="ignore")
    assert np.abs(got.reshape(expected.shape) - expected).max() <= 1e-5


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@every_family
def test_half_precision(tmp_path, model_type, kind):
    """A checkpoint in half precision gives what its numbers give in single."""
    directory = make_family_directory(tmp_path, model_type)
    network = transformers.AutoModel.from_pretrained(directory, dtype=getattr(torch, kind))
    network.save_pretrained(directory)
    check_hidden(directory, TEXTS)


@every_family
def test_shared_tensors(tmp_path, model_type):
    """Vectors are the same where the word table is stored under the decoder's name."""
    directory = make_family_directory(tmp_path, model_type)
    network = transformers.AutoModel.from_pretrained(directory)
    model = transformers.AutoModelForMaskedLM.from_config(network.config)
    getattr(model, model.base_model_prefix).load_state_dict(network.state_dict(), strict=False)
    model.tie_weights()
    inputs, before = run_ours(directory, TEXTS)
    stored = model.state_dict()
    table = model.get_input_embeddings().weight.data_ptr()
    words, decoder = sorted(n for n in stored if stored[n].data_ptr() == table)
    if "word_embeddings" not in words:
        words, decoder = decoder, words
    del stored[words]
    kept = {tensor.data_ptr(): tensor.contiguous() for tensor in stored.values()}
    names = {tensor.data_ptr(): name for name, tensor in stored.items()}
    twins = {name: names[t.data_ptr()] for name, t in stored.items() if names[t.data_ptr()] != name}
    save_file(
        {name: kept[address] for address, name in names.items()},
        directory / "model.safetensors",
        {"format": "pt", words: decoder, **twins},
    )
    ids, after = run_ours(directory, TEXTS)
    assert ids == inputs
    for ours, expected in zip(after, before, strict=True):
        assert np.array_equal(ours, expected)


@every_family
def test_sizes_alone(tmp_path, model_type):
    """A config.json of only the sizes has the family's defaults, and gives the same vectors."""
    default = transformers.AutoConfig.for_model(model_type).to_dict()
    activation = "activation" if model_type == "distilbert" else "hidden_act"
    directory = make_family_directory(tmp_path, model_type, hidden_act=default[activation])
    sizes = ("model_type", "vocab_size", "hidden_size", "dim", "embedding_size", "pad_token_id")
    sizes += ("num_hidden_layers", "n_layers", "num_attention_heads", "n_heads")
    sizes += ("intermediate_size", "hidden_dim", "max_position_embeddings", "type_vocab_size")
    content = json.loads((directory / "config.json").read_text("utf-8"))
    write_json(directory / "config.json", {n: content[n] for n in sizes if n in content})
    check_hidden(directory, TEXTS)


@every_family
def test_defaults(tmp_path, model_type):
    """Every field that is read has transformers' default for the family."""
    theirs = transformers.AutoConfig.for_model(model_type)
    write_json(tmp_path / "config.json", {"model_type": model_type})
    ours = read_bert_config(tmp_path / "config.json")
    family = FAMILIES[model_type]
    for field in dataclasses.fields(ours):
        name = family.fields.get(field.name, field.name)
        if hasattr(theirs, name) and field.name not in family.fixed and name != "pad_token_id":
            assert getattr(ours, field.name) == getattr(theirs, name), name
    assert family.padding in (None, theirs.pad_token_id)
    head = read_cross_encoder_config(tmp_path)
    dropout = family.fields.get("classifier_dropout", "classifier_dropout")
    expected = getattr(theirs, dropout, None)
    assert head.classifier_dropout == (ours.hidden_dropout_prob if expected is None else expected)
    assert head.num_labels == theirs.num_labels


@pytest.mark.parametrize("model_type", ["roberta", "mpnet", "bert", "distilbert"])
def test_vocabulary_files_alone(tmp_path, model_type):
    """Without tokenizer.json the lists of words give the ids that transformers makes of them."""
    directory = make_family_directory(tmp_path, model_type)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    (directory / "tokenizer.json").unlink()
    tokenizer.backend_tokenizer.model.save(str(directory))
    (directory / "tokenizer_config.json").unlink()
    assert (directory / ("vocab.json" if model_type == "roberta" else "vocab.txt")).exists()
    for inputs in (TEXTS, PAIRS):
        check_hidden(directory, inputs)


# Directories of sentence-transformers

MODULES = {
    **{mode: ((mode,), False) for mode in POOLING_FLAGS.values()},
    "cls and mean": (("cls", "mean"), False),
    "with Dense": (("mean",), True),
}


def make_theirs(directory, pooling, dense):
    """A bi-encoder of sentence-transformers on a network."""
    transformer = modules.Transformer(str(directory))
    layers = [transformer, modules.Pooling(32, pooling_mode=list(pooling))]
    if dense:
        layers.append(modules.Dense(32 * len(pooling), 24))
    layers.append(modules.Normalize())
    prompts = {"query": "the bird : ", "document": "cat "}
    return sentence_transformers.SentenceTransformer(
        modules=layers, device="cpu", prompts=prompts, similarity_fn_name="dot"
    )


def check_same(ours, theirs):
    for prompt_name in (None, "query", "document"):
        texts = [*TEXTS, "a <pad> bird [PAD] sings"]
        got = ours.encode(texts, prompt_name=prompt_name, on_truncate="ignore")
        assert np.abs(got - theirs.encode(texts, prompt_name=prompt_name)).max() <= 1e-5


@pytest.mark.parametrize("layers", MODULES)
@every_family
def test_bi_encoders(tmp_path, complaints, model_type, layers):
    """A directory of sentence-transformers gives the same here, and saved here the same there."""
    theirs = make_theirs(make_family_directory(tmp_path / "network", model_type), *MODULES[layers])
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = SentenceTransformer(tmp_path / "theirs")
    check_same(ours, theirs)
    before = complaints()
    ours.save_pretrained(tmp_path / "ours")
    back = sentence_transformers.SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert complaints() == before
    assert (back.max_seq_length, back.similarity_fn_name) == (LIMIT, "dot")
    check_same(ours, back)


@pytest.mark.parametrize("num_labels", [1, 3])
@every_family
def test_cross_encoders(tmp_path, complaints, model_type, num_labels):
    """So it is with cross-encoders."""
    directory = make_family_directory(tmp_path / "network", model_type, num_labels=num_labels)
    theirs = sentence_transformers.CrossEncoder(str(directory), device="cpu")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = CrossEncoder(tmp_path / "theirs")
    expected = theirs.predict(PAIRS)
    assert np.abs(ours.predict(PAIRS, on_truncate="ignore") - expected).max() <= 1e-5
    before = complaints()
    ours.save_pretrained(tmp_path / "ours")
    back = sentence_transformers.CrossEncoder(str(tmp_path / "ours"), device="cpu")
    assert complaints() == before
    assert np.abs(back.predict(PAIRS) - expected).max() <= 1e-5


@pytest.mark.parametrize("mode", POOLING_FLAGS.values())
def test_prompts_left_out_of_pooling(tmp_path, complaints, mode):
    """Every pooling leaves the same tokens out, and weighs the others the same, at any length."""
    network = make_family_directory(tmp_path / "network", "bert")
    transformer = modules.Transformer(str(network))
    pooling = modules.Pooling(32, pooling_mode=mode, include_prompt=False)
    long = "the bird sings in the old tree all day , " * 9
    theirs = sentence_transformers.SentenceTransformer(
        modules=[transformer, pooling],
        device="cpu",
        prompts={"query": "the bird : ", "document": "cat ", "long": long},
    )
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = SentenceTransformer(tmp_path / "theirs")
    for prompt_name in (None, *theirs.prompts):
        expected = theirs.encode(TEXTS, prompt_name=prompt_name)
        got = ours.encode(TEXTS, prompt_name=prompt_name, on_truncate="ignore")
        assert np.abs(got - expected).max() <= 1e-5
