"""Hard negatives: texts that a model finds near a query, though they don't belong to it.

Names, options and results are those of sentence-transformers. The search is exact.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from minisbert.arguments import (
    LARGEST_FLOAT32,
    check_choice,
    check_number,
    check_texts,
    check_whole_number,
    shorten,
    warn_caller,
)
from minisbert.arrays import Array
from minisbert.mining.nearest import find_nearest
from minisbert.mining.pairs import Found, Texts, arrange, collect_texts, read_dataset
from minisbert.system.disk import write_file

OutputFormat = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]


def mine_hard_negatives(
    dataset: Any,
    model: Any,
    *,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Iterable[str] | None = None,
    cross_encoder: Any = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["random", "top"] = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: OutputFormat = "triplet",
    output_scores: bool = False,
    batch_size: int | None = None,
    faiss_batch_size: int = 16384,
    use_faiss: bool = False,
    use_multi_process: Sequence[str] | bool = False,
    verbose: bool = True,
    cache_folder: str | None = None,
    as_triplets: bool | None = None,
    margin: float | None = None,
) -> Any:
    """Add hard negatives to pairs of a query and a text that belongs to it.

    For each query the nearest texts are found, its own are left out, and so is what the limits of
    score exclude; of the rest the first `num_negatives` are taken, or some at random.

    Parameters
    ----------
    dataset : iterable of tuples or of dicts, or a `datasets.Dataset`
        Pairs. A query with several texts is in several pairs.
    model : SentenceTransformer
    anchor_column_name, positive_column_name : str
        The columns of queries and of their texts; by default the first and the second.
    corpus : iterable of str
        More texts to take negatives from, beside those of the pairs.
    cross_encoder : CrossEncoder
        Where a limit of score is given, its scores replace the model's.
    range_min, range_max : int
        Of the texts left for a query, skip the nearest `range_min`, and those after the first
        `range_max`. By default 10 times as many as needed are kept where a limit may exclude some.
    max_score, min_score : float
        Leave out texts with a higher, or a lower, score.
    absolute_margin : float
        Leave out texts whose score is not this much lower than that of each of the query's own.
    relative_margin : float
        The same as a fraction of the absolute value of the own text's score.
    num_negatives : int
        Negatives for each query.
    sampling_strategy : "top" or "random"
        Take the nearest, or some by Python's `random.sample`, which `random.seed` seeds.
    query_prompt_name, query_prompt, corpus_prompt_name, corpus_prompt : str
        As `encode_query` and `encode_document` take them.
    include_positives : bool
        Don't leave out a query's own texts: for data to evaluate rerankers on. The format is then
        "n-tuple".
    output_format : "triplet", "n-tuple", "labeled-pair" or "labeled-list"
        (query, own, negative); (query, own, negative_1, ...) where all were found; (query, text,
        label) with label 1 for an own text and 0 for a negative; (query, texts, labels).
    output_scores : bool
        Add a column of scores, [own, negative, ...], or replace the labels by scores.
    batch_size : int
        As `encode` takes it.
    faiss_batch_size : int
        Queries to search for at a time. It changes the memory that is needed, and no result.
    use_multi_process : bool or list of str
        A list such as ["cpu", "cpu"] for a thread for each; else all cores are used.
    verbose : bool
        Print how many negatives were found, and their scores.
    cache_folder : str
        A folder for the embeddings, which the next call with the same model and texts reads.
    use_faiss, as_triplets, margin
        Other and older arguments: FAISS is not used; `as_triplets` chooses "triplet" or "n-tuple";
        `margin` is `absolute_margin`.

    Returns
    -------
    list of tuples or of dicts, or a `datasets.Dataset`
        As the pairs were given.

    Raises
    ------
    TypeError
        If the pairs are not pairs of str, or the corpus is not an iterable of str.
    ValueError
        If there are no pairs, or an option is impossible.

    Examples
    --------
    >>> from minisbert import SentenceTransformer
    >>> model = SentenceTransformer("all-MiniLM-L6-v2")
    >>> pairs = [("Who eats?", "A man eats."), ("Who runs?", "A dog runs.")]
    >>> mine_hard_negatives(pairs, model, num_negatives=1, verbose=False)[0]
    ('Who eats?', 'A man eats.', 'A dog runs.')
    """
    pairs = read_dataset(dataset, anchor_column_name, positive_column_name)
    more = [] if corpus is None else check_texts(corpus, "corpus")
    if use_faiss:
        raise ValueError("use_faiss must be False, got True; the search here is exact without it")
    faiss_batch_size = check_whole_number("faiss_batch_size", faiss_batch_size)
    num_negatives = check_whole_number("num_negatives", num_negatives)
    range_min = check_whole_number("range_min", range_min, 0)
    if as_triplets is not None:
        output_format = "triplet" if as_triplets else "n-tuple"
    if include_positives and output_format != "n-tuple":
        warn_caller("output_format is n-tuple with include_positives, which keeps the ranking")
        output_format = "n-tuple"
    check_choice("output_format", output_format, get_args(OutputFormat))
    if sampling_strategy not in ("top", "random"):
        raise ValueError(
            f'sampling_strategy must be "top" or "random", got {shorten(sampling_strategy)}; '
            "choose one"
        )
    absolute_margin = absolute_margin if margin is None else margin
    limits = (max_score, min_score, absolute_margin, relative_margin)
    names = ("max_score", "min_score", "absolute_margin", "relative_margin")
    for name, limit in zip(names, limits, strict=True):
        if limit is not None:
            check_number(name, limit, -LARGEST_FLOAT32, remedy="leave it out for no limit")
    most = max(Counter(pairs.queries).values())  # own texts of a query
    if range_max is None:
        excluding = any(limit is not None for limit in (max_score, *limits[2:]))
        excluding |= cross_encoder is not None and min_score is not None
        range_max = range_min + num_negatives * (10 if excluding else 1) + most
    range_max = check_whole_number(
        "range_max", range_max, range_min + num_negatives, remedy="it must leave num_negatives"
    )

    # 1. each text once
    texts = collect_texts(pairs, more)
    # 2. the nearest texts of each query, and the scores of its own
    pool = None
    if use_multi_process:
        devices = None if isinstance(use_multi_process, bool) else list(use_multi_process)
        pool = model.start_multi_process_pool(devices)
    options = {"batch_size": batch_size, "pool": pool, "normalize_embeddings": True}
    embed = partial(_embed, model=model, folder=cache_folder, options=options)
    documents = embed(model.encode_document, texts.corpus, (corpus_prompt_name, corpus_prompt))
    queries = embed(model.encode_query, texts.queries, (query_prompt_name, query_prompt))
    parts = [
        find_nearest(
            queries[start : start + faiss_batch_size],
            documents,
            range_max + most,
            similarity=model.similarity_fn_name,
        )
        for start in range(0, len(queries), faiss_batch_size)
    ]
    scores, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
    counts = list(map(len, texts.rows))
    own = model.similarity_pairwise(
        queries[np.repeat(np.arange(len(counts)), counts)], documents[np.concatenate(texts.rows)]
    )
    found = Found(rows, np.array(scores), np.asarray(own))
    if cross_encoder is not None and any(limit is not None for limit in limits):
        found = _score_again(cross_encoder, texts, found, batch_size=batch_size)
    # 3. without those that are no negatives
    if not include_positives:
        for kept, row, positives in zip(found.scores, found.rows, texts.rows, strict=True):
            kept[np.isin(row, positives)] = -np.inf
    _exclude(found, counts, limits)
    # 4. the best of the rest, or some of them
    found = _choose(found, range_min, range_max, count=num_negatives, strategy=sampling_strategy)
    columns = arrange(texts, found, pairs.names, layout=output_format, with_scores=output_scores)
    if verbose:
        _report(found, len(columns[pairs.names[0]]), num_negatives)
    return pairs.build(columns)


def _embed(
    encode: Callable[..., Array],
    texts: list[str],
    prompts: Sequence[str | None],
    *,
    model: Any,
    folder: str | None,
    options: dict[str, Any],
) -> Array:
    """Return the embeddings of texts: from the folder if they are there, else they are put there.

    prompts  the name of a prompt, and a prompt
    """
    options = {**options, "prompt_name": prompts[0], "prompt": prompts[1]}
    if folder is None:
        return encode(texts, **options)
    settings = (encode.__name__, model.config, model.prompts, model.max_seq_length)
    digest = hashlib.sha256(repr((settings, model.truncate_dim, prompts, texts)).encode())
    for name, array in sorted(model.parameters.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    path = Path(folder) / f"{encode.__name__}_{digest.hexdigest()}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_file(path) as file:
            np.save(file, encode(texts, **options))
    return np.load(path)


def _score_again(
    cross_encoder: Any, texts: Texts, found: Found, *, batch_size: int | None
) -> Found:
    """Replace all scores by those of a cross-encoder."""
    scores = [
        cross_encoder.predict([(query, texts.corpus[row]) for row in rows], batch_size=batch_size)
        for query, rows in zip(texts.queries, found.rows, strict=True)
    ]
    own = cross_encoder.predict(
        [
            (query, texts.corpus[row])
            for query, rows in zip(texts.queries, texts.rows, strict=True)
            for row in rows
        ],
        batch_size=batch_size,
    )
    return Found(found.rows, np.array(scores, np.float32), own)


def _exclude(found: Found, counts: list[int], limits: Sequence[float | None]) -> None:
    """Set to -inf the scores of texts that the limits exclude.

    counts  own texts of each query
    limits  max_score, min_score, absolute_margin, relative_margin
    """
    highest, lowest, margin, fraction = limits
    scores = found.scores
    starts = np.cumsum([0, *counts[:-1]])
    own = np.minimum.reduceat(found.own, starts)[:, None].astype(np.float32)  # (Q, 1)
    if margin is not None:
        scores[scores + np.float32(margin) > own] = -np.inf
    if fraction is not None:
        scores[scores > own - np.abs(own) * np.float32(fraction)] = -np.inf
    if highest is not None:
        scores[scores > highest] = -np.inf
    if lowest is not None:
        scores[scores < lowest] = -np.inf


def _choose(found: Found, range_min: int, range_max: int, *, count: int, strategy: str) -> Found:
    """Return `count` texts for each query, best first; a score of -inf marks what is no text."""
    order = np.argsort(-found.scores, axis=1, kind="stable")[:, range_min:range_max]
    if strategy == "random":
        left = np.isfinite(np.take_along_axis(found.scores, order, axis=1)).sum(axis=1)
        picked = [
            sorted(random.sample(range(max(number, count)), count)) for number in left.tolist()
        ]
        order = _pad(order, range_max - range_min)
        order = np.take_along_axis(order, np.array(picked), axis=1)
    order = _pad(order[:, :count], count)
    rows = np.take_along_axis(found.rows, np.maximum(order, 0), axis=1)
    scores = np.take_along_axis(found.scores, np.maximum(order, 0), axis=1)
    return Found(rows, np.where(order < 0, -np.inf, scores), found.own)


def _pad(order: Array, width: int) -> Array:
    """Fill up places of texts with -1, where there are fewer texts.  (Q, w) -> (Q, width)"""
    missing = width - order.shape[1]
    return np.pad(order, ((0, 0), (0, max(0, missing))), constant_values=-1)


def _report(found: Found, rows: int, num_negatives: int) -> None:
    """Print how many negatives were found, and the scores of both kinds of texts."""
    scores = found.scores[found.scores > -np.inf]
    asked = len(found.rows) * num_negatives
    print(f"{rows} rows; {len(scores)} of {asked} negatives were found")
    for name, values in (("own texts", found.own), ("negatives", scores)):
        if len(values):
            quartiles = ", ".join(f"{value:.4f}" for value in np.quantile(values, (0, 0.5, 1)))
            print(f"scores of {name}: least, median, largest {quartiles}")
