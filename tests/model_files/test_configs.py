"""Model directories of both generations are read, and errors name what can't be read."""

import json
import logging
import os
import shutil

import pytest

from minisbert import SentenceTransformer
from minisbert.arguments import shorten
from minisbert.model_files.class_paths import MODULE_PATHS, TORCH_ACTIVATIONS
from minisbert.model_files.configs import (
    HIDDEN_ACTIVATIONS,
    POOLING_FLAGS,
    read_bert_config,
    read_model_config,
)
from minisbert.network.activations import ACTIVATIONS
from minisbert.network.config import DenseConfig, NormalizeConfig, PoolingConfig, parameter_shapes
from minisbert.network.families import DEFAULTS
from minisbert.network.pooling import POOLINGS
from models import (
    OLD_TYPES,
    SIZES,
    edit_json,
    make_cross_encoder_directory,
    make_model_directory,
    write_json,
)


@pytest.fixture
def directory(tmp_path):
    return make_model_directory(tmp_path / "model", dense=16)


def set_modules(directory, *kinds):
    entries = [
        {"idx": idx, "name": str(idx), "path": f"{idx}_{kind}" if idx else "", "type": kind}
        for idx, kind in enumerate(kinds)
    ]
    write_json(directory / "modules.json", entries)


# What is read


def test_both_generations_say_the_same(tmp_path):
    """The same model in the old and in the new format gives the same configuration."""
    options = {"pooling": ("cls", "mean"), "dense": 16, "max_seq_length": 20}
    old = read_model_config(make_model_directory(tmp_path / "old", **options))
    new = read_model_config(make_model_directory(tmp_path / "new", new_format=True, **options))
    assert old == new
    assert old.pooling == PoolingConfig(("cls", "mean"))
    assert old.modules == (
        DenseConfig(64, 16, True, "tanh", "2_Dense"),
        NormalizeConfig(),
    )
    assert old.max_seq_length == 20
    assert old.prompts == {"query": "", "document": ""}
    assert (old.similarity_fn_name, old.default_prompt_name, old.truncate_dim) == (
        "cosine",
        None,
        None,
    )


def test_minilm(minilm_directory):
    """The real model's configuration is read."""
    config = read_model_config(minilm_directory)
    assert (config.bert.num_hidden_layers, config.bert.hidden_size) == (6, 384)
    assert config.max_seq_length == 256
    assert (config.pooling, config.modules) == (PoolingConfig(("mean",)), (NormalizeConfig(),))
    assert not config.do_lower_case


def test_saved_settings(directory):
    """Prompts, similarity and dimension are read from config_sentence_transformers.json."""
    write_json(
        directory / "config_sentence_transformers.json",
        {
            "__version__": {"sentence_transformers": "3.0.0"},
            "prompts": {"query": "query: ", "title": "title: "},
            "default_prompt_name": "title",
            "similarity_fn_name": "dot",
            "truncate_dim": 8,
        },
    )
    config = read_model_config(directory)
    assert config.prompts == {"query": "query: ", "document": "", "title": "title: "}
    assert config.default_prompt_name == "title"
    assert config.similarity_fn_name == "dot"
    assert config.truncate_dim == 8


def test_null_is_unset(directory):
    """A field that is null counts as missing, as sentence-transformers writes unset ones."""
    write_json(
        directory / "config_sentence_transformers.json",
        dict.fromkeys(("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")),
    )
    assert read_model_config(directory).similarity_fn_name == "cosine"


def test_modules_run_in_order_of_idx(directory):
    """The order of the modules is that of idx, not of the file."""
    entries = json.loads((directory / "modules.json").read_text("utf-8"))
    write_json(directory / "modules.json", entries[::-1])
    kinds = [type(module) for module in read_model_config(directory).modules]
    assert kinds == [DenseConfig, NormalizeConfig]


def test_modules_without_idx_run_in_their_order(directory):
    """An entry without idx has its place in the file, as sentence-transformers takes all."""
    entries = json.loads((directory / "modules.json").read_text("utf-8"))
    for entry in entries:
        del entry["idx"]
    write_json(directory / "modules.json", entries)
    kinds = [type(module) for module in read_model_config(directory).modules]
    assert kinds == [DenseConfig, NormalizeConfig]


