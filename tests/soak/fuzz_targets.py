"""What the fuzzing reads: for each target valid files, and the call that reads them.

A call returns something that compares with ==, or raises. It raises Wrong if a result comes out
that can't be right whatever the files say.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tasks import make_task

from minisbert import CrossEncoder, FlatIndex, SentenceTransformer, TextIndex, read_examples, train
from minisbert.evaluation.judged_files import read_beir, read_sts
from minisbert.system.text_files import read_texts
from models import WORDS, make_cross_encoder_directory, make_model_directory, write_bpe

TEXTS = ["", "The old bird sings.", "a red car runs all day " * 12]
PAIRS = [("a bird", "the tree"), ("", "in all"), ("a red car " * 30, "dog " * 40)]


class Wrong(Exception):
    """A result that can't be right."""


class Target(NamedTuple):
    """One thing that reads files.

    make   writes valid files into a folder
    call   reads them and returns a result
    count  cases of a full run
    refuses_pipes  whether a pipe in a file's place is refused; texts may come from pipes
    """

    name: str
    make: Callable[[Path], Any]
    call: Callable[[Path], Any]
    count: int
    refuses_pipes: bool = True


def _check_rows(rows: np.ndarray, count: int) -> bytes:
    """Return the bytes of a result of `count` finite rows; anything else is wrong."""
    if not isinstance(rows, np.ndarray) or len(rows) != count:
        raise Wrong(f"{count} rows must come out, got {np.shape(rows)}")
    if not np.isfinite(rows).all():
        raise Wrong("numbers must be finite, got NaN or infinity")
    return rows.tobytes()


def _encode(folder: Path) -> bytes:
    model = SentenceTransformer(str(folder))
    return _check_rows(model.encode(TEXTS, show_progress_bar=False), len(TEXTS))


def _predict(folder: Path) -> bytes:
    model = CrossEncoder(str(folder))
    return _check_rows(model.predict(PAIRS, show_progress_bar=False), len(PAIRS))


def _make_dense(folder: Path) -> None:
    make_model_directory(folder, new_format=True, pooling=("mean", "max"), dense=8)


