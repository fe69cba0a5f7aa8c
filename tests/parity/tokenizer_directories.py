"""Directories with tokenizers of every class, as transformers 5 and older versions wrote them."""

import itertools
import json
from dataclasses import dataclass, field

import transformers
from family_models import CAMEMBERT_WORDS, MPNET_WORDS, ROBERTA_WORDS, number, train_unigram
from family_models import TEXTS as TRAINING_TEXTS
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from models import VOCABULARY, write_bpe, write_json

# Letters with accents and capitals, so that every option of a normaliser changes ids.
OWN = "É é È The THE Bird BIRD 老 鸟 老鸟 ##鸟 <e> <E> [new] New"
WORDS = [*VOCABULARY[5:], *OWN.split(" ")]
BERT_WORDS = [*VOCABULARY[:5], *WORDS]

TEXTS = [
    "",
    "  ",
    "The old bird sings in a red tree, all day!",
    "THE BIRD É é e\u0301 déjà Été",
    "老鸟 a老鸟a 老a鸟",
    "a <e> b<E>c [new] New new NEW",
    "[CLS] [SEP] [MASK] [PAD] [UNK] [cls] a[MASK] b",
    "<s> </s> <mask> a <mask> b <pad> <unk> <S> <MASK>",
    "x\ty\n z\u00a0w \u200b\ufeff",
    "''quoted'' ``so'' İstanbul ẞ ﬁ Ⅷ １２",
    "Привет мир 😀 \U00012000",
]
PAIRS = [
    ("a bird", "The Tree"),
    ("", "É"),
    ("老鸟", ""),
    ("a <e> b", "[new] <mask> [MASK]"),
]


def make_herbert(path):
    trained = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=200,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    trained.train_from_iterator(TRAINING_TEXTS, trainer)
    model = json.loads(trained.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def make_roberta(path):
    path.mkdir(parents=True, exist_ok=True)
    write_bpe(path, TRAINING_TEXTS)
    model = json.loads((path / "tokenizer.json").read_text("utf-8"))["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


BERT_GRID = [
    {"do_lower_case": lower, "strip_accents": strip, "tokenize_chinese_chars": chinese}
    for lower, strip, chinese in itertools.product(
        [True, False], [None, True, False], [True, False]
    )
]
SPACE_GRID = [{"add_prefix_space": space} for space in (True, False)]
ALBERT_GRID = [
    {"do_lower_case": lower, "keep_accents": keep}
    for lower, keep in itertools.product([True, False], repeat=2)
]


@dataclass
class Kind:
    """One class of tokenizers: its network, its vocabulary, the options to try.

    files  its vocabulary in a directory without tokenizer.json
    """

    model_type: str
    make: object
    grid: list = field(default_factory=lambda: [{}])
    files: tuple = ()


def with_words(words):
    return lambda path: {"vocab": number(words)}


KINDS = {
    "BertTokenizer": Kind("bert", with_words(BERT_WORDS), BERT_GRID, ("vocab.txt",)),
    "DistilBertTokenizer": Kind(
        "distilbert", with_words(BERT_WORDS), BERT_GRID[::5], ("vocab.txt",)
    ),
    "ElectraTokenizer": Kind("bert", with_words(BERT_WORDS), BERT_GRID[::7], ("vocab.txt",)),
    "MPNetTokenizer": Kind(
        "mpnet", with_words([*MPNET_WORDS, *WORDS, "<mask>"]), BERT_GRID[::4], ("vocab.txt",)
    ),
    "RobertaTokenizer": Kind("roberta", make_roberta, SPACE_GRID, ("vocab.json", "merges.txt")),
    "HerbertTokenizer": Kind("bert", make_herbert, [{}], ("vocab.json", "merges.txt")),
    "XLMRobertaTokenizer": Kind(
        "xlm-roberta", lambda path: {"vocab": train_unigram(ROBERTA_WORDS, ["<mask>"])}, SPACE_GRID
    ),
    "CamembertTokenizer": Kind(
        "camembert", lambda path: {"vocab": train_unigram(CAMEMBERT_WORDS, ["<mask>"])}, SPACE_GRID
    ),
    "AlbertTokenizer": Kind(
        "albert",
        lambda path: {"vocab": train_unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], [])},
        ALBERT_GRID,
    ),
}

