"""Every family is read under its own names, computed by the common forward, trained and saved."""

import json

import numpy as np
import pytest
from gradients import check_backward, check_gradient, check_parameters, differentiate
from safetensors.numpy import load_file, save_file

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.encoding.tokenization import Tokenizer
from minisbert.model_files.configs import read_bert_config, read_model_config
from minisbert.model_files.head_files import read_cross_encoder_config
from minisbert.model_files.weights import load_parameters
from minisbert.network.arrangement import arrange_for_few, arrange_for_many
from minisbert.network.bert import bert_backward, bert_forward
from minisbert.network.config import BertConfig, parameter_shapes
from minisbert.network.families import FAMILIES, RELATIVE_BIAS, WIDENING
from minisbert.network.heads import head_backward, head_forward, head_shapes
from minisbert.network.layers import attention_backward, attention_forward
from minisbert.network.ragged import find_first_rows, group_lengths, join_sentences
from minisbert.network.relative_bias import (
    find_buckets,
    relative_bias_backward,
    relative_bias_forward,
)
from minisbert.system.blas_limits import limit_blas
from minisbert.system.threads import two_threads
from minisbert.training.networks import make_network
from minisbert.training.objectives import make_loss
from minisbert.training.optimizer import is_decayed
from minisbert.training.step import Batch, Trainer
from models import (
    SIZES,
    VOCABULARY,
    describe_network,
    edit_json,
    make_cross_encoder_directory,
    make_model_directory,
    write_bpe,
    write_json,
)
from plain_bert import plain_bert

TEXTS = ["", "a bird", "The old bird sings all day in the tree .", "cat , dog ! " * 30]
PAIRS = [("a bird", "the old cat"), ("", "dog"), ("car " * 40, "tree " * 50)]
SEGMENTS = "embeddings.token_type_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"

every_family = pytest.mark.parametrize("model_type", FAMILIES)

# The networks of other families differ from these only in names, so `make test-fast` skips them.
every_network = pytest.mark.parametrize(
    "model_type",
    [
        pytest.param(name, marks=() if name in ("bert", "mpnet", "albert") else pytest.mark.slow)
        for name in FAMILIES
    ],
)


def read_config(path, model_type, **fields):
    """Read the sizes of a network from a config.json of its family."""
    write_json(path / "config.json", describe_network({"model_type": model_type, **fields}))
    return read_bert_config(path / "config.json")


def make_network_of(path, model_type, **fields):
    """Make a random network in float64."""
    config = read_bert_config(
        make_model_directory(path, model_type=model_type, **fields) / "config.json"
    )
    parameters = load_parameters(path, config)
    return config, {name: array.astype(np.float64) for name, array in parameters.items()}


def make_batch(config, lengths, seed=0):
    rng = np.random.default_rng(seed)
    sentences = [rng.integers(5, config.vocab_size, length) for length in lengths]
    types = [rng.integers(0, 2, length) for length in lengths]
    return join_sentences(sentences, types)


# The tables


@every_family
def test_names_there_and_back(tmp_path, model_type):
    """Each parameter has its own name in a checkpoint, also in twelve blocks (trap 25)."""
    config = read_config(tmp_path, model_type, num_hidden_layers=12)
    names = list(parameter_shapes(config))
    theirs = {FAMILIES[config.model_type].name_in_checkpoint(name): name for name in names}
    assert list(theirs.values()) == names
    blocks = {name.split(".")[2] for name in names if name.startswith("encoder.layer.")}
    assert blocks == {str(block) for block in range(1 if config.variant.shared_blocks else 12)}
    if not config.variant.shared_blocks:
        assert sum(".11." in name for name in theirs) == 16


@every_family
def test_tables_have_only_names_of_bert(tmp_path, model_type):
    """Every name in a family's table is a name in BERT, so no entry is without effect."""
    config = read_config(tmp_path, model_type)
    family = FAMILIES[config.model_type]
    layers = {
        name.split(".", 3)[3].rpartition(".")[0]
        for name in parameter_shapes(config)
        if name.startswith("encoder.layer.")
    }
    assert set(family.layers) <= layers
    assert set(family.fields) | set(family.fixed) <= {
        *BertConfig.__dataclass_fields__,
        "classifier_dropout",
    }


