"""Small random models of every family, made and saved by transformers, with trained tokenizers."""

import json

import tokenizers
import torch
import transformers

from minisbert.network.families import FAMILIES
from models import VOCABULARY, write_bpe

# Something of many scripts, so that vocabularies hold more than ASCII.
TEXTS = [
    "The old bird sings in the tree all day, and the cat looks on.",
    "A red car runs over the road; nobody sees it, but a dog barks!",
    "L'oiseau chante dans l'arbre toute la journée, déjà depuis l'été.",
    "Старая птица поёт на дереве весь день.",
    "老鸟整天在树上唱歌。",
] * 4


def train_unigram(first, last):
    """Words and their scores as sentencepiece's, special ones before and after the pieces."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=160, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    pieces = [(piece, score) for piece, score in pieces if piece != "<unk>"]
    return [*((word, 0.0) for word in first), *pieces, *((word, 0.0) for word in last)]


def number(words):
    return {word: row for row, word in enumerate(words)}


def make_roberta_tokenizer(path):
    write_bpe(path, TEXTS)
    vocabulary = json.loads((path / "vocab.json").read_text("utf-8"))
    lines = (path / "merges.txt").read_text("utf-8").splitlines()
    merges = [tuple(line.split(" ")) for line in lines if not line.startswith("#version")]
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        (path / name).unlink()
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)


ROBERTA_WORDS = ("<s>", "<pad>", "</s>", "<unk>")
CAMEMBERT_WORDS = ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>")
MPNET_WORDS = (*ROBERTA_WORDS, "[UNK]")

TOKENIZERS = {
    "bert": lambda path: transformers.BertTokenizer(vocab=number(VOCABULARY)),
    "distilbert": lambda path: transformers.DistilBertTokenizer(vocab=number(VOCABULARY)),
    "roberta": make_roberta_tokenizer,
    "xlm-roberta": lambda path: transformers.XLMRobertaTokenizer(
        vocab=train_unigram(ROBERTA_WORDS, ["<mask>"])
    ),
    "camembert": lambda path: transformers.CamembertTokenizer(
        vocab=train_unigram(CAMEMBERT_WORDS, ["<mask>"])
    ),
    "mpnet": lambda path: transformers.MPNetTokenizer(
        vocab=number([*MPNET_WORDS, *VOCABULARY[5:], "<mask>"])
    ),
    "albert": lambda path: transformers.AlbertTokenizer(
        vocab=train_unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], [])
    ),
}


def make_family_directory(path, model_type, *, num_labels=None, positions=64, seed=0, **sizes):
    """Write a network, with a head if `num_labels` is given, and its tokenizer. Returns `path`.

    `positions` is how many tokens a text may have; `sizes` are more fields, as BERT calls them.
    """
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = TOKENIZERS[model_type](path)
    family = FAMILIES[model_type]
    offset = 0 if family.padding is None else tokenizer.pad_token_id + 1
    fields = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_act": "gelu",
        "max_position_embeddings": positions + offset,
        "type_vocab_size": 1 if family.padding else 2,
        "pad_token_id": tokenizer.pad_token_id,
        **({"embedding_size": 16} if family.shared_blocks else {}),
        **({"num_labels": num_labels} if num_labels else {}),
        **sizes,
    }
    config = transformers.AutoConfig.for_model(
        model_type, **{family.fields.get(name, name): value for name, value in fields.items()}
    )
    torch.manual_seed(seed)
    auto = transformers.AutoModelForSequenceClassification if num_labels else transformers.AutoModel
    network = auto.from_config(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            is_scale = "norm" in name.lower() and name.endswith("weight")
            parameter.normal_(float(is_scale), 0.2)
    network.save_pretrained(path)
    tokenizer.model_max_length = positions
    tokenizer.save_pretrained(path)
    return path