def _make_old_vocabulary(folder: Path) -> None:
    """A directory of the first generation: vocab.txt and no tokenizer.json."""
    make_model_directory(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')


def _make_roberta(folder: Path) -> None:
    make_model_directory(
        folder, model_type="roberta", vocab_size=320, max_position_embeddings=66, pad_token_id=1
    )
    write_bpe(folder, [WORDS] * 3)


def _make_unigram(folder: Path) -> None:
    """XLM-RoBERTa with a tokenizer of pieces, as SentencePiece makes them."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    make_model_directory(
        folder, model_type="xlm-roberta", vocab_size=120, max_position_embeddings=66, pad_token_id=1
    )
    (folder / "vocab.txt").unlink()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = [f"▁{word}" for word in WORDS.split()] + [
        chr(code) for code in range(ord("a"), ord("z") + 1)
    ]
    pieces = [(piece, 0.0) for piece in special] + [
        (word, -float(row)) for row, word in enumerate(["▁", *words], 1)
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("  ", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _make_sharded(folder: Path) -> None:
    """Weights in two files, and the file that says which is where."""
    from safetensors.numpy import load_file, save_file

    make_model_directory(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for shard, part in enumerate((names[::2], names[1::2]), 1):
        name = f"model-{shard:05}-of-00002.safetensors"
        save_file({key: tensors[key] for key in part}, folder / name)
        places |= dict.fromkeys(part, name)
    content = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def _make_index(codes: str | None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        rows = np.random.default_rng(0).standard_normal((300, 24), dtype=np.float32)
        index = FlatIndex(24, metric="cosine", codes=codes)
        index.add(rows, ids=np.arange(1000, 1300))
        index.save(folder / "rows.idx")

    return make


def _search_index(folder: Path) -> list[bytes]:
    """Search a file that `verify` takes: the answers must be the valid ones."""
    index = FlatIndex.load(folder / "rows.idx")
    queries = np.random.default_rng(1).standard_normal((5, index.dimension), dtype=np.float32)
    found = [part.tobytes() for part in index.search(queries, 4)]
    index.verify()
    return found


def _make_text_index(folder: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 16), dtype=np.float32)
    TextIndex.from_embeddings(rows, [f"text é {row}" for row in range(40)]).save(folder / "texts")


def _search_texts(folder: Path) -> list[Any]:
    index = TextIndex.load(folder / "texts")
    found = index.search(np.arange(16, dtype=np.float32), 3)
    index.verify()
    return found


def _make_examples(folder: Path) -> None:
    rows = make_task("cosine", 12)
    table = [f"{first}\t{second}\t{score}" for first, second, score in rows]
    (folder / "scores.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *table]) + "\n")
    quoted = [
        f'"{first}","{second}",{"entailment" if score else "neutral"}'
        for first, second, score in rows
    ]
    (folder / "classes.csv").write_text("\n".join(["premise,hypothesis,label", *quoted]) + "\n")
    objects = [
        json.dumps({"anchor": first, "positive": second, "negative": first})
        for first, second, _ in rows
    ]
    (folder / "triplets.jsonl").write_text("\n".join(objects) + "\n")


def _read_examples(folder: Path) -> list[Any]:
    return [
        repr(read_examples(folder / name))
        for name in ("scores.tsv", "classes.csv", "triplets.jsonl")
    ]


def _make_judged(folder: Path) -> None:
    lines = [
        f"main\tyear\tfile\t{row}\t{row % 6}.0\tA bird {row}.\tThe tree {row}." for row in range(12)
    ]
    (folder / "sts.tsv").write_text("\n".join(lines) + "\n")
    for name in ("corpus", "queries"):
        objects = [
            json.dumps({"_id": str(row), "title": "", "text": f"a bird {row}"}) for row in range(9)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(objects) + "\n")
    (folder / "qrels").mkdir()
    judged = [f"{row}\t{row}\t1" for row in range(9)]
    (folder / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n"
    )


def _read_judged(folder: Path) -> str:
    return repr((read_sts(folder / "sts.tsv"), read_beir(folder)))


def _make_texts(folder: Path) -> None:
    (folder / "lines.txt").write_text("a bird\nthe tree\n\nin é\n")
    (folder / "table.csv").write_text('id,text\n1,"a, bird"\n2,"the ""old"" tree"\n')
    (folder / "objects.jsonl").write_text('{"text": "a"}\n{"text": "b", "n": 1}\n')


def _read_texts(folder: Path) -> list[list[str]]:
    return [
        read_texts(str(folder / "lines.txt")),
        read_texts(str(folder / "table.csv"), column="text"),
        read_texts(str(folder / "objects.jsonl"), field="text"),
    ]


class _Stop(Exception):
    """Stands for a kill: training ends without cleaning up."""


EXAMPLES = make_task("cosine", 8)
TRAINING: dict[str, Any] = {
    "objective": "cosine",
    "batch_size": 4,
    "epochs": 2,
    "evaluate_every": 2,
}


def _make_checkpoint(folder: Path) -> None:
    """A training that stopped after its first checkpoint."""
    make_model_directory(folder / "base")

    def stop(line: str) -> None:
        if (folder / "out.training").exists():
            raise _Stop

    try:
        _train(folder, report=stop)
    except _Stop:
        return
    raise AssertionError("training must stop after its first checkpoint")


def _train(folder: Path, **options: Any) -> Any:
    model = SentenceTransformer(str(folder / "base"))
    return model, train(
        model,
        EXAMPLES,
        out=folder / "out",
        development=EXAMPLES,
        show_progress_bar=False,
        threads=1,
        **TRAINING,
        **options,
    )


def _resume_training(folder: Path) -> bytes:
    model, _ = _train(folder, resume=True)
    return b"".join(model.parameters[name].tobytes() for name in sorted(model.parameters))


LONG = [f"a bird {row}" for row in range(40)]


def _make_stream(folder: Path) -> None:
    """An encode_to_file that stopped after its first chunk."""
    make_model_directory(folder / "model")
    model = SentenceTransformer(str(folder / "model"))

    def texts() -> Any:
        yield from LONG[:25]
        raise _Stop

    try:
        model.encode_to_file(texts(), folder / "rows.npy", chunk=10)
    except _Stop:
        return
    raise AssertionError("the stream must stop after two chunks")


def _resume_stream(folder: Path) -> bytes:
    model = SentenceTransformer(str(folder / "model"))
    rows = model.encode_to_file(LONG, folder / "rows.npy", chunk=10, resume=True)
    return np.asarray(rows).tobytes()


TARGETS = {
    target.name: target
    for target in (
        Target("bert", make_model_directory, _encode, 25_000),
        Target("dense", _make_dense, _encode, 20_000),
        Target("vocabulary", _make_old_vocabulary, _encode, 15_000),
        Target("roberta", _make_roberta, _encode, 20_000),
        Target("unigram", _make_unigram, _encode, 20_000),
        Target("sharded", _make_sharded, _encode, 10_000),
        Target(
            "pairs",
            lambda folder: make_cross_encoder_directory(folder, new_format=True),
            _predict,
            20_000,
        ),
        Target(
            "classes",
            lambda folder: make_cross_encoder_directory(folder, num_labels=3),
            _predict,
            10_000,
        ),
        Target("index", _make_index(None), _search_index, 15_000),
        Target("codes", _make_index("int8"), _search_index, 15_000),
        Target("texts", _make_text_index, _search_texts, 10_000),
        Target("examples", _make_examples, _read_examples, 10_000, refuses_pipes=False),
        Target("judged", _make_judged, _read_judged, 10_000, refuses_pipes=False),
        Target("lines", _make_texts, _read_texts, 5_000, refuses_pipes=False),
        Target("checkpoint", _make_checkpoint, _resume_training, 5_000),
        Target("stream", _make_stream, _resume_stream, 5_000),
    )
}
