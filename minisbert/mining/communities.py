"""Communities: groups of similar embeddings, as in sentence-transformers' `util`.

Scores are canonical cosines (see `topk`), so neither a group nor its order depends on the machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minisbert.arguments import check_whole_number, shorten
from minisbert.arrays import Array
from minisbert.search.index_rows import check_matrix, prepare_rows
from minisbert.search.scan import pair_dots, topk
from minisbert.system.progress import progress_bar


def community_detection(
    embeddings: ArrayLike,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool = False,
) -> list[list[int]]:
    """Return groups of similar embeddings, each around a centre.

    The group of a centre is every embedding whose cosine with it is at least the threshold. The
    centre and embeddings equal to it always belong to it, also where the cosine that should be 1 is
    rounded to less; only a zero vector, whose cosine is 0 with everything, does not. Groups are
    taken in order of size, the largest first. An embedding belongs to the first group that takes
    it. A group is dropped if its centre was taken before, or if it has too few members left.

    Parameters
    ----------
    embeddings : (n, D) array
    threshold : float
        The least cosine, from -1 to 1.
    min_community_size : int
        The fewest embeddings in a group, its centre included.
    batch_size : int
        Centres to compare at a time. It changes the memory that is needed, and no result.
    show_progress_bar : bool

    Returns
    -------
    list of lists of int
        The largest group first. Groups of one size are in the order in which they were taken: by
        their first size, then by their centre. In each group the centre comes first, then the
        others, the most similar first.

    Raises
    ------
    ValueError
        If the embeddings are not finite numbers, the threshold is no number, or a size is less than
        1.
    """
    fewest = check_whole_number("min_community_size", min_community_size)
    batch_size = check_whole_number("batch_size", batch_size)
    if (
        np.ndim(threshold)
        or np.asarray(threshold).dtype.kind not in "fiu"
        or threshold != threshold
    ):
        raise ValueError(
            f"threshold must be a number from -1 to 1, got {shorten(threshold)}; "
            "pass the least cosine"
        )
    if np.size(embeddings) == 0:
        return []
    rows = prepare_rows(
        check_matrix(np.atleast_2d(embeddings), "embeddings"), "cosine", "embedding"
    )
    M, D = rows.shape
    # A product of matrices differs from the canonical score by at most this: see `blas_filter`.
    slack = (2 * D + 32) * 2.0**-24
    # The cosine of a row with itself is 1 but for rounding, and so is that of an equal row.
    own = pair_dots(rows, rows)  # (M,)
    least = np.where(own > 0, np.minimum(np.float32(threshold), own), np.float32(threshold))
    lowest = np.float32(min(threshold, 1) - slack)
    groups: list[tuple[int, Array]] = []
    with progress_bar(M, show_progress_bar, "compare") as advance:
        for start in range(0, M, batch_size):
            # 1. rows that may be near, by a product of matrices
            centres = rows[start : start + batch_size]
            near = centres @ rows.T >= lowest  # (batch, M)
            for place in np.flatnonzero(near.sum(axis=1) >= fewest):
                # 2. rows that are near, by canonical scores, the most similar first
                candidates = np.flatnonzero(near[place])
                centre = centres[place : place + 1]
                scores, order = topk(centre, rows[candidates], len(candidates), threads=1)
                group = candidates[order[0, scores[0] >= least[start + place]]]
                if len(group) >= fewest:
                    groups.append((start + int(place), group))
            advance(len(centres))
    # 3. the largest group first, ties in the order of centres
    groups.sort(key=lambda group: len(group[1]), reverse=True)
    taken = np.zeros(M, bool)
    communities: list[list[int]] = []
    for first, group in groups:
        left = group[~taken[group]]
        if not taken[first] and len(left) >= fewest:
            communities.append([first, *left[left != first].tolist()])
            taken[communities[-1]] = True
    return sorted(communities, key=len, reverse=True)