@pytest.mark.parametrize("path", MODULE_PATHS)
def test_module_paths(directory, path):
    """Every path that a version of sentence-transformers gives a module is known."""
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    types = [path if MODULE_PATHS[path] == kind else OLD_TYPES[kind] for kind in kinds]
    set_modules(directory, *types)
    for place, kind in enumerate(types):
        entry = f"{place}_{kind}"
        if 0 < place < 3:
            (directory / f"{place}_{kinds[place]}").rename(directory / entry)
    modules = read_model_config(directory).modules
    assert [type(module) for module in modules] == [DenseConfig, NormalizeConfig]


def test_transformer_in_a_folder(directory):
    """The Transformer module may be in a folder of its own, with its length and its sizes."""
    (directory / "0_Transformer").mkdir()
    for name in ("config.json", "sentence_bert_config.json"):
        shutil.move(directory / name, directory / "0_Transformer" / name)
    entries = json.loads((directory / "modules.json").read_text("utf-8"))
    entries[0]["path"] = "0_Transformer"
    write_json(directory / "modules.json", entries)
    edit_json(directory / "0_Transformer" / "sentence_bert_config.json", max_seq_length=21)
    config = read_model_config(directory)
    assert (config.transformer_path, config.max_seq_length) == ("0_Transformer", 21)


def test_without_modules_mean_pooling_is_assumed_aloud(directory, caplog):
    """A bare BERT directory gets mean pooling, and the log says so."""
    (directory / "modules.json").unlink()
    with caplog.at_level(logging.WARNING):
        config = read_model_config(directory)
    assert (config.pooling, config.modules) == (PoolingConfig(("mean",)), ())
    assert "no modules.json: mean pooling is assumed" in caplog.text


def test_without_modules_no_file_of_theirs_is_read(directory):
    """Prompts are read beside modules.json only, as in sentence-transformers."""
    written = {"prompts": {"query": "q: "}, "default_prompt_name": "query", "truncate_dim": 8}
    write_json(directory / "config_sentence_transformers.json", written)
    assert read_model_config(directory).default_prompt_name == "query"
    (directory / "modules.json").unlink()
    config = read_model_config(directory)
    assert config.prompts == {"query": "", "document": ""}
    assert (config.default_prompt_name, config.truncate_dim) == (None, None)


@pytest.mark.parametrize(
    "name",
    [
        *("config_sentence_transformers.json", "tokenizer_config.json", "added_tokens.json"),
        *("special_tokens_map.json", "tokenizer.json", "model.safetensors"),
    ],
)
def test_link_to_nothing(directory, name):
    """A file whose target is gone, as in a damaged cache, is not taken for one that never was."""
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to("gone")
    with pytest.raises(FileNotFoundError, match=f"{name} must be a file, but there is no such"):
        SentenceTransformer(directory)


def test_cross_encoder_as_bi_encoder_is_told_aloud(tmp_path, caplog):
    """A cross-encoder's directory loads without its head, as there, and the log says so."""
    directory = make_cross_encoder_directory(tmp_path)
    with caplog.at_level(logging.WARNING):
        read_model_config(directory)
    assert "its head is left out ('BertForSequenceClassification'); CrossEncoder" in caplog.text


def test_normalize_folder_may_be_missing(directory):
    """A Normalize module needs no folder, since copying often loses an empty one."""
    assert not (directory / "3_Normalize").exists()
    assert read_model_config(directory).modules[-1] == NormalizeConfig()


def test_missing_normalize_is_not_added(tmp_path):
    """A model without a Normalize module gets none."""
    config = read_model_config(make_model_directory(tmp_path, normalize=False))
    assert (config.pooling, config.modules) == (PoolingConfig(("mean",)), ())


@pytest.mark.parametrize(("flag", "mode"), POOLING_FLAGS.items())
def test_pooling_flags(directory, flag, mode):
    """Each flag of the old format has its name in the new one, and POOLINGS knows it."""
    write_json(directory / "1_Pooling" / "config.json", {flag: True})
    assert read_model_config(directory).pooling.modes == (mode,)
    assert mode in POOLINGS


@pytest.mark.parametrize(
    ("fields", "modes"),
    [
        ({}, ["mean"]),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": False}, ["mean"]),
        ({"pooling_mode_lasttoken": True, "pooling_mode_max_tokens": True}, ["max", "lasttoken"]),
        ({"pooling_mode": "cls"}, ["cls"]),
        ({"pooling_mode": ["mean", "cls"]}, ["mean", "cls"]),
        ({"pooling_mode": "max", "pooling_mode_cls_token": True}, ["max"]),
    ],
    ids=["none", "all false", "flags have an order", "text", "a list keeps its own", "new wins"],
)
def test_pooling_modes(tmp_path, fields, modes):
    """Flags concatenate in their fixed order, a list in its own; without either it is the mean."""
    directory = make_model_directory(tmp_path)
    write_json(directory / "1_Pooling" / "config.json", fields)
    assert read_model_config(directory).pooling == PoolingConfig(tuple(modes), True)


