"""Saved models are read back to the bit, and appear whole or not at all."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from minisbert import CrossEncoder, SentenceTransformer
from minisbert.model_files.head_files import load_head
from minisbert.model_files.saving import save_cross_encoder
from minisbert.network.families import FAMILIES
from minisbert.system import disk
from minisbert.system.disk import recover_directory
from models import edit_json, make_cross_encoder_directory, make_model_directory, write_json

TEXTS = ["", "a bird", "The old bird sings all day in the tree .", "cat , dog ! " * 30]
PAIRS = [("a bird", "the old cat"), ("", "dog"), ("car " * 40, "tree " * 50)]


def read_json(path):
    return json.loads(path.read_text("utf-8"))


def read_tree(directory):
    """Every file below a directory, and its bytes."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def encode(model):
    return model.encode(TEXTS, on_truncate="ignore")


def predict(model):
    return model.predict(PAIRS, on_truncate="ignore")


def add_pooler(directory):
    """Give a network the layer that only a cross-encoder needs. Returns its tensors."""
    path = directory / "model.safetensors"
    tensors = load_file(path)
    D = len(tensors["embeddings.LayerNorm.bias"])
    rng = np.random.default_rng(1)
    pooler = {
        "pooler.dense.weight": rng.normal(0, 0.2, (D, D)).astype(np.float32),
        "pooler.dense.bias": rng.normal(0, 0.2, D).astype(np.float32),
    }
    save_file(tensors | pooler, path)
    return pooler


def split_into_shards(directory):
    tensors = load_file(directory / "model.safetensors")
    names = sorted(tensors)
    weight_map = {}
    for shard, part in (("first", names[::2]), ("second", names[1::2])):
        save_file({name: tensors[name] for name in part}, directory / f"{shard}.safetensors")
        weight_map |= dict.fromkeys(part, f"{shard}.safetensors")
    write_json(directory / "model.safetensors.index.json", {"weight_map": weight_map})
    (directory / "model.safetensors").unlink()


# Bi-encoders


@pytest.mark.parametrize("new_format", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": ("cls",), "normalize": False},
        {"pooling": ("lasttoken",)},
        {"pooling": ("max", "mean", "weightedmean")},
        {"pooling": ("cls", "mean"), "dense": 16, "normalize": False},
        {"dense": 16, "max_seq_length": 20},
    ],
    ids=str,
)
def test_round_trip(tmp_path, new_format, options):
    """A saved model gives the same bits as the one that it was saved from."""
    model = SentenceTransformer(
        make_model_directory(tmp_path / "source", new_format=new_format, **options)
    )
    model.save(tmp_path / "saved")
    saved = SentenceTransformer(tmp_path / "saved")
    assert np.array_equal(encode(saved), encode(model))
    assert saved.max_seq_length == model.max_seq_length
    assert saved.similarity_fn_name == model.similarity_fn_name


def test_order_of_pooling_is_kept(tmp_path):
    """Several poolings in another order than that of the flags are written as a list."""
    for place, pooling in enumerate([("mean", "cls"), ("mean", "mean")]):
        source = make_model_directory(tmp_path / f"s{place}", new_format=True, pooling=pooling)
        model = SentenceTransformer(source)
        model.save(tmp_path / f"t{place}")
        assert np.array_equal(encode(SentenceTransformer(tmp_path / f"t{place}")), encode(model))


def test_changes_since_loading_are_saved(tiny_directory, tmp_path):
    """Settings that were changed while or after loading are saved."""
    model = SentenceTransformer(
        tiny_directory,
        pooling="max",
        blocks=1,
        truncate_dim=7,
        similarity_fn_name="dot",
        prompts={"query": "a bird : "},
        default_prompt_name="query",
    )
    model.max_seq_length = 20
    with pytest.warns(UserWarning, match="no longer have length 1"):
        expected = encode(model)
    model.save_pretrained(tmp_path / "saved")
    saved = SentenceTransformer(tmp_path / "saved")
    with pytest.warns(UserWarning, match="no longer have length 1"):
        assert np.array_equal(encode(saved), expected)
    assert saved.config.bert.num_hidden_layers == 1
    assert saved.similarity_fn_name == "dot"
    assert saved.max_seq_length == 20
    assert saved.prompts == model.prompts