# Tokens added after training; the last two are in the WordPiece vocabularies already.
ADDED = {
    "none": [],
    "special": [AddedToken("[new]", special=True, normalized=False)],
    "plain": [AddedToken("New"), AddedToken("<e>", lstrip=True, rstrip=True)],
    "words": [AddedToken("bird", single_word=True), AddedToken("qq", normalized=True)],
}


def make_tokenizer(path, name, options, added="none"):
    """A tokenizer of transformers of a class, with options and added tokens."""
    tokenizer = getattr(transformers, name)(**KINDS[name].make(path), **options)
    for token in ADDED[added]:
        tokenizer.add_tokens([token], special_tokens=token.special)
    return tokenizer


def write_config(path, name, rows):
    write_json(path / "config.json", {"model_type": KINDS[name].model_type, "vocab_size": rows})


def write_new(path, name, tokenizer):
    """As transformers 5 writes it."""
    tokenizer.save_pretrained(path)
    for other in ("vocab.txt", "vocab.json", "merges.txt"):
        (path / other).unlink(missing_ok=True)
    write_config(path, name, len(tokenizer))


def list_added(tokenizer):
    return {
        row: {
            flag: getattr(token, flag)
            for flag in ("content", "lstrip", "rstrip", "normalized", "single_word", "special")
        }
        for row, token in tokenizer.added_tokens_decoder.items()
    }


def name_special(tokenizer):
    names = transformers.PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES
    return {name: str(token) for name in names if (token := getattr(tokenizer, name, None))}


def write_table(path, name, tokenizer):
    """As transformers 4.34 to 4.57 wrote it: all added tokens by id in tokenizer_config.json."""
    write_new(path, name, tokenizer)
    stated = json.loads((path / "tokenizer_config.json").read_text("utf-8"))
    stated.pop("backend", None)
    stated["added_tokens_decoder"] = list_added(tokenizer)
    stated["additional_special_tokens"] = stated.pop("extra_special_tokens", [])
    stated["tokenizer_class"] = f"{name}"
    write_json(path / "tokenizer_config.json", stated)
    write_json(path / "special_tokens_map.json", name_special(tokenizer))
    write_vocabulary(path, tokenizer)


def write_old(path, name, tokenizer):
    """As transformers 4.0 to 4.33 wrote it: added tokens in files of their own."""
    write_new(path, name, tokenizer)
    stated = json.loads((path / "tokenizer_config.json").read_text("utf-8"))
    for field_name in ("backend", "extra_special_tokens"):
        stated.pop(field_name, None)
    stated["tokenizer_class"] = f"{name}"
    write_json(path / "tokenizer_config.json", stated)
    special = name_special(tokenizer)
    extra = [token["content"] for token in list_added(tokenizer).values() if token["special"]]
    extra = [token for token in extra if token not in special.values()]
    write_json(
        path / "special_tokens_map.json",
        special | ({"additional_special_tokens": extra} if extra else {}),
    )
    size = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    outside = {row: token for row, token in list_added(tokenizer).items() if row >= size}
    if outside:
        write_json(
            path / "added_tokens.json", {token["content"]: row for row, token in outside.items()}
        )
    write_vocabulary(path, tokenizer)


def write_vocabulary(path, tokenizer):
    model = tokenizer.backend_tokenizer.model
    if not isinstance(model, models.Unigram):
        model.save(str(path))


def write_files(path, name, tokenizer):
    """Without tokenizer.json."""
    write_old(path, name, tokenizer)
    (path / "tokenizer.json").unlink()


def write_alone(path, name, tokenizer):
    """Only tokenizer.json."""
    write_new(path, name, tokenizer)
    (path / "tokenizer_config.json").unlink()


LAYOUTS = {
    "new": write_new,
    "table": write_table,
    "old": write_old,
    "files": write_files,
    "alone": write_alone,
}


# Changes by hand, as people make them and as files of several versions come together

TOKENS = ["[MASK]", "<mask>", "[new]", "<e>", "qq", "zz", "New", "[CLS]", "<s>", "bird"]
FLAGS = ["do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space"]
FLAGS.append("keep_accents")
CLASSES = ["PreTrainedTokenizerFast", "BertTokenizer", "DistilBertTokenizerFast", "MPNetTokenizer"]
CLASSES += ["RobertaTokenizer", "XLMRobertaTokenizerFast", "AlbertTokenizer", "UnknownTokenizer"]
NAMES = ["bos", "eos", "unk", "sep", "pad", "cls", "mask"]
FILES = {
    "options": "tokenizer_config.json",
    "special": "special_tokens_map.json",
    "added": "added_tokens.json",
    "whole": "tokenizer.json",
    "network": "config.json",
}