def test_prompt_may_be_left_out_of_pooling(directory):
    """include_prompt is read."""
    edit_json(directory / "1_Pooling" / "config.json", include_prompt=False)
    assert not read_model_config(directory).pooling.include_prompt


@pytest.mark.parametrize(
    ("stated", "activation"),
    [
        (None, "tanh"),
        ("torch.nn.modules.activation.Tanh", "tanh"),
        ("torch.nn.modules.linear.Identity", "identity"),
        ("torch.nn.modules.activation.ReLU", "relu"),
        ("torch.nn.modules.activation.GELU", "gelu"),
        ("torch.nn.modules.activation.Sigmoid", "sigmoid"),
    ],
)
def test_dense_activations(directory, stated, activation):
    """A Dense module's activation is known by its path, and Tanh if it has none."""
    edit_json(directory / "2_Dense" / "config.json", activation_function=stated, bias=False)
    dense = read_model_config(directory).modules[0]
    assert (dense.activation, dense.bias) == (activation, False)


def test_activations_exist():
    """Every activation that a configuration may name is implemented, softmax as a layer."""
    assert {*HIDDEN_ACTIVATIONS, *TORCH_ACTIVATIONS.values()} - {"softmax"} <= set(ACTIVATIONS)


def test_twelve_blocks_are_twelve(tmp_path):
    """Block numbers of two digits are numbers, and the last block is not lost."""
    write_json(tmp_path / "config.json", SIZES | {"num_hidden_layers": 12})
    shapes = parameter_shapes(read_bert_config(tmp_path / "config.json"))
    assert {int(name.split(".")[2]) for name in shapes if "layer." in name} == set(range(12))
    assert len(shapes) == 5 + 12 * 16


def test_positions_of_bert_start_at_the_first(directory):
    """BERT's first token has the first row of the position table."""
    assert read_model_config(directory).bert.position_offset == 0


@pytest.mark.parametrize("name", [name for name in SIZES if name != "model_type"])
def test_missing_field_has_its_default(directory, name):
    """A field that config.json lacks has the value that transformers documents for BERT."""
    write_json(directory / "config.json", {**SIZES, "hidden_size": 48, name: None})
    expected = {"pad_token_id": None, **DEFAULTS}[name]
    assert getattr(read_bert_config(directory / "config.json"), name) == expected


@pytest.mark.parametrize(
    ("content", "model_type"),
    [
        ({"architectures": ["XLMRobertaForMaskedLM"]}, "xlm-roberta"),
        ({"architectures": ["RobertaModel"], "type_vocab_size": 2}, "roberta"),
        ({"type_vocab_size": 2}, "bert"),
    ],
)
def test_oldest_files_have_no_model_type(tmp_path, content, model_type):
    """Without model_type the family is that of the classes; Google's own files are BERT's."""
    write_json(tmp_path / "config.json", content)
    assert read_bert_config(tmp_path / "config.json").model_type == model_type


@pytest.mark.parametrize(
    "content",
    [{}, {"type_vocab_size": 1}, {"architectures": ["ElectraModel"]}, {"architectures": []}],
)
def test_unclear_family_is_refused(tmp_path, content):
    """A config.json without model_type that could be several families' is refused."""
    write_json(tmp_path / "config.json", content)
    with pytest.raises(ValueError, match=r"model_type in .*config\.json must be .* missing; "):
        read_bert_config(tmp_path / "config.json")


# The length limit


@pytest.mark.parametrize(
    ("stated", "model_max_length", "limit"),
    [
        (20, 30, 20),
        (None, 30, 30),
        (None, None, 64),
        (None, 10**30, 64),
        (None, 1e30, 64),
        (1000, 30, 64),
    ],
    ids=["stated", "tokenizer's", "none", "sentinel", "float sentinel", "beyond the positions"],
)
def test_length_limit(directory, stated, model_max_length, limit):
    """The limit is the module's, else the tokenizer's, and at most the number of positions."""
    edit_json(directory / "sentence_bert_config.json", max_seq_length=stated)
    write_json(directory / "tokenizer_config.json", {"model_max_length": model_max_length})
    assert read_model_config(directory).max_seq_length == limit


