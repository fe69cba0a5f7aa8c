"""Draw the figures of the chapters: `make figures`.

    python benchmarks/draw_figures.py [--out benchmarks/figures]

needs matplotlib. The filter is drawn for real embeddings, only where MINISBERT_DATA names them; the
costs from costs.json, which `minisbert bench` has measured.
"""

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

import minisbert
from corpora import DATA, MODEL, STS, load_embeddings
from harness import parse_options
from minisbert.costs.cost_model import Measurement
from minisbert.costs.measurement import Costs
from minisbert.costs.report import draw_costs

matplotlib.use("Agg")
from matplotlib import pyplot

# Colours that most colour-blind people can tell apart (Okabe and Ito 2008).
BLUE, SKY, ORANGE, RED, GREY = "#0072b2", "#56b4e9", "#e69f00", "#d55e00", "#d9d9d9"
# Tokens of the first 32 questions in quora/pairs_dev.tsv.
LENGTHS = [18, 17, 45, 15, 13, 17, 14, 9, 13, 17, 24, 33, 20, 27, 28, 15]
LENGTHS += [11, 22, 12, 35, 19, 18, 14, 16, 10, 12, 16, 17, 11, 11, 11, 11]
QUERY = "How do I lose weight without going hungry?"


def draw_padding():
    """Draw the tokens of one batch, padded and ragged."""
    B, T, N = len(LENGTHS), max(LENGTHS), sum(LENGTHS)
    shades = 1 + np.arange(B) % 2
    padded = np.where(np.arange(T) < np.array(LENGTHS)[:, None], shades[:, None], 0)
    ragged = np.full(B * T, np.nan)
    ragged[:N] = np.repeat(shades, sorted(LENGTHS, reverse=True))
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    titles = f"padded: {B} x {T} = {B * T:,} rows", f"ragged, longest first: {N} rows"
    for axis, cells, title in zip(axes, (padded, ragged.reshape(B, T)), titles, strict=True):
        colours = matplotlib.colors.ListedColormap([GREY, BLUE, SKY])
        axis.pcolormesh(cells, cmap=colours, vmin=0, vmax=2, edgecolors="white", linewidth=0.4)
        axis.invert_yaxis()
        axis.set_axis_off()
        axis.set_title(title, loc="left")
    note = f"A square is a token of one of {B} questions.\nThe shade changes with each question.\n"
    axes[1].text(0, 16, f"{note}Grey is padding: computed, then thrown away.", va="top")
    return figure


def draw_rooms():
    """Draw the rooms of the package from top to bottom, and how often each imports from others."""
    listed = re.findall(r"^    (\w+) +(.+)$", minisbert.__doc__, re.MULTILINE)
    names = [name for name, _ in listed]
    package, counts = Path(minisbert.__file__).parent, np.zeros((len(names), len(names)), int)
    for path in package.rglob("*.py"):
        room = path.relative_to(package).with_suffix("").parts[0]
        for other in re.findall(
            r"^ *from minisbert\.?(\w*)", path.read_text("utf-8"), re.MULTILINE
        ):
            if (other or "__init__") in {*names} - {room}:
                counts[names.index(room), names.index(other or "__init__")] += 1
    figure, axes = pyplot.subplots(figsize=(11, 5.4), layout="constrained")
    shades = np.where(counts, np.log1p(counts), np.nan)
    axes.imshow(shades, cmap="Blues", vmax=7, aspect="auto")
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(column, row, counts[row, column], ha="center", va="center")
    for row, (name, purpose) in enumerate(listed):
        axes.add_patch(pyplot.Rectangle((row - 0.5, row - 0.5), 1, 1, color=GREY))
        axes.text(-18.5, row, name, va="center", weight="bold")
        axes.text(-14, row, purpose.replace("`", ""), va="center")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set(yticks=[], xlim=(-18.6, len(names) - 0.5), frame_on=False)
    axes.set_xlabel("how often a row's room imports from a column's: never from one above it")
    return figure


