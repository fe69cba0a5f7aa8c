"""Quantised embeddings beside sentence-transformers' own, bit for bit; distances beside FAISS's."""

import faiss
import numpy as np
import pytest
from sentence_transformers.util.quantization import quantize_embeddings as quantize_theirs

from minisbert.search.hamming import hamming_topk
from minisbert.search.quantization import find_ranges, quantize_embeddings

PRECISIONS = ["float32", "int8", "uint8", "binary", "ubinary"]


def same(ours, theirs):
    """Whether two arrays are equal in shape, type and every number."""
    return ours.shape == theirs.shape and ours.dtype == theirs.dtype and np.all(ours == theirs)


def make_embeddings(D, kind, seed=0):
    """Unit vectors, with a dimension of zeros, one that never changes and one of tiny numbers."""
    rows = np.random.default_rng(seed).standard_normal((300, D))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if D > 3:
        rows[:, 0], rows[:, 1] = 0, 0.3
        rows[:, 2] *= 1e-44
    return rows.astype(kind)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("D", [1, 7, 8, 9, 384])
def test_codes_are_theirs(precision, kind, D):
    """Every precision, with ranges of the rows, given ranges and calibration embeddings."""
    rows, others = make_embeddings(D, kind), make_embeddings(D, kind, 1)
    ranges = np.stack([others.min(axis=0), others.max(axis=0)]) * 0.7  # many lie beyond
    for arguments in (
        {},
        {"ranges": ranges},
        {"ranges": ranges.astype(np.float64), "calibration_embeddings": rows},
        {"calibration_embeddings": others},
    ):
        theirs = quantize_theirs(rows, precision, **arguments)
        ours = quantize_embeddings(rows, precision, **arguments)
        assert same(ours, theirs)
        if arguments:
            one = quantize_embeddings(rows[5], precision, **arguments)
            assert same(one, quantize_theirs(rows[5], precision, **arguments))
            wrong = theirs.copy()
            wrong[-1, -1] = not wrong[-1, -1]
            assert not same(ours, wrong)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_rows_are_theirs(precision):
    """A batch of none has their shape and type."""
    rows = np.empty((0, 12), np.float32)
    assert same(quantize_embeddings(rows, precision), quantize_theirs(rows, precision))


def test_our_ranges_serve_them():
    """Ranges of find_ranges are accepted there, and equal those found there."""
    rows = make_embeddings(48, "f4")
    assert same(
        quantize_theirs(rows[:1], "int8", ranges=find_ranges(rows)),
        quantize_theirs(rows, "int8")[:1],
    )


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_a_single_text_is_refused_by_both(precision):
    """Neither takes ranges from one embedding."""
    for quantize in (quantize_embeddings, quantize_theirs):
        with pytest.raises(ValueError, match=r"single embedding|at least 2 rows"):
            quantize(np.ones((1, 8), np.float32), precision)


def test_distances_are_those_of_faiss():
    """The k smallest Hamming distances are FAISS's; it leaves the order of ties open."""
    rng = np.random.default_rng(0)
    codes, queries = (rng.integers(0, 256, (n, 48), np.uint8) for n in (5000, 20))
    index = faiss.IndexBinaryFlat(384)
    index.add(codes)
    theirs, _ = index.search(queries, 50)
    ours, ids = hamming_topk(queries, codes, 50)
    assert same(ours, theirs)
    assert not same(ours, theirs[:, ::-1])
    bits = np.unpackbits(queries[:, None] ^ codes[ids], axis=2)
    assert np.array_equal(bits.sum(axis=2), theirs)
