"""Draw what a scan of codes knows of every row, and which rows it can't rule out.

    python benchmarks/draw_filter.py [--query TEXT] [--k 10] [--out benchmarks/figures/filter]

needs matplotlib (`pip install 'minisbert[plots]'`) and real data in the folder that MINISBERT_DATA
names: the rows are the embeddings of its sentences (real_rows.py). Estimates and bounds are worked
out here once more, in NumPy, from the formulas in csrc/topk_int8.c, and the candidates must be
those that the kernel leaves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from minisbert import FlatIndex, SentenceTransformer
from minisbert.search.int8_filter import encode_queries
from real_rows import MODEL, load_embeddings

QUERY = "How do I lose weight without going hungry?"


def bound_scores(index: FlatIndex, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and error bounds of every row's score.  (D,) -> (M,), (M,)"""
    M, D = index.rows.shape
    blocks, coded = index._state.blocks, encode_queries(query[None])
    factors = coded.factors[0]
    group = coded.codes[0, :, 0].reshape(-1).astype(np.int64)
    codes = blocks["codes"].transpose(0, 2, 1, 3).reshape(-1, len(group))[:M]
    sums = codes.astype(np.int64) @ group - 128 * group.sum()
    heads = {
        name: blocks[name].reshape(-1)[:M].astype(np.float64)
        for name in ("scale", "residual", "length")
    }
    bounds = (
        heads["residual"] * factors["residual_factor"]
        + heads["length"] * factors["length_factor"]
        + factors["constant"]
    )
    return heads["scale"] * factors["scale"] * sums, bounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/figures/filter"))
    arguments = parser.parse_args()
    k = arguments.k

    index = FlatIndex.from_embeddings(load_embeddings(), codes="int8")
    query = SentenceTransformer(MODEL).encode(arguments.query, normalize_embeddings=True)
    estimates, bounds = bound_scores(index, query)
    scores = index.rows @ query
    threshold = np.sort(estimates - bounds)[-k]
    candidates = np.flatnonzero(estimates + bounds >= threshold)
    _, ids, report = index.search(query, k, report=True)
    assert report.candidates[0] == len(candidates)
    assert set(ids) <= set(candidates)
    assert (np.abs(scores - estimates) <= bounds).all()
    print(f"query       {arguments.query}")
    print(f"rows        {len(scores)}")
    print(f"bound       {np.median(bounds):.4f} (median), {bounds.max():.4f} at most")
    print(f"true error  {np.median(np.abs(scores - estimates)):.5f} (median)")
    print(f"threshold   {threshold:.4f}, the {k}th best lower bound")
    print(f"candidates  {len(candidates)}")
    draw(arguments.out, scores, estimates, bounds, threshold, k)


def draw(
    out: Path,
    scores: np.ndarray,
    estimates: np.ndarray,
    bounds: np.ndarray,
    threshold: float,
    k: int,
) -> None:
    """Left all rows, right the best ones with what is known of each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    order = np.argsort(-estimates, kind="stable")
    kept = estimates + bounds >= threshold
    best = order[: 2 * int(kept.sum())]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    edges = np.linspace(estimates.min(), estimates.max(), 120)
    left.hist(estimates[~kept], edges, color="#9aa5b1", label="ruled out")
    left.hist(estimates[kept], edges, color="#c2410c", label=f"{kept.sum()} candidates")
    left.set_yscale("log")
    left.axvline(threshold, color="black", linewidth=1, linestyle="--", label="threshold")
    left.set(xlabel="estimate of the score", ylabel="rows", title=f"All {len(scores):,} rows")
    left.legend(frameon=False, loc="upper right", bbox_to_anchor=(0.82, 1))
    places = np.arange(len(best))
    for chosen, colour in ((kept[best], "#c2410c"), (~kept[best], "#9aa5b1")):
        right.errorbar(
            places[chosen],
            estimates[best][chosen],
            bounds[best][chosen],
            fmt="none",
            ecolor=colour,
            elinewidth=3,
        )
    right.plot(places, scores[best], ".", color="black", markersize=4, label="true score")
    right.axhline(threshold, color="black", linewidth=1, linestyle="--")
    right.annotate(
        f"threshold: the {k}th best lower bound",
        (places[-1] + 0.5, threshold),
        xytext=(0, 8),
        textcoords="offset points",
        ha="right",
        fontsize=8,
    )
    right.set(
        xlabel="rows, best estimate first",
        ylabel="score",
        title="What is known of the best: lower to upper bound",
    )
    right.legend(frameon=False)
    figure.savefig(out.with_suffix(".png"), dpi=150)
    print(f"written: {out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