def test_names_of_distilbert(tmp_path):
    """DistilBERT's checkpoints have the names that its table says."""
    config = read_config(tmp_path, "distilbert", num_hidden_layers=12)
    name = FAMILIES[config.model_type].name_in_checkpoint(
        "encoder.layer.11.attention.output.LayerNorm.bias"
    )
    assert name == "transformer.layer.11.sa_layer_norm.bias"
    assert FAMILIES[config.model_type].name_in_checkpoint(POSITIONS) == POSITIONS


# config.json


def test_fields_of_distilbert(tmp_path):
    """DistilBERT's field names are read; missing fields get the defaults of its code."""
    write_json(
        tmp_path / "config.json",
        {
            "model_type": "distilbert",
            **{"vocab_size": 99, "dim": 24, "n_layers": 3, "n_heads": 6, "hidden_dim": 48},
            **{"activation": "relu", "max_position_embeddings": 40, "pad_token_id": 0},
            **{"dropout": 0.3, "attention_dropout": 0.2, "seq_classif_dropout": 0.4},
        },
    )
    assert read_bert_config(tmp_path / "config.json") == BertConfig(
        model_type="distilbert",
        vocab_size=99,
        embedding_size=24,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=6,
        intermediate_size=48,
        hidden_act="relu",
        layer_norm_eps=1e-12,
        max_position_embeddings=40,
        position_offset=0,
        type_vocab_size=0,
        pad_token_id=0,
        hidden_dropout_prob=0.3,
        attention_probs_dropout_prob=0.2,
        variant=FAMILIES["distilbert"],
    )
    assert read_cross_encoder_config(tmp_path).classifier_dropout == 0.4


@pytest.mark.parametrize(
    ("model_type", "pad_token_id", "offset"),
    [
        ("bert", 0, 0),
        ("distilbert", 1, 0),
        ("albert", 1, 0),
        ("roberta", 1, 2),
        ("roberta", None, 2),
        ("roberta", 0, 1),
        ("xlm-roberta", 1, 2),
        ("camembert", 1, 2),
        ("mpnet", 1, 2),
    ],
)
def test_position_offset(tmp_path, model_type, pad_token_id, offset):
    """Positions start at 0, or after the row of the padding id."""
    assert read_config(tmp_path, model_type, pad_token_id=pad_token_id).position_offset == offset


@pytest.mark.parametrize("model_type", ["roberta", "mpnet"])
def test_rows_before_the_first_position(tmp_path, model_type):
    """With 514 rows of positions, texts have up to 512 tokens; the first two rows are not read."""
    directory = make_model_directory(
        tmp_path,
        model_type=model_type,
        pad_token_id=1,
        max_position_embeddings=514,
        max_seq_length=514,
    )
    config = read_model_config(directory)
    assert config.max_seq_length == 512
    tensors = load_file(directory / "model.safetensors")
    tensors[POSITIONS] = tensors[POSITIONS].copy()
    tensors[POSITIONS][:2] = np.nan
    save_file(tensors, directory / "model.safetensors")
    model = SentenceTransformer(directory)
    vectors = model.encode(["bird " * 600, "bird"], on_truncate="ignore")
    assert np.isfinite(vectors).all()
    with pytest.raises(ValueError, match="from 3 to 512, got 513"):
        model.max_seq_length = 513
    tensors[POSITIONS][513] *= 50
    save_file(tensors, directory / "model.safetensors")
    moved = SentenceTransformer(directory).encode(["bird " * 600, "bird"], on_truncate="ignore")
    assert np.abs(moved[0] - vectors[0]).max() > 1e-3
    assert np.array_equal(moved[1], vectors[1])