def test_stale_max_length_is_ignored(directory):
    """max_length in tokenizer_config.json is not a limit."""
    edit_json(directory / "sentence_bert_config.json", max_seq_length=None)
    write_json(directory / "tokenizer_config.json", {"max_length": 8, "model_max_length": 30})
    assert read_model_config(directory).max_seq_length == 30


@pytest.mark.parametrize("family", ["roberta", "distilbert", "xlm-roberta"])
def test_old_names_of_the_length_file(directory, family):
    """The file with the limit may carry the name of another family."""
    old = directory / "sentence_bert_config.json"
    write_json(old, {"max_seq_length": 33, "do_lower_case": True})
    old.rename(directory / f"sentence_{family}_config.json")
    config = read_model_config(directory)
    assert (config.max_seq_length, config.do_lower_case) == (33, True)


# What is refused


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        ("config.json", {"vocab_size": 0}, "vocab_size .* 1 or more, got 0"),
        ("config.json", {"hidden_size": -32}, "hidden_size .* positive .* got -32"),
        ("config.json", {"num_hidden_layers": 2.5}, "num_hidden_layers .* got 2.5"),
        ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers .* 1 to 1000, got 1000"),
        ("config.json", {"max_position_embeddings": 2}, "max_position_embeddings .* 3 or more"),
        ("config.json", {"num_attention_heads": True}, "num_attention_heads .* got True"),
        ("config.json", {"intermediate_size": "64"}, "intermediate_size .* got '64'"),
        ("config.json", {"hidden_size": 30}, "hidden_size .* multiple of num_attention_heads, 4"),
        ("config.json", {"layer_norm_eps": "small"}, "layer_norm_eps .* got 'small'"),
        ("config.json", {"layer_norm_eps": float("nan")}, "layer_norm_eps .* got nan"),
        ("config.json", {"hidden_dropout_prob": 2}, "hidden_dropout_prob .* got 2"),
        ("config.json", {"pad_token_id": -1}, "pad_token_id .* got -1"),
        ("config.json", {"hidden_act": "mish"}, "hidden_act .* \"gelu\" or .* got 'mish'"),
        (
            "config.json",
            {"model_type": "gpt2"},
            "model_type .* \"bert\" or .* got 'gpt2'.* supported",
        ),
        ("config.json", {"model_type": ["bert"]}, "model_type .* got \\['bert'\\]"),
        (
            "config.json",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type .* \"absolute\", got 'relative_key'",
        ),
        ("config.json", {"is_decoder": True}, "is_decoder .* false, got True"),
        ("sentence_bert_config.json", {"max_seq_length": 2}, "max_seq_length .* 3 or more, got 2"),
        ("sentence_bert_config.json", {"max_seq_length": "64"}, "max_seq_length .* got '64'"),
        ("sentence_bert_config.json", {"do_lower_case": "no"}, "do_lower_case .* got 'no'"),
        (
            "sentence_bert_config.json",
            {"transformer_task": "fill-mask"},
            "transformer_task .* \"feature-extraction\", got 'fill-mask'",
        ),
        (
            "sentence_bert_config.json",
            {"module_output_name": "sentence_embedding"},
            "module_output_name .* \"token_embeddings\", got 'sentence_embedding'",
        ),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method_output_name": "pooler_output"}}},
            "method_output_name .* \"last_hidden_state\", got 'pooler_output'",
        ),
        (
            "sentence_bert_config.json",
            {"modality_config": {"text": {"method": "get_text_features"}}},
            "method .* \"forward\", got 'get_text_features'",
        ),
        (
            "config.json",
            {"auto_map": {"AutoModel": "modeling_mine.Model"}},
            "auto_map .* names code .* got {'AutoModel': 'modeling_mine.Model'}; .* never run",
        ),
        (
            "tokenizer_config.json",
            {"auto_map": {"AutoTokenizer": ["mine.Words", None]}},
            "auto_map .* names code .*'mine.Words'",
        ),
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "pooling_mode .* got 'median'"),
        ("1_Pooling/config.json", {"pooling_mode": []}, "pooling_mode .* got \\[\\]"),
        ("1_Pooling/config.json", {"pooling_mode": 7}, "pooling_mode .* got 7"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", {}]}, "pooling_mode .* {}"),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": "no"}, "cls_token .* got 'no'"),
        ("1_Pooling/config.json", {"include_prompt": 1}, "include_prompt .* got 1"),
        ("2_Dense/config.json", {"in_features": None}, "in_features .* missing"),
        ("2_Dense/config.json", {"in_features": 31}, "in_features .* must be 32, .* got 31"),
        ("2_Dense/config.json", {"out_features": 0}, "out_features .* got 0"),
        ("2_Dense/config.json", {"use_residual": True}, "use_residual .* false, got True"),
        (
            "2_Dense/config.json",
            {"activation_function": "os.system"},
            "activation_function .* got 'os.system'; .* none is ever imported",
        ),
        (
            "2_Dense/config.json",
            {"activation_function": "mine.ReLU"},
            "activation_function .* path in torch.nn .* got 'mine.ReLU'",
        ),
        (
            "2_Dense/config.json",
            {"activation_function": "torch.mine.ReLU"},
            "activation_function .* path in torch.nn .* got 'torch.mine.ReLU'",
        ),
        (
            "2_Dense/config.json",
            {"activation_function": "torch.nn.modules.activation.Softmax"},
            "activation_function .* of Tanh, Identity, ReLU, GELU, Sigmoid, got '.*Softmax'",
        ),
        (
            "2_Dense/config.json",
            {"module_input_name": "token_embeddings"},
            "module_input_name .* \"sentence_embedding\", got 'token_embeddings'",
        ),
    ],
)
def test_impossible_field(directory, file, changes, sentence):
    """An impossible or unsupported value is refused with the field, the file and the value."""
    if not (directory / file).exists():
        write_json(directory / file, {})
    edit_json(directory / file, **changes)
    with pytest.raises(ValueError, match=sentence) as error:
        read_model_config(directory)
    assert str(directory / file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"model_type": "CrossEncoder"},
            "got 'CrossEncoder'; load this directory with the class",
        ),
        ({"model_type": "SparseEncoder"}, "got 'SparseEncoder'"),
        ({"similarity_fn_name": "angle"}, "similarity_fn_name .* \"cosine\" or .* got 'angle'"),
        ({"prompts": ["query: "]}, "prompts .* an object of strings"),
        ({"prompts": {"query": 7}}, "prompts .* an object of strings"),
        ({"default_prompt_name": "title"}, "name of one of its prompts, got 'title'"),
        ({"truncate_dim": 0}, "truncate_dim .* 1 or more, got 0"),
    ],
)
def test_impossible_settings(directory, fields, sentence):
    """Impossible settings in config_sentence_transformers.json are refused as well."""
    write_json(directory / "config_sentence_transformers.json", fields)
    with pytest.raises(ValueError, match=sentence):
        read_model_config(directory)


