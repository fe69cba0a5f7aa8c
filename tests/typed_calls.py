"""Calls whose types are checked by test_types.py; never run.

A line that mypy must refuse has a `type: ignore`; mypy reports one that is not needed.
"""

from collections.abc import Iterator

import numpy as np
from typing_extensions import assert_type

from minisbert import CrossEncoder, FlatIndex, SentenceTransformer, util
from minisbert.arrays import Array
from minisbert.encoding.signatures import Array1D, Array2D
from minisbert.mining.nearest import Hit
from minisbert.search.candidates import ScanReport


def encode(model: SentenceTransformer, texts: Iterator[str]) -> None:
    assert_type(model.encode("one"), Array1D)
    assert_type(model.encode(["one"]), Array2D)
    assert_type(model.encode(texts, "query", precision="int8", threads=2), Array2D)
    assert_type(model.encode("one", output_value="token_embeddings"), Array2D)
    assert_type(model.encode(["one"], output_value="token_embeddings"), list[Array2D])
    assert_type(model.encode_query("one"), Array1D)
    assert_type(model.encode_document(["one"], prompt="passage: "), Array2D)
    assert_type(model.get_embedding_dimension(), int)
    with model.truncate_embeddings(64):
        assert_type(model.similarity([1.0], [[1.0]]), Array)


def refuse(model: SentenceTransformer, texts: list[str]) -> None:
    assert_type(model.encode("one"), Array2D)  # type: ignore[assert-type]
    model.encode(texts, batchsize=3)  # type: ignore[call-overload]
    model.encode(texts, convert_to_tensor=True)  # type: ignore[call-overload]
    model.encode(texts, precision="int4")  # type: ignore[call-overload]
    model.encode([1, 2])  # type: ignore[list-item]
    SentenceTransformer("model", revision="main")  # type: ignore[arg-type]


def predict(model: CrossEncoder, pairs: list[tuple[str, str]]) -> None:
    assert_type(model.predict(("one", "two")), np.float32 | Array1D)
    assert_type(model.predict(pairs, return_logits=True), Array1D | Array2D)
    model.predict(pairs, normalize=True)  # type: ignore[call-overload]


def search(model: SentenceTransformer, index: FlatIndex, rows: Array2D) -> None:
    assert_type(index.search(rows), tuple[Array, Array])
    assert_type(index.search(rows, report=True), tuple[Array, Array, ScanReport])
    hits = util.semantic_search(rows, rows, top_k=3)
    assert_type(hits, list[list[Hit]])
    assert_type(hits[0][0]["corpus_id"], int)
    assert_type(util.paraphrase_mining(model, ["one", "two"]), list[list[float | int]])
    assert_type(util.paraphrase_mining_embeddings(rows), list[list[float | int]])
    assert_type(util.community_detection(rows), list[list[int]])