@pytest.mark.parametrize(
    ("model_type", "field", "value", "expected"),
    [
        *(
            (model_type, "position_embedding_type", "relative_key", '"absolute"')
            for model_type in FAMILIES
        ),
        *((model_type, "is_decoder", True, "false") for model_type in FAMILIES),
        ("mpnet", "relative_attention_num_buckets", 64, "32"),
        ("albert", "num_hidden_groups", 2, "1"),
        ("albert", "inner_group_num", 2, "1"),
        ("albert", "embedding_size", 0, "a whole number of 1 or more"),
        ("distilbert", "hidden_size", 33, "a positive multiple of n_heads, 4"),
        ("roberta", "max_position_embeddings", 3, "a whole number of 4 or more"),
        ("deberta-v2", "hidden_size", 32, "model_type"),
    ],
)
def test_unsupported_config_is_refused(tmp_path, model_type, field, value, expected):
    """A config that the forward can't compute is refused; the error names field, file and value."""
    with pytest.raises(ValueError, match=f"in .*config.json must be .*{expected}|^{expected}"):
        read_config(tmp_path, model_type, **{field: value})


# The network


def as_bert(config, parameters):
    """Turn a network into the BERT with the same vectors, if its family adds no layer to BERT."""
    D = config.hidden_size
    parameters = dict(parameters)
    parameters[POSITIONS] = parameters[POSITIONS][config.position_offset :]
    parameters.setdefault(SEGMENTS, np.zeros((2, D)))
    if len(parameters[SEGMENTS]) == 1:
        parameters[SEGMENTS] = np.repeat(parameters[SEGMENTS], 2, axis=0)
    for block in range(1, config.num_hidden_layers * config.variant.shared_blocks):
        for name in [name for name in parameters if name.startswith("encoder.layer.0.")]:
            parameters[name.replace(".0.", f".{block}.")] = parameters[name]
    return parameters


@every_family
def test_family_computes_what_plain_bert_does(tmp_path, model_type):
    """With shifted positions, without bias and widening, each family computes what BERT does."""
    sizes = {"pad_token_id": 1, "embedding_size": 32, "num_hidden_layers": 3}
    segments = 1 if FAMILIES[model_type].padding else 2
    config, parameters = make_network_of(tmp_path, model_type, type_vocab_size=segments, **sizes)
    if RELATIVE_BIAS in parameters:
        parameters[RELATIVE_BIAS] *= 0
    if config.variant.shared_blocks:
        parameters[f"{WIDENING}.weight"] = np.eye(32)
        parameters[f"{WIDENING}.bias"] *= 0
    batch = make_batch(config, [7, 7, 3, 1])
    mask = np.arange(7) < np.array([7, 7, 3, 1])[:, None]
    ids, types = np.zeros((2, 4, 7), np.int64)
    ids[mask], types[mask] = (
        batch.token_ids,
        batch.token_type_ids * (not config.variant.one_segment),
    )
    expected = plain_bert(as_bert(config, parameters), config, ids, mask, types)[mask]
    for arrange in (dict, arrange_for_many, arrange_for_few):
        got = bert_forward(arrange(parameters), config, batch)
        assert np.abs(got - expected).max() <= 2e-6
    first_rows, _ = find_first_rows(batch.groups)
    first = bert_forward(parameters, config, batch, first_only=True)
    assert np.abs(first - expected[first_rows]).max() <= 2e-6


def test_one_segment_is_added(tmp_path):
    """RoBERTa adds its one segment row to both texts of a pair."""
    config, parameters = make_network_of(tmp_path, "roberta", type_vocab_size=1)
    batch = make_batch(config, [5, 2])
    changed = parameters | {SEGMENTS: parameters[SEGMENTS] + np.linspace(-1, 1, 32)}
    difference = bert_forward(changed, config, batch) - bert_forward(parameters, config, batch)
    assert np.abs(difference).min(axis=1).max() > 1e-4


def test_tokenizer_without_types_on_a_network_with_segments(tmp_path):
    """Row 0 of the segment table is added if the tokenizer gives no segments (trap 8)."""
    directory = make_cross_encoder_directory(tmp_path)
    model = CrossEncoder(directory)
    segments = model.parameters[SEGMENTS]
    model.parameters = {**model.parameters, SEGMENTS: np.repeat(segments[:1], 2, axis=0)}
    expected = model.predict(PAIRS, on_truncate="ignore")
    model.parameters = {**model.parameters, SEGMENTS: segments * 0}
    assert np.abs(model.predict(PAIRS, on_truncate="ignore") - expected).max() > 1e-3
    edit_json(
        directory / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"]
    )
    without = CrossEncoder(directory)
    assert without.tokenizer.encode_pairs(PAIRS, 64).types is None
    assert np.array_equal(without.predict(PAIRS, on_truncate="ignore"), expected)