@pytest.mark.parametrize(
    "kinds",
    [
        ["custom_st.Transformer", OLD_TYPES["Pooling"]],
        [OLD_TYPES["Transformer"], "sentence_transformers.mine.Pooling"],
        [OLD_TYPES["Transformer"], OLD_TYPES["Pooling"], "my_package.Dense"],
        [OLD_TYPES["Transformer"], OLD_TYPES["Pooling"], "Normalize"],
        ["sentence_transformers.models.WordEmbeddings", OLD_TYPES["Pooling"]],
        [OLD_TYPES["Transformer"], OLD_TYPES["Pooling"], "sentence_transformers.models.CNN"],
        ["os.system"],
    ],
)
def test_unknown_module_is_refused_and_not_imported(directory, kinds):
    """A module type that is not known is named and never imported."""
    set_modules(directory, *kinds)
    with pytest.raises(ValueError, match=r"type in .*modules\.json .* none is ever imported"):
        read_model_config(directory)


@pytest.mark.parametrize(
    "kinds",
    [
        [],
        ["Transformer"],
        ["Pooling", "Transformer"],
        ["Transformer", "Dense", "Pooling"],
        ["Transformer", "Pooling", "Pooling"],
        ["Transformer", "Pooling", "Transformer"],
    ],
    ids=lambda kinds: " ".join(kinds) or "none",
)
def test_modules_in_another_order(directory, kinds):
    """A Transformer and a Pooling come first, and each is there once."""
    set_modules(directory, *(OLD_TYPES[kind] for kind in kinds))
    with pytest.raises(ValueError, match=r"must be a Transformer, a Pooling, then only"):
        read_model_config(directory)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "must hold a JSON list"),
        (["Transformer"], "must hold a JSON list of objects"),
        ([{}], "type in .* missing"),
        ([{"idx": "0", "path": "", "type": OLD_TYPES["Transformer"]}], "idx in .* got '0'"),
        ([{"idx": 0, "path": ""}], "type in .* missing"),
        ([{"idx": 0, "path": "", "type": 3}], "type in .* got 3"),
        ([{"idx": 0, "path": 3, "type": OLD_TYPES["Transformer"]}], "path in .* got 3"),
    ],
)
def test_broken_modules_file(directory, content, sentence):
    """A modules.json of another structure is refused."""
    write_json(directory / "modules.json", content)
    with pytest.raises(ValueError, match=sentence):
        read_model_config(directory)