def choose_token(rng):
    """A token as tokenizer_config.json may have it: a string or an object."""
    token = rng.choice(TOKENS)
    if rng.random() < 0.5:
        return token
    flags = ["lstrip", "rstrip", "normalized", "single_word"]
    return {"__type": "AddedToken", "content": token, **{f: rng.random() < 0.4 for f in flags}}


def change_flag(rng, options, **others):
    options[rng.choice(FLAGS)] = rng.random() < 0.5


def drop_flag(rng, options, **others):
    options.pop(rng.choice(FLAGS), None)


def drop_table(rng, options, **others):
    options.pop("added_tokens_decoder", None)


def rename_special(rng, options, **others):
    options[f"{rng.choice(NAMES)}_token"] = choose_token(rng)


def rename_special_in_map(rng, special, **others):
    token = choose_token(rng)
    if isinstance(token, dict):
        del token["__type"]
    special[f"{rng.choice(NAMES)}_token"] = token


def drop_special(rng, options, **others):
    options[f"{rng.choice(NAMES)}_token"] = None


def change_class(rng, options, **others):
    options["tokenizer_class"] = rng.choice(CLASSES)


def drop_class(rng, options, **others):
    options.pop("tokenizer_class", None)


def name_class_in_network(rng, network, **others):
    network["tokenizer_class"] = rng.choice(CLASSES)


def add_extra(rng, options, **others):
    lists = [[rng.choice(TOKENS), choose_token(rng)], {"image_token": rng.choice(TOKENS)}, []]
    options["extra_special_tokens"] = rng.choice(lists)


def add_old_extra(rng, options, **others):
    options["additional_special_tokens"] = [choose_token(rng) for _ in range(rng.randrange(3))]


def add_extra_in_map(rng, special, **others):
    special["additional_special_tokens"] = [rng.choice(TOKENS)]


def add_row(rng, added, network, **others):
    row = network["vocab_size"] + len(added) + (rng.random() < 0.3)
    added[rng.choice(["zz", "qq", "New", "<e>"])] = row
    network["vocab_size"] += 5


def change_added(rng, whole, **others):
    if whole.get("added_tokens"):
        token = rng.choice(whole["added_tokens"])
        flag = rng.choice(["lstrip", "rstrip", "normalized", "special", "single_word"])
        token[flag] = not token[flag]


def drop_added(rng, whole, **others):
    if whole.get("added_tokens"):
        whole["added_tokens"].pop(rng.randrange(len(whole["added_tokens"])))


def split_special(rng, options, **others):
    options["split_special_tokens"] = rng.random() < 0.5


def name_inputs(rng, options, **others):
    types = ["token_type_ids"] * (rng.random() < 0.5)
    options["model_input_names"] = ["input_ids", *types, "attention_mask"]


def store_limits(rng, whole, **others):
    if whole:
        whole["truncation"] = {"max_length": 4, "stride": 0, "strategy": "LongestFirst"}
        whole["truncation"]["direction"] = rng.choice(["Left", "Right"])
        whole["padding"] = {"strategy": {"Fixed": 12}, "direction": "Right", "pad_id": 0}
        whole["padding"] |= {"pad_to_multiple_of": None, "pad_type_id": 0}
        whole["padding"]["pad_token"] = rng.choice(["[PAD]", "<pad>", "qq"])


def name_own_token(rng, options, **others):
    options["image_token"] = rng.choice(TOKENS)


CHANGES = [
    *(change_flag, drop_flag, drop_table, rename_special, rename_special_in_map, drop_special),
    *(change_class, drop_class, name_class_in_network, add_extra, add_old_extra),
    *(add_extra_in_map, add_row, change_added, drop_added, split_special, name_inputs),
    *(store_limits, name_own_token),
]


def change(directory, rng, count):
    """Make some changes to the files of a directory. Returns what was done."""
    contents = {
        name: json.loads((directory / file).read_text("utf-8"))
        if (directory / file).exists()
        else {}
        for name, file in FILES.items()
    }
    done = [rng.choice(CHANGES) for _ in range(count)]
    for function in done:
        function(rng, **contents)
    for name, file in FILES.items():
        if contents[name]:
            write_json(directory / file, contents[name])
    return [function.__name__ for function in done]