def test_narrow_words_need_a_block(tmp_path):
    """ALBERT without blocks is refused, since its word vectors are narrower than its blocks."""
    directory = make_model_directory(tmp_path, model_type="albert", normalize=False)
    assert SentenceTransformer(directory, blocks=1).encode("a bird").shape == (32,)
    with pytest.raises(ValueError, match="blocks must be a whole number from 1 to 2, got 0"):
        SentenceTransformer(directory, blocks=0)


# The bias by distance


@pytest.mark.parametrize(
    ("distance", "bucket"),
    [
        (0, 0),
        (1, 1),
        (7, 7),
        (8, 8),
        (11, 8),
        (12, 9),
        (15, 9),
        (16, 10),
        (22, 10),
        (23, 11),
        (31, 11),
        (32, 12),
        (45, 12),
        (46, 13),
        (63, 13),
        (64, 14),
        (90, 14),
        (91, 15),
        (511, 15),
    ],
)
def test_buckets(distance, bucket):
    """Buckets widen with the distance, and keys after the query have buckets of their own."""
    assert find_buckets(np.array([-distance])) == bucket
    assert find_buckets(np.array([distance])) == bucket + 16 * (distance > 0)


@pytest.mark.parametrize("T", [1, 2, 9, 100])
def test_bias_is_looked_up_by_distance(T):
    """Row i, column j of the bias depends on j - i; a shorter sentence gets the top left corner."""
    table = np.random.default_rng(0).standard_normal((32, 3))
    bias = relative_bias_forward(table, T)
    assert bias.shape == (3, T, T)
    for i, j in np.ndindex(T, T):
        assert np.array_equal(bias[:, i, j], table[find_buckets(np.array([j - i]))[0]])
    shorter = relative_bias_forward(table, max(1, T - 3))
    assert np.array_equal(bias[:, : max(1, T - 3), : max(1, T - 3)], shorter)


def test_bias_backward():
    """The table's gradient agrees with central differences; 100 tokens reach all 32 buckets."""
    table = np.random.default_rng(0).standard_normal((32, 2))
    check_backward(
        lambda table, cache: relative_bias_forward(table, 100),
        lambda dout, cache: relative_bias_backward(dout),
        [table],
    )


@pytest.mark.parametrize("first_only", [False, True])
def test_attention_with_bias(first_only):
    """Scores get the bias of their sentence's length; its gradient is summed over sentences."""
    rng = np.random.default_rng(1)
    groups = group_lengths([4, 4, 2])
    rows, query_groups = find_first_rows(groups) if first_only else (np.arange(10), groups)
    query, key, value = rng.standard_normal((3, 10, 6))
    query = query[rows]
    bias = rng.standard_normal((2, 4, 4))
    dout = rng.standard_normal(query.shape)

    def run(cache):
        return attention_forward(
            query,
            key,
            value,
            groups=groups,
            heads=2,
            query_groups=query_groups,
            score_bias=bias,
            cache=cache,
        )

    cache = []
    out = run(cache)
    # The first token of the last sentence, computed by hand.
    last = 2 if first_only else 8
    for head in range(2):
        columns = slice(3 * head, 3 * head + 3)
        scores = key[8:, columns] @ query[last, columns] / np.sqrt(3) + bias[head, 0, :2]
        weights = np.exp(scores) / np.exp(scores).sum()
        assert np.allclose(out[last, columns], weights @ value[8:, columns], rtol=0, atol=1e-12)
    dbias = np.zeros_like(bias)
    gradients = attention_backward(dout, cache, dscore_bias=dbias)
    assert cache == []
    for array, gradient in zip((query, key, value, bias), (*gradients, dbias), strict=True):
        expected = differentiate(lambda: float(np.sum(run([]) * dout)), array)
        check_gradient(gradient, expected)