@pytest.mark.parametrize(
    "path",
    [
        "../other",
        "a/../../b",
        "/etc",
        "..\\other",
        "C:/other",
        "a\0",
        "a\nb",
        "\ud800",
        "a" * 10**7,
    ],
    ids=shorten,
)
def test_path_that_leaves_the_directory(directory, path):
    """A path in modules.json that leaves the directory is refused, as it is spelled."""
    entries = json.loads((directory / "modules.json").read_text("utf-8"))
    entries[1]["path"] = path
    write_json(directory / "modules.json", entries)
    with pytest.raises(ValueError, match=r"paths in .*modules\.json must be relative") as error:
        read_model_config(directory)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300 + len(str(directory))


@pytest.mark.parametrize("module", [0, 1, 2, 3])
@pytest.mark.parametrize("path", ["circle", "config.json/inner", "folder/" * 30 + "a"])
def test_path_that_cannot_be_opened(directory, path, module):
    """An error of the system names the path, and modules.json, which it is from."""
    (directory / "circle").symlink_to(directory / "circle")
    entries = json.loads((directory / "modules.json").read_text("utf-8"))
    entries[module]["path"] = path
    write_json(directory / "modules.json", entries)
    if module == 3 and path.startswith("folder"):
        return  # a Normalize module may lack its folder
    sentence = r"config\.json must be a file.*\(the path is from .*modules\.json\)$"
    with pytest.raises(OSError, match=sentence) as error:
        read_model_config(directory)
    assert error.value.errno is None


@pytest.mark.parametrize(
    "name",
    ["modules.json", "config.json", "1_Pooling/config.json", "sentence_bert_config.json"],
)
def test_no_regular_file(directory, name):
    """A pointer of Git LFS, a pipe, a device and a broken link in the place of a file are told."""
    path = directory / name
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match=f"{name} must be .* got a pointer of Git LFS"):
        read_model_config(directory)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=f"{name} must be a regular file, got a pipe"):
        read_model_config(directory)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=f"{name} must be a regular file, got a device"):
        read_model_config(directory)
    with path.with_name("large").open("wb") as file:
        file.truncate(65 << 20)
    path.unlink()
    path.symlink_to("large")
    with pytest.raises(ValueError, match=f"{name} must have at most 67,108,864 bytes"):
        read_model_config(directory)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(OSError, match=f"{name} must be a file that can be read"):
        read_model_config(directory)


def test_links_that_leave_the_directory(directory, tmp_path):
    """Links may lead out of the directory, as all of them do in the Hugging Face cache."""
    expected = read_model_config(directory)
    snapshot = tmp_path / "snapshot"
    for file in [path for path in directory.rglob("*") if path.is_file()]:
        link = snapshot / file.relative_to(directory)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    assert read_model_config(snapshot) == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "must hold JSON"),
        (b"{", "must hold JSON"),
        (b"\xff\xfe{}", "must hold JSON"),
        (b"[" * 100_000, "must hold JSON"),
        (b"[1]", "must hold a JSON object, got \\[1\\]"),
        (b"7", "must hold a JSON object, got 7"),
    ],
    ids=["empty", "cut short", "not UTF-8", "too deep", "list", "number"],
)
def test_not_a_json_object(directory, content, sentence):
    """A file that does not hold a JSON object is named."""
    (directory / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"config\.json {sentence}"):
        read_model_config(directory)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "2_Dense/config.json"])
def test_missing_file(directory, name):
    """A file that must be there is named."""
    (directory / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"{name} must be a file, but there is no such file"
    ):
        read_model_config(directory)