def draw_siamese():
    """Draw one step of siamese training: one batch, one encoder, one split, and back."""
    figure, axes = pyplot.subplots(figsize=(10, 3.6), layout="constrained")

    def box(x, y, width, height, colour, text=""):
        axes.add_patch(pyplot.Rectangle((x, y), width, height, facecolor=colour, edgecolor="black"))
        axes.text(x + width / 2, y + height / 2, text, ha="center", va="center")

    def arrows(x, y, to_x, to_y):
        style = {"arrowstyle": "-|>", "linewidth": 1.6}
        axes.annotate("", (to_x, to_y), (x, y), arrowprops=style | {"color": "black"})
        back = (x, y - 0.35), (to_x, to_y - 0.35)
        axes.annotate("", *back, arrowprops=style | {"color": RED})

    for i, length in enumerate((3, 6, 4, 4, 3, 5)):
        y, colour = 5.2 - i, (SKY, ORANGE)[i // 3]
        for token in range(length):
            box(0.5 * token, y, 0.5, 0.7, colour)
        axes.text(-0.2, y + 0.35, f"{'uv'[i // 3]}$_{i % 3 + 1}$", ha="right", va="center")
        box(7.2, y, 1.4, 0.7, colour)
        box(10.2, y + (0.4 if i < 3 else -0.4), 1.4, 0.7, colour)
    box(4.2, 0.2, 1.9, 5.7, "white", "one encoder:\nBERT,\npooling")
    box(13.2, 2.2, 1.6, 1.7, "white", "loss")
    arrows(3.1, 3.3, 4.1, 3.3)
    arrows(6.2, 3.3, 7.1, 3.3)
    for y, middle, end in ((4.7, 5.1, 3.7), (1.7, 1.3, 2.7)):
        arrows(8.7, y, 10.1, middle)
        arrows(11.7, middle, 13.1, end)
    titles = "one ragged batch\nof 2B texts", "embeddings\n(2B, E)", "split:\nu, v (B, E)"
    for x, title in zip((1.5, 7.9, 10.9), titles, strict=True):
        axes.text(x, 6.7, title, ha="center", va="bottom")
    axes.text(5.1, -0.9, "gradients come back the same way", ha="center", color=RED)
    axes.set(xlim=(-1, 15), ylim=(-1.2, 8))
    axes.set_axis_off()
    return figure


def encode(x: np.ndarray) -> np.ndarray:
    """Round each row to 255 levels, as codes of one byte do."""
    scale = np.abs(x).max(axis=1, keepdims=True) / 127
    return scale * np.rint(x / scale)


def draw_filter():
    """Draw the estimates of all rows, and the bounds of the best."""
    k, rows = 10, load_embeddings()
    query = minisbert.SentenceTransformer(MODEL).encode(QUERY, normalize_embeddings=True)
    coded, coded_query = encode(rows), encode(query[None])[0]
    left_out, lengths = np.linalg.norm(rows - coded, axis=1), np.linalg.norm(coded, axis=1)
    bounds = np.linalg.norm(query) * left_out + np.linalg.norm(query - coded_query) * lengths
    scores, estimates = rows @ query, coded @ coded_query
    threshold = np.sort(estimates - bounds)[-k]
    kept = estimates + bounds >= threshold
    assert (np.abs(scores - estimates) <= bounds + 1e-6).all()
    assert kept[np.argsort(-scores)[:k]].all()

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    edges, best = np.linspace(estimates.min(), estimates.max(), 120), np.argsort(-estimates)
    best = best[: 2 * kept.sum()]
    for chosen, colour, label in ((~kept, SKY, "ruled out"), (kept, RED, "candidates")):
        left.hist(estimates[chosen], edges, color=colour, label=f"{chosen.sum():,} {label}")
        x = np.flatnonzero(chosen[best])
        y, error = estimates[best[x]], bounds[best[x]]
        right.errorbar(x, y, error, fmt="none", ecolor=colour, elinewidth=4)
    right.plot(scores[best], ".", color="black", markersize=4, label="score")
    left.axvline(threshold, color="black", linewidth=1, linestyle="--", label="threshold")
    name = f"threshold: the {k}th best lower bound"
    right.axhline(threshold, color="black", linewidth=1, linestyle="--", label=name)
    left.set(yscale="log", xlabel="estimate of the score", ylabel="rows", title="All rows")
    title = "The best rows: from lower to upper bound"
    right.set(xlabel="rows, best estimate first", ylabel="score", title=title)
    left.legend(frameon=False, loc="upper right", bbox_to_anchor=(0.82, 1))
    right.legend(frameon=False)
    return figure


def redraw_costs(out: Path) -> None:
    """Draw the measurements of costs.json as the cost lab does."""
    kept = json.loads((out / "costs.json").read_text("utf-8"))
    machine, measurements = kept["machine"], [Measurement(**rung) for rung in kept["rungs"]]
    costs = Costs(np.array([kept["tokens_mean"]]), measurements)
    caption = f"{machine['system']}, {machine['threads']} threads, {machine['date']}"
    draw_costs(costs, [out / "costs.png"], caption)


def main() -> None:
    out = parse_options(__doc__, out=Path(__file__).parent / "figures").out
    redraw_costs(out)
    draws = {"padding": draw_padding, "rooms": draw_rooms, "siamese": draw_siamese}
    if (DATA / STS[0]).exists():
        draws["filter"] = draw_filter
    else:
        print("filter.png is not drawn: MINISBERT_DATA names no folder with the real sentences")
    for name, draw in draws.items():
        draw().savefig(out / f"{name}.png", dpi=110)
        Image.open(out / f"{name}.png").convert("RGB").quantize(64).save(out / f"{name}.png")


if __name__ == "__main__":
    main()