# Training


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("first_only", [False, True])
@every_network
def test_gradients(tmp_path, model_type, first_only, dropout):
    """Every parameter's gradient agrees with the loss's derivative, in every family."""
    config, parameters = make_network_of(tmp_path, model_type, num_hidden_layers=3)
    batch = make_batch(config, [20, 6, 6, 4, 1])
    rng = np.random.default_rng(2)
    dout = rng.standard_normal((5 if first_only else 37, config.hidden_size))

    def run(parameters, cache):
        masks = np.random.default_rng(3) if dropout else None
        return bert_forward(
            parameters, config, batch, first_only=first_only, rng=masks, cache=cache
        )

    cache, gradients = [], {name: np.full_like(a, np.nan) for name, a in parameters.items()}
    run(parameters, cache)
    bert_backward(dout, gradients, config, batch=batch, first_only=first_only, cache=cache)
    assert cache == []
    check_parameters(gradients, parameters, lambda moved: float(np.sum(run(moved, []) * dout)), rng)


@pytest.mark.parametrize("dropout", [False, True])
@every_family
def test_gradients_of_heads(tmp_path, model_type, dropout):
    """Every head's gradients agree with the loss's derivative, in every family."""
    rng = np.random.default_rng(4)
    config = read_cross_encoder_config(
        make_cross_encoder_directory(tmp_path, model_type=model_type, num_labels=3)
    )
    parameters = {name: rng.standard_normal(shape) for name, shape in head_shapes(config).items()}
    first, dlogits = rng.standard_normal((6, 32)), rng.standard_normal((6, 3))

    def run(parameters, cache):
        masks = np.random.default_rng(3) if dropout else None
        return head_forward(first, parameters, config, rng=masks, cache=cache)

    cache, gradients = [], {name: np.full_like(a, np.nan) for name, a in parameters.items()}
    run(parameters, cache)
    dfirst = head_backward(dlogits, gradients, config, cache=cache)
    assert cache == []

    def loss(parameters):
        return float(np.sum(run(parameters, []) * dlogits))

    check_parameters(gradients, parameters, loss, rng)
    check_gradient(dfirst, differentiate(lambda: loss(parameters), first))


@pytest.mark.parametrize(
    ("model_type", "dense", "output", "bend"),
    [
        ("bert", "pooler.dense", "classifier", np.tanh),
        ("roberta", "classifier.dense", "classifier.out_proj", np.tanh),
        ("mpnet", "classifier.dense", "classifier.out_proj", np.tanh),
        ("distilbert", "pre_classifier", "classifier", lambda x: np.maximum(x, 0)),
        ("albert", "pooler", "classifier", np.tanh),
    ],
)
def test_heads(tmp_path, model_type, dense, output, bend):
    """A head is two layers on the first token, under its family's parameter names."""
    model = CrossEncoder(make_cross_encoder_directory(tmp_path, model_type=model_type))
    first = np.random.default_rng(5).standard_normal((4, 32))
    (w, b), (u, c) = (
        (model.parameters[f"{name}.weight"], model.parameters[f"{name}.bias"])
        for name in (dense, output)
    )
    expected = bend(first @ w.T + b) @ u.T + c
    got = head_forward(first.copy(), model.parameters, model.config)
    assert np.allclose(got, expected, rtol=0, atol=1e-6)


@every_family
def test_a_step_of_training(tmp_path, model_type):
    """Steps change every parameter, with the same bits on one thread and on two."""
    moved = []
    for threads in (1, 2):
        directory = make_model_directory(tmp_path, model_type=model_type, pooling=("cls",))
        model = SentenceTransformer(directory)
        parameters = {name: array.copy() for name, array in model.parameters.items()}
        tokens = model.tokenizer.encode(["a bird", "the old cat", "dog", "a car !"], 64).ids
        batch = Batch([tokens[:2], tokens[2:]], None, np.array([1.0, 0.0]))
        network = make_network(model.config)
        with two_threads(threads) as run_both, limit_blas(1):
            trainer = Trainer(network, make_loss("cosine"), parameters, run_both=run_both)
            trainer.step(batch, 0.1, (0, 0))
            trainer.step(batch, 0.1, (0, 1))
        for name, array in parameters.items():
            assert np.isfinite(array).all(), name
            assert not np.array_equal(array, model.parameters[name]), name
        moved.append(parameters)
    assert all(np.array_equal(moved[0][name], moved[1][name]) for name in moved[0])