def test_parts_of_old_directories(tmp_path):
    """Shards, a network in a folder of its own, half precision and a word list alone are read."""
    source = make_model_directory(tmp_path / "source", normalize=False)
    edit_json(source / "config.json", torch_dtype="float16", dtype="float16")
    tensors = load_file(source / "model.safetensors")
    halves = {f"bert.{name}": array.astype(np.float16) for name, array in tensors.items()}
    save_file(halves, source / "model.safetensors")
    split_into_shards(source)
    (source / "tokenizer.json").unlink()
    (source / "0_BERT").mkdir()
    for path in list(source.glob("*")):
        if path.is_file() and path.name != "modules.json":
            path.rename(source / "0_BERT" / path.name)
    modules = read_json(source / "modules.json")
    write_json(source / "modules.json", [{**modules[0], "path": "0_BERT"}, *modules[1:]])

    model = SentenceTransformer(source)
    model.save(tmp_path / "saved")
    assert np.array_equal(encode(SentenceTransformer(tmp_path / "saved")), encode(model))
    # It would be computed in half precision elsewhere.
    assert not {"dtype", "torch_dtype"} & set(read_json(tmp_path / "saved" / "config.json"))


def test_files_of_a_bi_encoder(tmp_path):
    """The files have the old spelling, and no key that an old version does not know."""
    source = make_model_directory(tmp_path / "source", dense=16)
    pooler = add_pooler(source)
    edit_json(source / "config.json", custom="kept", architectures=["BertForMaskedLM"])
    write_json(source / "special_tokens_map.json", {"unk_token": "[UNK]"})
    SentenceTransformer(source).save(tmp_path / "saved", made_by="minisbert train ...")
    saved = tmp_path / "saved"

    assert [entry["type"] for entry in read_json(saved / "modules.json")] == [
        f"sentence_transformers.models.{kind}"
        for kind in ("Transformer", "Pooling", "Dense", "Normalize")
    ]
    assert read_json(saved / "sentence_bert_config.json") == {
        "max_seq_length": 64,
        "do_lower_case": False,
    }
    assert read_json(saved / "1_Pooling" / "config.json") == {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": False,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    assert read_json(saved / "2_Dense" / "config.json") == {
        "in_features": 32,
        "out_features": 16,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    assert (saved / "3_Normalize").is_dir()
    assert read_json(saved / "config_sentence_transformers.json") == {
        "prompts": {"query": "", "document": ""},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    expected = read_json(source / "config.json") | {"architectures": ["BertModel"]}
    assert read_json(saved / "config.json") == expected
    for name in ("tokenizer.json", "vocab.txt", "special_tokens_map.json"):
        assert (saved / name).read_bytes() == (source / name).read_bytes()
    with safe_open(saved / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt"}
        for name, array in pooler.items():
            assert np.array_equal(file.get_tensor(name), array)
    readme = (saved / "README.md").read_text("utf-8")
    assert readme.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "pipeline_tag: sentence-similarity\n" in readme
    assert "    minisbert train ...\n" in readme


def test_prompt_left_out_of_the_pooling(tmp_path):
    """A model that leaves prompts out of its pooling does so when it is loaded again."""
    source = make_model_directory(tmp_path / "source", new_format=True)
    edit_json(source / "1_Pooling" / "config.json", include_prompt=False)
    model = SentenceTransformer(source)
    model.save(tmp_path / "saved")
    saved = SentenceTransformer(tmp_path / "saved")
    expected = model.encode("a bird", prompt="the old ")
    assert np.array_equal(saved.encode("a bird", prompt="the old "), expected)


def test_numbers_of_numpy_are_saved(tiny_directory, tmp_path):
    """Whole numbers of NumPy, given as arguments, are written like Python's."""
    model = SentenceTransformer(tiny_directory, truncate_dim=np.int64(8), blocks=np.int64(1))
    model.max_seq_length = np.int64(9)
    model.save(tmp_path / "saved")
    saved = SentenceTransformer(tmp_path / "saved")
    assert (saved.truncate_dim, saved.max_seq_length) == (8, 9)
    assert saved.config.bert.num_hidden_layers == 1
    cross = CrossEncoder(
        tiny_directory, num_labels=np.int64(3), fresh_head=np.int64(0), max_length=np.int64(12)
    )
    cross.save(tmp_path / "cross")
    assert np.array_equal(predict(CrossEncoder(tmp_path / "cross")), predict(cross))


def test_no_blocks(tiny_directory, tmp_path):
    """A network without blocks is refused, since config.json can't describe it."""
    with pytest.raises(ValueError, match="at least one block, got none"):
        SentenceTransformer(tiny_directory, blocks=0).save(tmp_path / "saved")
    assert os.listdir(tmp_path) == []


# Cross-encoders


@pytest.mark.parametrize("new_format", [False, True])
@pytest.mark.parametrize("num_labels", [1, 3])
def test_round_trip_of_a_cross_encoder(tmp_path, new_format, num_labels):
    """A saved cross-encoder gives the same bits, with its present activation and limit."""
    source = make_cross_encoder_directory(
        tmp_path / "source", new_format=new_format, num_labels=num_labels
    )
    for activation in (None, "identity", "tanh", "softmax"):
        model = CrossEncoder(source, activation_fn=activation, max_length=30)
        model.save(tmp_path / "saved")
        saved = CrossEncoder(tmp_path / "saved")
        assert saved.max_length == 30
        assert np.array_equal(predict(saved), predict(model))


def test_files_of_a_cross_encoder(tmp_path):
    """The activation is written wherever some version reads it; classes keep their names."""
    names = {"0": "contradiction", "1": "entailment", "2": "neutral"}
    source = make_cross_encoder_directory(tmp_path / "source", num_labels=3, id2label=names)
    CrossEncoder(source, activation_fn="softmax").save_pretrained(tmp_path / "saved")
    content = read_json(tmp_path / "saved" / "config.json")
    path = "torch.nn.modules.activation.Softmax"
    assert content["sentence_transformers"] == {"activation_fn": path}
    assert content["sbert_ce_default_activation_function"] == path
    assert content["architectures"] == ["BertForSequenceClassification"]
    assert content["id2label"] == names
    readme = (tmp_path / "saved" / "README.md").read_text("utf-8")
    assert "pipeline_tag: text-classification\n" in readme
    expected = load_file(source / "model.safetensors")
    actual = load_file(tmp_path / "saved" / "model.safetensors")
    assert {name: array.tobytes() for name, array in actual.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }


def test_identity_has_its_own_path(tmp_path):
    """The identity's path in torch is in another module than the other activations'."""
    source = make_cross_encoder_directory(tmp_path / "source")
    CrossEncoder(source, activation_fn="identity").save(tmp_path / "saved")
    content = read_json(tmp_path / "saved" / "config.json")
    assert content["sbert_ce_default_activation_function"] == "torch.nn.modules.linear.Identity"


def test_cross_encoder_out_of_a_bi_encoder(tmp_path):
    """A bi-encoder's network with a new head is saved as a cross-encoder with named labels."""
    pairs = make_cross_encoder_directory(tmp_path / "pairs", num_labels=3)
    model = CrossEncoder(pairs)
    source = make_model_directory(tmp_path / "source")
    edit_json(source / "config.json", num_labels=7)
    bi_encoder = SentenceTransformer(source)
    parameters = bi_encoder.parameters | load_head(pairs, model.config)
    for labels in (["no", "perhaps", "yes"], None):
        save_cross_encoder(
            tmp_path / "saved",
            source,
            model.config,
            parameters=parameters,
            made_by="by hand",
            labels=labels,
        )
        content = read_json(tmp_path / "saved" / "config.json")
        expected = labels or ["LABEL_0", "LABEL_1", "LABEL_2"]
        assert content["id2label"] == dict(zip("012", expected, strict=True))
        assert content["label2id"] == {name: label for label, name in enumerate(expected)}
        assert predict(CrossEncoder(tmp_path / "saved")).shape == (3, 3)
    for labels in (["no", "yes"], ["no", "no", "yes"]):
        with pytest.raises(ValueError, match="labels must be 3 different names, got no"):
            save_cross_encoder(
                tmp_path / "x",
                source,
                model.config,
                parameters=parameters,
                made_by="",
                labels=labels,
            )


def test_lower_casing_is_kept(tmp_path):
    """A cross-encoder's do_lower_case is saved in its tokenizer.json, which every reader takes."""
    source = make_cross_encoder_directory(tmp_path / "source", new_format=True)
    edit_json(source / "sentence_bert_config.json", do_lower_case=True)
    write_json(source / "tokenizer_config.json", {"do_lower_case": False, "model_max_length": 64})
    stored = read_json(source / "tokenizer.json")
    stored["normalizer"]["lowercase"] = False
    write_json(source / "tokenizer.json", stored)
    pairs = [("The Bird", "A TREE"), ("é", "the bird")]
    model = CrossEncoder(source)
    expected = model.tokenizer.encode_pairs(pairs, 64)
    assert model.config.do_lower_case
    for _ in range(2):
        model.save(tmp_path / "saved")
        model = CrossEncoder(tmp_path / "saved")
        got = model.tokenizer.encode_pairs(pairs, 64)
        for name in ("ids", "types"):
            for a, b in zip(getattr(got, name), getattr(expected, name), strict=True):
                assert a.tolist() == b.tolist()
    assert not (tmp_path / "saved" / "sentence_bert_config.json").exists()


def test_contradictions_of_a_tokenizer_are_not_saved(tmp_path):
    """A saved tokenizer.json says what the other files of the tokenizer say."""
    source = make_model_directory(tmp_path / "source", vocab_size=80)
    SentenceTransformer(source).save(tmp_path / "plain")
    plain = (source / "tokenizer.json").read_bytes()
    assert (tmp_path / "plain" / "tokenizer.json").read_bytes() == plain
    write_json(source / "tokenizer_config.json", {"do_lower_case": False})
    write_json(source / "added_tokens.json", {"<e>": 75})
    model = SentenceTransformer(source)
    model.save(tmp_path / "saved")
    stored = read_json(tmp_path / "saved" / "tokenizer.json")
    assert stored["normalizer"]["lowercase"] is False
    assert [token["id"] for token in stored["added_tokens"] if token["content"] == "<e>"] == [75]
    assert stored["padding"] == json.loads(plain)["padding"]
    texts = ["The bird", "a<e>b"]
    ids = SentenceTransformer(tmp_path / "saved").tokenizer.encode(texts, 64).ids
    assert [a.tolist() for a in ids] == [a.tolist() for a in model.tokenizer.encode(texts, 64).ids]


def test_function_of_ones_own(tmp_path):
    """An activation that a directory can't name is refused before anything is written."""
    model = CrossEncoder(make_cross_encoder_directory(tmp_path / "source"), activation_fn=np.tanh)
    with pytest.raises(ValueError, match=r"^activation_fn must be one of tanh, .* got <ufunc"):
        model.save(tmp_path / "saved")
    assert os.listdir(tmp_path) == ["source"]


# Names and places of directories


@pytest.mark.parametrize("name", ["two words", "Vögel/木/🌲", "[a-c]*", ".hidden"])
def test_names(tiny, tmp_path, name):
    """Any name works, and missing folders are made."""
    for _ in range(2):
        tiny.save(tmp_path / name)
    assert np.array_equal(encode(SentenceTransformer(tmp_path / name)), encode(tiny))
    assert len(os.listdir((tmp_path / name).parent)) == 1


def test_replaced(tiny, tmp_path):
    """An empty directory and an older model are replaced, nothing of the old one is left."""
    saved = tmp_path / "saved"
    saved.mkdir()
    SentenceTransformer(make_model_directory(tmp_path / "source", dense=16)).save(saved)
    tiny.save(saved)
    assert not (saved / "2_Dense").exists()
    assert np.array_equal(encode(SentenceTransformer(saved)), encode(tiny))
    assert sorted(os.listdir(tmp_path)) == ["saved", "source"]


def test_onto_itself(tmp_path):
    """A model can be saved where it was loaded from, and is the same afterwards."""
    directory = make_model_directory(tmp_path / "model")
    model = SentenceTransformer(directory, blocks=1)
    expected = encode(model)
    model.save(directory)
    assert np.array_equal(encode(model), expected)
    assert np.array_equal(encode(SentenceTransformer(directory)), expected)


def test_through_a_link(tiny, tmp_path):
    """A link stays a link; its target is replaced, or made."""
    (tmp_path / "link").symlink_to("target")
    for _ in range(2):
        tiny.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "target"]


@pytest.mark.parametrize(
    ("left", "message"),
    [
        (None, "got a file"),
        ("config.json", "got a directory without model.safetensors"),
        ("notes.txt", "got a directory with notes.txt in it"),
    ],
)
def test_refused(tiny, tmp_path, monkeypatch, left, message):
    """A file, and a directory with anything but a model, are refused before any work."""
    saved = tmp_path / "saved"
    if left is None:
        saved.write_text("mine")
    elif left == "config.json":
        saved.mkdir()
        (saved / left).write_text("mine")
    else:
        tiny.save(saved)
        (saved / left).write_text("mine")
    before = read_tree(tmp_path)
    monkeypatch.setattr("minisbert.model_files.saving._copy_tokenizer", None)
    with pytest.raises(FileExistsError, match=message):
        tiny.save(saved)
    assert read_tree(tmp_path) == before


def test_directory_worked_in(tiny, tmp_path, monkeypatch):
    """The working directory is not replaced."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileExistsError, match="can't be renamed"):
        tiny.save(".")
    assert os.listdir(tmp_path) == []


# When something fails


def fail_at(function, count):
    """Return a function that says the disk is full at its call number `count`."""
    calls = iter(range(1, 1000))

    def fail(*arguments, **options):
        if next(calls) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*arguments, **options)

    return fail


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(("owner", "step"), [(os, "fsync"), (os, "replace"), (Path, "mkdir")])
def test_full_disk(tiny, tmp_path, owner, step, old):
    """Whichever step fails, the old directory stays, and nothing half-written is left behind."""
    saved = tmp_path / "saved"
    if old:
        make_model_directory(saved, pooling=("cls",))
    before = read_tree(tmp_path)
    for count in range(1, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, step, fail_at(getattr(owner, step), count))
            try:
                tiny.save(saved)
                break
            except OSError:
                pass
        if step == "fsync" and read_tree(tmp_path) != before:
            # The last one, of the parent, comes when the new model has taken its place.
            assert np.array_equal(encode(SentenceTransformer(saved)), encode(tiny))
        else:
            assert read_tree(tmp_path) == before
            assert os.listdir(tmp_path) == (["saved"] if old else [])
    assert count > 3
    assert os.listdir(tmp_path) == ["saved"]


def test_new_directory_has_the_usual_permissions(tiny, tmp_path):
    """A saved directory is as readable as any other that the user makes."""
    (tmp_path / "usual").mkdir()
    tiny.save(tmp_path / "saved")
    assert (tmp_path / "saved").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_recovery_after_a_kill(tiny, tmp_path):
    """A process killed between the two renames loses nothing: the old model comes back."""
    tiny.save(tmp_path / "saved")
    before = read_tree(tmp_path / "saved")
    shutil.copytree(tmp_path / "saved", tmp_path / ".saved.0123456789abcdef.new")
    os.rename(tmp_path / "saved", tmp_path / ".saved.0123456789abcdef.old")
    (tmp_path / ".saved.mine").mkdir()  # not made by minisbert

    recover_directory(tmp_path / "saved")
    assert read_tree(tmp_path / "saved") == before
    assert sorted(os.listdir(tmp_path)) == [".saved.mine", "saved"]

    # What processes killed at other moments left is removed by the next save to that name.
    shutil.copytree(tmp_path / "saved", tmp_path / ".saved.0123456789abcdef.new")
    shutil.copytree(tmp_path / "saved", tmp_path / ".saved.fedcba9876543210.old")
    tiny.save(tmp_path / "saved")
    assert sorted(os.listdir(tmp_path)) == [".saved.mine", "saved"]


def test_steps_of_a_replacement(tiny, tmp_path, monkeypatch):
    """Where two names can't be swapped, the old directory moves when the new one is whole."""
    monkeypatch.setattr(disk, "_swap", lambda new, destination: False)
    saved = tmp_path / "saved"
    tiny.save(saved)
    steps = []
    replace = os.replace

    def note(source, target):
        if os.path.isdir(source):
            steps.append((len(read_tree(source)), os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    tiny.save(saved)
    files = len(read_tree(saved))
    assert [count for count, _ in steps] == [files, files]
    assert steps[0][1].endswith(".old")
    assert steps[1][1] == "saved"


# The directory that a model was loaded from


def change_vocabulary(directory):
    """Exchange two words of a tokenizer."""
    path = directory / "tokenizer.json"
    content = read_json(path)
    words = content["model"]["vocab"]
    words["bird"], words["cat"] = words["cat"], words["bird"]
    write_json(path, content)


@pytest.mark.parametrize("kind", [SentenceTransformer, CrossEncoder])
def test_another_tokenizer_in_the_directory_is_not_saved(tmp_path, kind):
    """Weights are never saved beside the tokenizer of a model that replaced theirs."""
    make = make_model_directory if kind is SentenceTransformer else make_cross_encoder_directory
    run = encode if kind is SentenceTransformer else predict
    first, second = make(tmp_path / "first"), make(tmp_path / "second", seed=1)
    change_vocabulary(second)
    kind(first).save(tmp_path / "model")
    model = kind(tmp_path / "model")
    expected = run(model)
    kind(second).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"must be the one that was loaded .* replaced it since"):
        model.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    # The same tokenizer will do, as after a save to the model's own directory.
    kind(first).save(tmp_path / "model")
    for name in ("model", "copy"):
        model.save(tmp_path / name)
        assert np.array_equal(run(kind(tmp_path / name)), expected)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_saves_after_one_to_the_own_directory(tmp_path, model_type):
    """A model saved over its own directory can be saved again, with every kind of tokenizer."""
    directory = make_model_directory(tmp_path / "model", model_type=model_type)
    model = SentenceTransformer(directory)
    expected = encode(model)
    for name in ("model", "copy", "model"):
        model.save(tmp_path / name)
        assert np.array_equal(encode(SentenceTransformer(tmp_path / name)), expected)


def test_directory_that_is_gone(tmp_path):
    """Without its directory a model can't be saved, and the error says what is missing."""
    model = SentenceTransformer(make_model_directory(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match=r"model must hold tokenizer\.json"):
        model.save(tmp_path / "copy")