def test_bias_by_distance_is_not_decayed():
    """Weight decay does not apply to MPNet's bias by distance."""
    assert not is_decayed(RELATIVE_BIAS)


@every_family
def test_fresh_head(tmp_path, model_type):
    """A new head can be added to any family's bi-encoder."""
    model = CrossEncoder(
        make_model_directory(tmp_path, model_type=model_type), num_labels=3, fresh_head=1
    )
    assert model.predict(PAIRS, on_truncate="ignore").shape == (3, 3)


# Directories


@every_family
def test_saved_bi_encoder(tmp_path, model_type):
    """A saved bi-encoder has its family's parameter names and gives the same bits."""
    source = make_model_directory(tmp_path / "source", model_type=model_type, dense=16)
    tensors = load_file(source / "model.safetensors")
    tensors["pooler.dense.weight"] = np.ones((32, 32), np.float32)
    save_file(tensors, source / "model.safetensors")
    model = SentenceTransformer(source)
    model.save(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert set(saved) == set(tensors)
    assert all(np.array_equal(saved[name], tensors[name]) for name in tensors)
    back = SentenceTransformer(tmp_path / "saved")
    expected = model.encode(TEXTS, on_truncate="ignore")
    assert np.array_equal(back.encode(TEXTS, on_truncate="ignore"), expected)
    content = json.loads((tmp_path / "saved" / "config.json").read_text("utf-8"))
    assert content["architectures"] == [f"{FAMILIES[model_type].architecture}Model"]
    assert content == json.loads((source / "config.json").read_text("utf-8")) | {
        "architectures": content["architectures"]
    }


@every_family
def test_saved_cross_encoder(tmp_path, model_type):
    """A saved cross-encoder has its family's prefix and names and gives the same bits."""
    source = make_cross_encoder_directory(tmp_path / "source", model_type=model_type)
    model = CrossEncoder(source)
    model.save(tmp_path / "saved")
    tensors = load_file(source / "model.safetensors")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert set(saved) == set(tensors)
    assert all(np.array_equal(saved[name], tensors[name]) for name in tensors)
    expected = model.predict(PAIRS, on_truncate="ignore")
    back = CrossEncoder(tmp_path / "saved")
    assert np.array_equal(back.predict(PAIRS, on_truncate="ignore"), expected)
    content = json.loads((tmp_path / "saved" / "config.json").read_text("utf-8"))
    architecture = f"{FAMILIES[model_type].architecture}ForSequenceClassification"
    assert content["architectures"] == [architecture]


def test_fewer_blocks_under_their_own_name(tmp_path):
    """A smaller number of blocks is saved under the family's field name."""
    source = make_model_directory(tmp_path / "source", model_type="distilbert")
    SentenceTransformer(source, blocks=1).save(tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "config.json").read_text("utf-8"))
    assert content["n_layers"] == 1
    assert "num_hidden_layers" not in content


@every_family
def test_prefix_and_heads_in_a_checkpoint(tmp_path, model_type):
    """A pre-training checkpoint, with a prefix, half precision and other heads, can be read."""
    directory = make_model_directory(tmp_path, model_type=model_type)
    prefix = FAMILIES[model_type].prefix
    tensors = load_file(directory / "model.safetensors")
    halves = {prefix + name: array.astype(np.float16) for name, array in tensors.items()}
    extra = {
        name: np.ones(3, np.float32)
        for name in (
            *("lm_head.dense.weight", "cls.predictions.bias", "vocab_transform.weight"),
            *("predictions.bias", "classifier.dense.weight", "pre_classifier.bias"),
            f"{prefix}pooler.dense.weight",
        )
    }
    positions = {f"{prefix}embeddings.position_ids": np.arange(64)[None]}
    save_file(halves | extra | positions, directory / "model.safetensors")
    config = read_model_config(directory).bert
    for name, array in load_parameters(directory, config).items():
        expected = tensors[FAMILIES[config.model_type].name_in_checkpoint(name)].astype(np.float16)
        assert array.dtype == np.float32
        assert np.array_equal(array, expected.astype(np.float32))


def test_missing_parameter_is_named_as_in_the_checkpoint(tmp_path):
    """An error about a missing parameter uses the checkpoint's name."""
    directory = make_model_directory(tmp_path, model_type="distilbert")
    tensors = load_file(directory / "model.safetensors")
    del tensors["transformer.layer.1.ffn.lin2.bias"]
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(ValueError, match=r"without 'transformer\.layer\.1\.ffn\.lin2\.bias'"):
        SentenceTransformer(directory)


# Tokenizers built from vocabulary files

BPE_TEXTS = ["the old bird sings in the tree all day", "a red car, a cat and a dog!"] * 3
NASTY_TEXTS = [
    *("", " ", "The old BIRD sings", "  two  blanks ", "naïve café 漢字 😀", "a\nb\tc", "don't"),
    *("a <mask> b", "<s> a </s>", "a<pad>b", "\x00\u200b\ufffd", "x" * 80),
]


@pytest.fixture
def bpe_directory(tmp_path):
    write_json(tmp_path / "config.json", {"model_type": "roberta"})
    write_bpe(tmp_path, BPE_TEXTS)
    return tmp_path


@pytest.mark.parametrize("prefix_space", [False, True])
def test_bpe_lists_give_the_same_ids(bpe_directory, prefix_space):
    """vocab.json and merges.txt give the same token ids as tokenizer.json, for texts and pairs."""
    write_bpe(bpe_directory, BPE_TEXTS, prefix_space)
    write_json(bpe_directory / "tokenizer_config.json", {"add_prefix_space": prefix_space})
    mask = {"content": "<mask>", "lstrip": True, "normalized": False}
    write_json(bpe_directory / "special_tokens_map.json", {"mask_token": mask})
    whole = Tokenizer(bpe_directory)
    (bpe_directory / "tokenizer.json").unlink()
    built = Tokenizer(bpe_directory)
    for text, a, b in zip(
        NASTY_TEXTS,
        whole.encode(NASTY_TEXTS, 20).ids,
        built.encode(NASTY_TEXTS, 20).ids,
        strict=True,
    ):
        assert a.tolist() == b.tolist(), text
    pairs = list(zip(NASTY_TEXTS, reversed(NASTY_TEXTS), strict=True))
    expected, got = whole.encode_pairs(pairs, 24), built.encode_pairs(pairs, 24)
    assert [ids.tolist() for ids in got.ids] == [ids.tolist() for ids in expected.ids]
    assert [types.tolist() for types in got.types] == [types.tolist() for types in expected.types]


def test_space_before_the_first_word(bpe_directory):
    """With add_prefix_space the first word is tokenised like any other."""
    (bpe_directory / "tokenizer.json").unlink()
    write_json(bpe_directory / "tokenizer_config.json", {"add_prefix_space": True})
    first, after_a_space = Tokenizer(bpe_directory).encode(["bird", " bird"], 64).ids
    assert first.tolist() == after_a_space.tolist()
    write_json(bpe_directory / "tokenizer_config.json", {})
    first, after_a_space = Tokenizer(bpe_directory).encode(["bird", " bird"], 64).ids
    assert first.tolist() != after_a_space.tolist()


def test_pair_of_roberta(bpe_directory):
    """RoBERTa puts two separators between the texts of a pair, and both texts into one segment."""
    (bpe_directory / "tokenizer.json").unlink()
    tokens = Tokenizer(bpe_directory).encode_pairs([("bird", "cat")], 64)
    ids = tokens.ids[0].tolist()
    assert [ids[0], ids[-1]] == [0, 2]
    middle = ids.index(2)
    assert ids[middle : middle + 2] == [2, 2]
    assert not tokens.types[0].any()


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("spell", [str, lambda word: {"content": word, "lstrip": False}])
def test_special_tokens_that_a_directory_names(bpe_directory, file, spell):
    """Either of two files may name other special tokens, as strings or as objects."""
    (bpe_directory / "tokenizer.json").unlink()
    write_json(bpe_directory / file, {"cls_token": spell("<mask>"), "sep_token": spell("<pad>")})
    (ids,) = Tokenizer(bpe_directory).encode([""], 64).ids
    assert ids.tolist() == [4, 1]


def test_special_tokens_of_mpnet(tmp_path):
    """MPNet's vocab.txt uses RoBERTa's special tokens, and its pairs are built as RoBERTa's."""
    write_json(tmp_path / "config.json", {"model_type": "mpnet"})
    words = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>", *VOCABULARY[5:]]
    (tmp_path / "vocab.txt").write_text("\n".join(words), "utf-8")
    tokenizer = Tokenizer(tmp_path)
    (ids,) = tokenizer.encode(["The birds 漢"], 64).ids
    assert [words[row] for row in ids] == ["<s>", "the", "bird", "##s", "[UNK]", "</s>"]
    (ids,) = tokenizer.encode_pairs([("a bird", "the cat")], 64).ids
    assert " ".join(words[row] for row in ids) == "<s> a bird </s> </s> the cat </s>"


@pytest.mark.parametrize(
    ("damage", "error", "sentence"),
    [
        (lambda d: (d / "merges.txt").unlink(), FileNotFoundError, r"merges\.txt must be a file"),
        (
            lambda d: (d / "merges.txt").write_text("th e\nno thing\n", "utf-8"),
            ValueError,
            r"vocab\.json and merges\.txt must belong to one tokenizer",
        ),
        (lambda d: write_json(d / "vocab.json", {"a": 0}), ValueError, "must belong to one"),
        (lambda d: write_json(d / "vocab.json", {"a": "b"}), ValueError, "must belong to one"),
        (lambda d: write_json(d / "vocab.json", []), ValueError, "must hold a JSON object"),
        (
            lambda d: write_json(d / "special_tokens_map.json", {"cls_token": "<none>"}),
            ValueError,
            "must hold the cls_token '<none>', got tokens without it",
        ),
    ],
)
def test_broken_lists(bpe_directory, damage, error, sentence):
    """Vocabulary files that are missing, broken, or of two tokenizers are one clear error."""
    (bpe_directory / "tokenizer.json").unlink()
    damage(bpe_directory)
    with pytest.raises(error, match=sentence) as raised:
        Tokenizer(bpe_directory)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["sentencepiece.bpe.model", "spiece.model"])
def test_only_a_sentencepiece_model(tmp_path, name):
    """A directory with only a sentencepiece model is refused; the error says what to do."""
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"must hold tokenizer\.json, got only .*; convert it"):
        Tokenizer(tmp_path)


def test_files_of_tokenizers_are_saved(tmp_path):
    """All tokenizer files are saved with a model, also over an older save."""
    source = make_model_directory(tmp_path / "source", model_type="roberta", vocab_size=320)
    write_bpe(source, BPE_TEXTS)
    (source / "vocab.txt").unlink()
    (source / "sentencepiece.bpe.model").write_bytes(b"model")
    (source / "tokenizer.json").unlink()
    edit_json(source / "config.json", tokenizer_class="RobertaTokenizer")
    model = SentenceTransformer(source)
    for _ in range(2):
        model.save(tmp_path / "saved")
    for name in ("vocab.json", "merges.txt", "sentencepiece.bpe.model"):
        assert (tmp_path / "saved" / name).read_bytes() == (source / name).read_bytes()
    expected = model.encode(TEXTS, on_truncate="ignore")
    back = SentenceTransformer(tmp_path / "saved")
    assert np.array_equal(back.encode(TEXTS, on_truncate="ignore"), expected)


def test_configs_differ_only_in_model_type():
    """The configs of the tests above differ from BERT's only in model_type."""
    assert describe_network({}) == SIZES
